//! `completions` and `man`: what shells and manuals know of the command line, made from its definition.

use std::io::Write as _;

use anyhow::Result;
use clap::CommandFactory as _;

use super::FINE;
use super::args::{Args, CompletionsArgs};

/// Prints a shell's completion script.
pub fn completions(args: &CompletionsArgs) -> Result<u8> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), "undertone", &mut script);
    std::io::stdout().write_all(&script)?;
    Ok(FINE)
}

/// Prints the manual page.
pub fn man() -> Result<u8> {
    let mut page = Vec::new();
    clap_mangen::Man::new(Args::command()).render(&mut page)?;
    std::io::stdout().write_all(&page)?;
    Ok(FINE)
}
