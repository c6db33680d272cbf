//! Whether a draft pays: the same file with it and without.

use std::path::Path;

use serde_json::{Value, json};

use super::timed;
use crate::engine::Engine;
use crate::options::TranscribeOptions;

/// Runs each way; the best counts.
const RUNS: usize = 2;

/// Times a file by an engine with a draft and by one without.
pub fn worth(
    plain: &Engine,
    drafting: &Engine,
    options: &TranscribeOptions,
    file: &Path,
) -> crate::Result<Value> {
    let (mut without_s, mut with_s) = (f64::INFINITY, f64::INFINITY);
    let (mut proposed, mut accepted) = (0, 0);
    for _ in 0..RUNS {
        let (seconds, transcript) = timed(|| plain.transcribe(file, options));
        transcript?;
        without_s = without_s.min(seconds);
        let (seconds, transcript) = timed(|| drafting.transcribe(file, options));
        let windows = transcript?.windows;
        with_s = with_s.min(seconds);
        let attempts = windows.iter().flat_map(|window| &window.attempts);
        let drafted: Vec<_> = attempts.filter_map(|attempt| attempt.drafted).collect();
        proposed = drafted.iter().map(|drafted| drafted.proposed).sum();
        accepted = drafted.iter().map(|drafted| drafted.accepted).sum();
    }
    Ok(json!({
        "without_s": without_s,
        "with_s": with_s,
        "proposed": proposed,
        "accepted": accepted,
        "pays": with_s < without_s,
    }))
}

/// One line of the table.
pub fn line(found: &Value) -> String {
    let number = |name: &str| found[name].as_f64().unwrap_or(f64::NAN);
    let share = 100.0 * number("accepted") / number("proposed").max(1.0);
    let ratio = number("with_s") / number("without_s");
    let verdict = match found["pays"].as_bool() {
        Some(true) => "it pays here",
        _ => "it does not pay here",
    };
    format!(
        "  draft          {:8.3} s, {:.3} s without: {ratio:.2} of the time, {share:.0} % of {} tokens ahead accepted; \
         {verdict}",
        number("with_s"),
        number("without_s"),
        found["proposed"],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verdict_follows_the_times() {
        let found = |with_s: f64| {
            line(&json!({
                "without_s": 2.0,
                "with_s": with_s,
                "proposed": 40,
                "accepted": 30,
                "pays": with_s < 2.0,
            }))
        };
        assert!(
            found(1.0)
                .ends_with("0.50 of the time, 75 % of 40 tokens ahead accepted; it pays here")
        );
        assert!(
            found(3.0).contains("1.50 of the time") && found(3.0).ends_with("does not pay here")
        );
    }
}
