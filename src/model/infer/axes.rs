//! Shapes after operators that make axes, drop them or regroup them.

use super::super::dims::{Dims, only_sizes, position, quotient, without};
use super::super::proto::NodeProto;
use super::super::shape::{Dimension, MAX_RANK};
use super::Inference;
use Dimension::{Known, Unknown};

impl Inference<'_> {
    pub(super) fn reshape(&self, node: &NodeProto, data: Option<Dims>) -> Option<Dims> {
        let target = match node.attr_ints("shape") {
            Some(shape) => shape.iter().map(|&dim| Known(dim)).collect(),
            None => self.target_shape(node, 1)?,
        };
        let zero_copies = node.attr_int("allowzero").unwrap_or(0) == 0;
        let mut dims: Dims = target
            .iter()
            .enumerate()
            .map(|(at, dim)| match dim {
                Known(0) if zero_copies => data.as_ref().and_then(|data| data.get(at).cloned()).unwrap_or(Unknown),
                dim => dim.clone(),
            })
            .collect();
        if let Some(free) = dims.iter().position(|dim| *dim == Known(-1)) {
            dims[free] = Unknown;
            let rest = dims.iter().enumerate().filter(|(at, _)| *at != free);
            let rest: Option<Vec<_>> = rest.map(|(_, dim)| Some(dim.clone()).filter(|dim| *dim != Unknown)).collect();
            if let (Some(data), Some(rest)) = (data, rest) {
                dims[free] = quotient(data, rest);
            }
        }
        Some(only_sizes(dims))
    }

    pub(super) fn squeeze(&self, node: &NodeProto) -> Option<Dims> {
        let dims = self.dims(node, 0)?;
        if node.attr("axes").is_none() && node.input_at(1).is_none() {
            // all that are 1: only plain to see where every size is known
            let sizes: Option<Vec<i64>> = dims.iter().map(Dimension::known).collect();
            return Some(sizes?.into_iter().filter(|&size| size != 1).map(Known).collect());
        }
        without(dims, &self.ints_of(node, "axes", 1)?, false)
    }

    pub(super) fn unsqueeze(&self, node: &NodeProto) -> Option<Dims> {
        let data = self.dims(node, 0)?;
        let axes = self.ints_of(node, "axes", 1)?;
        let rank = data.len().checked_add(axes.len()).filter(|&rank| rank <= MAX_RANK)?;
        let axes: Vec<usize> = axes.iter().map(|&axis| position(axis, rank)).collect::<Option<_>>()?;
        let mut data = data.into_iter();
        (0..rank).map(|at| if axes.contains(&at) { Some(Known(1)) } else { data.next() }).collect()
    }

    pub(super) fn reduce(&self, node: &NodeProto) -> Option<Dims> {
        let dims = self.dims(node, 0)?;
        let keep = node.attr_int("keepdims").unwrap_or(1) != 0;
        let given = node.attr("axes").is_some() || node.input_at(1).is_some();
        let axes = if given { self.ints_of(node, "axes", 1) } else { Some(vec![]) };
        match axes {
            Some(axes) if axes.is_empty() && node.attr_int("noop_with_empty_axes").unwrap_or(0) != 0 => Some(dims),
            Some(axes) if axes.is_empty() => {
                let all: Vec<i64> = (0..dims.len() as i64).collect();
                without(dims, &all, keep)
            }
            Some(axes) => without(dims, &axes, keep),
            None if keep => Some(vec![Unknown; dims.len()]),
            None => None,
        }
    }
}
