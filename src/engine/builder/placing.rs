//! Where an engine's network is computed: on a card, or on the CPU.

use std::sync::Arc;

use super::EngineBuilder;
use crate::attention::{self, Plan, Platform, Registry, Request};
use crate::device::{Card, DeviceChoice};
use crate::error::{Error, Result};
use crate::kernels::Cpu;
use crate::model::gpu::{CardAttention, GpuNetwork, Share};
use crate::model::{ComputeType, Executor, Network};
use crate::weights::WeightSource;
use crate::weights::hub;

/// What is asked for besides a device, as far as only the CPU may be able to do it.
struct Wishes<'a> {
    executor: Executor,
    compute: ComputeType,
    attention: &'a Request,
    /// Whether the caller brought attention backends.
    own_backends: bool,
    /// Whether another model writes ahead.
    draft: bool,
}

impl Wishes<'_> {
    /// What a GPU cannot do of it.
    fn against_a_card(&self) -> Option<String> {
        let attention = self.attention;
        let backend = self.own_backends
            || attention.backend.is_some()
            || !attention.backend_for.is_empty()
            || attention.dtype.is_some()
            || attention.machine.platform != Platform::Cpu;
        if self.executor != Executor::Auto {
            let name = self.executor.name();
            return Some(format!("the executor {name} computes on the CPU"));
        }
        if self.compute.is_integer() {
            let name = self.compute;
            return Some(format!(
                "a GPU computes in f32, f16 and int8_float16; {name} is for the CPU"
            ));
        }
        if self.draft {
            return Some("a draft writes ahead on the CPU alone".into());
        }
        backend.then(|| "attention backends are chosen among the CPU's; a GPU has its own".into())
    }

    /// The cards to compute on; none is the CPU.
    ///
    /// # Errors
    /// Where a card is asked for that is not there, or that cannot do what is asked.
    fn cards(&self, device: &DeviceChoice) -> Result<Vec<Card>> {
        let named = match device {
            DeviceChoice::Cpu => return Ok(Vec::new()),
            DeviceChoice::Auto if self.against_a_card().is_some() => return Ok(Vec::new()),
            DeviceChoice::Auto => return Ok(Card::open(0).into_iter().collect()),
            DeviceChoice::Cuda(index) => std::slice::from_ref(index),
            DeviceChoice::Cudas(indices) => indices,
        };
        match self.against_a_card() {
            Some(reason) => Err(Error::Option {
                option: "device",
                reason: format!("{device}: {reason}"),
            }),
            None => named.iter().map(|index| Card::open(*index)).collect(),
        }
    }
}

/// The network on each device, how it attends, and what is to be said of where it is computed.
pub(super) type Placed = (Vec<Arc<dyn Network>>, Plan, Option<String>);

impl EngineBuilder {
    /// The cards to compute on; none is the CPU, which can do what is asked.
    pub(super) fn cards(&self) -> Result<Vec<Card>> {
        let wishes = Wishes {
            executor: self.executor,
            compute: self.compute,
            attention: &self.attention,
            own_backends: !self.backends.is_empty(),
            draft: self.draft.is_some(),
        };
        let cards = wishes.cards(&self.device)?;
        if cards.is_empty() {
            self.executor.check(self.compute)?;
        }
        Ok(cards)
    }

    /// Loads the network where it is to be computed. A card that was not asked for by name and cannot hold the
    /// model leaves it to the CPU.
    pub(super) fn network(
        &self,
        source: &dyn WeightSource,
        cards: Vec<Card>,
        progress: &mut dyn FnMut(hub::Progress<'_>),
    ) -> Result<Placed> {
        let Some(first) = cards.first() else {
            return self.on_cpu(source, None, progress);
        };
        let id = first.info().to_string();
        match (self.on_cards(source, cards), &self.device) {
            (Ok((networks, plan)), DeviceChoice::Auto) => {
                Ok((networks, plan, Some(format!("computes on {id}"))))
            }
            (Ok((networks, plan)), _) => Ok((networks, plan, None)),
            (Err(error @ Error::Device { .. }), DeviceChoice::Auto) => {
                let note = format!("computes on the CPU: {error}");
                self.on_cpu(source, Some(note), progress)
            }
            (Err(error), _) => Err(error),
        }
    }

    /// The network on each of the cards.
    fn on_cards(
        &self,
        source: &dyn WeightSource,
        cards: Vec<Card>,
    ) -> Result<(Vec<Arc<dyn Network>>, Plan)> {
        let attention = CardAttention::of(self.compute);
        let registry = Registry::new(vec![Arc::new(attention)]);
        let plan = attention::plan(&self.attention, &registry, source.dims())?;
        let share = Share {
            windows: self.slots,
            memory: self.card_share,
        };
        let cpu = Cpu::new(self.threads, self.level);
        let load = |card| {
            let network = GpuNetwork::load(source, self.compute, card, cpu.clone(), share)?;
            Ok(Arc::new(network) as Arc<dyn Network>)
        };
        Ok((cards.into_iter().map(load).collect::<Result<_>>()?, plan))
    }

    fn on_cpu(
        &self,
        source: &dyn WeightSource,
        note: Option<String>,
        progress: &mut dyn FnMut(hub::Progress<'_>),
    ) -> Result<Placed> {
        let cpu = Cpu::new(self.threads, self.level);
        let built_in = self.executor.backends(&cpu, self.compute);
        let registry = Registry::new(built_in).with_front(self.backends.clone());
        let plan = attention::plan(&self.attention, &registry, source.dims())?;
        let packed = self.packed(source)?;
        let packed = packed
            .as_ref()
            .map(|(path, key)| (path.as_path(), key.as_str()));
        if packed.is_none_or(|(path, _)| !path.is_file()) {
            let compute = self.compute.name();
            progress(hub::Progress::Packing { compute });
        }
        let network = self
            .executor
            .load(source, self.compute, cpu, plan.clone(), packed)?;
        Ok((vec![network], plan, note))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_the_cpu_does_is_refused_by_name_and_never_by_auto() {
        let plain = Request::default();
        let naive = Request {
            backend: Some("NAIVE".into()),
            ..Request::default()
        };
        let (cpu, auto) = (Executor::Cpu, Executor::Auto);
        let cases = [
            (cpu, ComputeType::F32, &plain, false, "executor cpu"),
            (
                Executor::Reference,
                ComputeType::F32,
                &plain,
                false,
                "executor reference",
            ),
            (
                auto,
                ComputeType::Int8,
                &plain,
                false,
                "int8 is for the CPU",
            ),
            (auto, ComputeType::F32, &naive, false, "attention backends"),
            (auto, ComputeType::F32, &plain, true, "attention backends"),
            (auto, ComputeType::F32, &plain, false, "a draft"),
        ];
        for (executor, compute, attention, own_backends, said) in cases {
            let wishes = Wishes {
                executor,
                compute,
                attention,
                own_backends,
                draft: said.starts_with("a draft"),
            };
            for device in [DeviceChoice::Auto, DeviceChoice::Cpu] {
                let cards = wishes.cards(&device).unwrap();
                assert!(cards.is_empty(), "{device}: {said}");
            }
            for device in [DeviceChoice::Cuda(1), DeviceChoice::Cudas(vec![1, 2])] {
                let error = wishes.cards(&device).err().unwrap().to_string();
                assert!(error.contains(said) && error.contains("cuda:1"), "{error}");
            }
        }
    }
}
