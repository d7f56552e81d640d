//! The `elonnx` command as people mistype it and as scripts call it.
#![cfg(feature = "cli")]

mod calibrate;
mod desk;
mod evaluate;
mod rewriting;
mod score;
