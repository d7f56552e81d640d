//! Any bytes under any name are read without panic or flood of memory, and what comes fits the model.
//!
//! The first byte chooses the name, the second the model's input, the rest is the file.
#![no_main]

use std::path::PathBuf;
use std::sync::OnceLock;

use elonnx::data::{InputSpec, Options, Preprocessing, open};
use elonnx::model::DataType;
use libfuzzer_sys::fuzz_target;

const NAMES: [&str; 10] =
    ["x.npy", "x.npz", "x-images-idx3-ubyte", "x.csv", "x.f32", "x.png", "x.jpg", "x.bmp", "x.gz", "x"];

fuzz_target!(|bytes: &[u8]| {
    let [name, model, file @ ..] = bytes else { return };
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let folder = std::env::temp_dir().join(format!("elonnx-fuzz-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder to work in");
        folder
    });
    let path = folder.join(NAMES[usize::from(*name) % NAMES.len()]);
    std::fs::write(&path, file).expect("a file to read");
    let dims: &[Option<usize>] = match model % 4 {
        0 => &[None, Some(4)],
        1 => &[None, Some(1), Some(2), Some(2)],
        2 => &[None, Some(3), None, None],
        _ => &[None, None],
    };
    let data_type = if model & 4 == 0 { DataType::Float } else { DataType::Int64 };
    let input = InputSpec { name: "x".to_owned(), data_type, dims: dims.to_vec() };
    let options = Options {
        paths: vec![path],
        preprocessing: Preprocessing { invert: model & 8 != 0 && data_type == DataType::Float, ..Default::default() },
        batch: 3,
        limit: Some(1000),
        ..Options::default()
    };
    let Ok(source) = open(&options, std::slice::from_ref(&input)) else { return };
    for batch in source {
        let Ok(batch) = batch else { return };
        let tensor = &batch.inputs[0];
        assert_eq!(tensor.dims.len(), dims.len());
        assert_eq!(tensor.dims.iter().product::<usize>(), tensor.values.len());
        assert!(dims.iter().zip(&tensor.dims).all(|(wanted, dim)| wanted.is_none_or(|wanted| wanted == *dim)));
    }
});
