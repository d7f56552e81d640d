//! Against f64, computed another way: relative to the largest logit, class by class.

use proptest::prelude::*;

use super::*;

/// Everything, from log p of every class.
struct Oracle {
    margin: f64,
    soft_margin: f64,
    log_sum_exp: f64,
    probability: f64,
    entropy: f64,
    gen_score: f64,
}

fn log_sum_exp(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let m = values.clone().fold(f64::NEG_INFINITY, f64::max);
    if m == f64::NEG_INFINITY {
        return m;
    }
    m + values.map(|v| (v - m).exp()).sum::<f64>().ln()
}

fn oracle(logits: &[f32], temperature: f64, most: usize) -> Oracle {
    let z: Vec<f64> = logits.iter().map(|&z| f64::from(z)).collect();
    let class = (0..z.len()).rev().max_by(|&a, &b| z[a].total_cmp(&z[b])).unwrap();
    // relative to the largest, and log p of that one by itself: else a small 1 − p is lost in f64, too
    let below = |j: usize| (z[j] - z[class]) / temperature;
    let but = |class: usize| (0..z.len()).filter(move |&j| j != class).map(below);
    let second = (0..z.len()).filter(|&j| j != class).map(|j| z[j]).fold(f64::NEG_INFINITY, f64::max);
    let lse = but(class).map(f64::exp).sum::<f64>().ln_1p();
    let log_p: Vec<f64> = (0..z.len()).map(|j| below(j) - lse).collect();
    let entropy = log_p.iter().map(|l| if *l == f64::NEG_INFINITY { 0.0 } else { -l * l.exp() }).sum();
    // log(1 − p_j) as the log of the sum of the others
    let mut terms: Vec<f64> = (0..z.len()).map(|j| log_p[j] + log_sum_exp(but(j)) - lse).collect();
    let mut by_p: Vec<usize> = (0..z.len()).collect();
    by_p.sort_by(|&a, &b| log_p[b].total_cmp(&log_p[a]));
    terms = by_p.iter().take(most).map(|&j| terms[j]).collect();
    Oracle {
        margin: z[class] - second,
        soft_margin: -log_sum_exp(but(class)),
        log_sum_exp: z[class] + temperature * lse,
        probability: log_p[class].exp(),
        entropy,
        gen_score: terms.iter().map(|t| (0.1 * t).exp()).sum(),
    }
}

#[track_caller]
fn close(what: &str, found: f64, expected: f64, scale: f64) {
    let bound = 2e-6 * (expected.abs() + scale) + 1e-30;
    assert!((found - expected).abs() <= bound || found == expected, "{what}: {found} against {expected}");
}

#[track_caller]
fn check(logits: &[f32], temperature: f64) {
    let top = Top::of(logits).unwrap();
    let softmax = Softmax::new(logits, top, temperature, true);
    let expected = oracle(logits, temperature, GEN_CLASSES);
    close("margin", top.margin(), expected.margin, 0.0);
    // f32 differences that are scaled: an error of half a unit in the last place of the largest difference
    close("soft margin", softmax.soft_margin(), expected.soft_margin, 1.0);
    close("logsumexp", softmax.log_sum_exp(), expected.log_sum_exp, temperature);
    close("probability", softmax.probability(), expected.probability, 0.0);
    close("entropy", softmax.entropy(), expected.entropy, 0.0);
    let mut top_k = crate::edge::top_k::TopK::default();
    close("GEN", softmax.gen_score(top_k.values(logits, GEN_CLASSES)), expected.gen_score, 0.0);
    let by_class: f64 = logits.iter().map(|&z| softmax.log_probability(z).exp()).sum();
    close("sum of probabilities", by_class, 1.0, 0.0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn as_in_f64(
        logits in prop::collection::vec(-30.0_f32..30.0, 2..400),
        scale in prop::sample::select(vec![0.01_f32, 0.3, 1.0, 10.0, 300.0]),
        temperature in prop::sample::select(vec![1.0, 0.5, 2.5, 17.0, 1000.0]),
    ) {
        let logits: Vec<f32> = logits.iter().map(|z| z * scale).collect();
        check(&logits, temperature);
    }

    #[test]
    fn as_in_f64_with_masked_classes_and_ties(
        logits in prop::collection::vec(prop::sample::select(vec![f32::NEG_INFINITY, -3.0, 0.0, 0.5, 0.5, 12.0]), 2..60),
        temperature in prop::sample::select(vec![1.0, 0.5, 2.5]),
    ) {
        // two classes that are not masked: the others are in `infinities_mean_their_limits`
        prop_assume!(logits.iter().filter(|z| z.is_finite()).count() >= 2);
        check(&logits, temperature);
    }

    #[test]
    fn the_largest_are_found(logits in prop::collection::vec(-4_i8..4, 1..80), k in 0_usize..90) {
        let logits: Vec<f32> = logits.into_iter().map(f32::from).collect();
        let mut sorted: Vec<u32> = (0..logits.len() as u32).collect();
        sorted.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]));
        sorted.truncate(k);
        let mut top_k = crate::edge::top_k::TopK::default();
        prop_assert_eq!(top_k.indices(&logits, k), &sorted);
        let mut values = top_k.values(&logits, k).to_vec();
        values.sort_by(|a, b| b.total_cmp(a));
        prop_assert_eq!(values, sorted.iter().map(|&i| logits[i as usize]).collect::<Vec<_>>());
        let top = Top::of(&logits).unwrap();
        let second = top_k.indices(&logits, 2).get(1).map_or(f32::NEG_INFINITY, |&i| logits[i as usize]);
        prop_assert_eq!((top.class, top.second), (top_k.indices(&logits, 1)[0] as usize, second));
    }

    #[test]
    fn nan_is_found_wherever_it_is(mut logits in prop::collection::vec(-30.0_f32..30.0, 1..80), at in any::<prop::sample::Index>()) {
        let at = at.index(logits.len());
        logits[at] = f32::NAN;
        prop_assert_eq!(Top::of(&logits), None);
    }
}

#[test]
fn saturated_rows_keep_their_scores() {
    // CNTK's MNIST net on 0 … 255: a margin of thousands
    check(&[5217.0, 1709.0, -340.0, 1709.0], 1.0);
    check(&[1e30, -1e30, 3.0], 1.0);
    check(&[1e30, 1e30, 3.0], 2.0);
    check(&[f32::MAX, f32::MIN], 1.0);
    let logits = [40.0, 0.0, -1.0];
    let softmax = Softmax::new(&logits, Top::of(&logits).unwrap(), 1.0, true);
    // e^-40 · (1 + 1/e), which 1 + … would lose
    let others = (-40.0_f64).exp() * (1.0 + (-1.0_f64).exp());
    close("entropy", softmax.entropy(), others + others * 40.0 + (-41.0_f64).exp(), 0.0);
}

#[test]
fn infinities_mean_their_limits() {
    let inf = f32::INFINITY;
    let of = |logits: &[f32]| {
        let top = Top::of(logits).unwrap();
        let softmax = Softmax::new(logits, top, 1.0, true);
        (top.margin(), softmax.soft_margin(), softmax.log_sum_exp(), softmax.probability(), softmax.entropy())
    };
    assert_eq!(of(&[2.0, -inf, -inf]), (f64::INFINITY, f64::INFINITY, 2.0, 1.0, 0.0));
    assert_eq!(of(&[inf, 1.0]), (f64::INFINITY, f64::INFINITY, f64::INFINITY, 1.0, 0.0));
    let ln_2 = 2.0_f64.ln();
    let (margin, soft_margin, lse, probability, entropy) = of(&[1.0, inf, inf]);
    assert_eq!((margin, soft_margin, lse, probability), (0.0, 0.0, f64::INFINITY, 0.5));
    close("entropy", entropy, ln_2, 0.0);
    let (margin, soft_margin, lse, probability, entropy) = of(&[-inf; 4]);
    assert_eq!((margin, lse, probability), (0.0, f64::NEG_INFINITY, 0.25));
    close("soft margin", soft_margin, -(3.0_f64.ln()), 0.0);
    close("entropy", entropy, 2.0 * ln_2, 0.0);
}

#[test]
fn probabilities_give_entropy_and_gen_as_their_logits_do() {
    let logits = [1.5_f32, -0.3, 0.8, 0.8, -4.0];
    let softmax = Softmax::new(&logits, Top::of(&logits).unwrap(), 1.0, true);
    let probabilities: Vec<f32> = logits.iter().map(|&z| softmax.log_probability(z).exp() as f32).collect();
    close("entropy", entropy_of_probabilities(&probabilities), softmax.entropy(), 0.0);
    close("GEN", gen_of_probabilities(&probabilities), softmax.gen_score(&logits), 0.0);
    assert_eq!((entropy_of_probabilities(&[1.0, 0.0]), gen_of_probabilities(&[1.0, 0.0])), (0.0, 0.0));
}

#[test]
fn exp_is_within_two_units_in_the_last_place() {
    let mut worst = 0.0_f64;
    for i in 0..1_000_000 {
        let x = -86.999 * (i as f32 / 1e6);
        let exact = f64::from(x).exp();
        worst = worst.max((f64::from(exp(x)) - exact).abs() / exact);
    }
    assert!(worst < 2.0 * f64::from(f32::EPSILON), "{worst}");
    assert_eq!((exp(0.0), exp(-87.0)), (1.0, 0.0));
}
