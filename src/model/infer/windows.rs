//! Shapes after operators that slide a window.

use super::super::dims::{Dims, windows, windows_transposed};
use super::super::proto::NodeProto;
use super::super::shape::Dimension;
use super::Inference;
use Dimension::Unknown;

impl Inference<'_> {
    pub(super) fn conv(&self, node: &NodeProto) -> Option<Dims> {
        let (data, weight) = (self.dims(node, 0), self.dims(node, 1));
        let rank = data.as_ref().or(weight.as_ref())?.len();
        let data = data.unwrap_or_else(|| vec![Unknown; rank]);
        let weight = weight.filter(|weight| weight.len() == rank).unwrap_or_else(|| vec![Unknown; rank]);
        let kernel = node
            .attr_ints("kernel_shape")
            .map(<[i64]>::to_vec)
            .or_else(|| weight.get(2..)?.iter().map(Dimension::known).collect());
        let mut dims = vec![data.first()?.clone(), weight.first()?.clone()];
        dims.extend(windows(node, data.get(2..)?, kernel.as_deref()));
        Some(dims)
    }

    pub(super) fn conv_transpose(&self, node: &NodeProto) -> Option<Dims> {
        let (data, weight) = (self.dims(node, 0)?, self.dims(node, 1));
        let per_group = weight.as_ref().and_then(|weight| weight.get(1)?.known());
        let channels = per_group.and_then(|channels| channels.checked_mul(node.attr_int("group").unwrap_or(1)));
        let kernel = node
            .attr_ints("kernel_shape")
            .map(<[i64]>::to_vec)
            .or_else(|| weight?.get(2..)?.iter().map(Dimension::known).collect());
        let mut dims = vec![data.first()?.clone(), channels.map_or(Unknown, Dimension::of)];
        dims.extend(windows_transposed(node, data.get(2..)?, kernel.as_deref()));
        Some(dims)
    }

    pub(super) fn pool(&self, node: &NodeProto) -> Option<Dims> {
        let data = self.dims(node, 0)?;
        let mut dims = data.get(..2)?.to_vec();
        dims.extend(windows(node, &data[2..], node.attr_ints("kernel_shape")));
        Some(dims)
    }
}
