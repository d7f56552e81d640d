//! Any bytes are read as a checkpoint without panic or flood of memory.
#![no_main]

use std::path::PathBuf;
use std::sync::OnceLock;

use elonnx::train::read_checkpoint;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    let file =
        FILE.get_or_init(|| std::env::temp_dir().join(format!("elonnx-fuzz-{}.safetensors", std::process::id())));
    std::fs::write(file, bytes).expect("a file to read");
    let _ = read_checkpoint(file);
});
