//! The way from the loss back.

use std::collections::HashMap;

use super::backward::Backward;
use super::path::{Path, is_float};
use super::table::{Rule, rule};
use super::{Builder, GradientError, Undifferentiable};

/// Appends the gradients of `loss` (of its sum, if it is no scalar) with respect to each of `wrt`; their names. With
/// `scale`, a scalar in the type of the loss: the gradients of scale · loss.
///
/// # Errors
/// As [`super::gradient`].
pub(crate) fn differentiate(
    b: &mut Builder<'_>,
    loss: &str,
    scale: Option<&str>,
    wrt: &[&str],
) -> Result<Vec<String>, GradientError> {
    for name in wrt.iter().copied().chain([loss]) {
        check(b, name)?;
    }
    let path = Path::between(b, loss, wrt);
    let missing = path.without_rule(b);
    if !missing.is_empty() {
        return Err(GradientError::Undifferentiable(missing));
    }
    let mut walk = Walk { path, gradients: HashMap::new(), refused: Vec::new() };
    walk.run(b, loss, scale);
    if !walk.refused.is_empty() {
        return Err(GradientError::Undifferentiable(walk.refused));
    }
    walk.results(b, loss, wrt)
}

fn check(b: &Builder<'_>, name: &str) -> Result<(), GradientError> {
    let refuse = |reason: &str| Err(GradientError::Value { name: name.to_owned(), reason: reason.to_owned() });
    let index = b.index();
    if !(index.is_input(name) || index.initializer(name).is_some() || index.producer(name).is_some()) {
        return refuse("the graph has no such value");
    }
    match b.data_type(name) {
        Some(data_type) if is_float(data_type) => Ok(()),
        Some(_) => refuse("it is no float tensor, so it has no gradient"),
        None => refuse("its element type is not known; run onnx shape inference on the model"),
    }
}

struct Walk {
    path: Path,
    /// What has come together for a value so far.
    gradients: HashMap<String, Vec<String>>,
    refused: Vec<Undifferentiable>,
}

impl Walk {
    fn run(&mut self, b: &mut Builder<'_>, loss: &str, scale: Option<&str>) {
        let one = scale.map_or_else(|| b.number(loss, 1.0), str::to_owned);
        let seed = if b.rank(loss) == Some(0) { one } else { b.broadcast_to(&one, loss) };
        self.gradients.entry(loss.to_owned()).or_default().push(seed);
        for at in std::mem::take(&mut self.path.nodes).into_iter().rev() {
            self.node(b, at);
        }
    }

    fn node(&mut self, b: &mut Builder<'_>, at: usize) {
        let node = b.node_at(at).clone();
        let label = if node.label().is_empty() { node.op() } else { node.label() };
        b.set_scope(label);
        let upstream: Vec<Option<String>> = node.output.iter().map(|output| self.take(b, output)).collect();
        if upstream.iter().all(Option::is_none) {
            return;
        }
        let Some(Rule::Vjp(vjp)) = rule(node.op_domain(), node.op()) else { return };
        let wanted: Vec<bool> = node.input.iter().map(|input| self.path.is_active(input)).collect();
        let given = vec![None; node.input.len()];
        let mut backward = Backward { b: &mut *b, node, at, upstream, wanted, given };
        let outcome = vjp(&mut backward);
        let Backward { node, wanted, given, .. } = backward;
        if let Err(refusal) = outcome {
            self.refused.push(self.path.undifferentiable(b, at, refusal.0));
            // stand-ins, so that everything before is looked at, too; the graph is thrown away
            for input in node.input.into_iter().zip(wanted).filter_map(|(input, wanted)| wanted.then_some(input)) {
                self.gradients.entry(input.clone()).or_default().push(input);
            }
            return;
        }
        for ((input, wanted), given) in node.input.into_iter().zip(wanted).zip(given) {
            if let Some(gradient) = given.filter(|_| wanted) {
                self.gradients.entry(input).or_default().push(gradient);
            }
        }
    }

    /// The sum of what has come together for a value; it stays.
    fn take(&mut self, b: &mut Builder<'_>, value: &str) -> Option<String> {
        let parts = self.gradients.get(value)?;
        let sum = b.sum(parts)?;
        self.gradients.insert(value.to_owned(), vec![sum.clone()]);
        Some(sum)
    }

    fn results(mut self, b: &mut Builder<'_>, loss: &str, wrt: &[&str]) -> Result<Vec<String>, GradientError> {
        let mut found = Vec::with_capacity(wrt.len());
        let mut unconnected = Vec::new();
        for &name in wrt {
            b.set_scope(name);
            match self.take(b, name) {
                Some(gradient) => found.push(gradient),
                None => unconnected.push(name.to_owned()),
            }
        }
        if unconnected.is_empty() {
            return Ok(found);
        }
        Err(GradientError::NotConnected { loss: loss.to_owned(), names: unconnected })
    }
}
