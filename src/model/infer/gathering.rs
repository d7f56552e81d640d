//! Shapes after operators that pick elements, repeat them or put them side by side.

use super::super::dims::{Dims, only_sizes, position};
use super::super::proto::NodeProto;
use super::super::shape::Dimension;
use super::Inference;
use Dimension::{Known, Unknown};

impl Inference<'_> {
    pub(super) fn gather(&self, node: &NodeProto) -> Option<Dims> {
        let (data, indices) = (self.dims(node, 0)?, self.dims(node, 1)?);
        let axis = position(node.attr_int("axis").unwrap_or(0), data.len())?;
        Some([&data[..axis], &indices[..], &data[axis + 1..]].concat())
    }

    pub(super) fn gather_nd(&self, node: &NodeProto) -> Option<Dims> {
        let (data, indices) = (self.dims(node, 0)?, self.dims(node, 1)?);
        let batch = usize::try_from(node.attr_int("batch_dims").unwrap_or(0)).ok()?;
        let (last, outer) = indices.split_last()?;
        let skipped = batch.checked_add(usize::try_from(last.known()?).ok()?)?;
        Some([outer, data.get(skipped..)?].concat())
    }

    pub(super) fn concat(&self, node: &NodeProto) -> Option<Dims> {
        let mut all = self.dims(node, 0)?;
        let axis = position(node.attr_int("axis").unwrap_or(1), all.len())?;
        for at in 1..node.input.len() {
            let dims = self.dims(node, at).filter(|dims| dims.len() == all.len());
            let sum = all[axis].known().zip(dims.as_ref().and_then(|dims| dims[axis].known()));
            for (mine, theirs) in all.iter_mut().zip(dims.into_iter().flatten()) {
                if mine.known().is_none() {
                    *mine = theirs;
                }
            }
            all[axis] = sum.and_then(|(one, other)| one.checked_add(other)).map_or(Unknown, Known);
        }
        Some(all)
    }

    pub(super) fn tile(&self, node: &NodeProto) -> Option<Dims> {
        let dims = self.dims(node, 0)?;
        let Some(repeats) = self.ints(node, 1).filter(|repeats| repeats.len() == dims.len()) else {
            return Some(vec![Unknown; dims.len()]);
        };
        let tiled = |(dim, repeat): (Dimension, i64)| match (dim, repeat) {
            (dim, 1) => dim,
            (Known(size), repeat) => size.checked_mul(repeat).map_or(Unknown, Dimension::of),
            _ => Unknown,
        };
        Some(dims.into_iter().zip(repeats).map(tiled).collect())
    }

    pub(super) fn one_hot(&self, node: &NodeProto) -> Option<Dims> {
        let mut dims = self.dims(node, 0)?;
        let depth = match self.vector(node, 1).as_deref() {
            Some([depth]) => depth.clone(),
            _ => Unknown,
        };
        let axis = position(node.attr_int("axis").unwrap_or(-1), dims.len() + 1)?;
        dims.insert(axis, depth);
        Some(only_sizes(dims))
    }

    pub(super) fn top_k(&self, node: &NodeProto) -> Option<Dims> {
        let mut dims = self.dims(node, 0)?;
        let axis = position(node.attr_int("axis").unwrap_or(-1), dims.len())?;
        let k = node.attr_int("k").or_else(|| self.ints(node, 1)?.first().copied());
        dims[axis] = k.map_or(Unknown, Dimension::of);
        Some(dims)
    }
}
