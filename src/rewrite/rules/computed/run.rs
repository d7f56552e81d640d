//! Running a piece on probes.

use std::collections::HashMap;

use crate::model::{Dimension, NodeId};
use crate::rewrite::evaluate::{Data, Tensor, evaluate};
use crate::rewrite::rules::Context;
use crate::rewrite::rules::family::Probe;

use super::outcome::Miss;
use super::piece::{MAX_ELEMENTS, Piece};

/// One run of a piece.
pub(super) struct Run {
    pub probe: Probe,
    pub values: HashMap<String, Tensor>,
    pub logits_dims: Vec<usize>,
    pub flatten: bool,
}

impl Piece {
    /// One run on `raw` labels: the side nodes make the labels of the rows of them, then logits to go with these.
    #[allow(clippy::too_many_arguments, reason = "one run and what it is made of")]
    pub(super) fn run_once(
        &self,
        context: &Context,
        labels_input: &str,
        input_dims: &[usize],
        labels: &str,
        raw: Vec<i64>,
        avoid: &[i64],
        seed: u64,
    ) -> Result<(Run, Option<(NodeId, String)>), Miss> {
        let input = Tensor { dims: input_dims.to_vec(), data: Data::Int(raw) };
        let mut values = self.start_values(context, (labels_input, &input), &[]);
        self.run_nodes(context, &self.side, &mut values);
        let (logits_dims, flatten) =
            values.get(labels).and_then(|t| self.logits_dims(&t.dims)).ok_or(Miss::NotALoss)?;
        if self.reads_sizes_of_inputs(context).next().is_some() {
            // now that the logits' sizes are known, so may be those of inputs beside the labels
            values = self.start_values(context, (labels_input, &input), &logits_dims);
            self.run_nodes(context, &self.side, &mut values);
        }
        let Some(Data::Int(row_labels)) = values.get(labels).map(|t| &t.data) else { return Err(Miss::NotALoss) };
        let rows = logits_dims.iter().product::<usize>() / self.classes;
        if row_labels.len() != rows {
            return Err(Miss::NotALoss);
        }
        let mut probe = Probe::new(rows, self.classes, avoid, seed);
        probe.relabel(row_labels);
        let (values, trouble) = self.run_on(context, values, &probe, &logits_dims);
        Ok((Run { probe, values, logits_dims, flatten }, trouble))
    }

    /// Runs everything on the logits of `probe`; the values, and the first node that could not be run.
    pub(super) fn run_on(
        &self,
        context: &Context,
        mut values: HashMap<String, Tensor>,
        probe: &Probe,
        logits_dims: &[usize],
    ) -> (HashMap<String, Tensor>, Option<(NodeId, String)>) {
        values.insert(self.logits.clone(), self.lay_out(probe, logits_dims));
        let trouble = self.run_nodes(context, &self.nodes_in_order(), &mut values);
        (values, trouble)
    }

    /// What is known before a run: constants, labels, and the shapes of inputs whose numbers are not.
    pub(super) fn start_values(
        &self,
        context: &Context,
        (labels_input, labels): (&str, &Tensor),
        logits_dims: &[usize],
    ) -> HashMap<String, Tensor> {
        let mut values = self.constants.clone();
        for (name, weights) in self.weight_inputs(context) {
            values.insert(name, Tensor { dims: vec![weights.len()], data: Data::Float(weights) });
        }
        values.insert(labels_input.to_owned(), labels.clone());
        let mut sizes: HashMap<String, usize> = HashMap::new();
        for (value, dims) in [(self.logits.as_str(), logits_dims), (labels_input, labels.dims.as_slice())] {
            for (declared, size) in context.shapes.get(value).dims.unwrap_or_default().iter().zip(dims) {
                if let Dimension::Symbol(name) = declared {
                    sizes.entry(name.clone()).or_insert(*size);
                }
            }
        }
        for (id, of, output) in self.reads_sizes_of_inputs(context) {
            if values.contains_key(of) {
                continue;
            }
            let Some(declared) = context.shapes.get(of).dims else { continue };
            let dims: Option<Vec<usize>> = declared
                .iter()
                .enumerate()
                .map(|(i, dim)| match dim {
                    Dimension::Known(n) => usize::try_from(*n).ok(),
                    Dimension::Symbol(name) if sizes.contains_key(name) => sizes.get(name).copied(),
                    _ => labels.dims.get(i).copied(),
                })
                .collect();
            let Some(dims) = dims.filter(|d| d.iter().product::<usize>() <= MAX_ELEMENTS) else { continue };
            let zeros = Tensor { data: Data::Float(vec![0.0; dims.iter().product()]), dims };
            if let Ok(outputs) =
                evaluate(&[context.graph.node(id)], HashMap::from([(of.to_owned(), zeros)]), context.opset)
                && let Some(shape) = outputs.get(output)
            {
                values.insert(output.to_owned(), shape.clone());
            }
        }
        values
    }

    /// Shape nodes of graph inputs among the side nodes: the node, what it reads and what it makes.
    fn reads_sizes_of_inputs<'g>(
        &'g self,
        context: &'g Context<'g>,
    ) -> impl Iterator<Item = (NodeId, &'g str, &'g str)> + 'g {
        self.side.iter().filter_map(|id| {
            let node = context.graph.node(*id);
            let of = node.input_at(0).filter(|of| node.is("", "Shape") && context.index.is_input(of))?;
            Some((*id, of, node.output_at(0)?))
        })
    }

    /// Runs what can be run; the first node that could not be, with the reason.
    pub(super) fn run_nodes(
        &self,
        context: &Context,
        nodes: &[NodeId],
        values: &mut HashMap<String, Tensor>,
    ) -> Option<(NodeId, String)> {
        let mut trouble = None;
        for id in nodes {
            let node = context.graph.node(*id);
            if node.input.iter().any(|v| !v.is_empty() && !values.contains_key(v)) {
                continue;
            }
            let inputs: HashMap<String, Tensor> =
                node.input.iter().filter_map(|v| values.get(v).map(|t| (v.clone(), t.clone()))).collect();
            match evaluate(&[node], inputs, context.opset) {
                Ok(outputs) => values.extend(outputs.into_iter().filter(|(name, _)| node.output.contains(name))),
                Err(error) => {
                    trouble.get_or_insert((*id, error.to_string()));
                }
            }
        }
        trouble
    }

    /// rows × classes → the layout of the logits.
    pub(super) fn lay_out(&self, probe: &Probe, dims: &[usize]) -> Tensor {
        let inner: usize = dims[self.axis + 1..].iter().product();
        let outer: usize = dims[..self.axis].iter().product();
        let mut data = vec![0.0; probe.logits.len()];
        for o in 0..outer {
            for c in 0..self.classes {
                for i in 0..inner {
                    data[(o * self.classes + c) * inner + i] = probe.logits[(o * inner + i) * self.classes + c];
                }
            }
        }
        Tensor { dims: dims.to_vec(), data: Data::Float(data) }
    }
}

pub(super) fn floats(tensor: &Tensor) -> Option<&[f64]> {
    match &tensor.data {
        Data::Float(values) => Some(values),
        _ => None,
    }
}
