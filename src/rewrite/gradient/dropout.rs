//! Dropout.

use super::backward::{Backward, Refusal, Vjp};

pub(super) const RULES: &[(&str, Vjp)] = &[("Dropout", dropout)];

/// `Dropout`, in inference y = x: dx = dy; in training y = x·mask / (1 − ratio): dx = dy·mask / (1 − ratio), with the mask
/// of the forward pass.
fn dropout(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let dy = c.dy()?;
    let mode = c.node.input_at(2).map(str::to_owned);
    let training = match &mode {
        None => Some(false),
        Some(mode) => c.b.constant_value(mode).and_then(|mode| mode.scalar()).map(|on| on != 0.0),
    };
    let ratio = c.node.input_at(1).map(str::to_owned);
    let known_ratio = match &ratio {
        None => Some(0.5),
        Some(ratio) => c.b.constant_value(ratio).and_then(|ratio| ratio.scalar()),
    };
    if training == Some(false) || known_ratio == Some(0.0) {
        c.give(0, dy);
        return Ok(());
    }
    let mask = c.y(1);
    let scale = match (known_ratio, ratio) {
        (Some(known), _) => c.b.number(&dy, if known < 1.0 { 1.0 / (1.0 - known) } else { 0.0 }),
        (None, ratio) => {
            let ratio = c.b.cast_like(&ratio.unwrap_or_default(), &dy);
            let one = c.b.number(&dy, 1.0);
            let kept = c.b.op("Sub", &[&one, &ratio]);
            c.b.op("Reciprocal", &[&kept])
        }
    };
    // chosen when the graph runs: in inference the mask is true everywhere, and nothing is scaled
    let scale = match (training, mode) {
        (None, Some(mode)) => {
            let one = c.b.number(&dy, 1.0);
            c.b.op("Where", &[&mode, &scale, &one])
        }
        _ => scale,
    };
    let scaled = c.b.op("Mul", &[&dy, &scale]);
    let zero = c.b.number(&dy, 0.0);
    let dx = c.b.op("Where", &[&mask, &scaled, &zero]);
    c.b.declare_like(&dx, &dy);
    c.give(0, dx);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use crate::model::proto::NodeProto;
    use crate::model::{DataType, Document, TensorValue, node};
    use crate::rewrite::evaluate::{Data, Tensor, evaluate};
    use crate::rewrite::gradient::gradient;
    use crate::rewrite::gradient::testing::{Case, numbers, tensor};
    use crate::rewrite::testing::TestModel;

    #[test]
    fn in_inference_it_hands_on() {
        for inputs in [&["x"][..], &["x", "ratio"]] {
            let case = Case::new(
                vec![("x", tensor(&[2, 3], numbers(6, 1)))],
                vec![node("Dropout").inputs(inputs).outputs(["y"]).build()],
            );
            case.floats("ratio", &[], &[0.25]).check();
        }
    }

    /// A model with a Dropout whose ratio and mode are initializers or inputs.
    fn model(constant_ratio: bool, constant_mode: Option<bool>) -> Document {
        let mut model = TestModel::new(18).input("x", DataType::Double, &["N", "3"]);
        model = match constant_ratio {
            true => model.initializer("ratio", DataType::Double, &[], &[0.2]),
            false => model.input("ratio", DataType::Double, &[]),
        };
        model = match constant_mode {
            Some(mode) => model.initializer("mode", DataType::Bool, &[], &[f64::from(u8::from(mode))]),
            None => model.input("mode", DataType::Bool, &[]),
        };
        model.with(node("Dropout").inputs(["x", "ratio", "mode"]).outputs(["y", "mask"])).build()
    }

    /// dx for a mask that is given: the evaluator draws none.
    fn dx(document: &Document, mode: bool, mask: &[bool]) -> Vec<f64> {
        let found = gradient(document, "y", &["x"]).expect("a gradient");
        let graph = found.document.graph();
        let scalar = |data| Tensor { dims: vec![], data };
        let ints = |dims: &[usize]| Tensor { dims: dims.to_vec(), data: Data::Bool(mask.to_vec()) };
        let mut values: HashMap<String, Tensor> = HashMap::new();
        for initializer in graph.initializers() {
            let value = TensorValue::decode(&initializer.tensor().expect("a tensor")).expect("numbers");
            values.insert(initializer.name().to_owned(), Tensor::from_constant(&value).expect("small"));
        }
        values.entry("ratio".into()).or_insert(scalar(Data::Float(vec![0.2])));
        values.entry("mode".into()).or_insert(scalar(Data::Bool(vec![mode])));
        values.insert("x".into(), tensor(&[1, 3], vec![1.0, 2.0, 3.0]));
        values.insert("y".into(), tensor(&[1, 3], vec![1.0, 2.0, 3.0]));
        values.insert("mask".into(), ints(&[1, 3]));
        let nodes: Vec<&NodeProto> = graph.nodes().iter().map(|node| &**node).filter(|n| n.op() != "Dropout").collect();
        let results = evaluate(&nodes, values, 18).expect("a result");
        match &results[&found.outputs[0]].data {
            Data::Float(dx) => dx.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn in_training_the_mask_goes_back() {
        for constant_ratio in [true, false] {
            for constant_mode in [Some(true), None] {
                let document = model(constant_ratio, constant_mode);
                assert_eq!(dx(&document, true, &[true, false, true]), [1.25, 0.0, 1.25]);
            }
            assert_eq!(dx(&model(constant_ratio, None), false, &[true; 3]), [1.0; 3]);
            assert_eq!(dx(&model(constant_ratio, Some(false)), false, &[true; 3]), [1.0; 3]);
        }
    }

    #[test]
    fn a_mask_that_nobody_asked_for_is_asked_for() {
        let document = TestModel::new(18)
            .input("x", DataType::Float, &["N", "3"])
            .initializer("mode", DataType::Bool, &[], &[1.0])
            .with(node("Dropout").inputs(["x", "", "mode"]).outputs(["y"]))
            .build();
        let found = gradient(&document, "y", &["x"]).expect("a gradient");
        assert_eq!(found.document.graph().nodes()[0].output.len(), 2);
    }
}
