//! What this machine can do at best, by plain loops: the ceilings that kernels are held against.

use std::hint::black_box;
use std::time::Instant;

use super::cpu::Cpu;
use super::simd::{LANES, Simd, Task, dispatch};

/// Sums in flight per thread: enough to hide four cycles of latency, few enough for AVX2's registers.
const CHAINS: usize = 6;
/// Rounds of one measurement: some milliseconds.
const ROUNDS: usize = 250_000;
/// Tasks per thread, so that a thread that is interrupted does not decide the result.
const TASKS: usize = 4;

/// Fused multiply-adds in registers, all threads: billions of operations a second (one multiply-add is
/// two).
pub fn peak_f32_gflops(cpu: &Cpu) -> f64 {
    let operations = 2 * CHAINS * LANES * ROUNDS * TASKS * cpu.threads();
    operations as f64 / best_of_five(|| each_thread(cpu, || dispatch(cpu.level(), Floats))) / 1e9
}

/// Byte products summed in registers, all threads: billions of operations a second (one multiply-add is
/// two).
pub fn peak_i8_gops(cpu: &Cpu) -> f64 {
    let operations = 2 * CHAINS * 4 * LANES * ROUNDS * TASKS * cpu.threads();
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
    cpu.pool().run(TASKS * cpu.threads(), |_| work());
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
        // Operands that differ per chain and per round, or the compiler would multiply but once.
        let bytes: [[i8; 4 * LANES]; CHAINS] = black_box(std::array::from_fn(|i| [i as i8; _]));
        let w = bytes.each_ref().map(|bytes| s.bytes(bytes));
        let mut sums = [s.splat_i32(0); CHAINS];
        for round in 0..ROUNDS as u32 {
            let x = s.words(&[round; 4], 0);
            for (sum, w) in sums.iter_mut().zip(w) {
                *sum = s.dot4(*sum, x, 0, w);
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
