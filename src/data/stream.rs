//! Files as streams of bytes, unpacked where they are compressed.

use std::fs::File;
use std::io::{BufReader, Cursor, IsTerminal as _, Read};
use std::path::Path;

use flate2::read::MultiGzDecoder;

use super::DataError;
use super::array::Stream;

/// Bytes looked at to tell what a file is.
const START: usize = 32;

/// A file, its beginning known.
pub(super) struct Opened {
    /// Name in sentences.
    pub(super) name: String,
    /// Its first bytes, unpacked.
    pub(super) start: Vec<u8>,
    /// All of its bytes, unpacked.
    pub(super) stream: Stream,
    /// Whether the file itself is compressed.
    pub(super) unpacked: bool,
}

/// Name of a path in sentences.
pub(super) fn name(path: &Path) -> String {
    if is_stdin(path) { "standard input".to_owned() } else { path.display().to_string() }
}

/// Whether a path means standard input.
pub(super) fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Opens a file or standard input (`-`).
pub(super) fn open(path: &Path) -> Result<Opened, DataError> {
    let name = name(path);
    let raw: Stream = if is_stdin(path) {
        let stdin = std::io::stdin();
        if stdin.is_terminal() {
            let problem = "is the terminal; pipe samples in, or name files".to_owned();
            return Err(DataError::Unsupported { path: name, problem });
        }
        Box::new(stdin)
    } else if path.is_dir() {
        return Err(DataError::Unsupported { path: name, problem: "is a folder; name a file".to_owned() });
    } else {
        Box::new(File::open(path).map_err(|source| opening(path, source))?)
    };
    let failed = |error| DataError::reading(&name, error);
    let (start, stream) = peek(Box::new(BufReader::with_capacity(1 << 16, raw))).map_err(failed)?;
    let unpacked = start.starts_with(b"\x1f\x8b");
    let (start, stream) =
        if unpacked { peek(Box::new(MultiGzDecoder::new(stream))).map_err(failed)? } else { (start, stream) };
    if start.is_empty() {
        return Err(DataError::Empty { path: name, advice: "it has no bytes at all" });
    }
    Ok(Opened { name, start, stream, unpacked })
}

fn peek(mut stream: Stream) -> std::io::Result<(Vec<u8>, Stream)> {
    let mut start = Vec::new();
    stream.by_ref().take(START as u64).read_to_end(&mut start)?;
    let whole = Cursor::new(start.clone()).chain(stream);
    Ok((start, Box::new(whole)))
}

/// A file that is not there is told with what is.
pub(super) fn opening(path: &Path, source: std::io::Error) -> DataError {
    if source.kind() != std::io::ErrorKind::NotFound {
        return DataError::Io { action: "open", path: path.display().to_string(), source };
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let hint = if folder.is_dir() { neighbours(folder, path) } else { format!(": no folder {}", folder.display()) };
    DataError::NotFound { path: path.to_owned(), hint }
}

/// "; its folder has a.npy, b.npy and 3 more", those that begin like the one that is missing first.
fn neighbours(folder: &Path, missing: &Path) -> String {
    const SHOWN: usize = 6;
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    let mut names: Vec<String> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with('.'))
        .take(1000)
        .collect();
    let missing = missing.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let alike = |name: &str| name.chars().zip(missing.chars()).take_while(|(a, b)| a == b).count();
    names.sort_by(|a, b| alike(b).cmp(&alike(a)).then_with(|| a.cmp(b)));
    match names.len() {
        0 => String::new(),
        1..=SHOWN => format!("; its folder has {}", names.join(", ")),
        all => format!("; its folder has {} and {} more", names[..SHOWN].join(", "), all - SHOWN),
    }
}
