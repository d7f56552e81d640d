//! `If` whose condition is known: the branch that it takes, in its place.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;

use crate::model::proto::{NodeProto, ValueInfoProto};
use crate::model::{Dimension, Document, Graph, GraphIndex, GrowingShapes, ModelError, NodeId, node};
use crate::rewrite::RewriteError;
use crate::rewrite::evaluate::{Data, Tensor, Values, evaluate};

/// Most nodes that a condition is computed by.
const MAX_CONDITION: usize = 256;

/// Replaces every `If` of the main graph whose condition is constant, made of constants, or of sizes that are known; and
/// those that come out of its branch.
///
/// # Errors
/// A damaged branch.
pub(super) fn write_out_branches(document: &mut Document, opset: i64) -> Result<(), RewriteError> {
    loop {
        let taken = taken_branches(document.graph(), opset);
        if taken.is_empty() {
            return Ok(());
        }
        // from behind: the positions of the nodes before stay what they are
        for (at, branch) in taken.into_iter().rev() {
            let graph = document.graph_mut();
            let call: NodeProto = NodeProto::clone(graph.node(NodeId(at)));
            let branch = Graph::decode(branch, &call.describe())?;
            graph.remove_nodes(&[NodeId(at)]);
            let mut names = all_names(graph)?;
            names.extend(call.output.iter().cloned());
            write_out(graph, at, &call, &branch, &mut names)?;
        }
    }
}

/// Positions of the nodes `If` whose way is known, and the branch.
fn taken_branches(graph: &Graph, opset: i64) -> Vec<(usize, Bytes)> {
    if !graph.nodes().iter().any(|node| node.is("", "If")) {
        return Vec::new();
    }
    let shapes = GrowingShapes::new(graph, opset);
    let branch = |(at, node): (usize, &crate::model::Node)| {
        if !node.is("", "If") {
            return None;
        }
        let name = if condition(&shapes, opset, node.input_at(0)?)? { "then_branch" } else { "else_branch" };
        Some((at, node.attr(name)?.g.clone()?))
    };
    graph.nodes().iter().enumerate().filter_map(branch).collect()
}

/// What a condition is; None where it is found when the graph runs.
fn condition(shapes: &GrowingShapes<'_>, opset: i64, value: &str) -> Option<bool> {
    if let Some(elements) = shapes.elements(value) {
        return match elements[..] {
            [Dimension::Known(one)] => Some(one != 0),
            _ => computed(shapes, opset, value),
        };
    }
    computed(shapes, opset, value)
}

/// The nodes that a condition is made by, run on constants and known sizes.
fn computed(shapes: &GrowingShapes<'_>, opset: i64, value: &str) -> Option<bool> {
    let index = shapes.index();
    let mut values = Values::new();
    let mut nodes: HashSet<NodeId> = HashSet::new();
    let mut wanted = vec![value.to_owned()];
    while let Some(name) = wanted.pop() {
        if values.contains_key(&name) {
            continue;
        }
        if let Some(known) = known_value(shapes, index, &name) {
            values.insert(name, known);
            continue;
        }
        let id = index.producer(&name)?;
        if nodes.insert(id) {
            let node = index.graph().node(id);
            if nodes.len() > MAX_CONDITION || node.subgraphs().next().is_some() || is_random(node) {
                return None;
            }
            wanted.extend(node.input.iter().filter(|input| !input.is_empty()).cloned());
        }
    }
    let mut order: Vec<NodeId> = nodes.into_iter().collect();
    order.sort_unstable();
    let order: Vec<&NodeProto> = order.into_iter().map(|id| &**index.graph().node(id)).collect();
    let results = evaluate(&order, values, opset).ok()?;
    results.get(value)?.single().map(|one| one != 0.0)
}

fn is_random(node: &NodeProto) -> bool {
    node.op().starts_with("Random") || matches!(node.op(), "Dropout" | "Bernoulli" | "Multinomial")
}

/// A constant, or whole numbers made of known sizes.
fn known_value(shapes: &GrowingShapes<'_>, index: &GraphIndex<'_>, name: &str) -> Option<Tensor> {
    if let Some(constant) = index.constant(name) {
        return Tensor::from_constant(&constant);
    }
    let elements: Vec<i64> = shapes.elements(name)?.iter().map(Dimension::known).collect::<Option<_>>()?;
    let found = shapes.get(name);
    let dims = found.dims?.iter().map(|dim| usize::try_from(dim.known()?).ok()).collect::<Option<Vec<_>>>()?;
    let kind = crate::rewrite::evaluate::Kind::of(found.data_type?)?;
    Tensor::new(dims, Data::Int(elements).cast(kind)).ok()
}

/// Puts the nodes of a branch in the place of the node that takes it, which is out already. Names that are free stay.
fn write_out(
    graph: &mut Graph,
    at: usize,
    call: &NodeProto,
    branch: &Graph,
    names: &mut HashSet<String>,
) -> Result<(), RewriteError> {
    let made = branch.nodes().iter().flat_map(|node| node.output.iter()).filter(|name| !name.is_empty());
    let made: HashSet<&str> = made.map(String::as_str).collect();
    let mut renamed: HashMap<String, String> = HashMap::new();
    let mut copies = Vec::new();
    for (output, inner) in call.output.iter().zip(branch.outputs()).filter(|(output, _)| !output.is_empty()) {
        if made.contains(inner.name()) && !renamed.contains_key(inner.name()) {
            renamed.insert(inner.name().to_owned(), output.clone());
        } else {
            copies.push((inner.name().to_owned(), output.clone()));
        }
    }
    let prefix = if call.label().is_empty() { call.op() } else { call.label() };
    let initializers = branch.initializers().iter().map(|tensor| tensor.name());
    for name in made.iter().copied().chain(initializers) {
        if !renamed.contains_key(name) {
            let new = if names.contains(name) { free(names, &format!("{prefix}/{name}")) } else { name.to_owned() };
            names.insert(new.clone());
            renamed.insert(name.to_owned(), new);
        }
    }
    let scope = Scope { renamed };
    let mut nodes: Vec<NodeProto> =
        branch.nodes().iter().map(|inner| scope.node(inner)).collect::<Result<_, ModelError>>()?;
    nodes.extend(
        copies
            .into_iter()
            .map(|(from, to)| node("Identity").name(&to).inputs([scope.name(&from)]).outputs([&to]).build()),
    );
    for (offset, node) in nodes.into_iter().enumerate() {
        graph.insert_node(at + offset, node);
    }
    for initializer in branch.initializers() {
        let mut tensor = initializer.tensor()?;
        tensor.name = Some(scope.name(initializer.name()));
        graph.add_initializer(tensor);
    }
    for info in branch.value_infos() {
        graph.add_value_info(ValueInfoProto { name: Some(scope.name(info.name())), ..info.clone() });
    }
    Ok(())
}

fn free(names: &mut HashSet<String>, base: &str) -> String {
    let mut name = base.to_owned();
    let mut number = 0;
    while !names.insert(name.clone()) {
        number += 1;
        name = format!("{base}_{number}");
    }
    name
}

/// What the names of a branch are called outside; others are names from outside already.
struct Scope {
    renamed: HashMap<String, String>,
}

impl Scope {
    fn name(&self, name: &str) -> String {
        self.renamed.get(name).map_or(name, String::as_str).to_owned()
    }

    fn node(&self, inner: &NodeProto) -> Result<NodeProto, ModelError> {
        let mut new = inner.clone();
        for value in new.input.iter_mut().chain(&mut new.output) {
            *value = self.name(value);
        }
        for attribute in &mut new.attribute {
            for encoded in attribute.g.iter_mut().chain(&mut attribute.graphs) {
                *encoded = self.graph(encoded, &inner.describe())?;
            }
        }
        Ok(new)
    }

    /// A graph inside the branch, which may read what the branch makes; no name in it hides one outside.
    fn graph(&self, encoded: &Bytes, place: &str) -> Result<Bytes, ModelError> {
        let mut graph = Graph::decode(encoded.clone(), place)?;
        for at in 0..graph.nodes().len() {
            let node = self.node(graph.node(NodeId(at)))?;
            graph.replace_node(NodeId(at), node);
        }
        for mut value in graph.outputs().to_vec() {
            graph.remove_output(value.name());
            value.name = Some(self.name(value.name()));
            graph.add_output(value);
        }
        Ok(graph.to_bytes())
    }
}

/// Every name that a graph, or one inside it, uses.
fn all_names(graph: &Graph) -> Result<HashSet<String>, ModelError> {
    let infos = graph.inputs().iter().chain(graph.outputs()).chain(graph.value_infos());
    let mut names: HashSet<String> = infos.map(|value| value.name().to_owned()).collect();
    names.extend(graph.initializers().iter().map(|tensor| tensor.name().to_owned()));
    for node in graph.nodes() {
        names.extend(node.input.iter().chain(&node.output).cloned());
        for inner in node.subgraphs() {
            names.extend(all_names(&Graph::decode(inner.clone(), &node.describe())?)?);
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::DataType;
    use crate::model::proto::{AttributeProto, AttributeType};
    use crate::rewrite::testing::TestModel;

    fn branch(name: &str, model: &TestModel) -> AttributeProto {
        let graph = Some(model.graph_bytes().into());
        AttributeProto { g: graph, ..crate::model::attribute(name, AttributeType::Graph) }
    }

    /// y = If(condition) then relu(w·x), with w of the branch's own, else x.
    fn choice(condition: &str) -> crate::model::NodeBuilder {
        let then = TestModel::new(18)
            .initializer("w", DataType::Float, &[1], &[3.0])
            .op("Mul", &["x", "w"], &["t"])
            .op("Relu", &["t"], &["out"])
            .output("out", DataType::Float, &["N", "4"]);
        let other = TestModel::new(18).op("Identity", &["x"], &["out"]).output("out", DataType::Float, &["N", "4"]);
        node("If")
            .name("choice")
            .inputs([condition])
            .outputs(["y"])
            .attribute(branch("then_branch", &then))
            .attribute(branch("else_branch", &other))
    }

    fn model() -> TestModel {
        TestModel::new(18).input("x", DataType::Float, &["N", "4"]).output("y", DataType::Float, &["N", "4"])
    }

    fn ops(document: &Document) -> Vec<String> {
        document.graph().nodes().iter().map(|node| node.op().to_owned()).collect()
    }

    fn written_out(model: TestModel) -> Document {
        let mut document = model.build();
        write_out_branches(&mut document, 18).unwrap();
        document
    }

    #[test]
    fn a_constant_condition() {
        let yes = written_out(model().initializer("c", DataType::Bool, &[], &[1.0]).with(choice("c")));
        assert_eq!(ops(&yes), ["Mul", "Relu"]);
        assert_eq!(yes.graph().nodes()[0].input, ["x", "w"]);
        assert_eq!(yes.graph().nodes()[1].output, ["y"]);
        let no = written_out(model().initializer("c", DataType::Bool, &[1], &[0.0]).with(choice("c")));
        assert_eq!(ops(&no), ["Identity"]);
    }

    #[test]
    fn names_of_others_are_kept_apart() {
        let made = model().initializer("c", DataType::Bool, &[], &[1.0]).initializer("w", DataType::Float, &[], &[9.0]);
        let document = written_out(made.op("Mul", &["w", "w"], &["t"]).with(choice("c")));
        let nodes = document.graph().nodes();
        assert_eq!(nodes[1].input, ["x", "choice/w"]);
        assert_eq!(nodes[1].output, ["choice/t"]);
        assert_eq!(nodes[2].input, ["choice/t"]);
        let names: Vec<&str> = document.graph().initializers().iter().map(|tensor| tensor.name()).collect();
        assert_eq!(names, ["c", "w", "choice/w"]);
    }

    #[test]
    fn a_condition_made_of_sizes() {
        // as PyTorch writes a squeeze: is the size of the axis 1?
        for (size, expected) in [(4.0, vec!["Mul", "Relu"]), (1.0, vec!["Identity"])] {
            let made = model()
                .initializer("one", DataType::Int64, &[], &[1.0])
                .initializer("size", DataType::Int64, &[], &[size])
                .op("Shape", &["x"], &["shape"])
                .op("Gather", &["shape", "one"], &["axis"])
                .op("Equal", &["axis", "size"], &["c"])
                .with(choice("c"));
            let ops = ops(&written_out(made));
            assert_eq!(ops[3..], expected);
        }
    }

    #[test]
    fn a_condition_made_of_constants_of_any_type() {
        let made = model()
            .initializer("half", DataType::Float, &[], &[0.5])
            .op("Sqrt", &["half"], &["root"])
            .op("Greater", &["root", "half"], &["c"])
            .with(choice("c"));
        assert_eq!(ops(&written_out(made))[2..], ["Mul", "Relu"]);
    }

    #[test]
    fn a_condition_that_is_computed_stays() {
        let made = model()
            .op("Shape", &["x"], &["shape"])
            .op("ReduceMax", &["shape"], &["largest"])
            .with(node("Cast").inputs(["largest"]).outputs(["c"]).int("to", DataType::Bool as i64))
            .with(choice("c"));
        assert_eq!(ops(&written_out(made)).last().map(String::as_str), Some("If"));
    }

    #[test]
    fn branches_in_branches_and_outputs_from_outside() {
        // then: y = If(c) then x else −x, inside If(c)
        let inner = node("If")
            .inputs(["c"])
            .outputs(["out"])
            .attribute(branch("then_branch", &TestModel::new(18).output("t", DataType::Float, &["N", "4"])))
            .attribute(branch(
                "else_branch",
                &TestModel::new(18).op("Neg", &["t"], &["n"]).output("n", DataType::Float, &["N", "4"]),
            ));
        let then = TestModel::new(18).op("Exp", &["x"], &["t"]).with(inner).output("out", DataType::Float, &["N", "4"]);
        for (value, expected) in [(1.0, vec!["Exp", "Identity", "Relu"]), (0.0, vec!["Relu"])] {
            let outer = node("If")
                .inputs(["c"])
                .outputs(["z"])
                .attribute(branch("then_branch", &then))
                .attribute(branch("else_branch", &TestModel::new(18).output("x", DataType::Float, &["N", "4"])));
            let document = written_out(model().initializer("c", DataType::Bool, &[], &[value]).with(outer).op(
                "Relu",
                &["z"],
                &["y"],
            ));
            let ops: Vec<String> = ops(&document).into_iter().filter(|op| value != 0.0 || op != "Identity").collect();
            assert_eq!(ops, expected);
            // every value is made before it is read
            let mut known: HashSet<String> = ["x", "c"].map(str::to_owned).into();
            for node in document.graph().nodes() {
                assert!(node.input.iter().all(|input| known.contains(input)), "{node:?}");
                known.extend(node.output.iter().cloned());
            }
        }
    }

    #[test]
    fn gradients_go_through_the_branch() {
        let made = model().initializer("c", DataType::Bool, &[], &[0.0]).with(choice("c"));
        let found = crate::rewrite::gradient::gradient(&made.build(), "y", &["x"]).unwrap();
        assert!(ops(&found.document).iter().all(|op| op != "If"));
    }
}
