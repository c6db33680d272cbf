//! A model that cannot be had, for people: what is the matter, what was tried, what to do.

use super::near::meant;
use crate::weights::hub;

/// Words by which systems and clients say that nothing could be reached.
const NETWORK: [&str; 9] = [
    "lookup",
    "dns",
    "resolve",
    "unreachable",
    "refused",
    "connect",
    "no answer",
    "timed out",
    "network",
];

/// The message for a model and what each source said of it.
pub fn message(model: &str, tried: &[String], models: &std::path::Path) -> String {
    let is_known = hub::find(model).is_some() || model.contains('/');
    if !is_known {
        let names = hub::catalog().iter();
        let names = names.flat_map(|entry| entry.aliases.iter().chain([&entry.name]));
        return format!(
            "there is no model {model}, and no such file or folder{} (`undertone models list` has the names)",
            meant(model, names.map(String::as_str))
        );
    }
    let asked: Vec<&String> = tried
        .iter()
        .filter(|said| !said.contains(": not there"))
        .collect();
    let unreached = |said: &&String| {
        let said = said.to_lowercase();
        NETWORK.iter().any(|word| said.contains(word))
    };
    let what = if asked.iter().any(|said| said.ends_with(": offline")) {
        "is not on this machine, and HF_HUB_OFFLINE says that nothing may be fetched"
    } else if !asked.is_empty()
        && asked
            .iter()
            .all(|said| unreached(said) || said.contains("pip"))
    {
        "is not on this machine and could not be fetched: you seem to be offline"
    } else {
        "is not on this machine and could not be fetched"
    };
    let mut text = format!("model {model} {what}");
    for said in asked.iter().filter(|said| !said.ends_with(": offline")) {
        text += "\n  ";
        text += said;
    }
    text + &format!(
        "\nFetch it where there is a connection (`undertone models pull {model}`), copy its folder out of \
         {} there, and give the folder here to --model.",
        models.display()
    )
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn people_are_told_what_is_the_matter_once() {
        let owned = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
        let models = Path::new("/cache/models");
        let tried = owned(&[
            "cache /cache/models: not there",
            "Hub openai/whisper-base: model.safetensors: io: failed to lookup address information",
            "packages a==1: pip: Could not find a version",
        ]);
        let told = message("base", &tried, models);
        assert!(
            told.starts_with(
                "model base is not on this machine and could not be fetched: you seem to be offline"
            ),
            "{told}"
        );
        assert_eq!(told.matches("lookup").count(), 1);
        assert!(
            !told.contains("not there") && told.contains("--model"),
            "{told}"
        );
        let told = message(
            "base",
            &owned(&["Hub a: offline", "packages b: offline"]),
            models,
        );
        assert!(
            told.contains("HF_HUB_OFFLINE") && !told.contains("Hub a"),
            "{told}"
        );
        let told = message("base", &owned(&["Hub a: 403 Forbidden"]), models);
        assert!(
            told.contains("could not be fetched\n  Hub a: 403 Forbidden"),
            "{told}"
        );
        let told = message("larg", &[], models);
        assert!(
            told.contains("no model larg") && told.contains("did you mean large?"),
            "{told}"
        );
    }
}
