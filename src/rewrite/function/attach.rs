//! Gives a model the bodies that its nodes need, and takes away those that none needs.

use bytes::Bytes;

use crate::model::proto::NodeProto;
use crate::model::{Document, Graph, NodeId, Shapes};

use super::super::{BODY_DOMAIN, DOMAIN, DOMAIN_VERSION, GRAD_OP, LOSS_AND_GRAD_OP, LOSS_OP, RewriteError};
use super::operator::{operator, with_every_attribute};
use super::{Signature, function_for};

/// Functions came to ONNX with this IR version.
const FIRST_IR_VERSION_WITH_FUNCTIONS: i64 = 8;

/// Operators whose bodies are looked after here.
const LOSSES: [&str; 3] = [LOSS_OP, GRAD_OP, LOSS_AND_GRAD_OP];

/// What [`attach`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttachReport {
    /// The functions that the model has now, as "domain::name".
    pub functions: Vec<String>,
    /// What was changed, a clause each; empty where nothing was.
    pub changes: Vec<String>,
    /// What the user should know.
    pub warnings: Vec<String>,
}

/// Nodes that one body serves.
struct Group {
    signature: Signature,
    nodes: Vec<NodeId>,
}

/// Makes the functions of `document` fit the nodes of ours in its main graph: adds or updates bodies, writes every
/// attribute on the nodes, imports the domains, raises the IR version to 8 where functions need it, and removes bodies
/// and imports that are no longer used.
///
/// A function has one body per name. Nodes that need another one than the first of their operator call it in
/// [`BODY_DOMAIN`] under the name with "_2", "_3" … (`overload` would be the ONNX way, but ONNX Runtime 1.19 to 1.23
/// silently run one body for all overloads, and a node with an overload of its own finds no kernel there). Doing it
/// twice changes nothing the second time.
///
/// # Errors
/// As [`Signature::of`], or an opset older than 12 (bfloat16: 13).
pub fn attach(document: &mut Document) -> Result<AttachReport, RewriteError> {
    let opset = document.opset_version("").unwrap_or_default();
    let groups = groups(document, opset)?;
    let elsewhere = used_elsewhere(document)?;
    let mut report = AttachReport::default();
    let mut wanted = Vec::new();
    for (at, group) in groups.iter().enumerate() {
        let op = group.signature.op;
        let earlier = groups[..at].iter().filter(|g| g.signature.op == op).count();
        let (domain, name) = match earlier {
            0 => (DOMAIN, op.to_owned()),
            n => (BODY_DOMAIN, format!("{op}_{}", n + 1)),
        };
        if earlier > 0 {
            report.warnings.push(format!(
                "{} differs from another {op} in more than numbers: it runs as the function {domain}::{name}, \
                 without the plugin's kernel",
                document.graph().node(group.nodes[0]).describe()
            ));
        }
        for &id in &group.nodes {
            call(document, id, domain, &name)?;
        }
        let mut function = function_for(&group.signature, opset);
        function.domain = Some(domain.to_owned());
        function.name = Some(name.clone());
        let shown = format!("{domain}::{name}");
        let present = document.functions().iter().find(|f| f.proto().domain() == domain && f.proto().name() == name);
        if present.is_none_or(|f| *f.proto() != function) {
            report.changes.push(format!("function {shown} of {} standard operators", function.node.len()));
            document.set_function(function);
        }
        wanted.push((domain, name));
        report.functions.push(shown);
    }
    if !elsewhere {
        remove_unused(document, &wanted, &mut report);
    }
    for domain in [DOMAIN, BODY_DOMAIN] {
        let used = document.graph().nodes().iter().any(|node| node.op_domain() == domain);
        match document.opset_version(domain) {
            None if used => {
                report.changes.push(format!("opset import {domain} {DOMAIN_VERSION}"));
                document.set_opset_version(domain, DOMAIN_VERSION);
            }
            Some(_) if !used && !elsewhere => {
                report.changes.push(format!("opset import {domain} removed"));
                document.remove_opset(domain);
            }
            _ => {}
        }
    }
    if !wanted.is_empty() && document.ir_version() < FIRST_IR_VERSION_WITH_FUNCTIONS {
        report.changes.push(format!(
            "IR version {} raised to {FIRST_IR_VERSION_WITH_FUNCTIONS}: functions need it",
            document.ir_version()
        ));
        document.set_ir_version(FIRST_IR_VERSION_WITH_FUNCTIONS);
    }
    Ok(report)
}

/// Our nodes of the main graph, by the body they need, in file order.
fn groups(document: &Document, opset: i64) -> Result<Vec<Group>, RewriteError> {
    let graph = document.graph();
    let mut groups: Vec<Group> = Vec::new();
    if !graph.nodes().iter().any(|node| operator(node).is_some()) {
        return Ok(groups);
    }
    let types = Shapes::new(graph, opset);
    for (at, node) in graph.nodes().iter().enumerate().filter(|(_, node)| operator(node).is_some()) {
        let signature = Signature::of(node, &types)?;
        signature.check_opset(opset, node)?;
        match groups.iter_mut().find(|group| group.signature.shares_body_with(&signature)) {
            Some(group) => {
                group.signature.margin |= signature.margin;
                group.signature.margin_output |= signature.margin_output;
                group.nodes.push(NodeId(at));
            }
            None => groups.push(Group { signature, nodes: vec![NodeId(at)] }),
        }
    }
    Ok(groups)
}

impl Signature {
    /// Labels of both types are cast to int64; a margin that one node takes or gives harms no other.
    fn shares_body_with(&self, other: &Signature) -> bool {
        let plain = |signature: &Signature| Signature {
            label_type: 0,
            margin: false,
            margin_output: false,
            ..signature.clone()
        };
        plain(self) == plain(other)
    }
}

/// Makes a node call `domain::name`, with all its attributes.
fn call(document: &mut Document, id: NodeId, domain: &str, name: &str) -> Result<(), RewriteError> {
    let node: &NodeProto = document.graph().node(id);
    let mut call = with_every_attribute(node.clone())?;
    call.domain = Some(domain.to_owned());
    call.op_type = Some(name.to_owned());
    if call != *node {
        document.graph_mut().replace_node(id, call);
    }
    Ok(())
}

fn remove_unused(document: &mut Document, wanted: &[(&str, String)], report: &mut AttachReport) {
    let unused: Vec<_> = document
        .functions()
        .iter()
        .map(|f| (f.proto().domain().to_owned(), f.proto().name().to_owned()))
        .filter(|(domain, _)| domain == DOMAIN || domain == BODY_DOMAIN)
        // other operators of ours have other owners
        .filter(|(_, name)| LOSSES.contains(&name.split('_').next().unwrap_or_default()))
        .filter(|(domain, name)| !wanted.iter().any(|(d, n)| d == domain && n == name))
        .collect();
    for (domain, name) in unused {
        if document.remove_function(&domain, &name) {
            report.changes.push(format!("function {domain}::{name} removed, no node calls it"));
        }
    }
}

/// Whether a subgraph or a function of somebody else has a node of our domains; their bodies and imports stay then.
pub(in super::super) fn used_elsewhere(document: &Document) -> Result<bool, RewriteError> {
    let ours = |domain: &str| domain == DOMAIN || domain == BODY_DOMAIN;
    for function in document.functions().iter().map(|f| f.proto()).filter(|f| !ours(f.domain())) {
        for node in &function.node {
            if ours(node.op_domain()) || subgraphs_use(node, &ours)? {
                return Ok(true);
            }
        }
    }
    for node in document.graph().nodes() {
        if subgraphs_use(node, &ours)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn subgraphs_use(node: &NodeProto, ours: &impl Fn(&str) -> bool) -> Result<bool, RewriteError> {
    for bytes in node.subgraphs() {
        let graph = Graph::decode(Bytes::clone(bytes), &node.describe())?;
        for inner in graph.nodes() {
            if ours(inner.op_domain()) || subgraphs_use(inner, ours)? {
                return Ok(true);
            }
        }
    }
    Ok(false)
}
