//! A driver without a card: memory is the machine's, kernels compute nothing, and every call is noted. Planning,
//! and what happens when a card fails, is tested on it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Address, Arch, CardInfo, Driver, Graph, Kernel, Launch, Tensor, TensorMap, error};
use crate::error::Result;

/// What a launched kernel does, where a test wants one to do something.
pub type Body = Box<dyn Fn(&str, &Launch<'_>, &Recording) + Send + Sync>;

/// A card that notes what it is asked for.
pub struct Recording {
    info: CardInfo,
    body: Option<Body>,
    state: Mutex<State>,
}

/// A launch with memory of its own.
#[derive(Clone)]
struct Noted {
    kernel: Kernel,
    grid: [u32; 3],
    threads: u32,
    shared: u32,
    cluster: u32,
    overlapped: bool,
    maps: Vec<TensorMap>,
    argument: Vec<u8>,
}

impl Noted {
    fn of(launch: &Launch<'_>) -> Self {
        Self {
            kernel: launch.kernel,
            grid: launch.grid,
            threads: launch.threads,
            shared: launch.shared,
            cluster: launch.cluster,
            overlapped: launch.overlapped,
            maps: launch.maps.to_vec(),
            argument: launch.argument.to_vec(),
        }
    }

    fn launch(&self) -> Launch<'_> {
        Launch {
            kernel: self.kernel,
            grid: self.grid,
            threads: self.threads,
            shared: self.shared,
            cluster: self.cluster,
            overlapped: self.overlapped,
            maps: &self.maps,
            argument: &self.argument,
        }
    }
}

/// Memory by where it begins.
type Allocations = BTreeMap<Address, Vec<u8>>;

const NOT_SHARED: &str = "memory that is not shared with the host";

#[derive(Default)]
struct State {
    kernels: Vec<String>,
    memory: Allocations,
    shared: Allocations,
    taken: usize,
    calls: Vec<String>,
    /// Calls until the card is lost.
    left: Option<usize>,
    /// Launches that are being recorded, and those that were.
    noting: Option<Vec<Noted>>,
    graphs: Vec<Vec<Noted>>,
}

/// The card that it is where nothing else is asked for.
#[must_use]
pub fn card() -> CardInfo {
    CardInfo {
        id: "cuda:0".into(),
        name: "a recording".into(),
        arch: Arch::Sm(9, 0),
        driver: (12, 8),
        memory: 8 << 30,
    }
}

impl Recording {
    /// Such a card.
    #[must_use]
    pub fn new(info: CardInfo) -> Self {
        Self {
            info,
            body: None,
            state: Mutex::default(),
        }
    }

    /// Its kernels do this.
    #[must_use]
    pub fn with_body(mut self, body: Body) -> Self {
        self.body = Some(body);
        self
    }

    /// The card is lost after so many calls more.
    pub fn lose_after(&self, calls: usize) {
        self.lock().left = Some(calls);
    }

    /// The kernels that were launched, and bytes that were copied, since this was last asked.
    #[must_use]
    pub fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.lock().calls)
    }

    /// Bytes that are taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.lock().taken
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a call, unless the card is lost.
    fn call(&self, what: impl FnOnce() -> String) -> Result<MutexGuard<'_, State>> {
        let mut state = self.lock();
        match &mut state.left {
            Some(0) => return Err(error(&self.info.id, "the card is lost")),
            Some(left) => *left -= 1,
            None => {}
        }
        state.calls.push(what());
        Ok(state)
    }
}

/// The part of an allocation that a copy means.
fn part(memory: &mut Allocations, at: Address, len: usize) -> Option<&mut [u8]> {
    let (start, bytes) = memory.range_mut(..=at).next_back()?;
    let offset = usize::try_from(at - start).ok()?;
    bytes.get_mut(offset..offset.checked_add(len)?)
}

impl Driver for Recording {
    fn info(&self) -> &CardInfo {
        &self.info
    }

    fn free_memory(&self) -> Result<usize> {
        let taken = self.call(|| "free memory".into())?.taken;
        Ok(self.info.memory.saturating_sub(taken))
    }

    fn allocate(&self, bytes: usize) -> Result<Address> {
        let mut state = self.call(|| format!("allocate {bytes}"))?;
        if state.taken + bytes > self.info.memory {
            let free = self.info.memory - state.taken;
            let reason = format!("{bytes} bytes of memory are needed, {free} are free");
            return Err(error(&self.info.id, reason));
        }
        state.taken += bytes;
        // What memory holds at first is anything; NaN where it is read as floats.
        let memory = vec![0xff; bytes];
        let address = memory.as_ptr().addr() as Address;
        state.memory.insert(address, memory);
        Ok(address)
    }

    /// Not of the card's memory: nothing of it is counted as taken.
    fn share(&self, bytes: usize) -> Result<Address> {
        let mut state = self.call(|| format!("share {bytes}"))?;
        let memory = vec![0xff; bytes];
        let address = memory.as_ptr().addr() as Address;
        state.shared.insert(address, memory);
        Ok(address)
    }

    fn post(&self, to: Address, bytes: &[u8]) -> Result<()> {
        let mut state = self.call(|| format!("post {}", bytes.len()))?;
        let there = part(&mut state.shared, to, bytes.len());
        let there = there.ok_or_else(|| error(&self.info.id, NOT_SHARED))?;
        there.copy_from_slice(bytes);
        Ok(())
    }

    fn fetch(&self, from: Address, bytes: &mut [u8]) -> Result<()> {
        let mut state = self.call(|| format!("fetch {}", bytes.len()))?;
        let there = part(&mut state.shared, from, bytes.len());
        let there = there.ok_or_else(|| error(&self.info.id, NOT_SHARED))?;
        bytes.copy_from_slice(there);
        Ok(())
    }

    fn release(&self, address: Address) {
        let mut state = self.lock();
        match state.memory.remove(&address) {
            Some(memory) => state.taken -= memory.len(),
            None => drop(state.shared.remove(&address)),
        }
    }

    fn write(&self, to: Address, bytes: &[u8]) -> Result<()> {
        let mut state = self.call(|| format!("write {}", bytes.len()))?;
        match part(&mut state.memory, to, bytes.len()) {
            Some(there) => there.copy_from_slice(bytes),
            None => return Err(error(&self.info.id, "a copy to memory that was not taken")),
        }
        Ok(())
    }

    fn read(&self, from: Address, bytes: &mut [u8]) -> Result<()> {
        let mut state = self.call(|| format!("read {}", bytes.len()))?;
        match part(&mut state.memory, from, bytes.len()) {
            Some(there) => bytes.copy_from_slice(there),
            None => {
                return Err(error(
                    &self.info.id,
                    "a copy from memory that was not taken",
                ));
            }
        }
        Ok(())
    }

    fn load(&self, _: &[u8], kernels: &[&str]) -> Result<Vec<Kernel>> {
        let mut state = self.call(|| format!("load {}", kernels.len()))?;
        let first = state.kernels.len();
        state
            .kernels
            .extend(kernels.iter().map(|name| (*name).to_owned()));
        Ok((first..state.kernels.len()).map(Kernel).collect())
    }

    fn launch(&self, launch: &Launch<'_>) -> Result<()> {
        let name = self.lock().kernels.get(launch.kernel.0).cloned();
        let name = name.ok_or_else(|| error(&self.info.id, "no such kernel"))?;
        let [x, y, z] = launch.grid;
        if let Some(noting) = &mut self.lock().noting {
            noting.push(Noted::of(launch));
            return Ok(());
        }
        drop(self.call(|| format!("{name} {x} {y} {z}"))?);
        if x == 0 || y == 0 || z == 0 || y > 65_535 || z > 65_535 {
            return Err(error(
                &self.info.id,
                format!("{name}: a grid of {x}, {y}, {z}"),
            ));
        }
        if let Some(body) = &self.body {
            body(&name, launch, self);
        }
        Ok(())
    }

    fn tensor_map(&self, tensor: &Tensor) -> Result<TensorMap> {
        let Tensor { sizes, strides, .. } = *tensor;
        let used = tensor.dimensions as usize - 1;
        // As the copy engine has it: 16 bytes are the least that it counts in.
        let even =
            |stride: &u64| *stride > 0 && (stride * u64::from(tensor.bytes)).is_multiple_of(16);
        if !strides[..used].iter().all(even) || !tensor.address.is_multiple_of(16) {
            let reason = format!("a tensor that the copy engine does not take: {tensor:?}");
            return Err(error(&self.info.id, reason));
        }
        let mut map = [0; 16];
        map[..2].copy_from_slice(&[tensor.address, tensor.dimensions.into()]);
        map[2..5].copy_from_slice(&sizes);
        map[5..7].copy_from_slice(&strides);
        map[7..9].copy_from_slice(&[tensor.rows.into(), tensor.bytes.into()]);
        Ok(TensorMap(map))
    }

    fn record(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<Graph> {
        self.call(|| "record".into())?.noting = Some(Vec::new());
        let worked = work();
        let noted = self.lock().noting.take().unwrap_or_default();
        worked?;
        let mut state = self.lock();
        state.graphs.push(noted);
        Ok(Graph(state.graphs.len() - 1))
    }

    fn replay(&self, graph: Graph) -> Result<()> {
        let noted = self.call(|| "replay".into())?.graphs.get(graph.0).cloned();
        let noted = noted.ok_or_else(|| error(&self.info.id, "no such recording"))?;
        noted
            .iter()
            .try_for_each(|noted| self.launch(&noted.launch()))
    }

    fn wait(&self) -> Result<()> {
        self.call(|| "wait".into()).map(drop)
    }
}
