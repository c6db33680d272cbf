//! The kernels' arguments, field by field as `kernels/gpu/*.cu` have them.

use bytemuck::{NoUninit, Zeroable};

use crate::device::Address;

/// A row of a step.
#[repr(C)]
#[derive(Clone, Copy, NoUninit, Zeroable)]
pub(super) struct Row {
    pub token: i32,
    pub position: i32,
    /// Which row of the table of places is its text's.
    pub table: i32,
    pub store: i32,
}

/// Up to 8 neighbouring rows of one window.
#[repr(C)]
#[derive(Clone, Copy, NoUninit, Zeroable)]
pub(super) struct Group {
    pub first: i32,
    pub rows: i32,
    pub window: i32,
    pub positions: i32,
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
pub(super) struct Halve {
    pub from: Address,
    pub to: Address,
    pub count: u64,
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
pub(super) struct Pack {
    pub from: Address,
    pub to: Address,
    pub n: u32,
    pub k: u32,
}

/// Log-mel as rows of frames, with a frame of zeros on either side, which `next` gets too.
#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
pub(super) struct Frames {
    pub mel: Address,
    pub out: Address,
    pub next: Address,
    pub frames: u32,
    pub n_mels: u32,
    pub d: u64,
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
pub(super) struct Positions {
    pub x: Address,
    pub table: Address,
    pub count: u64,
    pub period: u64,
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
pub(super) struct EncNorm {
    pub x: Address,
    pub gamma: Address,
    pub beta: Address,
    pub y: Address,
    /// Where `y` is bytes.
    pub scales: Address,
    pub rows: u32,
    pub d: u32,
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
pub(super) struct EncFlash {
    pub qkv: Address,
    pub out: Address,
    pub positions: u32,
    pub d: u32,
}

/// What an encoder's layer does behind its product.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    Nothing,
    Gelu,
    Residual,
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit, Zeroable)]
pub(super) struct EncGemm {
    pub a: Address,
    pub w: Address,
    pub bias: Address,
    pub residual: Address,
    pub out: Address,
    pub a_window: u64,
    pub a_row: u64,
    pub out_window: u64,
    pub out_row: u64,
    pub rows: u32,
    pub n: u32,
    pub k: u32,
    pub unused: u32,
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit, Zeroable)]
pub(super) struct KvLayout {
    pub kv: Address,
    pub keys: Address,
    pub values: Address,
    pub key_scale: Address,
    pub value_scale: Address,
    pub windows: Address,
    /// Memory for 256 floats a part, head and window, where audio is kept as bytes.
    pub spreads: Address,
    pub window_bytes: u64,
    pub positions: u32,
    pub d: u32,
    pub padded: u64,
}

/// What a step is told, from shared memory into the tables.
#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
pub(super) struct Tell {
    pub from: Address,
    pub changes: Address,
    pub rows: Address,
    pub groups: Address,
    pub asks: Address,
    pub places: Address,
    pub n_rows: u32,
    pub n_groups: u32,
    /// Of 16 bytes.
    pub n_asks: u32,
    pub n_changes: u32,
    pub context: u64,
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
pub(super) struct Embed {
    pub rows: Address,
    pub tokens: Address,
    pub positions: Address,
    pub x: Address,
    pub d: u64,
}

/// Of all rows, or of those that `pick` asks about.
#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
pub(super) struct DecNorm {
    pub x: Address,
    pub gamma: Address,
    pub beta: Address,
    pub y: Address,
    pub pick: Address,
    pub d: u64,
}

/// What a decoder's layer does with its product: the order of the kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    Half,
    Gelu,
    Residual,
    Qkv,
    Logits,
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit, Zeroable)]
pub(super) struct StepGemm {
    pub weights: Address,
    pub bias: Address,
    pub x: Address,
    pub stream: Address,
    pub gamma: Address,
    pub beta: Address,
    /// Questions whose rows the stream's are; 0: of all.
    pub pick: Address,
    pub out: Address,
    pub out32: Address,
    pub keys: Address,
    pub values: Address,
    pub rows: Address,
    pub n: u32,
    pub k: u32,
    pub b: u32,
    pub d: u32,
    pub share: u64,
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
pub(super) struct SelfAttn {
    pub q: Address,
    pub keys: Address,
    pub values: Address,
    pub out: Address,
    pub rows: Address,
    pub places: Address,
    pub d: u32,
    pub context: u32,
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit, Zeroable)]
pub(super) struct CrossAttn {
    pub q: Address,
    pub keys: Address,
    pub values: Address,
    pub key_scale: Address,
    pub value_scale: Address,
    pub groups: Address,
    pub out: Address,
    pub parts: Address,
    pub window_bytes: u64,
    pub d: u32,
    pub padded: u32,
    /// Blocks that share a window's positions, up to [`MOST_SPLIT`].
    pub split: u64,
}

/// Blocks that share a window's positions, at most.
pub(super) const MOST_SPLIT: usize = 12;
/// Floats of what one of them says.
pub(super) const CROSS_PART: usize = 528;

#[repr(C)]
#[derive(Clone, Copy, NoUninit, Zeroable)]
pub(super) struct CrossWeights {
    pub q: Address,
    pub keys: Address,
    pub key_scale: Address,
    pub groups: Address,
    pub heads: Address,
    pub out: Address,
    pub window_bytes: u64,
    pub d: u32,
    pub padded: u32,
    pub bytes: u32,
    pub first: u32,
    pub watched: u32,
    pub wide: u32,
}

/// Rows of 32-bit words to other places.
#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
pub(super) struct Place {
    pub x: Address,
    pub y: Address,
    pub from: Address,
    pub to: Address,
    pub d: u32,
    pub ldx: u32,
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
pub(super) struct Rank {
    pub logits: Address,
    pub asks: Address,
    pub sets: Address,
    pub listed: Address,
    pub parts: Address,
    pub few: Address,
    pub said: Address,
    pub probability: Address,
    pub vocab: u64,
}

#[repr(C)]
#[derive(Clone, Copy, NoUninit)]
pub(super) struct Sweep {
    pub from: Address,
    pub found: Address,
    pub pieces: u64,
}

/// Blocks that read memory.
pub(super) const SWEEPERS: usize = 132 * 8;
