//! `completions` and `man`: what shells and manuals know of the command line, made from its definition.

use std::io::Write as _;

use anyhow::Result;
use clap::{Command, CommandFactory as _};
use clap_mangen::Man;

use super::FINE;
use super::args::{Args, CompletionsArgs};

/// Prints a shell's completion script.
pub fn completions(args: &CompletionsArgs) -> Result<u8> {
    let mut command = Args::command();
    // Without a command, transcribe's options are meant.
    let speech = command.find_subcommand("transcribe").cloned();
    let options = speech.iter().flat_map(Command::get_arguments);
    command = command.args(options.cloned());
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "undertone", &mut script);
    std::io::stdout().write_all(&script)?;
    Ok(FINE)
}

/// Prints the manual page: one, with every command's options.
pub fn man() -> Result<u8> {
    let mut command = Args::command();
    command.build();
    let all = Man::new(command.clone());
    let mut page = Vec::new();
    all.render_title(&mut page)?;
    all.render_name_section(&mut page)?;
    all.render_synopsis_section(&mut page)?;
    for command in leaves(&command) {
        chapter(command, &mut page)?;
    }
    all.render_extra_section(&mut page)?;
    all.render_version_section(&mut page)?;
    std::io::stdout().write_all(&page)?;
    Ok(FINE)
}

/// The commands that do something, in the order of the help.
fn leaves(command: &Command) -> Vec<&Command> {
    let below = command.get_subcommands().filter(|c| c.get_name() != "help");
    let below: Vec<_> = below.flat_map(leaves).collect();
    if below.is_empty() {
        vec![command]
    } else {
        below
    }
}

/// A command's section, its groups of options as parts of it.
fn chapter(command: &Command, page: &mut Vec<u8>) -> std::io::Result<()> {
    let name = command.get_bin_name().unwrap_or(command.get_name());
    let about = command.get_about().map(ToString::to_string);
    let escaped = |text: &str| text.replace('-', "\\-");
    writeln!(page, ".SH {:?}", escaped(name).to_uppercase())?;
    writeln!(page, "{}.", escaped(&about.unwrap_or_default()))?;
    if command.get_name() == "translate" {
        return writeln!(page, "Its options are those of transcribe.");
    }
    let mut options = Vec::new();
    Man::new(command.clone()).render_options_section(&mut options)?;
    let options = String::from_utf8_lossy(&options);
    for line in options.lines() {
        match line.strip_prefix(".SH ") {
            Some(group) => writeln!(page, ".SS {group}")?,
            None => writeln!(page, "{line}")?,
        }
    }
    Ok(())
}
