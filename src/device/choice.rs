//! Which device is asked for, by name.

use std::fmt;
use std::str::FromStr;

use super::Api;
use crate::error::{Error, Result};

/// Where the network is to be computed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeviceChoice {
    /// A GPU that can do what is asked for, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// NVIDIA's card of this number, and nothing else.
    Cuda(usize),
    /// Several of NVIDIA's cards, which take windows from one queue.
    Cudas(Vec<usize>),
    /// AMD's card of this number, and nothing else.
    Rocm(usize),
    /// Several of AMD's cards.
    Rocms(Vec<usize>),
}

impl DeviceChoice {
    /// The cards that are asked for by number, if any are.
    pub(crate) fn cards(&self) -> Option<(Api, &[usize])> {
        match self {
            Self::Auto | Self::Cpu => None,
            Self::Cuda(index) => Some((Api::Cuda, std::slice::from_ref(index))),
            Self::Cudas(indices) => Some((Api::Cuda, indices)),
            Self::Rocm(index) => Some((Api::Rocm, std::slice::from_ref(index))),
            Self::Rocms(indices) => Some((Api::Rocm, indices)),
        }
    }
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cards() {
            Some((api, indices)) => {
                let indices: Vec<String> = indices.iter().map(usize::to_string).collect();
                write!(f, "{}:{}", api.name(), indices.join(","))
            }
            None if *self == Self::Cpu => f.pad("cpu"),
            None => f.pad("auto"),
        }
    }
}

impl FromStr for DeviceChoice {
    type Err = Error;

    /// `auto`, `cpu`, `cuda` (the first card), `cuda:N`, or `cuda:N,M` for several; `rocm` likewise.
    fn from_str(name: &str) -> Result<Self> {
        let found = match name {
            "auto" => Some(Self::Auto),
            "cpu" => Some(Self::Cpu),
            _ => numbered(name),
        };
        found.ok_or_else(|| Error::Option {
            option: "device",
            reason: format!(
                "{name} is none of auto, cpu, cuda, cuda:N, cuda:N,M, rocm, rocm:N, rocm:N,M"
            ),
        })
    }
}

/// A maker's cards by their numbers.
fn numbered(name: &str) -> Option<DeviceChoice> {
    let number = |n: &str| {
        let digits = n.bytes().all(|b| b.is_ascii_digit());
        n.parse().ok().filter(|_| digits)
    };
    let (api, list) = name.split_once(':').unwrap_or((name, "0"));
    let indices = list
        .split(',')
        .map(number)
        .collect::<Option<Vec<usize>>>()?;
    let api = Api::ALL.into_iter().find(|known| known.name() == api)?;
    Some(match (api, &indices[..]) {
        (Api::Cuda, [index]) => DeviceChoice::Cuda(*index),
        (Api::Cuda, _) => DeviceChoice::Cudas(indices),
        (Api::Rocm, [index]) => DeviceChoice::Rocm(*index),
        (Api::Rocm, _) => DeviceChoice::Rocms(indices),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_openais() {
        let cases = [
            ("auto", Some(DeviceChoice::Auto)),
            ("cpu", Some(DeviceChoice::Cpu)),
            ("cuda", Some(DeviceChoice::Cuda(0))),
            ("cuda:0", Some(DeviceChoice::Cuda(0))),
            ("cuda:12", Some(DeviceChoice::Cuda(12))),
            ("cuda:0,2", Some(DeviceChoice::Cudas(vec![0, 2]))),
            ("cuda:1,1", Some(DeviceChoice::Cudas(vec![1, 1]))),
            ("rocm", Some(DeviceChoice::Rocm(0))),
            ("rocm:3", Some(DeviceChoice::Rocm(3))),
            ("rocm:0,1", Some(DeviceChoice::Rocms(vec![0, 1]))),
            ("rocm:", None),
            ("hip:0", None),
            ("cpu:0", None),
            ("cuda:", None),
            ("cuda:0,", None),
            ("cuda:,1", None),
            ("cuda:0,cpu", None),
            ("cuda:+1", None),
            ("cuda:-1", None),
            ("cuda:x", None),
            ("CUDA", None),
            ("", None),
        ];
        for (name, want) in cases {
            let got: Result<DeviceChoice> = name.parse();
            assert_eq!(got.as_ref().ok(), want.as_ref(), "{name}");
            if let Err(error) = got {
                assert!(
                    error.to_string().contains("cuda:N, cuda:N,M, rocm"),
                    "{error}"
                );
            }
        }
        let shown = [
            (DeviceChoice::Cuda(3), "cuda:3"),
            (DeviceChoice::Cudas(vec![1, 0]), "cuda:1,0"),
            (DeviceChoice::Rocm(0), "rocm:0"),
            (DeviceChoice::Rocms(vec![0, 2]), "rocm:0,2"),
            (DeviceChoice::Cpu, "cpu"),
            (DeviceChoice::Auto, "auto"),
        ];
        for (choice, text) in shown {
            assert_eq!(choice.to_string(), text);
            assert_eq!(text.parse::<DeviceChoice>().unwrap(), choice);
        }
    }
}
