//! Which code object a card runs.

use std::io::Read as _;

use super::{CardInfo, error};
use crate::error::Result;

/// Kernels compiled for a chip, compressed.
#[derive(Clone, Copy, Debug)]
pub struct CodeObject {
    /// `sm_80`, or `compute_80`: text that the driver compiles, for chips that have no object of their own.
    pub arch: &'static str,
    /// A zlib stream.
    pub compressed: &'static [u8],
}

impl CodeObject {
    /// Version of the chip that it is for, and how it fits others.
    fn fit(&self) -> Option<(Fit, u32)> {
        let (fit, number) = match self.arch.split_once('_')? {
            ("sm", number) => match number.strip_suffix('a') {
                Some(number) => (Fit::Exact, number),
                None => (Fit::Major, number),
            },
            ("compute", number) => (Fit::Later, number),
            _ => return None,
        };
        Some((fit, number.parse().ok()?))
    }

    fn runs_on(&self, arch: (u32, u32)) -> Option<Fit> {
        let (fit, version) = self.fit()?;
        let (major, minor) = (version / 10, version % 10);
        let runs = match fit {
            Fit::Exact => (major, minor) == arch,
            Fit::Major => major == arch.0 && minor <= arch.1,
            Fit::Later => (major, minor) <= arch,
        };
        runs.then_some(fit)
    }
}

/// How far a code object reaches, the best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    /// This chip alone.
    Exact,
    /// Chips of the same generation, as new or newer.
    Major,
    /// All newer chips: the driver compiles it.
    Later,
}

/// The object that fits a card best, ready to be loaded.
///
/// # Errors
/// [`Error::Device`](crate::Error::Device) where none does, naming the chips that there are kernels for.
pub fn pick(objects: &[CodeObject], card: &CardInfo) -> Result<Vec<u8>> {
    let fitting = objects
        .iter()
        .filter_map(|o| Some((o.runs_on(card.arch)?, o)));
    let Some((_, object)) = fitting.min_by_key(|(fit, _)| *fit) else {
        let known: Vec<&str> = objects.iter().map(|object| object.arch).collect();
        let (major, minor) = card.arch;
        let known = known.join(", ");
        let reason = format!(
            "{} (sm_{major}{minor}): there are kernels for {known}",
            card.name
        );
        return Err(error(&card.id, reason));
    };
    let mut image = Vec::new();
    let mut unpacked = flate2::read::ZlibDecoder::new(object.compressed);
    match unpacked.read_to_end(&mut image) {
        Ok(_) => Ok(image),
        Err(broken) => Err(error(
            &card.id,
            format!("kernels for {}: {broken}", object.arch),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::recording::card;

    #[test]
    fn a_chip_gets_its_own_kernels_and_a_new_one_what_can_be_compiled() {
        let object = |arch| CodeObject {
            arch,
            compressed: &[],
        };
        let objects = ["sm_80", "sm_90a", "sm_120", "compute_80"].map(object);
        let cases = [
            ((8, 0), Some("sm_80")),
            ((8, 9), Some("sm_80")),
            ((9, 0), Some("sm_90a")),
            ((10, 0), Some("compute_80")),
            ((12, 1), Some("sm_120")),
            ((7, 5), None),
        ];
        for (arch, want) in cases {
            let fitting = objects
                .iter()
                .filter_map(|o| Some((o.runs_on(arch)?, o.arch)));
            assert_eq!(fitting.min().map(|(_, arch)| arch), want, "{arch:?}");
        }
        let old = CardInfo {
            arch: (7, 5),
            ..card()
        };
        let error = pick(&objects, &old).unwrap_err().to_string();
        assert!(
            error.contains("sm_75") && error.contains("sm_80, sm_90a"),
            "{error}"
        );
    }

    #[test]
    fn a_damaged_object_is_an_error() {
        let broken = CodeObject {
            arch: "sm_80",
            compressed: &[1, 2, 3],
        };
        let card = CardInfo {
            arch: (8, 0),
            ..card()
        };
        assert!(pick(&[broken], &card).is_err());
    }
}
