//! The plugin where there is no driver, or one without a device: it registers, and the CPU's kernels work. Each in a
//! process of its own, since a process has one driver for good.

use std::cell::Cell;
use std::ffi::{CStr, c_char};
use std::path::Path;
use std::process::Command;

use crate::device::Standin;
use crate::host::{Host, Kernel, Node, Tensor};

/// The variable that tells a test that it is the other process.
const INNER: &str = "ELONNX_TEST_INNER";

/// Runs one test of this program in a process where libcuda.so.1 is what `folder` has.
fn run(test: &str, folder: &Path, standin: &str) {
    let module = module_path!().split_once("::").map_or("", |(_, module)| module);
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("{module}::{test}"), "--nocapture"])
        .env(INNER, "1")
        .env("LD_LIBRARY_PATH", folder)
        .env("CUDA_STANDIN", standin)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

fn is_inner() -> bool {
    std::env::var_os(INNER).is_some()
}

/// Registers; runs the CPU's kernel; gives what the CUDA kernel says.
fn cpu_works_and_cuda_says() -> String {
    let host = Host::newest();
    assert!(!host.operators(None).is_empty() && !host.operators(Some("CUDAExecutionProvider")).is_empty());
    let node = || Node { name: "the_loss", attributes: vec![] };
    let (logits, labels, loss) = ([1.0f32, 0.0, 2.0, -1.0], [0i64, 0], Cell::new(9.0f32));
    let at = |pointer: *const u8| pointer.addr() as u64;
    let tensors = || {
        let inputs = vec![
            Some(Tensor::new::<f32>(&[2, 2], at(logits.as_ptr().cast()))),
            Some(Tensor::new::<i64>(&[2], at(labels.as_ptr().cast()))),
        ];
        (inputs, vec![Some(Tensor::new::<f32>(&[], at(loss.as_ptr().cast())))])
    };
    let kernel = |provider| Kernel::new(host.find(provider, "EncouragingLoss", &[1, 7]), &node()).unwrap();

    let (inputs, outputs) = tensors();
    kernel(None).run(inputs, outputs, std::ptr::null_mut()).unwrap();
    let expected = elonnx::loss::EncouragingLoss::default().forward(&logits, &[2, 2], &labels, None).unwrap().loss[0];
    assert_eq!(loss.get(), expected);

    let (inputs, outputs) = tensors();
    let failure = kernel(Some("CUDAExecutionProvider")).run(inputs, outputs, 0x1000 as *mut _).unwrap_err();
    failure.message
}

#[test]
fn cuda_without_driver() {
    if is_inner() {
        // SAFETY: asks whether a driver is there; its initialisers are those of every CUDA program.
        if unsafe { cudarc::driver::sys::is_culib_present() } {
            return println!("only on a machine without an NVIDIA driver");
        }
        let message = cpu_works_and_cuda_says();
        assert!(message.contains("no NVIDIA driver: libcuda"), "{message}");
        assert!(message.contains("CPUExecutionProvider"), "{message}");
        return;
    }
    run("cuda_without_driver", tempfile::tempdir().unwrap().path(), "");
}

#[test]
fn cuda_without_device() {
    if is_inner() {
        let message = cpu_works_and_cuda_says();
        let words = ["cuInit failed: error 100 (CUDA_ERROR_NO_DEVICE", "in a container, start it with the GPU"];
        for word in words {
            assert!(message.contains(word), "no '{word}' in: {message}");
        }
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // cudarc asks for libcuda.so first
    for name in ["libcuda.so", "libcuda.so.1"] {
        std::os::unix::fs::symlink(Standin::path(), folder.path().join(name)).unwrap();
    }
    run("cuda_without_device", folder.path(), "devices=0");
}

/// The stand-in's options are checked where it starts.
#[test]
fn cuda_without_driver_that_understands_its_options() {
    if is_inner() {
        // SAFETY: takes one number.
        let library = unsafe { libloading::Library::new("libcuda.so.1") }.unwrap();
        type Init = unsafe extern "C" fn(u32) -> u32;
        type Words = unsafe extern "C" fn(u32, *mut *const c_char) -> u32;
        // SAFETY: functions of cuda.h.
        let (init, words) = unsafe {
            (library.get::<Init>(b"cuInit\0").unwrap(), library.get::<Words>(b"cuGetErrorString\0").unwrap())
        };
        let mut text = std::ptr::null();
        // SAFETY: writes one pointer, to a static text.
        let (code, text) = unsafe {
            let code = init(0);
            assert_eq!(words(code, &mut text), 0);
            (code, CStr::from_ptr(text))
        };
        assert_eq!((code, text), (1, c"invalid argument"));
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(Standin::path(), folder.path().join("libcuda.so.1")).unwrap();
    run("cuda_without_driver_that_understands_its_options", folder.path(), "colour=3");
}
