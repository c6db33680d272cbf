//! What the driver of a graphics card gives: memory, kernels, launches in order. There is no Whisper in here.
//!
//! In: code objects and bytes. Out: bytes. [`Driver`] is the seam; [`Card::open`] finds NVIDIA's driver or AMD's when
//! the program runs (nothing of CUDA or ROCm is needed to build), and [`recording`] is one without a card, which notes
//! what it is asked for. All work of a driver goes through one queue: what is asked for later happens later.

mod arch;
#[cfg(feature = "gpu")]
mod calls;
mod choice;
#[cfg(feature = "gpu")]
mod cuda;
#[cfg(feature = "gpu")]
mod hip;
pub mod image;
#[cfg(feature = "gpu")]
mod pinned;
pub mod recording;

use std::fmt;
use std::sync::Arc;

pub use arch::{Api, Arch};
pub use choice::DeviceChoice;
pub use image::CodeObject;

use crate::error::{Error, Result};

/// What a card is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CardInfo {
    /// As it is asked for: `cuda:0`.
    pub id: String,
    /// What its maker calls it.
    pub name: String,
    /// The chip.
    pub arch: Arch,
    /// The driver, as the newest CUDA that it runs, or the version of HIP: (12, 1).
    pub driver: (u32, u32),
    /// Bytes of memory in all.
    pub memory: usize,
}

impl fmt::Display for CardInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gib = self.memory as f64 / f64::from(1 << 30);
        let (id, name, arch) = (&self.id, &self.name, &self.arch);
        let driver = arch.api().version(self.driver);
        write!(f, "{id}: {name}, {arch}, {gib:.1} GiB, driver for {driver}")
    }
}

/// A place in the card's memory.
pub type Address = u64;

/// A kernel of a loaded code object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Kernel(pub usize);

/// A kernel's launch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Launch<'a> {
    /// Which kernel.
    pub kernel: Kernel,
    /// Blocks along x, y and z.
    pub grid: [u32; 3],
    /// Threads of a block.
    pub threads: u32,
    /// Bytes of a block's shared memory beyond what the kernel declares.
    pub shared: u32,
    /// Neighbouring blocks along x that run together and see each other's shared memory; 1: none.
    pub cluster: u32,
    /// It may begin before the kernel in front has ended, and waits for that by itself.
    pub overlapped: bool,
    /// Tensors that it copies tiles of: its first arguments.
    pub maps: &'a [TensorMap],
    /// The kernel's last argument, byte for byte.
    pub argument: &'a [u8],
}

/// Numbers in memory as the copy engine sees them: up to three dimensions, of which the first lies close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tensor {
    /// The first number.
    pub address: Address,
    /// Numbers along each dimension; 1 where there is none.
    pub sizes: [u64; 3],
    /// Numbers from one to the next along the second and third dimension.
    pub strides: [u64; 2],
    /// What is copied at once: 128 bytes of as many rows.
    pub rows: u32,
    /// Bytes of a number: 2 for half floats, 1 for eight bits of any kind.
    pub bytes: u32,
    /// How the kernel counts: 2 or 3.
    pub dimensions: u32,
}

/// A [`Tensor`] in the driver's own form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct TensorMap(pub [u64; 16]);

/// Launches that were recorded, to be queued again as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Graph(pub usize);

/// A card and its queue. Every call may fail with [`Error::Device`], which names the card; after a card is lost
/// all of them do.
pub trait Driver: Send + Sync {
    /// What the card is.
    fn info(&self) -> &CardInfo;

    /// Bytes of memory that are free.
    ///
    /// # Errors
    /// As all calls.
    fn free_memory(&self) -> Result<usize>;

    /// Takes memory, with whatever it holds.
    ///
    /// # Errors
    /// Where there is not as much.
    fn allocate(&self, bytes: usize) -> Result<Address>;

    /// Takes memory of the host that the card sees too, at the same address: kernels read and write it over the bus.
    ///
    /// # Errors
    /// Where there is not as much.
    fn share(&self, bytes: usize) -> Result<Address>;

    /// Gives memory back, of either kind.
    fn release(&self, address: Address);

    /// Writes shared memory at once, whatever is queued.
    ///
    /// # Errors
    /// Memory that is not [shared](Self::share).
    fn post(&self, to: Address, bytes: &[u8]) -> Result<()>;

    /// Waits for all that was asked for, and reads shared memory.
    ///
    /// # Errors
    /// Memory that is not shared; what went wrong in earlier launches.
    fn fetch(&self, from: Address, bytes: &mut [u8]) -> Result<()>;

    /// Copies onto the card; `bytes` may be used again when this returns.
    ///
    /// # Errors
    /// As all calls.
    fn write(&self, to: Address, bytes: &[u8]) -> Result<()>;

    /// Copies `bytes` bytes onto the card that `fill` puts together where they are copied from, piece by piece: it is
    /// given where a piece begins, and the piece. A piece begins at a multiple of 16.
    ///
    /// # Errors
    /// As all calls.
    fn write_by(
        &self,
        to: Address,
        bytes: usize,
        fill: &mut dyn FnMut(usize, &mut [u8]),
    ) -> Result<()> {
        // Words, so that a piece lies where any number may.
        let mut words = vec![0_u64; bytes.div_ceil(8)];
        let piece = &mut bytemuck::cast_slice_mut(&mut words)[..bytes];
        fill(0, piece);
        self.write(to, piece)
    }

    /// Waits for all that was asked for, and copies from the card.
    ///
    /// # Errors
    /// As all calls; what went wrong in earlier launches.
    fn read(&self, from: Address, bytes: &mut [u8]) -> Result<()>;

    /// Loads a code object and finds its kernels by name, in order.
    ///
    /// # Errors
    /// A code object that the card cannot run, a kernel that is not in it.
    fn load(&self, image: &[u8], kernels: &[&str]) -> Result<Vec<Kernel>>;

    /// Queues a kernel.
    ///
    /// # Errors
    /// A launch that the card cannot make.
    fn launch(&self, launch: &Launch<'_>) -> Result<()>;

    /// What a kernel needs to copy tiles of a tensor.
    ///
    /// # Errors
    /// Sizes or strides that the copy engine does not take.
    fn tensor_map(&self, tensor: &Tensor) -> Result<TensorMap>;

    /// Notes the launches that `work` makes, without making them.
    ///
    /// # Errors
    /// What `work` meets; a card that cannot record.
    fn record(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<Graph>;

    /// Queues what was recorded.
    ///
    /// # Errors
    /// As all calls.
    fn replay(&self, graph: Graph) -> Result<()>;

    /// Waits for all that was asked for.
    ///
    /// # Errors
    /// What went wrong in it.
    fn wait(&self) -> Result<()>;
}

/// A card in use; clones are the same one.
#[derive(Clone)]
pub struct Card(Arc<dyn Driver>);

impl Card {
    /// A card behind a driver of one's own.
    #[must_use]
    pub fn new(driver: Arc<dyn Driver>) -> Self {
        Self(driver)
    }

    /// Card number `index` of a maker's.
    ///
    /// # Errors
    /// [`Error::Device`] naming what is missing: the driver, a driver that is new enough, such a card.
    #[cfg(feature = "gpu")]
    pub fn open(api: Api, index: usize) -> Result<Self> {
        Ok(Self(match api {
            Api::Cuda => Arc::new(cuda::Cuda::open(index)?),
            Api::Rocm => Arc::new(hip::Hip::open(index)?),
        }))
    }

    /// There is no driver in this build.
    ///
    /// # Errors
    /// Always.
    #[cfg(not(feature = "gpu"))]
    pub fn open(api: Api, index: usize) -> Result<Self> {
        let reason = "this program was built without the feature `gpu`";
        Err(error(&format!("{}:{index}", api.name()), reason))
    }

    /// Every card that a maker's driver knows.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    #[cfg(feature = "gpu")]
    pub fn list(api: Api) -> Result<Vec<CardInfo>> {
        match api {
            Api::Cuda => cuda::list(),
            Api::Rocm => hip::list(),
        }
    }

    /// As [`open`](Self::open).
    ///
    /// # Errors
    /// Always.
    #[cfg(not(feature = "gpu"))]
    pub fn list(api: Api) -> Result<Vec<CardInfo>> {
        Self::open(api, 0).map(|_| Vec::new())
    }

    /// The driver.
    #[must_use]
    pub fn driver(&self) -> &dyn Driver {
        &*self.0
    }

    /// What the card is.
    #[must_use]
    pub fn info(&self) -> &CardInfo {
        self.0.info()
    }

    /// Takes memory.
    ///
    /// # Errors
    /// [`Error::Device`] where there is not as much.
    pub fn memory(&self, bytes: usize) -> Result<Memory> {
        let address = self.0.allocate(bytes.max(16))?;
        Ok(Memory {
            card: self.clone(),
            address,
            bytes,
        })
    }

    /// Takes memory of the host that the card sees too.
    ///
    /// # Errors
    /// [`Error::Device`] where there is not as much.
    pub fn shared(&self, bytes: usize) -> Result<Memory> {
        let address = self.0.share(bytes.max(16))?;
        Ok(Memory {
            card: self.clone(),
            address,
            bytes,
        })
    }

    /// Memory that holds these numbers.
    ///
    /// # Errors
    /// [`Error::Device`] where there is not as much.
    pub fn memory_of<T: bytemuck::NoUninit>(&self, numbers: &[T]) -> Result<Memory> {
        let bytes: &[u8] = bytemuck::cast_slice(numbers);
        let memory = self.memory(bytes.len())?;
        self.0.write(memory.address, bytes)?;
        Ok(memory)
    }
}

/// Memory on a card, or shared with it, given back when it is dropped.
pub struct Memory {
    card: Card,
    address: Address,
    bytes: usize,
}

impl Memory {
    /// Where it begins.
    #[must_use]
    pub fn address(&self) -> Address {
        self.address
    }

    /// How long it is.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.card.0.release(self.address);
    }
}

/// NVIDIA's oldest driver that has every call that is made here, as the CUDA that it runs.
const OLDEST_DRIVER: (u32, u32) = (12, 0);

/// Refuses a driver that is too old.
fn new_enough(device: &str, driver: (u32, u32)) -> Result<()> {
    if driver >= OLDEST_DRIVER {
        return Ok(());
    }
    let (has, needs) = (Api::Cuda.version(driver), Api::Cuda.version(OLDEST_DRIVER));
    let reason = format!("the driver is for {has}; one for {needs} or later is needed");
    Err(error(device, reason))
}

/// What a card cannot do.
fn error(device: &str, reason: impl Into<String>) -> Error {
    Error::Device {
        device: device.to_owned(),
        reason: reason.into(),
    }
}
