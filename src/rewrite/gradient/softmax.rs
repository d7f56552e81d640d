//! Softmax and LogSoftmax, from their outputs; NegativeLogLikelihoodLoss.

use super::backward::{Backward, Refusal, Vjp, refusal};

pub(super) const RULES: &[(&str, Vjp)] =
    &[("Softmax", softmax), ("LogSoftmax", log_softmax), ("NegativeLogLikelihoodLoss", negative_log_likelihood)];

/// Σ over the node's axis, which stays as 1.
fn sum_along_axis(c: &mut Backward<'_, '_>, value: &str) -> Result<String, Refusal> {
    let mut axis = c.int("axis", -1);
    if let Some(rank) = c.b.rank(&c.x(0)) {
        axis = i64::try_from(c.axis(axis, rank)?).unwrap_or(axis);
    }
    Ok(c.b.reduce("ReduceSum", value, &[axis], true))
}

/// `Softmax`, y = e^x/Σ e^x along one axis: dx = y·(dy − Σ dy·y).
fn softmax(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let (dy, y) = (c.dy()?, c.y(0));
    let product = c.b.op("Mul", &[&dy, &y]);
    let sum = sum_along_axis(c, &product)?;
    let centred = c.b.op("Sub", &[&dy, &sum]);
    let dx = c.b.op("Mul", &[&centred, &y]);
    c.give(0, dx);
    Ok(())
}

/// `LogSoftmax`, y = x − ln Σ e^x along one axis: dx = dy − e^y·Σ dy.
fn log_softmax(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let (dy, y) = (c.dy()?, c.y(0));
    let sum = sum_along_axis(c, &dy)?;
    let probability = c.b.op("Exp", &[&y]);
    let pull = c.b.op("Mul", &[&probability, &sum]);
    let dx = c.b.op("Sub", &[&dy, &pull]);
    c.give(0, dx);
    Ok(())
}

/// `NegativeLogLikelihoodLoss`, ℓ = −w[t]·x[n, t, …] for labels t [N, d…], w = 1 without class weights, ℓ = 0 where
/// t is `ignore_index`; their sum, or their mean: Σ ℓ/Σ w[t] over those that count.
/// dx[n, t, …] = −w[t]·dℓ, 0 elsewhere, with dℓ = dy for "none" and "sum", dy/Σ w[t] for "mean".
fn negative_log_likelihood(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    if c.wants(2) {
        return Err(refusal("class weights have no gradient"));
    }
    let dy = c.dy()?;
    let (x, labels) = (c.x(0), c.x(1));
    let classes = c.b.ints(&[1]);
    let labels = c.b.op("Unsqueeze", &[&labels, &classes]);
    let (labels, ignored) = without_ignored(c, labels);
    let weights = c.has(2).then(|| weights_of(c, &labels, ignored.as_deref()));
    let slope = match c.string("reduction", "mean").as_str() {
        "none" => c.b.op("Unsqueeze", &[&dy, &classes]),
        "sum" => dy,
        "mean" => {
            let total = total_weight(c, &labels, weights.as_deref(), ignored.as_deref());
            c.b.op("Div", &[&dy, &total])
        }
        other => return Err(refusal(format!("its reduction '{other}' is none of the specification's"))),
    };
    let mut update = c.b.op("Neg", &[&slope]);
    if let Some(weights) = &weights {
        update = c.b.op("Mul", &[&update, weights]);
    }
    if let Some(ignored) = &ignored {
        let zero = c.b.number(&x, 0.0);
        update = c.b.op("Where", &[ignored, &zero, &update]);
    }
    let update = c.b.broadcast_to(&update, &labels);
    let zero = c.b.number(&x, 0.0);
    let zeros = c.b.broadcast_to(&zero, &x);
    let dx = c.b.node("ScatterElements", &[&zeros, &labels, &update], |node| node.int("axis", 1));
    c.give(0, dx);
    Ok(())
}

/// Labels with 0 in the place of `ignore_index`, and where it stood.
fn without_ignored(c: &mut Backward<'_, '_>, labels: String) -> (String, Option<String>) {
    let Some(index) = c.node.attr_int("ignore_index") else { return (labels, None) };
    let index = c.b.number(&labels, index as f64);
    let ignored = c.b.op("Equal", &[&labels, &index]);
    let zero = c.b.number(&labels, 0.0);
    let valid = c.b.op("Where", &[&ignored, &zero, &labels]);
    (valid, Some(ignored))
}

/// w[t], 0 where a label is ignored.
fn weights_of(c: &mut Backward<'_, '_>, labels: &str, ignored: Option<&str>) -> String {
    let weights = c.b.node("Gather", &[&c.x(2), labels], |node| node.int("axis", 0));
    match ignored {
        Some(ignored) => {
            let zero = c.b.number(&weights, 0.0);
            c.b.op("Where", &[ignored, &zero, &weights])
        }
        None => weights,
    }
}

/// Σ w[t] over the labels that count.
fn total_weight(c: &mut Backward<'_, '_>, labels: &str, weights: Option<&str>, ignored: Option<&str>) -> String {
    let x = c.x(0);
    match (weights, ignored) {
        (Some(weights), _) => c.b.reduce_all("ReduceSum", weights),
        (None, Some(ignored)) => {
            let counts = c.b.op("Not", &[ignored]);
            let counts = c.b.cast_like(&counts, &x);
            c.b.reduce_all("ReduceSum", &counts)
        }
        (None, None) => {
            let count = c.b.count(labels, None);
            c.b.cast_like(&count, &x)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::model::node;
    use crate::rewrite::gradient::testing::{Case, numbers, tensor};

    fn along(op: &str, dims: &[usize], axis: Option<i64>, seed: u64) -> Case {
        let mut built = node(op).inputs(["x"]).outputs(["y"]);
        if let Some(axis) = axis {
            built = built.int("axis", axis);
        }
        Case::new(vec![("x", tensor(dims, numbers(dims.iter().product(), seed)))], vec![built.build()])
    }

    #[test]
    fn along_any_axis() {
        for op in ["Softmax", "LogSoftmax"] {
            for opset in [13, 18] {
                along(op, &[2, 4], None, 1).opset(opset).check();
                along(op, &[2, 3, 2], Some(1), 2).opset(opset).check();
                along(op, &[2, 3, 2], Some(-2), 2).opset(opset).check();
                along(op, &[3], Some(0), 3).opset(opset).check();
                along(op, &[2, 1], None, 3).opset(opset).check();
            }
            assert!(along(op, &[2, 3], Some(2), 1).refusal().contains("its axis 2 is outside a tensor of 2 axes"));
        }
    }

    /// Log probabilities x [N, C, d…], labels that reach every class.
    struct Likelihood {
        dims: Vec<usize>,
        reduction: Option<&'static str>,
        weighted: bool,
        ignore_index: Option<i64>,
        seed: u64,
    }

    impl Likelihood {
        fn check(&self, opset: i64) {
            let classes = self.dims[1];
            let label_dims: Vec<usize> =
                self.dims.iter().enumerate().filter(|(i, _)| *i != 1).map(|(_, &n)| n).collect();
            let count = label_dims.iter().product();
            let mut random = fastrand::Rng::with_seed(self.seed);
            let mut labels: Vec<i64> = (0..count).map(|_| random.i64(0..classes as i64)).collect();
            if let (Some(index), [first, rest @ ..]) = (self.ignore_index, &mut labels[..]) {
                // one that counts, for a mean of nothing is not finite, and one that does not
                *first = (index + 1).rem_euclid(classes as i64);
                if let Some(second) = rest.first_mut() {
                    *second = index;
                }
            }
            let mut node = node("NegativeLogLikelihoodLoss").outputs(["y"]);
            node = node.inputs(if self.weighted { &["x", "t", "w"][..] } else { &["x", "t"] });
            if let Some(reduction) = self.reduction {
                node = node.string("reduction", reduction);
            }
            if let Some(index) = self.ignore_index {
                node = node.int("ignore_index", index);
            }
            let x = tensor(&self.dims, numbers(self.dims.iter().product(), self.seed));
            let weights: Vec<f64> = numbers(classes, self.seed + 1).into_iter().map(f64::abs).collect();
            Case::new(vec![("x", x)], vec![node.build()])
                .opset(opset)
                .ints("t", &label_dims, &labels)
                .floats("w", &[classes], &weights)
                .check();
        }
    }

    #[test]
    fn likelihoods_of_all_forms() {
        for reduction in [None, Some("none"), Some("sum"), Some("mean")] {
            for weighted in [false, true] {
                for ignore_index in [None, Some(1), Some(-100)] {
                    for dims in [vec![4, 3], vec![2, 3, 2], vec![2, 3, 2, 2]] {
                        Likelihood { dims, reduction, weighted, ignore_index, seed: 5 }.check(13);
                    }
                }
            }
        }
    }

    #[test]
    fn class_weights_have_no_gradient() {
        let inputs = vec![("x", tensor(&[2, 3], numbers(6, 1))), ("w", tensor(&[3], numbers(3, 2)))];
        let loss = node("NegativeLogLikelihoodLoss").inputs(["x", "t", "w"]).outputs(["y"]).build();
        let refusal = Case::new(inputs, vec![loss]).ints("t", &[2], &[0, 1]).refusal();
        assert!(refusal.contains("class weights have no gradient"), "{refusal}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_shape_and_axis(
            dims in proptest::collection::vec(1..4_usize, 1..5),
            axis in 0..8_usize,
            opset in 13_i64..=26,
            seed in 0_u64..1000,
        ) {
            let axis = (axis % (2 * dims.len())) as i64 - dims.len() as i64;
            for op in ["Softmax", "LogSoftmax"] {
                along(op, &dims, Some(axis), seed).opset(opset).check();
            }
        }

        #[test]
        fn likelihoods_of_any_shape(
            dims in proptest::collection::vec(1..4_usize, 2..5),
            reduction in proptest::option::of(proptest::sample::select(&["none", "sum", "mean"][..])),
            weighted: bool,
            ignore_index in proptest::option::of(-2_i64..3),
            opset in 13_i64..=26,
            seed in 0_u64..1000,
        ) {
            // with one class there is no other than the ignored one
            let ignore_index = ignore_index.filter(|_| dims[1] > 1);
            Likelihood { dims, reduction, weighted, ignore_index, seed }.check(opset);
        }
    }
}
