//! CPU kernels over the rows of a problem.
//!
//! A [`Problem`] borrows the inputs and checks them once. [`Problem::forward`], [`Problem::backward`] and
//! [`Problem::forward_backward`] cut it into blocks, whose number depends on the shape only, let a [`Parallel`] run
//! them, and add up in the order of the blocks: the same inputs on the same [`Isa`] give the same bits, whatever thread
//! ran which. Nothing is allocated; what the kernels need lies on the stack of the thread, some 125 KB, with label
//! smoothing 400 KB.
//!
//! What a row gives (design: "the maths, once"):
//! * an ignored row (its label is `ignore_index`): loss 0, margin 0, gradient 0; its logits are not read;
//! * a class weight of 0 takes the loss of its class out even where that is infinite;
//! * NaN in a row gives NaN loss, margin and gradient for that row (even with class weight 0);
//! * a logit of −∞ is a masked class: no share of the softmax, gradient 0 unless it is the label;
//! * all classes but the label masked: m = −∞, and the limits of f and f′ given in [`MarginLoss`];
//! * label masked (−∞), or another logit +∞: m = +∞, loss +∞, f′ = 1;
//! * the label and another logit +∞, or all logits −∞: NaN.

mod batch;
mod contiguous;
mod exact;
mod exp;
mod isa;
mod lane;
mod parallel;
mod run;
pub(crate) mod simd;
mod smooth;
mod split;
#[cfg(test)]
mod tests;
mod tile;

use std::marker::PhantomData;
use std::mem::MaybeUninit;

use super::element::{Element, Labels};
use super::encouraging_loss::{EncouragingLoss, Reduction};
use super::error::LossError;
use super::margin::MarginLoss;
use super::shape::Shape;
use exact::Row;
pub use isa::Isa;
pub use parallel::*;
use run::{GradientJob, Job};
pub use simd::Packed;

/// Logits, labels and parameters that fit together; what the kernels work on.
///
/// `T` is the type of logits, class weights and results.
#[derive(Clone, Copy, Debug)]
pub struct Problem<'a, T> {
    loss: EncouragingLoss,
    f: MarginLoss<f64>,
    shape: Shape,
    logits: &'a [T],
    labels: Labels<'a>,
    class_weights: Option<&'a [T]>,
    isa: Isa,
}

/// What a forward pass computed besides the outputs; see [`Problem::reduce`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Partial {
    /// Sum of the weighted losses.
    pub loss: f64,
    /// Sum of the class weights (1 without class weights) of the labels of the rows that count.
    pub weight: f64,
}

impl Partial {
    /// The sum over blocks, in their order.
    fn combine(blocks: impl IntoIterator<Item = Partial>) -> Partial {
        blocks
            .into_iter()
            .fold(Partial::default(), |sum, b| Partial { loss: sum.loss + b.loss, weight: sum.weight + b.weight })
    }
}

/// An output buffer that several threads fill at once, each the entries of its own rows.
#[derive(Clone, Copy, Debug)]
struct Output<'a, T> {
    pointer: *mut T,
    len: usize,
    buffer: PhantomData<&'a mut [T]>,
}

// SAFETY: an Output only writes values of T through its pointer, and `write` demands that no two threads touch the
// same entry; sending T values to the thread that reads them later needs T: Send.
unsafe impl<T: Send> Send for Output<'_, T> {}
// SAFETY: as above; a shared Output gives nothing but writing.
unsafe impl<T: Send> Sync for Output<'_, T> {}

impl<'a, T: Copy> Output<'a, T> {
    fn new(slice: &'a mut [T]) -> Self {
        Output { pointer: slice.as_mut_ptr(), len: slice.len(), buffer: PhantomData }
    }

    /// # Safety
    /// No other thread touches entries `start..start + len` at the same time.
    #[inline]
    #[expect(clippy::mut_from_ref, reason = "the caller promises that nobody else has these entries")]
    unsafe fn rows(&self, start: usize, len: usize) -> &mut [MaybeUninit<T>] {
        assert!(start + len <= self.len, "entries {start} to {} of an output of {} elements", start + len, self.len);
        // SAFETY: in bounds by the assertion, exclusive by the caller's contract.
        unsafe { std::slice::from_raw_parts_mut(self.pointer.add(start).cast(), len) }
    }

    /// # Safety
    /// No other thread writes entry `index` at the same time.
    #[inline]
    unsafe fn write(&self, index: usize, value: T) {
        assert!(index < self.len, "entry {index} of an output of {} elements", self.len);
        // SAFETY: in bounds by the assertion, exclusive by the caller's contract.
        unsafe { self.pointer.add(index).write(value) }
    }
}

/// Where a forward pass writes.
#[derive(Debug)]
pub struct ForwardOutput<'a, T> {
    /// One loss per row, for reduction none; with mean and sum leave it `None` and take [`Problem::reduce`].
    pub losses: Option<&'a mut [T]>,
    /// One soft margin (−m, > 0 when right) per row, float32 whatever the type of the logits.
    pub margins: Option<&'a mut [f32]>,
}

/// What the backward kernel needs from its surroundings.
#[derive(Clone, Copy, Debug)]
pub struct Upstream<'a, T> {
    /// Gradient of the loss output: one element for mean and sum, one per row for none. One element stands for all
    /// rows with none too: ORT Training seeds every loss with a scalar.
    pub dloss: &'a [T],
    /// The margin output of the forward pass. It saves a pass over the logits. Left unread where it would cost
    /// precision: for `f64` logits, with label smoothing, and around rows with |m| > 32.
    pub margins: Option<&'a [f32]>,
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

impl<'a, T: Element> Problem<'a, T> {
    /// Checks that lengths fit the shape. `bonus_weight` is the operator's input, which wins over the parameter.
    ///
    /// # Errors
    /// A tensor whose length does not fit, or `bonus_weight` outside its range. Labels are checked by the kernels.
    pub fn new(
        loss: &EncouragingLoss,
        shape: Shape,
        logits: &'a [T],
        labels: impl Into<Labels<'a>>,
        class_weights: Option<&'a [T]>,
        bonus_weight: Option<f32>,
    ) -> Result<Self, LossError> {
        let labels = labels.into();
        check_length("logits", shape.elements(), logits.len())?;
        check_length("labels", shape.rows(), labels.len())?;
        if let Some(weights) = class_weights {
            check_length("class_weights", shape.classes(), weights.len())?;
        }
        let loss = match bonus_weight {
            Some(rho) => loss.to_builder().bonus_weight(rho).build()?,
            None => *loss,
        };
        Ok(Problem { loss, f: MarginLoss::new(&loss), shape, logits, labels, class_weights, isa: Isa::detect() })
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

    /// The same problem on another instruction set than the best one.
    ///
    /// # Panics
    /// If this machine does not have it.
    #[must_use]
    pub fn with_isa(self, isa: Isa) -> Self {
        assert!(isa.is_available(), "this machine does not have {isa}");
        Problem { isa, ..self }
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

    /// Losses and margins.
    ///
    /// # Errors
    /// A label outside [0, C) that is not `ignore_index` (that of the first such row), or an output whose length is not
    /// the number of rows. What was written until then is of no use.
    pub fn forward(&self, threads: &impl Parallel, output: ForwardOutput<'_, T>) -> Result<Partial, LossError> {
        self.run(threads, &self.forward_job(output)?)
    }

    /// The gradient of the loss with respect to the logits.
    ///
    /// # Errors
    /// A label outside [0, C) that is not `ignore_index`, or a tensor whose length does not fit. What was written
    /// until then is of no use.
    pub fn backward(
        &self,
        threads: &impl Parallel,
        upstream: &Upstream<'_, T>,
        dlogits: &mut [T],
    ) -> Result<(), LossError> {
        if upstream.dloss.len() != 1 {
            check_length("dloss", self.losses(), upstream.dloss.len())?;
        }
        check_length("dlogits", self.shape.elements(), dlogits.len())?;
        if let Some(margins) = upstream.margins {
            check_length("margin", self.rows(), margins.len())?;
        }
        let share = self.share(threads)?;
        let (dloss, margins) = (Some(upstream.dloss), upstream.margins);
        let gradient = Some(GradientJob::new(Output::new(dlogits), dloss, margins, share));
        self.run(threads, &Job { losses: None, margins: None, forward: false, gradient })?;
        Ok(())
    }

    /// Losses, margins and the gradient (for an upstream gradient of 1).
    ///
    /// # Errors
    /// As [`Problem::forward`] and [`Problem::backward`].
    pub fn forward_backward(
        &self,
        threads: &impl Parallel,
        output: ForwardOutput<'_, T>,
        dlogits: &mut [T],
    ) -> Result<Partial, LossError> {
        check_length("dlogits", self.shape.elements(), dlogits.len())?;
        let mut job = self.forward_job(output)?;
        job.gradient = Some(GradientJob::new(Output::new(dlogits), None, None, self.share(threads)?));
        self.run(threads, &job)
    }

    /// The row's label and weight; `None` if it is ignored.
    #[inline]
    fn target(&self, row: usize) -> Result<Option<Target>, LossError> {
        let label = self.labels.get(row);
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
    fn share(&self, threads: &impl Parallel) -> Result<f64, LossError> {
        Ok(if self.loss.reduction() == Reduction::Mean { reciprocal(self.sum_of_weights(threads)?) } else { 1.0 })
    }

    fn forward_job<'b>(&self, output: ForwardOutput<'b, T>) -> Result<Job<'b, T>, LossError> {
        if let Some(losses) = &output.losses {
            check_length("loss", self.rows(), losses.len())?;
        }
        if let Some(margins) = &output.margins {
            check_length("margin", self.rows(), margins.len())?;
        }
        let (losses, margins) = (output.losses.map(Output::new), output.margins.map(Output::new));
        Ok(Job { losses, margins, forward: true, gradient: None })
    }
}

/// 1/x, and 0 for 0: nothing counts where the weights sum to 0.
fn reciprocal(x: f64) -> f64 {
    if x == 0.0 { 0.0 } else { 1.0 / x }
}

fn check_length(tensor: &'static str, expected: usize, found: usize) -> Result<(), LossError> {
    if expected == found { Ok(()) } else { Err(LossError::Length { tensor, expected, found }) }
}
