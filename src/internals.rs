//! What this crate's own tests and tools reach into. It is no part of the interface and changes with
//! any version.

/// Recordings as blocks of samples.
pub mod audio {
    pub use crate::audio::{AudioInfo, AudioOptions, AudioStream, Limits, open, open_with, probe};
}

/// Backends of this crate, as values.
pub mod attention {
    pub use crate::attention::backends::{Naive, built_in};
}

/// Windows of the caller's own making.
pub mod batcher {
    pub use crate::batcher::{
        AlignWay, AlignWords, Batcher, Capacity, Inbox, WatchedHeads, WindowJob,
    };
    pub use crate::decoding::{DecodingResult, bias};
}

/// Cards, and one that is none.
pub mod device {
    pub use crate::device::recording::{Recording, card};
    pub use crate::device::{Api, Arch, Card, CardInfo, Driver, Launch};
}

/// The sizes that every Whisper shares.
pub mod dims {
    pub use crate::dims::N_FRAMES;
}

/// The pool of threads and the vector level.
pub mod kernels {
    pub use crate::kernels::Cpu;
}

/// Spectrograms.
pub mod mel {
    pub use crate::mel::{LogMel, MelExtractor, from_blocks, log_mel_of_clip};
}

/// The seam for executors.
pub mod model {
    pub use crate::model::cpu::CpuNetwork;
    pub use crate::model::gpu::{GpuNetwork, Share};
    pub use crate::model::reference::ReferenceNetwork;
    pub use crate::model::{
        AudioState, CrossWeights, EncoderStages, Feeding, Network, Pending, StepWindow, TextMemory,
        TextState, step,
    };
}

/// What is asked of a row's logits.
pub mod ranking {
    pub use crate::ranking::{AllowedRuns, Answer, Constraint, Query, Wanted, answer};
}

/// Where speech is.
pub mod vad {
    pub use crate::vad::{Detector, Heard, speech_spans};
}

/// Text and tokens.
pub mod tokenizer {
    pub use crate::engine::load_tokenizer;
    pub use crate::tokenizer::Tokenizer;
}
