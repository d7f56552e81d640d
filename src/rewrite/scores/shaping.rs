//! Scores of the feature: it is shaped, and goes through a copy of the last layer, which shares its weights.

use crate::model::DataType;
use crate::rewrite::RewriteError;
use crate::rewrite::scoring::linear_head;

use super::GraphScore;
use super::builder::Builder;

/// Percentage that ASH-S prunes by default (Djurisic et al., on ImageNet).
pub(super) const ASH_PERCENTILE: f64 = 90.0;
/// Percentage that SCALE leaves out of its second sum by default (Xu et al.).
pub(super) const SCALE_PERCENTILE: f64 = 85.0;
/// exp beyond this is no number in float.
const LARGEST_EXPONENT: f64 = 80.0;
/// Keeps 0/0 from features of zeros.
const TINY: f64 = 1e-30;

/// The feature and the way from it to the logits.
struct Layer {
    feature: String,
    features: usize,
    data_type: DataType,
    /// Axis of the features.
    axis: i64,
    /// From the layer to the logits.
    path: Vec<crate::model::NodeId>,
}

impl Layer {
    fn find(b: &Builder, score: GraphScore) -> Result<Self, RewriteError> {
        let refuse = |reason: String| RewriteError::NoGraphScore { score: score.as_str(), reason };
        let found = linear_head(b.document, b.context, &b.logits.chosen.value).map_err(|reason| {
            refuse(format!("it needs the feature before the last layer, but {reason}; energy works without"))
        })?;
        let feature = found.head.feature;
        let data_type = b.context.data_type(&feature);
        let Some(data_type @ (DataType::Float | DataType::Double | DataType::Float16 | DataType::Bfloat16)) = data_type
        else {
            return Err(refuse(format!("the element type of its feature '{feature}' is not known")));
        };
        let mut path = found.path;
        path.reverse();
        let convolution = path.first().is_some_and(|id| b.context.graph.node(*id).op() == "Conv");
        let rank = b.context.shapes.rank(&feature).unwrap_or(2) as i64;
        let axis = if convolution { 1 } else { rank - 1 };
        Ok(Self { feature, features: found.head.features, data_type, axis, path })
    }

    /// The logits of another feature.
    fn logits_of(&self, b: &mut Builder, feature: String) -> String {
        let mut value = feature;
        let mut old = self.feature.clone();
        for &id in &self.path {
            value = b.copy(id, &old, &value);
            old = b.context.graph.node(id).output_at(0).unwrap_or_default().to_owned();
        }
        b.rows(&value)
    }

    /// The feature in the type the scores are computed in.
    fn wide(&self, b: &mut Builder) -> String {
        cast(b, &self.feature, self.data_type, b.logits.float_type())
    }

    /// Back to the type of the layer.
    fn narrow(&self, b: &mut Builder, value: &str) -> String {
        cast(b, value, b.logits.float_type(), self.data_type)
    }
}

fn cast(b: &mut Builder, value: &str, from: DataType, to: DataType) -> String {
    if from == to {
        return value.to_owned();
    }
    b.node("cast_feature", "Cast", &[value], |node| node.int("to", to as i64))
}

/// ReAct: the logits of min(h, c).
pub(super) fn clipped(b: &mut Builder, score: GraphScore, clip: f64) -> Result<String, RewriteError> {
    let layer = Layer::find(b, score)?;
    let (feature, clip) = (layer.wide(b), b.number(clip));
    let clipped = if b.opset() >= 8 {
        b.op("clipped", "Min", &[&feature, &clip])
    } else {
        // opset 7 has a Min without broadcasting
        let above = b.op("above", "Sub", &[&feature, &clip]);
        let above = b.op("above", "Relu", &[&above]);
        b.op("clipped", "Sub", &[&feature, &above])
    };
    let clipped = layer.narrow(b, &clipped);
    Ok(layer.logits_of(b, clipped))
}

/// ASH-S and SCALE: the logits of h·exp(s₁/s₂), s₁ the sum of h, s₂ that of its largest; `prune` keeps only those.
pub(super) fn shaped(b: &mut Builder, score: GraphScore, percentile: f64, prune: bool) -> Result<String, RewriteError> {
    let layer = Layer::find(b, score)?;
    if matches!(layer.data_type, DataType::Float16 | DataType::Bfloat16) {
        return Err(RewriteError::NoGraphScore {
            score: score.as_str(),
            reason: "its layer computes with 16 bits, which the scaled feature overflows; energy and react work".into(),
        });
    }
    let axis = layer.axis;
    let feature = layer.wide(b);
    let kept = layer.features - dropped(layer.features, percentile);
    let largest = b.top("largest_features", &feature, kept, axis);
    let tiny = b.number(TINY);
    let all = b.reduce("feature_sum", "ReduceSum", &feature, axis);
    let all = b.op("feature_sum", "Add", &[&all, &tiny]);
    let some = b.reduce("largest_sum", "ReduceSum", &largest, axis);
    let some = b.op("largest_sum", "Add", &[&some, &tiny]);
    let ratio = b.op("ratio", "Div", &[&all, &some]);
    let ratio = at_most(b, &ratio, LARGEST_EXPONENT);
    let factor = b.op("factor", "Exp", &[&ratio]);
    let mut shaped = b.op("scaled", "Mul", &[&feature, &factor]);
    if prune {
        let least = b.range("least_kept", &largest, [kept - 1, kept], axis);
        let below = b.op("is_below", "Less", &[&feature, &least]);
        let kept = b.op("is_kept", "Not", &[&below]);
        let to = b.logits.float_type() as i64;
        let kept = b.node("kept", "Cast", &[&kept], |node| node.int("to", to));
        shaped = b.op("pruned", "Mul", &[&shaped, &kept]);
    }
    let shaped = layer.narrow(b, &shaped);
    Ok(layer.logits_of(b, shaped))
}

/// How many of the smallest are left out; one is always kept.
fn dropped(features: usize, percentile: f64) -> usize {
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and the number of features")]
    let dropped = (features as f64 * percentile.clamp(0.0, 100.0) / 100.0).round_ties_even() as usize;
    dropped.min(features.saturating_sub(1))
}

/// min(value, bound) without the Min of opset 7, which does not broadcast.
fn at_most(b: &mut Builder, value: &str, bound: f64) -> String {
    let bound = b.number(bound);
    if b.opset() >= 8 {
        return b.op("bounded", "Min", &[value, &bound]);
    }
    let above = b.op("excess", "Sub", &[value, &bound]);
    let above = b.op("excess", "Relu", &[&above]);
    b.op("bounded", "Sub", &[value, &above])
}
