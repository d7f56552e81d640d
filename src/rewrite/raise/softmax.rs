//! Softmax, LogSoftmax, Hardmax: before version 13 they saw a matrix, cut at `axis` (default 1), and normalised its rows;
//! since then they work along `axis` (default −1) alone.

use super::site::{Outcome, Raised, Site};
use crate::model::node;

/// Raises one of them.
pub(super) fn raise(site: &mut Site<'_, '_>) -> Outcome {
    if !site.crosses(13) {
        return Ok(Raised::Same);
    }
    let axis = site.node.attr_int("axis").unwrap_or(1);
    match single_axis(site, axis) {
        Some(axis) => {
            site.set_int("axis", axis);
            site.done()
        }
        None => through_a_matrix(site, axis),
    }
}

/// The one axis that a row of the matrix goes along, where all others from `axis` on have size 1.
fn single_axis(site: &Site<'_, '_>, axis: i64) -> Option<i64> {
    if axis == -1 {
        return Some(-1);
    }
    let dims = site.dims()?;
    let first = if axis < 0 { axis.checked_add(dims.len() as i64)? } else { axis };
    let row = dims.get(usize::try_from(first).ok()?..).filter(|row| !row.is_empty())?;
    let wide: Vec<i64> = (first..).zip(row).filter(|(_, dim)| dim.known() != Some(1)).map(|(axis, _)| axis).collect();
    match wide[..] {
        [] => Some(first),
        [axis] => Some(axis),
        _ => None,
    }
}

/// Flatten to the matrix, the operator along its rows, and back.
fn through_a_matrix(site: &mut Site<'_, '_>, axis: i64) -> Outcome {
    let (x, y) = match (site.node.input_at(0), site.node.output_at(0)) {
        (Some(x), Some(y)) => (x.to_owned(), y.to_owned()),
        _ => return Err("it lacks its input or output".to_owned()),
    };
    let (matrix, rows, shape) = (site.fresh("matrix"), site.fresh("rows"), site.fresh("shape"));
    let name = |what: &str| format!("{}/{what}", site.node.label());
    let flatten = node("Flatten").name(&name("Flatten")).inputs([&x]).outputs([&matrix]).int("axis", axis).build();
    let shape_of = node("Shape").name(&name("Shape")).inputs([&x]).outputs([&shape]).build();
    let back = node("Reshape").name(&name("Reshape")).inputs([&rows, &shape]).outputs([&y]).build();
    site.set_int("axis", 1);
    site.node.input = vec![matrix];
    site.node.output = vec![rows];
    Ok(Raised::Into(vec![flatten, site.node.clone(), shape_of, back]))
}
