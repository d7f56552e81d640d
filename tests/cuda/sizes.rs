//! Sizes on both sides of every choice that the plan and the kernels make (src/runtime/cuda/plan.rs), in all types.

use elonnx::loss::{EncouragingLoss, Reduction};
use half::{bf16, f16};

use crate::case::{Case, check, check_fused};
use crate::device::Device;

/// Checks in all types of logits, with labels of both types.
#[track_caller]
pub fn check_all(device: &Device, case: &Case) {
    for check in [check::<f32, i64>, check::<f16, i32>, check::<bf16, i64>, check::<f64, i32>] {
        check(device, case).unwrap_or_else(|error| panic!("{error}"));
    }
}

/// A row starts where the one before it ends, so rows of an odd number of classes have all alignments in turn; the first
/// is moved from case to case, logits and dlogits by different distances.
fn moved(shape: &[usize]) -> Case {
    let classes = shape[1];
    Case { offsets: [classes % 8, (classes / 8 + 3) % 8], ..Case::of_shape(shape, classes as u64) }
}

/// One thread per row, and from 32 classes on a few.
#[test]
fn cuda_sizes_few_classes() {
    let device = Device::lend();
    for classes in (2..=41).chain(60..=70) {
        check_all(&device, &moved(&[5, classes]));
    }
}

/// Rows in registers: 8, 16, 32 lanes, 4 and 8 vectors a lane; every remainder of the vectors of 16 bytes.
#[test]
fn cuda_sizes_rows_in_registers() {
    let device = Device::lend();
    // where the number of lanes changes: f32 from 4, f16 from 8 elements a vector
    let edges = [127, 255, 511, 1023];
    for classes in edges.into_iter().flat_map(|edge| edge..edge + 9).chain([100, 200, 700, 900]) {
        check_all(&device, &moved(&[3, classes]));
    }
}

/// The first sizes that do not fit registers: f32 from 1028, f16 from 2056 classes.
#[test]
fn cuda_sizes_first_long_rows() {
    let device = Device::lend();
    for classes in (2047..=2065).chain(4095..=4100) {
        check_all(&device, &moved(&[2, classes]));
    }
}

#[test]
fn cuda_sizes_long_rows() {
    let device = Device::lend();
    for classes in [8191, 8192, 16_385, 32_000] {
        check_all(&device, &moved(&[2, classes]));
    }
    check_all(&device, &moved(&[1, 50_257]));
}

/// Longer than shared memory, in f32 and with 128256 classes in all types.
#[test]
fn cuda_sizes_rows_longer_than_shared_memory() {
    let device = Device::lend();
    let case = moved(&[1, 128_256]);
    check::<bf16, i64>(&device, &case).unwrap_or_else(|error| panic!("{error}"));
    check::<f32, i32>(&device, &moved(&[2, 41_300])).unwrap_or_else(|error| panic!("{error}"));
}

/// A device with the shared memory of a desktop card takes other kernels for the same sizes.
#[test]
fn cuda_sizes_on_a_device_with_little_shared_memory() {
    let device = Device::lend_with_own_context();
    if !device.set("capability", 86) {
        return println!("only with the stand-in");
    }
    for classes in [2061, 12_000, 24_837, 25_601] {
        check::<f32, i64>(&device, &moved(&[2, classes])).unwrap_or_else(|error| panic!("{error}"));
    }
    check::<f16, i64>(&device, &moved(&[1, 50_257])).unwrap_or_else(|error| panic!("{error}"));
}

/// Every distance from an aligned address, of logits and dlogits, for each kind of kernel.
#[test]
fn cuda_sizes_every_alignment() {
    let device = Device::lend();
    for classes in [17, 40, 131, 1029, 2063] {
        for offset in 0..8 {
            for other in [offset, (offset + 5) % 8] {
                let case = Case { offsets: [offset, other], ..Case::of_shape(&[2, classes], offset as u64) };
                check::<bf16, i64>(&device, &case).unwrap_or_else(|error| panic!("{error}"));
                if offset < 4 {
                    check::<f32, i64>(&device, &case).unwrap_or_else(|error| panic!("{error}"));
                }
            }
        }
    }
}

/// Rows that fill a block, that leave some of it empty, that need several.
#[test]
fn cuda_sizes_numbers_of_rows() {
    let device = Device::lend();
    for rows in [1, 2, 3, 5, 31, 32, 33, 127, 128, 129, 257] {
        for classes in [2, 9, 33, 70] {
            check_all(&device, &moved(&[rows, classes]));
        }
    }
    for rows in [1, 7, 40] {
        check::<f16, i64>(&device, &moved(&[rows, 1033])).unwrap_or_else(|error| panic!("{error}"));
    }
}

/// More rows than the grid has blocks for: a block takes several in turn.
#[test]
fn cuda_sizes_more_rows_than_blocks() {
    let device = Device::lend();
    let weighted = |case: Case| {
        let loss = case.loss.to_builder().ignore_index(Some(1)).build().unwrap();
        Case { loss, ..case }.with_weights(3)
    };
    // a row a block; then sums of weights of several blocks
    check_fused::<f64, i64>(&device, &weighted(moved(&[2100, 65]))).unwrap_or_else(|error| panic!("{error}"));
    check_fused::<f32, i32>(&device, &weighted(moved(&[66_000, 2]))).unwrap_or_else(|error| panic!("{error}"));
    // 16 rows a block
    check_fused::<f16, i64>(&device, &weighted(moved(&[16 * 2048 + 5, 33]))).unwrap_or_else(|error| panic!("{error}"));
    // 32 rows a block
    check_fused::<bf16, i64>(&device, &weighted(moved(&[2, 64, 33_000]))).unwrap_or_else(|error| panic!("{error}"));
}

/// An inner axis: neighbouring rows lie side by side, classes apart.
#[test]
fn cuda_sizes_inner_axes() {
    let device = Device::lend();
    let inner = [2, 3, 5, 31, 32, 33, 64, 100];
    for (i, inner) in inner.into_iter().enumerate() {
        for classes in [2, 10, 40, 63, 64, 65, 131] {
            check_all(&device, &moved(&[2 - i % 2, classes, inner]));
        }
    }
    for shape in [&[3, 5, 2, 3][..], &[2, 70, 4, 5, 3], &[1, 1030, 33], &[2, 300, 7], &[5, 3, 1], &[4, 66, 1, 1]] {
        check_all(&device, &moved(shape));
    }
}

/// Smoothed labels have kernels of their own.
#[test]
fn cuda_sizes_smoothed_labels() {
    let device = Device::lend();
    let losses = [0.1, 0.9].map(|smoothing| EncouragingLoss::builder().label_smoothing(smoothing).build().unwrap());
    for classes in (2..=10).chain([16, 33, 63, 64, 65, 130, 257]) {
        check_all(&device, &moved(&[3, classes]).with(losses[classes % 2]));
        check_all(&device, &moved(&[3, classes]).with(losses[0]).with_weights(classes as u64));
    }
    for shape in [[2, 5, 33], [2, 20, 3], [1, 64, 40], [2, 100, 7], [1, 90, 65]] {
        check_all(&device, &moved(&shape).with(losses[0]));
    }
    // not in f32 only: sums of many terms
    check_all(&device, &moved(&[1, 600]).with(losses[1]));
}

/// All sizes up to 2100, and every type at the largest; takes minutes.
#[test]
#[ignore = "a larger grid"]
fn cuda_sizes_all() {
    let device = Device::lend();
    for classes in 2..2100 {
        check_all(&device, &moved(&[3, classes]));
    }
    for classes in [65_537, 100_001, 128_256, 202_048] {
        check_all(&device, &moved(&[2, classes]));
    }
    for rows in [2050, 4100] {
        let none = EncouragingLoss::builder().reduction(Reduction::None).build().unwrap();
        check::<f32, i64>(&device, &moved(&[rows, 1100]).with(none)).unwrap_or_else(|error| panic!("{error}"));
        check::<bf16, i64>(&device, &moved(&[rows, 2100])).unwrap_or_else(|error| panic!("{error}"));
    }
    check_all(&device, &moved(&[262_200, 2]));
}
