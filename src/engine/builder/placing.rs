//! Where an engine's network is computed: on a card, or on the CPU.

use std::sync::Arc;

use super::EngineBuilder;
use crate::attention::{self, Plan, Platform, Registry, Request};
use crate::device::{Api, Card, CardInfo, DeviceChoice};
use crate::error::{Error, Result};
use crate::kernels::Cpu;
use crate::model::gpu::{self, GpuNetwork, Share};
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
    /// Whether attention backends are chosen by name, or as on a machine that is described.
    fn chooses_attention(&self) -> bool {
        let attention = self.attention;
        self.own_backends
            || attention.backend.is_some()
            || !attention.backend_for.is_empty()
            || attention.dtype.is_some()
            || attention.machine.platform != Platform::Cpu
    }

    /// What a maker's GPU cannot do of it.
    fn against(&self, api: Api) -> Option<String> {
        let compute = self.compute;
        if self.executor != Executor::Auto {
            let name = self.executor.name();
            return Some(format!("the executor {name} computes on the CPU"));
        }
        if compute.is_integer() {
            return Some(format!(
                "a GPU computes in f32, f16, int8_float16 and fp8; {compute} is for the CPU"
            ));
        }
        if api == Api::Rocm && compute != ComputeType::F32 {
            return Some(format!(
                "the kernels for AMD's GPUs compute in f32; there are none in {compute}"
            ));
        }
        if self.draft {
            return Some("a draft writes ahead on the CPU alone".into());
        }
        // On AMD's, the rules of the machine that is there choose among names that the card answers to.
        let chosen = match api {
            Api::Cuda => self.chooses_attention(),
            Api::Rocm => self.own_backends,
        };
        chosen.then(|| "attention backends are chosen among the CPU's; a GPU has its own".into())
    }

    /// The cards to compute on; none is the CPU.
    ///
    /// # Errors
    /// Where a card is asked for that is not there, or that cannot do what is asked.
    fn cards(&self, device: &DeviceChoice) -> Result<Vec<Card>> {
        let Some((api, indices)) = device.cards() else {
            let may = *device == DeviceChoice::Auto && !self.chooses_attention();
            let serves = |api: &Api| may && self.against(*api).is_none();
            let mut makers = Api::ALL.into_iter().filter(serves);
            let first = makers.find_map(|api| Card::open(api, 0).ok());
            return Ok(first.into_iter().collect());
        };
        match self.against(api) {
            Some(reason) => Err(Error::Option {
                option: "device",
                reason: format!("{device}: {reason}"),
            }),
            None => indices
                .iter()
                .map(|index| Card::open(api, *index))
                .collect(),
        }
    }
}

/// The network on each device, how it attends, and what is to be said of where it is computed.
pub(super) type Placed = (Vec<Arc<dyn Network>>, Plan, Option<String>);

impl EngineBuilder {
    /// The cards to compute on; none is the CPU, which can do what is asked.
    pub(crate) fn cards(&self) -> Result<Vec<Card>> {
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
        let first = first.info().clone();
        match (self.on_cards(source, &first, cards), &self.device) {
            (Ok((networks, plan)), DeviceChoice::Auto) => {
                Ok((networks, plan, Some(format!("computes on {first}"))))
            }
            (Ok((networks, plan)), _) => Ok((networks, plan, None)),
            (Err(error @ Error::Device { .. }), DeviceChoice::Auto) => {
                let note = format!("computes on the CPU: {error}");
                self.on_cpu(source, Some(note), progress)
            }
            (Err(error), _) => Err(error),
        }
    }

    /// The network on each of the cards. Who attends is decided first, for the first of them.
    fn on_cards(
        &self,
        source: &dyn WeightSource,
        first: &CardInfo,
        cards: Vec<Card>,
    ) -> Result<(Vec<Arc<dyn Network>>, Plan)> {
        let plan = gpu::plan(&self.attention, first, self.compute, source.dims())?;
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
mod tests;
