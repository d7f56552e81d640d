//! `elonnx doctor` on machines with an NVIDIA driver: the stand-in for libcuda takes its place.
#![cfg(all(feature = "cuda", target_os = "linux"))]

use serde_json::{Value, json};

use super::desk::{Desk, Run};

/// What doctor prints where libcuda is the stand-in, with these options.
fn doctor(arguments: &str, options: &str) -> Run {
    let standin = std::env::current_exe().unwrap().with_file_name("libcuda_standin.so");
    assert!(standin.is_file(), "no {}: cargo builds it with the tests", standin.display());
    let desk = Desk::new();
    // both names under which the driver is looked for: a real one's come after it
    for name in ["libcuda.so", "libcuda.so.1"] {
        std::os::unix::fs::symlink(&standin, desk.path(name)).unwrap();
    }
    let mut command = desk.command(&format!("doctor {arguments}"));
    Run::of(command.env("LD_LIBRARY_PATH", desk.path("")).env("CUDA_STANDIN", options)).ends(0)
}

/// The part on CUDA, and what doctor says is missing there.
fn report(options: &str) -> (Value, Vec<String>) {
    let mut object = doctor("--json", options).json();
    let report = object["report"].take();
    let missing = report["missing"].as_array().unwrap().iter().filter(|missing| missing["missing"] == "cuda");
    (report["cuda"].clone(), missing.map(|missing| missing["advice"].as_str().unwrap().to_owned()).collect())
}

/// The text on CUDA.
fn section(text: &str) -> &str {
    text.split("\nCUDA\n").nth(1).unwrap_or_else(|| panic!("nothing on CUDA in:\n{text}"))
}

#[test]
fn cuda_devices_on_which_the_kernels_load() {
    let (cuda, missing) = report("devices=2 capability=90 driver=12040");
    assert_eq!(cuda["problem"], Value::Null);
    assert_eq!(cuda["driver"]["cuda_version"], "12.4");
    let devices = cuda["driver"]["devices"].as_array().unwrap();
    assert_eq!(devices.len(), 2);
    for device in devices {
        assert_eq!((&device["compute_capability"], &device["problem"]), (&json!("9.0"), &Value::Null), "{device}");
    }
    assert_eq!(missing, [""; 0]);
    let run = doctor("", "devices=1");
    let cuda = section(&run.stdout);
    assert!(cuda.starts_with("  ok          driver for CUDA 12.0\n  device 0    "), "{cuda}");
    assert!(cuda.replace("\n              ", " ").contains("compute capability 8.0: the kernels load"), "{cuda}");
}

#[test]
fn cuda_driver_that_is_too_old() {
    let (cuda, missing) = report("devices=1 driver=11080");
    let problem = cuda["driver"]["devices"][0]["problem"].as_str().unwrap();
    for words in ["it serves CUDA 11.8", "install driver R525 or newer", "error 222", "8.0"] {
        assert!(problem.contains(words), "no '{words}' in: {problem}");
    }
    assert_eq!(missing.len(), 1);
    assert!(missing[0].starts_with("device 0 (") && missing[0].ends_with(problem), "{}", missing[0]);
    let text = doctor("", "devices=1 driver=11080").stdout;
    assert!(section(&text).starts_with("  no          driver for CUDA 11.8\n"), "{text}");
    assert!(section(&text).contains("What to do\n"), "{text}");
}

#[test]
fn cuda_device_that_is_too_old() {
    let (cuda, missing) = report("devices=1 capability=75");
    let device = &cuda["driver"]["devices"][0];
    assert_eq!(device["compute_capability"], "7.5");
    let problem = device["problem"].as_str().unwrap();
    assert!(problem.contains("need a GPU of compute capability 8.0 or newer (Ampere), this one has 7.5"), "{problem}");
    assert_eq!(missing.len(), 1);
}

#[test]
fn cuda_driver_without_devices() {
    let (cuda, missing) = report("devices=0");
    assert_eq!(cuda["driver"], Value::Null);
    let problem = cuda["problem"].as_str().unwrap();
    assert!(problem.starts_with("the NVIDIA driver (CUDA 12.0) is there, but no device"), "{problem}");
    assert_eq!(missing, [""; 0]);
}

#[test]
fn cuda_device_without_room() {
    let (cuda, _) = report("devices=1 fail_load=2");
    let problem = cuda["driver"]["devices"][0]["problem"].as_str().unwrap();
    assert!(problem.starts_with("the driver did not load the CUDA kernels for float16: error 2 ("), "{problem}");
    assert!(problem.contains("end other programs on the GPU"), "{problem}");
}
