//! Small tensors as numbers.

use half::{bf16, f16};

use super::error::ModelError;
use super::proto::{DataType, TensorProto};

/// A tensor decoded to f64, i64 or bool elements; for constants that rules look at.
#[derive(Clone, Debug, PartialEq)]
pub struct TensorValue {
    /// TensorProto.data_type it had
    pub data_type: i32,
    /// dims
    pub dims: Vec<i64>,
    /// elements as f64 (i64 beyond 2^53 lose digits; use `ints`)
    pub data: Vec<f64>,
}

/// Bytes of one element stored raw; `None` for strings and types that are no plain numbers.
fn element_size(data_type: DataType) -> Option<usize> {
    Some(match data_type {
        DataType::Uint8 | DataType::Int8 | DataType::Bool => 1,
        DataType::Uint16 | DataType::Int16 | DataType::Float16 | DataType::Bfloat16 => 2,
        DataType::Float | DataType::Int32 | DataType::Uint32 => 4,
        DataType::Double | DataType::Int64 | DataType::Uint64 => 8,
        DataType::Undefined | DataType::String => return None,
    })
}

/// Whether tensors of a TensorProto.DataType hold plain numbers: floats, integers and bool.
pub(crate) fn holds_numbers(data_type: i32) -> bool {
    DataType::try_from(data_type).is_ok_and(|data_type| element_size(data_type).is_some())
}

/// One little-endian element; `bytes` has the size of the type.
fn element(data_type: DataType, bytes: &[u8]) -> f64 {
    let mut wide = [0u8; 8];
    wide[..bytes.len()].copy_from_slice(bytes);
    let bits = u64::from_le_bytes(wide);
    match data_type {
        DataType::Uint8 | DataType::Uint16 | DataType::Uint32 | DataType::Uint64 => bits as f64,
        DataType::Int8 => (bits as i8).into(),
        DataType::Int16 => (bits as i16).into(),
        DataType::Int32 => (bits as i32).into(),
        DataType::Int64 => bits as i64 as f64,
        DataType::Bool => f64::from(bits != 0),
        DataType::Float16 => f16::from_bits(bits as u16).into(),
        DataType::Bfloat16 => bf16::from_bits(bits as u16).into(),
        DataType::Float => f32::from_bits(bits as u32).into(),
        DataType::Double => f64::from_bits(bits),
        DataType::Undefined | DataType::String => f64::NAN,
    }
}

/// The little-endian bytes of one element, as a C cast would round it; empty for strings.
fn element_bytes(data_type: DataType, value: f64) -> Vec<u8> {
    match data_type {
        DataType::Uint8 => (value as u8).to_le_bytes().to_vec(),
        DataType::Uint16 => (value as u16).to_le_bytes().to_vec(),
        DataType::Uint32 => (value as u32).to_le_bytes().to_vec(),
        DataType::Uint64 => (value as u64).to_le_bytes().to_vec(),
        DataType::Int8 => (value as i8).to_le_bytes().to_vec(),
        DataType::Int16 => (value as i16).to_le_bytes().to_vec(),
        DataType::Int32 => (value as i32).to_le_bytes().to_vec(),
        DataType::Int64 => (value as i64).to_le_bytes().to_vec(),
        DataType::Bool => vec![u8::from(value != 0.0)],
        DataType::Float16 => f16::from_f64(value).to_le_bytes().to_vec(),
        DataType::Bfloat16 => bf16::from_f64(value).to_le_bytes().to_vec(),
        DataType::Float => (value as f32).to_le_bytes().to_vec(),
        DataType::Double => value.to_le_bytes().to_vec(),
        DataType::Undefined | DataType::String => vec![],
    }
}

impl TensorValue {
    /// Decodes (f16, bf16, f32, f64, all integers, bool; raw or typed data). Errors name the tensor.
    ///
    /// # Errors
    /// Where the data is external, of a type that has no plain numbers, or not as long as the shape says.
    pub fn decode(tensor: &TensorProto) -> Result<Self, ModelError> {
        let fail = |reason: String| ModelError::TensorData { tensor: tensor.name().to_owned(), reason };
        if tensor.data_location() == 1 {
            return Err(fail("its data is external and not read here".to_owned()));
        }
        let number = tensor.data_type();
        let (data_type, size) = DataType::try_from(number)
            .ok()
            .and_then(|data_type| Some((data_type, element_size(data_type)?)))
            .ok_or_else(|| fail(format!("data type {number} is not a plain number")))?;
        let elements = tensor
            .dims
            .iter()
            .try_fold(1usize, |product, &dim| product.checked_mul(usize::try_from(dim).ok()?))
            .ok_or_else(|| fail(format!("its shape {:?} is not possible", tensor.dims)))?;
        let data: Vec<f64> = match &tensor.raw_data {
            Some(raw) => {
                if Some(raw.len()) != elements.checked_mul(size) {
                    return Err(fail(format!(
                        "it has {} bytes of data, its shape {:?} needs {elements} × {size}",
                        raw.len(),
                        tensor.dims
                    )));
                }
                raw.chunks_exact(size).map(|bytes| element(data_type, bytes)).collect()
            }
            None => typed_data(tensor, data_type),
        };
        if data.len() != elements {
            return Err(fail(format!("it has {} elements, its shape {:?} needs {elements}", data.len(), tensor.dims)));
        }
        Ok(Self { data_type: number, dims: tensor.dims.clone(), data })
    }

    /// The only element, if there is exactly one.
    pub fn scalar(&self) -> Option<f64> {
        if let [x] = self.data[..] { Some(x) } else { None }
    }

    /// as integers, if all are whole
    pub fn ints(&self) -> Option<Vec<i64>> {
        self.data.iter().map(|&x| (x.fract() == 0.0).then_some(x as i64)).collect()
    }

    /// As ONNX `Cast` to a plain number type would give it; `None` for other types.
    pub fn cast(mut self, to: i32) -> Option<Self> {
        let data_type = DataType::try_from(to).ok()?;
        element_size(data_type)?;
        for x in &mut self.data {
            *x = element(data_type, &element_bytes(data_type, *x));
        }
        self.data_type = to;
        Some(self)
    }
}

/// Elements of the typed fields, as onnx.proto assigns them to types.
fn typed_data(tensor: &TensorProto, data_type: DataType) -> Vec<f64> {
    match data_type {
        DataType::Float => tensor.float_data.iter().map(|&x| x.into()).collect(),
        DataType::Double => tensor.double_data.clone(),
        DataType::Int64 => tensor.int64_data.iter().map(|&x| x as f64).collect(),
        DataType::Uint32 | DataType::Uint64 => tensor.uint64_data.iter().map(|&x| x as f64).collect(),
        // int32_data holds the bits of the small types
        _ => tensor
            .int32_data
            .iter()
            .map(|&x| element(data_type, &x.to_le_bytes()[..element_size(data_type).unwrap_or(4)]))
            .collect(),
    }
}

impl TensorProto {
    /// A scalar of `data_type` (float, float16, bfloat16, double, any integer, bool), stored raw.
    pub fn scalar(name: &str, data_type: i32, value: f64) -> Self {
        Self::raw(name, data_type, vec![], &[value])
    }

    /// A 1-D tensor, stored raw.
    pub fn vector(name: &str, data_type: i32, values: &[f64]) -> Self {
        Self::raw(name, data_type, vec![values.len() as i64], values)
    }

    pub(crate) fn raw(name: &str, data_type: i32, dims: Vec<i64>, values: &[f64]) -> Self {
        let kind = DataType::try_from(data_type).unwrap_or(DataType::Undefined);
        debug_assert!(element_size(kind).is_some(), "data type {data_type} has no plain numbers");
        let raw: Vec<u8> = values.iter().flat_map(|&value| element_bytes(kind, value)).collect();
        Self {
            dims,
            data_type: Some(data_type),
            name: Some(name.to_owned()),
            raw_data: Some(raw.into()),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBERS: [DataType; 13] = [
        DataType::Float,
        DataType::Uint8,
        DataType::Int8,
        DataType::Uint16,
        DataType::Int16,
        DataType::Int32,
        DataType::Int64,
        DataType::Bool,
        DataType::Float16,
        DataType::Double,
        DataType::Uint32,
        DataType::Uint64,
        DataType::Bfloat16,
    ];

    #[test]
    fn raw_numbers_come_back() {
        for data_type in NUMBERS {
            let values = if data_type == DataType::Bool { [0.0, 1.0, 1.0] } else { [0.0, 1.0, 100.0] };
            let tensor = TensorProto::vector("t", data_type as i32, &values);
            let value = TensorValue::decode(&tensor).unwrap();
            assert_eq!((value.data, value.dims), (values.to_vec(), vec![3]), "{data_type:?}");
            assert_eq!(
                TensorValue::decode(&TensorProto::scalar("s", data_type as i32, 1.0)).unwrap().scalar(),
                Some(1.0)
            );
        }
        let negative = TensorProto::vector("t", DataType::Float16 as i32, &[-0.5, -1.0e-7]);
        assert_eq!(TensorValue::decode(&negative).unwrap().data, [-0.5, f16::from_f64(-1.0e-7).to_f64()]);
    }

    #[test]
    fn typed_numbers_come_back() {
        let base = |data_type: DataType, n| TensorProto {
            data_type: Some(data_type as i32),
            dims: vec![n],
            ..Default::default()
        };
        let decode = |tensor| TensorValue::decode(&tensor).unwrap().data;
        assert_eq!(decode(TensorProto { float_data: vec![1.5, -2.0], ..base(DataType::Float, 2) }), [1.5, -2.0]);
        assert_eq!(decode(TensorProto { double_data: vec![1e300], ..base(DataType::Double, 1) }), [1e300]);
        assert_eq!(decode(TensorProto { int64_data: vec![-7], ..base(DataType::Int64, 1) }), [-7.0]);
        assert_eq!(decode(TensorProto { uint64_data: vec![7], ..base(DataType::Uint32, 1) }), [7.0]);
        assert_eq!(decode(TensorProto { int32_data: vec![0x3c00], ..base(DataType::Float16, 1) }), [1.0]);
        assert_eq!(decode(TensorProto { int32_data: vec![0x3f80], ..base(DataType::Bfloat16, 1) }), [1.0]);
        assert_eq!(decode(TensorProto { int32_data: vec![-3, 3], ..base(DataType::Int8, 2) }), [-3.0, 3.0]);
        assert_eq!(decode(TensorProto { int32_data: vec![1], ..base(DataType::Bool, 1) }), [1.0]);
    }

    #[test]
    fn bad_tensors_are_named() {
        let mut short = TensorProto::vector("weights", DataType::Float as i32, &[1.0, 2.0]);
        short.dims = vec![3];
        assert!(TensorValue::decode(&short).unwrap_err().to_string().contains("'weights'"));
        short.dims = vec![-1];
        assert!(TensorValue::decode(&short).unwrap_err().to_string().contains("not possible"));
        short.dims = vec![i64::MAX, i64::MAX];
        assert!(TensorValue::decode(&short).is_err());
        let text = TensorProto { data_type: Some(DataType::String as i32), ..Default::default() };
        assert!(TensorValue::decode(&text).unwrap_err().to_string().contains("data type 8"));
    }

    #[test]
    fn whole_numbers_only() {
        let value = |data: &[f64]| TensorValue { data_type: 1, dims: vec![data.len() as i64], data: data.to_vec() };
        assert_eq!(value(&[1.0, -2.0]).ints(), Some(vec![1, -2]));
        assert_eq!(value(&[1.5]).ints(), None);
        assert_eq!(value(&[f64::NAN]).ints(), None);
        assert_eq!(value(&[1.7]).cast(DataType::Int32 as i32).unwrap().data, [1.0]);
        assert_eq!(value(&[1.7]).cast(DataType::String as i32), None);
    }
}
