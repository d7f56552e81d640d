//! Copies of large files that take no more room than the original.

use std::fs::File;
use std::io;

/// Copies all of `from` into the empty file `to`. On Linux both share their blocks where the file system can, and holes
/// stay holes elsewhere, so that nothing but data is moved.
pub(crate) fn copy_into(from: &mut File, to: &mut File) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    if holes::copy(from, to)? {
        return Ok(());
    }
    io::copy(from, to).map(drop)
}

#[cfg(target_os = "linux")]
mod holes {
    use std::fs::File;
    use std::io::{self, Read as _, Seek as _};

    use rustix::fs::{SeekFrom, ioctl_ficlone, seek};
    use rustix::io::Errno;

    /// Whether it could be copied in this way; nothing is written otherwise.
    pub fn copy(from: &mut File, to: &mut File) -> io::Result<bool> {
        let length = from.metadata()?.len();
        if ioctl_ficlone(&*to, &*from).is_ok() {
            return Ok(true);
        }
        let mut position = 0;
        while position < length {
            let start = match seek(&*from, SeekFrom::Data(position)) {
                Ok(start) => start,
                // nothing but a hole is left
                Err(Errno::NXIO) => break,
                // a file system that does not know holes says so at once
                Err(_) if position == 0 => {
                    from.rewind()?;
                    return Ok(false);
                }
                Err(error) => return Err(error.into()),
            };
            let end = seek(&*from, SeekFrom::Hole(start))?;
            from.seek(io::SeekFrom::Start(start))?;
            to.seek(io::SeekFrom::Start(start))?;
            // std has the kernel copy between files
            io::copy(&mut (&*from).take(end - start), to)?;
            position = end;
        }
        to.set_len(length)?;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Seek as _, SeekFrom, Write as _};

    fn copied(from: &mut File) -> (Vec<u8>, File) {
        let path = tempfile::NamedTempFile::new().unwrap();
        let mut to = path.reopen().unwrap();
        from.rewind().unwrap();
        copy_into(from, &mut to).unwrap();
        (std::fs::read(path.path()).unwrap(), to)
    }

    #[test]
    fn data_between_holes_arrives() {
        let mut from = tempfile::tempfile().unwrap();
        let mut expected = vec![0; 3 << 20];
        for (start, text) in [(0, "begin"), (1 << 20, "middle"), ((3 << 20) - 3, "end")] {
            from.seek(SeekFrom::Start(start as u64)).unwrap();
            from.write_all(text.as_bytes()).unwrap();
            expected[start..start + text.len()].copy_from_slice(text.as_bytes());
        }
        assert!(copied(&mut from).0 == expected);
        // a hole at the end
        from.set_len(4 << 20).unwrap();
        expected.resize(4 << 20, 0);
        assert!(copied(&mut from).0 == expected);
        assert!(copied(&mut tempfile::tempfile().unwrap()).0.is_empty());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn holes_take_no_room() {
        use std::os::unix::fs::MetadataExt as _;
        let mut from = tempfile::tempfile().unwrap();
        from.write_all(b"data").unwrap();
        from.set_len(64 << 20).unwrap();
        let (content, to) = copied(&mut from);
        assert_eq!((content.len(), &content[..5]), (64 << 20, &b"data\0"[..]));
        assert!(to.metadata().unwrap().blocks() <= from.metadata().unwrap().blocks() + 8);
    }
}
