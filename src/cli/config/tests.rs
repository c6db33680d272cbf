//! Which default is in force, and what is said of those that make no sense.

use super::*;
use crate::cli::args;

fn defaults(variables: &[(&str, &str)], file: &str) -> Result<Defaults> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("config.toml");
    std::fs::write(&path, file)?;
    let variable = |name: &str| {
        let found = variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    };
    Defaults::read(&variable, path, true)
}

fn filled(line: &str, defaults: &Defaults) -> Result<Vec<String>> {
    let words = std::iter::once("undertone").chain(line.split(' '));
    let typed = args::normalize(words.map(OsString::from));
    let filled = fill_in(typed, defaults)?;
    Ok(filled
        .iter()
        .skip(1)
        .map(|word| word.to_string_lossy().into_owned())
        .collect())
}

#[test]
fn the_command_line_goes_before_the_environment_and_that_before_the_file() {
    let variables = [("UNDERTONE_BEAM_SIZE", "2"), ("UNDERTONE_QUIET", "1")];
    let file = "beam_size = 3\nmodel = \"tiny.en\"\noutput-format = [\"srt\", \"json\"]\n";
    let defaults = defaults(&variables, file).unwrap();
    let formats = "--output-format=srt --output-format=json";
    let model = "--model=tiny.en";
    let cases = [
        (
            "a.wav",
            format!("transcribe --beam-size=2 --quiet {formats} {model} a.wav"),
        ),
        (
            "a.wav --beam_size 7",
            format!("transcribe --quiet {formats} {model} a.wav --beam-size 7"),
        ),
        (
            "translate -q -m base -f txt a.wav",
            "translate --beam-size=2 -q -m base -f txt a.wav".into(),
        ),
        ("bench a.wav", format!("bench --beam-size=2 {model} a.wav")),
        ("models list", "models list".into()),
        ("attention explain", format!("attention explain {model}")),
    ];
    for (line, want) in cases {
        assert_eq!(filled(line, &defaults).unwrap().join(" "), want, "{line}");
    }
}

#[test]
fn what_makes_no_sense_is_named_with_its_place() {
    type Case = (
        &'static [(&'static str, &'static str)],
        &'static str,
        &'static str,
    );
    let cases: [Case; 8] = [
        (
            &[("UNDERTONE_BEAM_SIZE", "many")],
            "",
            "UNDERTONE_BEAM_SIZE",
        ),
        (&[("UNDERTONE_QUIET", "perhaps")], "", "UNDERTONE_QUIET"),
        (
            &[],
            "model = \"base\"\nbeem_size = 3",
            "config.toml:2: beem_size is no option that can have a default; did you mean beam_size?",
        ),
        (&[], "[transcribe]\nmodel = \"base\"", "in no section"),
        (&[], "language = \"germna\"", "config.toml:1"),
        (&[], "language = \"germna\"", "did you mean german?"),
        (&[], "model = ", "config.toml"),
        (&[], "model = { a = 1 }", "model"),
    ];
    for (variables, file, want) in cases {
        let outcome = defaults(variables, file).and_then(|d| filled("a.wav", &d));
        let error = format!("{:#}", outcome.expect_err(want));
        assert!(error.contains(want), "{error} does not say {want}");
    }
}

#[test]
fn variables_that_name_no_option_are_told() {
    let names = [
        "UNDERTONE_BEAM_SZE",
        "UNDERTONE_MODEL",
        "UNDERTONE_CONFIG",
        "HOME",
    ];
    let odd = odd_variables(names.into_iter().map(str::to_owned));
    assert_eq!(odd.len(), 1, "{odd:?}");
    assert!(
        odd[0].ends_with("did you mean UNDERTONE_BEAM_SIZE?"),
        "{odd:?}"
    );
}

#[test]
fn a_model_that_cannot_be_had_is_traced_to_its_default() {
    let defaults = defaults(&[], "model = \"larg\"").unwrap();
    let gone = |model: &str| {
        anyhow::Error::new(crate::Error::ModelUnavailable {
            model: model.into(),
            tried: Vec::new(),
        })
    };
    let said = defaults.behind(&gone("larg")).unwrap();
    assert!(
        said.ends_with("config.toml:1: model is larg there"),
        "{said}"
    );
    assert_eq!(defaults.behind(&gone("other")), None);
}

#[test]
fn every_exception_is_an_option() {
    let mut commands = vec![definition()];
    let mut known = vec!["help".to_owned(), "version".to_owned()];
    while let Some(command) = commands.pop() {
        known.extend(
            command
                .get_arguments()
                .filter_map(|a| a.get_long().map(str::to_owned)),
        );
        commands.extend(command.get_subcommands());
    }
    let unknown: Vec<_> = NOT_SETTINGS
        .iter()
        .filter(|name| !known.iter().any(|k| k == *name))
        .collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}
