//! The operators' numbers against float64, before anything is timed.

use crate::buffers::{Buffers, Drawn, Slot};
use crate::device::{Device, Outcome};
use crate::direct;
use crate::dtype::Dtype;
use crate::host::Type;
use crate::operators::{Operators, Pass, loss};
use crate::options::Dims;

/// Gradients are compared in so many rows, spread over all.
const ROWS: usize = 32;

/// Runs every pass on every slot. Loss and margins of all rows count, gradients of a sample of rows.
///
/// # Errors
/// The first number out of tolerance.
pub fn passes<T: Dtype + Type>(device: &Device, operators: &Operators, buffers: &Buffers<T>) -> Outcome<()> {
    let expected = Expected::new(buffers.dims, &buffers.drawn);
    for pass in Pass::ALL {
        for slot in &buffers.slots {
            // nothing of an earlier pass may be mistaken for this one's; the backward pass reads the margins
            device.fill(&slot.dlogits, 0xA5)?;
            if pass != Pass::Backward {
                device.fill(&slot.margins, 0xA5)?;
                device.fill(&slot.loss, 0xA5)?;
            }
            operators.run(pass, buffers, slot)?;
            device.wait()?;
            if pass != Pass::Backward {
                expected.check_losses::<T>(slot).map_err(|error| format!("{}: {error}", pass.name()))?;
            }
            if pass != Pass::Forward {
                expected.check_gradients::<T>(slot).map_err(|error| format!("{}: {error}", pass.name()))?;
            }
        }
    }
    Ok(())
}

/// The rows that were drawn, in float64. All others repeat them.
struct Expected {
    dims: Dims,
    rows: Vec<direct::Row>,
}

impl Expected {
    fn new<T: Dtype>(dims: Dims, drawn: &Drawn<T>) -> Expected {
        let row = |row: usize| {
            let logits = &drawn.logits[row * dims.classes..(row + 1) * dims.classes];
            let logits: Vec<f64> = logits.iter().map(|z| z.to_f64()).collect();
            direct::row(&loss(), &logits, drawn.labels[row] as usize)
        };
        Expected { dims, rows: (0..drawn.rows()).map(row).collect() }
    }

    fn row(&self, row: usize) -> &direct::Row {
        &self.rows[row % self.rows.len()]
    }

    fn check_losses<T: Dtype>(&self, slot: &Slot) -> Outcome<()> {
        let rows = self.dims.rows;
        for (row, &found) in slot.margins.read::<f32>(0, rows)?.iter().enumerate() {
            let expected = self.row(row).margin;
            compare("the margin", row, f64::from(found), expected, 4e-6 * (1.0 + expected.abs()))?;
        }
        let all = || (0..rows).map(|row| self.row(row).loss);
        let mean = all().sum::<f64>() / rows as f64;
        // losses of both signs cancel in the mean, so it is held against the mean of their sizes
        let size = all().map(f64::abs).sum::<f64>() / rows as f64;
        let found = slot.loss.read::<T>(0, 1)?[0].to_f64();
        compare("the mean loss", 0, found, mean, 2e-6 * size + T::EPSILON * mean.abs() + T::TINY)
    }

    fn check_gradients<T: Dtype>(&self, slot: &Slot) -> Outcome<()> {
        let (rows, classes) = (self.dims.rows, self.dims.classes);
        let share = 1.0 / rows as f64;
        let sampled = ROWS.min(rows);
        for row in (0..sampled).map(|i| if sampled == 1 { 0 } else { i * (rows - 1) / (sampled - 1) }) {
            let expected = &self.row(row).gradient;
            let largest = expected.iter().fold(0.0f64, |most, g| most.max((g * share).abs()));
            for (class, found) in slot.dlogits.read::<T>(row * classes, classes)?.into_iter().enumerate() {
                let expected = expected[class] * share;
                let allowed = 1e-5 * largest + T::EPSILON * expected.abs() + T::TINY;
                compare(&format!("the gradient at class {class}"), row, found.to_f64(), expected, allowed)?;
            }
        }
        Ok(())
    }
}

/// NaN is never within what is allowed.
fn compare(what: &str, row: usize, found: f64, expected: f64, allowed: f64) -> Outcome<()> {
    if (found - expected).abs() <= allowed {
        return Ok(());
    }
    Err(format!("{what} of row {row} is {found}, should be {expected}").into())
}
