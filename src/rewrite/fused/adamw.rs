//! `AdamW`: one pass over memory instead of a dozen.

use super::Fused;
use super::body::Body;
use crate::model::DataType;
use crate::model::proto::FunctionProto;

/// `AdamW`(parameter, gradient, exp_avg, exp_avg_sq, learning_rate \[\], step int64 \[\], scale \[\]) → parameter, exp_avg,
/// exp_avg_sq; attributes beta1, beta2, epsilon, weight_decay.
///
/// With g = scale · gradient and t = step:
/// m ← β₁m + (1−β₁)g; v ← β₂v + (1−β₂)g²; p ← p·(1 − lr·decay) − lr/(1−β₁ᵗ) · m / (√v/√(1−β₂ᵗ) + ε).
pub(crate) const ADAMW: Fused = Fused { name: "AdamW", body };

fn body(opset: i64) -> FunctionProto {
    let mut b = Body::new(
        opset,
        ADAMW.name,
        &["parameter", "gradient", "exp_avg", "exp_avg_sq", "learning_rate", "step", "scale"],
        &["new_parameter", "new_exp_avg", "new_exp_avg_sq"],
        &["beta1", "beta2", "epsilon", "weight_decay"],
    );
    for name in ["beta1", "beta2", "epsilon", "weight_decay"] {
        b.float_attribute(name, name);
    }
    b.number("one", 1.0);
    b.with("t", "Cast", &["step"], |node| node.int("to", DataType::Float as i64));
    b.op("g", "Mul", &["gradient", "scale"]);
    for (beta, old, new, what) in
        [("beta1", "exp_avg", "new_exp_avg", "g"), ("beta2", "exp_avg_sq", "new_exp_avg_sq", "g2")]
    {
        if what == "g2" {
            b.op("g2", "Mul", &["g", "g"]);
        }
        b.op(&format!("{beta}_rest"), "Sub", &["one", beta]);
        b.op(&format!("{beta}_old"), "Mul", &[beta, old]);
        b.op(&format!("{beta}_new"), "Mul", &[&format!("{beta}_rest"), what]);
        b.op(new, "Add", &[&format!("{beta}_old"), &format!("{beta}_new")]);
        b.op(&format!("{beta}_power"), "Pow", &[beta, "t"]);
        b.op(&format!("{beta}_correction"), "Sub", &["one", &format!("{beta}_power")]);
    }
    b.op("root", "Sqrt", &["new_exp_avg_sq"]);
    b.op("root_correction", "Sqrt", &["beta2_correction"]);
    b.op("corrected_root", "Div", &["root", "root_correction"]);
    b.op("denominator", "Add", &["corrected_root", "epsilon"]);
    b.op("rate", "Div", &["learning_rate", "beta1_correction"]);
    b.op("direction", "Div", &["new_exp_avg", "denominator"]);
    b.op("change", "Mul", &["rate", "direction"]);
    b.op("decay", "Mul", &["learning_rate", "weight_decay"]);
    b.op("kept_share", "Sub", &["one", "decay"]);
    b.op("kept", "Mul", &["parameter", "kept_share"]);
    b.op("new_parameter", "Sub", &["kept", "change"]);
    b.finish()
}
