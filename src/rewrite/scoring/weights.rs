//! Constant tensors as they are when the model runs.

use half::{bf16, f16};
use prost::Message;

use crate::model::proto::{NodeProto, TensorProto};
use crate::model::{DataType, Document, GraphIndex};

/// Longest way from a layer to its stored weight.
const MAX_STEPS: usize = 16;

/// A tensor of floats.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Weights {
    pub dims: Vec<usize>,
    pub data: Vec<f32>,
}

impl Weights {
    fn read(tensor: &TensorProto) -> Result<Self, String> {
        let dims = tensor.dims.iter().map(|&dim| usize::try_from(dim)).collect::<Result<_, _>>();
        let dims = dims.map_err(|_| format!("'{}' has an impossible shape", tensor.name()))?;
        Ok(Self { dims, data: tensor.floats().map_err(|error| error.to_string())? })
    }

    /// Rows become columns.
    pub fn transposed(self) -> Self {
        let [rows, columns] = self.dims[..] else { return self };
        let mut data = Vec::with_capacity(self.data.len());
        for column in 0..columns {
            data.extend((0..rows).map(|row| self.data[row * columns + column]));
        }
        Self { dims: vec![columns, rows], data }
    }

    fn reshaped(self, shape: &[i64]) -> Option<Self> {
        let mut dims: Vec<usize> = Vec::with_capacity(shape.len());
        for (at, &size) in shape.iter().enumerate() {
            dims.push(match size {
                0 => *self.dims.get(at)?,
                -1 => {
                    let rest = shape.iter().enumerate().filter(|(other, _)| *other != at);
                    let mut known =
                        rest.map(|(i, &n)| if n == 0 { self.dims.get(i).copied() } else { n.try_into().ok() });
                    let known = known.try_fold(1usize, |product, n| product.checked_mul(n?))?;
                    self.data.len().checked_div(known)?
                }
                size => usize::try_from(size).ok()?,
            });
        }
        (dims.iter().product::<usize>() == self.data.len()).then_some(Self { dims, data: self.data })
    }
}

/// Reads `value`, where the file stores it or computes it from what it stores by moving or converting elements.
///
/// # Errors
/// A clause that says what it is instead.
pub(super) fn weights(document: &Document, index: &GraphIndex, value: &str) -> Result<Weights, String> {
    read(document, index, value, 0)
}

fn read(document: &Document, index: &GraphIndex, value: &str, steps: usize) -> Result<Weights, String> {
    if let Some(initializer) = index.initializer(value) {
        return Weights::read(&document.tensor(initializer).map_err(|error| error.to_string())?);
    }
    let Some(id) = index.producer(value) else {
        return Err(format!("'{value}' is an input of the model, not a stored weight"));
    };
    let node: &NodeProto = index.graph().node(id);
    let computed = || format!("'{value}' is computed by {}, not stored", node.describe());
    let input = || match node.input_at(0) {
        Some(input) if steps < MAX_STEPS => read(document, index, input, steps + 1),
        _ => Err(computed()),
    };
    match (node.op_domain(), node.op()) {
        ("", "Constant") => match node.attr("value").and_then(|a| a.t.clone()) {
            Some(encoded) => Weights::read(&TensorProto::decode(encoded).map_err(|error| error.to_string())?),
            None => {
                let small = index.constant(value).ok_or_else(computed)?;
                let dims = small.dims.iter().map(|&dim| dim as usize).collect();
                Ok(Weights { dims, data: small.data.into_iter().map(|x| x as f32).collect() })
            }
        },
        ("", "Identity") => input(),
        ("", "Cast") => {
            let mut weights = input()?;
            match node.attr_int("to").and_then(|to| DataType::try_from(to as i32).ok()) {
                Some(DataType::Float | DataType::Double) => {}
                Some(DataType::Float16) => round(&mut weights, |x| f16::from_f32(x).to_f32()),
                Some(DataType::Bfloat16) => round(&mut weights, |x| bf16::from_f32(x).to_f32()),
                _ => return Err(computed()),
            }
            Ok(weights)
        }
        ("", "Transpose") => {
            let weights = input()?;
            match (weights.dims.len(), node.attr_ints("perm")) {
                (2, None | Some([1, 0])) => Ok(weights.transposed()),
                (_, Some(perm)) if perm.iter().enumerate().all(|(i, &p)| p == i as i64) => Ok(weights),
                _ => Err(computed()),
            }
        }
        ("", "Reshape") => {
            let shape = node.input_at(1).and_then(|shape| index.constant(shape)).and_then(|shape| shape.ints());
            let shape = shape.or_else(|| node.attr_ints("shape").map(<[i64]>::to_vec)).ok_or_else(computed)?;
            input()?.reshaped(&shape).ok_or_else(computed)
        }
        ("", "DequantizeLinear") => dequantized(document, index, node, input()?, steps).ok_or_else(computed),
        _ => Err(computed()),
    }
}

fn round(weights: &mut Weights, rounded: impl Fn(f32) -> f32) {
    weights.data.iter_mut().for_each(|x| *x = rounded(*x));
}

/// (x − zero point) · scale, for the whole tensor or for each index of an axis.
fn dequantized(
    document: &Document,
    index: &GraphIndex,
    node: &NodeProto,
    mut weights: Weights,
    steps: usize,
) -> Option<Weights> {
    let read = |at: usize| node.input_at(at).map(|value| read(document, index, value, steps + 1)).transpose().ok();
    let (scale, zero) = (read(1)??, read(2)?);
    if node.attr_int("block_size").unwrap_or(0) != 0 {
        return None;
    }
    let rank = weights.dims.len() as i64;
    let axis = node.attr_int("axis").unwrap_or(1);
    let axis = usize::try_from(if axis < 0 { axis + rank } else { axis }).ok()?;
    let inner = |from: usize| weights.dims.get(from..).map_or(1, |rest| rest.iter().product::<usize>()).max(1);
    let (size, inner) = match scale.data.len() {
        1 => (1, 1),
        n if weights.dims.get(axis) == Some(&n) => (n, inner(axis + 1)),
        _ => return None,
    };
    let zero = |at: usize| zero.as_ref().map_or(Some(0.0), |zero| zero.data.get(at).copied());
    for (at, x) in weights.data.iter_mut().enumerate() {
        let channel = if size == 1 { 0 } else { at / inner % size };
        *x = (*x - zero(channel)?) * scale.data[channel];
    }
    Some(weights)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::node;
    use crate::rewrite::testing::TestModel;

    fn read_y(model: TestModel) -> Result<Weights, String> {
        let document = model.build();
        weights(&document, &GraphIndex::new(document.graph()), "y")
    }

    fn stored() -> TestModel {
        TestModel::new(17).initializer("w", DataType::Float, &[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    }

    #[test]
    fn moved_and_converted_weights_are_read() {
        let read = |model| read_y(model).unwrap();
        let turned = read(stored().op("Transpose", &["w"], &["y"]));
        assert_eq!((turned.dims, turned.data), (vec![3, 2], vec![1.0, 4.0, 2.0, 5.0, 3.0, 6.0]));
        let flat = read(stored().ints("s", &[-1, 2]).op("Reshape", &["w", "s"], &["y"]));
        assert_eq!(flat.dims, [3, 2]);
        let half = node("Cast").inputs(["t"]).outputs(["y"]).int("to", 10);
        assert_eq!(read(stored().op("Identity", &["w"], &["t"]).with(half)).data[5], 6.0);
        let quantized = TestModel::new(17)
            .initializer("q", DataType::Int8, &[2, 2], &[1.0, -2.0, 3.0, 4.0])
            .initializer("s", DataType::Float, &[2], &[0.5, 2.0])
            .initializer("z", DataType::Int8, &[2], &[1.0, 0.0])
            .with(node("DequantizeLinear").inputs(["q", "s", "z"]).outputs(["y"]).int("axis", 0));
        assert_eq!(read(quantized).data, [0.0, -1.5, 6.0, 8.0]);
    }

    #[test]
    fn computed_weights_are_not() {
        let why = read_y(stored().op("Relu", &["w"], &["y"])).unwrap_err();
        assert!(why.contains("computed by Relu"), "{why}");
        let input = TestModel::new(17).input("y", DataType::Float, &["2", "2"]);
        assert!(read_y(input).unwrap_err().contains("is an input of the model"));
    }
}
