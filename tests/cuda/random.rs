//! Random problems, against the reference and against themselves with another order of threads.
//!
//! A failing one is made smaller and printed with its numbers; proptest keeps its seed and tries it first next time.

use elonnx::loss::{Bonus, EncouragingLoss, Reduction};
use half::{bf16, f16};
use proptest::prelude::*;

use crate::case::{Case, Precision, Run, check};
use crate::device::{Device, Element};

/// Any valid parameters.
fn loss() -> impl Strategy<Value = EncouragingLoss> {
    let bonus = prop::sample::select(vec![Bonus::Log, Bonus::Log, Bonus::Power, Bonus::Cosine]);
    let log_end = prop_oneof![Just(1.0f32), Just(0.75), 0.05f32..1.0];
    let bonus_weight = prop_oneof![Just(1.0f32), Just(0.0), 0.0f32..3.0];
    let smoothing = prop_oneof![3 => Just(0.0f32), 1 => 0.0f32..=1.0];
    let reduction = prop::sample::select(vec![Reduction::Mean, Reduction::Sum, Reduction::None]);
    let ignore = prop::sample::select(vec![None, Some(-100i64), Some(1)]);
    (bonus, log_end, 0.3f32..5.0, bonus_weight, smoothing, reduction, ignore).prop_map(
        |(bonus, log_end, power, bonus_weight, smoothing, reduction, ignore)| {
            EncouragingLoss::builder()
                .bonus(bonus)
                .log_end(log_end)
                .power(power)
                .bonus_weight(bonus_weight)
                .label_smoothing(smoothing)
                .reduction(reduction)
                .ignore_index(ignore)
                .build()
                .unwrap()
        },
    )
}

/// Few classes or many, with an inner axis or without; not so many logits that a test takes long.
fn shape() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![
        3 => (1usize..70, 2usize..40).prop_map(|(rows, classes)| vec![rows, classes]),
        3 => (1usize..7, 33usize..2200).prop_map(|(rows, classes)| vec![rows, classes]),
        1 => (1usize..3, 2200usize..9000).prop_map(|(rows, classes)| vec![rows, classes]),
        3 => (1usize..4, 2usize..90, prop::collection::vec(1usize..9, 1..3)).prop_map(|(rows, classes, inner)| {
            [vec![rows, classes], inner].concat()
        }),
    ]
}

/// A problem whose logits are as large as one of `scales`.
fn case(scales: &'static [f64]) -> impl Strategy<Value = Case> {
    let input = prop::option::weighted(0.2, prop_oneof![Just(0.0f32), 0.0f32..3.0]);
    let shape = (shape(), any::<u64>(), [0usize..8, 0usize..8]);
    let flags = (any::<bool>(), any::<bool>());
    (loss(), shape, prop::sample::select(scales), input, flags).prop_map(
        |(loss, (mut shape, seed, offsets), scale, bonus_weight, (weighted, per_row))| {
            // the reference takes a softmax per class where labels are smoothed
            if loss.label_smoothing() > 0.0 {
                shape[1] = 2 + shape[1] % 200;
            }
            let mut random = fastrand::Rng::with_seed(seed);
            let mut case = Case { offsets, bonus_weight, ..Case::of_shape(&shape, seed).with(loss) };
            case.logits.iter_mut().for_each(|z| *z *= scale / 8.0);
            for label in &mut case.labels {
                if random.u8(0..5) == 0 {
                    *label = loss.ignore_index().unwrap_or(*label);
                }
            }
            if per_row && loss.reduction() == Reduction::None {
                case = case.with_dloss_per_row(seed);
            }
            if weighted { case.with_weights(seed) } else { case }
        },
    )
}

/// The reference, with threads in an order of their own; and the same bits in another.
fn holds<T: Precision, L: Element + TryFrom<i64>>(case: &Case, order: u64) -> Result<(), TestCaseError> {
    let device = Device::lend();
    device.set("order", order);
    check::<T, L>(&device, case).map_err(TestCaseError::fail)?;
    let bits = || Run::<T, L>::new(&device, case).fused(true).unwrap().bits;
    let first = bits();
    device.set("order", order / 2);
    prop_assert!(bits() == first, "orders {} and {}", order, order / 2);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn cuda_random_f32(case in case(&[1.0, 10.0, 100.0, 1e4, 1e30]), order in any::<u64>()) {
        holds::<f32, i64>(&case, order)?;
    }

    #[test]
    fn cuda_random_f16(case in case(&[1.0, 10.0, 100.0, 65504.0]), order in any::<u64>()) {
        holds::<f16, i32>(&case, order)?;
    }

    #[test]
    fn cuda_random_bf16(case in case(&[1.0, 10.0, 100.0, 1e4, 1e30]), order in any::<u64>()) {
        holds::<bf16, i64>(&case, order)?;
    }

    #[test]
    fn cuda_random_f64(case in case(&[1.0, 10.0, 100.0, 1e4, 1e300]), order in any::<u64>()) {
        holds::<f64, i32>(&case, order)?;
    }
}
