//! The models that are served, adapters over them among these: loaded when they are needed, unloaded when
//! nobody asks, loaded anew when their worker has died.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::error::{ApiError, ApiResult};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::options::TranscribeOptions;

/// How a model's engine is made.
pub type Load = Box<dyn Fn() -> Result<Engine> + Send + Sync>;

/// One name under which a model is served.
pub struct Served {
    pub name: String,
    /// What the model was loaded from.
    pub root: String,
    /// The model that an adapter is over.
    pub parent: Option<String>,
    /// Seconds since 1970.
    pub created: u64,
    /// `None` for a model that is not speech-to-text: its name is known, nothing else.
    speech: Option<Arc<SpeechModel>>,
    is_alias: bool,
}

/// A model that transcribes.
pub struct SpeechModel {
    origin: Origin,
    state: Mutex<State>,
    restarts: AtomicU64,
}

/// Where an engine comes from.
enum Origin {
    Model(Load),
    /// A LoRA adapter over another model's engine, with which it shares memory.
    Adapter {
        base: Arc<SpeechModel>,
        name: String,
        folder: PathBuf,
    },
}

struct State {
    engine: Option<Engine>,
    /// An adapter's model stays in memory as long as the adapter does.
    base: Option<Held>,
    used: Instant,
    /// Requests that hold the engine.
    running: usize,
}

/// Everything that is served; the first is what a request without a name gets.
pub struct Models(Vec<Served>);

impl Served {
    /// A model that transcribes; `engine` is it, where it is loaded already.
    pub fn speech(name: &str, root: &str, load: Load, engine: Option<Engine>) -> Self {
        let speech = SpeechModel::new(Origin::Model(load), engine);
        Self::new(name, root, Some(Arc::new(speech)))
    }

    /// This model under a LoRA adapter, which is loaded at once.
    ///
    /// # Errors
    /// A model that does not transcribe; what is wrong with the adapter's folder.
    pub fn adapter(&self, name: &str, folder: &str) -> Result<Self> {
        let base = self.speech.clone().ok_or_else(|| Error::ModelCannot {
            model: self.name.clone(),
            reason: "is no speech-to-text model, and takes no adapters".into(),
        })?;
        let origin = Origin::Adapter {
            base,
            name: name.to_owned(),
            folder: folder.into(),
        };
        let speech = Arc::new(SpeechModel::new(origin, None));
        speech.hold()?;
        Ok(Self {
            parent: Some(self.name.clone()),
            ..Self::new(name, folder, Some(speech))
        })
    }

    /// The same model under another name.
    pub fn called(&self, name: &str) -> Self {
        Self {
            is_alias: true,
            ..Self::new(name, &self.root, self.speech.clone())
        }
    }

    /// A model of another kind.
    pub fn other(name: &str, root: &str) -> Self {
        Self::new(name, root, None)
    }

    fn new(name: &str, root: &str, speech: Option<Arc<SpeechModel>>) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            name: name.to_owned(),
            root: root.to_owned(),
            parent: None,
            is_alias: false,
            created: since.map_or(0, |since| since.as_secs()),
            speech,
        }
    }

    pub fn as_speech(&self) -> Option<&Arc<SpeechModel>> {
        self.speech.as_ref()
    }
}

impl Models {
    pub fn new(served: Vec<Served>) -> Self {
        Self(served)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Served> {
        self.0.iter()
    }

    /// Those that transcribe, each once.
    pub fn speech(&self) -> impl Iterator<Item = (&str, &Arc<SpeechModel>)> {
        let own = self.0.iter().filter(|served| !served.is_alias);
        own.filter_map(|served| Some((served.name.as_str(), served.as_speech()?)))
    }

    /// Has every model decode a moment of silence.
    ///
    /// # Errors
    /// What loading one, or decoding with it, gives.
    pub fn warm_up(&self) -> Result<()> {
        for (_, model) in self.speech() {
            is_answering(&model.hold()?.engine)?;
        }
        Ok(())
    }

    /// What is served under this name, or first.
    pub fn served(&self, name: Option<&str>) -> Option<&Served> {
        match name {
            Some(name) => self.0.iter().find(|served| served.name == name),
            None => self.0.first(),
        }
    }

    /// The model of [`served`](Self::served) that transcribes.
    ///
    /// # Errors
    /// 404 for a name that is not served, and for a model that does not transcribe.
    pub fn find(&self, name: Option<&str>) -> ApiResult<&Arc<SpeechModel>> {
        self.served(name)
            .and_then(Served::as_speech)
            .ok_or_else(|| ApiError::no_such_model(name.unwrap_or_default()))
    }
}

/// How long what an engine has done speaks for it.
const SPEAKS_FOR: Duration = Duration::from_secs(30);

/// Whether an engine is ready: it works, and has done so just now for a request, or does when it is asked.
pub fn is_ready(engine: &Engine) -> bool {
    let worked = engine.counts().worked;
    let lately = worked.is_some_and(|worked| worked.elapsed() < SPEAKS_FOR);
    engine.is_working() && (lately || is_answering(engine).is_ok())
}

/// Asks an engine for the least there is: one token of a moment of silence.
///
/// # Errors
/// What decoding gives.
fn is_answering(engine: &Engine) -> Result<()> {
    let mut options = TranscribeOptions::default();
    options.decoding.language = Some("en".into());
    options.decoding.sample_len = Some(1);
    options.gates.temperatures = vec![0.0];
    engine.transcribe(vec![0.0; 1600], &options).map(drop)
}

/// An engine while a request holds it: it is not unloaded meanwhile.
pub struct Held {
    pub engine: Engine,
    model: Arc<SpeechModel>,
}

impl Drop for Held {
    fn drop(&mut self) {
        let mut state = self.model.lock();
        state.running -= 1;
        state.used = Instant::now();
    }
}

impl SpeechModel {
    fn new(origin: Origin, engine: Option<Engine>) -> Self {
        let state = State {
            engine,
            base: None,
            used: Instant::now(),
            running: 0,
        };
        Self {
            origin,
            state: Mutex::new(state),
            restarts: AtomicU64::new(0),
        }
    }

    /// The engine, loaded if need be. Blocks while it loads.
    ///
    /// # Errors
    /// What loading it gives.
    pub fn hold(self: &Arc<Self>) -> Result<Held> {
        let engine = {
            let mut state = self.lock();
            let engine = self.working(&mut state)?;
            state.running += 1;
            state.used = Instant::now();
            engine
        };
        Ok(Held {
            engine,
            model: self.clone(),
        })
    }

    /// The engine if it is in memory, whether it works or not; none while it is being loaded.
    pub fn loaded(&self) -> Option<Engine> {
        match self.state.try_lock() {
            Ok(state) => state.engine.clone(),
            Err(TryLockError::Poisoned(state)) => state.into_inner().engine.clone(),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// How often a worker that had died was replaced.
    pub fn restarts(&self) -> u64 {
        self.restarts.load(Relaxed)
    }

    /// Replaces an engine whose worker has died, and lets one go that nobody has used for `idle`.
    ///
    /// # Errors
    /// What loading it anew gives.
    pub fn watch(&self, idle: Option<Duration>) -> Result<()> {
        let mut state = self.lock();
        let is_idle = |state: &State| {
            state.running == 0 && idle.is_some_and(|idle| state.used.elapsed() >= idle)
        };
        if is_idle(&state) {
            state.unload();
        } else if state.engine.is_some() {
            self.working(&mut state)?;
        }
        Ok(())
    }

    fn working(&self, state: &mut State) -> Result<Engine> {
        if let Some(engine) = &state.engine {
            if engine.is_working() {
                return Ok(engine.clone());
            }
            state.unload();
            self.restarts.fetch_add(1, Relaxed);
        }
        let engine = match &self.origin {
            Origin::Model(load) => load()?,
            Origin::Adapter { base, name, folder } => {
                let base = base.hold()?;
                let adapted = base.engine.with_lora(name, folder)?;
                state.base = Some(base);
                adapted
            }
        };
        state.engine = Some(engine.clone());
        Ok(engine)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here is ever half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn unload(&mut self) {
        self.engine = None;
        self.base = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pico() -> Result<Engine> {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/models/pico");
        Engine::builder().model(folder).threads(1).build()
    }

    fn models() -> Models {
        let pico = Served::speech("pico", "models/pico", Box::new(pico), None);
        let alias = pico.called("tiny");
        Models::new(vec![pico, alias, Served::other("llama", "x")])
    }

    #[test]
    fn models_are_found_by_name_and_the_first_without() {
        let models = models();
        assert!(models.find(None).is_ok() && models.find(Some("tiny")).is_ok());
        assert_eq!(models.speech().count(), 1);
        for name in ["Pico", "llama", "base"] {
            let refused = models.find(Some(name)).err().unwrap();
            assert_eq!(
                (refused.status.as_u16(), refused.param),
                (404, Some("model"))
            );
        }
    }

    #[test]
    fn a_worker_that_died_is_replaced_and_an_idle_one_let_go() {
        let models = models();
        let model = models.find(None).unwrap();
        assert!(model.loaded().is_none());
        let held = model.hold().unwrap();
        let heard =
            |engine: &Engine| engine.transcribe(vec![0.0; 1600], &TranscribeOptions::default());
        heard(&held.engine).unwrap();
        held.engine.stop_working();
        assert!(heard(&held.engine).is_err());
        while held.engine.is_working() {
            std::thread::yield_now();
        }
        model.watch(None).unwrap();
        assert_eq!(model.restarts(), 1);
        heard(&model.hold().unwrap().engine).unwrap();
        model.watch(Some(Duration::ZERO)).unwrap();
        assert!(model.loaded().is_some(), "it is held");
        drop(held);
        model.watch(Some(Duration::from_secs(60))).unwrap();
        assert!(model.loaded().is_some(), "it was used just now");
        model.watch(Some(Duration::ZERO)).unwrap();
        assert!(model.loaded().is_none());
        heard(&model.hold().unwrap().engine).unwrap();
    }
}
