//! `completions` and `man`: what shells and manuals know of the command line, made from its definition.

use std::io::Write as _;

use anyhow::Result;
use clap::builder::PossibleValuesParser;
use clap::{Arg, Command};
use clap_mangen::Man;

use super::FINE;
use super::args::{self, CompletionsArgs};
use crate::tokenizer::LANGUAGES;
use crate::weights::hub;

/// Prints a shell's completion script.
pub fn completions(asked: &CompletionsArgs) -> Result<u8> {
    let mut command = args::command().clone();
    // Without a command, transcribe's options are meant.
    let speech = command.find_subcommand("transcribe").cloned();
    let options = speech.iter().flat_map(Command::get_arguments);
    command = with_names(command.args(options.cloned()));
    let mut script = Vec::new();
    clap_complete::generate(asked.shell, &mut command, "undertone", &mut script);
    std::io::stdout().write_all(&script)?;
    Ok(FINE)
}

/// The same command, in which models and languages have names to choose from.
fn with_names(command: Command) -> Command {
    let models = hub::catalog().iter().flat_map(|entry| {
        let names = std::iter::once(&entry.name).chain(&entry.aliases);
        names.map(String::as_str)
    });
    let languages = LANGUAGES.iter().flat_map(|(code, name)| [*code, *name]);
    // Shells would take words apart.
    let languages = languages.filter(|name| !name.contains(' '));
    let names = |argument: Arg| match argument.get_id().as_str() {
        "model" => argument.value_parser(PossibleValuesParser::new(models.clone())),
        "language" => argument.value_parser(PossibleValuesParser::new(languages.clone())),
        _ => argument,
    };
    command.mut_args(names).mut_subcommands(with_names)
}

/// Prints the manual page: one, with every command's options.
pub fn man() -> Result<u8> {
    let mut command = args::command().clone();
    command.build();
    let all = Man::new(command.clone());
    let mut page = Vec::new();
    all.render_title(&mut page)?;
    all.render_name_section(&mut page)?;
    all.render_synopsis_section(&mut page)?;
    for command in leaves(&command) {
        chapter(command, &mut page)?;
    }
    for (title, lines) in CLOSING {
        writeln!(page, ".SH {title}")?;
        for (term, meaning) in lines {
            writeln!(page, ".TP\n{}\n{}", escaped(term), escaped(meaning))?;
        }
    }
    all.render_version_section(&mut page)?;
    std::io::stdout().write_all(&page)?;
    Ok(FINE)
}

/// A section's title; terms and what they mean.
type Section = (&'static str, &'static [(&'static str, &'static str)]);
/// The last sections, under the names that manual pages give them.
const CLOSING: [Section; 4] = [
    ("EXIT STATUS", EXIT_STATUS),
    ("ENVIRONMENT", ENVIRONMENT),
    ("FILES", FILES),
    ("EXAMPLES", EXAMPLES),
];
const EXIT_STATUS: &[(&str, &str)] = &[
    ("0", "All is well; a reader that went away counts as well."),
    ("1", "Some file failed, or what was asked about is not so."),
    ("2", "The command line makes no sense."),
    ("130", "Interrupted by Ctrl-C."),
];
const ENVIRONMENT: &[(&str, &str)] = &[
    (
        "UNDERTONE_OPTION",
        "A default of your own for any long option, as UNDERTONE_BEAM_SIZE=1.",
    ),
    ("UNDERTONE_CONFIG", "Another file of defaults."),
    (
        "HF_HOME, HF_HUB_CACHE",
        "Where the Hub's cache is, which is shared with other programs.",
    ),
    (
        "HF_ENDPOINT, HF_TOKEN",
        "Another address for the Hub, and a key for private repositories.",
    ),
    (
        "HF_HUB_OFFLINE",
        "1: nothing is fetched, from the Hub or by pip.",
    ),
    (
        "XDG_CACHE_HOME, XDG_CONFIG_HOME",
        "Instead of ~/.cache and ~/.config.",
    ),
    ("NO_COLOR", "No colours, whatever its value."),
];
const FILES: &[(&str, &str)] = &[
    (
        "~/.config/undertone/config.toml",
        "Defaults of your own: beam_size = 1. --show-config prints what is in force.",
    ),
    ("~/.cache/undertone/models", "Models that were fetched."),
    (
        "~/.cache/undertone/packed",
        "Packed copies of models; `undertone cache clean` takes them away.",
    ),
    (
        "~/.cache/undertone/speed.json",
        "What `undertone bench` has measured.",
    ),
];
const EXAMPLES: &[(&str, &str)] = &[
    (
        "undertone interview.mp3",
        "The text of a recording on the terminal.",
    ),
    (
        "undertone film.mkv -l de -m small --compute-type int8 -f srt -o subtitles/",
        "Subtitles of a German film.",
    ),
    (
        "undertone recordings/ -o texts/ --skip-existing",
        "Every format for each recording of a folder that has none yet.",
    ),
    (
        "undertone translate talk.m4a -l fr",
        "English text of a French talk.",
    ),
    (
        "undertone models suggest film.mkv",
        "Which model suits this machine.",
    ),
];

fn escaped(text: &str) -> String {
    text.replace('-', "\\-")
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
