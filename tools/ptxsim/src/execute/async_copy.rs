//! `cp.async`: copies to shared memory that are under way until a thread waits for them.

use std::collections::VecDeque;

use super::access::check_alignment;
use super::warp::{Fragment, Warp};
use super::{Environment, OnLane, Step};
use crate::fault::FaultKind;
use crate::instruction::AsyncCopy;
use crate::lanes::{LANES, for_each_lane};
use crate::shadow::{Access, AccessKind};
use crate::statistics::Lines;

/// The most bytes that one `cp.async` copies.
const LONGEST: usize = 16;

#[derive(Clone, Copy, Debug)]
struct Copy {
    to: u64,
    from: u64,
    size: u64,
    /// Bytes that come from global memory; the others are zero.
    source_size: u64,
    bytes: [u8; LONGEST],
    instruction: u32,
}

/// The copies of a warp's lanes.
#[derive(Debug, Default)]
pub(crate) struct AsyncCopies {
    lanes: Vec<LaneCopies>,
}

#[derive(Clone, Debug, Default)]
struct LaneCopies {
    /// In no group yet.
    open: Vec<Copy>,
    groups: VecDeque<Vec<Copy>>,
}

impl AsyncCopies {
    pub(super) fn reset(&mut self) {
        self.lanes.clear();
    }

    fn lane(&mut self, lane: usize) -> &mut LaneCopies {
        if self.lanes.is_empty() {
            self.lanes = vec![LaneCopies::default(); LANES];
        }
        &mut self.lanes[lane]
    }

    pub(super) fn commit(&mut self, lanes: u32) {
        for_each_lane(lanes, |lane| {
            let copies = self.lane(lane);
            let group = std::mem::take(&mut copies.open);
            copies.groups.push_back(group);
        });
    }
}

impl Warp {
    pub(super) fn start_copy(
        &mut self,
        environment: &mut Environment<'_>,
        fragment: &Fragment,
        active: u32,
        copy: &AsyncCopy,
    ) -> Step {
        self.check(environment, active, copy.to.base)?;
        self.check(environment, active, copy.from.base)?;
        if let Some(source_size) = copy.source_size {
            self.check(environment, active, source_size)?;
        }
        let mut lines = Lines::default();
        let mut lanes = active;
        while lanes != 0 {
            let lane = lanes.trailing_zeros() as usize;
            lanes &= lanes - 1;
            let source_size = match copy.source_size {
                Some(register) => (self.rows[register as usize][lane].get() & 0xffff_ffff).min(copy.size),
                None => copy.size,
            };
            let (to, from) = (self.address(copy.to, lane), self.address(copy.from, lane));
            let thread = self.thread(lane);
            let bytes =
                environment.begin_copy(fragment.next, to, from, copy.size, source_size, thread).on_lane(lane)?;
            let started = Copy { to, from, size: copy.size, source_size, bytes, instruction: fragment.next };
            self.copies.lane(lane).open.push(started);
            if source_size > 0 {
                lines.add(from, source_size);
            }
            environment.statistics.global_loads += 1;
            environment.statistics.global_bytes_loaded += source_size;
        }
        environment.statistics.global_load_transactions += lines.count();
        Ok(())
    }

    /// All but the last `groups` are done, and with `all` the copies that are in no group as well.
    pub(super) fn finish_copies(
        &mut self,
        environment: &mut Environment<'_>,
        active: u32,
        groups: u64,
        all: bool,
    ) -> Step {
        for lane in (0..LANES).filter(|lane| active >> lane & 1 == 1) {
            let thread = self.thread(lane);
            let copies = self.copies.lane(lane);
            let mut done = Vec::new();
            while copies.groups.len() as u64 > groups {
                done.extend(copies.groups.pop_front().unwrap_or_default());
            }
            if all {
                done.append(&mut copies.open);
            }
            for copy in done {
                environment.end_copy(&copy, thread).on_lane(lane)?;
            }
        }
        Ok(())
    }
}

impl Environment<'_> {
    /// Reads the source. Nobody may touch the destination until the copy has ended.
    fn begin_copy(
        &mut self,
        instruction: u32,
        to: u64,
        from: u64,
        size: u64,
        source_size: u64,
        thread: u32,
    ) -> Result<[u8; LONGEST], FaultKind> {
        check_alignment("cp.async to shared memory", to, size)?;
        check_alignment("cp.async from global memory", from, size)?;
        let write = Access { kind: AccessKind::Write, thread, strong: false };
        self.check_shared("cp.async", to, size, write, false)?;
        let mut bytes = [0; LONGEST];
        if source_size > 0 {
            let read = Access { kind: AccessKind::Read, thread, strong: false };
            let source = self.read_pieces(instruction, from, source_size, read)?;
            bytes[..source_size as usize].copy_from_slice(&source[..source_size as usize]);
        }
        self.shared.pending.insert(to, size);
        self.shared.copies_pending += 1;
        Ok(bytes)
    }

    /// Odd sizes are read byte by byte.
    fn read_pieces(
        &mut self,
        instruction: u32,
        from: u64,
        size: u64,
        access: Access,
    ) -> Result<[u8; LONGEST], FaultKind> {
        let mut bytes = [0; LONGEST];
        let piece = if size.is_power_of_two() { size } else { 1 };
        for start in (0..size).step_by(piece as usize) {
            let source = self.read_global(instruction, from + start, piece, access)?;
            bytes[start as usize..][..piece as usize].copy_from_slice(source);
        }
        Ok(bytes)
    }

    /// The thread that waited sees the bytes from now on; others behind the next barrier.
    fn end_copy(&mut self, copy: &Copy, thread: u32) -> Result<(), FaultKind> {
        let Copy { to, from, size, source_size, .. } = *copy;
        self.shared.pending.remove(to, size);
        self.shared.copies_pending -= 1;
        if source_size > 0 {
            let read = Access { kind: AccessKind::Read, thread, strong: false };
            let now = self.read_pieces(copy.instruction, from, source_size, read)?;
            if now[..source_size as usize] != copy.bytes[..source_size as usize] {
                return Err(FaultKind::AsyncSourceOverwritten { address: from });
            }
        }
        let write = Access { kind: AccessKind::Write, thread, strong: false };
        self.check_shared("cp.async", to, size, write, false)?;
        self.shared.defined.insert(to, size);
        self.shared.bytes[to as usize..][..size as usize].copy_from_slice(&copy.bytes[..size as usize]);
        Ok(())
    }
}
