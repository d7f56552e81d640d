//! One row after the other, in plain code and double precision: rows whose statistics are not numbers (infinite logits,
//! NaN, all other classes masked). They are rare, so this is compiled once for all types of logits.

pub(super) mod hard;
pub(super) mod smooth;

use super::super::element::Element;

/// Where the classes of a row of the logits lie: C elements, D apart.
#[derive(Clone, Copy)]
pub(super) struct Row<'a, T> {
    /// From the first class to the last, what lies between them included.
    pub(super) span: &'a [T],
    pub(super) stride: usize,
    /// Index of the first class in the logits.
    pub(super) start: usize,
}

impl<T: Element> Row<'_, T> {
    #[inline]
    pub(super) fn get(&self, class: usize) -> T {
        self.span[class * self.stride]
    }

    /// Index of a class in the logits.
    #[inline]
    pub(super) fn index(&self, class: usize) -> usize {
        self.start + class * self.stride
    }
}

/// The logits of a row, whatever their type.
#[derive(Clone, Copy)]
pub(super) struct Logits<'a> {
    pub(super) classes: usize,
    pub(super) get: &'a dyn Fn(usize) -> f64,
}

impl Logits<'_> {
    fn get(&self, class: usize) -> f64 {
        (self.get)(class)
    }

    fn values(&self) -> impl Iterator<Item = f64> + Clone {
        (0..self.classes).map(self.get)
    }

    /// All classes but one.
    fn values_without(&self, class: usize) -> impl Iterator<Item = f64> + Clone {
        (0..self.classes).filter(move |&other| other != class).map(self.get)
    }
}

/// e^(z − max), also where both are the same infinity.
fn exp_below(z: f64, max: f64) -> f64 {
    if z == max { 1.0 } else { (z - max).exp() }
}
