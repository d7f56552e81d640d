//! Reductions: sums, means, extremes, products, norms.
//!
//! Axes are an attribute or (ReduceSum since opset 13, the others since 18) an input, which may be computed when the
//! graph runs. None means all, or with `noop_with_empty_axes` none at all.

use super::backward::{Backward, Refusal, Vjp, refusal};

pub(super) const RULES: &[(&str, Vjp)] = &[
    ("ReduceSum", sum),
    ("ReduceMean", mean),
    ("ReduceMax", extreme),
    ("ReduceMin", extreme),
    ("ReduceProd", product),
    ("ReduceL1", l1),
    ("ReduceL2", l2),
    ("ReduceLogSum", log_sum),
    ("ReduceLogSumExp", log_sum_exp),
    ("ReduceSumSquare", sum_square),
];

/// What a node reduces over.
enum Axes {
    All,
    These(Vec<i64>),
    /// An int64 vector that is known when the graph runs.
    Computed(String),
}

/// The axes of a node; None where it reduces over nothing.
fn axes(c: &Backward<'_, '_>) -> Option<Axes> {
    let noop = c.int("noop_with_empty_axes", 0) != 0;
    match (c.ints("axes", 1), c.node.input_at(1)) {
        (Ok(Some(axes)), _) if !axes.is_empty() => Some(Axes::These(axes)),
        (Err(_), Some(computed)) => Some(Axes::Computed(computed.to_owned())),
        _ => (!noop).then_some(Axes::All),
    }
}

/// One reduction on the way back.
struct Reduction {
    axes: Axes,
    keeps: bool,
}

impl Reduction {
    /// Of a node that gives back its input where it reduces over nothing; None there, and the gradient is given.
    fn of_identity(c: &mut Backward<'_, '_>) -> Result<Option<Self>, Refusal> {
        let Some(axes) = axes(c) else {
            let dy = c.dy()?;
            c.give(0, dy);
            return Ok(None);
        };
        Ok(Some(Self { axes, keeps: c.int("keepdims", 1) != 0 }))
    }

    /// Of a node that does something to each element even then.
    fn of_function(c: &Backward<'_, '_>) -> Result<Self, Refusal> {
        let noop = c.int("noop_with_empty_axes", 0) != 0;
        match axes(c) {
            Some(axes) if !(noop && matches!(axes, Axes::Computed(_))) => {
                Ok(Self { axes, keeps: c.int("keepdims", 1) != 0 })
            }
            _ => Err(refusal(
                "with noop_with_empty_axes and without axes the versions of the specification disagree on what it \
                 computes",
            )),
        }
    }

    /// A value in the shape of the output, so that it broadcasts against the input: reduced axes are 1 again.
    fn kept(&self, c: &mut Backward<'_, '_>, value: &str) -> String {
        match &self.axes {
            _ if self.keeps => value.to_owned(),
            // a scalar
            Axes::All => value.to_owned(),
            Axes::These(axes) => {
                let axes = c.b.ints(axes);
                c.b.op("Unsqueeze", &[value, &axes])
            }
            Axes::Computed(axes) => c.b.op("Unsqueeze", &[value, axes]),
        }
    }

    /// Another reduction of a value in the shape of the input, over the same axes; broadcasts against it.
    fn again(&self, c: &mut Backward<'_, '_>, op: &str, value: &str) -> String {
        match &self.axes {
            Axes::All => c.b.reduce_all(op, value),
            Axes::These(axes) => c.b.reduce(op, value, axes, true),
            Axes::Computed(axes) => {
                let noop = c.int("noop_with_empty_axes", 0);
                c.b.node(op, &[value, axes], |node| match noop {
                    0 => node,
                    noop => node.int("noop_with_empty_axes", noop),
                })
            }
        }
    }

    /// How many elements of the input come together in one of the output.
    fn count(&self, c: &mut Backward<'_, '_>) -> String {
        let x = c.x(0);
        match &self.axes {
            Axes::All => c.b.count(&x, None),
            Axes::These(axes) => c.b.count(&x, Some(axes)),
            Axes::Computed(_) => {
                let y = c.y(0);
                let (from, to) = (c.b.op("Size", &[&x]), c.b.op("Size", &[&y]));
                let count = c.b.op("Div", &[&from, &to]);
                c.b.cast_like(&count, &x)
            }
        }
    }

    /// Gives a value in the shape of the output, stretched over the input.
    fn give_stretched(&self, c: &mut Backward<'_, '_>, value: &str) {
        let kept = self.kept(c, value);
        let dx = c.b.broadcast_to(&kept, &c.x(0));
        c.give(0, dx);
    }
}

/// `ReduceSum`, y = Σ x: dx = dy.
fn sum(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let Some(reduction) = Reduction::of_identity(c)? else { return Ok(()) };
    let dy = c.dy()?;
    reduction.give_stretched(c, &dy);
    Ok(())
}

/// `ReduceMean`, y = 1/n·Σ x: dx = dy/n.
fn mean(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let Some(reduction) = Reduction::of_identity(c)? else { return Ok(()) };
    let dy = c.dy()?;
    let count = reduction.count(c);
    let share = c.b.op("Div", &[&dy, &count]);
    reduction.give_stretched(c, &share);
    Ok(())
}

/// `ReduceMax`, `ReduceMin`: dx = dy/n where x = y, n being how many of those that come together are. Ties share evenly,
/// as in PyTorch's amax.
fn extreme(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let Some(reduction) = Reduction::of_identity(c)? else { return Ok(()) };
    let (dy, x, y) = (c.dy()?, c.x(0), c.y(0));
    let (dy, y) = (reduction.kept(c, &dy), reduction.kept(c, &y));
    let mask = c.b.op("Equal", &[&x, &y]);
    let ones = c.b.cast_like(&mask, &x);
    let ties = reduction.again(c, "ReduceSum", &ones);
    let share = c.b.op("Div", &[&dy, &ties]);
    let zero = c.b.number(&x, 0.0);
    let dx = c.b.op("Where", &[&mask, &share, &zero]);
    c.give(0, dx);
    Ok(())
}

/// `ReduceProd`, y = Π x: dxᵢ = dy·Π of the others, which is y/xᵢ without zeros; with one zero it is Π of those that are
/// not zero there and 0 elsewhere; with more it is 0.
fn product(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let Some(reduction) = Reduction::of_identity(c)? else { return Ok(()) };
    let (dy, x, y) = (c.dy()?, c.x(0), c.y(0));
    let (dy, y) = (reduction.kept(c, &dy), reduction.kept(c, &y));
    let (zero, one, two) = (c.b.number(&x, 0.0), c.b.number(&x, 1.0), c.b.number(&x, 2.0));
    let is_zero = c.b.op("Equal", &[&x, &zero]);
    let safe = c.b.op("Where", &[&is_zero, &one, &x]);
    // of elements that are zero: the others, if it is the only one
    let rest = reduction.again(c, "ReduceProd", &safe);
    let zeros = c.b.cast_like(&is_zero, &x);
    let zeros = reduction.again(c, "ReduceSum", &zeros);
    let alone = c.b.op("Less", &[&zeros, &two]);
    let rest = c.b.op("Mul", &[&dy, &rest]);
    let at_zero = c.b.op("Where", &[&alone, &rest, &zero]);
    // of the others: y is 0 where there is a zero
    let whole = c.b.op("Mul", &[&dy, &y]);
    let elsewhere = c.b.op("Div", &[&whole, &safe]);
    let dx = c.b.op("Where", &[&is_zero, &at_zero, &elsewhere]);
    c.give(0, dx);
    Ok(())
}

/// `ReduceL1`, y = Σ|x|: dx = dy·sign x.
fn l1(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let reduction = Reduction::of_function(c)?;
    let (dy, x) = (c.dy()?, c.x(0));
    let dy = reduction.kept(c, &dy);
    let sign = c.b.op("Sign", &[&x]);
    let dx = c.b.op("Mul", &[&sign, &dy]);
    c.give(0, dx);
    Ok(())
}

/// `ReduceL2`, y = √Σx²: dx = x·dy/y, 0 where y = 0 (as in PyTorch).
fn l2(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let reduction = Reduction::of_function(c)?;
    let (dy, x, y) = (c.dy()?, c.x(0), c.y(0));
    let zero = c.b.number(&y, 0.0);
    let vanishes = c.b.op("Equal", &[&y, &zero]);
    let scale = c.b.op("Div", &[&dy, &y]);
    let scale = c.b.op("Where", &[&vanishes, &zero, &scale]);
    let scale = reduction.kept(c, &scale);
    let dx = c.b.op("Mul", &[&x, &scale]);
    c.give(0, dx);
    Ok(())
}

/// `ReduceLogSum`, y = ln Σ x: dx = dy/Σx = dy·e^(−y).
fn log_sum(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let reduction = Reduction::of_function(c)?;
    let (dy, y) = (c.dy()?, c.y(0));
    let sum = c.b.op("Exp", &[&y]);
    let slope = c.b.op("Div", &[&dy, &sum]);
    reduction.give_stretched(c, &slope);
    Ok(())
}

/// `ReduceLogSumExp`, y = ln Σ e^x: dx = dy·e^(x − y), 0 where all x are −∞.
fn log_sum_exp(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let reduction = Reduction::of_function(c)?;
    let (dy, x, y) = (c.dy()?, c.x(0), c.y(0));
    // −∞ − −∞ is no number
    let (zero, lowest) = (c.b.number(&y, 0.0), c.b.number(&y, f64::NEG_INFINITY));
    let nothing = c.b.op("Equal", &[&y, &lowest]);
    let y = c.b.op("Where", &[&nothing, &zero, &y]);
    let (dy, y) = (reduction.kept(c, &dy), reduction.kept(c, &y));
    let exponent = c.b.op("Sub", &[&x, &y]);
    let share = c.b.op("Exp", &[&exponent]);
    let dx = c.b.op("Mul", &[&share, &dy]);
    c.give(0, dx);
    Ok(())
}

/// `ReduceSumSquare`, y = Σ x²: dx = 2x·dy.
fn sum_square(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let reduction = Reduction::of_function(c)?;
    let (dy, x) = (c.dy()?, c.x(0));
    let double = c.b.op("Add", &[&dy, &dy]);
    let double = reduction.kept(c, &double);
    let dx = c.b.op("Mul", &[&x, &double]);
    c.give(0, dx);
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::RULES;
    use crate::model::node;
    use crate::rewrite::evaluate::Tensor;
    use crate::rewrite::gradient::testing::{Case, Known, numbers, tensor};

    /// How the axes are told.
    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Told {
        /// Not at all.
        Nowhere,
        /// As the opset says: an attribute or an initializer.
        Fixed(&'static [i64]),
        /// A value that the graph computes.
        Computed(&'static [i64]),
    }

    fn x_of(op: &str, dims: &[usize], seed: u64) -> Tensor {
        let values = numbers(dims.iter().product(), seed);
        let positive = op == "ReduceLogSum";
        tensor(dims, values.into_iter().map(|x| if positive { x.abs() } else { x }).collect())
    }

    fn case(op: &str, x: Tensor, told: Told, keep: bool, opset: i64) -> Case {
        let as_input = op == "ReduceSum" || opset >= 18;
        let mut built = node(op).outputs(["y"]).int("keepdims", keep.into());
        let mut nodes = Vec::new();
        let mut constants = Vec::new();
        built = match told {
            Told::Nowhere => built.inputs(["x"]),
            Told::Fixed(axes) if as_input => {
                constants = axes.to_vec();
                built.inputs(["x", "axes"])
            }
            Told::Fixed(axes) => built.inputs(["x"]).ints("axes", axes),
            Told::Computed(axes) => {
                constants = axes.to_vec();
                // a value that nothing is known about but its type
                nodes.push(node("Neg").inputs(["axes"]).outputs(["negative"]).build());
                nodes.push(node("Neg").inputs(["negative"]).outputs(["computed"]).build());
                built.inputs(["x", "computed"])
            }
        };
        nodes.push(built.build());
        Case::new(vec![("x", x)], nodes).opset(opset).ints("axes", &[constants.len()], &constants)
    }

    #[test]
    fn all_axes_some_and_none_named() {
        for (op, _) in RULES {
            for opset in [13, 18] {
                for keep in [false, true] {
                    for told in [Told::Nowhere, Told::Fixed(&[1]), Told::Fixed(&[-1, 0]), Told::Fixed(&[-2])] {
                        case(op, x_of(op, &[2, 3, 2], 1), told, keep, opset).check();
                    }
                    case(op, x_of(op, &[], 2), Told::Nowhere, keep, opset).check();
                    case(op, x_of(op, &[3], 2), Told::Fixed(&[0]), keep, opset).check();
                    case(op, x_of(op, &[2, 1], 2), Told::Fixed(&[]), keep, opset).check();
                }
            }
        }
    }

    #[test]
    fn axes_that_the_graph_computes() {
        for (op, _) in RULES {
            for keep in [false, true] {
                for axes in [&[1][..], &[0, -1]] {
                    case(op, x_of(op, &[2, 3, 2], 3), Told::Computed(axes), keep, 18).check();
                }
            }
        }
        case("ReduceSum", x_of("", &[2, 3], 3), Told::Computed(&[1]), true, 13).check();
    }

    #[test]
    fn nothing_is_reduced_where_it_says_so() {
        let with_flag = |op: &str, told| {
            let mut case = case(op, x_of(op, &[2, 3], 4), told, true, 18);
            let last = case.nodes.pop().unwrap();
            let mut again = node(op).inputs(&last.input).outputs(["y"]).int("noop_with_empty_axes", 1);
            again = again.attributes(last.attribute);
            case.nodes.push(again.build());
            case
        };
        for op in ["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceProd"] {
            for told in [Told::Nowhere, Told::Fixed(&[]), Told::Fixed(&[1]), Told::Computed(&[]), Told::Computed(&[1])]
            {
                with_flag(op, told).check();
            }
        }
        for op in ["ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceSumSquare"] {
            with_flag(op, Told::Fixed(&[0])).check();
            let refusal = with_flag(op, Told::Nowhere).refusal();
            assert!(refusal.contains("disagree on what it computes"), "{refusal}");
        }
    }

    #[test]
    fn products_with_zeros() {
        // no zero, one, two
        let x = tensor(&[3, 3], vec![0.5, -1.5, 2.0, 0.7, 0.0, -3.0, 0.0, 1.5, 0.0]);
        for keep in [false, true] {
            for (told, opset) in [(Told::Fixed(&[1]), 13), (Told::Fixed(&[0]), 18), (Told::Computed(&[1]), 18)] {
                case("ReduceProd", x.clone(), told, keep, opset).check();
            }
        }
        let one_zero = tensor(&[2, 2], vec![0.5, 0.0, 2.0, -0.7]);
        case("ReduceProd", one_zero, Told::Nowhere, true, 13).check();
    }

    /// Central differences halve what one of two would get, too.
    #[test]
    fn extremes_that_tie_share() {
        let x = tensor(&[2, 3], vec![0.5, 0.5, -1.0, -1.0, 2.0, -1.0]);
        for (op, rows) in [("ReduceMax", 0), ("ReduceMin", 1)] {
            let row = match &x.data {
                crate::rewrite::evaluate::Data::Float(all) => all[3 * rows..3 * rows + 3].to_vec(),
                _ => unreachable!("floats"),
            };
            for keep in [false, true] {
                case(op, tensor(&[1, 3], row.clone()), Told::Fixed(&[1]), keep, 18).check();
                case(op, tensor(&[3], row.clone()), Told::Nowhere, keep, 13).check();
            }
        }
    }

    /// Differences see a corner at 0: half of either side, which is 0.
    #[test]
    fn the_norm_of_nothing_has_no_slope() {
        case("ReduceL2", tensor(&[2, 2], vec![0.0, 0.0, 3.0, 4.0]), Told::Fixed(&[1]), false, 18).check();
    }

    #[test]
    fn a_row_of_minus_infinity_has_no_gradient() {
        let mut case = case("ReduceLogSumExp", tensor(&[2], vec![0.3, -0.4]), Told::Fixed(&[1]), false, 18);
        // both rows get x, the second is masked out afterwards
        let masked = node("Where").inputs(["open", "x", "lowest"]).outputs(["rows"]).build();
        let open = node("Cast").inputs(["bits"]).outputs(["open"]).int("to", 9).build();
        case.nodes[0].input[0] = "rows".to_owned();
        let finite = node("Exp").inputs(["logs"]).outputs(["y"]).build();
        case.nodes[0].output[0] = "logs".to_owned();
        case.nodes.splice(0..0, [open, masked]);
        case.nodes.push(finite);
        case.ints("bits", &[2, 1], &[1, 0]).floats("lowest", &[], &[f64::NEG_INFINITY]).check();
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_shape_axes_and_opset(
            rule in 0..RULES.len(),
            dims in proptest::collection::vec(1..4_usize, 0..5),
            chosen in proptest::collection::vec(proptest::option::of(any::<bool>()), 4),
            keep: bool,
            opset in 13_i64..=26,
            seed in 0_u64..1000,
        ) {
            let (op, _) = RULES[rule];
            let rank = dims.len() as i64;
            // in or out, and counted from the front or from the end
            let axes = chosen.iter().zip(0..rank);
            let axes: Vec<i64> = axes.filter_map(|(c, axis)| c.map(|front| if front { axis } else { axis - rank })).collect();
            let told = Told::Fixed(Vec::leak(axes));
            for known in [Known::All, Known::Rank] {
                case(op, x_of(op, &dims, seed), told, keep, opset).check_knowing(known);
            }
        }
    }
}
