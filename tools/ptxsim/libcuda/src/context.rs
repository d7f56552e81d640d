//! Contexts: the stack of each thread, primary contexts, and the error that a fault leaves.

use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{c_int, c_uint, c_ulonglong, c_void};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use crate::code::Code;
use crate::device::{Device, driver};
use crate::entry::{self, Outcome, lock, write};
use crate::handles;
use crate::memory;

pub(crate) struct Context {
    pub(crate) handle: usize,
    /// no other context ever has it
    id: u64,
    pub(crate) device: &'static Device,
    /// what a fault left; all later calls give it
    sticky: AtomicU32,
    /// addresses of its allocations, with their sizes
    pub(crate) allocations: Mutex<HashMap<u64, usize>>,
}

impl Context {
    /// Makes one, under the handle of an earlier one of the device that is gone, if there is any: as drivers do.
    fn make(device: &'static Device) -> usize {
        static MADE: AtomicU64 = AtomicU64::new(0);
        let id = 1 + MADE.fetch_add(1, Ordering::Relaxed);
        let make = |handle| Context { handle, id, device, sticky: AtomicU32::new(0), allocations: Mutex::default() };
        match lock(&device.spare_contexts).pop() {
            Some(handle) => handles::add_again(handle, make),
            None => handles::add(0, make),
        }
    }

    /// Fails if a fault has happened in it.
    pub(crate) fn check(&self) -> Outcome {
        match self.sticky.load(Ordering::Acquire) {
            0 => Ok(()),
            code => Err(Code(code)),
        }
    }

    pub(crate) fn fail(&self, code: Code) {
        self.sticky.store(code.0, Ordering::Release);
    }

    fn destroy(handle: usize) -> Outcome {
        let context = handles::remove::<Context>(handle).map_err(|_| Code::ERROR_INVALID_CONTEXT)?;
        handles::remove_owned(handle);
        memory::free_all(&context);
        lock(&context.device.spare_contexts).push(handle);
        Ok(())
    }
}

thread_local! {
    static STACK: RefCell<Vec<usize>> = const { RefCell::new(Vec::new()) };
}

fn top() -> Option<usize> {
    STACK.with_borrow(|stack| stack.last().copied())
}

/// The context that is current on this thread.
pub(crate) fn current() -> Outcome<Arc<Context>> {
    by_handle(top().ok_or(Code::ERROR_INVALID_CONTEXT)?)
}

/// The same, and no fault has happened in it.
pub(crate) fn healthy() -> Outcome<Arc<Context>> {
    let context = current()?;
    context.check()?;
    Ok(context)
}

pub(crate) fn by_handle(handle: usize) -> Outcome<Arc<Context>> {
    handles::get(handle).map_err(|_| Code::ERROR_INVALID_CONTEXT)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxGetCurrent(context: *mut usize) -> u32 {
    // SAFETY: the caller's.
    entry::initialised(|| unsafe { write(context, top().unwrap_or(0)) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxSetCurrent(context: usize) -> u32 {
    entry::initialised(|| {
        if context != 0 {
            by_handle(context)?.device.calls.add(format_args!("cuCtxSetCurrent context={context:#x}"));
        }
        STACK.with_borrow_mut(|stack| {
            stack.pop();
            if context != 0 {
                stack.push(context);
            }
        });
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxPushCurrent_v2(context: usize) -> u32 {
    entry::initialised(|| {
        by_handle(context)?.device.calls.add(format_args!("cuCtxPushCurrent context={context:#x}"));
        STACK.with_borrow_mut(|stack| stack.push(context));
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxPopCurrent_v2(context: *mut usize) -> u32 {
    entry::initialised(|| {
        let popped = STACK.with_borrow_mut(Vec::pop).ok_or(Code::ERROR_INVALID_CONTEXT)?;
        if let Ok(known) = by_handle(popped) {
            known.device.calls.add(format_args!("cuCtxPopCurrent context={popped:#x}"));
        }
        // the driver takes null for "not wanted" here
        // SAFETY: the caller's.
        if context.is_null() { Ok(()) } else { unsafe { write(context, popped) } }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxGetId(context: usize, id: *mut c_ulonglong) -> u32 {
    entry::initialised(|| {
        let context = if context == 0 { current()? } else { by_handle(context)? };
        // SAFETY: the caller's.
        unsafe { write(id, context.id) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxGetDevice(device: *mut c_int) -> u32 {
    // SAFETY: the caller's.
    entry::initialised(|| unsafe { write(device, current()?.device.ordinal as c_int) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxCreate_v2(context: *mut usize, _flags: c_uint, device: c_int) -> u32 {
    entry::initialised(|| {
        let device = driver()?.device(device)?;
        let handle = Context::make(device);
        device.calls.add(format_args!("cuCtxCreate context={handle:#x}"));
        STACK.with_borrow_mut(|stack| stack.push(handle));
        // SAFETY: the caller's.
        unsafe { write(context, handle) }
    })
}

/// The name that headers from CUDA 13 on have; of the parameters none are served.
#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxCreate_v4(
    context: *mut usize,
    parameters: *const c_void,
    flags: c_uint,
    device: c_int,
) -> u32 {
    if !parameters.is_null() {
        return Code::ERROR_NOT_SUPPORTED.0;
    }
    // SAFETY: the caller's.
    unsafe { cuCtxCreate_v2(context, flags, device) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxDestroy_v2(context: usize) -> u32 {
    entry::initialised(|| {
        Context::destroy(context)?;
        STACK.with_borrow_mut(|stack| {
            if stack.last() == Some(&context) {
                stack.pop();
            }
        });
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuCtxSynchronize() -> u32 {
    entry::initialised(|| {
        let context = current()?;
        context.device.calls.add(format_args!("cuCtxSynchronize context={:#x}", context.handle));
        crate::capture::refuse(None)?;
        context.check()
    })
}

/// The primary context of each device that has one, and how often it was retained.
static PRIMARY: LazyLock<Mutex<HashMap<usize, (usize, usize)>>> = LazyLock::new(Mutex::default);

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDevicePrimaryCtxRetain(context: *mut usize, device: c_int) -> u32 {
    entry::initialised(|| {
        let device = driver()?.device(device)?;
        let mut primary = lock(&PRIMARY);
        let (handle, count) = primary.entry(device.ordinal).or_insert_with(|| (Context::make(device), 0));
        *count += 1;
        device.calls.add(format_args!("cuDevicePrimaryCtxRetain context={handle:#x}"));
        // SAFETY: the caller's.
        unsafe { write(context, *handle) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuDevicePrimaryCtxRelease_v2(device: c_int) -> u32 {
    entry::initialised(|| {
        let device = driver()?.device(device)?;
        let mut primary = lock(&PRIMARY);
        let (handle, count) = primary.get_mut(&device.ordinal).ok_or(Code::ERROR_INVALID_CONTEXT)?;
        device.calls.add(format_args!("cuDevicePrimaryCtxRelease context={handle:#x}"));
        *count -= 1;
        if *count > 0 {
            return Ok(());
        }
        let handle = *handle;
        primary.remove(&device.ordinal);
        Context::destroy(handle)
    })
}
