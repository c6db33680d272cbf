//! The models that are served: loaded when they are needed, unloaded when nobody asks, loaded anew
//! when their worker has died.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::error::{ApiError, ApiResult};
use crate::engine::Engine;
use crate::error::Result;
use crate::options::TranscribeOptions;

/// How a model's engine is made.
pub type Load = Box<dyn Fn() -> Result<Engine> + Send + Sync>;

/// One name under which a model is served.
pub struct Served {
    pub name: String,
    /// What the model was loaded from.
    pub root: String,
    /// Seconds since 1970.
    pub created: u64,
    /// `None` for a model that is not speech-to-text: its name is known, nothing else.
    speech: Option<Arc<SpeechModel>>,
    is_alias: bool,
}

/// A model that transcribes.
pub struct SpeechModel {
    load: Load,
    state: Mutex<State>,
    restarts: AtomicU64,
}

struct State {
    engine: Option<Engine>,
    used: Instant,
    /// Requests that hold the engine.
    running: usize,
}

/// Everything that is served; the first is what a request without a name gets.
pub struct Models(Vec<Served>);

impl Served {
    /// A model that transcribes; `engine` is it, where it is loaded already.
    pub fn speech(name: &str, root: &str, load: Load, engine: Option<Engine>) -> Self {
        let state = State {
            engine,
            used: Instant::now(),
            running: 0,
        };
        let speech = SpeechModel {
            load,
            state: Mutex::new(state),
            restarts: AtomicU64::new(0),
        };
        Self::new(name, root, Some(Arc::new(speech)))
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
            is_alias: false,
            created: since.map_or(0, |since| since.as_secs()),
            speech,
        }
    }

    pub fn as_speech(&self) -> Option<&SpeechModel> {
        self.speech.as_deref()
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
    pub fn speech(&self) -> impl Iterator<Item = (&str, &SpeechModel)> {
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
    pub fn find(&self, name: Option<&str>) -> ApiResult<&SpeechModel> {
        self.served(name)
            .and_then(Served::as_speech)
            .ok_or_else(|| ApiError::no_such_model(name.unwrap_or_default()))
    }
}

/// Asks an engine for the least there is: one token of a moment of silence.
///
/// # Errors
/// What decoding gives.
pub fn is_answering(engine: &Engine) -> Result<()> {
    let mut options = TranscribeOptions::default();
    options.decoding.language = Some("en".into());
    options.decoding.sample_len = Some(1);
    options.gates.temperatures = vec![0.0];
    engine.transcribe(vec![0.0; 1600], &options).map(drop)
}

/// An engine while a request holds it: it is not unloaded meanwhile.
pub struct Held<'a> {
    pub engine: Engine,
    model: &'a SpeechModel,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let mut state = self.model.lock();
        state.running -= 1;
        state.used = Instant::now();
    }
}

impl SpeechModel {
    /// The engine, loaded if need be. Blocks while it loads.
    ///
    /// # Errors
    /// What loading it gives.
    pub fn hold(&self) -> Result<Held<'_>> {
        let engine = {
            let mut state = self.lock();
            let engine = self.working(&mut state)?;
            state.running += 1;
            state.used = Instant::now();
            engine
        };
        Ok(Held {
            engine,
            model: self,
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
            state.engine = None;
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
            state.engine = None;
            self.restarts.fetch_add(1, Relaxed);
        }
        let engine = (self.load)()?;
        state.engine = Some(engine.clone());
        Ok(engine)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here is ever half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
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
