//! Runs a program, block after block.

mod access;
mod async_copy;
mod atomic;
mod block;
mod collective;
mod compute;
mod shared;
mod warp;

use crate::fault::FaultKind;
use crate::launch::Options;
use crate::memory::Memory;
use crate::program::Program;
use crate::statistics::Statistics;

pub(crate) use block::Block;
pub(crate) use shared::SharedMemory;

/// What a lane did wrong.
pub(crate) struct Trouble {
    pub(crate) kind: FaultKind,
    pub(crate) lane: usize,
    /// The instruction, where it isn't the one that is running.
    pub(crate) instruction: Option<u32>,
}

pub(crate) type Step<T = ()> = Result<T, Box<Trouble>>;

/// Says which lane it was.
pub(crate) trait OnLane<T> {
    fn on_lane(self, lane: usize) -> Step<T>;
}

impl<T> OnLane<T> for Result<T, FaultKind> {
    #[inline(always)]
    fn on_lane(self, lane: usize) -> Step<T> {
        self.map_err(|kind| Box::new(Trouble { kind, lane, instruction: None }))
    }
}

/// All that the warps of a block share.
pub(crate) struct Environment<'a> {
    pub(crate) program: &'a Program,
    pub(crate) memory: &'a mut Memory,
    pub(crate) shared: SharedMemory,
    pub(crate) parameters: &'a [u8],
    pub(crate) options: &'a Options,
    pub(crate) statistics: Statistics,
    /// For each instruction the allocation that it found last.
    pub(crate) hints: Vec<usize>,
    pub(crate) random: fastrand::Rng,
    pub(crate) block: [u32; 3],
    pub(crate) block_size: [u32; 3],
}

impl Environment<'_> {
    /// The index of a thread by its number in the block.
    pub(crate) fn thread_index(&self, thread: u32) -> [u32; 3] {
        thread_index(self.block_size, thread)
    }
}

pub(crate) fn thread_index([x, y, _]: [u32; 3], thread: u32) -> [u32; 3] {
    [thread % x, thread / x % y, thread / (x * y)]
}
