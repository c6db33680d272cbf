//! The GPU's arch string: what the rules read out of it.
//!
//! Families are substring tests, as in vLLM, so `gfx9420` counts as an MI300. The capability is
//! parsed apart from them, only when it is asked for.

use super::rule_set::RuleSet;

/// An arch string, such as `gfx942:sramecc+:xnack-`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arch<'a>(pub &'a str);

/// Why no capability can be read out of a string that looks like a gfx arch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ArchError {
    /// One digit.
    #[error(
        "GCN arch '{arch}' has too few digits ({digits}) after 'gfx' to derive a (major, minor) \
         capability. Please file a vLLM issue with your GPU model."
    )]
    TooFewDigits {
        /// The whole string.
        arch: String,
        /// How many there are.
        digits: usize,
    },
    /// Five digits or more.
    #[error(
        "GCN arch '{arch}' has {digits} digits after 'gfx', which exceeds the known 4-digit layout \
         (MMms). Cannot determine major/minor split unambiguously. Please file a vLLM issue with \
         your GPU model."
    )]
    TooManyDigits {
        /// The whole string.
        arch: String,
        /// How many there are.
        digits: usize,
    },
    /// A generation before the first supported one.
    #[error(
        "Parsed unknown ROCm architecture from GCN arch '{arch}': major={major}, minor={minor}. \
         Major version < 9 is not expected for any supported AMD GPU. Please file a vLLM issue \
         with your GPU model."
    )]
    MajorTooLow {
        /// The whole string.
        arch: String,
        /// What was read.
        major: u32,
        /// What was read.
        minor: u32,
    },
    /// A generation that is not known yet.
    #[error(
        "Parsed unknown ROCm architecture from GCN arch '{arch}': major={major}, minor={minor}. \
         Major version > 12 is beyond currently known AMD generations. Please file a vLLM issue \
         with your GPU model so support can be added."
    )]
    MajorTooHigh {
        /// The whole string.
        arch: String,
        /// What was read.
        major: u32,
        /// What was read.
        minor: u32,
    },
}

impl Arch<'_> {
    fn has_any(self, parts: &[&str]) -> bool {
        parts.iter().any(|part| self.0.contains(part))
    }

    /// `2026-03`: the GCN/CDNA family `gfx90a`, `gfx942`, `gfx950`.
    #[must_use]
    pub fn on_gfx9(self) -> bool {
        self.has_any(&["gfx90a", "gfx942", "gfx950"])
    }

    /// `2026-03`: MI300 and MI350.
    #[must_use]
    pub fn on_mi3xx(self) -> bool {
        self.has_any(&["gfx942", "gfx950"])
    }

    /// gfx11 or gfx12; under `2026-08` only where it is no CDNA.
    #[must_use]
    pub fn on_gfx1x(self, rules: RuleSet) -> bool {
        let raw = self.has_any(&["gfx11", "gfx12"]);
        match rules {
            RuleSet::March2026 => raw,
            RuleSet::August2026 => raw && !self.on_cdna(),
        }
    }

    /// `2026-08`: any gfx9, and gfx1250.
    #[must_use]
    pub fn on_cdna(self) -> bool {
        self.has_any(&["gfx9", "gfx1250"])
    }

    /// `2026-08`: gfx11 or gfx12 that is no CDNA.
    #[must_use]
    #[cfg(test)]
    pub fn on_rdna(self) -> bool {
        self.on_gfx1x(RuleSet::August2026)
    }

    /// `2026-08`: gfx1200 and gfx1201.
    #[must_use]
    pub fn on_rdna4(self) -> bool {
        self.has_any(&["gfx1200", "gfx1201"])
    }

    /// `2026-08`: 2 to 5, or 0 for everything else (CDNA 1 too).
    #[must_use]
    pub fn cdna_version(self) -> u32 {
        const VERSIONS: [(&str, u32); 4] =
            [("gfx90a", 2), ("gfx942", 3), ("gfx950", 4), ("gfx1250", 5)];
        VERSIONS
            .iter()
            .find(|(part, _)| self.0.contains(part))
            .map_or(0, |(_, version)| *version)
    }

    /// Whether AITER's kernels are for this GPU, whatever is installed.
    #[must_use]
    pub fn suits_aiter(self, rules: RuleSet) -> bool {
        match rules {
            RuleSet::March2026 => self.on_mi3xx(),
            RuleSet::August2026 => self.cdna_version() > 2,
        }
    }

    /// `(major, minor)` as HIP counts them, or `None` where the string is no gfx arch at all
    /// (vLLM then asks torch).
    ///
    /// # Errors
    /// [`ArchError`] for a gfx arch of unknown shape.
    pub fn capability(self) -> Result<Option<(u32, u32)>, ArchError> {
        let Some(rest) = self.0.strip_prefix("gfx") else {
            return Ok(None);
        };
        let digits: Vec<u32> = rest.chars().map_while(|c| c.to_digit(10)).collect();
        let arch = self.0.to_owned();
        let (major, minor) = match digits[..] {
            [] => return Ok(None),
            [_] => return Err(ArchError::TooFewDigits { arch, digits: 1 }),
            [major, minor] | [major, minor, _] => (major, minor),
            [tens, ones, minor, _] => (tens * 10 + ones, minor),
            _ => {
                return Err(ArchError::TooManyDigits {
                    arch,
                    digits: digits.len(),
                });
            }
        };
        match major {
            0..9 => Err(ArchError::MajorTooLow { arch, major, minor }),
            9..=12 => Ok(Some((major, minor))),
            _ => Err(ArchError::MajorTooHigh { arch, major, minor }),
        }
    }

    /// What vLLM warns of where [`Self::capability`] is `None`.
    #[must_use]
    pub fn capability_warning(self) -> String {
        format!(
            "Could not derive device capability from GCN arch '{}', falling back to torch.cuda \
             (this will initialize CUDA).",
            self.0
        )
    }

    /// The compute capability in `sm_90`, `sm90`, `90` or `9.0` (NVIDIA's counting).
    #[must_use]
    pub fn cuda_capability(self) -> Option<(u32, u32)> {
        let text = self.0.trim_start_matches("sm").trim_start_matches('_');
        let digits: String = text.chars().filter(|c| *c != '.').collect();
        let number: u32 = digits.trim_end_matches(char::is_alphabetic).parse().ok()?;
        Some((number / 10, number % 10))
    }
}
