//! Device memory: allocations with gaps between them, at addresses that mean nothing to the host.

use std::collections::HashMap;

use crate::bits::Bits;
use crate::clock::Clock;
use crate::fault::FaultKind;
use crate::module::{Module, ModuleData};
use crate::shadow::Shadow;

/// The lowest address that is handed out.
const FIRST_ADDRESS: u64 = 0x7000_0000_0000;

/// What every allocation's address is a multiple of, as on a GPU.
const ALIGNMENT: u64 = 256;

/// Bytes between allocations that belong to nobody.
const GAP: u64 = 4096;

/// Why the host can't have, read or write memory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MemoryError {
    /// An allocation of no bytes.
    #[error("an allocation of 0 bytes isn't possible")]
    Empty,
    /// The capacity is used up.
    #[error("{wanted} bytes are wanted, {free} of {capacity} are free")]
    OutOfMemory {
        /// Bytes asked for.
        wanted: u64,
        /// Bytes that could be had.
        free: u64,
        /// Bytes of the whole device.
        capacity: u64,
    },
    /// Not an address that `allocate` returned, or freed already.
    #[error("{address:#x} isn't the start of an allocation")]
    NotAllocated {
        /// The address.
        address: u64,
    },
    /// Bytes that belong to no allocation, or not to one alone.
    #[error("{length} bytes at {address:#x}: {reason}")]
    OutOfBounds {
        /// The first byte.
        address: u64,
        /// Bytes of the access.
        length: u64,
        /// What is there instead.
        reason: String,
    },
}

#[derive(Debug)]
pub(crate) struct Allocation {
    pub(crate) base: u64,
    pub(crate) size: u64,
    pub(crate) freed: bool,
    /// Kernels can't write it.
    pub(crate) read_only: bool,
    pub(crate) bytes: Vec<u8>,
    /// Bytes that somebody has written.
    pub(crate) defined: Bits,
    pub(crate) shadow: Shadow,
}

/// The memory of a device.
#[derive(Debug)]
pub struct Memory {
    /// Ordered by address; those that were freed stay, without their bytes.
    pub(crate) allocations: Vec<Allocation>,
    next: u64,
    capacity: u64,
    used: u64,
    pub(crate) clock: Clock,
    /// Numbers of the allocations for a module's variables.
    modules: HashMap<u64, Vec<Option<usize>>>,
}

impl Default for Memory {
    fn default() -> Memory {
        Memory::new()
    }
}

impl Memory {
    /// A device with 80 GiB, as an H100. The host's memory is taken as it is used.
    pub fn new() -> Memory {
        Memory::with_capacity(80 << 30)
    }

    /// A device with so many bytes.
    pub fn with_capacity(bytes: u64) -> Memory {
        Memory {
            allocations: Vec::new(),
            next: FIRST_ADDRESS,
            capacity: bytes,
            used: 0,
            clock: Clock::default(),
            modules: HashMap::new(),
        }
    }

    /// Bytes that are allocated now, those for variables of modules among them.
    pub fn used(&self) -> u64 {
        self.used
    }

    /// Bytes of the whole device.
    pub fn capacity(&self) -> u64 {
        self.capacity
    }

    /// The address of `bytes` new bytes, a multiple of 256. They are undefined until they are written.
    ///
    /// # Errors
    /// Where there are no bytes asked for, or not enough left.
    pub fn allocate(&mut self, bytes: usize) -> Result<u64, MemoryError> {
        let number = self.add(bytes as u64)?;
        Ok(self.allocations[number].base)
    }

    fn add(&mut self, size: u64) -> Result<usize, MemoryError> {
        if size == 0 {
            return Err(MemoryError::Empty);
        }
        let free = self.capacity - self.used;
        if size > free || size > isize::MAX as u64 {
            return Err(MemoryError::OutOfMemory { wanted: size, free, capacity: self.capacity });
        }
        let base = self.next;
        self.next = (base + size + GAP).next_multiple_of(ALIGNMENT);
        self.used += size;
        self.allocations.push(Allocation {
            base,
            size,
            freed: false,
            read_only: false,
            bytes: vec![0; size as usize],
            defined: Bits::new(size),
            shadow: Shadow::new(size),
        });
        Ok(self.allocations.len() - 1)
    }

    /// Gives back what [`Self::allocate`] returned. The address is never handed out again.
    ///
    /// # Errors
    /// Where the address isn't the start of an allocation that is still there.
    pub fn free(&mut self, address: u64) -> Result<(), MemoryError> {
        let place = self.allocations.binary_search_by_key(&address, |allocation| allocation.base);
        match place {
            Ok(place) if !self.allocations[place].freed => {
                let allocation = &mut self.allocations[place];
                self.used -= allocation.size;
                allocation.freed = true;
                allocation.bytes = Vec::new();
                allocation.defined = Bits::default();
                allocation.shadow = Shadow::default();
                Ok(())
            }
            _ => Err(MemoryError::NotAllocated { address }),
        }
    }

    /// Copies from the host.
    ///
    /// # Errors
    /// Where the bytes aren't all of one allocation.
    pub fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), MemoryError> {
        let Some((number, offset)) = self.locate_for_host(address, bytes.len() as u64)? else { return Ok(()) };
        let allocation = &mut self.allocations[number];
        allocation.bytes[offset as usize..][..bytes.len()].copy_from_slice(bytes);
        allocation.defined.insert(offset, bytes.len() as u64);
        Ok(())
    }

    /// Copies to the host. Bytes that nobody wrote are zero.
    ///
    /// # Errors
    /// Where the bytes aren't all of one allocation.
    pub fn read(&self, address: u64, bytes: &mut [u8]) -> Result<(), MemoryError> {
        let Some((number, offset)) = self.locate_for_host(address, bytes.len() as u64)? else { return Ok(()) };
        bytes.copy_from_slice(&self.allocations[number].bytes[offset as usize..][..bytes.len()]);
        Ok(())
    }

    /// Whether every one of these bytes was written, by the host or by a kernel.
    ///
    /// # Errors
    /// Where the bytes aren't all of one allocation.
    pub fn is_written(&self, address: u64, length: usize) -> Result<bool, MemoryError> {
        let Some((number, offset)) = self.locate_for_host(address, length as u64)? else { return Ok(true) };
        Ok(self.allocations[number].defined.contains(offset, length as u64))
    }

    /// Start and size of the allocation that `address` lies in.
    pub fn allocation(&self, address: u64) -> Option<(u64, u64)> {
        let allocation = &self.allocations[self.at_or_before(address)?];
        let inside = !allocation.freed && address - allocation.base < allocation.size;
        inside.then_some((allocation.base, allocation.size))
    }

    /// Address and size of a module's `.global` or `.const` variable, in this memory.
    ///
    /// # Errors
    /// Where there isn't enough memory for the module's variables.
    pub fn variable(&mut self, module: &Module, name: &str) -> Result<Option<(u64, u64)>, MemoryError> {
        let data = module.data();
        let Some(number) = data.variables.iter().position(|variable| variable.name == name) else { return Ok(None) };
        Ok(self.place_module(data)?[number].map(|place| (self.allocations[place].base, self.allocations[place].size)))
    }

    /// The base addresses of a module's variables, which are put there the first time.
    pub(crate) fn module_addresses(&mut self, data: &ModuleData) -> Result<Vec<u64>, MemoryError> {
        let places = self.place_module(data)?;
        Ok(places.iter().map(|place| place.map_or(0, |place| self.allocations[place].base)).collect())
    }

    fn place_module(&mut self, data: &ModuleData) -> Result<Vec<Option<usize>>, MemoryError> {
        if let Some(places) = self.modules.get(&data.identity) {
            return Ok(places.clone());
        }
        let mut places = Vec::new();
        for variable in &data.variables {
            let wanted = variable.in_memory && variable.size > 0;
            places.push(if wanted { Some(self.add(variable.size)?) } else { None });
        }
        for (variable, place) in data.variables.iter().zip(&places) {
            let Some(place) = *place else { continue };
            let mut bytes = variable.initial.clone();
            for (at, other, offset) in &variable.addresses {
                let base = places[*other].map_or(0, |place| self.allocations[place].base);
                bytes[*at..at + 8].copy_from_slice(&base.wrapping_add_signed(*offset).to_le_bytes());
            }
            let allocation = &mut self.allocations[place];
            allocation.bytes[..bytes.len()].copy_from_slice(&bytes);
            allocation.defined = Bits::full(variable.size);
            allocation.read_only = variable.read_only;
        }
        self.modules.insert(data.identity, places.clone());
        Ok(places)
    }

    /// Number of the allocation with the highest base up to `address`.
    pub(crate) fn at_or_before(&self, address: u64) -> Option<usize> {
        self.allocations.partition_point(|allocation| allocation.base <= address).checked_sub(1)
    }

    /// Number of the allocation and offset in it; `None` for no bytes.
    fn locate_for_host(&self, address: u64, length: u64) -> Result<Option<(usize, u64)>, MemoryError> {
        if length == 0 {
            return Ok(None);
        }
        match self.at_or_before(address) {
            Some(number) if self.allocations[number].holds(address, length) => {
                Ok(Some((number, address - self.allocations[number].base)))
            }
            _ => Err(MemoryError::OutOfBounds { address, length, reason: self.surroundings(address, length) }),
        }
    }

    /// What is at or near an address that isn't in bounds, as a sentence.
    pub(crate) fn surroundings(&self, address: u64, length: u64) -> String {
        let Some(number) = self.at_or_before(address) else {
            return match address {
                0 => "a null pointer".into(),
                _ => "no allocation starts before it".into(),
            };
        };
        let Allocation { base, size, freed, .. } = self.allocations[number];
        let offset = address - base;
        match (offset < size, freed) {
            (true, true) => format!("an allocation of {size} bytes that has been freed"),
            (true, false) => {
                format!("{} bytes past the end of an allocation of {size} at {base:#x}", { offset + length - size })
            }
            (false, _) => format!("{} bytes behind the end of an allocation of {size} at {base:#x}", offset - size),
        }
    }

    /// Number of the allocation that a kernel's access lies in. `hint` is where the last one was.
    #[inline]
    pub(crate) fn locate(
        &self,
        hint: &mut usize,
        access: &'static str,
        address: u64,
        size: u64,
    ) -> Result<usize, FaultKind> {
        if self.allocations.get(*hint).is_some_and(|allocation| allocation.holds(address, size)) {
            return Ok(*hint);
        }
        match self.at_or_before(address) {
            Some(number) if self.allocations[number].holds(address, size) => {
                *hint = number;
                Ok(number)
            }
            other => Err(self.out_of_bounds(other, access, address, size)),
        }
    }

    #[cold]
    fn out_of_bounds(&self, number: Option<usize>, access: &'static str, address: u64, size: u64) -> FaultKind {
        if let Some(allocation) = number.map(|number| &self.allocations[number])
            && allocation.freed
            && address - allocation.base < allocation.size
        {
            let offset = address - allocation.base;
            return FaultKind::UseAfterFree { access, address, offset, size: allocation.size };
        }
        FaultKind::OutOfBounds { access, address, size, reason: self.surroundings(address, size) }
    }
}

impl Allocation {
    #[inline]
    fn holds(&self, address: u64, length: u64) -> bool {
        let offset = address.wrapping_sub(self.base);
        !self.freed && offset < self.size && length <= self.size - offset
    }
}
