//! Events: the time at which they were recorded.

use std::ffi::c_uint;
use std::sync::Mutex;
use std::time::Instant;

use crate::capture;
use crate::code::Code;
use crate::context::{self, by_handle};
use crate::entry::{self, lock, write};
use crate::handles;
use crate::stream::context_of;

struct Event {
    context: usize,
    recorded: Mutex<Option<Instant>>,
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuEventCreate(event: *mut usize, _flags: c_uint) -> u32 {
    entry::initialised(|| {
        let context = context::healthy()?;
        let handle = handles::add(context.handle, |_| Event { context: context.handle, recorded: Mutex::default() });
        // SAFETY: the caller's.
        unsafe { write(event, handle) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuEventRecord(event: usize, stream: usize) -> u32 {
    entry::initialised(|| {
        let event = handles::get::<Event>(event)?;
        let context = context_of(stream)?;
        context.device.calls.add(format_args!("cuEventRecord stream={stream:#x}"));
        if event.context != context.handle {
            return Err(Code::ERROR_INVALID_HANDLE);
        }
        capture::refuse(Some(stream))?;
        *lock(&event.recorded) = Some(Instant::now());
        context.check()
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuEventSynchronize(event: usize) -> u32 {
    entry::initialised(|| {
        let event = handles::get::<Event>(event)?;
        let context = by_handle(event.context)?;
        context.device.calls.add(format_args!("cuEventSynchronize"));
        capture::refuse(None)?;
        context.check()
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuEventElapsedTime(milliseconds: *mut f32, from: usize, to: usize) -> u32 {
    entry::initialised(|| {
        let time = |event: usize| -> entry::Outcome<Instant> {
            let recorded = *lock(&handles::get::<Event>(event)?.recorded);
            recorded.ok_or(Code::ERROR_INVALID_HANDLE)
        };
        let (from, to) = (time(from)?, time(to)?);
        let elapsed =
            to.saturating_duration_since(from).as_secs_f32() - from.saturating_duration_since(to).as_secs_f32();
        // SAFETY: the caller's.
        unsafe { write(milliseconds, elapsed * 1e3) }
    })
}

// the name under which newer toolkits look it up
#[unsafe(no_mangle)]
unsafe extern "C" fn cuEventElapsedTime_v2(milliseconds: *mut f32, from: usize, to: usize) -> u32 {
    // SAFETY: the caller's.
    unsafe { cuEventElapsedTime(milliseconds, from, to) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuEventDestroy_v2(event: usize) -> u32 {
    entry::initialised(|| handles::remove::<Event>(event).map(drop))
}
