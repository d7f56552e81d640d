//! The kernels of one element type, loaded into a context.

use std::ffi::{CString, c_void};
use std::ptr::null_mut;

use cudarc::driver::sys::{CUfunction, CUfunction_attribute, CUjit_option, CUmodule};

use super::context::Current;
use super::driver::{Driver, SUCCESS, driver_call};
use super::element::ElementType;
use super::error::{CudaError, code};
use super::launch::DeviceLimits;

/// The most dynamic shared memory that a kernel has without asking for more, in bytes.
const SHARED_WITHOUT_ASKING: u32 = 48 * 1024;

/// The oldest compute capability that the kernels are for.
pub(crate) const OLDEST_CAPABILITY: (u32, u32) = (8, 0);

/// A loaded module. Never unloaded by itself; see [`Module::unload`].
pub(crate) struct Module {
    element: ElementType,
    handle: CUmodule,
    /// the kernels that were asked for, a few
    functions: Vec<Function>,
}

struct Function {
    kernel: &'static str,
    handle: CUfunction,
    /// the most dynamic shared memory that it may be launched with, in bytes
    shared: u32,
}

// SAFETY: the handles may be used on any thread on which their context is current.
unsafe impl Send for Module {}

impl Module {
    /// Has the driver compile the kernels for the device of the current context. Takes some seconds the first time (NVIDIA's
    /// ptxas 12.9 takes 1 to 2 s of CPU per module); the driver keeps the result on disk.
    pub(crate) fn load(
        driver: &Driver,
        _: &Current,
        element: ElementType,
        limits: &DeviceLimits,
    ) -> Result<Module, CudaError> {
        let mut log = [0u8; 4096];
        let mut options = [CUjit_option::CU_JIT_ERROR_LOG_BUFFER, CUjit_option::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES];
        // a number is passed in the place of a pointer
        let mut values: [*mut c_void; 2] = [log.as_mut_ptr().cast(), std::ptr::without_provenance_mut(log.len() - 1)];
        let mut handle = null_mut();
        // SAFETY: the PTX is NUL-terminated; two options with a value each; the driver writes at most as many bytes as
        // said into the log, whose last byte stays NUL.
        let result = unsafe {
            (driver.cuModuleLoadDataEx)(
                &raw mut handle,
                element.ptx().as_ptr().cast(),
                2,
                options.as_mut_ptr(),
                values.as_mut_ptr(),
            )
        };
        if result == SUCCESS {
            return Ok(Module { element, handle, functions: Vec::new() });
        }
        Err(refusal(driver, result, log_text(&log), element, limits))
    }

    /// The function of a kernel, allowed to have that much dynamic shared memory. `first` is asked before a function is
    /// looked up for the first time.
    pub(crate) fn function(
        &mut self,
        driver: &Driver,
        _: &Current,
        kernel: &'static str,
        shared: u32,
        first: impl FnOnce() -> Result<(), CudaError>,
    ) -> Result<CUfunction, CudaError> {
        let element = self.element;
        let failed = |call: &'static str, result: u32| {
            let reason = driver.reason(result);
            CudaError::Kernel { kernel, element: element.name(), call, reason }
        };
        let index = match self.functions.iter().position(|function| function.kernel == kernel) {
            Some(index) => index,
            None => {
                first()?;
                let name = CString::new(kernel).unwrap_or_default();
                let mut handle = null_mut();
                // SAFETY: the module is loaded, the name NUL-terminated.
                let result = unsafe { (driver.cuModuleGetFunction)(&raw mut handle, self.handle, name.as_ptr()) };
                if result != SUCCESS {
                    return Err(failed("cuModuleGetFunction", result));
                }
                self.functions.push(Function { kernel, handle, shared: SHARED_WITHOUT_ASKING });
                self.functions.len() - 1
            }
        };
        let function = &mut self.functions[index];
        if shared > function.shared {
            let attribute = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            let bytes = i32::try_from(shared).unwrap_or(i32::MAX);
            // SAFETY: the function was looked up above.
            let result = unsafe { (driver.cuFuncSetAttribute)(function.handle, attribute, bytes) };
            if result != SUCCESS {
                return Err(failed("cuFuncSetAttribute", result));
            }
            function.shared = shared;
        }
        Ok(function.handle)
    }

    /// Takes the kernels out of their context.
    ///
    /// # Safety
    /// The context must still live, and no kernel of the module may be running.
    pub(crate) unsafe fn unload(self, driver: &Driver) -> Result<(), CudaError> {
        // SAFETY: the caller's.
        unsafe { driver_call!(driver, cuModuleUnload(self.handle)) }
    }
}

/// Why the driver does not take the kernels.
fn refusal(driver: &Driver, result: u32, log: String, element: ElementType, limits: &DeviceLimits) -> CudaError {
    let reason = driver.reason(result);
    match result {
        code::UNSUPPORTED_PTX_VERSION => {
            let version = driver.cuda_version().unwrap_or_else(|_| "of an unknown version".to_owned());
            CudaError::DriverTooOld { driver: version, reason, log }
        }
        code::OUT_OF_MEMORY => CudaError::Module { element: element.name(), reason, log },
        _ if limits.compute_capability < OLDEST_CAPABILITY => {
            CudaError::DeviceTooOld { capability: limits.compute_capability, reason, log }
        }
        _ => CudaError::Module { element: element.name(), reason, log },
    }
}

/// What is in the buffer, as one line.
fn log_text(log: &[u8]) -> String {
    let end = log.iter().position(|&byte| byte == 0).unwrap_or(log.len());
    let text = String::from_utf8_lossy(&log[..end]);
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_become_one_line() {
        assert_eq!(log_text(b"ptxas a, line 3;\n\n  ptxas fatal : b\n\0garbage"), "ptxas a, line 3;; ptxas fatal : b");
        assert_eq!(log_text(&[0; 8]), "");
        assert_eq!(log_text(b"full"), "full");
    }
}
