//! A loaded model under a LoRA adapter.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::{Engine, Loaded};
use crate::batcher::Batcher;
use crate::error::Result;
use crate::weights::{Adapted, Lora, WeightSource as _};

impl Engine {
    /// The same model under a LoRA adapter, an engine beside this one: `folder` is what PEFT saves
    /// (`adapter_config.json` with `adapter_model.safetensors` or `.bin`), and `name` what the new engine calls
    /// itself. The adapter is merged into the layers that it changes; everything else is the same memory, and
    /// so are the threads that compute. Windows of different adapters never share a step: each engine has a
    /// queue, and [`slots`](super::EngineBuilder::slots), of its own.
    ///
    /// # Errors
    /// - [`Error::Weights`](crate::Error::Weights) naming the field of the configuration that asks for more
    ///   than plain LoRA on the linear layers of encoder and decoder (DoRA, trained biases or embeddings,
    ///   …), or the tensor that is missing, left over, of another model's shape or not finite;
    /// - [`Error::File`](crate::Error::File) and [`Error::Json`](crate::Error::Json) where a file cannot be
    ///   read;
    /// - [`Error::ModelCannot`](crate::Error::ModelCannot) where this engine is under an adapter itself;
    /// - [`Error::Thread`](crate::Error::Thread) where the system refuses a thread.
    pub fn with_lora(&self, name: impl Into<String>, folder: impl AsRef<Path>) -> Result<Self> {
        if self.0.adapted {
            return Err(self.cannot("is under an adapter already; take the model without one"));
        }
        let base = &self.0;
        let source = crate::weights::open(&base.files.weights)?;
        let lora = Lora::read(folder.as_ref(), source.dims())?;
        let weights = Adapted::new(source.as_ref(), &lora);
        let networks = base.networks.iter();
        let networks = networks.map(|network| network.adapted(&weights));
        let networks = networks.collect::<Result<Vec<_>>>()?;
        let tokenizer = base.tokenizer.clone();
        let draft = base.draft.clone();
        let batcher = Batcher::new(&networks, draft.clone(), tokenizer.clone(), base.capacity)?;
        Ok(Self(Arc::new(Loaded {
            name: name.into(),
            files: base.files.clone(),
            networks,
            draft,
            plan: base.plan.clone(),
            tokenizer,
            batcher,
            capacity: base.capacity,
            fingerprint: weights.fingerprint()?,
            adapted: true,
            any_task: base.any_task,
            sources: AtomicU64::new(0),
            warnings: base.warnings.clone(),
            device_note: base.device_note.clone(),
            alignment_heads: base.alignment_heads.clone(),
            level: base.level,
        })))
    }
}
