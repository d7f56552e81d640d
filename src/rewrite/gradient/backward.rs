//! One node on the way back: what a rule sees.

use crate::model::proto::NodeProto;

use super::Builder;

/// Why a rule cannot give a gradient, a clause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal(pub String);

/// A vector-Jacobian product: reads the upstream gradients of a node, gives those of its inputs.
pub(super) type Vjp = fn(&mut Backward<'_, '_>) -> Result<(), Refusal>;

/// One node, the gradients of its outputs, and the builder that takes new nodes.
pub(super) struct Backward<'b, 'g> {
    /// Where new nodes go.
    pub b: &'b mut Builder<'g>,
    /// The node.
    pub node: NodeProto,
    /// Its position in the builder.
    pub at: usize,
    /// Gradient of each output, where the loss depends on it.
    pub upstream: Vec<Option<String>>,
    /// Whether the gradient of an input is needed.
    pub wanted: Vec<bool>,
    /// Gradient of each input, as the rule gives it.
    pub given: Vec<Option<String>>,
}

impl Backward<'_, '_> {
    /// Input `i`. Required ones only: "" where it is left out.
    pub fn x(&self, i: usize) -> String {
        self.node.input.get(i).cloned().unwrap_or_default()
    }

    /// Whether the optional input `i` is there.
    pub fn has(&self, i: usize) -> bool {
        self.node.input_at(i).is_some()
    }

    /// Output `i` of the forward pass, which then stays alive until here; the node gets it if it has none yet.
    pub fn y(&mut self, i: usize) -> String {
        self.b.output_of(self.at, i)
    }

    /// Gradient of output `i`, where the loss depends on it.
    pub fn dy_at(&self, i: usize) -> Option<String> {
        self.upstream.get(i).cloned().flatten()
    }

    /// Gradient of the only output.
    ///
    /// # Errors
    /// The loss depends on another output only.
    pub fn dy(&self) -> Result<String, Refusal> {
        let other = || Refusal("only a secondary output of it is used, which has no gradient".to_owned());
        if self.upstream.iter().skip(1).any(Option::is_some) {
            return Err(other());
        }
        self.dy_at(0).ok_or_else(other)
    }

    /// Whether the gradient of input `i` is needed; give nothing where it is not.
    pub fn wants(&self, i: usize) -> bool {
        self.wanted.get(i).copied().unwrap_or(false)
    }

    /// Gives the gradient of input `i`: same type and shape as the input.
    pub fn give(&mut self, i: usize, gradient: String) {
        if let Some(slot) = self.given.get_mut(i) {
            *slot = Some(gradient);
        }
    }

    /// Gives a gradient in the shape that the input was broadcast to.
    pub fn give_summed(&mut self, i: usize, gradient: &str) {
        let input = self.x(i);
        let gradient = self.b.sum_to(gradient, &input);
        self.give(i, gradient);
    }

    /// An int attribute or its default.
    pub fn int(&self, name: &str, default: i64) -> i64 {
        self.node.attr_int(name).unwrap_or(default)
    }

    /// A float attribute or its default.
    pub fn float(&self, name: &str, default: f32) -> f64 {
        self.node.attr_float(name).unwrap_or(default).into()
    }

    /// A string attribute or its default.
    pub fn string(&self, name: &str, default: &str) -> String {
        self.node.attr_str(name).unwrap_or(default).to_owned()
    }

    /// The rank of a value.
    ///
    /// # Errors
    /// It is not known.
    pub fn rank(&self, value: &str) -> Result<usize, Refusal> {
        self.b.rank(value).ok_or_else(|| {
            refusal(format!("the rank of '{value}' is not known; run onnx shape inference on the model"))
        })
    }

    /// An axis attribute, counted from the front.
    ///
    /// # Errors
    /// Outside the rank.
    pub fn axis(&self, axis: i64, rank: usize) -> Result<usize, Refusal> {
        let from_front = if axis < 0 { axis.saturating_add(rank as i64) } else { axis };
        usize::try_from(from_front)
            .ok()
            .filter(|&axis| axis < rank)
            .ok_or_else(|| refusal(format!("its axis {axis} is outside a tensor of {rank} axes")))
    }

    /// An integer list that is an attribute in old opsets and input `at` in new ones; None where neither is given.
    ///
    /// # Errors
    /// Given as an input that is not constant.
    pub fn ints(&self, name: &str, at: usize) -> Result<Option<Vec<i64>>, Refusal> {
        if let Some(ints) = self.node.attr_ints(name) {
            return Ok(Some(ints.to_vec()));
        }
        let Some(input) = self.node.input_at(at) else { return Ok(None) };
        match self.b.known_ints(input) {
            Some(ints) => Ok(Some(ints)),
            None => Err(refusal(format!("its {name} ('{input}') are computed when the graph runs"))),
        }
    }
}

/// A refusal.
pub(super) fn refusal(reason: impl Into<String>) -> Refusal {
    Refusal(reason.into())
}
