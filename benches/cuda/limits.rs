//! Ways of reading and of copying memory: the fastest is what an operator can at best reach.

use std::ffi::c_void;

use crate::buffers::Slot;
use crate::device::{self, Device, Kernel, Memory, Outcome};

/// Made by tools/build_ptx from limits.cu.
const PTX: &str = include_str!("limits.ptx");
const THREADS: u32 = 512;
/// Blocks for each multiprocessor: as many as fit at once, and more, that take turns.
const BLOCKS: [u32; 5] = [1, 2, 3, 4, 16];
const BYTES_PER_VECTOR: usize = 16;
/// What all vectors of `read` together would have to be for it to write something.
const NEVER: u32 = 0x5EED_0000;

/// The kernels of limits.cu, and how to launch them.
pub struct Limits {
    read: Kernel,
    copy: Kernel,
    /// Where `read` would write.
    sink: Memory,
    multiprocessors: u32,
}

/// A way of reading or copying.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Way {
    /// A kernel that reads, with so many blocks for each multiprocessor.
    Read(u32),
    /// A kernel that copies.
    Copy(u32),
    /// `cuMemcpyDtoDAsync`
    Memcpy,
}

impl Way {
    pub fn reading() -> impl Iterator<Item = Way> {
        BLOCKS.into_iter().map(Way::Read)
    }

    /// The stand-in of libcuda has no copies from device memory to device memory.
    pub fn copying(standin: bool) -> impl Iterator<Item = Way> {
        BLOCKS.into_iter().map(Way::Copy).chain((!standin).then_some(Way::Memcpy))
    }

    pub fn name(self) -> String {
        match self {
            Way::Read(blocks) => format!("read: {blocks} blocks a multiprocessor"),
            Way::Copy(blocks) => format!("copy: {blocks} blocks a multiprocessor"),
            Way::Memcpy => "copy: cuMemcpyDtoDAsync".to_owned(),
        }
    }
}

impl Limits {
    pub fn new(device: &Device) -> Outcome<Limits> {
        let [read, copy] = device::load(PTX, [c"read", c"copy"])?;
        let multiprocessors = u32::try_from(device.facts.multiprocessors)?;
        Ok(Limits { read, copy, sink: Memory::new(4)?, multiprocessors })
    }

    /// Logits are read, or copied to the gradient. What does not fill a vector of 16 bytes at the end is left out.
    pub fn run(&self, device: &Device, way: Way, slot: &Slot) -> Outcome<()> {
        let (mut from, mut to, mut sink) = (slot.logits.address, slot.dlogits.address, self.sink.address);
        let (mut vectors, mut never) = ((slot.logits.bytes / BYTES_PER_VECTOR) as u64, NEVER);
        let from = pointer(&mut from);
        match way {
            Way::Memcpy => device.copy(slot.logits.address, slot.dlogits.address, slot.logits.bytes),
            // SAFETY: the parameters of the kernels in limits.cu; the slot lives as long as what is launched on it.
            Way::Read(blocks) => unsafe {
                let parameters = &mut [from, pointer(&mut vectors), pointer(&mut never), pointer(&mut sink)];
                device.launch(&self.read, blocks * self.multiprocessors, THREADS, parameters)
            },
            // SAFETY: as above.
            Way::Copy(blocks) => unsafe {
                let parameters = &mut [from, pointer(&mut vectors), pointer(&mut to)];
                device.launch(&self.copy, blocks * self.multiprocessors, THREADS, parameters)
            },
        }
    }

    /// Whether copying copies.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self, device: &Device, ways: &[Way], slot: &Slot) -> Outcome<()> {
        let copied = slot.logits.bytes / BYTES_PER_VECTOR * BYTES_PER_VECTOR;
        for &way in ways {
            device.fill(&slot.dlogits, 0xA5)?;
            self.run(device, way, slot)?;
            device.wait()?;
            let last = copied.saturating_sub(1 << 20);
            for first in [0, last] {
                let count = copied.min(1 << 20);
                if slot.logits.read::<u8>(first, count)? != slot.dlogits.read::<u8>(first, count)? {
                    return Err(format!("{} does not copy", way.name()).into());
                }
            }
        }
        Ok(())
    }
}

fn pointer<T>(value: &mut T) -> *mut c_void {
    std::ptr::from_mut(value).cast()
}
