//! Damaged and hostile files: an error that names the place, never a panic, an abort or a flood of memory.

use elonnx::model::{Document, GraphIndex, MAX_GRAPH_DEPTH, ModelError, Shapes, decoded_limit};
use proptest::prelude::*;

use super::small;
use super::wire::{bytes, external_tensor, int, model, varint};

fn refused(file: impl Into<Vec<u8>>) -> ModelError {
    Document::from_bytes(file.into()).expect_err("a refusal")
}

/// Looks at everything that is read lazily.
fn explore(document: &Document) {
    let graph = document.graph();
    let index = GraphIndex::new(graph);
    let _ = graph.fresh_name("x");
    let _ = Shapes::new(graph, document.opset_version("").unwrap_or(1));
    for tensor in graph.initializers() {
        let _ = tensor.tensor();
        let _ = index.constant(tensor.name());
    }
    for node in graph.nodes() {
        let _ = node.describe();
        node.output.iter().for_each(|output| drop(index.constant(output)));
        node.subgraphs().for_each(|inner| drop(elonnx::model::Graph::decode(inner.clone(), "inner")));
    }
    for function in document.functions() {
        let _ = function.proto().name();
    }
}

#[test]
fn each_fault_has_its_own_error_and_place() {
    let node_with = |field: Vec<u8>| model([bytes(1, bytes(4, "Relu")), bytes(1, field)].concat());
    let place = |error: &ModelError| match error {
        ModelError::TruncatedVarint { at }
        | ModelError::OversizedVarint { at }
        | ModelError::PastEnd { at, .. }
        | ModelError::FieldNumber { at, .. }
        | ModelError::Group { at, .. }
        | ModelError::WireType { at, .. }
        | ModelError::FieldType { at, .. }
        | ModelError::Utf8 { at, .. }
        | ModelError::Duplicate { at, .. } => at.clone(),
        other => panic!("no place in {other:?}"),
    };
    let group = refused(node_with(vec![0x9b, 0x06, 0x9c, 0x06]));
    assert!(matches!(group, ModelError::Group { number: 99, .. }), "{group}");
    // ir_version 2 bytes, graph header 2, first node 8, second node's header 2
    assert_eq!((place(&group).place.as_str(), place(&group).offset), ("graph.node[1]", 14));
    assert!(matches!(refused(node_with(vec![0x08, 0xff])), ModelError::TruncatedVarint { .. }));
    assert!(matches!(
        refused(node_with([&[0x98, 0x06][..], &[0xff; 10]].concat())),
        ModelError::OversizedVarint { .. }
    ));
    assert!(matches!(refused(node_with(vec![0x22, 0x7f])), ModelError::PastEnd { claimed: 127, left: 0, .. }));
    assert!(matches!(refused(node_with(vec![0x00])), ModelError::FieldNumber { number: 0, .. }));
    assert!(matches!(refused(node_with(vec![0x0e])), ModelError::WireType { wire_type: 6, .. }));
    assert!(matches!(refused(node_with(int(4, 1))), ModelError::FieldType { field: "op_type", .. }));
    let text = refused(node_with(bytes(5, bytes(1, [0xc3]))));
    assert!(matches!(text, ModelError::Utf8 { field: "name", .. }));
    assert_eq!(place(&text).place, "graph.node[1].attribute[0]");
    let twice = refused([int(1, 8), bytes(7, []), bytes(7, [])].concat());
    assert!(matches!(twice, ModelError::Duplicate { field: "graph", .. }));
    assert_eq!(place(&twice).place, "the model");
    assert!(matches!(refused(int(1, 8)), ModelError::NoGraph { .. }));
    let huge = [int(1, 8), varint(7 << 3 | 2), varint(u64::MAX)].concat();
    assert!(matches!(refused(huge), ModelError::PastEnd { claimed: u64::MAX, .. }));
}

#[test]
fn deep_nesting_is_refused() {
    let nested = |depth: usize| (0..depth).fold(vec![], |inner, _| bytes(1, bytes(5, bytes(6, inner))));
    let fine = Document::from_bytes(model(nested(MAX_GRAPH_DEPTH - 1))).unwrap();
    explore(&fine);
    assert!(matches!(refused(model(nested(MAX_GRAPH_DEPTH))), ModelError::TooDeep { .. }));
    assert!(matches!(refused(model(nested(20_000))), ModelError::TooDeep { .. }));
}

#[test]
fn floods_of_tiny_fields_are_refused() {
    // 2 bytes each in the file, hundreds decoded
    let attributes = [0x2a, 0].repeat(1_000_000);
    let error = refused(model(bytes(1, attributes)));
    assert!(matches!(error, ModelError::TooManyFields { .. }), "{error}");
    assert!(error.to_string().contains("graph.node[0]"), "{error}");
    assert!(matches!(refused(model([0x0a, 0].repeat(1_000_000))), ModelError::TooManyFields { .. }));
    // unknown fields at both levels where each is kept
    for flood in [model([0x98, 0x06, 0].repeat(5_000_000)), [model([]), [0x98, 0x06, 0].repeat(5_000_000)].concat()] {
        if let Ok(document) = Document::from_bytes(flood.clone()) {
            assert!(document.to_bytes() == flood);
        }
    }
    // many nodes as such are fine
    let node = bytes(1, [bytes(1, "input"), bytes(2, "output"), bytes(4, "Relu")].concat());
    let document = Document::from_bytes(model(node.repeat(100_000))).unwrap();
    assert_eq!(document.graph().nodes().len(), 100_000);
    assert_eq!((decoded_limit(0), decoded_limit(usize::MAX)), (64 << 20, 2 << 30));
}

#[test]
fn a_packed_flood_in_a_small_constant_is_not_decoded() {
    let tensor = [int(2, 7), bytes(7, vec![1u8; 1_000_000])].concat();
    let constant = bytes(
        1,
        [bytes(4, "Constant"), bytes(2, "c"), bytes(5, [bytes(1, "value"), bytes(5, tensor)].concat())].concat(),
    );
    let document = Document::from_bytes(model(constant)).unwrap();
    assert_eq!(GraphIndex::new(document.graph()).constant("c"), None);
}

#[test]
fn other_files_get_a_helpful_sentence() {
    let folder = tempfile::tempdir().unwrap();
    let says = |content: &[u8], word: &str| {
        let path = folder.path().join("file");
        std::fs::write(&path, content).unwrap();
        let error = Document::open(&path).unwrap_err().to_string();
        assert!(error.contains(word) && error.contains("file"), "{word}: {error}");
    };
    says(b"", "empty");
    says(b"this is not a model\n", "text");
    says(b"\x18\0\0\0ORTM\0\0\0\0", ".ort");
    says(b"PK\x03\x04\x14\0\0\0", "zip");
    says(&[0x1f, 0x8b, 8, 0, 0], "gzip");
    says(b"\x10\0\0\0\0\0\0\0{\"a\":{}}        ", "safetensors");
    let error = Document::open(folder.path()).unwrap_err();
    assert!(matches!(error, ModelError::NotAFile { what: "a folder", .. }));
    let error = Document::open(folder.path().join("absent.onnx")).unwrap_err().to_string();
    assert!(error.contains("absent.onnx") && error.starts_with("cannot open"), "{error}");
}

#[test]
fn locations_outside_the_folder_are_refused_wherever_they_hide() {
    let tensor = external_tensor("w", "../secret");
    let attribute = |number, payload: &[u8]| bytes(5, [bytes(1, "a"), bytes(number, payload)].concat());
    let in_graph = bytes(5, &tensor);
    for file in [
        model(&in_graph),
        model(bytes(15, bytes(1, &tensor))),
        model(bytes(1, attribute(5, &tensor))),
        model(bytes(1, attribute(10, &tensor))),
        model(bytes(1, attribute(6, &in_graph))),
        model(bytes(1, attribute(11, &bytes(1, attribute(22, &bytes(2, &tensor)))))),
        [model([]), bytes(25, bytes(7, attribute(5, &tensor)))].concat(),
        [model([]), bytes(20, bytes(2, &in_graph))].concat(),
    ] {
        let error = refused(file);
        assert!(matches!(&error, ModelError::ExternalEscape { tensor, .. } if tensor == "w"), "{error}");
    }
    assert!(matches!(refused(model(bytes(5, external_tensor("w", "/etc/passwd")))), ModelError::ExternalEscape { .. }));
    assert!(matches!(refused(model(bytes(5, external_tensor("w", "")))), ModelError::ExternalData { .. }));
    let bad_offset = String::from_utf8(external_tensor("w", "w.bin")).unwrap().replace("\u{1}0", "\u{1}x");
    assert!(matches!(refused(model(bytes(5, bad_offset))), ModelError::ExternalData { .. }));
}

#[test]
fn every_truncation_is_taken() {
    let file = small::model().to_bytes();
    for length in 0..file.len() {
        if let Ok(document) = Document::from_bytes(file[..length].to_vec()) {
            explore(&document);
        }
    }
    for at in 0..file.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut file = file.clone();
            file[at] ^= flip;
            if let Ok(document) = Document::from_bytes(file) {
                explore(&document);
            }
        }
    }
}

proptest! {
    #[test]
    fn random_bytes_are_taken(file in proptest::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(document) = Document::from_bytes(file) {
            explore(&document);
        }
    }

    #[test]
    fn random_edits_of_a_model_are_taken(edits in proptest::collection::vec((0usize..10_000, any::<u8>(), 0usize..3), 1..6)) {
        let mut file = small::model().to_bytes();
        for (at, byte, how) in edits {
            let at = at % file.len();
            match how {
                0 => file[at] = byte,
                1 => file.insert(at, byte),
                _ => drop(file.remove(at)),
            }
        }
        if let Ok(document) = Document::from_bytes(file) {
            explore(&document);
        }
    }
}
