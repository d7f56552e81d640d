//! CPU kernels over ranges of rows.
//!
//! A [`Problem`] borrows the inputs and checks them once. Its methods then work on any range of rows, allocate
//! nothing, and may run on several threads at once as long as the ranges do not overlap. Cut the rows into
//! [`Problem::blocks`] blocks, give each to a thread, and [`Partial::combine`] their results in the order of the blocks:
//! the same number of blocks gives the same bits, whatever thread ran which. Rows outside the problem panic.
//!
//! With reduction mean, gradients need the sum of the weights first: [`Problem::sum_of_weights`], which reads labels
//! and class weights only.
//!
//! What a row gives (design: "the maths, once"):
//! * an ignored row (its label is `ignore_index`): loss 0, margin 0, gradient 0; its logits are not read;
//! * a class weight of 0 takes the loss of its class out even where that is infinite;
//! * NaN in a row gives NaN loss, margin and gradient for that row (even with class weight 0);
//! * a logit of −∞ is a masked class: no share of the softmax, gradient 0 unless it is the label;
//! * all classes but the label masked: m = −∞, and the limits of f and f′ given in [`MarginLoss`];
//! * label masked (−∞), or another logit +∞: m = +∞, loss +∞, f′ = 1;
//! * the label and another logit +∞, or all logits −∞: NaN.

mod hard;
mod smooth;
#[cfg(test)]
mod tests;

use std::marker::PhantomData;
use std::ops::Range;

use super::element::{Element, Label};
use super::encouraging_loss::{EncouragingLoss, Reduction};
use super::error::LossError;
use super::margin::MarginLoss;
use super::shape::Shape;

/// Elements of logits that are worth a block of their own.
const ELEMENTS_PER_BLOCK: usize = 65_536;
/// More blocks than this do not help to balance the load of any CPU we know.
const MOST_BLOCKS: usize = 64;

/// Logits, labels and parameters that fit together; what the kernels work on.
///
/// `T` is the type of logits, class weights and results, `L` that of the labels.
#[derive(Clone, Copy, Debug)]
pub struct Problem<'a, T, L> {
    loss: EncouragingLoss,
    f: MarginLoss<f64>,
    shape: Shape,
    logits: &'a [T],
    labels: &'a [L],
    class_weights: Option<&'a [T]>,
}

/// What a kernel computed of its rows besides the outputs; add up with [`Partial::combine`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Partial {
    /// Sum of the weighted losses.
    pub loss: f64,
    /// Sum of the class weights (1 without class weights) of the labels of the rows that count.
    pub weight: f64,
}

impl Partial {
    /// The sum over blocks, in their order.
    #[must_use]
    pub fn combine(blocks: impl IntoIterator<Item = Partial>) -> Partial {
        blocks
            .into_iter()
            .fold(Partial::default(), |sum, b| Partial { loss: sum.loss + b.loss, weight: sum.weight + b.weight })
    }
}

/// An output buffer that several threads fill at once, each the entries of its own rows.
///
/// The memory need not be initialised: it is only written.
#[derive(Clone, Copy, Debug)]
pub struct Output<'a, T> {
    pointer: *mut T,
    len: usize,
    buffer: PhantomData<&'a mut [T]>,
}

// SAFETY: an Output only writes values of T through its pointer, and `write` demands that no two threads touch the
// same entry; sending T values to the thread that reads them later needs T: Send.
unsafe impl<T: Send> Send for Output<'_, T> {}
// SAFETY: as above; a shared Output gives nothing but `write`.
unsafe impl<T: Send> Sync for Output<'_, T> {}

impl<'a, T: Copy> Output<'a, T> {
    /// Writes to this slice.
    #[must_use]
    pub fn new(slice: &'a mut [T]) -> Self {
        Output { pointer: slice.as_mut_ptr(), len: slice.len(), buffer: PhantomData }
    }

    /// Writes to `len` elements from `pointer` on; null is allowed where `len` is 0.
    ///
    /// # Safety
    /// For `'a` the memory must be valid for writes of `len` elements, aligned, and not accessed through anything
    /// else than this value and its copies.
    #[must_use]
    pub unsafe fn from_raw(pointer: *mut T, len: usize) -> Self {
        Output { pointer, len, buffer: PhantomData }
    }

    /// Number of elements.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// No elements.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// # Safety
    /// No other thread writes entry `index` at the same time.
    #[inline]
    unsafe fn write(&self, index: usize, value: T) {
        assert!(index < self.len, "entry {index} of an output of {} elements", self.len);
        // SAFETY: in bounds by the assertion, valid by the contract of the constructor, exclusive by the caller's.
        unsafe { self.pointer.add(index).write(value) }
    }
}

/// Where the forward kernels write.
#[derive(Clone, Copy, Debug)]
pub struct ForwardOutput<'a, T> {
    /// One loss per row, for reduction none; with mean and sum leave it `None` and take [`Problem::reduce`].
    pub losses: Option<Output<'a, T>>,
    /// One soft margin (−m, > 0 when right) per row, float32 whatever the type of the logits.
    pub margins: Option<Output<'a, f32>>,
}

/// What the backward kernel needs from its surroundings.
#[derive(Clone, Copy, Debug)]
pub struct Upstream<'a, T> {
    /// Gradient of the loss output: one element for mean and sum, one per row for none. One element stands for all
    /// rows with none too: ORT Training seeds every loss with a scalar.
    pub dloss: &'a [T],
    /// The margin output of the forward pass. It saves a pass over the logits. Left unread where it would cost
    /// precision: for `f64` logits, with label smoothing, and in rows with |m| > 32.
    pub margins: Option<&'a [f32]>,
    /// [`Problem::sum_of_weights`] of all rows; read with reduction mean only.
    pub sum_of_weights: f64,
}

/// One row of the logits: C elements, D apart.
#[derive(Clone, Copy)]
struct Row<'a, T> {
    /// From the first class to the last, what lies between them included.
    span: &'a [T],
    stride: usize,
    /// Index of the first class in the logits.
    start: usize,
}

impl<'a, T: Element> Row<'a, T> {
    #[inline]
    fn get(&self, class: usize) -> T {
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
    fn index(&self, class: usize) -> usize {
        self.start + class * self.stride
    }
}

/// A row that counts.
#[derive(Clone, Copy)]
struct Target {
    class: usize,
    /// The class weight of the label.
    weight: f64,
}

/// weight · loss, where a weight of 0 takes an infinite loss out too; NaN stays.
#[inline]
fn weighted(weight: f64, loss: f64) -> f64 {
    if weight == 0.0 && loss.is_infinite() { 0.0 } else { weight * loss }
}

impl<'a, T: Element, L: Label> Problem<'a, T, L> {
    /// Checks that lengths fit the shape. `bonus_weight` is the operator's input, which wins over the parameter.
    ///
    /// # Errors
    /// A tensor whose length does not fit, or `bonus_weight` outside its range. Labels are checked by the kernels.
    pub fn new(
        loss: &EncouragingLoss,
        shape: Shape,
        logits: &'a [T],
        labels: &'a [L],
        class_weights: Option<&'a [T]>,
        bonus_weight: Option<f32>,
    ) -> Result<Self, LossError> {
        check_length("logits", shape.elements(), logits.len())?;
        check_length("labels", shape.rows(), labels.len())?;
        if let Some(weights) = class_weights {
            check_length("class_weights", shape.classes(), weights.len())?;
        }
        let loss = match bonus_weight {
            Some(rho) => loss.to_builder().bonus_weight(rho).build()?,
            None => *loss,
        };
        Ok(Problem { loss, f: MarginLoss::new(&loss), shape, logits, labels, class_weights })
    }

    /// The parameters, with the `bonus_weight` that counts.
    #[must_use]
    pub fn loss(&self) -> &EncouragingLoss {
        &self.loss
    }

    /// The shape of the logits.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Number of rows, N·D.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.shape.rows()
    }

    /// Number of elements of the loss output: one per row for reduction none, else 1 (a scalar).
    #[must_use]
    pub fn losses(&self) -> usize {
        if self.loss.reduction() == Reduction::None { self.rows() } else { 1 }
    }

    /// How many blocks the rows should be cut into: one for 65536 logits, at least 1, at most 64 and one per row.
    /// Depends on the shape only.
    #[must_use]
    pub fn blocks(&self) -> usize {
        self.shape.elements().div_ceil(ELEMENTS_PER_BLOCK).clamp(1, MOST_BLOCKS).min(self.rows().max(1))
    }

    /// The rows of a block when the rows are cut into `blocks` of nearly equal size. Together the blocks 0..`blocks`
    /// hold each row once.
    ///
    /// # Panics
    /// If `block` is not below `blocks`.
    #[must_use]
    pub fn block(&self, block: usize, blocks: usize) -> Range<usize> {
        assert!(block < blocks, "block {block} of {blocks}");
        let (size, larger) = (self.rows() / blocks, self.rows() % blocks);
        let start = |b: usize| b * size + b.min(larger);
        start(block)..start(block + 1)
    }

    /// Sum of the class weights of the labels of the rows that count, from labels and class weights only: what
    /// reduction mean divides by.
    ///
    /// # Errors
    /// A label outside [0, C) that is not `ignore_index`.
    pub fn sum_of_weights(&self, rows: Range<usize>) -> Result<f64, LossError> {
        rows.map(|row| Ok(self.target(row)?.map_or(0.0, |target| target.weight))).sum()
    }

    /// The loss output for reduction mean or sum from the combined partials of all rows. Mean of rows whose weights
    /// sum to 0 (all ignored) is 0. (ONNX's formula gives 0/0 there; none of ONNX's node tests demands it.)
    #[must_use]
    pub fn reduce(&self, partial: Partial) -> T {
        let loss = match self.loss.reduction() {
            Reduction::Mean => weighted(reciprocal(partial.weight), partial.loss),
            Reduction::Sum | Reduction::None => partial.loss,
        };
        T::from_f64(loss)
    }

    /// Losses and margins of some rows.
    ///
    /// # Errors
    /// A label outside [0, C) that is not `ignore_index`, or an output whose length is not the number of rows. What
    /// was written until then is of no use.
    ///
    /// # Safety
    /// No concurrent call may have the same outputs and overlapping rows.
    pub unsafe fn forward(&self, rows: Range<usize>, output: &ForwardOutput<'_, T>) -> Result<Partial, LossError> {
        self.check_forward(output)?;
        let mut partial = Partial::default();
        for row in rows {
            let (loss, margin) = match self.target(row)? {
                None => (0.0, 0.0),
                Some(target) => {
                    let m_and_loss =
                        if self.smooths() { self.smooth_forward(row, target) } else { self.hard_forward(row, target) };
                    partial.weight += target.weight;
                    m_and_loss
                }
            };
            partial.loss += loss;
            // SAFETY: the caller keeps other calls off this row.
            unsafe { self.write_forward(row, loss, margin, output) };
        }
        Ok(partial)
    }

    /// The gradient of the loss with respect to the logits, for some rows.
    ///
    /// # Errors
    /// A label outside [0, C) that is not `ignore_index`, or a tensor whose length does not fit. What was written
    /// until then is of no use.
    ///
    /// # Safety
    /// No concurrent call may have the same output and overlapping rows.
    pub unsafe fn backward(
        &self,
        rows: Range<usize>,
        upstream: &Upstream<'_, T>,
        dlogits: &Output<'_, T>,
    ) -> Result<(), LossError> {
        if upstream.dloss.len() != 1 {
            check_length("dloss", self.losses(), upstream.dloss.len())?;
        }
        check_length("dlogits", self.shape.elements(), dlogits.len())?;
        if let Some(margins) = upstream.margins {
            check_length("margin", self.rows(), margins.len())?;
        }
        let share = self.share(upstream.sum_of_weights);
        for row in rows {
            let dloss = upstream.dloss[if upstream.dloss.len() == 1 { 0 } else { row }].to_f64();
            let scale = dloss * share;
            let target = self.target(row)?;
            let margin = upstream.margins.map(|margins| margins[row]);
            // SAFETY: the caller keeps other calls off this row.
            unsafe {
                match target {
                    None => self.clear(row, dlogits),
                    Some(target) if self.smooths() => self.smooth_backward(row, target, scale, dlogits),
                    Some(target) => self.hard_backward(row, target, scale, margin, dlogits),
                }
            }
        }
        Ok(())
    }

    /// Losses, margins and the gradient (for an upstream gradient of 1) of some rows.
    ///
    /// `sum_of_weights` is [`Problem::sum_of_weights`] of all rows; it is read with reduction mean only.
    ///
    /// # Errors
    /// As [`Problem::forward`] and [`Problem::backward`].
    ///
    /// # Safety
    /// No concurrent call may have the same outputs and overlapping rows.
    pub unsafe fn forward_backward(
        &self,
        rows: Range<usize>,
        sum_of_weights: f64,
        output: &ForwardOutput<'_, T>,
        dlogits: &Output<'_, T>,
    ) -> Result<Partial, LossError> {
        self.check_forward(output)?;
        check_length("dlogits", self.shape.elements(), dlogits.len())?;
        let scale = self.share(sum_of_weights);
        let mut partial = Partial::default();
        for row in rows {
            let target = self.target(row)?;
            // SAFETY: the caller keeps other calls off this row.
            let (loss, margin) = unsafe {
                match target {
                    None => {
                        self.clear(row, dlogits);
                        (0.0, 0.0)
                    }
                    Some(target) if self.smooths() => {
                        self.smooth_backward(row, target, scale, dlogits);
                        self.smooth_forward(row, target)
                    }
                    Some(target) => self.hard_forward_backward(row, target, scale, dlogits),
                }
            };
            partial.weight += target.map_or(0.0, |target| target.weight);
            partial.loss += loss;
            // SAFETY: the caller keeps other calls off this row.
            unsafe { self.write_forward(row, loss, margin, output) };
        }
        Ok(partial)
    }

    /// The row's label and weight; `None` if it is ignored.
    #[inline]
    fn target(&self, row: usize) -> Result<Option<Target>, LossError> {
        let label = self.labels[row].to_i64();
        if self.loss.ignore_index() == Some(label) {
            return Ok(None);
        }
        let classes = self.shape.classes();
        match usize::try_from(label) {
            Ok(class) if class < classes => Ok(Some(Target { class, weight: self.class_weight(class) })),
            _ => Err(LossError::Label { row, label, classes }),
        }
    }

    #[inline]
    fn class_weight(&self, class: usize) -> f64 {
        self.class_weights.map_or(1.0, |weights| weights[class].to_f64())
    }

    #[inline]
    fn smooths(&self) -> bool {
        self.loss.label_smoothing() > 0.0
    }

    #[inline]
    fn row(&self, row: usize) -> Row<'a, T> {
        let (classes, stride) = (self.shape.classes(), self.shape.inner());
        let start = row / stride * classes * stride + row % stride;
        Row { span: &self.logits[start..=start + (classes - 1) * stride], stride, start }
    }

    /// How much of each row's weighted loss is in the output: 1, or 1/Σw for mean.
    fn share(&self, sum_of_weights: f64) -> f64 {
        if self.loss.reduction() == Reduction::Mean { reciprocal(sum_of_weights) } else { 1.0 }
    }

    fn check_forward(&self, output: &ForwardOutput<'_, T>) -> Result<(), LossError> {
        if let Some(losses) = &output.losses {
            check_length("loss", self.rows(), losses.len())?;
        }
        if let Some(margins) = &output.margins {
            check_length("margin", self.rows(), margins.len())?;
        }
        Ok(())
    }

    /// # Safety
    /// No other thread writes the results of this row.
    #[inline]
    unsafe fn write_forward(&self, row: usize, loss: f64, margin: f64, output: &ForwardOutput<'_, T>) {
        if let Some(losses) = &output.losses {
            // SAFETY: the caller's.
            unsafe { losses.write(row, T::from_f64(loss)) };
        }
        if let Some(margins) = &output.margins {
            // SAFETY: the caller's.
            unsafe { margins.write(row, margin as f32) };
        }
    }

    /// # Safety
    /// No other thread writes the gradient of this row.
    unsafe fn clear(&self, row: usize, dlogits: &Output<'_, T>) {
        let row = self.row(row);
        for class in 0..self.shape.classes() {
            // SAFETY: the caller's.
            unsafe { dlogits.write(row.index(class), T::from_f64(0.0)) };
        }
    }
}

/// 1/x, and 0 for 0: nothing counts where the weights sum to 0.
fn reciprocal(x: f64) -> f64 {
    if x == 0.0 { 0.0 } else { 1.0 / x }
}

fn check_length(tensor: &'static str, expected: usize, found: usize) -> Result<(), LossError> {
    if expected == found { Ok(()) } else { Err(LossError::Length { tensor, expected, found }) }
}
