//! The maths of the loss, written as nodes. Shapes: logits [N,C,d…]; everything that belongs to a row is [N,1,d…].

use super::body::{Body, Over};
use super::{GRAD, LOSS, Signature};
use crate::loss::{Bonus, Reduction};
use crate::model::DataType;

/// Adds all nodes of the body that `signature` asks for.
pub(super) fn write(b: &mut Body, signature: &Signature) {
    let rows = Rows::write(b, signature);
    let curve = Curve::write(b, signature, &rows);
    if signature.op != GRAD {
        write_loss(b, signature, &rows, &curve);
        if signature.margin_output || signature.op != LOSS {
            write_margin(b, signature, &rows);
        }
    }
    if signature.op != LOSS {
        write_gradient(b, signature, &rows, &curve);
    }
}

/// The rows: their labels, which of them count and how much, and their soft margin losses.
struct Rows {
    /// Label of each row; 0 where the row is ignored, whatever stood there, and C where it is negative.
    label: &'static str,
    /// bool: the row is ignored. None: no row is.
    ignored: Option<&'static str>,
    /// Class weight of the label; 0 where ignored. None: every row counts 1.
    weight: Option<&'static str>,
    /// Class weights [C] in the arithmetic's type.
    class_weights: Option<&'static str>,
    /// The logits in the arithmetic's type.
    logits: &'static str,
    /// logsumexp over the other classes minus the logit: of the label, or, with label smoothing, of every class.
    m: &'static str,
    /// The class that `others` leaves out: the label, or, with label smoothing, the class with the largest logit.
    left_out: &'static str,
    /// exp(logit − largest) over the classes but the one left out.
    others: &'static str,
    /// Its sum over the classes, at least 1; also where these are masked all, so that they have no share.
    others_sum: &'static str,
    /// With label smoothing.
    smoothing: Option<Smoothing>,
}

/// exp(logit − largest) of all classes and, per class, its sum over the other classes.
struct Smoothing {
    exponentials: &'static str,
    sum_of_others: &'static str,
}

impl Rows {
    fn write(b: &mut Body, signature: &Signature) -> Self {
        let logits = b.widened("wide_logits", "logits");
        let label64 = b.cast("label64", "labels", DataType::Int64 as i32);
        let column = b.unsqueeze("label_column", label64);
        let ignored = signature.ignore_index.then(|| {
            let ignore_index = b.integer_parameter("ignore_index");
            b.apply("ignored", "Equal", &[column, ignore_index])
        });
        let label = indexing_label(b, column, ignored);
        let class_weights = signature.class_weights.then(|| b.widened("wide_class_weights", "class_weights"));
        // the mean needs it, and a row that has its label's weight only
        let weight_matters =
            signature.reduction == Reduction::Mean || signature.class_weights && !signature.label_smoothing;
        let weight = if weight_matters { row_weight(b, class_weights, label, ignored) } else { None };
        let mut rows = Rows {
            label,
            ignored,
            weight,
            class_weights,
            logits,
            m: "m",
            left_out: label,
            others: "others",
            others_sum: "others_sum",
            smoothing: None,
        };
        if signature.label_smoothing {
            rows.every_margin(b);
        } else {
            leave_out(b, logits, label, "label_logit", "m");
        }
        rows
    }

    /// m of every class. S − e_j is free of cancellation for all classes but the largest, which is left out for real.
    fn every_margin(&mut self, b: &mut Body) {
        let (logits, top_class) = (self.logits, b.arg_max("top_class", self.logits));
        leave_out(b, logits, top_class, "top", "top_m");
        let exponentials =
            exponentials(b, logits, "top", ["finite_top", "shifted_by_top", "above_top", "below_top", "exponentials"]);
        let sum = b.reduce("sum", "ReduceSum", exponentials, Over::Classes);
        let sum_of_others = b.apply("sum_of_others", "Sub", &[sum, exponentials]);
        let log_sum = b.apply("log_sum_of_others", "Log", &[sum_of_others]);
        let gap = b.apply("gap_to_top", "Sub", &["top", logits]);
        let rough = b.apply("rough_m", "Add", &[gap, log_sum]);
        b.along_classes("m", "ScatterElements", &[rough, top_class, "top_m"]);
        b.explain("for the largest logit the difference sum - exponential cancels: take the sum that leaves it out");
        self.left_out = top_class;
        self.smoothing = Some(Smoothing { exponentials, sum_of_others });
    }

    /// `value` [N,C,d…] at the label.
    fn at_label(&self, b: &mut Body, output: &'static str, value: &str) -> &'static str {
        b.along_classes(output, "GatherElements", &[value, self.label])
    }

    /// `value`, 0 in the rows that are ignored.
    fn counted(&self, b: &mut Body, output: &'static str, value: &'static str) -> &'static str {
        let Some(ignored) = self.ignored else { return value };
        let zero = b.number("zero", 0.0);
        b.apply(output, "Where", &[ignored, zero, value])
    }

    /// `value` divided by the sum of the weights of the rows that count; 0 where that is 0.
    fn mean(&self, b: &mut Body, output: &'static str, quotient: &'static str, value: &str) -> &'static str {
        let Some(weight) = self.weight else {
            let rows = b.apply("row_count", "Size", &["labels"]);
            let count = b.computed("total_weight", rows);
            return b.apply(output, "Div", &[value, count]);
        };
        let zero = b.number("zero", 0.0);
        if !b.has("total_weight") {
            b.reduce("total_weight", "ReduceSum", weight, Over::All);
            b.apply("no_weight", "Equal", &["total_weight", zero]);
        }
        b.apply(quotient, "Div", &[value, "total_weight"]);
        b.apply(output, "Where", &["no_weight", zero, quotient])
    }
}

/// The label as an index that a runtime either has or refuses.
fn indexing_label(b: &mut Body, column: &'static str, ignored: Option<&'static str>) -> &'static str {
    let first_class = b.integer("first_class", 0);
    let label = ignored.map_or(column, |ignored| {
        b.apply("counted_label", "Where", &[ignored, first_class, column]);
        b.explain("an ignored label may be no class at all; class 0 stands in, its results are dropped");
        "counted_label"
    });
    let is_negative = b.apply("is_negative", "Less", &[label, first_class]);
    let count = class_count(b);
    b.apply("label", "Where", &[is_negative, count, label]);
    b.explain("an index below 0 would count from the last class: make it one that is out of bounds");
    "label"
}

/// C, int64.
fn class_count(b: &mut Body) -> &'static str {
    let (shape, index) = (logits_shape(b), b.integer("class_axis_index", 1));
    b.gather("class_count", shape, index)
}

/// Shape of the logits, made on first use.
fn logits_shape(b: &mut Body) -> &'static str {
    if !b.has("logits_shape") {
        b.apply("logits_shape", "Shape", &["logits"]);
    }
    "logits_shape"
}

/// The class weight of the label, 0 where the row is ignored. None: every row counts 1.
fn row_weight(
    b: &mut Body,
    class_weights: Option<&'static str>,
    label: &str,
    ignored: Option<&'static str>,
) -> Option<&'static str> {
    let label_weight = class_weights.map(|w| b.gather("label_weight", w, label));
    let Some(ignored) = ignored else { return label_weight };
    let zero = b.number("zero", 0.0);
    let weight = label_weight.unwrap_or_else(|| b.number("one", 1.0));
    Some(b.apply("weight", "Where", &[ignored, zero, weight]))
}

/// `m` = logsumexp over the classes but `class`, minus the logit of `class` (kept as `logit`).
fn leave_out(b: &mut Body, logits: &str, class: &str, logit: &'static str, m: &'static str) {
    let masked = b.number("masked", f64::NEG_INFINITY);
    let row_shape = b.apply("row_shape", "Shape", &[class]);
    let nothing = b.apply("nothing", "Expand", &[masked, row_shape]);
    let other_logits = b.along_classes("other_logits", "ScatterElements", &[logits, class, nothing]);
    b.explain("the class left out is kept out of the sum: 1 - p never cancels");
    b.along_classes(logit, "GatherElements", &[logits, class]);
    let maximum = b.reduce("largest_other", "ReduceMax", other_logits, Over::Classes);
    let others = exponentials(
        b,
        other_logits,
        maximum,
        ["finite_largest_other", "shifted_others", "above_largest_other", "below_largest_other", "others"],
    );
    let sum = b.reduce("sum_or_none", "ReduceSum", others, Over::Classes);
    let one = b.number("one", 1.0);
    let is_none = b.apply("no_other_left", "Less", &[sum, one]);
    let sum = b.apply("others_sum", "Where", &[is_none, one, sum]);
    b.explain("the largest counts 1; 0 where all are masked (-inf): no share for anyone, and m is -inf by the gap");
    let log_sum = b.apply("log_others_sum", "Log", &[sum]);
    let gap = b.apply("gap", "Sub", &[maximum, logit]);
    b.apply(m, "Add", &[gap, log_sum]);
    b.explain("m = logsumexp of the other logits - this logit; minus m is the soft margin");
}

/// exp(logit − largest): 1 for a logit of +∞, 0 for one of −∞, in rows of nothing else too.
fn exponentials(
    b: &mut Body,
    logits: &str,
    largest: &str,
    [finite, shifted, above, below, output]: [&'static str; 5],
) -> &'static str {
    let (lowest, highest, zero) = (b.lowest(), b.highest(), b.number("zero", 0.0));
    b.apply(finite, "Clip", &[largest, lowest, highest]);
    b.explain("finite, for inf - inf is no number");
    b.apply(shifted, "Sub", &[logits, finite]);
    b.apply(above, "Less", &[zero, shifted]);
    b.apply(below, "Where", &[above, zero, shifted]);
    b.explain("what a Min would do, but that loses NaN in ONNX Runtime 1.17 where the last axis has length 1");
    b.apply(output, "Exp", &[below])
}

/// f(m) and f'(m), each where asked for.
struct Curve {
    f: &'static str,
    slope: &'static str,
}

impl Curve {
    fn write(b: &mut Body, signature: &Signature, rows: &Rows) -> Self {
        let one = b.number("one", 1.0);
        let rho = if signature.bonus_weight {
            b.float_input("bonus_weight")
        } else {
            b.parameter_as("bonus_factor", "bonus_weight")
        };
        let m = rows.m;
        let minus_m = b.apply("minus_m", "Neg", &[m]);
        let minus_abs_m = b.apply("minus_abs_m", "Min", &[m, minus_m]);
        let e = b.apply("e", "Exp", &[minus_abs_m]);
        let one_plus_e = b.apply("one_plus_e", "Add", &[one, e]);
        if signature.op != GRAD {
            let log1p = log1p(b, e, one_plus_e, one);
            let wrong_part = b.apply("wrong_part", "Relu", &[m]);
            let cross_entropy = b.apply("cross_entropy", "Add", &[wrong_part, log1p]);
            b.explain("softplus(m) = max(m, 0) + log1p(exp(-|m|))");
            let discount = match signature.bonus {
                Bonus::Log => log_discount(b, minus_m, log1p, one),
                Bonus::Power => {
                    let (hit, power) = (hit(b), b.parameter("power"));
                    b.apply("discount", "Pow", &[hit, power])
                }
                Bonus::Cosine => {
                    let (hit, half_pi) = (hit(b), b.number("half_pi", std::f64::consts::FRAC_PI_2));
                    let half_angle = b.apply("half_angle", "Mul", &[hit, half_pi]);
                    let sine = b.apply("sine", "Sin", &[half_angle]);
                    let squared = b.apply("sine_squared", "Mul", &[sine, sine]);
                    b.apply("discount", "Add", &[squared, squared]);
                    b.explain("1 - cos(pi p) = 2 sin^2(pi p / 2)");
                    "discount"
                }
            };
            let scaled = match signature.bonus {
                // the only one without a bound
                Bonus::Log => times(b, discount, rho, ["no_bonus", "rho_discount", "scaled_discount"]),
                Bonus::Power | Bonus::Cosine => b.apply("scaled_discount", "Mul", &[rho, discount]),
            };
            b.apply("f", "Sub", &[cross_entropy, scaled]);
        }
        if signature.op != LOSS {
            let (hit, miss) = (hit(b), miss(b));
            let gain = match signature.bonus {
                Bonus::Log => {
                    let (is_confident, ratio) = tangent(b, one);
                    let hit_ratio = b.apply("hit_ratio", "Mul", &[hit, ratio]);
                    b.apply("gain", "Where", &[is_confident, hit_ratio, hit])
                }
                Bonus::Power => {
                    let power = b.parameter("power");
                    let to_the_power = b.apply("hit_to_the_power", "Pow", &[hit, power]);
                    let steepness = b.apply("steepness", "Mul", &[power, to_the_power]);
                    b.apply("gain", "Mul", &[steepness, miss])
                }
                Bonus::Cosine => {
                    let pi = b.number("pi", std::f64::consts::PI);
                    let smaller = b.apply("smaller", "Min", &[hit, miss]);
                    let angle = b.apply("angle", "Mul", &[pi, smaller]);
                    let angle_sine = b.apply("angle_sine", "Sin", &[angle]);
                    b.explain("sin(pi p) = sin(pi (1 - p)), accurate from the smaller of the two");
                    let arc = b.apply("arc", "Mul", &[pi, angle_sine]);
                    let hit_arc = b.apply("hit_arc", "Mul", &[hit, arc]);
                    b.apply("gain", "Mul", &[hit_arc, miss])
                }
            };
            let scaled = b.apply("scaled_gain", "Mul", &[rho, gain]);
            b.apply("slope", "Add", &[miss, scaled]);
            b.explain("f'(m) = (1 - p) - bonus_weight b'(p) p (1 - p)");
        }
        Curve { f: "f", slope: "slope" }
    }
}

/// log(1 + e) for 0 ≤ e ≤ 1: the rounding error of 1 + e is added back.
fn log1p(b: &mut Body, e: &str, one_plus_e: &str, one: &str) -> &'static str {
    let rounded = b.apply("rounded", "Log", &[one_plus_e]);
    let rounded_e = b.apply("rounded_e", "Sub", &[one_plus_e, one]);
    let lost = b.apply("lost", "Sub", &[e, rounded_e]);
    let correction = b.apply("correction", "Div", &[lost, one_plus_e]);
    b.apply("log1p", "Add", &[rounded, correction]);
    b.explain("log(1 + e); what 1 + e lost by rounding is added back, so that a tiny loss keeps its digits");
    "log1p"
}

/// p = σ(−m), made on first use.
fn hit(b: &mut Body) -> &'static str {
    sigmoid(b, "hit", "hit_part", ["one", "e"])
}

/// 1 − p = σ(m), made on first use.
fn miss(b: &mut Body) -> &'static str {
    sigmoid(b, "miss", "miss_part", ["e", "one"])
}

/// e^−|m| / (1 + e^−|m|) or 1 / (1 + e^−|m|), whichever belongs to the sign of m: exact in both tails.
fn sigmoid(b: &mut Body, output: &'static str, part: &'static str, [right, wrong]: [&str; 2]) -> &'static str {
    if !b.has("is_right") {
        let zero = b.number("zero", 0.0);
        b.apply("is_right", "Less", &["m", zero]);
    }
    if !b.has(output) {
        b.apply(part, "Where", &["is_right", right, wrong]);
        b.apply(output, "Div", &[part, "one_plus_e"]);
        b.explain(if output == "hit" { "p = sigmoid(-m)" } else { "1 - p = sigmoid(m)" });
    }
    output
}

/// −b(p) of the log bonus.
fn log_discount(b: &mut Body, minus_m: &str, log1p: &str, one: &str) -> &'static str {
    let (is_confident, ratio) = tangent(b, one);
    let right_part = b.apply("right_part", "Relu", &[minus_m]);
    let curved = b.apply("curved", "Add", &[right_part, log1p]);
    b.explain("-log(1 - p) = softplus(-m)");
    let log_room = b.apply("log_room", "Log", &["room"]);
    let at_end = b.apply("one_less_log_room", "Sub", &[one, log_room]);
    let straight = b.apply("straight", "Sub", &[at_end, ratio]);
    b.explain("above log_end: (p - log_end) / (1 - log_end) - log(1 - log_end)");
    b.apply("discount", "Where", &[is_confident, straight, curved])
}

/// Whether p is above log_end, and (1 − p)/(1 − log_end); not selected anywhere for log_end = 1.
fn tangent(b: &mut Body, one: &str) -> (&'static str, &'static str) {
    if !b.has("is_confident") {
        let (miss, log_end) = (miss(b), b.parameter("log_end"));
        let room = b.apply("room", "Sub", &[one, log_end]);
        b.apply("is_confident", "Less", &[miss, room]);
        b.explain("p > log_end, asked of 1 - p, which has the digits");
        b.apply("ratio", "Div", &[miss, room]);
    }
    ("is_confident", "ratio")
}

/// ε and 1 − ε.
fn smoothing_parts(b: &mut Body) -> (&'static str, &'static str) {
    let (one, epsilon) = (b.number("one", 1.0), b.parameter("label_smoothing"));
    if !b.has("label_share") {
        b.apply("label_share", "Sub", &[one, epsilon]);
    }
    (epsilon, "label_share")
}

/// Class weights as [1,C,1…]: logits and labels differ in length on axis 1 only.
fn class_weights_along_axis(b: &mut Body, class_weights: &str) -> &'static str {
    if !b.has("class_weights_row") {
        let logits_shape = logits_shape(b);
        let same = b.apply("same_length", "Equal", &[logits_shape, "row_shape"]);
        let (length_one, rest) = (b.integer("length_one", 1), b.integer("rest", -1));
        let shape = b.apply("class_weights_shape", "Where", &[same, length_one, rest]);
        b.apply("class_weights_row", "Reshape", &[class_weights, shape]);
    }
    "class_weights_row"
}

fn write_loss(b: &mut Body, signature: &Signature, rows: &Rows, curve: &Curve) {
    let row_loss = if rows.smoothing.is_some() {
        let smoothed = smoothed_loss(b, rows, curve);
        rows.counted(b, "counted_loss", smoothed)
    } else if let Some(weight) = rows.class_weights.and(rows.weight) {
        // the weight of an ignored row is 0
        weigh(b, curve.f, weight)
    } else {
        rows.counted(b, "counted_loss", curve.f)
    };
    let loss = match signature.reduction {
        Reduction::None => b.squeeze("row_loss", row_loss),
        Reduction::Sum => b.reduce("loss_sum", "ReduceSum", row_loss, Over::All),
        Reduction::Mean if rows.weight.is_none() => b.reduce("loss_mean", "ReduceMean", row_loss, Over::All),
        Reduction::Mean => {
            let sum = b.reduce("loss_sum", "ReduceSum", row_loss, Over::All);
            rows.mean(b, "loss_mean", "loss_quotient", sum)
        }
    };
    b.result("loss", loss);
}

/// f·weight, and 0 where the weight is, even if f is infinite there.
fn weigh(b: &mut Body, f: &str, weight: &str) -> &'static str {
    times(b, f, weight, ["weightless", "f_times_weight", "weighted_f"])
}

/// x·factor, and 0 where the factor is, even if x is infinite there.
fn times(b: &mut Body, x: &str, factor: &str, [is_zero, product, output]: [&'static str; 3]) -> &'static str {
    let zero = b.number("zero", 0.0);
    b.apply(is_zero, "Equal", &[factor, zero]);
    b.apply(product, "Mul", &[x, factor]);
    b.apply(output, "Where", &[is_zero, zero, product])
}

/// (1 − ε)·w_y·ℓ_y + ε·mean_j(w_j·ℓ_j).
fn smoothed_loss(b: &mut Body, rows: &Rows, curve: &Curve) -> &'static str {
    let (epsilon, label_share) = smoothing_parts(b);
    let weighted = match rows.class_weights {
        None => curve.f,
        Some(w) => {
            let row = class_weights_along_axis(b, w);
            weigh(b, curve.f, row)
        }
    };
    let label_loss = rows.at_label(b, "label_loss", weighted);
    let mean = b.reduce("class_mean", "ReduceMean", weighted, Over::Classes);
    let label_part = times(b, label_loss, label_share, ["no_label_share", "label_product", "label_part"]);
    let smooth_part = b.apply("smooth_part", "Mul", &[epsilon, mean]);
    b.apply("smoothed_loss", "Add", &[label_part, smooth_part]);
    b.explain("label smoothing as in PyTorch: the share epsilon goes evenly to all classes, the label included");
    "smoothed_loss"
}

fn write_margin(b: &mut Body, signature: &Signature, rows: &Rows) {
    let minus_m = if signature.label_smoothing { rows.at_label(b, "label_minus_m", "minus_m") } else { "minus_m" };
    let counted = rows.counted(b, "counted_margin", minus_m);
    let margin = b.squeeze("row_margin", counted);
    b.float_result("margin", margin);
}

fn write_gradient(b: &mut Body, signature: &Signature, rows: &Rows, curve: &Curve) {
    let scale = loss_scale(b, signature, rows);
    let gradient = match &rows.smoothing {
        None => label_gradient(b, rows, curve, scale),
        Some(smoothing) => smoothed_gradient(b, rows, curve, scale, smoothing),
    };
    let gradient = rows.counted(b, "counted_gradient", gradient);
    b.result("dlogits", gradient);
}

/// What the gradient of a row of weight 1 is multiplied by; None: 1.
fn loss_scale(b: &mut Body, signature: &Signature, rows: &Rows) -> Option<&'static str> {
    let dloss = (signature.op == GRAD).then(|| b.widened("wide_dloss", "dloss"));
    match (signature.reduction, dloss) {
        (Reduction::Mean, dloss) => {
            let dloss = dloss.unwrap_or_else(|| b.number("one", 1.0));
            Some(rows.mean(b, "scale", "scale_quotient", dloss))
        }
        (Reduction::Sum, dloss) => dloss,
        (Reduction::None, None) => None,
        (Reduction::None, Some(dloss)) => {
            let labels_shape = b.apply("labels_shape", "Shape", &["labels"]);
            let each = b.apply("row_dloss", "Expand", &[dloss, labels_shape]);
            b.explain("ONNX Runtime Training seeds a loss per row with a scalar");
            Some(b.unsqueeze("scale", each))
        }
    }
}

fn scaled(b: &mut Body, output: &'static str, value: &'static str, by: Option<&'static str>) -> &'static str {
    by.map_or(value, |by| b.apply(output, "Mul", &[value, by]))
}

/// −g at the label, g·softmax over the others elsewhere; g = f′(m)·weight·scale.
fn label_gradient(b: &mut Body, rows: &Rows, curve: &Curve, scale: Option<&'static str>) -> &'static str {
    let weighted = match rows.class_weights.and(rows.weight) {
        None => curve.slope,
        Some(weight) => b.apply("weighted_slope", "Mul", &[curve.slope, weight]),
    };
    let g = scaled(b, "g", weighted, scale);
    let shares = b.apply("others_softmax", "Div", &[rows.others, rows.others_sum]);
    let push = b.apply("push", "Mul", &[g, shares]);
    let pull = b.apply("pull", "Neg", &[g]);
    b.along_classes("gradient", "ScatterElements", &[push, rows.label, pull])
}

/// With g_j = c_j·f′(m_j)·scale, c_j = ε·w_j/C + (1 − ε)·w_y at the label:
/// dz_k = −g_k + Σ_{j≠k} g_j·exp(z_k)/Σ_{i≠j} exp(z_i).
fn smoothed_gradient(
    b: &mut Body,
    rows: &Rows,
    curve: &Curve,
    scale: Option<&'static str>,
    smoothing: &Smoothing,
) -> &'static str {
    let (epsilon, label_share) = smoothing_parts(b);
    let weighted = match rows.class_weights {
        None => curve.slope,
        Some(w) => {
            let row = class_weights_along_axis(b, w);
            b.apply("weighted_slope", "Mul", &[curve.slope, row])
        }
    };
    let weighted = scaled(b, "scaled_slope", weighted, scale);
    let count = b.computed("classes", "class_count");
    let class_share = b.apply("class_share", "Div", &[epsilon, count]);
    let even = b.apply("even_g", "Mul", &[weighted, class_share]);
    let label_slope = rows.at_label(b, "label_slope", weighted);
    let label_even = rows.at_label(b, "label_even_g", even);
    let label_extra = b.apply("label_extra_g", "Mul", &[label_slope, label_share]);
    let label_g = b.apply("label_g", "Add", &[label_even, label_extra]);
    let g = b.along_classes("g", "ScatterElements", &[even, rows.label, label_g]);

    let top = rows.left_out;
    let zero = b.number("zero", 0.0);
    let top_zero = b.apply("top_zero", "Expand", &[zero, "row_shape"]);
    let rough_rate = b.apply("rough_rate", "Div", &[g, smoothing.sum_of_others]);
    let rate = b.along_classes("rate", "ScatterElements", &[rough_rate, top, top_zero]);
    b.explain("g_j / sum over i != j of exp(z_i - top), without the largest class, which comes by itself below");
    let rate_sum = b.reduce("rate_sum", "ReduceSum", rate, Over::Classes);
    let rate_of_others = b.apply("rate_of_others", "Sub", &[rate_sum, rate]);
    let push = b.apply("push", "Mul", &[smoothing.exponentials, rate_of_others]);
    let top_g = b.along_classes("top_g", "GatherElements", &[g, top]);
    let shares = b.apply("others_softmax", "Div", &[rows.others, rows.others_sum]);
    let top_push = b.apply("top_push", "Mul", &[top_g, shares]);
    let pushes = b.apply("pushes", "Add", &[push, top_push]);
    b.apply("gradient", "Sub", &[pushes, g])
}
