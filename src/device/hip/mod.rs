//! AMD's cards, by the HIP runtime: one queue each. What is `unsafe` of it is in `library`.
//!
//! It serves what the kernels in 32-bit floats ask for: memory shared with the host, recordings, clusters and tensors of
//! the copy engine are refused.

mod library;

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{
    Address, Api, Arch, CardInfo, Driver, Graph, Kernel, Launch, Tensor, TensorMap, error,
};
use crate::error::{Error, Result};
use library::{Device, Handle, Runtime, runtime};

const NOT_SHARED: &str = "no memory is shared with AMD's cards";

/// A card and its queue.
pub(super) struct Hip {
    info: CardInfo,
    device: Device,
    stream: Handle,
    loaded: Mutex<Loaded>,
}

/// Code objects and their kernels.
#[derive(Default)]
struct Loaded {
    modules: Vec<Handle>,
    kernels: Vec<Handle>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing in here is ever half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// As a card is asked for.
fn id(index: usize) -> String {
    format!("{}:{index}", Api::Rocm.name())
}

/// What a card is.
fn describe(runtime: &Runtime, index: usize) -> Result<CardInfo> {
    let id = id(index);
    let properties = runtime.properties(&id, index)?;
    let (name, arch) = (properties.name(), properties.arch());
    if !arch.starts_with("gfx") {
        return Err(error(
            &id,
            format!("{name}: the runtime does not say which chip it is"),
        ));
    }
    Ok(CardInfo {
        name,
        arch: Arch::Gfx(arch),
        driver: runtime.version(),
        memory: properties.memory,
        id,
    })
}

/// Every card of the runtime's.
pub(super) fn list() -> Result<Vec<CardInfo>> {
    let runtime = runtime()?;
    let cards = 0..runtime.count()?;
    cards.map(|index| describe(runtime, index)).collect()
}

impl Hip {
    /// Card number `index`.
    pub fn open(index: usize) -> Result<Self> {
        let runtime = runtime()?;
        let count = runtime.count()?;
        if index >= count {
            let plural = if count == 1 { "" } else { "s" };
            return Err(error(
                &id(index),
                format!("the runtime knows {count} card{plural}"),
            ));
        }
        let info = describe(runtime, index)?;
        let device = Device::new(runtime, &info.id, index);
        Ok(Self {
            stream: device.stream()?,
            info,
            device,
            loaded: Mutex::default(),
        })
    }

    fn error(&self, reason: &str) -> Error {
        error(&self.info.id, reason)
    }
}

impl Driver for Hip {
    fn info(&self) -> &CardInfo {
        &self.info
    }

    fn free_memory(&self) -> Result<usize> {
        self.device.free_memory()
    }

    fn allocate(&self, bytes: usize) -> Result<Address> {
        self.device.allocate(bytes)
    }

    fn share(&self, _: usize) -> Result<Address> {
        Err(self.error(NOT_SHARED))
    }

    fn release(&self, address: Address) {
        self.device.free(address);
    }

    fn post(&self, _: Address, _: &[u8]) -> Result<()> {
        Err(self.error(NOT_SHARED))
    }

    fn fetch(&self, _: Address, _: &mut [u8]) -> Result<()> {
        Err(self.error(NOT_SHARED))
    }

    fn write(&self, to: Address, bytes: &[u8]) -> Result<()> {
        self.device.write(to, bytes, self.stream)
    }

    fn read(&self, from: Address, bytes: &mut [u8]) -> Result<()> {
        self.device.read(from, bytes, self.stream)
    }

    fn load(&self, image: &[u8], kernels: &[&str]) -> Result<Vec<Kernel>> {
        let module = self.device.load(image)?;
        let mut all = locked(&self.loaded);
        all.modules.push(module);
        let functions = kernels
            .iter()
            .map(|name| self.device.function(module, name));
        let functions: Vec<Handle> = functions.collect::<Result<_>>()?;
        let first = all.kernels.len();
        all.kernels.extend(functions);
        Ok((first..all.kernels.len()).map(Kernel).collect())
    }

    fn launch(&self, launch: &Launch<'_>) -> Result<()> {
        let kernel = locked(&self.loaded).kernels.get(launch.kernel.0).copied();
        let kernel = kernel.ok_or_else(|| self.error("no such kernel"))?;
        if launch.cluster > 1 || launch.overlapped || !launch.maps.is_empty() {
            return Err(self.error("a launch as only NVIDIA's cards make it"));
        }
        self.device.launch(kernel, launch, self.stream)
    }

    fn tensor_map(&self, _: &Tensor) -> Result<TensorMap> {
        Err(self.error("AMD's cards have no engine that copies tensors"))
    }

    fn record(&self, _: &mut dyn FnMut() -> Result<()>) -> Result<Graph> {
        Err(self.error("launches are not recorded on AMD's cards"))
    }

    fn replay(&self, _: Graph) -> Result<()> {
        Err(self.error("no such recording"))
    }

    fn wait(&self) -> Result<()> {
        self.device.wait(self.stream)
    }
}

impl Drop for Hip {
    fn drop(&mut self) {
        self.device
            .close(self.stream, &locked(&self.loaded).modules);
    }
}
