//! Device memory for what one launch of a call leaves to the next: partial sums.
//!
//! Every stream has a slot of its own, found by its handle: kernels of one stream run one after the other, so a slot is
//! free when the next call's kernels get to it. Slots are never given back; a stream that gets the handle of an earlier
//! one gets its slot. After the first call on a stream nothing is allocated, so that later ones can be captured into a
//! CUDA graph, which then has the slot's addresses. Such a graph must not run at the same time as its stream or as
//! another graph of it; ONNX Runtime's never do.
//!
//! ONNX Runtime's own memory won't do. What `Alloc` of its C API gives is not tied to a stream: freed when the call
//! returns, as it would have to be, it could go to another stream's run while our kernels still use it.
//! `KernelContext_GetScratchBuffer` is tied to one, but has no counterpart that frees.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Mutex;
use std::thread::{self, ThreadId};

use cudarc::driver::sys::CUstream;

use super::driver::{Driver, SUCCESS};
use super::error::{CudaError, code};
use super::launch::Scratch;
use super::stream::Stream;

/// Slots that are allocated at once, 772 KB: few hosts have as many streams.
const SLOTS_PER_SLAB: u64 = 16;

/// A stream's scratch. Locked while the launches of one call are put on the stream: between them another thread's, on the
/// same stream, would overwrite it.
pub(crate) type Slot = Mutex<Scratch>;

/// Tells the streams of a context apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    handle: usize,
    thread: Option<ThreadId>,
}

impl Key {
    /// Of a stream as the calling thread knows it.
    fn of(stream: CUstream) -> Key {
        /// `CU_STREAM_PER_THREAD`: one handle, and a stream for each thread that uses it
        const PER_THREAD: usize = 2;
        let handle = stream.addr();
        Key { handle, thread: (handle == PER_THREAD).then(|| thread::current().id()) }
    }
}

/// The slots of a context.
#[derive(Default)]
pub(crate) struct ScratchPool {
    slots: HashMap<Key, &'static Slot>,
    /// slots of the newest slab that no stream has
    free: Range<u64>,
}

impl ScratchPool {
    /// The slot of a stream of the current context.
    pub(crate) fn slot(&mut self, stream: &Stream) -> Result<&'static Slot, CudaError> {
        let key = Key::of(stream.handle);
        if let Some(slot) = self.slots.get(&key) {
            return Ok(slot);
        }
        stream.not_capturing("its scratch memory is")?;
        if self.free.is_empty() {
            let slab = allocate(stream.driver)?;
            self.free = slab..slab + SLOTS_PER_SLAB * Scratch::SIZE;
        }
        let slot: &'static Slot = Box::leak(Box::new(Mutex::new(Scratch::at(self.free.start))));
        self.free.start += Scratch::SIZE;
        self.slots.insert(key, slot);
        Ok(slot)
    }
}

/// A slab, in the current context.
fn allocate(driver: &Driver) -> Result<u64, CudaError> {
    let bytes = (SLOTS_PER_SLAB * Scratch::SIZE) as usize;
    let mut address = 0;
    // SAFETY: writes one address.
    let result = unsafe { (driver.cuMemAlloc_v2)(&raw mut address, bytes) };
    match result {
        SUCCESS => Ok(address),
        code::OUT_OF_MEMORY => Err(CudaError::OutOfMemory { bytes, reason: driver.reason(result) }),
        _ => Err(CudaError::Call { call: "cuMemAlloc", reason: driver.reason(result) }),
    }
}

#[cfg(test)]
mod tests {
    use std::ptr::without_provenance_mut;

    use super::*;

    #[test]
    fn threads_share_the_slot_of_a_stream_but_not_of_the_per_thread_stream() {
        let here = |handle| Key::of(without_provenance_mut(handle));
        let there = |handle| thread::spawn(move || Key::of(without_provenance_mut(handle))).join().unwrap();
        assert_eq!(here(4096), there(4096));
        assert_ne!(here(4096), here(8192));
        assert_ne!(here(2), there(2));
        assert_eq!(here(2), here(2));
    }
}
