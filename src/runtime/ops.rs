//! The operators as ONNX Runtime sees them: names, inputs, outputs, types, and the callbacks of `OrtCustomOp`.
//!
//! A custom op of the C API has no type variables, so each loss is registered once per pair of logits and label type,
//! and all of them for each execution provider; ONNX Runtime picks by type and provider. The operators of training are
//! for float32 on the CPU.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::null;

use ort_sys::{
    ONNXTensorElementDataType as DataType, OrtApi, OrtCustomOp, OrtCustomOpInputOutputCharacteristic as Characteristic,
    OrtKernelContext, OrtKernelInfo, OrtMemType, OrtStatusPtr,
};

use super::abi::{Context, Failure, Host, NodeInfo, catch, guard};
use super::attributes;
use super::custom_op::{CustomOp, LAYOUT_17};
#[cfg(feature = "cuda")]
use super::in_place;
use super::kernel::{self, Kernel};
use super::shapes;
use super::training::{self, Training};
use crate::rewrite::{DOMAIN_VERSION, GRAD_OP, LOSS_AND_GRAD_OP, LOSS_OP};

/// Which of the operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operator {
    /// `EncouragingLoss`
    Loss,
    /// `EncouragingLossGrad`
    Gradient,
    /// `EncouragingLossAndGrad`
    LossAndGradient,
}

impl Operator {
    pub(crate) const ALL: [Operator; 3] = [Operator::Loss, Operator::Gradient, Operator::LossAndGradient];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Operator::Loss => LOSS_OP,
            Operator::Gradient => GRAD_OP,
            Operator::LossAndGradient => LOSS_AND_GRAD_OP,
        }
    }

    /// In order (design §3).
    fn inputs(self) -> &'static [Slot] {
        match self {
            Operator::Loss | Operator::LossAndGradient => LOSS_INPUTS,
            Operator::Gradient => GRADIENT_INPUTS,
        }
    }

    /// In order (design §3).
    fn outputs(self) -> &'static [Slot] {
        match self {
            Operator::Loss => LOSS_OUTPUTS,
            Operator::Gradient => GRADIENT_OUTPUTS,
            Operator::LossAndGradient => LOSS_AND_GRADIENT_OUTPUTS,
        }
    }
}

/// logits, labels, class_weights?, bonus_weight?
const LOSS_INPUTS: &[Slot] =
    &[required(SlotType::Logits), required(SlotType::Labels), optional(SlotType::Logits), optional(SlotType::Float)];
/// dloss, logits, labels, class_weights?, bonus_weight?, margin?
const GRADIENT_INPUTS: &[Slot] = &[
    required(SlotType::Logits),
    required(SlotType::Logits),
    required(SlotType::Labels),
    optional(SlotType::Logits),
    optional(SlotType::Float),
    optional(SlotType::Float),
];
/// loss, margin?
const LOSS_OUTPUTS: &[Slot] = &[required(SlotType::Logits), optional(SlotType::Float)];
/// dlogits
const GRADIENT_OUTPUTS: &[Slot] = &[required(SlotType::Logits)];
/// loss, margin?, dlogits
const LOSS_AND_GRADIENT_OUTPUTS: &[Slot] =
    &[required(SlotType::Logits), optional(SlotType::Float), required(SlotType::Logits)];

/// An input or output.
pub(crate) struct Slot {
    kind: SlotType,
    optional: bool,
}

pub(crate) enum SlotType {
    /// T, the type of the logits
    Logits,
    /// Tind, the type of the labels
    Labels,
    /// float32 whatever T is
    Float,
    /// int64
    Int64,
}

pub(crate) const fn required(kind: SlotType) -> Slot {
    Slot { kind, optional: false }
}

const fn optional(kind: SlotType) -> Slot {
    Slot { kind, optional: true }
}

/// T: what logits, class weights, loss and gradients may be.
pub(crate) const LOGITS_TYPES: [DataType; 4] = [
    DataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT,
    DataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16,
    DataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16,
    DataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE,
];

/// Tind: what labels may be.
pub(crate) const LABEL_TYPES: [DataType; 2] =
    [DataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64, DataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32];

/// On what device an operator runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Provider {
    /// ONNX Runtime's own, which every host has.
    Cpu,
    /// `CUDAExecutionProvider`. Hosts without it never ask for these kernels, and don't mind that they are there.
    #[cfg(feature = "cuda")]
    Cuda,
}

impl Provider {
    pub(crate) const ALL: &[Provider] = &[
        Provider::Cpu,
        #[cfg(feature = "cuda")]
        Provider::Cuda,
    ];

    /// As ONNX Runtime calls it; null is the CPU.
    fn name(self) -> *const c_char {
        match self {
            Provider::Cpu => null(),
            #[cfg(feature = "cuda")]
            Provider::Cuda => c"CUDAExecutionProvider".as_ptr(),
        }
    }
}

/// What a registration is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Variant {
    pub(crate) operator: Operator,
    pub(crate) provider: Provider,
    pub(crate) logits: DataType,
    pub(crate) labels: DataType,
}

impl Variant {
    /// Every operator for every provider and pair of types.
    pub(crate) fn all() -> impl Iterator<Item = Variant> {
        Provider::ALL.iter().flat_map(|&provider| {
            Operator::ALL.into_iter().flat_map(move |operator| {
                LOGITS_TYPES.into_iter().flat_map(move |logits| {
                    LABEL_TYPES.into_iter().map(move |labels| Variant { operator, provider, logits, labels })
                })
            })
        })
    }
}

/// What a host may be offered; by its version, see plugin.rs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Abilities {
    /// a shape callback
    pub(crate) shapes: bool,
    /// outputs in the memory of inputs
    #[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "the CPU kernels work on slices, which never alias"))]
    pub(crate) in_place: bool,
}

/// What is registered.
#[derive(Clone, Copy)]
pub(crate) enum Definition {
    /// A loss for some types and a provider.
    Loss(Variant),
    /// An operator of training.
    Training(&'static Training),
}

impl Definition {
    /// All registrations.
    pub(crate) fn all() -> impl Iterator<Item = Definition> {
        Variant::all().map(Definition::Loss).chain(training::ALL.iter().copied().map(Definition::Training))
    }

    fn name(self) -> &'static str {
        match self {
            Definition::Loss(variant) => variant.operator.name(),
            Definition::Training(operator) => operator.name,
        }
    }

    fn provider(self) -> Provider {
        match self {
            Definition::Loss(variant) => variant.provider,
            Definition::Training(_) => Provider::Cpu,
        }
    }

    fn inputs(self) -> &'static [Slot] {
        match self {
            Definition::Loss(variant) => variant.operator.inputs(),
            Definition::Training(operator) => operator.inputs,
        }
    }

    fn outputs(self) -> &'static [Slot] {
        match self {
            Definition::Loss(variant) => variant.operator.outputs(),
            Definition::Training(operator) => operator.outputs,
        }
    }

    fn data_type(self, slot: &Slot) -> DataType {
        const FLOAT: DataType = DataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
        const INT64: DataType = DataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;
        match (&slot.kind, self) {
            (SlotType::Logits, Definition::Loss(variant)) => variant.logits,
            (SlotType::Labels, Definition::Loss(variant)) => variant.labels,
            (SlotType::Logits | SlotType::Float, _) => FLOAT,
            (SlotType::Labels | SlotType::Int64, _) => INT64,
        }
    }
}

/// One registration in one host. ONNX Runtime holds a pointer to its head.
#[repr(C)]
pub(crate) struct Op {
    callbacks: CustomOp,
    pub(crate) host: Host,
    pub(crate) definition: Definition,
    name: CString,
}

impl Op {
    pub(crate) fn new(host: Host, definition: Definition, abilities: Abilities) -> Op {
        let name = CString::new(definition.name()).unwrap_or_default();
        Op { callbacks: callbacks(definition, abilities), host, definition, name }
    }

    pub(crate) fn as_custom_op(&self) -> *const OrtCustomOp {
        // from the whole, not from the field: the callbacks go back from this pointer to the rest of `Op`
        std::ptr::from_ref(self).cast()
    }

    /// # Safety
    /// `op` must come from [`Op::as_custom_op`] of an `Op` that lives.
    pub(crate) unsafe fn of<'a>(op: *const OrtCustomOp) -> &'a Op {
        // SAFETY: `Op` is repr(C) and starts with the OrtCustomOp.
        unsafe { &*op.cast::<Op>() }
    }
}

fn callbacks(definition: Definition, abilities: Abilities) -> CustomOp {
    let op = CustomOp {
        GetName: Some(get_name),
        GetExecutionProviderType: Some(get_execution_provider),
        GetInputTypeCount: Some(get_input_count),
        GetInputType: Some(get_input_type),
        GetInputCharacteristic: Some(get_input_characteristic),
        GetInputMemoryType: Some(get_input_memory_type),
        GetOutputTypeCount: Some(get_output_count),
        GetOutputType: Some(get_output_type),
        GetOutputCharacteristic: Some(get_output_characteristic),
        GetVariadicInputMinArity: Some(one),
        GetVariadicInputHomogeneity: Some(one),
        GetVariadicOutputMinArity: Some(one),
        GetVariadicOutputHomogeneity: Some(one),
        GetStartVersion: Some(get_start_version),
        GetEndVersion: Some(get_end_version),
        CreateKernelV2: Some(create_kernel),
        KernelComputeV2: Some(compute),
        KernelDestroy: Some(destroy_kernel),
        InferOutputShapeFn: abilities.shapes.then_some(shapes::infer),
        ..CustomOp::empty(LAYOUT_17)
    };
    match definition {
        #[cfg(feature = "cuda")]
        Definition::Loss(Variant { provider: Provider::Cuda, operator, .. }) if abilities.in_place => {
            in_place::offered(operator, op)
        }
        _ => op,
    }
}

// The callbacks below that give a plain value cannot panic: they index with `get`.

unsafe extern "system" fn get_name(op: *const OrtCustomOp) -> *const c_char {
    // SAFETY: ONNX Runtime passes the pointer that was registered.
    unsafe { Op::of(op) }.name.as_ptr()
}

unsafe extern "system" fn get_execution_provider(op: *const OrtCustomOp) -> *const c_char {
    // SAFETY: as in `get_name`.
    unsafe { Op::of(op) }.definition.provider().name()
}

unsafe extern "system" fn get_input_count(op: *const OrtCustomOp) -> usize {
    // SAFETY: as in `get_name`.
    unsafe { Op::of(op) }.definition.inputs().len()
}

unsafe extern "system" fn get_output_count(op: *const OrtCustomOp) -> usize {
    // SAFETY: as in `get_name`.
    unsafe { Op::of(op) }.definition.outputs().len()
}

unsafe extern "system" fn get_input_type(op: *const OrtCustomOp, index: usize) -> DataType {
    // SAFETY: as in `get_name`.
    let op = unsafe { Op::of(op) };
    data_type(op, op.definition.inputs(), index)
}

unsafe extern "system" fn get_output_type(op: *const OrtCustomOp, index: usize) -> DataType {
    // SAFETY: as in `get_name`.
    let op = unsafe { Op::of(op) };
    data_type(op, op.definition.outputs(), index)
}

fn data_type(op: &Op, slots: &[Slot], index: usize) -> DataType {
    slots.get(index).map_or(DataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED, |slot| op.definition.data_type(slot))
}

unsafe extern "system" fn get_input_characteristic(op: *const OrtCustomOp, index: usize) -> Characteristic {
    // SAFETY: as in `get_name`.
    characteristic(unsafe { Op::of(op) }.definition.inputs(), index)
}

unsafe extern "system" fn get_output_characteristic(op: *const OrtCustomOp, index: usize) -> Characteristic {
    // SAFETY: as in `get_name`.
    characteristic(unsafe { Op::of(op) }.definition.outputs(), index)
}

fn characteristic(slots: &[Slot], index: usize) -> Characteristic {
    match slots.get(index) {
        Some(slot) if !slot.optional => Characteristic::INPUT_OUTPUT_REQUIRED,
        _ => Characteristic::INPUT_OUTPUT_OPTIONAL,
    }
}

/// Where the provider computes. On CUDA that is so for single numbers (dloss, bonus_weight) as well: a kernel that had
/// them on the host would wait for the device before each launch.
unsafe extern "system" fn get_input_memory_type(_: *const OrtCustomOp, _: usize) -> OrtMemType {
    OrtMemType::OrtMemTypeDefault
}

/// No input is variadic; the host asks all the same.
unsafe extern "system" fn one(_: *const OrtCustomOp) -> c_int {
    1
}

unsafe extern "system" fn get_start_version(_: *const OrtCustomOp) -> c_int {
    DOMAIN_VERSION as c_int
}

unsafe extern "system" fn get_end_version(_: *const OrtCustomOp) -> c_int {
    c_int::MAX
}

unsafe extern "system" fn create_kernel(
    op: *const OrtCustomOp,
    _: *const OrtApi,
    info: *const OrtKernelInfo,
    kernel: *mut *mut c_void,
) -> OrtStatusPtr {
    // SAFETY: as in `get_name`.
    let op = unsafe { Op::of(op) };
    guard(op.host, || {
        // SAFETY: `info` is the host's and valid during this call.
        let node = unsafe { NodeInfo::new(op.host, info) };
        let work = work_of(op.definition, &node).map_err(|failure| at_node(op.definition, &node, failure))?;
        let made = Box::new(Running { host: op.host, name: op.definition.name(), work });
        // SAFETY: `kernel` is where the host wants the pointer; it comes back in `compute` and `destroy_kernel`.
        unsafe { *kernel = Box::into_raw(made).cast() };
        Ok(())
    })
}

/// One node of a session. Never changed after creation: sessions run it from several threads at once.
struct Running {
    host: Host,
    name: &'static str,
    work: Work,
}

enum Work {
    Loss(Kernel),
    Training(Box<dyn training::Run>),
}

fn work_of(definition: Definition, node: &NodeInfo) -> Result<Work, Failure> {
    Ok(match definition {
        Definition::Loss(variant) => {
            let loss = attributes::read(node)?;
            let compute = kernel::for_variant(variant)?;
            Work::Loss(Kernel { operator: variant.operator, loss, compute })
        }
        Definition::Training(operator) => Work::Training((operator.create)(node)?),
    })
}

/// Says which node an attribute error is about: at creation the host doesn't.
fn at_node(definition: Definition, node: &NodeInfo, failure: Failure) -> Failure {
    match failure {
        Failure::Invalid(sentence) => {
            Failure::Invalid(format!("{} node '{}': {sentence}", definition.name(), node.name()))
        }
        other => other,
    }
}

unsafe extern "system" fn compute(kernel: *mut c_void, context: *mut OrtKernelContext) -> OrtStatusPtr {
    // SAFETY: the pointer is from `create_kernel`. Shared, never mutable: one kernel runs on several threads at once.
    let kernel = unsafe { &*kernel.cast::<Running>() };
    guard(kernel.host, || {
        // SAFETY: `context` is the host's and valid during this call, which `'_` does not outlast.
        let context = unsafe { Context::new(kernel.host, context) }?;
        let done = match &kernel.work {
            Work::Loss(loss) => loss.run(&context),
            Work::Training(operator) => operator.run(&context),
        };
        done.map_err(|failure| match failure {
            Failure::Invalid(sentence) => Failure::Invalid(format!("{}: {sentence}", kernel.name)),
            other => other,
        })
    })
}

unsafe extern "system" fn destroy_kernel(kernel: *mut c_void) {
    if kernel.is_null() {
        return;
    }
    let dropped = catch(|| {
        // SAFETY: the pointer is from `create_kernel`, and the host destroys a kernel once.
        drop(unsafe { Box::from_raw(kernel.cast::<Running>()) });
        Ok(())
    });
    // there is no status to give back; a kernel holds plain values and buffers, so there is nothing to fail either
    drop(dropped);
}

/// The domain's name for the C API.
pub(crate) const DOMAIN_NAME: &CStr = c"ai.elonnx";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_domain_of_the_plugin_is_that_of_the_rewritten_models() {
        assert_eq!(DOMAIN_NAME.to_str().unwrap(), crate::rewrite::DOMAIN);
    }

    #[test]
    fn required_inputs_come_first() {
        for definition in Definition::all() {
            let inputs = definition.inputs();
            let first_optional = inputs.iter().position(|s| s.optional).unwrap_or(usize::MAX);
            assert!(inputs.iter().skip(first_optional).all(|s| s.optional), "{}", definition.name());
        }
    }

    #[test]
    fn indices_beyond_the_slots_do_not_panic() {
        assert_eq!(characteristic(Operator::Loss.inputs(), 99), Characteristic::INPUT_OUTPUT_OPTIONAL);
    }
}
