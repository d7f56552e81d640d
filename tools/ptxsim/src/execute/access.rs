//! Loads and stores.

use super::compute::space_of;
use super::warp::{Fragment, Warp};
use super::{Environment, OnLane, Step};
use crate::fault::FaultKind;
use crate::instruction::{Address, Load, Register, Space, Store};
use crate::lanes::LANES;
use crate::launch::Order;
use crate::program::window;
use crate::shadow::{Access, AccessKind};
use crate::statistics::Lines;
use crate::types::{low_bits, sign_extended};

/// The most bytes of one access.
pub(super) const LONGEST: usize = 32;

impl Warp {
    #[inline(always)]
    pub(super) fn address(&self, address: Address, lane: usize) -> u64 {
        self.rows[address.base as usize][lane].get().wrapping_add_signed(address.offset)
    }

    pub(super) fn load(
        &mut self,
        environment: &mut Environment<'_>,
        fragment: &Fragment,
        active: u32,
        load: &Load,
    ) -> Step {
        self.check(environment, active, load.address.base)?;
        let each = load.of.size();
        let size = each * load.destinations.len() as u64;
        let mut lines = Lines::default();
        let mut global = 0;
        for lane in lanes_in_order(active, environment.options.order) {
            let address = self.address(load.address, lane);
            check_alignment("load", address, size).on_lane(lane)?;
            let (space, address) = resolve(load.space, address);
            let mut bytes = [0; LONGEST];
            let to = &mut bytes[..size as usize];
            match space {
                Space::Shared => {
                    let access = Access { kind: AccessKind::Read, thread: self.thread(lane), strong: load.strong };
                    environment.check_shared("load", address, size, access, true).on_lane(lane)?;
                    to.copy_from_slice(&environment.shared.bytes[address as usize..][..size as usize]);
                }
                Space::Parameter => {
                    to.copy_from_slice(
                        within(environment.parameters, "load", "parameters", address, size).on_lane(lane)?,
                    );
                }
                Space::Local | Space::Frame => {
                    let base = if space == Space::Frame { fragment.base } else { 0 };
                    let address = address.wrapping_add(base);
                    to.copy_from_slice(
                        within(&self.stacks[lane], "load", "local memory", address, size).on_lane(lane)?,
                    );
                }
                _ => {
                    let kind = if load.read_only { AccessKind::ConstantRead } else { AccessKind::Read };
                    let access = Access { kind, thread: self.thread(lane), strong: load.strong };
                    let from = environment.read_global(fragment.next, address, size, access).on_lane(lane)?;
                    to.copy_from_slice(from);
                    global += 1;
                    lines.add(address, size);
                }
            }
            self.fill_registers(load, lane, &bytes);
        }
        for (register, _) in load.destinations.iter().flatten() {
            self.defined[*register as usize] |= active;
        }
        let statistics = &mut environment.statistics;
        statistics.global_loads += global;
        statistics.global_bytes_loaded += global * size;
        statistics.global_load_transactions += lines.count();
        Ok(())
    }

    #[inline(always)]
    fn fill_registers(&self, load: &Load, lane: usize, bytes: &[u8; LONGEST]) {
        let each = load.of.size() as usize;
        for (place, destination) in load.destinations.iter().enumerate() {
            let Some((register, mask)) = destination else { continue };
            let mut value = [0; 8];
            value[..each].copy_from_slice(&bytes[place * each..][..each]);
            let value = u64::from_le_bytes(value);
            let value = if load.of.is_signed() { sign_extended(value, each as u32 * 8) & mask } else { value };
            self.rows[*register as usize][lane].set(value);
        }
    }

    pub(super) fn store(
        &mut self,
        environment: &mut Environment<'_>,
        fragment: &Fragment,
        active: u32,
        store: &Store,
    ) -> Step {
        self.check(environment, active, store.address.base)?;
        for source in &store.sources {
            self.check(environment, active, *source)?;
        }
        let each = store.of.size();
        let size = each * store.sources.len() as u64;
        let mut lines = Lines::default();
        let mut global = 0;
        for lane in lanes_in_order(active, environment.options.order) {
            let address = self.address(store.address, lane);
            check_alignment("store", address, size).on_lane(lane)?;
            let bytes = self.stored_bytes(&store.sources, each as usize, lane);
            let bytes = &bytes[..size as usize];
            let (space, address) = resolve(store.space, address);
            let access = Access { kind: AccessKind::Write, thread: self.thread(lane), strong: store.strong };
            match space {
                Space::Shared => {
                    environment.check_shared("store", address, size, access, false).on_lane(lane)?;
                    environment.shared.defined.insert(address, size);
                    environment.shared.bytes[address as usize..][..size as usize].copy_from_slice(bytes);
                }
                Space::Local | Space::Frame => {
                    let base = if space == Space::Frame { fragment.base } else { 0 };
                    let address = address.wrapping_add(base);
                    let stack = &mut self.stacks[lane];
                    within(stack, "store", "local memory", address, size).on_lane(lane)?;
                    stack[address as usize..][..size as usize].copy_from_slice(bytes);
                }
                Space::Parameter => return Err(FaultKind::ReadOnly { address, size }).on_lane(lane),
                _ => {
                    environment.write_global(fragment.next, address, bytes, access).on_lane(lane)?;
                    global += 1;
                    lines.add(address, size);
                }
            }
        }
        let statistics = &mut environment.statistics;
        statistics.global_stores += global;
        statistics.global_bytes_stored += global * size;
        statistics.global_store_transactions += lines.count();
        Ok(())
    }

    #[inline(always)]
    fn stored_bytes(&self, sources: &[Register], each: usize, lane: usize) -> [u8; LONGEST] {
        let mut bytes = [0; LONGEST];
        for (place, source) in sources.iter().enumerate() {
            let value = self.rows[*source as usize][lane].get() & low_bits(each as u32 * 8);
            bytes[place * each..][..each].copy_from_slice(&value.to_le_bytes()[..each]);
        }
        bytes
    }
}

impl Environment<'_> {
    /// Checks an access to global memory. Returns the allocation's number and the offset in it.
    #[inline]
    pub(super) fn check_global(
        &mut self,
        instruction: u32,
        name: &'static str,
        address: u64,
        size: u64,
        access: Access,
    ) -> Result<(usize, u64), FaultKind> {
        let number = self.memory.locate(&mut self.hints[instruction as usize], name, address, size)?;
        let clock = &self.memory.clock;
        let allocation = &mut self.memory.allocations[number];
        let offset = address - allocation.base;
        let writes = matches!(access.kind, AccessKind::Write | AccessKind::Atomic);
        if writes && allocation.read_only {
            return Err(FaultKind::ReadOnly { address, size });
        }
        if access.kind != AccessKind::Write
            && self.options.uninitialized_global
            && !allocation.defined.contains(offset, size)
        {
            return Err(FaultKind::Uninitialized { memory: "global", address, size });
        }
        if self.options.races && !allocation.read_only {
            let base = allocation.base;
            let found = allocation.shadow.access(clock, clock.launch_start(), offset, size, access);
            found.map_err(|conflict| self.conflict("global", name, base, conflict))?;
        }
        Ok((number, offset))
    }

    #[inline]
    pub(super) fn read_global(
        &mut self,
        instruction: u32,
        address: u64,
        size: u64,
        access: Access,
    ) -> Result<&[u8], FaultKind> {
        let (number, offset) = self.check_global(instruction, "load", address, size, access)?;
        Ok(&self.memory.allocations[number].bytes[offset as usize..][..size as usize])
    }

    #[inline]
    fn write_global(&mut self, instruction: u32, address: u64, bytes: &[u8], access: Access) -> Result<(), FaultKind> {
        let size = bytes.len() as u64;
        let (number, offset) = self.check_global(instruction, "store", address, size, access)?;
        let allocation = &mut self.memory.allocations[number];
        allocation.defined.insert(offset, size);
        allocation.bytes[offset as usize..][..bytes.len()].copy_from_slice(bytes);
        Ok(())
    }
}

/// The lanes of a mask, from the first or from the last.
pub(super) fn lanes_in_order(mask: u32, order: Order) -> impl Iterator<Item = usize> {
    let descending = order == Order::Descending;
    let mut rest = mask;
    std::iter::from_fn(move || {
        if rest == 0 {
            return None;
        }
        let lane = if descending { 31 - rest.leading_zeros() } else { rest.trailing_zeros() };
        rest &= !(1 << lane);
        Some(lane as usize % LANES)
    })
}

/// Where a generic address leads.
#[inline(always)]
pub(super) fn resolve(space: Space, address: u64) -> (Space, u64) {
    if space != Space::Generic {
        return (space, address);
    }
    match space_of(address) {
        Space::Global => (Space::Global, address),
        space => (space, address & (window::SIZE - 1)),
    }
}

#[inline(always)]
pub(super) fn check_alignment(access: &'static str, address: u64, size: u64) -> Result<(), FaultKind> {
    if address & (size - 1) != 0 { Err(FaultKind::Misaligned { access, address, size }) } else { Ok(()) }
}

fn within<'m>(
    memory: &'m [u8],
    access: &'static str,
    name: &str,
    address: u64,
    size: u64,
) -> Result<&'m [u8], FaultKind> {
    let end = address.checked_add(size).filter(|end| *end <= memory.len() as u64);
    match end {
        Some(end) => Ok(&memory[address as usize..end as usize]),
        None => {
            let reason = format!("there are {} bytes of {name}", memory.len());
            Err(FaultKind::OutOfBounds { access, address, size, reason })
        }
    }
}
