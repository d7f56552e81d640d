//! The encouraging loss (EL, [arXiv 2110.06537](https://arxiv.org/abs/2110.06537)) for ONNX models.
//!
//! Rooms, lowest first; each may use those above it only:
//!
//! | module | what |
//! | --- | --- |
//! | [`loss`] | the maths: parameters, f(m) and f′(m), CPU row kernels, the f64 reference |
//! | [`model`] | ONNX files: messages, lazy document, edit, write |
//! | [`rewrite`] | graph → graph: finds losses, swaps them, function bodies |
//! | `runtime` | ONNX Runtime: the ops on its C tables, the plugin, `ort` sessions |
//! | `cli` | the `elonnx` command |
#![deny(missing_docs)]
#![cfg_attr(not(test), warn(clippy::unwrap_used))]

pub mod loss;
pub mod model;
pub mod rewrite;
#[cfg(feature = "runtime")]
pub mod runtime;

#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
