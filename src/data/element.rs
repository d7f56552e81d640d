//! Elements as they lie in files.

use half::f16;

use super::Values;

/// Type of the elements of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ElementType {
    Bool,
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    U64,
    I64,
    F16,
    F32,
    F64,
}

impl ElementType {
    /// Bytes of one.
    pub(super) fn size(self) -> usize {
        match self {
            Self::Bool | Self::U8 | Self::I8 => 1,
            Self::U16 | Self::I16 | Self::F16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }

    /// As NumPy and ONNX call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::U8 => "uint8",
            Self::I8 => "int8",
            Self::U16 => "uint16",
            Self::I16 => "int16",
            Self::U32 => "uint32",
            Self::I32 => "int32",
            Self::U64 => "uint64",
            Self::I64 => "int64",
            Self::F16 => "float16",
            Self::F32 => "float32",
            Self::F64 => "float64",
        }
    }

    /// Largest value of the types that pictures are made of.
    pub(super) fn full_scale(self) -> Option<f64> {
        match self {
            Self::U8 => Some(255.0),
            Self::U16 => Some(65_535.0),
            _ => None,
        }
    }
}

/// Order of the bytes of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Endian {
    Little,
    Big,
}

/// Elements from bytes; the first of those that no [`Values`] can hold is given back as its index.
pub(super) fn decode(bytes: &[u8], element: ElementType, endian: Endian) -> Result<Values, usize> {
    macro_rules! elements {
        ($type:ty) => {
            bytes.chunks_exact(size_of::<$type>()).map(|chunk| {
                let mut array = [0; size_of::<$type>()];
                array.copy_from_slice(chunk);
                match endian {
                    Endian::Little => <$type>::from_le_bytes(array),
                    Endian::Big => <$type>::from_be_bytes(array),
                }
            })
        };
    }
    Ok(match element {
        ElementType::Bool => Values::Bool(bytes.iter().map(|&byte| byte != 0).collect()),
        ElementType::U8 => Values::U8(bytes.to_vec()),
        ElementType::I8 => Values::I8(elements!(i8).collect()),
        ElementType::U16 => Values::U16(elements!(u16).collect()),
        ElementType::I16 => Values::I16(elements!(i16).collect()),
        ElementType::U32 => Values::I64(elements!(u32).map(i64::from).collect()),
        ElementType::I32 => Values::I32(elements!(i32).collect()),
        ElementType::U64 => {
            let signed = elements!(u64).enumerate().map(|(index, value)| i64::try_from(value).map_err(|_| index));
            Values::I64(signed.collect::<Result<_, _>>()?)
        }
        ElementType::I64 => Values::I64(elements!(i64).collect()),
        ElementType::F16 => Values::F16(elements!(f16).collect()),
        ElementType::F32 => Values::F32(elements!(f32).collect()),
        ElementType::F64 => Values::F64(elements!(f64).collect()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_byte_orders() {
        assert_eq!(decode(&[1, 0, 2, 0], ElementType::U16, Endian::Little), Ok(Values::U16(vec![1, 2])));
        assert_eq!(decode(&[0, 1, 0, 2], ElementType::U16, Endian::Big), Ok(Values::U16(vec![1, 2])));
        assert_eq!(decode(&1.5f32.to_be_bytes(), ElementType::F32, Endian::Big), Ok(Values::F32(vec![1.5])));
        assert_eq!(decode(&[0, 2], ElementType::Bool, Endian::Little), Ok(Values::Bool(vec![false, true])));
        assert_eq!(decode(&[255; 4], ElementType::U32, Endian::Little), Ok(Values::I64(vec![4_294_967_295])));
        assert_eq!(decode(&[255; 8], ElementType::U64, Endian::Little), Err(0));
    }
}
