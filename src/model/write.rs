//! Atomic replacement of files.

use std::fs::{File, Permissions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use super::error::ModelError;
use super::external::folder_of;

/// Slices of this length or more bypass the buffer.
const BUFFER: usize = 1 << 16;
/// How many symbolic links are followed.
const MAX_LINKS: usize = 40;

/// A file that is whole on the disk, under a temporary name; gone again when dropped.
pub(crate) struct Staged {
    temporary: NamedTempFile,
    target: PathBuf,
}

impl Staged {
    /// Gives it its name.
    pub(crate) fn commit(self) -> Result<(), ModelError> {
        let Staged { temporary, target } = self;
        temporary.persist(&target).map_err(|error| ModelError::io("replace", &target, error.error))?;
        sync_folder(folder_of(&target));
        Ok(())
    }
}

#[cfg(any(test, feature = "train"))]
/// Replaces a file: whatever happens in between, `path` holds either its old content or all of the new one.
///
/// # Errors
/// What the system refuses, with the path.
pub(crate) fn replace_file(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<&File>) -> std::io::Result<()>,
) -> Result<(), ModelError> {
    stage(path, write)?.commit()
}

/// Writes a file, all but the rename, so that `path` holds either its old content or all of the new one, whatever
/// happens in between: a temporary file in the same folder, fsync; with [`Staged::commit`] rename, fsync of the folder.
/// A symbolic link stays one; the file it points to is replaced. A replaced file's permissions are kept.
pub(super) fn stage(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<&File>) -> std::io::Result<()>,
) -> Result<Staged, ModelError> {
    let target = follow(path)?;
    let old = match target.metadata() {
        Ok(metadata) if metadata.is_file() => Some(metadata.permissions()),
        Ok(metadata) => {
            let what = if metadata.is_dir() { "a folder" } else { "not a regular file" };
            return Err(ModelError::NotAFile { path: target, what });
        }
        Err(_) => None,
    };
    let fail = |error| ModelError::io("write", path, error);
    let temporary = temporary_in(folder_of(&target)).map_err(fail)?;
    let mut buffered = BufWriter::with_capacity(BUFFER, temporary.as_file());
    write(&mut buffered).and_then(|()| buffered.flush()).map_err(fail)?;
    drop(buffered);
    if let Some(permissions) = old {
        temporary.as_file().set_permissions(permissions).map_err(fail)?;
    }
    temporary.as_file().sync_all().map_err(fail)?;
    Ok(Staged { temporary, target })
}

/// The file that a path means, through links whose end need not exist.
fn follow(path: &Path) -> Result<PathBuf, ModelError> {
    let mut target = path.to_owned();
    for _ in 0..MAX_LINKS {
        match std::fs::read_link(&target) {
            Ok(link) => target = folder_of(&target).join(link),
            Err(_) => return Ok(target),
        }
    }
    Err(ModelError::io("follow the links of", path, std::io::Error::other("too many symbolic links")))
}

fn temporary_in(folder: &Path) -> std::io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".elonnx-").suffix(".tmp");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // as for any new file: the umask takes away what it takes
        builder.permissions(Permissions::from_mode(0o666)).tempfile_in(folder).map_err(without_path)
    }
    #[cfg(not(unix))]
    builder.tempfile_in(folder).map_err(without_path)
}

/// The system's error without the temporary name that `tempfile` puts behind it: nobody knows that file.
pub(crate) fn without_path(error: std::io::Error) -> std::io::Error {
    let text = error.to_string();
    match text.rsplit_once(" at path \"") {
        Some((reason, _)) => std::io::Error::new(error.kind(), reason),
        None => error,
    }
}

/// Makes the rename last. Not every file system can, and the file is already whole: no error.
fn sync_folder(folder: &Path) {
    if cfg!(unix) {
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use super::replace_file as replace;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_failing_write_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m");
        std::fs::write(&path, "old").unwrap();
        let error = replace(&path, |out| {
            out.write_all(b"half")?;
            Err(std::io::Error::from(std::io::ErrorKind::StorageFull))
        });
        assert!(error.unwrap_err().to_string().starts_with("cannot write "));
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(names(folder.path()), ["m"]);
    }

    #[test]
    fn temporary_names_are_not_told() {
        let folder = tempfile::tempdir().unwrap();
        let error = replace(&folder.path().join("none/m"), |_| Ok(())).unwrap_err().to_string();
        assert!(error.contains("none/m: ") && !error.contains(".elonnx-"), "{error}");
    }

    #[test]
    fn a_staged_file_that_is_dropped_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        drop(stage(&folder.path().join("m"), |out| out.write_all(b"x")).unwrap());
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn a_folder_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let error = replace(folder.path(), |out| out.write_all(b"x")).unwrap_err();
        assert!(matches!(error, ModelError::NotAFile { .. }));
    }

    #[cfg(unix)]
    #[test]
    fn permissions_and_links_stay() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (file, link, dangling) =
            (folder.path().join("m"), folder.path().join("link"), folder.path().join("dangling"));
        std::fs::write(&file, "old").unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("m", &link).unwrap();
        std::os::unix::fs::symlink("new", &dangling).unwrap();
        replace(&link, |out| out.write_all(b"new")).unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"new");
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o640);
        assert!(link.symlink_metadata().unwrap().is_symlink());
        replace(&dangling, |out| out.write_all(b"fresh")).unwrap();
        assert_eq!(std::fs::read(folder.path().join("new")).unwrap(), b"fresh");
        assert_eq!(names(folder.path()), ["dangling", "link", "m", "new"]);
        std::os::unix::fs::symlink("loop", folder.path().join("loop")).unwrap();
        assert!(replace(&folder.path().join("loop"), |_| Ok(())).is_err());
    }
}
