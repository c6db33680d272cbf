//! The engine as Python sees it: an `Engine`, and a `Transcription` that gives segments as JSON. Names,
//! defaults and types that people know from other packages are made of these in Python.
//!
//! Whatever takes time runs without the interpreter's lock, and looks for signals now and then.

mod errors;
mod input;
mod transcription;

use std::path::PathBuf;

use numpy::{IntoPyArray, PyArray1};
use pyo3::prelude::*;
use undertone::weights::hub::{self, HubConfig};
use undertone::{ComputeType, DeviceChoice, Engine, Input, TranscribeOptions, internals};

use errors::raise;
use transcription::Transcription;

// As in the program: large tensors come and go at every operation.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A loaded model; any thread may use it.
#[pyclass(name = "Engine", frozen)]
struct PyEngine(Engine);

/// Where models are kept and may come from.
#[derive(FromPyObject)]
struct Hub {
    #[pyo3(item)]
    models_dir: PathBuf,
    #[pyo3(item)]
    hf_cache_dir: PathBuf,
    #[pyo3(item)]
    endpoint: Option<String>,
    #[pyo3(item)]
    token: Option<String>,
    #[pyo3(item)]
    offline: bool,
}

impl From<Hub> for HubConfig {
    fn from(hub: Hub) -> Self {
        let mut config = Self::new(hub.models_dir, hub.hf_cache_dir);
        config.endpoint = hub.endpoint;
        config.token = hub.token;
        config.offline = hub.offline;
        config
    }
}

#[pymethods]
impl PyEngine {
    #[new]
    fn new(
        py: Python<'_>,
        model: &str,
        device: &str,
        compute_type: &str,
        threads: usize,
        hub: Hub,
        packed_dir: PathBuf,
    ) -> PyResult<Self> {
        let device: DeviceChoice = device.parse().map_err(raise)?;
        let compute: ComputeType = compute_type.parse().map_err(raise)?;
        let mut builder = Engine::builder()
            .model(model)
            .device(device)
            .compute_type(compute)
            .hub(hub.into())
            .packed_dir(packed_dir);
        if threads > 0 {
            builder = builder.threads(threads);
        }
        py.detach(|| builder.build()).map(Self).map_err(raise)
    }

    /// Starts the work on a recording.
    fn transcribe(
        &self,
        audio: &Bound<'_, PyAny>,
        sample_rate: u32,
        options: &str,
        progress: Option<Py<PyAny>>,
    ) -> PyResult<Transcription> {
        let options: TranscribeOptions = serde_json::from_str(options).map_err(errors::options)?;
        let input = input::from_python(audio, sample_rate)?;
        Transcription::start(self.0.clone(), input, options, progress)
    }

    /// The likeliest language, and every language's probability, from as many windows of 30 s as the
    /// options say.
    fn detect_language(
        &self,
        py: Python<'_>,
        audio: &Bound<'_, PyAny>,
        sample_rate: u32,
        options: &str,
    ) -> PyResult<(String, Vec<(String, f64)>)> {
        let options: TranscribeOptions = serde_json::from_str(options).map_err(errors::options)?;
        let input = input::from_python(audio, sample_rate)?;
        let found = py.detach(|| self.0.detect_language_with(input, &options));
        found.map(|found| (found.best, found.all)).map_err(raise)
    }

    #[getter]
    fn languages(&self) -> Vec<&'static str> {
        self.0.languages()
    }

    #[getter]
    fn can_translate(&self) -> bool {
        self.0.can_translate()
    }

    /// Which device was taken, where that was left to the machine and it has a GPU.
    #[getter]
    fn device_note(&self) -> Option<&str> {
        self.0.device_note()
    }

    #[getter]
    fn warnings(&self) -> Vec<String> {
        self.0.warnings().to_vec()
    }

    #[getter]
    fn name(&self) -> &str {
        self.0.model_name()
    }

    fn encode(&self, text: &str) -> Vec<u32> {
        self.0.encode_text(text)
    }

    fn decode(&self, tokens: Vec<u32>) -> String {
        self.0.decode_tokens(&tokens)
    }
}

/// A recording's samples, mono at 16 kHz.
#[pyfunction]
fn decode_audio<'py>(
    py: Python<'py>,
    audio: &Bound<'py, PyAny>,
) -> PyResult<(Bound<'py, PyArray1<f32>>, Vec<String>)> {
    let input = input::from_python(audio, 16_000)?;
    let (samples, warnings) = py.detach(|| decoded(input)).map_err(raise)?;
    Ok((samples.into_pyarray(py), warnings))
}

fn decoded(input: Input) -> undertone::Result<(Vec<f32>, Vec<String>)> {
    let mut stream =
        internals::audio::open_with(input, &internals::audio::AudioOptions::default())?;
    let samples = stream.read_to_end()?;
    Ok((samples, stream.into_info().warnings))
}

/// The terms of a file, and their weights.
#[pyfunction]
fn read_phrases(py: Python<'_>, file: PathBuf) -> PyResult<Vec<(String, f64)>> {
    let phrases = py.detach(|| undertone::read_phrases(file)).map_err(raise)?;
    Ok(phrases.into_iter().map(|p| (p.text, p.weight)).collect())
}

/// Finds or fetches a model; its folder or file.
#[pyfunction]
fn fetch_model(py: Python<'_>, model: &str, hub: Hub) -> PyResult<PathBuf> {
    let config = HubConfig::from(hub);
    let files = py.detach(|| hub::resolve(model, &config, &mut |_| {}));
    files.map(|files| files.dir).map_err(raise)
}

/// The names of the catalogue.
#[pyfunction]
fn model_names() -> Vec<String> {
    hub::catalog()
        .iter()
        .map(|entry| entry.name.clone())
        .collect()
}

#[pymodule]
fn _native(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("AudioError", module.py().get_type::<errors::AudioError>())?;
    module.add_class::<PyEngine>()?;
    module.add_class::<Transcription>()?;
    module.add_function(wrap_pyfunction!(decode_audio, module)?)?;
    module.add_function(wrap_pyfunction!(read_phrases, module)?)?;
    module.add_function(wrap_pyfunction!(fetch_model, module)?)?;
    module.add_function(wrap_pyfunction!(model_names, module)?)
}
