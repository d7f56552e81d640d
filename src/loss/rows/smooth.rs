//! Label smoothing in registers: every class j has its own m_j, the loss of a row is Σ_j a_j·f(m_j).
//!
//! With w the class weights and ε the smoothing (PyTorch's convention):
//!
//! ```text
//! a_j = ε/C·w_j + (1 − ε)·w_y·[j = y]
//! h_j = f′(m_j)/q_j              q_j = 1 − p_j
//! ∂/∂z_k = p_k·H − a_k·h_k       H = Σ_j a_j·h_j
//! ```
//!
//! At most one class can have p > 0.501 (any bound a little above one half will do). Every other class has
//! q ≥ 0.499, so that nothing cancels when all of it is evaluated straight from p, in the type computed in:
//!
//! ```text
//! f(m_j) = (ln S − z_j) + ρ·b(p_j)        h_j = 1 + ρ·r(p_j)        (b and r: `curve`)
//! ```
//!
//! The two classes whose p may be close to 1 are kept out of these sums: the label, whose m comes from the sum over
//! the others as it does without smoothing, and the *top* class, where another one than the label has p > 0.501. Its
//! q is the sum of all other p, precise however small; m = ln q − ln(1 − q). Both go through [`MarginLoss`] in f64.
//!
//! Rows of classes side by side (`classes`): one read gives S, Σ w_j·z_j and the first three moments Σ w_j·p_j^k, which
//! are the whole log bonus of all classes with a small p: ln(1 − p) = −p − p²/2 − p³/3, p/(1 − p) = p + p² + p³ to
//! the last digit. A second look at the row finds the registers that hold a larger p and adds what the series lacks;
//! it takes no exponentials elsewhere. The other bonuses are no such series and take them all. A row with a top class
//! is summed up again without it. Then comes the gradient.
//!
//! Tiles (`lanes`): all numbers of a tile stay in the scratch area as exponentials; the log bonus is added up as a
//! product of q and a fraction Σ p/q, since Σ p ≤ 1 keeps Π q above 0.24.
//!
//! Few classes can have a gradient that is far smaller than its terms for all of them at once, so they are computed
//! in f64 throughout. Rows that are not made of numbers are left to `exact`, as without smoothing.

mod classes;
mod curve;
mod facts;
mod lanes;
mod rows;
#[cfg(test)]
mod tests;
mod tiles;
mod transfer;

use std::ops::Range;

use super::batch::{self, Batch, IGNORED};
use super::run::{Job, Layout, publish};
use super::{Partial, Problem, Target};
use crate::loss::element::Element;
use crate::loss::error::LossError;
use facts::{Facts, Smoothing};

/// Up to so many classes f64 is computed in: see above.
const FEW_CLASSES: usize = 8;

/// A batch of rows on its way to loss and gradient.
struct Rows {
    batch: Batch,
    facts: Facts,
    /// The top classes, where there are any.
    tops: Batch,
    /// All rows are made of numbers.
    regular: bool,
}

impl Rows {
    fn new() -> Self {
        Rows { batch: Batch::new(), facts: Facts::new(), tops: Batch::new(), regular: true }
    }
}

impl<T: Element> Problem<'_, T> {
    /// Label smoothing, for any layout.
    pub(super) fn run_smooth(
        &self,
        units: Range<usize>,
        layout: &Layout,
        job: &Job<'_, T>,
    ) -> Result<Partial, LossError> {
        let classes = self.shape.classes();
        let epsilon = f64::from(self.loss.label_smoothing());
        let share = epsilon / classes as f64;
        let smoothing = Smoothing {
            share,
            label_share: (1.0 - epsilon) + share,
            bonus_weight: f64::from(self.loss.bonus_weight()),
            weights: match self.class_weights {
                None => classes as f64,
                Some(weights) => weights.iter().map(|weight| weight.to_f64()).sum(),
            },
        };
        match layout {
            Layout::Rows { .. } => self.run_smooth_rows(units, job, &smoothing),
            _ if classes <= FEW_CLASSES => self.run_smooth_tiles::<f64>(units, layout, job, &smoothing),
            _ => self.run_smooth_tiles::<T::Compute>(units, layout, job, &smoothing),
        }
    }

    /// Reads labels and class weights of these rows.
    fn begin_smooth(&self, rows: &mut Rows, range: Range<usize>, job: &Job<'_, T>) -> Result<(), LossError> {
        self.begin(&mut rows.batch, range.clone(), job)?;
        rows.facts.begin(range.len());
        Ok(())
    }

    /// What is known of the label without the bonus of other classes: m, f and f′, and all p's denominator.
    fn label_facts(&self, rows: &mut Rows) {
        // SAFETY: the instruction set is available.
        unsafe {
            let total = batch::losses::<T::Compute>(self.isa, &mut rows.batch, &self.f, false);
            rows.regular = total.regular;
            facts::normalise::<T::Compute>(self.isa, &rows.batch, &mut rows.facts);
        }
    }

    /// Losses and numbers of the gradient. A top class whose 1 − p is below `smallest` is left to the exact path.
    fn resolve(&self, rows: &mut Rows, smoothing: &Smoothing, smallest: f64) {
        let Rows { batch, facts, tops, regular } = rows;
        let any = facts.tops().iter().sum::<f64>() > 0.0;
        // SAFETY: the instruction set is available.
        unsafe {
            if any {
                facts::tops::<T::Compute>(self.isa, smoothing, batch, facts, tops);
                batch::losses::<T::Compute>(self.isa, tops, &self.f, true);
            }
            *regular &= facts::resolve::<T::Compute>(self.isa, smoothing, batch, any.then_some(tops), facts, smallest);
        }
        if batch.some_ignored {
            for (loss, &class) in facts.losses_mut().iter_mut().zip(batch.classes()) {
                *loss = if class == IGNORED { 0.0 } else { *loss };
            }
        }
    }

    /// Losses and margins of the batch. Its gradient has been written, but for irregular rows.
    fn finish_smooth(&self, rows: &mut Rows, job: &Job<'_, T>, smallest: f64, partial: &mut Partial) {
        if !rows.regular {
            return self.mend_smooth(rows, job, smallest, partial);
        }
        if job.forward {
            partial.loss += rows.facts.losses().iter().sum::<f64>();
            partial.weight += rows.batch.weights().iter().sum::<f64>();
            rows.batch.losses_mut().copy_from_slice(rows.facts.losses());
            self.write_forward(&rows.batch, job);
        }
    }

    /// The same where some rows are irregular: they, or their gradient only, are done again.
    #[cold]
    #[inline(never)]
    fn mend_smooth(&self, rows: &Rows, job: &Job<'_, T>, smallest: f64, partial: &mut Partial) {
        let Rows { batch, facts, .. } = rows;
        let mut total = 0.0;
        for i in 0..batch.len {
            let (row, class) = (batch.start + i, batch.classes()[i]);
            partial.weight += batch.weights()[i];
            if class == IGNORED {
                self.write_forward_row(row, 0.0, 0.0, job);
                continue;
            }
            let target = Target { class, weight: batch.weights()[i] };
            let (mut loss, mut m) = (facts.losses()[i], batch.margin_losses()[i]);
            let regular = facts.is_regular(i, smallest) && batch.is_regular(i);
            if !regular || (job.gradient.is_some() && !facts.has_gradient(i)) {
                publish();
                let exact = self.exact_row(row, target, job);
                if !regular {
                    (loss, m) = exact;
                }
            }
            total += loss;
            self.write_forward_row(row, loss, m, job);
        }
        partial.loss += total;
    }
}
