//! Tensors of ONNX Runtime that are filled and read again and again.

use half::{bf16, f16};
use ort::memory::Allocator;
use ort::value::{DynTensor, DynValue, Tensor, TensorElementType};

use crate::data::Values;
use crate::model::DataType;

/// Does `$body` with `$type` standing for the Rust type of an element type; None for one that has none here.
macro_rules! with_type {
    ($data_type:expr, $type:ident, $body:expr) => {
        match $data_type {
            DataType::Float => Some({
                type $type = f32;
                $body
            }),
            DataType::Double => Some({
                type $type = f64;
                $body
            }),
            DataType::Float16 => Some({
                type $type = f16;
                $body
            }),
            DataType::Bfloat16 => Some({
                type $type = bf16;
                $body
            }),
            DataType::Int64 => Some({
                type $type = i64;
                $body
            }),
            DataType::Int32 => Some({
                type $type = i32;
                $body
            }),
            DataType::Int16 => Some({
                type $type = i16;
                $body
            }),
            DataType::Uint16 => Some({
                type $type = u16;
                $body
            }),
            DataType::Int8 => Some({
                type $type = i8;
                $body
            }),
            DataType::Uint8 => Some({
                type $type = u8;
                $body
            }),
            _ => None,
        }
    };
}

/// The element type of a name as signatures have it: "float32".
pub fn type_of(name: &str) -> Option<DataType> {
    Some(match name {
        "float32" => DataType::Float,
        "float64" => DataType::Double,
        "float16" => DataType::Float16,
        "bfloat16" => DataType::Bfloat16,
        "int64" => DataType::Int64,
        "int32" => DataType::Int32,
        "int16" => DataType::Int16,
        "uint16" => DataType::Uint16,
        "int8" => DataType::Int8,
        "uint8" => DataType::Uint8,
        "bool" => DataType::Bool,
        _ => return None,
    })
}

/// A tensor of zeros.
pub fn zeros(data_type: DataType, dims: &[usize]) -> Result<DynTensor, String> {
    let element = match data_type {
        DataType::Float => TensorElementType::Float32,
        DataType::Double => TensorElementType::Float64,
        DataType::Float16 => TensorElementType::Float16,
        DataType::Bfloat16 => TensorElementType::Bfloat16,
        DataType::Int64 => TensorElementType::Int64,
        DataType::Int32 => TensorElementType::Int32,
        DataType::Int16 => TensorElementType::Int16,
        DataType::Uint16 => TensorElementType::Uint16,
        DataType::Int8 => TensorElementType::Int8,
        DataType::Uint8 => TensorElementType::Uint8,
        DataType::Bool => TensorElementType::Bool,
        other => return Err(format!("tensors of type {other:?} are not trained with")),
    };
    DynTensor::new(&Allocator::default(), element, dims.to_vec()).map_err(|error| error.to_string())
}

/// Little-endian elements into a tensor of as many.
pub fn set_bytes(tensor: &mut DynTensor, data_type: DataType, bytes: &[u8]) -> Result<(), String> {
    with_type!(data_type, T, {
        let (_, elements) = tensor.try_extract_tensor_mut::<T>().map_err(|error| error.to_string())?;
        if size_of_val(elements) != bytes.len() {
            return Err(format!("{} bytes do not make {} elements", bytes.len(), elements.len()));
        }
        for (element, bytes) in elements.iter_mut().zip(bytes.chunks_exact(size_of::<T>())) {
            let mut array = [0; size_of::<T>()];
            array.copy_from_slice(bytes);
            *element = <T>::from_le_bytes(array);
        }
    })
    .ok_or_else(|| format!("elements of type {data_type:?} cannot be set"))
}

/// A tensor over memory of ours, with little-endian elements: ONNX Runtime takes no other in the place of an initializer.
pub fn owned(data_type: DataType, dims: Vec<usize>, bytes: &[u8]) -> Result<DynValue, String> {
    with_type!(data_type, T, {
        let (elements, rest) = bytes.as_chunks::<{ size_of::<T>() }>();
        if !rest.is_empty() {
            return Err(format!("{} bytes do not make elements of type {data_type:?}", bytes.len()));
        }
        let elements: Vec<T> = elements.iter().map(|bytes| <T>::from_le_bytes(*bytes)).collect();
        Tensor::from_array((dims, elements)).map(Tensor::into_dyn).map_err(|error| error.to_string())
    })
    .ok_or_else(|| format!("elements of type {data_type:?} in a file of their own cannot be read"))?
}

/// The little-endian elements of a tensor.
pub fn bytes_of(tensor: &DynTensor, data_type: DataType) -> Result<Vec<u8>, String> {
    with_type!(data_type, T, {
        let (_, elements) = tensor.try_extract_tensor::<T>().map_err(|error| error.to_string())?;
        elements.iter().flat_map(|element| element.to_le_bytes()).collect()
    })
    .ok_or_else(|| format!("elements of type {data_type:?} cannot be read"))
}

/// Values into a tensor of the same type and as many elements.
pub fn set_values(tensor: &mut DynTensor, values: &Values) -> Result<(), String> {
    macro_rules! each {
        ($($variant:ident $type:ty),*) => {
            match values {
                $(Values::$variant(values) => {
                    let (_, elements) = tensor.try_extract_tensor_mut::<$type>().map_err(|error| error.to_string())?;
                    if elements.len() != values.len() {
                        return Err(format!("{} values do not fill {} elements", values.len(), elements.len()));
                    }
                    elements.copy_from_slice(values);
                })*
            }
        };
    }
    each!(Bool bool, U8 u8, I8 i8, U16 u16, I16 i16, I32 i32, I64 i64, F16 f16, F32 f32, F64 f64);
    Ok(())
}

/// The element type of values.
pub fn type_of_values(values: &Values) -> DataType {
    match values {
        Values::Bool(_) => DataType::Bool,
        Values::U8(_) => DataType::Uint8,
        Values::I8(_) => DataType::Int8,
        Values::U16(_) => DataType::Uint16,
        Values::I16(_) => DataType::Int16,
        Values::I32(_) => DataType::Int32,
        Values::I64(_) => DataType::Int64,
        Values::F16(_) => DataType::Float16,
        Values::F32(_) => DataType::Float,
        Values::F64(_) => DataType::Double,
    }
}

/// Sizes and elements of an output of any float type; `buffer` holds what is converted.
pub fn floats<'a>(value: &'a DynValue, buffer: &'a mut Vec<f32>) -> Result<(Vec<usize>, &'a [f32]), String> {
    let sizes = |shape: &ort::value::Shape| shape.iter().map(|&d| usize::try_from(d).unwrap_or(0)).collect();
    if let Ok((shape, floats)) = value.try_extract_tensor::<f32>() {
        return Ok((sizes(shape), floats));
    }
    buffer.clear();
    let shape = if let Ok((shape, halves)) = value.try_extract_tensor::<f16>() {
        buffer.extend(halves.iter().map(|x| x.to_f32()));
        shape
    } else if let Ok((shape, halves)) = value.try_extract_tensor::<bf16>() {
        buffer.extend(halves.iter().map(|x| x.to_f32()));
        shape
    } else {
        let (shape, doubles) = value.try_extract_tensor::<f64>().map_err(|error| error.to_string())?;
        buffer.extend(doubles.iter().map(|&x| x as f32));
        shape
    };
    Ok((sizes(shape), buffer))
}
