//! Which code object a card runs.

use std::io::Read as _;

use super::{Api, Arch, CardInfo, error, new_enough};
use crate::error::Result;

/// Kernels compiled for a chip, compressed.
#[derive(Clone, Copy, Debug)]
pub struct CodeObject {
    /// `sm_80`, `gfx942`, or `compute_80`: text that NVIDIA's driver compiles, for chips that have no object of their
    /// own.
    pub arch: &'static str,
    /// A zlib stream.
    pub compressed: &'static [u8],
}

impl CodeObject {
    /// Whose chips it is for.
    fn api(&self) -> Api {
        match self.arch.starts_with("gfx") {
            true => Api::Rocm,
            false => Api::Cuda,
        }
    }

    /// Version of NVIDIA's chip that it is for, and how it fits others.
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

    fn runs_on(&self, arch: &Arch) -> Option<Fit> {
        let Arch::Sm(major, minor) = *arch else {
            // It is compiled for either setting of each feature.
            return (arch.gfx() == Some(self.arch)).then_some(Fit::Exact);
        };
        let (fit, version) = self.fit()?;
        let own = (version / 10, version % 10);
        let runs = match fit {
            Fit::Exact => own == (major, minor),
            Fit::Major => own.0 == major && own.1 <= minor,
            Fit::Later => own <= (major, minor),
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
/// [`Error::Device`](crate::Error::Device) where none does, naming the chips that there are kernels for, or where the
/// driver is too old.
pub fn pick(objects: &[CodeObject], card: &CardInfo) -> Result<Vec<u8>> {
    if card.arch.api() == Api::Cuda {
        new_enough(&card.id, card.driver)?;
    }
    let fitting = objects
        .iter()
        .filter_map(|o| Some((o.runs_on(&card.arch)?, o)));
    let Some((_, object)) = fitting.min_by_key(|(fit, _)| *fit) else {
        let (name, arch) = (&card.name, &card.arch);
        let alike = objects.iter().filter(|object| object.api() == arch.api());
        let known: Vec<&str> = alike.map(|object| object.arch).collect();
        let known = known.join(", ");
        let reason = format!("{name} ({arch}): there are kernels for {known}");
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
        let names = [
            "sm_80",
            "sm_90a",
            "sm_120",
            "compute_80",
            "gfx90a",
            "gfx942",
        ];
        let objects = names.map(object);
        let gfx = |name: &str| Arch::Gfx(name.to_owned());
        let cases = [
            (Arch::Sm(8, 0), Some("sm_80")),
            (Arch::Sm(8, 9), Some("sm_80")),
            (Arch::Sm(9, 0), Some("sm_90a")),
            (Arch::Sm(10, 0), Some("compute_80")),
            (Arch::Sm(12, 1), Some("sm_120")),
            (Arch::Sm(7, 5), None),
            (gfx("gfx942"), Some("gfx942")),
            (gfx("gfx942:sramecc+:xnack-"), Some("gfx942")),
            (gfx("gfx90a:sramecc+:xnack+"), Some("gfx90a")),
            (gfx("gfx950"), None),
            (gfx("gfx90"), None),
            (gfx(""), None),
        ];
        for (arch, want) in cases {
            let fitting = objects
                .iter()
                .filter_map(|o| Some((o.runs_on(&arch)?, o.arch)));
            assert_eq!(fitting.min().map(|(_, arch)| arch), want, "{arch:?}");
        }
        let refused = |arch| {
            let card = CardInfo { arch, ..card() };
            pick(&objects, &card).unwrap_err().to_string()
        };
        let error = refused(Arch::Sm(7, 5));
        let known = "(sm_75): there are kernels for sm_80, sm_90a, sm_120, compute_80";
        assert!(error.ends_with(known), "{error}");
        let error = refused(gfx("gfx1100"));
        let known = "(gfx1100): there are kernels for gfx90a, gfx942";
        assert!(error.ends_with(known), "{error}");
    }

    #[test]
    fn a_damaged_object_is_an_error() {
        let broken = CodeObject {
            arch: "sm_80",
            compressed: &[1, 2, 3],
        };
        let card = CardInfo {
            arch: Arch::Sm(8, 0),
            ..card()
        };
        assert!(pick(&[broken], &card).is_err());
    }
}
