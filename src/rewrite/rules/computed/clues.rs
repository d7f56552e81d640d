//! Constants and inputs of a piece that a member of the family could have as parameters.

use prost::Message;

use crate::model::proto::TensorProto;
use crate::model::{DataType, Dimension};
use crate::rewrite::evaluate::{Data, Tensor};
use crate::rewrite::rules::Context;
use crate::rewrite::rules::family::Clues;

use super::piece::Piece;

impl Piece {
    /// Constants of the piece that a member of the family could have as parameters.
    pub(super) fn clues(&self, context: &Context) -> Clues {
        let mut clues = Clues { weights: self.weight_inputs(context), ..Clues::default() };
        for (name, tensor) in &self.constants {
            if let Data::Float(values) = &tensor.data {
                match values[..] {
                    [x] if !clues.numbers.contains(&x) => clues.numbers.push(x),
                    _ if values.len() == self.classes && values.len() > 1 => {
                        clues.weights.push((name.clone(), values.clone()));
                    }
                    // OneHot's (off, on) pair
                    [a, b] => clues.numbers.extend([a, b]),
                    // rows of smoothed labels to pick from
                    [on, off, ..] if values.len() == self.classes * self.classes => clues.numbers.extend([on, off]),
                    _ => {}
                }
            }
        }
        for id in self.nodes() {
            let clip = context.graph.node(id);
            clues.numbers.extend(clip.attr_float("alpha").map(f64::from));
            let filled = clip.attr("value").and_then(|a| a.t.as_ref()).filter(|_| clip.op() == "ConstantOfShape");
            if let Some(Tensor { data: Data::Float(values), .. }) =
                filled.and_then(|t| TensorProto::decode(t.clone()).ok()).and_then(|t| Tensor::from_proto(&t).ok())
            {
                clues.numbers.extend(values.first());
            }
        }
        clues.rounding = match context.data_type(&self.logits) {
            Some(DataType::Float16) => 1e-3,
            Some(DataType::Bfloat16) => 8e-3,
            _ => 0.0,
        };
        clues.numbers.sort_by(f64::total_cmp);
        clues.numbers.dedup();
        clues.weights.sort_by(|a, b| a.0.cmp(&b.0));
        clues
    }

    /// Float inputs with one number per class, which may be class weights, with numbers to try them with.
    pub(super) fn weight_inputs(&self, context: &Context) -> Vec<(String, Vec<f64>)> {
        let per_class = |input: &&String| {
            matches!(
                context.data_type(input),
                Some(DataType::Float | DataType::Double | DataType::Float16 | DataType::Bfloat16)
            ) && context.shapes.get(input).dims.is_some_and(|d| d == [Dimension::Known(self.classes as i64)])
        };
        let weights: Vec<f64> = (0..self.classes).map(|c| 0.5 + (0.37 * c as f64).fract()).collect();
        self.inputs.iter().filter(per_class).map(|input| (input.clone(), weights.clone())).collect()
    }
}
