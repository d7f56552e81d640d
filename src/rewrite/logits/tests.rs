use std::path::Path;

use super::*;
use crate::model::proto::{NodeProto, TensorProto};
use crate::model::{node, value_info};

const FLOAT: i32 = DataType::Float as i32;
const INT: i32 = DataType::Int64 as i32;

/// A model of opset 17 with a float input x [N, 784] and the weights w [784, 10], b [10].
fn model(nodes: Vec<NodeProto>, outputs: &[(&str, i32, &[i64])]) -> Document {
    model_of(17, nodes, outputs)
}

fn model_of(opset: i64, nodes: Vec<NodeProto>, outputs: &[(&str, i32, &[i64])]) -> Document {
    // ir_version 8 and an empty graph
    let mut document = Document::from_bytes(vec![0x08, 0x08, 0x3a, 0x00]).unwrap();
    document.set_opset_version("", opset);
    let graph = document.graph_mut();
    let rows = |dims: &[i64]| -> Vec<Dimension> {
        let known = dims.iter().map(|&d| if d < 0 { Dimension::Symbol("N".into()) } else { Dimension::Known(d) });
        known.collect()
    };
    graph.add_input(value_info("x", FLOAT, Some(&rows(&[-1, 784]))));
    graph.add_input(value_info("image", FLOAT, Some(&rows(&[-1, 3, 8, 8]))));
    graph.add_input(value_info("words", FLOAT, Some(&rows(&[-1, 16, 784]))));
    for (name, dims) in [("w", vec![784, 10]), ("kernel", vec![10, 3, 8, 8]), ("one", vec![784, 1])] {
        graph.add_initializer(TensorProto {
            name: Some(name.into()),
            data_type: Some(FLOAT),
            raw_data: Some(vec![0; 4 * dims.iter().product::<i64>() as usize].into()),
            dims,
            ..Default::default()
        });
    }
    graph.add_initializer(TensorProto::vector("b", FLOAT, &[0.0; 10]));
    graph.add_initializer(TensorProto::vector("axis", INT, &[1.0]));
    graph.add_initializer(TensorProto::vector("last", INT, &[-1.0]));
    graph.add_initializer(TensorProto::scalar("three", FLOAT, 3.0));
    graph.add_initializer(TensorProto::scalar("minus", FLOAT, -3.0));
    graph.add_initializer(TensorProto::scalar("tiny", FLOAT, 1e-7));
    graph.add_initializer(TensorProto::vector("classes", INT, &[7.0; 10]));
    graph.add_initializer(TensorProto::vector("flat", INT, &[-1.0]));
    for (i, node) in nodes.into_iter().enumerate() {
        graph.insert_node(i, node);
    }
    for (name, data_type, dims) in outputs {
        graph.add_output(value_info(name, *data_type, Some(&rows(dims))));
    }
    document
}

fn op(name: &str, inputs: &[&str], output: &str) -> crate::model::NodeBuilder {
    node(name).inputs(inputs).outputs([output])
}

/// The layer z = x w + b, then `rest`.
fn on_logits(rest: Vec<NodeProto>) -> Vec<NodeProto> {
    let mut nodes = vec![op("Gemm", &["x", "w", "b"], "z").build()];
    nodes.extend(rest);
    nodes
}

fn find(document: &Document) -> (Vec<LogitsCandidate>, Vec<NearMiss>) {
    let opset = document.opset_version("").unwrap_or(1);
    let index = GraphIndex::new(document.graph());
    find_logits(document, &index, &Shapes::new(document.graph(), opset))
}

/// The only candidate; it must be certain.
#[track_caller]
fn only(document: &Document) -> LogitsCandidate {
    let (candidates, misses) = find(document);
    let [candidate] = &candidates[..] else { panic!("{candidates:#?}\n{misses:#?}") };
    assert!(candidate.certain);
    candidate.clone()
}

/// The reason of the only near miss, where there is no candidate.
#[track_caller]
fn refused(document: &Document) -> NearMiss {
    let (candidates, misses) = find(document);
    assert_eq!(candidates, []);
    let [miss] = &misses[..] else { panic!("{misses:#?}") };
    miss.clone()
}

const ROW: (&str, i32, &[i64]) = ("y", FLOAT, &[-1, 10]);

#[test]
fn raw_logits() {
    let found = only(&model(vec![op("Gemm", &["x", "w", "b"], "y").build()], &[ROW]));
    assert_eq!((found.value.as_str(), found.head, found.class_axis, found.classes), ("y", Head::Raw, 1, Some(10)));
    assert_eq!(found.explain(), "goes to the output 'y' as it is");
}

#[test]
fn single_heads() {
    let one = |op_type: &str, attribute: &str| {
        let head = op(op_type, &["z"], "y").name("head").int(attribute, 1).build();
        only(&model(on_logits(vec![head]), &[ROW]))
    };
    for (op_type, head) in [("Softmax", Head::Softmax), ("LogSoftmax", Head::LogSoftmax)] {
        let found = one(op_type, "axis");
        assert_eq!((found.value.as_str(), found.head), ("z", head));
        assert_eq!(found.through, [format!("{op_type} 'head'")]);
    }
    let found = one("Identity", "none");
    assert_eq!((found.value.as_str(), found.head), ("z", Head::Raw));
    let nodes = on_logits(vec![op("ArgMax", &["z"], "y").int("axis", -1).build()]);
    let found = only(&model(nodes, &[("y", INT, &[-1, 1])]));
    assert_eq!((found.value.as_str(), found.head), ("z", Head::ArgMax));
    let k = TensorProto::vector("k", INT, &[3.0]);
    let top = node("TopK").inputs(["z", "k"]).outputs(["values", "y"]).build();
    let mut document = model(on_logits(vec![top]), &[("y", INT, &[-1, 3]), ("values", FLOAT, &[-1, 3])]);
    document.graph_mut().add_initializer(k);
    assert_eq!((only(&document).value.as_str(), only(&document).head), ("z", Head::TopK));
}

#[test]
fn heads_are_seen_through_casts_reshapes_and_relu_stays() {
    let nodes = on_logits(vec![
        op("Relu", &["z"], "r").build(),
        op("Cast", &["r"], "c").int("to", DataType::Double as i64).build(),
        op("Softmax", &["c"], "p").int("axis", 1).build(),
        op("Identity", &["p"], "i").build(),
        op("Unsqueeze", &["i", "axis"], "y").build(),
    ]);
    let found = only(&model(nodes, &[("y", DataType::Double as i32, &[-1, 1, 10])]));
    assert_eq!((found.value.as_str(), found.head, found.class_axis), ("r", Head::Softmax, 1));
    assert_eq!(found.through, ["Unsqueeze -> 'y'", "Identity -> 'i'", "Softmax -> 'p'", "Cast -> 'c'"]);
}

#[test]
fn temperatures() {
    for (scale, inputs, expected) in
        [("Div", ["z", "three"], 3.0), ("Mul", ["z", "three"], 1.0 / 3.0), ("Mul", ["three", "z"], 1.0 / 3.0)]
    {
        let head = vec![op(scale, &inputs, "s").build(), op("Softmax", &["s"], "y").build()];
        let found = only(&model(on_logits(head), &[ROW]));
        assert_eq!((found.value.as_str(), found.temperature), ("z", Some(expected)));
    }
    // a negative factor turns the order of the classes around, a vector weighs them
    for factor in ["minus", "b"] {
        let head = vec![op("Mul", &["z", factor], "s").build(), op("Softmax", &["s"], "y").build()];
        let found = only(&model(on_logits(head), &[ROW]));
        assert_eq!((found.value.as_str(), found.temperature), ("s", None));
    }
}

/// The nodes of exp(u) / Σ exp(u).
fn quotient(u: &str) -> Vec<NodeProto> {
    vec![
        op("Exp", &[u], "e").build(),
        op("ReduceSum", &["e", "axis"], "total").int("keepdims", 1).build(),
        op("Div", &["e", "total"], "y").build(),
    ]
}

/// The nodes of u = z − max z.
fn shift() -> Vec<NodeProto> {
    vec![
        op("ReduceMax", &["z"], "top").ints("axes", &[-1]).int("keepdims", 1).build(),
        op("Sub", &["z", "top"], "u").build(),
    ]
}

#[test]
fn softmax_spelled_out() {
    let found = only(&model(on_logits(quotient("z")), &[ROW]));
    assert_eq!((found.value.as_str(), found.head, found.class_axis), ("z", Head::DecomposedSoftmax, 1));
    let found = only(&model(on_logits([shift(), quotient("u")].concat()), &[ROW]));
    assert_eq!((found.value.as_str(), found.head), ("z", Head::DecomposedSoftmax));
    assert_eq!(found.through, ["Div -> 'y'", "ReduceSum -> 'total'", "Exp -> 'e'", "Sub -> 'u'"]);
    // as jax writes it: the maximum capped from below and broadcast by Reshape and Expand
    let jax = vec![
        op("ReduceMax", &["z"], "m0").ints("axes", &[1]).int("keepdims", 0).build(),
        op("Max", &["minus", "m0"], "m1").build(),
        op("Unsqueeze", &["m1", "axis"], "m2").build(),
        op("Sub", &["z", "m2"], "u").build(),
        op("Exp", &["u"], "e").build(),
        op("ReduceSum", &["e", "axis"], "t0").int("keepdims", 0).build(),
        op("Unsqueeze", &["t0", "axis"], "t1").build(),
        op("Reciprocal", &["t1"], "t2").build(),
        op("Mul", &["e", "t2"], "y").build(),
    ];
    let found = only(&model(on_logits(jax), &[ROW]));
    assert_eq!((found.value.as_str(), found.head), ("z", Head::DecomposedSoftmax));
}

#[test]
fn something_else_divided_is_no_softmax() {
    let mut nodes = quotient("z");
    // the sum of another tensor
    nodes[1] = op("ReduceSum", &["z", "axis"], "total").int("keepdims", 1).build();
    let found = only(&model(on_logits(nodes), &[ROW]));
    assert_eq!((found.value.as_str(), found.head), ("y", Head::Raw));
    // a sum that does not line up with the rows
    let mut nodes = quotient("z");
    nodes[1] = op("ReduceSum", &["e", "axis"], "total").int("keepdims", 0).build();
    assert_eq!(only(&model(on_logits(nodes), &[ROW])).head, Head::Raw);
}

#[test]
fn log_softmax_spelled_out() {
    let direct =
        vec![op("ReduceLogSumExp", &["z"], "lse").ints("axes", &[1]).build(), op("Sub", &["z", "lse"], "y").build()];
    let shifted = [
        shift(),
        vec![
            op("Exp", &["u"], "e").build(),
            op("ReduceSum", &["e", "last"], "t").build(),
            op("Log", &["t"], "l").build(),
            op("Sub", &["u", "l"], "y").build(),
        ],
    ]
    .concat();
    let keras = [
        shift(),
        vec![
            op("Exp", &["u"], "e").build(),
            op("ReduceSum", &["e", "last"], "t").build(),
            op("Log", &["t"], "l").build(),
            op("Add", &["l", "top"], "lse").build(),
            op("Sub", &["z", "lse"], "y").build(),
        ],
    ]
    .concat();
    for nodes in [direct, shifted, keras] {
        let found = only(&model(on_logits(nodes), &[ROW]));
        assert_eq!((found.value.as_str(), found.head, found.class_axis), ("z", Head::DecomposedLogSoftmax, 1));
    }
}

#[test]
fn exp_of_log_softmax_and_log_of_softmax() {
    let exp = vec![op("LogSoftmax", &["z"], "l").build(), op("Exp", &["l"], "y").build()];
    assert_eq!(only(&model(on_logits(exp), &[ROW])).head, Head::Softmax);
    let log = vec![
        op("Softmax", &["z"], "p").build(),
        op("Add", &["p", "tiny"], "q").build(),
        op("Log", &["q"], "y").build(),
    ];
    let found = only(&model(on_logits(log), &[ROW]));
    assert_eq!((found.value.as_str(), found.head), ("z", Head::LogSoftmax));
}

#[test]
fn several_outputs() {
    let probabilities = || op("Softmax", &["z"], "p").build();
    let label = vec![
        probabilities(),
        op("ArgMax", &["p"], "i").int("axis", 1).int("keepdims", 0).build(),
        op("Gather", &["classes", "i"], "label").build(),
    ];
    let outputs: &[(&str, i32, &[i64])] = &[("z", FLOAT, &[-1, 10]), ("label", INT, &[-1]), ("p", FLOAT, &[-1, 10])];
    let found = only(&model(on_logits(label), outputs));
    assert_eq!((found.value.as_str(), found.head, found.output.as_str()), ("z", Head::Softmax, "label"));
    // features beside a classifier head: the head decides
    let features = on_logits(vec![op("Relu", &["z"], "f").build(), op("Softmax", &["f"], "p").build()]);
    let (candidates, _) = find(&model(features, &[("z", FLOAT, &[-1, 10]), ("p", FLOAT, &[-1, 10])]));
    let told: Vec<_> = candidates.iter().map(|c| (c.value.as_str(), c.certain)).collect();
    assert_eq!(told, [("f", true), ("z", false)]);
    // two raw outputs: nothing tells which
    let twins = on_logits(vec![op("MatMul", &["x", "w"], "v").build()]);
    let (candidates, _) = find(&model(twins, &[("z", FLOAT, &[-1, 10]), ("v", FLOAT, &[-1, 10])]));
    let told: Vec<_> = candidates.iter().map(|c| (c.value.as_str(), c.certain)).collect();
    assert_eq!(told, [("z", false), ("v", false)]);
}

#[test]
fn classes_on_other_axes() {
    let layer = || op("MatMul", &["words", "w"], "z").build();
    let tokens = only(&model(vec![layer()], &[("z", FLOAT, &[-1, 16, 10])]));
    assert_eq!((tokens.class_axis, tokens.classes), (2, Some(10)));
    assert!(tokens.explain().contains("the classes are in axis 2"));
    let softmax = vec![layer(), op("Softmax", &["z"], "y").int("axis", -1).build()];
    assert_eq!(only(&model(softmax, &[("y", FLOAT, &[-1, 16, 10])])).class_axis, 2);
    let pixels = |axis: i64, opset: i64| {
        let nodes = vec![
            op("Conv", &["image", "kernel"], "z").ints("pads", &[4, 4, 3, 3]).build(),
            op("Softmax", &["z"], "y").int("axis", axis).build(),
        ];
        model_of(opset, nodes, &[("y", FLOAT, &[-1, 10, 8, 8])])
    };
    assert_eq!(only(&pixels(1, 17)).class_axis, 1);
    assert!(refused(&pixels(2, 17)).reason.contains("neither axis 1 nor the last"));
    assert!(refused(&pixels(0, 17)).reason.contains("axis 0, the batch"));
    assert!(refused(&pixels(1, 11)).reason.contains("before opset 13"));
    let single = |nodes| model(nodes, &[("z", FLOAT, &[-1, 10, 1, 1])]);
    let conv = only(&single(vec![op("Conv", &["image", "kernel"], "z").build()]));
    assert_eq!((conv.head, conv.class_axis), (Head::Raw, 1));
    let map = vec![op("Conv", &["image", "kernel"], "z").ints("pads", &[4, 4, 3, 3]).build()];
    assert!(refused(&model(map, &[("z", FLOAT, &[-1, 10, 8, 8])])).reason.contains("4 axes and no softmax"));
}

#[test]
fn outputs_that_are_no_softmax_classifier() {
    let reason = |nodes: Vec<NodeProto>, output: (&str, i32, &[i64])| refused(&model(nodes, &[output])).reason;
    let sigmoid = refused(&model(on_logits(vec![op("Sigmoid", &["z"], "y").name("s").build()]), &[ROW]));
    assert_eq!(sigmoid.node, "Sigmoid 's'");
    assert!(sigmoid.reason.contains("multi-label or binary"), "{}", sigmoid.reason);
    let regression = vec![op("MatMul", &["x", "one"], "y").build()];
    assert!(reason(regression, ("y", FLOAT, &[-1, 1])).contains("'y' has 1 class in axis 1: regression or binary"));
    let integers = on_logits(vec![op("Cast", &["z"], "y").int("to", 7).build()]);
    assert!(reason(integers, ("y", INT, &[-1, 10])).contains("holds integers, and no ArgMax"));
    let tree = vec![op("TreeEnsembleClassifier", &["x"], "y").domain("ai.onnx.ml").build()];
    assert!(reason(tree, ROW).contains("TreeEnsembleClassifier (classical"));
    let zip = vec![
        node("LinearClassifier").domain("ai.onnx.ml").inputs(["x"]).outputs(["label", "p"]).build(),
        op("ZipMap", &["p"], "y").domain("ai.onnx.ml").build(),
    ];
    assert!(reason(zip, ROW).contains("LinearClassifier (classical"));
    let branch = vec![op("If", &["c"], "y").build()];
    assert!(reason(branch, ROW).contains("the body of If"));
    let loss = vec![op("SoftmaxCrossEntropyLoss", &["x", "labels"], "y").build()];
    assert_eq!(reason(loss, ("y", FLOAT, &[])), "this is a loss");
    let half = on_logits(vec![op("Slice", &["z", "axis", "axis"], "y").name("cut").build()]);
    assert!(reason(half, ("y", FLOAT, &[-1, 9])).contains("Slice 'cut' keeps a part"));
    assert!(reason(vec![], ("x", FLOAT, &[-1, 784])).contains("is an input or a constant"));
    let batch = on_logits(vec![op("ArgMax", &["z"], "y").build()]);
    assert!(reason(batch, ("y", INT, &[1, 10])).contains("axis 0, the batch"));
    let circle = vec![op("Identity", &["b2"], "a").build(), op("Identity", &["a"], "b2").build()];
    assert!(reason(circle, ("a", FLOAT, &[-1, 10])).contains("circle"));
}

#[test]
fn softmax_before_a_loss() {
    let nodes = on_logits(vec![
        op("Softmax", &["z"], "p").build(),
        op("Reshape", &["p", "flat"], "q").build(),
        op("Relu", &["z"], "r").build(),
        op("LogSoftmax", &["z"], "l").build(),
        op("Cast", &["l"], "c").int("to", 11).build(),
    ]);
    let document = model([nodes, shift(), quotient("u")].concat(), &[ROW]);
    let index = GraphIndex::new(document.graph());
    let shapes = Shapes::new(document.graph(), 17);
    let head = |value: &str| head_before_loss(&index, &shapes, value);
    assert_eq!(head("q"), Some(Head::Softmax));
    assert_eq!(head("c"), Some(Head::LogSoftmax));
    assert_eq!(head("y"), Some(Head::DecomposedSoftmax));
    for value in ["z", "r", "u", "x", "no such value"] {
        assert_eq!(head(value), None, "{value}");
    }
}

/// File, logits, head; found by looking at the graphs.
const CLASSIFIERS: &[(&str, &str, Head)] = &[
    ("efficientnet_lite0.ts.op17.onnx", "logits", Head::Raw),
    ("exports_models/lenet.dynamo.op18.onnx", "logits", Head::Raw),
    ("exports_models/lenet.ts.op17.onnx", "logits", Head::Raw),
    ("exports_models/lenet.ts.train.op17.onnx", "logits", Head::Raw),
    ("exports_models/mlp784.dynamo.op18.onnx", "logits", Head::Raw),
    ("exports_models/mlp784.ts.op17.onnx", "logits", Head::Raw),
    ("exports_models/mlp784.ts.train.op17.onnx", "logits", Head::Raw),
    ("exports_models/mlp784_default/model.onnx", "linear_1", Head::Raw),
    ("exports_models/mlp784_head_log_softmax.ts.op17.onnx", "/m/fc2/Gemm_output_0", Head::LogSoftmax),
    ("exports_models/mlp784_head_softmax.ts.op17.onnx", "/m/fc2/Gemm_output_0", Head::Softmax),
    ("exports_models/mlp784_head_temperature.ts.op17.onnx", "/m/fc2/Gemm_output_0", Head::Softmax),
    ("exports_models/mobilenet_v3_small.ts.op17.onnx", "logits", Head::Raw),
    ("exports_models/mobilenet_v3_small.ts.train.op17.onnx", "logits", Head::Raw),
    ("exports_models/tiny_transformer.dynamo.op18.onnx", "logits", Head::Raw),
    ("exports_models/tiny_transformer.ts.op17.onnx", "logits", Head::Raw),
    ("exports_models/tiny_transformer.ts.train.op17.onnx", "logits", Head::Raw),
    ("exports_other/sklraw_digits_mlp_tensor.onnx", "add_result1", Head::Softmax),
    (
        "magika_filetype_214.onnx",
        "jax2tf_get_logits_/pjit_get_logits_/MagikaV2/Dense_1/AddV2:0",
        Head::DecomposedSoftmax,
    ),
    ("mnist_cntk_opset8.onnx", "Plus214_Output_0", Head::Raw),
    ("mnist_pytorch_logsoftmax_opset9.onnx", "20", Head::LogSoftmax),
    ("ort_training/ref_cnn/base_model.onnx", "logits", Head::Raw),
    ("ort_training/ref_mlp/base_model.onnx", "logits", Head::Raw),
    ("ort_training/ref_tfm/base_model.onnx", "logits", Head::Raw),
    ("ppocr_angle_cls.onnx", "linear_1.tmp_1", Head::Softmax),
];

#[test]
fn logits_of_real_classifiers() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/models");
    if !folder.is_dir() {
        println!("skipped: {} is not there", folder.display());
        return;
    }
    for (file, value, head) in CLASSIFIERS {
        println!("{file}");
        let found = only(&Document::open(folder.join(file)).unwrap());
        assert_eq!((found.value.as_str(), found.head, found.class_axis), (*value, *head, 1), "{file}");
        let temperature = file.contains("temperature").then_some(2.5);
        assert_eq!(found.temperature, temperature, "{file}");
    }
    let linear = refused(&Document::open(folder.join("exports_other/skl_digits_logreg_tensor.onnx")).unwrap());
    assert!(linear.reason.contains("LinearClassifier"), "{}", linear.reason);
}

/// Graphs whose outputs are losses or training state have no logits to offer at an output.
#[test]
fn real_training_graphs_offer_no_output_as_logits() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/models");
    if !folder.is_dir() {
        println!("skipped: {} is not there", folder.display());
        return;
    }
    for file in [
        "exports_loss/ce_mean.ts.op17.onnx",
        "exports_other/jax_ce_onehot.onnx",
        "exports_other/tf_softmax_ce.onnx",
        "ort_training/ref_mlp/training_model.onnx",
        "ort_training/ref_mlp/optimizer_model.onnx",
        "ort_training/mlp784_ce_adamw/eval_model.onnx",
        "ort_training/training_api/training_model.onnx",
    ] {
        let (candidates, misses) = find(&Document::open(folder.join(file)).unwrap());
        assert_eq!(candidates, [], "{file}");
        assert!(!misses.is_empty(), "{file}");
    }
}
