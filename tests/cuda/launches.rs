//! What the operators ask of the driver: which calls, on which stream, in which context, and graphs made of them.

use std::ptr::null_mut;

use cudarc::driver::sys::{self, CUresult, CUstream, CUstreamCaptureMode, CUstreamCaptureStatus};
use elonnx::loss::{EncouragingLoss, Reduction};
use half::f16;

use crate::case::{Case, Run, check};
use crate::device::{Device, ok};

const SHAPES: [&[usize]; 4] = [&[37, 5], &[9, 45], &[3, 1029], &[2, 41_300]];

/// A case that takes all the steps there are: sum of weights, rows, reduction.
fn weighted(shape: &[usize]) -> Case {
    let loss = EncouragingLoss::builder().ignore_index(Some(0)).build().unwrap();
    Case::of_shape(shape, 31).with(loss).with_weights(32)
}

/// The names of the functions called, without what tests themselves call.
fn names(calls: &[String]) -> Vec<&str> {
    let of_tests = ["cuMemAlloc bytes", "cuMemcpy", "cuMemFree", "cuStreamSynchronize"];
    calls
        .iter()
        .filter(|call| !of_tests.iter().any(|name| call.starts_with(name)))
        .map(|call| call.split(' ').next().unwrap_or_default())
        .collect()
}

/// The calls of one run of the fused operator.
fn calls_of_a_run(device: &Device, run: &Run<f32, i64>) -> Vec<String> {
    let buffers = run.buffers();
    device.clear_calls();
    run.fused_on(&buffers).unwrap();
    device.calls()
}

#[test]
fn cuda_launches_after_the_first_allocate_load_and_wait_for_nothing() {
    let device = Device::lend_with_own_context();
    if device.standin().is_none() {
        return println!("only with the stand-in");
    }
    for shape in SHAPES {
        let run = Run::<f32, i64>::new(&device, &weighted(shape));
        let first = calls_of_a_run(&device, &run);
        assert!(first.iter().any(|call| call.starts_with("cuModuleGetFunction")) || shape.len() > 2, "{first:#?}");
        let second = calls_of_a_run(&device, &run);
        let harmless = ["cuStreamGetCtx", "cuCtxPushCurrent", "cuCtxPopCurrent", "cuLaunchKernel"];
        for call in names(&second) {
            assert!(harmless.contains(&call), "{call} in {second:#?}");
        }
        for call in ["cuMemAlloc", "cuModuleLoad", "cuStreamSynchronize", "cuCtxSynchronize", "cuFuncSetAttribute"] {
            assert!(!second.iter().any(|line| line.starts_with(call)), "{call} in {second:#?}");
        }
        let launches: Vec<_> = second.iter().filter(|call| call.starts_with("cuLaunchKernel")).collect();
        assert_eq!(launches.len(), 3, "sum of weights, rows, reduction: {second:#?}");
        assert!(launches[0].contains("name=sum_of_weights ") && launches[2].contains("name=reduce "), "{second:#?}");
    }
}

#[test]
fn cuda_launches_go_to_the_given_stream_only() {
    let device = Device::lend();
    if device.standin().is_none() {
        return println!("only with the stand-in");
    }
    let mut run = Run::<f32, i64>::new(&device, &weighted(&[9, 45]));
    for stream in [device.another_stream(), device.another_stream(), device.stream] {
        run.stream = stream.cast();
        let calls = calls_of_a_run(&device, &run);
        let wanted = format!("stream={:#x}", stream.addr());
        let with_stream: Vec<_> = calls.iter().filter(|call| call.contains("stream=")).collect();
        assert!(with_stream.iter().all(|call| call.ends_with(&wanted)), "{calls:#?}");
        assert!(with_stream.iter().any(|call| call.starts_with("cuLaunchKernel")), "{calls:#?}");
    }
}

/// Sums that blocks leave for the next launch are kept apart, since streams run at once on a GPU; those of a stream are
/// where they were.
#[test]
fn cuda_launches_on_two_streams_do_not_share_scratch() {
    let device = Device::lend();
    if device.standin().is_none() {
        return println!("only with the stand-in");
    }
    let mut run = Run::<f32, i64>::new(&device, &weighted(&[300, 45]));
    // sum_of_weights(problem, partials, total), ..., reduce(partials, count, loss, mean)
    let mut scratch_of = |stream: CUstream| {
        run.stream = stream.cast();
        let calls = calls_of_a_run(&device, &run);
        let parameter = |kernel: &str, index: usize| {
            let call = calls.iter().find(|call| call.contains(&format!("name={kernel} "))).expect("launched");
            let parameters = call.split("parameters=").nth(1).and_then(|rest| rest.split(' ').next()).expect("logged");
            parameters.split(',').nth(index).expect("a parameter").to_owned()
        };
        [parameter("sum_of_weights", 1), parameter("sum_of_weights", 2), parameter("reduce", 0)]
    };
    let streams = [device.stream, device.another_stream(), device.another_stream()];
    let first = streams.map(&mut scratch_of);
    let mut all: Vec<_> = first.iter().flatten().collect();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 9, "{first:?}");
    assert_eq!(streams.map(scratch_of), first);
}

#[test]
fn cuda_launches_leave_the_callers_context_as_it_was() {
    let devices = Device::lend_many(if two_devices() { 2 } else { 1 });
    let case = weighted(&[9, 45]);
    let run = Run::<f32, i64>::new(&devices[0], &case);
    run.fused(false).unwrap();
    let current = || {
        let mut context = null_mut();
        // SAFETY: a handle is written to where it goes.
        ok(unsafe { sys::cuCtxGetCurrent(&mut context) });
        context
    };
    let buffers = run.buffers();
    assert!(current().is_null());
    run.fused_on(&buffers).unwrap();
    assert!(current().is_null(), "none was current before the call");
    for device in &devices {
        let _current = device.current();
        run.fused_on(&buffers).unwrap();
        assert_eq!(current(), device.context);
    }
    // after a failure, too
    let mut run = run;
    run.stream = null_mut();
    let _current = devices[0].current();
    assert!(run.fused_on(&buffers).is_err());
    assert_eq!(current(), devices[0].context);
}

fn two_devices() -> bool {
    crate::device::driver().standin.is_some()
}

#[test]
fn cuda_launches_on_two_devices_and_many_threads_at_once() {
    let devices = Device::lend_many(if two_devices() { 2 } else { 1 });
    std::thread::scope(|scope| {
        for seed in 0..6 {
            let device = &devices[seed % devices.len()];
            scope.spawn(move || {
                let case = Case { offsets: [seed, 1], ..weighted(&[20 + seed, 40 + seed]) };
                for _ in 0..3 {
                    // all on the device's one stream, or each on its own
                    check::<f32, i64>(device, &case).unwrap_or_else(|error| panic!("{error}"));
                    let mut run = Run::<f16, i64>::new(device, &case);
                    let expected = run.fused(true).unwrap().bits;
                    run.stream = device.another_stream().cast();
                    let buffers = run.buffers();
                    run.fused_on(&buffers).unwrap();
                    wait(run.stream);
                    assert!(buffers.outcome().bits == expected);
                }
            });
        }
    });
}

/// One kernel that several threads run at once, as a session does.
#[test]
fn cuda_launches_of_one_kernel_on_many_threads() {
    let device = Device::lend();
    let run = Run::<f32, i64>::new(&device, &weighted(&[30, 70]));
    let expected = run.fused(true).unwrap().bits;
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| (0..5).for_each(|_| assert!(run.fused(true).unwrap().bits == expected)));
        }
    });
}

/// A captured graph.
struct Graph(sys::CUgraphExec);

impl Graph {
    fn launch(&self, stream: *mut std::ffi::c_void) {
        // SAFETY: graph and stream live.
        ok(unsafe { sys::cuGraphLaunch(self.0, stream.cast()) });
    }
}

impl Drop for Graph {
    fn drop(&mut self) {
        // SAFETY: the graph is not used again.
        let _ = unsafe { sys::cuGraphExecDestroy(self.0) };
    }
}

// so that tests in other threads may go on allocating
const MODE: CUstreamCaptureMode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;

fn capture(stream: *mut std::ffi::c_void, launches: impl FnOnce()) -> Graph {
    let stream = stream.cast();
    let (mut graph, mut executable) = (null_mut(), null_mut());
    // SAFETY: the stream lives; handles are written to where they go.
    unsafe {
        ok(sys::cuStreamBeginCapture_v2(stream, MODE));
        launches();
        ok(sys::cuStreamEndCapture(stream, &mut graph));
        ok(sys::cuGraphInstantiateWithFlags(&mut executable, graph, 0));
        ok(sys::cuGraphDestroy(graph));
    }
    Graph(executable)
}

fn wait(stream: *mut std::ffi::c_void) {
    // SAFETY: the stream lives.
    ok(unsafe { sys::cuStreamSynchronize(stream.cast()) });
}

#[test]
fn cuda_launches_are_captured_after_the_first_run_and_replayed() {
    let device = Device::lend();
    for shape in SHAPES {
        let run = Run::<f32, i64>::new(&device, &weighted(shape));
        let expected = run.fused(true).unwrap().bits;
        let buffers = run.buffers();
        let graph = capture(run.stream, || run.fused_on(&buffers).unwrap());
        assert!(buffers.outcome().bits != expected, "nothing runs while a graph is captured");
        for _ in 0..2 {
            graph.launch(run.stream);
            assert!(buffers.outcome().bits == expected, "{}", run.case.describe());
            buffers.forget();
        }
    }
}

#[test]
fn cuda_launches_captured_at_the_first_run_are_refused_with_what_to_do() {
    let device = Device::lend_with_own_context();
    let run = Run::<f32, i64>::new(&device, &weighted(&[9, 45]));
    let buffers = run.buffers();
    let refused = || {
        let mut graph = null_mut();
        let stream = device.stream;
        let mut status = CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE;
        // SAFETY: the stream lives; handles are written to where they go.
        let (failed, ended) = unsafe {
            ok(sys::cuStreamBeginCapture_v2(stream, MODE));
            let failed = run.fused_on(&buffers).expect_err("refused");
            ok(sys::cuStreamIsCapturing(stream, &mut status));
            (failed, sys::cuStreamEndCapture(stream, &mut graph))
        };
        assert_eq!(ended, CUresult::CUDA_SUCCESS, "the capture itself is not spoilt");
        assert_eq!(status, CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_ACTIVE);
        failed.message
    };
    let message = refused();
    assert!(message.contains("a CUDA graph is being captured") && message.contains("run the model once"), "{message}");
    // after one run with the same shapes it works
    run.fused_on(&buffers).unwrap();
    drop(capture(run.stream, || run.fused_on(&buffers).unwrap()));
    // another type on the same stream needs a run, too
    let other = Run::<f16, i64>::new(&device, &weighted(&[9, 45]));
    let buffers = other.buffers();
    // SAFETY: as above.
    unsafe {
        ok(sys::cuStreamBeginCapture_v2(device.stream, MODE));
        let failed = other.fused_on(&buffers).expect_err("refused");
        assert!(failed.message.contains("the kernels are not ready"), "{}", failed.message);
        let mut graph = null_mut();
        ok(sys::cuStreamEndCapture(device.stream, &mut graph));
    }
}

#[test]
fn cuda_launches_without_a_margin_output() {
    let device = Device::lend();
    for reduction in [Reduction::Mean, Reduction::None] {
        for shape in SHAPES {
            let loss = EncouragingLoss::builder().reduction(reduction).build().unwrap();
            let run = Run::<f32, i64>::new(&device, &Case::of_shape(shape, 33).with(loss));
            let (with, without) = (run.fused(true).unwrap(), run.fused(false).unwrap());
            assert!(with.loss == without.loss && with.dlogits == without.dlogits && without.margin.is_empty());
        }
    }
}
