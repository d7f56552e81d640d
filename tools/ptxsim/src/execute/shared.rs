//! The shared memory of the running block.

use super::Environment;
use crate::bits::Bits;
use crate::fault::{FaultKind, OtherAccess};
use crate::shadow::{Access, Conflict, Shadow};

pub(crate) struct SharedMemory {
    pub(crate) bytes: Vec<u8>,
    pub(crate) defined: Bits,
    /// Bytes that copies are under way to.
    pub(crate) pending: Bits,
    pub(crate) copies_pending: usize,
    pub(crate) shadow: Shadow,
}

impl SharedMemory {
    pub(crate) fn new(size: u64) -> SharedMemory {
        SharedMemory {
            bytes: vec![0; size as usize],
            defined: Bits::new(size),
            pending: Bits::new(size),
            copies_pending: 0,
            shadow: Shadow::new(size),
        }
    }

    /// As a new block finds it.
    pub(crate) fn reset(&mut self) {
        self.defined.clear();
        self.pending.clear();
        self.copies_pending = 0;
    }
}

impl Environment<'_> {
    /// Checks an access to shared memory.
    #[inline]
    pub(crate) fn check_shared(
        &mut self,
        name: &'static str,
        address: u64,
        size: u64,
        access: Access,
        reads: bool,
    ) -> Result<(), FaultKind> {
        let total = self.shared.bytes.len() as u64;
        if address >= total || size > total - address {
            let reason = format!("the block has {total} bytes of shared memory");
            return Err(FaultKind::OutOfBounds { access: name, address, size, reason });
        }
        if self.shared.copies_pending > 0 && self.shared.pending.intersects(address, size) {
            return Err(FaultKind::AsyncPending { access: name, address, size });
        }
        if reads && self.options.uninitialized_shared && !self.shared.defined.contains(address, size) {
            return Err(FaultKind::Uninitialized { memory: "shared", address, size });
        }
        if self.options.races {
            let clock = &self.memory.clock;
            let found = self.shared.shadow.access(clock, clock.block_start(), address, size, access);
            found.map_err(|conflict| self.conflict("shared", name, 0, conflict))?;
        }
        Ok(())
    }

    /// A conflict in the words of a fault. Offsets count from `base`.
    #[cold]
    pub(crate) fn conflict(
        &self,
        memory: &'static str,
        access: &'static str,
        base: u64,
        conflict: Conflict,
    ) -> FaultKind {
        match conflict {
            Conflict::Race { offset, with, with_write } => FaultKind::Race {
                memory,
                address: base + offset,
                access,
                other: OtherAccess {
                    write: with_write,
                    block: self.memory.clock.block_of(with),
                    thread: self.thread_index(with.thread()),
                },
            },
            Conflict::NotConstant { offset } => {
                let how = if access == "load" { "was written before" } else { "is written now" };
                FaultKind::NotConstant { address: base + offset, how: how.into() }
            }
        }
    }
}
