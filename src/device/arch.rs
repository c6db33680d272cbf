//! Whose card it is, and which chip.

use std::fmt;

/// What drives a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Api {
    /// NVIDIA's.
    Cuda,
    /// AMD's, by HIP.
    Rocm,
}

impl Api {
    /// Both, in the order in which `auto` looks for them.
    pub const ALL: [Self; 2] = [Self::Cuda, Self::Rocm];

    /// As it is asked for: `cuda`, `rocm`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cuda => "cuda",
            Self::Rocm => "rocm",
        }
    }

    /// What versions of its drivers are called.
    fn software(self) -> &'static str {
        match self {
            Self::Cuda => "CUDA",
            Self::Rocm => "HIP",
        }
    }

    /// A version in words: `CUDA 12.1`.
    #[must_use]
    pub fn version(self, (major, minor): (u32, u32)) -> String {
        format!("{} {major}.{minor}", self.software())
    }
}

/// A chip, as its maker's compilers name it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Arch {
    /// NVIDIA's: `sm_90` is (9, 0).
    Sm(u32, u32),
    /// AMD's, with features that are switched on or off: `gfx942:sramecc+:xnack-`.
    Gfx(String),
}

impl Arch {
    /// What drives it.
    #[must_use]
    pub fn api(&self) -> Api {
        match self {
            Self::Sm(..) => Api::Cuda,
            Self::Gfx(_) => Api::Rocm,
        }
    }

    /// AMD's name of the chip without its features: `gfx942`.
    #[must_use]
    pub fn gfx(&self) -> Option<&str> {
        match self {
            Self::Sm(..) => None,
            Self::Gfx(name) => name.split(':').next(),
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sm(major, minor) => write!(f, "sm_{major}{minor}"),
            Self::Gfx(name) => f.pad(name),
        }
    }
}
