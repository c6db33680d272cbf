//! NVIDIA's driver, opened when the program runs: one context, one stream.
#![expect(unsafe_code, reason = "the driver is a C library")]

use std::ffi::{CString, c_int, c_void};
use std::ptr::null_mut;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cudarc::driver::sys::{self, CUdevice_attribute as Attribute, CUresult};

use super::calls::ok;
use super::pinned::{Pinned, Staging};
use super::{Address, Arch, CardInfo, Driver, Graph, Kernel, Launch, Tensor, TensorMap};
use super::{error, new_enough};
use crate::error::Result;

/// Shared memory that a block has without asking.
const USUAL_SHARED: u32 = 48 << 10;
/// Bytes up to which the driver takes a copy along by itself; it would wait for a longer one.
const SHORT_COPY: usize = 16 << 10;

/// A card, its context and its stream.
pub(super) struct Cuda {
    info: CardInfo,
    device: sys::CUdevice,
    context: sys::CUcontext,
    stream: sys::CUstream,
    loaded: Mutex<Loaded>,
    pinned: Mutex<Vec<Pinned>>,
    staging: Mutex<Option<Staging>>,
}

/// Code objects, and their kernels with the shared memory that each was last allowed.
#[derive(Default)]
struct Loaded {
    modules: Vec<sys::CUmodule>,
    kernels: Vec<(sys::CUfunction, u32)>,
    graphs: Vec<sys::CUgraphExec>,
}

// SAFETY: the driver's handles may be used by any thread; each call makes the context the thread's own first.
unsafe impl Send for Cuda {}
// SAFETY: as above; the driver orders what threads queue at the same time.
unsafe impl Sync for Cuda {}

const NOT_SHARED: &str = "memory that is not shared with the host";

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing in here is ever half changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Finds the driver and asks it how many cards there are: the newest CUDA that it runs, and their number.
fn cards() -> Result<((u32, u32), c_int)> {
    let (mut version, mut count) = (0, 0);
    // SAFETY: opens a library of the system that has this name; nothing of it is kept.
    if !unsafe { sys::is_culib_present() } {
        let reason = "NVIDIA's driver is not installed (no libcuda was found)";
        return Err(error("cuda", reason));
    }
    // SAFETY: the pointers are to be written; the calls are older than any driver that is served.
    unsafe {
        ok("cuda", "the driver does not start", sys::cuInit(0))?;
        ok(
            "cuda",
            "driver version",
            sys::cuDriverGetVersion(&mut version),
        )?;
        ok("cuda", "cards", sys::cuDeviceGetCount(&mut count))?;
    }
    let version = version.unsigned_abs();
    let version = (version / 1000, version % 1000 / 10);
    new_enough("cuda", version)?;
    Ok((version, count))
}

/// What a card is.
fn describe(index: usize, driver: (u32, u32)) -> Result<(CardInfo, sys::CUdevice)> {
    let id = format!("cuda:{index}");
    let (mut device, mut name, mut memory) = (0, [0; 128], 0);
    let mut attributes = [0; 2];
    // SAFETY: all pointers are to be written, the name with at most its length.
    unsafe {
        ok(
            &id,
            "no such card",
            sys::cuDeviceGet(&mut device, index as c_int),
        )?;
        ok(
            &id,
            "its name",
            sys::cuDeviceGetName(name.as_mut_ptr(), 128, device),
        )?;
        ok(
            &id,
            "its memory",
            sys::cuDeviceTotalMem_v2(&mut memory, device),
        )?;
        let asked = [
            Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR,
            Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR,
        ];
        for (attribute, value) in asked.into_iter().zip(&mut attributes) {
            ok(
                &id,
                "its chip",
                sys::cuDeviceGetAttribute(value, attribute, device),
            )?;
        }
    }
    let letters = name.iter().take_while(|c| **c != 0);
    let letters: Vec<u8> = letters.map(|c| c.to_ne_bytes()[0]).collect();
    let info = CardInfo {
        id,
        name: String::from_utf8_lossy(&letters).into_owned(),
        arch: Arch::Sm(attributes[0].unsigned_abs(), attributes[1].unsigned_abs()),
        driver,
        memory,
    };
    Ok((info, device))
}

/// Every card of the driver's.
pub(super) fn list() -> Result<Vec<CardInfo>> {
    let (version, count) = cards()?;
    let cards = (0..count.unsigned_abs() as usize).map(|index| describe(index, version));
    cards.map(|card| card.map(|(info, _)| info)).collect()
}

impl Cuda {
    /// Card number `index`.
    pub fn open(index: usize) -> Result<Self> {
        let (version, count) = cards()?;
        if index >= count.unsigned_abs() as usize {
            let (id, plural) = (format!("cuda:{index}"), if count == 1 { "" } else { "s" });
            return Err(error(&id, format!("the driver knows {count} card{plural}")));
        }
        let (info, device) = describe(index, version)?;
        let (mut context, mut stream) = (null_mut(), null_mut());
        // SAFETY: both pointers are to be written; the context stays until `drop`.
        unsafe {
            let retained = sys::cuDevicePrimaryCtxRetain(&mut context, device);
            ok(&info.id, "it cannot be used", retained)?;
            ok(&info.id, "its context", sys::cuCtxSetCurrent(context))?;
            // 1: work of the null stream is not waited for.
            ok(&info.id, "a stream", sys::cuStreamCreate(&mut stream, 1))?;
        }
        Ok(Self {
            info,
            device,
            context,
            stream,
            loaded: Mutex::default(),
            pinned: Mutex::default(),
            staging: Mutex::default(),
        })
    }

    fn ok(&self, what: &str, result: CUresult) -> Result<()> {
        ok(&self.info.id, what, result)
    }

    /// Makes the context the calling thread's.
    fn enter(&self) -> Result<()> {
        // SAFETY: the context lives as long as `self`.
        self.ok("its context", unsafe { sys::cuCtxSetCurrent(self.context) })
    }

    /// A kernel, allowed to use as much shared memory.
    fn function(&self, kernel: Kernel, shared: u32) -> Result<sys::CUfunction> {
        let mut loaded = locked(&self.loaded);
        let found = loaded.kernels.get_mut(kernel.0);
        let (function, allowed) = found.ok_or_else(|| error(&self.info.id, "no such kernel"))?;
        if shared > *allowed {
            let what = sys::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            // SAFETY: the function belongs to a module that lives as long as `self`.
            let set = unsafe { sys::cuFuncSetAttribute(*function, what, shared as c_int) };
            self.ok("shared memory", set)?;
            *allowed = shared;
        }
        Ok(*function)
    }
}

/// How a kernel is launched beyond its sizes.
fn attributes(launch: &Launch<'_>) -> Vec<sys::CUlaunchAttribute> {
    use sys::CUlaunchAttributeID_enum as Id;
    let attribute = |id, set: &dyn Fn(&mut sys::CUlaunchAttributeValue)| {
        // SAFETY: numbers and unions of numbers, of which zeros are all valid.
        let mut attribute: sys::CUlaunchAttribute = unsafe { std::mem::zeroed() };
        attribute.id = id;
        set(&mut attribute.value);
        attribute
    };
    let mut attributes = Vec::new();
    if launch.overlapped {
        let id = Id::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
        attributes.push(attribute(id, &|value| {
            value.programmaticStreamSerializationAllowed = 1;
        }));
    }
    if launch.cluster > 1 {
        let x = launch.cluster;
        let dim = sys::CUlaunchAttributeValue_union__bindgen_ty_1 { x, y: 1, z: 1 };
        let id = Id::CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION;
        attributes.push(attribute(id, &|value| value.clusterDim = dim));
    }
    attributes
}

impl Driver for Cuda {
    fn info(&self) -> &CardInfo {
        &self.info
    }

    fn free_memory(&self) -> Result<usize> {
        self.enter()?;
        let (mut free, mut total) = (0, 0);
        // SAFETY: both pointers are to be written.
        let asked = unsafe { sys::cuMemGetInfo_v2(&mut free, &mut total) };
        self.ok("its memory", asked).map(|()| free)
    }

    fn allocate(&self, bytes: usize) -> Result<Address> {
        self.enter()?;
        let mut address = 0;
        // SAFETY: the pointer is to be written.
        let taken = unsafe { sys::cuMemAlloc_v2(&mut address, bytes) };
        self.ok(&format!("{bytes} bytes of memory"), taken)?;
        Ok(address)
    }

    fn share(&self, bytes: usize) -> Result<Address> {
        self.enter()?;
        let memory = Pinned::take(&self.info.id, bytes)?;
        let address = memory.address();
        locked(&self.pinned).push(memory);
        Ok(address)
    }

    fn post(&self, to: Address, bytes: &[u8]) -> Result<()> {
        let mut pinned = locked(&self.pinned);
        let mut there = pinned.iter_mut().filter_map(|m| m.part(to, bytes.len()));
        let there = there
            .next()
            .ok_or_else(|| error(&self.info.id, NOT_SHARED))?;
        there.copy_from_slice(bytes);
        Ok(())
    }

    fn fetch(&self, from: Address, bytes: &mut [u8]) -> Result<()> {
        self.wait()?;
        let mut pinned = locked(&self.pinned);
        let mut there = pinned.iter_mut().filter_map(|m| m.part(from, bytes.len()));
        let there = there
            .next()
            .ok_or_else(|| error(&self.info.id, NOT_SHARED))?;
        bytes.copy_from_slice(there);
        Ok(())
    }

    fn release(&self, address: Address) {
        if self.enter().is_err() {
            // Where the card is lost, there is nothing to give back to.
            return;
        }
        let mut pinned = locked(&self.pinned);
        if let Some(at) = pinned.iter().position(|m| m.address() == address) {
            // Kernels that are still queued may write there.
            drop(self.wait());
            pinned.swap_remove(at);
            return;
        }
        // SAFETY: `address` came from `allocate`, and its owner is gone. The call waits for kernels that still use
        // it.
        let _ = unsafe { sys::cuMemFree_v2(address) };
    }

    fn write(&self, to: Address, bytes: &[u8]) -> Result<()> {
        self.enter()?;
        if bytes.len() > SHORT_COPY {
            let mut copy = |at: usize, piece: &mut [u8]| {
                piece.copy_from_slice(&bytes[at..at + piece.len()]);
            };
            return self.write_by(to, bytes.len(), &mut copy);
        }
        let from = bytes.as_ptr().cast();
        // SAFETY: `bytes` are readable; from memory that is not pinned, the driver has copied them when it
        // returns. Where `to` is wrong, the driver says so.
        let copied = unsafe { sys::cuMemcpyHtoDAsync_v2(to, from, bytes.len(), self.stream) };
        self.ok("a copy to it", copied)
    }

    fn write_by(
        &self,
        to: Address,
        bytes: usize,
        fill: &mut dyn FnMut(usize, &mut [u8]),
    ) -> Result<()> {
        self.enter()?;
        let mut staging = locked(&self.staging);
        let staging = match &mut *staging {
            Some(staging) => staging,
            none => none.insert(Staging::new(&self.info.id)?),
        };
        staging.copy(to, bytes, fill, self.stream)
    }

    fn read(&self, from: Address, bytes: &mut [u8]) -> Result<()> {
        self.enter()?;
        let to = bytes.as_mut_ptr().cast();
        // SAFETY: `bytes` are writable, and are not left before the copy has ended.
        let (copied, waited) = unsafe {
            let copied = sys::cuMemcpyDtoHAsync_v2(to, from, bytes.len(), self.stream);
            (copied, sys::cuStreamSynchronize(self.stream))
        };
        self.ok("a copy from it", copied)?;
        self.ok("its work", waited)
    }

    fn load(&self, image: &[u8], kernels: &[&str]) -> Result<Vec<Kernel>> {
        self.enter()?;
        // Text must end with a zero.
        let image = [image, &[0]].concat();
        let mut module = null_mut();
        // SAFETY: the image is a whole code object, or text that ends with a zero.
        let loaded = unsafe { sys::cuModuleLoadData(&mut module, image.as_ptr().cast()) };
        self.ok("its kernels", loaded)?;
        let mut functions = Vec::with_capacity(kernels.len());
        for name in kernels {
            let (mut function, text) = (null_mut(), CString::new(*name).unwrap_or_default());
            // SAFETY: the pointer is to be written, the name ends with a zero.
            let found = unsafe { sys::cuModuleGetFunction(&mut function, module, text.as_ptr()) };
            self.ok(name, found)?;
            functions.push((function, USUAL_SHARED));
        }
        let mut all = locked(&self.loaded);
        all.modules.push(module);
        let first = all.kernels.len();
        all.kernels.extend(functions);
        Ok((first..all.kernels.len()).map(Kernel).collect())
    }

    fn launch(&self, launch: &Launch<'_>) -> Result<()> {
        self.enter()?;
        let function = self.function(launch.kernel, launch.shared)?;
        let [x, y, z] = launch.grid;
        let mut attributes = attributes(launch);
        let config = sys::CUlaunchConfig {
            gridDimX: x,
            gridDimY: y,
            gridDimZ: z,
            blockDimX: launch.threads,
            blockDimY: 1,
            blockDimZ: 1,
            sharedMemBytes: launch.shared,
            hStream: self.stream,
            attrs: attributes.as_mut_ptr(),
            numAttrs: attributes.len() as u32,
        };
        let maps = launch.maps.iter().map(std::ptr::from_ref);
        let maps = maps.map(|map| map.cast_mut().cast::<c_void>());
        let argument = launch.argument.as_ptr().cast_mut().cast::<c_void>();
        let mut arguments: Vec<*mut c_void> = maps.chain([argument]).collect();
        // SAFETY: the kernel takes these arguments, of the sizes given, which the driver copies before it returns;
        // that the addresses in them are right is what the executor's tests are for. A wrong one is an error of
        // the card's, not memory of this process.
        let launched =
            unsafe { sys::cuLaunchKernelEx(&config, function, arguments.as_mut_ptr(), null_mut()) };
        self.ok("a kernel's launch", launched)
    }

    fn tensor_map(&self, tensor: &Tensor) -> Result<TensorMap> {
        use sys::{CUtensorMapDataType as Type, CUtensorMapFloatOOBfill as Outside};
        use sys::{CUtensorMapInterleave as Interleave, CUtensorMapL2promotion as Promotion};
        let mut map = TensorMap([0; 16]);
        let strides = tensor
            .strides
            .map(|numbers| u64::from(tensor.bytes) * numbers);
        let kind = match tensor.bytes {
            1 => Type::CU_TENSOR_MAP_DATA_TYPE_UINT8,
            _ => Type::CU_TENSOR_MAP_DATA_TYPE_FLOAT16,
        };
        // SAFETY: the map is to be written, and is as large and as aligned as the driver's; all arrays are of
        // three dimensions, of which the driver reads as many as are given.
        let made = unsafe {
            sys::cuTensorMapEncodeTiled(
                std::ptr::from_mut(&mut map).cast(),
                kind,
                tensor.dimensions,
                tensor.address as *mut c_void,
                tensor.sizes.as_ptr(),
                strides.as_ptr(),
                [128 / tensor.bytes, tensor.rows, 1].as_ptr(),
                [1; 3].as_ptr(),
                Interleave::CU_TENSOR_MAP_INTERLEAVE_NONE,
                sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_128B,
                Promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
                Outside::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
            )
        };
        self.ok("a tensor's map", made)?;
        Ok(map)
    }

    fn record(&self, work: &mut dyn FnMut() -> Result<()>) -> Result<Graph> {
        self.enter()?;
        let relaxed = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
        let (mut noted, mut ready) = (null_mut(), null_mut());
        // SAFETY: the stream lives as long as `self`; capture ends below, whatever happens between.
        let began = unsafe { sys::cuStreamBeginCapture_v2(self.stream, relaxed) };
        self.ok("a recording", began)?;
        let worked = work();
        // SAFETY: as above; both pointers are to be written, and what was noted is given back once it is ready.
        let made = unsafe {
            let ended = sys::cuStreamEndCapture(self.stream, &mut noted);
            match ended {
                CUresult::CUDA_SUCCESS => {
                    let made = sys::cuGraphInstantiateWithFlags(&mut ready, noted, 0);
                    let _ = sys::cuGraphDestroy(noted);
                    made
                }
                failed => failed,
            }
        };
        worked?;
        self.ok("a recording", made)?;
        let mut all = locked(&self.loaded);
        all.graphs.push(ready);
        Ok(Graph(all.graphs.len() - 1))
    }

    fn replay(&self, graph: Graph) -> Result<()> {
        self.enter()?;
        let all = locked(&self.loaded);
        let found = all.graphs.get(graph.0).copied();
        drop(all);
        let graph = found.ok_or_else(|| error(&self.info.id, "no such recording"))?;
        // SAFETY: the graph and the stream live as long as `self`.
        self.ok("a step", unsafe { sys::cuGraphLaunch(graph, self.stream) })
    }

    fn wait(&self) -> Result<()> {
        self.enter()?;
        // SAFETY: the stream lives as long as `self`.
        self.ok("its work", unsafe { sys::cuStreamSynchronize(self.stream) })
    }
}

impl Drop for Cuda {
    fn drop(&mut self) {
        if self.enter().is_err() {
            return;
        }
        locked(&self.pinned).clear();
        locked(&self.staging).take();
        let loaded = self
            .loaded
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        // SAFETY: nobody uses the handles any more. What a lost card says changes nothing.
        unsafe {
            for graph in loaded.graphs.drain(..) {
                let _ = sys::cuGraphExecDestroy(graph);
            }
            for module in loaded.modules.drain(..) {
                let _ = sys::cuModuleUnload(module);
            }
            let _ = sys::cuStreamDestroy_v2(self.stream);
            let _ = sys::cuDevicePrimaryCtxRelease_v2(self.device);
        }
    }
}
