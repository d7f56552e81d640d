//! NumPy's npy files (<https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>).
//!
//! The header is parsed here: crate npyz multiplies the sizes of a hostile shape unchecked (0.9.1), and brings a parser
//! generator for three keys.

use std::io::Read;

use super::DataError;
use super::array::{Array, Stream};
use super::element::{ElementType, Endian};

/// What every npy file begins with.
pub(super) const MAGIC: &[u8] = b"\x93NUMPY";
/// NumPy itself refuses headers above 10 000 characters.
const LONGEST_HEADER: usize = 1 << 16;

/// What a header says.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Header {
    descr: String,
    fortran_order: bool,
    shape: Vec<u64>,
}

/// An array with its first axis counting samples.
pub(super) fn open(path: &str, mut stream: Stream) -> Result<Array, DataError> {
    let header = read_header(path, &mut stream)?;
    let type_ = element_type(path, &header.descr)?;
    let Some((&rows, dims)) = header.shape.split_first() else {
        return Err(DataError::Unsupported {
            path: path.to_owned(),
            problem: "is a single number; samples are arrays with the first axis counting them".to_owned(),
        });
    };
    // one axis, or several of size 1, lie the same way in both orders
    if header.fortran_order && header.shape.iter().filter(|&&dim| dim > 1).count() > 1 {
        return Err(DataError::Unsupported {
            path: path.to_owned(),
            problem: "is in Fortran order, where no sample lies in one piece; save numpy.ascontiguousarray(x)"
                .to_owned(),
        });
    }
    let dims = dims.iter().map(|&dim| usize::try_from(dim).unwrap_or(usize::MAX)).collect();
    Array::new(path.to_owned(), stream, dims, type_, Some(rows))
}

fn read_header(path: &str, stream: &mut Stream) -> Result<Header, DataError> {
    let not_npy = |found: String| DataError::NotOfFormat { path: path.to_owned(), format: "an npy file", found };
    let mut exact = |bytes: &mut [u8]| {
        stream.read_exact(bytes).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => not_npy("it ends inside its header".to_owned()),
            _ => DataError::reading(path, error),
        })
    };
    let mut start = [0; 8];
    exact(&mut start)?;
    if !start.starts_with(MAGIC) {
        return Err(not_npy("it does not begin with \\x93NUMPY".to_owned()));
    }
    let mut length = [0; 4];
    match start[6] {
        1 => exact(&mut length[..2])?,
        2 | 3 => exact(&mut length)?,
        version => return Err(not_npy(format!("its version is {version}, and versions 1 to 3 exist"))),
    }
    let length = u32::from_le_bytes(length) as usize;
    if length > LONGEST_HEADER {
        return Err(not_npy(format!("its header has {length} bytes, which no array of numbers needs")));
    }
    let mut header = vec![0; length];
    exact(&mut header)?;
    let text = String::from_utf8_lossy(&header);
    parse(&text).ok_or_else(|| {
        let shown: String = text.trim_end().chars().take(80).collect();
        not_npy(format!("its header '{shown}' does not give descr, fortran_order and shape"))
    })
}

/// `{'descr': '<f4', 'fortran_order': False, 'shape': (60000, 784), }`; None for anything else.
fn parse(text: &str) -> Option<Header> {
    let mut rest = text.trim().strip_prefix('{')?;
    let (mut descr, mut fortran_order, mut shape) = (None, None, None);
    loop {
        rest = rest.trim_start();
        if let Some(end) = rest.strip_prefix('}') {
            return end.trim().is_empty().then_some(()).and(Some(Header {
                descr: descr?,
                fortran_order: fortran_order?,
                shape: shape?,
            }));
        }
        let key;
        (key, rest) = quoted(rest)?;
        rest = rest.trim_start().strip_prefix(':')?.trim_start();
        match key {
            "descr" if rest.starts_with('[') => {
                // fields of a structured array; what they are does not matter, they are refused by name
                let end = rest.rfind(']')?;
                descr = Some(rest[..=end].to_owned());
                rest = &rest[end + 1..];
            }
            "descr" => {
                let value;
                (value, rest) = quoted(rest)?;
                descr = Some(value.to_owned());
            }
            "fortran_order" => {
                let (value, after) = rest
                    .strip_prefix("True")
                    .map(|after| (true, after))
                    .or_else(|| rest.strip_prefix("False").map(|after| (false, after)))?;
                (fortran_order, rest) = (Some(value), after);
            }
            "shape" => {
                let (inner, after) = rest.strip_prefix('(')?.split_once(')')?;
                let numbers = inner.split(',').map(str::trim).filter(|number| !number.is_empty());
                // Python 2 wrote 784L
                shape = Some(numbers.map(|n| n.trim_end_matches('L').parse().ok()).collect::<Option<Vec<u64>>>()?);
                rest = after;
            }
            _ => return None,
        }
        rest = rest.trim_start();
        rest = rest.strip_prefix(',').unwrap_or(rest);
    }
}

/// A string in quotes, and what follows.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|&c| c == '\'' || c == '"')?;
    text[1..].split_once(quote)
}

/// From NumPy's name for it, "<f4".
fn element_type(path: &str, descr: &str) -> Result<(ElementType, Endian), DataError> {
    let unsupported = |problem: String| DataError::Unsupported { path: path.to_owned(), problem };
    let (endian, name) = match descr.split_at_checked(1) {
        Some(("<" | "|" | "=", name)) => (Endian::Little, name),
        Some((">", name)) => (Endian::Big, name),
        _ => (Endian::Little, descr),
    };
    let element = match name {
        "b1" | "?" => ElementType::Bool,
        "u1" => ElementType::U8,
        "i1" => ElementType::I8,
        "u2" => ElementType::U16,
        "i2" => ElementType::I16,
        "u4" => ElementType::U32,
        "i4" => ElementType::I32,
        "u8" => ElementType::U64,
        "i8" => ElementType::I64,
        "f2" => ElementType::F16,
        "f4" => ElementType::F32,
        "f8" => ElementType::F64,
        _ if name.starts_with('O') => {
            return Err(unsupported(
                "holds Python objects (pickle), which is code rather than data; save numbers, as float32 say"
                    .to_owned(),
            ));
        }
        _ => {
            let shown: String = descr.chars().take(60).collect();
            return Err(unsupported(format!("holds elements of type '{shown}'; save them as float32 or as integers")));
        }
    };
    Ok((element, endian))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::data::Values;

    /// An npy file of version 1.
    pub(in crate::data) fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
        let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
        while (header.len() + 11) % 64 != 0 {
            header.push(' ');
        }
        header.push('\n');
        let length = u16::try_from(header.len()).unwrap();
        [MAGIC, &[1, 0], &length.to_le_bytes(), header.as_bytes(), data].concat()
    }

    fn opened(bytes: Vec<u8>) -> Result<Array, DataError> {
        open("x.npy", Box::new(std::io::Cursor::new(bytes)))
    }

    #[test]
    fn headers() {
        let header = |text| parse(text).map(|h| (h.descr, h.fortran_order, h.shape));
        assert_eq!(
            header("{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }   \n"),
            Some(("<f4".into(), false, vec![3, 4]))
        );
        assert_eq!(
            header("{\"shape\": (7L,), \"fortran_order\": True, \"descr\": \"|u1\"}"),
            Some(("|u1".into(), true, vec![7]))
        );
        assert_eq!(header("{'descr': '<f8', 'fortran_order': False, 'shape': ()}").unwrap().2, Vec::<u64>::new());
        assert!(header("{'descr': [('a', '<f4'), ('b', '<i4')], 'fortran_order': False, 'shape': (2,)}").is_some());
        for wrong in ["", "{", "{}", "[]", "{'descr': 3}", "{'shape': (-1,), 'descr': '<f4', 'fortran_order': False}"] {
            assert_eq!(header(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn an_array_is_read() {
        let data: Vec<u8> = [1.0f32, 2.0, 3.0, 4.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        let mut array = opened(npy("<f4", "(2, 2)", &data)).unwrap();
        assert_eq!((array.rows, array.dims.clone()), (Some(2), vec![2]));
        assert_eq!(array.read(9).unwrap(), Values::F32(vec![1.0, 2.0, 3.0, 4.0]));
    }

    #[test]
    fn what_is_no_array_of_numbers() {
        let message = |bytes| opened(bytes).err().expect("an error").to_string();
        assert!(message(npy("|O", "(2,)", b"")).contains("pickle"));
        assert!(message(npy("<U8", "(2,)", b"")).contains("'<U8'"));
        assert!(message(npy("<f4", "()", b"")).contains("single number"));
        assert!(message(npy("<f4", "(2, 18446744073709551615)", b"")).contains("header is damaged"));
        assert!(message(npy("<f4", "(18446744073709551616,)", b"")).contains("does not give"));
        assert!(message(b"\x93NUMPY\x01\x00\xff\x00{".to_vec()).contains("ends inside its header"));
        assert!(message(b"\x93NUMPY\x09\x00\xff\x00{".to_vec()).contains("version is 9"));
        assert!(message(b"\x93NUMPY\x02\x00\xff\xff\xff\xff".to_vec()).contains("which no array"));
        let mut fortran = npy("<f4", "(2, 2)", b"");
        let at = fortran.windows(5).position(|bytes| bytes == b"False").unwrap();
        fortran[at..at + 5].copy_from_slice(b"True ");
        assert!(message(fortran).contains("ascontiguousarray"));
    }
}
