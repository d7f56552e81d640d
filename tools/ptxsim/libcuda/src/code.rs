//! The driver's error codes, with its own words.

use std::ffi::{CStr, c_char, c_int};

use crate::entry::{self, Outcome, write};

macro_rules! codes {
    ($($name:ident = $number:literal, $text:literal;)*) => {
        /// A `CUresult`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) struct Code(pub(crate) u32);

        // a table of the driver's, not only of what is given here
        #[allow(dead_code)]
        impl Code {
            $(pub(crate) const $name: Code = Code($number);)*
        }

        fn known(code: u32) -> Option<(&'static CStr, &'static CStr)> {
            match code {
                $($number => Some((
                    // "CUDA_" and the name, NUL-terminated
                    const {
                        match CStr::from_bytes_with_nul(concat!("CUDA_", stringify!($name), "\0").as_bytes()) {
                            Ok(name) => name,
                            Err(_) => panic!("a name holds a NUL"),
                        }
                    },
                    $text,
                )),)*
                _ => None,
            }
        }
    };
}

codes! {
    SUCCESS = 0, c"no error";
    ERROR_INVALID_VALUE = 1, c"invalid argument";
    ERROR_OUT_OF_MEMORY = 2, c"out of memory";
    ERROR_NOT_INITIALIZED = 3, c"initialization error";
    ERROR_NO_DEVICE = 100, c"no CUDA-capable device is detected";
    ERROR_INVALID_DEVICE = 101, c"invalid device ordinal";
    ERROR_INVALID_IMAGE = 200, c"device kernel image is invalid";
    ERROR_INVALID_CONTEXT = 201, c"invalid device context";
    ERROR_NO_BINARY_FOR_GPU = 209, c"no kernel image is available for execution on the device";
    ERROR_INVALID_PTX = 218, c"a PTX JIT compilation failed";
    ERROR_UNSUPPORTED_PTX_VERSION = 222, c"the provided PTX was compiled with an unsupported toolchain.";
    ERROR_INVALID_HANDLE = 400, c"invalid resource handle";
    ERROR_ILLEGAL_STATE = 401, c"the operation cannot be performed in the present state";
    ERROR_NOT_FOUND = 500, c"named symbol not found";
    ERROR_NOT_READY = 600, c"device not ready";
    ERROR_ILLEGAL_ADDRESS = 700, c"an illegal memory access was encountered";
    ERROR_LAUNCH_OUT_OF_RESOURCES = 701, c"too many resources requested for launch";
    ERROR_LAUNCH_TIMEOUT = 702, c"the launch timed out and was terminated";
    ERROR_ILLEGAL_INSTRUCTION = 715, c"an illegal instruction was encountered";
    ERROR_MISALIGNED_ADDRESS = 716, c"misaligned address";
    ERROR_LAUNCH_FAILED = 719, c"unspecified launch failure";
    ERROR_NOT_SUPPORTED = 801, c"operation not supported";
    ERROR_STREAM_CAPTURE_UNSUPPORTED = 900, c"operation not permitted when stream is capturing";
    ERROR_STREAM_CAPTURE_INVALIDATED = 901, c"operation failed due to a previous error during capture";
    ERROR_UNKNOWN = 999, c"unknown error";
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGetErrorName(code: c_int, text: *mut *const c_char) -> u32 {
    // SAFETY: the caller's.
    entry::always(|| unsafe { tell(code, text, |(name, _)| name) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGetErrorString(code: c_int, text: *mut *const c_char) -> u32 {
    // SAFETY: the caller's.
    entry::always(|| unsafe { tell(code, text, |(_, text)| text) })
}

unsafe fn tell(
    code: c_int,
    out: *mut *const c_char,
    pick: fn((&'static CStr, &'static CStr)) -> &'static CStr,
) -> Outcome {
    match known(code.cast_unsigned()) {
        // SAFETY: the caller's.
        Some(known) => unsafe { write(out, pick(known).as_ptr()) },
        None => {
            // SAFETY: the caller's.
            unsafe { write(out, std::ptr::null()) }?;
            Err(Code::ERROR_INVALID_VALUE)
        }
    }
}
