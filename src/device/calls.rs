//! What a call of NVIDIA's driver said.
#![expect(unsafe_code, reason = "the driver is a C library")]

use std::ffi::CStr;
use std::ptr::null;

use cudarc::driver::sys::{self, CUresult};

use super::error;
use crate::error::Result;

/// What a call of the driver said, in its words.
fn said(result: CUresult) -> String {
    let (mut name, mut text) = (null(), null());
    // SAFETY: both pointers are to be written; the strings are constants of the driver.
    let words = unsafe {
        let known = sys::cuGetErrorName(result, &mut name) == CUresult::CUDA_SUCCESS
            && sys::cuGetErrorString(result, &mut text) == CUresult::CUDA_SUCCESS;
        [name, text].map(|word| match known && !word.is_null() {
            true => CStr::from_ptr(word).to_string_lossy().into_owned(),
            false => format!("{result:?}"),
        })
    };
    format!("{} ({})", words[1], words[0])
}

/// An error of the card's, where a call failed.
pub(super) fn ok(card: &str, what: &str, result: CUresult) -> Result<()> {
    match result {
        CUresult::CUDA_SUCCESS => Ok(()),
        other => Err(error(card, format!("{what}: {}", said(other)))),
    }
}
