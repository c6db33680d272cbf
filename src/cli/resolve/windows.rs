//! How windows are decoded: options of decoding and of the gates, as they are meant.

use anyhow::Result;

use crate::cli::args::{DecodingArgs, GateArgs};
use crate::cli::usage::usage;
use crate::options::{DecodingOptions, Gates, MAX_TEMPERATURES, Sampling, SuppressTokens, Task};
use crate::tokenizer::is_auto;

/// How each window is decoded.
pub fn decoding(d: &DecodingArgs, task: Task, language: Option<&str>) -> Result<DecodingOptions> {
    Ok(DecodingOptions {
        task,
        language: language.filter(|code| !is_auto(code)).map(str::to_owned),
        sample_len: d.sample_len.0,
        max_new_tokens: d.max_new_tokens.0,
        best_of: d.best_of.0,
        // A beam of one is greedy.
        beam_size: d.beam_size.0.filter(|&n| n != 1),
        patience: d.patience.0,
        length_penalty: d.length_penalty.0,
        length_exponent: d.length_exponent.0,
        suppress_tokens: suppressed(&d.suppress_tokens)?,
        suppress_blank: d.suppress_blank,
        without_timestamps: d.without_timestamps,
        max_initial_timestamp: d.max_initial_timestamp.0,
        seed: d.seed,
        sampling: Sampling {
            top_k: d.sampling.top_k,
            top_p: d.sampling.top_p,
            min_p: d.sampling.min_p,
            repetition_penalty: d.sampling.repetition_penalty,
            frequency_penalty: d.sampling.frequency_penalty,
            presence_penalty: d.sampling.presence_penalty,
        },
        ..DecodingOptions::default()
    })
}

/// openai/whisper's ladder: from the temperature up to 1 in steps, or the temperature alone.
pub fn gates(d: &DecodingArgs, g: &GateArgs) -> Result<Gates> {
    let mut temperatures = vec![d.temperature];
    let step = d.temperature_increment_on_fallback.0;
    if let Some(step) = step.filter(|step| !(*step >= 0.0 && step.is_finite())) {
        return usage(format!(
            "--temperature-increment-on-fallback: {step} is not a number from 0 on"
        ));
    }
    if let Some(step) = step.filter(|step| *step > 0.0) {
        if (1.0 - d.temperature) / step > MAX_TEMPERATURES as f64 {
            return usage(format!(
                "--temperature-increment-on-fallback: steps of {step} make more than \
                 {MAX_TEMPERATURES} temperatures"
            ));
        }
        // As numpy's arange(temperature, 1 + 1e-6, step): multiples, not sums.
        let steps = (1..).map(|i| d.temperature + f64::from(i) * step);
        temperatures.extend(steps.take_while(|t| *t < 1.0 + 1e-6));
    }
    Ok(Gates {
        temperatures,
        compression_ratio_threshold: g.compression_ratio_threshold.0,
        logprob_threshold: g.logprob_threshold.0,
        no_speech_threshold: g.no_speech_threshold.0,
    })
}

fn suppressed(text: &str) -> Result<SuppressTokens> {
    let ids = text.split(',').map(str::trim).filter(|id| !id.is_empty());
    let (mut non_speech, mut only) = (false, Vec::new());
    for id in ids {
        match id.parse::<i64>() {
            Ok(-1) => non_speech = true,
            Ok(id) if u32::try_from(id).is_ok() => only.push(u32::try_from(id)?),
            _ => return usage(format!("--suppress-tokens: {id} is not a token id")),
        }
    }
    Ok(if non_speech {
        SuppressTokens::NonSpeechAnd(only)
    } else {
        SuppressTokens::Only(only)
    })
}

/// Numbers with commas between them.
pub fn numbers(option: &str, text: &str) -> Result<Vec<f64>> {
    let parts = text
        .split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty());
    let parse = |part: &str| match part.parse() {
        Ok(number) => Ok(number),
        Err(_) => usage(format!("{option}: {part} is not a number")),
    };
    parts.map(parse).collect()
}
