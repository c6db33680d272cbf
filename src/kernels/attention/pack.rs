//! Packing keys and values: numbers are converted row by row, then keys are turned on their side.

use bytemuck::{Pod, Zeroable};

use super::panels::{PANEL, PackedDtype, PackedHead, PackedKv, Rows, depth, lanes, panel_width};
use super::vector::{Scalar, Vector};
#[cfg(target_arch = "x86_64")]
use super::x86_64::{Avx2, Avx512};
use crate::kernels::level::Isa;
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

/// A head to be written.
struct HeadPart<'a> {
    head: &'a mut PackedHead,
    dtype: PackedDtype,
    head_dim: usize,
}

/// Packs the head whose numbers start at `first` in each row.
#[expect(unsafe_code, reason = "enters code for a probed instruction set")]
fn write_head(level: SimdLevel, part: HeadPart, k: Rows, v: Rows, first: usize) {
    match level.isa() {
        Isa::Scalar => write::<Scalar>(part, k, v, first),
        // SAFETY: the level proves that the CPU has these instructions.
        Isa::Avx2 => unsafe { write_avx2(part, k, v, first) },
        // SAFETY: as above.
        Isa::Avx512 | Isa::Avx512Vnni => unsafe { write_avx512(part, k, v, first) },
    }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn write_avx2(part: HeadPart, k: Rows, v: Rows, first: usize) {
    write::<Avx2>(part, k, v, first);
}

#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c")]
fn write_avx512(part: HeadPart, k: Rows, v: Rows, first: usize) {
    write::<Avx512<false>>(part, k, v, first);
}

#[inline(always)]
fn write<V: Vector>(part: HeadPart, k: Rows, v: Rows, first: usize) {
    let HeadPart {
        head,
        dtype,
        head_dim,
    } = part;
    if dtype == PackedDtype::F32 {
        write_keys::<V, _>(&Floats, k, first, head_dim, head.keys.items_mut());
        write_values::<V, _>(&Floats, v, first, head_dim, head.values.items_mut());
        return;
    }
    scale::<V>(head, k, v, first, head_dim);
    let inverses = |scales: &[f32]| scales.iter().map(|&scale| inverse(scale)).collect();
    let (key_inverse, value_inverse): (Vec<f32>, Vec<f32>) =
        (inverses(&head.key_scale), inverses(&head.value_scale));
    let quantise = Quantise {
        mean: &head.key_mean,
        key_inverse: &key_inverse,
        value_inverse: &value_inverse,
    };
    write_keys::<V, _>(&quantise, k, first, head_dim, head.keys.items_mut());
    write_values::<V, _>(&quantise, v, first, head_dim, head.values.items_mut());
}

fn inverse(scale: f32) -> f32 {
    if scale > 0.0 { 1.0 / scale } else { 0.0 }
}

/// How rows of floats, padded to whole vectors, become stored items.
trait Encode<V: Vector> {
    type Item: Pod;
    /// Numbers in an item.
    const PER_STEP: usize;

    /// One key, its dimensions joined.
    fn key(&self, position: usize, row: &[f32], to: &mut [Self::Item]);
    /// `PER_STEP` values one after another in `rows`, joined dimension by dimension.
    fn values(&self, rows: &[f32], to: &mut [Self::Item]);
}

struct Floats;
struct Quantise<'a> {
    mean: &'a [f32],
    key_inverse: &'a [f32],
    value_inverse: &'a [f32],
}

impl<V: Vector> Encode<V> for Floats {
    type Item = f32;
    const PER_STEP: usize = 1;

    #[inline(always)]
    fn key(&self, _: usize, row: &[f32], to: &mut [f32]) {
        to.copy_from_slice(&row[..to.len()]);
    }
    #[inline(always)]
    fn values(&self, rows: &[f32], to: &mut [f32]) {
        to.copy_from_slice(rows);
    }
}

impl<V: Vector> Encode<V> for Quantise<'_> {
    type Item = u32;
    const PER_STEP: usize = 4;

    #[inline(always)]
    fn key(&self, position: usize, row: &[f32], to: &mut [u32]) {
        let scale = V::splat(self.key_inverse[position]);
        let mut words = [0; 4];
        for (i, to) in to.chunks_mut(V::LANES / 4).enumerate() {
            let centred = V::sub(
                V::load(&row[i * V::LANES..]),
                V::load(&self.mean[i * V::LANES..]),
            );
            V::store_bytes(V::to_words(V::mul(centred, scale)), &mut words);
            for (to, word) in to.iter_mut().zip(words) {
                // Stored unsigned, 128 off.
                *to = word ^ 0x8080_8080;
            }
        }
    }
    #[inline(always)]
    fn values(&self, rows: &[f32], to: &mut [u32]) {
        let width = rows.len() / 4;
        for (i, to) in to.chunks_exact_mut(V::LANES).enumerate() {
            let at = i * V::LANES;
            let scale = V::load(&self.value_inverse[at..]);
            let mut joined = V::splat_word(0);
            for part in (0..4).rev() {
                let byte = V::to_words(V::mul(V::load(&rows[part * width + at..]), scale));
                joined = V::join_byte(joined, byte);
            }
            V::store_words(joined, to);
        }
    }
}

/// Writes panels of keys.
#[inline(always)]
fn write_keys<V: Vector, E: Encode<V>>(
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
            encode.key(position, &row, to);
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
fn write_values<V: Vector, E: Encode<V>>(
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
        encode.values(&rows, to);
    }
}

/// Finds the keys' mean and the scales of keys and values.
#[inline(always)]
fn scale<V: Vector>(head: &mut PackedHead, k: Rows, v: Rows, first: usize, head_dim: usize) {
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
        let mut largest = V::splat(0.0);
        for (row, mean) in row
            .chunks_exact(V::LANES)
            .zip(head.key_mean.chunks_exact(V::LANES))
        {
            let (row, mean) = (V::load(row), V::load(mean));
            largest = V::max(largest, V::max(V::sub(row, mean), V::sub(mean, row)));
        }
        head.key_scale[position] = V::maximum(largest) / 127.0;
    }
}
