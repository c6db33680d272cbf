//! `models suggest`: the best model that this machine can run in the time there is.

use anyhow::Result;

use super::table::{Choice, size};
use crate::audio::{self, AudioOptions, Limits};
use crate::cli::args::SuggestArgs;
use crate::cli::progress::clock;
use crate::cli::speed::{self, Rates};
use crate::cli::terminal::fitted;
use crate::cli::{FAILED, FINE, resolve};
use crate::kernels::Cpu;
use crate::tokenizer::is_auto;
use crate::weights::hub;

/// Without recordings, an hour.
const AN_HOUR: f64 = 3600.0;
/// Of the memory that is free, a model may take this part.
const SHARE: f64 = 0.6;

/// What the answer depends on.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    pub audio_s: f64,
    pub within_s: f64,
    /// English alone is spoken.
    pub english: bool,
    pub translate: bool,
    /// Bytes, where known.
    pub free_memory: Option<u64>,
}

/// Prints a model, its command line and the reasons.
pub fn run(args: &SuggestArgs) -> Result<u8> {
    let audio_s = match args.audio.is_empty() {
        true => AN_HOUR,
        false => seconds(args)?,
    };
    let language = args.language.as_deref().filter(|code| !is_auto(code));
    let wish = Wish {
        audio_s,
        within_s: args
            .within
            .map_or_else(|| (audio_s / 4.0).max(300.0), |m| m * 60.0),
        english: language == Some("en"),
        translate: args.translate,
        free_memory: speed::free_memory(),
    };
    let rates = Rates::both(&Cpu::new(None, None), &resolve::speed_file());
    let choices: Vec<Choice> = hub::catalog()
        .iter()
        .map(|e| Choice::of(e, &rates))
        .collect();
    let Some(best) = best(&choices, &wish) else {
        say!(
            "no model does it in {} on this machine; the fastest is tiny",
            clock(wish.within_s)
        );
        return Ok(FAILED);
    };
    say!("{} with --compute-type int8", best.entry.name);
    for reason in reasons(best, &wish, rates[1].measured) {
        say!("{}", fitted(&format!("  {reason}")));
    }
    let task = if args.translate { "translate " } else { "" };
    let language = language.map_or_else(String::new, |code| format!(" --language {code}"));
    let files: Vec<String> = args.audio.iter().map(|f| f.display().to_string()).collect();
    let files = if files.is_empty() {
        "FILES".to_owned()
    } else {
        files.join(" ")
    };
    say!(
        "undertone {task}{files}{language} -m {} --compute-type int8",
        best.entry.name
    );
    let hint = "  (with -f srt -o FOLDER for subtitles, -f txt -o FOLDER for text)";
    say!("{}", fitted(hint));
    Ok(FINE)
}

fn seconds(args: &SuggestArgs) -> Result<f64> {
    let mut all = 0.0;
    for found in crate::cli::inputs::all(&args.audio, false, &AudioOptions::default()) {
        if let Some(fault) = found.fault {
            return Err(fault);
        }
        let stream = audio::open(resolve::input(&found.path), &Limits::default())?;
        // A minute a megabyte where the file doesn't say, as speech is usually compressed.
        let guess =
            std::fs::metadata(&found.path).map_or(60.0, |meta| meta.len() as f64 / 1e6 * 60.0);
        all += stream.info().duration_hint_s.unwrap_or(guess);
    }
    Ok(all)
}

/// The model with the fewest published errors that is fast enough, fits into memory and can do it.
pub fn best<'a>(choices: &'a [Choice], wish: &Wish) -> Option<&'a Choice> {
    let can = |choice: &&Choice| {
        let english_only = choice.languages() == "English";
        let fits = wish
            .free_memory
            .is_none_or(|free| choice.memory[1] as f64 <= free as f64 * SHARE);
        (wish.english && !wish.translate || !english_only)
            && (choice.entry.translates || !wish.translate)
            && wish.audio_s / choice.speed[1] <= wish.within_s
            && fits
    };
    let errors = |choice: &&Choice| {
        let published = choice.entry.published.as_ref();
        published.map_or(f64::INFINITY, |p| p.other.unwrap_or(p.clean * 2.0))
    };
    let known = choices
        .iter()
        .filter(|choice| choice.entry.published.is_some());
    known
        .filter(can)
        .min_by(|a, b| errors(a).total_cmp(&errors(b)))
}

fn reasons(choice: &Choice, wish: &Wish, measured: bool) -> Vec<String> {
    let how = if measured { "measured" } else { "estimated" };
    vec![
        format!("published word errors {} (clean / other)", choice.errors()),
        format!(
            "{} of audio take about {} here ({:.0}× real time, {how}); allowed are {}",
            clock(wish.audio_s),
            clock(wish.audio_s / choice.speed[1]),
            choice.speed[1],
            clock(wish.within_s)
        ),
        match wish.free_memory {
            Some(free) => format!(
                "{} of memory; {} are free",
                size(choice.memory[1]),
                size(free)
            ),
            None => format!("{} of memory", size(choice.memory[1])),
        },
        format!("{} to download, once", size(choice.download)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choices(gops: f64) -> Vec<Choice> {
        let rates = Rates {
            encoder_gops: gops,
            decoder_gbps: 20.0,
            measured: true,
            compute: crate::model::ComputeType::Int8,
        };
        let both = [rates.clone(), rates];
        hub::catalog()
            .iter()
            .map(|entry| Choice::of(entry, &both))
            .collect()
    }

    #[test]
    fn the_best_that_is_fast_enough_and_fits() {
        let wish = Wish {
            audio_s: 7200.0,
            within_s: 1800.0,
            english: false,
            translate: false,
            free_memory: Some(16_000_000_000),
        };
        let name =
            |choices: &[Choice], wish: &Wish| best(choices, wish).map(|c| c.entry.name.clone());
        let fast = choices(5000.0);
        assert_eq!(name(&fast, &wish).as_deref(), Some("large-v3"));
        let slow = choices(150.0);
        let of_slow = name(&slow, &wish);
        assert!(
            matches!(of_slow.as_deref(), Some("small" | "base")),
            "{of_slow:?}"
        );
        let little = Wish {
            free_memory: Some(600_000_000),
            ..wish
        };
        let of_little = name(&fast, &little);
        assert!(
            matches!(of_little.as_deref(), Some("base" | "small")),
            "{of_little:?}"
        );
        let translate = Wish {
            translate: true,
            ..wish
        };
        assert_eq!(name(&fast, &translate).as_deref(), Some("large-v3"));
        let hurry = Wish {
            within_s: 1.0,
            ..wish
        };
        assert_eq!(name(&slow, &hurry), None);
        let english = Wish {
            english: true,
            ..wish
        };
        assert!(name(&slow, &english).is_some_and(|name| name.ends_with(".en")));
    }
}
