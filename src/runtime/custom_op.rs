//! `OrtCustomOp` as ONNX Runtime 1.18 and newer read it.
//!
//! A literal layout of our own: in `ort-sys` the last four fields are there or not by the features that cargo unified in.
//! What the fields before them are is checked against `ort-sys` below.

use std::ffi::{c_char, c_int, c_void};
use std::mem::offset_of;

use ort_sys::{
    ONNXTensorElementDataType as DataType, OrtApi, OrtCustomOp, OrtCustomOpInputOutputCharacteristic as Characteristic,
    OrtKernelContext, OrtKernelInfo, OrtMemType, OrtShapeInferContext, OrtStatusPtr,
};

/// What `version` says of a struct up to `GetEndVersion`: the layout of API 17, which hosts from 1.17 on take. A number
/// below 16 has other rules for optional inputs.
pub(crate) const LAYOUT_17: u32 = 17;

/// What `version` says of the whole struct. Hosts before 1.18 refuse it ("Unsupported version '18'"); later layouts have
/// no other fields.
#[cfg(feature = "cuda")]
pub(crate) const LAYOUT_18: u32 = 18;

type Op = *const OrtCustomOp;

/// An operator for ONNX Runtime; the names of the fields are those of onnxruntime_c_api.h.
#[repr(C)]
#[derive(Clone, Copy)]
#[expect(non_snake_case, reason = "the names of the C struct")]
pub(crate) struct CustomOp {
    pub(crate) version: u32,
    pub(crate) CreateKernel: Option<unsafe extern "system" fn(Op, *const OrtApi, *const OrtKernelInfo) -> *mut c_void>,
    pub(crate) GetName: Option<unsafe extern "system" fn(Op) -> *const c_char>,
    pub(crate) GetExecutionProviderType: Option<unsafe extern "system" fn(Op) -> *const c_char>,
    pub(crate) GetInputType: Option<unsafe extern "system" fn(Op, usize) -> DataType>,
    pub(crate) GetInputTypeCount: Option<unsafe extern "system" fn(Op) -> usize>,
    pub(crate) GetOutputType: Option<unsafe extern "system" fn(Op, usize) -> DataType>,
    pub(crate) GetOutputTypeCount: Option<unsafe extern "system" fn(Op) -> usize>,
    pub(crate) KernelCompute: Option<unsafe extern "system" fn(*mut c_void, *mut OrtKernelContext)>,
    pub(crate) KernelDestroy: Option<unsafe extern "system" fn(*mut c_void)>,
    pub(crate) GetInputCharacteristic: Option<unsafe extern "system" fn(Op, usize) -> Characteristic>,
    pub(crate) GetOutputCharacteristic: Option<unsafe extern "system" fn(Op, usize) -> Characteristic>,
    pub(crate) GetInputMemoryType: Option<unsafe extern "system" fn(Op, usize) -> OrtMemType>,
    pub(crate) GetVariadicInputMinArity: Option<unsafe extern "system" fn(Op) -> c_int>,
    pub(crate) GetVariadicInputHomogeneity: Option<unsafe extern "system" fn(Op) -> c_int>,
    pub(crate) GetVariadicOutputMinArity: Option<unsafe extern "system" fn(Op) -> c_int>,
    pub(crate) GetVariadicOutputHomogeneity: Option<unsafe extern "system" fn(Op) -> c_int>,
    pub(crate) CreateKernelV2:
        Option<unsafe extern "system" fn(Op, *const OrtApi, *const OrtKernelInfo, *mut *mut c_void) -> OrtStatusPtr>,
    pub(crate) KernelComputeV2: Option<unsafe extern "system" fn(*mut c_void, *mut OrtKernelContext) -> OrtStatusPtr>,
    pub(crate) InferOutputShapeFn: Option<unsafe extern "system" fn(Op, *mut OrtShapeInferContext) -> OrtStatusPtr>,
    pub(crate) GetStartVersion: Option<unsafe extern "system" fn(Op) -> c_int>,
    pub(crate) GetEndVersion: Option<unsafe extern "system" fn(Op) -> c_int>,
    /// Which inputs' memory an output may take over; gives the number of pairs. Not told for which operator.
    pub(crate) GetMayInplace: Option<unsafe extern "system" fn(*mut *mut c_int, *mut *mut c_int) -> usize>,
    /// Takes back what `GetMayInplace` gave.
    pub(crate) ReleaseMayInplace: Option<unsafe extern "system" fn(*mut c_int, *mut c_int)>,
    /// Which outputs are always the memory of an input.
    pub(crate) GetAliasMap: Option<unsafe extern "system" fn(*mut *mut c_int, *mut *mut c_int) -> usize>,
    /// Takes back what `GetAliasMap` gave.
    pub(crate) ReleaseAliasMap: Option<unsafe extern "system" fn(*mut c_int, *mut c_int)>,
}

macro_rules! same_offsets {
    ($($field:ident)*) => {
        $(const _: () = assert!(offset_of!(CustomOp, $field) == offset_of!(OrtCustomOp, $field), "as in ort-sys");)*
    };
}
same_offsets! {
    version CreateKernel GetName GetExecutionProviderType GetInputType GetInputTypeCount GetOutputType
    GetOutputTypeCount KernelCompute KernelDestroy GetInputCharacteristic GetOutputCharacteristic GetInputMemoryType
    GetVariadicInputMinArity GetVariadicInputHomogeneity GetVariadicOutputMinArity GetVariadicOutputHomogeneity
    CreateKernelV2 KernelComputeV2 InferOutputShapeFn GetStartVersion GetEndVersion
}
const _: () = assert!(
    offset_of!(CustomOp, GetMayInplace) == offset_of!(CustomOp, GetEndVersion) + size_of::<usize>(),
    "the fields of layout 18 follow those of layout 17"
);

impl CustomOp {
    /// All callbacks null.
    pub(crate) fn empty(version: u32) -> CustomOp {
        // SAFETY: zeros are a version 0 and null callbacks, all valid.
        CustomOp { version, ..unsafe { std::mem::zeroed() } }
    }
}
