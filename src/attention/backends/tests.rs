//! `CPU_ATTN` against `NAIVE` in f64: roles × lengths × causal or not × dtypes. The layers are also what
//! other backends are tested on.

use candle_core::{DType, Device, Tensor};

use super::*;
use crate::attention::{AttentionCall, CrossRow, GrowingRow, Kv};
use crate::comparison::{relative_error, worst};
use crate::kernels::SimdLevel;
use crate::kernels::attention::Rows;
use crate::kernels::attention::{CrossKv, GroupKv, GrowingDtype, Lineage, PackedDtype};

const LENGTHS: [usize; 5] = [1, 3, 17, 448, 1500];
pub(super) const HEADS: usize = 2;
pub(super) const HEAD_DIM: usize = 64;
const WIDTH: usize = HEADS * HEAD_DIM;
/// Positions that a growing cache has room for.
pub(super) const CAPACITY: usize = 1500;

/// `(rows, WIDTH)`
pub(super) fn random(rows: usize, dtype: DType) -> Tensor {
    let x = Tensor::randn(0.0f32, 1.0, (rows, WIDTH), &Device::Cpu).unwrap();
    x.to_dtype(dtype).unwrap()
}

pub(super) fn plain(x: &Tensor) -> Vec<f32> {
    x.to_dtype(DType::F32)
        .unwrap()
        .flatten_all()
        .unwrap()
        .to_vec1()
        .unwrap()
}

/// Largest absolute difference over largest absolute value.
pub(super) fn error(got: &[f32], want: &Tensor) -> f64 {
    let want: Vec<f64> = want.flatten_all().unwrap().to_vec1().unwrap();
    relative_error(got, &want)
}

/// A call as the layers of these sizes make it.
pub(super) fn call<'a>(queries: &'a Tensor, kv: Kv<'a>, causal: bool) -> AttentionCall<'a> {
    AttentionCall {
        queries,
        heads: HEADS,
        head_dim: HEAD_DIM,
        kv,
        causal,
        weights: false,
    }
}

/// A growing cache that holds these keys and values.
pub(super) fn grown(k: &Tensor, v: &Tensor) -> GroupKv {
    let mut cache = GroupKv::new(GrowingDtype::F32, HEADS, HEAD_DIM, 1, CAPACITY);
    let (k, v) = (plain(k), plain(v));
    for (position, (k, v)) in k.chunks(WIDTH).zip(v.chunks(WIDTH)).enumerate() {
        cache.write(0, position, k, v);
    }
    cache
}

/// The only beam's row of a growing cache.
pub(super) fn row<'a>(
    cache: &'a GroupKv,
    lineage: &'a Lineage,
    queries: usize,
    kv_len: usize,
) -> GrowingRow<'a> {
    GrowingRow {
        queries,
        cache,
        lineage,
        beam: 0,
        kv_len,
    }
}

fn rows_of(data: &[f32]) -> Rows<'_> {
    Rows {
        data,
        stride: WIDTH,
        count: data.len() / WIDTH,
    }
}

/// A cache of cross-attention that holds these keys and values.
pub(super) fn cross(cpu: &Cpu, k: &Tensor, v: &Tensor) -> CrossKv {
    let (k, v) = (plain(k), plain(v));
    CrossKv::pack(
        cpu,
        PackedDtype::F32,
        rows_of(&k),
        rows_of(&v),
        HEADS,
        HEAD_DIM,
    )
}

/// Puts other keys and values into a cache of cross-attention.
pub(super) fn repack(cpu: &Cpu, cache: &mut CrossKv, k: &Tensor, v: &Tensor) {
    let (k, v) = (plain(k), plain(v));
    let (k, v) = (rows_of(&k), rows_of(&v));
    cache.repack(cpu, PackedDtype::F32, k, v, HEADS, HEAD_DIM);
}

/// The error of `CPU_ATTN` on a call.
fn judged(cpu: &Cpu, call: &AttentionCall<'_>) -> f64 {
    let got = CpuAttention::new(cpu.clone(), PackedDtype::F32)
        .attend(call)
        .unwrap();
    assert_eq!(got.output.dtype(), DType::F32);
    let want = Naive::in_f64().attend(call).unwrap().output;
    error(&plain(&got.output), &want)
}

/// Runs one role over all lengths and dtypes at every level and reports what is beyond its bar.
fn table(role: &str, longest: usize, error_of: impl Fn(&Cpu, usize, DType, bool) -> f64) {
    let mut failures = Vec::new();
    for level in SimdLevel::available() {
        let cpu = Cpu::new(Some(2), Some(level));
        for len in LENGTHS.into_iter().filter(|&len| len <= longest) {
            for (dtype, bar) in [(DType::F32, 1e-5), (DType::F16, 2e-3), (DType::BF16, 2e-3)] {
                for causal in [false, true] {
                    let error = error_of(&cpu, len, dtype, causal);
                    if error > bar {
                        failures.push(format!(
                            "{role} {level} {len} {dtype:?} causal {causal}: {error:.1e}"
                        ));
                    }
                }
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{} failed:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

#[test]
fn encoder_within_its_bar() {
    table("encoder", 1500, |cpu, len, dtype, causal| {
        // One fused projection, as the encoder has it: rows are three widths apart.
        let qkv = Tensor::cat(&[(); 3].map(|()| random(len, dtype)), 1).unwrap();
        let part = |i: usize| qkv.narrow(1, i * WIDTH, WIDTH).unwrap();
        let (q, k, v) = (part(0), part(1), part(2));
        judged(cpu, &call(&q, Kv::Dense { k: &k, v: &v }, causal))
    });
}

#[test]
fn decoder_self_attention_within_its_bar() {
    table("decoder self", 448, |cpu, len, dtype, causal| {
        let lineage = Lineage::new(1, CAPACITY);
        let cache = grown(&random(len, dtype), &random(len, dtype));
        // The last token alone, and the whole prompt.
        worst([1, len].map(|queries| {
            let q = random(queries, dtype);
            let row = row(&cache, &lineage, queries, len);
            judged(cpu, &call(&q, Kv::Growing(&[row]), causal))
        }))
    });
}

#[test]
fn decoder_cross_attention_within_its_bar() {
    table("decoder cross", 1500, |cpu, len, dtype, causal| {
        let cache = cross(cpu, &random(len, dtype), &random(len, dtype));
        let q = random(6, dtype);
        let counts = [1, 4, 1];
        let rows = counts.map(|queries| CrossRow {
            queries,
            cache: &cache,
        });
        judged(cpu, &call(&q, Kv::Cross(&rows), causal))
    });
}

#[test]
fn weights_are_returned_where_asked_for() {
    let (q, k, v) = (
        random(3, DType::F32),
        random(5, DType::F32),
        random(5, DType::F32),
    );
    let mut call = call(&q, Kv::Dense { k: &k, v: &v }, true);
    call.weights = true;
    for backend in built_in(&Cpu::new(Some(1), None)) {
        let attended = backend.attend(&call).unwrap();
        let weights = &attended.weights.unwrap()[0];
        assert_eq!(weights.dims(), [HEADS, 3, 5], "{}", backend.name());
        // The first query sees three keys.
        let first = weights
            .get(0)
            .unwrap()
            .get(0)
            .unwrap()
            .to_vec1::<f32>()
            .unwrap();
        assert!((first.iter().sum::<f32>() - 1.0).abs() < 1e-6 && first[3..] == [0.0, 0.0]);
    }
}

#[test]
fn shapes_that_do_not_fit_are_errors() {
    let (q, short) = (
        random(3, DType::F32),
        random(5, DType::F32).narrow(1, 0, 64).unwrap(),
    );
    let k = random(5, DType::F32);
    let cache = GroupKv::new(GrowingDtype::F32, HEADS, HEAD_DIM, 1, 448);
    let lineage = Lineage::new(1, 448);
    let rows = [row(&cache, &lineage, 2, 2)];
    let calls = [
        (
            call(&q, Kv::Dense { k: &k, v: &short }, false),
            "keys and values",
        ),
        (
            call(&short, Kv::Dense { k: &k, v: &k }, false),
            "queries of shape",
        ),
        (call(&q, Kv::Growing(&rows), false), "2 queries, expected 3"),
    ];
    for backend in built_in(&Cpu::new(Some(1), None)) {
        for (call, words) in &calls {
            let error = backend.attend(call).err().expect("an error").to_string();
            assert!(error.contains(words), "{}: {error}", backend.name());
        }
    }
}
