//! `elonnx lib`: where the plugin is.

use std::path::{Path, PathBuf};

use clap::Args;

use super::output::print;

/// The environment variable that names the plugin or its folder.
const ENVIRONMENT_VARIABLE: &str = "ELONNX_LIB";

/// Print the path of the plugin for ONNX Runtime
///
/// For scripts: options.register_custom_ops_library(path). Looked for in ELONNX_LIB (the file or its folder), beside
/// the program, in ../lib, and where cargo builds.
#[derive(Debug, Args)]
pub struct Arguments {}

/// Runs it.
pub fn run(_: &Arguments) -> anyhow::Result<()> {
    let plugin = locate()?;
    print(&format!("{}\n", plugin.display()))
}

/// Why there is no plugin.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// The variable is set, to something else.
    #[error("{ENVIRONMENT_VARIABLE} is {}, which is neither {} nor a folder with it", _0.display(), file_name())]
    Environment(PathBuf),
    /// Nowhere.
    #[error(
        "found no {} in {}. `cargo install` installs the program only: in a checkout of elonnx, \
         `cargo build --release` makes target/release/{0}; copy it beside the program, or name it in \
         {ENVIRONMENT_VARIABLE}",
        file_name(), looked_at.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(", ")
    )]
    NotFound {
        /// The folders.
        looked_at: Vec<PathBuf>,
    },
}

/// Looks for the plugin.
pub fn locate() -> Result<PathBuf, PluginError> {
    let named = std::env::var_os(ENVIRONMENT_VARIABLE).filter(|value| !value.is_empty()).map(PathBuf::from);
    let program = std::env::current_exe().and_then(|path| path.canonicalize()).ok();
    let working = std::env::current_dir().ok();
    locate_from(named, program.as_deref(), working.as_deref())
}

fn locate_from(named: Option<PathBuf>, program: Option<&Path>, working: Option<&Path>) -> Result<PathBuf, PluginError> {
    if let Some(named) = named {
        let file = if named.is_dir() { named.join(file_name()) } else { named.clone() };
        return if file.is_file() {
            Ok(std::path::absolute(&file).unwrap_or(file))
        } else {
            Err(PluginError::Environment(named))
        };
    }
    let folders = folders(program, working);
    match folders.iter().map(|folder| folder.join(file_name())).find(|file| file.is_file()) {
        Some(file) => Ok(file),
        None => Err(PluginError::NotFound { looked_at: folders }),
    }
}

/// Where to look, in order.
fn folders(program: Option<&Path>, working: Option<&Path>) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    if let Some(beside) = program.and_then(Path::parent) {
        folders.push(beside.to_owned());
        folders.push(beside.join("deps"));
        if let Some(above) = beside.parent() {
            folders.push(above.join("lib"));
            if beside.ends_with("deps") {
                folders.push(above.to_owned());
            }
            // a debug program finds the plugin that a release build made
            if above.ends_with("target") {
                folders.push(above.join("release"));
                folders.push(above.join("debug"));
            }
        }
    }
    // an installed program, called in a checkout; any other folder might hold somebody else's file
    if let Some(checkout) = working.filter(|folder| is_checkout(folder)) {
        folders.push(checkout.join("target/release"));
        folders.push(checkout.join("target/debug"));
    }
    let mut seen = Vec::new();
    folders.retain(|folder| {
        let new = !seen.contains(folder);
        seen.push(folder.clone());
        new
    });
    folders
}

fn is_checkout(folder: &Path) -> bool {
    std::fs::read_to_string(folder.join("Cargo.toml"))
        .is_ok_and(|manifest| manifest.lines().any(|line| line.trim() == "name = \"elonnx\""))
}

/// The plugin's file name on this system.
pub fn file_name() -> String {
    format!("{}elonnx{}", std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(path: &Path) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, b"").unwrap();
    }

    #[test]
    fn places_and_their_order() {
        let base = tempfile::tempdir().unwrap();
        let base = base.path();
        let program = base.join("prefix/bin/elonnx");
        let locate = |named: Option<&Path>| locate_from(named.map(Path::to_owned), Some(&program), None);

        let error = locate(None).unwrap_err().to_string();
        assert!(error.contains("cargo install") && error.contains("prefix/lib"), "{error}");
        let in_lib = base.join("prefix/lib").join(file_name());
        touch(&in_lib);
        assert_eq!(locate(None).unwrap(), in_lib);
        let beside = base.join("prefix/bin").join(file_name());
        touch(&beside);
        assert_eq!(locate(None).unwrap(), beside);

        let own = base.join("own").join(file_name());
        touch(&own);
        assert_eq!(locate(Some(&own)).unwrap(), own);
        assert_eq!(locate(Some(own.parent().unwrap())).unwrap(), own);
        let error = locate(Some(&base.join("none"))).unwrap_err().to_string();
        assert!(error.starts_with("ELONNX_LIB is "), "{error}");
    }

    #[test]
    fn builds_of_cargo() {
        let base = tempfile::tempdir().unwrap();
        let target = base.path().join("target");
        let release = target.join("release").join(file_name());
        touch(&release);
        for program in [target.join("debug/elonnx"), target.join("release/deps/elonnx-0123")] {
            assert_eq!(locate_from(None, Some(&program), None).unwrap(), release);
        }

        let installed = base.path().join("cargo/bin/elonnx");
        assert!(locate_from(None, Some(&installed), Some(base.path())).is_err());
        std::fs::write(base.path().join("Cargo.toml"), "[package]\nname = \"elonnx\"\n").unwrap();
        assert_eq!(locate_from(None, Some(&installed), Some(base.path())).unwrap(), release);
    }
}
