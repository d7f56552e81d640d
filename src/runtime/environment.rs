//! The process's ONNX Runtime: `ort` takes one library per process.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use ort::environment::Environment;

use super::library;

/// The environment, and the library it was made with.
static ENVIRONMENT: Mutex<Option<(PathBuf, Environment)>> = Mutex::new(None);

/// The environment; the first call decides about the library, which is looked for where none is `wanted`.
///
/// # Errors
/// Why there is none, or not that one.
pub(crate) fn environment(wanted: Option<&Path>) -> Result<Environment, String> {
    let mut made = ENVIRONMENT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((path, environment)) = &*made {
        if wanted.is_some_and(|wanted| library::find(Some(wanted)).is_ok_and(|found| found.path != *path)) {
            let path = path.display();
            return Err(format!("this process runs {path} already; another library needs another process"));
        }
        return Ok(environment.clone());
    }
    let path = library::find(wanted).map_err(|error| error.to_string())?.path;
    // `ort` looks for a relative path beside the program
    let path = std::path::absolute(&path).unwrap_or(path);
    let builder = ort::init_from(&path).map_err(|error| error.to_string())?;
    let environment = builder.with_telemetry(false).build().map_err(|error| error.to_string())?;
    *made = Some((path, environment.clone()));
    Ok(environment)
}
