//! What several tests need: the stored references, and engines with real weights.

mod comparison;
pub mod weights;

use std::path::Path;
use std::sync::OnceLock;

pub use comparison::*;
use undertone::internals::model::{self, AudioState, Network, StepWindow, TextState};
use undertone::internals::ranking::{AllowedRuns, Answer, Constraint, Query, Wanted};
use undertone::weights::hub::HubConfig;
use undertone::{ComputeType, Engine, Error, Gates};

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

/// A model with real weights, loaded once for all tests.
struct Loaded {
    model: &'static str,
    compute: ComputeType,
    engine: OnceLock<Option<Engine>>,
}

impl Loaded {
    const fn new(model: &'static str, compute: ComputeType) -> Self {
        let engine = OnceLock::new();
        Self {
            model,
            compute,
            engine,
        }
    }

    /// Nothing but a model that no source has is a skip; one that does not load is a failure.
    fn load(&self) -> Option<Engine> {
        let builder = Engine::builder()
            .model(self.model)
            .hub(hub())
            .without_packed_copies();
        match builder.compute_type(self.compute).build() {
            Ok(engine) => Some(engine),
            Err(Error::ModelUnavailable { .. }) => None,
            Err(error) => panic!("{} {}: {error}", self.model, self.compute.name()),
        }
    }
}

static ENGINES: [Loaded; 3] = [
    Loaded::new("base", ComputeType::F32),
    Loaded::new("base", ComputeType::Int8),
    Loaded::new("tiny.en", ComputeType::F32),
];

/// The named model with real weights; where they cannot be had, the comparison is [`skipped`].
///
/// # Panics
/// For a name that is not in the table.
pub fn engine(model: &str, compute: ComputeType) -> Option<&'static Engine> {
    let asked = |loaded: &&Loaded| loaded.model == model && loaded.compute == compute;
    let loaded = ENGINES.iter().find(asked).expect("a model of the table");
    let engine = loaded.engine.get_or_init(|| loaded.load()).as_ref();
    if engine.is_none() {
        skipped(format_args!("no source has the weights of {model}"));
    }
    engine
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
