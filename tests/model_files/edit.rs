//! Edits, seen by a second parser.

use elonnx::model::proto::FunctionProto;
use elonnx::model::{Document, GraphIndex, NodeId, node, value_info};
use onnx_protobuf::{Message, ModelProto};

use super::small;

/// What the other parser reads.
fn parsed(document: &Document) -> ModelProto {
    ModelProto::parse_from_bytes(&document.to_bytes()).unwrap()
}

#[test]
fn header_edits() {
    let mut document = small::model();
    document.set_ir_version(10);
    document.set_opset_version("ai.onnx", 18);
    document.set_opset_version("ai.elonnx", 1);
    document.remove_opset("test");
    document.set_metadata("author", "somebody");
    document.set_metadata("elonnx.version", "0");
    let model = parsed(&document);
    assert_eq!(model.ir_version, 10);
    let opsets: Vec<_> = model.opset_import.iter().map(|opset| (opset.domain.as_str(), opset.version)).collect();
    assert_eq!(opsets, [("", 18), ("ai.elonnx", 1)]);
    let entries: Vec<_> = model.metadata_props.iter().map(|entry| (entry.key.as_str(), entry.value.as_str())).collect();
    assert_eq!(entries, [("author", "somebody"), ("elonnx.version", "0")]);
    assert!(document.remove_metadata("author") && !document.remove_metadata("author"));
    assert_eq!(document.metadata_entries().collect::<Vec<_>>(), [("elonnx.version", "0")]);
    assert_eq!((document.opset_version(""), document.opset_version("test")), (Some(18), None));
}

#[test]
fn setting_what_is_there_changes_nothing() {
    let mut document = small::model();
    let before = document.to_bytes();
    document.set_ir_version(document.ir_version());
    document.set_opset_version("", 17);
    document.set_metadata("author", "nobody");
    document.set_function(document.functions()[0].proto().clone());
    assert_eq!(document.to_bytes(), before);
}

#[test]
fn absent_header_fields_are_added_in_field_order() {
    let mut document = Document::from_bytes(vec![0x3a, 0]).unwrap();
    assert_eq!((document.ir_version(), document.producer_name(), document.opset_version("")), (0, "", None));
    document.set_metadata("k", "v");
    document.set_opset_version("", 17);
    document.set_ir_version(8);
    let numbers: Vec<u8> = [0x08, 0x3a, 0x42, 0x72].to_vec();
    let bytes = document.to_bytes();
    let positions: Vec<_> = numbers.iter().map(|tag| bytes.iter().position(|byte| byte == tag)).collect();
    assert!(positions.is_sorted() && positions[0] == Some(0), "{positions:?}");
    assert_eq!(parsed(&document).metadata_props[0].value, "v");
}

#[test]
fn functions_are_replaced_by_name() {
    let mut document = small::model();
    let twice = FunctionProto { doc_string: Some("2x".into()), ..document.functions()[0].proto().clone() };
    document.set_function(twice.clone());
    document.set_function(FunctionProto { overload: Some("other".into()), ..twice });
    let model = parsed(&document);
    assert_eq!(
        model.functions.iter().map(|f| (f.doc_string.as_str(), f.node.len())).collect::<Vec<_>>(),
        [("2x", 1), ("2x", 1)]
    );
    assert!(document.remove_function("test", "Twice") && !document.remove_function("test", "Twice"));
    assert!(parsed(&document).functions.is_empty());
}

#[test]
fn node_edits() {
    let mut document = small::model();
    let graph = document.graph_mut();
    graph.insert_node(1, node("Relu").inputs(["logits"]).outputs(["active"]).metadata("elonnx.rule", "test").build());
    graph.insert_node(99, node("Neg").inputs(["active"]).outputs(["last"]).int("axis", -1).build());
    graph.remove_nodes(&[NodeId(2), NodeId(2), NodeId(77)]);
    let ops = |model: &ModelProto| model.graph.node.iter().map(|node| node.op_type.clone()).collect::<Vec<_>>();
    assert_eq!(ops(&parsed(&document)), ["Gemm", "Relu", "If", "Neg"]);
    let model = parsed(&document);
    assert_eq!(model.graph.node[1].metadata_props[0].value, "test");
    assert_eq!(model.graph.node[3].attribute[0].i, -1);
    document.graph_mut().replace_node(NodeId(3), node("Abs").inputs(["active"]).outputs(["last"]).build());
    assert_eq!(ops(&parsed(&document)), ["Gemm", "Relu", "If", "Abs"]);
    let again = Document::from_bytes(document.to_bytes()).unwrap();
    assert_eq!(again.graph().nodes().iter().map(|node| node.op()).collect::<Vec<_>>(), ["Gemm", "Relu", "If", "Abs"]);
}

#[test]
fn value_edits() {
    let mut document = small::model();
    let graph = document.graph_mut();
    graph.add_input(value_info("labels", 7, Some(&[elonnx::model::Dimension::Symbol("batch".into())])));
    graph.add_output(value_info("loss", 1, Some(&[])));
    graph.add_value_info(value_info("logits", 1, None));
    graph.add_initializer(elonnx::model::proto::TensorProto::scalar("two", 1, 2.0));
    assert!(graph.remove_initializer("bias") && !graph.remove_initializer("bias"));
    assert!(graph.remove_input("choose") && !graph.remove_input("choose"));
    assert!(graph.remove_output("y") && !graph.remove_output("y"));
    let model = parsed(&document);
    let names =
        |values: &[onnx_protobuf::ValueInfoProto]| values.iter().map(|value| value.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&model.graph.input), ["x", "labels"]);
    assert_eq!(model.graph.input[1].type_.tensor_type().shape.dim[0].dim_param(), "batch");
    assert_eq!(names(&model.graph.output), ["loss"]);
    assert!(model.graph.output[0].type_.tensor_type().shape.is_some(), "a scalar has a shape without dims");
    assert_eq!(names(&model.graph.value_info), ["logits"]);
    assert!(model.graph.value_info[0].type_.tensor_type().shape.is_none(), "unknown rank has no shape");
    assert_eq!(model.graph.initializer.iter().map(|t| t.name.clone()).collect::<Vec<_>>(), ["weight", "two"]);
    assert_eq!(model.graph.initializer[1].raw_data, 2.0f32.to_le_bytes());
    assert!(document.graph_mut().remove_value_info("logits"));
    assert!(parsed(&document).graph.value_info.is_empty());
}

#[test]
fn a_clone_is_independent() {
    let document = small::model();
    let mut copy = document.clone();
    copy.graph_mut().remove_nodes(&[NodeId(0)]);
    copy.set_metadata("author", "me");
    assert_eq!((document.graph().nodes().len(), document.metadata("author")), (3, Some("nobody")));
}

#[test]
fn names_inside_subgraphs_count() {
    let document = small::model();
    let graph = document.graph();
    assert!(graph.has_value("then_branch_sum") && graph.has_value("weight") && graph.has_value("x"));
    assert!(!graph.has_value("nowhere"));
    assert_eq!(graph.fresh_name("logits"), "logits_1");
    assert_eq!(graph.fresh_name("then_branch_sum"), "then_branch_sum_1");
    assert_eq!(graph.fresh_name("free"), "free");
}

#[test]
fn index_knows_makers_and_readers() {
    let document = small::model();
    let index = GraphIndex::new(document.graph());
    assert_eq!(index.producer("logits"), Some(NodeId(0)));
    assert_eq!(index.consumers("logits"), [NodeId(2)], "read inside both branches of If");
    assert_eq!(index.consumers("shift"), [NodeId(2)]);
    assert_eq!(index.consumers("then_branch_sum"), [], "stays inside");
    assert!(index.is_input("x") && !index.is_input("weight") && index.is_output("y") && !index.is_output("logits"));
    assert_eq!(index.initializer("bias").unwrap().dims(), [3]);
    assert_eq!(index.producer("nowhere"), None);
}

#[test]
fn constants_in_every_form() {
    let mut document = small::model();
    let graph = document.graph_mut();
    let floats = elonnx::model::proto::AttributeProto {
        floats: vec![0.5, 1.5],
        ..elonnx::model::attribute("value_floats", elonnx::model::proto::AttributeType::Floats)
    };
    for built in [
        node("Constant").outputs(["f"]).float("value_float", 0.25),
        node("Constant").outputs(["i"]).int("value_int", -3),
        node("Constant").outputs(["is"]).ints("value_ints", &[1, 2]),
        node("Constant").outputs(["fs"]).attribute(floats),
        node("Identity").inputs(["bias"]).outputs(["same"]),
        node("Cast").inputs(["f"]).outputs(["whole"]).int("to", 7),
        node("Identity").inputs(["loop"]).outputs(["loop"]),
    ] {
        graph.insert_node(usize::MAX, built.build());
    }
    let index = GraphIndex::new(document.graph());
    let data = |name: &str| index.constant(name).map(|value| value.data);
    assert_eq!(data("shift"), Some(vec![2.5]));
    assert_eq!((data("f"), data("i")), (Some(vec![0.25]), Some(vec![-3.0])));
    assert_eq!((data("is"), data("fs")), (Some(vec![1.0, 2.0]), Some(vec![0.5, 1.5])));
    assert_eq!((data("same"), data("whole")), (Some(vec![1.0, 2.0, 3.0]), Some(vec![0.0])));
    assert_eq!(index.constant("whole").unwrap().data_type, 7);
    assert_eq!((data("logits"), data("x"), data("loop")), (None, None, None));
}
