//! Attributes that became inputs, and new attributes whose default says something else than before.

use super::site::{Outcome, Raised, Site};
use crate::model::DataType;
use crate::model::node as build;

/// Raises a node of this family.
pub(super) fn raise(site: &mut Site<'_, '_>) -> Outcome {
    match site.node.op() {
        "Squeeze" | "Unsqueeze" | "ReduceSum" if site.crosses(13) => ints_to_inputs(site, &["axes"]),
        "Split" if site.crosses(13) => ints_to_inputs(site, &["split"]),
        "Slice" if site.crosses(10) => ints_to_inputs(site, &["starts", "ends", "axes"]),
        "TopK" if site.crosses(10) => top_k(site),
        "Clip" if site.crosses(11) => clip(site),
        "Pad" if site.crosses(11) => pad(site),
        "Dropout" if site.crosses(12) => dropout(site),
        "Scatter" => {
            site.node.op_type = Some("ScatterElements".to_owned());
            site.done()
        }
        "RoiAlign" if site.crosses(16) => roi_align(site),
        _ => Ok(Raised::Same),
    }
}

/// Attributes become the inputs after the first, in this order.
fn ints_to_inputs(site: &mut Site<'_, '_>, attributes: &[&str]) -> Outcome {
    for (i, name) in attributes.iter().enumerate() {
        if let Some(values) = site.node.attr_ints(name).map(<[i64]>::to_vec) {
            site.remove(name);
            let input = site.ints(name, &values);
            site.set_input(i + 1, input);
        }
    }
    site.done()
}

/// k is a vector of one since 10.
fn top_k(site: &mut Site<'_, '_>) -> Outcome {
    let k = site.node.attr_int("k").ok_or("it has no k")?;
    site.remove("k");
    let input = site.ints("k", &[k]);
    site.set_input(1, input);
    site.done()
}

/// Bounds are scalars of the input's type since 11; without an attribute there is none.
fn clip(site: &mut Site<'_, '_>) -> Outcome {
    for (i, name) in ["min", "max"].into_iter().enumerate() {
        if let Some(bound) = site.node.attr_float(name) {
            let data_type = site.data_type()?;
            site.remove(name);
            let input = site.scalar(name, data_type, bound);
            site.set_input(i + 1, input);
        }
    }
    site.done()
}

/// Pads and the value around are inputs since 11.
fn pad(site: &mut Site<'_, '_>) -> Outcome {
    let pads = site.node.attr_ints("pads").ok_or("it has no pads")?.to_vec();
    site.remove("pads");
    let input = site.ints("pads", &pads);
    site.set_input(1, input);
    if let Some(value) = site.node.attr_float("value") {
        site.remove("value");
        if value != 0.0 {
            let data_type = site.data_type()?;
            let input = site.scalar("value", data_type, value);
            site.set_input(2, input);
        }
    }
    site.done()
}

/// The ratio is an input since 12, the mask holds bools since 10. Without a third input a Dropout still does nothing.
fn dropout(site: &mut Site<'_, '_>) -> Outcome {
    if let Some(ratio) = site.node.attr_float("ratio") {
        site.remove("ratio");
        let input = site.scalar("ratio", DataType::Float as i32, ratio);
        site.set_input(1, input);
    }
    if site.from() < 10 && site.node.output_at(1).is_some() {
        if site.is_read(1) {
            return Err("its mask is used and held other numbers".to_owned());
        }
        site.node.output.truncate(1);
    }
    site.done()
}

/// Half pixels are the default since 16.
fn roi_align(site: &mut Site<'_, '_>) -> Outcome {
    let added = build("").string("coordinate_transformation_mode", "output_half_pixel").build();
    site.node.attribute.extend(added.attribute);
    site.done()
}
