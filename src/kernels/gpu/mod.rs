//! Kernels for graphics cards, as code objects: `.cu` sources are beside this, `build.sh` compiles them for NVIDIA's
//! chips and `hip.sh` those in 32-bit floats for AMD's, and what they make is kept in `built/` with hashes of what it
//! was made from. Nothing of CUDA or ROCm is needed to build the crate.

/// A code object for a chip, compressed: its name (`sm_80`, `gfx942`, or `compute_80`: text that NVIDIA's driver
/// compiles) and a zlib stream.
pub type Object = (&'static str, &'static [u8]);

/// The kernels of every chip that there are any for.
pub const OBJECTS: [Object; 7] = [
    ("sm_80", include_bytes!("built/sm_80.cubin.zz")),
    ("sm_90a", include_bytes!("built/sm_90a.cubin.zz")),
    ("sm_100", include_bytes!("built/sm_100.cubin.zz")),
    ("sm_120", include_bytes!("built/sm_120.cubin.zz")),
    ("compute_80", include_bytes!("built/compute_80.ptx.zz")),
    ("gfx90a", include_bytes!("built/gfx90a.hsaco.zz")),
    ("gfx942", include_bytes!("built/gfx942.hsaco.zz")),
];
