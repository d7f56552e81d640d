#![doc = include_str!("../README.md")]
#![deny(missing_docs)]
// The entry points have the signatures, the names and the safety rules of the CUDA driver API, whose manual is theirs.
#![allow(non_snake_case, clippy::missing_safety_doc)]

mod calls;
mod capture;
mod code;
mod context;
mod control;
mod device;
mod entry;
mod event;
mod handles;
mod launch;
mod memory;
mod module;
mod options;
mod stream;
