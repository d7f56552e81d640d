//! Attributes and optional inputs, each in every kind of kernel.

use elonnx::loss::{Bonus, EncouragingLoss, EncouragingLossBuilder, Reduction};
use half::bf16;

use crate::case::{Case, check};
use crate::device::Device;

/// One shape for each kind of kernel: a thread a row, an inner axis, rows in 4 and in 8 registers, long rows.
const SHAPES: [&[usize]; 6] = [&[37, 5], &[2, 70, 9], &[9, 45], &[5, 519], &[3, 1029], &[2, 2065]];

/// Checks a loss on all shapes; `change` makes the rest of the case.
#[track_caller]
fn check_shapes(builder: EncouragingLossBuilder, change: impl Fn(Case) -> Case) {
    let device = Device::lend();
    for shape in SHAPES {
        let case = change(Case::of_shape(shape, shape.len() as u64).with(builder.build().unwrap()));
        check::<f32, i64>(&device, &case).unwrap_or_else(|error| panic!("{error}"));
        check::<bf16, i32>(&device, &case).unwrap_or_else(|error| panic!("{error}"));
        if shape[1] < 500 {
            check::<f64, i64>(&device, &case).unwrap_or_else(|error| panic!("{error}"));
        }
    }
}

/// Some of the rows have their label far ahead of the others, so that p lies on both sides of `log_end`, and near 1.
fn with_sure_rows(mut case: Case) -> Case {
    for row in 0..case.rows() {
        let at = case.index(row, case.labels[row] as usize);
        case.logits[at] += [0.0, 4.0, 8.0, 12.0, 20.0, 40.0][row % 6];
    }
    case
}

#[test]
fn cuda_parameters_log_end() {
    for log_end in [0.05, 0.5, 0.75, 0.999, 0.999_97, 1.0] {
        check_shapes(EncouragingLoss::builder().log_end(log_end), with_sure_rows);
    }
}

#[test]
fn cuda_parameters_power_and_cosine() {
    for power in [0.3, 1.0, 2.0, 5.0] {
        check_shapes(EncouragingLoss::builder().bonus(Bonus::Power).power(power), with_sure_rows);
    }
    check_shapes(EncouragingLoss::builder().bonus(Bonus::Cosine), with_sure_rows);
}

#[test]
fn cuda_parameters_bonus_weight() {
    for rho in [0.0, 0.5, 3.0] {
        check_shapes(EncouragingLoss::builder().bonus_weight(rho), with_sure_rows);
        // the input wins over the attribute
        let input = move |case| Case { bonus_weight: Some(rho), ..with_sure_rows(case) };
        check_shapes(EncouragingLoss::builder().bonus_weight(7.0).bonus(Bonus::Cosine), input);
    }
}

#[test]
fn cuda_parameters_reductions() {
    for reduction in [Reduction::Mean, Reduction::Sum, Reduction::None] {
        check_shapes(EncouragingLoss::builder().reduction(reduction), |case| case);
    }
    check_shapes(EncouragingLoss::builder().reduction(Reduction::None), |case| case.with_dloss_per_row(4));
}

#[test]
fn cuda_parameters_class_weights() {
    for reduction in [Reduction::Mean, Reduction::Sum, Reduction::None] {
        check_shapes(EncouragingLoss::builder().reduction(reduction), |case| case.with_weights(5));
    }
}

#[test]
fn cuda_parameters_ignored_rows() {
    for (index, inside) in [(-100, false), (1, true), (i64::MIN, false)] {
        for reduction in [Reduction::Mean, Reduction::Sum, Reduction::None] {
            let loss = EncouragingLoss::builder().ignore_index(Some(index)).reduction(reduction);
            let device = Device::lend();
            for shape in SHAPES {
                let mut case = Case::of_shape(shape, 11).with(loss.build().unwrap());
                let ignored: Vec<usize> = (0..case.rows()).filter(|row| row % 3 == 1).collect();
                for &row in &ignored {
                    case.labels[row] = index;
                    // not even read: a NaN stays where it is
                    for class in 0..case.classes() {
                        let at = case.index(row, class);
                        case.logits[at] = f64::NAN;
                    }
                }
                check::<f32, i64>(&device, &case).unwrap_or_else(|error| panic!("{error}"));
                if inside || index == -100 {
                    check::<bf16, i32>(&device, &case).unwrap_or_else(|error| panic!("{error}"));
                }
                check::<f32, i64>(&device, &case.with_weights(1)).unwrap_or_else(|error| panic!("{error}"));
            }
        }
    }
}

#[test]
fn cuda_parameters_all_rows_ignored() {
    for reduction in [Reduction::Mean, Reduction::Sum, Reduction::None] {
        for smoothing in [0.0, 0.1] {
            let loss =
                EncouragingLoss::builder().ignore_index(Some(-1)).reduction(reduction).label_smoothing(smoothing);
            let shapes = &SHAPES[..if smoothing > 0.0 { 3 } else { 6 }];
            let device = Device::lend();
            for shape in shapes {
                let mut case = Case::of_shape(shape, 12).with(loss.build().unwrap());
                case.labels.fill(-1);
                check::<f32, i64>(&device, &case).unwrap_or_else(|error| panic!("{error}"));
                check::<bf16, i32>(&device, &case).unwrap_or_else(|error| panic!("{error}"));
                check::<f64, i32>(&device, &case).unwrap_or_else(|error| panic!("{error}"));
            }
        }
    }
}

#[test]
fn cuda_parameters_weights_that_sum_to_zero() {
    let device = Device::lend();
    for shape in SHAPES {
        let mut case = Case::of_shape(shape, 13);
        case.labels.fill(1);
        let weight = |class| if class == 1 { 0.0 } else { 2.0 };
        case.class_weights = Some((0..case.classes()).map(weight).collect());
        // an infinite loss with weight 0 does not count either
        let at = case.index(0, 1);
        case.logits[at] = f64::NEG_INFINITY;
        check::<f32, i64>(&device, &case).unwrap_or_else(|error| panic!("{error}"));
        check::<bf16, i64>(&device, &case).unwrap_or_else(|error| panic!("{error}"));
    }
}

#[test]
fn cuda_parameters_no_rows() {
    let device = Device::lend();
    for reduction in [Reduction::Mean, Reduction::Sum, Reduction::None] {
        for shape in [&[0, 3][..], &[2, 3, 0], &[0, 5000]] {
            let case = Case::of_shape(shape, 14);
            let loss = EncouragingLoss::builder().reduction(reduction).build().unwrap();
            check::<f32, i64>(&device, &case.with(loss)).unwrap_or_else(|error| panic!("{error}"));
            check::<bf16, i32>(&device, &case.with(loss)).unwrap_or_else(|error| panic!("{error}"));
        }
    }
}
