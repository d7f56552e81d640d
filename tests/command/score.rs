//! `elonnx score`.

use std::io::Write as _;
use std::process::Stdio;

use elonnx::edge::{Calibration, METADATA_KEY, Score, ScoreFit};
use elonnx::model::proto::{DataType, TensorProto};
use elonnx::model::{Dimension, metadata_entry, node, value_info};
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use prost::Message as _;
use serde_json::{Value, json};

use super::desk::{Desk, field};

/// A folder with `model.onnx`: a classifier of 2 x 2 pixels whose logits are 10 x the pixels.
fn desk() -> Desk {
    let desk = Desk::new();
    desk.write("model.onnx", &model(None));
    desk
}

/// input [N, 1, 2, 2] → Flatten → MatMul with 10 I → logits [N, 4].
fn model(calibration: Option<&Calibration>) -> Vec<u8> {
    let weight: Vec<u8> = (0..16).flat_map(|i| if i % 5 == 0 { 10f32 } else { 0.0 }.to_le_bytes()).collect();
    let weight = TensorProto {
        dims: vec![4, 4],
        data_type: Some(DataType::Float as i32),
        name: Some("w".into()),
        raw_data: Some(weight.into()),
        ..TensorProto::default()
    };
    let nodes = [
        node("Flatten").inputs(["input"]).outputs(["flat"]).name("flatten").int("axis", 1).build(),
        node("MatMul").inputs(["flat", "w"]).outputs(["logits"]).name("head").build(),
    ];
    let float = DataType::Float as i32;
    let rows = || Dimension::Symbol("N".to_owned());
    let pixels = [rows(), Dimension::Known(1), Dimension::Known(2), Dimension::Known(2)];
    let mut graph: Vec<u8> = nodes.iter().flat_map(|node| field(1, &node.encode_to_vec())).collect();
    graph.extend(field(2, b"graph"));
    graph.extend(field(5, &weight.encode_to_vec()));
    graph.extend(field(11, &value_info("input", float, Some(&pixels)).encode_to_vec()));
    graph.extend(field(12, &value_info("logits", float, Some(&[rows(), Dimension::Known(4)])).encode_to_vec()));
    let mut model = [vec![8, 8], field(7, &graph), field(8, &[0x10, 17])].concat();
    if let Some(calibration) = calibration {
        let entry = metadata_entry(METADATA_KEY, &serde_json::to_string(calibration).unwrap());
        model.extend(field(14, &entry.encode_to_vec()));
    }
    model
}

/// In distribution: a margin of 5 at least.
fn calibration() -> Calibration {
    serde_json::from_value(json!({
        "version": 1, "elonnx": env!("CARGO_PKG_VERSION"), "logits": "logits", "classes": 4, "samples": 100,
        "true_positive_rate": 0.95, "decision": "margin", "scores": {
            "margin": { "threshold": -5.0, "interval": [-5.5, -4.5], "samples": 100 }
        }
    }))
    .unwrap_or_else(|error| panic!("{error}; {:?}", std::any::type_name::<(Score, ScoreFit)>()))
}

fn f32s(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Three samples: class 1 for sure, class 3 for sure, class 0 or 2.
const SAMPLES: [f32; 12] = [0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.75, 0.0];

fn npy(descr: &str, shape: &str, data: &[u8]) -> Vec<u8> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
    let length = u16::try_from(header.len()).unwrap().to_le_bytes();
    [b"\x93NUMPY\x01\x00", &length[..], header.as_bytes(), data].concat()
}

fn samples() -> Vec<u8> {
    npy("<f4", "(3, 4)", &f32s(&SAMPLES))
}

fn idx(dims: &[u32], data: &[u8]) -> Vec<u8> {
    let mut file = vec![0, 0, 8, u8::try_from(dims.len()).unwrap()];
    file.extend(dims.iter().flat_map(|dim| dim.to_be_bytes()));
    [file, data.to_vec()].concat()
}

// ---- formats in

#[test]
fn npy_gives_a_line_per_sample() {
    let desk = desk();
    desk.write("x.npy", &samples());
    let run = desk.run("score model.onnx x.npy").ends(0);
    let lines = run.lines();
    assert_eq!(run.classes(), [1, 3, 0]);
    assert_eq!(lines[2]["index"], 2);
    assert_eq!(lines[0]["margin"], 10.0);
    assert_eq!(lines[2]["margin"], 2.5);
    assert_eq!(lines[2]["scores"]["margin"], -2.5);
    let energy = -(10f64.exp() + 3.0).ln();
    assert!((lines[0]["scores"]["energy"].as_f64().unwrap() - energy).abs() < 1e-5, "{}", lines[0]);
    assert!(lines[0].get("in_distribution").is_none() && lines[0].get("label").is_none());
    assert!(run.stderr.contains("3 samples in"), "{}", run.stderr);
    assert!(run.stderr.contains("logits"), "{}", run.stderr);
    let quiet = desk.run("score model.onnx x.npy --quiet").ends(0);
    assert_eq!((quiet.stderr.as_str(), quiet.stdout), ("", run.stdout));
}

#[test]
fn every_other_format_in() {
    let desk = desk();
    let bytes: Vec<u8> = SAMPLES.iter().map(|&value| (value * 255.0) as u8).collect();
    desk.write("images-idx3-ubyte", &idx(&[3, 2, 2], &bytes));
    desk.write("labels-idx1-ubyte", &idx(&[3], &[1, 3, 2]));
    let run = desk.run("score model.onnx images-idx3-ubyte").ends(0);
    assert_eq!(run.classes(), [1, 3, 0]);
    let labels: Vec<_> = run.lines().iter().map(|line| line["label"].clone()).collect();
    assert_eq!(labels, [1, 3, 2]);
    assert!(run.stderr.contains("divided by 255"), "{}", run.stderr);
    assert!(run.stderr.contains("66.67 % predicted as labelled"), "{}", run.stderr);

    let rows: Vec<String> = SAMPLES.chunks(4).map(|row| format!("{row:?}").replace(['[', ']', ' '], "")).collect();
    desk.write("x.csv", format!("a,b,c,d\n{}\n", rows.join("\n")).as_bytes());
    assert_eq!(desk.run("score model.onnx x.csv").ends(0).classes(), [1, 3, 0]);
    desk.write("x.f32", &f32s(&SAMPLES));
    assert_eq!(desk.run("score model.onnx x.f32").ends(0).classes(), [1, 3, 0]);
    assert_eq!(desk.run("score model.onnx x.f32 x.csv images-idx3-ubyte --limit 7").ends(2).stdout, "");
    assert_eq!(desk.run("score model.onnx x.f32 x.csv --limit 4").ends(0).classes(), [1, 3, 0, 1]);
}

#[test]
fn standard_input() {
    let desk = desk();
    assert_eq!(desk.feed("score model.onnx -", &f32s(&SAMPLES)).ends(0).classes(), [1, 3, 0]);
    assert_eq!(desk.feed("score model.onnx -", &samples()).ends(0).classes(), [1, 3, 0]);
    let run = desk.feed("score model.onnx - --quiet", &f32s(&SAMPLES[..11])).ends(2);
    let run = run.tells(&["standard input ends after 2 samples and 12 bytes"]);
    assert_eq!(run.stdout, "");
    desk.feed("score model.onnx -", b"").ends(2).tells(&["standard input", "no bytes"]);
}

#[test]
fn folders_of_images() {
    let desk = desk();
    for (name, at) in [("set/cat/b.png", 0), ("set/cat/a.png", 1), ("set/dog/c.bmp", 3)] {
        desk.write(name, b"");
        let mut image = image::GrayImage::new(2, 2);
        image.put_pixel(at % 2, at / 2, image::Luma([255]));
        image.save(desk.path(name)).unwrap();
    }
    let run = desk.run("score model.onnx set").ends(0);
    assert_eq!(run.classes(), [1, 0, 3]);
    let names: Vec<String> = run.lines().iter().map(|line| line["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(names, ["set/cat/a.png", "set/cat/b.png", "set/dog/c.bmp"]);
    assert_eq!(run.lines()[2]["label"], 1);
    assert!(run.stderr.contains("0 is cat, 1 is dog"), "{}", run.stderr);
    let run = desk.run("score model.onnx set/dog/c.bmp set/cat/a.png --quiet").ends(0);
    assert_eq!(run.classes(), [3, 1]);
}

// ---- formats out

/// A row of a parquet file.
fn object(row: &parquet::record::Row) -> Value {
    use parquet::record::Field;
    let value = |field: &Field| match field {
        Field::Null => Value::Null,
        Field::Bool(value) => json!(value),
        Field::Int(value) => json!(value),
        Field::UInt(value) => json!(value),
        Field::Long(value) => json!(value),
        Field::Float(value) => json!(value),
        Field::Str(value) => json!(value),
        other => panic!("{other:?}"),
    };
    row.get_column_iter().map(|(name, field)| (name.clone(), value(field))).collect()
}

#[test]
fn csv_and_parquet_hold_the_same() {
    let desk = desk();
    desk.write("x.npy", &samples());
    desk.write("y.npy", &npy("<i8", "(3,)", &[1i64, 3, 2].map(i64::to_le_bytes).concat()));
    desk.run("score model.onnx x.npy --labels y.npy -o out.csv --top-k 2 --scores energy,msp").ends(0);
    let text = std::fs::read_to_string(desk.path("out.csv")).unwrap();
    let header =
        "index,class,probability,margin,score_energy,score_msp,label,class_1,probability_1,class_2,probability_2";
    assert_eq!(text.lines().next().unwrap(), header);
    assert_eq!(text.lines().count(), 4);

    desk.run("score model.onnx x.npy --labels y.npy -o out.parquet --top-k 2 --scores energy,msp").ends(0);
    let reader = SerializedFileReader::new(std::fs::File::open(desk.path("out.parquet")).unwrap()).unwrap();
    let rows: Vec<Value> = reader.get_row_iter(None).unwrap().map(|row| object(&row.unwrap())).collect();
    for (row, line) in rows.iter().zip(text.lines().skip(1)) {
        for (name, cell) in header.split(',').zip(line.split(',')) {
            let (a, b) = (row[name].as_f64().unwrap(), cell.parse::<f64>().unwrap());
            assert!((a - b).abs() < 1e-6, "{name}: {a} {b}");
        }
    }
    assert_eq!(desk.files(), ["model.onnx", "out.csv", "out.parquet", "x.npy", "y.npy"]);
    desk.run("score model.onnx x.npy --format parquet").ends(2).tells(&["-o"]);
    desk.run("score model.onnx x.npy -o out.csv").ends(2).tells(&["out.csv exists", "--force"]);
    desk.run("score model.onnx x.npy -o out.csv --force --quiet").ends(0);
    desk.run("score model.onnx x.npy -o x.npy --force").ends(2).tells(&["one of the inputs"]);
    assert_eq!(std::fs::read(desk.path("x.npy")).unwrap(), samples());
}

#[test]
fn a_table_fits_on_the_page() {
    let desk = desk();
    desk.write("x.npy", &samples());
    let run =
        desk.run("score model.onnx x.npy --format table --scores margin,energy,max_logit,msp,entropy,gen").ends(0);
    assert!(run.stdout.starts_with("sample  class"), "{}", run.stdout);
    assert_eq!(run.stdout.lines().take(4).count(), 4);
    assert!(run.stdout.lines().take(4).all(|line| line.len() <= 80), "{}", run.stdout);
}

#[test]
fn the_decision_of_a_calibrated_model() {
    let desk = desk();
    desk.write("x.npy", &samples());
    desk.write("calibrated.onnx", &model(Some(&calibration())));
    let run = desk.run("score calibrated.onnx x.npy --decide").ends(0);
    let inside: Vec<_> = run.lines().iter().map(|line| line["in_distribution"].clone()).collect();
    assert_eq!(inside, [true, true, false]);
    assert_eq!(run.lines()[0]["scores"], json!({ "margin": -10.0 }));
    assert!(run.stderr.contains("66.67 % in distribution"), "{}", run.stderr);
    let run = desk.run("score model.onnx x.npy --decide").ends(2).tells(&["not calibrated", "elonnx calibrate"]);
    assert_eq!(run.stdout, "");
    desk.run("score calibrated.onnx x.npy --decide --temperature 2").ends(2).tells(&["another temperature"]);
}

#[test]
fn order_is_kept_by_many_threads() {
    let desk = desk();
    let values: Vec<f32> = (0..1000).flat_map(|i| (0..4).map(move |j| if j == i % 4 { 1.0 } else { 0.0 })).collect();
    desk.write("x.f32", &f32s(&values));
    let one = desk.run("score model.onnx x.f32 --threads 1 --quiet").ends(0).stdout;
    let many = desk.run("score model.onnx x.f32 --threads 5 --batch 7 --quiet").ends(0);
    assert_eq!(many.stdout, one);
    assert_eq!(many.classes(), (0..1000).map(|i| i % 4).collect::<Vec<u64>>());
}

// ---- what goes wrong

#[test]
fn what_is_wrong_is_a_sentence_and_leaves_nothing() {
    let desk = desk();
    desk.write("x.npy", &samples());
    desk.write("cut.npy", &samples()[..samples().len() - 3]);
    desk.write("nan.npy", &npy("<f4", "(2, 4)", &f32s(&[0.0, 1.0, 2.0, 3.0, 4.0, f32::NAN, 6.0, 7.0])));
    desk.write("wide.npy", &npy("<f4", "(1, 5)", &f32s(&[0.0; 5])));
    desk.write("ragged.csv", b"1,2,3,4\n1,2,3\n");
    desk.write("noise.png", b"no image");
    desk.write("y.npy", &npy("|u1", "(2,)", &[1, 2]));
    desk.write("half.npy", &npy("<f4", "(3,)", &f32s(&[0.0, 1.5, 2.0])));
    std::fs::create_dir(desk.path("empty")).unwrap();
    let before = desk.files();
    for (line, words) in [
        ("model.onnx cut.npy", &["cut.npy", "truncated"][..]),
        ("model.onnx nan.npy", &["nan.npy: sample 1, element 1 is NaN"]),
        ("model.onnx wide.npy", &["[5]", "[1, 2, 2]", "5 elements are not 4"]),
        ("model.onnx ragged.csv", &["ragged.csv, line 2: 3 fields"]),
        ("model.onnx noise.png", &["noise.png cannot be read as an image"]),
        ("model.onnx empty", &["holds no images"]),
        ("model.onnx x.np", &["there is no x.np", "x.npy"]),
        ("modle.onnx x.npy", &["there is no modle.onnx"]),
        ("model.onnx x.npy --labels y.npy", &["holds 2 labels, and there are 3 samples"]),
        ("model.onnx x.npy --labels half.npy", &["the label of sample 1 is 1.5"]),
        ("model.onnx x.npy cut.npy", &["cut.npy", "truncated"]),
        ("model.onnx x.npy --scores knn", &["knn", "elonnx calibrate"]),
        ("model.onnx x.npy --scores enrgy", &["no score 'enrgy'", "energy"]),
        ("model.onnx x.npy --logits nothing", &["nothing"]),
        ("model.onnx x.npy --mean 0.5,0.5,0.5", &["mean and std have 3 numbers"]),
        ("model.onnx x.npy --onnxruntime /nowhere", &["--engine ort"]),
        ("model.onnx x.npy --threads 0", &["--threads"]),
        ("model.onnx x.npy --top-k 0", &["--top-k"]),
    ] {
        let run = desk.run(&format!("score {line} -o out.jsonl")).ends(2).tells(words);
        assert_eq!(run.stdout, "", "{line}");
        assert_eq!(desk.files(), before, "{line}");
    }
}

#[cfg(unix)]
#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let desk = desk();
    desk.write("x.f32", &f32s(&vec![0.5; 400_000]));
    let mut child = desk
        .command("score model.onnx x.f32")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!String::from_utf8_lossy(&output.stderr).contains("error"));
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_the_systems_fault() {
    let desk = desk();
    desk.write("x.npy", &samples());
    for format in ["jsonl", "csv", "parquet", "table"] {
        desk.run(&format!("score model.onnx x.npy -o /dev/full --format {format} --quiet"))
            .ends(1)
            .tells(&["No space left"]);
    }
}

/// Three million small samples stay under 100 MB. Minutes; larger ones in tools/bench_score_memory.
#[cfg(target_os = "linux")]
#[test]
#[ignore = "minutes"]
fn a_stream_of_any_length_takes_constant_memory() {
    let desk = desk();
    let mut command = desk.command("score model.onnx - --quiet --format csv -o out.csv");
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let peak = |pid: u32| -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or("VmHWM: 0 kB");
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    };
    let mut stdin = child.stdin.take().unwrap();
    let block = f32s(&SAMPLES).repeat(1000);
    let mut high = 0;
    for _ in 0..1000 {
        stdin.write_all(&block).unwrap();
        high = high.max(peak(child.id()));
    }
    drop(stdin);
    assert!(child.wait().unwrap().success());
    assert!((1..100_000).contains(&high), "{high} kB");
}
