use super::math::{exp, exp2, gelu};
use super::*;

/// Applies a vector function to a list whose length is a multiple of 16.
struct Map<'a, F>(&'a mut [f32], F);

trait Function {
    fn apply<S: Simd>(s: S, x: S::F) -> S::F;
}
struct Exp;
struct Gelu;
impl Function for Exp {
    #[inline(always)]
    fn apply<S: Simd>(s: S, x: S::F) -> S::F {
        exp(s, x)
    }
}
impl Function for Gelu {
    #[inline(always)]
    fn apply<S: Simd>(s: S, x: S::F) -> S::F {
        gelu(s, x)
    }
}
impl<F: Function> Task for Map<'_, F> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for lanes in self.0.as_chunks_mut().0 {
            s.store(F::apply(s, s.load(lanes)), lanes);
        }
    }
}

fn points(low: f32, high: f32) -> Vec<f32> {
    let count = 1 << 15;
    (0..count)
        .map(|i| low + (high - low) * i as f32 / (count - 1) as f32)
        .collect()
}

fn same_bytes_everywhere<F: Function>(function: fn() -> F, x: &[f32]) -> Vec<f32> {
    let at = |level| {
        let mut y = x.to_vec();
        dispatch(level, Map(&mut y, function()));
        y
    };
    let plain = at(SimdLevel::SCALAR);
    for level in SimdLevel::available() {
        let bits = |y: &[f32]| y.iter().map(|y| y.to_bits()).collect::<Vec<_>>();
        assert!(
            bits(&at(level)) == bits(&plain),
            "{level} differs from scalar"
        );
    }
    plain
}

#[test]
fn exp_is_exact_to_two_units_and_the_same_at_every_level() {
    let x = points(-87.3, 88.3);
    let y = same_bytes_everywhere(|| Exp, &x);
    let mut worst = 0f64;
    for (&x, &y) in x.iter().zip(&y) {
        let exact = f64::from(x).exp();
        let unit = f64::from((exact as f32).next_up()) - f64::from(exact as f32);
        worst = worst.max((f64::from(y) - exact).abs() / unit);
    }
    assert!(worst < 1.5, "{worst} units");
    let mut edge = vec![
        f32::NEG_INFINITY,
        -1e30,
        -88.0,
        0.0,
        88.4,
        1e30,
        f32::INFINITY,
    ];
    edge.resize(LANES, 1.0);
    let y = same_bytes_everywhere(|| Exp, &edge);
    assert_eq!(
        y[..7],
        [
            0.0,
            0.0,
            0.0,
            1.0,
            f32::INFINITY,
            f32::INFINITY,
            f32::INFINITY
        ]
    );
}

/// The error function by its series and, far out, its continued fraction: the plain f64 version.
pub fn erf(x: f64) -> f64 {
    if x < 0.0 {
        return -erf(-x);
    }
    let scale = (-x * x).exp() / std::f64::consts::PI.sqrt();
    if x < 3.0 {
        let (mut term, mut sum, mut n) = (2.0 * x, 0.0, 1.0);
        while term > 1e-18 * sum {
            sum += term;
            term *= 2.0 * x * x / (2.0 * n + 1.0);
            n += 1.0;
        }
        return scale * sum;
    }
    let fraction = (1..60)
        .rev()
        .fold(x, |tail, n| x + f64::from(n) / 2.0 / tail);
    1.0 - scale / fraction
}

#[test]
fn gelu_is_the_erf_form_and_the_same_at_every_level() {
    assert!((erf(0.5) - 0.520_499_877_813_046_5).abs() < 1e-15);
    assert!((erf(3.5) - 0.999_999_256_901_627_7).abs() < 1e-15);
    let x: Vec<f32> = [points(-7.0, 7.0), points(-300.0, 300.0)].concat();
    let y = same_bytes_everywhere(|| Gelu, &x);
    for (&x, &y) in x.iter().zip(&y) {
        let wide = f64::from(x);
        let exact = 0.5 * wide * (1.0 + erf(wide / 2f64.sqrt()));
        let error = (f64::from(y) - exact).abs() / wide.abs().max(1.0);
        assert!(error < 2e-7, "gelu({x}) = {y}, not {exact}");
    }
}

/// Unsigned bytes as [`Simd::dot4`] takes them.
#[inline(always)]
fn word_of_one_sign<S: Simd>(s: S, bytes: [u8; 4]) -> S::Words {
    let shift = if S::MIXED_SIGNS { 0 } else { 128 };
    s.words(&[u32::from_le_bytes(bytes.map(|byte| byte ^ shift)); 4], 0)
}

/// What [`Simd::dot4`] gave too much for bytes that [`word_of_one_sign`] made ready.
#[inline(always)]
fn doubled_sign<S: Simd>(s: S, signed: &[i8; 64]) -> S::I {
    let sum = |quad: &[i8; 4]| quad.iter().map(|&byte| i32::from(byte)).sum::<i32>();
    let shift = if S::MIXED_SIGNS { 0 } else { -128 };
    let quads = signed.as_chunks::<4>().0;
    s.load_i32(&std::array::from_fn(|i| shift * sum(&quads[i])))
}

/// Every integer and conversion operation on lanes that are all different.
struct Integers;

impl Task<Vec<i64>> for Integers {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Vec<i64> {
        let ints: [i32; LANES] = std::array::from_fn(|i| (i as i32 - 7) * 12_345_678);
        let bytes: [i8; 64] = std::array::from_fn(|i| (i * 37 % 255) as i8 | 1);
        let halves: [u16; LANES] = std::array::from_fn(|i| (i * 4099) as u16);
        let (a, b) = (s.load_i32(&ints), s.splat_i32(-77_777));
        let x = word_of_one_sign(s, [255, 254, 3, 128]);
        let mut all = Vec::new();
        let mixed = s.sub_i32(s.mul_i32(a, b), s.add_i32(a, b));
        let dots = s.dot4(a, x, 0, s.bytes(&bytes));
        let dots = s.sub_i32(dots, doubled_sign(s, &bytes));
        for ints in [mixed, dots, s.round(s.mul(s.float(a), s.splat(1e-4)))] {
            all.extend(s.array(s.float(ints)).map(|f| f as i64));
            let mut clamped = [0; LANES];
            s.store_u8(ints, &mut clamped);
            all.extend(clamped.map(i64::from));
        }
        let odd = s.mask(0b1010_0110_0101_1100);
        let chosen = s.select(odd, s.float(a), s.load_f16(&halves));
        all.extend(s.array(chosen).map(|f| i64::from(f.to_bits())));
        let wild = s.mul(s.float(a), s.splat(1e30));
        all.extend(s.array(s.float(s.round(wild))).map(|f| f as i64));
        all.extend([s.total(chosen), s.largest(chosen), s.smallest(chosen)].map(|f| f as i64));
        all
    }
}

#[test]
fn every_level_agrees_with_scalar_on_integers_masks_and_conversions() {
    let plain = dispatch(SimdLevel::SCALAR, Integers);
    for level in SimdLevel::available() {
        assert_eq!(dispatch(level, Integers), plain, "{level}");
    }
}

#[test]
fn dot4_is_exact_at_the_extremes() {
    struct Extremes;
    impl Task<[f32; LANES]> for Extremes {
        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> [f32; LANES] {
            let (x, bytes) = (word_of_one_sign(s, [255; 4]), [-127; 64]);
            let dots = s.dot4(s.splat_i32(0), x, 0, s.bytes(&bytes));
            s.array(s.float(s.sub_i32(dots, doubled_sign(s, &bytes))))
        }
    }
    for level in SimdLevel::available() {
        assert_eq!(
            dispatch(level, Extremes),
            [-4.0 * 255.0 * 127.0; LANES],
            "{level}"
        );
    }
}

/// Powers of two at 16 places.
struct Powers([f32; LANES]);

impl Task<[f32; LANES]> for Powers {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> [f32; LANES] {
        s.array(exp2(s, s.load(&self.0)))
    }
}

#[test]
fn powers_of_two_are_exact_enough_and_zero_far_down() {
    let places: Vec<f32> = (0..20_000).map(|i| -i as f32 * 0.006).collect();
    for level in SimdLevel::available() {
        for x in places.as_chunks::<LANES>().0 {
            for (x, y) in x.iter().zip(dispatch(level, Powers(*x))) {
                let error = (f64::from(y) / f64::from(*x).exp2() - 1.0).abs();
                assert!(error < 3e-7, "{level}: 2^{x} is {y}");
            }
        }
        assert_eq!(dispatch(level, Powers([-1e30; LANES])), [0.0; LANES]);
    }
}

/// `255 × 2^-x` as bytes of 64 numbers.
struct BytePowers([f32; 4 * LANES]);

impl Task<[u32; LANES]> for BytePowers {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> [u32; LANES] {
        let vectors = std::array::from_fn(|i| s.load_first(&self.0[i * LANES..]));
        let mut words = [0; LANES];
        s.store_words(s.byte_powers(vectors), &mut words);
        words
    }
}

#[test]
fn byte_powers_are_near_and_the_same_at_every_level() {
    // Every step of 1/64 that leaves something, the middles between two, and what is far beyond.
    let mut x: Vec<f32> = (0..1280).map(|i| i as f32 / 128.0).collect();
    x.extend([-0.001, 15.99, 16.0, 31.5, 100.0, 2000.0, 1e6, 1e7]);
    x.resize(x.len().next_multiple_of(64), 3.3);
    for x in x.as_chunks::<{ 4 * LANES }>().0 {
        let plain = dispatch(SimdLevel::SCALAR, BytePowers(*x)).map(u32::to_le_bytes);
        for (byte, x) in plain.as_flattened().iter().zip(x) {
            let want = 255.0 * (-x.max(0.0)).exp2();
            assert!((f32::from(*byte) - want).abs() < 2.0, "{x}: {byte}, {want}");
        }
        for level in SimdLevel::available() {
            let bytes = dispatch(level, BytePowers(*x)).map(u32::to_le_bytes);
            assert_eq!(bytes, plain, "{level} at {x:?}");
        }
    }
}

/// Every operation on bytes within lanes that are all different.
struct ByteLanes;

impl Task<Vec<u32>> for ByteLanes {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Vec<u32> {
        let words: [u32; LANES] = std::array::from_fn(|i| (i as u32 + 1).wrapping_mul(0x9e37_79b9));
        let small =
            |k: u32| std::array::from_fn::<i32, LANES, _>(|i| (i as u32 * 13 + k * 5) as i32 % 256);
        let (a, b) = (
            s.load_words(&words),
            s.load_words(&words.map(|w| w.rotate_left(11))),
        );
        let joined = s.join_bytes([0, 1, 2, 3].map(|k| s.load_i32(&small(k))));
        // Every lane of the words that are read at once; 128 off, as attention takes it back.
        let odd = words.map(|w| w | 0x0101_0101);
        let right = s.of_one_sign(s.load_words(&odd));
        let total = |quad: u32, of: fn(u8) -> i32| quad.to_le_bytes().map(of).iter().sum::<i32>();
        let (above, below) = match S::MIXED_SIGNS {
            true => (-128, 0),
            false => (0, -128),
        };
        let [mut signed, mut unsigned] = [[s.splat_i32(0); 2]; 2];
        for i in 0..2 {
            let start = s.splat_i32(above * total(odd[i], |byte| i32::from(byte as i8)));
            signed[i] = s.dot_signed(start, s.words(&odd, i), 0, right);
            let start = s.splat_i32(below * total(odd[i], i32::from));
            unsigned[i] = s.dot_unsigned(start, s.words(&odd, i), 0, right);
        }
        let mut all = Vec::new();
        for x in [
            joined,
            s.join_byte(a, b),
            s.shift_byte(a),
            s.dot_bytes(a, b, a),
            s.add_i32(signed[0], signed[1]),
            s.sub_i32(unsigned[0], unsigned[1]),
        ] {
            let mut out = [0; LANES];
            s.store_words(x, &mut out);
            all.extend(out);
            let mut low = [0; LANES];
            s.store_low_bytes(x, &mut low);
            all.extend(low.map(u32::from));
        }
        let x = s.load(&std::array::from_fn(|i| i as f32 * 0.37 - 3.1));
        for x in [x, s.mul(x, s.splat(0.043)), s.mul(x, s.splat(7e-9))] {
            all.extend(s.array(s.fraction(x)).map(f32::to_bits));
        }
        all.extend(
            s.array(s.scale(x, s.mul(x, s.splat(9.5))))
                .map(f32::to_bits),
        );
        all
    }
}

#[test]
fn every_level_agrees_with_scalar_on_bytes() {
    let plain = dispatch(SimdLevel::SCALAR, ByteLanes);
    // 64 small numbers, four to a word, in order.
    assert_eq!(plain[..2], [0x271a_0d00, 0x5b4e_4134]);
    for level in SimdLevel::available() {
        assert_eq!(dispatch(level, ByteLanes), plain, "{level}");
    }
}
