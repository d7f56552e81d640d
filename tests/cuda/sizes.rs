//! Sizes on both sides of every choice that the kernels and the plan make.

use elonnx::loss::Reduction;
use half::{bf16, f16};

use crate::case::{Case, check};
use crate::device::Device;

/// Checks in all types of logits, with labels of both types.
#[track_caller]
fn check_all(device: &Device, case: &Case) {
    let checks = [check::<f32, i64>, check::<f16, i32>, check::<bf16, i64>, check::<f64, i32>];
    for check in checks {
        check(device, case).unwrap_or_else(|error| panic!("{error}"));
    }
}

/// A few classes: whole rows in a thread's registers, or few threads a row.
#[test]
fn cuda_few_classes() {
    let device = Device::lend();
    for classes in 2..=33 {
        for (rows, offsets) in [(5, [0, 0]), (33, [classes % 8, (classes + 3) % 8])] {
            let case = Case { offsets, ..Case::of_shape(&[rows, classes], classes as u64) };
            check_all(&device, &case);
        }
    }
}
