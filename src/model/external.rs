//! External data: where it is, and keeping its locations valid.
//!
//! A model's tensors may lie in files beside it; `location` is relative to the model's folder. Editing a model never
//! reads them, and writing it to the folder it came from leaves them where they are. When the model is written to
//! another folder, each data file is copied there under the same relative location (holes stay holes, and on file
//! systems that share blocks between copies no data is moved), or hard-linked where the caller asks for it. Locations
//! inside the model are never rewritten, so old and new model stay byte-comparable and either can be moved with its
//! data.
//!
//! Links are not the default: onnx 1.23 in Python refuses to load a data file with more than one hard link, under
//! either name, and a tool that overwrites the weights of one model in place would change both.

use std::collections::HashSet;
use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

use super::build::metadata_entry;
use super::copy::copy_into;
use super::error::ModelError;
use super::graph::{EXTERNAL_DATA, Graph, TensorHeader};
use super::schema::{self, Holds, Kind};
use super::wire::{self, Scanner};
use super::write::without_path;
use bytes::Bytes;

/// What happens to external data when a model is written to another folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExternalData {
    /// Copy.
    #[default]
    Copy,
    /// Hard link where the file system can, else copy. Nothing is read and no space is taken; see the module on who
    /// refuses linked files.
    Link,
}

/// One tensor's `external_data`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExternalReference {
    /// Tensor name.
    pub tensor: String,
    /// `location`, relative to the model's folder.
    pub location: PathBuf,
    /// `offset` in bytes.
    pub offset: u64,
    /// `length` in bytes, where given.
    pub length: Option<u64>,
}

impl ExternalReference {
    /// From the encoded entries of a checked tensor's `external_data`.
    pub(super) fn read(tensor: &str, entries: &[&[u8]]) -> Result<Self, ModelError> {
        let fail = |reason: String| ModelError::ExternalData { tensor: tensor.to_owned(), reason };
        let number = |key: &str, text: &str| {
            text.trim()
                .parse::<u64>()
                .map_err(|_| fail(format!("the {key} of its external data is '{text}', not a number of bytes")))
        };
        let (mut location, mut offset, mut length) = (None, 0, None);
        for entry in entries {
            let (mut key, mut value) = ("", "");
            for found in Scanner::new(entry).map_while(Result::ok) {
                match found.number {
                    1 => key = found.value.text().unwrap_or_default(),
                    2 => value = found.value.text().unwrap_or_default(),
                    _ => {}
                }
            }
            match key {
                "location" => location = Some(value),
                "offset" => offset = number(key, value)?,
                "length" => length = Some(number(key, value)?),
                _ => {}
            }
        }
        let location = location
            .filter(|location| !location.is_empty())
            .ok_or_else(|| fail("its data is external but no location is given".to_owned()))?;
        if let Some(reason) = leads_out(location) {
            return Err(ModelError::ExternalEscape {
                tensor: tensor.to_owned(),
                location: location.to_owned(),
                reason,
            });
        }
        Ok(Self { tensor: tensor.to_owned(), location: location.into(), offset, length })
    }

    /// As fields of a tensor.
    pub(super) fn entries(&self) -> Vec<u8> {
        let entry = |key: &str, value: &str| wire::message_field(EXTERNAL_DATA, &metadata_entry(key, value));
        let mut entries = entry("location", &self.location.to_string_lossy()).to_vec();
        entries.extend(entry("offset", &self.offset.to_string()));
        entries.extend(self.length.iter().flat_map(|length| entry("length", &length.to_string())));
        entries
    }
}

/// Why a location as written does not stay in the model's folder; `\` and drives count on every system, so that a
/// model is refused everywhere or nowhere.
fn leads_out(location: &str) -> Option<&'static str> {
    if location.contains('\0') {
        return Some("which holds a NUL character");
    }
    if location.starts_with(['/', '\\']) || location.as_bytes().get(1) == Some(&b':') {
        return Some("which is an absolute path");
    }
    let mut depth = 0i32;
    for part in location.split(['/', '\\']) {
        depth += match part {
            "" | "." => 0,
            ".." => -1,
            _ => 1,
        };
        if depth < 0 {
            return Some("which leads out of it with '..'");
        }
    }
    (depth == 0).then_some("which names a folder, not a file")
}

/// All external references of a graph: initializers, sparse initializers, attributes, and graphs in attributes.
pub(super) fn of_graph(graph: &Graph, references: &mut Vec<ExternalReference>) -> Result<(), ModelError> {
    graph.fields().try_for_each(|(number, field)| of_field(Kind::Graph, number, field, references))
}

/// All external references in one encoded field of a message of `kind`.
pub(super) fn of_field(
    kind: Kind,
    number: u32,
    field: &Bytes,
    references: &mut Vec<ExternalReference>,
) -> Result<(), ModelError> {
    let Some((_, Holds::One(inner) | Holds::Many(inner))) = schema::field(kind, number) else {
        return Ok(());
    };
    let payload = wire::payload(field);
    let mut outcome = Ok(());
    let mut tensor = |bytes: &[u8]| {
        if outcome.is_ok() {
            match TensorHeader::read(bytes) {
                Ok(header) => references.extend(header.external),
                Err(error) => outcome = Err(error),
            }
        }
    };
    if inner == Kind::Tensor {
        tensor(&payload);
    } else {
        schema::walk(&payload, inner, &mut |kind, number, bytes| {
            if let Some((_, Holds::One(Kind::Tensor) | Holds::Many(Kind::Tensor))) = schema::field(kind, number) {
                tensor(bytes);
            }
        });
    }
    outcome
}

/// The folder of a file.
pub(super) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Data files brought to a folder; taken away again when dropped unless kept.
#[derive(Default)]
pub(super) struct Carried {
    created: Vec<PathBuf>,
}

impl Carried {
    /// The model is written: the data stays.
    pub(super) fn keep(mut self) {
        self.created.clear();
    }
}

impl Drop for Carried {
    fn drop(&mut self) {
        for path in &self.created {
            // a leftover is harmless, and the error that brought us here is the one to report
            let _ = std::fs::remove_file(path);
        }
    }
}

/// A data file that has to be brought beside the new model.
pub(super) struct Move {
    from: PathBuf,
    to: PathBuf,
}

/// Makes every referenced file available beside the model `target`. `source` is where the model was read from.
pub(super) fn carry(
    references: &[ExternalReference],
    source: Option<&Path>,
    target: &Path,
    how: ExternalData,
) -> Result<Carried, ModelError> {
    let mut carried = Carried::default();
    for Move { from, to } in plan(references, source, target)? {
        bring(&from, &to, how)?;
        carried.created.push(to);
    }
    Ok(carried)
}

/// What [`carry`] has to bring; everything that can be refused beforehand is refused here. Writes nothing.
pub(super) fn plan(
    references: &[ExternalReference],
    source: Option<&Path>,
    target: &Path,
) -> Result<Vec<Move>, ModelError> {
    let mut moves: Vec<Move> = Vec::new();
    if references.is_empty() {
        return Ok(moves);
    }
    let target_folder = canonical(folder_of(target))?;
    let source_folder = source.map(|source| canonical(folder_of(source))).transpose()?;
    for (location, reference) in locations(references) {
        let to = target_folder.join(&location);
        if same_place(&to, target) {
            return Err(ModelError::ExternalConflict {
                path: to,
                reason: "is a data file of the model and cannot be the model itself",
            });
        }
        match &source_folder {
            // read from memory: the data must be there already
            None if to.is_file() => {}
            None => {
                return Err(ModelError::ExternalMissing { tensor: reference.tensor.clone(), path: to });
            }
            Some(folder) if *folder == target_folder => {}
            Some(folder) => {
                let from = inside(folder, reference)?;
                check_stays(&to, &target_folder, reference)?;
                if !is_there(&from, &to)? {
                    moves.push(Move { from, to });
                }
            }
        }
    }
    Ok(moves)
}

/// See [`super::Document::external_files`].
pub(super) fn files(references: &[ExternalReference], source: Option<&Path>) -> Result<Vec<PathBuf>, ModelError> {
    let folder = source.map(|source| canonical(folder_of(source))).transpose()?;
    let mut files = Vec::new();
    for (location, reference) in locations(references) {
        if let Some(folder) = &folder {
            inside(folder, reference)?;
        }
        files.push(location);
    }
    Ok(files)
}

/// The data file of one reference.
pub(super) fn file(reference: &ExternalReference, source: Option<&Path>) -> Result<PathBuf, ModelError> {
    let Some(source) = source else {
        return Err(ModelError::ExternalData {
            tensor: reference.tensor.clone(),
            reason: "its data is external, and a model read from memory has no folder to look in".to_owned(),
        });
    };
    inside(&canonical(folder_of(source))?, reference)
}

/// See [`super::Document::missing_external_files`].
pub(super) fn missing(references: &[ExternalReference], source: Option<&Path>) -> Vec<PathBuf> {
    let Some(source) = source else { return Vec::new() };
    let files = locations(references).into_iter().map(|(location, _)| folder_of(source).join(location));
    files.filter(|file| !file.exists()).collect()
}

/// Each location once, normalised, with the first tensor that has it.
fn locations(references: &[ExternalReference]) -> Vec<(PathBuf, &ExternalReference)> {
    let mut seen = HashSet::new();
    let all = references.iter().map(|reference| (normal(&reference.location), reference));
    all.filter(|(location, _)| seen.insert(location.clone())).collect()
}

fn canonical(path: &Path) -> Result<PathBuf, ModelError> {
    path.canonicalize().map_err(|error| ModelError::io("find", path, error))
}

/// A validated location without "." and "..".
fn normal(location: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in location.components() {
        match part {
            Component::Normal(part) => normal.push(part),
            Component::ParentDir => {
                normal.pop();
            }
            _ => {}
        }
    }
    normal
}

/// Whether two paths are the same file, or would be.
pub(super) fn same_place(one: &Path, other: &Path) -> bool {
    let place = |path: &Path| match path.canonicalize() {
        Ok(path) => path,
        Err(_) => match (folder_of(path).canonicalize(), path.file_name()) {
            (Ok(folder), Some(name)) => folder.join(name),
            _ => path.to_owned(),
        },
    };
    place(one) == place(other)
}

/// The data file in the model's folder, links followed; they may not lead out of it.
fn inside(folder: &Path, reference: &ExternalReference) -> Result<PathBuf, ModelError> {
    let path = folder.join(normal(&reference.location));
    let file = path.canonicalize().map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            ModelError::ExternalMissing { tensor: reference.tensor.clone(), path: path.clone() }
        }
        _ => ModelError::io("find", &path, error),
    })?;
    if !file.starts_with(folder) {
        return Err(ModelError::ExternalLink { tensor: reference.tensor.clone(), path, target: file });
    }
    if !file.is_file() {
        return Err(ModelError::NotAFile { path: file, what: "not a regular file" });
    }
    Ok(file)
}

/// Links in the new folder may not lead a data file out of it. Looks at as much of the way as there is.
fn check_stays(to: &Path, folder: &Path, reference: &ExternalReference) -> Result<(), ModelError> {
    let there = folder_of(to).ancestors().find_map(|ancestor| ancestor.canonicalize().ok());
    if there.is_some_and(|there| there.starts_with(folder)) {
        return Ok(());
    }
    Err(ModelError::ExternalEscape {
        tensor: reference.tensor.clone(),
        location: reference.location.display().to_string(),
        reason: "where a symbolic link in the new folder leads out of it",
    })
}

/// Whether the file is in its place already; other data there is refused.
fn is_there(from: &Path, to: &Path) -> Result<bool, ModelError> {
    if to.symlink_metadata().is_err() {
        return Ok(false);
    }
    if same_file(from, to) || same_content(from, to).map_err(|error| ModelError::io("compare", to, error))? {
        return Ok(true);
    }
    Err(ModelError::ExternalConflict { path: to.to_owned(), reason: "exists and holds other data than the model's" })
}

/// Links or copies one file.
fn bring(from: &Path, to: &Path, how: ExternalData) -> Result<(), ModelError> {
    let parent = folder_of(to);
    std::fs::create_dir_all(parent).map_err(|error| ModelError::io("create", parent, error))?;
    if how == ExternalData::Link && std::fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    copy(from, to).map_err(|error| ModelError::io("copy the external data to", to, error))
}

/// A copy that appears under its name only when it is whole.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    let mut temporary = tempfile::Builder::new().prefix(".elonnx-").tempfile_in(folder_of(to)).map_err(without_path)?;
    let mut from = File::open(from)?;
    copy_into(&mut from, temporary.as_file_mut())?;
    temporary.as_file().set_permissions(from.metadata()?.permissions())?;
    temporary.as_file().sync_all()?;
    temporary.persist_noclobber(to).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(unix)]
fn same_file(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (one.metadata(), other.metadata()) {
        (Ok(one), Ok(other)) => (one.dev(), one.ino()) == (other.dev(), other.ino()),
        _ => false,
    }
}

#[cfg(not(unix))]
fn same_file(one: &Path, other: &Path) -> bool {
    matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

fn same_content(one: &Path, other: &Path) -> std::io::Result<bool> {
    const BLOCK: usize = 1 << 16;
    let (mut one, mut other) = (File::open(one)?, File::open(other)?);
    if !other.metadata()?.is_file() || one.metadata()?.len() != other.metadata()?.len() {
        return Ok(false);
    }
    let (mut left, mut right) = (Vec::with_capacity(BLOCK), Vec::with_capacity(BLOCK));
    loop {
        left.clear();
        right.clear();
        one.by_ref().take(BLOCK as u64).read_to_end(&mut left)?;
        other.by_ref().take(BLOCK as u64).read_to_end(&mut right)?;
        if left != right {
            return Ok(false);
        }
        if left.is_empty() {
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_stay_inside() {
        for fine in ["w.bin", "./w.bin", "data/w.bin", "data/../w.bin", "a b", "..w", "w.."] {
            assert_eq!(leads_out(fine), None, "{fine}");
        }
        for bad in [
            "/etc/passwd",
            "../w",
            "a/../../w",
            "..",
            ".",
            "a/..",
            "C:\\w",
            "c:w",
            "\\\\host\\w",
            "..\\w",
            "a\\..\\..\\w",
            "w\0",
        ] {
            assert!(leads_out(bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn normal_removes_dots() {
        assert_eq!(normal(Path::new("./a/../b/./c")), Path::new("b/c"));
    }
}
