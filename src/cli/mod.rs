//! The command line: what was typed (`args`), what it means (`resolve`), one file per command.

/// Prints a line to standard output. A reader that has gone away ends the command with
/// [`broken_pipe`], which is no failure.
macro_rules! say {
    ($($text:tt)*) => {{
        use std::io::Write as _;
                writeln!(std::io::stdout().lock(), $($text)*)?
    }};
}

mod align;
mod args;
mod attention;
mod bench;
mod cache;
mod compare;
mod completions;
mod config;
mod detect;
mod doctor;
mod environment;
#[cfg(feature = "eval")]
mod eval;
mod inputs;
mod interrupt;
mod loading;
mod models;
mod near;
mod probe;
mod progress;
#[cfg(feature = "hub")]
mod reach;
#[cfg(not(feature = "hub"))]
#[path = "no_reach.rs"]
mod reach;
mod resolve;
#[cfg(feature = "server")]
mod serve;
mod shown;
mod speed;
mod terminal;
mod trace;
mod transcribe;
mod unavailable;
mod usage;
mod vad;

use std::ffi::OsString;
use std::process::ExitCode;

pub use resolve::hub_config as hub_config_from_environment;

use args::Command;

/// Everything went well.
const FINE: u8 = 0;
/// Some file or command failed; the others went on.
const FAILED: u8 = 1;
/// The command line makes no sense.
const USAGE: u8 = 2;
/// Ctrl-C: 128 and the number of the signal, as shells have it.
const INTERRUPTED: u8 = 130;

/// Runs a command line, program name first. Exit codes: 0 all fine, 1 some file failed, 2 usage,
/// 130 interrupted.
#[must_use]
pub fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let typed: Vec<OsString> = arguments.collect();
    if let Some(answer) = args::foreign::taken_apart(&typed) {
        terminal::complain(&answer);
        return ExitCode::from(USAGE);
    }
    match read_and_run(args::normalize(typed.into_iter())) {
        Ok(code) => ExitCode::from(code),
        Err(error) => report(&error),
    }
}

fn read_and_run(typed: Vec<OsString>) -> anyhow::Result<u8> {
    let defaults = resolve::defaults()?;
    print_notes(resolve::odd_variables());
    if let Some(typed) = config::without_show_config(&typed) {
        return config::show(typed, &defaults);
    }
    match args::parse(config::fill_in(typed, &defaults)?) {
        Ok(args) => dispatch(&args.command).inspect_err(|error| {
            if let Some(place) = defaults.behind(error) {
                terminal::complain(&place);
            }
        }),
        Err(error) => match foreign(&error) {
            Some(answer) => usage::usage(answer),
            None => error.exit(),
        },
    }
}

/// The answer to another program's option.
fn foreign(error: &clap::Error) -> Option<String> {
    match error.get(clap::error::ContextKind::InvalidArg)? {
        clap::error::ContextValue::String(option) => args::foreign::answer(option),
        _ => None,
    }
}

fn dispatch(command: &Command) -> anyhow::Result<u8> {
    use crate::options::Task;
    match command {
        Command::Transcribe(args) => transcribe::run(args, Task::Transcribe),
        Command::Translate(args) => transcribe::run(args, Task::Translate),
        #[cfg(feature = "server")]
        Command::Serve(args) => serve::serve(args),
        #[cfg(feature = "server")]
        Command::RunBatch(args) => serve::run_batch(args),
        Command::Align(args) => align::run(args),
        Command::DetectLanguage(args) => detect::run(args),
        Command::Probe(args) => probe::run(args),
        Command::Vad(args) => vad::run(args),
        Command::Models(command) => models::run(command),
        Command::Attention(command) => attention::run(command),
        Command::Doctor(args) => doctor::run(args),
        Command::Cache(command) => cache::run(command),
        Command::Completions(args) => completions::completions(args),
        Command::Man => completions::man(),
        Command::Bench(args) => bench::run(args),
        #[cfg(feature = "eval")]
        Command::Eval(args) => eval::run(args),
    }
}

/// Prints what the user should know, on stderr.
fn print_notes(notes: impl IntoIterator<Item = String>) {
    for note in notes {
        terminal::complain(&note);
    }
}

/// Prints why nothing could be done, and says whose fault it was by the exit code.
fn report(error: &anyhow::Error) -> ExitCode {
    if broken_pipe(error) {
        return ExitCode::from(FINE);
    }
    terminal::complain(&said(error));
    let usage = error.is::<usage::Usage>()
        || matches!(error.downcast_ref(), Some(crate::Error::Option { .. }));
    ExitCode::from(if usage { USAGE } else { FAILED })
}

/// An error and its causes in one line. Ours say their cause themselves, so what the text already
/// ends with is left out.
fn said(error: &anyhow::Error) -> String {
    if let Some(crate::Error::ModelUnavailable { model, tried }) = error.downcast_ref() {
        return unavailable::message(model, tried, &resolve::hub_config(None).models_dir);
    }
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

/// Whoever read our output has seen enough: that is no failure.
fn broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<std::io::Error>();
    io.is_some_and(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn causes_are_said_once() {
        let io = || std::io::Error::from(std::io::ErrorKind::NotFound);
        let ours = crate::Error::File {
            file: "here".into(),
            source: io(),
        };
        let ours = anyhow::Error::new(ours).context("model");
        assert_eq!(
            said(&ours),
            format!("model: here: cannot be read: {}", io())
        );
        let plain = Err::<(), _>(io()).context("there").unwrap_err();
        assert_eq!(said(&plain), format!("there: {}", io()));
    }
}
