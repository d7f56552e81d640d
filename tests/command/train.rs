//! `elonnx train`. Needs a libonnxruntime, as tests/train does; without, the tests say so and check less.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use elonnx::model::Document;

use super::desk::{Desk, Run};
use super::libraries::library;

/// A folder with `model.onnx`, a 16-8-10 MLP, and `data.csv`, whose class is the largest of ten features.
fn desk() -> Desk {
    let desk = Desk::new();
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("onnx_models/cross_entropy/network.onnx");
    desk.write("model.onnx", &std::fs::read(model).unwrap());
    let mut random = fastrand::Rng::with_seed(5);
    let mut text = String::from("label");
    text.extend((0..16).map(|feature| format!(",x{feature}")));
    for row in 0..200 {
        let class = row % 10;
        text += &format!("\n{class}");
        text.extend((0..16).map(|feature| format!(",{}", random.f64() + if feature == class { 2.0 } else { 0.0 })));
    }
    desk.write("data.csv", text.as_bytes());
    desk
}

fn train(desk: &Desk, library: &Path, line: &str) -> Command {
    let mut command = desk.command(&format!("train model.onnx --data data.csv --threads 1 {line}"));
    command.arg("--onnxruntime").arg(library);
    command
}

#[test]
fn a_model_is_trained() {
    let Some(library) = library("a_model_is_trained") else { return };
    let desk = desk();
    let line = "--val data.csv --epochs 30 --lr 0.02 --batch-size 16 -o trained.onnx --plot curves.svg";
    let run = Run::of(&mut train(&desk, &library, &format!("{line} --json"))).ends(0);
    let events = run.lines();
    assert_eq!(events.len(), 32, "{}", run.stdout);
    assert_eq!((&events[0]["event"], &events[31]["event"]), (&"begin".into(), &"end".into()));
    let best = &events[31]["best"];
    assert!(best["validation"]["accuracy"].as_f64().unwrap() > 0.9, "{best}");
    assert_eq!(desk.read("trained.onnx").len(), desk.read("model.onnx").len());
    assert_ne!(desk.read("trained.onnx"), desk.read("model.onnx"));
    for file in
        ["trained.run/last.safetensors", "trained.run/best.safetensors", "trained.run/metrics.json", "curves.svg"]
    {
        assert!(desk.path(file).is_file(), "{file}");
    }

    let again = |line: &str| Run::of(&mut train(&desk, &library, line));
    again("-o trained.onnx").ends(2).says(&["trained.onnx exists", "--force"]);
    again("-o other.onnx --run-dir trained.run").ends(2).tells(&["trained.run holds a run already"]);
    again("-o other.onnx --run-dir trained.run --resume --epochs 40 --seed 9")
        .ends(2)
        .tells(&["seed was 0 and is 9 now"]);
    let told = again("-o trained.onnx --force --epochs 2").ends(0);
    assert_eq!(told.stdout.lines().count(), 4, "{}", told.stdout);
    assert!(told.stdout.lines().chain(told.stderr.lines()).all(|line| line.chars().count() <= 80), "{}", told.stdout);
    let quiet = again("-o trained.onnx --force --epochs 1 --quiet").ends(0);
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("", ""));
}

#[test]
fn a_model_with_its_parameters_in_a_file_is_trained() {
    let Some(library) = library("a_model_with_its_parameters_in_a_file_is_trained") else { return };
    let desk = desk();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("onnx_models/external_data");
    for file in ["model.onnx", "external_data.bin"] {
        desk.write(file, &std::fs::read(source.join(file)).unwrap());
    }
    let features = |count: usize| (0..count).map(|feature| format!(",{feature}")).collect::<String>();
    desk.write("data.csv", format!("label{}\n3{}\n", features(32), features(32)).as_bytes());
    let run = |line: &str| Run::of(&mut train(&desk, &library, line));
    let told = run("--epochs 1 -o trained.onnx").ends(0);
    assert!(told.stderr.contains("trained.onnx.data"), "{}", told.stderr);
    // the data file is in the way even where its model is gone
    std::fs::remove_file(desk.path("trained.onnx")).unwrap();
    let again = "--epochs 1 -o trained.onnx --run-dir again";
    run(again).ends(2).tells(&["trained.onnx.data exists", "--force"]);
    let events = run(&format!("{again} --force --json")).ends(0).lines();
    assert_eq!(events.last().unwrap()["data_file"], "trained.onnx.data");
    assert!(desk.read("trained.onnx").len() < desk.read("trained.onnx.data").len());
}

#[test]
fn samples_are_held_back() {
    let Some(library) = library("samples_are_held_back") else { return };
    let desk = desk();
    let run = |line: &str| Run::of(&mut train(&desk, &library, &format!("--epochs 1 -o trained.onnx {line}")));
    let events = run("--val-split 0.2 --json").ends(0).lines();
    assert_eq!((&events[1]["train"]["samples"], &events[1]["validation"]["samples"]), (&160.into(), &40.into()));
    run("--force --val-split 200").ends(2).tells(&["200 of 200 samples cannot be held back"]);
    run("--force --val-split 1.5").ends(2).says(&["1.5", "neither a number of samples"]);
    run("--force --val-split 5 --val data.csv").ends(2).says(&["cannot be used with"]);
}

#[test]
fn a_calibration_that_no_longer_fits_is_told() {
    let Some(library) = library("a_calibration_that_no_longer_fits_is_told") else { return };
    let desk = desk();
    desk.run("calibrate model.onnx --in-place --data data.csv").ends(0);
    let calibration =
        |file: &str| Document::open(desk.path(file)).unwrap().metadata("elonnx.calibration").unwrap().to_owned();
    let run = |line: &str| Run::of(&mut train(&desk, &library, &format!("--epochs 1 -o trained.onnx {line}"))).ends(0);
    let told = run("");
    assert_eq!(told.stderr.matches("warning:").count(), 1, "{}", told.stderr);
    assert!(told.stderr.contains("elonnx calibrate trained.onnx --in-place"), "{}", told.stderr);
    // warnings are told in any case, and the file is what it would be without
    assert!(run("--force --quiet").stderr.contains("fit them anew"));
    assert_eq!(calibration("trained.onnx"), calibration("model.onnx"));
}

#[test]
fn mistakes_are_told_before_anything_is_trained() {
    let desk = desk();
    desk.write("high.csv", format!("label{}\n12{}\n", ",x".repeat(16), ",0".repeat(16)).as_bytes());
    desk.write("bare.csv", format!("a{}\n", ",0".repeat(15)).as_bytes());
    let told = |data: &str, line: &str| desk.run(&format!("train model.onnx --data {data} {line}"));
    told("data.csv", "--momentum 0.5").ends(2).says(&["--momentum is nothing that adamw knows"]);
    told("data.csv", "--plot curves.pdf").ends(2).says(&["curves.pdf"]);
    told("data.csv", "--freeze *nothing*").ends(2).tells(&["*nothing*", "matches no parameter"]);
    // nothing is read before the library is there
    desk.write("no_library.so", b"text");
    told("high.csv", "--onnxruntime no_library.so").ends(1).says(&["no_library.so (from --onnxruntime)"]);
    let mut named = desk.command("train model.onnx --data high.csv");
    Run::of(named.env("ORT_DYLIB_PATH", "no_library.so")).ends(1).says(&["no_library.so (from ORT_DYLIB_PATH)"]);

    let Some(library) = library("mistakes_are_told_before_anything_is_trained") else { return };
    let run = |data: &str, line: &str| {
        let line = format!("train model.onnx --data {data} {line}");
        Run::of(desk.command(&line).arg("--onnxruntime").arg(&library))
    };
    run("high.csv", "").ends(2).tells(&["the label of sample 0 of the training data is 12", "from 0 to 9"]);
    run("none.csv", "").ends(2).says(&["there is no none.csv"]);
    run("data.csv", "--resume").ends(2).tells(&["nothing to resume"]);
    desk.write("empty.csv", b"");
    run("empty.csv", "").ends(2).tells(&["empty.csv holds no samples"]);
    assert!(!desk.path("model.trained.onnx").exists());
}

#[test]
fn precisions_that_the_runtime_lacks_are_told() {
    let desk = desk();
    desk.run("train model.onnx --data data.csv --precision fp8")
        .ends(2)
        .says(&["invalid value 'fp8'", "f32, f16, bf16"]);
    let Some(library) = library("precisions_that_the_runtime_lacks_are_told") else { return };
    let run = |line: &str| Run::of(&mut train(&desk, &library, line));
    let half = run("--epochs 2 --precision f16 -o half.onnx").ends(0);
    // on a CPU with kernels in float16 there is nothing to tell
    if !half.stderr.is_empty() {
        let told: Vec<&str> = half.stderr.split_whitespace().collect();
        assert!(told.join(" ").contains("no kernel in float16"), "{}", half.stderr);
    }
    // the trained model is the inference model in float32
    assert_eq!(desk.read("half.onnx").len(), desk.read("model.onnx").len());
    let brain = run("--epochs 1 --precision bf16 -o brain.onnx");
    if !desk.path("brain.onnx").exists() {
        let brain = brain.ends(1);
        let told: Vec<&str> = brain.stderr.split_whitespace().collect();
        assert!(told.join(" ").contains("no kernel for Gemm in bfloat16"), "{}", brain.stderr);
        brain.tells(&["--precision f32", "CUDA"]);
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_writes_a_checkpoint_that_is_resumed() {
    let Some(library) = library("ctrl_c_writes_a_checkpoint_that_is_resumed") else { return };
    let desk = desk();
    let mut command = train(&desk, &library, "-o trained.onnx --epochs 1000000 --json");
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.by_ref().map_while(Result::ok).any(|line| line.contains("\"epoch\"")), "no epoch came");
    let status = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(status.success());
    // the pipe must not fill
    let rest: Vec<String> = lines.map_while(Result::ok).collect();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("stopping after this step") && stderr.contains("--resume"), "{stderr}");
    assert!(
        rest.last().is_some_and(|line| line.contains("130") || line.contains("interrupted") || line == "}"),
        "{rest:?}"
    );
    assert!(!desk.path("trained.onnx").exists());

    let metrics: serde_json::Value = serde_json::from_slice(&desk.read("trained.run/metrics.json")).unwrap();
    let done = metrics["history"].as_array().unwrap().len();
    let epochs = done + 2;
    let run =
        Run::of(&mut train(&desk, &library, &format!("-o trained.onnx --resume --epochs {epochs} --json"))).ends(0);
    let events = run.lines();
    assert_eq!(events[0]["epochs_done"].as_u64().unwrap(), done as u64);
    assert_eq!(events.last().unwrap()["epochs_done"].as_u64().unwrap(), epochs as u64);
    assert!(desk.path("trained.onnx").exists());
}
