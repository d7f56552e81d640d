//! Devices for tests: the stand-in's, one per test at a time, or a GPU's where `ELONNX_TEST_GPU=1` says that there is one.

mod buffer;
mod standin;

use std::ffi::{CStr, c_void};
use std::ptr::null_mut;
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock};

use cudarc::driver::sys::{self, CUcontext, CUresult, CUstream};

pub use buffer::{Buffer, Element};
pub use standin::Standin;

/// How many devices tests use; the stand-in has as many.
const DEVICES: usize = 4;

/// A device that nobody else uses until it is dropped, with a stream of its primary context.
///
/// No context is current on the test's thread but while one of these functions runs.
pub struct Device {
    pub ordinal: i32,
    pub context: CUcontext,
    pub stream: CUstream,
    /// whether the context is the device's primary one
    primary: bool,
}

// SAFETY: handles of the driver's, which any thread may use.
unsafe impl Sync for Device {}

/// Panics with the driver's words.
#[track_caller]
pub fn ok(result: CUresult) {
    assert!(result == CUresult::CUDA_SUCCESS, "the driver gives {}: {}", result as u32, words(result));
}

fn words(code: CUresult) -> String {
    let mut text = std::ptr::null();
    // SAFETY: gives a static string, or null for a code that it doesn't know.
    unsafe {
        if sys::cuGetErrorString(code, &mut text) != CUresult::CUDA_SUCCESS {
            return "unknown".to_owned();
        }
        CStr::from_ptr(text).to_string_lossy().into_owned()
    }
}

/// Which devices are lent.
struct Pool {
    lent: Mutex<Vec<bool>>,
    returned: Condvar,
}

static POOL: Pool = Pool { lent: Mutex::new(Vec::new()), returned: Condvar::new() };

impl Pool {
    fn lock(&self) -> MutexGuard<'_, Vec<bool>> {
        // a failed test is no reason for the others to fail
        self.lent.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Takes `count` devices at once: one after the other, two tests could wait for each other.
    fn take(&self, count: usize) -> Vec<usize> {
        let mut lent = self.lock();
        loop {
            lent.resize(driver().devices, false);
            assert!(count <= lent.len(), "the test needs {count} devices, there are {}", lent.len());
            let free: Vec<usize> = (0..lent.len()).filter(|&i| !lent[i]).take(count).collect();
            if free.len() == count {
                free.iter().for_each(|&i| lent[i] = true);
                return free;
            }
            lent = self.returned.wait(lent).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
    }

    fn give_back(&self, ordinal: usize) {
        self.lock()[ordinal] = false;
        self.returned.notify_all();
    }
}

/// The driver, once it is started.
pub struct Driver {
    devices: usize,
    pub standin: Option<Standin>,
}

/// Loads the stand-in, unless tests are to run on a GPU, and starts the driver.
pub fn driver() -> &'static Driver {
    static DRIVER: OnceLock<Driver> = OnceLock::new();
    DRIVER.get_or_init(|| {
        let gpu = std::env::var_os("ELONNX_TEST_GPU").is_some_and(|value| value == "1");
        let standin = (!gpu).then(Standin::load);
        // SAFETY: asks whether the library can be loaded.
        assert!(unsafe { sys::is_culib_present() }, "ELONNX_TEST_GPU=1, but there is no libcuda.so.1 on this machine");
        let mut devices = 0;
        // SAFETY: the library is there; numbers are written to where they go.
        unsafe {
            ok(sys::cuInit(0));
            ok(sys::cuDeviceGetCount(&mut devices));
        }
        let driver = Driver { devices: (devices as usize).min(DEVICES), standin };
        assert!(
            gpu || name(0).starts_with("ptxsim"),
            "cudarc loaded the driver of this machine ({}) before the stand-in; run on it with ELONNX_TEST_GPU=1, or hide \
             libcuda.so",
            name(0)
        );
        driver
    })
}

fn name(device: i32) -> String {
    let mut name = [0; 100];
    // SAFETY: as many bytes as said.
    unsafe {
        ok(sys::cuDeviceGetName(name.as_mut_ptr(), 100, device));
        CStr::from_ptr(name.as_ptr()).to_string_lossy().into_owned()
    }
}

impl Device {
    /// Waits for a device that nobody uses.
    pub fn lend() -> Device {
        Device::lend_many(1).remove(0)
    }

    /// Waits for several.
    pub fn lend_many(count: usize) -> Vec<Device> {
        POOL.take(count).into_iter().map(|ordinal| Device::new(ordinal as i32, true)).collect()
    }

    /// The same in a context of its own, which a fault may spoil.
    pub fn lend_with_own_context() -> Device {
        Device::new(POOL.take(1)[0] as i32, false)
    }

    fn new(ordinal: i32, primary: bool) -> Device {
        let (mut context, mut stream, mut own) = (null_mut(), null_mut(), null_mut());
        if let Some(standin) = &driver().standin {
            standin.reset(ordinal);
        }
        // SAFETY: handles are written to where they go. The primary context is never released: other tests use it, too.
        unsafe {
            if primary {
                ok(sys::cuDevicePrimaryCtxRetain(&mut context, ordinal));
                ok(sys::cuCtxPushCurrent_v2(context));
            } else {
                ok(sys::cuCtxCreate_v4(&mut context, null_mut(), 0, ordinal));
            }
            ok(sys::cuStreamCreate(&mut stream, NON_BLOCKING));
            ok(sys::cuCtxPopCurrent_v2(&mut own));
        }
        let device = Device { ordinal, context, stream, primary };
        device.clear_calls();
        device
    }

    /// Makes the context current for the scope of the guard.
    pub fn current(&self) -> Current {
        // SAFETY: the context lives as long as `self`.
        ok(unsafe { sys::cuCtxPushCurrent_v2(self.context) });
        Current
    }

    /// The stream as ONNX Runtime hands it out.
    pub fn stream(&self) -> *mut c_void {
        self.stream.cast()
    }

    /// A second stream, destroyed by nobody.
    pub fn another_stream(&self) -> CUstream {
        let _current = self.current();
        let mut stream = null_mut();
        // SAFETY: a handle is written to where it goes.
        ok(unsafe { sys::cuStreamCreate(&mut stream, NON_BLOCKING) });
        stream
    }

    /// Waits for the stream.
    #[track_caller]
    pub fn synchronize(&self) {
        ok(self.try_synchronize());
    }

    pub fn try_synchronize(&self) -> CUresult {
        let _current = self.current();
        // SAFETY: the stream lives as long as `self`.
        unsafe { sys::cuStreamSynchronize(self.stream) }
    }

    /// The stand-in, for tests that need what a GPU doesn't have; `None` on a GPU.
    pub fn standin(&self) -> Option<&'static Standin> {
        driver().standin.as_ref()
    }

    /// Sets an option of the stand-in; false on a GPU, where the test has nothing to say.
    pub fn set(&self, option: &str, value: u64) -> bool {
        let standin = self.standin();
        if let Some(standin) = standin {
            standin.set(self.ordinal, option, value);
        }
        standin.is_some()
    }

    /// The calls of the driver API since they were cleared; empty on a GPU.
    pub fn calls(&self) -> Vec<String> {
        self.standin().map_or_else(Vec::new, |standin| standin.calls(self.ordinal))
    }

    pub fn clear_calls(&self) {
        if let Some(standin) = self.standin() {
            standin.clear_calls(self.ordinal);
        }
    }
}

const NON_BLOCKING: u32 = 1;

impl Drop for Device {
    fn drop(&mut self) {
        // SAFETY: the stream is this device's, and the context, where it is its own; neither is used again. A spoilt
        // context gives an error, which is no news.
        unsafe {
            let _ = sys::cuStreamDestroy_v2(self.stream);
            if !self.primary {
                let _ = sys::cuCtxDestroy_v2(self.context);
            }
        }
        POOL.give_back(self.ordinal as usize);
    }
}

/// While it lives, a context is current on this thread.
pub struct Current;

impl Drop for Current {
    fn drop(&mut self) {
        let mut context = null_mut();
        // SAFETY: pops what `Device::current` pushed.
        ok(unsafe { sys::cuCtxPopCurrent_v2(&mut context) });
    }
}
