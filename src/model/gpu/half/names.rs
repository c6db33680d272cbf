//! The names of the kernels: those that every chip has, and those that are faster for some.

/// Names of the kernels, in the order of `Half`'s methods.
pub(super) const NAMES: [&str; 29] = [
    "halve",
    "pack_tiles",
    "mel_frames",
    "add_positions",
    "enc_ln",
    "enc_flash",
    "enc_gemm_plain",
    "enc_gemm_gelu",
    "enc_gemm_residual",
    "kv_f16",
    "embed",
    "dec_ln",
    "tile_half",
    "tile_gelu",
    "tile_residual",
    "tile_qkv",
    "tile_logits",
    "self_attn",
    "cross_f16",
    "cross_sum",
    "cross_weights",
    "plain_place",
    "kv_i8",
    "cross_i8",
    "rank_part",
    "rank_row",
    "tell",
    "kv_spread",
    "sweep",
];
/// Kernels that do not begin before the one in front has ended; all others wait for it by themselves.
pub(super) const ALONE: [&str; 2] = ["plain_place", "tell"];

/// Columns of weights that one stage of `small`'s ring holds; the widest that divides a layer's is taken.
pub(super) const CHUNKS: [usize; 3] = [640, 512, 384];
/// Rows, stages of the ring, stages where the weights share it, of each `mid`.
pub(super) const MIDS: [(usize, usize, usize); 5] =
    [(16, 8, 8), (32, 8, 8), (64, 4, 6), (128, 4, 4), (256, 3, 3)];

const WHATS: [&str; 5] = ["half", "gelu", "residual", "qkv", "logits"];
const AFTERS: [&str; 3] = ["plain", "gelu", "residual"];

/// Names of the kernels, in the order that `Half` finds them by: `small` for every chip, the rest for Hopper.
pub(super) fn names(hopper: bool) -> Vec<String> {
    let of = |kind: &str| WHATS.map(|what| format!("{kind}_{what}"));
    let mut names: Vec<String> = CHUNKS
        .iter()
        .flat_map(|chunk| of(&format!("small_{chunk}")))
        .collect();
    if hopper {
        let mids = MIDS
            .iter()
            .flat_map(|(rows, ..)| of(&format!("mid_{rows}")));
        names.extend(mids);
        for wide in [256, 128] {
            names.extend(AFTERS.map(|after| format!("enc_tiles_{wide}_{after}")));
        }
        names.extend(["enc_attn_3", "enc_attn_2"].map(String::from));
        for wide in [256, 128] {
            let of = |after: &str| format!("enc_tiles_{wide}_e4m3_{after}");
            names.extend(["plain", "gelu"].map(of));
        }
        names.extend(["enc_ln_e4m3", "narrow_rows", "small_1280_residual"].map(String::from));
    }
    names
}
