//! GELU of a slice; linear layers have it built in.

use super::level::SimdLevel;
use super::simd::{LANES, Simd, Task, dispatch, math};

/// Replaces every `x` by `x Φ(x)` (the erf form).
pub fn gelu(level: SimdLevel, x: &mut [f32]) {
    dispatch(level, Gelu(x));
}

struct Gelu<'a>(&'a mut [f32]);

impl Task for Gelu<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for x in self.0.chunks_mut(LANES) {
            s.store_some(math::gelu(s, s.load_some(x, 0.0)), x);
        }
    }
}
