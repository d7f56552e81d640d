//! Runs NVIDIA PTX on the CPU.
