//! Keys and values laid out for reading: written once, then read by every query.
//!
//! Keys lie in panels of [`PANEL`] positions (the last may be narrower, a multiple of 16); within a panel
//! the positions are next to each other, so that a vector holds the same dimensions of many keys. Values
//! lie position by position. Where a format packs several numbers into one 32-bit word, they are
//! neighbours along the sum: dimensions of a key, positions of a value. The layout is the same at every
//! SIMD level.

use crate::kernels::Cpu;

/// Positions in a full panel of keys.
pub(super) const PANEL: usize = 64;

/// How keys and values are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// 32-bit floats.
    F32,
    /// IEEE half floats, widened when read.
    F16,
    /// bf16, multiplied as such.
    Bf16,
    /// Bytes: keys with a scale per position, less their mean (which softmax does not see); values with
    /// a scale per dimension.
    I8,
}

impl Format {
    /// Numbers along the sum in one stored item.
    const fn per_step(self) -> usize {
        match self {
            Format::F32 | Format::F16 => 1,
            Format::Bf16 => 2,
            Format::I8 => 4,
        }
    }
}

/// Rows of floats, all heads side by side, at a fixed distance.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    /// The first row's first number and all that follows.
    pub data: &'a [f32],
    /// From one row to the next.
    pub stride: usize,
    /// How many rows.
    pub count: usize,
}

impl<'a> Rows<'a> {
    /// `len` numbers of a row, from `start` on.
    #[inline(always)]
    pub(super) fn part(&self, row: usize, start: usize, len: usize) -> &'a [f32] {
        &self.data[row * self.stride + start..][..len]
    }
}

/// Items that start at a cache line.
pub(super) struct Aligned<T> {
    items: Vec<T>,
    start: usize,
    len: usize,
}

impl<T: Copy + Default> Aligned<T> {
    fn new(len: usize) -> Self {
        let items = vec![T::default(); len + 64 / size_of::<T>()];
        let start = items.as_ptr().align_offset(64).min(64 / size_of::<T>());
        Aligned { items, start, len }
    }

    pub(super) fn items(&self) -> &[T] {
        &self.items[self.start..][..self.len]
    }

    fn items_mut(&mut self) -> &mut [T] {
        &mut self.items[self.start..][..self.len]
    }
}

/// One head's keys or values in a format.
pub(super) enum Plane {
    F32(Aligned<f32>),
    F16(Aligned<u16>),
    Words(Aligned<u32>),
}

impl Plane {
    fn new(format: Format, len: usize) -> Plane {
        match format {
            Format::F32 => Plane::F32(Aligned::new(len)),
            Format::F16 => Plane::F16(Aligned::new(len)),
            Format::Bf16 | Format::I8 => Plane::Words(Aligned::new(len)),
        }
    }
}

/// One head of a [`Packed`].
pub(super) struct PackedHead {
    pub(super) keys: Plane,
    pub(super) values: Plane,
    /// Per position, the keys' scale ([`Format::I8`]).
    pub(super) key_scale: Vec<f32>,
    /// Per dimension, what the values are to be multiplied by ([`Format::I8`]).
    pub(super) value_scale: Vec<f32>,
    /// The mean that was taken from the keys ([`Format::I8`]).
    key_mean: Vec<f32>,
}

/// The keys and values of all heads.
pub struct Packed {
    pub(super) format: Format,
    pub(super) positions: usize,
    pub(super) head_dim: usize,
    pub(super) heads: Vec<PackedHead>,
}

impl Packed {
    /// Packs `k` and `v`, both `(positions, heads × head_dim)`.
    pub fn new(cpu: &Cpu, format: Format, k: Rows, v: Rows, heads: usize, head_dim: usize) -> Packed {
        assert_eq!(v.count, k.count, "as many values as keys");
        let mut packed = Packed::empty(format, k.count, heads, head_dim);
        cpu.pool().run_chunks(&mut packed.heads, 1, |head, packed| {
            packed[0].fill(format, k, v, head * head_dim, head_dim);
        });
        packed
    }

    /// Packs `k` and `v`, both `(heads, positions, head_dim)`, as f32.
    pub(super) fn by_head(
        cpu: &Cpu,
        k: &[f32],
        v: &[f32],
        positions: usize,
        heads: usize,
        head_dim: usize,
    ) -> Packed {
        let mut packed = Packed::empty(Format::F32, positions, heads, head_dim);
        cpu.pool().run_chunks(&mut packed.heads, 1, |head, packed| {
            let rows = |data| Rows { data, stride: head_dim, count: positions };
            packed[0].fill(Format::F32, rows(k), rows(v), head * positions * head_dim, head_dim);
        });
        packed
    }

    fn empty(format: Format, positions: usize, heads: usize, head_dim: usize) -> Packed {
        let heads = (0..heads).map(|_| PackedHead::empty(format, positions, head_dim)).collect();
        Packed { format, positions, head_dim, heads }
    }

    /// Positions held.
    pub fn len(&self) -> usize {
        self.positions
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.positions == 0
    }

    /// Heads held.
    pub fn heads(&self) -> usize {
        self.heads.len()
    }

    /// The keys again, `(heads, positions, head_dim)`, as far as the format kept them.
    pub fn keys(&self) -> Vec<f32> {
        let per_step = self.format.per_step();
        let mut out = Vec::with_capacity(self.heads.len() * self.positions * self.head_dim);
        for head in &self.heads {
            for position in 0..self.positions {
                for dim in 0..self.head_dim {
                    let (panel, lane) = (position / PANEL, position % PANEL);
                    let base = panel * PANEL * depth(self.head_dim).div_ceil(per_step);
                    let width = panel_width(self.positions, panel);
                    let raw = head.keys.number(self.format, base + dim / per_step * width + lane, dim % per_step, 128);
                    out.push(match self.format {
                        Format::I8 => raw * head.key_scale[position] + head.key_mean[dim],
                        _ => raw,
                    });
                }
            }
        }
        out
    }

    /// The values again, `(heads, positions, head_dim)`, as far as the format kept them.
    pub fn values(&self) -> Vec<f32> {
        let per_step = self.format.per_step();
        let width = lanes(self.head_dim);
        let mut out = Vec::with_capacity(self.heads.len() * self.positions * self.head_dim);
        for head in &self.heads {
            for position in 0..self.positions {
                for dim in 0..self.head_dim {
                    let at = position / per_step * width + dim;
                    let raw = head.values.number(self.format, at, position % per_step, 0);
                    out.push(if self.format == Format::I8 { raw * head.value_scale[dim] } else { raw });
                }
            }
        }
        out
    }
}

impl Plane {
    /// The `part`th number of an item. Bytes are keys, `offset` 128 and unsigned, or values, signed.
    fn number(&self, format: Format, item: usize, part: usize, offset: u8) -> f32 {
        match self {
            Plane::F32(x) => x.items()[item],
            Plane::F16(x) => half::f16::from_bits(x.items()[item]).to_f32(),
            Plane::Words(x) if format == Format::Bf16 => {
                f32::from_bits(x.items()[item] >> (16 * part) << 16)
            }
            Plane::Words(x) => {
                f32::from(x.items()[item].to_le_bytes()[part].wrapping_sub(offset) as i8)
            }
        }
    }
}

impl PackedHead {
    fn empty(format: Format, positions: usize, head_dim: usize) -> PackedHead {
        let (padded, per_step) = (lanes(positions), format.per_step());
        let scales = |len| if format == Format::I8 { vec![0.0; len] } else { Vec::new() };
        PackedHead {
            keys: Plane::new(format, padded * depth(head_dim) / per_step),
            values: Plane::new(format, padded / per_step * lanes(head_dim)),
            key_scale: scales(padded),
            value_scale: scales(lanes(head_dim)),
            key_mean: scales(depth(head_dim)),
        }
    }

    /// Packs the head whose numbers start at `first` in each row.
    fn fill(&mut self, format: Format, k: Rows, v: Rows, first: usize, head_dim: usize) {
        if format == Format::I8 {
            self.scale(k, v, first, head_dim);
        }
        let width = lanes(head_dim);
        let PackedHead { keys, values, key_scale, value_scale, key_mean } = self;
        match keys {
            Plane::F32(keys) => pack_keys(k, first, head_dim, keys.items_mut(), |_, [x]| x),
            Plane::F16(keys) => {
                pack_keys(k, first, head_dim, keys.items_mut(), |_, [x]| half_bits(x));
            }
            Plane::Words(keys) if format == Format::Bf16 => {
                pack_keys(k, first, head_dim, keys.items_mut(), |_, x| bf16_pair(x));
            }
            Plane::Words(keys) => {
                let inverse: Vec<f32> = key_scale.iter().map(|&s| inverse(s)).collect();
                quantize_keys(k, first, head_dim, keys.items_mut(), &inverse, key_mean);
            }
        }
        match values {
            Plane::F32(values) => pack_values(v, first, head_dim, width, values.items_mut(), |_, [x]| x),
            Plane::F16(values) => {
                pack_values(v, first, head_dim, width, values.items_mut(), |_, [x]| half_bits(x));
            }
            Plane::Words(values) if format == Format::Bf16 => {
                pack_values(v, first, head_dim, width, values.items_mut(), |_, x| bf16_pair(x));
            }
            Plane::Words(values) => {
                let inverse: Vec<f32> = value_scale.iter().map(|&s| inverse(s)).collect();
                pack_values(v, first, head_dim, width, values.items_mut(), |dim, x: [f32; 4]| {
                    u32::from_le_bytes(x.map(|x| byte(x * inverse[dim]) as u8))
                });
            }
        }
    }

    /// Finds the keys' mean and both scales.
    fn scale(&mut self, k: Rows, v: Rows, first: usize, head_dim: usize) {
        for position in 0..k.count {
            let (key, value) = (k.part(position, first, head_dim), v.part(position, first, head_dim));
            for (mean, x) in self.key_mean.iter_mut().zip(key) {
                *mean += x;
            }
            for (scale, x) in self.value_scale.iter_mut().zip(value) {
                *scale = scale.max(x.abs());
            }
        }
        self.key_mean.iter_mut().for_each(|mean| *mean /= k.count.max(1) as f32);
        self.value_scale.iter_mut().for_each(|scale| *scale /= 127.0);
        for position in 0..k.count {
            let key = k.part(position, first, head_dim).iter().zip(&self.key_mean);
            let largest = key.fold(0.0, |largest: f32, (x, mean)| largest.max((x - mean).abs()));
            self.key_scale[position] = largest / 127.0;
        }
    }
}

/// Writes panels of keys; `item` joins `N` neighbouring dimensions of the key at a position.
fn pack_keys<T: Copy, const N: usize>(
    k: Rows,
    first: usize,
    head_dim: usize,
    to: &mut [T],
    item: impl Fn(usize, [f32; N]) -> T,
) {
    let steps = depth(head_dim) / N;
    for position in 0..k.count {
        let (panel, lane) = (position / PANEL, position % PANEL);
        let width = panel_width(k.count, panel);
        let to = &mut to[panel * PANEL * steps + lane..];
        let (whole, rest) = k.part(position, first, head_dim).as_chunks::<N>();
        for (step, &x) in whole.iter().enumerate() {
            to[step * width] = item(position, x);
        }
        if !rest.is_empty() {
            let mut x = [0.0; N];
            x[..rest.len()].copy_from_slice(rest);
            to[whole.len() * width] = item(position, x);
        }
    }
}

/// Writes panels of keys as unsigned bytes, 128 off.
fn quantize_keys(
    k: Rows,
    first: usize,
    head_dim: usize,
    to: &mut [u32],
    inverse_scale: &[f32],
    mean: &[f32],
) {
    let steps = depth(head_dim) / 4;
    let mut bytes = vec![128; depth(head_dim)];
    for position in 0..k.count {
        let (panel, lane) = (position / PANEL, position % PANEL);
        let width = panel_width(k.count, panel);
        let key = k.part(position, first, head_dim).iter().zip(mean);
        for (to, (x, mean)) in bytes.iter_mut().zip(key) {
            *to = (byte((x - mean) * inverse_scale[position]) as u8).wrapping_add(128);
        }
        let to = &mut to[panel * PANEL * steps + lane..];
        for (step, &x) in bytes.as_chunks::<4>().0.iter().enumerate() {
            to[step * width] = u32::from_le_bytes(x);
        }
    }
}

/// Writes values; `item` joins a dimension's numbers at `N` neighbouring positions.
fn pack_values<T: Copy, const N: usize>(
    v: Rows,
    first: usize,
    head_dim: usize,
    width: usize,
    to: &mut [T],
    item: impl Fn(usize, [f32; N]) -> T,
) {
    let zeros = vec![0.0; head_dim];
    for (step, to) in to.chunks_exact_mut(width).enumerate().take(v.count.div_ceil(N)) {
        let rows: [&[f32]; N] = std::array::from_fn(|part| match step * N + part {
            position if position < v.count => v.part(position, first, head_dim),
            _ => &zeros,
        });
        for (dim, to) in to[..head_dim].iter_mut().enumerate() {
            *to = item(dim, rows.map(|row| row[dim]));
        }
    }
}

fn half_bits(x: f32) -> u16 {
    half::f16::from_f32(x).to_bits()
}

fn bf16_pair(x: [f32; 2]) -> u32 {
    let [low, high] = x.map(|x| u32::from(half::bf16::from_f32(x).to_bits()));
    low | high << 16
}

fn byte(x: f32) -> i8 {
    x.round_ties_even() as i8
}

fn inverse(scale: f32) -> f32 {
    if scale > 0.0 { 1.0 / scale } else { 0.0 }
}

/// The sum's length in scores, padded so that every format has whole steps.
pub(super) fn depth(head_dim: usize) -> usize {
    head_dim.next_multiple_of(4)
}

/// A count padded to whole vectors at every level.
pub(super) fn lanes(count: usize) -> usize {
    count.next_multiple_of(16)
}

/// Positions in a panel, padding included.
pub(super) fn panel_width(positions: usize, panel: usize) -> usize {
    (lanes(positions) - panel * PANEL).min(PANEL)
}
