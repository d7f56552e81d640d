//! The kernels' numbers against float64, before anything is timed.

use std::error::Error;

use elonnx::loss::{Isa, Shape};
use rayon::prelude::*;

use crate::buffers::{Buffers, IGNORED};
use crate::direct;
use crate::dtype::Dtype;
use crate::form::{Form, Pass};
use crate::measure::Team;

/// Gradients are compared in so many rows, spread over all, that together have about this many elements.
const SAMPLED_ELEMENTS: usize = 1 << 21;

/// Runs every form on the first slot. Losses and margins of all rows count, gradients of a sample of rows.
///
/// # Errors
/// The first number out of tolerance.
pub fn forms<T: Dtype>(buffers: &mut Buffers<T>, isa: Isa, team: &Team) -> Result<(), Box<dyn Error>> {
    let shape = buffers.shape;
    for form in Form::all(shape.rows()) {
        if form.pass == Pass::Backward {
            let slot = buffers.slot(0);
            let expected = margins(slot.logits, slot.labels, shape, &form);
            for (margin, expected) in slot.margins.iter_mut().zip(expected) {
                *margin = expected as f32;
            }
        }
        // nothing of an earlier form may be mistaken for this one's
        buffers.slot(0).dlogits.fill(T::from_f64(-7.0));
        let partial = team.run(&form, buffers.slot(0), isa)?;
        let slot = buffers.slot(0);
        let fails = |what: &str, row: usize, found: f64, expected: f64| -> Box<dyn Error> {
            format!(
                "{} of {} {:?}, {isa}, {} threads: {what} of row {row} is {found}, should be {expected}",
                form.name(),
                T::NAME,
                shape,
                team.threads()
            )
            .into()
        };
        let labels = form.labels(&slot);
        let counting = labels.iter().filter(|&&label| label != IGNORED).count() as f64;
        if form.pass != Pass::Backward {
            let rows = rows(slot.logits, labels, shape, &form, 1);
            let expected: f64 = rows.iter().map(|(_, row)| row.as_ref().map_or(0.0, |row| row.loss)).sum();
            // losses of both signs cancel in the sum, so it is held against the sum of their sizes
            let sizes: f64 = rows.iter().map(|(_, row)| row.as_ref().map_or(0.0, |row| row.loss.abs())).sum();
            if !within(partial.loss, expected, 2e-6 * (sizes + 1e-3)) || partial.weight != counting {
                return Err(fails("the sum of losses, counted instead", 0, partial.loss, expected));
            }
            for (index, row) in &rows {
                let expected = row.as_ref().map_or(0.0, |row| row.margin);
                let found = f64::from(slot.scratch_margins[*index]);
                if !within(found, expected, 4e-6 * (1.0 + expected.abs())) {
                    return Err(fails("the margin", *index, found, expected));
                }
            }
        }
        if form.pass != Pass::Forward {
            let factor = if form.pass == Pass::Backward { slot.dloss[0].to_f64() } else { 1.0 } / counting;
            let step = (shape.elements() / SAMPLED_ELEMENTS).max(1) | 1;
            for (index, row) in rows(slot.logits, labels, shape, &form, step) {
                let gradient = row.map_or_else(|| vec![0.0; shape.classes()], |row| row.gradient);
                let largest = gradient.iter().fold(0.0f64, |max, g| max.max((g * factor).abs()));
                for (class, expected) in gradient.into_iter().map(|g| g * factor).enumerate() {
                    let found = slot.dlogits[position(shape, index, class)].to_f64();
                    let allowed = 1e-5 * largest + T::EPSILON * expected.abs() + T::TINY;
                    if !within(found, expected, allowed) {
                        return Err(fails(&format!("the gradient at class {class}"), index, found, expected));
                    }
                }
            }
        }
    }
    Ok(())
}

/// False for NaN.
fn within(found: f64, expected: f64, allowed: f64) -> bool {
    (found - expected).abs() <= allowed
}

/// Every `step`th row in float64; `None` for an ignored one.
fn rows<T: Dtype>(
    logits: &[T],
    labels: &[i64],
    shape: Shape,
    form: &Form,
    step: usize,
) -> Vec<(usize, Option<direct::Row>)> {
    let loss = form.loss();
    (0..shape.rows())
        .into_par_iter()
        .step_by(step)
        .map(|row| {
            if labels[row] == IGNORED {
                return (row, None);
            }
            let z: Vec<f64> = (0..shape.classes()).map(|class| logits[position(shape, row, class)].to_f64()).collect();
            let mut result = direct::row(&loss, &z, labels[row] as usize);
            if step == 1 && shape.elements() > SAMPLED_ELEMENTS {
                // only loss and margin of all rows are asked for
                result.gradient = Vec::new();
            }
            (row, Some(result))
        })
        .collect()
}

fn margins<T: Dtype>(logits: &[T], labels: &[i64], shape: Shape, form: &Form) -> Vec<f64> {
    let rows = rows(logits, labels, shape, form, 1);
    rows.into_iter().map(|(_, row)| row.map_or(0.0, |row| row.margin)).collect()
}

fn position(shape: Shape, row: usize, class: usize) -> usize {
    (row / shape.inner() * shape.classes() + class) * shape.inner() + row % shape.inner()
}
