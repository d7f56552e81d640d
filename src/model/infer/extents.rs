//! Shapes after operators that add, cut, stretch or regroup elements.

use super::super::dims::{Dims, clamp, position, size};
use super::super::proto::NodeProto;
use super::super::shape::{Dimension, ValueType};
use super::Inference;
use Dimension::{Known, Unknown};

impl Inference<'_> {
    pub(super) fn split(&self, node: &NodeProto) -> Vec<ValueType> {
        let data_type = self.data_type(node, 0);
        let Some(dims) = self.dims(node, 0) else {
            return vec![ValueType::new(data_type, None); node.output.len()];
        };
        let Some(axis) = position(node.attr_int("axis").unwrap_or(0), dims.len()) else {
            return vec![];
        };
        let given = node.attr("split").is_some() || node.input_at(1).is_some();
        let sizes = self.ints_of(node, "split", 1);
        let count = node.attr_int("num_outputs").unwrap_or(node.output.len() as i64);
        let uneven = node.attr("num_outputs").is_some();
        // all of one size; the last may be smaller since opset 18
        let equal = |at: usize| {
            let whole = dims[axis].known().filter(|whole| !given && count > 0 && (uneven || whole % count == 0))?;
            let each = whole / count + i64::from(whole % count != 0);
            Some(each.min(whole.saturating_sub(each.checked_mul(at as i64)?)).max(0))
        };
        let part = |at: usize| {
            let size = if given { sizes.as_ref().and_then(|sizes| sizes.get(at).copied()) } else { equal(at) };
            let mut dims = dims.clone();
            dims[axis] = size.map_or(Unknown, Dimension::of);
            ValueType::new(data_type, Some(dims))
        };
        (0..node.output.len()).map(part).collect()
    }

    pub(super) fn slice(&self, node: &NodeProto) -> Option<Dims> {
        let mut dims = self.dims(node, 0)?;
        let axes_given = node.attr("axes").is_some() || node.input_at(3).is_some();
        let axes = match (self.ints_of(node, "axes", 3), self.vector(node, 1).or_else(|| self.vector(node, 2))) {
            (Some(axes), _) => Some(axes),
            (None, Some(bounds)) if !axes_given => Some((0..bounds.len() as i64).collect()),
            _ => node.attr_ints("starts").filter(|_| !axes_given).map(|starts| (0..starts.len() as i64).collect()),
        };
        let Some(axes) = axes else { return Some(vec![Unknown; dims.len()]) };
        let bounds = |name: &str, at: usize| -> Option<Dims> {
            match node.attr_ints(name) {
                Some(ints) => Some(ints.iter().map(|&bound| Known(bound)).collect()),
                None => self.vector(node, at),
            }
        };
        let (starts, ends, steps) = (bounds("starts", 1), bounds("ends", 2), self.vector(node, 4));
        for (at, &axis) in axes.iter().enumerate() {
            let axis = position(axis, dims.len())?;
            let of = |list: &Option<Dims>| list.as_ref().and_then(|list| list.get(at).cloned()).unwrap_or(Unknown);
            let step = if node.input_at(4).is_some() { of(&steps) } else { Known(1) };
            dims[axis] = cut(&dims[axis], &of(&starts), &of(&ends), &step);
        }
        Some(dims)
    }

    /// Constant or made-up pads, in front of each axis and behind it.
    pub(super) fn pad(&self, node: &NodeProto) -> Option<Dims> {
        let mut dims = self.dims(node, 0)?;
        let axes: Vec<i64> = match node.input_at(3) {
            Some(_) => match self.ints(node, 3) {
                Some(axes) => axes,
                None => return Some(vec![Unknown; dims.len()]),
            },
            None => (0..dims.len() as i64).collect(),
        };
        let pads: Option<Dims> = match node.attr_ints("pads") {
            Some(pads) => Some(pads.iter().map(|&pad| Known(pad)).collect()),
            None => self.vector(node, 1),
        };
        for (at, &axis) in axes.iter().enumerate() {
            let axis = position(axis, dims.len())?;
            let of = |at: usize| pads.as_ref().and_then(|pads| pads.get(at)?.known());
            dims[axis] = match (&dims[axis], of(at).zip(of(at + axes.len()))) {
                (dim, Some((0, 0))) => dim.clone(),
                (Known(size), Some((before, after))) => {
                    size.checked_add(before).and_then(|size| size.checked_add(after)).map_or(Unknown, Dimension::of)
                }
                _ => Unknown,
            };
        }
        Some(dims)
    }

    /// By scales or sizes, which the opset has at different places.
    pub(super) fn resize(&self, node: &NodeProto) -> Option<Dims> {
        let mut dims = self.dims(node, 0)?;
        let axes: Vec<i64> = match node.attr_ints("axes") {
            Some(axes) => axes.to_vec(),
            None => (0..dims.len() as i64).collect(),
        };
        let stretched = node.attr_str("keep_aspect_ratio_policy").unwrap_or("stretch") == "stretch";
        let is_given = |at: usize| node.input_at(at).is_some() && self.dims(node, at) != Some(vec![Known(0)]);
        let scales_at = if node.op() == "Upsample" || self.opset < 11 { 1 } else { 2 };
        let sizes = self.vector(node, 3).filter(|_| stretched);
        let scales: Option<Vec<f64>> = match (node.attr("scales"), node.input_at(scales_at)) {
            (Some(scales), _) => Some(scales.floats.iter().map(|&scale| scale.into()).collect()),
            (None, Some(scales)) => self.index.constant(scales).map(|scales| scales.data),
            _ => None,
        };
        for (at, &axis) in axes.iter().enumerate() {
            let axis = position(axis, dims.len())?;
            dims[axis] = if is_given(3) {
                sizes.as_ref().and_then(|sizes| sizes.get(at).cloned()).unwrap_or(Unknown)
            } else {
                match (&dims[axis], scales.as_ref().and_then(|scales| scales.get(at))) {
                    (dim, Some(1.0)) => dim.clone(),
                    // in f32, as runtimes do
                    (Known(size), Some(&scale)) if scale > 0.0 => {
                        let size = *size as f32 * scale as f32;
                        if size < 1e9 { Known(size as i64) } else { Unknown }
                    }
                    _ => Unknown,
                }
            };
        }
        Some(super::super::dims::only_sizes(dims))
    }

    /// [N, C, H, W] with blocks of channels laid out in space.
    pub(super) fn depth_to_space(&self, node: &NodeProto) -> Option<Dims> {
        let (dims, block) = (self.dims(node, 0)?, node.attr_int("blocksize")?);
        let [batch, channels, rows, columns] = &dims[..] else { return None };
        let depth = channels.known().and_then(|channels| channels.checked_div(block.checked_mul(block)?));
        let grown = |dim: &Dimension| dim.known().and_then(|dim| dim.checked_mul(block)).map_or(Unknown, Dimension::of);
        Some(vec![batch.clone(), depth.map_or(Unknown, Dimension::of), grown(rows), grown(columns)])
    }

    /// The other way.
    pub(super) fn space_to_depth(&self, node: &NodeProto) -> Option<Dims> {
        let (dims, block) = (self.dims(node, 0)?, node.attr_int("blocksize")?);
        let [batch, channels, rows, columns] = &dims[..] else { return None };
        let depth = channels.known().and_then(|channels| channels.checked_mul(block.checked_mul(block)?));
        let shrunk =
            |dim: &Dimension| dim.known().and_then(|dim| dim.checked_div(block)).map_or(Unknown, Dimension::of);
        Some(vec![batch.clone(), depth.map_or(Unknown, Dimension::of), shrunk(rows), shrunk(columns)])
    }

    /// Of whole numbers.
    pub(super) fn range(&self, node: &NodeProto) -> Dimension {
        let [start, limit, delta] = [0, 1, 2].map(|at| self.vector(node, at));
        match [start, limit, delta].map(|one| one.and_then(|mut one| if one.len() == 1 { one.pop() } else { None })) {
            [Some(Known(start)), Some(Known(limit)), Some(Known(delta))] => {
                range_length(start, limit, delta).map_or(Unknown, Dimension::of)
            }
            [Some(Known(0)), Some(count @ Dimension::Symbol(_)), Some(Known(1))] => count,
            _ => Unknown,
        }
    }
}

/// How many numbers there are from `start` to before `limit`.
pub(super) fn range_length(start: i64, limit: i64, delta: i64) -> Option<i64> {
    let (span, delta) = (i128::from(limit) - i128::from(start), i128::from(delta));
    if delta == 0 {
        return None;
    }
    let count = span.div_euclid(delta) + i128::from(span.rem_euclid(delta) != 0 && delta > 0);
    // a negative step rounds the other way
    let count = if delta < 0 { -(span.div_euclid(-delta)) } else { count };
    i64::try_from(count.max(0)).ok()
}

/// The size of an axis after a Slice.
fn cut(dim: &Dimension, start: &Dimension, end: &Dimension, step: &Dimension) -> Dimension {
    let Known(step) = step else { return Unknown };
    match (dim, start, end) {
        // all of it
        (dim, Known(0), end) if *step == 1 && (*end == Known(i64::MAX) || (end == dim && *dim != Unknown)) => {
            dim.clone()
        }
        (Known(length), Known(start), Known(end)) => {
            let Ok(length) = usize::try_from(*length) else { return Unknown };
            if *step > 0 {
                let span = clamp(*end, length).saturating_sub(clamp(*start, length));
                return size(span.div_ceil(usize::try_from(*step).unwrap_or(usize::MAX)));
            }
            backwards(length as i64, *start, *end, *step)
        }
        // so many from the front, where there are that many: nobody knows
        _ => Unknown,
    }
}

fn backwards(length: i64, start: i64, end: i64, step: i64) -> Dimension {
    let from_front = |at: i64| if at < 0 { at.saturating_add(length) } else { at };
    let start = from_front(start);
    // from before the front: readers of the specification disagree
    if step == 0 || start < 0 {
        return Unknown;
    }
    let (start, end) = (start.min(length - 1), from_front(end).clamp(-1, length - 1));
    let span = u64::try_from(start - end).unwrap_or(0);
    i64::try_from(span.div_ceil(step.unsigned_abs())).map_or(Unknown, Dimension::of)
}
