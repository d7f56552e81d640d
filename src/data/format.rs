//! Files by kind.

use std::path::Path;

use super::{idx, npy};

/// Kind of a file of samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// NumPy array.
    Npy,
    /// NumPy arrays in an archive.
    Npz,
    /// MNIST's format.
    Idx,
    /// Numbers in rows of text.
    Csv,
    /// float32, little-endian, nothing else.
    Raw,
    /// A picture.
    Image,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Npy, Self::Npz, Self::Idx, Self::Csv, Self::Raw, Self::Image];

    /// Its name on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Npy => "npy",
            Self::Npz => "npz",
            Self::Idx => "idx",
            Self::Csv => "csv",
            Self::Raw => "raw",
            Self::Image => "image",
        }
    }

    /// By the first bytes of a file and its name, None where neither tells.
    pub(super) fn of(path: &Path, start: &[u8]) -> Option<Self> {
        let mut extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
        if extension == "gz" {
            let inner = path.file_stem().map(Path::new).and_then(Path::extension);
            extension = inner.unwrap_or_default().to_string_lossy().to_lowercase();
        }
        match extension.as_str() {
            "csv" | "tsv" => return Some(Self::Csv),
            "f32" | "raw" => return Some(Self::Raw),
            _ => {}
        }
        if start.starts_with(npy::MAGIC) {
            return Some(Self::Npy);
        }
        if start.starts_with(b"PK\x03\x04") || start.starts_with(b"PK\x05\x06") {
            return Some(Self::Npz);
        }
        if idx::is_idx(start) {
            return Some(Self::Idx);
        }
        if image::guess_format(start).is_ok() {
            return Some(Self::Image);
        }
        match extension.as_str() {
            // damaged, but this is what it was meant to be
            "npy" => Some(Self::Npy),
            "npz" => Some(Self::Npz),
            "idx" => Some(Self::Idx),
            "bin" => Some(Self::Raw),
            _ if is_image_name(path) => Some(Self::Image),
            _ if path.to_string_lossy().contains("-idx") => Some(Self::Idx),
            _ if is_text(start) => Some(Self::Csv),
            _ if path.as_os_str() == "-" => Some(Self::Raw),
            _ => None,
        }
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Extensions that pictures have.
const IMAGE_EXTENSIONS: [&str; 14] =
    ["png", "jpg", "jpeg", "jpe", "jfif", "bmp", "webp", "gif", "tif", "tiff", "pbm", "pgm", "ppm", "pnm"];

/// Whether a file is a picture, by its name.
pub(super) fn is_image_name(path: &Path) -> bool {
    let extension = path.extension().unwrap_or_default().to_string_lossy().to_lowercase();
    IMAGE_EXTENSIONS.contains(&extension.as_str())
}

fn is_text(start: &[u8]) -> bool {
    let text = |byte: &u8| byte.is_ascii_graphic() || matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    !start.is_empty() && start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start).iter().all(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_content_then_by_name() {
        let of = |name: &str, start: &[u8]| Format::of(Path::new(name), start);
        assert_eq!(of("a", b"\x93NUMPY\x01\x00"), Some(Format::Npy));
        assert_eq!(of("a.npz", b"PK\x03\x04"), Some(Format::Npz));
        assert_eq!(of("train-images-idx3-ubyte.gz", b"\0\0\x08\x03\0\0\xea\x60"), Some(Format::Idx));
        assert_eq!(of("a.dat", b"\x89PNG\r\n\x1a\n"), Some(Format::Image));
        assert_eq!(of("a.csv", b"P1,P2\n"), Some(Format::Csv));
        assert_eq!(of("a.csv.gz", b"1,2"), Some(Format::Csv));
        assert_eq!(of("a", b"1.5,2\n3,4\n"), Some(Format::Csv));
        assert_eq!(of("a.f32", b"\0\0\x08\x03"), Some(Format::Raw));
        assert_eq!(of("-", b"\0\0\x80\x3f"), Some(Format::Raw));
        assert_eq!(of("a.npy", b"garbage\xff"), Some(Format::Npy));
        assert_eq!(of("a.jpg", b"garbage\xff"), Some(Format::Image));
        assert_eq!(of("a.dat", b"garbage\xff"), None);
    }
}
