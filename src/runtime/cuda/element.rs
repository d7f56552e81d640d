//! The types that logits may have, each with a module of its own.

use ort_sys::ONNXTensorElementDataType as DataType;

/// T, the type of logits, class weights, losses and gradients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ElementType {
    F32,
    F16,
    Bf16,
    F64,
}

impl ElementType {
    pub(crate) const ALL: [ElementType; 4] = [ElementType::F32, ElementType::F16, ElementType::Bf16, ElementType::F64];

    pub(crate) fn of(data_type: DataType) -> Option<ElementType> {
        Self::ALL.into_iter().find(|element| element.data_type() == data_type)
    }

    /// ONNX's number for it.
    pub(crate) fn data_type(self) -> DataType {
        match self {
            ElementType::F32 => DataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
            ElementType::F16 => DataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16,
            ElementType::Bf16 => DataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16,
            ElementType::F64 => DataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE,
        }
    }

    /// In bytes.
    pub(crate) fn size(self) -> usize {
        match self {
            ElementType::F16 | ElementType::Bf16 => 2,
            ElementType::F32 => 4,
            ElementType::F64 => 8,
        }
    }

    /// ONNX's name for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            ElementType::F32 => "float",
            ElementType::F16 => "float16",
            ElementType::Bf16 => "bfloat16",
            ElementType::F64 => "double",
        }
    }

    /// The kernels, with a NUL at the end as the driver wants it.
    pub(crate) fn ptx(self) -> &'static str {
        match self {
            ElementType::F32 => concat!(include_str!("../../../cuda/f32.ptx"), "\0"),
            ElementType::F16 => concat!(include_str!("../../../cuda/f16.ptx"), "\0"),
            ElementType::Bf16 => concat!(include_str!("../../../cuda/bf16.ptx"), "\0"),
            ElementType::F64 => concat!(include_str!("../../../cuda/f64.ptx"), "\0"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_are_c_strings_for_drivers_from_cuda_12_0_on() {
        for element in ElementType::ALL {
            let ptx = element.ptx();
            assert_eq!(ptx.matches('\0').count(), 1, "{element:?}");
            assert!(ptx.ends_with('\0'), "{element:?}");
            assert!(ptx.contains("\n.version 8.0\n"), "{element:?}");
            assert!(ptx.contains("\n.target sm_80\n"), "{element:?}");
        }
    }
}
