use super::*;
use crate::comparison::worst;
use crate::kernels::SimdLevel;

/// Numbers that look random and are the same every time.
pub fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as f32 / u32::MAX as f32 * 2.0 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

struct Case {
    rows: usize,
    n_in: usize,
    n_out: usize,
    norm: bool,
    gelu: bool,
    residual: bool,
}

const fn case(rows: usize, n_in: usize, n_out: usize, extras: [bool; 3]) -> Case {
    Case {
        rows,
        n_in,
        n_out,
        norm: extras[0],
        gelu: extras[1],
        residual: extras[2],
    }
}

const CASES: &[Case] = &[
    case(1, 1, 1, [false, false, false]),
    case(1, 64, 32, [false, false, false]),
    case(2, 37, 45, [false, false, true]),
    case(5, 64, 96, [true, false, false]),
    case(13, 100, 70, [true, true, true]),
    case(25, 40, 33, [false, true, false]),
    case(48, 33, 31, [false, false, true]),
    case(61, 48, 50, [true, true, false]),
    case(131, 80, 64, [true, false, true]),
];

struct Inputs {
    x: Vec<f32>,
    w: Vec<f32>,
    bias: Vec<f32>,
    norm: [Vec<f32>; 2],
    residual: Vec<f32>,
}

impl Inputs {
    fn new(case: &Case, halves: bool) -> Inputs {
        let narrow = |w: f32| {
            if halves {
                half::f16::from_f32(w).to_f32()
            } else {
                w
            }
        };
        Inputs {
            x: numbers(case.rows * (case.n_in + 3), 1),
            w: numbers(case.n_out * case.n_in, 2)
                .into_iter()
                .map(narrow)
                .collect(),
            bias: numbers(case.n_out, 3),
            norm: [numbers(case.n_in, 4), numbers(case.n_in, 5)],
            residual: numbers(case.rows * case.n_out, 6),
        }
    }

    fn pack(&self, cpu: &Cpu, case: &Case, bits: u32) -> PackedLinear {
        let pack = match bits {
            4 => PackedLinear::pack_i4,
            8 => PackedLinear::pack_i8,
            _ => PackedLinear::pack_f32,
        };
        pack(cpu, &self.w, case.n_out, case.n_in, Some(&self.bias))
    }

    fn call(&self, case: &Case) -> LinearCall<'_> {
        let [weight, bias] = &self.norm;
        LinearCall {
            x: &self.x,
            x_stride: case.n_in + 3,
            rows: case.rows,
            norm: case.norm.then_some(Norm {
                weight,
                bias,
                eps: 1e-5,
            }),
            gelu: case.gelu,
            residual: case.residual.then_some(&self.residual),
        }
    }
}

fn run(cpu: &Cpu, w: &PackedLinear, call: &LinearCall) -> Vec<f32> {
    let mut out = vec![f32::NAN; call.rows * w.n_out()];
    linear(cpu, w, call, &mut out);
    out
}

/// The plain version, in f64, over the weights as they are stored.
fn plain(w: &PackedLinear, bias: &[f32], call: &LinearCall) -> Vec<f64> {
    let (n_in, weights) = (w.n_in(), w.unpacked());
    let mut out = Vec::new();
    for row in 0..call.rows {
        let x = &call.x[row * call.x_stride..][..n_in];
        let mut normed = vec![0.0; n_in];
        match &call.norm {
            Some(norm) => layer_norm(&Cpu::new(Some(1), None), x, 1, norm, &mut normed),
            None => normed.copy_from_slice(x),
        }
        for (n, weights) in weights.chunks(n_in).enumerate() {
            let product = |(&x, &w): (&f32, &f32)| f64::from(x) * f64::from(w);
            let sum: f64 = normed.iter().zip(weights).map(product).sum();
            let mut y = sum + f64::from(bias[n]);
            if call.gelu {
                y = 0.5 * y * (1.0 + crate::kernels::simd::tests::erf(y / 2f64.sqrt()));
            }
            out.push(
                y + call
                    .residual
                    .map_or(0.0, |r| f64::from(r[row * w.n_out() + n])),
            );
        }
    }
    out
}

/// Bits of a weight: floats, bytes, groups of 4 bits.
const BITS: [u32; 3] = [32, 8, 4];

fn over_cases(body: impl Fn(&Case, &Cpu, u32, &str) -> Result<(), String>) {
    let mut failures = Vec::new();
    for (case, bits) in CASES.iter().flat_map(|case| BITS.map(|bits| (case, bits))) {
        for (level, threads) in SimdLevel::available()
            .into_iter()
            .flat_map(|l| [(l, 1), (l, 3)])
        {
            let (rows, n_in, n_out) = (case.rows, case.n_in, case.n_out);
            let name = format!("{rows}×{n_in}→{n_out} {bits} bits {level} {threads} threads");
            if let Err(why) = body(case, &Cpu::new(Some(threads), Some(level)), bits, &name) {
                failures.push(format!("{name}: {why}"));
            }
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn agrees_with_f64_on_every_level() {
    over_cases(|case, cpu, bits, _| {
        let inputs = Inputs::new(case, case.rows % 2 == 0);
        let (w, call) = (inputs.pack(cpu, case, bits), inputs.call(case));
        let exact = plain(&w, &inputs.bias, &call);
        // Quantised inputs are off by up to half a step, 1/510 of their span, each.
        let tolerance = if bits < 32 {
            0.004 * (case.n_in as f64).sqrt() * 3.0
        } else {
            3e-6
        };
        let out = run(cpu, &w, &call);
        let errors = out
            .iter()
            .zip(&exact)
            .map(|(&y, e)| (f64::from(y) - e).abs() / e.abs().max(1.0));
        let worst = worst(errors);
        if worst < tolerance {
            Ok(())
        } else {
            Err(format!("off by {worst:e}"))
        }
    });
}

#[test]
fn a_row_has_the_same_bytes_at_any_level_and_thread_count_and_in_any_company() {
    let reference = Cpu::new(Some(1), Some(SimdLevel::SCALAR));
    over_cases(|case, cpu, bits, _| {
        let inputs = Inputs::new(case, case.rows % 2 == 1);
        let w = inputs.pack(cpu, case, bits);
        let call = inputs.call(case);
        let all = run(cpu, &w, &call);
        if all != run(&reference, &w, &call) {
            return Err("differs from scalar".into());
        }
        for row in [0, case.rows / 2, case.rows - 1] {
            let (start, n_out) = (row * call.x_stride, case.n_out);
            let range = row * n_out..(row + 1) * n_out;
            let residual = call.residual.map(|r| &r[range.clone()]);
            let alone = LinearCall {
                x: &inputs.x[start..],
                rows: 1,
                residual,
                ..call
            };
            if run(cpu, &w, &alone) != all[range] {
                return Err(format!("row {row} alone differs"));
            }
        }
        Ok(())
    });
}

#[test]
fn half_precision_storage_has_the_bytes_of_single_precision() {
    let case = case(30, 70, 90, [true, false, false]);
    let mut inputs = Inputs::new(&case, true);
    let cpu = Cpu::new(Some(2), None);
    let narrow = inputs.pack(&cpu, &case, 32);
    // One weight that is no half: its own output changes, the others must not.
    inputs.w[0] = 0.1;
    let wide = inputs.pack(&cpu, &case, 32);
    assert_eq!(
        (narrow.dtype(), wide.dtype()),
        (WeightDtype::F16, WeightDtype::F32)
    );
    let (a, b) = (
        run(&cpu, &narrow, &inputs.call(&case)),
        run(&cpu, &wide, &inputs.call(&case)),
    );
    let mut pairs = a.chunks(90).zip(b.chunks(90));
    assert!(pairs.all(|(a, b)| a[1..] == b[1..] && a[0] != b[0]));
}

/// The integer reference: quantise as documented, sum exactly, scale back in the documented order.
#[test]
fn byte_sums_are_exact_integers() {
    let case = case(3, 200, 40, [false, false, false]);
    let inputs = Inputs::new(&case, false);
    let cpu = Cpu::new(Some(1), None);
    let w = inputs.pack(&cpu, &case, 8);
    let out = run(&cpu, &w, &inputs.call(&case));
    let Weights::I8(stored) = &w.weights else {
        panic!("packed as bytes")
    };
    let scaled_back = w.unpacked();
    for (row, out) in out.chunks(40).enumerate() {
        let x = &inputs.x[row * 203..][..200];
        let (low, high) = x
            .iter()
            .fold((0f32, 0f32), |(l, h), &x| (l.min(x), h.max(x)));
        let inverse = 255.0 / (high - low);
        let zero = (-low * inverse).round_ties_even() as i32;
        let byte = |x: f32| ((x * inverse).round_ties_even() as i32 + zero).clamp(0, 255) - zero;
        for (n, weights) in scaled_back.chunks(200).enumerate() {
            let scale = stored.scales.numbers()[n];
            let product = |(&x, &w): (&f32, &f32)| byte(x) * (w / scale).round() as i32;
            let sum: i32 = x.iter().zip(weights).map(product).sum();
            let scale = (high - low) / 255.0 * scale;
            assert_eq!(
                out[n],
                sum as f32 * scale + inputs.bias[n],
                "row {row}, output {n}"
            );
        }
    }
}

/// As [`byte_sums_are_exact_integers`], group by group.
#[test]
fn sums_of_nibbles_are_exact_integers() {
    let case = case(3, 192, 40, [false, false, false]);
    let inputs = Inputs::new(&case, false);
    let cpu = Cpu::new(Some(1), None);
    let blocks = nibbles::quantise(&cpu, &inputs.w, 192);
    let w = PackedLinear::pack_blocks(&cpu, &blocks, 40, 192, Some(&inputs.bias));
    let out = run(&cpu, &w, &inputs.call(&case));
    for (row, out) in out.chunks(40).enumerate() {
        let x = &inputs.x[row * 195..][..192];
        for (n, blocks) in blocks.chunks(6 * nibbles::BLOCK).enumerate() {
            let mut sum = 0f32;
            for (x, block) in x.chunks(32).zip(blocks.chunks(nibbles::BLOCK)) {
                let furthest = x.iter().fold(0f32, |far, x| far.max(x.abs()));
                let byte = |x: f32| (x * (127.0 / furthest)).round_ties_even() as i32;
                let nibble = |i: usize| i32::from(block[2 + i % 16] >> (i / 16 * 4) & 15) - 8;
                let part: i32 = (0..32).map(|i| byte(x[i]) * nibble(i)).sum();
                let scale = half::f16::from_le_bytes([block[0], block[1]]).to_f32();
                sum = (part as f32 * (furthest / 127.0)).mul_add(scale, sum);
            }
            assert_eq!(out[n], sum + inputs.bias[n], "row {row}, output {n}");
        }
    }
}

#[test]
fn inputs_that_are_zero_constant_or_not_finite_do_not_panic() {
    let cpu = Cpu::new(Some(1), None);
    for pack in [PackedLinear::pack_i8, PackedLinear::pack_i4] {
        odd_inputs(&cpu, pack);
    }
}

type Pack = fn(&Cpu, &[f32], usize, usize, Option<&[f32]>) -> PackedLinear;

fn odd_inputs(cpu: &Cpu, pack: Pack) {
    let w = pack(cpu, &numbers(64 * 8, 9), 8, 64, None);
    let of = |value| {
        let x = vec![value; 64];
        let call = LinearCall {
            x: &x,
            x_stride: 64,
            rows: 1,
            norm: None,
            gelu: false,
            residual: None,
        };
        run(cpu, &w, &call)
    };
    assert_eq!(of(0.0), [0.0; 8]);
    assert_eq!(of(1e-38), [0.0; 8]);
    assert!(of(2.5).iter().all(|y| y.is_finite()));
    for value in [f32::NAN, f32::INFINITY, f32::MIN] {
        of(value);
    }
    let zeros = pack(cpu, &[0.0; 64 * 8], 8, 64, Some(&[1.5; 8]));
    let call = LinearCall {
        x: &[1.0; 64],
        x_stride: 64,
        rows: 1,
        norm: None,
        gelu: false,
        residual: None,
    };
    assert_eq!(run(cpu, &zeros, &call), [1.5; 8]);
}

#[test]
fn an_mlp_has_the_bytes_of_its_two_layers() {
    for (rows, bits) in [0, 1, 7, 48, 49, 200]
        .into_iter()
        .flat_map(|rows| BITS.map(|bits| (rows, bits)))
    {
        let (up, down) = (
            case(rows, 40, 90, [true, true, false]),
            case(rows, 90, 40, [false, false, true]),
        );
        let (first, second) = (Inputs::new(&up, true), Inputs::new(&down, false));
        let cpu = Cpu::new(Some(3), None);
        let layers = [first.pack(&cpu, &up, bits), second.pack(&cpu, &down, bits)];
        let hidden = run(&cpu, &layers[0], &first.call(&up));
        let last = LinearCall {
            x: &hidden,
            x_stride: 90,
            ..second.call(&down)
        };
        let expected = run(&cpu, &layers[1], &last);
        let mut out = vec![f32::NAN; rows * 40];
        let call = LinearCall {
            residual: Some(&second.residual),
            ..first.call(&up)
        };
        mlp(&cpu, &layers[0], &layers[1], &call, &mut out);
        assert_eq!(out, expected, "{rows} rows, {bits} bits");
    }
}
