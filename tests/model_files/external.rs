//! External data when a model moves to another folder.

use std::fs::{self, File};
use std::path::Path;

use elonnx::model::{Document, ExternalData, ModelError};

use super::wire::{bytes, external_tensor, model};

/// A folder with model.onnx whose weights lie at `location`.
fn folder_with(location: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join(location);
    fs::create_dir_all(data.parent().unwrap()).unwrap();
    fs::write(&data, [7u8; 16]).unwrap();
    fs::write(folder.path().join("model.onnx"), model(bytes(5, external_tensor("w", location)))).unwrap();
    folder
}

fn open(folder: &tempfile::TempDir) -> Document {
    Document::open(folder.path().join("model.onnx")).unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[cfg(unix)]
fn inode(path: impl AsRef<Path>) -> u64 {
    std::os::unix::fs::MetadataExt::ino(&path.as_ref().metadata().unwrap())
}

#[test]
fn references_are_read() {
    let folder = folder_with("data/w.bin");
    let document = open(&folder);
    let reference = document.graph().initializers()[0].external().unwrap();
    assert_eq!((reference.location.to_str(), reference.offset, reference.length), (Some("data/w.bin"), 0, Some(16)));
    assert_eq!(document.external_references().unwrap(), std::slice::from_ref(reference));
}

#[cfg(unix)]
#[test]
fn data_is_copied_or_linked_as_asked() {
    let (source, linked, copied) =
        (folder_with("data/w.bin"), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let document = open(&source);
    for _ in 0..2 {
        // the second time everything is there already
        document.save(linked.path().join("new.onnx"), ExternalData::Link).unwrap();
        document.save(copied.path().join("new.onnx"), ExternalData::Copy).unwrap();
    }
    let original = inode(source.path().join("data/w.bin"));
    assert_eq!(inode(linked.path().join("data/w.bin")), original);
    assert_ne!(inode(copied.path().join("data/w.bin")), original);
    assert_eq!(fs::read(copied.path().join("data/w.bin")).unwrap(), [7; 16]);
    assert_eq!(
        (names(copied.path()), names(&copied.path().join("data"))),
        (vec!["data".into(), "new.onnx".into()], vec!["w.bin".into()])
    );
    assert_eq!(fs::read(linked.path().join("new.onnx")).unwrap(), fs::read(source.path().join("model.onnx")).unwrap());
}

#[test]
fn the_same_folder_needs_nothing() {
    let folder = folder_with("w.bin");
    open(&folder).save(folder.path().join("other.onnx"), ExternalData::Copy).unwrap();
    fs::remove_file(folder.path().join("w.bin")).unwrap();
    // nor does it look at the data
    open(&folder).save(folder.path().join("model.onnx"), ExternalData::Link).unwrap();
    assert_eq!(names(folder.path()), ["model.onnx", "other.onnx"]);
}

#[test]
fn a_different_file_in_the_way_is_kept() {
    let (source, target) = (folder_with("w.bin"), tempfile::tempdir().unwrap());
    fs::write(target.path().join("w.bin"), [8u8; 16]).unwrap();
    let error = open(&source).save(target.path().join("model.onnx"), ExternalData::Link).unwrap_err();
    assert!(matches!(&error, ModelError::ExternalConflict { .. }), "{error}");
    assert_eq!(fs::read(target.path().join("w.bin")).unwrap(), [8; 16]);
    assert_eq!(names(target.path()), ["w.bin"]);
}

#[test]
fn a_check_refuses_what_saving_refuses_and_writes_nothing() {
    let (source, target) = (folder_with("data/w.bin"), tempfile::tempdir().unwrap());
    let path = target.path().join("model.onnx");
    open(&source).check_save(&path).unwrap();
    assert_eq!(names(target.path()), Vec::<String>::new());
    fs::create_dir(target.path().join("data")).unwrap();
    fs::write(target.path().join("data/w.bin"), [8u8; 16]).unwrap();
    let error = open(&source).check_save(&path).unwrap_err();
    assert!(matches!(&error, ModelError::ExternalConflict { .. }), "{error}");
    fs::remove_file(source.path().join("data/w.bin")).unwrap();
    let error = open(&source).check_save(&path).unwrap_err();
    assert!(matches!(&error, ModelError::ExternalMissing { .. }), "{error}");
    let missing = open(&source).missing_external_files().unwrap();
    assert_eq!(missing, [source.path().join("data/w.bin")]);
}

#[test]
fn the_model_does_not_replace_its_own_data() {
    let source = folder_with("w.bin");
    let elsewhere = tempfile::tempdir().unwrap();
    for target in [source.path().join("w.bin"), elsewhere.path().join("w.bin")] {
        let error = open(&source).save(&target, ExternalData::Link).unwrap_err();
        assert!(matches!(&error, ModelError::ExternalConflict { .. }), "{error}");
    }
    assert_eq!(fs::read(source.path().join("w.bin")).unwrap(), [7; 16]);
}

#[test]
fn missing_data_is_named() {
    let (source, target) = (folder_with("w.bin"), tempfile::tempdir().unwrap());
    let document = open(&source);
    fs::remove_file(source.path().join("w.bin")).unwrap();
    let error = document.save(target.path().join("model.onnx"), ExternalData::Link).unwrap_err();
    assert!(matches!(&error, ModelError::ExternalMissing { tensor, .. } if tensor == "w"), "{error}");
    let memory = Document::from_bytes(document.to_bytes()).unwrap();
    let error = memory.save(target.path().join("model.onnx"), ExternalData::Link).unwrap_err();
    assert!(matches!(&error, ModelError::ExternalMissing { .. }), "{error}");
    assert_eq!(names(target.path()), Vec::<String>::new());
    fs::write(target.path().join("w.bin"), [7u8; 16]).unwrap();
    memory.save(target.path().join("model.onnx"), ExternalData::Link).unwrap();
}

#[test]
fn links_go_away_when_the_model_cannot_be_written() {
    let (source, target) = (folder_with("w.bin"), tempfile::tempdir().unwrap());
    fs::create_dir(target.path().join("model.onnx")).unwrap();
    assert!(open(&source).save(target.path().join("model.onnx"), ExternalData::Link).is_err());
    assert_eq!(names(target.path()), ["model.onnx"]);
}

#[cfg(unix)]
#[test]
fn symbolic_links_may_not_lead_out() {
    use std::os::unix::fs::symlink;
    let (source, target, outside) = (folder_with("w.bin"), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(outside.path().join("secret"), [7u8; 16]).unwrap();
    fs::remove_file(source.path().join("w.bin")).unwrap();
    symlink(outside.path().join("secret"), source.path().join("w.bin")).unwrap();
    let error = open(&source).save(target.path().join("model.onnx"), ExternalData::Copy).unwrap_err();
    assert!(matches!(&error, ModelError::ExternalLink { .. }), "{error}");
    assert!(error.to_string().contains("beside the old one"), "{error}");
    open(&source).save(source.path().join("new.onnx"), ExternalData::Copy).unwrap();
    // inside the folder they may
    fs::write(source.path().join("real.bin"), [7u8; 16]).unwrap();
    fs::remove_file(source.path().join("w.bin")).unwrap();
    symlink("real.bin", source.path().join("w.bin")).unwrap();
    open(&source).save(target.path().join("model.onnx"), ExternalData::Link).unwrap();
    assert_eq!(fs::read(target.path().join("w.bin")).unwrap(), [7; 16]);
    // a link in the new folder that leads out of it
    let (source, target) = (folder_with("data/w.bin"), tempfile::tempdir().unwrap());
    symlink(outside.path(), target.path().join("data")).unwrap();
    let error = open(&source).save(target.path().join("model.onnx"), ExternalData::Copy).unwrap_err();
    assert!(matches!(&error, ModelError::ExternalEscape { .. }), "{error}");
    assert_eq!(names(outside.path()), ["secret"]);
}

/// 10 GB would take seconds to read or copy, and no space is taken.
#[cfg(unix)]
#[test]
fn ten_sparse_gigabytes_are_linked_not_read() {
    use std::os::unix::fs::MetadataExt;
    let (source, target) = (folder_with("w.bin"), tempfile::tempdir().unwrap());
    let data = File::create(source.path().join("w.bin")).unwrap();
    if data.set_len(10_000_000_000).is_err() {
        println!("skipped: no sparse files here");
        return;
    }
    let start = std::time::Instant::now();
    let mut document = open(&source);
    document.set_metadata("k", "v");
    document.save(target.path().join("model.onnx"), ExternalData::Link).unwrap();
    assert!(start.elapsed().as_secs() < 2, "{:?}", start.elapsed());
    let linked = target.path().join("w.bin").metadata().unwrap();
    assert_eq!(
        (linked.ino(), linked.len(), linked.blocks() * 512 < 1 << 20),
        (inode(source.path().join("w.bin")), 10_000_000_000, true)
    );
}

/// Nor does a copy read or write the holes.
#[cfg(target_os = "linux")]
#[test]
fn ten_sparse_gigabytes_are_copied_with_their_holes() {
    use std::os::unix::fs::MetadataExt;
    let (source, target) = (folder_with("w.bin"), tempfile::tempdir().unwrap());
    let data = fs::OpenOptions::new().write(true).open(source.path().join("w.bin")).unwrap();
    if data.set_len(10_000_000_000).is_err() {
        println!("skipped: no sparse files here");
        return;
    }
    let start = std::time::Instant::now();
    open(&source).save(target.path().join("model.onnx"), ExternalData::Copy).unwrap();
    assert!(start.elapsed().as_secs() < 2, "{:?}", start.elapsed());
    let copied = target.path().join("w.bin").metadata().unwrap();
    assert_eq!((copied.len(), copied.blocks() * 512 < 1 << 20), (10_000_000_000, true));
    let mut begin = [0; 17];
    std::io::Read::read_exact(&mut File::open(target.path().join("w.bin")).unwrap(), &mut begin).unwrap();
    assert_eq!((&begin[..16], begin[16]), (&[7u8; 16][..], 0));
}
