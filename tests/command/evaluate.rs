//! `elonnx evaluate`.

use std::path::Path;

use ndarray::Array2;
use serde_json::Value;

use super::desk::Desk;

/// A folder with a classifier of 16 numbers, samples of two kinds and labels.
fn desk() -> Desk {
    let desk = Desk::new();
    let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("onnx_models/heads");
    std::fs::copy(models.join("log_softmax.onnx"), desk.path("model.onnx")).unwrap();
    samples(&desk, "digits.npy", 120, 3.0);
    samples(&desk, "noise.npy", 80, 0.5);
    samples(&desk, "other.npy", 60, 1.0);
    desk
}

/// Samples spread about 0.
fn samples(desk: &Desk, name: &str, rows: usize, spread: f32) {
    let mut random = fastrand::Rng::with_seed(rows as u64);
    let samples = Array2::from_shape_simple_fn((rows, 16), || (random.f32() - 0.5) * 2.0 * spread);
    ndarray_npy::write_npy(desk.path(name), &samples).unwrap();
}

fn labels(desk: &Desk, name: &str, labels: &[i64]) {
    ndarray_npy::write_npy(desk.path(name), &ndarray::Array1::from_vec(labels.to_vec())).unwrap();
}

#[track_caller]
fn refuses(desk: &Desk, line: &str, words: &[&str]) {
    desk.run(line).ends(2).says(words);
}

const SETS: &str = "evaluate model.onnx --in-dist digits.npy --ood noise.npy";

#[test]
fn a_table_that_fits_the_terminal() {
    let desk = desk();
    labels(&desk, "labels.npy", &[1; 120]);
    let run = desk.run(&format!("{SETS} --ood far=other.npy --labels labels.npy --scores all --bootstrap 50"));
    assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{}", run.stderr);
    for word in [
        "digits, 120 samples",
        "noise, 80 samples",
        "far, 60 samples",
        "Mean over the sets",
        "AUROC",
        "FPR95",
        "energy paper",
        "log-softmax",
        "accuracy",
        "ECE",
        "NLL",
    ] {
        assert!(run.stdout.contains(word), "no '{word}' in\n{}", run.stdout);
    }
    for line in run.stdout.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

#[test]
fn the_same_numbers_with_any_threads_and_batches() {
    let desk = desk();
    let of = |options: &str| {
        let run = desk.run(&format!("{SETS} --json --bootstrap 30 {options}"));
        assert_eq!(run.code, 0, "{}", run.stderr);
        let object: Value = serde_json::from_str(&run.stdout).unwrap();
        object["evaluation"].clone()
    };
    let one = of("--threads 1");
    assert_eq!(one["scores"].as_array().unwrap().len(), 3);
    assert_eq!(one, of("--threads 3"));
    // other batches take other kernels of tract, which round differently
    let batches = of("--threads 3 --batch 7");
    for place in ["/in_distribution/margin/mean", "/scores/0/sets/0/auroc/value", "/scores/1/sets/0/fpr_at_tpr/value"] {
        let [a, b] = [&one, &batches].map(|object| object.pointer(place).unwrap().as_f64().unwrap());
        assert!((a - b).abs() < 1e-6, "{place}: {a} {b}");
    }
    assert_ne!(one, of("--seed 1"));
    assert_eq!(of("--limit 20")["in_distribution"]["samples"], 20);
    let energy = &one["scores"][1];
    assert_eq!(energy["score"], "energy");
    let auroc = energy["sets"][0]["auroc"]["value"].as_f64().unwrap();
    assert!((0.5..1.0).contains(&auroc), "{auroc}");
    assert_eq!(of("--ood-positive --tpr 0.9")["positive"], "out_of_distribution");
}

#[test]
fn a_calibrated_model_tells_what_it_keeps_and_flags() {
    let desk = desk();
    let run =
        desk.run("calibrate model.onnx --data digits.npy --scores energy,knn,margin --knn-k 3 -o calibrated.onnx");
    assert_eq!(run.code, 0, "{}", run.stderr);
    let sets = SETS.replace("model.onnx", "calibrated.onnx");
    let run = desk.run(&format!("{sets} --bootstrap 20 --report r.html"));
    assert_eq!(run.code, 0, "{}", run.stderr);
    assert!(run.stdout.contains("flagged") && run.stdout.contains("kept"), "{}", run.stdout);
    let page = String::from_utf8(std::fs::read(desk.path("r.html")).unwrap()).unwrap();
    assert!(page.contains("calibrated threshold") && page.contains("KNN"));
    let object: Value =
        serde_json::from_str(&desk.run(&format!("{sets} --bootstrap 0 --scores all --json")).stdout).unwrap();
    let scores = object["evaluation"]["scores"].as_array().unwrap();
    let energy = scores.iter().find(|score| score["score"] == "energy").unwrap();
    let kept = energy["kept"].as_f64().unwrap();
    assert!((0.93..=0.97).contains(&kept), "{kept}");
    assert!(energy["sets"][0]["flagged"].is_f64());
    assert!(scores.iter().any(|score| score["score"] == "knn") && !scores.iter().any(|score| score["score"] == "vim"));
}

#[test]
fn reports_of_every_kind() {
    let desk = desk();
    for (name, start) in [("r.html", &b"<!DOCTYPE html>"[..]), ("r.svg", b"<svg"), ("r.png", b"\x89PNG")] {
        let run = desk.run(&format!("{SETS} --bootstrap 20 --report {name}"));
        assert_eq!(run.code, 0, "{}", run.stderr);
        assert!(std::fs::read(desk.path(name)).unwrap().starts_with(start), "{name}");
    }
    let first = std::fs::read(desk.path("r.html")).unwrap();
    desk.run(&format!("{SETS} --bootstrap 20 --report r.html"));
    assert_eq!(first, std::fs::read(desk.path("r.html")).unwrap(), "the page changes from run to run");
    let names = desk.files().into_iter();
    assert!(names.into_iter().all(|name| !name.contains(".elonnx")), "something is left over");
}

#[test]
fn what_cannot_be_evaluated_gets_a_sentence() {
    let desk = desk();
    labels(&desk, "few.npy", &[0; 7]);
    labels(&desk, "wrong.npy", &[99; 120]);
    ndarray_npy::write_npy(desk.path("wide.npy"), &Array2::<f32>::zeros((5, 17))).unwrap();
    ndarray_npy::write_npy(desk.path("nan.npy"), &Array2::<f32>::from_elem((5, 16), f32::NAN)).unwrap();
    let digits = std::fs::read(desk.path("digits.npy")).unwrap();
    std::fs::write(desk.path("cut.npy"), &digits[..1000]).unwrap();
    refuses(&desk, "evaluate model.onnx --in-dist digits.npy", &["--ood"]);
    refuses(&desk, "evaluate modle.onnx --in-dist digits.npy --ood noise.npy", &["there is no modle.onnx"]);
    refuses(&desk, "evaluate model.onnx --in-dist digits.npy --ood nose.npy", &["nose.npy"]);
    refuses(&desk, "evaluate model.onnx --in-dist digits.npy --ood digits.npy", &["two sets are called 'digits'"]);
    refuses(&desk, "evaluate model.onnx --in-dist digits.npy --ood wide.npy", &["wide.npy"]);
    refuses(&desk, "evaluate model.onnx --in-dist digits.npy --ood nan.npy", &["NaN"]);
    refuses(&desk, "evaluate model.onnx --in-dist digits.npy --ood cut.npy", &["cut.npy"]);
    refuses(&desk, &format!("{SETS} --labels few.npy"), &["few.npy"]);
    refuses(
        &desk,
        &format!("{SETS} --labels wrong.npy"),
        &["the label of sample 0 of 'digits' is 99", "the classes 0 to"],
    );
    refuses(&desk, &format!("{SETS} --scores enrgy"), &["no score 'enrgy'"]);
    refuses(&desk, &format!("{SETS} --scores knn"), &["knn"]);
    refuses(&desk, &format!("{SETS} --tpr 95"), &["--tpr", "above 0 and at most 1"]);
    refuses(&desk, &format!("{SETS} --report r.pdf"), &["r.pdf", ".html, .svg or .png"]);
    refuses(&desk, &format!("{SETS} --report no/r.png"), &["there is no folder no"]);
    refuses(&desk, &format!("{SETS} --log-roc"), &["--report"]);
    assert!(!desk.path("r.pdf").exists());
}
