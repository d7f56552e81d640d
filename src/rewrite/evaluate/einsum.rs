//! Einstein summation.

use std::collections::BTreeMap;

use super::product::MAX_WORK;
use super::tensor::{Data, Tensor, element_count};
use super::{Call, Fault};

/// Runs the node if it is of this family.
pub(super) fn run(call: &Call) -> Result<Option<Vec<Tensor>>, Fault> {
    if call.node.op() != "Einsum" {
        return Ok(None);
    }
    Ok(Some(vec![einsum(call)?]))
}

/// The letters of an equation's terms and of its result. Axes of an ellipsis are digits, counted from the last.
struct Equation {
    terms: Vec<Vec<char>>,
    result: Vec<char>,
}

/// Most axes of an ellipsis.
const MAX_HIDDEN: usize = 8;

/// An equation with digits for the axes of ellipses: "...i" of a matrix is "0i".
fn without_ellipsis(text: &str, inputs: &[&Tensor]) -> Result<String, Fault> {
    let wrong = || Fault::invalid(format!("'{text}' does not fit its operands"));
    let digits = |count: usize| -> String { (0..count).rev().map(|i| char::from(b'0' + i as u8)).collect() };
    let (left, right) = match text.split_once("->") {
        Some((left, right)) => (left, Some(right)),
        None => (text, None),
    };
    let mut most = 0;
    let mut terms = Vec::new();
    for (at, term) in left.split(',').enumerate() {
        if term.contains("...") {
            let input = inputs.get(at).ok_or_else(wrong)?;
            let hidden = (input.rank() + 3).checked_sub(term.chars().count()).ok_or_else(wrong)?;
            if hidden > MAX_HIDDEN {
                return Err(Fault::Unsupported(format!("Einsum with an ellipsis of {hidden} axes")));
            }
            most = most.max(hidden);
            terms.push(term.replacen("...", &digits(hidden), 1));
        } else {
            terms.push(term.to_owned());
        }
    }
    let result = match right {
        Some(right) if !right.contains("...") && most > 0 => return Err(wrong()),
        Some(right) => right.replacen("...", &digits(most), 1),
        None => {
            let mut once: Vec<char> = left.chars().filter(char::is_ascii_alphabetic).collect();
            once.retain(|letter| left.matches(*letter).count() == 1);
            once.sort_unstable();
            format!("{}{}", digits(most), once.into_iter().collect::<String>())
        }
    };
    Ok(format!("{}->{result}", terms.join(",")))
}

impl Equation {
    /// Without an arrow the result has the letters that stand once, in alphabetical order.
    fn parse(text: &str, inputs: &[&Tensor]) -> Result<Self, Fault> {
        let mut text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        if text.contains(|c: char| c.is_ascii_digit()) {
            return Err(Fault::invalid(format!("'{text}' is no equation")));
        }
        if text.contains("...") {
            text = without_ellipsis(&text, inputs)?;
        }
        let (left, right) = match text.split_once("->") {
            Some((left, right)) => (left, Some(right)),
            None => (text.as_str(), None),
        };
        let terms: Vec<Vec<char>> = left.split(',').map(|term| term.chars().collect()).collect();
        let mut counts: BTreeMap<char, usize> = BTreeMap::new();
        terms.iter().flatten().for_each(|letter| *counts.entry(*letter).or_default() += 1);
        let result = match right {
            Some(right) => right.chars().collect(),
            None => counts.iter().filter(|(_, count)| **count == 1).map(|(letter, _)| *letter).collect(),
        };
        let equation = Equation { terms, result };
        let wrong = |c: &char| !c.is_ascii_alphanumeric();
        let repeated = (1..equation.result.len()).any(|i| equation.result[..i].contains(&equation.result[i]));
        let unknown = equation.result.iter().any(|letter| !counts.contains_key(letter));
        if counts.keys().any(wrong) || repeated || unknown {
            return Err(Fault::invalid(format!("'{text}' is no equation")));
        }
        Ok(equation)
    }

    /// The letters to run over, those of the result first, with their sizes.
    fn sizes(&self, inputs: &[&Tensor]) -> Result<Vec<(char, usize)>, Fault> {
        if self.terms.len() != inputs.len() {
            return Err(Fault::invalid(format!("{} terms for {} inputs", self.terms.len(), inputs.len())));
        }
        let mut sizes: BTreeMap<char, usize> = BTreeMap::new();
        for (term, input) in self.terms.iter().zip(inputs) {
            if term.len() != input.rank() {
                return Err(Fault::invalid(format!("a term of {} letters for {:?}", term.len(), input.dims)));
            }
            for (letter, size) in term.iter().zip(&input.dims) {
                let known = sizes.entry(*letter).or_insert(*size);
                if letter.is_ascii_digit() && *known == 1 {
                    *known = *size;
                } else if *known != *size && !(letter.is_ascii_digit() && *size == 1) {
                    return Err(Fault::invalid(format!("'{letter}' is {size} in {:?}", input.dims)));
                }
            }
        }
        let outer = self.result.iter().filter_map(|letter| Some((*letter, *sizes.get(letter)?)));
        let summed = sizes.iter().filter(|(letter, _)| !self.result.contains(letter)).map(|(l, n)| (*l, *n));
        Ok(outer.chain(summed).collect())
    }
}

/// How far one step of each of `letters` goes in a tensor with these `dims`; a letter that stands twice walks the
/// diagonal, one that is not in the term stays, and so does a stretched axis of an ellipsis.
fn strides(letters: &[(char, usize)], term: &[char], dims: &[usize]) -> Vec<usize> {
    let step = |axis: usize| if dims[axis] == 1 { 0 } else { dims[axis + 1..].iter().product::<usize>() };
    letters.iter().map(|(letter, _)| (0..term.len()).filter(|axis| term[*axis] == *letter).map(step).sum()).collect()
}

fn einsum(call: &Call) -> Result<Tensor, Fault> {
    let inputs = call.all_inputs()?;
    let equation = Equation::parse(call.string("equation", ""), &inputs)?;
    let letters = equation.sizes(&inputs)?;
    let dims: Vec<usize> = letters[..equation.result.len()].iter().map(|(_, size)| *size).collect();
    let size = element_count(&dims)?;
    let work = letters.iter().fold(inputs.len(), |work, (_, size)| work.saturating_mul(*size));
    if work > MAX_WORK {
        return Err(Fault::TooLarge(letters.iter().map(|(_, size)| *size).collect()));
    }
    let mut out = vec![0.0; size];
    if work > 0 {
        let values: Vec<&[f64]> = inputs.iter().map(|input| input.as_floats()).collect::<Result<_, _>>()?;
        let steps: Vec<Vec<usize>> =
            equation.terms.iter().zip(&inputs).map(|(term, input)| strides(&letters, term, &input.dims)).collect();
        let inner = work / inputs.len() / size;
        let mut place = vec![0; letters.len()];
        for sum in &mut out {
            for _ in 0..inner {
                let at = |steps: &[usize]| steps.iter().zip(&place).map(|(step, i)| step * i).sum::<usize>();
                *sum += values.iter().zip(&steps).map(|(values, steps)| values[at(steps)]).product::<f64>();
                advance(&mut place, &letters);
            }
        }
    }
    Tensor::new(dims, Data::Float(out))
}

/// The next place, the last letter fastest.
fn advance(place: &mut [usize], letters: &[(char, usize)]) {
    for (i, (_, size)) in place.iter_mut().zip(letters).rev() {
        *i += 1;
        if *i < *size {
            return;
        }
        *i = 0;
    }
}
