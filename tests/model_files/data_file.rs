//! New data for a model whose tensors lie in a file beside it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use ::bytes::Bytes;
use elonnx::model::{Document, ExternalData};

use super::wire::{bytes, external_tensor_at, int, model};

/// `model.onnx` with v and w at `data/v.bin` and `w.bin`, fields that nobody knows, and a tensor of its own.
fn folder_with(other: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (location, byte) in [(other, 7u8), ("w.bin", 8)] {
        let path = folder.path().join(location);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, [byte; 16]).unwrap();
    }
    fs::write(folder.path().join("model.onnx"), encoded((other, 0), ("w.bin", 0))).unwrap();
    folder
}

/// The model with v and w at these places.
fn encoded(v: (&str, u64), w: (&str, u64)) -> Vec<u8> {
    let unknown = bytes(77, "unknown");
    let inside = [int(1, 1), int(2, 1), bytes(8, "inside"), bytes(9, [1, 2, 3, 4])].concat();
    let v = [external_tensor_at("v", v.0, v.1), unknown.clone()].concat();
    let tensors = [v, inside, external_tensor_at("w", w.0, w.1)];
    model([tensors.map(|tensor| bytes(5, tensor)).concat(), unknown].concat())
}

fn open(folder: &Path) -> Document {
    Document::open(folder.join("model.onnx")).unwrap()
}

fn new(names: &[&str]) -> BTreeMap<String, Bytes> {
    names.iter().map(|name| ((*name).to_owned(), Bytes::from(vec![name.as_bytes()[0]; 16]))).collect()
}

/// What each tensor holds.
fn tensors(path: &Path) -> Vec<(String, Vec<u8>)> {
    let document = Document::open(path).unwrap();
    let raw = |initializer| document.tensor(initializer).unwrap().raw_data.unwrap().to_vec();
    document.graph().initializers().iter().map(|tensor| (tensor.name().to_owned(), raw(tensor))).collect()
}

fn expected(v: u8, w: u8) -> Vec<(String, Vec<u8>)> {
    vec![("v".into(), vec![v; 16]), ("inside".into(), vec![1, 2, 3, 4]), ("w".into(), vec![w; 16])]
}

#[test]
fn new_data_lies_beside_the_new_model() {
    let folder = folder_with("data/v.bin");
    let document = open(folder.path());
    let path = folder.path().join("new.onnx");
    let file = document.save_with_data(&path, &new(&["v", "w"]), ExternalData::Copy).unwrap().unwrap();
    assert_eq!(file, folder.path().join("new.onnx.data"));
    let content = fs::read(&file).unwrap();
    assert_eq!((&content[..16], &content[4096..]), (&[b'v'; 16][..], &[b'w'; 16][..]));
    assert_eq!(tensors(&path), expected(b'v', b'w'));
    assert_eq!(tensors(&folder.path().join("model.onnx")), expected(7, 8));
    // all but the references is as it was
    assert_eq!(fs::read(&path).unwrap(), encoded(("new.onnx.data", 0), ("new.onnx.data", 4096)));
}

#[test]
fn what_is_not_new_stays_where_it_is_or_comes_along() {
    let (folder, elsewhere) = (folder_with("data/v.bin"), tempfile::tempdir().unwrap());
    for target in [folder.path(), elsewhere.path()] {
        let path = target.join("new.onnx");
        for _ in 0..2 {
            // the second time all is there
            open(folder.path()).save_with_data(&path, &new(&["w"]), ExternalData::Copy).unwrap();
        }
        assert_eq!(tensors(&path), expected(7, b'w'));
        assert_eq!(fs::read(target.join("new.onnx.data")).unwrap(), [b'w'; 16]);
    }
    assert!(!elsewhere.path().join("w.bin").exists());
    assert_eq!(tensors(&folder.path().join("model.onnx")), expected(7, 8));
}

#[test]
fn the_models_own_data_files_are_never_written_to() {
    // as after `mv new.onnx model.onnx`
    let folder = folder_with("new.onnx.data");
    let path = folder.path().join("new.onnx");
    let document = open(folder.path());
    assert_eq!(document.check_save_with_data(&path, |_| true).unwrap(), Some(folder.path().join("new.onnx.1.data")));
    assert!(!folder.path().join("new.onnx.1.data").exists());
    document.save_with_data(&path, &new(&["v", "w"]), ExternalData::Copy).unwrap();
    assert_eq!(tensors(&path), expected(b'v', b'w'));
    assert_eq!(tensors(&folder.path().join("model.onnx")), expected(7, 8));
    let error = document.save_with_data(folder.path().join("w.bin"), &new(&["v", "w"]), ExternalData::Copy);
    assert!(error.unwrap_err().to_string().contains("is a data file of the model"));
    assert_eq!(tensors(&folder.path().join("model.onnx")), expected(7, 8));

    // elsewhere the name is free, unless a tensor that stays comes along under it
    let elsewhere = tempfile::tempdir().unwrap();
    let path = elsewhere.path().join("new.onnx");
    let file = |names: &[&str]| document.save_with_data(&path, &new(names), ExternalData::Copy).unwrap().unwrap();
    assert_eq!(file(&["v", "w"]), elsewhere.path().join("new.onnx.data"));
    fs::remove_file(elsewhere.path().join("new.onnx.data")).unwrap();
    assert_eq!(file(&["w"]), elsewhere.path().join("new.onnx.1.data"));
    assert_eq!(tensors(&path), expected(7, b'w'));
}

#[test]
fn nothing_is_written_where_something_is_wrong() {
    let folder = folder_with("data/v.bin");
    let document = open(folder.path());
    let elsewhere = tempfile::tempdir().unwrap();
    let path = elsewhere.path().join("new.onnx");
    let told =
        |names: &[&str]| document.save_with_data(&path, &new(names), ExternalData::Copy).unwrap_err().to_string();
    assert!(told(&["v", "inside"]).contains("'inside': its data is in the model"));
    assert!(told(&["v", "x"]).contains("'x': there is no such initializer"));
    fs::remove_file(folder.path().join("data/v.bin")).unwrap();
    assert!(told(&["w"]).contains("does not exist"));
    assert!(document.check_save_with_data(&path, |name| name == "w").is_err());
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);

    // without new data it is a plain save
    document.save_with_data(folder.path().join("same.onnx"), &BTreeMap::new(), ExternalData::Copy).unwrap();
    assert_eq!(fs::read(folder.path().join("same.onnx")).unwrap(), fs::read(folder.path().join("model.onnx")).unwrap());
}
