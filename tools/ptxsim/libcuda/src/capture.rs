//! Stream capture and graphs: launches are kept instead of run, and run at each launch of the graph.

use std::cell::Cell;
use std::ffi::{c_char, c_int, c_ulonglong};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::code::Code;
use crate::entry::{self, Outcome, lock, write};
use crate::handles;
use crate::launch::Launch;
use crate::stream::{Stream, context_of};

/// A stream's launches since capture began.
pub(crate) struct Capture {
    mode: c_int,
    invalid: bool,
    launches: Vec<Launch>,
}

/// A captured graph, and one made ready to run.
struct Graph(Vec<Launch>);
struct Executable(Vec<Launch>);

/// `CU_STREAM_CAPTURE_MODE_GLOBAL`, the strictest: no thread may do what a capture cannot hold.
const GLOBAL: c_int = 0;
/// `CU_STREAM_CAPTURE_MODE_THREAD_LOCAL`: this thread may not.
const THREAD_LOCAL: c_int = 1;
/// `CU_STREAM_CAPTURE_MODE_RELAXED`
const RELAXED: c_int = 2;

static GLOBAL_CAPTURES: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// the stream that this thread captures in another mode than relaxed; 0: none
    static CAPTURING: Cell<usize> = const { Cell::new(0) };
}

/// Refuses a call that a capture cannot hold: one on a stream that captures, or an unsafe one (`None`: an allocation, a
/// synchronisation, loading of a module) while this thread captures, or any thread in global mode. It spoils the capture.
pub(crate) fn refuse(stream: Option<usize>) -> Outcome {
    let concerned = match stream {
        Some(stream) => stream,
        None => CAPTURING.get(),
    };
    if let Ok(stream) = handles::get::<Stream>(concerned)
        && let Some(capture) = lock(&stream.capture).as_mut()
    {
        capture.invalid = true;
        return Err(Code::ERROR_STREAM_CAPTURE_UNSUPPORTED);
    }
    if stream.is_none() && GLOBAL_CAPTURES.load(Ordering::Acquire) > 0 {
        return Err(Code::ERROR_STREAM_CAPTURE_UNSUPPORTED);
    }
    Ok(())
}

/// Keeps a launch if its stream captures; gives it back to be run if not.
pub(crate) fn keep(stream: usize, launch: Launch) -> Outcome<Option<Launch>> {
    let Ok(stream) = handles::get::<Stream>(stream) else { return Ok(Some(launch)) };
    match lock(&stream.capture).as_mut() {
        Some(capture) if capture.invalid => Err(Code::ERROR_STREAM_CAPTURE_INVALIDATED),
        Some(capture) => {
            capture.launches.push(launch);
            Ok(None)
        }
        None => Ok(Some(launch)),
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamBeginCapture_v2(stream: usize, mode: c_int) -> u32 {
    entry::initialised(|| {
        let known = handles::get::<Stream>(stream)?;
        context_of(stream)?.device.calls.add(format_args!("cuStreamBeginCapture stream={stream:#x}"));
        let mut capture = lock(&known.capture);
        if capture.is_some() || !(GLOBAL..=RELAXED).contains(&mode) {
            return Err(Code::ERROR_INVALID_VALUE);
        }
        *capture = Some(Capture { mode, invalid: false, launches: Vec::new() });
        if mode == GLOBAL {
            GLOBAL_CAPTURES.fetch_add(1, Ordering::AcqRel);
        }
        if mode == GLOBAL || mode == THREAD_LOCAL {
            CAPTURING.set(stream);
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamIsCapturing(stream: usize, status: *mut c_int) -> u32 {
    entry::initialised(|| {
        let context = context_of(stream)?;
        context.device.calls.add(format_args!("cuStreamIsCapturing stream={stream:#x}"));
        let known = handles::get::<Stream>(stream).ok();
        let state = match known.as_ref().map(|known| lock(&known.capture)).as_deref() {
            Some(Some(capture)) if capture.invalid => 2,
            Some(Some(_)) => 1,
            _ => 0,
        };
        // SAFETY: the caller's.
        unsafe { write(status, state) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuStreamEndCapture(stream: usize, graph: *mut usize) -> u32 {
    entry::initialised(|| {
        let known = handles::get::<Stream>(stream)?;
        let context = context_of(stream)?;
        context.device.calls.add(format_args!("cuStreamEndCapture stream={stream:#x}"));
        let capture = lock(&known.capture).take().ok_or(Code::ERROR_ILLEGAL_STATE)?;
        if capture.mode == GLOBAL {
            GLOBAL_CAPTURES.fetch_sub(1, Ordering::AcqRel);
        }
        if CAPTURING.get() == stream {
            CAPTURING.set(0);
        }
        if capture.invalid {
            // SAFETY: the caller's.
            unsafe { write(graph, 0) }?;
            return Err(Code::ERROR_STREAM_CAPTURE_INVALIDATED);
        }
        let handle = handles::add(context.handle, |_| Graph(capture.launches));
        // SAFETY: the caller's.
        unsafe { write(graph, handle) }
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGraphInstantiateWithFlags(executable: *mut usize, graph: usize, _flags: c_ulonglong) -> u32 {
    // SAFETY: the caller's.
    entry::initialised(|| unsafe { instantiate(executable, graph) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGraphInstantiate_v2(
    executable: *mut usize,
    graph: usize,
    _node: *mut usize,
    _log: *mut c_char,
    _size: usize,
) -> u32 {
    // SAFETY: the caller's.
    entry::initialised(|| unsafe { instantiate(executable, graph) })
}

/// # Safety
/// As of [`write`].
unsafe fn instantiate(executable: *mut usize, graph: usize) -> Outcome {
    let launches = handles::get::<Graph>(graph)?.0.clone();
    // SAFETY: the caller's.
    unsafe { write(executable, handles::add(0, |_| Executable(launches))) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGraphLaunch(executable: usize, stream: usize) -> u32 {
    entry::initialised(|| {
        let executable = handles::get::<Executable>(executable)?;
        let context = context_of(stream)?;
        context.device.calls.add(format_args!("cuGraphLaunch stream={stream:#x}"));
        context.check()?;
        executable.0.iter().try_for_each(|launch| launch.run(&context))
    })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGraphDestroy(graph: usize) -> u32 {
    entry::initialised(|| handles::remove::<Graph>(graph).map(drop))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuGraphExecDestroy(executable: usize) -> u32 {
    entry::initialised(|| handles::remove::<Executable>(executable).map(drop))
}
