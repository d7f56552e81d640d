//! The shape of logits, as the kernels see it.

use super::error::LossError;

/// Logits [N, C, d…] as batch N × classes C × inner D (the product of d…): row r = n·D + d, and element (n, c, d) lies
/// at (n·C + c)·D + d. `[N, C]` has D = 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    batch: usize,
    classes: usize,
    inner: usize,
}

impl Shape {
    /// From the dimensions of the logits.
    ///
    /// # Errors
    /// Fewer than two axes, fewer than two classes, or more elements than `isize::MAX`.
    pub fn new(logits: &[usize]) -> Result<Self, LossError> {
        let [batch, classes, rest @ ..] = logits else {
            return Err(LossError::Rank(logits.to_vec()));
        };
        if *classes < 2 {
            return Err(LossError::Classes { classes: *classes, shape: logits.to_vec() });
        }
        // a zero on one axis must not hide an overflow of the others: D alone, N·D and C·D are all computed later
        let elements = logits.iter().try_fold(1usize, |product, &d| product.checked_mul(d.max(1)));
        if elements.is_none_or(|n| n > isize::MAX as usize) {
            return Err(LossError::TooLarge(logits.to_vec()));
        }
        Ok(Shape { batch: *batch, classes: *classes, inner: rest.iter().product() })
    }

    /// From the dimensions of logits and labels: labels have the dimensions of the logits without axis 1.
    ///
    /// # Errors
    /// As [`Shape::new`], or the labels have another shape.
    pub fn with_labels(logits: &[usize], labels: &[usize]) -> Result<Self, LossError> {
        let shape = Shape::new(logits)?;
        let expected: Vec<usize> = logits[..1].iter().chain(&logits[2..]).copied().collect();
        if labels != expected {
            return Err(LossError::LabelShape { logits: logits.to_vec(), labels: labels.to_vec(), expected });
        }
        Ok(shape)
    }

    /// N.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// C.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// D, the product of the axes after the classes.
    #[must_use]
    pub fn inner(&self) -> usize {
        self.inner
    }

    /// N·D, the number of labels.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.batch * self.inner
    }

    /// N·C·D, the number of logits.
    #[must_use]
    pub fn elements(&self) -> usize {
        self.batch * self.classes * self.inner
    }
}
