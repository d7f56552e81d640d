//! The kernels against the exact path in f64, which the tests of `rows` hold against the reference: that one takes a
//! softmax per class, and so is too slow for many classes.

use half::{bf16, f16};

use super::super::run::{GradientJob, Job};
use super::super::{ForwardOutput, Output, Problem, Sequential, Target, Upstream};
use crate::loss::element::Element;
use crate::loss::encouraging_loss::{Bonus, EncouragingLoss, Reduction};
use crate::loss::rows::Isa;
use crate::loss::shape::Shape;

/// Logits, and which label each row has.
struct Case {
    name: &'static str,
    shape: [usize; 3],
    logits: Vec<f64>,
    labels: Vec<i64>,
}

/// Loss, m and gradient of all rows.
fn exact(problem: &Problem<'_, f64>) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    let mut gradient = vec![0.0; problem.shape().elements()];
    let (mut losses, mut margins) = (vec![], vec![]);
    let to = Some(GradientJob::new(Output::new(&mut gradient), None, None, 1.0));
    let job = Job { losses: None, margins: None, forward: true, gradient: to };
    for row in 0..problem.rows() {
        let class = problem.labels.get(row) as usize;
        let target = Target { class, weight: problem.class_weight(class) };
        let (loss, m) = problem.exact_row(row, target, &job);
        losses.push(loss);
        margins.push(-m);
    }
    (losses, margins, gradient)
}

/// `half_ulp` of a number of type T near 1, `step` between its smallest numbers.
fn check<T: Element>(loss: &EncouragingLoss, case: &Case, weights: Option<&[f64]>, half_ulp: f64, step: f64) {
    let round = |values: &[f64]| values.iter().map(|&x| T::from_f64(x)).collect::<Vec<_>>();
    let widen = |values: &[T]| values.iter().map(|x| x.to_f64()).collect::<Vec<_>>();
    let shape = Shape::new(&case.shape).unwrap();
    let (logits, weights) = (round(&case.logits), weights.map(round));
    let (exact_logits, exact_weights) = (widen(&logits), weights.as_deref().map(widen));
    let oracle = Problem::new(loss, shape, &exact_logits, &case.labels, exact_weights.as_deref(), None).unwrap();
    let (losses, margins, gradient) = exact(&oracle);
    let (single, slope) = if size_of::<T>() == 8 { (1e-12, 1e-12) } else { (2e-6, 1e-5) };
    for isa in Isa::available() {
        let problem = Problem::new(loss, shape, &logits, &case.labels, weights.as_deref(), None).unwrap().with_isa(isa);
        let what = format!("{} {:?} {isa} {loss:?} {}", case.name, case.shape, std::any::type_name::<T>());
        let mut got_losses = vec![T::from_f64(9.0); problem.rows()];
        let mut got_margins = vec![9.0; problem.rows()];
        let mut fused = vec![T::from_f64(9.0); logits.len()];
        let output = ForwardOutput { losses: Some(&mut got_losses), margins: Some(&mut got_margins) };
        problem.forward_backward(&Sequential, output, &mut fused).unwrap();
        let mut backward = fused.clone();
        let upstream = Upstream { dloss: &[T::from_f64(1.0)], margins: Some(&got_margins) };
        problem.backward(&Sequential, &upstream, &mut backward).unwrap();
        assert!(fused.iter().zip(&backward).all(|(a, b)| a.to_f64() == b.to_f64()), "{what}");
        for row in 0..problem.rows() {
            let at = |class: usize| oracle.row(row).index(class);
            let largest = (0..shape.classes()).map(|class| gradient[at(class)].abs()).fold(0.0, f64::max);
            let allowed = single * losses[row].abs().max(largest) + half_ulp * losses[row].abs() + step;
            let error = (got_losses[row].to_f64() - losses[row]).abs();
            assert!(error <= allowed, "{what}: loss of row {row}: {:?}, {}", got_losses[row], losses[row]);
            let error = (f64::from(got_margins[row]) - margins[row]).abs();
            assert!(
                error <= 2e-6 * margins[row].abs().max(1.0),
                "{what}: margin {}, {}",
                got_margins[row],
                margins[row]
            );
            for class in 0..shape.classes() {
                let (got, expected) = (fused[at(class)].to_f64(), gradient[at(class)]);
                let allowed = slope * largest + half_ulp * expected.abs() + step;
                assert!((got - expected).abs() <= allowed, "{what}: row {row}, class {class}: {got}, {expected}");
            }
        }
    }
}

fn losses() -> Vec<EncouragingLoss> {
    let start = EncouragingLoss::builder().reduction(Reduction::Sum).label_smoothing(0.1);
    [
        start,
        start.log_end(0.3),
        start.log_end(0.004).bonus_weight(2.0),
        start.log_end(1.0).label_smoothing(0.4),
        start.bonus_weight(0.0),
        start.bonus(Bonus::Power),
        start.bonus(Bonus::Power).power(0.7),
        start.bonus(Bonus::Cosine),
    ]
    .map(|builder| builder.build().unwrap())
    .into()
}

/// The largest logit lies `gap` above a spread of ±4, in `ties` classes; every other row's label is one of those.
fn case(name: &'static str, shape: [usize; 3], gap: f64, ties: usize) -> Case {
    let [batch, classes, inner] = shape;
    let mut logits: Vec<f64> = (0..batch * classes * inner)
        .map(|i| (i as f64 * 0.618 + (i as f64 * 0.377).sin() * 40.0).sin() * 4.0)
        .collect();
    let mut labels = vec![];
    for row in 0..batch * inner {
        let top = |tie: usize| (row * 7919 + 5 + tie * 31) % classes;
        for tie in 0..ties {
            logits[(row / inner * classes + top(tie)) * inner + row % inner] = 4.0 + gap;
        }
        labels.push(if row % 2 == 0 { top(0) } else { (row * 37 + 11) % classes } as i64);
    }
    Case { name, shape, logits, labels }
}

/// Some classes count nothing.
fn weights(classes: usize) -> Vec<f64> {
    (0..classes).map(|class| [0.5, 1.0, 0.0, 2.5][class % 4]).collect()
}

/// Both sides of every choice the kernels make.
const SHAPES: [[usize; 3]; 14] = [
    [9, 4, 1],
    [33, 63, 1],
    [3, 64, 1],
    [3, 70, 1],
    [2, 256, 1],
    [2, 257, 1],
    [2, 2064, 1], // one piece of a row
    [2, 2065, 1],
    [2, 6001, 1],
    [40, 21, 15],
    [2, 21, 17],
    [1, 6, 1031],
    [1, 1500, 70], // classes in chunks
    [1, 9000, 2],
];

#[test]
fn every_layout_agrees_with_the_exact_path() {
    for shape in SHAPES {
        let case = case("spread", shape, 0.0, 0);
        for loss in losses() {
            check::<f32>(&loss, &case, None, 6e-8, 1e-37);
        }
        let (loss, weights) = (losses()[0], weights(shape[1]));
        check::<f32>(&loss, &case, Some(&weights), 6e-8, 1e-37);
        check::<f64>(&loss, &case, None, 0.0, 1e-300);
        check::<f16>(&loss, &case, Some(&weights), 4.9e-4, 6e-8);
        check::<f16>(&loss, &case, None, 4.9e-4, 6e-8);
        check::<bf16>(&loss, &case, Some(&weights), 3.91e-3, 1e-37);
    }
}

#[test]
fn a_top_class_agrees_with_the_exact_path_however_close_to_one() {
    for shape in [[4, 5, 1], [4, 70, 1], [2, 2065, 1], [1, 21, 17]] {
        let weights = weights(shape[1]);
        for (gap, ties) in [(0.0, 2), (0.0, 3), (3.0, 1), (20.0, 1), (20.0, 2), (60.0, 1), (60.0, 2), (100.0, 1)] {
            let case = case("top", shape, gap, ties);
            for loss in losses() {
                check::<f32>(&loss, &case, None, 6e-8, 1e-37);
                check::<f32>(&loss, &case, Some(&weights), 6e-8, 1e-37);
                check::<f64>(&loss, &case, None, 0.0, 1e-300);
            }
            check::<bf16>(&losses()[0], &case, None, 3.91e-3, 1e-37);
        }
    }
}
