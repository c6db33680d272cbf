//! Which device is asked for, by name.

use std::fmt;
use std::str::FromStr;

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
}

impl fmt::Display for DeviceChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.pad("auto"),
            Self::Cpu => f.pad("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
            Self::Cudas(indices) => {
                let indices: Vec<String> = indices.iter().map(usize::to_string).collect();
                write!(f, "cuda:{}", indices.join(","))
            }
        }
    }
}

impl FromStr for DeviceChoice {
    type Err = Error;

    /// `auto`, `cpu`, `cuda` (the first card), `cuda:N`, or `cuda:N,M` for several.
    fn from_str(name: &str) -> Result<Self> {
        let number = |n: &str| {
            let digits = n.bytes().all(|b| b.is_ascii_digit());
            n.parse().ok().filter(|_| digits)
        };
        let numbers = |list: &str| list.split(',').map(number).collect::<Option<Vec<usize>>>();
        let of = |indices: Vec<usize>| match indices[..] {
            [index] => Self::Cuda(index),
            _ => Self::Cudas(indices),
        };
        let found = match name {
            "auto" => Some(Self::Auto),
            "cpu" => Some(Self::Cpu),
            "cuda" => Some(Self::Cuda(0)),
            _ => name.strip_prefix("cuda:").and_then(numbers).map(of),
        };
        found.ok_or_else(|| Error::Option {
            option: "device",
            reason: format!("{name} is none of auto, cpu, cuda, cuda:N, cuda:N,M"),
        })
    }
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
                assert!(error.to_string().contains("cuda:N"), "{error}");
            }
        }
        assert_eq!(DeviceChoice::Cuda(3).to_string(), "cuda:3");
        assert_eq!(DeviceChoice::Cudas(vec![1, 0]).to_string(), "cuda:1,0");
    }
}
