//! What a model wants to be fed, and whether samples are that.

use crate::data::{InputSpec, Tensor, Values};
use crate::model::{DataType, Document, ValueType};

use super::error::{EdgeError, expected_shape, type_name, type_of};

/// The inputs of a graph, those with an initializer left out; the first axis is free, whatever the file says.
pub(super) fn specs(document: &Document) -> Result<Vec<InputSpec>, EdgeError> {
    let graph = document.graph();
    let initialized = |name: &str| graph.initializers().iter().any(|i| i.name() == name);
    let inputs = graph.inputs().iter().filter(|input| !initialized(input.name()));
    inputs
        .map(|input| {
            let ValueType { data_type, dims } = ValueType::of_value_info(input);
            let data_type = data_type.and_then(|t| DataType::try_from(t).ok()).unwrap_or(DataType::Undefined);
            let size = |(i, dim): (usize, &crate::model::Dimension)| match dim.known() {
                Some(size) if i > 0 => usize::try_from(size).ok(),
                _ => None,
            };
            let refused = |reason: String| EdgeError::Refused { engine: "elonnx", reason };
            let dims =
                dims.ok_or_else(|| refused(format!("input '{}' has no shape, not even a rank", input.name())))?;
            if !feedable(data_type) {
                let reason = format!("input '{}' is {}, which is not read", input.name(), type_name(data_type));
                return Err(refused(reason));
            }
            Ok(InputSpec {
                name: input.name().to_owned(),
                data_type,
                dims: dims.iter().enumerate().map(size).collect(),
            })
        })
        .collect()
}

/// Whether [`crate::data::Values`] can hold it.
fn feedable(data_type: DataType) -> bool {
    use DataType::{Bool, Double, Float, Float16, Int8, Int16, Int32, Int64, Uint8, Uint16};
    matches!(data_type, Bool | Uint8 | Int8 | Uint16 | Int16 | Int32 | Int64 | Float16 | Float | Double)
}

/// The first axis of the first input that has one, where the file fixes it.
pub(super) fn fixed_batch(document: &Document, specs: &[InputSpec]) -> Option<usize> {
    let graph = document.graph();
    let size = |spec: &InputSpec| {
        let input = graph.inputs().iter().find(|input| input.name() == spec.name)?;
        usize::try_from(ValueType::of_value_info(input).dims?.first()?.known()?).ok()
    };
    specs.iter().find_map(size)
}

/// Checks tensors against the inputs; gives the number of samples.
pub(super) fn check(specs: &[InputSpec], inputs: &[Tensor]) -> Result<usize, EdgeError> {
    if specs.len() != inputs.len() {
        let names = specs.iter().map(|s| s.name.as_str()).collect::<Vec<_>>().join(", ");
        return Err(EdgeError::InputCount { expected: specs.len(), got: inputs.len(), names });
    }
    let mut counted: Option<(&str, usize)> = None;
    for (spec, tensor) in specs.iter().zip(inputs) {
        check_one(spec, tensor)?;
        let Some(&rows) = tensor.dims.first() else { continue };
        match counted {
            None => counted = Some((&spec.name, rows)),
            Some((first, first_rows)) if first_rows != rows => {
                return Err(EdgeError::SampleCount {
                    first: first.to_owned(),
                    first_rows,
                    second: spec.name.clone(),
                    second_rows: rows,
                });
            }
            Some(_) => {}
        }
    }
    Ok(counted.map_or(0, |(_, rows)| rows))
}

fn check_one(spec: &InputSpec, tensor: &Tensor) -> Result<(), EdgeError> {
    let fits = spec.dims.len() == tensor.dims.len()
        && spec.dims.iter().zip(&tensor.dims).all(|(want, got)| want.is_none_or(|want| want == *got));
    if !fits {
        return Err(EdgeError::InputShape {
            input: spec.name.clone(),
            expected: expected_shape(&spec.dims),
            got: format!("{:?}", tensor.dims),
        });
    }
    let got = type_of(&tensor.values);
    if got != spec.data_type {
        return Err(EdgeError::InputType {
            input: spec.name.clone(),
            expected: type_name(spec.data_type),
            got: type_name(got),
        });
    }
    let expected = tensor.dims.iter().try_fold(1_usize, |n, &d| n.checked_mul(d));
    if expected != Some(tensor.values.len()) {
        return Err(EdgeError::InputLength {
            input: spec.name.clone(),
            shape: format!("{:?}", tensor.dims),
            expected: expected.unwrap_or(usize::MAX),
            got: tensor.values.len(),
        });
    }
    Ok(())
}

/// Elements of one sample, sizes that are not known left out; `None` where no memory has room for them.
pub(super) fn sample_elements(specs: &[InputSpec]) -> Option<usize> {
    const MOST: usize = 1 << 30;
    let of_one = |spec: &InputSpec| spec.dims.iter().skip(1).flatten().try_fold(1_usize, |n, &d| n.checked_mul(d));
    let total = specs.iter().try_fold(0_usize, |sum, spec| sum.checked_add(of_one(spec)?));
    total.filter(|&elements| elements <= MOST)
}

/// Some samples of zeros; sizes that are not known are 1. `None` where no memory has room for them.
pub(super) fn zeros(specs: &[InputSpec], rows: usize) -> Option<Vec<Tensor>> {
    sample_elements(specs)?;
    Some(specs.iter().map(|spec| zeros_of(spec, rows)).collect())
}

fn zeros_of(spec: &InputSpec, rows: usize) -> Tensor {
    let size = |(i, size): (usize, &Option<usize>)| if i == 0 { rows } else { size.unwrap_or(1) };
    let dims: Vec<usize> = spec.dims.iter().enumerate().map(size).collect();
    let count = dims.iter().product();
    let values = match spec.data_type {
        DataType::Bool => Values::Bool(vec![false; count]),
        DataType::Uint8 => Values::U8(vec![0; count]),
        DataType::Int8 => Values::I8(vec![0; count]),
        DataType::Uint16 => Values::U16(vec![0; count]),
        DataType::Int16 => Values::I16(vec![0; count]),
        DataType::Int32 => Values::I32(vec![0; count]),
        DataType::Int64 => Values::I64(vec![0; count]),
        DataType::Float16 => Values::F16(vec![half::f16::ZERO; count]),
        DataType::Double => Values::F64(vec![0.0; count]),
        _ => Values::F32(vec![0.0; count]),
    };
    Tensor { dims, values }
}
