//! `elonnx calibrate`.

use elonnx::edge::{Calibration, Scorer, Tables};
use elonnx::model::Document;
use serde_json::Value;

use super::desk::Desk;

/// A folder with `model.onnx` (16 features, 5 classes), `train.npy` (150 samples) and their `labels.npy`.
fn desk() -> Desk {
    let desk = Desk::new();
    desk.write("model.onnx", include_bytes!("../ood/model.onnx"));
    let reference: Value = serde_json::from_str(include_str!("../ood/reference.json")).unwrap();
    let numbers = |name: &str| reference[name].as_array().unwrap().iter().map(|x| x.as_f64().unwrap());
    let train: Vec<u8> = numbers("train").flat_map(|x| (x as f32).to_le_bytes()).collect();
    desk.write("train.npy", &npy("<f4", "(150, 16)", &train));
    let labels: Vec<u8> = numbers("labels").flat_map(|y| (y as i64).to_le_bytes()).collect();
    desk.write("labels.npy", &npy("<i8", "(150,)", &labels));
    desk
}

/// A file as `numpy.save` writes it.
fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let mut header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}");
    while (10 + header.len() + 1) % 64 != 0 {
        header.push(' ');
    }
    header.push('\n');
    [&b"\x93NUMPY\x01\x00"[..], &(header.len() as u16).to_le_bytes(), header.as_bytes(), data].concat()
}

#[test]
fn a_calibrated_model_decides() {
    let desk = desk();
    let before = desk.read("model.onnx");
    let run = desk
        .run("calibrate model.onnx --data train.npy --labels labels.npy --scores energy,mahalanobis,knn --fit-temperature")
        .ends(0);
    for words in [
        "samples     150",
        "accuracy",
        "temperature",
        "expected calibration error",
        "score                  threshold   95 % interval",
        "energy",
        "decides",
        "In distribution is what has energy at most at its threshold, as 95 % of the",
        "Fitted to 75 of the 150 samples, with thresholds from the others: knn,",
        "Written to model.calibrated.onnx",
    ] {
        assert!(run.stdout.contains(words), "no '{words}' in:\n{}", run.stdout);
    }
    assert!(run.stdout.lines().all(|line| line.chars().count() <= 80), "{}", run.stdout);
    assert_eq!(desk.read("model.onnx"), before);
    assert_eq!(desk.files(), ["labels.npy", "model.calibrated.onnx", "model.onnx", "train.npy"]);
    let scorer = Scorer::load(desk.path("model.calibrated.onnx")).unwrap();
    assert!(scorer.decides());
    assert_eq!(scorer.calibration().unwrap().samples, 150);
}

#[test]
fn json_says_what_the_file_holds() {
    let desk = desk();
    let line =
        "calibrate model.onnx --data train.npy --scores knn,react --decision react --knn-bank 20 --knn-k 5 --json";
    let json = desk.run(line).ends(0).json();
    assert_eq!((&json["command"], &json["output"]), (&"calibrate".into(), &"model.calibrated.onnx".into()));
    assert_eq!((&json["replaced"], &json["accuracy"]), (&false.into(), &Value::Null));
    assert_eq!(json["table_bytes"], 20 * 16 * 4);
    let document = Document::open(desk.path("model.calibrated.onnx")).unwrap();
    let calibration = Calibration::read(&document).unwrap().unwrap();
    assert_eq!(json["calibration"], serde_json::to_value(&calibration).unwrap());
    assert_eq!(calibration.decision.as_str(), "react");
    assert_eq!(Tables::read(&document).unwrap().0["knn.bank"].dims, [20, 16]);
}

#[test]
fn calibrating_again_replaces_and_threads_make_no_difference() {
    let desk = desk();
    let line = "calibrate model.onnx --data train.npy --scores vim,relative_mahalanobis --batch 13 --threads";
    desk.run(&format!("{line} 1 -o one.onnx --quiet")).ends(0);
    desk.run(&format!("{line} 3 -o three.onnx --quiet")).ends(0);
    assert_eq!(desk.read("one.onnx"), desk.read("three.onnx"));
    let run = desk.run("calibrate one.onnx --data train.npy --scores msp --in-place").ends(0);
    assert!(run.stdout.contains("in the place of the calibration there was"), "{}", run.stdout);
    desk.run("calibrate model.onnx --data train.npy --scores msp -o msp.onnx").ends(0);
    assert_eq!(desk.read("one.onnx"), desk.read("msp.onnx"));
}

#[test]
fn dry_runs_and_refusals_write_nothing() {
    let desk = desk();
    let calibrate = "calibrate model.onnx --data train.npy";
    let run = desk.run(&format!("{calibrate} --dry-run")).ends(0);
    assert!(run.stdout.contains("Nothing was written; this would be model.calibrated.onnx"), "{}", run.stdout);
    desk.write("nan.npy", &npy("<f4", "(2, 16)", &[[0; 4].repeat(16), f32::NAN.to_le_bytes().repeat(16)].concat()));
    desk.write("wide.npy", &npy("<f4", "(1, 17)", &[0; 68]));
    desk.write("bad.npy", &npy("<i8", "(150,)", &[vec![0; 149 * 8], 9i64.to_le_bytes().to_vec()].concat()));
    for (line, words) in [
        ("calibrate model.onnx", &["--data"][..]),
        ("calibrate modle.onnx --data train.npy", &["modle.onnx", "model.onnx"]),
        ("calibrate model.onnx --data none.npy", &["none.npy"]),
        ("calibrate model.onnx --data nan.npy", &["sample 1", "NaN"]),
        ("calibrate model.onnx --data wide.npy", &["17", "16"]),
        ("calibrate model.onnx --data train.npy --labels bad.npy", &["sample 149 has label 9", "0 to 4"]),
        ("calibrate model.onnx --data train.npy --fit-temperature", &["labels", "--fit-temperature"]),
        ("calibrate model.onnx --data train.npy --scores enrgy", &["there is no score 'enrgy'", "energy"]),
        ("calibrate model.onnx --data train.npy --tpr 1.5", &["--tpr", "not a rate"]),
        ("calibrate model.onnx --data train.npy --react-percentile -1", &["-1"]),
        ("calibrate model.onnx --data train.npy -o model.onnx", &["is the input itself", "--in-place"]),
        ("calibrate model.onnx --data train.npy --onnxruntime x", &["--engine ort"]),
    ] {
        desk.run(line).ends(2).says(words);
    }
    assert_eq!(desk.files(), ["bad.npy", "labels.npy", "model.onnx", "nan.npy", "train.npy", "wide.npy"]);
}

#[test]
fn a_damaged_calibration_is_told_and_made_anew() {
    let desk = desk();
    let mut document = Document::open(desk.path("model.onnx")).unwrap();
    document.set_metadata("elonnx.calibration", "{\"version\": 1}");
    desk.write("damaged.onnx", &document.to_bytes());
    desk.run("score damaged.onnx train.npy").ends(2).says(&["calibration is damaged", "elonnx calibrate"]);
    desk.run("calibrate damaged.onnx --data train.npy --in-place").ends(0);
    desk.run("score damaged.onnx train.npy --decide --quiet").ends(0);
}
