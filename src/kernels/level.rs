//! Which vector instructions this CPU has.
//!
//! Holding a [`SimdLevel`] proves that the CPU can run it: the only ways to one go through the probe.
//! Kernels take the value as an argument and match on [`SimdLevel::isa`].

use std::fmt;
use std::str::FromStr;
use std::sync::OnceLock;

/// Instruction sets that kernels are written for, worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Isa {
    /// Plain Rust, any CPU.
    Scalar,
    /// AVX2, FMA and F16C: 8 floats at a time.
    Avx2,
    /// AVX-512 F, BW, DQ and VL: 16 floats at a time.
    Avx512,
    /// AVX-512 and VNNI: four byte products summed in one instruction.
    Avx512Vnni,
    /// Every 64-bit Arm: 4 floats at a time.
    Neon,
    /// NEON and `dotprod`: four byte products of like sign summed in one instruction.
    NeonDot,
    /// NEON, `dotprod` and `i8mm`: byte products of unlike sign, and small matrices of them.
    NeonI8mm,
}

impl Isa {
    /// Every instruction set, worst first.
    pub const ALL: [Isa; 7] = [
        Isa::Scalar,
        Isa::Avx2,
        Isa::Avx512,
        Isa::Avx512Vnni,
        Isa::Neon,
        Isa::NeonDot,
        Isa::NeonI8mm,
    ];

    /// The name that [`FromStr`] understands.
    pub const fn name(self) -> &'static str {
        match self {
            Isa::Scalar => "scalar",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
            Isa::Avx512Vnni => "avx512-vnni",
            Isa::Neon => "neon",
            Isa::NeonDot => "neon-dot",
            Isa::NeonI8mm => "neon-i8mm",
        }
    }

    #[cfg(target_arch = "x86_64")]
    fn on_this_cpu(self) -> bool {
        macro_rules! has { ($($feature:tt),+) => { $(is_x86_feature_detected!($feature))&&+ } }
        match self {
            Isa::Scalar => true,
            Isa::Avx2 => has!("avx2", "fma", "f16c"),
            Isa::Avx512 => {
                Isa::Avx2.on_this_cpu() && has!("avx512f", "avx512bw", "avx512dq", "avx512vl")
            }
            Isa::Avx512Vnni => Isa::Avx512.on_this_cpu() && has!("avx512vnni"),
            Isa::Neon | Isa::NeonDot | Isa::NeonI8mm => false,
        }
    }

    #[cfg(target_arch = "aarch64")]
    fn on_this_cpu(self) -> bool {
        use std::arch::is_aarch64_feature_detected as has;
        match self {
            Isa::Scalar => true,
            Isa::Neon => has!("neon"),
            Isa::NeonDot => Isa::Neon.on_this_cpu() && has!("dotprod"),
            Isa::NeonI8mm => Isa::NeonDot.on_this_cpu() && has!("i8mm"),
            Isa::Avx2 | Isa::Avx512 | Isa::Avx512Vnni => false,
        }
    }

    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    fn on_this_cpu(self) -> bool {
        self == Isa::Scalar
    }
}

/// An instruction set that this CPU is known to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SimdLevel(Isa);

impl SimdLevel {
    /// Runs everywhere.
    pub const SCALAR: SimdLevel = SimdLevel(Isa::Scalar);

    /// The best level of this CPU; probed once.
    pub fn best() -> SimdLevel {
        static BEST: OnceLock<SimdLevel> = OnceLock::new();
        *BEST.get_or_init(|| {
            SimdLevel::available()
                .last()
                .copied()
                .unwrap_or(SimdLevel::SCALAR)
        })
    }

    /// Every level of this CPU, worst first; tests run over all of them.
    pub fn available() -> Vec<SimdLevel> {
        Isa::ALL.into_iter().filter_map(SimdLevel::new).collect()
    }

    /// The level for `isa`, if this CPU has it.
    pub fn new(isa: Isa) -> Option<SimdLevel> {
        isa.on_this_cpu().then_some(SimdLevel(isa))
    }

    /// The instruction set; every set below it may be used as well.
    pub const fn isa(self) -> Isa {
        self.0
    }

    /// The level's name, for example `avx2` or `neon-dot`.
    pub const fn name(self) -> &'static str {
        self.0.name()
    }
}

impl fmt::Display for SimdLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for SimdLevel {
    type Err = String;

    /// Reads a name; one that is unknown or beyond this CPU is an error that lists those it has.
    fn from_str(name: &str) -> Result<SimdLevel, String> {
        let here = SimdLevel::available();
        let names = || {
            here.iter()
                .map(|level| level.name())
                .collect::<Vec<_>>()
                .join(", ")
        };
        match Isa::ALL.into_iter().find(|isa| isa.name() == name) {
            None => Err(format!(
                "no SIMD level is called {name:?}; this CPU has {}",
                names()
            )),
            Some(isa) => SimdLevel::new(isa)
                .ok_or_else(|| format!("this CPU does not have {name}; it has {}", names())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Who emulates a processor says what it should have: a level that is not found is not tested.
    #[test]
    fn the_best_level_is_the_expected_one() {
        if let Ok(expected) = std::env::var("UNDERTONE_BEST_LEVEL") {
            assert_eq!(SimdLevel::best().name(), expected);
        }
    }

    #[test]
    fn names_round_trip_and_unknown_ones_list_what_there_is() {
        for level in SimdLevel::available() {
            assert_eq!(level.to_string().parse(), Ok(level));
        }
        let error = "sse9".parse::<SimdLevel>().unwrap_err();
        assert!(
            error.contains("sse9") && error.contains("scalar"),
            "{error}"
        );
        assert_eq!(SimdLevel::available()[0], SimdLevel::SCALAR);
        assert_eq!(SimdLevel::available().last(), Some(&SimdLevel::best()));
    }
}
