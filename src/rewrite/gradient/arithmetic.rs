//! Arithmetic with broadcasting. The gradient of an operand is summed over the axes along which it was stretched.

use super::backward::{Backward, Refusal, Vjp};

pub(super) const RULES: &[(&str, Vjp)] = &[("Add", add), ("Sub", sub), ("Mul", mul)];

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

#[cfg(test)]
mod tests {
    use crate::model::node;
    use crate::rewrite::gradient::testing::{Case, numbers, tensor};

    fn binary(op: &str, a: &[usize], b: &[usize]) {
        let count = |dims: &[usize]| dims.iter().product();
        let inputs = vec![("a", tensor(a, numbers(count(a), 1))), ("b", tensor(b, numbers(count(b), 2)))];
        Case::new(inputs, vec![node(op).inputs(["a", "b"]).outputs(["y"]).build()]).check();
    }

    #[test]
    fn operands_of_all_broadcasts() {
        for op in ["Add", "Sub", "Mul"] {
            binary(op, &[2, 3], &[2, 3]);
            binary(op, &[2, 3], &[3]);
            binary(op, &[3], &[2, 3]);
            binary(op, &[2, 1, 3], &[4, 1]);
            binary(op, &[2, 3], &[]);
            binary(op, &[1], &[1, 1, 2]);
        }
    }

    #[test]
    fn an_operand_used_twice_gets_both_gradients() {
        let inputs = vec![("a", tensor(&[3], numbers(3, 3)))];
        Case::new(inputs, vec![node("Mul").inputs(["a", "a"]).outputs(["y"]).build()]).check();
    }
}
