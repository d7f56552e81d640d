//! The scores as formulas, and as nodes.
//!
//! All follow from the two largest logits z₁ ≥ z₂ and one sum over the others, so that nothing overflows or cancels:
//! with w_j = exp(−max(0, z₂ − z_j)/T), the others together weigh W = Σ w_j − 1 ≥ 1 (the largest counts 1 in Σ), the gap
//! is g = (z₁ − z₂)/T, the odds against the prediction are o = W·exp(−g), and
//!
//! p₁ = 1/(1 + o), T·logsumexp(z/T) = z₁ + T·log(1 + o), soft margin = g − log W.

use crate::rewrite::RewriteError;

use super::builder::Builder;
use super::calibration::Calibration;
use super::shaping;
use super::{GraphScore, Logits};

/// γ of GEN.
const GAMMA: f64 = 0.1;
/// How many classes GEN sums over, at most.
const GEN_CLASSES: usize = 100;
/// exp(−r) is 0 in every type from here on.
const FAR: f64 = 1e4;

/// A score with its numbers.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Formula {
    Prediction,
    Probability { temperature: f64 },
    Margin,
    SoftMargin,
    Energy { temperature: f64 },
    MaxLogit,
    Msp { temperature: f64 },
    Entropy { temperature: f64 },
    Gen { temperature: f64, classes: usize },
    React { temperature: f64, clip: f64 },
    Shaped { temperature: f64, percentile: f64, prune: bool },
    InDistribution { score: Box<Formula>, name: &'static str, threshold: f64, per_class: Option<Vec<f64>> },
}

impl Formula {
    pub(super) fn of(
        score: GraphScore,
        logits: &Logits,
        temperature: f64,
        calibration: Option<&Calibration>,
    ) -> Result<Self, RewriteError> {
        let parameter = |name: &str| calibration?.fit(score.as_str())?.parameters.get(name).copied();
        Ok(match score {
            GraphScore::Prediction => Self::Prediction,
            GraphScore::Probability => Self::Probability { temperature },
            GraphScore::Margin => Self::Margin,
            GraphScore::SoftMargin => Self::SoftMargin,
            GraphScore::Energy => Self::Energy { temperature },
            GraphScore::MaxLogit => Self::MaxLogit,
            GraphScore::Msp => Self::Msp { temperature },
            GraphScore::Entropy => Self::Entropy { temperature },
            GraphScore::Gen => match logits.chosen.classes {
                Some(classes) => Self::Gen { temperature, classes: classes.min(GEN_CLASSES) },
                None => {
                    return Err(RewriteError::NoGraphScore {
                        score: score.as_str(),
                        reason: "it sums over the largest classes, and the file does not tell how many there are; \
                                 entropy is close to it"
                            .into(),
                    });
                }
            },
            GraphScore::React => match parameter("clip") {
                Some(clip) => Self::React { temperature, clip },
                None => {
                    return Err(RewriteError::NotCalibrated {
                        score: score.as_str(),
                        reason: "its calibration has no fit for it; run elonnx calibrate with --scores react".into(),
                    });
                }
            },
            GraphScore::AshS => {
                let percentile = parameter("percentile").unwrap_or(shaping::ASH_PERCENTILE);
                Self::Shaped { temperature, percentile, prune: true }
            }
            GraphScore::Scale => {
                let percentile = parameter("percentile").unwrap_or(shaping::SCALE_PERCENTILE);
                Self::Shaped { temperature, percentile, prune: false }
            }
            GraphScore::InDistribution => return decision(logits, temperature, calibration),
        })
    }

    /// With the numbers it has.
    pub(super) fn text(&self) -> String {
        let energy = |of: &str, temperature: &f64| match temperature {
            1.0 => format!("−logsumexp({of})"),
            t => format!("−T·logsumexp({of}/T), T = {t}"),
        };
        let softmax = |of: &str, temperature: &f64| match temperature {
            1.0 => format!("{of}, p = softmax(z)"),
            t => format!("{of}, p = softmax(z/T), T = {t}"),
        };
        match self {
            Self::Prediction => "the class of the largest z".into(),
            Self::Probability { temperature } => softmax("max p", temperature),
            Self::Margin => "−(z₁ − z₂), the two largest z".into(),
            Self::SoftMargin => "−(z₁ − logsumexp of the other z)".into(),
            Self::Energy { temperature } => energy("z", temperature),
            Self::MaxLogit => "−max z".into(),
            Self::Msp { temperature } => softmax("−max p", temperature),
            Self::Entropy { temperature } => softmax("−Σ p·log p", temperature),
            Self::Gen { temperature, classes } => {
                softmax(&format!("Σ (p(1 − p))^{GAMMA} over the {classes} largest p"), temperature)
            }
            Self::React { temperature, clip } => {
                format!("{} of the feature clipped at {clip} (ReAct)", energy("z", temperature))
            }
            Self::Shaped { temperature, percentile, prune } => {
                let name = if *prune { "ASH-S" } else { "SCALE" };
                format!("{} of the feature shaped by {name} at {percentile} %", energy("z", temperature))
            }
            Self::InDistribution { score, name, threshold, per_class } => match per_class {
                None => format!("whether {name} is at most {threshold}; {name} is {}", score.text()),
                Some(all) => {
                    let least = all.iter().copied().fold(f64::INFINITY, f64::min);
                    let most = all.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                    let count = all.len();
                    format!(
                        "whether {name} is at most the threshold of the predicted class ({count}, from {least} to {most}); \
                         {name} is {}",
                        score.text()
                    )
                }
            },
        }
    }

    /// Writes it as the output of `score`; the output's name.
    pub(super) fn write(&self, b: &mut Builder, score: GraphScore, text: &str) -> Result<String, RewriteError> {
        let axis = b.axis();
        let labels = [score.as_str(), text];
        let logits = b.logits.chosen.value.clone();
        let z = b.rows(&logits);
        match self {
            Self::Prediction => {
                let output = b.output(score.as_str());
                b.finish(&output, labels, "ArgMax", &[&z], |node| node.int("axis", axis).int("keepdims", 0));
                Ok(output)
            }
            Self::InDistribution { score: of, threshold, per_class, .. } => {
                let value = of.value(b, score)?;
                let value = squeezed(b, &value);
                let bound = match per_class {
                    None => {
                        let bound = just_above(b, *threshold);
                        b.number(bound)
                    }
                    Some(all) => {
                        let bounds: Vec<f64> = all.iter().map(|&threshold| just_above(b, threshold)).collect();
                        let bounds = b.numbers(&bounds);
                        let class = b.node("class", "ArgMax", &[&z], |n| n.int("axis", axis).int("keepdims", 0));
                        b.node("threshold", "Gather", &[&bounds, &class], |node| node.int("axis", 0))
                    }
                };
                let output = b.output(score.as_str());
                b.finish(&output, labels, "Less", &[&value, &bound], |node| node);
                Ok(output)
            }
            _ => {
                let value = self.value(b, score)?;
                let output = b.output(score.as_str());
                if b.opset() >= 13 {
                    let axes = b.integers(&[axis]);
                    b.finish(&output, labels, "Squeeze", &[&value, &axes], |node| node);
                } else {
                    b.finish(&output, labels, "Squeeze", &[&value], |node| node.ints("axes", &[axis]));
                }
                Ok(output)
            }
        }
    }

    /// Its value, the class axis kept with size 1.
    fn value(&self, b: &mut Builder, score: GraphScore) -> Result<String, RewriteError> {
        let logits = b.logits.chosen.value.clone();
        let z = b.rows(&logits);
        let row = |temperature: f64| Row { z: z.clone(), temperature };
        Ok(match self {
            Self::Probability { temperature } => row(*temperature).probability(b),
            Self::Msp { temperature } => {
                let p = row(*temperature).probability(b);
                b.op("msp", "Neg", &[&p])
            }
            Self::Margin => {
                let row = row(1.0);
                let (first, second) = (row.first(b), row.second(b));
                b.op("margin", "Sub", &[&second, &first])
            }
            Self::SoftMargin => {
                let row = row(1.0);
                let (others, gap) = (row.others(b), row.gap(b));
                let log = b.op("log_others", "Log", &[&others]);
                b.op("soft_margin", "Sub", &[&log, &gap])
            }
            Self::Energy { temperature } => row(*temperature).energy(b),
            Self::MaxLogit => {
                let first = row(1.0).first(b);
                b.op("max_logit", "Neg", &[&first])
            }
            Self::Entropy { temperature } => row(*temperature).entropy(b),
            Self::Gen { temperature, classes } => row(*temperature).gen_score(b, *classes),
            Self::React { temperature, clip } => {
                let z = shaping::clipped(b, score, *clip)?;
                Row { z, temperature: *temperature }.energy(b)
            }
            Self::Shaped { temperature, percentile, prune } => {
                let z = shaping::shaped(b, score, *percentile, *prune)?;
                Row { z, temperature: *temperature }.energy(b)
            }
            Self::Prediction | Self::InDistribution { .. } => z,
        })
    }
}

/// The calibrated decision.
fn decision(logits: &Logits, temperature: f64, calibration: Option<&Calibration>) -> Result<Formula, RewriteError> {
    let asked = GraphScore::InDistribution.as_str();
    let refuse = |reason: String| Err(RewriteError::NotCalibrated { score: asked, reason });
    let Some(calibration) = calibration else {
        return refuse("it holds no calibration; run elonnx calibrate on it first".into());
    };
    let name = calibration.decision();
    let score = match name.parse::<GraphScore>() {
        Ok(score)
            if !matches!(score, GraphScore::Prediction | GraphScore::Probability | GraphScore::InDistribution) =>
        {
            score
        }
        _ => {
            return Err(RewriteError::NoGraphScore {
                score: asked,
                reason: format!(
                    "its calibration decides by {name}, which a graph cannot give; calibrate it with another decision, \
                     such as energy"
                ),
            });
        }
    };
    let Some(fit) = calibration.fit(name) else {
        return refuse(format!("its calibration decides by {name} and has no threshold for it; calibrate it again"));
    };
    if !fit.threshold.is_finite() {
        return refuse(format!("its threshold is {}; calibrate it again", fit.threshold));
    }
    let per_class = match &fit.per_class {
        None => None,
        Some(all) if all.len() == calibration.classes() => {
            Some(all.iter().map(|threshold| threshold.unwrap_or(fit.threshold)).collect())
        }
        Some(all) => {
            return refuse(format!(
                "it has thresholds for {} classes, but {} classes; calibrate it again",
                all.len(),
                calibration.classes()
            ));
        }
    };
    let of = Formula::of(score, logits, temperature, Some(calibration))?;
    Ok(Formula::InDistribution { score: Box::new(of), name: score.as_str(), threshold: fit.threshold, per_class })
}

/// The number that a score is below exactly where it is at most `threshold`, in the type scores are computed in.
fn just_above(b: &Builder, threshold: f64) -> f64 {
    if b.logits.float_type() == crate::model::DataType::Double {
        return threshold.next_up();
    }
    #[expect(clippy::cast_possible_truncation, reason = "rounded down right after")]
    let mut bound = threshold as f32;
    if f64::from(bound) > threshold {
        bound = bound.next_down();
    }
    f64::from(bound.next_up())
}

fn squeezed(b: &mut Builder, value: &str) -> String {
    let axis = b.axis();
    if b.opset() >= 13 {
        let axes = b.integers(&[axis]);
        return b.op("row", "Squeeze", &[value, &axes]);
    }
    b.node("row", "Squeeze", &[value], |node| node.ints("axes", &[axis]))
}

/// What a row of logits says at one temperature; the class axis is kept with size 1.
struct Row {
    z: String,
    temperature: f64,
}

impl Row {
    fn once(&self, b: &mut Builder, what: &str, make: impl FnOnce(&mut Builder) -> String) -> String {
        b.once(format!("{what} {} {}", self.z, self.temperature), make)
    }

    /// `value`/T.
    fn cooled(&self, b: &mut Builder, what: &str, value: String) -> String {
        #[expect(clippy::float_cmp, reason = "exactly 1 changes nothing")]
        if self.temperature == 1.0 {
            return value;
        }
        let temperature = b.number(self.temperature);
        b.op(what, "Div", &[&value, &temperature])
    }

    fn top(&self, b: &mut Builder, name: &str, at: usize) -> String {
        let axis = b.axis();
        let both = b.top("two_largest", &self.z, 2, axis);
        b.once(format!("{name} of {}", self.z), |b| b.range(name, &both, [at, at + 1], axis))
    }

    /// z₁
    fn first(&self, b: &mut Builder) -> String {
        self.top(b, "first", 0)
    }

    /// z₂
    fn second(&self, b: &mut Builder) -> String {
        self.top(b, "second", 1)
    }

    /// max(0, z₂ − z_j)/T
    fn below(&self, b: &mut Builder) -> String {
        self.once(b, "below", |b| {
            let second = self.second(b);
            let below = b.op("below_second", "Sub", &[&second, &self.z]);
            let below = b.op("distance", "Relu", &[&below]);
            self.cooled(b, "distance_cooled", below)
        })
    }

    /// w_j
    fn weights(&self, b: &mut Builder) -> String {
        self.once(b, "weights", |b| {
            let below = self.below(b);
            let negated = b.op("exponent", "Neg", &[&below]);
            b.op("weights", "Exp", &[&negated])
        })
    }

    /// W
    fn others(&self, b: &mut Builder) -> String {
        self.once(b, "others", |b| {
            let (weights, axis) = (self.weights(b), b.axis());
            let all = b.reduce("all_weights", "ReduceSum", &weights, axis);
            let one = b.number(1.0);
            b.op("others", "Sub", &[&all, &one])
        })
    }

    /// g
    fn gap(&self, b: &mut Builder) -> String {
        self.once(b, "gap", |b| {
            let (first, second) = (self.first(b), self.second(b));
            let gap = b.op("gap", "Sub", &[&first, &second]);
            self.cooled(b, "gap_cooled", gap)
        })
    }

    /// exp(−g)
    fn second_odds(&self, b: &mut Builder) -> String {
        self.once(b, "second_odds", |b| {
            let gap = self.gap(b);
            let negated = b.op("minus_gap", "Neg", &[&gap]);
            b.op("second_odds", "Exp", &[&negated])
        })
    }

    /// o
    fn odds(&self, b: &mut Builder) -> String {
        self.once(b, "odds", |b| {
            let (second, others) = (self.second_odds(b), self.others(b));
            b.op("odds", "Mul", &[&second, &others])
        })
    }

    /// 1 + o
    fn total(&self, b: &mut Builder) -> String {
        self.once(b, "total", |b| {
            let (odds, one) = (self.odds(b), b.number(1.0));
            b.op("total", "Add", &[&odds, &one])
        })
    }

    /// log(1 + o)
    fn log_total(&self, b: &mut Builder) -> String {
        self.once(b, "log_total", |b| {
            let total = self.total(b);
            b.op("log_total", "Log", &[&total])
        })
    }

    fn probability(&self, b: &mut Builder) -> String {
        self.once(b, "probability", |b| {
            let total = self.total(b);
            b.op("largest_probability", "Reciprocal", &[&total])
        })
    }

    fn energy(&self, b: &mut Builder) -> String {
        self.once(b, "energy", |b| {
            let (first, mut log) = (self.first(b), self.log_total(b));
            #[expect(clippy::float_cmp, reason = "exactly 1 changes nothing")]
            if self.temperature != 1.0 {
                let temperature = b.number(self.temperature);
                log = b.op("log_total_warmed", "Mul", &[&log, &temperature]);
            }
            let sum = b.op("log_sum_exp", "Add", &[&first, &log]);
            b.op("energy", "Neg", &[&sum])
        })
    }

    /// log(1 + o) + (g·o + exp(−g)·Σ w·r)/(1 + o), r the distances behind w.
    fn entropy(&self, b: &mut Builder) -> String {
        let (mut below, axis) = (self.below(b), b.axis());
        if b.opset() >= 8 {
            // a masked class (−inf) has no share: 0·inf would be none
            let far = b.number(FAR);
            below = b.op("distance_bounded", "Min", &[&below, &far]);
        }
        let weights = self.weights(b);
        let product = b.op("weighted_distance", "Mul", &[&weights, &below]);
        let weighted = b.reduce("weighted_distances", "ReduceSum", &product, axis);
        let second = self.second_odds(b);
        let from_others = b.op("entropy_of_others", "Mul", &[&second, &weighted]);
        let (gap, odds) = (self.gap(b), self.odds(b));
        let from_gap = b.op("entropy_of_gap", "Mul", &[&gap, &odds]);
        let sum = b.op("entropy_sum", "Add", &[&from_gap, &from_others]);
        let total = self.total(b);
        let share = b.op("entropy_share", "Div", &[&sum, &total]);
        let log = self.log_total(b);
        b.op("entropy", "Add", &[&log, &share])
    }

    /// exp(γ(log p + log(1 − p))), summed; of the largest, log(1 − p) is log o − log(1 + o).
    fn gen_score(&self, b: &mut Builder, classes: usize) -> String {
        let (log, axis, gamma) = (self.log_total(b), b.axis(), b.number(GAMMA));
        let term = |b: &mut Builder, p: &str, rest: &str| {
            let product = b.op("log_product", "Add", &[p, rest]);
            let power = b.op("log_power", "Mul", &[&product, &gamma]);
            b.op("power", "Exp", &[&power])
        };
        let (others, gap) = (self.others(b), self.gap(b));
        let log_others = b.op("log_others", "Log", &[&others]);
        let log_odds = b.op("log_odds", "Sub", &[&log_others, &gap]);
        let log_rest = b.op("log_rest", "Sub", &[&log_odds, &log]);
        let log_p = b.op("log_p", "Neg", &[&log]);
        let of_first = term(b, &log_p, &log_rest);

        let largest = b.top("largest", &self.z, classes, axis);
        let next = b.range("next_largest", &largest, [1, classes], axis);
        let first = self.first(b);
        let below = b.op("below_first", "Sub", &[&next, &first]);
        let below = self.cooled(b, "below_first_cooled", below);
        let log_p = b.op("log_p", "Sub", &[&below, &log]);
        let p = b.op("p", "Exp", &[&log_p]);
        let one = b.number(1.0);
        let rest = b.op("rest", "Sub", &[&one, &p]);
        let log_rest = b.op("log_rest", "Log", &[&rest]);
        let terms = term(b, &log_p, &log_rest);
        let of_next = b.reduce("power_sum", "ReduceSum", &terms, axis);
        b.op("gen", "Add", &[&of_first, &of_next])
    }
}
