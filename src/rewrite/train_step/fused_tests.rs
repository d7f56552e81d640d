//! Steps with fused operators, by their bodies, against the same steps in standard operators.

use std::collections::HashMap;

use super::testing::{data, floats, ints, numbers, run, stored};
use super::{TrainStepOptions, train_step};
use crate::model::{DataType, Document, node};
use crate::rewrite::evaluate::Tensor;
use crate::rewrite::optimizer::Optimizer;
use crate::rewrite::testing::TestModel;

const BATCH: usize = 3;

/// x [N, 4, 7, 6] → Conv of these forms → BatchNormalization → Relu (→ MaxPool) → a convolution over the whole plane.
struct Net {
    strides: [i64; 2],
    pads: [i64; 4],
    dilations: [i64; 2],
    group: i64,
    relu: bool,
    pool: Option<[i64; 2]>,
    opset: i64,
}

const PLAIN: Net =
    Net { strides: [1, 1], pads: [1; 4], dilations: [1, 1], group: 1, relu: true, pool: Some([2, 2]), opset: 17 };

impl Net {
    fn build(&self) -> Document {
        let mut model = TestModel::new(self.opset)
            .input("x", DataType::Float, &["N", "4", "7", "6"])
            .initializer("w", DataType::Float, &[6, 4 / self.group, 3, 3], &numbers(6 * 4 / self.group as usize * 9, 1))
            .initializer("b", DataType::Float, &[6], &numbers(6, 2))
            .initializer("scale", DataType::Float, &[6], &numbers(6, 3))
            .initializer("bias", DataType::Float, &[6], &numbers(6, 4))
            .initializer("mean", DataType::Float, &[6], &[0.0; 6])
            .initializer("var", DataType::Float, &[6], &[1.0; 6])
            .initializer("head", DataType::Float, &[6, 5], &numbers(30, 5))
            .with(
                node("Conv")
                    .inputs(["x", "w", "b"])
                    .outputs(["c"])
                    .ints("strides", &self.strides)
                    .ints("pads", &self.pads)
                    .ints("dilations", &self.dilations)
                    .int("group", self.group),
            )
            .op("BatchNormalization", &["c", "scale", "bias", "mean", "var"], &["n"]);
        model = if self.relu { model.op("Relu", &["n"], &["r"]) } else { model.op("Tanh", &["n"], &["r"]) };
        let last = match self.pool {
            Some(kernel) => {
                let strides = if self.relu { [2, 2] } else { [1, 1] };
                let pool = node("MaxPool").inputs(["r"]).outputs(["p"]).ints("kernel_shape", &kernel);
                model = model.with(pool.ints("strides", &strides));
                "p"
            }
            None => "r",
        };
        model
            .op("GlobalAveragePool", &[last], &["g"])
            .op("Flatten", &["g"], &["f"])
            .op("MatMul", &["f", "head"], &["scores"])
            .output("scores", DataType::Float, &["N", "5"])
            .build()
    }

    /// What a step makes of everything, and its operators of ours.
    fn step(&self, optimizer: Optimizer, plugin: bool) -> (HashMap<String, Tensor>, Vec<String>) {
        let document = self.build();
        let options = TrainStepOptions { optimizer, plugin, wrt: vec!["x".into()], ..TrainStepOptions::default() };
        let step = train_step(&document, &options).unwrap();
        let ours = step.document.graph().nodes().iter().filter(|node| node.op_domain() == crate::rewrite::DOMAIN);
        let ours = ours.map(|node| node.op().to_owned()).collect();
        let mut feed = stored(&document);
        feed.insert("x".into(), floats(&[BATCH, 4, 7, 6], numbers(BATCH * 4 * 7 * 6, 9)));
        feed.insert(step.signature.labels.name.clone(), ints(&[BATCH], vec![0, 3, 4]));
        feed.insert("learning_rate".into(), floats(&[], vec![0.125]));
        feed.insert("step".into(), ints(&[], vec![3]));
        for state in &step.signature.state {
            let dims: Vec<usize> = state.shape.iter().map(|&n| n as usize).collect();
            let values = numbers(dims.iter().product(), 7).iter().map(|v| v * v).collect();
            feed.insert(state.name.clone(), floats(&dims, values));
        }
        let results = run(&step.document, &feed);
        let outputs = step.document.graph().outputs().iter().map(|o| o.name().to_owned());
        (outputs.map(|name| (name.clone(), results[&name].clone())).collect(), ours)
    }

    #[track_caller]
    fn check(&self, optimizer: Optimizer, expected: &[&str]) {
        let (plain, _) = self.step(optimizer, false);
        let (fused, operators) = self.step(optimizer, true);
        for operator in expected {
            assert!(operators.iter().any(|found| found == operator), "{operator} is not among {operators:?}");
        }
        assert_eq!(plain.len(), fused.len());
        for (name, plain) in &plain {
            assert_eq!(plain.dims, fused[name].dims, "{name}");
            for (i, (plain, fused)) in data(plain).iter().zip(data(&fused[name])).enumerate() {
                // the powers of AdamW's betas come from numbers of single precision in one and double in the other
                let allowed = 2e-6 * (1.0 + plain.abs());
                assert!((plain - fused).abs() <= allowed, "{name}[{i}]: {fused}, standard operators say {plain}");
            }
        }
    }
}

#[test]
fn convolutions_of_all_forms() {
    let expected = ["ConvGradInput", "ConvGradWeight"];
    let none = Optimizer::None;
    PLAIN.check(none, &["Conv", "ConvGradInput", "ConvGradWeight"]);
    // strides that leave a rest, padding on some sides
    Net { strides: [2, 3], pads: [0, 1, 2, 0], pool: None, ..PLAIN }.check(none, &expected);
    Net { dilations: [2, 1], group: 2, pads: [2, 1, 2, 1], ..PLAIN }.check(none, &expected);
}

#[test]
fn normalization_with_what_follows() {
    let none = Optimizer::None;
    PLAIN.check(none, &["BatchNormalizationReluMaxPool", "BatchNormalizationReluMaxPoolGrad"]);
    Net { pool: None, ..PLAIN }.check(none, &["BatchNormalizationRelu", "BatchNormalizationReluGrad"]);
    // windows that overlap, behind another activation
    Net { relu: false, pool: Some([3, 2]), ..PLAIN }.check(none, &["BatchNormalizationGrad", "MaxPool", "MaxPoolGrad"]);
    // axes of reductions are inputs from version 18 on; before 16 no scatter adds
    Net { opset: 18, ..PLAIN }.check(none, &["BatchNormalizationReluMaxPoolGrad"]);
    Net { opset: 15, ..PLAIN }.check(none, &["BatchNormalizationReluGrad"]);
}

#[test]
fn adamw() {
    PLAIN.check(Optimizer::adamw(), &["AdamW"]);
}
