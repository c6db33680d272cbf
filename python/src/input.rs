//! Recordings as Python holds them.

use std::path::PathBuf;

use numpy::{PyArray1, PyArrayMethods, PyUntypedArrayMethods};
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;
use undertone::Input;

/// Samples of an array, which stay where they are.
struct Samples {
    /// Keeps the memory alive.
    _array: Py<PyArray1<f32>>,
    begin: *const f32,
    len: usize,
}

// SAFETY: the memory belongs to the array, which is held, and is only read. That nobody writes to an
// array that is being transcribed is what the Python function asks of its caller.
unsafe impl Send for Samples {}
// SAFETY: as above.
unsafe impl Sync for Samples {}

impl AsRef<[f32]> for Samples {
    fn as_ref(&self) -> &[f32] {
        // SAFETY: `begin` and `len` are those of a contiguous array that lives as long as `self`.
        unsafe { std::slice::from_raw_parts(self.begin, self.len) }
    }
}

/// A path, the bytes of a file, or a contiguous array of samples.
pub fn from_python(audio: &Bound<'_, PyAny>, sample_rate: u32) -> PyResult<Input> {
    if let Ok(array) = audio.cast::<PyArray1<f32>>() {
        return samples(array, sample_rate);
    }
    if let Ok(bytes) = audio.cast::<PyBytes>() {
        return Ok(bytes.as_bytes().to_vec().into());
    }
    match audio.extract::<PathBuf>() {
        Ok(path) => Ok(path.into()),
        Err(_) => Err(PyTypeError::new_err(format!(
            "audio: a path, bytes or samples, not {}",
            audio.get_type().name()?
        ))),
    }
}

fn samples(array: &Bound<'_, PyArray1<f32>>, sample_rate: u32) -> PyResult<Input> {
    if !array.is_contiguous() {
        return Err(PyValueError::new_err(
            "audio: its samples are not contiguous",
        ));
    }
    let samples = Samples {
        begin: array.data(),
        len: array.len(),
        _array: array.clone().unbind(),
    };
    // An empty array may have no memory at all.
    if samples.len == 0 {
        return Ok(Input::samples(Vec::new(), sample_rate));
    }
    Ok(Input::samples(samples, sample_rate))
}
