//! What several tests need: the stored references, and engines with real weights.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use undertone::Engine;
use undertone::model::{self, AudioState, ComputeType, Network, StepWindow, TextState};
use undertone::options::Gates;
use undertone::ranking::{AllowedRuns, Answer, Constraint, Query, Wanted};
use undertone::weights::hub::HubConfig;

/// The folder of stored references, or `None` with a loud line.
pub fn reference() -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("UNDERTONE_REFERENCE") else {
        eprintln!(
            "SKIPPED: UNDERTONE_REFERENCE is not set, so nothing is compared with openai/whisper"
        );
        return None;
    };
    let folder = PathBuf::from(folder);
    assert!(
        folder.join("reference").is_dir(),
        "UNDERTONE_REFERENCE holds no reference/"
    );
    Some(folder)
}

/// Where models are found: the same places as on the command line.
#[cfg(feature = "cli")]
pub fn hub() -> HubConfig {
    undertone::cli::hub_config_from_environment(None)
}

/// Where models are found: the usual places.
#[cfg(not(feature = "cli"))]
pub fn hub() -> HubConfig {
    HubConfig::default()
}

/// The named model with real weights in f32, loaded once, or `None` with a loud line.
pub fn engine(model: &'static str) -> Option<&'static Engine> {
    static BASE: OnceLock<Option<Engine>> = OnceLock::new();
    static TINY_EN: OnceLock<Option<Engine>> = OnceLock::new();
    let cell = if model == "base" { &BASE } else { &TINY_EN };
    cell.get_or_init(|| {
        let built = Engine::builder()
            .model(model)
            .hub(hub())
            .compute_type(ComputeType::F32)
            .build();
        match built {
            Ok(engine) => Some(engine),
            Err(error) => {
                eprintln!("SKIPPED: no real weights: {error}");
                None
            }
        }
    })
    .as_ref()
}

/// Greedy or beam search alone, whatever comes of it.
pub fn no_gates() -> Gates {
    Gates {
        temperatures: vec![0.0],
        compression_ratio_threshold: None,
        logprob_threshold: None,
        no_speech_threshold: None,
    }
}

/// One row of the manifest of recordings.
pub struct Recording {
    pub file: String,
    pub language: String,
    pub seconds: f64,
}

/// The manifest, tab-separated without quoting.
pub fn recordings(folder: &Path) -> Vec<Recording> {
    let text = std::fs::read_to_string(folder.join("audio/manifest.tsv")).unwrap();
    let row = |line: &str| {
        let mut cells = line.split('\t');
        Recording {
            file: cells.next().unwrap().into(),
            language: cells.next().unwrap().into(),
            seconds: cells.next().unwrap().parse().unwrap(),
        }
    };
    text.lines().skip(1).map(row).collect()
}

/// Feeds one row and gives the logits, `(n_vocab)`, behind its last token.
pub fn last_logits(
    network: &dyn Network,
    audio: &AudioState,
    text: &mut TextState,
    tokens: &[u32],
) -> Vec<f32> {
    let n_vocab = network.dims().n_vocab;
    let allowed = AllowedRuns::new(n_vocab, &[]);
    let query = Query {
        row: 0,
        at: tokens.len() - 1,
        constraint: Constraint::plain(&allowed, n_vocab),
        want: Wanted::Logits,
    };
    let window = StepWindow {
        audio,
        text,
        tokens,
        rows: 1,
        queries: vec![query],
    };
    let mut answers = model::step(network, &mut [window]).unwrap();
    answers.pop().map(Answer::into_logits).unwrap()
}

/// The largest difference; infinite where either is no number or the sizes differ.
pub fn largest_error(got: &[f32], want: &[f32]) -> f64 {
    if got.len() != want.len() {
        return f64::INFINITY;
    }
    let error = |(g, w): (&f32, &f32)| (f64::from(*g) - f64::from(*w)).abs();
    let errors = got.iter().zip(want).map(error);
    errors.fold(0.0, |most, e| {
        if e.is_nan() {
            f64::INFINITY
        } else {
            most.max(e)
        }
    })
}
