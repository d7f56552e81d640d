//! What the operators do: inputs checked, then the row kernels of [`crate::loss`] on the host's threads.

use std::sync::Mutex;

use half::{bf16, f16};
use ort_sys::ONNXTensorElementDataType as DataType;

use super::abi::{Context, Dims, Failure, Host, Tensor, TensorElement};
use super::ops::{LABEL_TYPES, Operator};
use crate::loss::{
    Element, EncouragingLoss, ForwardOutput, Labels, LossError, Parallel, Problem, Reduction, Shape, Upstream,
};

/// One node of a session. Never changed after creation: sessions run it from several threads at once.
pub(crate) struct Kernel {
    pub(crate) host: Host,
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

/// Picks the code for the types that an operator was registered with.
pub(crate) fn for_types(logits: DataType, labels: DataType) -> Result<Compute, Failure> {
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
    let dloss = require(context, 0, "dloss")?;
    let inputs = Inputs::<T>::read(context, 1)?;
    let margin = context.input(5)?;
    let problem = inputs.problem(&kernel.loss)?;
    check_dloss(&dloss.shape(), problem.loss().reduction(), &inputs.logits_shape, &inputs.labels_shape)?;
    if let Some(margin) = &margin {
        check_shape("margin", &margin.shape(), &inputs.labels_shape, &inputs.logits_shape, "the shape of labels")?;
    }
    let upstream =
        Upstream { dloss: dloss.values::<T>()?, margins: margin.map(|margin| margin.values::<f32>()).transpose()? };
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
struct HostThreads<'a, 'b> {
    context: &'a Context<'b>,
    failure: Mutex<Option<Failure>>,
}

impl<'a, 'b> HostThreads<'a, 'b> {
    fn new(context: &'a Context<'b>) -> Self {
        HostThreads { context, failure: Mutex::new(None) }
    }

    /// Whether all blocks ran to their end; asked before anything is made of their results.
    fn finish(self) -> Result<(), Failure> {
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
            bonus_weight: tensors.bonus_weight,
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

/// The inputs before it matters which types they have: the longest part of reading them, once instead of per pair.
struct InputTensors<'a> {
    shape: Shape,
    logits: Tensor<'a>,
    labels: Tensor<'a>,
    class_weights: Option<Tensor<'a>>,
    bonus_weight: Option<f32>,
}

impl<'a> InputTensors<'a> {
    fn read(context: &Context<'a>, first: usize) -> Result<Self, Failure> {
        let logits = require(context, first, "logits")?;
        let labels = require(context, first + 1, "labels")?;
        let shape = Shape::with_labels(logits.dims(), labels.dims())?;
        let class_weights = context.input(first + 2)?;
        if let Some(weights) = &class_weights {
            let why = "one weight per class";
            check_shape("class_weights", weights.dims(), &[shape.classes()], logits.dims(), why)?;
        }
        let bonus_weight = context.input(first + 3)?.map(|tensor| one_number("bonus_weight", &tensor)).transpose()?;
        Ok(InputTensors { shape, logits, labels, class_weights, bonus_weight })
    }
}

fn one_number(name: &str, tensor: &Tensor) -> Result<f32, Failure> {
    match tensor.values::<f32>()? {
        &[value] => Ok(value),
        _ => {
            let shape = tensor.dims();
            Err(Failure::invalid(format!("{name} has shape {shape:?}, but must be one number, of shape [] or [1]")))
        }
    }
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

fn require<'a>(context: &Context<'a>, index: usize, name: &str) -> Result<Tensor<'a>, Failure> {
    context.input(index)?.ok_or_else(|| Failure::invalid(format!("input {index} ({name}) is missing")))
}

fn allocate<'a, T: TensorElement>(
    context: &Context<'a>,
    index: usize,
    name: &str,
    shape: &[usize],
) -> Result<&'a mut [T], Failure> {
    context.output(index, shape)?.ok_or_else(|| Failure::invalid(format!("output {index} ({name}) is missing")))
}

fn check_shape(name: &str, found: &[usize], expected: &[usize], logits: &[usize], why: &str) -> Result<(), Failure> {
    if found == expected {
        return Ok(());
    }
    Err(Failure::invalid(format!(
        "{name} has shape {found:?}, but logits of shape {logits:?} need {name} of shape {expected:?}: {why}"
    )))
}

/// Mean and sum have one loss; none has one per row, and takes one number for all rows too (ORT Training seeds every
/// loss with a scalar).
fn check_dloss(dloss: &[usize], reduction: Reduction, logits: &[usize], labels: &[usize]) -> Result<(), Failure> {
    if matches!(dloss, [] | [1]) {
        return Ok(());
    }
    match reduction {
        Reduction::None => check_shape("dloss", dloss, labels, logits, "the shape of labels, or one number"),
        Reduction::Mean | Reduction::Sum => Err(Failure::invalid(format!(
            "dloss has shape {dloss:?}, but with reduction {reduction} it must be one number, of shape [] or [1]"
        ))),
    }
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

    fn sentence(result: Result<(), Failure>) -> String {
        match result {
            Err(Failure::Invalid(sentence)) => sentence,
            other => panic!("expected an invalid argument, got {other:?}"),
        }
    }

    #[test]
    fn dloss_has_the_shape_of_the_loss_or_is_one_number() {
        let (logits, labels) = ([4, 10, 2], [4, 2]);
        for reduction in [Reduction::Mean, Reduction::Sum, Reduction::None] {
            assert!(check_dloss(&[], reduction, &logits, &labels).is_ok());
            assert!(check_dloss(&[1], reduction, &logits, &labels).is_ok());
        }
        assert!(check_dloss(&[4, 2], Reduction::None, &logits, &labels).is_ok());
        assert_eq!(
            sentence(check_dloss(&[8], Reduction::None, &logits, &labels)),
            "dloss has shape [8], but logits of shape [4, 10, 2] need dloss of shape [4, 2]: the shape of labels, or \
             one number"
        );
        assert_eq!(
            sentence(check_dloss(&[4, 2], Reduction::Sum, &logits, &labels)),
            "dloss has shape [4, 2], but with reduction sum it must be one number, of shape [] or [1]"
        );
    }
}
