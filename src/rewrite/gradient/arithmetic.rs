//! Arithmetic with broadcasting. The gradient of an operand is summed over the axes along which it was stretched.

use crate::model::TensorValue;

use super::backward::{Backward, Refusal, Vjp, refusal};

pub(super) const RULES: &[(&str, Vjp)] = &[
    ("Add", add),
    ("Sub", sub),
    ("Mul", mul),
    ("Div", div),
    ("Mod", modulo),
    ("Neg", neg),
    ("Reciprocal", reciprocal),
    ("Pow", pow),
    ("Sum", sum),
    ("Mean", mean),
];

/// `Add`, y = a + b: da = dy, db = dy.
fn add(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let dy = c.dy()?;
    for i in (0..2).filter(|&i| c.wants(i)).collect::<Vec<_>>() {
        c.give_summed(i, &dy);
    }
    Ok(())
}

/// `Sub`, y = a − b: da = dy, db = −dy.
fn sub(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let dy = c.dy()?;
    if c.wants(0) {
        c.give_summed(0, &dy);
    }
    if c.wants(1) {
        // the sum first: it is the smaller
        let sum = c.b.sum_to(&dy, &c.x(1));
        let negative = c.b.op("Neg", &[&sum]);
        c.give(1, negative);
    }
    Ok(())
}

/// `Mul`, y = a·b: da = dy·b, db = dy·a. Both for a square: they add up.
fn mul(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let dy = c.dy()?;
    for i in (0..2).filter(|&i| c.wants(i)).collect::<Vec<_>>() {
        let product = c.b.op("Mul", &[&dy, &c.x(1 - i)]);
        c.give_summed(i, &product);
    }
    Ok(())
}

/// `Div`, y = a/b: da = dy/b, db = −(dy/b)·y.
fn div(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let dy = c.dy()?;
    let quotient = c.b.op("Div", &[&dy, &c.x(1)]);
    if c.wants(0) {
        c.give_summed(0, &quotient);
    }
    if c.wants(1) {
        let y = c.y(0);
        let product = c.b.op("Mul", &[&quotient, &y]);
        let sum = c.b.sum_to(&product, &c.x(1));
        let negative = c.b.op("Neg", &[&sum]);
        c.give(1, negative);
    }
    Ok(())
}

/// `Mod` of floats (fmod = 1), y = a − trunc(a/b)·b: da = dy, db = −dy·trunc(a/b), where a/b is no whole number.
fn modulo(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    if c.int("fmod", 0) == 0 {
        return Err(refusal("floats need fmod = 1"));
    }
    let dy = c.dy()?;
    if c.wants(0) {
        c.give_summed(0, &dy);
    }
    if c.wants(1) {
        let quotient = c.b.op("Div", &[&c.x(0), &c.x(1)]);
        let size = c.b.op("Abs", &[&quotient]);
        let whole = c.b.op("Floor", &[&size]);
        let sign = c.b.op("Sign", &[&quotient]);
        let truncated = c.b.op("Mul", &[&whole, &sign]);
        let product = c.b.op("Mul", &[&dy, &truncated]);
        let sum = c.b.sum_to(&product, &c.x(1));
        let negative = c.b.op("Neg", &[&sum]);
        c.give(1, negative);
    }
    Ok(())
}

/// `Neg`, y = −x: dx = −dy.
fn neg(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let dy = c.dy()?;
    let dx = c.b.op("Neg", &[&dy]);
    c.give(0, dx);
    Ok(())
}

/// `Reciprocal`, y = 1/x: dx = −dy·y².
fn reciprocal(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let (dy, y) = (c.dy()?, c.y(0));
    let square = c.b.op("Mul", &[&y, &y]);
    let product = c.b.op("Mul", &[&dy, &square]);
    let dx = c.b.op("Neg", &[&product]);
    c.give(0, dx);
    Ok(())
}

/// `Pow`, y = aᵇ: da = dy·b·a^(b−1), 0 where b = 0; db = dy·y·ln a, 0 where a = 0 and b ≥ 0, NaN where a < 0 (all as in
/// PyTorch). The exponent may be of another type than the base.
fn pow(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let dy = c.dy()?;
    if c.wants(0) {
        let power = match c.b.constant_value(&c.x(1)).as_ref().and_then(TensorValue::scalar) {
            Some(exponent) => slope_of_known_power(c, exponent),
            None => slope_of_power(c),
        };
        let product = c.b.op("Mul", &[&dy, &power]);
        c.give_summed(0, &product);
    }
    if c.wants(1) {
        let slope = slope_of_exponential(c);
        let product = c.b.op("Mul", &[&dy, &slope]);
        let sum = c.b.sum_to(&product, &c.x(1));
        let sum = c.b.cast_like(&sum, &c.x(1));
        c.give(1, sum);
    }
    Ok(())
}

/// b·a^(b−1) for a number b, without Pow where a few products do.
fn slope_of_known_power(c: &mut Backward<'_, '_>, exponent: f64) -> String {
    let a = c.x(0);
    let factor = c.b.number(&a, exponent);
    if exponent == 2.0 {
        return c.b.op("Mul", &[&a, &factor]);
    }
    if exponent == 0.5 {
        let y = c.y(0);
        return c.b.op("Div", &[&factor, &y]);
    }
    let lower = if exponent == 1.0 || exponent == 0.0 {
        // 0·a^(−1) is no number where a = 0
        c.b.number(&a, 1.0)
    } else if exponent == 3.0 {
        c.b.op("Mul", &[&a, &a])
    } else if exponent == -1.0 {
        let y = c.y(0);
        c.b.op("Mul", &[&y, &y])
    } else {
        let less = c.b.number(&a, exponent - 1.0);
        c.b.op("Pow", &[&a, &less])
    };
    c.b.op("Mul", &[&lower, &factor])
}

/// b·a^(b−1), 0 where b = 0.
fn slope_of_power(c: &mut Backward<'_, '_>) -> String {
    let (a, b) = (c.x(0), c.x(1));
    let b = c.b.cast_like(&b, &a);
    let (zero, one) = (c.b.number(&a, 0.0), c.b.number(&a, 1.0));
    let less = c.b.op("Sub", &[&b, &one]);
    let power = c.b.op("Pow", &[&a, &less]);
    let slope = c.b.op("Mul", &[&power, &b]);
    let constant = c.b.op("Equal", &[&b, &zero]);
    c.b.op("Where", &[&constant, &zero, &slope])
}

/// aᵇ·ln a, 0 where a = 0 and b ≥ 0.
fn slope_of_exponential(c: &mut Backward<'_, '_>) -> String {
    let (a, b, y) = (c.x(0), c.x(1), c.y(0));
    let logarithm = c.b.op("Log", &[&a]);
    let slope = c.b.op("Mul", &[&y, &logarithm]);
    let is_positive = c.b.constant_value(&a).is_some_and(|value| value.data.iter().all(|&a| a > 0.0));
    if is_positive {
        return slope;
    }
    let b = c.b.cast_like(&b, &a);
    let zero = c.b.number(&a, 0.0);
    let vanishes = c.b.op("Equal", &[&a, &zero]);
    let stays = c.b.op("GreaterOrEqual", &[&b, &zero]);
    let flat = c.b.op("And", &[&vanishes, &stays]);
    c.b.op("Where", &[&flat, &zero, &slope])
}

/// `Sum`, y = Σᵢ xᵢ: dxᵢ = dy.
fn sum(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let dy = c.dy()?;
    for i in (0..c.node.input.len()).filter(|&i| c.wants(i)).collect::<Vec<_>>() {
        c.give_summed(i, &dy);
    }
    Ok(())
}

/// `Mean`, y = 1/n·Σᵢ xᵢ: dxᵢ = dy/n.
fn mean(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let dy = c.dy()?;
    let share = c.b.number(&dy, 1.0 / c.node.input.len().max(1) as f64);
    for i in (0..c.node.input.len()).filter(|&i| c.wants(i)).collect::<Vec<_>>() {
        // the sum first: it is the smaller
        let sum = c.b.sum_to(&dy, &c.x(i));
        let scaled = c.b.op("Mul", &[&sum, &share]);
        c.give(i, scaled);
    }
    Ok(())
}
#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::model::{NodeBuilder, node};
    use crate::rewrite::evaluate::Tensor;
    use crate::rewrite::gradient::testing::{Case, broadcast_shapes, numbers, tensor};

    fn filled(dims: &[usize], seed: u64) -> Tensor {
        tensor(dims, numbers(dims.iter().product(), seed))
    }

    fn positive(dims: &[usize], seed: u64) -> Tensor {
        tensor(dims, numbers(dims.iter().product(), seed).into_iter().map(f64::abs).collect())
    }

    fn binary(built: NodeBuilder, a: Tensor, b: Tensor) -> Case {
        Case::new(vec![("a", a), ("b", b)], vec![built.inputs(["a", "b"]).outputs(["y"]).build()])
    }

    fn unary(op: &str, a: Tensor) -> Case {
        Case::new(vec![("a", a)], vec![node(op).inputs(["a"]).outputs(["y"]).build()])
    }

    const BROADCASTS: [(&[usize], &[usize]); 6] = [
        (&[2, 3], &[2, 3]),
        (&[2, 3], &[3]),
        (&[3], &[2, 3]),
        (&[2, 1, 3], &[4, 1]),
        (&[2, 3], &[]),
        (&[1], &[1, 1, 2]),
    ];

    #[test]
    fn operands_of_all_broadcasts() {
        for (a, b) in BROADCASTS {
            for op in ["Add", "Sub", "Mul", "Div"] {
                binary(node(op), filled(a, 1), filled(b, 2)).check();
            }
            binary(node("Pow"), positive(a, 1), filled(b, 2)).check();
            // a/b is far from the whole numbers, where the remainder jumps
            let dividend = tensor(a, (0..a.iter().product()).map(|i| 3.5 + 2.0 * i as f64 + 0.01).collect());
            binary(node("Mod").int("fmod", 1), dividend.clone(), tensor(b, vec![-1.0; b.iter().product()])).check();
        }
    }

    #[test]
    fn an_operand_used_twice_gets_both_gradients() {
        for op in ["Mul", "Sub", "Div", "Pow"] {
            let inputs = vec![("a", positive(&[3], 3))];
            Case::new(inputs, vec![node(op).inputs(["a", "a"]).outputs(["y"]).build()]).check();
        }
    }

    #[test]
    fn one_operand() {
        for dims in [&[2, 3][..], &[4], &[]] {
            unary("Neg", filled(dims, 4)).check();
            unary("Reciprocal", filled(dims, 4)).check();
        }
    }

    /// Constant exponents of any value, also whole ones of a negative base, and shapes that stretch the base.
    #[test]
    fn known_powers() {
        for exponent in [2.0, 3.0, 1.0, 0.0, -1.0, -2.0, 4.0, 0.5, -0.5, 1.7] {
            for dims in [&[][..], &[1], &[1, 1, 1]] {
                let whole = f64::fract(exponent) == 0.0;
                let base = if whole { filled(&[2, 3], 5) } else { positive(&[2, 3], 5) };
                let built = node("Pow").inputs(["a", "b"]).outputs(["y"]).build();
                Case::new(vec![("a", base)], vec![built]).floats("b", dims, &[exponent]).check();
            }
        }
        let built = node("Pow").inputs(["a", "b"]).outputs(["y"]).build();
        let base = vec![("a", filled(&[2, 3], 6))];
        Case::new(base.clone(), vec![built.clone()]).ints("b", &[3], &[2, 0, -3]).check();
        Case::new(base, vec![built]).floats("b", &[2, 1], &[1.0, 3.0]).check();
    }

    #[test]
    fn a_base_of_zero() {
        let zero = || tensor(&[1], vec![0.0]);
        for exponent in [0.0, 1.0, 2.0, 3.0] {
            let built = node("Pow").inputs(["a", "b"]).outputs(["y"]).build();
            Case::new(vec![("a", zero())], vec![built.clone()]).floats("b", &[1], &[exponent]).check();
            Case::new(vec![("a", zero())], vec![built.clone()]).floats("b", &[2], &[exponent, exponent]).check();
            if exponent > 0.0 {
                Case::new(vec![("b", tensor(&[1], vec![exponent]))], vec![built]).floats("a", &[1], &[0.0]).check();
            }
        }
    }

    #[test]
    fn a_constant_base() {
        let built = node("Pow").inputs(["a", "b"]).outputs(["y"]).build();
        Case::new(vec![("b", filled(&[2, 3], 7))], vec![built]).floats("a", &[], &[1.7]).check();
    }

    #[test]
    fn a_remainder_of_floats_needs_fmod() {
        let wrong = binary(node("Mod"), filled(&[2], 1), filled(&[2], 2));
        assert!(wrong.refusal().contains("floats need fmod = 1"));
    }

    #[test]
    fn one_to_many_operands() {
        for op in ["Sum", "Mean"] {
            let three = vec![("a", filled(&[2, 3], 1)), ("b", filled(&[3], 2)), ("c", filled(&[2, 1], 3))];
            Case::new(three, vec![node(op).inputs(["a", "b", "c"]).outputs(["y"]).build()]).check();
            unary(op, filled(&[2, 2], 4)).check();
            let twice = vec![("a", filled(&[2, 2], 5))];
            Case::new(twice, vec![node(op).inputs(["a", "a"]).outputs(["y"]).build()]).check();
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn operands_of_any_shape(
            (_, shapes) in broadcast_shapes(2),
            op in proptest::sample::select(&["Add", "Sub", "Mul", "Div", "Pow", "Sum", "Mean"][..]),
            opset in 13_i64..=26,
            seed in 0_u64..1000,
        ) {
            binary(node(op), positive(&shapes[0], seed), filled(&shapes[1], seed + 1)).opset(opset).check();
        }
    }
}
