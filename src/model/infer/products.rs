//! Shapes after operators that multiply matrices.

use std::collections::HashMap;

use super::super::dims::{Dims, broadcast};
use super::super::proto::NodeProto;
use super::super::shape::Dimension;
use super::Inference;
use Dimension::Unknown;

impl Inference<'_> {
    pub(super) fn gemm(&self, node: &NodeProto) -> Option<Dims> {
        let pick = |at, transposed: &str, row: bool| -> Dimension {
            let swap = node.attr_int(transposed).unwrap_or(0) != 0;
            match self.dims(node, at).as_deref() {
                Some([rows, columns]) => if row != swap { rows } else { columns }.clone(),
                _ => Unknown,
            }
        };
        Some(vec![pick(0, "transA", true), pick(1, "transB", false)])
    }

    /// The axes of the ellipsis are broadcast; without an arrow the result has the letters that stand once.
    pub(super) fn einsum(&self, node: &NodeProto) -> Option<Dims> {
        let equation: String = node.attr_str("equation")?.chars().filter(|c| !c.is_whitespace()).collect();
        let (terms, output) = match equation.split_once("->") {
            Some((terms, output)) => (terms.to_owned(), output.to_owned()),
            None => {
                let mut once: Vec<char> = equation.chars().filter(char::is_ascii_alphabetic).collect();
                once.retain(|letter| equation.matches(*letter).count() == 1);
                once.sort_unstable();
                let dots = if equation.contains("...") { "..." } else { "" };
                (equation.clone(), format!("{dots}{}", once.into_iter().collect::<String>()))
            }
        };
        let mut sizes = HashMap::new();
        let mut stretched = Dims::new();
        for (at, term) in terms.split(',').enumerate() {
            let letters: Vec<char> = term.chars().filter(|&c| c != '.').collect();
            let dims = self.dims(node, at);
            let Some(at) = term.find("...") else {
                let dims = dims.filter(|dims| dims.len() == letters.len());
                sizes.extend(letters.into_iter().zip(dims.into_iter().flatten()));
                continue;
            };
            let mut dims = dims?;
            let behind = letters.len().checked_sub(at)?;
            let end = dims.len().checked_sub(behind).filter(|&end| end >= at)?;
            let hidden: Dims = dims.drain(at..end).collect();
            stretched = broadcast(stretched, hidden)?;
            sizes.extend(letters.into_iter().zip(dims));
        }
        let of = |letters: &str| -> Dims {
            letters.chars().map(|letter| sizes.get(&letter).cloned().unwrap_or(Unknown)).collect()
        };
        match output.split_once("...") {
            Some((before, behind)) => Some([of(before), stretched, of(behind)].concat()),
            None => Some(of(&output)),
        }
    }
}
