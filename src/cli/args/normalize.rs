//! Makes one spelling of many, before clap sees the command line.

use std::collections::HashMap;
use std::ffi::OsString;

use super::{COMMANDS, command as definition, parse_bool};

/// What may follow an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    Nothing,
    /// `True`, `False` or nothing, which is `True`.
    Bool,
    Value,
}

/// Underscores in the names of commands and options become dashes, a boolean option without a value
/// gets `true`, and without a command `transcribe` is put in. Values stay as they are.
pub fn normalize(arguments: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut typed = arguments.peekable();
    let mut out: Vec<OsString> = typed.next().into_iter().collect();
    if let Some(command) = typed.peek().and_then(command) {
        typed.next();
        out.push(command.into());
    } else if typed.peek().is_some_and(|first| !is_general(first)) {
        out.push("transcribe".into());
    }
    let options = options();
    while let Some(argument) = typed.next() {
        if argument == "--" {
            out.push(argument);
            break;
        }
        let Some(text) = argument.to_str().filter(|text| text.starts_with('-')) else {
            out.push(argument);
            continue;
        };
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (spelled(name), Some(value)),
            None => (spelled(text), None),
        };
        let takes = options.get(&name).copied().unwrap_or(Takes::Nothing);
        if let Some(value) = value {
            out.push(format!("{name}={value}").into());
        } else if takes == Takes::Bool {
            let is_bool =
                |next: &OsString| next.to_str().is_some_and(|next| parse_bool(next).is_ok());
            let value = typed.next_if(is_bool).unwrap_or_else(|| "true".into());
            out.extend([OsString::from(name), value]);
        } else {
            out.push(name.into());
            out.extend((takes == Takes::Value).then(|| typed.next()).flatten());
        }
    }
    out.extend(typed);
    out
}

/// The command that an argument names, in its own spelling.
fn command(argument: &OsString) -> Option<String> {
    let name = argument.to_str()?.replace('_', "-");
    COMMANDS.contains(&name.as_str()).then_some(name)
}

/// Options that belong to the program and to no command.
fn is_general(argument: &OsString) -> bool {
    ["-h", "--help", "-V", "--version"]
        .iter()
        .any(|general| argument == general)
}

/// Long options have dashes in their names; what follows a short one may be its value.
fn spelled(option: &str) -> String {
    if option.starts_with("--") {
        option.replace('_', "-")
    } else {
        option.to_owned()
    }
}

/// Every option of every command, as `--name` and `-n`, with what may follow it.
fn options() -> HashMap<String, Takes> {
    let mut options = HashMap::new();
    let mut commands = vec![definition()];
    while let Some(command) = commands.pop() {
        for option in command
            .get_arguments()
            .filter(|argument| !argument.is_positional())
        {
            let takes = match option.get_value_names() {
                _ if !option.get_action().takes_values() => Takes::Nothing,
                Some([name]) if name == "BOOL" => Takes::Bool,
                _ => Takes::Value,
            };
            let names = option.get_long().map(|long| format!("--{long}"));
            let names = names
                .into_iter()
                .chain(option.get_short().map(|short| format!("-{short}")));
            options.extend(names.map(|name| (name, takes)));
        }
        commands.extend(command.get_subcommands());
    }
    options
}
