//! What an exporter left in node metadata only.
//!
//! PyTorch's dynamo exporter drops `label_smoothing` of `cross_entropy` without a word (seen in 2.15): the graph has a
//! plain `SoftmaxCrossEntropyLoss`, and only the FX node in its metadata still has the number.

use crate::model::proto::NodeProto;

const FX_NODE: &str = "pkg.torch.onnx.fx_node";
const TARGET: &str = "aten.cross_entropy_loss.default";
/// cross_entropy_loss(self, target, weight, reduction, ignore_index, label_smoothing)
const POSITION: usize = 5;

/// Label smoothing that PyTorch's dynamo exporter dropped from `node`, if it is there and not 0.
pub(crate) fn dropped_label_smoothing(node: &NodeProto) -> Option<f32> {
    let text = node.metadata(FX_NODE)?;
    let call = &text[text.find(TARGET)? + TARGET.len()..];
    let smoothing = keyword(call, "label_smoothing").or_else(|| positional(call, POSITION))?;
    let smoothing: f32 = smoothing.trim().parse().ok()?;
    (smoothing > 0.0 && smoothing <= 1.0).then_some(smoothing)
}

/// `args = (a, b, …), kwargs` → the argument at `position`.
fn positional(call: &str, position: usize) -> Option<&str> {
    let args = &call[call.find("args = (")? + "args = (".len()..];
    let end = args.find("), kwargs").unwrap_or(args.len());
    args[..end].split(',').nth(position)
}

/// `kwargs = {…, name: value, …}` → the value.
fn keyword<'a>(call: &'a str, name: &str) -> Option<&'a str> {
    let kwargs = &call[call.find("kwargs = {")?..];
    let value = &kwargs[kwargs.find(&format!("{name}: "))? + name.len() + 2..];
    value.split([',', '}']).next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::node;

    fn smoothing(text: &str) -> Option<f32> {
        dropped_label_smoothing(&node("SoftmaxCrossEntropyLoss").metadata(FX_NODE, text).build())
    }

    #[test]
    fn reads_the_sixth_argument() {
        let text = "%cross_entropy_loss : [num_users=1] = call_function[target=torch.ops.aten.cross_entropy_loss.default]\
                    (args = (%logits, %labels, None, 1, -100, 0.1), kwargs = {})";
        assert_eq!(smoothing(text), Some(0.1));
    }

    #[test]
    fn reads_the_keyword() {
        let text =
            "target=torch.ops.aten.cross_entropy_loss.default](args = (%a, %b), kwargs = {label_smoothing: 0.2, x: 1})";
        assert_eq!(smoothing(text), Some(0.2));
    }

    #[test]
    fn zero_absent_and_nonsense_give_nothing() {
        assert_eq!(
            smoothing("aten.cross_entropy_loss.default](args = (%a, %b, None, 1, -100, 0.0), kwargs = {})"),
            None
        );
        assert_eq!(smoothing("aten.cross_entropy_loss.default](args = (%logits, %labels), kwargs = {})"), None);
        assert_eq!(smoothing("aten.nll_loss.default](args = (%a, %b, None, 1, -100, 0.1), kwargs = {})"), None);
        assert_eq!(
            smoothing("aten.cross_entropy_loss.default](args = (%a, %b, None, 1, -100, %s), kwargs = {})"),
            None
        );
    }
}
