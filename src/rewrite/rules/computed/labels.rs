//! Which values may be the labels of the rows.

use crate::rewrite::evaluate::{Data, Tensor};
use crate::rewrite::rules::Context;

use super::piece::{MAX_ELEMENTS, Piece, known};

/// Values made of the labels that are tried as the labels of the rows.
const MAX_LABEL_VALUES: usize = 16;

impl Piece {
    /// Integer values computed from the labels input alone, itself first.
    pub(super) fn label_values(&self, context: &Context, labels_input: &str, dims: &[usize]) -> Vec<String> {
        let count: usize = dims.iter().product();
        if count == 0 || count > MAX_ELEMENTS / self.classes {
            return Vec::new();
        }
        let probe =
            Tensor { dims: dims.to_vec(), data: Data::Int((0..count).map(|i| (i % self.classes) as i64).collect()) };
        let mut values = self.start_values(context, (labels_input, &probe), &[]);
        self.run_nodes(context, &self.side, &mut values);
        let mut found = vec![labels_input.to_owned()];
        for node in self.side.iter().map(|id| context.graph.node(*id)) {
            for output in node.output.iter().filter(|o| !o.is_empty() && !found.contains(o)).collect::<Vec<_>>() {
                let Some(tensor) = values.get(output) else { continue };
                let renamed = tensor.dims == dims && matches!(node.op(), "Cast" | "Identity");
                if matches!(tensor.data, Data::Int(_))
                    && tensor.data.len() <= count
                    && !renamed
                    && found.len() < MAX_LABEL_VALUES
                    && self.could_be_labels(context, output, &tensor.dims)
                {
                    found.push(output.clone());
                }
            }
        }
        found
    }

    /// Whether the sizes declared for `value` and those of a run agree with the logits'.
    fn could_be_labels(&self, context: &Context, value: &str, dims: &[usize]) -> bool {
        if self.logits_dims(dims).is_none() {
            return false;
        }
        let Some(declared) = context.shapes.get(value).dims else { return true };
        let mut rows = self.dims.clone();
        rows.remove(self.axis);
        declared.len() != rows.len()
            || declared.iter().zip(&rows).all(|(d, r)| match (known(d), r) {
                (Some(d), Some(r)) => d == *r,
                _ => true,
            })
    }
}
