//! The driver, its devices, and what can be asked about them.

use std::ffi::{c_char, c_int, c_uint};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex};

use ptxsim::Memory;

use crate::calls::Calls;
use crate::code::Code;
use crate::entry::{self, Outcome, lock, write};
use crate::options::{self, Options, VARIABLE};

/// The one driver of the process.
pub(crate) struct Driver {
    initialised: AtomicBool,
    devices: Vec<Device>,
    /// those that devices start with
    pub(crate) options: Options,
}

impl Driver {
    pub(crate) fn is_initialised(&self) -> bool {
        self.initialised.load(Ordering::Acquire)
    }

    pub(crate) fn device(&self, ordinal: c_int) -> Outcome<&Device> {
        usize::try_from(ordinal).ok().and_then(|i| self.devices.get(i)).ok_or(Code::ERROR_INVALID_DEVICE)
    }
}

pub(crate) struct Device {
    pub(crate) ordinal: usize,
    pub(crate) options: Mutex<Options>,
    pub(crate) memory: Mutex<Memory>,
    /// bytes in use
    pub(crate) used: AtomicUsize,
    pub(crate) calls: Calls,
    /// handles of contexts that are gone
    pub(crate) spare_contexts: Mutex<Vec<usize>>,
    /// the interpreter's words on the last fault
    pub(crate) fault: Mutex<String>,
}

impl Device {
    fn new(ordinal: usize, options: &Options) -> Device {
        Device {
            ordinal,
            options: Mutex::new(options.clone()),
            memory: Mutex::new(memory_of(ordinal)),
            used: AtomicUsize::new(0),
            calls: Calls::default(),
            spare_contexts: Mutex::default(),
            fault: Mutex::default(),
        }
    }

    pub(crate) fn options(&self) -> Options {
        lock(&self.options).clone()
    }
}

/// Memory whose addresses no other device has, as with unified addressing: they begin 8 GiB after those of the device
/// before it. Addresses of what was freed are never handed out again, so they are used up here.
fn memory_of(ordinal: usize) -> Memory {
    let mut memory = Memory::new();
    for _ in 0..8 * ordinal {
        if let Ok(address) = memory.allocate(1 << 30) {
            // just allocated
            let _ = memory.free(address);
        }
    }
    memory
}

/// The driver, unless `CUDA_STANDIN` cannot be read: then every call gives `CUDA_ERROR_INVALID_VALUE`.
pub(crate) fn driver() -> Outcome<&'static Driver> {
    static DRIVER: LazyLock<Option<Driver>> =
        LazyLock::new(|| match options::from_environment(&std::env::var(VARIABLE).unwrap_or_default()) {
            Ok((devices, options)) => Some(Driver {
                initialised: AtomicBool::new(false),
                devices: (0..devices).map(|ordinal| Device::new(ordinal, &options)).collect(),
                options,
            }),
            Err(sentence) => {
                eprintln!("libcuda_standin: {sentence}");
                None
            }
        });
    DRIVER.as_ref().ok_or(Code::ERROR_INVALID_VALUE)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuInit(flags: c_uint) -> u32 {
    entry::always(|| {
        let driver = driver()?;
        if flags != 0 {
            return Err(Code::ERROR_INVALID_VALUE);
        }
        if driver.devices.is_empty() {
            return Err(Code::ERROR_NO_DEVICE);
        }
        driver.initialised.store(true, Ordering::Release);
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDriverGetVersion(version: *mut c_int) -> u32 {
    entry::always(|| {
        let driver = driver()?;
        // one driver for all devices: the first device's answer, so that tests can change it
        let number = driver.devices.first().map_or(driver.options.driver, |device| device.options().driver);
        // SAFETY: the caller's.
        unsafe { write(version, number.cast_signed()) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetCount(count: *mut c_int) -> u32 {
    // SAFETY: the caller's.
    entry::initialised(|| unsafe { write(count, driver()?.devices.len() as c_int) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGet(device: *mut c_int, ordinal: c_int) -> u32 {
    entry::initialised(|| {
        driver()?.device(ordinal)?;
        // SAFETY: the caller's.
        unsafe { write(device, ordinal) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetName(name: *mut c_char, size: c_int, device: c_int) -> u32 {
    entry::initialised(|| {
        let device = driver()?.device(device)?;
        let size = usize::try_from(size).map_err(|_| Code::ERROR_INVALID_VALUE)?;
        let capability = device.options().capability;
        let text = format!("ptxsim device {} (sm_{capability})", device.ordinal);
        // SAFETY: the caller's.
        unsafe { write_text(&text, name, size) };
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceTotalMem_v2(bytes: *mut usize, device: c_int) -> u32 {
    entry::initialised(|| {
        let total = driver()?.device(device)?.options().memory;
        // SAFETY: the caller's.
        unsafe { write(bytes, total as usize) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDeviceGetAttribute(value: *mut c_int, attribute: c_int, device: c_int) -> u32 {
    entry::initialised(|| {
        let options = driver()?.device(device)?.options();
        let shared = options.shared();
        let number = match attribute {
            // MAX_THREADS_PER_BLOCK, MAX_BLOCK_DIM_X, _Y, _Z
            1..=3 => 1024,
            4 => 64,
            // MAX_GRID_DIM_X, _Y, _Z
            5 => c_int::MAX.cast_unsigned(),
            6 | 7 => 65_535,
            // MAX_SHARED_MEMORY_PER_BLOCK, WARP_SIZE, MAX_REGISTERS_PER_BLOCK, CLOCK_RATE, MULTIPROCESSOR_COUNT
            8 => 48 << 10,
            10 => 32,
            12 => 65_536,
            13 => 1_410_000,
            16 => options.multiprocessors(),
            // L2_CACHE_SIZE, MAX_THREADS_PER_MULTIPROCESSOR, UNIFIED_ADDRESSING
            38 => 40 << 20,
            39 => 2048,
            41 => 1,
            // COMPUTE_CAPABILITY_MAJOR, _MINOR
            75 => options.capability / 10,
            76 => options.capability % 10,
            // MAX_SHARED_MEMORY_PER_MULTIPROCESSOR, MAX_REGISTERS_PER_MULTIPROCESSOR, MAX_SHARED_MEMORY_PER_BLOCK_OPTIN
            81 => shared + 1024,
            82 => 65_536,
            97 => shared,
            // MEMORY_POOLS_SUPPORTED
            115 => 0,
            _ => return Err(Code::ERROR_INVALID_VALUE),
        };
        // SAFETY: the caller's.
        unsafe { write(value, number.cast_signed()) }
    })
}

/// Writes as much of a text as fits, with a NUL; how many bytes the whole needs.
///
/// # Safety
/// `out` must be null or valid for writing `size` bytes.
pub(crate) unsafe fn write_text(text: &str, out: *mut c_char, size: usize) -> usize {
    if !out.is_null() && size > 0 {
        let length = text.len().min(size - 1);
        // SAFETY: `length` + 1 is at most `size`.
        unsafe {
            std::ptr::copy_nonoverlapping(text.as_ptr(), out.cast(), length);
            out.add(length).write(0);
        }
    }
    text.len() + 1
}
