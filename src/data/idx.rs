//! The idx files of MNIST and its kin (<https://yann.lecun.com/exdb/mnist>).

use std::io::Read;

use super::DataError;
use super::array::{Array, Stream};
use super::element::{ElementType, Endian};

/// Whether a file that begins so is an idx file.
pub(super) fn is_idx(start: &[u8]) -> bool {
    matches!(start, [0, 0, 0x08 | 0x09 | 0x0b..=0x0e, 1..=8, ..])
}

/// An array with its first axis counting samples.
pub(super) fn open(path: &str, mut stream: Stream) -> Result<Array, DataError> {
    let not_idx = |found: String| DataError::NotOfFormat { path: path.to_owned(), format: "an idx file", found };
    let mut word = || {
        let mut word = [0; 4];
        stream.read_exact(&mut word).map(|()| word).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => not_idx("it ends inside its header".to_owned()),
            _ => DataError::reading(path, error),
        })
    };
    let magic = word()?;
    let element = match magic {
        [0, 0, 0x08, _] => ElementType::U8,
        [0, 0, 0x09, _] => ElementType::I8,
        [0, 0, 0x0b, _] => ElementType::I16,
        [0, 0, 0x0c, _] => ElementType::I32,
        [0, 0, 0x0d, _] => ElementType::F32,
        [0, 0, 0x0e, _] => ElementType::F64,
        _ => return Err(not_idx(format!("its magic number is 0x{:08x}", u32::from_be_bytes(magic)))),
    };
    let axes = magic[3];
    if !(1..=8).contains(&axes) {
        return Err(not_idx(format!("its header announces {axes} axes")));
    }
    let rows = u32::from_be_bytes(word()?);
    let dims = (1..axes).map(|_| Ok(u32::from_be_bytes(word()?) as usize)).collect::<Result<Vec<_>, DataError>>()?;
    Array::new(path.to_owned(), stream, dims, (element, Endian::Big), Some(u64::from(rows)))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::data::Values;

    /// An idx file of bytes.
    pub(in crate::data) fn idx(dims: &[u32], data: &[u8]) -> Vec<u8> {
        let mut file = vec![0, 0, 8, u8::try_from(dims.len()).unwrap()];
        file.extend(dims.iter().flat_map(|dim| dim.to_be_bytes()));
        file.extend_from_slice(data);
        file
    }

    fn opened(bytes: Vec<u8>) -> Result<Array, DataError> {
        open("x.idx", Box::new(std::io::Cursor::new(bytes)))
    }

    #[test]
    fn images_are_read() {
        let file = idx(&[2, 1, 3], &[1, 2, 3, 4, 5, 6]);
        assert!(is_idx(&file));
        let mut array = opened(file).unwrap();
        assert_eq!((array.rows, array.dims.clone()), (Some(2), vec![1, 3]));
        assert_eq!(array.read(9).unwrap(), Values::U8(vec![1, 2, 3, 4, 5, 6]));
    }

    #[test]
    fn floats_are_big_endian() {
        let mut file = vec![0, 0, 0x0d, 1, 0, 0, 0, 1];
        file.extend(2.5f32.to_be_bytes());
        assert_eq!(opened(file).unwrap().read(1).unwrap(), Values::F32(vec![2.5]));
    }

    #[test]
    fn what_is_no_idx_file() {
        let message = |bytes: &[u8]| opened(bytes.to_vec()).err().expect("an error").to_string();
        assert!(message(b"\0\0\x07\x01\0\0\0\x01").contains("0x00000701"));
        assert!(message(b"\0\0\x08\x00\0\0\0\x01").contains("0 axes"));
        assert!(message(b"\0\0\x08\x03\0\0\0\x01").contains("ends inside its header"));
        assert!(message(b"\0\0\x08\x01\0\0\0\0").contains("holds no samples"));
        assert!(message(&idx(&[u32::MAX; 8], &[])).contains("header is damaged"));
    }
}
