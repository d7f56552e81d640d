//! The CUDA operators, from registration to the numbers they write, through a stand-in for ONNX Runtime.
//!
//! The device is the PTX interpreter of tools/ptxsim under a stand-in libcuda, which also finds races, wrong addresses
//! and uninitialised reads. On a machine with an NVIDIA GPU, `ELONNX_TEST_GPU=1 cargo test --test cuda` runs the same on
//! it, without the tests of what only the stand-in can do. A larger grid of sizes: `cargo test --test cuda -- --ignored`.
#![cfg(all(feature = "cuda", target_os = "linux"))]

mod case;
mod device;
mod host;
mod launches;
mod parameters;
mod random;
mod refusals;
mod registration;
mod repeatable;
mod sizes;
mod values;
mod without_driver;
