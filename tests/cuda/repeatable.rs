//! The same bits every time, whichever thread comes first.

use elonnx::loss::{EncouragingLoss, Reduction};
use half::f16;

use crate::case::{Case, Run};
use crate::device::Device;

const SHAPES: [&[usize]; 9] =
    [&[300, 5], &[40, 45], &[9, 519], &[7, 1029], &[3, 2065], &[2, 41_300], &[3, 70, 33], &[5, 9, 7], &[2, 66, 5]];

/// All results of a case, as bits.
fn bits(device: &Device, case: &Case) -> Vec<u64> {
    let mut bits = Run::<f32, i64>::new(device, case).fused(true).unwrap().bits;
    let run = Run::<f16, i32>::new(device, case);
    let forward = run.forward(true).unwrap();
    bits.extend(&forward.bits);
    bits.extend(run.fused(true).unwrap().bits);
    bits.extend(run.gradient(None).unwrap().bits);
    bits.extend(run.gradient(Some(&forward.margin)).unwrap().bits);
    bits
}

#[test]
fn cuda_repeatable_whatever_the_order_of_threads() {
    let device = Device::lend();
    for (i, shape) in SHAPES.into_iter().enumerate() {
        for reduction in [Reduction::Mean, Reduction::None] {
            let loss = EncouragingLoss::builder().reduction(reduction).ignore_index(Some(2)).build().unwrap();
            let case = Case::of_shape(shape, i as u64).with(loss).with_weights(6);
            device.set("order", 0);
            let first = bits(&device, &case);
            for order in [1, 0xDEAD_BEEF, u64::MAX - i as u64] {
                device.set("order", order);
                assert!(bits(&device, &case) == first, "order {order}: {}", case.describe());
            }
        }
    }
}

#[test]
fn cuda_repeatable_with_smoothed_labels() {
    let device = Device::lend();
    let loss = EncouragingLoss::builder().label_smoothing(0.2).build().unwrap();
    for shape in [&[300, 5][..], &[9, 20], &[4, 130], &[2, 70, 33], &[2, 9, 5]] {
        let case = Case::of_shape(shape, 7).with(loss).with_weights(8);
        device.set("order", 0);
        let first = bits(&device, &case);
        device.set("order", 99);
        assert!(bits(&device, &case) == first, "{}", case.describe());
    }
}

/// Where dlogits go does not matter either: beside the logits, in their place, at another address.
#[test]
fn cuda_repeatable_in_place() {
    let device = Device::lend();
    for (i, shape) in SHAPES.into_iter().enumerate() {
        let case = Case::of_shape(shape, i as u64);
        let beside = Run::<f32, i64>::new(&device, &case).fused(true).unwrap().bits;
        let in_place = Run::<f32, i64>::new(&device, &case).fused_in_place().unwrap().bits;
        assert!(beside == in_place, "{}", case.describe());
    }
}
