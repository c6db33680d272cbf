//! Which executor runs the network, by name.

use std::path::Path;
use std::sync::Arc;

use candle_core::{DType, Device};

use super::cpu::{self, CpuNetwork};
use super::reference::ReferenceNetwork;
use super::{ComputeType, Network};
use crate::attention::backends::{built_in, built_in_with};
use crate::attention::{AttentionBackend, Plan};
use crate::error::{Error, Result};
use crate::kernels::Cpu;
use crate::weights::WeightSource;

/// What runs the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Executor {
    /// The fastest that is here: [`Cpu`](Self::Cpu).
    #[default]
    Auto,
    /// This crate's kernels.
    Cpu,
    /// The plain network on candle: slow, for comparing with. 32-bit floats only, on every core.
    Reference,
}

impl Executor {
    /// Every executor.
    pub const ALL: [Self; 3] = [Self::Auto, Self::Cpu, Self::Reference];

    /// The name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Cpu => "cpu",
            Self::Reference => "reference",
        }
    }

    /// The executor of a name.
    ///
    /// # Errors
    /// [`Error::Option`] with the names that there are.
    pub fn parse(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|e| e.name() == name);
        found.ok_or_else(|| Error::Option {
            option: "executor",
            reason: format!("{name:?} is none of auto, cpu, reference"),
        })
    }

    /// The precision that it is fastest in. int8's error rate on English recordings is within half a point of
    /// 32-bit floats'.
    #[must_use]
    pub const fn fastest(self) -> ComputeType {
        match self {
            Self::Auto | Self::Cpu => ComputeType::Int8,
            Self::Reference => ComputeType::F32,
        }
    }

    /// Whether it computes in `compute`.
    ///
    /// # Errors
    /// [`Error::Option`] where it does not.
    pub fn check(self, compute: ComputeType) -> Result<()> {
        match (self, compute) {
            (_, compute) if compute.needs_gpu() => Err(Error::Option {
                option: "compute_type",
                reason: format!(
                    "{compute} is for a GPU (device cuda); the CPU computes in f32, int8 and int4"
                ),
            }),
            (Self::Reference, compute) if compute.is_integer() => Err(Error::Option {
                option: "executor",
                reason: format!("reference computes in f32; {compute} is for cpu"),
            }),
            _ => Ok(()),
        }
    }

    /// The attention backends to plan with, best first: the plain executor prefers the plain one.
    #[must_use]
    pub fn backends(self, cpu: &Cpu, compute: ComputeType) -> Vec<Arc<dyn AttentionBackend>> {
        match self {
            Self::Auto | Self::Cpu => built_in_with(cpu, cpu::encoder_attention(compute)),
            Self::Reference => {
                let mut backends = built_in(cpu);
                backends.sort_by_key(|backend| backend.name() != "NAIVE");
                backends
            }
        }
    }

    /// Loads the network. `packed` as for [`CpuNetwork::load`]; the plain network packs nothing.
    ///
    /// # Errors
    /// As [`check`](Self::check); sizes that no Whisper has; a tensor that is missing or damaged.
    pub fn load(
        self,
        source: &dyn WeightSource,
        compute: ComputeType,
        cpu: Cpu,
        plan: Plan,
        packed: Option<(&Path, &str)>,
    ) -> Result<Arc<dyn Network>> {
        self.check(compute)?;
        Ok(match self {
            Self::Auto | Self::Cpu => {
                Arc::new(CpuNetwork::load(source, compute, cpu, plan, packed)?)
            }
            Self::Reference => Arc::new(ReferenceNetwork::load(
                source,
                DType::F32,
                &Device::Cpu,
                plan,
            )?),
        })
    }
}
