//! Packing keys and values: numbers are converted row by row, then keys are turned on their side.

use bytemuck::{Pod, Zeroable};

use super::panels::{PANEL, PackedDtype, PackedHead, PackedKv, Rows, depth, lanes, panel_width};
use super::scheme::store_bytes;
use crate::kernels::simd::{LANES, Simd, Task, dispatch};
use crate::kernels::{Cpu, SimdLevel};

impl PackedKv {
    /// Packs `k` and `v`, both `(positions, heads × head_dim)`.
    pub(super) fn pack(
        cpu: &Cpu,
        dtype: PackedDtype,
        k: Rows,
        v: Rows,
        heads: usize,
        head_dim: usize,
    ) -> PackedKv {
        let mut packed = PackedKv::empty(dtype, k.count, heads, head_dim);
        packed.fill(cpu, k, v);
        packed
    }

    /// Packs other keys and values of the same shape into the same memory.
    pub(super) fn fill(&mut self, cpu: &Cpu, k: Rows, v: Rows) {
        self.fill_heads(cpu, k, v, self.head_dim);
    }

    /// Packs `k` and `v`, both `(heads, positions, head_dim)`, as f32.
    pub(super) fn pack_by_head(
        cpu: &Cpu,
        k: &[f32],
        v: &[f32],
        positions: usize,
        heads: usize,
        head_dim: usize,
    ) -> PackedKv {
        let mut packed = PackedKv::empty(PackedDtype::F32, positions, heads, head_dim);
        let [k, v] = [k, v].map(|data| Rows {
            data,
            stride: head_dim,
            count: positions,
        });
        packed.fill_heads(cpu, k, v, positions * head_dim);
        packed
    }

    /// As [`PackedKv::fill`], where a head's numbers start `head_stride` behind the last one's.
    fn fill_heads(&mut self, cpu: &Cpu, k: Rows, v: Rows, head_stride: usize) {
        let counts = (k.count, v.count);
        assert_eq!(
            counts,
            (self.positions, self.positions),
            "as many values as keys"
        );
        self.one_sign = one_sign(cpu);
        let (dtype, head_dim) = (self.dtype, self.head_dim);
        cpu.pool().run_chunks(&mut self.heads, 1, |index, head| {
            let part = HeadPart {
                head: &mut head[0],
                dtype,
                head_dim,
            };
            write_head(cpu.level(), part, k, v, index * head_stride);
        });
    }
}

/// Whether bytes are stored as a level without [`Simd::MIXED_SIGNS`] multiplies them.
pub(super) fn one_sign(cpu: &Cpu) -> bool {
    dispatch(cpu.level(), OneSign)
}

struct OneSign;

impl Task<bool> for OneSign {
    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> bool {
        !S::MIXED_SIGNS
    }
}

/// A head to be written.
struct HeadPart<'a> {
    head: &'a mut PackedHead,
    dtype: PackedDtype,
    head_dim: usize,
}

/// Packs the head whose numbers start at `first` in each row.
fn write_head(level: SimdLevel, part: HeadPart, k: Rows, v: Rows, first: usize) {
    dispatch(level, Write { part, k, v, first });
}

struct Write<'a> {
    part: HeadPart<'a>,
    k: Rows<'a>,
    v: Rows<'a>,
    first: usize,
}

impl Task for Write<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        write(s, self.part, self.k, self.v, self.first);
    }
}

#[inline(always)]
fn write<S: Simd>(s: S, part: HeadPart, k: Rows, v: Rows, first: usize) {
    let HeadPart {
        head,
        dtype,
        head_dim,
    } = part;
    if dtype == PackedDtype::F32 {
        write_keys(s, &Floats, k, first, head_dim, head.keys.items_mut());
        write_values(s, &Floats, v, first, head_dim, head.values.items_mut());
        return;
    }
    scale(s, head, k, v, first, head_dim);
    let inverses = |scales: &[f32]| scales.iter().map(|&scale| inverse(scale)).collect();
    let (key_inverse, value_inverse): (Vec<f32>, Vec<f32>) =
        (inverses(&head.key_scale), inverses(&head.value_scale));
    let quantise = Quantise {
        mean: &head.key_mean,
        key_inverse: &key_inverse,
        value_inverse: &value_inverse,
    };
    write_keys(s, &quantise, k, first, head_dim, head.keys.items_mut());
    write_values(s, &quantise, v, first, head_dim, head.values.items_mut());
}

fn inverse(scale: f32) -> f32 {
    if scale > 0.0 { 1.0 / scale } else { 0.0 }
}

/// How rows of floats, padded to whole vectors, become stored items.
trait Encode<S: Simd> {
    type Item: Pod;
    /// Numbers in an item.
    const PER_STEP: usize;

    /// One key, its dimensions joined.
    fn key(&self, s: S, position: usize, row: &[f32], to: &mut [Self::Item]);
    /// `PER_STEP` values one after another in `rows`, joined dimension by dimension.
    fn values(&self, s: S, rows: &[f32], to: &mut [Self::Item]);
}

struct Floats;
struct Quantise<'a> {
    mean: &'a [f32],
    key_inverse: &'a [f32],
    value_inverse: &'a [f32],
}

impl<S: Simd> Encode<S> for Floats {
    type Item = f32;
    const PER_STEP: usize = 1;

    #[inline(always)]
    fn key(&self, _: S, _: usize, row: &[f32], to: &mut [f32]) {
        to.copy_from_slice(&row[..to.len()]);
    }
    #[inline(always)]
    fn values(&self, _: S, rows: &[f32], to: &mut [f32]) {
        to.copy_from_slice(rows);
    }
}

impl<S: Simd> Encode<S> for Quantise<'_> {
    type Item = u32;
    const PER_STEP: usize = 4;

    #[inline(always)]
    fn key(&self, s: S, position: usize, row: &[f32], to: &mut [u32]) {
        let scale = s.splat(self.key_inverse[position]);
        let mut words = [0; 4];
        for (i, to) in to.chunks_mut(LANES / 4).enumerate() {
            let centred = s.sub(
                s.load_first(&row[i * LANES..]),
                s.load_first(&self.mean[i * LANES..]),
            );
            store_bytes(s, s.round(s.mul(centred, scale)), &mut words);
            for (to, word) in to.iter_mut().zip(words) {
                // Stored unsigned, 128 off, where signs may be mixed.
                *to = word ^ if S::MIXED_SIGNS { 0x8080_8080 } else { 0 };
            }
        }
    }
    #[inline(always)]
    fn values(&self, s: S, rows: &[f32], to: &mut [u32]) {
        let width = rows.len() / 4;
        for (i, to) in to.chunks_exact_mut(LANES).enumerate() {
            let at = i * LANES;
            let scale = s.load_first(&self.value_inverse[at..]);
            let mut joined = s.splat_i32(0);
            for part in (0..4).rev() {
                let byte = s.round(s.mul(s.load_first(&rows[part * width + at..]), scale));
                joined = s.join_byte(joined, byte);
            }
            s.store_words(s.of_one_sign(joined), to);
        }
    }
}

/// Writes panels of keys.
#[inline(always)]
fn write_keys<S: Simd, E: Encode<S>>(
    s: S,
    encode: &E,
    k: Rows,
    first: usize,
    head_dim: usize,
    to: &mut [E::Item],
) {
    let steps = depth(head_dim) / E::PER_STEP;
    let mut row = vec![0.0; lanes(head_dim)];
    let mut rows = vec![E::Item::zeroed(); PANEL * steps];
    for panel in 0..k.count.div_ceil(PANEL) {
        let positions = panel * PANEL..k.count.min((panel + 1) * PANEL);
        for (position, to) in positions.clone().zip(rows.chunks_exact_mut(steps)) {
            row[..head_dim].copy_from_slice(k.part(position, first, head_dim));
            encode.key(s, position, &row, to);
        }
        let width = panel_width(k.count, panel);
        let to = &mut to[panel * PANEL * steps..];
        for (step, to) in to.chunks_exact_mut(width).take(steps).enumerate() {
            for (lane, to) in to[..positions.len()].iter_mut().enumerate() {
                *to = rows[lane * steps + step];
            }
        }
    }
}

/// Writes values.
#[inline(always)]
fn write_values<S: Simd, E: Encode<S>>(
    s: S,
    encode: &E,
    v: Rows,
    first: usize,
    head_dim: usize,
    to: &mut [E::Item],
) {
    let width = lanes(head_dim);
    let mut rows = vec![0.0; E::PER_STEP * width];
    let steps = to
        .chunks_exact_mut(width)
        .take(v.count.div_ceil(E::PER_STEP));
    for (step, to) in steps.enumerate() {
        for (part, row) in rows.chunks_exact_mut(width).enumerate() {
            match step * E::PER_STEP + part {
                position if position < v.count => {
                    row[..head_dim].copy_from_slice(v.part(position, first, head_dim));
                }
                _ => row.fill(0.0),
            }
        }
        encode.values(s, &rows, to);
    }
}

/// Finds the keys' mean and the scales of keys and values.
#[inline(always)]
fn scale<S: Simd>(s: S, head: &mut PackedHead, k: Rows, v: Rows, first: usize, head_dim: usize) {
    head.key_mean.fill(0.0);
    head.value_scale.fill(0.0);
    for position in 0..k.count {
        let (key, value) = (
            k.part(position, first, head_dim),
            v.part(position, first, head_dim),
        );
        for (mean, x) in head.key_mean.iter_mut().zip(key) {
            *mean += x;
        }
        for (scale, x) in head.value_scale.iter_mut().zip(value) {
            *scale = if x.abs() > *scale { x.abs() } else { *scale };
        }
    }
    head.key_mean
        .iter_mut()
        .for_each(|mean| *mean /= k.count.max(1) as f32);
    head.value_scale
        .iter_mut()
        .for_each(|scale| *scale /= 127.0);
    let mut row = vec![0.0; lanes(head_dim)];
    for position in 0..k.count {
        row[..head_dim].copy_from_slice(k.part(position, first, head_dim));
        let mut largest = s.splat(0.0);
        for (row, mean) in row
            .chunks_exact(LANES)
            .zip(head.key_mean.chunks_exact(LANES))
        {
            let (row, mean) = (s.load_first(row), s.load_first(mean));
            largest = s.max(largest, s.max(s.sub(row, mean), s.sub(mean, row)));
        }
        head.key_scale[position] = s.largest(largest) / 127.0;
    }
}
