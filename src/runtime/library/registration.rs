//! Whether a plugin can be registered in an ONNX Runtime, by doing it.

use std::ffi::CStr;
use std::path::Path;
use std::ptr;

use ort_sys::{OrtApi, OrtApiBase, OrtSessionOptions, OrtStatusPtr};

use super::{OLDEST, load};

/// Registers `plugin` in session options of the ONNX Runtime in `runtime`, and lets go of them. No session is made.
///
/// # Errors
/// ONNX Runtime's reason, or why it could not be asked; a clause.
pub fn registers(runtime: &Path, plugin: &Path) -> Result<(), String> {
    let library = load(runtime)?;
    let outcome = (|| {
        // SAFETY: the entry point of ONNX Runtime's C API, with the signature of onnxruntime_c_api.h.
        let entry = unsafe { library.get::<unsafe extern "system" fn() -> *const OrtApiBase>(b"OrtGetApiBase\0") }
            .map_err(|_| "is not ONNX Runtime: it has no OrtGetApiBase".to_owned())?;
        // SAFETY: takes no arguments; gives a static table or null.
        let base = unsafe { entry().as_ref() }.ok_or("gives no API table")?;
        // SAFETY: any version may be asked for; null where it is not known.
        let api = unsafe { (base.GetApi)(OLDEST.minor).as_ref() }
            .ok_or_else(|| format!("does not know API {}", OLDEST.minor))?;
        register(api, plugin)
    })();
    std::mem::forget(library);
    outcome
}

fn register(api: &OrtApi, plugin: &Path) -> Result<(), String> {
    let path = os_string(plugin);
    let mut options: *mut OrtSessionOptions = ptr::null_mut();
    // SAFETY: writes one pointer.
    take(api, unsafe { (api.CreateSessionOptions)(&raw mut options) })?;
    // SAFETY: options of this API; the path ends with NUL and is copied. ONNX Runtime loads the plugin and calls its
    // RegisterCustomOps, as it will for every session.
    let outcome = take(api, unsafe { (api.RegisterCustomOpsLibrary_V2)(options, path.as_ptr().cast()) });
    // SAFETY: made above, used by nobody else.
    unsafe { (api.ReleaseSessionOptions)(options) };
    outcome
}

/// A status as a result; frees it.
fn take(api: &OrtApi, status: OrtStatusPtr) -> Result<(), String> {
    if status.0.is_null() {
        return Ok(());
    }
    // SAFETY: a status of this API; the text is NUL-terminated and lives as long as the status.
    let text = unsafe { CStr::from_ptr((api.GetErrorMessage)(status.0)) }.to_string_lossy().into_owned();
    // SAFETY: not used again.
    unsafe { (api.ReleaseStatus)(status.0) };
    Err(text)
}

/// The path as ONNX Runtime takes it on this system: bytes, or 16-bit units on Windows.
#[cfg(not(windows))]
fn os_string(path: &Path) -> Vec<u8> {
    let mut text = path.as_os_str().as_encoded_bytes().to_vec();
    text.push(0);
    text
}

/// The path as ONNX Runtime takes it on this system: bytes, or 16-bit units on Windows.
#[cfg(windows)]
fn os_string(path: &Path) -> Vec<u16> {
    use std::os::windows::ffi::OsStrExt as _;
    path.as_os_str().encode_wide().chain([0]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::library::{exports, find};

    /// With an ONNX Runtime at hand: something that is no plugin is refused with its reason.
    #[test]
    fn what_is_no_plugin_is_refused() {
        let Ok(runtime) = find(None) else {
            println!("skipped: no ONNX Runtime library here");
            return;
        };
        let reason = registers(&runtime.path, Path::new("/nonexistent/libelonnx.so")).unwrap_err();
        assert!(reason.contains("libelonnx.so"), "{reason}");
        assert!(exports(&runtime.path, "RegisterCustomOps").is_err());
        assert!(registers(&runtime.path, &runtime.path).is_err());
    }
}
