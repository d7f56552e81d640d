//! Elements of small whole-number values that are made from shapes: what exporters compute targets of Reshape, Expand, Pad
//! and conditions of If from.

use prost::Message;

use super::super::dims::{Dims, clamp, position, product, shape_range};
use super::super::index::constant_node;
use super::super::proto::{NodeProto, TensorProto};
use super::super::shape::{Dimension, MAX_RANK};
use super::{BOOL, INT32, INT64, Inference};
use Dimension::{Known, Unknown};

impl Inference<'_> {
    /// Elements of the first output, in row-major order, where it is a small value of whole numbers (a bool is 0 or 1).
    pub(super) fn output_elements(&self, node: &NodeProto) -> Option<Dims> {
        if !node.op_domain().is_empty() {
            return None;
        }
        match node.op() {
            "Constant" => {
                let ints = constant_node(node)?.ints()?;
                (ints.len() <= MAX_RANK).then(|| ints.into_iter().map(Known).collect())
            }
            "Shape" => Some(shape_range(node, self.dims(node, 0)?)),
            "Size" => Some(vec![product(&self.dims(node, 0)?)]),
            // the order of the elements stays
            "Identity" | "Squeeze" | "Unsqueeze" | "Reshape" | "Flatten" => self.vector(node, 0),
            "Cast" => self.cast(node),
            "Gather" if node.attr_int("axis").unwrap_or(0) == 0 && self.is_vector(node, 0) => {
                let data = self.vector(node, 0)?;
                let indices = self.ints(node, 1).filter(|indices| indices.len() <= MAX_RANK)?;
                indices.iter().map(|&index| data.get(position(index, data.len())?).cloned()).collect()
            }
            "Concat" => self.joined(node),
            "Slice" => self.cut(node),
            "Transpose" => self.transposed(node),
            "Where" => {
                let (chosen, one, other) = (self.vector(node, 0)?, self.vector(node, 1)?, self.vector(node, 2)?);
                let count = [chosen.len(), one.len(), other.len()].into_iter().max()?;
                let at = |from: &Dims, i: usize| from.get(if from.len() == 1 { 0 } else { i }).cloned();
                (0..count)
                    .map(|i| match at(&chosen, i)? {
                        Known(0) => at(&other, i),
                        Known(_) => at(&one, i),
                        _ => Some(Unknown),
                    })
                    .collect()
            }
            "Not" => Some(
                self.vector(node, 0)?.iter().map(|one| one.known().map_or(Unknown, |one| truth(one == 0))).collect(),
            ),
            "Neg" => {
                Some(self.vector(node, 0)?.iter().map(|one| whole(one.known().and_then(i64::checked_neg))).collect())
            }
            "Add" | "Sub" | "Mul" | "Div" | "Mod" | "Min" | "Max" | "Equal" | "Greater" | "Less" | "GreaterOrEqual"
            | "LessOrEqual" | "And" | "Or" => self.pairwise(node),
            "ReduceProd" | "ReduceSum" | "ReduceMax" | "ReduceMin" => self.folded(node),
            "ConstantOfShape" => {
                let value = match node.attr("value").and_then(|value| value.t.clone()) {
                    Some(encoded) => {
                        super::super::TensorValue::decode(&TensorProto::decode(encoded).ok()?).ok()?.ints()?
                    }
                    None => vec![0],
                };
                let ([value], count) = (&value[..], self.count(&self.ints(node, 0)?)?) else { return None };
                Some(vec![Known(*value); count])
            }
            "Expand" => {
                let (data, target) = (self.vector(node, 0)?, self.ints(node, 1)?);
                let ([only], [_]) = (&data[..], &target[..]) else { return None };
                Some(vec![only.clone(); self.count(&target)?])
            }
            "Range" => {
                let [start, limit, delta] = [0, 1, 2].map(|at| self.ints(node, at));
                let ([start], [limit], [delta]) = (&start?[..], &limit?[..], &delta?[..]) else { return None };
                let count = super::extents::range_length(*start, *limit, *delta)?;
                let count = usize::try_from(count).ok().filter(|&count| count <= MAX_RANK)?;
                (0..count as i64).map(|i| Some(Known(start.checked_add(delta.checked_mul(i)?)?))).collect()
            }
            _ => None,
        }
    }

    /// How many elements a small shape has.
    fn count(&self, dims: &[i64]) -> Option<usize> {
        let count = dims.iter().try_fold(1i64, |count, &dim| count.checked_mul(dim))?;
        usize::try_from(count).ok().filter(|&count| count <= MAX_RANK)
    }

    fn is_vector(&self, node: &NodeProto, at: usize) -> bool {
        self.dims(node, at).is_some_and(|dims| dims.len() == 1)
    }

    /// To and from whole numbers; to floats as well, as long as they stay whole.
    fn cast(&self, node: &NodeProto) -> Option<Dims> {
        let elements = self.vector(node, 0)?;
        if node.attr_int("to") == Some(BOOL.into()) {
            return Some(elements.iter().map(|one| one.known().map_or(Unknown, |one| truth(one != 0))).collect());
        }
        Some(elements)
    }

    fn joined(&self, node: &NodeProto) -> Option<Dims> {
        let mut all = Dims::new();
        for at in 0..node.input.len() {
            // of matrices the rows are joined only where the first axis is
            if node.attr_int("axis") != Some(0) && !self.is_vector(node, at) {
                return None;
            }
            match self.vector(node, at) {
                Some(elements) => all.extend(elements),
                // nobody knows them, but how many there are
                None => match self.dims(node, at)?[..] {
                    [Known(count)] => all.extend(vec![Unknown; self.count(&[count])?]),
                    _ => return None,
                },
            }
            if all.len() > MAX_RANK {
                return None;
            }
        }
        Some(all)
    }

    /// Rows of a vector, or of a matrix along its first axis.
    fn cut(&self, node: &NodeProto) -> Option<Dims> {
        let data = self.vector(node, 0)?;
        let row = match self.dims(node, 0)?[..] {
            [_] => 1,
            [_, Known(row)] => usize::try_from(row).ok().filter(|&row| row > 0)?,
            _ => return None,
        };
        let rows = data.len() / row;
        let (starts, ends) = (self.ints_of(node, "starts", 1)?, self.ints_of(node, "ends", 2)?);
        let axes = match node.attr("axes").is_some() || node.input_at(3).is_some() {
            true => self.ints_of(node, "axes", 3)?,
            false => vec![0],
        };
        let steps = if node.input_at(4).is_some() { self.ints(node, 4)? } else { vec![1] };
        let ([start], [end], [axis], [step]) = (&starts[..], &ends[..], &axes[..], &steps[..]) else {
            return None;
        };
        if *axis != 0 && !(*axis == -1 && row == 1) {
            return None;
        }
        let chosen: Vec<usize> = match *step {
            1 => (clamp(*start, rows)..clamp(*end, rows)).collect(),
            // all of them, backwards
            -1 if *start == -1 && *end <= -(rows as i64) - 1 => (0..rows).rev().collect(),
            _ => return None,
        };
        chosen
            .into_iter()
            .map(|at| data.get(at * row..(at + 1) * row))
            .collect::<Option<Vec<_>>>()
            .map(|rows| rows.concat())
    }

    fn transposed(&self, node: &NodeProto) -> Option<Dims> {
        let data = self.vector(node, 0)?;
        match self.dims(node, 0)?[..] {
            [_] => Some(data),
            [Known(rows), Known(columns)] if node.attr_ints("perm").is_none_or(|perm| perm == [1, 0]) => {
                let (rows, columns) = (usize::try_from(rows).ok()?, usize::try_from(columns).ok()?);
                (0..rows.checked_mul(columns)?).map(|at| data.get(at % rows * columns + at / rows).cloned()).collect()
            }
            _ => None,
        }
    }

    /// Element by element; one of a single element is stretched.
    fn pairwise(&self, node: &NodeProto) -> Option<Dims> {
        let mut all = self.vector(node, 0)?;
        let floats = !matches!(self.data_type(node, 0), Some(INT64 | INT32 | BOOL));
        for at in 1..node.input.len() {
            let other = self.vector(node, at)?;
            let count = match (all.len(), other.len()) {
                (one, other) if one == other => one,
                (1, count) | (count, 1) => count,
                _ => return None,
            };
            let pick = |from: &Dims, i: usize| from.get(if from.len() == 1 { 0 } else { i }).cloned();
            let pairs: Option<Vec<_>> = (0..count).map(|i| pick(&all, i).zip(pick(&other, i))).collect();
            all = pairs?.into_iter().map(|(one, other)| combined(node, one, other, floats)).collect();
        }
        if all.iter().all(|one| *one == Unknown) { None } else { Some(all) }
    }

    /// Over all elements.
    fn folded(&self, node: &NodeProto) -> Option<Dims> {
        let elements = self.vector(node, 0)?;
        let one_axis = self.dims(node, 0)?.len() <= 1;
        let noop = node.attr_int("noop_with_empty_axes").unwrap_or(0) != 0;
        if !one_axis || noop {
            return None;
        }
        let elements: Vec<i64> = elements.iter().map(Dimension::known).collect::<Option<_>>()?;
        let found = match node.op() {
            "ReduceProd" => elements.iter().try_fold(1i64, |a, &b| a.checked_mul(b)),
            "ReduceSum" => elements.iter().try_fold(0i64, |a, &b| a.checked_add(b)),
            "ReduceMax" => elements.iter().copied().max(),
            _ => elements.iter().copied().min(),
        };
        Some(vec![Known(found?)])
    }
}

fn truth(is: bool) -> Dimension {
    Known(is.into())
}

fn whole(value: Option<i64>) -> Dimension {
    value.map_or(Unknown, Known)
}

/// One element of an operator of two. A symbol is a size: not negative, and itself after + 0, · 1 and the like.
fn combined(node: &NodeProto, one: Dimension, other: Dimension, floats: bool) -> Dimension {
    let (a, b) = match (node.op(), &one, &other) {
        (_, Known(a), Known(b)) => (*a, *b),
        ("Add" | "Sub", _, Known(0)) | ("Mul" | "Div", _, Known(1)) => return one,
        ("Add", Known(0), _) | ("Mul", Known(1), _) => return other,
        ("Max", Dimension::Symbol(_), Known(b)) if *b <= 0 => return one,
        ("Equal", Dimension::Symbol(_), Known(size)) | ("Equal", Known(size), Dimension::Symbol(_)) if *size < 0 => {
            return truth(false);
        }
        ("Equal" | "GreaterOrEqual" | "LessOrEqual", Dimension::Symbol(_), _) if one == other => return truth(true),
        _ => return Unknown,
    };
    match node.op() {
        "Add" => whole(a.checked_add(b)),
        "Sub" => whole(a.checked_sub(b)),
        "Mul" => whole(a.checked_mul(b)),
        "Div" if floats && a.checked_rem(b) != Some(0) => Unknown,
        "Div" => whole(a.checked_div(b)),
        "Mod" if a >= 0 && b > 0 => whole(a.checked_rem(b)),
        "Min" => Known(a.min(b)),
        "Max" => Known(a.max(b)),
        "Equal" => truth(a == b),
        "Greater" => truth(a > b),
        "Less" => truth(a < b),
        "GreaterOrEqual" => truth(a >= b),
        "LessOrEqual" => truth(a <= b),
        "And" => truth(a != 0 && b != 0),
        "Or" => truth(a != 0 || b != 0),
        _ => Unknown,
    }
}
