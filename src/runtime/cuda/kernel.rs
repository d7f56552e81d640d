//! What the operators do on a device: inputs checked as on the CPU, then launches on the host's stream.

use ort_sys::ONNXTensorElementDataType as DataType;

use super::element::ElementType;
use super::launch::{Arguments, Call, Launch, Plan};
use super::plan::plan;
use super::problem::Problem;
use super::stream::Stream;
use crate::loss::{Bonus, EncouragingLoss, Reduction, Shape};
use crate::runtime::abi::{Context, Dims, Failure, Tensor, TensorElement};
use crate::runtime::inputs::{InputTensors, UpstreamTensors};
use crate::runtime::kernel::{Compute, Kernel};
use crate::runtime::ops::{LABEL_TYPES, Operator};

/// The code for a pair of types.
pub(crate) fn for_types(logits: DataType, labels: DataType) -> Result<Compute, Failure> {
    let compute: Option<Compute> = ElementType::of(logits).map(|element| -> Compute {
        match element {
            ElementType::F32 => |kernel: &Kernel, context: &Context| run(ElementType::F32, kernel, context),
            ElementType::F16 => |kernel: &Kernel, context: &Context| run(ElementType::F16, kernel, context),
            ElementType::Bf16 => |kernel: &Kernel, context: &Context| run(ElementType::Bf16, kernel, context),
            ElementType::F64 => |kernel: &Kernel, context: &Context| run(ElementType::F64, kernel, context),
        }
    });
    compute.filter(|_| LABEL_TYPES.contains(&labels)).ok_or_else(|| {
        Failure::Internal(format!("elonnx: no CUDA kernel for logits {logits:?} with labels {labels:?}"))
    })
}

fn run(element: ElementType, kernel: &Kernel, context: &Context) -> Result<(), Failure> {
    let (problem, loss) = read(element, kernel, context)?;
    // SAFETY: the host's stream lives at least as long as this run.
    let stream = unsafe { Stream::new(context.stream()?) }?;
    let (operator, reduction) = (kernel.operator, kernel.loss.reduction());
    if problem.rows == 0 {
        return if loss == 0 { Ok(()) } else { Ok(stream.run(element, |_, _| loss_of_no_rows(loss, reduction))?) };
    }
    Ok(stream
        .run(element, |limits, scratch| plan(&Call { operator, element, reduction, problem, loss, limits, scratch }))?)
}

/// The one loss of a mean or sum over no rows: `reduce` of nothing, 0.
fn loss_of_no_rows(loss: u64, reduction: Reduction) -> Plan {
    let mean = i32::from(reduction == Reduction::Mean);
    let arguments = Arguments::Reduce { partials: 0, count: 0, loss, mean };
    let mut plan = Plan::default();
    plan.launches.push(Launch { kernel: "reduce", grid: 1, block: 256, shared: 0, arguments });
    plan
}

/// The problem as far as the operator says it, and where the one loss of mean and sum goes (0: there is none).
fn read(element: ElementType, kernel: &Kernel, context: &Context) -> Result<(Problem, u64), Failure> {
    let first = if kernel.operator == Operator::Gradient { 1 } else { 0 };
    let inputs = InputTensors::read(context, first)?;
    check_classes(inputs.shape)?;
    let parameters = parameters(&kernel.loss, inputs.shape);
    let problem = given(element, &inputs, parameters)?;
    let outputs = Outputs { context, element, logits: inputs.logits.into_shape(), labels: inputs.labels.into_shape() };
    match kernel.operator {
        Operator::Loss => outputs.loss(problem, kernel.loss.reduction()),
        Operator::LossAndGradient => {
            let (problem, loss) = outputs.loss(problem, kernel.loss.reduction())?;
            Ok((Problem { dlogits: outputs.dlogits(2)?, ..problem }, loss))
        }
        Operator::Gradient => {
            let upstream = UpstreamTensors::read(context, kernel.loss.reduction(), &outputs.logits, &outputs.labels)?;
            let problem = Problem {
                dloss: address(element, &upstream.dloss)?,
                dloss_per_row: i32::from(upstream.dloss.dims().iter().product::<usize>() != 1),
                saved_margins: optional(&upstream.margins, floats)?,
                ..problem
            };
            Ok((Problem { dlogits: outputs.dlogits(0)?, ..problem }, 0))
        }
    }
}

/// The kernels count classes with 32 bits.
fn check_classes(shape: Shape) -> Result<(), Failure> {
    if i32::try_from(shape.classes()).is_ok() {
        return Ok(());
    }
    let (classes, most) = (shape.classes(), i32::MAX);
    Err(Failure::invalid(format!("logits have {classes} classes, but the CUDA kernels take at most {most}")))
}

/// What the attributes and the shape say.
fn parameters(loss: &EncouragingLoss, shape: Shape) -> Problem {
    let log_end = f64::from(loss.log_end());
    let rows = shape.rows();
    Problem {
        // a shape has no more than isize::MAX elements
        rows: rows as i64,
        classes: shape.classes() as i64,
        inner: shape.inner() as i64,
        ignore_index: loss.ignore_index().unwrap_or(0),
        has_ignore_index: i32::from(loss.ignore_index().is_some()),
        share: if loss.reduction() == Reduction::Mean && rows > 0 { 1.0 / rows as f64 } else { 1.0 },
        rho: f64::from(loss.bonus_weight()),
        log_end,
        log_end_value: (1.0 - log_end).ln(),
        steepness: 1.0 / (1.0 - log_end),
        power: f64::from(loss.power()),
        smoothing: f64::from(loss.label_smoothing()),
        bonus: match loss.bonus() {
            Bonus::Log => 0,
            Bonus::Power => 1,
            Bonus::Cosine => 2,
        },
        ..Problem::default()
    }
}

/// `problem` with the inputs that the operators share.
fn given(element: ElementType, inputs: &InputTensors, problem: Problem) -> Result<Problem, Failure> {
    let labels_are_64_bit = inputs.labels.holds::<i64>();
    let labels = if labels_are_64_bit {
        inputs.labels.device_address(i64::DATA_TYPE, size_of::<i64>())?
    } else {
        inputs.labels.device_address(i32::DATA_TYPE, size_of::<i32>())?
    };
    Ok(Problem {
        logits: address(element, &inputs.logits)?,
        labels,
        labels_are_64_bit: i32::from(labels_are_64_bit),
        class_weights: optional(&inputs.class_weights, |weights| address(element, weights))?,
        bonus_weight: optional(&inputs.bonus_weight, floats)?,
        ..problem
    })
}

fn address(element: ElementType, tensor: &Tensor) -> Result<u64, Failure> {
    tensor.device_address(element.data_type() as i32, element.size())
}

fn floats(tensor: &Tensor) -> Result<u64, Failure> {
    tensor.device_address(f32::DATA_TYPE, size_of::<f32>())
}

/// 0 for what is not there.
fn optional(tensor: &Option<Tensor>, address: impl Fn(&Tensor) -> Result<u64, Failure>) -> Result<u64, Failure> {
    tensor.as_ref().map_or(Ok(0), address)
}

/// The outputs to be allocated for inputs of these shapes.
struct Outputs<'a, 'b> {
    context: &'a Context<'b>,
    element: ElementType,
    logits: Dims,
    labels: Dims,
}

impl Outputs<'_, '_> {
    /// `problem` with loss and margin, and where the one loss of mean and sum goes.
    fn loss(&self, problem: Problem, reduction: Reduction) -> Result<(Problem, u64), Failure> {
        let margins = self.context.device_output(1, &self.labels, size_of::<f32>())?.unwrap_or(0);
        let problem = Problem { margins, ..problem };
        match reduction {
            Reduction::None => Ok((Problem { losses: self.allocate(0, "loss", &self.labels)?, ..problem }, 0)),
            Reduction::Mean | Reduction::Sum => Ok((problem, self.allocate(0, "loss", &[])?)),
        }
    }

    fn dlogits(&self, index: usize) -> Result<u64, Failure> {
        self.allocate(index, "dlogits", &self.logits)
    }

    fn allocate(&self, index: usize, name: &str, shape: &[usize]) -> Result<u64, Failure> {
        self.context
            .device_output(index, shape, self.element.size())?
            .ok_or_else(|| Failure::invalid(format!("output {index} ({name}) is missing")))
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

    fn shape(dims: &[usize]) -> Shape {
        Shape::new(dims).unwrap()
    }

    #[test]
    fn classes_have_32_bits() {
        assert!(check_classes(shape(&[1, 1 << 20])).is_ok());
        let sentence = check_classes(shape(&[1, 1 << 31])).unwrap_err().to_string();
        assert_eq!(sentence, "logits have 2147483648 classes, but the CUDA kernels take at most 2147483647");
    }

    #[test]
    fn parameters_of_the_defaults() {
        let problem = parameters(&EncouragingLoss::default(), shape(&[4, 10, 2]));
        assert_eq!((problem.rows, problem.classes, problem.inner), (8, 10, 2));
        assert_eq!((problem.share, problem.rho, problem.log_end), (0.125, 1.0, 0.75));
        assert_eq!((problem.log_end_value, problem.steepness), (0.25f64.ln(), 4.0));
        assert_eq!((problem.bonus, problem.has_ignore_index, problem.smoothing), (0, 0, 0.0));
    }

    #[test]
    fn parameters_that_differ() {
        let loss = EncouragingLoss::builder()
            .bonus(Bonus::Cosine)
            .log_end(1.0)
            .bonus_weight(0.1)
            .label_smoothing(0.25)
            .reduction(Reduction::Sum)
            .ignore_index(Some(-100))
            .build()
            .unwrap();
        let problem = parameters(&loss, shape(&[3, 5]));
        assert_eq!((problem.share, problem.bonus, problem.smoothing), (1.0, 2, 0.25));
        // the attribute is a float: the same number as on the CPU, not the nearest double
        assert_eq!(problem.rho, f64::from(0.1f32));
        assert_eq!((problem.has_ignore_index, problem.ignore_index), (1, -100));
        assert_eq!((problem.log_end_value, problem.steepness), (f64::NEG_INFINITY, f64::INFINITY));
        let power = EncouragingLoss::builder().bonus(Bonus::Power).power(3.0).build().unwrap();
        assert_eq!((parameters(&power, shape(&[3, 5])).bonus, parameters(&power, shape(&[3, 5])).power), (1, 3.0));
    }

    #[test]
    fn a_loss_of_no_rows_is_reduced_from_nothing() {
        assert_eq!(parameters(&EncouragingLoss::default(), shape(&[0, 5])).share, 1.0);
        let plan = loss_of_no_rows(4096, Reduction::Mean);
        assert_eq!(plan.launches.len(), 1);
        assert!(matches!(plan.launches[0].arguments, Arguments::Reduce { count: 0, loss: 4096, mean: 1, .. }));
    }
}
