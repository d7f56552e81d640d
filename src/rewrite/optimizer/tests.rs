//! Updates in a graph against the same formulas in plain f64.

use std::collections::HashMap;

use super::{Optimizer, OptimizerError, Scalars, Trained, clip, global_norm, update};
use crate::model::proto::NodeProto;
use crate::model::{DataType, Document};
use crate::rewrite::evaluate::{Data, Tensor, evaluate};
use crate::rewrite::gradient::Builder;
use crate::rewrite::testing::TestModel;

const RATE: f64 = 0.03125;

/// A graph that updates the parameter "p" by the gradient "g"; its new value, and what becomes of its state.
struct Stepper {
    document: Document,
    value: String,
    /// Input and output of each state.
    state: Vec<(String, String)>,
    scalars: Scalars,
}

impl Stepper {
    fn new(optimizer: &Optimizer) -> Self {
        // double, so that what is left of a difference is the formula's
        let document = TestModel::new(17)
            .input("g", DataType::Double, &["4"])
            .initializer("p", DataType::Double, &[4], &[0.0; 4])
            .op("Identity", &["g"], &["y"])
            .output("y", DataType::Double, &["4"])
            .build();
        let mut b = Builder::new(&document).unwrap();
        let scalars = Scalars::add(&mut b, optimizer).unwrap();
        b.release("p");
        let one = Trained { parameter: "p".into(), gradient: "g".into() };
        let updated = update(&mut b, optimizer, &scalars, &[one]).unwrap().swap_remove(0);
        let mut give = |value: &str, name: &str| {
            let name = b.name_value(value, name);
            b.add_output(crate::model::value_info(&name, DataType::Double as i32, None));
            name
        };
        let value = give(&updated.value, "new");
        let state = updated.state.iter().map(|s| (s.input.clone(), give(&s.updated, s.kind))).collect();
        Stepper { document: b.finish().unwrap(), value, state, scalars }
    }

    /// The parameter after each of these gradients.
    fn run(&self, start: [f64; 4], gradients: &[[f64; 4]]) -> Vec<Vec<f64>> {
        let tensor = |data: Vec<f64>| Tensor { dims: vec![data.len()], data: Data::Float(data) };
        let mut values: HashMap<String, Tensor> = HashMap::new();
        values.insert("p".into(), tensor(start.to_vec()));
        for (input, _) in &self.state {
            values.insert(input.clone(), tensor(vec![0.0; 4]));
        }
        let rate = Tensor { dims: vec![], data: Data::Float(vec![RATE]) };
        values.insert(self.scalars.learning_rate.clone(), rate);
        let mut all = Vec::new();
        for (at, gradient) in gradients.iter().enumerate() {
            values.insert("g".into(), tensor(gradient.to_vec()));
            if let Some(step) = &self.scalars.step {
                values.insert(step.clone(), Tensor { dims: vec![], data: Data::Int(vec![at as i64 + 1]) });
            }
            let nodes: Vec<&NodeProto> = self.document.graph().nodes().iter().map(|node| &**node).collect();
            let results = evaluate(&nodes, values.clone(), 17).unwrap();
            for (input, output) in &self.state {
                values.insert(input.clone(), results[output].clone());
            }
            let new = results[&self.value].clone();
            let Data::Float(data) = &new.data else { panic!("floats") };
            all.push(data.clone());
            values.insert("p".into(), new);
        }
        all
    }
}

fn gradients() -> Vec<[f64; 4]> {
    let mut random = fastrand::Rng::with_seed(5);
    (0..7).map(|at| std::array::from_fn(|i| if (at, i) == (0, 3) { 0.0 } else { random.f64() * 4.0 - 2.0 })).collect()
}

const START: [f64; 4] = [1.5, -0.25, 0.0, 3.0];

fn assert_close(got: &[Vec<f64>], want: &[Vec<f64>]) {
    for (step, (got, want)) in got.iter().zip(want).enumerate() {
        for (got, want) in got.iter().zip(want) {
            assert!((got - want).abs() <= 1e-12 * want.abs().max(1.0), "step {}: {got}, not {want}", step + 1);
        }
    }
    assert_eq!(got.len(), want.len());
}

#[test]
fn sgd_is_torch_s() {
    for (momentum, nesterov, weight_decay) in
        [(0.0, false, 0.0), (0.0, false, 0.1), (0.9, false, 0.0), (0.9, true, 0.01), (0.5, false, 0.25)]
    {
        let stepper = Stepper::new(&Optimizer::Sgd { momentum, nesterov, weight_decay });
        assert_eq!(stepper.state.len(), usize::from(momentum > 0.0));
        let (mut p, mut buffer) = (START, None::<[f64; 4]>);
        let mut want = Vec::new();
        for gradient in gradients() {
            let g: [f64; 4] = std::array::from_fn(|i| gradient[i] + weight_decay * p[i]);
            // PyTorch's buffer starts as the first gradient
            let b: [f64; 4] = buffer.map_or(g, |b| std::array::from_fn(|i| momentum * b[i] + g[i]));
            for i in 0..4 {
                let direction = match (momentum > 0.0, nesterov) {
                    (false, _) => g[i],
                    (true, false) => b[i],
                    (true, true) => g[i] + momentum * b[i],
                };
                p[i] -= RATE * direction;
            }
            buffer = Some(b);
            want.push(p.to_vec());
        }
        assert_close(&stepper.run(START, &gradients()), &want);
    }
}

#[test]
fn adamw_is_torch_s() {
    for (beta1, beta2, epsilon, weight_decay) in
        [(0.9, 0.999, 1e-8, 0.01), (0.9, 0.999, 1e-8, 0.0), (0.0, 0.5, 0.125, 0.5), (0.95, 0.0, 1e-3, 0.0)]
    {
        let stepper = Stepper::new(&Optimizer::AdamW { beta1, beta2, epsilon, weight_decay });
        let (mut p, mut m, mut v) = (START, [0.0; 4], [0.0; 4]);
        let mut want = Vec::new();
        for (at, g) in gradients().into_iter().enumerate() {
            let step = at as i32 + 1;
            for i in 0..4 {
                p[i] *= 1.0 - RATE * weight_decay;
                m[i] = beta1 * m[i] + (1.0 - beta1) * g[i];
                v[i] = beta2 * v[i] + (1.0 - beta2) * g[i] * g[i];
                let denominator = v[i].sqrt() / (1.0 - f64::powi(beta2, step)).sqrt() + epsilon;
                p[i] -= RATE / (1.0 - f64::powi(beta1, step)) * m[i] / denominator;
            }
            want.push(p.to_vec());
        }
        assert_close(&stepper.run(START, &gradients()), &want);
    }
}

#[test]
fn factors_of_a_step_are_shared_by_all_parameters() {
    let model = TestModel::new(17).input("g", DataType::Float, &["4"]);
    let document = model
        .initializer("p", DataType::Float, &[4], &[0.0; 4])
        .initializer("q", DataType::Float, &[4], &[0.0; 4])
        .op("Identity", &["g"], &["y"])
        .output("y", DataType::Float, &["4"])
        .build();
    let mut b = Builder::new(&document).unwrap();
    let optimizer = Optimizer::adamw();
    let scalars = Scalars::add(&mut b, &optimizer).unwrap();
    let trained = ["p", "q"].map(|name| Trained { parameter: name.into(), gradient: "g".into() });
    for (at, updated) in update(&mut b, &optimizer, &scalars, &trained).unwrap().into_iter().enumerate() {
        let name = b.name_value(&updated.value, &format!("new{at}"));
        b.add_output(crate::model::value_info(&name, DataType::Float as i32, None));
    }
    let document = b.finish().unwrap();
    let powers = document.graph().nodes().iter().filter(|node| node.op() == "Pow").count();
    assert_eq!(powers, 2);
}

#[test]
fn the_norm_is_of_all_gradients_together() {
    let document = TestModel::new(17)
        .input("g", DataType::Float, &["2"])
        .input("h", DataType::Double, &["1", "2"])
        .op("Identity", &["g"], &["y"])
        .output("y", DataType::Float, &["2"])
        .build();
    let mut b = Builder::new(&document).unwrap();
    let mut trained = ["g", "h"].map(|name| Trained { parameter: name.into(), gradient: name.into() });
    let norm = global_norm(&mut b, &trained).unwrap();
    clip(&mut b, &mut trained, &norm, 2.0);
    let names = ["norm", "g", "h"];
    let values = [norm.as_str(), &trained[0].gradient, &trained[1].gradient].map(str::to_owned);
    let mut outputs = Vec::new();
    for (name, value) in names.iter().zip(&values) {
        let name = b.name_value(value, &format!("{name}/out"));
        b.add_output(crate::model::value_info(&name, DataType::Float as i32, None));
        outputs.push(name);
    }
    let document = b.finish().unwrap();
    let run = |g: [f64; 2], h: [f64; 2]| -> Vec<Vec<f64>> {
        let tensor = |dims: &[usize], data: [f64; 2]| Tensor { dims: dims.to_vec(), data: Data::Float(data.to_vec()) };
        let values = HashMap::from([("g".to_owned(), tensor(&[2], g)), ("h".to_owned(), tensor(&[1, 2], h))]);
        let nodes: Vec<&NodeProto> = document.graph().nodes().iter().map(|node| &**node).collect();
        let results = evaluate(&nodes, values, 17).unwrap();
        let floats = |name: &String| match &results[name].data {
            Data::Float(data) => data.clone(),
            other => panic!("{other:?}"),
        };
        outputs.iter().map(floats).collect()
    };
    let large = run([1.0, 2.0], [2.0, -4.0]);
    assert!((large[0][0] - 5.0).abs() < 1e-12);
    let factor = 2.0 / (5.0 + 1e-6);
    assert!((large[1][1] - 2.0 * factor).abs() < 1e-6 && (large[2][1] + 4.0 * factor).abs() < 1e-6, "{large:?}");
    // small ones stay as they are
    assert_eq!(run([0.5, 0.0], [0.0, -0.25])[1..], [vec![0.5, 0.0], vec![0.0, -0.25]]);
}

#[test]
fn ranges_are_checked() {
    let adamw = |beta1, beta2, epsilon, weight_decay| Optimizer::AdamW { beta1, beta2, epsilon, weight_decay };
    let sgd = |momentum, nesterov, weight_decay| Optimizer::Sgd { momentum, nesterov, weight_decay };
    for fine in [Optimizer::None, Optimizer::sgd(), Optimizer::adamw(), sgd(0.9, true, 0.1), adamw(0.0, 0.0, 1e-3, 0.0)]
    {
        assert_eq!(fine.check(), Ok(()));
    }
    for (wrong, what) in [
        (sgd(1.0, false, 0.0), "momentum must be at least 0 and below 1, not 1"),
        (sgd(-0.1, false, 0.0), "momentum"),
        (sgd(0.9, false, -1.0), "weight_decay must be finite and at least 0, not -1"),
        (sgd(0.9, false, f64::INFINITY), "weight_decay"),
        (adamw(f64::NAN, 0.9, 1e-8, 0.0), "beta1"),
        (adamw(0.9, 1.0, 1e-8, 0.0), "beta2"),
        (adamw(0.9, 0.9, 0.0, 0.0), "epsilon must be finite and above 0, not 0"),
    ] {
        let text = wrong.check().unwrap_err().to_string();
        assert!(text.starts_with(what), "{text}");
    }
    assert_eq!(sgd(0.0, true, 0.0).check(), Err(OptimizerError::NesterovWithoutMomentum));
}
