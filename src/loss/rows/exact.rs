//! One row after the other, in plain code: rows whose statistics are not numbers (infinite logits, NaN, all other
//! classes masked).

mod hard;
mod smooth;

use super::super::element::Element;

/// One row of the logits: C elements, D apart.
#[derive(Clone, Copy)]
pub(super) struct Row<'a, T> {
    /// From the first class to the last, what lies between them included.
    pub(super) span: &'a [T],
    pub(super) stride: usize,
    /// Index of the first class in the logits.
    pub(super) start: usize,
}

impl<'a, T: Element> Row<'a, T> {
    #[inline]
    pub(super) fn get(&self, class: usize) -> T {
        self.span[class * self.stride]
    }

    #[inline]
    fn values(&self) -> impl Iterator<Item = T> + Clone + 'a {
        self.span.iter().step_by(self.stride).copied()
    }

    /// All classes but one.
    #[inline]
    fn values_without(&self, class: usize) -> impl Iterator<Item = T> + Clone + 'a {
        // empty after the last class
        let after = self.span.get((class + 1) * self.stride..).unwrap_or_default();
        let before = &self.span[..class * self.stride];
        before.iter().step_by(self.stride).chain(after.iter().step_by(self.stride)).copied()
    }

    /// Index of a class in the logits.
    #[inline]
    pub(super) fn index(&self, class: usize) -> usize {
        self.start + class * self.stride
    }
}
