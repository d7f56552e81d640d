//! The operators against the f64 reference, with the tolerances of design §6, as for the CPU in src/loss/rows/tests.rs.

use elonnx::loss::Reduction;
use elonnx::loss::reference::{self, Evaluation};

use super::{Case, Outcome, Precision, Run};
use crate::device::{Device, Element};
use crate::host::Status;

/// Runs all operators on the case, in all ways: with and without margins, with dlogits beside the logits and in their
/// place, and holds each result against the reference.
///
/// # Errors
/// A sentence on the first number that is off.
pub fn check<T: Precision, L: Element + TryFrom<i64>>(device: &Device, case: &Case) -> Result<(), String> {
    check_ways::<T, L>(device, case, true)
}

/// The same for `EncouragingLossAndGrad` alone, where a case is large.
///
/// # Errors
/// As above.
pub fn check_fused<T: Precision, L: Element + TryFrom<i64>>(device: &Device, case: &Case) -> Result<(), String> {
    check_ways::<T, L>(device, case, false)
}

fn check_ways<T: Precision, L: Element + TryFrom<i64>>(device: &Device, case: &Case, all: bool) -> Result<(), String> {
    let about = |what: &str, error: String| {
        format!("{what} of {} with labels of {} bytes: {error}\n{}", T::NAME, size_of::<L>(), case.describe())
    };
    let expected = Expected::new(case.rounded::<T>(), size_of::<T>() == 8);
    let run = Run::<T, L>::new(device, case);
    let checked =
        |what: &str, outcome: Result<Outcome<T>, Status>, gradient: Option<Dloss>| -> Result<Outcome<T>, String> {
            let outcome = outcome.map_err(|status| about(what, format!("{status:?}")))?;
            if !what.starts_with("gradient") {
                expected.check_losses(&outcome).map_err(|error| about(what, error))?;
            }
            if let Some(dloss) = gradient {
                expected.check_gradient(&outcome, dloss).map_err(|error| about(what, error))?;
            }
            Ok(outcome)
        };

    checked("fused", run.fused(true), Some(Dloss::One))?;
    if !all {
        return Ok(());
    }
    let forward = checked("forward", run.forward(true), None)?;
    let alone = run.forward(false).map_err(|status| about("forward without margin", format!("{status:?}")))?;
    if !same_bits(&alone.loss, &forward.loss) {
        return Err(about("forward", "the loss depends on whether the margins are wanted".to_owned()));
    }
    let margins = Some(&forward.margin[..]);
    checked("gradient", run.gradient(None), Some(Dloss::Given))?;
    checked("gradient with margin", run.gradient(margins), Some(Dloss::Given))?;

    let again = || Run::<T, L>::new(device, case);
    checked("fused in place", again().fused_in_place(), Some(Dloss::One))?;
    checked("gradient in place", again().gradient_in_place(None), Some(Dloss::Given))?;
    checked("gradient with margin in place", again().gradient_in_place(margins), Some(Dloss::Given))?;
    Ok(())
}

/// What a gradient starts from.
#[derive(Clone, Copy, PartialEq)]
enum Dloss {
    One,
    /// the case's
    Given,
}

fn same_bits<T: Precision>(a: &[T], b: &[T]) -> bool {
    a.iter().zip(b).all(|(a, b)| a.to_f64().to_bits() == b.to_f64().to_bits())
}

/// What the reference says of a case.
struct Expected {
    case: Case,
    /// the loss, and the gradient for the case's dloss
    whole: Evaluation,
    /// the gradient for dloss 1
    ones: Evaluation,
    /// the losses of the rows
    rows: Evaluation,
    double: bool,
}

/// What f32 kernels may be off by, relative to a row's loss or largest gradient, and what those of f64 may.
const SINGLE: f64 = 2e-6;
const DOUBLE: f64 = 1e-12;
const SINGLE_GRADIENT: f64 = 1e-5;

impl Expected {
    fn new(case: Case, double: bool) -> Expected {
        let evaluate = |case: &Case, dloss: &[f64]| {
            reference::evaluate(&case.loss, &case.input(), dloss).expect("the reference takes the case")
        };
        let per_row = case.with(case.loss.to_builder().reduction(Reduction::None).build().expect("valid"));
        let whole = evaluate(&case, &case.dloss);
        let ones = evaluate(&case, &[1.0]);
        Expected { whole, ones, rows: evaluate(&per_row, &[1.0]), case, double }
    }

    /// What the loss of a row may be off by: a row's loss is as well conditioned as m is, so an error of m counts as much
    /// as the slope.
    fn tolerance(&self, row: usize) -> f64 {
        let unit = if self.double { DOUBLE } else { SINGLE };
        let scale = self.rows.loss[row].abs().max(self.largest(&self.rows.dlogits, row));
        if scale.is_finite() { unit * scale } else { 0.0 }
    }

    fn check_losses<T: Precision>(&self, got: &Outcome<T>) -> Result<(), String> {
        let rows = self.case.rows();
        for row in 0..rows {
            let (margin, expected) = (got.margin[row], self.rows.margin[row]);
            let tolerance = if expected.is_finite() { SINGLE * expected.abs().max(1.0) } else { 0.0 };
            close(margin, expected, tolerance).map_err(|error| format!("margin of row {row}: {error}"))?;
        }
        if self.case.loss.reduction() == Reduction::None {
            return (0..rows).try_for_each(|row| {
                close(got.loss[row], self.rows.loss[row], self.tolerance(row))
                    .map_err(|error| format!("loss of row {row}: {error}"))
            });
        }
        let tolerance = self.share() * (0..rows).map(|row| self.tolerance(row)).sum::<f64>();
        close(got.loss[0], self.whole.loss[0], tolerance).map_err(|error| format!("loss: {error}"))
    }

    /// What a row's loss is multiplied by before they are added up.
    fn share(&self) -> f64 {
        if self.case.loss.reduction() != Reduction::Mean {
            return 1.0;
        }
        let weight = |&label: &i64| match &self.case.class_weights {
            _ if self.case.loss.ignore_index() == Some(label) => 0.0,
            Some(weights) => weights[label as usize],
            None => 1.0,
        };
        let sum: f64 = self.case.labels.iter().map(weight).sum();
        if sum == 0.0 { 0.0 } else { 1.0 / sum }
    }

    fn check_gradient<T: Precision>(&self, got: &Outcome<T>, dloss: Dloss) -> Result<(), String> {
        let expected = if dloss == Dloss::Given { &self.whole.dlogits } else { &self.ones.dlogits };
        for row in 0..self.case.rows() {
            // a slope below the normal numbers has few digits left in the type computed in
            let (relative, step) = if self.double { (DOUBLE, 1e-300) } else { (SINGLE_GRADIENT, 2f64.powi(-149)) };
            let tolerance = relative * self.largest(expected, row) + step;
            for class in 0..self.case.classes() {
                let i = self.case.index(row, class);
                close(got.dlogits[i], expected[i], tolerance)
                    .map_err(|error| format!("gradient of row {row}, class {class}: {error}"))?;
            }
        }
        Ok(())
    }

    /// The largest gradient of a row; the infinite and the undefined do not make others inexact.
    fn largest(&self, dlogits: &[f64], row: usize) -> f64 {
        let gradients = (0..self.case.classes()).map(|class| dlogits[self.case.index(row, class)].abs());
        gradients.filter(|x| x.is_finite()).fold(0.0, f64::max)
    }
}

/// Within the tolerance and half an ulp; undefined where the reference is.
fn close<T: Precision>(got: T, expected: f64, tolerance: f64) -> Result<(), String> {
    let value = got.to_f64();
    let overflows = expected.abs() + tolerance > T::MAX && value.is_infinite() && value.signum() == expected.signum();
    let near = (value - expected).abs() <= tolerance + T::half_ulp(expected) * (1.0 + 1e-9);
    if value == expected || near || overflows || value.is_nan() && expected.is_nan() {
        return Ok(());
    }
    Err(format!("{value:e}, reference {expected:e}, off by {:e}, tolerance {tolerance:e}", (value - expected).abs()))
}
