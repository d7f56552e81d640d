//! What tests ask and set; not in the CUDA driver API.

use std::ffi::{CStr, c_char, c_int};

use crate::code::Code;
use crate::device::{Device, driver, write_text};
use crate::entry::{self, Outcome, lock};

/// Sets an option of a device; the README lists them.
#[unsafe(no_mangle)]
unsafe extern "C" fn standin_set(device: c_int, option: *const c_char, value: u64) -> u32 {
    entry::always(|| {
        if option.is_null() {
            return Err(Code::ERROR_INVALID_VALUE);
        }
        // SAFETY: not null, NUL-terminated by the caller.
        let name = unsafe { CStr::from_ptr(option) }.to_string_lossy();
        let device = find(device)?;
        if lock(&device.options).set(&name, value) { Ok(()) } else { Err(Code::ERROR_INVALID_VALUE) }
    })
}

/// Sets a device's options to those it started with, and forgets its calls and its fault.
#[unsafe(no_mangle)]
unsafe extern "C" fn standin_reset(device: c_int) -> u32 {
    entry::always(|| {
        let device = find(device)?;
        *lock(&device.options) = driver()?.options.clone();
        lock(&device.fault).clear();
        device.calls.clear();
        Ok(())
    })
}

/// The calls of a device since they were cleared, a line each.
#[unsafe(no_mangle)]
unsafe extern "C" fn standin_calls(device: c_int, text: *mut c_char, size: usize) -> usize {
    let calls = find(device).map_or_else(|_| String::new(), |device| device.calls.text());
    // SAFETY: the caller's.
    unsafe { write_text(&calls, text, size) }
}

/// Forgets the calls of a device.
#[unsafe(no_mangle)]
unsafe extern "C" fn standin_clear_calls(device: c_int) {
    if let Ok(device) = find(device) {
        device.calls.clear();
    }
}

/// The last fault of a device, as the interpreter describes it; empty if there was none.
#[unsafe(no_mangle)]
unsafe extern "C" fn standin_fault(device: c_int, text: *mut c_char, size: usize) -> usize {
    let fault = find(device).map_or_else(|_| String::new(), |device| lock(&device.fault).clone());
    // SAFETY: the caller's.
    unsafe { write_text(&fault, text, size) }
}

fn find(device: c_int) -> Outcome<&'static Device> {
    driver()?.device(device).map_err(|_| Code::ERROR_INVALID_VALUE)
}
