//! What went wrong in a launch, and where.

use std::fmt;

/// One thread's access to memory, the earlier one of a race.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OtherAccess {
    /// Whether it wrote.
    pub write: bool,
    /// The block's index in the grid, x first.
    pub block: [u32; 3],
    /// The thread's index in the block, x first.
    pub thread: [u32; 3],
}

impl fmt::Display for OtherAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let done = if self.write { "written" } else { "read" };
        write!(f, "{done} by block {} thread {}", Index(self.block), Index(self.thread))
    }
}

/// What a GPU would leave undefined, or refuse.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FaultKind {
    /// The access touches memory that nobody allocated.
    #[error("{access} of {size} bytes at {address:#x}: {reason}")]
    OutOfBounds {
        /// "load", "store" or "atomic".
        access: &'static str,
        /// The first byte.
        address: u64,
        /// Bytes of the access.
        size: u64,
        /// What is there instead, or nearest to it.
        reason: String,
    },
    /// The memory was freed.
    #[error("{access} at {address:#x}, {offset} bytes into an allocation of {size} that has been freed")]
    UseAfterFree {
        /// "load", "store" or "atomic".
        access: &'static str,
        /// The first byte.
        address: u64,
        /// Where in the allocation.
        offset: u64,
        /// Bytes of the allocation.
        size: u64,
    },
    /// The address isn't a multiple of the size.
    #[error("{access} of {size} bytes at {address:#x}, which is not a multiple of {size}")]
    Misaligned {
        /// "load", "store" or "atomic".
        access: &'static str,
        /// The first byte.
        address: u64,
        /// Bytes of the access.
        size: u64,
    },
    /// Nobody has written there.
    #[error("load of {size} bytes at {address:#x} of {memory} memory that nobody has written")]
    Uninitialized {
        /// "shared", "global" or "local".
        memory: &'static str,
        /// The first byte.
        address: u64,
        /// Bytes of the access.
        size: u64,
    },
    /// A write to constants.
    #[error("store of {size} bytes at {address:#x} of read-only memory")]
    ReadOnly {
        /// The first byte.
        address: u64,
        /// Bytes of the access.
        size: u64,
    },
    /// Two accesses, one of them a write, that nothing puts in an order.
    #[error(
        "data race in {memory} memory at {address:#x}: {access} of what was {other}, with nothing that orders them"
    )]
    Race {
        /// "shared" or "global".
        memory: &'static str,
        /// A byte that both touch.
        address: u64,
        /// "load", "store" or "atomic".
        access: &'static str,
        /// The earlier access.
        other: OtherAccess,
    },
    /// `ld.global.nc` of memory that the launch writes.
    #[error(
        "{address:#x} is read by ld.global.nc, which promises that nothing writes there during the launch, and {how}"
    )]
    NotConstant {
        /// A byte of it.
        address: u64,
        /// Who writes it.
        how: String,
    },
    /// Shared memory that a `cp.async` fills, before it was waited for.
    #[error("{access} of {size} bytes at {address:#x} of shared memory that a cp.async is still filling")]
    AsyncPending {
        /// "load", "store", "atomic" or "cp.async".
        access: &'static str,
        /// The first byte.
        address: u64,
        /// Bytes of the access.
        size: u64,
    },
    /// The source of a `cp.async` was changed before the copy was waited for.
    #[error("{address:#x}, the source of a cp.async to shared memory, was overwritten before the copy was waited for")]
    AsyncSourceOverwritten {
        /// The source's first byte.
        address: u64,
    },
    /// A register that was never written.
    #[error("register {register} is read before it is written")]
    UndefinedRegister {
        /// Its name in the PTX.
        register: String,
    },
    /// Integer division by zero.
    #[error("integer division by zero")]
    DivisionByZero,
    /// Not all lanes of the mask come to the operation.
    #[error("{operation} for the lanes {members:#010x}: {reason}")]
    Divergence {
        /// The instruction's name.
        operation: &'static str,
        /// The lanes that have to come.
        members: u32,
        /// Which of them don't.
        reason: String,
    },
    /// A lane reads from one that takes no part in the shuffle.
    #[error("shuffle from lane {source_lane}, which takes no part in it")]
    ShuffleSource {
        /// The lane that is read.
        source_lane: u32,
    },
    /// Threads wait at a barrier that others never reach.
    #[error("{waiting} threads wait at barrier {barrier} and {reason}")]
    Barrier {
        /// The barrier's number.
        barrier: u64,
        /// Threads at it.
        waiting: usize,
        /// Where the others are.
        reason: String,
    },
    /// `trap`, a failed assertion or a break point.
    #[error("{reason}")]
    Trap {
        /// Which.
        reason: String,
    },
    /// The option `instruction_limit` was reached.
    #[error("more than {limit} thread-instructions: a loop without an end, or a higher instruction_limit is needed")]
    InstructionLimit {
        /// The limit.
        limit: u64,
    },
    /// The code ran past its last instruction or jumped to where there is none.
    #[error("{reason}")]
    ControlFlow {
        /// What happened.
        reason: String,
    },
    /// The launch itself is refused, before a thread runs.
    #[error("{reason}")]
    Launch {
        /// Why.
        reason: String,
    },
}

/// Why a launch ended early. Memory holds what was written until then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What went wrong.
    pub kind: FaultKind,
    /// The kernel's name.
    pub kernel: String,
    /// The line in the PTX, from 1; 0 where the launch itself is refused.
    pub line: usize,
    /// The instruction, as it stands in the PTX.
    pub instruction: String,
    /// The block's index in the grid, x first.
    pub block: [u32; 3],
    /// The thread's index in the block, x first.
    pub thread: [u32; 3],
}

impl std::error::Error for Fault {}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            return write!(f, "{}: {}", self.kernel, self.kind);
        }
        let Fault { kind, kernel, line, instruction, block, thread } = self;
        let (block, thread) = (Index(*block), Index(*thread));
        write!(f, "{kernel}, PTX line {line} ({instruction}), block {block} thread {thread}: {kind}")
    }
}

/// An index of up to three dimensions, shortened where the last are zero.
struct Index([u32; 3]);

impl fmt::Display for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [x, 0, 0] => write!(f, "{x}"),
            [x, y, z] => write!(f, "({x}, {y}, {z})"),
        }
    }
}
