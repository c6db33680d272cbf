//! The library's errors as Python's: what a caller would catch.

use pyo3::create_exception;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use undertone::Error;

create_exception!(
    undertone,
    AudioError,
    PyValueError,
    "A recording that is no audio, or none that can be decoded; the message names it."
);

/// `OSError` for what cannot be read, [`AudioError`] for what is no audio, `ValueError` for an option or
/// a task that makes no sense, `RuntimeError` for the rest.
pub fn raise(error: Error) -> PyErr {
    let message = error.to_string();
    match error {
        Error::Input { source, .. } | Error::File { source, .. } | Error::Output { source, .. } => {
            unreadable(&source, message)
        }
        Error::Audio { .. } | Error::Codec { .. } | Error::TooLong { .. } => {
            AudioError::new_err(message)
        }
        Error::Option { .. } | Error::ModelCannot { .. } => PyValueError::new_err(message),
        _ => PyRuntimeError::new_err(message),
    }
}

/// An `OSError` of the right class (`FileNotFoundError` and so on) with the whole message.
fn unreadable(source: &std::io::Error, message: String) -> PyErr {
    std::io::Error::new(source.kind(), message).into()
}

/// Options that cannot be read.
pub fn options(error: serde_json::Error) -> PyErr {
    PyValueError::new_err(format!("options: {error}"))
}
