//! On small models, cut by hand.

use super::*;
use crate::rewrite::LinearHead;

/// `onnx_models/heads/logits.onnx` as `scoring_model` would give it.
fn model() -> (Document, ScoringModel) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("onnx_models/heads/logits.onnx");
    let document = Document::open(path).unwrap();
    let value = document.graph().outputs()[0].name().to_owned();
    let model = ScoringModel {
        document: document.clone(),
        evidence: rewrite::Evidence::Logits,
        value,
        how: "is the output".into(),
        class_axis: 1,
        classes: Some(5),
        temperature: None,
        head: Err::<LinearHead, _>("not looked for".into()),
        changes: Vec::new(),
        free_batch: true,
    };
    (document, model)
}

fn scorer(options: &ScorerOptions) -> Result<Scorer, EdgeError> {
    let (document, model) = model();
    Scorer::of_model(&document, model, None, options)
}

fn samples(rows: usize) -> Tensor {
    let values = (0..rows * 16).map(|i| ((i * 7919) % 23) as f32 * 0.2 - 2.0).collect();
    Tensor { dims: vec![rows, 16], values: Values::F32(values) }
}

#[test]
fn a_batch_gives_what_its_samples_give_alone() {
    let options = ScorerOptions { scores: Score::ALL[..7].to_vec(), top_k: 3, ..ScorerOptions::default() };
    let mut scorer = scorer(&options).unwrap();
    let (mut batch, mut one) = (Scored::default(), Scored::default());
    let inputs = samples(9);
    scorer.score(std::slice::from_ref(&inputs), &mut batch).unwrap();
    assert_eq!((batch.rows, batch.class.len(), batch.scores.len(), batch.top_classes.len()), (9, 9, 63, 27));
    let Values::F32(values) = &inputs.values else { unreachable!() };
    for row in 0..9 {
        let values = Values::F32(values[row * 16..(row + 1) * 16].to_vec());
        scorer.score(&[Tensor { dims: vec![1, 16], values }], &mut one).unwrap();
        assert_eq!(one.class[0], batch.class[row]);
        for (alone, together) in one.scores.iter().zip(&batch.scores[row * 7..]) {
            assert!((alone - together).abs() < 1e-5, "{alone} {together}");
        }
        assert_eq!(one.top_classes[0], one.class[0]);
        assert_eq!(one.top_probabilities[0], one.probability[0]);
        assert_eq!(one.margin[0], -one.scores[0]);
    }
}

#[test]
fn what_does_not_fit_is_refused_with_a_sentence() {
    let mut scorer = scorer(&ScorerOptions::default()).unwrap();
    let mut scored = Scored::default();
    let mut problem = |inputs: &[Tensor]| scorer.score(inputs, &mut scored).unwrap_err().to_string();
    let input = scorer_input();
    assert_eq!(problem(&[]), format!("the model has 1 inputs ({input}), 0 were given"));
    let wide = Tensor { dims: vec![2, 17], values: Values::F32(vec![0.0; 34]) };
    assert_eq!(problem(&[wide]), format!("input '{input}' should have shape [N, 16] but has [2, 17]"));
    let whole = Tensor { dims: vec![2, 16], values: Values::I64(vec![0; 32]) };
    assert_eq!(problem(&[whole]), format!("input '{input}' should hold float but holds int64"));
    let short = Tensor { dims: vec![2, 16], values: Values::F32(vec![0.0; 31]) };
    assert!(problem(&[short]).contains("has 31 elements where its shape [2, 16] has 32"));
    let mut damaged = samples(3);
    let Values::F32(values) = &mut damaged.values else { unreachable!() };
    values[20] = f32::NAN;
    assert_eq!(problem(&[damaged]), "sample 1: 'logits' holds NaN, and so does its input");
}

fn scorer_input() -> String {
    model().0.graph().inputs()[0].name().to_owned()
}

#[test]
fn options_that_cannot_be_had_are_refused() {
    let problem = |options: ScorerOptions| match scorer(&options) {
        Ok(_) => panic!("accepted"),
        Err(error) => error.to_string(),
    };
    let react = ScorerOptions { scores: vec![Score::React], ..ScorerOptions::default() };
    assert_eq!(problem(react), "the score react needs the feature before the last layer: not looked for");
    let cold = ScorerOptions { temperature: Some(0.0), ..ScorerOptions::default() };
    assert_eq!(problem(cold), "the temperature is 0, it should be a number from 0.000001 to 1000000");
}

#[test]
fn no_samples_are_no_scores() {
    let mut scored = Scored::default();
    scorer(&ScorerOptions::default()).unwrap().score(&[samples(0)], &mut scored).unwrap();
    assert_eq!(scored, Scored::default());
}

#[cfg(feature = "rayon")]
#[test]
fn threads_give_what_one_gives_in_the_same_order() {
    use crate::edge::ScorerPool;
    let options = ScorerOptions { scores: Score::ALL[..7].to_vec(), top_k: 2, ..ScorerOptions::default() };
    let mut one = scorer(&options).unwrap();
    let mut pool = ScorerPool::new(scorer(&options).unwrap(), 3).unwrap();
    assert_eq!(pool.threads(), 3);
    let (mut expected, mut found) = (Scored::default(), Scored::default());
    for rows in [1000, 0, 1, 2, 65] {
        let inputs = [samples(rows)];
        one.score(&inputs, &mut expected).unwrap();
        pool.score(&inputs, &mut found).unwrap();
        assert_eq!(found.class, expected.class);
        assert_eq!(found.top_classes, expected.top_classes);
        let close = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-5;
        assert!(found.scores.len() == expected.scores.len() && found.scores.iter().zip(&expected.scores).all(close));
    }
    // the first of several that fail
    let mut damaged = samples(1000);
    let Values::F32(values) = &mut damaged.values else { unreachable!() };
    for row in [900, 333, 500] {
        values[row * 16] = f32::INFINITY;
        values[row * 16 + 1] = f32::NEG_INFINITY;
    }
    let error = pool.score(&[damaged], &mut found).unwrap_err();
    assert!(matches!(error, EdgeError::NotANumber { sample: 333, input: true, .. }), "{error}");
}

fn of_file(name: &str, options: &ScorerOptions) -> Result<Scorer, EdgeError> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("onnx_models/heads").join(name);
    Scorer::new(&Document::open(path).unwrap(), options)
}

#[test]
fn probabilities_are_scored_where_they_are_asked_for() {
    let scores = vec![Score::Msp, Score::Entropy, Score::Gen];
    let of_logits = ScorerOptions { scores: scores.clone(), top_k: 9, ..ScorerOptions::default() };
    let of_probabilities = ScorerOptions { probabilities: true, ..of_logits.clone() };
    let (mut expected, mut found) = (Scored::default(), Scored::default());
    of_file("softmax.onnx", &of_logits).unwrap().score(&[samples(7)], &mut expected).unwrap();
    let mut scorer = of_file("softmax.onnx", &of_probabilities).unwrap();
    scorer.score(&[samples(7)], &mut found).unwrap();
    assert_eq!((scorer.top_k(), found.class.clone()), (5, expected.class.clone()));
    assert_eq!(found.top_classes, expected.top_classes);
    for (a, b) in found.scores.iter().zip(&expected.scores) {
        assert!((a - b).abs() < 1e-5, "{a} {b}");
    }
    assert!(found.margin.iter().all(|margin| margin.is_nan()) && found.in_distribution.is_empty());
    let by_default = ScorerOptions { probabilities: true, ..ScorerOptions::default() };
    assert_eq!(of_file("softmax.onnx", &by_default).unwrap().scores(), [Score::Msp]);
    let energy = ScorerOptions { scores: vec![Score::Energy], ..by_default };
    let error = of_file("softmax.onnx", &energy).err().unwrap().to_string();
    assert_eq!(
        error,
        "the score energy needs logits, and only probabilities are there; msp, entropy and gen work on those"
    );
}

#[test]
fn probabilities_are_those_of_the_model() {
    let mut scorer = of_file("temperature_softmax.onnx", &ScorerOptions::default()).unwrap();
    assert_eq!(scorer.temperature(), 2.5);
    let own = ScorerOptions { probabilities: true, ..ScorerOptions::default() };
    let (mut ours, mut theirs) = (Scored::default(), Scored::default());
    scorer.score(&[samples(4)], &mut ours).unwrap();
    of_file("temperature_softmax.onnx", &own).unwrap().score(&[samples(4)], &mut theirs).unwrap();
    for (a, b) in ours.probability.iter().zip(&theirs.probability) {
        assert!((a - b).abs() < 1e-6, "{a} {b}");
    }
}

#[test]
fn a_calibrated_model_decides() {
    use crate::edge::{FORMAT_VERSION, ScoreFit, Tables, TemperatureFit};
    let mut plain = Scored::default();
    let energy = ScorerOptions { scores: vec![Score::Energy], temperature: Some(2.0), ..ScorerOptions::default() };
    scorer(&energy).unwrap().score(&[samples(20)], &mut plain).unwrap();
    let (mut document, _) = model();
    let threshold = f64::from(plain.scores[3]);
    let mut per_class = vec![None; 5];
    // nothing of this class is let in
    let strict = plain.class[3];
    per_class[strict as usize] = Some(threshold - 1000.0);
    let fit = ScoreFit {
        threshold,
        interval: [threshold; 2],
        samples: 20,
        per_class: Some(per_class),
        parameters: std::collections::BTreeMap::new(),
    };
    let calibration = Calibration {
        version: FORMAT_VERSION,
        elonnx: "0".into(),
        logits: "logits".into(),
        classes: 5,
        samples: 20,
        true_positive_rate: 0.95,
        decision: Score::Energy,
        temperature: Some(TemperatureFit {
            temperature: 2.0,
            nll_before: 1.0,
            nll_after: 1.0,
            ece_before: 0.0,
            ece_after: 0.0,
        }),
        scores: [(Score::Energy, fit)].into(),
        preprocessing: None,
    };
    calibration.write(&mut document, &Tables::default()).unwrap();
    let of = |options: &ScorerOptions| Scorer::new(&document, options).unwrap();
    let mut by_default = of(&ScorerOptions::default());
    assert_eq!(
        (by_default.scores(), by_default.temperature(), by_default.decides()),
        (&[Score::Energy][..], 2.0, true)
    );
    let mut scored = Scored::default();
    by_default.score(&[samples(20)], &mut scored).unwrap();
    let passes = |(&score, &class): (&f32, &u32)| class != strict && f64::from(score) <= threshold;
    let expected: Vec<bool> = plain.scores.iter().zip(&plain.class).map(passes).collect();
    assert!(expected.contains(&true) && expected.contains(&false));
    assert_eq!(scored.in_distribution, expected);
    // also where the score that decides is not among those asked for
    of(&ScorerOptions { scores: vec![Score::Msp], ..ScorerOptions::default() })
        .score(&[samples(20)], &mut scored)
        .unwrap();
    assert_eq!(scored.in_distribution, expected);
    // the threshold is for another temperature
    assert!(!of(&ScorerOptions { temperature: Some(1.0), ..ScorerOptions::default() }).decides());
}
