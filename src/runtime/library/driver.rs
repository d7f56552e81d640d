//! Whether the NVIDIA driver is there. Needs no CUDA toolkit: only the driver's own library is asked.

use std::ffi::{CStr, c_char, c_int, c_uint};

use libloading::Library;
use serde::Serialize;

/// What the driver says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CudaDriver {
    /// Newest CUDA version it serves, e.g. "12.4".
    pub cuda_version: String,
    /// Names of the devices.
    pub devices: Vec<String>,
}

/// Asks the driver.
///
/// # Errors
/// A sentence that says what is missing.
pub fn cuda_driver() -> Result<CudaDriver, String> {
    let name = if cfg!(windows) { "nvcuda.dll" } else { "libcuda.so.1" };
    // SAFETY: loads the driver by the name under which every CUDA program loads it.
    let library = unsafe { Library::new(name) }
        .map_err(|_| format!("no NVIDIA driver: {name} is not there, so the ops run on the CPU"))?;
    let answer = ask(&library);
    // the driver keeps threads once initialised
    std::mem::forget(library);
    answer
}

fn ask(library: &Library) -> Result<CudaDriver, String> {
    type Init = unsafe extern "system" fn(c_uint) -> c_int;
    type GetInt = unsafe extern "system" fn(*mut c_int) -> c_int;
    type GetDevice = unsafe extern "system" fn(*mut c_int, c_int) -> c_int;
    type GetName = unsafe extern "system" fn(*mut c_char, c_int, c_int) -> c_int;
    let missing = |error: libloading::Error| format!("the NVIDIA driver is incomplete: {error}");
    // SAFETY (all four): signatures of the CUDA driver API, unchanged since CUDA 2.2.
    let init = unsafe { library.get::<Init>(b"cuInit\0") }.map_err(missing)?;
    // SAFETY: as above.
    let version = unsafe { library.get::<GetInt>(b"cuDriverGetVersion\0") }.map_err(missing)?;
    // SAFETY: as above.
    let count = unsafe { library.get::<GetInt>(b"cuDeviceGetCount\0") }.map_err(missing)?;
    // SAFETY: as above.
    let device = unsafe { library.get::<GetDevice>(b"cuDeviceGet\0") }.map_err(missing)?;
    // SAFETY: as above.
    let device_name = unsafe { library.get::<GetName>(b"cuDeviceGetName\0") }.map_err(missing)?;

    let mut number: c_int = 0;
    // SAFETY: writes one int.
    if unsafe { version(&raw mut number) } != 0 || number <= 0 {
        return Err("the NVIDIA driver does not tell its version".to_owned());
    }
    let cuda_version = format!("{}.{}", number / 1000, number % 1000 / 10);
    // SAFETY: 0 is the only flag there is.
    match unsafe { init(0) } {
        0 => {}
        100 => {
            return Err(format!(
                "the NVIDIA driver (CUDA {cuda_version}) is there, but no device; in a container, start it with the GPU"
            ));
        }
        code => {
            return Err(format!("the NVIDIA driver (CUDA {cuda_version}) does not start: cuInit gives error {code}"));
        }
    }
    let mut devices = Vec::new();
    // SAFETY: writes one int; the driver is initialised.
    if unsafe { count(&raw mut number) } == 0 {
        for index in 0..number {
            let mut handle: c_int = 0;
            let mut name = [0 as c_char; 256];
            // SAFETY: writes one int; the index is below the count.
            let known = unsafe { device(&raw mut handle, index) } == 0
                // SAFETY: writes at most 255 characters and a NUL into the buffer, whose last byte stays NUL.
                && unsafe { device_name(name.as_mut_ptr(), 255, handle) } == 0;
            if known {
                // SAFETY: NUL-terminated by the driver, at the latest by the last byte, which it doesn't reach.
                devices.push(unsafe { CStr::from_ptr(name.as_ptr()) }.to_string_lossy().into_owned());
            }
        }
    }
    Ok(CudaDriver { cuda_version, devices })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_driver_is_there_with_a_version_or_the_reason_is_given() {
        match cuda_driver() {
            Ok(driver) => assert!(driver.cuda_version.contains('.')),
            Err(reason) => assert!(reason.contains("NVIDIA driver"), "{reason}"),
        }
    }
}
