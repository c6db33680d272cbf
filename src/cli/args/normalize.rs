//! Makes one spelling of many, before clap sees the command line.

use std::ffi::OsString;

use super::{COMMANDS, parse_bool};

/// Options that are true when nothing follows them.
pub const BOOLEANS: &[&str] = &[
    "--verbose",
    "--condition-on-previous-text",
    "--carry-initial-prompt",
    "--fp16",
    "--word-timestamps",
    "--highlight-words",
    "--suppress-blank",
    "--without-timestamps",
];

/// Underscores in option names become dashes, a boolean option without a value gets `true`, and
/// without a command `transcribe` is put in.
pub fn normalize(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut typed = arguments.peekable();
    let mut out: Vec<OsString> = typed.next().into_iter().collect();
    if needs_command(typed.peek()) {
        out.push("transcribe".into());
    }
    let mut only_files = false;
    while let Some(argument) = typed.next() {
        only_files |= argument == "--";
        let Some(text) = argument.to_str().filter(|t| t.starts_with("--") && !only_files) else {
            out.push(argument);
            continue;
        };
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name.replace('_', "-"), Some(value.to_owned())),
            None => (text.replace('_', "-"), None),
        };
        let next_is_bool = || typed.peek().and_then(|n| n.to_str()).is_some_and(|n| parse_bool(n).is_ok());
        let value = match value {
            None if BOOLEANS.contains(&name.as_str()) && !next_is_bool() => Some("true".to_owned()),
            value => value,
        };
        out.push(value.map_or(name.clone(), |value| format!("{name}={value}")).into());
    }
    out
}

fn needs_command(first: Option<&OsString>) -> bool {
    let Some(first) = first.map(|f| f.to_string_lossy()) else { return false };
    let general = ["-h", "--help", "-V", "--version"];
    !(general.contains(&&*first) || COMMANDS.contains(&first.replace('_', "-").as_str()))
}
