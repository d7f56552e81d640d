//! Whether confidence is accuracy.

use super::chart::{Chart, Frame};
use super::numbers::percent;
use super::scale::Scale;
use super::svg::Anchor;
use crate::metrics::ReliabilityDiagram;

/// Height of the strip that shows how many samples are in each bin, and the space above it.
const STRIP: f64 = 34.0;
const SPACE: f64 = 10.0;

/// Accuracy by confidence, the gap to the diagonal, and how many samples there are of each confidence.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
pub fn reliability(diagram: &ReliabilityDiagram, accuracy: f64) -> Chart {
    let bottom = Frame::BOTTOM - STRIP - SPACE;
    let x = Scale::linear((0.0, 1.0), (Frame::LEFT, Frame::RIGHT));
    let mut frame = Frame::new(x, Scale::linear((0.0, 1.0), (bottom, Frame::TOP)), Frame::BOTTOM);
    frame.y_axis("accuracy", 5);
    frame.legend(&[("bar", "accuracy".into()), ("gap", "overconfident".into()), ("under", "underconfident".into())]);
    frame.x_axis("confidence (probability of the predicted class)");
    let most = diagram.bins.iter().map(|bin| bin.count).max().unwrap_or(1).max(1) as f64;
    for bin in diagram.bins.iter().filter(|bin| bin.count > 0) {
        let (left, right) = (frame.x.at(bin.lower) + 0.8, frame.x.at(bin.upper) - 0.8);
        let (ground, top) = (frame.y.at(0.0), frame.y.at(bin.accuracy));
        frame.svg.rect("bar", (left, top), (right - left, ground - top));
        let confidence = frame.y.at(bin.confidence);
        let class = if bin.accuracy < bin.confidence { "gap" } else { "under" };
        frame.svg.rect(class, (left, top.min(confidence)), (right - left, (top - confidence).abs()));
        frame.svg.line("confidence", (left, confidence), (right, confidence));
        let height = STRIP * bin.count as f64 / most;
        // at least a hair, where there are any
        let height = height.max(0.8);
        frame.svg.rect("count", (left, Frame::BOTTOM - height), (right - left, height));
    }
    frame.svg.line("axis", (Frame::LEFT, bottom), (Frame::RIGHT, bottom));
    frame.svg.line("diagonal", (frame.x.at(0.0), frame.y.at(0.0)), (frame.x.at(1.0), frame.y.at(1.0)));
    frame.svg.text("tick", (Frame::LEFT - 7.0, Frame::BOTTOM - STRIP / 2.0 + 4.0), Anchor::End, "count");
    let error = percent(diagram.expected_calibration_error(), 2);
    let accuracy = percent(accuracy, 2);
    frame.svg.text("strong", (Frame::LEFT + 12.0, Frame::TOP + 22.0), Anchor::Start, &format!("ECE {error} %"));
    frame.svg.text("note", (Frame::LEFT + 12.0, Frame::TOP + 40.0), Anchor::Start, &format!("accuracy {accuracy} %"));
    frame.finish(format!("Reliability diagram; expected calibration error {error} %, accuracy {accuracy} %"))
}
