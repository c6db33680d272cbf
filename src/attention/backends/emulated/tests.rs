//! Every backend that vLLM's rules choose against `NAIVE` in f64, on the same rounded inputs.

use std::collections::BTreeMap;

use super::*;
use crate::attention::CrossRow;
use crate::attention::backends::tests::{
    CAPACITY, HEAD_DIM, call, cross, error, grown, plain, random, repack, row,
};
use crate::kernels::SimdLevel;
use crate::kernels::attention::{CrossKv, Lineage};

const LENGTHS: [usize; 8] = [1, 3, 17, 255, 256, 257, 448, 1500];
const DTYPES: [Dtype; 3] = [Dtype::F16, Dtype::Bf16, Dtype::F32];

fn rounded(dtype: Dtype, x: &Tensor) -> Tensor {
    let number = match dtype {
        Dtype::F16 => DType::F16,
        Dtype::Bf16 => DType::BF16,
        Dtype::F32 => DType::F32,
    };
    x.to_dtype(number).unwrap().to_dtype(DType::F32).unwrap()
}

/// Rows of numbers that the dtype has.
fn inputs<const N: usize>(dtype: Dtype, rows: [usize; N]) -> [Tensor; N] {
    rows.map(|rows| rounded(dtype, &random(rows, DType::F32)))
}

/// Errors by backend, role and dtype: the largest, and every case beyond the bar.
#[derive(Default)]
struct Errors {
    largest: BTreeMap<(&'static str, &'static str, &'static str), f64>,
    cases: usize,
    beyond: Vec<String>,
}

impl Errors {
    /// Judges each backend that serves the layer and the dtype.
    fn judge(
        &mut self,
        cpu: &Cpu,
        attn_type: AttentionType,
        dtype: Dtype,
        call: &AttentionCall<'_>,
    ) {
        let mut want = None;
        for design in DESIGNS {
            let backend = EmulatedBackend::new(cpu.clone(), design, dtype);
            if !backend
                .objections(&AttentionQuery::new(attn_type, HEAD_DIM, dtype))
                .is_empty()
            {
                continue;
            }
            let want = want.get_or_insert_with(|| Naive::in_f64().attend(call).unwrap().output);
            let error = error(&backend.compute(call).unwrap(), want);
            self.cases += 1;
            let key = (design.name.as_str(), attn_type.value(), dtype.name());
            let largest = self.largest.entry(key).or_default();
            *largest = largest.max(error);
            if error > 1e-5 {
                let queries = call.queries.dim(0).unwrap();
                self.beyond.push(format!(
                    "{key:?} {queries} queries causal {}: {error:.1e}",
                    call.causal
                ));
            }
        }
    }

    fn none_beyond(&self, least: usize) {
        for (key, error) in &self.largest {
            eprintln!("{key:?}: {error:.1e}");
        }
        eprintln!("{} cases", self.cases);
        assert!(self.cases >= least, "only {} cases", self.cases);
        assert!(
            self.beyond.is_empty(),
            "{} beyond:\n{}",
            self.beyond.len(),
            self.beyond.join("\n")
        );
    }
}

/// Every length, dtype and direction.
fn cases() -> impl Iterator<Item = (usize, Dtype, bool)> {
    let of_length = |len| DTYPES.map(|dtype| [(len, dtype, false), (len, dtype, true)]);
    LENGTHS.into_iter().flat_map(of_length).flatten()
}

#[test]
fn encoder_within_its_bar() {
    let (cpu, mut errors) = (Cpu::new(None, None), Errors::default());
    for (len, dtype, causal) in cases() {
        let [q, k, v] = inputs(dtype, [len; 3]);
        let kv = Kv::Dense { k: &k, v: &v };
        errors.judge(&cpu, AttentionType::Encoder, dtype, &call(&q, kv, causal));
    }
    errors.none_beyond(8 * 2 * (5 * 2 + 3));
}

#[test]
fn decoder_self_attention_within_its_bar() {
    let (cpu, mut errors) = (Cpu::new(None, None), Errors::default());
    let lineage = Lineage::new(1, CAPACITY);
    for (len, dtype, causal) in cases() {
        let [k, v] = inputs(dtype, [len; 2]);
        let cache = grown(&k, &v);
        // A token, a prompt behind a context, and a prompt alone.
        for queries in [1, len.div_ceil(3), len] {
            let [q] = inputs(dtype, [queries]);
            let row = row(&cache, &lineage, queries, len);
            let call = call(&q, Kv::Growing(std::slice::from_ref(&row)), causal);
            errors.judge(&cpu, AttentionType::Decoder, dtype, &call);
        }
    }
    errors.none_beyond(3 * 8 * 2 * (5 * 2 + 3));
}

#[test]
fn cross_attention_within_its_bar() {
    let (cpu, mut errors) = (Cpu::new(None, None), Errors::default());
    for (len, dtype, causal) in cases() {
        let [q, k, v] = inputs(dtype, [6, len, len]);
        let cache = cross(&cpu, &k, &v);
        let rows = [1, 4, 1].map(|queries| CrossRow {
            queries,
            cache: &cache,
        });
        errors.judge(
            &cpu,
            AttentionType::EncoderDecoder,
            dtype,
            &call(&q, Kv::Cross(&rows), causal),
        );
    }
    errors.none_beyond(8 * 2 * (3 * 2 + 2));
}

#[test]
fn a_row_has_the_same_bits_in_every_company() {
    let lineage = Lineage::new(1, CAPACITY);
    let [q, k, v] = inputs(Dtype::F32, [7, 700, 700]);
    let cache = grown(&k, &v);
    let rows = |shapes: &[(usize, usize)]| -> Vec<GrowingRow<'_>> {
        let row = |&(queries, kv_len): &_| row(&cache, &lineage, queries, kv_len);
        shapes.iter().map(row).collect()
    };
    for design in DESIGNS {
        for dtype in DTYPES {
            let output = |cpu: &Cpu, q: &Tensor, shapes: &[(usize, usize)]| {
                let backend = EmulatedBackend::new(cpu.clone(), design, dtype);
                let rows = rows(shapes);
                let call = call(q, Kv::Growing(&rows), true);
                plain(&backend.attend(&call).unwrap().output)
            };
            let cpu = Cpu::new(Some(1), Some(SimdLevel::available()[0]));
            let together = output(&cpu, &q, &[(1, 700), (5, 300), (1, 40)]);
            for level in SimdLevel::available() {
                for threads in [1, 3] {
                    let cpu = Cpu::new(Some(threads), Some(level));
                    let last = output(&cpu, &q.narrow(0, 6, 1).unwrap(), &[(1, 40)]);
                    let middle = output(&cpu, &q.narrow(0, 1, 5).unwrap(), &[(5, 300)]);
                    let first = output(&cpu, &q.narrow(0, 0, 1).unwrap(), &[(1, 700)]);
                    let apart = [first, middle, last].concat();
                    assert_eq!(together, apart, "{} {dtype:?} {level}", design.name);
                }
            }
        }
    }
}

#[test]
fn numbers_are_rounded_on_the_way_in_and_out() {
    let [q, k, v] = inputs(Dtype::F32, [40; 3]);
    let cpu = Cpu::new(Some(1), None);
    for (dtype, kept_bits) in [(Dtype::F16, 13), (Dtype::Bf16, 16)] {
        let backend = EmulatedBackend::new(cpu.clone(), DESIGNS[0], dtype);
        let output = |[q, k, v]: [&Tensor; 3]| {
            let call = call(q, Kv::Dense { k, v }, false);
            plain(&backend.attend(&call).unwrap().output)
        };
        let whole = output([&q, &k, &v]);
        let [q, k, v] = [&q, &k, &v].map(|x| rounded(dtype, x));
        let short = output([&q, &k, &v]);
        assert_eq!(whole, short);
        assert!(
            whole
                .iter()
                .all(|x| x.to_bits() << (32 - kept_bits) == 0 || x.abs() < 1e-4)
        );
    }
}

#[test]
fn cross_attention_sees_what_was_packed_last() {
    let (cpu, mut failures) = (Cpu::new(Some(2), None), Vec::new());
    let [q, k, v, other_k, other_v] = inputs(Dtype::F32, [1, 40, 40, 40, 40]);
    let output = |design, dtype, cache: &CrossKv| {
        let row = CrossRow { queries: 1, cache };
        let call = call(&q, Kv::Cross(std::slice::from_ref(&row)), false);
        let backend = EmulatedBackend::new(cpu.clone(), design, dtype);
        plain(&backend.attend(&call).unwrap().output)
    };
    for design in [&triton::DESIGN, &unified::DESIGN, &flash::DESIGN] {
        let mut cache = cross(&cpu, &k, &v);
        for (round, [k, v]) in [[&k, &v], [&other_k, &other_v]].into_iter().enumerate() {
            repack(&cpu, &mut cache, k, v);
            // One dtype after another, and each twice: from what is kept, and from the cache.
            for dtype in DTYPES.into_iter().chain([Dtype::F32, Dtype::F16]) {
                let fresh = output(design, dtype, &cross(&cpu, k, v));
                if output(design, dtype, &cache) != fresh {
                    failures.push(format!("{} {dtype}, round {round}", design.name));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn limits_are_those_of_the_table() {
    type Case = (
        &'static str,
        AttentionType,
        usize,
        Dtype,
        Option<usize>,
        &'static str,
    );
    use AttentionType::{Decoder, Encoder, EncoderDecoder, EncoderOnly};
    const CROSS: &str = "attention type AttentionType.ENCODER_DECODER not supported";
    let table: [Case; 18] = [
        ("TRITON_ATTN", EncoderOnly, 64, Dtype::Bf16, None, ""),
        (
            "ROCM_AITER_UNIFIED_ATTN",
            EncoderOnly,
            64,
            Dtype::Bf16,
            None,
            "",
        ),
        ("ROCM_ATTN", EncoderDecoder, 64, Dtype::F16, None, CROSS),
        ("ROCM_ATTN", Encoder, 64, Dtype::F32, None, ""),
        (
            "ROCM_ATTN",
            Decoder,
            48,
            Dtype::F16,
            None,
            "head_size not supported",
        ),
        (
            "ROCM_ATTN",
            Decoder,
            64,
            Dtype::F16,
            Some(24),
            "block_size not supported",
        ),
        ("ROCM_AITER_FA", EncoderDecoder, 64, Dtype::F16, None, CROSS),
        ("ROCM_AITER_FA", Encoder, 64, Dtype::F16, None, ""),
        (
            "ROCM_AITER_FA",
            Encoder,
            64,
            Dtype::F32,
            None,
            "dtype not supported",
        ),
        (
            "ROCM_AITER_FA",
            Decoder,
            80,
            Dtype::Bf16,
            Some(48),
            "head_size not supported",
        ),
        (
            "ROCM_AITER_UNIFIED_ATTN",
            EncoderDecoder,
            64,
            Dtype::F16,
            Some(64),
            "",
        ),
        // Only 2026-03 declares it; under 2026-08 the selector refuses it.
        ("ROCM_AITER_UNIFIED_ATTN", Decoder, 64, Dtype::F32, None, ""),
        (
            "ROCM_AITER_UNIFIED_ATTN",
            Decoder,
            24,
            Dtype::F16,
            None,
            "head_size not supported",
        ),
        ("TRITON_ATTN", EncoderDecoder, 40, Dtype::F32, Some(16), ""),
        (
            "TRITON_ATTN",
            Decoder,
            31,
            Dtype::F16,
            Some(8),
            "head_size not supported, block_size not supported",
        ),
        ("FLASH_ATTN", Encoder, 72, Dtype::Bf16, None, ""),
        (
            "FLASH_ATTN",
            Encoder,
            260,
            Dtype::Bf16,
            None,
            "head_size not supported",
        ),
        (
            "FLASH_ATTN",
            EncoderDecoder,
            64,
            Dtype::F32,
            None,
            "dtype not supported",
        ),
    ];
    let all = EmulatedBackend::all(&Cpu::new(Some(1), None));
    let mut failures = Vec::new();
    for (name, attn_type, head_size, dtype, block_size, expected) in table {
        let mut query = AttentionQuery::new(attn_type, head_size, dtype);
        query.block_size = block_size;
        let backend = all.iter().find(|b| b.name() == name).unwrap();
        let got: Vec<_> = backend
            .objections(&query)
            .iter()
            .map(ToString::to_string)
            .collect();
        if got.join(", ") != expected {
            failures.push(format!("{name} {attn_type} {head_size} {dtype}: {got:?}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    // What the tables allow and no kernel here has.
    let mut query = AttentionQuery::new(Decoder, 64, Dtype::F16);
    query.flags.sink = true;
    let triton = all.iter().find(|b| b.name() == "TRITON_ATTN").unwrap();
    assert_eq!(triton.objections(&query), [Objection::Sinks]);
}
