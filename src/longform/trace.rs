//! What is kept of how a window was decoded.

use std::time::Duration;

use crate::decoding::DecodingResult;
use crate::decoding::fallback::is_silent;
use crate::longform::segments::WindowSpan;
use crate::options::Gates;
use crate::transcript::WindowTrace;

/// A window's trace, from its result.
pub(super) fn trace(
    span: WindowSpan,
    result: &DecodingResult,
    gates: &Gates,
    elapsed: Duration,
) -> WindowTrace {
    let mut attempts = result.failed.clone();
    attempts.push(result.attempt());
    WindowTrace {
        seek: span.seek_frames,
        frames: span.segment_frames,
        attempts,
        silent: is_silent(result, gates),
        elapsed_s: elapsed.as_secs_f64(),
    }
}
