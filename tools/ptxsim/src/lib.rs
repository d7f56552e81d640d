//! Runs NVIDIA PTX on the CPU and reports what a GPU would leave undefined.

#![deny(missing_docs)]
#![forbid(unsafe_code)]

mod arithmetic;
mod bits;
mod clock;
mod decode;
mod execute;
mod fault;
mod instruction;
mod lanes;
mod launch;
mod lexer;
mod memory;
mod module;
mod parse_error;
mod program;
mod shadow;
mod statistics;
mod syntax;
mod types;

pub use fault::{Fault, FaultKind, OtherAccess};
pub use launch::{Launch, Options, Order};
pub use memory::{Memory, MemoryError};
pub use module::{Kernel, Module};
pub use parse_error::ParseError;
pub use statistics::Statistics;
