//! Operators that choose among their inputs: Min, Max, Clip, Where.

use super::backward::{Backward, Refusal, Vjp};

pub(super) const RULES: &[(&str, Vjp)] = &[("Min", extreme), ("Max", extreme), ("Clip", clip), ("Where", choose)];

/// `Min` and `Max`, y = the least or largest of the xᵢ: dxᵢ = dy/n where xᵢ = y, n being how many of them are. Ties share
/// evenly, as in PyTorch.
fn extreme(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let dy = c.dy()?;
    let count = c.node.input.len();
    if count == 1 {
        c.give(0, dy);
        return Ok(());
    }
    let y = c.y(0);
    let masks: Vec<String> = (0..count).map(|i| c.b.op("Equal", &[&c.x(i), &y])).collect();
    let counted: Vec<String> = masks.iter().map(|mask| c.b.cast_like(mask, &dy)).collect();
    let share = match c.b.sum(&counted) {
        Some(ties) => c.b.op("Div", &[&dy, &ties]),
        None => dy,
    };
    for (i, mask) in masks.iter().enumerate() {
        if c.wants(i) {
            let dx = c.b.masked(mask, &share);
            c.give_summed(i, &dx);
        }
    }
    Ok(())
}

/// `Clip`, y = min(max(x, low), high): dx = dy where y = x (the bounds belong to the inside, as in PyTorch's clamp);
/// dlow = Σ dy where x < low ≤ high; dhigh = Σ dy where max(x, low) > high.
fn clip(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let dy = c.dy()?;
    let bounded = c.has(1) || c.has(2);
    if !bounded {
        c.give(0, dy);
        return Ok(());
    }
    let (x, low, high) = (c.x(0), c.x(1), c.x(2));
    if c.wants(0) {
        let y = c.y(0);
        let inside = c.b.op("Equal", &[&x, &y]);
        let dx = c.b.masked(&inside, &dy);
        c.give(0, dx);
    }
    if c.wants(1) {
        let mut below = c.b.op("Less", &[&x, &low]);
        if c.has(2) {
            let in_order = c.b.op("LessOrEqual", &[&low, &high]);
            below = c.b.op("And", &[&below, &in_order]);
        }
        let dlow = c.b.masked(&below, &dy);
        c.give_summed(1, &dlow);
    }
    if c.wants(2) {
        let raised = if c.has(1) { c.b.op("Max", &[&x, &low]) } else { x };
        let above = c.b.op("Greater", &[&raised, &high]);
        let dhigh = c.b.masked(&above, &dy);
        c.give_summed(2, &dhigh);
    }
    Ok(())
}

/// `Where`, y = a where the condition holds, else b: da = dy where it holds, db = dy where it does not.
fn choose(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let dy = c.dy()?;
    let condition = c.x(0);
    let zero = c.b.number(&dy, 0.0);
    if c.wants(1) {
        let da = c.b.op("Where", &[&condition, &dy, &zero]);
        c.give_summed(1, &da);
    }
    if c.wants(2) {
        let db = c.b.op("Where", &[&condition, &zero, &dy]);
        c.give_summed(2, &db);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::model::node;
    use crate::rewrite::evaluate::Tensor;
    use crate::rewrite::gradient::testing::{Case, broadcast_shapes, numbers, tensor};

    /// Numbers no two of which are alike, over several tensors.
    fn distinct<const N: usize>(shapes: [&[usize]; N], seed: u64) -> [Tensor; N] {
        let counts = shapes.map(|dims| dims.iter().product::<usize>());
        let mut all = numbers(counts.iter().sum(), seed);
        shapes.map(|dims| tensor(dims, all.drain(..dims.iter().product::<usize>()).collect()))
    }

    fn three(op: &str, shapes: [&[usize]; 3], seed: u64) -> Case {
        let [a, b, c] = distinct(shapes, seed);
        let nodes = vec![node(op).inputs(["a", "b", "c"]).outputs(["y"]).build()];
        Case::new(vec![("a", a), ("b", b), ("c", c)], nodes)
    }

    #[test]
    fn extremes_of_one_to_three() {
        for op in ["Min", "Max"] {
            three(op, [&[2, 3], &[3], &[2, 1]], 1).check();
            three(op, [&[], &[1, 4], &[2, 1]], 2).opset(13).check();
            let [a, b] = distinct([&[2, 3], &[]], 3);
            let two = vec![node(op).inputs(["a", "b"]).outputs(["y"]).build()];
            Case::new(vec![("a", a.clone()), ("b", b)], two.clone()).check();
            Case::new(vec![("a", a.clone())], two).floats("b", &[], &[0.0]).check();
            Case::new(vec![("a", a)], vec![node(op).inputs(["a"]).outputs(["y"]).build()]).check();
        }
    }

    /// Central differences halve what one input alone would get, too.
    #[test]
    fn two_that_tie_share() {
        for op in ["Min", "Max"] {
            let tie = || tensor(&[2], vec![0.5, -1.5]);
            let nodes = vec![node(op).inputs(["a", "b"]).outputs(["y"]).build()];
            Case::new(vec![("a", tie()), ("b", tie())], nodes).check();
            let same = vec![node(op).inputs(["a", "a"]).outputs(["y"]).build()];
            Case::new(vec![("a", tie())], same).check();
        }
    }

    fn clipped(low: Option<f64>, high: Option<f64>) -> Case {
        let mut inputs = vec![("x", tensor(&[2, 4], numbers(8, 4)))];
        inputs.extend(low.map(|low| ("low", tensor(&[], vec![low]))));
        inputs.extend(high.map(|high| ("high", tensor(&[], vec![high]))));
        let names = ["x", if low.is_some() { "low" } else { "" }, if high.is_some() { "high" } else { "" }];
        Case::new(inputs, vec![node("Clip").inputs(names).outputs(["y"]).build()])
    }

    #[test]
    fn bounds_may_be_left_out_crossed_or_learned() {
        for opset in [13, 18] {
            clipped(None, None).opset(opset).check();
            clipped(Some(-0.6), None).opset(opset).check();
            clipped(None, Some(0.7)).opset(opset).check();
            clipped(Some(-0.6), Some(0.7)).opset(opset).check();
            clipped(Some(0.7), Some(-0.6)).opset(opset).check();
        }
        let relu6 = vec![node("Clip").inputs(["x", "low", "high"]).outputs(["y"]).build()];
        let x = vec![("x", tensor(&[3, 2], vec![-1.0, 0.5, 2.0, 5.9, 6.5, 9.0]))];
        Case::new(x, relu6).floats("low", &[], &[0.0]).floats("high", &[], &[6.0]).check();
    }

    fn chosen(condition: &[usize], a: &[usize], b: &[usize], seed: u64) -> Case {
        let count = condition.iter().product();
        let bits: Vec<i64> = numbers(count, seed).iter().map(|&x| i64::from(x > 0.0)).collect();
        let [a, b] = distinct([a, b], seed);
        let nodes = vec![
            node("Cast").inputs(["bits"]).outputs(["condition"]).int("to", 9).build(),
            node("Where").inputs(["condition", "a", "b"]).outputs(["y"]).build(),
        ];
        Case::new(vec![("a", a), ("b", b)], nodes).ints("bits", condition, &bits)
    }

    #[test]
    fn choices_of_all_broadcasts() {
        for opset in [13, 18] {
            chosen(&[2, 3], &[2, 3], &[2, 3], 1).opset(opset).check();
            chosen(&[2, 1], &[3], &[], 2).opset(opset).check();
            chosen(&[], &[2, 3], &[3], 3).opset(opset).check();
            chosen(&[4, 1, 3], &[2, 1], &[1], 4).opset(opset).check();
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn inputs_of_any_shape((_, shapes) in broadcast_shapes(3), opset in 13_i64..=26, seed in 0_u64..1000) {
            for op in ["Min", "Max"] {
                three(op, [&shapes[0], &shapes[1], &shapes[2]], seed).opset(opset).check();
            }
            chosen(&shapes[0], &shapes[1], &shapes[2], seed).opset(opset).check();
        }
    }
}
