//! AMD's HIP runtime, opened when the program runs, with a safe call for each of its functions that are used here.
//! It is opened once and never closed: threads of its own run in it.
#![expect(unsafe_code, reason = "the runtime is a C library")]

use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::ptr::null_mut;
use std::sync::OnceLock;

use libloading::Library;

use crate::device::{Address, Api, Launch, error};
use crate::error::Result;

/// The oldest HIP that describes cards as it is read here: 10,000,000 × major + 100,000 × minor.
const OLDEST: c_int = 60_000_000;
/// Under these names it is looked for where the system finds libraries, then in [`FOLDER`].
const NAMES: [&str; 4] = [
    "libamdhip64.so.7",
    "libamdhip64.so.6",
    "libamdhip64.so",
    "libamdhip64.so.5",
];
/// Where ROCm's installers put it.
const FOLDER: &str = "/opt/rocm/lib";

/// What a call says; 0 is success.
type Status = c_int;
const NO_DEVICE: Status = 100;

/// A handle of the runtime's, which is no address of ours.
#[derive(Clone, Copy)]
pub(super) struct Handle(*mut c_void);

// SAFETY: handles may be used by any thread.
unsafe impl Send for Handle {}
// SAFETY: as above; the runtime orders what threads queue at the same time.
unsafe impl Sync for Handle {}

/// `hipDeviceProp_t` as it is since HIP 6, as far as it is read.
#[repr(C)]
pub(super) struct Properties {
    name: [u8; 256],
    identity: [u8; 32],
    pub memory: usize,
    limits: [u8; 864],
    arch: [u8; 256],
    /// More than there is behind, for versions to come.
    rest: [u8; 2048],
}

const _: () = assert!(std::mem::offset_of!(Properties, memory) == 288);
const _: () = assert!(std::mem::offset_of!(Properties, arch) == 1160);

impl Properties {
    /// What AMD calls the card.
    pub fn name(&self) -> String {
        text(&self.name)
    }

    /// The chip as compilers name it, with its features.
    pub fn arch(&self) -> String {
        text(&self.arch)
    }
}

/// The letters in front of the first zero.
fn text(bytes: &[u8]) -> String {
    let letters = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(letters).into_owned()
}

/// The functions' types as C has them, found by their names.
macro_rules! functions {
    ($($name:ident($($argument:ty),*);)*) => {
        #[expect(non_snake_case, reason = "the runtime's own names")]
        struct Functions {
            $($name: unsafe extern "C" fn($($argument),*) -> Status,)*
            hipGetErrorName: unsafe extern "C" fn(Status) -> *const c_char,
            hipGetErrorString: unsafe extern "C" fn(Status) -> *const c_char,
        }

        impl Functions {
            fn find(library: &Library) -> std::result::Result<Self, libloading::Error> {
                // SAFETY: these are the types that HIP's header gives the functions of these names.
                unsafe {
                    Ok(Self {
                        $($name: *library.get(concat!(stringify!($name), "\0").as_bytes())?,)*
                        hipGetErrorName: *library.get(b"hipGetErrorName\0")?,
                        hipGetErrorString: *library.get(b"hipGetErrorString\0")?,
                    })
                }
            }
        }
    };
}

type Void = *mut c_void;

functions! {
    hipGetDeviceCount(*mut c_int);
    hipGetDevicePropertiesR0600(*mut Properties, c_int);
    hipSetDevice(c_int);
    hipMemGetInfo(*mut usize, *mut usize);
    hipMalloc(*mut Void, usize);
    hipFree(Void);
    hipStreamCreateWithFlags(*mut Void, c_uint);
    hipStreamDestroy(Void);
    hipStreamSynchronize(Void);
    hipMemcpyHtoDAsync(Void, *const c_void, usize, Void);
    hipMemcpyDtoHAsync(Void, Void, usize, Void);
    hipModuleLoadData(*mut Void, *const c_void);
    hipModuleUnload(Void);
    hipModuleGetFunction(*mut Void, Void, *const c_char);
    hipModuleLaunchKernel(Void, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, Void, *mut Void, *mut Void);
}

/// The runtime.
pub(super) struct Runtime {
    hip: Functions,
    version: c_int,
    _library: Library,
}

/// The runtime, where it is installed and new enough.
///
/// # Errors
/// [`Error::Device`](crate::Error::Device) saying what is missing.
pub(super) fn runtime() -> Result<&'static Runtime> {
    static RUNTIME: OnceLock<std::result::Result<Runtime, String>> = OnceLock::new();
    let found = RUNTIME.get_or_init(open);
    found.as_ref().map_err(|reason| error("rocm", reason))
}

fn open() -> std::result::Result<Runtime, String> {
    let places = NAMES.iter().map(ToString::to_string);
    let places = places.chain(NAMES.iter().map(|name| format!("{FOLDER}/{name}")));
    // SAFETY: opens a library of the system that has this name; its constructors are AMD's.
    let mut opened = places.map(|place| unsafe { Library::new(place) });
    let Some(library) = opened.find_map(std::result::Result::ok) else {
        return Err(format!(
            "AMD's HIP runtime is not installed (no libamdhip64.so was found, in {FOLDER} neither)"
        ));
    };
    let version = version(&library)?;
    let hip = Functions::find(&library);
    let hip =
        hip.map_err(|missing| format!("the HIP runtime is not as it should be: {missing}"))?;
    Ok(Runtime {
        hip,
        version,
        _library: library,
    })
}

/// The runtime's version, if it is new enough. Asked before its other functions are looked for, which an old one may
/// not have.
fn version(library: &Library) -> std::result::Result<c_int, String> {
    type Ask = unsafe extern "C" fn(*mut c_int) -> Status;
    let mut version = 0;
    // SAFETY: HIP's header gives the function this type; the pointer is to be written.
    let said = unsafe {
        let ask = library.get::<Ask>(b"hipRuntimeGetVersion\0");
        ask.map(|ask| ask(&raw mut version))
    };
    match said {
        Ok(0) if version >= OLDEST => Ok(version),
        Ok(0) => {
            let [has, needs] = [version, OLDEST].map(|version| Api::Rocm.version(parts(version)));
            Err(format!("the runtime is {has}; {needs} or later is needed"))
        }
        Ok(status) => Err(format!("the HIP runtime does not start: error {status}")),
        Err(missing) => Err(format!("the HIP runtime is not as it should be: {missing}")),
    }
}

/// Major and minor.
fn parts(version: c_int) -> (u32, u32) {
    let version = version.unsigned_abs();
    (version / 10_000_000, version / 100_000 % 100)
}

impl Runtime {
    /// Major and minor.
    pub fn version(&self) -> (u32, u32) {
        parts(self.version)
    }

    /// An error of the card's, where a call failed.
    fn ok(&self, card: &str, what: &str, status: Status) -> Result<()> {
        if status == 0 {
            return Ok(());
        }
        // SAFETY: both give a constant of the runtime for every number.
        let words = unsafe {
            let (name, text) = (self.hip.hipGetErrorName, self.hip.hipGetErrorString);
            [text(status), name(status)].map(|word| match word.is_null() {
                true => status.to_string(),
                false => CStr::from_ptr(word).to_string_lossy().into_owned(),
            })
        };
        Err(error(card, format!("{what}: {} ({})", words[0], words[1])))
    }

    /// How many cards there are.
    pub fn count(&self) -> Result<usize> {
        let mut count = 0;
        // SAFETY: the pointer is to be written.
        match unsafe { (self.hip.hipGetDeviceCount)(&raw mut count) } {
            NO_DEVICE => Ok(0),
            status => self
                .ok("rocm", "cards", status)
                .map(|()| count.unsigned_abs() as usize),
        }
    }

    pub fn properties(&self, card: &str, index: usize) -> Result<Box<Properties>> {
        // SAFETY: numbers, of which zeros are all valid.
        let mut properties: Box<Properties> = Box::new(unsafe { std::mem::zeroed() });
        // SAFETY: the pointer is to be written, with less than there is behind it.
        let status =
            unsafe { (self.hip.hipGetDevicePropertiesR0600)(&raw mut *properties, index as c_int) };
        self.ok(card, "what it is", status)?;
        Ok(properties)
    }
}

/// A card of the runtime's; each call makes it the calling thread's own first.
#[derive(Clone)]
pub(super) struct Device {
    runtime: &'static Runtime,
    card: String,
    index: c_int,
}

impl Device {
    pub fn new(runtime: &'static Runtime, card: &str, index: usize) -> Self {
        Self {
            runtime,
            card: card.to_owned(),
            index: index as c_int,
        }
    }

    fn ok(&self, what: &str, status: Status) -> Result<()> {
        self.runtime.ok(&self.card, what, status)
    }

    /// The functions, with the card made the thread's.
    fn enter(&self) -> Result<&Functions> {
        let hip = &self.runtime.hip;
        // SAFETY: takes a number.
        self.ok("it cannot be used", unsafe {
            (hip.hipSetDevice)(self.index)
        })?;
        Ok(hip)
    }

    /// Bytes that are free.
    pub fn free_memory(&self) -> Result<usize> {
        let (mut free, mut total) = (0, 0);
        let hip = self.enter()?;
        // SAFETY: both pointers are to be written.
        let asked = unsafe { (hip.hipMemGetInfo)(&raw mut free, &raw mut total) };
        self.ok("its memory", asked).map(|()| free)
    }

    pub fn allocate(&self, bytes: usize) -> Result<Address> {
        let (hip, mut memory) = (self.enter()?, null_mut());
        // SAFETY: the pointer is to be written.
        let taken = unsafe { (hip.hipMalloc)(&raw mut memory, bytes) };
        self.ok(&format!("{bytes} bytes of memory"), taken)?;
        Ok(memory.addr() as Address)
    }

    /// Gives back what [`allocate`](Self::allocate) gave, once kernels that still use it are done. What a lost card says
    /// to it changes nothing.
    pub fn free(&self, address: Address) {
        if let Ok(hip) = self.enter() {
            // SAFETY: the runtime knows its own addresses and refuses others.
            let _ = unsafe { (hip.hipFree)(address as Void) };
        }
    }

    /// A queue that waits for no other.
    pub fn stream(&self) -> Result<Handle> {
        const NON_BLOCKING: c_uint = 1;
        let (hip, mut stream) = (self.enter()?, null_mut());
        // SAFETY: the pointer is to be written.
        let made = unsafe { (hip.hipStreamCreateWithFlags)(&raw mut stream, NON_BLOCKING) };
        self.ok("a stream", made)?;
        Ok(Handle(stream))
    }

    /// Waits for all that was queued.
    pub fn wait(&self, stream: Handle) -> Result<()> {
        let hip = self.enter()?;
        // SAFETY: `stream` gave the handle, and it is open.
        let waited = unsafe { (hip.hipStreamSynchronize)(stream.0) };
        self.ok("its work", waited)
    }

    /// Copies onto the card, and waits until that is done: the runtime does not say when it has read `bytes`.
    pub fn write(&self, to: Address, bytes: &[u8], stream: Handle) -> Result<()> {
        let (hip, from) = (self.enter()?, bytes.as_ptr().cast());
        // SAFETY: `bytes` are readable and stay until the queue is done. Where `to` is wrong, the runtime says so.
        let (copied, waited) = unsafe {
            let copied = (hip.hipMemcpyHtoDAsync)(to as Void, from, bytes.len(), stream.0);
            (copied, (hip.hipStreamSynchronize)(stream.0))
        };
        self.ok("a copy to it", copied)?;
        self.ok("its work", waited)
    }

    /// Waits for all that was queued, and copies from the card.
    pub fn read(&self, from: Address, bytes: &mut [u8], stream: Handle) -> Result<()> {
        let (hip, to) = (self.enter()?, bytes.as_mut_ptr().cast());
        // SAFETY: `bytes` are writable, and are not left before the copy has ended.
        let (copied, waited) = unsafe {
            let copied = (hip.hipMemcpyDtoHAsync)(to, from as Void, bytes.len(), stream.0);
            (copied, (hip.hipStreamSynchronize)(stream.0))
        };
        self.ok("a copy from it", copied)?;
        self.ok("its work", waited)
    }

    /// A whole code object.
    pub fn load(&self, image: &[u8]) -> Result<Handle> {
        let (hip, mut module) = (self.enter()?, null_mut());
        // SAFETY: the pointer is to be written; the image says itself how long it is, and was made by a compiler.
        let loaded = unsafe { (hip.hipModuleLoadData)(&raw mut module, image.as_ptr().cast()) };
        self.ok("its kernels", loaded)?;
        Ok(Handle(module))
    }

    /// A kernel of a code object.
    pub fn function(&self, module: Handle, name: &str) -> Result<Handle> {
        let (hip, mut function) = (self.enter()?, null_mut());
        let named = CString::new(name).unwrap_or_default();
        // SAFETY: the pointer is to be written, the name ends with a zero, and the module is loaded.
        let found =
            unsafe { (hip.hipModuleGetFunction)(&raw mut function, module.0, named.as_ptr()) };
        self.ok(name, found)?;
        Ok(Handle(function))
    }

    /// Queues a kernel of one argument.
    pub fn launch(&self, function: Handle, launch: &Launch<'_>, stream: Handle) -> Result<()> {
        let hip = self.enter()?;
        let ([x, y, z], threads) = (launch.grid, launch.threads);
        let mut arguments = [launch.argument.as_ptr().cast_mut().cast::<c_void>()];
        let arguments = arguments.as_mut_ptr();
        // SAFETY: the kernel takes this argument, of the size that its code object says, which the runtime copies
        // before it returns; that the addresses in it are right is what the executor's tests are for. A wrong one is an
        // error of the card's, not memory of this process.
        let launched = unsafe {
            let (function, stream, shared) = (function.0, stream.0, launch.shared);
            let call = hip.hipModuleLaunchKernel;
            call(
                function,
                x,
                y,
                z,
                threads,
                1,
                1,
                shared,
                stream,
                arguments,
                null_mut(),
            )
        };
        self.ok("a kernel's launch", launched)
    }

    /// Closes a queue and the code objects that it ran. What a lost card says to it changes nothing.
    pub fn close(&self, stream: Handle, modules: &[Handle]) {
        let Ok(hip) = self.enter() else {
            return;
        };
        // SAFETY: nobody uses the handles any more.
        unsafe {
            let _ = (hip.hipStreamSynchronize)(stream.0);
            for module in modules {
                let _ = (hip.hipModuleUnload)(module.0);
            }
            let _ = (hip.hipStreamDestroy)(stream.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_hip_writes_them() {
        assert_eq!(parts(50_221_153), (5, 2));
        assert_eq!(parts(60_032_830), (6, 0));
        assert_eq!(parts(70_125_000), (7, 1));
    }
}
