//! How an engine is loaded: the model found, its parts read, the worker started.

mod draft;
mod placing;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use super::packed;
use super::{Engine, Loaded};
use crate::attention::{self, AttentionBackend};
use crate::batcher::{Batcher, Capacity, WatchedHeads};
use crate::device::DeviceChoice;
use crate::dims::ModelDimensions;
use crate::error::{Error, Result};
use crate::kernels::SimdLevel;
use crate::model::{ComputeType, Executor};
use crate::options::upper_half;
use crate::tokenizer::{Tokenizer, mistaken_model};
use crate::weights::hub::{self, HubConfig, ModelFiles};
use crate::weights::{WeightSource, file_fingerprint};

/// How an [`Engine`] is to be loaded: made by [`Engine::builder`], ended by
/// [`build`](EngineBuilder::build).
#[derive(Clone)]
pub struct EngineBuilder {
    model: String,
    hub: HubConfig,
    device: DeviceChoice,
    card_share: f64,
    executor: Executor,
    compute: ComputeType,
    threads: Option<usize>,
    level: Option<SimdLevel>,
    attention: attention::Request,
    backends: Vec<Arc<dyn AttentionBackend>>,
    slots: usize,
    any_task: bool,
    packed_dir: Option<PathBuf>,
    lora: Option<PathBuf>,
    draft: Option<String>,
}

impl fmt::Debug for EngineBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EngineBuilder")
            .field("model", &self.model)
            .field("device", &self.device)
            .field("compute", &self.compute)
            .field("threads", &self.threads)
            .field("slots", &self.slots)
            .finish_non_exhaustive()
    }
}

impl Default for EngineBuilder {
    fn default() -> Self {
        Self {
            model: "base".into(),
            hub: HubConfig::default(),
            device: DeviceChoice::default(),
            card_share: 0.9,
            executor: Executor::default(),
            compute: ComputeType::default(),
            threads: None,
            level: None,
            attention: attention::Request::default(),
            backends: Vec::new(),
            slots: 8,
            any_task: false,
            packed_dir: Some(hub::packed_dir()),
            lora: None,
            draft: None,
        }
    }
}

impl EngineBuilder {
    /// A catalogue name, a hub repository `owner/name`, a folder or a file. Default: `base`.
    #[must_use]
    pub fn model(mut self, model: impl Into<String>) -> Self {
        self.model = model.into();
        self
    }

    /// Where models may come from and where they are kept.
    #[must_use]
    pub fn hub(mut self, hub: HubConfig) -> Self {
        self.hub = hub;
        self
    }

    /// Where the network is computed. Default: on a GPU, where there is one that can do what is asked, else on the
    /// CPU; [`Engine::describe`] says which. A GPU that is asked for by name and cannot serve is an error.
    #[must_use]
    pub fn device(mut self, device: DeviceChoice) -> Self {
        self.device = device;
        self
    }

    /// The part of a GPU's memory that may be in use, others' use included: 0 to 1. Default: 0.9. Where it is
    /// little, fewer windows are decoded side by side.
    #[must_use]
    pub fn gpu_memory_utilization(mut self, share: f64) -> Self {
        self.card_share = share;
        self
    }

    /// What runs the network on the CPU. Default: the fastest that is here.
    #[must_use]
    pub fn executor(mut self, executor: Executor) -> Self {
        self.executor = executor;
        self
    }

    /// In what precision to compute. Default: 32-bit floats.
    #[must_use]
    pub fn compute_type(mut self, compute: ComputeType) -> Self {
        self.compute = compute;
        self
    }

    /// Threads to compute with, the caller's included; at most 1024. Default: as many as the system
    /// offers.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// Computes with lesser vector instructions than the processor has. Default: the best.
    #[must_use]
    pub fn simd_level(mut self, level: SimdLevel) -> Self {
        self.level = Some(level);
        self
    }

    /// Which attention backends to use, and as which machine to choose them. Default: the best of
    /// the CPU's.
    #[must_use]
    pub fn attention(mut self, request: attention::Request) -> Self {
        self.attention = request;
        self
    }

    /// Puts a backend of the caller's in front of the built-in ones; the first call's is foremost.
    #[must_use]
    pub fn backend(mut self, backend: Arc<dyn AttentionBackend>) -> Self {
        self.backends.push(backend);
        self
    }

    /// How many windows are decoded side by side, at most; each may have five beams. Default: 8.
    /// Memory for them is taken as they come: [`Engine::describe`] says how much.
    #[must_use]
    pub fn slots(mut self, slots: usize) -> Self {
        self.slots = slots;
        self
    }

    /// Lets a model translate that was not trained to. Default: no.
    #[must_use]
    pub fn allow_any_task(mut self, allow: bool) -> Self {
        self.any_task = allow;
        self
    }

    /// Keeps packed models in this folder, so that they load at once the next time: with
    /// [`ComputeType::Int8`] a byte a weight, with [`ComputeType::F32`] two bytes where 16-bit floats
    /// hold the weights exactly, else four (quantized files: their numbers are products); and the token
    /// embedding once more as floats, of two or four bytes likewise. Default: `.cache/undertone/packed` in the user's home, which the
    /// command line program shares. A folder that cannot be written keeps nothing.
    #[must_use]
    pub fn packed_dir(mut self, folder: impl Into<PathBuf>) -> Self {
        self.packed_dir = Some(folder.into());
        self
    }

    /// Keeps no packed model: every load packs the weights again, in memory.
    #[must_use]
    pub fn without_packed_copies(mut self) -> Self {
        self.packed_dir = None;
        self
    }

    /// Loads the model under a LoRA adapter: a folder that PEFT saved, as for [`Engine::with_lora`].
    /// Default: none.
    #[must_use]
    pub fn lora(mut self, folder: impl Into<PathBuf>) -> Self {
        self.lora = Some(folder.into());
        self
    }

    /// A smaller model of the same vocabulary that writes ahead where windows are decoded greedily (speculative
    /// decoding): every token stays this model's own choice, and a step may bring several. It computes in the
    /// fastest precision. Default: none.
    #[must_use]
    pub fn draft(mut self, model: impl Into<String>) -> Self {
        self.draft = Some(model.into());
        self
    }

    /// Where the packed model is kept, and its key.
    fn packed(&self, source: &dyn WeightSource) -> Result<Option<(PathBuf, String)>> {
        let Some(folder) = &self.packed_dir else {
            return Ok(None);
        };
        packed::place(folder, source, self.compute).map(Some)
    }

    /// The model's tokenizer, which is kept beside its packed weights.
    fn tokenizer(&self, files: &ModelFiles, source: &dyn WeightSource) -> Result<Tokenizer> {
        let made = || load_tokenizer(files, source);
        let file = vocabulary_file(files, source);
        // A file that cannot be read is told of where it is looked into.
        let print = file.map_or(Ok(String::new()), |file| file_fingerprint(&file));
        match (&self.packed_dir, print) {
            (Some(folder), Ok(print)) => {
                let key = format!("{VOCABULARY_RULES} {} {print}", source.dims().n_vocab);
                packed::tokenizer(folder, source, &key, made)
            }
            _ => made(),
        }
    }

    /// Finds the model, downloading it if need be, and loads it.
    ///
    /// # Errors
    /// - [`Error::ModelUnavailable`] with what each source said;
    /// - [`Error::Weights`] naming the file that is damaged or missing, and the tensor or field;
    /// - [`Error::Attention`] where no backend can serve as asked;
    /// - [`Error::Thread`] where the system refuses a thread;
    /// - [`Error::Option`] for a precision that the executor does not compute in;
    /// - [`Error::Device`] for a GPU that was asked for and is not there, or has too little memory;
    /// - what is wrong with the adapter, as [`Engine::with_lora`] says.
    pub fn build(self) -> Result<Engine> {
        self.build_with(&mut |_| {})
    }

    /// [`build`](Self::build), told of the download's progress.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    pub fn build_with(self, progress: &mut dyn FnMut(hub::Progress<'_>)) -> Result<Engine> {
        let (name, lora) = (self.model.clone(), self.lora.clone());
        let engine = self.load(progress)?;
        match lora {
            Some(folder) => engine.with_lora(name, folder),
            None => Ok(engine),
        }
    }

    fn load(self, progress: &mut dyn FnMut(hub::Progress<'_>)) -> Result<Engine> {
        let cards = self.cards()?;
        let files = hub::resolve(&self.model, &self.hub, progress)?;
        let source = crate::weights::open(&files.weights)?;
        let dims = source.dims().clone();
        let tokenizer = Arc::new(self.tokenizer(&files, source.as_ref())?);
        let (networks, plan, note) = self.network(source.as_ref(), cards, progress)?;
        let draft = self.load_draft(&dims, &tokenizer, progress)?;
        let capacity = Capacity::of_windows(self.slots);
        let batcher = Batcher::new(&networks, draft.clone(), tokenizer.clone(), capacity)?;
        let alignment_heads = alignment_heads(&files, &dims);
        let sources = AtomicU64::new(0);
        let any_task = self.any_task;
        let name = self.model.clone();
        Ok(Engine(Arc::new(Loaded {
            name,
            files,
            networks,
            draft,
            plan,
            tokenizer,
            batcher,
            capacity,
            fingerprint: source.fingerprint()?,
            adapted: false,
            any_task,
            sources,
            warnings: source.warnings().to_vec(),
            device_note: note,
            alignment_heads,
            level: self.level,
        })))
    }
}

/// The heads that word times are found by: those that the files beside the weights name, else the
/// catalogue's, else every head of the upper half of the layers, as openai/whisper takes them.
pub(super) fn alignment_heads(files: &ModelFiles, dims: &ModelDimensions) -> WatchedHeads {
    let inside = |heads: &[(usize, usize)]| {
        let fits =
            |(layer, head): &(usize, usize)| *layer < dims.n_text_layer && *head < dims.n_text_head;
        !heads.is_empty() && heads.iter().all(fits)
    };
    let named = ["generation_config.json", "config.json"]
        .iter()
        .filter_map(|name| heads_named_in(&files.dir.join(name)));
    let known = files.entry.map(|entry| entry.alignment_heads.clone());
    let found = named.chain(known).find(|heads| inside(heads));
    found.map_or_else(|| upper_half(dims), Into::into)
}

/// `alignment_heads` of a JSON file beside the weights.
fn heads_named_in(path: &Path) -> Option<Vec<(usize, usize)>> {
    #[derive(serde::Deserialize)]
    struct Named {
        alignment_heads: Vec<(usize, usize)>,
    }
    let text = std::fs::read(path).ok()?;
    Some(serde_json::from_slice::<Named>(&text).ok()?.alignment_heads)
}

/// Part of the key to a kept vocabulary: what was kept under other rules of reading is made again.
const VOCABULARY_RULES: &str = "vocabulary 1";

/// The most bytes of a list of tokens that are read.
const MOST_VOCABULARY_BYTES: u64 = 64 << 20;

/// The tokenizer beside the weights; else the vocabulary inside them; else the list of tokens that
/// CTranslate2 puts beside them; else the one of openai's that the network's size tells.
///
/// # Errors
/// [`Error::Weights`] naming the file that is damaged, or that has no vocabulary of a known size.
pub fn load_tokenizer(files: &ModelFiles, source: &dyn WeightSource) -> Result<Tokenizer> {
    let tokenizer = find_tokenizer(files, source)?;
    match other_vocabulary(&tokenizer, source.dims()) {
        None => Ok(tokenizer),
        Some(reason) => Err(Error::Weights {
            file: files.tokenizer.clone().unwrap_or(files.weights.clone()),
            tensor: None,
            reason,
        }),
    }
}

/// Whether a vocabulary is one of openai's and the network's size another's: the ids of tasks and
/// times would all be off by one. Sizes that are none of openai's may be padded or a fine-tune's.
fn other_vocabulary(tokenizer: &Tokenizer, dims: &ModelDimensions) -> Option<String> {
    let (has, needs) = (tokenizer.n_vocab(), dims.n_vocab);
    // Networks of 128 mels came with one more language, however they are padded.
    let newer = || dims.n_mels == 128 && needs > 51_865 && (51_864..51_866).contains(&has);
    mistaken_model(has, needs).or_else(|| {
        newer().then(|| {
            format!("the tokenizer of {has} tokens is of another model than the network of {needs}")
        })
    })
}

fn find_tokenizer(files: &ModelFiles, source: &dyn WeightSource) -> Result<Tokenizer> {
    let n_vocab = source.dims().n_vocab;
    let name = files.weights.display().to_string();
    match (vocabulary_file(files, source), source.vocabulary()) {
        (Some(path), _) if Some(&path) == files.tokenizer.as_ref() => {
            Tokenizer::from_file(&path, n_vocab)
        }
        (Some(path), _) => {
            let tokens = token_strings(&path)?;
            let name = path.display().to_string();
            Tokenizer::from_token_strings(&name, tokens, Some(n_vocab))
        }
        (None, Some(tokens)) => Tokenizer::from_parts(&name, tokens.to_vec(), Some(n_vocab)),
        (None, None) => Tokenizer::openai(&name, n_vocab),
    }
}

/// The file beside the weights that the vocabulary is read from, if it is.
fn vocabulary_file(files: &ModelFiles, source: &dyn WeightSource) -> Option<PathBuf> {
    let lists = ["vocabulary.txt", "vocabulary.json"].map(|list| files.dir.join(list));
    let list = || lists.into_iter().find(|path| path.is_file());
    let alone = source.vocabulary().is_none();
    let tokenizer = files.tokenizer.clone();
    tokenizer.or_else(|| alone.then(list).flatten())
}

/// CTranslate2's list of tokens: one a line, or as a JSON array.
fn token_strings(path: &Path) -> Result<Vec<String>> {
    let bad = |reason: String| Error::Weights {
        file: path.to_owned(),
        tensor: None,
        reason,
    };
    let unread = |source| Error::File {
        file: path.to_owned(),
        source,
    };
    let length = std::fs::metadata(path).map_err(unread)?.len();
    if length > MOST_VOCABULARY_BYTES {
        return Err(bad(format!(
            "{length} bytes are too many for a list of tokens"
        )));
    }
    let text = std::fs::read_to_string(path).map_err(unread)?;
    if path.extension().is_some_and(|ending| ending == "json") {
        return serde_json::from_str(&text).map_err(|error| Error::Json {
            file: path.to_owned(),
            source: error.into(),
        });
    }
    Ok(text.lines().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tokenizer_of_another_model_is_refused() {
        let english = Tokenizer::openai("x", 51_864).unwrap();
        let older = Tokenizer::openai("x", 51_865).unwrap();
        let newer = Tokenizer::openai("x", 51_866).unwrap();
        let dims = |n_mels, n_vocab| ModelDimensions {
            n_mels,
            n_vocab,
            ..crate::weights::hub::find("base").unwrap().dims()
        };
        let cases = [
            (&english, 80, 51_864, true),
            (&older, 80, 51_865, true),
            (&newer, 128, 51_866, true),
            (&older, 80, 51_867, true),
            (&older, 80, 51_872, true),
            (&newer, 128, 51_872, true),
            (&older, 128, 51_866, false),
            (&older, 80, 51_866, false),
            (&english, 80, 51_865, false),
            (&older, 128, 51_872, false),
        ];
        for (tokenizer, n_mels, n_vocab, fits) in cases {
            let said = other_vocabulary(tokenizer, &dims(n_mels, n_vocab));
            assert_eq!(said.is_none(), fits, "{n_mels} {n_vocab}: {said:?}");
            assert!(said.is_none_or(|said| said.contains(&n_vocab.to_string())));
        }
    }

    #[test]
    fn lists_of_tokens_are_read_in_both_forms() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let lines = file("vocabulary.txt", "a\nĠb\n<|endoftext|>\n");
        let json = file("vocabulary.json", r#"["a", "Ġb", "<|endoftext|>"]"#);
        let want = ["a", "Ġb", "<|endoftext|>"];
        assert_eq!(token_strings(&lines).unwrap(), want);
        assert_eq!(token_strings(&json).unwrap(), want);
        let broken = file("broken.json", r#"["a", 7]"#);
        let error = token_strings(&broken).unwrap_err().to_string();
        assert!(error.contains("broken.json"), "{error}");
    }
}
