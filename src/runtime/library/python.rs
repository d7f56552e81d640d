//! The Python interpreters at hand, and the ONNX packages they see.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

/// How long an interpreter may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Longest answer in bytes; it has a few hundred.
const MAX_ANSWER: u64 = 1 << 16;

/// Prints one JSON object. Imports nothing of onnxruntime (which takes a second); looks away from the working
/// directory, where a stray `json.py` would be run.
const QUESTION: &str = r#"
import sys
sys.path = [p for p in sys.path if p]
import importlib.util, json, os
try:
    from importlib.metadata import version
except ImportError:
    def version(name): raise LookupError(name)
answer = {"version": "%d.%d.%d" % sys.version_info[:3], "path": sys.executable, "packages": {}, "capi": None}
for name in ["onnxruntime", "onnxruntime-gpu", "onnxruntime-training", "onnxruntime-training-cpu",
             "onnxruntime-openvino", "onnxruntime-directml", "onnx", "torch", "elonnx"]:
    try:
        answer["packages"][name] = version(name)
    except Exception:
        pass
spec = importlib.util.find_spec("onnxruntime")
for place in (spec.submodule_search_locations or []) if spec else []:
    if os.path.isdir(os.path.join(place, "capi")):
        answer["capi"] = os.path.join(place, "capi")
        break
print(json.dumps(answer))
"#;

/// One interpreter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Interpreter {
    /// The program.
    pub path: PathBuf,
    /// How it was found: "VIRTUAL_ENV", "CONDA_PREFIX" or "PATH".
    pub found_by: &'static str,
    /// "3.11.7"; `None` where it did not answer.
    pub version: Option<String>,
    /// ONNX packages it sees, name to version.
    pub packages: BTreeMap<String, String>,
    /// The package it imports as `onnxruntime`.
    pub onnxruntime: Option<Wheel>,
    /// Why it did not answer, a clause.
    pub problem: Option<String>,
}

/// An installed onnxruntime package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Wheel {
    /// Name of the distribution, e.g. "onnxruntime-training-cpu".
    pub distribution: String,
    /// Its version.
    pub version: String,
    /// The folder with its shared libraries.
    pub capi: PathBuf,
}

#[derive(Deserialize)]
struct Answer {
    version: String,
    path: PathBuf,
    packages: BTreeMap<String, String>,
    capi: Option<PathBuf>,
}

/// The active virtual environment's Python, the active conda environment's, and those on `PATH`; each program once,
/// asked lazily.
pub fn interpreters() -> impl Iterator<Item = Interpreter> {
    let mut seen: Vec<PathBuf> = Vec::new();
    programs().into_iter().filter_map(move |(found_by, program)| {
        let interpreter = ask(found_by, &program);
        let new = !seen.contains(&interpreter.path);
        seen.push(interpreter.path.clone());
        new.then_some(interpreter)
    })
}

/// Programs to ask, each path once.
fn programs() -> Vec<(&'static str, PathBuf)> {
    let (folder, names): (&str, &[&str]) =
        if cfg!(windows) { ("Scripts", &["python.exe"]) } else { ("bin", &["python3", "python"]) };
    let mut programs: Vec<(&'static str, PathBuf)> = Vec::new();
    let mut add = |found_by, folder: &Path| {
        for name in names {
            let program = folder.join(name);
            if program.is_file() && programs.iter().all(|(_, known)| *known != program) {
                programs.push((found_by, program));
                break;
            }
        }
    };
    for variable in ["VIRTUAL_ENV", "CONDA_PREFIX"] {
        if let Some(prefix) = std::env::var_os(variable).filter(|value| !value.is_empty()) {
            let prefix = PathBuf::from(prefix);
            add(variable, &prefix.join(folder));
            if cfg!(windows) {
                add(variable, &prefix);
            }
        }
    }
    if let Some(path) = std::env::var_os("PATH") {
        // the first on PATH is the one that `python3` starts; later ones are not what the user means
        if let Some(first) = std::env::split_paths(&path)
            .find(|folder| folder.is_absolute() && names.iter().any(|name| folder.join(name).is_file()))
        {
            add("PATH", &first);
        }
    }
    programs
}

fn ask(found_by: &'static str, program: &Path) -> Interpreter {
    let mut interpreter = Interpreter {
        path: program.to_owned(),
        found_by,
        version: None,
        packages: BTreeMap::new(),
        onnxruntime: None,
        problem: None,
    };
    let answer = match run(program) {
        Ok(output) => {
            serde_json::from_slice::<Answer>(&output).map_err(|_| "gave an answer that is not understood".to_owned())
        }
        Err(problem) => Err(problem),
    };
    match answer {
        Ok(answer) => {
            // a shim (pyenv) answers with the program behind it
            if !answer.path.as_os_str().is_empty() {
                interpreter.path = answer.path;
            }
            interpreter.onnxruntime = answer.capi.map(|capi| {
                let (distribution, version) = distribution_of(&answer.packages);
                Wheel { distribution, version, capi }
            });
            interpreter.version = Some(answer.version);
            interpreter.packages = answer.packages;
        }
        Err(problem) => interpreter.problem = Some(problem),
    }
    interpreter
}

/// The distribution that `import onnxruntime` gives. Several share the folder; the one installed last wins and cannot
/// be told, so the special ones are named before the plain one, which is often only a dependency.
fn distribution_of(packages: &BTreeMap<String, String>) -> (String, String) {
    packages.iter().filter(|(name, _)| name.starts_with("onnxruntime")).max_by_key(|(name, _)| name.len()).map_or_else(
        || ("onnxruntime".to_owned(), "of unknown version".to_owned()),
        |(name, version)| (name.clone(), version.clone()),
    )
}

/// Standard output of the question, or a clause that says why there is none.
fn run(program: &Path) -> Result<Vec<u8>, String> {
    let mut child = Command::new(program)
        .args(["-c", QUESTION])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| format!("does not start: {error}"))?;
    let start = Instant::now();
    let answer = drain(&mut child);
    let status = loop {
        match child.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if start.elapsed() > PATIENCE => {
                // it may have ended meanwhile; either way there is no answer
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("gave no answer in {} seconds", PATIENCE.as_secs()));
            }
            Ok(None) => std::thread::sleep(Duration::from_millis(5)),
            Err(error) => return Err(format!("cannot be waited for: {error}")),
        }
    };
    if !status.success() {
        return Err(format!("does not run ({status})"));
    }
    // a process that it left behind may hold the pipe open
    let left = PATIENCE.saturating_sub(start.elapsed());
    answer.recv_timeout(left).map_err(|_| format!("gave no whole answer in {} seconds", PATIENCE.as_secs()))
}

/// Reads all that the program prints while it runs, so that it never waits for a full pipe; the answer is
/// the beginning.
fn drain(child: &mut Child) -> Receiver<Vec<u8>> {
    let (sender, receiver) = std::sync::mpsc::channel();
    if let Some(mut pipe) = child.stdout.take() {
        std::thread::spawn(move || {
            let mut output = Vec::new();
            // what cannot be read makes an answer that is not understood; nobody may wait for it any more
            let _ = pipe.by_ref().take(MAX_ANSWER).read_to_end(&mut output);
            let _ = std::io::copy(&mut pipe, &mut std::io::sink());
            let _ = sender.send(output);
        });
    }
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_special_distribution_is_named() {
        let packages = |names: &[&str]| names.iter().map(|n| ((*n).to_owned(), "1.19.2".to_owned())).collect();
        assert_eq!(distribution_of(&packages(&["onnx", "onnxruntime"])).0, "onnxruntime");
        assert_eq!(
            distribution_of(&packages(&["onnxruntime", "onnxruntime-training-cpu"])).0,
            "onnxruntime-training-cpu"
        );
        assert_eq!(distribution_of(&packages(&["onnx"])).1, "of unknown version");
    }

    #[cfg(unix)]
    #[test]
    fn a_program_that_is_no_python_is_a_problem_and_no_panic() {
        let interpreter = ask("PATH", Path::new("/bin/false"));
        assert!(interpreter.problem.is_some_and(|p| p.starts_with("does not run")));
        let interpreter = ask("PATH", Path::new("/bin/echo"));
        assert_eq!(interpreter.problem.as_deref(), Some("gave an answer that is not understood"));
        let interpreter = ask("PATH", Path::new("/nonexistent/python3"));
        assert!(interpreter.problem.is_some_and(|p| p.starts_with("does not start")));
    }

    #[cfg(unix)]
    #[test]
    fn a_program_that_prints_without_need_is_not_waited_for() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join("python3");
        // more than any pipe's buffer
        std::fs::write(&program, "#!/bin/sh\nhead -c 4000000 /dev/zero\n").unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let start = Instant::now();
        let interpreter = ask("PATH", &program);
        assert_eq!(interpreter.problem.as_deref(), Some("gave an answer that is not understood"));
        assert!(start.elapsed() < PATIENCE / 2);
    }

    #[test]
    fn a_real_python_answers() {
        for interpreter in interpreters() {
            if interpreter.problem.is_none() {
                assert!(interpreter.version.is_some_and(|v| v.starts_with('3') || v.starts_with('2')));
            }
        }
    }
}
