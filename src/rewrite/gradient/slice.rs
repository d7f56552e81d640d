//! `Slice`: the gradient of what was cut out is put back between zeros.

use super::Builder;
use super::backward::{Backward, Refusal, refusal};
use super::positions::{positions, scatter};
use super::sizes::Size;

/// Longest axis whose elements are put back by a constant list of indices.
const MAX_LISTED: i64 = 1 << 16;

/// One axis that is cut.
struct Cut {
    axis: usize,
    start: i64,
    end: i64,
    step: i64,
}

/// Which elements of an axis a cut takes: so many, `step` apart, the first of them at `first`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Taken {
    first: i64,
    count: i64,
    step: i64,
}

/// `Slice`: dx is zero but where x was read. Bounds and sizes known: Pad, and for steps other than 1 a Gather by a constant
/// list; steps of 1: Pad by amounts found at run time; else dy is scattered.
pub(super) fn slice(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let dy = c.dy()?;
    let x = c.x(0);
    let rank = c.rank(&x)?;
    if let Some(dx) = known_cuts(c, rank)?.and_then(|cuts| put_back(c.b, &cuts, &dy, &x)) {
        c.b.declare_like(&dx, &x);
        c.give(0, dx);
        return Ok(());
    }
    let dx = match neighbours(c, rank)? {
        Some(axes) => put_back_neighbours(c, &axes, rank, &dy, &x),
        None => put_back_anything(c, &dy, &x)?,
    };
    c.b.declare_like(&dx, &x);
    c.give(0, dx);
    Ok(())
}

/// The axes that are cut, where they are constant.
fn known_axes(c: &Backward<'_, '_>, rank: usize, count: Option<usize>) -> Result<Option<Vec<usize>>, Refusal> {
    let axes = match (c.node.input_at(3), count) {
        (Some(axes), _) => c.b.known_ints(axes),
        (None, Some(count)) if count > rank => return Err(refusal(format!("it cuts {count} axes of {rank}"))),
        (None, count) => count.map(|count| (0..count as i64).collect()),
    };
    let Some(axes) = axes else { return Ok(None) };
    axes.into_iter().map(|axis| c.axis(axis, rank)).collect::<Result<_, _>>().map(Some)
}

/// The cuts, where all of them are constant.
fn known_cuts(c: &Backward<'_, '_>, rank: usize) -> Result<Option<Vec<Cut>>, Refusal> {
    let (Some(starts), Some(ends)) = (c.b.known_ints(&c.x(1)), c.b.known_ints(&c.x(2))) else { return Ok(None) };
    let Some(axes) = known_axes(c, rank, Some(starts.len()))? else { return Ok(None) };
    let steps = match c.node.input_at(4) {
        Some(steps) => c.b.known_ints(steps),
        None => Some(vec![1; axes.len()]),
    };
    let Some(steps) = steps else { return Ok(None) };
    if [ends.len(), axes.len(), steps.len()] != [starts.len(); 3] || steps.contains(&0) {
        return Err(refusal("its starts, ends, axes and steps do not fit together"));
    }
    let bounds = starts.into_iter().zip(ends).zip(steps);
    Ok(Some(axes.into_iter().zip(bounds).map(|(axis, ((start, end), step))| Cut { axis, start, end, step }).collect()))
}

/// What a cut takes of an axis of `size` elements (0 or more).
fn taken(cut: &Cut, size: i64) -> Taken {
    let from_front = |at: i64| if at < 0 { at.saturating_add(size) } else { at };
    let (low, high) = if cut.step > 0 { (0, size) } else { (-1, size - 1) };
    let [first, end] = [cut.start, cut.end].map(|bound| from_front(bound).clamp(low, high));
    let span = if cut.step > 0 { end.saturating_sub(first) } else { first.saturating_sub(end) };
    let stride = cut.step.unsigned_abs().min(i64::MAX as u64) as i64;
    let count = if span <= 0 { 0 } else { (span - 1) / stride + 1 };
    Taken { first, count, step: cut.step }
}

/// dx where all is known about the axes that are cut.
fn put_back(b: &mut Builder<'_>, cuts: &[Cut], dy: &str, x: &str) -> Option<String> {
    let mut pads = Vec::new();
    let mut lists = Vec::new();
    for cut in cuts {
        let Size::Known(size) = b.size(x, cut.axis) else {
            // all of it
            if (cut.start, cut.end, cut.step) == (0, i64::MAX, 1) {
                continue;
            }
            return None;
        };
        // backwards from before the front: nothing in numpy, the first element in ONNX Runtime
        if cut.step < 0 && cut.start.saturating_add(size) < 0 {
            return None;
        }
        let taken = taken(cut, size);
        if taken.step == 1 || taken.count <= 1 {
            let before = if taken.count == 0 { 0 } else { taken.first };
            pads.push((cut.axis, before, size - before - taken.count));
        } else if size <= MAX_LISTED {
            lists.push((cut.axis, listed(taken, size)));
        } else {
            return None;
        }
    }
    let mut dx = dy.to_owned();
    for (axis, list) in lists {
        // one more element, zero, for all that were not taken
        dx = b.pad(&dx, &[(axis, 0, 1)]);
        let list = b.ints(&list);
        dx = b.node("Gather", &[&dx, &list], |node| node.int("axis", axis as i64));
    }
    Some(b.pad(&dx, &pads))
}

/// For each element of the axis its place among those taken, or the one behind them.
fn listed(taken: Taken, size: i64) -> Vec<i64> {
    let place = |at: i64| {
        let (steps, rest) = ((at - taken.first) / taken.step, (at - taken.first) % taken.step);
        if rest == 0 && (0..taken.count).contains(&steps) { steps } else { taken.count }
    };
    (0..size).map(place).collect()
}

/// The axes, where these are known and all steps are 1.
fn neighbours(c: &Backward<'_, '_>, rank: usize) -> Result<Option<Vec<usize>>, Refusal> {
    if let Some(steps) = c.node.input_at(4)
        && c.b.known_ints(steps).is_none_or(|steps| steps.iter().any(|&step| step != 1))
    {
        return Ok(None);
    }
    let count = match c.b.sizes(&c.x(1)).as_deref() {
        Some(&[count]) => usize::try_from(count).ok(),
        _ => None,
    };
    known_axes(c, rank, count)
}

/// Before: the start, counted from the front and held inside; after: what is missing then.
fn put_back_neighbours(c: &mut Backward<'_, '_>, axes: &[usize], rank: usize, dy: &str, x: &str) -> String {
    let starts = c.x(1);
    let b = &mut *c.b;
    let axes: Vec<i64> = axes.iter().map(|&axis| axis as i64).collect();
    let listed = b.ints(&axes);
    let [sizes, counts] = [x, dy].map(|value| {
        let shape = b.op("Shape", &[value]);
        b.node("Gather", &[&shape, &listed], |node| node.int("axis", 0))
    });
    let (zero, as_long) = (b.ints(&[0]), b.cast_like(&starts, &sizes));
    let from_back = b.op("Less", &[&as_long, &zero]);
    let shifted = b.op("Add", &[&as_long, &sizes]);
    let from_front = b.op("Where", &[&from_back, &shifted, &as_long]);
    let inside = b.op("Max", &[&from_front, &zero]);
    let last = b.op("Sub", &[&sizes, &counts]);
    let before = b.op("Min", &[&inside, &last]);
    let after = b.op("Sub", &[&last, &before]);
    // of all axes, in their order: none where nothing was cut
    let mut order = vec![axes.len() as i64; rank];
    for (at, &axis) in axes.iter().enumerate() {
        if let Some(slot) = usize::try_from(axis).ok().and_then(|axis| order.get_mut(axis)) {
            *slot = at as i64;
        }
    }
    let order = b.ints(&order);
    let both = [before, after].map(|amount| {
        let amounts = b.node("Concat", &[&amount, &zero], |node| node.int("axis", 0));
        b.node("Gather", &[&amounts, &order], |node| node.int("axis", 0))
    });
    let pads = b.node("Concat", &[&both[0], &both[1]], |node| node.int("axis", 0));
    b.op("Pad", &[dy, &pads])
}

/// The same cut of the positions of x says where dy goes; no two go to one place.
fn put_back_anything(c: &mut Backward<'_, '_>, dy: &str, x: &str) -> Result<String, Refusal> {
    let sources = positions(c.b, x);
    let mut inputs = c.node.input.clone();
    if let Some(data) = inputs.first_mut() {
        data.clone_from(&sources);
    }
    let inputs: Vec<&str> = inputs.iter().map(String::as_str).collect();
    let sources = c.b.op("Slice", &inputs);
    scatter(c.b, &sources, dy, x, false)
}

impl Builder<'_> {
    /// Zeros before and after along some axes (axis, before, after); the value itself where there are none.
    pub(super) fn pad(&mut self, value: &str, pads: &[(usize, i64, i64)]) -> String {
        let Some(rank) = self.rank(value).filter(|_| pads.iter().any(|&(_, before, after)| (before, after) != (0, 0)))
        else {
            return value.to_owned();
        };
        let mut amounts = vec![0; 2 * rank];
        for &(axis, before, after) in pads.iter().filter(|(axis, ..)| *axis < rank) {
            amounts[axis] = before;
            amounts[axis + rank] = after;
        }
        let amounts = self.ints(&amounts);
        self.op("Pad", &[value, &amounts])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::node;
    use crate::rewrite::gradient::testing::{Case, Known, numbers, tensor};
    use crate::rewrite::testing::TestModel;

    fn case(dims: &[usize], starts: &[i64], ends: &[i64], axes: &[i64], steps: &[i64]) -> Case {
        let count = dims.iter().product();
        let slice = node("Slice").inputs(["x", "starts", "ends", "axes", "steps"]).outputs(["y"]).build();
        Case::new(vec![("x", tensor(dims, numbers(count, 5)))], vec![slice])
            .ints("starts", &[starts.len()], starts)
            .ints("ends", &[ends.len()], ends)
            .ints("axes", &[axes.len()], axes)
            .ints("steps", &[steps.len()], steps)
    }

    #[test]
    fn steps_of_one() {
        case(&[5, 4], &[1], &[3], &[0], &[1]).check();
        case(&[5, 4], &[-3], &[i64::MAX], &[-1], &[1]).check();
        case(&[5, 4], &[-99, 1], &[99, -1], &[0, 1], &[1, 1]).check();
        case(&[5, 4], &[0, 2], &[i64::MAX, 3], &[1, 0], &[1, 1]).check();
    }

    #[test]
    fn other_steps() {
        case(&[7, 2], &[0], &[i64::MAX], &[0], &[2]).check();
        case(&[7, 2], &[1], &[6], &[0], &[3]).check();
        case(&[7, 2], &[-1], &[i64::MIN], &[0], &[-1]).check();
        case(&[7, 4], &[99, 3], &[0, -99], &[0, 1], &[-2, -3]).check();
        case(&[7, 4], &[5, 0], &[1, 3], &[0, 1], &[-2, 1]).check();
    }

    #[test]
    fn without_axes_and_steps_in_opset_13() {
        let slice = node("Slice").inputs(["x", "starts", "ends"]).outputs(["y"]).build();
        Case::new(vec![("x", tensor(&[4, 5], numbers(20, 1)))], vec![slice])
            .opset(13)
            .ints("starts", &[2], &[1, -3])
            .ints("ends", &[2], &[4, -1])
            .check();
    }

    #[test]
    fn bounds_found_at_run_time() {
        for steps in [None, Some([1, -2])] {
            // 1 + number of rows − number of rows
            let nodes = vec![
                node("Shape").inputs(["x"]).outputs(["shape"]).build(),
                node("Sub").inputs(["shape", "shape"]).outputs(["zero"]).build(),
                node("Add").inputs(["zero", "one"]).outputs(["starts"]).build(),
                node("Slice")
                    .inputs(["x", "starts", "shape", "axes", steps.map_or("", |_| "steps")])
                    .outputs(["y"])
                    .build(),
            ];
            let case = Case::new(vec![("x", tensor(&[4, 3], numbers(12, 1)))], nodes);
            let case = case.ints("one", &[2], &[1, -1]).ints("axes", &[2], &[0, 1]).ints("steps", &[2], &[1, 1]);
            case.check();
        }
        // steps that nobody knows, by way of an input that is cast
        let nodes = vec![
            node("Cast").inputs(["s"]).outputs(["steps"]).int("to", 7).build(),
            node("Slice").inputs(["x", "starts", "ends", "", "steps"]).outputs(["y"]).build(),
        ];
        let inputs = vec![("x", tensor(&[5, 4], numbers(20, 2)))];
        let mut case = Case::new(inputs, nodes).ints("starts", &[2], &[-1, 0]).ints("ends", &[2], &[-9, 9]);
        case = case.floats("s", &[2], &[-2.0, 3.0]);
        case.check_knowing(Known::Rank);
    }

    #[test]
    fn known_bounds_need_one_node() {
        let model = TestModel::new(18)
            .input("x", crate::model::DataType::Float, &["N", "7"])
            .ints("starts", &[1])
            .ints("ends", &[-1])
            .ints("axes", &[1])
            .op("Slice", &["x", "starts", "ends", "axes"], &["y"])
            .output("y", crate::model::DataType::Float, &["N", "5"]);
        let found = crate::rewrite::gradient::gradient(&model.build(), "y", &["x"]).unwrap();
        let ops: Vec<&str> = found.document.graph().nodes().iter().map(|node| node.op()).collect();
        assert!(ops.contains(&"Pad") && !ops.contains(&"ScatterElements"), "{ops:?}");
    }

    #[test]
    fn a_cut_takes_what_the_specification_says() {
        let of = |start, end, step, size| taken(&Cut { axis: 0, start, end, step }, size);
        assert_eq!(of(0, i64::MAX, 2, 5), Taken { first: 0, count: 3, step: 2 });
        assert_eq!(of(-1, i64::MIN, -2, 5), Taken { first: 4, count: 3, step: -2 });
        assert_eq!(of(7, 9, 1, 5).count, 0);
        assert_eq!(of(i64::MIN, i64::MAX, i64::MAX, 5), Taken { first: 0, count: 1, step: i64::MAX });
        assert_eq!(of(0, 5, -1, 5).count, 0);
        assert_eq!(of(-9, -9, -1, 5).count, 0);
        assert_eq!(of(0, 1, 1, 0).count, 0);
        assert_eq!(of(-1, i64::MIN, -1, 0).count, 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn any_bounds(
            dims in prop::collection::vec(1..6usize, 2),
            starts in prop::collection::vec(-8i64..8, 2),
            ends in prop::collection::vec(-8i64..8, 2),
            steps in prop::collection::vec(prop::sample::select(vec![-3i64, -2, -1, 1, 2, 3]), 2),
        ) {
            let cuts = (0..2).map(|i| Cut { axis: i, start: starts[i], end: ends[i], step: steps[i] });
            prop_assume!(cuts.zip(&dims).all(|(cut, &n)| taken(&cut, n as i64).count > 0));
            case(&dims, &starts, &ends, &[0, 1], &steps).check();
        }
    }
}
