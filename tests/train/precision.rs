//! Runs that compute in float16 or bfloat16.

use std::path::Path;

use elonnx::rewrite::Precision;
use elonnx::train::{End, Event, Flow, LearningRate, TrainError, TrainerOptions, files};

use super::{library, options, trainer};

fn in_precision(precision: Precision, options: TrainerOptions) -> TrainerOptions {
    let mut options = options;
    options.step.precision = precision;
    options
}

/// The numbers of all tensors in a checkpoint, and its header; that also holds how long epochs took.
fn checkpoint(path: &Path) -> (Vec<u8>, String) {
    let bytes = std::fs::read(path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    (bytes[8 + length..].to_vec(), String::from_utf8(bytes[8..8 + length].to_vec()).unwrap())
}

#[test]
fn float16_learns_and_goes_on_to_the_bit() {
    let Some(library) = library("float16_learns_and_goes_on_to_the_bit") else { return };
    let folder = tempfile::tempdir().unwrap();
    let options = |name: &str| {
        let rate = LearningRate::constant(0.02);
        let run_folder = Some(folder.path().join(name));
        let options = TrainerOptions { epochs: 12, learning_rate: rate, run_folder, ..options(library.clone()) };
        in_precision(Precision::F16, options)
    };
    let mut whole = trainer(folder.path(), options("whole")).unwrap();
    // a CPU has kernels in float16, or it is told that this one has not
    assert!(whole.notes().iter().all(|note| note.contains("no kernel in float16")), "{:?}", whole.notes());
    assert_eq!(whole.run(|_| Flow::Continue).unwrap().end, End::Finished);
    assert!(whole.skipped_steps().is_some_and(|steps| steps < 60), "{:?}", whole.skipped_steps());
    assert!(whole.history()[11].validation.unwrap().accuracy > 0.9, "{:?}", whole.history()[11]);

    let mut part = trainer(folder.path(), options("parts")).unwrap();
    let stop = |event: &Event<'_>| if let Event::Step { done: 3, .. } = event { Flow::Stop } else { Flow::Continue };
    assert_eq!(part.run(stop).unwrap().end, End::Stopped);
    let mut part = trainer(folder.path(), TrainerOptions { resume: true, ..options("parts") }).unwrap();
    assert_eq!(part.run(|_| Flow::Continue).unwrap().end, End::Finished);
    assert_eq!(part.trained().unwrap().to_bytes(), whole.trained().unwrap().to_bytes());
    let last = |name: &str| checkpoint(&folder.path().join(name).join(files::LAST));
    let ((parts, header), (expected, _)) = (last("parts"), last("whole"));
    assert_eq!(parts, expected);
    for state in ["loss_scale", "good_steps", "skipped_steps"] {
        assert!(header.contains(&format!("\"{state}\"")), "{header}");
    }
    let other = in_precision(Precision::F32, TrainerOptions { resume: true, ..options("parts") });
    let text = trainer(folder.path(), other).err().expect("an error").to_string();
    assert!(text.contains("precision was f16 and is f32 now"), "{text}");
}

#[test]
fn a_runtime_without_kernels_is_told() {
    let Some(library) = library("a_runtime_without_kernels_is_told") else { return };
    let folder = tempfile::tempdir().unwrap();
    match trainer(folder.path(), in_precision(Precision::Bf16, options(library))) {
        Err(TrainError::NoKernel { precision: Precision::Bf16, operator }) => assert_eq!(operator, "Gemm"),
        Err(other) => panic!("{other}"),
        // a release that has them
        Ok(mut trainer) => drop(trainer.run(|_| Flow::Stop).unwrap()),
    }
}
