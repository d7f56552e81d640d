use super::*;
use crate::edge::testing::{classifier, head, scoring_model};

const FEATURES: usize = 6;
const CLASSES: usize = 3;

fn model() -> ScoringModel {
    scoring_model(&classifier(8, FEATURES, CLASSES), FEATURES, CLASSES)
}

fn options(scores: &[Score]) -> CalibratorOptions {
    CalibratorOptions { scores: scores.to_vec(), ..CalibratorOptions::default() }
}

/// Features, their logits, and labels that are mostly the predicted classes.
fn samples(rows: usize) -> (Evidence, Vec<i64>) {
    let mut random = fastrand::Rng::with_seed(11);
    let head = head(FEATURES, CLASSES);
    let mut evidence = Evidence { rows, classes: CLASSES, ..Evidence::default() };
    let mut labels = Vec::new();
    for _ in 0..rows {
        let feature: Vec<f32> = (0..FEATURES).map(|_| 3.0 * random.f32()).collect();
        let dot = |row: &[f32]| row.iter().zip(&feature).map(|(w, h)| w * h).sum::<f32>();
        let logits: Vec<f32> =
            head.weight.chunks(FEATURES).zip(&head.bias).map(|(row, bias)| dot(row) + bias).collect();
        let label = if random.f32() < 0.8 { largest(&logits).0 } else { random.u32(..CLASSES as u32) };
        labels.push(label.into());
        evidence.logits.extend(logits);
        evidence.features.extend(feature);
    }
    (evidence, labels)
}

fn calibrate(options: CalibratorOptions, evidence: &Evidence, labels: Option<&[i64]>) -> Result<Calibrated, EdgeError> {
    let mut calibrator = Calibrator::new(&model(), options)?;
    calibrator.add(evidence, labels, None)?;
    calibrator.finish()
}

#[test]
fn the_asked_share_passes_for_every_score() {
    let (evidence, labels) = samples(400);
    for rate in [0.5, 0.9, 0.95, 1.0] {
        let options = CalibratorOptions { true_positive_rate: rate, ..options(&Score::ALL) };
        let Calibrated { calibration, tables, .. } = calibrate(options, &evidence, Some(&labels)).unwrap();
        assert_eq!(calibration.decision, Score::Margin);
        let mut document = classifier(8, FEATURES, CLASSES);
        calibration.write(&mut document, &tables).unwrap();
        let fits = Fits::read(&document, &model(), Some(&calibration), &Score::ALL).unwrap();
        let rows = RowScorer {
            scores: Score::ALL.to_vec(),
            evidence: rewrite::Evidence::Logits,
            temperature: 1.0,
            top_k: 0,
            decision: None,
        };
        let (mut scored, mut scratch) = (Scored::default(), Scratch::default());
        for (logits, feature) in evidence.logits.chunks(CLASSES).zip(evidence.features.chunks(FEATURES)) {
            rows.append(logits, feature, &fits, &mut scratch, &mut scored).unwrap();
        }
        for (at, score) in Score::ALL.into_iter().enumerate() {
            let fit = &calibration.scores[&score];
            let column = scored.scores.iter().skip(at).step_by(Score::ALL.len());
            let (first, step) = if is_split(score) { (1, 2) } else { (0, 1) };
            let counted: Vec<bool> = column.skip(first).step_by(step).map(|&s| fit.admits(s, 0)).collect();
            assert_eq!(counted.len(), fit.samples, "{score}");
            let passed = counted.iter().filter(|&&passed| passed).count();
            // no two scores are equal here
            assert_eq!(passed, (rate * fit.samples as f64).ceil() as usize, "{score} {rate}");
            assert!(fit.interval[0] <= fit.threshold && fit.threshold <= fit.interval[1], "{score}");
        }
    }
}

#[test]
fn thresholds_are_taken_at_the_fitted_temperature() {
    let (mut evidence, labels) = samples(500);
    // logits that promise too much
    evidence.logits.iter_mut().for_each(|z| *z *= 4.0);
    let options = CalibratorOptions { fit_temperature: true, ..options(&[Score::Energy]) };
    let Calibrated { calibration, accuracy, .. } = calibrate(options, &evidence, Some(&labels)).unwrap();
    let fit = calibration.temperature.unwrap();
    assert!(fit.temperature > 2.0, "{fit:?}");
    assert!(fit.nll_after < fit.nll_before && fit.ece_after < fit.ece_before, "{fit:?}");
    assert!((0.8..0.95).contains(&accuracy.unwrap()));
    let t = fit.temperature;
    let energy = |z: &[f32]| -t * z.iter().map(|&z| (f64::from(z) / t).exp()).sum::<f64>().ln();
    let mut energies: Vec<f64> = evidence.logits.chunks(CLASSES).map(energy).collect();
    energies.sort_by(f64::total_cmp);
    assert!((calibration.scores[&Score::Energy].threshold - energies[474]).abs() < 1e-4);
}

#[test]
fn before_is_what_the_model_itself_says() {
    let (evidence, labels) = samples(300);
    let run = |own: Option<f64>| {
        let model = ScoringModel { temperature: own, ..model() };
        let options = CalibratorOptions { fit_temperature: true, ..options(&[Score::Msp]) };
        let mut calibrator = Calibrator::new(&model, options).unwrap();
        calibrator.add(&evidence, Some(&labels), None).unwrap();
        calibrator.finish().unwrap().calibration.temperature.unwrap()
    };
    let (plain, cooled) = (run(None), run(Some(5.0)));
    assert_eq!((plain.temperature, plain.nll_after), (cooled.temperature, cooled.nll_after));
    assert!(plain.nll_before < cooled.nll_before, "{plain:?} {cooled:?}");
}

#[test]
fn thresholds_by_class_where_there_are_samples() {
    let (evidence, _) = samples(300);
    let options = CalibratorOptions { per_class: true, ..options(&[Score::Energy]) };
    let Calibrated { calibration, warnings, .. } = calibrate(options, &evidence, None).unwrap();
    let fit = calibration.decisive().unwrap();
    let mut counts = [0; CLASSES];
    evidence.logits.chunks(CLASSES).for_each(|z| counts[largest(z).0 as usize] += 1);
    let own: Vec<bool> = fit.per_class.as_ref().unwrap().iter().map(Option::is_some).collect();
    assert_eq!(own, counts.map(|count| count >= 20), "{counts:?}");
    assert!(own.contains(&true));
    assert_eq!(warnings.iter().any(|w| w.contains("too few samples")), own.contains(&false), "{warnings:?}");
}

#[test]
fn the_score_that_decides_is_fitted_too() {
    let (evidence, _) = samples(200);
    let options = CalibratorOptions { decision: Some(Score::Knn), ..options(&[Score::Energy, Score::Energy]) };
    let calibration = calibrate(options, &evidence, None).unwrap().calibration;
    assert_eq!(calibration.decision, Score::Knn);
    assert_eq!(calibration.scores.keys().copied().collect::<Vec<_>>(), [Score::Energy, Score::Knn]);
}

#[test]
fn what_the_user_should_know() {
    let warned = |rows: usize, wrong: bool, options: CalibratorOptions, labelled: bool| {
        let (evidence, mut labels) = samples(rows);
        if wrong {
            let mut random = fastrand::Rng::with_seed(2);
            labels.iter_mut().for_each(|label| *label = random.i64(..CLASSES as i64));
        }
        calibrate(options, &evidence, labelled.then_some(&labels)).unwrap().warnings.join("\n")
    };
    assert_eq!(warned(400, false, options(&[Score::Energy]), true), "");
    assert!(warned(37, false, options(&[Score::Energy]), true).starts_with("only 37 samples"));
    assert!(warned(400, true, options(&[Score::Energy]), true).contains("where guessing gives 33.3 %"));
    let unlabelled = warned(400, false, options(&[Score::Mahalanobis]), false);
    assert!(unlabelled.contains("the data have no labels"), "{unlabelled}");
    assert!(warned(60, false, options(&[Score::Knn]), true).contains("KNN takes neighbour 30 instead of 50"));
    let strict = CalibratorOptions { true_positive_rate: 1.0, ..options(&[Score::Energy]) };
    assert!(warned(200, false, strict, true).contains("the largest of 200 scores"));
    let (evidence, _) = samples(200);
    let labels: Vec<i64> = evidence.logits.chunks(CLASSES).map(|z| largest(z).0.into()).collect();
    let right = CalibratorOptions { fit_temperature: true, ..options(&[Score::Energy]) };
    let warnings = calibrate(right, &evidence, Some(&labels)).unwrap().warnings.join("\n");
    assert!(warnings.contains("the temperature is held at 0.01"), "{warnings}");
}

#[track_caller]
fn refused(result: Result<impl std::fmt::Debug, EdgeError>, words: &str) {
    let error = result.unwrap_err().to_string();
    assert!(error.contains(words), "{error}");
}

#[test]
fn samples_that_do_not_do() {
    let (evidence, labels) = samples(4);
    let names: Vec<String> = (0..4).map(|i| format!("{i}.png")).collect();
    let with = |change: fn(&mut Evidence)| {
        let mut evidence = evidence.clone();
        change(&mut evidence);
        let mut calibrator = Calibrator::new(&model(), options(&[Score::React])).unwrap();
        calibrator.add(&self::samples(2).0, None, None).unwrap();
        calibrator.add(&evidence, None, Some(&names)).map(|()| calibrator)
    };
    assert_eq!(with(|_| ()).unwrap().samples(), 6);
    refused(with(|e| e.logits[4] = f32::NAN), "sample 3 (1.png): its logits hold NaN");
    refused(with(|e| e.features[6] = f32::INFINITY), "sample 3 (1.png): its feature holds NaN or infinity");
    refused(with(|e| drop(e.logits.drain(8..))), "the model gave 2 classes where it gave 3");
    refused(with(|e| e.features.clear()), "the model gave 0 features where it gave 6");
    let labelled = |labels: &[i64]| calibrate(options(&[Score::Energy]), &evidence, Some(labels));
    refused(labelled(&[0, 1, 3, 0]), "sample 2 has label 3, and the model has classes 0 to 2");
    refused(labelled(&[0, -1, 2, 0]), "sample 1 has label -1");
    let mut calibrator = Calibrator::new(&model(), options(&[Score::Energy])).unwrap();
    calibrator.add(&evidence, Some(&labels), None).unwrap();
    refused(calibrator.add(&evidence, None, None), "sample 4 has no label, and those before have a label");
    let nan = EdgeError::NotANumber { sample: 1, value: "z".into(), input: false };
    assert!(calibrator.locate(nan, Some(&names)).to_string().starts_with("sample 5 (1.png): its logits hold NaN"));
}

#[test]
fn options_that_do_not_do() {
    let new = |options: CalibratorOptions| Calibrator::new(&model(), options);
    refused(new(options(&[])), "name at least one: margin, soft_margin");
    for (options, words) in [
        (CalibratorOptions { true_positive_rate: 0.0, ..options(&[Score::Msp]) }, "above 0 and at most 1"),
        (CalibratorOptions { true_positive_rate: f64::NAN, ..options(&[Score::Msp]) }, "above 0 and at most 1"),
        (CalibratorOptions { react_percentile: 101.0, ..options(&[Score::Msp]) }, "the percentile of ReAct is 101"),
        (CalibratorOptions { knn_k: 0, ..options(&[Score::Msp]) }, "the k of KNN is 0"),
    ] {
        refused(new(options), words);
    }
    let headless = ScoringModel { head: Err("its last layer is a tree".to_owned()), ..model() };
    refused(Calibrator::new(&headless, options(&[Score::Knn])), "knn needs the feature");
    let probabilities = ScoringModel { evidence: rewrite::Evidence::Probabilities, ..model() };
    refused(Calibrator::new(&probabilities, options(&[Score::Energy])), "energy needs logits");
    let warm = CalibratorOptions { fit_temperature: true, ..options(&[Score::Msp]) };
    refused(Calibrator::new(&probabilities, warm.clone()), "a temperature divides logits");
    refused(new(options(&[Score::Msp])).unwrap().finish(), "there are no samples");
    refused(calibrate(warm, &samples(4).0, None), "a temperature is fitted to labels");
    refused(calibrate(options(&[Score::Knn]), &samples(1).0, None), "only one sample is there");
    let (mut flat, _) = samples(50);
    flat.features.fill(1.0);
    refused(calibrate(options(&[Score::RelativeMahalanobis]), &flat, None), "no feature varies within a class");
    let whole = CalibratorOptions { vim_dimensions: Some(FEATURES), ..options(&[Score::Vim]) };
    refused(calibrate(whole, &samples(50).0, None), "outside the principal subspace");
}
