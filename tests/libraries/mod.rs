//! ONNX Runtimes to test with: `ORT_DYLIB_PATH`, or those that `tools/python_envs` installed.

use std::path::{Path, PathBuf};

use elonnx::runtime::library::library_in;

/// target/envs/VERSION/lib/pythonX.Y/site-packages/onnxruntime/capi/libonnxruntime.so.VERSION, the newest last.
pub fn installed() -> Vec<PathBuf> {
    let folders = |path: &Path| -> Vec<PathBuf> {
        std::fs::read_dir(path).map(|d| d.filter_map(|e| Some(e.ok()?.path())).collect()).unwrap_or_default()
    };
    let mut environments = folders(&Path::new(env!("CARGO_MANIFEST_DIR")).join("target/envs"));
    environments.sort();
    environments
        .iter()
        .flat_map(|environment| folders(&environment.join("lib")))
        .filter_map(|python| library_in(&python.join("site-packages/onnxruntime/capi")))
        .collect()
}

/// `ORT_DYLIB_PATH`, else the newest that is installed; where there is none, a test says so and does nothing.
pub fn library(test: &str) -> Option<PathBuf> {
    let named = std::env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()).map(PathBuf::from);
    let library = named.or_else(|| installed().pop());
    if library.is_none() {
        skip(test, "a libonnxruntime");
    }
    library
}

/// Says that a test does nothing.
pub fn skip(test: &str, needs: &str) {
    println!("SKIPPED {test}: needs {needs}; set ORT_DYLIB_PATH or run tools/python_envs");
}
