//! The shapes of the outputs, told to the host while it makes the session.
//!
//! ONNX Runtime shares one callback among the registrations of a name (the first one's), so types come from the inputs
//! at hand and never from the registration.

use std::ffi::{CStr, c_char};
use std::ptr::{null, null_mut};

use ort_sys::{OrtCustomOp, OrtOpAttrType, OrtShapeInferContext, OrtStatusPtr, OrtTensorTypeAndShapeInfo};

use super::abi::{Failure, Host, TensorElement, describe, guard, ort_call};
use super::ops::{Definition, LOGITS_TYPES, Op, Operator};
use super::training::{OutputShape, Training};

/// What is known of a tensor before the model runs.
#[derive(Clone)]
struct KnownShape {
    data_type: i32,
    /// −1 where only the name is known, or nothing
    dims: Vec<i64>,
    /// names of dimensions; strings of the host's, which live as long as the callback runs
    names: Vec<*const c_char>,
}

impl KnownShape {
    fn scalar(data_type: i32) -> KnownShape {
        KnownShape { data_type, dims: vec![], names: vec![] }
    }

    fn with_type(&self, data_type: i32) -> KnownShape {
        KnownShape { data_type, ..self.clone() }
    }

    /// Whether each size is a number or has a name. The host takes a size that has neither for the number −1, and where
    /// Shape reads such a tensor it folds that number into the graph.
    ///
    /// # Safety
    /// The names must be valid.
    unsafe fn is_definite(&self) -> bool {
        self.dims.iter().zip(&self.names).all(|(&size, &name)| {
            // SAFETY: the caller's; a name that is there ends with NUL.
            size >= 0 || (!name.is_null() && unsafe { *name } != 0)
        })
    }

    /// The shape of labels to logits of this shape.
    fn without_class_axis(&self) -> KnownShape {
        let mut shape = self.clone();
        shape.dims.remove(1);
        shape.names.remove(1);
        shape
    }
}

/// `InferOutputShapeFn`. A failure is ignored by the hosts; the shapes are then unknown until the model runs.
pub(crate) unsafe extern "system" fn infer(op: *const OrtCustomOp, context: *mut OrtShapeInferContext) -> OrtStatusPtr {
    // SAFETY: ONNX Runtime passes the pointer that was registered.
    let op = unsafe { Op::of(op) };
    guard(op.host, || {
        // SAFETY: `context` is the host's and valid during this call.
        unsafe {
            match op.definition {
                Definition::Loss(variant) => infer_loss(op.host, variant.operator, context),
                Definition::Training(operator) => infer_training(op.host, operator, context),
            }
        }
    })
}

/// # Safety
/// `context` must be valid.
unsafe fn infer_training(host: Host, operator: &Training, context: *mut OrtShapeInferContext) -> Result<(), Failure> {
    for (index, shape) in operator.shapes.iter().enumerate() {
        let from = match *shape {
            OutputShape::Like(input) | OutputShape::First(input) => input,
            OutputShape::Computed => continue,
        };
        // SAFETY: the caller's; the names are from inputs of the same context, and every node has all outputs.
        unsafe {
            let mut known = input(host, context, from)?;
            if let OutputShape::First(_) = shape {
                known.dims.truncate(1);
                known.names.truncate(1);
            }
            // an unknown shape looks like that of a scalar, which no tensor of theirs is
            if !known.dims.is_empty() {
                set_output(host, context, index, &known)?;
            }
        }
    }
    Ok(())
}

/// # Safety
/// `context` must be valid.
unsafe fn infer_loss(host: Host, operator: Operator, context: *mut OrtShapeInferContext) -> Result<(), Failure> {
    let first = if operator == Operator::Gradient { 1 } else { 0 };
    // SAFETY: the caller's.
    let logits = unsafe { input(host, context, first) }?;
    // an unknown shape looks like that of a scalar, which logits never are
    if logits.dims.len() < 2 {
        return Ok(());
    }
    let labels = logits.without_class_axis();
    // SAFETY: the caller's.
    let per_row = unsafe { text_attribute(host, context, c"reduction") }.is_some_and(|text| text == "none");
    let loss = if per_row { labels.clone() } else { KnownShape::scalar(logits.data_type) };
    // Only outputs that every node has are set: the host doesn't check the index (1.24 aborts, others write beyond their
    // vector), and its API 17 doesn't tell how many outputs the node has. So not the margin of the loss, which comes last.
    // SAFETY: the caller's; the names are from inputs of the same context.
    unsafe {
        match operator {
            Operator::Loss => set_output(host, context, 0, &loss)?,
            Operator::Gradient => set_output(host, context, 0, &logits)?,
            Operator::LossAndGradient => {
                set_output(host, context, 0, &loss)?;
                set_output(host, context, 1, &labels.with_type(f32::DATA_TYPE))?;
                set_output(host, context, 2, &logits)?;
            }
        }
    }
    Ok(())
}

/// # Safety
/// `context` must be valid.
unsafe fn input(host: Host, context: *const OrtShapeInferContext, index: usize) -> Result<KnownShape, Failure> {
    let mut info = null_mut();
    // SAFETY: the caller's; `info` is borrowed from the context.
    unsafe { ort_call!(host, ShapeInferContext_GetInputTypeShape(context, index, &mut info)) }?;
    // SAFETY: `info` was just set.
    let (data_type, dims) = unsafe { describe(host, info) }?;
    let mut names = vec![null(); dims.len()];
    // SAFETY: `names` holds as many entries as there are dimensions.
    unsafe { ort_call!(host, GetSymbolicDimensions(info, names.as_mut_ptr(), names.len())) }?;
    Ok(KnownShape { data_type, dims: dims.into_vec(), names })
}

/// # Safety
/// `context` must be valid.
unsafe fn text_attribute(host: Host, context: *const OrtShapeInferContext, name: &CStr) -> Option<String> {
    let mut attribute = null();
    // SAFETY: the caller's; `name` is NUL-terminated.
    unsafe { ort_call!(host, ShapeInferContext_GetAttribute(context, name.as_ptr(), &mut attribute)) }.ok()?;
    // longer than any value that means something here; a longer one fails, and the kernel's creation will name it
    let mut bytes = [0u8; 16];
    let mut size = 0;
    let into = bytes.as_mut_ptr().cast();
    // SAFETY: `attribute` was just set, `bytes` holds as many bytes as said.
    unsafe { ort_call!(host, ReadOpAttr(attribute, OrtOpAttrType::ORT_OP_ATTR_STRING, into, bytes.len(), &mut size)) }
        .ok()?;
    // some hosts count the NUL in `size`
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(size.min(bytes.len()));
    Some(String::from_utf8_lossy(&bytes[..end]).into_owned())
}

/// Leaves the output alone where a size has no name.
///
/// # Safety
/// `context` must be valid, and so the names in `shape`.
unsafe fn set_output(
    host: Host,
    context: *const OrtShapeInferContext,
    index: usize,
    shape: &KnownShape,
) -> Result<(), Failure> {
    // SAFETY: the caller's.
    if !unsafe { shape.is_definite() } {
        return Ok(());
    }
    let mut info = null_mut();
    // SAFETY: makes a new info, released below.
    unsafe { ort_call!(host, CreateTensorTypeAndShapeInfo(&mut info)) }?;
    // SAFETY: the caller's; `info` was just made.
    let set = unsafe { fill(host, info, shape) }
        .and_then(|()| unsafe { ort_call!(host, ShapeInferContext_SetOutputTypeShape(context, index, info)) });
    // SAFETY: the host has copied what it needs.
    unsafe { ort_call!(host, void ReleaseTensorTypeAndShapeInfo(info)) };
    set
}

/// # Safety
/// `info` and the names in `shape` must be valid.
unsafe fn fill(host: Host, info: *mut OrtTensorTypeAndShapeInfo, shape: &KnownShape) -> Result<(), Failure> {
    let data_type = LOGITS_TYPES.into_iter().find(|&known| known as i32 == shape.data_type);
    let data_type = data_type.ok_or_else(|| Failure::Internal(format!("elonnx: no type {}", shape.data_type)))?;
    let mut names = shape.names.clone();
    // SAFETY: the caller's. The host copies dimensions and names. Names are set even where there are none: the host
    // wants as many names as dimensions.
    unsafe {
        ort_call!(host, SetTensorElementType(info, data_type))?;
        ort_call!(host, SetDimensions(info, shape.dims.as_ptr(), shape.dims.len()))?;
        ort_call!(host, SetSymbolicDimensions(info, names.as_mut_ptr(), names.len()))
    }
}
