//! Upsample and the Resize of version 10 in terms of the Resize since 11.
//!
//! Both counted coordinates from the corner ("asymmetric"), and ONNX Runtime took the nearest below when it made an image
//! larger, the nearest above when it made it smaller.

use super::site::{Outcome, Raised, Site};
use crate::model::{DataType, node};

/// Raises one of them.
pub(super) fn raise(site: &mut Site<'_, '_>) -> Outcome {
    let is_old_resize = site.node.op() == "Resize" && site.crosses(11);
    if site.node.op() == "Resize" && !is_old_resize {
        return Ok(Raised::Same);
    }
    let x = site.node.input_at(0).ok_or("it lacks its input")?.to_owned();
    let mode = site.node.attr_str("mode").unwrap_or("nearest").to_owned();
    let known = site.node.attr("scales").map(|scales| scales.floats.iter().map(|&s| f64::from(s)).collect());
    let known: Option<Vec<f64>> = known.or_else(|| site.constant(1));
    let nearest = match mode.as_str() {
        "nearest" if is_old_resize => Some(rounding(known.as_deref())?),
        // it never makes smaller
        "nearest" => Some("floor"),
        _ => None,
    };
    let scales = match site.node.attr("scales").is_some() {
        true => site.vector("scales", DataType::Float, &known.unwrap_or_default()),
        false => site.node.input_at(1).ok_or("it lacks its scales")?.to_owned(),
    };
    let mut raised = node("Resize")
        .name(site.node.label())
        .inputs([x.as_str(), "", &scales])
        .outputs(&site.node.output)
        .string("mode", &mode)
        .string("coordinate_transformation_mode", "asymmetric");
    if let Some(nearest) = nearest {
        raised = raised.string("nearest_mode", nearest);
    }
    Ok(Raised::one(raised.build()))
}

fn rounding(scales: Option<&[f64]>) -> Result<&'static str, String> {
    match scales {
        Some(scales) if scales.iter().all(|&scale| scale >= 1.0) => Ok("floor"),
        Some(scales) if scales.iter().all(|&scale| scale <= 1.0) => Ok("ceil"),
        Some(_) => Err("it makes some axes larger and others smaller, which rounded in two ways".to_owned()),
        None => Err("its scales are computed when the graph runs, and how it rounds depends on them".to_owned()),
    }
}
