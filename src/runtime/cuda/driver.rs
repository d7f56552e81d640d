//! The functions of the NVIDIA driver, looked up once.
//!
//! Types, constants and the search for the library are cudarc's; the calls are not. Those of cudarc give a `CUresult`,
//! a Rust enum for which a code that a newer driver makes up is undefined behaviour, and they panic where the library
//! or a function is missing. Here codes are numbers and both are errors.

use std::ffi::{CStr, c_char, c_int, c_uint, c_ulonglong, c_void};
use std::ptr::null;
use std::sync::OnceLock;

use cudarc::driver::sys::{
    self, CUcontext, CUdevice, CUdevice_attribute, CUdeviceptr, CUfunction, CUfunction_attribute, CUjit_option,
    CUmodule, CUresult, CUstream,
};

use super::error::{CudaError, Reason};

/// Declares the table. A function marked `numbers` takes or gives as numbers what cudarc has as enums; the signatures
/// of the others are compared with cudarc's.
macro_rules! functions {
    ($($(#[$numbers:ident])? $name:ident($($parameter:ty),* $(,)?);)*) => {
        /// The driver.
        #[expect(non_snake_case, reason = "the names of cuda.h")]
        pub(crate) struct Driver {
            $(pub(crate) $name: unsafe extern "C" fn($($parameter),*) -> u32,)*
            /// from CUDA 12.0 on
            cuCtxGetId: Option<unsafe extern "C" fn(CUcontext, *mut c_ulonglong) -> u32>,
        }

        $(functions!(@compare $($numbers)? $name($($parameter),*));)*

        impl Driver {
            fn look_up(library: &libloading::Library) -> Result<Driver, CudaError> {
                Ok(Driver {
                    // SAFETY: functions of cuda.h with these signatures; an enum of C is a 32-bit number.
                    $($name: *unsafe { library.get(concat!(stringify!($name), "\0").as_bytes()) }
                        .map_err(|_| CudaError::MissingFunction(stringify!($name)))?,)*
                    // SAFETY: as above.
                    cuCtxGetId: unsafe { library.get(b"cuCtxGetId\0") }.ok().map(|function| *function),
                })
            }
        }
    };
    (@compare numbers $name:ident($($parameter:ty),*)) => {};
    (@compare $name:ident($($parameter:ty),*)) => {
        const _: unsafe fn($($parameter),*) -> CUresult = sys::$name;
    };
}
functions! {
    cuInit(c_uint);
    cuDriverGetVersion(*mut c_int);
    #[numbers] cuGetErrorName(u32, *mut *const c_char);
    #[numbers] cuGetErrorString(u32, *mut *const c_char);
    cuDeviceGetCount(*mut c_int);
    cuDeviceGet(*mut CUdevice, c_int);
    cuDeviceGetName(*mut c_char, c_int, CUdevice);
    cuDeviceGetAttribute(*mut c_int, CUdevice_attribute, CUdevice);
    cuDevicePrimaryCtxRetain(*mut CUcontext, CUdevice);
    cuDevicePrimaryCtxRelease_v2(CUdevice);
    cuCtxPushCurrent_v2(CUcontext);
    cuCtxPopCurrent_v2(*mut CUcontext);
    cuCtxGetDevice(*mut CUdevice);
    cuStreamGetCtx(CUstream, *mut CUcontext);
    #[numbers] cuStreamIsCapturing(CUstream, *mut u32);
    cuMemAlloc_v2(*mut CUdeviceptr, usize);
    cuModuleLoadDataEx(*mut CUmodule, *const c_void, c_uint, *mut CUjit_option, *mut *mut c_void);
    cuModuleUnload(CUmodule);
    cuModuleGetFunction(*mut CUfunction, CUmodule, *const c_char);
    cuFuncSetAttribute(CUfunction, CUfunction_attribute, c_int);
    cuLaunchKernel(
        CUfunction, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, CUstream, *mut *mut c_void, *mut *mut c_void,
    );
}

const _: unsafe fn(CUcontext, *mut c_ulonglong) -> CUresult = sys::cuCtxGetId;

/// Calls a function of the driver: `driver_call!(driver, cuInit(0))` is a `Result<(), CudaError>`. The SAFETY line at the
/// caller answers for the arguments.
macro_rules! driver_call {
    ($driver:expr, $function:ident($($argument:expr),* $(,)?)) => {
        $crate::runtime::cuda::driver::Driver::check(
            $driver,
            stringify!($function),
            ($driver.$function)($($argument),*),
        )
    };
}
pub(crate) use driver_call;

/// `CUDA_SUCCESS`
pub(crate) const SUCCESS: u32 = CUresult::CUDA_SUCCESS as u32;

impl Driver {
    /// The driver, as far as it is installed; asked for once.
    pub(crate) fn installed() -> Result<&'static Driver, CudaError> {
        static DRIVER: OnceLock<Result<Driver, CudaError>> = OnceLock::new();
        DRIVER.get_or_init(Driver::load).as_ref().map_err(CudaError::clone)
    }

    /// The driver, started; asked for once.
    pub(crate) fn started() -> Result<&'static Driver, CudaError> {
        static STARTED: OnceLock<Result<(), CudaError>> = OnceLock::new();
        let driver = Driver::installed()?;
        // SAFETY: 0 is the only flag there is. A second start, after ONNX Runtime's, does nothing.
        STARTED.get_or_init(|| unsafe { driver_call!(driver, cuInit(0)) }).clone()?;
        Ok(driver)
    }

    fn load() -> Result<Driver, CudaError> {
        // SAFETY: loads the driver's library by the names under which every CUDA program loads it.
        if !unsafe { sys::is_culib_present() } {
            return Err(CudaError::NoDriver);
        }
        // SAFETY: as above; it is there.
        Driver::look_up(unsafe { sys::culib() })
    }

    /// What a call of a function gave, as a result.
    pub(crate) fn check(&self, call: &'static str, code: u32) -> Result<(), CudaError> {
        if code == SUCCESS { Ok(()) } else { Err(CudaError::Call { call, reason: self.reason(code) }) }
    }

    /// A code, with the driver's words for it.
    pub(crate) fn reason(&self, code: u32) -> Reason {
        let words = |function: unsafe extern "C" fn(u32, *mut *const c_char) -> u32| {
            let mut words = null();
            // SAFETY: takes any number and writes one pointer, to a static text or null.
            let known = unsafe { function(code, &raw mut words) } == SUCCESS;
            if !known || words.is_null() {
                return String::new();
            }
            // SAFETY: NUL-terminated and static.
            unsafe { CStr::from_ptr(words) }.to_string_lossy().into_owned()
        };
        Reason { code, name: words(self.cuGetErrorName), text: words(self.cuGetErrorString) }
    }

    /// A number that no other context has in the life of the process, where the driver has such numbers; else 0. (A context
    /// may have the handle of one that is gone.)
    ///
    /// # Safety
    /// `context` must live.
    pub(crate) unsafe fn context_id(&self, context: CUcontext) -> Result<u64, CudaError> {
        let Some(get) = self.cuCtxGetId else { return Ok(0) };
        let mut id = 0;
        // SAFETY: the caller's; writes one number.
        self.check("cuCtxGetId", unsafe { get(context, &raw mut id) })?;
        Ok(id)
    }

    /// The newest CUDA version that the driver serves, e.g. "12.4".
    pub(crate) fn cuda_version(&self) -> Result<String, CudaError> {
        let mut number = 0;
        // SAFETY: writes one number; needs no start.
        unsafe { driver_call!(self, cuDriverGetVersion(&raw mut number)) }?;
        Ok(format!("{}.{}", number / 1000, number % 1000 / 10))
    }
}
