//! The kernels against the f64 reference (tolerances: design, "precision and limits"), and every edge case by name.

use half::{bf16, f16};
use proptest::prelude::*;

use super::super::reference::{self, Evaluation, Input};
use super::super::testing::{self, Case};
use super::*;
use crate::loss::Label;
use crate::loss::{Bonus, ForwardBackward};

/// What half an ulp is for a type under test.
trait Rounding: Element {
    /// Bits of the mantissa, the hidden one included.
    const PRECISION: i32;
    /// Exponent of the smallest normal number.
    const LOWEST: i32;
    const MAX: f64;

    fn half_ulp(x: f64) -> f64 {
        let exponent = if x == 0.0 { Self::LOWEST } else { (x.abs().log2().floor() as i32).max(Self::LOWEST) };
        2f64.powi(exponent - Self::PRECISION)
    }
}

macro_rules! rounding {
    ($($t:ident: $precision:expr, $lowest:expr, $max:expr;)*) => {$(
        impl Rounding for $t {
            const PRECISION: i32 = $precision;
            const LOWEST: i32 = $lowest;
            const MAX: f64 = $max;
        }
    )*};
}
rounding! {
    f16: 11, -14, 65504.0;
    bf16: 8, -126, 3.3895e38;
    f32: 24, -126, f32::MAX as f64;
    f64: 53, -1022, f64::MAX;
}

/// `case` as the type under test sees it.
fn round<T: Element>(case: &Case) -> Case {
    let round = |values: &[f64]| values.iter().map(|&x| T::from_f64(x).to_f64()).collect::<Vec<_>>();
    Case {
        logits: round(&case.logits),
        class_weights: case.class_weights.as_deref().map(round),
        dloss: round(&case.dloss),
        ..case.clone()
    }
}

fn narrow<T: Element>(values: &[f64]) -> Vec<T> {
    values.iter().map(|&x| T::from_f64(x)).collect()
}

fn close<T: Rounding>(got: T, expected: f64, tolerance: f64) -> bool {
    let got = got.to_f64();
    if expected.abs() + tolerance > T::MAX && got.is_infinite() {
        return true;
    }
    got == expected || (got - expected).abs() <= tolerance + T::half_ulp(expected) * (1.0 + 1e-9)
}

/// Runs every kernel on the case, on every instruction set, and holds each result against the reference.
fn check<T: Rounding, L: Label + TryFrom<i64>>(case: &Case) -> Result<(), TestCaseError> {
    Isa::available().into_iter().try_for_each(|isa| check_isa::<T, L>(case, isa))
}

fn check_isa<T: Rounding, L: Label + TryFrom<i64>>(case: &Case, isa: Isa) -> Result<(), TestCaseError> {
    let case = round::<T>(case);
    let expected = reference::evaluate(&case.loss, &case.input(), &case.dloss).unwrap();
    // a row's loss is as well conditioned as m is: an error of m counts as much as the slope
    let rows = case.loss.to_builder().reduction(Reduction::None).build().unwrap();
    let rows = reference::evaluate(&rows, &case.input(), &[1.0]).unwrap();

    let (logits, dloss) = (narrow::<T>(&case.logits), narrow::<T>(&case.dloss));
    let labels: Vec<L> = case.labels.iter().map(|&label| L::try_from(label).ok().unwrap()).collect();
    let weights = case.class_weights.as_deref().map(narrow::<T>);
    let shape = Shape::new(&case.shape).unwrap();
    let problem = Problem::new(&case.loss, shape, &logits, &labels, weights.as_deref(), None).unwrap().with_isa(isa);

    let (single, double) = (2e-6, 1e-12);
    let unit = if size_of::<T>() == 8 { double } else { single };
    let tolerance = |row: usize| unit * rows.loss[row].abs().max(largest(&rows.dlogits, shape, row));

    let mut losses = vec![T::from_f64(9.0); problem.rows()];
    let mut margins = vec![9.0f32; problem.rows()];
    let mut dlogits = vec![T::from_f64(9.0); logits.len()];
    let output = ForwardOutput { losses: Some(&mut losses), margins: Some(&mut margins) };
    let fused = problem.forward_backward(&Sequential, output, &mut dlogits).unwrap();
    let output = ForwardOutput { losses: Some(&mut losses), margins: Some(&mut margins) };
    let plain = problem.forward(&Sequential, output).unwrap();
    prop_assert_eq!(fused, plain);
    for row in 0..problem.rows() {
        prop_assert!(
            close(losses[row], rows.loss[row], tolerance(row)),
            "loss of row {row}: {:?}, reference {}",
            losses[row],
            rows.loss[row]
        );
        prop_assert!(
            close(margins[row], rows.margin[row], single * rows.margin[row].abs().max(1.0)),
            "margin of row {row}: {}, reference {}",
            margins[row],
            rows.margin[row]
        );
    }
    if case.loss.reduction() != Reduction::None {
        let share = problem.share(&Sequential).unwrap().abs();
        let tolerance = share * (0..problem.rows()).map(tolerance).sum::<f64>();
        prop_assert!(
            close(problem.reduce(plain), expected.loss[0], tolerance),
            "loss {:?}, reference {}",
            problem.reduce(plain),
            expected.loss[0]
        );
    }
    let check_gradient = |what: &str, got: &[T], expected: &Evaluation| {
        for row in 0..problem.rows() {
            // a slope below the normal numbers has few digits left in the type computed in
            let (relative, step) = if size_of::<T>() == 8 { (double, 1e-300) } else { (1e-5, 2f64.powi(-149)) };
            let tolerance = relative * largest(&expected.dlogits, shape, row) + step;
            for class in 0..shape.classes() {
                let i = problem.row(row).index(class);
                prop_assert!(
                    close(got[i], expected.dlogits[i], tolerance),
                    "{what}: gradient of row {row}, class {class}: {:?}, reference {}",
                    got[i],
                    expected.dlogits[i]
                );
            }
        }
        Ok(())
    };
    let ones = reference::evaluate(&case.loss, &case.input(), &[1.0]).unwrap();
    check_gradient("fused", &dlogits, &ones)?;
    for margins in [None, Some(&margins[..])] {
        dlogits.fill(T::from_f64(9.0));
        problem.backward(&Sequential, &Upstream { dloss: &dloss, margins }, &mut dlogits).unwrap();
        check_gradient(if margins.is_some() { "with margin" } else { "without margin" }, &dlogits, &expected)?;
    }
    Ok(())
}

/// The largest gradient of a row.
fn largest(dlogits: &[f64], shape: Shape, row: usize) -> f64 {
    let start = row / shape.inner() * shape.classes() * shape.inner() + row % shape.inner();
    (0..shape.classes()).map(|class| dlogits[start + class * shape.inner()].abs()).fold(0.0, f64::max)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn f32_matches_the_reference(case in testing::case(&[1.0, 10.0, 100.0, 1e4, 1e30])) {
        check::<f32, i64>(&case)?;
        check::<f32, i32>(&case)?;
    }

    #[test]
    fn f64_matches_the_reference(case in testing::case(&[1.0, 10.0, 100.0, 1e4, 1e300])) {
        check::<f64, i64>(&case)?;
    }

    #[test]
    fn f16_matches_the_reference(case in testing::case(&[1.0, 10.0, 100.0, 65504.0])) {
        check::<f16, i64>(&case)?;
        check::<f16, i32>(&case)?;
    }

    #[test]
    fn bf16_matches_the_reference(case in testing::case(&[1.0, 10.0, 100.0, 1e4, 1e30])) {
        check::<bf16, i64>(&case)?;
    }
}

/// Many classes: sums of many small terms stay within the tolerance.
#[test]
fn many_classes_match_the_reference() {
    let classes = 30_000;
    let logits: Vec<f64> = (0..2 * classes).map(|i| f64::from((i as f32 * 0.37).sin() * 6.0)).collect();
    for smoothing in [0.0, 0.1] {
        let case = Case {
            loss: EncouragingLoss::builder().label_smoothing(smoothing).build().unwrap(),
            shape: vec![2, classes],
            logits: logits.clone(),
            labels: vec![3, 29_999],
            class_weights: None,
            dloss: vec![1.0],
        };
        // the reference takes a softmax per class where labels are smoothed
        if smoothing > 0.0 {
            let small = Case { shape: vec![2, 500], logits: logits[..1000].to_vec(), labels: vec![3, 499], ..case };
            check::<f32, i64>(&small).unwrap();
        } else {
            check::<f32, i64>(&case).unwrap();
        }
    }
}

fn plain(log_end: f32, reduction: Reduction) -> EncouragingLoss {
    EncouragingLoss::builder().log_end(log_end).reduction(reduction).build().unwrap()
}

/// Loss, margin and gradient of one row.
fn one_row<T: Element>(loss: &EncouragingLoss, logits: &[T], label: i64) -> ForwardBackward<T> {
    loss.forward_backward(logits, &[1, logits.len()], &[label], None).unwrap()
}

const INF: f32 = f32::INFINITY;

#[test]
fn log_end_one_is_the_margin_loss_exactly() {
    let loss = plain(1.0, Reduction::None);
    for logits in [[3.0, -1.0], [50.0, -40.0], [-1e30, 1e30], [1e4, 0.25]] {
        let out = one_row(&loss, &logits, 0);
        assert_eq!(out.loss[0], logits[1] - logits[0]);
        assert_eq!(out.margin[0], logits[0] - logits[1]);
        assert_eq!(out.dlogits, [-1.0, 1.0], "the bonus must not fade however close p is to 1");
    }
}

#[test]
fn masked_classes_take_no_part() {
    for smoothing in [0.0, 0.1] {
        let loss = EncouragingLoss::builder().label_smoothing(smoothing).build().unwrap();
        // a class weight of 0 takes the masked class out of the smooth term, which is infinite otherwise
        let masked = loss.forward_backward(&[1.0, -INF, 0.5], &[1, 3], &[0], Some(&[1.0, 0.0, 1.0])).unwrap();
        assert!(masked.loss[0].is_finite());
        assert_eq!(masked.dlogits[1], 0.0);
        assert!(masked.dlogits.iter().all(|x| x.is_finite()));
        if smoothing == 0.0 {
            let without = loss.forward_backward(&[1.0, 0.5], &[1, 2], &[0], None).unwrap();
            assert_eq!(masked.loss, without.loss);
            assert_eq!([masked.dlogits[0], masked.dlogits[2]], without.dlogits[..]);
        } else {
            let out = loss.forward(&[1.0, -INF, 0.5], &[1, 3], &[0], None).unwrap();
            assert_eq!(out.loss[0], INF);
        }
    }
}

#[test]
fn only_the_label_left_unmasked_gives_the_limit() {
    let logits = [-INF, 2.0, -INF];
    let out = one_row(&plain(0.75, Reduction::None), &logits, 1);
    assert!((out.loss[0] - (0.25f32.ln() - 1.0)).abs() < 1e-6);
    assert_eq!((out.margin[0], &out.dlogits[..]), (INF, &[0.0; 3][..]));

    let out = one_row(&plain(1.0, Reduction::None), &logits, 1);
    assert_eq!((out.loss[0], out.margin[0]), (-INF, INF));
    assert_eq!(out.dlogits, [0.0, -1.0, 0.0], "masked classes have no share even here");

    let out = one_row(&EncouragingLoss::cross_entropy(), &logits, 1);
    assert_eq!((out.loss[0], &out.dlogits[..]), (0.0, &[0.0; 3][..]));
}

#[test]
fn masked_label_costs_infinity_and_pulls_with_slope_one() {
    for loss in [plain(0.75, Reduction::None), plain(1.0, Reduction::None), EncouragingLoss::cross_entropy()] {
        let out = one_row(&loss, &[-INF, 1.0, 1.0], 0);
        assert_eq!((out.loss[0], out.margin[0]), (INF, -INF));
        assert_eq!(out.dlogits, [-1.0, 0.5, 0.5]);
    }
}

#[test]
fn infinite_label_logit_is_certainty() {
    let out = one_row(&plain(0.75, Reduction::None), &[INF, 1.0, 1.0], 0);
    assert!((out.loss[0] - (0.25f32.ln() - 1.0)).abs() < 1e-6);
    assert_eq!((out.margin[0], &out.dlogits[..]), (INF, &[0.0; 3][..]));
}

#[test]
fn infinite_other_logit_takes_the_whole_gradient() {
    let loss = plain(0.75, Reduction::None);
    let out = one_row(&loss, &[0.0, INF, 1.0], 0);
    assert_eq!((out.loss[0], out.margin[0]), (INF, -INF));
    assert_eq!(out.dlogits, [-1.0, 1.0, 0.0]);
    assert_eq!(one_row(&loss, &[0.0, INF, INF], 0).dlogits, [-1.0, 0.5, 0.5]);
}

#[test]
fn undetermined_rows_are_nan() {
    for logits in [[INF, INF, 0.0], [-INF, -INF, -INF]] {
        for smoothing in [0.0, 0.1] {
            let loss = EncouragingLoss::builder().label_smoothing(smoothing).build().unwrap();
            let out = one_row(&loss, &logits, 0);
            assert!(out.loss[0].is_nan() && out.margin[0].is_nan(), "{logits:?}");
            assert!(out.dlogits[0].is_nan(), "{logits:?}");
        }
    }
}

#[test]
fn nan_stays_in_its_row() {
    for (log_end, smoothing) in [(0.75, 0.0), (1.0, 0.0), (0.75, 0.1), (1.0, 0.1)] {
        let loss = plain(log_end, Reduction::None).to_builder().label_smoothing(smoothing).build().unwrap();
        for at in 0..3 {
            let mut logits = [1.0f32, 2.0, 3.0, 1.0, 2.0, 3.0];
            logits[at] = f32::NAN;
            let out = loss.forward_backward(&logits, &[2, 3], &[1i64, 1], None).unwrap();
            assert!(out.loss[0].is_nan() && out.margin[0].is_nan());
            assert!(out.dlogits[..3].iter().all(|x| x.is_nan()), "{:?}", out.dlogits);
            assert!(out.loss[1].is_finite() && out.margin[1].is_finite());
            assert!(out.dlogits[3..].iter().all(|x| x.is_finite()));
            let back = backward_with_margin(&loss, &logits, &[2, 3], &[1, 1], &out.margin);
            assert!(back[..3].iter().all(|x| x.is_nan()) && back[3..].iter().all(|x| x.is_finite()));
        }
    }
    let mean = plain(0.75, Reduction::Mean);
    assert!(mean.forward(&[f32::NAN, 1.0], &[1, 2], &[0i64], None).unwrap().loss[0].is_nan());
}

fn backward_with_margin(
    loss: &EncouragingLoss,
    logits: &[f32],
    shape: &[usize],
    labels: &[i64],
    margins: &[f32],
) -> Vec<f32> {
    let problem = Problem::new(loss, Shape::new(shape).unwrap(), logits, labels, None, None).unwrap();
    let dloss = vec![1.0; problem.losses()];
    let mut dlogits = vec![9.0; logits.len()];
    problem.backward(&Sequential, &Upstream { dloss: &dloss, margins: Some(margins) }, &mut dlogits).unwrap();
    dlogits
}

#[test]
fn all_rows_ignored_is_zero_loss_and_zero_gradient() {
    for loss in [EncouragingLoss::default(), EncouragingLoss::cross_entropy()] {
        for reduction in [Reduction::Mean, Reduction::Sum] {
            let loss = loss.to_builder().reduction(reduction).ignore_index(Some(-1)).build().unwrap();
            let out = loss.forward_backward(&[1.0f32, 2.0, 3.0, 4.0], &[2, 2], &[-1i64, -1], None).unwrap();
            assert_eq!((out.loss, out.dlogits), (vec![0.0], vec![0.0; 4]));
        }
    }
}

#[test]
fn ignored_rows_are_not_read() {
    for smoothing in [0.0, 0.1] {
        let loss = plain(0.75, Reduction::None).to_builder().ignore_index(Some(1)).label_smoothing(smoothing);
        let logits = [f32::NAN, f32::NAN, 1.0, 2.0];
        let out = loss.build().unwrap().forward_backward(&logits, &[2, 2], &[1i64, 0], None).unwrap();
        assert_eq!((out.loss[0], out.margin[0], &out.dlogits[..2]), (0.0, 0.0, &[0.0, 0.0][..]));
        assert!(out.loss[1].is_finite() && out.dlogits[2..].iter().all(|x| x.is_finite()));
        let mean = loss.reduction(Reduction::Mean).build().unwrap();
        assert_eq!(mean.forward(&logits, &[2, 2], &[1i64, 0], None).unwrap().loss[0], out.loss[1]);
    }
}

#[test]
fn weights_that_sum_to_zero_give_zero() {
    let out = EncouragingLoss::default().forward_backward(&[1.0f32, 2.0], &[1, 2], &[0i64], Some(&[0.0, 1.0])).unwrap();
    assert_eq!((out.loss[0], &out.dlogits[..]), (0.0, &[0.0, 0.0][..]));
    // an infinite loss with weight 0 does not count either
    let loss = plain(0.75, Reduction::Sum);
    assert_eq!(loss.forward(&[-INF, 2.0], &[1, 2], &[0i64], Some(&[0.0, 1.0])).unwrap().loss[0], 0.0);
}

#[test]
fn empty_batch_has_loss_zero() {
    for reduction in [Reduction::Mean, Reduction::Sum] {
        let out = plain(0.75, reduction).forward_backward::<f32, i64>(&[], &[0, 3], &[], None).unwrap();
        assert_eq!((out.loss, out.dlogits), (vec![0.0], vec![]));
    }
    let out = plain(0.75, Reduction::None).forward::<f32, i64>(&[], &[2, 3, 0], &[], None).unwrap();
    assert!(out.loss.is_empty());
}

#[test]
fn extreme_logits_stay_finite_where_the_loss_is() {
    for bonus in [Bonus::Log, Bonus::Power, Bonus::Cosine] {
        for (log_end, smoothing) in [(0.75, 0.0), (1.0, 0.0), (0.75, 0.2)] {
            let loss = EncouragingLoss::builder().bonus(bonus).log_end(log_end).label_smoothing(smoothing);
            let loss = loss.build().unwrap();
            for label in 0..3 {
                let out = one_row(&loss, &[1e30f32, -1e30, 0.0], label);
                assert!(out.loss[0].is_finite() && out.dlogits.iter().all(|x| x.is_finite()), "{out:?}");
                let big = [30_000.0, -30_000.0, 0.0].map(f16::from_f64);
                let out = one_row(&loss, &big, label);
                assert!(out.loss[0].is_finite() && out.dlogits.iter().all(|x| x.is_finite()), "{out:?}");
            }
        }
    }
}

#[test]
fn fewer_than_two_classes_is_an_error() {
    let error = EncouragingLoss::default().forward(&[1.0f32], &[1, 1], &[0i64], None).unwrap_err();
    assert_eq!(error, LossError::Classes { classes: 1, shape: vec![1, 1] });
    assert!(error.to_string().contains("at least 2"), "{error}");
    assert_eq!(Shape::new(&[3]).unwrap_err(), LossError::Rank(vec![3]));
}

#[test]
fn label_out_of_range_names_row_label_and_range() {
    for (label, smoothing) in [(3i64, 0.0), (-1, 0.0), (i64::MAX, 0.1), (i64::MIN, 0.1)] {
        let loss = EncouragingLoss::builder().ignore_index(Some(-100)).label_smoothing(smoothing).build().unwrap();
        let error = loss.forward(&[0.0f32; 9], &[3, 3], &[0, -100, label], None).unwrap_err();
        assert_eq!(error, LossError::Label { row: 2, label, classes: 3 });
        let text = error.to_string();
        assert!(["row 2", "[0, 3)", &format!("label {label}")].iter().all(|part| text.contains(part)), "{text}");
        assert_eq!(loss.forward_backward(&[0.0f32; 9], &[3, 3], &[0, -100, label], None).unwrap_err(), error);
        assert_eq!(loss.backward(&[1.0], &[0.0f32; 9], &[3, 3], &[0, -100, label], None).unwrap_err(), error);
    }
}

#[test]
fn shapes_that_do_not_fit_are_errors() {
    let loss = EncouragingLoss::default();
    let length = |error: LossError| match error {
        LossError::Length { tensor, expected, found } => (tensor, expected, found),
        other => panic!("{other}"),
    };
    let logits = [0.0f32; 6];
    assert_eq!(length(loss.forward(&logits, &[2, 4], &[0i64; 2], None).unwrap_err()), ("logits", 8, 6));
    assert_eq!(length(loss.forward(&logits, &[2, 3], &[0i64; 3], None).unwrap_err()), ("labels", 2, 3));
    let weights = Some(&logits[..2]);
    assert_eq!(length(loss.forward(&logits, &[2, 3], &[0i64; 2], weights).unwrap_err()), ("class_weights", 3, 2));
    let error = loss.backward(&[1.0; 2], &logits, &[2, 3], &[0i64; 2], None).unwrap_err();
    assert_eq!(length(error), ("dloss", 1, 2));
    let error = Shape::with_labels(&[2, 3, 4], &[2, 3]).unwrap_err();
    assert!(error.to_string().contains("[2, 4]"), "{error}");
    assert!(matches!(Shape::new(&[usize::MAX, 2, 0, 3]).unwrap_err(), LossError::TooLarge(_)));
    let problem = Problem::new(&loss, Shape::new(&[2, 3]).unwrap(), &logits, &[0i64; 2], None, None).unwrap();
    let mut short = [0.0f32; 5];
    let error = problem.backward(&Sequential, &Upstream { dloss: &[1.0], margins: None }, &mut short).unwrap_err();
    assert_eq!(length(error), ("dlogits", 6, 5));
}

#[test]
fn the_bonus_weight_input_wins_over_the_parameter() {
    let loss = EncouragingLoss::default();
    let shape = Shape::new(&[1, 2]).unwrap();
    let problem = Problem::new(&loss, shape, &[1.0f64, 0.0], &[0i64], None, Some(0.0)).unwrap();
    let sum = problem.forward(&Sequential, ForwardOutput { losses: None, margins: None }).unwrap();
    assert_eq!(
        sum.loss,
        EncouragingLoss::cross_entropy().forward(&[1.0f64, 0.0], &[1, 2], &[0i64], None).unwrap().loss[0]
    );
    let error = Problem::new(&loss, shape, &[1.0f64, 0.0], &[0i64], None, Some(f32::NAN)).unwrap_err();
    assert!(matches!(error, LossError::Parameter(_)));
}

/// Runs the blocks on a thread each, the last one first.
struct Backwards;

impl Parallel for Backwards {
    fn for_each(&self, count: usize, work: &(dyn Fn(usize) + Sync)) {
        std::thread::scope(|scope| {
            for index in (0..count).rev() {
                scope.spawn(move || work(index));
            }
        });
    }
}

/// Threads that take blocks in any order give the same bits as one thread that takes them in turn: contiguous rows,
/// tiles of both kinds, a row in pieces.
#[test]
fn threads_give_the_same_bits() {
    for shape in [[300, 700, 1], [12, 70, 300], [30_000, 7, 1], [3000, 5, 9], [2, 120_000, 1], [1, 100_001, 1]] {
        let rows = shape[0] * shape[2];
        let logits: Vec<f32> = (0..rows * shape[1]).map(|i| (i as f32 * 0.713).sin() * 9.0).collect();
        let labels: Vec<i32> = (0..rows).map(|row| (row * 37 % shape[1]) as i32).collect();
        for smoothing in [0.0, 0.1] {
            let loss = EncouragingLoss::builder().ignore_index(Some(3)).label_smoothing(smoothing).build().unwrap();
            let problem = Problem::new(&loss, Shape::new(&shape).unwrap(), &logits, &labels, None, None).unwrap();
            let all = |threads: &dyn Fn(&mut [f32], &mut [f32]) -> Partial| {
                let (mut margins, mut dlogits) = (vec![9.0; rows], vec![9.0; logits.len()]);
                let partial = threads(&mut margins, &mut dlogits);
                let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                (problem.reduce(partial).to_bits(), bits(&margins), bits(&dlogits))
            };
            fn output(margins: &mut [f32]) -> ForwardOutput<'_, f32> {
                ForwardOutput { losses: None, margins: Some(margins) }
            }
            let alone =
                all(&|margins, dlogits| problem.forward_backward(&Sequential, output(margins), dlogits).unwrap());
            let many = all(&|margins, dlogits| problem.forward_backward(&Backwards, output(margins), dlogits).unwrap());
            assert!(alone == many, "{shape:?} {smoothing}");
        }
    }
}

/// Streaming starts where a line of the output does, so the groups in which classes are computed depend on its address.
#[test]
fn the_address_of_the_gradient_does_not_change_its_bits() {
    fn check<T: Element>(shape: [usize; 3]) {
        let rows = shape[0] * shape[2];
        let logits: Vec<T> =
            (0..rows * shape[1]).map(|i| T::from_f64((f64::from(i as u32) * 0.713).sin() * 9.0)).collect();
        let labels: Vec<i64> = (0..rows).map(|row| (row * 37 % shape[1]) as i64).collect();
        let weights: Vec<T> = (0..shape[1]).map(|class| T::from_f64((class % 5) as f64)).collect();
        for (smoothing, weights) in [(0.0, None), (0.1, None), (0.1, Some(&weights[..]))] {
            let loss = EncouragingLoss::builder().label_smoothing(smoothing).build().unwrap();
            let shape = Shape::new(&shape).unwrap();
            let problem = Problem::new(&loss, shape, &logits, &labels, weights, None).unwrap();
            let gradient = |offset: usize, stream: bool| {
                let mut buffer = vec![T::from_f64(9.0); logits.len() + offset];
                let mut gradient = GradientJob::new(Output::new(&mut buffer[offset..]), None, None, 1.0);
                gradient.stream = stream;
                let job = Job { losses: None, margins: None, forward: true, gradient: Some(gradient) };
                problem.run(&Sequential, &job).unwrap();
                buffer[offset..].iter().map(|x| x.to_f64().to_bits()).collect::<Vec<_>>()
            };
            let expected = gradient(0, false);
            for offset in [0, 1, 3, 8, 13, 21, 32] {
                assert!(gradient(offset, true) == expected, "{shape:?} {smoothing} {offset}");
            }
        }
    }
    for shape in [[3, 1000, 1], [3, 5003, 1], [2, 21, 333], [30, 9, 1]] {
        check::<f32>(shape);
        check::<f64>(shape);
        check::<f16>(shape);
        check::<bf16>(shape);
    }
}

/// Shapes on both sides of every choice the kernels make: contiguous rows or transposed, whole registers or not, tiles
/// that fit the scratch area or come in chunks, runs along the inner axis whole or cut, rows in pieces.
#[test]
fn every_layout_matches_the_reference() {
    let shapes: [&[usize]; 22] = [
        &[5, 2],
        &[700, 3], // several tiles of entries
        &[33, 63], // transposed, the most classes
        &[9, 64],  // contiguous, the fewest
        &[3, 65],
        &[2, 127],
        &[2, 2047], // one chunk of a row
        &[2, 2049],
        &[3, 4100],
        &[1, 32_768], // a row in pieces
        &[2, 50_257],
        &[2, 5, 3], // a short inner axis
        &[40, 21, 15],
        &[3, 900, 7],
        &[2, 6, 16], // runs along the inner axis, the shortest
        &[2, 21, 17],
        &[1, 4, 1031], // several runs
        &[1, 40, 31, 33],
        &[1, 300, 40],
        &[1, 1500, 70], // classes in chunks
        &[1, 9000, 2],
        &[1, 3000, 16],
    ];
    for shape in shapes {
        let (rows, classes) = (shape.iter().product::<usize>() / shape[1], shape[1]);
        let number = |i: usize| (i as f64 * 0.618 + (i as f64 * 0.377).sin() * 40.0).sin() * 8.0;
        for (weights, ignore) in [(false, None), (true, Some(1))] {
            let case = Case {
                loss: EncouragingLoss::builder().ignore_index(ignore).build().unwrap(),
                shape: shape.to_vec(),
                logits: (0..rows * classes).map(number).collect(),
                labels: (0..rows).map(|row| ((row * 7919 + 5) % classes) as i64).collect(),
                class_weights: weights.then(|| (0..classes).map(|class| 0.5 + (class % 7) as f64).collect()),
                dloss: vec![-1.5],
            };
            for isa in Isa::available() {
                let context = |error| panic!("{shape:?}, {isa}: {error}");
                check_isa::<f32, i64>(&case, isa).unwrap_or_else(context);
                check_isa::<f16, i32>(&case, isa).unwrap_or_else(context);
                check_isa::<bf16, i64>(&case, isa).unwrap_or_else(context);
                check_isa::<f64, i64>(&case, isa).unwrap_or_else(context);
            }
        }
    }
}

/// The kernels and the reference share no code, and agree where numbers end, too.
#[test]
fn infinite_logits_match_the_reference() {
    let values = [-f64::INFINITY, f64::INFINITY, f64::NAN, 0.5, -2.0];
    for case in 0..values.len().pow(3) {
        let logits = [values[case % 5], values[case / 5 % 5], values[case / 25]];
        let hard = [plain(0.75, Reduction::None), plain(1.0, Reduction::None), EncouragingLoss::cross_entropy()];
        let smooth = hard.map(|loss| loss.to_builder().label_smoothing(0.1).build().unwrap());
        for loss in hard.into_iter().chain(smooth) {
            let input =
                Input { logits: &logits, shape: &[1, 3], labels: &[0], class_weights: None, bonus_weight: None };
            let expected = reference::evaluate(&loss, &input, &[1.0]).unwrap();
            let got = one_row(&loss, &logits, 0);
            let same = |a: f64, b: f64| a == b || (a - b).abs() < 1e-12 || (a.is_nan() && b.is_nan());
            assert!(same(got.loss[0], expected.loss[0]), "{logits:?}: {got:?} {expected:?}");
            assert!(same(got.margin[0].into(), expected.margin[0] as f32 as f64), "{logits:?}: {got:?} {expected:?}");
            for class in 0..3 {
                assert!(same(got.dlogits[class], expected.dlogits[class]), "{logits:?}: {got:?} {expected:?}");
            }
        }
    }
}
