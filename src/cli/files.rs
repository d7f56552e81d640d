//! Model files as the user names them: what is read, what is written where, and what is refused beforehand.

use std::fmt;
use std::io::{IsTerminal as _, Read, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::exit::{WrongInput, wrong_input};
use crate::model::{Document, ExternalData};

/// Where a model comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// A file.
    File(PathBuf),
    /// `-`.
    Stdin,
}

impl Input {
    /// `-` is standard input.
    pub fn new(path: &Path) -> Self {
        if path.as_os_str() == "-" { Input::Stdin } else { Input::File(path.to_owned()) }
    }

    /// Reads the model. What is plainly not one is refused with the reason.
    pub fn read(&self) -> anyhow::Result<Document> {
        let path = match self {
            Input::Stdin => {
                if std::io::stdin().is_terminal() {
                    wrong_input!("standard input is the terminal; pipe a model in, or name a file");
                }
                refuse_device(stdin_metadata().as_ref(), "standard input")?;
                return self.parse(read_stream(std::io::stdin().lock(), LONGEST, "standard input")?);
            }
            Input::File(path) => path,
        };
        check_is_file(path)?;
        if !path.is_file() {
            // a pipe: <(zcat model.onnx.gz)
            let name = path.display().to_string();
            refuse_device(std::fs::metadata(path).ok().as_ref(), &name)?;
            let stream = std::fs::File::open(path).with_context(|| format!("read {name}"))?;
            return self.parse(read_stream(stream, LONGEST, &name)?);
        }
        Ok(Document::open(path)?)
    }

    /// What was read whole has no name of its own in the errors.
    fn parse(&self, bytes: Vec<u8>) -> anyhow::Result<Document> {
        Document::from_bytes(bytes)
            .map_err(|error| WrongInput(error.to_string().replace("<memory>", &self.to_string())).into())
    }

    /// Size of the file, where it is one.
    pub fn size(&self) -> Option<u64> {
        match self {
            Input::File(path) => std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file).map(|m| m.len()),
            Input::Stdin => None,
        }
    }
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Input::File(path) => path.display().fmt(f),
            Input::Stdin => f.write_str("standard input"),
        }
    }
}

/// No model is longer: protobuf ends there.
const LONGEST: u64 = i32::MAX as u64;

/// All of a pipe, as long as it can be a model.
fn read_stream(stream: impl Read, longest: u64, name: &str) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    stream.take(longest + 1).read_to_end(&mut bytes).with_context(|| format!("read {name}"))?;
    if bytes.len() as u64 > longest {
        wrong_input!("{name} goes on after {longest} bytes, where every ONNX model has ended; give a model's file");
    }
    Ok(bytes)
}

/// A device has no end: /dev/zero would fill the memory.
fn refuse_device(metadata: Option<&std::fs::Metadata>, name: &str) -> anyhow::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt as _;
        if metadata.is_some_and(|m| m.file_type().is_char_device() || m.file_type().is_block_device()) {
            wrong_input!("{name} is a device; a model is read from a file or a pipe");
        }
    }
    #[cfg(not(unix))]
    let _ = (metadata, name);
    Ok(())
}

#[cfg(unix)]
fn stdin_metadata() -> Option<std::fs::Metadata> {
    use std::os::fd::AsFd as _;
    let owned = std::io::stdin().as_fd().try_clone_to_owned().ok()?;
    std::fs::File::from(owned).metadata().ok()
}

#[cfg(not(unix))]
fn stdin_metadata() -> Option<std::fs::Metadata> {
    None
}

/// Where a model goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// A file, replaced atomically.
    File(PathBuf),
    /// A device or named pipe, written to as it is.
    Stream(PathBuf),
    /// `-`.
    Stdout,
}

impl Output {
    /// Writes the model; `external` says what happens to its data files.
    pub fn write(&self, document: &Document, external: ExternalData) -> anyhow::Result<()> {
        match self {
            Output::File(path) => document.save(path, external)?,
            Output::Stream(path) => {
                let file = std::fs::OpenOptions::new().write(true).open(path);
                file.and_then(|mut file| document.write_to(&mut file)).map_err(|error| self.cut_short(error))?;
            }
            Output::Stdout => {
                let mut stdout = std::io::stdout().lock();
                document.write_to(&mut stdout).and_then(|()| stdout.flush()).map_err(|error| self.cut_short(error))?;
            }
        }
        Ok(())
    }

    /// What [`Self::write`] would refuse, as far as it can be told without writing.
    pub fn check(&self, document: &Document) -> anyhow::Result<()> {
        match self {
            Output::File(path) => Ok(document.check_save(path)?),
            Output::Stream(_) | Output::Stdout => Ok(()),
        }
    }

    /// A table may be left half read, half a model is none.
    fn cut_short(&self, error: std::io::Error) -> anyhow::Error {
        if error.kind() == std::io::ErrorKind::BrokenPipe {
            return anyhow::anyhow!("{self} was closed before the model was whole; what its reader has is no model");
        }
        anyhow::Error::from(error).context(format!("write {self}"))
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Output::File(path) | Output::Stream(path) => path.display().fmt(f),
            Output::Stdout => f.write_str("standard output"),
        }
    }
}

/// What the user said about the output.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// `-o`.
    pub output: Option<&'a Path>,
    /// `--in-place`.
    pub in_place: bool,
    /// `--force`.
    pub force: bool,
    /// `--dry-run`: nothing is written, so nothing can be in the way.
    pub dry_run: bool,
    /// Goes before the extension of a name that is made up: "el" for model.el.onnx.
    pub infix: &'a str,
}

/// Decides where the output of `input` goes, before any work is done.
pub fn resolve_output(input: &Input, wish: Wish<'_>) -> anyhow::Result<Output> {
    if wish.in_place {
        return match input {
            Input::File(path) => Ok(Output::File(path.clone())),
            Input::Stdin => wrong_input!("--in-place needs a file, not standard input"),
        };
    }
    let path = match (wish.output, input) {
        (Some(output), _) if output.as_os_str() == "-" => return to_stdout(wish.dry_run),
        (None, Input::Stdin) => return to_stdout(wish.dry_run),
        (Some(output), Input::File(input)) if output.is_dir() => match input.file_name() {
            Some(name) => output.join(name),
            None => wrong_input!("{} has no file name to use in {}", input.display(), output.display()),
        },
        (Some(output), Input::Stdin) if output.is_dir() => {
            wrong_input!("{} is a folder; name the file to write", output.display())
        }
        (Some(output), _) => output.to_owned(),
        (None, Input::File(input)) => beside(input, wish.infix),
    };
    if let Input::File(input) = input
        && same_file(input, &path)
    {
        wrong_input!("{} is the input itself; to replace it, say --in-place instead of -o", path.display());
    }
    if path.file_name().is_none() || path.as_os_str().to_string_lossy().ends_with(std::path::is_separator) {
        wrong_input!("there is no folder {}; make it first, or name a file", path.display());
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder
        && !folder.is_dir()
    {
        wrong_input!("there is no folder {} to write {} into; make it first", folder.display(), path.display());
    }
    match std::fs::metadata(&path) {
        Ok(metadata) if !metadata.is_file() => Ok(Output::Stream(path)),
        Ok(_) if !wish.force && !wish.dry_run => {
            wrong_input!("{} exists; --force replaces it, -o names another", path.display())
        }
        _ => Ok(Output::File(path)),
    }
}

fn to_stdout(dry_run: bool) -> anyhow::Result<Output> {
    if std::io::stdout().is_terminal() && !dry_run {
        wrong_input!("standard output is the terminal; a model is no text: redirect it, or name a file with -o");
    }
    Ok(Output::Stdout)
}

/// `model.onnx` becomes `model.el.onnx`.
fn beside(input: &Path, infix: &str) -> PathBuf {
    let stem = input.file_stem().unwrap_or_default();
    let mut name = stem.to_os_string();
    name.push(".");
    name.push(infix);
    name.push(".");
    name.push(input.extension().unwrap_or("onnx".as_ref()));
    input.with_file_name(name)
}

/// Whether both name one existing file.
pub fn same_file(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}

/// Refuses what is not there and what is a folder, and says what is there instead.
pub fn check_is_file(path: &Path) -> anyhow::Result<()> {
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => match models_in(path).as_slice() {
            [] => wrong_input!("{} is a folder; name a model file", path.display()),
            models => {
                wrong_input!("{} is a folder; name a model in it: {}", path.display(), models.join(", "))
            }
        },
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            let folder = folder.unwrap_or(Path::new("."));
            if !folder.is_dir() {
                wrong_input!("there is no {}: no folder {}", path.display(), folder.display());
            }
            match models_in(folder).as_slice() {
                [] => wrong_input!("there is no {}", path.display()),
                models => wrong_input!("there is no {}; its folder has {}", path.display(), models.join(", ")),
            }
        }
        Err(error) => wrong_input!("read {}: {error}", path.display()),
    }
}

/// Names of up to six models in a folder, sorted.
pub fn models_in(folder: &Path) -> Vec<String> {
    const SHOWN: usize = 6;
    let mut models: Vec<String> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("onnx")))
        .filter_map(|path| path.file_name().map(|name| name.to_string_lossy().into_owned()))
        .collect();
    models.sort();
    if models.len() > SHOWN {
        let more = models.len() - SHOWN;
        models.truncate(SHOWN);
        models.push(format!("and {more} more"));
    }
    models
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish<'a>() -> Wish<'a> {
        Wish { output: None, in_place: false, force: false, dry_run: false, infix: "el" }
    }

    fn refusal(input: &Input, wish: Wish<'_>) -> String {
        resolve_output(input, wish).unwrap_err().to_string()
    }

    #[test]
    fn a_name_is_made_beside_the_input() {
        assert_eq!(beside(Path::new("a/model.onnx"), "el"), Path::new("a/model.el.onnx"));
        assert_eq!(beside(Path::new("model.ONNX"), "el"), Path::new("model.el.ONNX"));
        assert_eq!(beside(Path::new("model"), "ce"), Path::new("model.ce.onnx"));
        assert_eq!(beside(Path::new("v1.2.onnx"), "el"), Path::new("v1.2.el.onnx"));
    }

    #[test]
    fn nothing_is_replaced_unasked() {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("model.onnx");
        let other = folder.path().join("other.onnx");
        std::fs::write(&model, b"\x08\x08").unwrap();
        std::fs::write(&other, b"\x08\x08").unwrap();
        let input = Input::File(model.clone());

        let default = Output::File(folder.path().join("model.el.onnx"));
        assert_eq!(resolve_output(&input, wish()).unwrap(), default);
        let to = |path| Wish { output: Some(path), ..wish() };
        assert!(refusal(&input, to(&model)).contains("--in-place"));
        assert!(refusal(&input, Wish { force: true, ..to(&model) }).contains("--in-place"));
        assert!(refusal(&input, to(folder.path())).contains("is the input itself"));
        assert!(refusal(&input, to(&other)).contains("--force"));
        let forced = resolve_output(&input, Wish { force: true, ..to(&other) }).unwrap();
        assert_eq!(forced, Output::File(other.clone()));
        assert!(resolve_output(&input, Wish { dry_run: true, ..to(&other) }).is_ok());
        let in_place = resolve_output(&input, Wish { in_place: true, ..wish() }).unwrap();
        assert_eq!(in_place, Output::File(model.clone()));
    }

    #[test]
    fn folders_that_are_not_there_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let input = Input::Stdin;
        let missing = folder.path().join("none/model.onnx");
        assert!(refusal(&input, Wish { output: Some(&missing), ..wish() }).contains("there is no folder"));
        let slash = PathBuf::from(format!("{}/none/", folder.path().display()));
        assert!(refusal(&input, Wish { output: Some(&slash), ..wish() }).contains("there is no folder"));
        assert!(refusal(&input, Wish { output: Some(folder.path()), ..wish() }).contains("is a folder"));
        assert!(refusal(&input, Wish { in_place: true, ..wish() }).contains("standard input"));
    }

    #[test]
    fn a_stream_without_end_is_refused() {
        assert_eq!(read_stream(&b"model"[..], 5, "pipe").unwrap(), b"model");
        let text = read_stream(std::io::repeat(0), 5, "pipe").unwrap_err().to_string();
        assert!(text.starts_with("pipe goes on after 5 bytes"), "{text}");
    }

    #[cfg(unix)]
    #[test]
    fn a_device_is_written_to_and_not_replaced() {
        let output = resolve_output(&Input::Stdin, Wish { output: Some(Path::new("/dev/null")), ..wish() }).unwrap();
        assert_eq!(output, Output::Stream("/dev/null".into()));
    }

    #[test]
    fn a_missing_file_names_its_neighbours() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("model.onnx"), b"x").unwrap();
        let text = check_is_file(&folder.path().join("modle.onnx")).unwrap_err().to_string();
        assert!(text.ends_with("its folder has model.onnx"), "{text}");
        let text = check_is_file(folder.path()).unwrap_err().to_string();
        assert!(text.contains("is a folder; name a model in it: model.onnx"), "{text}");
        for index in 0..9 {
            std::fs::write(folder.path().join(format!("m{index}.onnx")), b"x").unwrap();
        }
        assert_eq!(models_in(folder.path()).last().unwrap(), "and 4 more");
    }
}
