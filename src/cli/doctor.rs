//! `elonnx doctor`.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use serde::Serialize;
use serde_json::json;

use super::exit::WrongInput;
use super::lib;
use super::output::{Page, print};
use crate::loss::Isa;
use crate::runtime::library::driver::{CudaDevice, CudaDriver, cuda_driver};
use crate::runtime::library::python::{Interpreter, interpreters};
use crate::runtime::library::registration::registers;
use crate::runtime::library::{self, Candidate, ENVIRONMENT_VARIABLE, LibraryError, Origin, Version};

/// What ONNX Runtime calls in a plugin.
const ENTRY: &str = "RegisterCustomOps";

/// Show what elonnx finds on this machine and what is missing
///
/// The plugin, every ONNX Runtime library that was looked at, Python packages, the CUDA driver and whether the kernels load
/// on its devices. Writes nothing.
#[derive(Debug, Args)]
pub struct Arguments {
    /// ONNX Runtime library, or the folder that holds it, to look at first
    #[arg(long, value_name = "PATH", value_hint = ValueHint::AnyPath)]
    onnxruntime: Option<PathBuf>,
    /// Print everything as JSON
    #[arg(long)]
    pub json: bool,
}

/// The plugin, looked at.
#[derive(Debug, Serialize)]
struct Plugin {
    path: Option<PathBuf>,
    /// The ONNX Runtime that took it.
    registered_in: Option<Version>,
    problem: Option<String>,
}

#[derive(Debug)]
struct Findings {
    plugin: Plugin,
    /// In the order in which they are tried.
    libraries: Vec<Candidate>,
    pythons: Vec<Interpreter>,
    cuda: Result<CudaDriver, String>,
}

/// Something that is missing, and what to do.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Advice {
    missing: &'static str,
    advice: String,
}

/// Runs it.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let pythons: Vec<Interpreter> = interpreters().collect();
    let libraries = library::candidates(arguments.onnxruntime.as_deref(), &pythons);
    let plugin = look_at_plugin(library::choose(&libraries).ok());
    let findings = Findings { plugin, libraries, pythons, cuda: cuda_driver() };
    if arguments.json {
        print(&format!("{:#}\n", findings.object()))?;
    } else {
        let mut page = Page::for_stdout();
        findings.show(&mut page);
        page.print()?;
    }
    match findings.libraries.first() {
        Some(Candidate { path, origin: Origin::Argument, problem: Some(problem), .. }) => {
            Err(WrongInput(format!("{} {problem}", path.display())).into())
        }
        _ => Ok(()),
    }
}

/// Finds it, and has the library that elonnx would use register it.
fn look_at_plugin(runtime: Option<&Candidate>) -> Plugin {
    let path = match lib::locate() {
        Ok(path) => path,
        Err(error) => return Plugin { path: None, registered_in: None, problem: Some(error.to_string()) },
    };
    let mut plugin = Plugin { path: None, registered_in: None, problem: library::exports(&path, ENTRY).err() };
    if let (None, Some(runtime)) = (&plugin.problem, runtime) {
        match registers(&runtime.path, &path) {
            Ok(()) => plugin.registered_in = runtime.version,
            Err(reason) => plugin.problem = Some(format!("is refused by {}: {reason}", runtime.path.display())),
        }
    }
    plugin.path = Some(path);
    plugin
}

impl Findings {
    fn used(&self) -> Option<&Candidate> {
        library::choose(&self.libraries).ok()
    }

    /// Whether some Python has an ONNX Runtime that the plugin can be registered in.
    fn python_runtime(&self) -> bool {
        self.pythons
            .iter()
            .filter_map(|python| python.onnxruntime.as_ref())
            .any(|wheel| library::Version::parse(&wheel.version).is_some_and(|version| version >= library::OLDEST))
    }

    fn advice(&self) -> Vec<Advice> {
        let mut advice = Vec::new();
        match &self.plugin {
            Plugin { path: None, problem: Some(problem), .. } => {
                advice.push(Advice { missing: "plugin", advice: problem.clone() });
            }
            Plugin { path: Some(path), problem: Some(problem), .. } => advice.push(Advice {
                missing: "plugin",
                advice: format!("{} {problem}; build it again with `cargo build --release`", path.display()),
            }),
            _ => {}
        }
        if let Err(error) = library::choose(&self.libraries) {
            advice.push(Advice { missing: "onnxruntime", advice: self.advice_on_library(&error) });
        }
        for (index, device) in self.cuda.iter().flat_map(|driver| &driver.devices).enumerate() {
            if let Some(problem) = &device.problem {
                advice.push(Advice { missing: "cuda", advice: format!("device {index} ({}): {problem}", device.name) });
            }
        }
        advice
    }

    fn advice_on_library(&self, error: &LibraryError) -> String {
        match error {
            LibraryError::Named { path, origin: Origin::Environment, .. } => format!(
                "{ENVIRONMENT_VARIABLE} names {}, which cannot be used, and no other is taken in its stead; unset the \
                 variable, or give it the path of a library of version {}.{} or newer",
                path.display(),
                library::OLDEST.major,
                library::OLDEST.minor
            ),
            LibraryError::Named { path, .. } => {
                format!("--onnxruntime names {}, which cannot be used; leave it out, or name another", path.display())
            }
            LibraryError::NotFound { .. } if self.python_runtime() => format!(
                "the plugin works in the Python above, but elonnx itself needs a library: \
                 `pip install 'onnxruntime>=1.20'` in a virtual environment and activate it, or give its path with \
                 --onnxruntime or in {ENVIRONMENT_VARIABLE}"
            ),
            LibraryError::NotFound { .. } => format!(
                "`pip install onnxruntime` brings one (activate the virtual environment first), or give its path with \
                 --onnxruntime or in {ENVIRONMENT_VARIABLE}"
            ),
        }
    }

    fn object(&self) -> serde_json::Value {
        json!({
            "elonnx": env!("CARGO_PKG_VERSION"),
            "command": "doctor",
            "report": {
                "system": system(),
                "kernels": Isa::detect().to_string(),
                "plugin": self.plugin,
                "onnxruntime": {
                    "oldest": library::OLDEST,
                    "used": self.used().map(|candidate| &candidate.path),
                    "candidates": self.libraries,
                },
                "python": self.pythons,
                "cuda": match &self.cuda {
                    Ok(driver) => json!({ "driver": driver, "problem": null }),
                    Err(problem) => json!({ "driver": null, "problem": problem }),
                },
                "missing": self.advice(),
            },
        })
    }

    fn show(&self, page: &mut Page) {
        page.heading(&format!("elonnx {} on {}", env!("CARGO_PKG_VERSION"), system()));
        page.row("kernels", &Isa::detect().to_string());

        page.blank();
        page.heading("Plugin");
        match &self.plugin {
            Plugin { path: Some(path), problem: None, .. } => {
                page.whole_row("ok", &path.display().to_string());
                match self.plugin.registered_in {
                    Some(version) => page.row("", &format!("loads, and ONNX Runtime {version} registers it")),
                    None => page.row("", &format!("loads, has {ENTRY}")),
                }
            }
            Plugin { path: Some(path), problem: Some(problem), .. } => {
                page.warning_row("fails", &format!("{} {problem}", path.display()));
            }
            Plugin { path: None, .. } => page.warning_row("missing", "see below"),
        }

        page.blank();
        page.heading(&format!(
            "ONNX Runtime libraries ({}.{} or newer is needed)",
            library::OLDEST.major,
            library::OLDEST.minor
        ));
        let used = self.used().map(|candidate| &candidate.path);
        for candidate in &self.libraries {
            let version = candidate.version.map_or_else(String::new, |version| version.to_string());
            let path = candidate.path.display();
            match &candidate.problem {
                None => {
                    let label = if used == Some(&candidate.path) { "used" } else { "usable" };
                    page.row(label, &version);
                    page.whole_row("", &path.to_string());
                }
                Some(problem) => page.warning_row("no", &format!("{path} {problem}")),
            }
            page.whole_row("", &format!("from {}", candidate.origin));
        }
        if self.libraries.is_empty() {
            page.warning_row("missing", "looked at ORT_DYLIB_PATH (not set), Python wheels and the system's folders");
        }

        page.blank();
        page.heading("Python");
        for python in &self.pythons {
            let version = python.version.as_deref().unwrap_or("?");
            page.whole_row(version, &format!("{} (from {})", python.path.display(), python.found_by));
            match &python.problem {
                Some(problem) => page.warning_row("", problem),
                None if python.packages.is_empty() => page.row("", "no onnxruntime, no onnx"),
                None => {
                    let packages: Vec<String> =
                        python.packages.iter().map(|(name, version)| format!("{name} {version}")).collect();
                    page.row("", &packages.join(", "));
                }
            }
        }
        if self.pythons.is_empty() {
            page.row("none", "no python3 on PATH and no active virtual environment");
        }

        page.blank();
        page.heading("CUDA");
        match &self.cuda {
            Ok(driver) => show_devices(driver, page),
            Err(problem) => page.row("no", problem),
        }

        page.blank();
        let advice = self.advice();
        if advice.is_empty() {
            page.paragraph("Nothing is missing.");
            return;
        }
        page.heading("What to do");
        for Advice { missing, advice } in advice {
            page.whole_row(missing, &advice);
        }
    }
}

fn show_devices(driver: &CudaDriver, page: &mut Page) {
    let usable = driver.devices.iter().any(|device| device.problem.is_none());
    page.row(if usable { "ok" } else { "no" }, &format!("driver for CUDA {}", driver.cuda_version));
    for (index, CudaDevice { name, compute_capability, problem }) in driver.devices.iter().enumerate() {
        let label = format!("device {index}");
        let device = format!("{name}, compute capability {compute_capability}");
        match problem {
            None => page.row(&label, &format!("{device}: the kernels load")),
            Some(_) => page.warning_row(&label, &format!("{device}: the kernels do not load, see below")),
        }
    }
}

fn system() -> String {
    format!("{} {}", std::env::consts::OS, std::env::consts::ARCH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::library::python::Wheel;

    fn complete() -> Findings {
        Findings {
            plugin: Plugin {
                path: Some("/opt/lib/libelonnx.so".into()),
                registered_in: Some(Version { major: 1, minor: 32, patch: 0 }),
                problem: None,
            },
            libraries: vec![
                Candidate {
                    path: "/old/capi/libonnxruntime.so".into(),
                    origin: Origin::PythonWheel { python: "/old/bin/python".into() },
                    version: Some(Version { major: 1, minor: 16, patch: 3 }),
                    problem: Some("is 1.16.3; elonnx needs 1.17 or newer".into()),
                },
                Candidate {
                    path: "/venv/capi/libonnxruntime.so.1.32.0".into(),
                    origin: Origin::PythonWheel { python: "/venv/bin/python".into() },
                    version: Some(Version { major: 1, minor: 32, patch: 0 }),
                    problem: None,
                },
            ],
            pythons: vec![Interpreter {
                path: "/venv/bin/python".into(),
                found_by: "VIRTUAL_ENV",
                version: Some("3.11.7".into()),
                packages: [("onnxruntime".to_owned(), "1.32.0".to_owned())].into(),
                onnxruntime: Some(Wheel {
                    distribution: "onnxruntime".into(),
                    version: "1.32.0".into(),
                    capi: "/venv/capi".into(),
                }),
                problem: None,
            }],
            cuda: Err("no NVIDIA driver: libcuda.so.1 is not there, so the ops run on the CPU".into()),
        }
    }

    fn shown(findings: &Findings) -> String {
        let mut page = Page::plain(72);
        findings.show(&mut page);
        page.finish()
    }

    #[test]
    fn a_complete_machine() {
        let text = shown(&complete());
        let expected = "\
Plugin
  ok          /opt/lib/libelonnx.so
              loads, and ONNX Runtime 1.32.0 registers it

ONNX Runtime libraries (1.17 or newer is needed)
  no          /old/capi/libonnxruntime.so is 1.16.3; elonnx needs 1.17
              or newer
              from wheel of /old/bin/python
  used        1.32.0
              /venv/capi/libonnxruntime.so.1.32.0
              from wheel of /venv/bin/python

Python
  3.11.7      /venv/bin/python (from VIRTUAL_ENV)
              onnxruntime 1.32.0

CUDA
  no          no NVIDIA driver: libcuda.so.1 is not there, so the ops
              run on the CPU

Nothing is missing.
";
        assert_eq!(text.split_once("\n\n").unwrap().1, expected);
    }

    #[test]
    fn devices_are_shown_with_whether_the_kernels_load() {
        let device = |name: &str, capability: &str, problem: Option<&str>| CudaDevice {
            name: name.to_owned(),
            compute_capability: capability.to_owned(),
            problem: problem.map(str::to_owned),
        };
        let driver = |devices| Ok(CudaDriver { cuda_version: "12.4".to_owned(), devices });
        let old = device("Tesla T4", "7.5", Some("they need compute capability 8.0"));
        let mut findings = complete();
        findings.cuda = driver(vec![device("NVIDIA H100 PCIe", "9.0", None), old.clone()]);
        let text = shown(&findings);
        let expected = "\
CUDA
  ok          driver for CUDA 12.4
  device 0    NVIDIA H100 PCIe, compute capability 9.0: the kernels load
  device 1    Tesla T4, compute capability 7.5: the kernels do not load,
              see below

What to do
  cuda        device 1 (Tesla T4): they need compute capability 8.0
";
        assert!(text.ends_with(expected), "{text}");
        let cuda = &findings.object()["report"]["cuda"];
        assert_eq!(cuda["driver"]["devices"][0]["problem"], serde_json::Value::Null);
        assert_eq!(cuda["driver"]["devices"][1]["compute_capability"], "7.5");
        findings.cuda = driver(vec![old]);
        assert!(shown(&findings).contains("CUDA\n  no          driver for CUDA 12.4\n"));
    }

    #[test]
    fn what_is_missing_comes_with_what_to_do() {
        let mut findings = complete();
        findings.libraries.truncate(1);
        findings.plugin = Plugin { path: None, registered_in: None, problem: Some("found no libelonnx.so".into()) };
        let missing: Vec<&str> = findings.advice().iter().map(|advice| advice.missing).collect();
        assert_eq!(missing, ["plugin", "onnxruntime"]);
        assert!(findings.advice()[1].advice.contains("works in the Python above"));
        findings.pythons.clear();
        assert!(findings.advice()[1].advice.starts_with("`pip install onnxruntime`"));
        let text = shown(&findings);
        assert!(text.contains("What to do\n  plugin      found no libelonnx.so\n"), "{text}");
    }

    #[test]
    fn a_wrong_variable_is_not_passed_over() {
        let mut findings = complete();
        findings.libraries[0].origin = Origin::Environment;
        assert!(findings.used().is_none());
        let advice = &findings.advice()[0];
        assert_eq!(advice.missing, "onnxruntime");
        assert!(advice.advice.starts_with("ORT_DYLIB_PATH names /old/capi/libonnxruntime.so"), "{}", advice.advice);
        assert_eq!(findings.object()["report"]["onnxruntime"]["used"], serde_json::Value::Null);
    }

    #[test]
    fn json_names_the_one_used() {
        let object = complete().object();
        assert_eq!(object["report"]["onnxruntime"]["used"], "/venv/capi/libonnxruntime.so.1.32.0");
        assert_eq!(object["report"]["onnxruntime"]["candidates"][1]["version"], "1.32.0");
        assert_eq!(object["report"]["missing"], json!([]));
    }
}
