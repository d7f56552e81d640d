//! Decoded instructions: names resolved to places, arithmetic to closures.

use crate::arithmetic::approximate::Approximation;
use crate::arithmetic::carry::CarryOperation;
use crate::lanes::{Comparison, Function};
use crate::types::Type;

/// A row of a warp's register file. Constants and special registers have rows as well.
pub(crate) type Register = u32;

/// A place in a warp's predicates.
pub(crate) type Predicate = u32;

pub(crate) struct Instruction {
    /// Lanes take part where the predicate has this value.
    pub(crate) guard: Option<(Predicate, bool)>,
    pub(crate) operation: Operation,
}

/// Where an instruction stands in the PTX.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) line: usize,
    pub(crate) text: String,
}

/// A predicate that is read: a register, perhaps negated, or a constant.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Truth {
    Register { predicate: Predicate, negated: bool },
    Constant(bool),
}

/// Bitwise functions of predicates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Logic {
    And,
    Or,
    Xor,
}

/// The memory that an access names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Space {
    /// Which memory is told by the address.
    Generic,
    Global,
    Shared,
    /// A thread's own: `.local` variables.
    Local,
    /// Constants.
    Const,
    /// Parameters of the kernel.
    Parameter,
    /// Parameters of functions, in the frame of the caller or callee.
    Frame,
}

/// The sum of a register and a constant.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Address {
    pub(crate) base: Register,
    pub(crate) offset: i64,
}

#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) space: Space,
    pub(crate) of: Type,
    /// One register for each element of a vector; none where it isn't wanted.
    pub(crate) destinations: Vec<Option<(Register, u64)>>,
    pub(crate) address: Address,
    /// The memory is promised to stay as it is.
    pub(crate) read_only: bool,
    /// Ordered by the hardware: volatile, relaxed, acquire.
    pub(crate) strong: bool,
}

#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) space: Space,
    pub(crate) of: Type,
    pub(crate) sources: Vec<Register>,
    pub(crate) address: Address,
    pub(crate) strong: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtomicOperation {
    Add,
    Min,
    Max,
    And,
    Or,
    Xor,
    Exchange,
    CompareAndSwap,
    /// Up to a bound, then zero.
    Increment,
    /// From a bound down to zero.
    Decrement,
}

#[derive(Debug)]
pub(crate) struct Atomic {
    pub(crate) operation: AtomicOperation,
    pub(crate) space: Space,
    pub(crate) of: Type,
    /// None for `red`.
    pub(crate) destination: Option<Register>,
    pub(crate) address: Address,
    pub(crate) sources: [Register; 2],
}

/// A copy to shared memory that is under way until it is waited for.
#[derive(Debug)]
pub(crate) struct AsyncCopy {
    pub(crate) to: Address,
    pub(crate) from: Address,
    pub(crate) size: u64,
    /// Bytes that are read; zeros are written for the rest.
    pub(crate) source_size: Option<Register>,
}

/// Whose value a lane gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShuffleMode {
    Up,
    Down,
    Butterfly,
    Index,
}

#[derive(Debug)]
pub(crate) struct Shuffle {
    pub(crate) mode: ShuffleMode,
    pub(crate) destination: Register,
    /// Whether the lane asked for is within the segment.
    pub(crate) in_range: Option<Predicate>,
    pub(crate) source: Register,
    pub(crate) lane: Register,
    pub(crate) clamp: Register,
    pub(crate) members: Register,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VoteMode {
    All,
    Any,
    Uniform,
}

/// What a block's threads agree on at a barrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BarrierReduction {
    Count(Register),
    And(Predicate),
    Or(Predicate),
}

#[derive(Debug)]
pub(crate) struct Barrier {
    pub(crate) number: Register,
    /// All threads of the block, where there is none.
    pub(crate) threads: Option<Register>,
    /// All lanes of a warp come together.
    pub(crate) aligned: bool,
    pub(crate) reduction: Option<(BarrierReduction, Truth)>,
}

/// Operations that the lanes of a warp do together.
#[derive(Debug)]
pub(crate) enum Collective {
    Shuffle(Shuffle),
    Vote {
        mode: VoteMode,
        destination: Predicate,
        source: Truth,
        members: Register,
    },
    Ballot {
        destination: Register,
        source: Truth,
        members: Register,
    },
    Reduce {
        operation: AtomicOperation,
        of: Type,
        destination: Register,
        source: Register,
        members: Register,
    },
    MatchAny {
        of: Type,
        destination: Register,
        source: Register,
        members: Register,
    },
    MatchAll {
        of: Type,
        destination: Register,
        all: Option<Predicate>,
        source: Register,
        members: Register,
    },
    /// `bar.warp.sync`
    Synchronize {
        members: Register,
    },
}

impl Collective {
    pub(crate) fn members(&self) -> Register {
        match self {
            Collective::Shuffle(shuffle) => shuffle.members,
            Collective::Vote { members, .. }
            | Collective::Ballot { members, .. }
            | Collective::Reduce { members, .. }
            | Collective::MatchAny { members, .. }
            | Collective::MatchAll { members, .. }
            | Collective::Synchronize { members } => *members,
        }
    }
}

/// Registers that change while a kernel runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clock {
    /// Instructions that the warp has run.
    Instructions,
    ActiveLanes,
}

#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) function: usize,
    /// From where in the caller's frame to where in the callee's, and how many bytes.
    pub(crate) arguments: Vec<(u64, u64, u64)>,
    /// From where in the callee's frame to where in the caller's.
    pub(crate) results: Vec<(u64, u64, u64)>,
}

pub(crate) enum Operation {
    /// Hints and fences: without an effect here.
    Nothing,
    Compute {
        function: Function,
        destination: Register,
        sources: [Register; 4],
    },
    /// Integer division, whose divisor must not be zero.
    Divide {
        function: Function,
        destination: Register,
        sources: [Register; 2],
        mask: u64,
    },
    Approximate {
        function: Approximation,
        flush: bool,
        destination: Register,
        sources: [Register; 2],
    },
    Carry {
        operation: CarryOperation,
        of: Type,
        reads: bool,
        writes: bool,
        destination: Register,
        sources: [Register; 3],
    },
    Compare {
        comparison: Comparison,
        sources: [Register; 2],
        combined: Option<(Logic, Truth)>,
        destination: Option<Predicate>,
        complement: Option<Predicate>,
    },
    Logic {
        logic: Logic,
        destination: Predicate,
        sources: [Truth; 2],
    },
    CopyPredicate {
        destination: Predicate,
        source: Truth,
    },
    Copy {
        destination: Register,
        source: Register,
        mask: u64,
    },
    Select {
        destination: Register,
        sources: [Register; 2],
        condition: Truth,
        mask: u64,
    },
    Pack {
        destination: Register,
        parts: Vec<Register>,
        width: u32,
    },
    Unpack {
        destinations: Vec<Option<Register>>,
        source: Register,
        width: u32,
    },
    ReadClock {
        clock: Clock,
        destination: Register,
    },
    /// The address of a variable in the thread's frame, as `.local` or generic address.
    FrameAddress {
        destination: Register,
        offset: u64,
    },
    /// What an address is in another space: adds `offset` or, turned, takes it away.
    Shift {
        destination: Register,
        source: Register,
        offset: u64,
    },
    IsSpace {
        space: Space,
        destination: Predicate,
        source: Register,
    },
    Load(Load),
    Store(Store),
    Atomic(Atomic),
    AsyncCopy(AsyncCopy),
    AsyncCommit,
    /// Until at most so many groups are under way, and with `all` nothing else.
    AsyncWait {
        groups: u64,
        all: bool,
    },
    Collective(Collective),
    Barrier(Barrier),
    Branch(u32),
    BranchIndexed {
        index: Register,
        targets: Vec<u32>,
    },
    Call(Call),
    Return,
    Exit,
    Trap,
}
