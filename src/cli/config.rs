//! Defaults of the user's own: `UNDERTONE_*` variables, then a TOML file. Both name long options.
//!
//! In: what was typed, in one spelling, and the [`Defaults`]. Out: the same line with an option
//! put in for each default that the command has and that was not typed, so that clap checks all of
//! them alike. Precedence: command line, environment, file, built-in.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command};

use super::FINE;
use super::args::{command as definition, parse_bool};
use super::near::meant;
use super::usage::usage;

/// Long options that are no settings: they name one run's question, or a machine to simulate.
const NOT_SETTINGS: [&str; 16] = [
    "help",
    "version",
    "json",
    "probabilities",
    "speech-map",
    "speech-from",
    "task",
    "format",
    "quantize",
    "env",
    "platform",
    "arch",
    "aiter",
    "installed",
    "head-size",
    "block-size",
];
const PREFIX: &str = "UNDERTONE_";
/// Variables of that beginning that say something else: where the file is, and what tests go by.
const OTHER_VARIABLES: [&str; 5] = [
    "CONFIG",
    "REFERENCE",
    "ALLOW_SKIPS",
    "FUZZ_SECONDS",
    "UPDATE",
];
const SHOW_CONFIG: &str = "--show-config";

/// A user's default for one option.
#[derive(Clone, Debug, PartialEq)]
struct Setting {
    /// The long option, without its dashes.
    option: String,
    /// One value, or several for an option that may repeat.
    values: Vec<String>,
    /// Where it was found, for messages.
    origin: String,
}

/// What the environment and the file say, the more important first.
#[derive(Debug, Default)]
pub struct Defaults {
    settings: Vec<Setting>,
    /// The file that was read, or would have been.
    file: PathBuf,
    is_file_there: bool,
}

impl Defaults {
    /// Reads the variables through `variable`, and `file` if it is there (it must be if `required`).
    ///
    /// # Errors
    /// A file that cannot be read, is no TOML, or has a key that is no option.
    pub fn read(
        variable: &dyn Fn(&str) -> Option<String>,
        file: PathBuf,
        required: bool,
    ) -> Result<Self> {
        let options = options();
        let mut settings = Vec::new();
        for option in &options {
            let name = variable_of(&option.name);
            if let Some(value) = variable(&name) {
                let values = match option.repeats {
                    true => value.split(',').map(|v| v.trim().to_owned()).collect(),
                    false => vec![value],
                };
                settings.push(Setting {
                    option: option.name.clone(),
                    values,
                    origin: name,
                });
            }
        }
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => Some(text),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound && !required => None,
            Err(e) => return Err(e).with_context(|| file.display().to_string()),
        };
        let is_file_there = text.is_some();
        if let Some(text) = text {
            settings.extend(from_file(&file, &text, &options)?);
        }
        Ok(Self {
            settings,
            file,
            is_file_there,
        })
    }

    /// Where the default stands that an error is about, if it is about one: a model that cannot be had.
    pub fn behind(&self, error: &anyhow::Error) -> Option<String> {
        let Some(crate::Error::ModelUnavailable { model, .. }) = error.downcast_ref() else {
            return None;
        };
        let setting = self.of("model")?;
        let asked = setting.values.first() == Some(model);
        asked.then(|| format!("{}: model is {model} there", setting.origin))
    }

    fn of(&self, option: &str) -> Option<&Setting> {
        self.settings
            .iter()
            .find(|setting| setting.option == option)
    }
}

/// A long option that may have a default.
struct KnownOption {
    name: String,
    repeats: bool,
}

/// The long options of a command that are settings, with their names.
fn settings_of(command: &Command) -> impl Iterator<Item = (&str, &Arg)> {
    let named = command.get_arguments().filter_map(|option| {
        let name = option.get_long()?;
        Some((name, option))
    });
    named.filter(|(name, _)| !NOT_SETTINGS.contains(name))
}

/// Every setting of every command.
fn options() -> Vec<KnownOption> {
    let mut known: Vec<KnownOption> = Vec::new();
    let mut commands = vec![definition()];
    while let Some(command) = commands.pop() {
        for (name, option) in settings_of(command) {
            if !known.iter().any(|option| option.name == name) {
                let repeats = matches!(option.get_action(), ArgAction::Append);
                known.push(KnownOption {
                    name: name.to_owned(),
                    repeats,
                });
            }
        }
        commands.extend(command.get_subcommands());
    }
    known
}

/// What is odd about the variables of these names: those that look like defaults and are none.
pub fn odd_variables(names: impl Iterator<Item = String>) -> Vec<String> {
    let named = names.filter(|name| {
        let rest = name.strip_prefix(PREFIX);
        rest.is_some_and(|rest| !OTHER_VARIABLES.contains(&rest))
    });
    let named: Vec<String> = named.collect();
    if named.is_empty() {
        return named;
    }
    let options = options();
    let known: Vec<String> = options.iter().map(|o| variable_of(&o.name)).collect();
    let odd = named.into_iter().filter(|name| !known.contains(name));
    odd.map(|name| {
        let meant = meant(&name, known.iter().map(String::as_str));
        format!("{name} is not looked at: it names no option that can have a default{meant}")
    })
    .collect()
}

fn variable_of(option: &str) -> String {
    format!("{PREFIX}{}", option.replace('-', "_").to_uppercase())
}

fn from_file(file: &Path, text: &str, options: &[KnownOption]) -> Result<Vec<Setting>> {
    type Keys = BTreeMap<toml::Spanned<String>, toml::Value>;
    let table: Keys = match toml::from_str(text) {
        Ok(table) => table,
        Err(error) => return usage(format!("{}: {error}", file.display())),
    };
    let mut settings = Vec::new();
    for (key, value) in table {
        let line = text[..key.span().start].matches('\n').count() + 1;
        let (origin, key) = (format!("{}:{line}", file.display()), key.into_inner());
        let option = key.replace('_', "-");
        if value.is_table() {
            return usage(format!(
                "{origin}: {key}: options stand at the top of the file, in no section"
            ));
        }
        if !options.iter().any(|known| known.name == option) {
            let names = options.iter().map(|known| known.name.as_str());
            let meant = meant(&option, names).replace('-', "_");
            return usage(format!(
                "{origin}: {key} is no option that can have a default{meant}"
            ));
        }
        let values = match &value {
            toml::Value::Array(items) => items.iter().map(plain).collect(),
            one => plain(one).map(|value| vec![value]),
        };
        let Some(values) = values else {
            return usage(format!(
                "{origin}: {key}: {value} is no text, number or boolean"
            ));
        };
        settings.push(Setting {
            option,
            values,
            origin,
        });
    }
    Ok(settings)
}

fn plain(value: &toml::Value) -> Option<String> {
    match value {
        toml::Value::String(text) => Some(text.clone()),
        toml::Value::Integer(number) => Some(number.to_string()),
        toml::Value::Float(number) => Some(number.to_string()),
        toml::Value::Boolean(is) => Some(is.to_string()),
        _ => None,
    }
}

/// Puts in an option for each default that the command has and that was not typed.
///
/// # Errors
/// A default that the option does not take, naming where it stands.
pub fn fill_in(typed: Vec<OsString>, defaults: &Defaults) -> Result<Vec<OsString>> {
    if defaults.settings.is_empty() {
        return Ok(typed);
    }
    let Ok(matches) = definition().clone().try_get_matches_from(&typed) else {
        // Help, or a line that makes no sense: that is for clap to say.
        return Ok(typed);
    };
    let (command, matches, depth) = leaf(definition().clone(), &matches);
    let mut filled = typed.clone();
    for option in command.get_arguments() {
        let Some(setting) = option.get_long().and_then(|name| defaults.of(name)) else {
            continue;
        };
        if matches.value_source(option.get_id().as_str()) == Some(ValueSource::CommandLine) {
            continue;
        }
        let words = words(option, setting)?;
        let alone = with(&typed, depth, &words);
        if let Err(error) = definition().clone().try_get_matches_from(alone) {
            let reason = error.to_string();
            let reason = reason
                .lines()
                .next()
                .unwrap_or_default()
                .trim_start_matches("error: ");
            return usage(format!("{}: {reason}", setting.origin));
        }
        filled = with(&filled, depth, &words);
    }
    Ok(filled)
}

/// A line with words put in right behind the command's name.
fn with(line: &[OsString], depth: usize, words: &[OsString]) -> Vec<OsString> {
    let (name, rest) = line.split_at(line.len().min(1 + depth));
    [name, words, rest].concat()
}

/// The option as it would be typed.
fn words(option: &Arg, setting: &Setting) -> Result<Vec<OsString>> {
    let name = &setting.option;
    if matches!(option.get_action(), ArgAction::SetTrue) {
        let value = setting.values.first().map_or("true", String::as_str);
        return match parse_bool(value) {
            Ok(true) => Ok(vec![format!("--{name}").into()]),
            Ok(false) => Ok(Vec::new()),
            Err(reason) => usage(format!("{}: {name}: {reason}", setting.origin)),
        };
    }
    Ok(setting
        .values
        .iter()
        .map(|value| format!("--{name}={value}").into())
        .collect())
}

/// The command that was meant, what was typed for it, and how many names lead to it.
fn leaf(mut command: Command, mut matches: &ArgMatches) -> (Command, &ArgMatches, usize) {
    command.build();
    let mut depth = 0;
    while let Some((name, inner)) = matches.subcommand() {
        let Some(found) = command.find_subcommand(name).cloned() else {
            break;
        };
        (command, matches, depth) = (found, inner, depth + 1);
    }
    (command, matches, depth)
}

/// The line without `--show-config`, if it has one before `--`.
pub fn without_show_config(typed: &[OsString]) -> Option<Vec<OsString>> {
    let options = typed.iter().take_while(|word| *word != "--");
    let place = options.into_iter().position(|word| word == SHOW_CONFIG)?;
    let mut rest = typed.to_vec();
    rest.remove(place);
    Some(rest)
}

/// Prints every setting of the command that was typed, with its value and where that comes from.
pub fn show(typed: Vec<OsString>, defaults: &Defaults) -> Result<u8> {
    let optional = |argument: Arg| argument.required(false);
    let commands = definition()
        .clone()
        .mut_subcommands(|command| command.mut_args(optional));
    let matches = match commands.clone().try_get_matches_from(&typed) {
        Ok(matches) => matches,
        Err(error) => error.exit(),
    };
    let (command, matches, _) = leaf(commands, &matches);
    let state = if defaults.is_file_there {
        ""
    } else {
        " (not there)"
    };
    say!("# file: {}{state}", defaults.file.display());
    for (name, option) in settings_of(&command) {
        let typed =
            matches.value_source(option.get_id().as_str()) == Some(ValueSource::CommandLine);
        let (values, origin) = match defaults.of(name).filter(|_| !typed) {
            Some(setting) => {
                words(option, setting)?;
                (setting.values.clone(), setting.origin.as_str())
            }
            None => (
                raw(matches, option),
                if typed { "command line" } else { "default" },
            ),
        };
        let key = name.replace('-', "_");
        match values.is_empty() {
            true => say!("# {key} is not set"),
            false => say!("{:<40} # {origin}", format!("{key} = {}", in_toml(&values))),
        }
    }
    Ok(FINE)
}

fn raw(matches: &ArgMatches, option: &Arg) -> Vec<String> {
    let values = matches.get_raw(option.get_id().as_str());
    values
        .into_iter()
        .flatten()
        .map(|value| value.to_string_lossy().into_owned())
        .collect()
}

fn in_toml(values: &[String]) -> String {
    let one = |value: &String| match value.parse::<f64>() {
        Ok(_) => value.clone(),
        Err(_) if value == "true" || value == "false" => value.clone(),
        Err(_) => toml::Value::String(value.clone()).to_string(),
    };
    match values {
        [value] => one(value),
        values => format!(
            "[{}]",
            values.iter().map(one).collect::<Vec<_>>().join(", ")
        ),
    }
}
