//! What is not edited comes back byte for byte.

use elonnx::model::{Document, Shapes};
use proptest::prelude::*;

use super::wire::{bytes, int, long_varint, model, varint};
use super::{shared_models, small};

#[test]
fn shared_models_come_back_byte_for_byte() {
    for path in shared_models() {
        let document = Document::open(&path).unwrap();
        assert!(document.to_bytes() == std::fs::read(&path).unwrap(), "{}", path.display());
        assert_eq!(document.encoded_len() as u64, path.metadata().unwrap().len());
    }
}

#[test]
fn an_edit_and_its_reverse_leave_no_trace_in_shared_models() {
    for path in shared_models() {
        let mut document = Document::open(&path).unwrap();
        document.set_metadata("elonnx.test", "1");
        let graph = document.graph_mut();
        let name = graph.fresh_name("logits");
        graph.add_input(elonnx::model::value_info(&name, 1, None));
        assert!(graph.has_value(&name));
        assert!(graph.remove_input(&name));
        assert!(document.remove_metadata("elonnx.test"));
        assert!(document.to_bytes() == std::fs::read(&path).unwrap(), "{}", path.display());
    }
}

#[test]
fn small_model_comes_back() {
    let encoded = small::model().to_bytes();
    assert_eq!(Document::from_bytes(encoded.clone()).unwrap().to_bytes(), encoded);
    assert_eq!(small::model().encoded_len(), encoded.len());
}

/// Unknown fields at every level, longer varints than needed, kinds interleaved, fields out of order, values twice.
#[test]
fn odd_but_valid_encodings_come_back() {
    let unknown = [int(200, 7), bytes(201, [0xff, 0xfe]), [varint(202 << 3 | 5), vec![1, 2, 3, 4]].concat()].concat();
    let relu = |input: &str, output: &str| {
        bytes(
            1,
            [bytes(4, "Relu"), bytes(2, output), unknown.clone(), bytes(1, input), bytes(3, "a"), bytes(3, "b")]
                .concat(),
        )
    };
    let tensor = bytes(5, [bytes(9, [0; 4]), bytes(8, "w"), int(2, 1), unknown.clone()].concat());
    let graph = [
        bytes(12, [bytes(1, "z"), unknown.clone()].concat()),
        relu("y", "z"),
        tensor,
        unknown.clone(),
        bytes(2, "g"),
        relu("x", "y"),
        bytes(11, bytes(1, "x")),
        bytes(13, []),
    ]
    .concat();
    let opset = [long_varint(8 << 3 | 2, 4), long_varint(2, 9), int(2, 17)].concat();
    let file = [
        unknown.clone(),
        long_varint(7 << 3 | 2, 3),
        long_varint(graph.len() as u64, 7),
        graph,
        opset,
        int(1, 3),
        int(1, 8),
        unknown,
    ]
    .concat();
    let mut document = Document::from_bytes(file.clone()).unwrap();
    assert_eq!(document.to_bytes(), file);
    assert_eq!((document.ir_version(), document.graph().name(), document.graph().nodes()[1].label()), (8, "g", "b"));
    // an edit elsewhere leaves the graph's bytes, header included, as they were
    document.set_metadata("k", "v");
    let edited = document.to_bytes();
    assert!(edited.len() > file.len());
    assert!(document.remove_metadata("k"));
    assert_eq!(document.to_bytes(), file);
}

#[test]
fn attribute_tensors_stay_slices_of_the_file() {
    let file = bytes::Bytes::from(small::model().to_bytes());
    let document = Document::from_bytes(file.clone()).unwrap();
    let inside = file.as_ptr_range();
    let value = document.graph().nodes()[1].attr("value").unwrap().t.clone().unwrap();
    let branch = document.graph().nodes()[2].attr("then_branch").unwrap().g.clone().unwrap();
    let raw = document.graph().initializers()[0].tensor().unwrap().raw_data.unwrap();
    for slice in [value, branch, raw] {
        assert!(inside.contains(&slice.as_ptr()), "copied");
    }
}

/// Declared types are left out and found again by propagation.
#[test]
fn inferred_shapes_agree_with_declared_ones_in_shared_models() {
    let mut compared = 0;
    for path in shared_models() {
        let declared = Document::open(&path).unwrap();
        let opset = declared.opset_version("").unwrap_or(1);
        let mut bare = declared.clone();
        for value in declared.graph().value_infos() {
            bare.graph_mut().remove_value_info(value.name());
        }
        let inferred = Shapes::new(bare.graph(), opset);
        for value in declared.graph().value_infos() {
            let (found, said) = (inferred.get(value.name()), elonnx::model::ValueType::of_value_info(value));
            let place = format!("{}: {}", path.display(), value.name());
            if let (Some(found), Some(said)) = (found.data_type, said.data_type) {
                assert_eq!(found, said, "{place}");
            }
            if let (Some(found), Some(said)) = (found.dims, said.dims) {
                // PyTorch's dynamo exporter declares unreduced losses as scalars
                if found.len() != said.len() && place.contains(".dynamo.") {
                    continue;
                }
                assert_eq!(found.len(), said.len(), "{place}");
                for pair in found.iter().zip(&said) {
                    if let (Some(found), Some(said)) = (pair.0.known(), pair.1.known()) {
                        assert_eq!(found, said, "{place}");
                        compared += 1;
                    }
                }
            }
        }
    }
    println!("{compared} sizes compared");
}

proptest! {
    /// Whatever is accepted is written back as it was.
    #[test]
    fn accepted_mutations_come_back(at in 0usize..10_000, byte: u8, cut in 0usize..10_000) {
        let mut file = small::model().to_bytes();
        let at = at % file.len();
        file[at] = byte;
        file.truncate(file.len() - cut % file.len() / 50);
        if let Ok(document) = Document::from_bytes(file.clone()) {
            prop_assert_eq!(document.to_bytes(), file);
        }
    }

    #[test]
    fn accepted_graphs_come_back(fields in proptest::collection::vec((1u64..20, proptest::collection::vec(any::<u8>(), 0..12)), 0..8)) {
        let graph: Vec<u8> = fields.iter().flat_map(|(number, payload)| bytes(*number, payload)).collect();
        let file = model(graph);
        if let Ok(document) = Document::from_bytes(file.clone()) {
            prop_assert_eq!(document.to_bytes(), file);
        }
    }
}
