//! The encouraging loss (EL, [arXiv 2110.06537](https://arxiv.org/abs/2110.06537)) for ONNX models.
//!
//! Rooms, lowest first; each may use those above it only:
//!
//! | module | what |
//! | --- | --- |
//! | [`loss`] | the maths: parameters, f(m) and f′(m), CPU row kernels, the f64 reference |
//! | `kernels` | the maths of fused training operators: optimizer, convolution, pooling, normalization |
//! | [`model`] | ONNX files: messages, lazy document, edit, write |
//! | [`rewrite`] | graph → graph: finds losses, swaps them, function bodies |
//! | `runtime` | ONNX Runtime: the ops on its C tables, the plugin, `ort` sessions |
//! | [`metrics`] | AUROC, FPR95, calibration error, bootstrap intervals |
//! | `data` | samples in: tensors in batches from npy, npz, idx, CSV, images |
//! | `edge` | scores of a classifier with tract: load, score, calibrate, evaluate |
//! | `report` | pages and pictures of an evaluation |
//! | `train` | a classifier trained on ONNX Runtime: batches, schedules, checkpoints, the loop |
//! | `cli` | the `elonnx` command |
#![deny(missing_docs)]
#![cfg_attr(not(test), warn(clippy::unwrap_used))]

#[cfg(feature = "edge")]
pub mod data;
#[cfg(feature = "edge")]
pub mod edge;
#[cfg(any(feature = "runtime", test))]
mod kernels;
pub mod loss;
pub mod metrics;
pub mod model;
#[cfg(feature = "report")]
pub mod report;
pub mod rewrite;
#[cfg(feature = "runtime")]
pub mod runtime;

#[cfg(feature = "train")]
pub mod train;

#[cfg(feature = "cli")]
#[doc(hidden)]
pub mod cli;
