//! What can go wrong between the operators and a device.

use crate::runtime::abi::Failure;

/// A call of the driver, the device or the host's stream failed; sentences for the user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CudaError {
    /// There is no driver.
    #[error(
        "no NVIDIA driver: libcuda (libcuda.so.1, nvcuda.dll) cannot be loaded; install the driver (R525 or newer), in a \
         container start it with the GPU, or run the session on CPUExecutionProvider"
    )]
    NoDriver,
    /// The driver has not what every driver since CUDA 10 has.
    #[error("the NVIDIA driver has no {0}: install R525 or newer (CUDA 12.0)")]
    MissingFunction(&'static str),
    /// A call of the driver failed.
    #[error("{call} failed: {reason}{}", advice(reason.code))]
    Call {
        /// The function.
        call: &'static str,
        /// Why.
        reason: Reason,
    },
    /// The driver knows only an older PTX than that of the kernels.
    #[error(
        "the NVIDIA driver is too old for the CUDA kernels of elonnx: it serves CUDA {driver}, they need CUDA 12.0; \
         install driver R525 or newer, or run the session on CPUExecutionProvider ({reason}{})",
        log_clause(log)
    )]
    DriverTooOld {
        /// The newest CUDA version that the driver serves.
        driver: String,
        /// What it said.
        reason: Reason,
        /// What its compiler said.
        log: String,
    },
    /// The device is older than the oldest that the kernels are for.
    #[error(
        "the CUDA kernels of elonnx need a GPU of compute capability 8.0 or newer (Ampere), this one has {}.{}; run the \
         session on CPUExecutionProvider ({reason}{})", capability.0, capability.1, log_clause(log)
    )]
    DeviceTooOld {
        /// Its compute capability.
        capability: (u32, u32),
        /// What the driver said.
        reason: Reason,
        /// What its compiler said.
        log: String,
    },
    /// The driver refuses the kernels for another reason.
    #[error("the driver did not load the CUDA kernels for {element}: {reason}{}{}", log_clause(log), advice(reason.code))]
    Module {
        /// The type of the logits, in ONNX's words.
        element: &'static str,
        /// What the driver said.
        reason: Reason,
        /// What its compiler said.
        log: String,
    },
    /// A kernel is not in its module, or wants more than the device has.
    #[error("kernel {kernel} for {element} cannot be launched: {call} failed: {reason}{}", advice(reason.code))]
    Kernel {
        /// The kernel.
        kernel: &'static str,
        /// The type of the logits, in ONNX's words.
        element: &'static str,
        /// The function of the driver.
        call: &'static str,
        /// What the driver said.
        reason: Reason,
    },
    /// The device has no room for what a stream needs.
    #[error(
        "the GPU has no room for {bytes} more bytes, the scratch memory of elonnx for 16 streams: {reason}; lower \
         gpu_mem_limit of CUDAExecutionProvider, or end other programs on the GPU"
    )]
    OutOfMemory {
        /// How many were asked for.
        bytes: usize,
        /// What the driver said.
        reason: Reason,
    },
    /// The host runs the kernel without a stream.
    #[error(
        "ONNX Runtime gave the CUDA kernel no stream: make the session with CUDAExecutionProvider of a GPU build of ONNX \
         Runtime (pip install onnxruntime-gpu), or without that provider to run on the CPU"
    )]
    NoStream,
    /// The first run on a stream is one that is captured.
    #[error(
        "a CUDA graph is being captured, and {0} not ready on its stream: run the model once with inputs of the same \
         shapes on that stream before the capture (ONNX Runtime does so by itself with enable_cuda_graph)"
    )]
    Capturing(&'static str),
}

/// What the driver gave: a code, and its own name and text for it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("error {code}{}", named(name, text))]
pub(crate) struct Reason {
    pub(crate) code: u32,
    /// As in cuda.h; empty where the driver doesn't know the code.
    pub(crate) name: String,
    /// In words; empty where the driver doesn't know the code.
    pub(crate) text: String,
}

fn named(name: &str, text: &str) -> String {
    match (name, text) {
        ("", "") => String::new(),
        (name, "") => format!(" ({name})"),
        ("", text) => format!(" ({text})"),
        (name, text) => format!(" ({name}: {text})"),
    }
}

fn log_clause(log: &str) -> String {
    if log.is_empty() { String::new() } else { format!("; {log}") }
}

/// Codes of cuda.h that mean something to the user; as numbers, since the driver may give codes that no enum knows.
pub(crate) mod code {
    use cudarc::driver::sys::CUresult;

    pub(crate) const OUT_OF_MEMORY: u32 = CUresult::CUDA_ERROR_OUT_OF_MEMORY as u32;
    pub(crate) const NO_DEVICE: u32 = CUresult::CUDA_ERROR_NO_DEVICE as u32;
    pub(crate) const UNSUPPORTED_PTX_VERSION: u32 = CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION as u32;
    pub(crate) const JIT_COMPILER_NOT_FOUND: u32 = CUresult::CUDA_ERROR_JIT_COMPILER_NOT_FOUND as u32;
    pub(crate) const JIT_COMPILATION_DISABLED: u32 = CUresult::CUDA_ERROR_JIT_COMPILATION_DISABLED as u32;
    pub(crate) const ILLEGAL_ADDRESS: u32 = CUresult::CUDA_ERROR_ILLEGAL_ADDRESS as u32;
    pub(crate) const LAUNCH_FAILED: u32 = CUresult::CUDA_ERROR_LAUNCH_FAILED as u32;
    pub(crate) const SYSTEM_DRIVER_MISMATCH: u32 = CUresult::CUDA_ERROR_SYSTEM_DRIVER_MISMATCH as u32;
}

/// What to do about a code, where that can be said.
fn advice(code: u32) -> &'static str {
    match code {
        code::OUT_OF_MEMORY => "; lower gpu_mem_limit of CUDAExecutionProvider, or end other programs on the GPU",
        code::NO_DEVICE => "; in a container, start it with the GPU; look at CUDA_VISIBLE_DEVICES",
        code::JIT_COMPILER_NOT_FOUND => {
            "; libnvidia-ptxjitcompiler.so.1 of the driver is missing: in a container, give it all of the driver \
             (NVIDIA_DRIVER_CAPABILITIES=compute,utility)"
        }
        code::JIT_COMPILATION_DISABLED => "; unset CUDA_DISABLE_PTX_JIT",
        code::ILLEGAL_ADDRESS | code::LAUNCH_FAILED => {
            "; the device may have failed in an earlier kernel, of any library: run with CUDA_LAUNCH_BLOCKING=1 to see \
             which"
        }
        code::SYSTEM_DRIVER_MISMATCH => "; libcuda and the kernel module are of different versions: reboot",
        _ => "",
    }
}

impl From<CudaError> for Failure {
    fn from(error: CudaError) -> Failure {
        Failure::Device(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(code: u32, name: &str, text: &str) -> Reason {
        Reason { code, name: name.to_owned(), text: text.to_owned() }
    }

    #[test]
    fn reasons_have_the_words_of_the_driver_where_it_has_any() {
        assert_eq!(
            reason(700, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered").to_string(),
            "error 700 (CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access was encountered)"
        );
        assert_eq!(reason(4711, "", "").to_string(), "error 4711");
        assert_eq!(reason(1, "A", "").to_string(), "error 1 (A)");
        assert_eq!(reason(1, "", "b").to_string(), "error 1 (b)");
    }

    #[test]
    fn sentences_say_what_to_do() {
        let too_old = CudaError::DriverTooOld {
            driver: "11.8".to_owned(),
            reason: reason(222, "CUDA_ERROR_UNSUPPORTED_PTX_VERSION", ""),
            log: "ptxas fatal : Unsupported .version 8.0".to_owned(),
        };
        assert_eq!(
            too_old.to_string(),
            "the NVIDIA driver is too old for the CUDA kernels of elonnx: it serves CUDA 11.8, they need CUDA 12.0; \
             install driver R525 or newer, or run the session on CPUExecutionProvider (error 222 \
             (CUDA_ERROR_UNSUPPORTED_PTX_VERSION); ptxas fatal : Unsupported .version 8.0)"
        );
        let no_room = CudaError::OutOfMemory { bytes: 790_528, reason: reason(2, "CUDA_ERROR_OUT_OF_MEMORY", "") };
        assert!(no_room.to_string().contains("no room for 790528 more bytes"), "{no_room}");
        assert!(no_room.to_string().contains("gpu_mem_limit"), "{no_room}");
        let call = CudaError::Call { call: "cuLaunchKernel", reason: reason(700, "CUDA_ERROR_ILLEGAL_ADDRESS", "") };
        assert!(call.to_string().starts_with("cuLaunchKernel failed: error 700 ("), "{call}");
        assert!(call.to_string().contains("CUDA_LAUNCH_BLOCKING=1"), "{call}");
        let unknown = CudaError::Call { call: "cuLaunchKernel", reason: reason(4711, "", "") };
        assert_eq!(unknown.to_string(), "cuLaunchKernel failed: error 4711");
        for error in [CudaError::NoDriver, CudaError::NoStream, CudaError::Capturing("the kernels are")] {
            assert!(!error.to_string().contains("  "), "{error}");
        }
        assert!(CudaError::NoStream.to_string().contains("CUDAExecutionProvider"));
    }
}
