//! Which loss of the family, if any, some numbers are.
//!
//! A rule that has run a piece of graph on probe logits and labels asks here what it computed. All candidates are
//! tried with the numbers that stand in the graph as constants (log_end, weights, smoothing …), in f64.

use std::cell::OnceCell;

use crate::loss::{Bonus, EncouragingLoss, MarginLoss, Reduction};

/// Constants in a graph are f32, and authors clamp at 1e-12 or so; probes stay where that does not show.
const TOLERANCE: f64 = 2e-5;
/// Scales that a loss may be multiplied with.
const SCALES: std::ops::RangeInclusive<f64> = 1e-6..=1e6;
/// Numbers that must agree before a scale read off the first of them is believed.
const MIN_SCALED: usize = 4;
/// Focal losses below this are hardly any; a clamp's 1e-5 is no gamma.
const MIN_GAMMA: f64 = 0.05;

/// Logits and labels that a piece of graph was run on.
#[derive(Clone, Debug)]
pub(super) struct Probe {
    pub classes: usize,
    /// rows × classes.
    pub logits: Vec<f64>,
    /// One per row.
    labels: Vec<i64>,
    /// Soft margin losses of the rows, NaN for a label that is no class.
    margins: OnceCell<Vec<f64>>,
}

/// Numbers that stand in the piece of graph.
#[derive(Clone, Debug, Default)]
pub(super) struct Clues {
    /// Scalar floats.
    pub numbers: Vec<f64>,
    /// Vectors as long as there are classes, by value name.
    pub weights: Vec<(String, Vec<f64>)>,
    /// How far the constants are from what was meant, where they are in half precision; 0 for f32.
    pub rounding: f64,
}

/// What the numbers are.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Fit {
    pub parameters: EncouragingLoss,
    pub encouraging: bool,
    pub class_weights: Option<String>,
    /// What the loss is multiplied with; 1 unless found by [`fit_scaled`].
    pub scale: f64,
}

impl Fit {
    fn weights<'c>(&self, clues: &'c Clues) -> Option<&'c [f64]> {
        let name = self.class_weights.as_ref()?;
        clues.weights.iter().find(|(known, _)| known == name).map(|(_, weights)| weights.as_slice())
    }
}

impl Probe {
    /// `rows` rows whose label has probabilities from 0.0025 to 0.99, below and above every usual `log_end` and far
    /// enough out that a loss cut off at some value shows.
    ///
    /// `avoid` are labels that may mean something else (an ignore_index).
    pub fn new(rows: usize, classes: usize, avoid: &[i64], seed: u64) -> Self {
        let mut random = SplitMix(seed);
        let allowed: Vec<i64> = (0..classes as i64).filter(|c| !avoid.contains(c)).collect();
        let mut probe = Probe {
            classes,
            logits: Vec::with_capacity(rows * classes),
            labels: Vec::with_capacity(rows),
            margins: OnceCell::new(),
        };
        for row in 0..rows {
            let label =
                if allowed.is_empty() { random.below(classes) as i64 } else { allowed[random.below(allowed.len())] };
            let start = probe.logits.len();
            probe.logits.extend((0..classes).map(|_| random.unit() * 2.0 - 1.0));
            // put the label's probability where it tells the losses apart
            let log_odds = if rows == 1 {
                -6.0 + 10.5 * random.unit()
            } else {
                -6.0 + 10.5 * ((row as f64 + 0.15 + 0.7 * random.unit()) / rows as f64)
            };
            let others = log_sum_exp(
                probe.logits[start..].iter().enumerate().filter(|(j, _)| *j as i64 != label).map(|(_, z)| *z),
            );
            probe.logits[start + label as usize] = others + log_odds;
            probe.labels.push(label);
        }
        probe
    }

    /// Gives the rows other labels; each row's logits are swapped so that the label keeps its probability.
    pub fn relabel(&mut self, labels: &[i64]) {
        for (r, new) in labels.iter().enumerate() {
            let old = self.labels[r];
            if (0..self.classes as i64).contains(new) {
                self.logits.swap(r * self.classes + old as usize, r * self.classes + *new as usize);
            }
            self.labels[r] = *new;
        }
        self.margins = OnceCell::new();
    }

    /// One per row.
    pub fn labels(&self) -> &[i64] {
        &self.labels
    }

    /// The same logits with other labels.
    pub fn with_labels(&self, labels: Vec<i64>) -> Self {
        Probe { labels, margins: OnceCell::new(), ..self.clone() }
    }

    /// The same labels at the same probabilities, the other classes' logits changed about.
    pub fn with_others_turned(&self) -> Self {
        let mut turned = Probe { margins: OnceCell::new(), ..self.clone() };
        for (r, label) in self.labels.iter().enumerate() {
            let others: Vec<usize> =
                (0..self.classes).filter(|c| *c as i64 != *label).map(|c| r * self.classes + c).collect();
            for (to, from) in others.iter().zip(others.iter().cycle().skip(1)) {
                turned.logits[*to] = self.logits[*from];
            }
        }
        turned
    }

    /// The same labels with probabilities near 0 and 1, where a loss that is cut off shows. Not so near that it shows
    /// where authors keep logarithms finite.
    pub fn stretched(&self) -> Self {
        let mut probe = Probe { margins: OnceCell::new(), ..self.clone() };
        for (r, label) in self.labels.iter().enumerate() {
            let Some(label) = usize::try_from(*label).ok().filter(|l| *l < self.classes) else { continue };
            let p: f64 = if r % 2 == 0 { 3e-4 } else { 0.998 };
            probe.logits[r * self.classes + label] += self.margin_loss(r) + (p / (1.0 - p)).ln();
        }
        probe
    }

    fn rows(&self) -> usize {
        self.labels.len()
    }

    fn row(&self, r: usize) -> &[f64] {
        &self.logits[r * self.classes..(r + 1) * self.classes]
    }

    /// Soft margin losses of row `r` as if each class were its label; no class has all the probability, so the
    /// difference does not cancel.
    fn margin_losses(&self, r: usize) -> impl Iterator<Item = f64> + '_ {
        let row = self.row(r);
        let largest = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = row.iter().map(|z| (z - largest).exp()).sum();
        row.iter().map(move |z| largest + (sum - (z - largest).exp()).ln() - z)
    }

    /// Soft margin loss of row `r`.
    fn margin_loss(&self, r: usize) -> f64 {
        let margins = self.margins.get_or_init(|| (0..self.rows()).map(|r| self.compute_margin_loss(r)).collect());
        margins[r]
    }

    fn compute_margin_loss(&self, r: usize) -> f64 {
        let row = self.row(r);
        let Some(label) = usize::try_from(self.labels[r]).ok().filter(|l| *l < self.classes) else { return f64::NAN };
        log_sum_exp(row.iter().enumerate().filter(|(j, _)| *j != label).map(|(_, z)| *z)) - row[label]
    }
}

/// The member of the family that gives `observed` for every probe, `None` if none does.
///
/// `ignore_index` is taken as given.
pub(super) fn fit(observations: &[(&Probe, &[f64])], clues: &Clues, ignore_index: Option<i64>) -> Option<Fit> {
    search(observations, clues, ignore_index, |candidate, weights| {
        observations.iter().all(|(probe, seen)| agrees(candidate, weights, probe, seen, clues, 1.0)).then_some(1.0)
    })
}

/// As [`fit`], for a member times any constant: gathered log-probabilities are the loss times −1, a mean over the
/// classes too is the loss divided by their number.
pub(super) fn fit_scaled(observations: &[(&Probe, &[f64])], clues: &Clues) -> Option<Fit> {
    if observations.iter().map(|(_, seen)| seen.len()).sum::<usize>() < MIN_SCALED {
        return None;
    }
    search(observations, clues, None, |candidate, weights| {
        let (probe, seen) = observations.first()?;
        let expected = losses(candidate, weights, probe);
        let at = (0..expected.len()).max_by(|a, b| expected[*a].abs().total_cmp(&expected[*b].abs()))?;
        let scale = tidy(seen.get(at)? / expected[at]);
        let fits = SCALES.contains(&scale.abs())
            && observations.iter().all(|(probe, seen)| agrees(candidate, weights, probe, seen, clues, scale));
        fits.then_some(scale)
    })
}

/// A scale is a constant of the graph, so it has at most the digits of an f32.
fn tidy(scale: f64) -> f64 {
    let rounded = (scale * 1e4).round() / 1e4;
    if (rounded - scale).abs() <= 1e-6 * scale.abs() { rounded } else { scale }
}

/// Tries every candidate that the clues suggest; `test` gives the scale of one that fits.
fn search(
    observations: &[(&Probe, &[f64])],
    clues: &Clues,
    ignore_index: Option<i64>,
    test: impl Fn(&EncouragingLoss, Option<&[f64]>) -> Option<f64>,
) -> Option<Fit> {
    let mut weightings: Vec<Option<&(String, Vec<f64>)>> = vec![None];
    weightings.extend(clues.weights.iter().map(Some));
    let members = members(clues);
    for smoothing in smoothings(clues, observations.first()?.0.classes) {
        for weights in &weightings {
            for (member, encouraging) in &members {
                let Ok(base) = member.to_builder().label_smoothing(smoothing).ignore_index(ignore_index).build() else {
                    continue;
                };
                for reduction in reductions(observations) {
                    let Ok(candidate) = base.to_builder().reduction(reduction).build() else { continue };
                    if let Some(scale) = test(&candidate, weights.map(|w| w.1.as_slice())) {
                        return Some(Fit {
                            parameters: candidate,
                            encouraging: *encouraging,
                            class_weights: weights.map(|w| w.0.clone()),
                            scale,
                        });
                    }
                }
            }
        }
    }
    None
}

/// Whether `seen` is just this member, rows labelled `ignore_index` left out.
pub(super) fn is(fit: &Fit, clues: &Clues, probe: &Probe, seen: &[f64], ignore_index: Option<i64>) -> bool {
    let Ok(loss) = fit.parameters.to_builder().ignore_index(ignore_index).build() else { return false };
    agrees(&loss, fit.weights(clues), probe, seen, clues, fit.scale)
}

/// The same for a stretched probe: an epsilon in a logarithm may show, a cut may not.
pub(super) fn is_about(fit: &Fit, clues: &Clues, probe: &Probe, seen: &[f64]) -> bool {
    let expected = losses(&fit.parameters, fit.weights(clues), probe);
    let tolerance = (0.02 + clues.rounding) * fit.scale.abs();
    expected.len() == seen.len()
        && expected.iter().zip(seen).all(|(e, s)| (e * fit.scale - s).abs() <= tolerance * (1.0 + e.abs()))
}

/// A name for numbers that are no member of the family, as far as one is known.
pub(super) fn name_other(observations: &[(&Probe, &[f64])], clues: &Clues) -> Option<String> {
    let mut exponents = vec![2.0, 1.0, 0.5, 1.5, 3.0, 4.0, 5.0];
    exponents.extend(clues.numbers.iter().copied().filter(|g| *g > MIN_GAMMA && *g <= 10.0));
    let plain = |probe: &Probe| probe.labels.iter().all(|l| (0..probe.classes as i64).contains(l));
    let zero = observations.iter().any(|(_, seen)| seen.iter().all(|s| *s == 0.0));
    if zero || !observations.iter().all(|(probe, _)| plain(probe)) {
        return None;
    }
    exponents.into_iter().find_map(|gamma| {
        let mut scale: Option<f64> = None;
        let fits = observations.iter().all(|(probe, seen)| {
            let focal: Vec<f64> = (0..probe.rows())
                .map(|r| {
                    let p = 1.0 / (1.0 + probe.margin_loss(r).exp());
                    -(1.0 - p).powf(gamma) * p.ln()
                })
                .collect();
            let expected =
                if seen.len() == focal.len() { focal } else { vec![focal.iter().sum::<f64>() / focal.len() as f64] };
            expected.len() == seen.len()
                && expected.iter().zip(*seen).all(|(e, s)| {
                    let ratio = s / e;
                    let first = *scale.get_or_insert(ratio);
                    first != 0.0 && (ratio - first).abs() <= 1e-4 * first.abs()
                })
        });
        // a scale of the row count is a sum; both are focal losses
        fits.then(|| format!("focal loss (gamma {gamma})"))
    })
}

/// A member of the family in words.
pub(crate) fn words(parameters: &EncouragingLoss) -> String {
    let mut text = if parameters.bonus_weight() == 0.0 {
        "cross entropy".to_owned()
    } else {
        let bonus = match parameters.bonus() {
            Bonus::Log => format!("log_end {}", parameters.log_end()),
            Bonus::Power => format!("power bonus {}", parameters.power()),
            Bonus::Cosine => "cosine bonus".to_owned(),
        };
        if parameters.bonus_weight() == 1.0 {
            format!("encouraging loss ({bonus})")
        } else {
            format!("encouraging loss ({bonus}, bonus weight {})", parameters.bonus_weight())
        }
    };
    if parameters.label_smoothing() > 0.0 {
        text.push_str(&format!(" with label smoothing {}", parameters.label_smoothing()));
    }
    text
}

/// Cross entropy first, then the encouraging losses that the constants suggest.
fn members(clues: &Clues) -> Vec<(EncouragingLoss, bool)> {
    let mut members = vec![(EncouragingLoss::cross_entropy(), false)];
    let mut bonus_weights: Vec<f32> = vec![1.0];
    bonus_weights.extend(clues.numbers.iter().filter(|w| **w > 0.0 && **w != 1.0 && **w <= 100.0).map(|w| *w as f32));
    for bonus_weight in bonus_weights {
        let mut push = |builder: crate::loss::EncouragingLossBuilder| {
            if let Ok(member) = builder.bonus_weight(bonus_weight).build() {
                members.push((member, true));
            }
        };
        let mut ends = vec![1.0f32];
        if clues.rounding > 0.0 {
            // 0.9 in half precision is 0.8999
            ends.extend(clues.numbers.iter().map(|e| ((e * 100.0).round() / 100.0) as f32));
        }
        ends.extend(clues.numbers.iter().map(|e| *e as f32));
        ends.extend(clues.numbers.iter().map(|e| 1.0 - *e as f32));
        for end in ends.into_iter().filter(|e| *e > 1e-3 && *e <= 1.0) {
            push(EncouragingLoss::builder().log_end(end));
        }
        let mut powers = vec![2.0f32, 1.0];
        powers.extend(clues.numbers.iter().map(|p| *p as f32).filter(|p| *p > 0.0 && *p <= 16.0));
        for power in powers {
            push(EncouragingLoss::builder().bonus(Bonus::Power).power(power));
        }
        push(EncouragingLoss::builder().bonus(Bonus::Cosine));
    }
    members
}

/// ε as it can be read off the constants: itself, 1−ε, or ε/C.
fn smoothings(clues: &Clues, classes: usize) -> Vec<f32> {
    let mut found = vec![0.0f32];
    for number in &clues.numbers {
        for smoothing in [*number, 1.0 - number, number * classes as f64] {
            if smoothing > 1e-4 && smoothing < 0.9 {
                // constants are sums and differences of f32: 1 − 0.9f32 means 0.1
                let rounded = ((smoothing * 1e6).round() / 1e6) as f32;
                if !found.contains(&rounded) {
                    found.push(rounded);
                }
            }
        }
    }
    found
}

fn reductions(observations: &[(&Probe, &[f64])]) -> Vec<Reduction> {
    let per_row = observations.iter().all(|(probe, seen)| seen.len() == probe.rows() && probe.rows() > 1);
    if per_row { vec![Reduction::None] } else { vec![Reduction::Mean, Reduction::Sum] }
}

fn agrees(
    loss: &EncouragingLoss,
    weights: Option<&[f64]>,
    probe: &Probe,
    seen: &[f64],
    clues: &Clues,
    scale: f64,
) -> bool {
    let expected = losses(loss, weights, probe);
    let tolerance = TOLERANCE.max(clues.rounding) * scale.abs();
    expected.len() == seen.len()
        && expected.iter().zip(seen).all(|(e, s)| (e * scale - s).abs() <= tolerance * (1.0 + e.abs()))
}

/// The loss of the probe by its definition (design: f(m), PyTorch's conventions for weights and smoothing).
fn losses(loss: &EncouragingLoss, weights: Option<&[f64]>, probe: &Probe) -> Vec<f64> {
    let f = MarginLoss::<f64>::new(loss);
    let weight = |class: usize| weights.map_or(1.0, |w| w.get(class).copied().unwrap_or(f64::NAN));
    let smoothing = f64::from(loss.label_smoothing());
    let mut rows = Vec::with_capacity(probe.rows());
    let mut total_weight = 0.0;
    for r in 0..probe.rows() {
        if loss.ignore_index() == Some(probe.labels[r]) {
            rows.push(0.0);
            continue;
        }
        let label = usize::try_from(probe.labels[r]).unwrap_or(usize::MAX);
        let mut row = (1.0 - smoothing) * weight(label) * f.value(probe.margin_loss(r));
        if smoothing > 0.0 {
            let all: f64 = probe.margin_losses(r).enumerate().map(|(j, m)| weight(j) * f.value(m)).sum();
            row += smoothing / probe.classes as f64 * all;
        }
        total_weight += weight(label);
        rows.push(row);
    }
    match loss.reduction() {
        Reduction::None => rows,
        Reduction::Sum => vec![rows.iter().sum()],
        Reduction::Mean => vec![rows.iter().sum::<f64>() / total_weight],
    }
}

fn log_sum_exp(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let largest = values.clone().fold(f64::NEG_INFINITY, f64::max);
    largest + values.map(|z| (z - largest).exp()).sum::<f64>().ln()
}

/// SplitMix64 (Steele, Lea, Flood 2014): the probes must be the same in every run.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    fn below(&mut self, n: usize) -> usize {
        (self.unit() * n as f64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn observe(loss: &EncouragingLoss, weights: Option<&[f64]>) -> Vec<(Probe, Vec<f64>)> {
        (1..3)
            .map(|seed| {
                let probe = Probe::new(6, 5, &[], seed);
                let seen = losses(loss, weights, &probe);
                (probe, seen)
            })
            .collect()
    }

    fn fitted(seen: &[(Probe, Vec<f64>)], clues: &Clues) -> Option<Fit> {
        let views: Vec<(&Probe, &[f64])> = seen.iter().map(|(p, s)| (p, s.as_slice())).collect();
        fit(&views, clues, None)
    }

    #[test]
    fn probes_have_the_probabilities_that_tell_losses_apart() {
        let probe = Probe::new(8, 10, &[3], 7);
        let p: Vec<f64> = (0..8).map(|r| 1.0 / (1.0 + probe.margin_loss(r).exp())).collect();
        assert!(p.iter().any(|p| *p < 0.3) && p.iter().any(|p| *p > 0.8), "{p:?}");
        assert!(!probe.labels.contains(&3));
    }

    #[test]
    fn log_end_is_read_off_the_constants() {
        let loss = EncouragingLoss::builder().log_end(0.6).reduction(Reduction::Mean).build().unwrap();
        let clues =
            Clues { numbers: vec![1.0, 1e-5, f64::from(0.6f32), f64::from(0.4f32)], weights: vec![], rounding: 0.0 };
        let fit = fitted(&observe(&loss, None), &clues).unwrap();
        assert!((fit.parameters.log_end() - 0.6).abs() < 1e-6 && fit.encouraging);
    }

    #[test]
    fn weights_and_smoothing_are_found_together() {
        let w = [0.5, 1.0, 2.0, 1.5, 0.25];
        let loss = EncouragingLoss::cross_entropy().to_builder().label_smoothing(0.1).build().unwrap();
        let clues = Clues {
            numbers: vec![f64::from(0.9f32), f64::from(0.02f32)],
            weights: vec![("w".into(), w.to_vec())],
            rounding: 0.0,
        };
        let fit = fitted(&observe(&loss, Some(&w)), &clues).unwrap();
        assert_eq!(fit.class_weights.as_deref(), Some("w"));
        assert_eq!(fit.parameters.label_smoothing(), 0.1);
    }

    #[test]
    fn focal_loss_is_no_member_but_has_a_name() {
        let probe = Probe::new(6, 5, &[], 1);
        let seen: Vec<f64> = (0..6)
            .map(|r| {
                let p: f64 = 1.0 / (1.0 + probe.margin_loss(r).exp());
                -0.25 * (1.0 - p).powi(2) * p.ln()
            })
            .collect();
        let views = [(&probe, seen.as_slice())];
        let clues = Clues { numbers: vec![1.0, 2.0, 0.25], weights: vec![], rounding: 0.0 };
        assert_eq!(fit(&views, &clues, None), None);
        assert_eq!(name_other(&views, &clues).as_deref(), Some("focal loss (gamma 2)"));
    }
}
