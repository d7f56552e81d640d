//! A tensor in memory.

use half::f16;

/// Elements of a tensor, by type.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Values {
    /// bool
    Bool(Vec<bool>),
    /// uint8
    U8(Vec<u8>),
    /// int8
    I8(Vec<i8>),
    /// uint16
    U16(Vec<u16>),
    /// int16
    I16(Vec<i16>),
    /// int32
    I32(Vec<i32>),
    /// int64
    I64(Vec<i64>),
    /// float16
    F16(Vec<f16>),
    /// float
    F32(Vec<f32>),
    /// double
    F64(Vec<f64>),
}

impl Values {
    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Bool(v) => v.len(),
            Self::U8(v) => v.len(),
            Self::I8(v) => v.len(),
            Self::U16(v) => v.len(),
            Self::I16(v) => v.len(),
            Self::I32(v) => v.len(),
            Self::I64(v) => v.len(),
            Self::F16(v) => v.len(),
            Self::F32(v) => v.len(),
            Self::F64(v) => v.len(),
        }
    }

    /// Appends those of the same type; false where it is another.
    #[cfg(feature = "data")]
    pub(crate) fn append(&mut self, other: &Self) -> bool {
        macro_rules! each {
            ($($variant:ident)*) => {
                match (self, other) {
                    $((Self::$variant(to), Self::$variant(from)) => to.extend_from_slice(from),)*
                    _ => return false,
                }
            };
        }
        each!(Bool U8 I8 U16 I16 I32 I64 F16 F32 F64);
        true
    }

    /// Elements of some of its rows of `width` elements, in the order of `rows`; rows that are not there are left out.
    #[cfg(feature = "data")]
    pub(crate) fn gather(&self, width: usize, rows: &[usize]) -> Self {
        fn pick<T: Copy>(values: &[T], width: usize, rows: &[usize]) -> Vec<T> {
            let row = |&row: &usize| values.get(row * width..(row + 1) * width).unwrap_or_default();
            rows.iter().flat_map(row).copied().collect()
        }
        macro_rules! each {
            ($($variant:ident)*) => {
                match self { $(Self::$variant(values) => Self::$variant(pick(values, width, rows)),)* }
            };
        }
        each!(Bool U8 I8 U16 I16 I32 I64 F16 F32 F64)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A dense tensor, elements in row-major order.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Sizes of the axes, the batch first.
    pub dims: Vec<usize>,
    /// As many elements as the product of `dims`.
    pub values: Values,
}
