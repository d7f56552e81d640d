//! Shapes put together from sizes, of which some are known only when the graph runs.

use crate::model::{Dimension, ValueType};

use super::Builder;

/// One size of a shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Size {
    /// known
    Known(i64),
    /// that of an axis of a value
    Of(String, usize),
    /// what is left over; one of a shape at most
    Free,
}

impl Builder<'_> {
    /// The size of an axis, counted from the front.
    pub(super) fn size(&self, value: &str, axis: usize) -> Size {
        let known = self.dims(value).and_then(|dims| dims.get(axis)?.known());
        known.map_or_else(|| Size::Of(value.to_owned(), axis), Size::Known)
    }

    /// As an int64 vector of one element.
    pub(super) fn size_vector(&mut self, size: &Size) -> String {
        match size {
            Size::Known(size) => self.ints(&[*size]),
            Size::Free => self.ints(&[-1]),
            Size::Of(value, axis) => {
                let (shape, axis) = (self.op("Shape", &[value]), self.ints(&[*axis as i64]));
                self.node("Gather", &[&shape, &axis], |node| node.int("axis", 0))
            }
        }
    }

    /// As an int64 vector: a constant where all are known.
    pub(super) fn shape_vector(&mut self, sizes: &[Size]) -> String {
        let known: Option<Vec<i64>> = sizes.iter().map(known).collect();
        if let Some(known) = known {
            return self.ints(&known);
        }
        let parts: Vec<String> = sizes.iter().map(|size| self.size_vector(size)).collect();
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        self.node("Concat", &parts, |node| node.int("axis", 0))
    }

    /// A value in another shape of as many elements: by a constant where the sizes are known, stay at their axis, or one is
    /// left over.
    pub(super) fn reshape_to(&mut self, value: &str, sizes: &[Size]) -> String {
        let dims: Vec<Dimension> = sizes.iter().map(|size| self.dimension(size)).collect();
        let target = match self.constant_target(value, &dims) {
            Some(target) => self.ints(&target),
            None => self.shape_vector(sizes),
        };
        let reshaped = self.op("Reshape", &[value, &target]);
        let inferred = self.dims(&reshaped).unwrap_or_default();
        let dims = sizes.iter().enumerate().map(|(at, size)| match (self.dimension(size), inferred.get(at)) {
            (Dimension::Unknown, Some(inferred)) => inferred.clone(),
            (own, _) => own,
        });
        let dims = Some(dims.collect());
        self.declare(&reshaped, ValueType { data_type: self.data_type(value), dims });
        reshaped
    }

    fn dimension(&self, size: &Size) -> Dimension {
        match size {
            Size::Known(size) => Dimension::Known(*size),
            Size::Of(value, axis) => {
                self.dims(value).and_then(|dims| dims.get(*axis).cloned()).unwrap_or(Dimension::Unknown)
            }
            Size::Free => Dimension::Unknown,
        }
    }

    /// Zeros in the type and shape of a value.
    pub(super) fn zeros_like(&mut self, value: &str) -> String {
        let shape = self.shape_of(value);
        let zeros = self.zeros(&shape, value);
        self.declare_like(&zeros, value);
        zeros
    }

    /// Zeros in a shape, of the element type of `like`.
    pub(super) fn zeros(&mut self, shape: &str, like: &str) -> String {
        let data_type = self.number_type(like);
        let zero = crate::model::proto::TensorProto::vector("", data_type, &[0.0]);
        self.node("ConstantOfShape", &[shape], |node| node.tensor("value", &zero))
    }
}

fn known(size: &Size) -> Option<i64> {
    match size {
        Size::Known(size) => Some(*size),
        Size::Of(..) | Size::Free => None,
    }
}
