//! Runs NVIDIA PTX on the CPU, thread by thread, and reports what a GPU would leave undefined: data races, accesses out of
//! bounds or not aligned, reads of what nobody wrote, shuffles and barriers that not all threads come to.
//!
//! [`Module::parse`] reads the PTX, [`Memory`] is the device's, [`Launch::run`] runs a kernel. It returns [`Statistics`]
//! or the first [`Fault`].
//!
//! ```
//! use ptxsim::{FaultKind, Launch, Memory, Module, Options};
//!
//! // y[i] = 2 * x[i], by as many threads as are launched
//! let ptx = "
//!     .version 8.0
//!     .target sm_80
//!     .address_size 64
//!     .visible .entry twice(.param .u64 x, .param .u64 y) {
//!         .reg .b32 %r<2>; .reg .b64 %rd<5>; .reg .f32 %f<3>;
//!         ld.param.u64 %rd0, [x];
//!         ld.param.u64 %rd1, [y];
//!         mov.u32 %r0, %tid.x;
//!         mul.wide.u32 %rd2, %r0, 4;
//!         add.u64 %rd3, %rd0, %rd2;
//!         add.u64 %rd4, %rd1, %rd2;
//!         ld.global.f32 %f0, [%rd3];
//!         add.f32 %f1, %f0, %f0;
//!         st.global.f32 [%rd4], %f1;
//!         ret;
//!     }";
//! let module = Module::parse(ptx)?;
//! let kernel = module.kernel("twice").expect("it is there");
//! assert_eq!(kernel.parameters(), [8, 8]);
//!
//! let mut memory = Memory::new();
//! let x = memory.allocate(40 * 4)?;
//! let y = memory.allocate(40 * 4)?;
//! let numbers: Vec<u8> = (0..40).flat_map(|i| (i as f32).to_le_bytes()).collect();
//! memory.write(x, &numbers)?;
//!
//! let parameters: [&[u8]; 2] = [&x.to_le_bytes(), &y.to_le_bytes()];
//! let launch = Launch { kernel, grid: [1, 1, 1], block: [40, 1, 1], dynamic_shared: 0, parameters: &parameters };
//! let statistics = launch.run(&mut memory, &Options::default())?;
//! assert_eq!(statistics.global_bytes_loaded, 160);
//!
//! let mut last = [0; 4];
//! memory.read(y + 39 * 4, &mut last)?;
//! assert_eq!(f32::from_le_bytes(last), 78.0);
//!
//! // one thread too many
//! let launch = Launch { block: [41, 1, 1], ..launch };
//! let fault = launch.run(&mut memory, &Options::default()).unwrap_err();
//! assert!(matches!(fault.kind, FaultKind::OutOfBounds { access: "load", .. }));
//! assert_eq!(fault.thread, [40, 0, 0]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What is checked and what isn't stands in the crate's README.

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
