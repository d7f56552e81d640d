//! Who last wrote and read each byte of a memory: finds accesses that nothing orders.
//!
//! Pages hold one cell for each granule of bytes. A page starts with granules as long as the longest access and splits
//! them where a shorter one comes, so that it is precise to the byte and small where it can be.

use crate::clock::{Clock, Stamp};

const PAGE: u64 = 4096;
const LONGEST_GRANULE: u32 = 4;

/// The last accesses to the bytes of a granule.
#[derive(Clone, Copy, Debug, Default)]
struct Cell {
    writer: Stamp,
    reader: Stamp,
    /// Another reader since the last write, of another warp if there was one: whoever writes next, one of the two is
    /// not in its warp.
    other_reader: Stamp,
    /// When it was last read by `ld.global.nc`.
    constant: u64,
}

#[derive(Debug)]
struct Page {
    /// Logarithm of the bytes in a granule.
    granule: u32,
    /// The period that the cells are of.
    period: u64,
    cells: Vec<Cell>,
}

/// The shadow of one memory.
#[derive(Debug, Default)]
pub(crate) struct Shadow {
    pages: Vec<Option<Page>>,
}

/// How a thread reaches memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AccessKind {
    Read,
    Write,
    Atomic,
    /// `ld.global.nc`
    ConstantRead,
}

/// An access to check.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Access {
    pub(crate) kind: AccessKind,
    pub(crate) thread: u32,
    pub(crate) strong: bool,
}

/// What an access collides with.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Conflict {
    Race {
        /// From the start of the memory.
        offset: u64,
        with: Stamp,
        with_write: bool,
    },
    /// Memory that is promised to be constant is written.
    NotConstant { offset: u64 },
}

impl Shadow {
    pub(crate) fn new(bytes: u64) -> Shadow {
        let mut pages = Vec::new();
        pages.resize_with(bytes.div_ceil(PAGE) as usize, || None);
        Shadow { pages }
    }

    /// Checks and notes an access of `size` bytes at `start`, which is aligned. Stamps up to `period` are of the past:
    /// the launch's start for global memory, the block's for shared.
    pub(crate) fn access(
        &mut self,
        clock: &Clock,
        period: u64,
        start: u64,
        size: u64,
        access: Access,
    ) -> Result<(), Conflict> {
        let page = self.pages[(start / PAGE) as usize].get_or_insert_with(|| Page {
            granule: LONGEST_GRANULE,
            period: 0,
            cells: Vec::new(),
        });
        page.renew(period);
        let fitting = (start | size).trailing_zeros();
        if fitting < page.granule {
            page.split(fitting);
        }
        let within = start % PAGE;
        let first = (within >> page.granule) as usize;
        let last = ((within + size) >> page.granule) as usize;
        let granule = page.granule;
        for (place, cell) in page.cells[first..last].iter_mut().enumerate() {
            cell.access(clock, period, access).map_err(|found| found.at(start + ((place as u64) << granule)))?;
        }
        Ok(())
    }
}

impl Page {
    /// Starts anew where the cells are of the past.
    fn renew(&mut self, period: u64) {
        if self.period != period || self.cells.is_empty() {
            self.period = period;
            self.granule = LONGEST_GRANULE;
            self.cells.clear();
            self.cells.resize((PAGE >> LONGEST_GRANULE) as usize, Cell::default());
        }
    }

    fn split(&mut self, granule: u32) {
        let copies = 1 << (self.granule - granule);
        self.cells = self.cells.iter().flat_map(|cell| std::iter::repeat_n(*cell, copies)).collect();
        self.granule = granule;
    }
}

/// A conflict whose place isn't known yet.
enum Found {
    Race { with: Stamp, with_write: bool },
    NotConstant,
}

impl Found {
    fn at(self, offset: u64) -> Conflict {
        match self {
            Found::Race { with, with_write } => Conflict::Race { offset, with, with_write },
            Found::NotConstant => Conflict::NotConstant { offset },
        }
    }
}

impl Cell {
    #[inline]
    fn access(&mut self, clock: &Clock, period: u64, access: Access) -> Result<(), Found> {
        let ordered = |stamp: Stamp| {
            stamp.time() <= period || (!clock.is_of_other_block(stamp) && clock.has_seen(access.thread, stamp))
        };
        let strong = access.strong || access.kind == AccessKind::Atomic;
        let own = clock.stamp(access.thread, strong);
        let tolerated = |other: Stamp| ordered(other) || (strong && other.is_strong());
        if !tolerated(self.writer) {
            return Err(Found::Race { with: self.writer, with_write: true });
        }
        match access.kind {
            AccessKind::Read => self.note_read(period, own, ordered),
            AccessKind::ConstantRead => {
                if self.writer.time() > period {
                    return Err(Found::NotConstant);
                }
                self.constant = own.time();
                self.note_read(period, own, ordered);
            }
            AccessKind::Write | AccessKind::Atomic => {
                for reader in [self.reader, self.other_reader] {
                    if !tolerated(reader) {
                        return Err(Found::Race { with: reader, with_write: false });
                    }
                }
                if self.constant > period {
                    return Err(Found::NotConstant);
                }
                self.writer = own;
                self.reader = Stamp::default();
                self.other_reader = Stamp::default();
            }
        }
        Ok(())
    }

    #[inline]
    fn note_read(&mut self, period: u64, own: Stamp, ordered: impl Fn(Stamp) -> bool) {
        if self.reader == own {
            return;
        }
        // a strong read collides with less than the weak one before it
        let says_more = !own.is_strong() || self.reader.is_strong() || self.reader.time() <= period;
        // whoever is ordered behind this access is ordered behind those before it
        if ordered(self.reader) && says_more {
            self.reader = own;
        } else if ordered(self.other_reader) || self.other_reader.thread() / 32 == self.reader.thread() / 32 {
            self.other_reader = own;
        }
    }
}
