//! The `elonnx` command as people mistype it and as scripts call it.
#![cfg(feature = "cli")]

mod calibrate;
mod desk;
mod doctor_cuda;
mod evaluate;
#[path = "../libraries/mod.rs"]
mod libraries;
mod rewriting;
mod score;
mod train;
