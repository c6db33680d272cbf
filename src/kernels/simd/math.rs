//! Functions of a vector: exponential and GELU. The same bytes at every level.

use super::Simd;

/// `e^x`, within 1.5 units in the last place; 0 below the smallest normal result, infinity for `x`
/// above 88.37.
///
/// `x = n ln 2 + r`, `e^r` by a polynomial whose coefficients minimise the relative error (3e-9) on
/// `|r| <= ln 2 / 2`.
#[inline(always)]
pub fn exp<S: Simd>(s: S, x: S::F) -> S::F {
    /// Beyond these, the exponent of 2 would not be one of a normal float.
    const LOWEST: f32 = -87.336_54;
    const HIGHEST: f32 = 88.37;
    const LN2_HIGH: f32 = 0.693_145_75;
    const LN2_LOW: f32 = 1.428_606_8e-6;
    const TERMS: [f32; 4] = [0.008_368_752, 0.041_668_385, 0.166_665_2, 0.499_999_94];
    let too_low = s.less(x, s.splat(LOWEST));
    let too_high = s.less(s.splat(HIGHEST), x);
    let in_range = s.min(s.max(x, s.splat(LOWEST)), s.splat(HIGHEST));
    let n = s.round(s.mul(in_range, s.splat(std::f32::consts::LOG2_E)));
    let n_float = s.float(n);
    let r = s.fma(n_float, s.splat(-LN2_HIGH), in_range);
    let r = s.fma(n_float, s.splat(-LN2_LOW), r);
    let mut p = s.splat(0.001_381_507_8);
    for term in TERMS {
        p = s.fma(p, r, s.splat(term));
    }
    let e_r = s.add(s.fma(s.mul(r, r), p, r), s.splat(1.0));
    let y = s.mul(e_r, s.exponent(s.add_i32(n, s.splat_i32(127))));
    let y = s.select(too_low, s.splat(0.0), y);
    s.select(too_high, s.splat(f32::INFINITY), y)
}

/// `x Φ(x)`, the error-function form of GELU, within 2e-7 of the exact value (relative above 1).
///
/// `Φ(x) - 1/2 = x P(x²) / Q(x²)`, both of degree 5, fitted (error 1e-8) up to 5.6, where `Φ` is 1 in
/// single precision.
#[inline(always)]
pub fn gelu<S: Simd>(s: S, x: S::F) -> S::F {
    const EDGE: f32 = 5.6;
    const P: [f32; 5] = [
        6.319_002e-6,
        1.710_737_7e-4,
        4.690_352_4e-3,
        3.412_357_3e-2,
        3.989_422_6e-1,
    ];
    const Q: [f32; 5] = [
        7.411_136e-5,
        1.897_452_3e-3,
        2.879_176_7e-2,
        2.522_011_7e-1,
        1.0,
    ];
    let near = s.max(s.min(x, s.splat(EDGE)), s.splat(-EDGE));
    let square = s.mul(near, near);
    let mut p = s.splat(2.223_128_7e-8);
    let mut q = s.splat(1.179_919_1e-6);
    for i in 0..5 {
        p = s.fma(p, square, s.splat(P[i]));
        q = s.fma(q, square, s.splat(Q[i]));
    }
    let phi = s.fma(near, s.div(p, q), s.splat(0.5));
    s.select(s.less(x, s.splat(-EDGE)), s.splat(0.0), s.mul(x, phi))
}

/// Minimax coefficients of `2^x` on 0 ..= 1, lowest power first: relative error 7.5e-8.
const EXP2: [f32; 6] = [
    0.999_999_93,
    0.693_153_1,
    0.240_153_62,
    0.055_826_317,
    0.008_989_34,
    0.001_877_576_7,
];

/// `2^x` in f32 precision, for `x` up to 126; 0 far below.
#[inline(always)]
pub fn exp2<S: Simd>(s: S, x: S::F) -> S::F {
    let fraction = s.fraction(x);
    let [rest @ .., highest] = EXP2;
    let mut y = s.splat(highest);
    for i in (0..rest.len()).rev() {
        y = s.fma(y, fraction, s.splat(rest[i]));
    }
    s.scale(y, x)
}
