//! A kernel that is ready to run, with every function it calls.

use std::ops::Range;

use crate::instruction::{Instruction, Origin, Predicate, Register};

/// Where the memories lie that share one address space with global memory.
pub(crate) mod window {
    /// Bytes of each.
    pub(crate) const SIZE: u64 = 1 << 32;
    pub(crate) const SHARED: u64 = 1 << 32;
    pub(crate) const LOCAL: u64 = 2 << 32;
    pub(crate) const PARAMETER: u64 = 3 << 32;
}

/// A row that holds the same in every thread and launch, once addresses are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Constant {
    Value(u64),
    /// In the module's variable with this number.
    Global {
        variable: usize,
        offset: i64,
    },
    /// Behind the start of dynamic shared memory.
    DynamicShared {
        offset: i64,
    },
}

/// A row that the launch fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Special {
    Thread(usize),
    BlockSize(usize),
    Block(usize),
    GridSize(usize),
    Lane,
    Warp,
    Warps,
    LanesEqual,
    LanesBelow,
    LanesUpTo,
    LanesAbove,
    LanesFrom,
    DynamicShared,
    TotalShared,
    Zero,
    One,
}

#[derive(Debug, Default)]
pub(crate) struct FunctionEntry {
    pub(crate) name: String,
    /// Number of its first instruction.
    pub(crate) start: u32,
    pub(crate) end: u32,
    pub(crate) registers: Range<Register>,
    pub(crate) predicates: Range<Predicate>,
    /// Bytes of `.local` and `.param` variables.
    pub(crate) frame: u64,
}

#[derive(Default)]
pub(crate) struct Program {
    pub(crate) instructions: Vec<Instruction>,
    pub(crate) origins: Vec<Origin>,
    pub(crate) register_names: Vec<String>,
    pub(crate) predicate_names: Vec<String>,
    pub(crate) constants: Vec<(Register, Constant)>,
    pub(crate) specials: Vec<(Register, Special)>,
    /// The kernel itself is the first.
    pub(crate) functions: Vec<FunctionEntry>,
    /// Bytes of static shared memory.
    pub(crate) static_shared: u64,
    pub(crate) dynamic_alignment: u64,
}

impl Program {
    /// Where dynamic shared memory starts.
    pub(crate) fn dynamic_start(&self) -> u64 {
        self.static_shared.next_multiple_of(self.dynamic_alignment.max(1))
    }
}
