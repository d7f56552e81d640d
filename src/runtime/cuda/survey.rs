//! What `elonnx doctor` tells of the driver and its devices.

use std::ffi::{CStr, c_char};
use std::ptr::null_mut;

use cudarc::driver::sys::CUdevice;

use super::context::{Current, limits_of};
use super::driver::{Driver, driver_call};
use super::element::ElementType;
use super::error::{CudaError, code};
use super::launch::DeviceLimits;
use super::module::Module;
use crate::runtime::library::driver::{CudaDevice, CudaDriver};

/// Looks at every device and loads the kernels on it.
///
/// # Errors
/// A sentence that says why there is no device to look at.
pub(crate) fn survey() -> Result<CudaDriver, String> {
    let driver = Driver::installed().map_err(|error| match error {
        CudaError::NoDriver if cfg!(windows) => without_library("nvcuda.dll"),
        CudaError::NoDriver => without_library("libcuda.so.1"),
        error => error.to_string(),
    })?;
    let cuda_version = driver.cuda_version().map_err(|error| error.to_string())?;
    let no_devices = format!(
        "the NVIDIA driver (CUDA {cuda_version}) is there, but no device: in a container, start it with the GPU; look at \
         CUDA_VISIBLE_DEVICES"
    );
    Driver::started().map_err(|error| match error {
        CudaError::Call { reason, .. } if reason.code == code::NO_DEVICE => no_devices.clone(),
        error => format!("the NVIDIA driver (CUDA {cuda_version}) does not start: {error}"),
    })?;
    let devices = devices(driver).map_err(|error| error.to_string())?;
    if devices.is_empty() { Err(no_devices) } else { Ok(CudaDriver { cuda_version, devices }) }
}

fn without_library(name: &str) -> String {
    format!("no NVIDIA driver: {name} is not there, so the ops run on the CPU")
}

fn devices(driver: &'static Driver) -> Result<Vec<CudaDevice>, CudaError> {
    let mut count = 0;
    // SAFETY: writes one number.
    unsafe { driver_call!(driver, cuDeviceGetCount(&raw mut count)) }?;
    (0..count).map(|index| look_at(driver, index)).collect()
}

fn look_at(driver: &'static Driver, index: i32) -> Result<CudaDevice, CudaError> {
    let mut device = 0;
    // SAFETY: writes one number; the index is below the count.
    unsafe { driver_call!(driver, cuDeviceGet(&raw mut device, index)) }?;
    let mut name = [0 as c_char; 256];
    // SAFETY: writes at most 255 characters and a NUL into the buffer, whose last byte stays NUL.
    unsafe { driver_call!(driver, cuDeviceGetName(name.as_mut_ptr(), 255, device)) }?;
    // SAFETY: NUL-terminated by the driver, at the latest by the last byte, which it doesn't reach.
    let name = unsafe { CStr::from_ptr(name.as_ptr()) }.to_string_lossy().into_owned();
    let limits = limits_of(driver, device)?;
    let (major, minor) = limits.compute_capability;
    let problem = load_everything(driver, device, &limits).err().map(|error| error.to_string());
    Ok(CudaDevice { name, compute_capability: format!("{major}.{minor}"), problem })
}

/// Loads the kernels of all types into the device's primary context, ONNX Runtime's as well, and takes them out again.
fn load_everything(driver: &'static Driver, device: CUdevice, limits: &DeviceLimits) -> Result<(), CudaError> {
    let mut context = null_mut();
    // SAFETY: writes one handle; released below.
    unsafe { driver_call!(driver, cuDevicePrimaryCtxRetain(&raw mut context, device)) }?;
    // SAFETY: retained until the end of this function.
    let loaded = unsafe { Current::push(driver, context) }.and_then(|current| {
        ElementType::ALL.into_iter().try_for_each(|element| {
            let module = Module::load(driver, &current, element, limits)?;
            // SAFETY: its context lives, and nothing was launched.
            unsafe { module.unload(driver) }
        })
    });
    // SAFETY: retained above.
    loaded.and(unsafe { driver_call!(driver, cuDevicePrimaryCtxRelease_v2(device)) })
}
