//! The sizes of a Whisper network, and the numbers every Whisper shares.
//!
//! All signal constants derive from four numbers, as in `openai/whisper`'s `audio.py`.

/// Samples per second that the network hears.
pub const SAMPLE_RATE: usize = 16_000;
/// Samples under one STFT window (25 ms).
pub const N_FFT: usize = 400;
/// Samples from one mel frame to the next (10 ms).
pub const HOP_LENGTH: usize = 160;
/// Seconds in one window.
pub const CHUNK_LENGTH_S: usize = 30;
/// Samples in one window (480,000).
pub const N_SAMPLES: usize = CHUNK_LENGTH_S * SAMPLE_RATE;
/// Mel frames in one window (3,000).
pub const N_FRAMES: usize = N_SAMPLES / HOP_LENGTH;
/// Mel frames per second (100).
pub const FRAMES_PER_SECOND: usize = SAMPLE_RATE / HOP_LENGTH;
/// Mel frames behind one encoder position (2).
pub const INPUT_STRIDE: usize = 2;
/// Seconds from one timestamp token to the next.
pub const TIME_PRECISION_S: f64 = 0.02;

/// A network's sizes: `ModelDimensions` of openai/whisper, under the same names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelDimensions {
    /// Mel bins: 80, or 128 for large-v3 and turbo.
    pub n_mels: usize,
    /// Vocabulary size, timestamps included.
    pub n_vocab: usize,
    /// Encoder positions in one window (1,500).
    pub n_audio_ctx: usize,
    /// Encoder width.
    pub n_audio_state: usize,
    /// Encoder attention heads.
    pub n_audio_head: usize,
    /// Encoder blocks.
    pub n_audio_layer: usize,
    /// Decoder positions (448).
    pub n_text_ctx: usize,
    /// Decoder width.
    pub n_text_state: usize,
    /// Decoder attention heads.
    pub n_text_head: usize,
    /// Decoder blocks.
    pub n_text_layer: usize,
}

/// Mel bins that openai/whisper has filters for.
const MELS: [usize; 2] = [80, 128];
/// Fewest decoder positions that hold a prompt's special tokens and some text.
const LEAST_TEXT_CTX: usize = 16;

impl ModelDimensions {
    /// Whether a network of these sizes takes 30 s windows as openai/whisper makes them.
    ///
    /// # Errors
    /// What is wrong with them, for people.
    pub(crate) fn check(&self) -> Result<(), String> {
        let positions = N_FRAMES / INPUT_STRIDE;
        if !MELS.contains(&self.n_mels) {
            return Err(format!("has {} mel bins, not 80 or 128", self.n_mels));
        }
        if self.n_audio_ctx != positions {
            let found = self.n_audio_ctx;
            return Err(format!("has {found} encoder positions, not {positions}"));
        }
        if self.n_text_ctx < LEAST_TEXT_CTX {
            let found = self.n_text_ctx;
            return Err(format!(
                "has {found} decoder positions, too few to work with"
            ));
        }
        Ok(())
    }

    /// How many numbers the weights are, positions and biases included.
    #[must_use]
    pub fn parameters(&self) -> usize {
        let (audio, text) = (self.n_audio_state, self.n_text_state);
        let stem = 3 * (self.n_mels + audio) * audio + (2 + self.n_audio_ctx) * audio;
        // Attention 4, the MLP 8, with their biases (none for keys) and norms.
        let encoder = self.n_audio_layer * (12 * audio * audio + 12 * audio) + 2 * audio;
        let cross = 2 * text * text + 2 * audio * text + 5 * text;
        let decoder = self.n_text_layer * (12 * text * text + 12 * text + cross) + 2 * text;
        stem + encoder + decoder + (self.n_vocab + self.n_text_ctx) * text
    }

    /// Whether the vocabulary is one of the multilingual ones.
    #[must_use]
    pub fn is_multilingual(&self) -> bool {
        self.n_vocab >= 51_865
    }
}
