//! The loss and its gradient of whole slices, for Rust users: one call, results allocated. Runs on the rayon pool that
//! the caller is in, or on one thread without the feature `rayon`.

use super::element::{Element, Label};
use super::encouraging_loss::{EncouragingLoss, Reduction};
use super::error::LossError;
#[cfg(feature = "rayon")]
use super::rows::Rayon as Threads;
#[cfg(not(feature = "rayon"))]
use super::rows::Sequential as Threads;
use super::rows::{ForwardOutput, Problem, Upstream};
use super::shape::Shape;

/// Result of [`EncouragingLoss::forward`].
#[derive(Clone, Debug, PartialEq)]
pub struct Forward<T> {
    /// One element for reduction mean and sum, one per row for none.
    pub loss: Vec<T>,
    /// The soft margin −m of each row (> 0 when right, 0 for an ignored row).
    pub margin: Vec<f32>,
}

/// Result of [`EncouragingLoss::forward_backward`].
#[derive(Clone, Debug, PartialEq)]
pub struct ForwardBackward<T> {
    /// One element for reduction mean and sum, one per row for none.
    pub loss: Vec<T>,
    /// The soft margin −m of each row (> 0 when right, 0 for an ignored row).
    pub margin: Vec<f32>,
    /// ∂loss/∂logits, in the shape of the logits; for reduction none, of the sum of the losses.
    pub dlogits: Vec<T>,
}

impl EncouragingLoss {
    /// The loss of logits of shape [N, C, d…] (`shape`) and labels of shape [N, d…], with optional class weights \[C\].
    ///
    /// ```
    /// use elonnx::loss::{EncouragingLoss, Reduction};
    ///
    /// let loss = EncouragingLoss::builder().log_end(1.0).reduction(Reduction::None).build()?;
    /// let logits = [4.0f32, 0.0, 0.0, 0.0, 0.0, 3.0];
    /// let out = loss.forward(&logits, &[2, 3], &[0i64, 1], None)?;
    /// // with log_end = 1 the loss is the soft margin loss m itself, and negative where the row is right
    /// assert!((out.loss[0] - (2f32.ln() - 4.0)).abs() < 1e-6);
    /// assert_eq!(out.margin[0], -out.loss[0]);
    /// assert!(out.loss[1] > 0.0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Lengths that do not fit the shape, fewer than two classes, a label outside [0, C) that is not `ignore_index`.
    pub fn forward<T: Element, L: Label>(
        &self,
        logits: &[T],
        shape: &[usize],
        labels: &[L],
        class_weights: Option<&[T]>,
    ) -> Result<Forward<T>, LossError> {
        let problem = Problem::new(self, Shape::new(shape)?, logits, labels, class_weights, None)?;
        let mut margin = vec![0.0; problem.rows()];
        let mut loss = vec![T::from_f64(0.0); problem.losses()];
        let partial = problem.forward(&Threads, forward_output(self, &mut loss, &mut margin))?;
        if self.reduction() != Reduction::None {
            loss[0] = problem.reduce(partial);
        }
        Ok(Forward { loss, margin })
    }

    /// The gradient with respect to the logits, given that of the loss (`dloss`: one element for mean and sum, one
    /// per row for none).
    ///
    /// # Errors
    /// As [`EncouragingLoss::forward`], and `dloss` of another length.
    pub fn backward<T: Element, L: Label>(
        &self,
        dloss: &[T],
        logits: &[T],
        shape: &[usize],
        labels: &[L],
        class_weights: Option<&[T]>,
    ) -> Result<Vec<T>, LossError> {
        let problem = Problem::new(self, Shape::new(shape)?, logits, labels, class_weights, None)?;
        let mut dlogits = vec![T::from_f64(0.0); logits.len()];
        problem.backward(&Threads, &Upstream { dloss, margins: None }, &mut dlogits)?;
        Ok(dlogits)
    }

    /// Loss and gradient in one go, for an upstream gradient of 1.
    ///
    /// ```
    /// use elonnx::loss::EncouragingLoss;
    ///
    /// let logits = [1.0f32, 2.0, -1.0];
    /// let out = EncouragingLoss::default().forward_backward(&logits, &[1, 3], &[1i32], None)?;
    /// assert!(out.dlogits[1] < 0.0); // the logit of the label is to grow
    /// assert!(out.dlogits.iter().sum::<f32>().abs() < 1e-6);
    /// # Ok::<(), elonnx::loss::LossError>(())
    /// ```
    ///
    /// # Errors
    /// As [`EncouragingLoss::forward`].
    pub fn forward_backward<T: Element, L: Label>(
        &self,
        logits: &[T],
        shape: &[usize],
        labels: &[L],
        class_weights: Option<&[T]>,
    ) -> Result<ForwardBackward<T>, LossError> {
        let problem = Problem::new(self, Shape::new(shape)?, logits, labels, class_weights, None)?;
        let mut margin = vec![0.0; problem.rows()];
        let mut loss = vec![T::from_f64(0.0); problem.losses()];
        let mut dlogits = vec![T::from_f64(0.0); logits.len()];
        let output = forward_output(self, &mut loss, &mut margin);
        let partial = problem.forward_backward(&Threads, output, &mut dlogits)?;
        if self.reduction() != Reduction::None {
            loss[0] = problem.reduce(partial);
        }
        Ok(ForwardBackward { loss, margin, dlogits })
    }
}

fn forward_output<'a, T: Element>(
    loss: &EncouragingLoss,
    losses: &'a mut [T],
    margins: &'a mut [f32],
) -> ForwardOutput<'a, T> {
    let losses = (loss.reduction() == Reduction::None).then_some(losses);
    ForwardOutput { losses, margins: Some(margins) }
}
