//! Numbers at the end of the range, undefined ones, and labels that are none.

use elonnx::loss::{Bonus, EncouragingLoss, Reduction};
use half::{bf16, f16};

use crate::case::{Case, Precision, Run, check};
use crate::device::{Device, Element};

const INF: f64 = f64::INFINITY;

/// Classes for each kind of kernel.
const CLASSES: [usize; 6] = [3, 20, 45, 600, 1029, 2065];

fn rows(loss: EncouragingLoss) -> EncouragingLoss {
    loss.to_builder().reduction(Reduction::None).build().unwrap()
}

/// Losses that treat certainty differently.
fn losses() -> [EncouragingLoss; 3] {
    [
        rows(EncouragingLoss::default()),
        rows(EncouragingLoss::builder().log_end(1.0).build().unwrap()),
        rows(EncouragingLoss::cross_entropy()),
    ]
}

/// All combinations of strange numbers at the label, at another class and at the last one, a row each.
fn strange(classes: usize, loss: EncouragingLoss) -> Case {
    const VALUES: [f64; 5] = [-INF, INF, f64::NAN, 0.5, -2.0];
    let mut case = Case::of_shape(&[125, classes], 21).with(loss);
    for row in 0..125 {
        case.labels[row] = if classes > 3 { (row % (classes - 2)) as i64 } else { 0 };
        let label = case.labels[row] as usize;
        for (class, value) in [(label, row % 5), (label + 1, row / 5 % 5), (classes - 1, row / 25)] {
            let at = case.index(row, class);
            case.logits[at] = VALUES[value];
        }
    }
    case
}

#[test]
fn cuda_values_infinite_and_undefined_logits() {
    let device = Device::lend();
    for classes in CLASSES {
        for loss in &losses()[..if classes > 1000 { 1 } else { 3 }] {
            check::<f32, i64>(&device, &strange(classes, *loss)).unwrap_or_else(|error| panic!("{error}"));
            check::<bf16, i64>(&device, &strange(classes, *loss)).unwrap_or_else(|error| panic!("{error}"));
        }
        if classes < 1000 {
            check::<f64, i64>(&device, &strange(classes, losses()[0])).unwrap_or_else(|error| panic!("{error}"));
        }
    }
}

#[test]
fn cuda_values_infinite_and_undefined_logits_with_smoothed_labels() {
    let device = Device::lend();
    for classes in [3, 20, 70] {
        for loss in losses() {
            let loss = loss.to_builder().label_smoothing(0.1).build().unwrap();
            check::<f32, i64>(&device, &strange(classes, loss)).unwrap_or_else(|error| panic!("{error}"));
            check::<f64, i64>(&device, &strange(classes, loss)).unwrap_or_else(|error| panic!("{error}"));
        }
    }
}

/// Rows of which only the label is not masked, or nothing.
#[test]
fn cuda_values_masked_classes() {
    let device = Device::lend();
    for classes in CLASSES {
        for loss in losses() {
            let mut case = Case::of_shape(&[4, classes], 22).with(loss);
            for class in 0..classes {
                let label = case.labels.clone();
                let masked = [class != label[0] as usize, true, class % 2 == 0, class > label[3] as usize];
                for row in (0..4).filter(|&row| masked[row]) {
                    let at = case.index(row, class);
                    case.logits[at] = -INF;
                }
            }
            check::<f32, i64>(&device, &case).unwrap_or_else(|error| panic!("{error}"));
            check::<f16, i64>(&device, &case).unwrap_or_else(|error| panic!("{error}"));
        }
    }
}

/// Finite wherever the true value is.
#[test]
fn cuda_values_large_logits() {
    let device = Device::lend();
    for bonus in [Bonus::Log, Bonus::Power, Bonus::Cosine] {
        for log_end in [0.75, 1.0] {
            let loss = rows(EncouragingLoss::builder().bonus(bonus).log_end(log_end).build().unwrap());
            for classes in CLASSES {
                let scaled = |scale: f64| {
                    let mut case = Case::of_shape(&[4, classes], 23).with(loss);
                    case.logits.iter_mut().for_each(|z| *z *= scale / 8.0);
                    case
                };
                check::<f32, i64>(&device, &scaled(1e4)).unwrap_or_else(|error| panic!("{error}"));
                check::<f32, i64>(&device, &scaled(1e30)).unwrap_or_else(|error| panic!("{error}"));
                check::<bf16, i64>(&device, &scaled(1e30)).unwrap_or_else(|error| panic!("{error}"));
                check::<f16, i64>(&device, &scaled(3e4)).unwrap_or_else(|error| panic!("{error}"));
                if classes < 1000 {
                    check::<f64, i64>(&device, &scaled(1e300)).unwrap_or_else(|error| panic!("{error}"));
                }
            }
        }
    }
}

/// With `log_end` 1 the slope is 1 however sure the row is, in every type.
#[test]
fn cuda_values_the_bonus_does_not_fade() {
    let device = Device::lend();
    for classes in CLASSES {
        let mut case = Case::of_shape(&[3, classes], 24).with(losses()[1]);
        for row in 0..3 {
            let at = case.index(row, case.labels[row] as usize);
            case.logits[at] = [30.0, 300.0, 30_000.0][row];
        }
        check::<f32, i64>(&device, &case).unwrap_or_else(|error| panic!("{error}"));
        check::<f16, i64>(&device, &case).unwrap_or_else(|error| panic!("{error}"));
    }
}

/// Labels outside [0, C): their rows are NaN, the others what they are without them.
fn wrong_labels<T: Precision, L: Element + TryFrom<i64>>(device: &Device, case: &Case, wrong: &[i64]) {
    let loss = rows(case.loss);
    let right = case.with(loss);
    let mut case = right.clone();
    for (row, &label) in wrong.iter().enumerate() {
        case.labels[2 * row] = label;
    }
    let is_wrong = |row: usize| row.is_multiple_of(2) && row / 2 < wrong.len();
    let expected = Run::<T, L>::new(device, &right).fused(true).unwrap();
    let run = Run::<T, L>::new(device, &case);
    let (fused, forward) = (run.fused(true).unwrap(), run.forward(true).unwrap());
    let gradients = [
        fused.dlogits.clone(),
        run.gradient(None).unwrap().dlogits,
        run.gradient(Some(&forward.margin)).unwrap().dlogits,
        Run::<T, L>::new(device, &case).fused_in_place().unwrap().dlogits,
    ];
    let undefined = |x: T| x.to_f64().is_nan();
    for row in 0..case.rows() {
        for got in [&fused, &forward] {
            assert_eq!(undefined(got.loss[row]), is_wrong(row), "loss of row {row}: {}", case.describe());
            assert_eq!(got.margin[row].is_nan(), is_wrong(row), "margin of row {row}: {}", case.describe());
            assert!(is_wrong(row) || got.loss[row] == expected.loss[row]);
        }
        for (which, gradient) in gradients.iter().enumerate() {
            for class in 0..case.classes() {
                let at = case.index(row, class);
                let place = || format!("gradient {which}, row {row}, class {class}: {}", case.describe());
                assert_eq!(undefined(gradient[at]), is_wrong(row), "{}", place());
                // dloss is 1 in the fused operator only
                let same = which > 0 && which < 3 || is_wrong(row) || gradient[at] == expected.dlogits[at];
                assert!(same, "{}", place());
            }
        }
    }
    let mean = case.loss.to_builder().reduction(Reduction::Mean).build().unwrap();
    let mean = Run::<T, L>::new(device, &case.with(mean)).forward(false).unwrap();
    assert!(undefined(mean.loss[0]), "{}", case.describe());
}

#[test]
fn cuda_values_wrong_labels_make_their_rows_undefined() {
    let device = Device::lend();
    for classes in CLASSES {
        let end = classes as i64;
        for smoothing in [0.0, 0.1] {
            let loss = EncouragingLoss::builder().ignore_index(Some(-100)).label_smoothing(smoothing).build().unwrap();
            if smoothing > 0.0 && classes > 100 {
                continue;
            }
            for shape in [&[9, classes][..], &[3, classes, 3]] {
                if shape.len() == 3 && classes > 100 {
                    continue;
                }
                let case = Case::of_shape(shape, 25).with(loss);
                wrong_labels::<f32, i64>(&device, &case, &[end, -1, i64::MAX, i64::MIN]);
                wrong_labels::<bf16, i32>(&device, &case, &[end, -1, i32::MAX.into(), i32::MIN.into()]);
                wrong_labels::<f64, i64>(&device, &case, &[end, -1, 1 << 32, -101]);
            }
        }
    }
}

/// Class weights are not read where the label is none.
#[test]
fn cuda_values_wrong_labels_with_class_weights() {
    let device = Device::lend();
    for classes in CLASSES {
        let case = Case::of_shape(&[5, classes], 26);
        let case = Case { class_weights: Some(vec![1.0; classes]), ..case };
        wrong_labels::<f32, i64>(&device, &case, &[classes as i64, -1]);
    }
}

#[test]
fn cuda_values_a_bonus_weight_input_that_is_none_makes_all_undefined() {
    let device = Device::lend();
    for rho in [-0.5, f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        for (classes, smoothing) in CLASSES.map(|classes| (classes, 0.0)).into_iter().chain([(5, 0.1), (20, 0.1)]) {
            for reduction in [Reduction::None, Reduction::Mean] {
                let loss = EncouragingLoss::builder().reduction(reduction).label_smoothing(smoothing).build().unwrap();
                let case = Case { bonus_weight: Some(rho), ..Case::of_shape(&[3, classes], 27).with(loss) };
                let run = Run::<f32, i64>::new(&device, &case);
                let (fused, forward) = (run.fused(true).unwrap(), run.forward(false).unwrap());
                let gradient = run.gradient(None).unwrap();
                let losses = fused.loss.iter().chain(&forward.loss);
                assert!(
                    losses.chain(&fused.dlogits).chain(&gradient.dlogits).all(|x| x.is_nan()),
                    "{}",
                    case.describe()
                );
            }
        }
    }
}
