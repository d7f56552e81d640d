//! Atomic operations on global and shared memory.

use super::access::{check_alignment, lanes_in_order, resolve};
use super::warp::{Fragment, Warp};
use super::{Environment, OnLane, Step};
use crate::arithmetic::float::canonical;
use crate::fault::FaultKind;
use crate::instruction::{Atomic, AtomicOperation, Space};
use crate::shadow::{Access, AccessKind};
use crate::types::{Type, sign_extended};

impl Warp {
    pub(super) fn atomic(
        &mut self,
        environment: &mut Environment<'_>,
        fragment: &Fragment,
        active: u32,
        atomic: &Atomic,
    ) -> Step {
        self.check(environment, active, atomic.address.base)?;
        for source in atomic.sources {
            self.check(environment, active, source)?;
        }
        let size = atomic.of.size();
        for lane in lanes_in_order(active, environment.options.order) {
            let address = self.address(atomic.address, lane);
            check_alignment("atomic", address, size).on_lane(lane)?;
            let operands = atomic.sources.map(|source| self.rows[source as usize][lane].get() & atomic.of.mask());
            let access = Access { kind: AccessKind::Atomic, thread: self.thread(lane), strong: true };
            let place = environment.atomic_place(fragment.next, atomic.space, address, size, access).on_lane(lane)?;
            let mut old = [0; 8];
            old[..size as usize].copy_from_slice(place);
            let old = u64::from_le_bytes(old);
            let new = combined(atomic.operation, atomic.of, old, operands[0], operands[1]);
            place.copy_from_slice(&new.to_le_bytes()[..size as usize]);
            if let Some(destination) = atomic.destination {
                self.rows[destination as usize][lane].set(old);
                self.defined[destination as usize] |= 1 << lane;
            }
        }
        Ok(())
    }
}

impl Environment<'_> {
    fn atomic_place(
        &mut self,
        instruction: u32,
        space: Space,
        address: u64,
        size: u64,
        access: Access,
    ) -> Result<&mut [u8], FaultKind> {
        let (space, address) = resolve(space, address);
        match space {
            Space::Shared => {
                self.check_shared("atomic", address, size, access, true)?;
                Ok(&mut self.shared.bytes[address as usize..][..size as usize])
            }
            Space::Global => {
                let (number, offset) = self.check_global(instruction, "atomic", address, size, access)?;
                Ok(&mut self.memory.allocations[number].bytes[offset as usize..][..size as usize])
            }
            _ => {
                let reason = "there are no atomic operations on this memory".into();
                Err(FaultKind::OutOfBounds { access: "atomic", address, size, reason })
            }
        }
    }
}

/// What stands in memory afterwards.
pub(super) fn combined(operation: AtomicOperation, of: Type, old: u64, a: u64, b: u64) -> u64 {
    let width = of.size() as u32 * 8;
    let less = |x: u64, y: u64| {
        if of.is_signed() { (sign_extended(x, width) as i64) < sign_extended(y, width) as i64 } else { x < y }
    };
    let new = match operation {
        AtomicOperation::Add if of == Type::F32 => {
            canonical(f32::from_bits(old as u32) + f32::from_bits(a as u32)).to_bits().into()
        }
        AtomicOperation::Add if of == Type::F64 => (f64::from_bits(old) + f64::from_bits(a)).to_bits(),
        AtomicOperation::Add => old.wrapping_add(a),
        AtomicOperation::Min => {
            if less(a, old) {
                a
            } else {
                old
            }
        }
        AtomicOperation::Max => {
            if less(old, a) {
                a
            } else {
                old
            }
        }
        AtomicOperation::And => old & a,
        AtomicOperation::Or => old | a,
        AtomicOperation::Xor => old ^ a,
        AtomicOperation::Exchange => a,
        AtomicOperation::CompareAndSwap => {
            if old == a {
                b
            } else {
                old
            }
        }
        AtomicOperation::Increment => {
            if old >= a {
                0
            } else {
                old + 1
            }
        }
        AtomicOperation::Decrement => {
            if old == 0 || old > a {
                a
            } else {
                old - 1
            }
        }
    };
    new & of.mask()
}
