//! Sessions through `ort`: the operators without a plugin file.

use std::path::PathBuf;
use std::ptr::NonNull;

use ort::AsPointer;
use ort::session::builder::SessionBuilder;
use ort_sys::OrtApiBase;

use super::abi::{Host, guard};
use super::library::{OLDEST, Version};
use super::plugin::{parse_version, register, version_text};

/// Adds the operators of `ai.elonnx` to a session of `ort`.
pub trait WithElonnx: Sized {
    /// Registers `EncouragingLoss`, `EncouragingLossGrad` and `EncouragingLossAndGrad`, in-process; a second call does
    /// nothing.
    ///
    /// ```no_run
    /// use elonnx::runtime::WithElonnx;
    /// use ort::session::Session;
    ///
    /// let env = ort::init_from("libonnxruntime.so.1.32.0")?.build()?;
    /// let session = Session::builder(&env)?.with_elonnx()?.commit_from_file("patched.onnx")?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// What ONNX Runtime has against it.
    fn with_elonnx(self) -> ort::Result<Self>;
}

impl WithElonnx for SessionBuilder {
    fn with_elonnx(mut self) -> ort::Result<Self> {
        let options = self.ptr_mut();
        // SAFETY: the table is the one that `ort` made the builder with; `ort` asks for version 17 or newer.
        let host = unsafe { Host::new(NonNull::from(ort::api())) };
        let status = guard(host, || {
            // SAFETY: `options` belong to the builder, which lives.
            unsafe { register(options, host, version_of(host)) }
        });
        // SAFETY: the status is null or an error that is handed over.
        unsafe { ort::Error::result_from_status(status) }.map(|()| self)
    }
}

/// `ort` doesn't tell the version of its library, so the library is asked that holds the table's functions.
///
/// Where it cannot be found the oldest is assumed, which only means that output shapes are not known beforehand.
fn version_of(host: Host) -> Version {
    let read = || -> Option<Version> {
        // SAFETY: the field is in every version of the table.
        let function = unsafe { (*host.table()).CreateStatus } as *const ();
        let path = library_of(function)?;
        // SAFETY: the library is loaded already, so opening it runs no initialiser.
        let library = unsafe { libloading::Library::new(path) }.ok()?;
        // SAFETY: the symbol has this type in every ONNX Runtime.
        let base = unsafe {
            let get: libloading::Symbol<unsafe extern "system" fn() -> *const OrtApiBase> =
                library.get(b"OrtGetApiBase\0").ok()?;
            get()
        };
        if base.is_null() {
            return None;
        }
        // SAFETY: the base is the host's.
        Some(parse_version(&unsafe { version_text(base) }))
    };
    read().unwrap_or(OLDEST)
}

/// The file that a function was loaded from.
#[cfg(unix)]
fn library_of(function: *const ()) -> Option<PathBuf> {
    use std::ffi::{CStr, OsStr, c_char, c_int, c_void};
    use std::os::unix::ffi::OsStrExt;

    /// `Dl_info` of dlfcn.h, the same on Linux, macOS and the BSDs
    #[repr(C)]
    struct DlInfo {
        file_name: *const c_char,
        file_base: *mut c_void,
        symbol_name: *const c_char,
        symbol_address: *mut c_void,
    }
    unsafe extern "C" {
        fn dladdr(address: *const c_void, info: *mut DlInfo) -> c_int;
    }

    let mut info = std::mem::MaybeUninit::<DlInfo>::zeroed();
    // SAFETY: dladdr takes any address and fills `info` where it returns non-zero.
    let info = unsafe {
        if dladdr(function.cast(), info.as_mut_ptr()) == 0 {
            return None;
        }
        info.assume_init()
    };
    if info.file_name.is_null() {
        return None;
    }
    // SAFETY: NUL-terminated, and valid while the library is loaded.
    let name = unsafe { CStr::from_ptr(info.file_name) };
    Some(PathBuf::from(OsStr::from_bytes(name.to_bytes())))
}

#[cfg(not(unix))]
fn library_of(_: *const ()) -> Option<PathBuf> {
    None
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_function_of_this_program_is_found_in_this_program() {
        let found = library_of(library_of as *const ()).unwrap().canonicalize().unwrap();
        assert_eq!(found, std::env::current_exe().unwrap().canonicalize().unwrap());
    }
}
