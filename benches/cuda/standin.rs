//! libcuda without a GPU.

use libloading::Library;

use crate::device::Outcome;

/// Loads the stand-in that cargo builds beside this program. Its SONAME is that of libcuda, so whoever asks for
/// `libcuda.so.1` later gets it.
///
/// # Errors
/// A file that isn't there.
pub fn load() -> Outcome<()> {
    let program = std::env::current_exe()?;
    let path = program.with_file_name("libcuda_standin.so");
    // SAFETY: the stand-in does nothing while it is loaded.
    let library = unsafe { Library::new(&path) }.map_err(|error| format!("{}: {error}", path.display()))?;
    std::mem::forget(library);
    Ok(())
}
