//! Where ONNX Runtime's shared library is, and which version it has.
//!
//! Places, in this order: a path given by the user, `ORT_DYLIB_PATH`, the `capi` folder of a Python wheel (the active
//! virtual environment first, then the Python on `PATH`), the system. Each place becomes a [`Candidate`], also where it
//! holds nothing that can be used: `elonnx doctor` shows them all, [`find`] takes the first that will do.
//!
//! A candidate is loaded only to ask for its version (`OrtGetApiBase()->GetVersionString()`); no environment and no
//! session is made ([`registration`] goes one step further). Libraries stay loaded: ONNX Runtime registers exit
//! handlers, so unloading it is not safe.

pub mod driver;
pub mod python;
pub mod registration;

use std::ffi::{CStr, OsStr};
use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use libloading::Library;
use serde::{Serialize, Serializer};

/// The oldest ONNX Runtime the ops run on; the C API of this version is what the plugin asks for.
pub const OLDEST: Version = Version { major: 1, minor: 17, patch: 0 };

/// The environment variable that names the library, as the `ort` crate reads it.
pub const ENVIRONMENT_VARIABLE: &str = "ORT_DYLIB_PATH";

/// A version of ONNX Runtime. Serialized as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// 1 in "1.17.3".
    pub major: u32,
    /// 17 in "1.17.3".
    pub minor: u32,
    /// 3 in "1.17.3".
    pub patch: u32,
}

impl Version {
    /// Reads "1.17.3", also with something behind it ("1.24.0-dev", "1.19.2+cu118"). `None` where it doesn't start
    /// with two numbers.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
        Some(Version {
            major: parts.next()?.ok()?,
            minor: parts.next()?.ok()?,
            patch: parts.next().and_then(Result::ok).unwrap_or(0),
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl Serialize for Version {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Why a place was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Origin {
    /// The user gave the path (`--onnxruntime`).
    Argument,
    /// [`ENVIRONMENT_VARIABLE`].
    Environment,
    /// The wheel that this Python imports.
    PythonWheel {
        /// The interpreter.
        python: PathBuf,
    },
    /// A folder of the dynamic loader.
    System,
}

impl Origin {
    /// Whether the user named this very place.
    #[must_use]
    pub fn named(&self) -> bool {
        matches!(self, Origin::Argument | Origin::Environment)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Argument => f.write_str("--onnxruntime"),
            Origin::Environment => f.write_str(ENVIRONMENT_VARIABLE),
            Origin::PythonWheel { python } => write!(f, "wheel of {}", python.display()),
            Origin::System => f.write_str("system"),
        }
    }
}

/// One place that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Candidate {
    /// The library; where there is none, the place in which it was sought.
    pub path: PathBuf,
    /// Why this place.
    pub origin: Origin,
    /// Its version, as far as it could be asked.
    pub version: Option<Version>,
    /// Why it cannot be used, a clause; `None`: it can.
    pub problem: Option<String>,
}

impl Candidate {
    /// Loads `path` and asks for its version.
    #[must_use]
    pub fn probe(path: PathBuf, origin: Origin) -> Self {
        let (version, problem) = match version_of(&path) {
            Ok(version) if version < OLDEST => {
                (Some(version), Some(format!("is {version}; elonnx needs {}.{} or newer", OLDEST.major, OLDEST.minor)))
            }
            Ok(version) => (Some(version), None),
            Err(problem) => (None, Some(problem)),
        };
        Candidate { path, origin, version, problem }
    }

    fn absent(path: PathBuf, origin: Origin, problem: impl Into<String>) -> Self {
        Candidate { path, origin, version: None, problem: Some(problem.into()) }
    }

    /// Whether elonnx can use it.
    #[must_use]
    pub fn usable(&self) -> bool {
        self.problem.is_none()
    }
}

/// No library that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LibraryError {
    /// The one that the user named doesn't do. Another one is not taken in its stead.
    #[error("{} (from {origin}) {problem}", path.display())]
    Named {
        /// The path given.
        path: PathBuf,
        /// Who named it.
        origin: Origin,
        /// Why not, a clause.
        problem: String,
    },
    /// None was found anywhere.
    #[error(
        "found no ONNX Runtime library ({library}) of version {}.{} or newer; install one with \
         `pip install onnxruntime`, or give its path with --onnxruntime or in {ENVIRONMENT_VARIABLE}",
        OLDEST.major, OLDEST.minor, library = file_name()
    )]
    NotFound {
        /// What was looked at.
        looked_at: Vec<Candidate>,
    },
}

/// The first library that can be used. A library that the user named (`argument`, or [`ENVIRONMENT_VARIABLE`]) is taken
/// or refused; nothing else is tried then, and no Python is started.
///
/// # Errors
/// See [`LibraryError`].
pub fn find(argument: Option<&Path>) -> Result<Candidate, LibraryError> {
    let wheels = std::iter::once_with(python::interpreters).flatten();
    // asking a Python costs a tenth of a second, so the places are looked at one by one
    let mut looked_at = Vec::new();
    for candidate in search(argument, wheels) {
        let last = candidate.usable() || candidate.origin.named();
        looked_at.push(candidate);
        if last {
            break;
        }
    }
    choose(&looked_at).cloned()
}

/// The rule of [`find`] on places that were looked at already.
///
/// # Errors
/// See [`LibraryError`].
pub fn choose(candidates: &[Candidate]) -> Result<&Candidate, LibraryError> {
    for candidate in candidates {
        let Some(problem) = &candidate.problem else { return Ok(candidate) };
        if candidate.origin.named() {
            let Candidate { path, origin, .. } = candidate.clone();
            return Err(LibraryError::Named { path, origin, problem: problem.clone() });
        }
    }
    Err(LibraryError::NotFound { looked_at: candidates.to_vec() })
}

/// Every place, looked at; `interpreters` are the Pythons whose wheels count.
#[must_use]
pub fn candidates(argument: Option<&Path>, interpreters: &[python::Interpreter]) -> Vec<Candidate> {
    search(argument, interpreters.iter().cloned()).collect()
}

/// The places, lazily.
fn search(
    argument: Option<&Path>,
    interpreters: impl Iterator<Item = python::Interpreter>,
) -> impl Iterator<Item = Candidate> {
    let named = argument.map(|path| (path.to_owned(), Origin::Argument));
    let environment = std::env::var_os(ENVIRONMENT_VARIABLE)
        .filter(|value| !value.is_empty())
        .map(|value| (PathBuf::from(value), Origin::Environment));
    let named = named.into_iter().chain(environment).map(|(path, origin)| from_named(path, origin));
    let wheels = interpreters.filter_map(|interpreter| from_wheel(&interpreter));
    let system = std::iter::once_with(system_paths).flatten().map(|path| Candidate::probe(path, Origin::System));
    named.chain(wheels).chain(system)
}

/// The path may be the library or a folder that holds it.
fn from_named(path: PathBuf, origin: Origin) -> Candidate {
    if path.is_dir() {
        return match library_in(&path) {
            Some(library) => Candidate::probe(library, origin),
            None => Candidate::absent(path, origin, format!("is a folder without {}", file_name())),
        };
    }
    Candidate::probe(path, origin)
}

fn from_wheel(interpreter: &python::Interpreter) -> Option<Candidate> {
    let wheel = interpreter.onnxruntime.as_ref()?;
    let origin = Origin::PythonWheel { python: interpreter.path.clone() };
    Some(match library_in(&wheel.capi) {
        Some(library) => Candidate::probe(library, origin),
        None => Candidate::absent(
            wheel.capi.clone(),
            origin,
            format!(
                "{} {} has no {}: wheels before 1.20 cannot be used from outside Python",
                wheel.distribution,
                wheel.version,
                file_name()
            ),
        ),
    })
}

/// The library in a folder: `libonnxruntime.so`, or with a version behind it.
#[must_use]
pub fn library_in(folder: &Path) -> Option<PathBuf> {
    let plain = folder.join(file_name());
    if plain.is_file() {
        return Some(plain);
    }
    let mut versioned: Vec<PathBuf> = std::fs::read_dir(folder)
        .ok()?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| path.file_name().is_some_and(is_library_name))
        .collect();
    // the longest name is the most precise version, and the target of the shorter links
    versioned.sort_by_key(|path| std::cmp::Reverse(path.as_os_str().len()));
    versioned.into_iter().next()
}

fn file_name() -> &'static str {
    if cfg!(target_os = "windows") {
        "onnxruntime.dll"
    } else if cfg!(target_os = "macos") {
        "libonnxruntime.dylib"
    } else {
        "libonnxruntime.so"
    }
}

/// `libonnxruntime.so.1.32.0` and `libonnxruntime.1.32.0.dylib`, but not `libonnxruntime_providers_shared.so`.
fn is_library_name(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else {
        return false;
    };
    if cfg!(target_os = "windows") {
        name.eq_ignore_ascii_case(file_name())
    } else if cfg!(target_os = "macos") {
        name.starts_with("libonnxruntime.") && name.ends_with(".dylib")
    } else {
        name == file_name() || name.starts_with("libonnxruntime.so.")
    }
}

/// Libraries where the dynamic loader would look, each file once.
fn system_paths() -> Vec<PathBuf> {
    let variable = if cfg!(target_os = "windows") {
        "PATH"
    } else if cfg!(target_os = "macos") {
        "DYLD_LIBRARY_PATH"
    } else {
        "LD_LIBRARY_PATH"
    };
    let mut folders: Vec<PathBuf> =
        std::env::var_os(variable).map(|value| std::env::split_paths(&value).collect()).unwrap_or_default();
    let mut libraries = Vec::new();
    if cfg!(target_os = "linux") {
        libraries = loader_cache();
    }
    if cfg!(unix) {
        folders.extend(
            ["/usr/local/lib", "/usr/lib", "/usr/lib64", "/opt/onnxruntime/lib", "/opt/homebrew/lib"]
                .map(PathBuf::from),
        );
    }
    libraries.splice(
        0..0,
        folders
            .iter()
            // an empty or relative entry would mean the working directory
            .filter(|folder| folder.is_absolute())
            .filter_map(|folder| library_in(folder)),
    );
    let mut seen = Vec::new();
    libraries.retain(|path| {
        let file = path.canonicalize().unwrap_or_else(|_| path.clone());
        let new = !seen.contains(&file);
        seen.push(file);
        new
    });
    libraries
}

/// What `ldconfig -p` knows; nothing where there is no ldconfig.
fn loader_cache() -> Vec<PathBuf> {
    let listing = ["/sbin/ldconfig", "/usr/sbin/ldconfig"]
        .iter()
        .find_map(|program| std::process::Command::new(program).arg("-p").output().ok());
    let Some(listing) = listing else {
        return Vec::new();
    };
    String::from_utf8_lossy(&listing.stdout)
        .lines()
        .filter_map(|line| {
            let (name, path) = line.split_once(" => ")?;
            let name = name.split_whitespace().next()?;
            is_library_name(OsStr::new(name)).then(|| PathBuf::from(path.trim()))
        })
        .collect()
}

/// Loads the library and asks. The error is a clause that fits behind the path.
fn version_of(path: &Path) -> Result<Version, String> {
    let library = load(path)?;
    let text = {
        // SAFETY: this is the entry point of ONNX Runtime's C API (onnxruntime_c_api.h) and has had this signature in
        // every version.
        let entry =
            unsafe { library.get::<unsafe extern "system" fn() -> *const ort_sys::OrtApiBase>(b"OrtGetApiBase\0") };
        let Ok(entry) = entry else {
            return Err("is not ONNX Runtime: it has no OrtGetApiBase".to_owned());
        };
        // SAFETY: takes no arguments; gives a pointer to a static table, or null.
        let base = unsafe { entry() };
        if base.is_null() {
            return Err("gives no API table".to_owned());
        }
        // SAFETY: not null, and the table is static.
        let get_version = unsafe { (*base).GetVersionString };
        // SAFETY: takes no arguments; gives a static, NUL-terminated string, or null.
        let version = unsafe { get_version() };
        if version.is_null() {
            return Err("gives no version".to_owned());
        }
        // SAFETY: not null, NUL-terminated, static.
        unsafe { CStr::from_ptr(version) }.to_string_lossy().into_owned()
    };
    std::mem::forget(library);
    Version::parse(&text).ok_or_else(|| format!("gives '{text}' as its version, which is not one"))
}

/// Opens a shared library. The error is a clause that fits behind the path.
fn load(path: &Path) -> Result<Library, String> {
    check_header(path)?;
    // SAFETY: loading runs the library's initialisers. The path was named by the user or lies where the dynamic loader
    // or Python would load it from, and its header is that of a shared library.
    unsafe { Library::new(path) }.map_err(|error| format!("does not load: {}", innermost(&error)))
}

/// Whether a library exports `symbol`; for the plugin, `RegisterCustomOps`.
///
/// # Errors
/// A clause that fits behind the path.
pub fn exports(path: &Path, symbol: &str) -> Result<(), String> {
    let library = load(path)?;
    let name = format!("{symbol}\0");
    // SAFETY: the address is looked up, never called.
    let found = unsafe { library.get::<*const ()>(name.as_bytes()) }.is_ok();
    std::mem::forget(library);
    if found { Ok(()) } else { Err(format!("loads, but has no {symbol}")) }
}

/// Turns what the loader would say about a missing file, a text or a Git LFS pointer into a plain clause.
fn check_header(path: &Path) -> Result<(), String> {
    let mut header = [0_u8; 4];
    let read = std::fs::File::open(path).and_then(|file| file.take(4).read(&mut header));
    match read {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err("does not exist".to_owned()),
        Err(error) => Err(format!("cannot be read: {error}")),
        Ok(_) if path.is_dir() => Err("is a folder".to_owned()),
        Ok(_) => {
            let known = match header {
                [0x7f, b'E', b'L', b'F'] => cfg!(not(any(target_os = "windows", target_os = "macos"))),
                [b'M', b'Z', ..] => cfg!(target_os = "windows"),
                [0xcf, 0xfa, 0xed, 0xfe] | [0xca, 0xfe, 0xba, 0xbe] => cfg!(target_os = "macos"),
                _ => false,
            };
            if known { Ok(()) } else { Err("is not a shared library of this system".to_owned()) }
        }
    }
}

/// The reason under libloading's wrapping, without the path that the caller prints anyway.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    let text = error.to_string();
    text.rsplit_once(".so: ").map_or(text.clone(), |(_, reason)| reason.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_with_anything_behind_them() {
        let version = |major, minor, patch| Some(Version { major, minor, patch });
        assert_eq!(Version::parse("1.17.3"), version(1, 17, 3));
        assert_eq!(Version::parse("1.24.0-dev-20260101"), version(1, 24, 0));
        assert_eq!(Version::parse("1.19.2+cu118"), version(1, 19, 2));
        assert_eq!(Version::parse("1.20"), version(1, 20, 0));
        assert_eq!(Version::parse("dev"), None);
        assert_eq!(Version::parse(""), None);
        assert!(Version::parse("1.9.1") < Some(OLDEST));
        assert!(Version::parse("1.17.0") >= Some(OLDEST));
    }

    #[test]
    fn names_of_the_library_and_of_its_neighbours() {
        if cfg!(all(unix, not(target_os = "macos"))) {
            assert!(is_library_name(OsStr::new("libonnxruntime.so")));
            assert!(is_library_name(OsStr::new("libonnxruntime.so.1.32.0")));
            assert!(!is_library_name(OsStr::new("libonnxruntime_providers_shared.so")));
        }
    }

    #[test]
    fn the_most_precise_name_in_a_folder_is_taken() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(library_in(folder.path()), None);
        if cfg!(target_os = "linux") {
            for name in ["libonnxruntime.so.1", "libonnxruntime.so.1.20.1", "libonnxruntime_providers_shared.so"] {
                std::fs::write(folder.path().join(name), "").unwrap();
            }
            assert_eq!(library_in(folder.path()), Some(folder.path().join("libonnxruntime.so.1.20.1")));
        }
    }

    #[test]
    fn what_a_user_names_is_refused_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let problem = |path: &Path| match find(Some(path)) {
            Err(LibraryError::Named { origin, problem, .. }) => {
                assert_eq!(origin, Origin::Argument);
                problem
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(problem(&folder.path().join("none.so")), "does not exist");
        assert!(problem(folder.path()).starts_with("is a folder without"));
        let text = folder.path().join("text.so");
        std::fs::write(&text, "version https://git-lfs.github.com/spec/v1\n").unwrap();
        assert_eq!(problem(&text), "is not a shared library of this system");
        if cfg!(target_os = "linux") {
            let stub = folder.path().join("stub.so");
            std::fs::write(&stub, b"\x7fELF then nothing").unwrap();
            assert!(problem(&stub).starts_with("does not load: "), "{}", problem(&stub));
        }
    }

    #[test]
    fn a_library_that_is_no_onnx_runtime_is_told_apart() {
        for path in ["/lib/x86_64-linux-gnu/libm.so.6", "/usr/lib64/libm.so.6", "/lib/aarch64-linux-gnu/libm.so.6"] {
            let path = Path::new(path);
            if path.exists() {
                let candidate = Candidate::probe(path.to_owned(), Origin::System);
                assert_eq!(candidate.problem.as_deref(), Some("is not ONNX Runtime: it has no OrtGetApiBase"));
                assert_eq!(exports(path, "cosf"), Ok(()));
                assert!(exports(path, "RegisterCustomOps").is_err());
            }
        }
    }
}
