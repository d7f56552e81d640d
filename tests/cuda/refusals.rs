//! Failures of driver and device: sentences through ONNX Runtime's status, never a crash, and no harm to later runs.

use elonnx::loss::EncouragingLoss;
use half::f16;

use crate::case::{CUDA, Case, Run, node};
use crate::device::Device;
use crate::host::{Attribute, Host, Kernel, Node, Status};

/// `ORT_INVALID_ARGUMENT`
const INVALID_ARGUMENT: i32 = 2;
/// `ORT_RUNTIME_EXCEPTION`
const RUNTIME_EXCEPTION: i32 = 6;

fn case() -> Case {
    Case::of_shape(&[9, 45], 41)
}

/// A device with a context of its own and what the stand-in does wrong on it; `None` on a GPU.
fn failing(options: &[(&str, u64)]) -> Option<Device> {
    let device = Device::lend_with_own_context();
    let set = options.iter().all(|(option, value)| device.set(option, *value));
    if !set {
        println!("only with the stand-in");
    }
    set.then_some(device)
}

#[track_caller]
fn fails(run: &Run<f32, i64>, words: &[&str]) -> Status {
    let failure = run.fused(true).expect_err("the run fails");
    for word in words {
        assert!(failure.message.contains(word), "no '{word}' in: {}", failure.message);
    }
    assert_eq!(failure.code, RUNTIME_EXCEPTION, "{}", failure.message);
    failure
}

#[test]
fn cuda_refusals_old_driver() {
    let Some(device) = failing(&[("driver", 11_080)]) else { return };
    let run = Run::<f32, i64>::new(&device, &case());
    let words = [
        "the NVIDIA driver is too old",
        "they need CUDA 12.0",
        "R525",
        "222",
        "Unsupported .version 8.0; current version is '7.8'",
    ];
    fails(&run, &words);
    // nothing is kept of the failure: a newer driver will do
    device.set("driver", 12_000);
    run.fused(true).unwrap();
}

#[test]
fn cuda_refusals_old_device() {
    let Some(device) = failing(&[("capability", 75)]) else { return };
    fails(&Run::new(&device, &case()), &["compute capability 8.0", "7.5", "CPUExecutionProvider"]);
}

#[test]
fn cuda_refusals_no_memory_for_scratch() {
    let Some(device) = failing(&[]) else { return };
    let run = Run::<f32, i64>::new(&device, &case());
    let buffers = run.buffers();
    device.set("fail_allocation", 1);
    let failure = run.fused_on(&buffers).expect_err("no memory");
    assert!(failure.message.contains("the GPU has no room for"), "{}", failure.message);
    assert!(failure.message.contains("gpu_mem_limit"), "{}", failure.message);
    assert_eq!(failure.code, RUNTIME_EXCEPTION);
    run.fused_on(&buffers).unwrap();
}

#[test]
fn cuda_refusals_no_memory_for_the_kernels() {
    let Some(device) = failing(&[("fail_load", 1)]) else { return };
    let run = Run::new(&device, &case());
    fails(&run, &["did not load the CUDA kernels", "CUDA_ERROR_OUT_OF_MEMORY", "gpu_mem_limit"]);
    run.fused(true).unwrap();
}

#[test]
fn cuda_refusals_failing_launches() {
    let Some(device) = failing(&[]) else { return };
    let run = Run::<f32, i64>::new(&device, &case());
    let expected = run.fused(true).unwrap();
    for nth in [1, 2] {
        for (code, words) in [
            (701, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES: too many resources requested for launch"),
            (2, "gpu_mem_limit"),
            (700, "CUDA_LAUNCH_BLOCKING=1"),
            (719, "CUDA_LAUNCH_BLOCKING=1"),
            // a code of a driver to come
            (4711, "error 4711"),
        ] {
            device.set("launch_error", code);
            device.set("fail_launch", nth);
            fails(&run, &["cuLaunchKernel failed: error", words]);
            assert!(run.fused(true).unwrap().bits == expected.bits);
        }
    }
}

/// An earlier kernel, of whatever library, has left its error in the context.
#[test]
fn cuda_refusals_after_a_fault() {
    let Some(device) = failing(&[]) else { return };
    let run = Run::<f32, i64>::new(&device, &case());
    run.fused(true).unwrap();
    let buffers = run.buffers();
    // logits that nobody allocated
    let mut wrong = run.inputs();
    wrong[0].as_mut().unwrap().data = 0x10_0000 as *mut _;
    // the first launch is taken and fails on the device; the second may be refused for it
    let _ = run.fused_of(wrong, &buffers);
    assert_eq!(device.try_synchronize() as u32, 700);
    let fault = device.standin().unwrap().fault(device.ordinal);
    assert!(fault.contains("rows4_gradient") && fault.contains("load of"), "{fault}");
    let failure = run.fused_on(&buffers).expect_err("the context is spoilt");
    assert!(failure.message.contains("700") && failure.message.contains("earlier kernel"), "{}", failure.message);
}

#[test]
fn cuda_refusals_no_stream() {
    let device = Device::lend();
    let mut run = Run::<f32, i64>::new(&device, &case());
    run.stream = std::ptr::null_mut();
    fails(&run, &["no stream", "CUDAExecutionProvider", "onnxruntime-gpu"]);
}

#[test]
fn cuda_refusals_of_what_is_no_stream() {
    let Some(device) = failing(&[]) else { return };
    let mut run = Run::<f32, i64>::new(&device, &case());
    run.stream = 0x1234_5678 as *mut _;
    fails(&run, &["cuStreamGetCtx failed: error 400 (CUDA_ERROR_INVALID_HANDLE"]);
}

/// Shapes are checked as on the CPU, before anything is launched.
#[test]
fn cuda_refusals_of_shapes() {
    let device = Device::lend();
    let run = Run::<f32, i64>::new(&device, &case());
    let buffers = run.buffers();
    let with = |index: usize, shape: &[i64]| {
        let mut inputs = run.inputs();
        inputs[index].as_mut().unwrap().shape = shape.to_vec();
        let failure = run.fused_of(inputs, &buffers).expect_err("refused");
        assert_eq!(failure.code, INVALID_ARGUMENT, "{}", failure.message);
        failure.message
    };
    assert!(with(0, &[405]).contains("EncouragingLossAndGrad: "), "the operator is named");
    assert!(with(0, &[405, 1]).contains("at least 2"));
    let labels = with(1, &[10]);
    assert!(labels.contains("[9, 45]") && labels.contains("[10]"), "{labels}");
    let run = Run::<f32, i64>::new(&device, &Case { class_weights: Some(vec![1.0; 45]), ..case() });
    let mut inputs = run.inputs();
    inputs[2].as_mut().unwrap().shape = vec![44];
    let failure = run.fused_of(inputs, &buffers).expect_err("refused");
    assert!(failure.message.contains("class_weights has shape [44]"), "{}", failure.message);
    // a host that wraps any address
    let mut inputs = run.inputs();
    inputs[0].as_mut().unwrap().data = inputs[0].as_ref().unwrap().data.wrapping_byte_add(2);
    let failure = run.fused_of(inputs, &buffers).expect_err("refused");
    assert!(failure.message.contains("aligned"), "{}", failure.message);
}

#[test]
fn cuda_refusals_of_attributes() {
    let operator = Host::newest().find(CUDA, "EncouragingLoss", &[1, 7]);
    let made = |attributes| Kernel::new(operator, &Node { name: "the_loss", attributes }).err().expect("refused");
    let failure = made(vec![("log_end", Attribute::Float(1.5))]);
    assert!(failure.message.starts_with("EncouragingLoss node 'the_loss': log_end must be"), "{}", failure.message);
    let failure = made(vec![("reduction", Attribute::Int(1))]);
    assert!(failure.message.contains("attribute reduction has the wrong type"), "{}", failure.message);
    Kernel::new(operator, &node(&case())).unwrap();
}

/// Kernels that take more than 48 KB of shared memory are allowed it once, and no more than the device has.
#[test]
fn cuda_refusals_more_shared_memory_than_there_is() {
    let Some(device) = failing(&[]) else { return };
    let long = Run::<f16, i64>::new(&device, &Case::of_shape(&[1, 40_000], 42));
    long.fused(true).unwrap();
    // from now on the device has less than it says it has
    device.set("shared", 60_000);
    let longer = Run::<f16, i64>::new(&device, &Case::of_shape(&[1, 50_257], 42));
    let failure = longer.fused(true).expect_err("refused");
    let words = ["staged_gradient", "float16", "cuFuncSetAttribute failed: error 1 (CUDA_ERROR_INVALID_VALUE"];
    for word in words {
        assert!(failure.message.contains(word), "no '{word}' in: {}", failure.message);
    }
}

/// A loss without rows needs no device memory, but a stream.
#[test]
fn cuda_refusals_do_not_depend_on_rows() {
    let device = Device::lend();
    let loss = EncouragingLoss::default();
    let mut run = Run::<f32, i64>::new(&device, &Case::of_shape(&[0, 5], 1).with(loss));
    run.stream = std::ptr::null_mut();
    fails(&run, &["no stream"]);
}
