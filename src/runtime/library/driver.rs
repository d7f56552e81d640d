//! Whether the operators can run on an NVIDIA GPU. Needs no CUDA toolkit: only the driver is asked.

use serde::Serialize;

/// The driver and its devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CudaDriver {
    /// Newest CUDA version it serves, e.g. "12.4".
    pub cuda_version: String,
    /// In the order in which the driver numbers them, as `device_id` of CUDAExecutionProvider does.
    pub devices: Vec<CudaDevice>,
}

/// A GPU.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CudaDevice {
    /// E.g. "NVIDIA A100-SXM4-80GB".
    pub name: String,
    /// E.g. "8.0".
    pub compute_capability: String,
    /// Why the kernels don't load on it, and what to do; `None` where they do.
    pub problem: Option<String>,
}

/// Asks the driver, and loads the kernels on each device, for all types; takes some seconds per kind of device the first
/// time, until the driver has them in its cache.
///
/// # Errors
/// A sentence that says what is missing.
#[cfg(feature = "cuda")]
pub fn cuda_driver() -> Result<CudaDriver, String> {
    crate::runtime::cuda::survey()
}

/// This build has no kernels to load.
///
/// # Errors
/// Always, with a sentence that says so.
#[cfg(not(feature = "cuda"))]
pub fn cuda_driver() -> Result<CudaDriver, String> {
    Err("this elonnx was built without its feature `cuda`, so the ops run on the CPU".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_driver_is_there_with_a_version_or_the_reason_is_given() {
        match cuda_driver() {
            Ok(driver) => assert!(driver.cuda_version.contains('.')),
            Err(reason) => assert!(reason.contains("NVIDIA driver") || reason.contains("feature"), "{reason}"),
        }
    }
}
