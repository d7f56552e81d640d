//! What the operators do: inputs checked, then the row kernels of [`crate::loss`] on the host's threads.

use std::sync::Mutex;

use half::{bf16, f16};
use ort_sys::ONNXTensorElementDataType as DataType;

use super::abi::{Context, Dims, Failure, Tensor, TensorElement};
#[cfg(feature = "cuda")]
use super::cuda;
use super::inputs::{InputTensors, UpstreamTensors};
use super::ops::{LABEL_TYPES, Operator, Provider, Variant};
use crate::loss::{
    Element, EncouragingLoss, ForwardOutput, Labels, LossError, Parallel, Problem, Reduction, Shape, Upstream,
};

/// A loss as one node has it.
pub(crate) struct Kernel {
    pub(crate) operator: Operator,
    pub(crate) loss: EncouragingLoss,
    pub(crate) compute: Compute,
}

/// The code for one type of logits.
pub(crate) type Compute = fn(&Kernel, &Context) -> Result<(), Failure>;

impl Kernel {
    pub(crate) fn run(&self, context: &Context) -> Result<(), Failure> {
        (self.compute)(self, context)
    }
}

/// Picks the code for what an operator was registered for.
pub(crate) fn for_variant(variant: Variant) -> Result<Compute, Failure> {
    match variant.provider {
        Provider::Cpu => for_types(variant.logits, variant.labels),
        #[cfg(feature = "cuda")]
        Provider::Cuda => cuda::for_types(variant.logits, variant.labels),
    }
}

/// The CPU's code for a pair of types.
fn for_types(logits: DataType, labels: DataType) -> Result<Compute, Failure> {
    let compute: Option<Compute> = match logits {
        DataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16 => Some(compute::<f16>),
        DataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16 => Some(compute::<bf16>),
        DataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT => Some(compute::<f32>),
        DataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE => Some(compute::<f64>),
        _ => None,
    };
    compute
        .filter(|_| LABEL_TYPES.contains(&labels))
        .ok_or_else(|| Failure::Internal(format!("elonnx: no kernel for logits {logits:?} with labels {labels:?}")))
}

fn compute<T: Element + TensorElement>(kernel: &Kernel, context: &Context) -> Result<(), Failure> {
    match kernel.operator {
        Operator::Loss => forward::<T>(kernel, context),
        Operator::Gradient => backward::<T>(kernel, context),
        Operator::LossAndGradient => forward_backward::<T>(kernel, context),
    }
}

/// `EncouragingLoss`(logits, labels, class_weights?, bonus_weight?) → loss, margin?
fn forward<T: Element + TensorElement>(kernel: &Kernel, context: &Context) -> Result<(), Failure> {
    let inputs = Inputs::<T>::read(context, 0)?;
    let problem = inputs.problem(&kernel.loss)?;
    let outputs = LossOutputs::<T>::allocate(context, &inputs, problem.loss().reduction())?;
    let threads = HostThreads::new(context);
    let partial = problem.forward(&threads, ForwardOutput { losses: outputs.losses, margins: outputs.margins });
    threads.finish()?;
    if let Some(loss) = outputs.reduced {
        *loss = problem.reduce(partial?);
    } else {
        partial?;
    }
    Ok(())
}

/// `EncouragingLossGrad`(dloss, logits, labels, class_weights?, bonus_weight?, margin?) → dlogits
fn backward<T: Element + TensorElement>(kernel: &Kernel, context: &Context) -> Result<(), Failure> {
    let inputs = Inputs::<T>::read(context, 1)?;
    let reduction = kernel.loss.reduction();
    let UpstreamTensors { dloss, margins } =
        UpstreamTensors::read(context, reduction, &inputs.logits_shape, &inputs.labels_shape)?;
    let problem = inputs.problem(&kernel.loss)?;
    let margins = margins.map(|margins| margins.values::<f32>()).transpose()?;
    let upstream = Upstream { dloss: dloss.values::<T>()?, margins };
    let dlogits = allocate::<T>(context, 0, "dlogits", &inputs.logits_shape)?;
    let threads = HostThreads::new(context);
    let done = problem.backward(&threads, &upstream, dlogits);
    threads.finish()?;
    Ok(done?)
}

/// `EncouragingLossAndGrad`(logits, labels, class_weights?, bonus_weight?) → loss, margin?, dlogits
fn forward_backward<T: Element + TensorElement>(kernel: &Kernel, context: &Context) -> Result<(), Failure> {
    let inputs = Inputs::<T>::read(context, 0)?;
    let problem = inputs.problem(&kernel.loss)?;
    let outputs = LossOutputs::<T>::allocate(context, &inputs, problem.loss().reduction())?;
    let dlogits = allocate::<T>(context, 2, "dlogits", &inputs.logits_shape)?;
    let threads = HostThreads::new(context);
    let output = ForwardOutput { losses: outputs.losses, margins: outputs.margins };
    let partial = problem.forward_backward(&threads, output, dlogits);
    threads.finish()?;
    if let Some(loss) = outputs.reduced {
        *loss = problem.reduce(partial?);
    } else {
        partial?;
    }
    Ok(())
}

/// The host's threads. A failure of theirs is kept for [`HostThreads::finish`].
pub(crate) struct HostThreads<'a, 'b> {
    context: &'a Context<'b>,
    failure: Mutex<Option<Failure>>,
}

impl<'a, 'b> HostThreads<'a, 'b> {
    pub(crate) fn new(context: &'a Context<'b>) -> Self {
        HostThreads { context, failure: Mutex::new(None) }
    }

    /// Whether all blocks ran to their end; asked before anything is made of their results.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        self.failure.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner()).map_or(Ok(()), Err)
    }
}

impl Parallel for HostThreads<'_, '_> {
    fn for_each(&self, count: usize, work: &(dyn Fn(usize) + Sync)) {
        let done = self.context.parallel_for(count, |index| {
            work(index);
            Ok(())
        });
        if let Err(failure) = done {
            let mut first = self.failure.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            first.get_or_insert(failure);
        }
    }
}

/// The inputs that the operators share: logits, labels, class_weights?, bonus_weight?
struct Inputs<'a, T> {
    logits_shape: Dims,
    labels_shape: Dims,
    shape: Shape,
    logits: &'a [T],
    labels: Labels<'a>,
    class_weights: Option<&'a [T]>,
    bonus_weight: Option<f32>,
}

impl<'a, T: Element + TensorElement> Inputs<'a, T> {
    /// Reads them from input `first` on and checks their shapes.
    fn read(context: &Context<'a>, first: usize) -> Result<Self, Failure> {
        let tensors = InputTensors::read(context, first)?;
        Ok(Inputs {
            shape: tensors.shape,
            logits: tensors.logits.values()?,
            labels: labels(&tensors.labels)?,
            class_weights: tensors.class_weights.map(|weights| weights.values()).transpose()?,
            bonus_weight: tensors.bonus_weight.map(|weight| one_number(&weight)).transpose()?,
            logits_shape: tensors.logits.into_shape(),
            labels_shape: tensors.labels.into_shape(),
        })
    }

    fn problem(&self, loss: &EncouragingLoss) -> Result<Problem<'a, T>, Failure> {
        Ok(Problem::new(loss, self.shape, self.logits, self.labels, self.class_weights, self.bonus_weight)?)
    }
}

fn labels<'a>(tensor: &Tensor<'a>) -> Result<Labels<'a>, Failure> {
    Ok(if tensor.holds::<i32>() { Labels::Int32(tensor.values()?) } else { Labels::Int64(tensor.values()?) })
}

/// The value of a tensor that was checked to hold one.
fn one_number(tensor: &Tensor) -> Result<f32, Failure> {
    tensor.values::<f32>()?.first().copied().ok_or_else(|| Failure::Internal("elonnx: an empty number".to_owned()))
}

/// The outputs loss and margin.
struct LossOutputs<'a, T> {
    /// Reduction mean or sum: one number, known when all rows are done.
    reduced: Option<&'a mut T>,
    /// Reduction none: one loss per row.
    losses: Option<&'a mut [T]>,
    margins: Option<&'a mut [f32]>,
}

impl<'a, T: Element + TensorElement> LossOutputs<'a, T> {
    fn allocate(
        context: &Context<'a>,
        inputs: &Inputs<'a, T>,
        reduction: Reduction,
    ) -> Result<LossOutputs<'a, T>, Failure> {
        let margins = context.output(1, &inputs.labels_shape)?;
        if reduction == Reduction::None {
            let losses = allocate(context, 0, "loss", &inputs.labels_shape)?;
            return Ok(LossOutputs { reduced: None, losses: Some(losses), margins });
        }
        let reduced = allocate(context, 0, "loss", &[])?.first_mut();
        Ok(LossOutputs { reduced, losses: None, margins })
    }
}

pub(crate) fn allocate<'a, T: TensorElement>(
    context: &Context<'a>,
    index: usize,
    name: &str,
    shape: &[usize],
) -> Result<&'a mut [T], Failure> {
    context.output(index, shape)?.ok_or_else(|| Failure::invalid(format!("output {index} ({name}) is missing")))
}

impl From<LossError> for Failure {
    fn from(error: LossError) -> Failure {
        Failure::Invalid(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::ops::LOGITS_TYPES;

    #[test]
    fn every_registered_pair_of_types_has_code_and_no_other() {
        for logits in LOGITS_TYPES {
            for labels in LABEL_TYPES {
                assert!(for_types(logits, labels).is_ok(), "{logits:?} {labels:?}");
            }
            assert!(for_types(logits, DataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16).is_err());
        }
        assert!(for_types(DataType::ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32, LABEL_TYPES[0]).is_err());
    }
}
