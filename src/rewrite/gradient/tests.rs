//! What `gradient` promises of whole graphs; rules are tested in their own files.

use crate::model::proto::NodeProto;
use crate::model::{DataType, Document, NodeBuilder, node};
use crate::rewrite::testing::TestModel;
use crate::rewrite::{DOMAIN, GRAD_OP, LOSS_AND_GRAD_OP, LOSS_OP};

use super::{GradientError, gradient};

/// logits = z·w + b, and the encouraging loss of them.
fn classifier() -> TestModel {
    TestModel::classifier(17)
        .initializer("w", DataType::Float, &[5], &[1.0, 2.0, 3.0, 4.0, 5.0])
        .initializer("b", DataType::Float, &[5], &[0.5; 5])
        .op("Mul", &["z", "w"], &["scaled"])
        .op("Add", &["scaled", "b"], &["logits"])
        .with(node(LOSS_OP).domain(DOMAIN).inputs(["logits", "y"]).outputs(["loss"]))
        .output("loss", DataType::Float, &[])
}

fn count(document: &Document, op: &str) -> usize {
    document.graph().nodes().iter().filter(|node| node.op() == op).count()
}

fn outputs(document: &Document) -> Vec<&str> {
    document.graph().outputs().iter().map(|value| value.name()).collect()
}

#[test]
fn forward_and_gradient_of_the_loss_are_one_operator() {
    let found = gradient(&classifier().build(), "loss", &["w", "b"]).unwrap();
    assert_eq!(found.outputs, ["gradient/w", "gradient/b"]);
    assert_eq!(outputs(&found.document), ["loss", "gradient/w", "gradient/b"]);
    assert_eq!([LOSS_OP, GRAD_OP, LOSS_AND_GRAD_OP].map(|op| count(&found.document, op)), [0, 0, 1]);
    assert_eq!(found.document.functions().len(), 1, "it carries its body");
}

#[test]
fn a_loss_that_goes_on_is_multiplied_by_what_comes_back() {
    let model = classifier().number("half", 0.5).op("Mul", &["loss", "half"], &["scaled_loss"]).output(
        "scaled_loss",
        DataType::Float,
        &[],
    );
    let found = gradient(&model.build(), "scaled_loss", &["w"]).unwrap();
    assert_eq!([LOSS_OP, GRAD_OP, LOSS_AND_GRAD_OP].map(|op| count(&found.document, op)), [1, 1, 0]);
    let backward = found.document.graph().nodes().iter().find(|node| node.op() == GRAD_OP).unwrap();
    assert!(backward.input_at(5).is_some(), "it reads the margin of the forward pass");
}

#[test]
fn gradients_nobody_asked_for_make_no_nodes() {
    let only_bias = gradient(&classifier().build(), "loss", &["b"]).unwrap();
    let both = gradient(&classifier().build(), "loss", &["w", "b"]).unwrap();
    assert_eq!(count(&only_bias.document, "Mul"), 1, "the forward one");
    assert_eq!(count(&both.document, "Mul"), 2);
}

#[test]
fn what_is_computed_already_is_not_computed_again() {
    // d(w·w)/dw = dy·w + dy·w: one product
    let model = TestModel::new(17)
        .initializer("w", DataType::Float, &[2], &[1.0, 2.0])
        .op("Mul", &["w", "w"], &["square"])
        .output("square", DataType::Float, &["2"]);
    let found = gradient(&model.build(), "square", &["w"]).unwrap();
    assert!(count(&found.document, "Mul") <= 2, "{:?}", ops(&found.document));
}

fn ops(document: &Document) -> Vec<String> {
    document.graph().nodes().iter().map(|node| NodeProto::describe(node)).collect()
}

#[test]
fn one_gradient_for_two_values_has_two_names() {
    let model = TestModel::new(17)
        .initializer("a", DataType::Float, &[2], &[1.0, 2.0])
        .initializer("b", DataType::Float, &[2], &[1.0, 2.0])
        .op("Add", &["a", "b"], &["sum"])
        .op("Mul", &["sum", "sum"], &["y"])
        .output("y", DataType::Float, &["2"]);
    let found = gradient(&model.build(), "y", &["a", "b"]).unwrap();
    assert_eq!(found.outputs, ["gradient/a", "gradient/b"]);
    assert_eq!(count(&found.document, "Identity"), 1);
}

#[test]
fn every_node_without_a_gradient_is_named_with_its_way_to_the_loss() {
    let model = TestModel::new(17)
        .initializer("w", DataType::Float, &[2], &[1.0, 2.0])
        .with(node("Det").name("first").inputs(["w"]).outputs(["p"]))
        .with(node("Rot").domain("their.own").name("second").inputs(["w"]).outputs(["q"]))
        .with(node("Add").name("join").inputs(["p", "q"]).outputs(["y"]))
        .output("y", DataType::Float, &["2"]);
    let error = gradient(&model.build(), "y", &["w"]).unwrap_err();
    let GradientError::Undifferentiable(nodes) = &error else { panic!("{error}") };
    let names: Vec<&str> = nodes.iter().map(|node| node.node.as_str()).collect();
    assert_eq!(names, ["Det 'first'", "their.own::Rot 'second'"]);
    assert!(nodes.iter().all(|node| node.path == ["Add 'join'"]), "{nodes:?}");
    let text = error.to_string();
    assert!(text.contains("2 nodes") && text.contains("--freeze"), "{text}");
}

#[test]
fn values_that_have_no_gradient_are_told() {
    let reason = |loss: &str, wrt: &[&str]| gradient(&classifier().build(), loss, wrt).unwrap_err().to_string();
    assert_eq!(reason("loss", &["v"]), "v: the graph has no such value");
    assert_eq!(reason("lost", &["w"]), "lost: the graph has no such value");
    assert_eq!(reason("loss", &["y"]), "y: it is no float tensor, so it has no gradient");
    assert_eq!(reason("scaled", &["w", "b"]), "the loss 'scaled' does not depend on b");
}

#[test]
fn nodes_that_cannot_run_in_their_order_are_refused() {
    let model = |nodes: [(&str, &[&str], &str); 3]| {
        let w = TestModel::new(17).initializer("w", DataType::Float, &[2], &[1.0, 2.0]);
        let all = nodes.into_iter().fold(w, |model, (op, inputs, output)| model.op(op, inputs, &[output]));
        gradient(&all.output("y", DataType::Float, &["2"]).build(), "y", &["w"]).unwrap_err().to_string()
    };
    let circle = model([("Add", &["w", "b"], "a"), ("Neg", &["a"], "b"), ("Neg", &["b"], "y")]);
    assert!(circle.contains("Add") && circle.contains("reads 'b' before that is made"), "{circle}");
    let own = model([("Neg", &["w"], "a"), ("Add", &["a", "b"], "b"), ("Neg", &["b"], "y")]);
    assert!(own.contains("reads 'b' before that is made"), "{own}");
    let twice = model([("Neg", &["w"], "a"), ("Exp", &["w"], "a"), ("Neg", &["a"], "y")]);
    assert!(twice.contains("Exp") && twice.contains("it makes 'a', which Neg"), "{twice}");
}

/// Whatever numbers stand in a file: the gradient of `node` (x → y) is a graph or an error, and neither takes long.
#[test]
fn sizes_beyond_all_bounds_are_survived() {
    let built = |dims: &[i64], node: NodeBuilder| {
        let dims: Vec<String> = dims.iter().map(i64::to_string).collect();
        let dims: Vec<&str> = dims.iter().map(String::as_str).collect();
        let model = TestModel::new(17)
            .input("x", DataType::Float, &dims)
            .input("starts", DataType::Int64, &["4611686018427387904"])
            .initializer("w", DataType::Float, &[1, 1, 1, 2], &[1.0, 2.0])
            .with(node.outputs(["y"]))
            .op("ReduceSum", &["y"], &["loss"])
            .output("loss", DataType::Float, &[]);
        let document = model.build();
        let reads_w = document.graph().nodes()[0].input.iter().any(|input| input == "w");
        let wrt = if reads_w { vec!["w", "x"] } else { vec!["x"] };
        gradient(&document, "loss", &wrt).map(|_| ()).map_err(|error| error.to_string())
    };
    // more positions than an i64 counts
    let conv = node("Conv").inputs(["x", "w"]);
    assert_eq!(built(&[1, 1, 1 << 40, 1 << 40], conv), Ok(()));
    // as many windows as elements in a window, a million: counted, not walked through
    let million = 1 << 20;
    let pool = node("AveragePool").inputs(["x"]).ints("kernel_shape", &[1, million]);
    assert_eq!(built(&[1, 1, 1, million], pool.ints("pads", &[0, million / 2, 0, million / 2 - 1])), Ok(()));
    // more axes than there are
    let slice = node("Slice").inputs(["x", "starts", "starts"]);
    assert!(built(&[2, 2], slice).unwrap_err().contains("it cuts 4611686018427387904 axes of 2"));
    // no room at all
    let transposed = node("ConvTranspose").inputs(["x", "w"]).ints("output_shape", &[1, 1, i64::MIN, i64::MIN]);
    let error = built(&[1, 1, 4, 4], transposed).unwrap_err();
    assert!(error.contains("its output_shape [1, 1, -9223372036854775808"), "{error}");
}

/// Statistics that are text: a graph that no runtime takes, but no panic here.
#[test]
fn element_types_that_are_no_numbers_are_survived() {
    let mut document = TestModel::new(17)
        .input("x", DataType::Float, &["2", "1"])
        .initializer("w", DataType::Float, &[1], &[1.0])
        .initializer("statistics", DataType::Float, &[1], &[1.0])
        .op("BatchNormalization", &["x", "w", "w", "statistics", "statistics"], &["y"])
        .output("y", DataType::Float, &["2", "1"])
        .build();
    let mut tensor = document.graph().initializers()[1].tensor().unwrap();
    tensor.data_type = Some(DataType::String as i32);
    document.graph_mut().remove_initializer("statistics");
    document.graph_mut().add_initializer(tensor);
    assert!(gradient(&document, "y", &["w"]).is_ok());
}

#[test]
fn old_opsets_are_raised_and_those_that_cannot_be_are_refused() {
    let model = |op: &str| {
        TestModel::classifier(12).op(op, &["z"], &["loss"]).output("loss", DataType::Float, &["N", "5"]).build()
    };
    let raised = gradient(&model("Identity"), "loss", &["z"]).unwrap().document;
    assert_eq!(raised.opset_version(""), Some(13));
    let error = gradient(&model("Det"), "loss", &["z"]).unwrap_err().to_string();
    assert!(error.contains("Det"), "{error}");
}
