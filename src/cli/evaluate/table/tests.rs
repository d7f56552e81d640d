use super::*;
use crate::edge::Score;
use crate::edge::evaluate::tests::{calibrated, made_up};
use crate::edge::evaluate::{EvaluateOptions, evaluate};
use crate::metrics::Bootstrap;

fn shown(evaluation: &Evaluation) -> String {
    let mut page = Page::plain(80);
    show(&mut page, evaluation);
    page.finish()
}

fn example(resamples: usize, positive: PositiveSet, calibrate: bool, rename: Option<Score>) -> Evaluation {
    let mut inside = made_up("digits", 400, 8.0, 2.0, Some(20));
    let mut outside = [made_up("clothes", 300, 2.0, 1.5, None), made_up("noise", 100, 1.0, 1.0, None)];
    for set in std::iter::once(&mut inside).chain(&mut outside) {
        set.scores[2] = rename.unwrap_or(set.scores[2]);
    }
    let bootstrap = Bootstrap { resamples, ..Bootstrap::default() };
    let mut options = EvaluateOptions { bootstrap, ..EvaluateOptions::default() };
    options.separation.positive = positive;
    evaluate(&inside, &outside, calibrate.then(|| calibrated(&inside)).as_ref(), &options).unwrap()
}

#[test]
fn what_is_positive_is_said() {
    let text = shown(&example(50, PositiveSet::InDistribution, false, None));
    assert!(text.replace('\n', " ").contains("FPR95 with in-distribution positive (energy paper)"), "{text}");
    assert!(text.contains("95 % interval of 50 resamples"), "{text}");
    let text = shown(&example(0, PositiveSet::OutOfDistribution, false, None));
    assert!(text.contains("out-of-distribution positive (OpenOOD)") && !text.contains("interval"), "{text}");
}

#[test]
fn no_line_is_wider_than_a_terminal() {
    for score in [Score::Msp, Score::RelativeMahalanobis] {
        let text = shown(&example(50, PositiveSet::InDistribution, true, Some(score)));
        assert!(text.contains("flagged") && text.contains("Mean over the sets"), "{text}");
        for line in text.lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
        // intervals do not touch
        let intervals = |line: &&str| line.contains('-') && line.chars().all(|c| "0123456789.- ".contains(c));
        for line in text.lines().filter(intervals) {
            assert!(line.split_whitespace().all(|cell| cell.matches('-').count() == 1), "{line}");
        }
        assert!(text.lines().any(|line| intervals(&line)), "{text}");
    }
}

#[test]
fn shares_and_numbers() {
    assert_eq!(
        (percent(0.999_999, 2), percent(1.0, 2), percent(1e-7, 1)),
        ("99.99".into(), "100.00".into(), "0.1".into())
    );
    assert_eq!(interval(&Measured { value: 1.0, interval: Some([0.991, 1.0]) }), "99.1-100");
    assert_eq!((number(-12.345), number(0.05), number(12345.6)), ("-12.35".into(), "0.0500".into(), "12346".into()));
}
