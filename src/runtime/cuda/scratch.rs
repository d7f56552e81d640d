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
        self.add(key, || allocate(stream.driver))
    }

    /// A slot for a new stream, from a slab that `allocate` gives the address of where the last one is used up.
    fn add(&mut self, key: Key, allocate: impl FnOnce() -> Result<u64, CudaError>) -> Result<&'static Slot, CudaError> {
        if self.free.is_empty() {
            let slab = allocate()?;
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

    use super::super::context::lock;
    use super::*;

    fn key(handle: usize) -> Key {
        Key::of(without_provenance_mut(handle))
    }

    #[test]
    fn every_stream_has_a_slot_of_its_own_in_slabs_of_sixteen() {
        let mut pool = ScratchPool::default();
        let mut slabs = 0;
        let mut addresses: Vec<u64> = (0..40)
            .map(|stream| {
                let slab = || {
                    slabs += 1;
                    Ok(slabs << 32)
                };
                lock(pool.add(key(4096 + stream), slab).unwrap()).partials
            })
            .collect();
        assert_eq!(slabs, 3);
        addresses.sort_unstable();
        assert!(addresses.windows(2).all(|pair| pair[1] - pair[0] >= Scratch::SIZE), "{addresses:x?}");
        let last = addresses.iter().map(|address| (address & 0xffff_ffff) + Scratch::SIZE).max().unwrap();
        assert!(last <= SLOTS_PER_SLAB * Scratch::SIZE);
        let kept = lock(pool.slots[&key(4100)]).partials;
        assert!(addresses.contains(&kept));
    }

    #[test]
    fn a_slab_that_is_refused_leaves_the_pool_as_it_was() {
        let mut pool = ScratchPool::default();
        assert_eq!(pool.add(key(4096), || Err(CudaError::NoDriver)).unwrap_err(), CudaError::NoDriver);
        assert!(pool.slots.is_empty() && pool.free.is_empty());
        assert!(pool.add(key(4096), || Ok(4096)).is_ok());
    }

    #[test]
    fn threads_share_the_slot_of_a_stream_but_not_of_the_per_thread_stream() {
        let there = |handle| thread::spawn(move || key(handle)).join().unwrap();
        assert_eq!(key(4096), there(4096));
        assert_ne!(key(4096), key(8192));
        assert_ne!(key(2), there(2));
        assert_eq!(key(2), key(2));
    }
}
