//! Products of matrices: MatMul, Gemm.
//!
//! Gradients are products again. Where a factor is a matrix (a weight), both gradients are one Gemm, however many axes the
//! other factor has: runtimes transpose inside a Gemm for nothing, and a batched product with a sum behind it is slower.
//! Only where the way back from the Gemm's matrix would need the shape when the graph runs, a batched product is used.

use crate::model::NodeBuilder;

use super::Builder;
use super::backward::{Backward, Refusal, Vjp, refusal};

pub(super) const RULES: &[(&str, Vjp)] = &[("MatMul", matmul), ("Gemm", gemm)];

/// `MatMul`, Y = A·B over the last two axes: dA = dY·Bᵀ, dB = Aᵀ·dY, summed over the batch axes that were broadcast. A vector
/// is a row on the left, a column on the right.
fn matmul(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let dy = c.dy()?;
    let (a, b) = (c.x(0), c.x(1));
    let (left, right) = (c.rank(&a)?, c.rank(&b)?);
    if left == 0 || right == 0 {
        return Err(refusal("one of its operands is a scalar"));
    }
    if c.wants(0) {
        let da = match (left, right) {
            (1, 1) => c.b.op("Mul", &[&dy, &b]),
            // [.., K, N] · [.., N]
            (1, 2) => c.b.op("MatMul", &[&b, &dy]),
            (1, _) => {
                let column = unsqueezed(c.b, &dy, -1);
                let product = c.b.op("MatMul", &[&b, &column]);
                squeezed(c.b, &product, -1)
            }
            // [.., M, 1] × [K]
            (_, 1) => {
                let column = unsqueezed(c.b, &dy, -1);
                c.b.op("Mul", &[&column, &b])
            }
            (2, 2) => times_transposed(c.b, &dy, &b),
            (_, 2) if restorable(c.b, &a) => {
                let rows = flattened(c.b, &dy, left);
                let product = times_transposed(c.b, &rows, &b);
                c.b.reshape_like(&product, &a)
            }
            _ => {
                let flipped = transposed(c.b, &b, right);
                c.b.op("MatMul", &[&dy, &flipped])
            }
        };
        if right == 2 {
            c.b.declare_like(&da, &a);
        }
        c.give_summed(0, &da);
    }
    if c.wants(1) {
        let db = match (left, right) {
            (1, 1) => c.b.op("Mul", &[&dy, &a]),
            // [K, 1] × [.., 1, N]
            (1, _) => {
                let (column, row) = (unsqueezed(c.b, &a, -1), unsqueezed(c.b, &dy, -2));
                c.b.op("Mul", &[&column, &row])
            }
            (2, 1) => c.b.op("MatMul", &[&dy, &a]),
            (_, 1) => {
                let all = c.b.ints(&[-1]);
                let (dy, rows) = (c.b.op("Reshape", &[&dy, &all]), flattened(c.b, &a, left));
                c.b.op("MatMul", &[&dy, &rows])
            }
            (_, 2) => {
                let (rows, dy) = (flattened(c.b, &a, left), flattened(c.b, &dy, left));
                c.b.node("Gemm", &[&rows, &dy], |node| node.int("transA", 1))
            }
            _ => {
                let flipped = transposed(c.b, &a, left);
                c.b.op("MatMul", &[&flipped, &dy])
            }
        };
        c.give_summed(1, &db);
    }
    Ok(())
}

/// `Gemm`, Y = α·A′·B′ + β·C with A′ and B′ as they are or transposed. Not transposed: dA = α·dY·B′ᵀ, dB = α·A′ᵀ·dY; else
/// those transposed. dC = β·dY, summed over the axes along which C was stretched.
fn gemm(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let dy = c.dy()?;
    let (a, b) = (c.x(0), c.x(1));
    let flags = [c.int("transA", 0) != 0, c.int("transB", 0) != 0];
    let alpha = c.node.attr_float("alpha").unwrap_or(1.0);
    if c.wants(0) {
        let da = match flags {
            [false, flip] => product(c.b, [&dy, &b], [false, !flip], alpha),
            [true, flip] => product(c.b, [&b, &dy], [flip, true], alpha),
        };
        c.b.declare_like(&da, &a);
        c.give(0, da);
    }
    if c.wants(1) {
        let db = match flags {
            [flip, false] => product(c.b, [&a, &dy], [!flip, false], alpha),
            [flip, true] => product(c.b, [&dy, &a], [true, flip], alpha),
        };
        c.b.declare_like(&db, &b);
        c.give(1, db);
    }
    if c.wants(2) {
        let sum = c.b.sum_to(&dy, &c.x(2));
        let beta = c.float("beta", 1.0);
        let dc = if beta == 1.0 {
            sum
        } else {
            let beta = c.b.number(&sum, beta);
            c.b.op("Mul", &[&sum, &beta])
        };
        c.give(2, dc);
    }
    Ok(())
}

/// Whether a matrix can be given the shape of `value` without asking for it when the graph runs.
fn restorable(b: &Builder<'_>, value: &str) -> bool {
    b.dims(value).is_some_and(|dims| dims.iter().filter(|dim| dim.known().is_none()).count() <= 1)
}

/// α·X′·Z′ of two matrices.
fn product(b: &mut Builder<'_>, factors: [&str; 2], flip: [bool; 2], alpha: f32) -> String {
    let set = |node: NodeBuilder, name: &str, on: bool| if on { node.int(name, 1) } else { node };
    b.node("Gemm", &factors, |node| {
        let node = set(set(node, "transA", flip[0]), "transB", flip[1]);
        if alpha == 1.0 { node } else { node.float("alpha", alpha) }
    })
}

/// X·Zᵀ of two matrices.
fn times_transposed(b: &mut Builder<'_>, x: &str, z: &str) -> String {
    product(b, [x, z], [false, true], 1.0)
}

/// With the last two axes swapped.
fn transposed(b: &mut Builder<'_>, value: &str, rank: usize) -> String {
    let mut order: Vec<i64> = (0..rank as i64).collect();
    order.swap(rank - 1, rank - 2);
    b.node("Transpose", &[value], |node| node.ints("perm", &order))
}

/// As a matrix whose rows are the last axis. Flatten, unlike Reshape, needs no size for that.
fn flattened(b: &mut Builder<'_>, value: &str, rank: usize) -> String {
    if rank == 2 {
        return value.to_owned();
    }
    b.node("Flatten", &[value], |node| node.int("axis", rank as i64 - 1))
}

fn unsqueezed(b: &mut Builder<'_>, value: &str, axis: i64) -> String {
    let axis = b.ints(&[axis]);
    b.op("Unsqueeze", &[value, &axis])
}

fn squeezed(b: &mut Builder<'_>, value: &str, axis: i64) -> String {
    let axis = b.ints(&[axis]);
    b.op("Squeeze", &[value, &axis])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::model::node;
    use crate::rewrite::gradient::gradient;
    use crate::rewrite::gradient::testing::{Case, numbers, tensor};
    use crate::rewrite::testing::TestModel;

    fn count(dims: &[usize]) -> usize {
        dims.iter().product()
    }

    fn check_matmul(a: &[usize], b: &[usize]) {
        let inputs = vec![("a", tensor(a, numbers(count(a), 1))), ("b", tensor(b, numbers(count(b), 2)))];
        Case::new(inputs, vec![node("MatMul").inputs(["a", "b"]).outputs(["y"]).build()]).check();
    }

    #[test]
    fn vectors_matrices_and_batches() {
        check_matmul(&[3], &[3]);
        check_matmul(&[3], &[3, 2]);
        check_matmul(&[3], &[2, 3, 4]);
        check_matmul(&[3], &[2, 2, 3, 2]);
        check_matmul(&[2, 3], &[3]);
        check_matmul(&[2, 4, 3], &[3]);
        check_matmul(&[2, 3], &[3, 4]);
        check_matmul(&[2, 2, 3], &[3, 4]);
        check_matmul(&[2, 2, 2, 3], &[3, 2]);
        check_matmul(&[2, 3], &[4, 3, 2]);
        check_matmul(&[2, 2, 3], &[2, 3, 2]);
        check_matmul(&[2, 1, 2, 3], &[2, 3, 2]);
        check_matmul(&[1, 2, 3], &[4, 3, 2]);
    }

    #[test]
    fn the_gradient_of_a_weight_is_one_gemm() {
        let model = TestModel::new(18)
            .input("x", crate::model::DataType::Float, &["N", "7", "5"])
            .initializer("w", crate::model::DataType::Float, &[5, 4], &[0.5; 20])
            .op("MatMul", &["x", "w"], &["y"])
            .output("y", crate::model::DataType::Float, &["N", "7", "4"]);
        let found = gradient(&model.build(), "y", &["w"]).unwrap();
        let ops: Vec<&str> = found.document.graph().nodes().iter().map(|node| node.op()).collect();
        assert_eq!(ops.iter().filter(|op| **op == "Gemm").count(), 1, "{ops:?}");
        assert_eq!(ops.iter().filter(|op| **op == "MatMul").count(), 1, "{ops:?}");
        assert!(!ops.contains(&"ReduceSum"), "{ops:?}");
    }

    fn check_gemm(flags: [bool; 2], alpha: f32, beta: f32, addend: Option<&[usize]>) {
        let pick = |flip: bool, dims: [usize; 2]| if flip { [dims[1], dims[0]] } else { dims };
        let (a, b) = (pick(flags[0], [2, 3]), pick(flags[1], [3, 4]));
        let mut inputs = vec![("a", tensor(&a, numbers(6, 1))), ("b", tensor(&b, numbers(12, 2)))];
        let mut names = vec!["a", "b"];
        if let Some(dims) = addend {
            inputs.push(("c", tensor(dims, numbers(count(dims), 3))));
            names.push("c");
        }
        let gemm = node("Gemm").inputs(names).outputs(["y"]);
        let gemm = gemm.int("transA", flags[0].into()).int("transB", flags[1].into());
        Case::new(inputs, vec![gemm.float("alpha", alpha).float("beta", beta).build()]).opset(13).check();
    }

    #[test]
    fn gemm_in_all_its_forms() {
        for flags in [[false, false], [false, true], [true, false], [true, true]] {
            check_gemm(flags, 1.0, 1.0, None);
            check_gemm(flags, 0.5, -2.0, Some(&[4]));
        }
        for addend in [&[][..], &[1], &[4], &[1, 4], &[2, 1], &[2, 4], &[1, 1]] {
            check_gemm([false, true], -1.5, 0.25, Some(addend));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        #[test]
        fn broadcast_batches(
            batch in prop::collection::vec(1..3usize, 0..3),
            ones in prop::collection::vec(any::<bool>(), 6),
            cut in (0..3usize, 0..3usize),
            sizes in (1..4usize, 1..4usize, 1..4usize),
        ) {
            let (m, k, n) = sizes;
            let lead = |cut: usize, ones: &[bool]| -> Vec<usize> {
                batch.iter().zip(ones).map(|(&n, &one)| if one { 1 } else { n }).skip(cut).collect()
            };
            let a = [lead(cut.0, &ones[..3]), vec![m, k]].concat();
            let b = [lead(cut.1, &ones[3..]), vec![k, n]].concat();
            check_matmul(&a, &b);
        }
    }
}
