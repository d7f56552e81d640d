//! Streams. Each runs what it is given at once.

use std::ffi::{c_int, c_uint};
use std::sync::{Arc, Mutex};

use crate::capture::{self, Capture};
use crate::code::Code;
use crate::context::{self, Context};
use crate::entry::{self, Outcome, write};
use crate::handles;

pub(crate) struct Stream {
    pub(crate) context: usize,
    pub(crate) capture: Mutex<Option<Capture>>,
}

/// `CU_STREAM_LEGACY` and `CU_STREAM_PER_THREAD`: handles that are always there, as the null stream is.
const DEFAULT_STREAMS: std::ops::RangeInclusive<usize> = 0..=2;

/// The context a stream belongs to: the current one for the default streams.
pub(crate) fn context_of(stream: usize) -> Outcome<Arc<Context>> {
    if DEFAULT_STREAMS.contains(&stream) {
        return context::current();
    }
    context::by_handle(handles::get::<Stream>(stream)?.context)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamCreate(stream: *mut usize, flags: c_uint) -> u32 {
    entry::initialised(|| {
        let context = context::healthy()?;
        if flags > 1 {
            return Err(Code::ERROR_INVALID_VALUE);
        }
        let handle = handles::add(context.handle, |_| Stream { context: context.handle, capture: Mutex::default() });
        context.device.calls.add(format_args!("cuStreamCreate stream={handle:#x}"));
        // SAFETY: the caller's.
        unsafe { write(stream, handle) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamCreateWithPriority(stream: *mut usize, flags: c_uint, _priority: c_int) -> u32 {
    // SAFETY: the caller's.
    unsafe { cuStreamCreate(stream, flags) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamDestroy_v2(stream: usize) -> u32 {
    entry::initialised(|| {
        let context = context_of(stream)?;
        context.device.calls.add(format_args!("cuStreamDestroy stream={stream:#x}"));
        handles::remove::<Stream>(stream).map(drop)
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamSynchronize(stream: usize) -> u32 {
    entry::initialised(|| {
        let context = context_of(stream)?;
        context.device.calls.add(format_args!("cuStreamSynchronize stream={stream:#x}"));
        capture::refuse(Some(stream))?;
        context.check()
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamQuery(stream: usize) -> u32 {
    entry::initialised(|| {
        let context = context_of(stream)?;
        context.device.calls.add(format_args!("cuStreamQuery stream={stream:#x}"));
        capture::refuse(Some(stream))?;
        context.check()
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamGetCtx(stream: usize, context: *mut usize) -> u32 {
    entry::initialised(|| {
        let known = context_of(stream)?;
        known.device.calls.add(format_args!("cuStreamGetCtx stream={stream:#x}"));
        // SAFETY: the caller's.
        unsafe { write(context, known.handle) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamGetFlags(stream: usize, flags: *mut c_uint) -> u32 {
    entry::initialised(|| {
        context_of(stream)?;
        // SAFETY: the caller's.
        unsafe { write(flags, u32::from(!DEFAULT_STREAMS.contains(&stream))) }
    })
}
