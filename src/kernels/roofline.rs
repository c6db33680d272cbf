//! What this machine can do at best, by plain loops: the ceilings that kernels are held against.

use std::hint::black_box;
use std::time::Instant;

use super::cpu::Cpu;
use super::simd::{LANES, Simd, Task, dispatch};

/// Sums in flight per thread: enough to hide the latency of two units at four cycles.
const CHAINS: usize = 12;
/// Rounds of one measurement: some milliseconds.
const ROUNDS: usize = 500_000;

/// Fused multiply-adds in registers, all threads: billions of operations a second (one multiply-add is
/// two).
pub fn peak_f32_gflops(cpu: &Cpu) -> f64 {
    let operations = 2 * CHAINS * LANES * ROUNDS * cpu.threads();
    operations as f64 / best_of_five(|| each_thread(cpu, || dispatch(cpu.level(), Floats))) / 1e9
}

/// Byte products summed in registers, all threads: billions of operations a second (one multiply-add is
/// two).
pub fn peak_i8_gops(cpu: &Cpu) -> f64 {
    let operations = 2 * CHAINS * 4 * LANES * ROUNDS * cpu.threads();
    operations as f64 / best_of_five(|| each_thread(cpu, || dispatch(cpu.level(), Bytes))) / 1e9
}

/// Reading memory that is in no cache, all threads: billions of bytes a second.
pub fn memory_gbps(cpu: &Cpu) -> f64 {
    const PART: usize = 1 << 20;
    let floats = vec![1f32; 64 << 20];
    let seconds = best_of_five(|| {
        cpu.pool().run(floats.len() / PART, |part| {
            let part = &floats[part * PART..][..PART];
            black_box(dispatch(cpu.level(), Sum(part)));
        });
    });
    size_of_val(&floats[..]) as f64 / seconds / 1e9
}

fn each_thread(cpu: &Cpu, work: impl Fn() + Sync) {
    cpu.pool().run(cpu.threads(), |_| work());
}

fn best_of_five(mut work: impl FnMut()) -> f64 {
    let mut seconds = || {
        let start = Instant::now();
        work();
        start.elapsed().as_secs_f64()
    };
    (0..5).map(|_| seconds()).fold(f64::INFINITY, f64::min)
}

struct Floats;

impl Task for Floats {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (a, b) = (s.splat(black_box(0.5)), s.splat(black_box(1.0)));
        let mut sums = [s.splat(black_box(0.0)); CHAINS];
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = s.fma(*sum, a, b);
            }
        }
        let total = sums
            .into_iter()
            .fold(s.splat(0.0), |total, sum| s.add(total, sum));
        black_box(s.total(total));
    }
}

struct Bytes;

impl Task for Bytes {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let (x, w) = (
            s.splat_i32(black_box(0x0102_0304)),
            s.bytes(black_box(&[1; 4 * LANES])),
        );
        let mut sums = [s.splat_i32(black_box(0)); CHAINS];
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = s.dot4(*sum, x, w);
            }
        }
        let total = sums
            .into_iter()
            .fold(s.splat_i32(0), |total, sum| s.add_i32(total, sum));
        black_box(s.total(s.float(total)));
    }
}

struct Sum<'a>(&'a [f32]);

impl Task<f32> for Sum<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        let mut sums = [s.splat(0.0); 8];
        for part in self.0.as_chunks::<{ 8 * LANES }>().0 {
            for (sum, x) in sums.iter_mut().zip(part.as_chunks().0) {
                *sum = s.add(*sum, s.load(x));
            }
        }
        s.total(
            sums.into_iter()
                .fold(s.splat(0.0), |total, sum| s.add(total, sum)),
        )
    }
}
