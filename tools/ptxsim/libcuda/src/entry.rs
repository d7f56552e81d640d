//! The boundary: what every entry point does before and after its work.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard};

use crate::code::Code;
use crate::device;

pub(crate) type Outcome<T = ()> = Result<T, Code>;

/// Runs an entry point that needs an initialised driver.
pub(crate) fn initialised(body: impl FnOnce() -> Outcome) -> u32 {
    always(|| if device::driver()?.is_initialised() { body() } else { Err(Code::ERROR_NOT_INITIALIZED) })
}

/// Runs an entry point; a panic is `CUDA_ERROR_UNKNOWN`.
pub(crate) fn always(body: impl FnOnce() -> Outcome) -> u32 {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => Code::SUCCESS.0,
        Ok(Err(code)) => code.0,
        Err(_) => Code::ERROR_UNKNOWN.0,
    }
}

/// Writes a result to where the caller wants it.
///
/// # Safety
/// `out` must be null or valid for writing.
pub(crate) unsafe fn write<T>(out: *mut T, value: T) -> Outcome {
    if out.is_null() {
        return Err(Code::ERROR_INVALID_VALUE);
    }
    // SAFETY: not null, and the caller's. Unaligned, since nothing says that callers align it.
    unsafe { out.write_unaligned(value) };
    Ok(())
}

/// Locks, whatever happened to the last holder: all that is kept under locks here is valid at every step.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
