//! Device memory: allocations, copies, fills.

use std::ffi::{c_uchar, c_void};
use std::sync::atomic::Ordering;

use crate::capture;
use crate::code::Code;
use crate::context::{Context, healthy};
use crate::entry::{self, Outcome, lock, write};
use crate::stream;

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemAlloc_v2(address: *mut u64, bytes: usize) -> u32 {
    entry::initialised(|| {
        let context = healthy()?;
        let device = context.device;
        device.calls.add(format_args!("cuMemAlloc bytes={bytes}"));
        capture::refuse(None)?;
        if bytes == 0 || address.is_null() {
            return Err(Code::ERROR_INVALID_VALUE);
        }
        let (fails, total) = {
            let mut options = lock(&device.options);
            (options.fail_allocation.strikes(), options.memory)
        };
        let used = device.used.fetch_add(bytes, Ordering::Relaxed);
        let allocated = if fails || used.saturating_add(bytes) as u64 > total {
            None
        } else {
            lock(&device.memory).allocate(bytes).ok()
        };
        let Some(allocated) = allocated else {
            device.used.fetch_sub(bytes, Ordering::Relaxed);
            return Err(Code::ERROR_OUT_OF_MEMORY);
        };
        lock(&context.allocations).insert(allocated, bytes);
        // SAFETY: the caller's.
        unsafe { write(address, allocated) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemFree_v2(address: u64) -> u32 {
    entry::initialised(|| {
        let context = healthy()?;
        context.device.calls.add(format_args!("cuMemFree"));
        capture::refuse(None)?;
        if address == 0 {
            return Ok(());
        }
        let bytes = lock(&context.allocations).remove(&address).ok_or(Code::ERROR_INVALID_VALUE)?;
        free(&context, address, bytes);
        Ok(())
    })
}

/// Frees what a context has left.
pub(crate) fn free_all(context: &Context) {
    for (address, bytes) in lock(&context.allocations).drain() {
        free(context, address, bytes);
    }
}

fn free(context: &Context, address: u64, bytes: usize) {
    context.device.used.fetch_sub(bytes, Ordering::Relaxed);
    if let Err(error) = lock(&context.device.memory).free(address) {
        eprintln!("libcuda_standin: {error}");
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyHtoD_v2(to: u64, from: *const c_void, bytes: usize) -> u32 {
    entry::initialised(|| {
        let context = healthy()?;
        context.device.calls.add(format_args!("cuMemcpyHtoD bytes={bytes}"));
        capture::refuse(None)?;
        // SAFETY: the caller's.
        unsafe { to_device(&context, to, from, bytes) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyHtoDAsync_v2(to: u64, from: *const c_void, bytes: usize, stream: usize) -> u32 {
    entry::initialised(|| {
        let context = stream::context_of(stream)?;
        context.device.calls.add(format_args!("cuMemcpyHtoDAsync bytes={bytes} stream={stream:#x}"));
        context.check()?;
        capture::refuse(Some(stream))?;
        // SAFETY: the caller's.
        unsafe { to_device(&context, to, from, bytes) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyDtoH_v2(to: *mut c_void, from: u64, bytes: usize) -> u32 {
    entry::initialised(|| {
        let context = healthy()?;
        context.device.calls.add(format_args!("cuMemcpyDtoH bytes={bytes}"));
        capture::refuse(None)?;
        // SAFETY: the caller's.
        unsafe { to_host(&context, to, from, bytes) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemcpyDtoHAsync_v2(to: *mut c_void, from: u64, bytes: usize, stream: usize) -> u32 {
    entry::initialised(|| {
        let context = stream::context_of(stream)?;
        context.device.calls.add(format_args!("cuMemcpyDtoHAsync bytes={bytes} stream={stream:#x}"));
        context.check()?;
        capture::refuse(Some(stream))?;
        // SAFETY: the caller's.
        unsafe { to_host(&context, to, from, bytes) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemsetD8_v2(address: u64, value: c_uchar, count: usize) -> u32 {
    entry::initialised(|| {
        let context = healthy()?;
        context.device.calls.add(format_args!("cuMemsetD8 bytes={count}"));
        capture::refuse(None)?;
        fill(&context, address, value, count)
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuMemsetD8Async(address: u64, value: c_uchar, count: usize, stream: usize) -> u32 {
    entry::initialised(|| {
        let context = stream::context_of(stream)?;
        context.device.calls.add(format_args!("cuMemsetD8Async bytes={count} stream={stream:#x}"));
        context.check()?;
        capture::refuse(Some(stream))?;
        fill(&context, address, value, count)
    })
}

/// # Safety
/// `from` must be null or valid for reading `bytes` bytes.
unsafe fn to_device(context: &Context, to: u64, from: *const c_void, bytes: usize) -> Outcome {
    if bytes == 0 {
        return Ok(());
    }
    if from.is_null() {
        return Err(Code::ERROR_INVALID_VALUE);
    }
    // SAFETY: not null, and the caller's.
    let from = unsafe { std::slice::from_raw_parts(from.cast::<u8>(), bytes) };
    lock(&context.device.memory).write(to, from).map_err(|_| Code::ERROR_INVALID_VALUE)
}

/// # Safety
/// `to` must be null or valid for writing `bytes` bytes.
unsafe fn to_host(context: &Context, to: *mut c_void, from: u64, bytes: usize) -> Outcome {
    if bytes == 0 {
        return Ok(());
    }
    if to.is_null() {
        return Err(Code::ERROR_INVALID_VALUE);
    }
    // the caller's memory may be uninitialised, so it is not a slice before it is written
    let mut copied = vec![0; bytes];
    lock(&context.device.memory).read(from, &mut copied).map_err(|_| Code::ERROR_INVALID_VALUE)?;
    // SAFETY: not null, and the caller's.
    unsafe { std::ptr::copy_nonoverlapping(copied.as_ptr(), to.cast(), bytes) };
    Ok(())
}

fn fill(context: &Context, address: u64, value: u8, count: usize) -> Outcome {
    lock(&context.device.memory).write(address, &vec![value; count]).map_err(|_| Code::ERROR_INVALID_VALUE)
}
