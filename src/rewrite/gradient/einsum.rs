//! `Einsum`: products of tensors summed over letters.

use super::Builder;
use super::backward::{Backward, Refusal, Vjp, refusal};

pub(super) const RULES: &[(&str, Vjp)] = &[("Einsum", einsum)];

/// The letters of one operand; where the ellipsis stands among them, if it has one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Term {
    letters: Vec<char>,
    ellipsis: Option<usize>,
}

impl Term {
    fn parse(text: &str) -> Result<Self, Refusal> {
        let (before, behind) = match text.split_once("...") {
            Some((before, behind)) => (before, Some(behind)),
            None => (text, None),
        };
        let letters: Vec<char> = before.chars().chain(behind.unwrap_or_default().chars()).collect();
        if letters.iter().any(|letter| !letter.is_ascii_alphabetic()) {
            return Err(refusal(format!("'{text}' is no term of an equation")));
        }
        Ok(Self { letters, ellipsis: behind.map(|_| before.chars().count()) })
    }

    fn text(&self) -> String {
        let at = self.ellipsis.unwrap_or(self.letters.len()).min(self.letters.len());
        let (before, behind) = self.letters.split_at(at);
        let dots = if self.ellipsis.is_some() { "..." } else { "" };
        format!("{}{dots}{}", before.iter().collect::<String>(), behind.iter().collect::<String>())
    }

    /// Each letter once, in order.
    fn distinct(&self) -> Vec<char> {
        let mut seen = Vec::new();
        for &letter in &self.letters {
            if !seen.contains(&letter) {
                seen.push(letter);
            }
        }
        seen
    }
}

/// The operands' terms and that of the result.
struct Equation {
    terms: Vec<Term>,
    result: Term,
}

impl Equation {
    fn parse(text: &str) -> Result<Self, Refusal> {
        let text: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let (left, right) = match text.split_once("->") {
            Some((left, right)) => (left, Some(right)),
            None => (text.as_str(), None),
        };
        let terms: Vec<Term> = left.split(',').map(Term::parse).collect::<Result<_, _>>()?;
        let result = match right {
            Some(right) => Term::parse(right)?,
            None => implicit(&terms)?,
        };
        if result.ellipsis.is_none() && terms.iter().any(|term| term.ellipsis.is_some()) {
            return Err(refusal(format!("the result of '{text}' lacks the ellipsis of its operands")));
        }
        if result.distinct().len() != result.letters.len() {
            return Err(refusal(format!("a letter stands twice in the result of '{text}'")));
        }
        Ok(Self { terms, result })
    }
}

/// The letters that stand once, in alphabetical order, behind the ellipsis.
fn implicit(terms: &[Term]) -> Result<Term, Refusal> {
    let all: Vec<char> = terms.iter().flat_map(|term| term.letters.iter().copied()).collect();
    let mut letters: Vec<char> =
        all.iter().copied().filter(|letter| all.iter().filter(|other| *other == letter).count() == 1).collect();
    letters.sort_unstable();
    if letters.iter().any(char::is_ascii_uppercase) && letters.iter().any(char::is_ascii_lowercase) {
        return Err(refusal("its equation has no arrow and letters of both cases, which runtimes order differently"));
    }
    Ok(Term { letters, ellipsis: terms.iter().any(|term| term.ellipsis.is_some()).then_some(0) })
}

/// `Einsum`, y = Σ Π xᵢ: dxᵢ = Σ dy · Π of the others, with the letters of xᵢ as the result. Letters that only xᵢ has are
/// summed in y: dxᵢ is the same all along them. A letter that xᵢ has twice takes its diagonal: dxᵢ is zero beside it. Axes of
/// the ellipsis along which xᵢ was stretched are summed.
fn einsum(c: &mut Backward<'_, '_>) -> Result<(), Refusal> {
    let dy = c.dy()?;
    let equation = Equation::parse(&c.string("equation", ""))?;
    if equation.terms.len() != c.node.input.len() {
        return Err(refusal(format!("its equation has {} terms", equation.terms.len())));
    }
    for (term, input) in equation.terms.iter().zip(&c.node.input) {
        let rank = match c.b.rank(input) {
            Some(rank) => rank,
            // the letters tell
            None if term.ellipsis.is_none() => continue,
            None => c.rank(input)?,
        };
        if rank < term.letters.len() || (term.ellipsis.is_none() && rank != term.letters.len()) {
            return Err(refusal(format!("the term '{}' does not fit the {rank} axes of '{input}'", term.text())));
        }
    }
    refuse_stretched_letters(c, &equation)?;
    for i in (0..equation.terms.len()).filter(|&i| c.wants(i)).collect::<Vec<_>>() {
        let dx = operand(c, &equation, &dy, i)?;
        c.give(i, dx);
    }
    Ok(())
}

/// The specification stretches the axes of an ellipsis only; some runtimes stretch letters, too.
fn refuse_stretched_letters(c: &Backward<'_, '_>, equation: &Equation) -> Result<(), Refusal> {
    let mut sizes: std::collections::HashMap<char, i64> = std::collections::HashMap::new();
    for (term, input) in equation.terms.iter().zip(&c.node.input) {
        let Some(dims) = c.b.dims(input) else { continue };
        for (&letter, dim) in term.letters.iter().zip(dims.iter().enumerate().filter_map(|(at, dim)| {
            // without those of the ellipsis
            let hidden = dims.len().checked_sub(term.letters.len())?;
            let inside = term.ellipsis.is_some_and(|start| (start..start + hidden).contains(&at));
            (!inside).then_some(dim)
        })) {
            let Some(size) = dim.known() else { continue };
            if *sizes.entry(letter).or_insert(size) != size {
                return Err(refusal(format!("the letter '{letter}' stands for axes of different sizes")));
            }
        }
    }
    Ok(())
}

/// The gradient of operand `i`.
fn operand(c: &mut Backward<'_, '_>, equation: &Equation, dy: &str, i: usize) -> Result<String, Refusal> {
    let term = equation.terms[i].clone();
    let x = c.x(i);
    let inputs = c.node.input.clone();
    let b = &mut *c.b;
    // what is multiplied; scalars later, one by one: a term without letters is more than some runtimes take
    let mut factors: Vec<(&str, &Term)> = vec![(dy, &equation.result)];
    let others = inputs.iter().zip(&equation.terms).enumerate().filter(|(at, _)| *at != i);
    factors.extend(others.map(|(_, (input, term))| (input.as_str(), term)));
    let is_scalar = |term: &Term| term.letters.is_empty() && term.ellipsis.is_none();
    let has = |letter: &char| factors.iter().any(|(_, term)| term.letters.contains(letter));
    let distinct = term.distinct();
    let present: Vec<char> = distinct.iter().copied().filter(has).collect();
    let dots = factors.iter().any(|(_, term)| term.ellipsis.is_some());
    let target = Term { letters: present.clone(), ellipsis: dots.then_some(0) };
    let (scalars, tensors): (Vec<_>, Vec<_>) = factors.into_iter().partition(|(_, term)| is_scalar(term));
    let mut dx = match &tensors[..] {
        [] => None,
        [(value, from)] if **from == target => Some((*value).to_owned()),
        _ => {
            let left: Vec<String> = tensors.iter().map(|(_, term)| term.text()).collect();
            let values: Vec<&str> = tensors.iter().map(|(value, _)| *value).collect();
            Some(contraction(b, &format!("{}->{}", left.join(","), target.text()), &values))
        }
    };
    for (scalar, _) in scalars {
        dx = Some(match dx {
            Some(product) => b.op("Mul", &[&product, scalar]),
            None => scalar.to_owned(),
        });
    }
    let mut dx = dx.ok_or_else(|| refusal("it has no operands"))?;
    // axes of the ellipsis along which x was stretched; x in the same order of axes is read for its shape at most
    if dots {
        let here = Term { letters: present.clone(), ellipsis: term.ellipsis.map(|_| 0) };
        let like = arranged(b, &x, &term, &here);
        dx = b.sum_to(&dx, &like);
    }
    let lead = match term.ellipsis {
        Some(_) => b.rank(&x).and_then(|rank| rank.checked_sub(term.letters.len())),
        None => Some(0),
    };
    let lead = lead.ok_or_else(|| refusal(format!("the rank of '{x}' is not known")))?;
    let full = Term { letters: distinct.clone(), ellipsis: term.ellipsis.map(|_| 0) };
    if present.len() < distinct.len() {
        let missing = distinct.iter().enumerate().filter(|(_, letter)| !present.contains(letter));
        let axes: Vec<i64> = missing.map(|(at, _)| (lead + at) as i64).collect();
        let axes = b.ints(&axes);
        let narrow = b.op("Unsqueeze", &[&dx, &axes]);
        let like = arranged(b, &x, &term, &full);
        dx = b.broadcast_to(&narrow, &like);
    }
    // the ellipsis back to its place
    if let Some(place) = term.ellipsis.filter(|&place| place > 0 && lead > 0) {
        let first = distinct_before(&term, place);
        let order = (lead..lead + first).chain(0..lead).chain(lead + first..lead + distinct.len());
        let order: Vec<i64> = order.map(|axis| axis as i64).collect();
        dx = b.node("Transpose", &[&dx], |node| node.ints("perm", &order));
    }
    dx = on_diagonals(b, &dx, &x, &term, lead);
    b.declare_like(&dx, &x);
    Ok(dx)
}

/// How many letters stand for the first time before a place.
fn distinct_before(term: &Term, place: usize) -> usize {
    Term { letters: term.letters.iter().take(place).copied().collect(), ellipsis: None }.distinct().len()
}

fn contraction(b: &mut Builder<'_>, equation: &str, values: &[&str]) -> String {
    b.node("Einsum", values, |node| node.string("equation", equation))
}

/// A value with its axes in another order, diagonals taken, letters summed that are not asked for.
fn arranged(b: &mut Builder<'_>, value: &str, from: &Term, to: &Term) -> String {
    if from == to {
        return value.to_owned();
    }
    contraction(b, &format!("{}->{}", from.text(), to.text()), &[value])
}

/// A tensor with one axis for each letter, where x has some twice: put on the diagonal, zeros beside it.
fn on_diagonals(b: &mut Builder<'_>, dx: &str, x: &str, term: &Term, lead: usize) -> String {
    let mut dx = dx.to_owned();
    let place = |at: usize| if term.ellipsis.is_some_and(|dots| at >= dots) { at + lead } else { at };
    for (at, letter) in term.letters.iter().enumerate() {
        let Some(first) = term.letters[..at].iter().position(|other| other == letter) else { continue };
        // so far the axes of all letters before are there, and those behind that stand for the first time
        let (first, axis) = (place(first), place(at));
        let rank = b.rank(&dx).map_or(axis + 1, |rank| rank + 1);
        let mask = diagonal(b, x, first, axis, rank, &dx);
        let axis = b.ints(&[axis as i64]);
        let wide = b.op("Unsqueeze", &[&dx, &axis]);
        dx = b.op("Mul", &[&wide, &mask]);
    }
    dx
}

/// One where the places along two axes are the same, zero elsewhere; the other axes are 1.
fn diagonal(b: &mut Builder<'_>, x: &str, first: usize, second: usize, rank: usize, like: &str) -> String {
    let (zero, one) = (b.int(0), b.int(1));
    let size = b.size(x, second);
    let count = b.size_vector(&size);
    let scalar = b.ints(&[]);
    let count = b.op("Reshape", &[&count, &scalar]);
    let places = b.op("Range", &[&zero, &count, &one]);
    let along = |b: &mut Builder<'_>, axis: usize| {
        let mut dims = vec![1; rank];
        if let Some(dim) = dims.get_mut(axis) {
            *dim = -1;
        }
        let dims = b.ints(&dims);
        b.op("Reshape", &[&places, &dims])
    };
    let (rows, columns) = (along(b, first), along(b, second));
    let same = b.op("Equal", &[&rows, &columns]);
    b.cast_like(&same, like)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::model::node;
    use crate::rewrite::gradient::testing::{Case, numbers, tensor};

    const NAMES: [&str; 3] = ["a", "b", "c"];

    fn check(equation: &str, operands: &[&[usize]]) {
        let inputs = operands.iter().enumerate();
        let inputs: Vec<_> =
            inputs.map(|(i, dims)| (NAMES[i], tensor(dims, numbers(dims.iter().product(), i as u64 + 1)))).collect();
        let names: Vec<&str> = inputs.iter().map(|(name, _)| *name).collect();
        let sum = node("Einsum").inputs(names).outputs(["y"]).string("equation", equation).build();
        Case::new(inputs, vec![sum]).check();
    }

    #[test]
    fn products() {
        check("ij,jk->ik", &[&[2, 3], &[3, 2]]);
        check("bij, bjk -> bik", &[&[2, 1, 3], &[2, 3, 2]]);
        check("bhqd,bhkd->bhqk", &[&[1, 2, 3, 2], &[1, 2, 2, 2]]);
        check("i,j->ij", &[&[2], &[3]]);
        check("i,i->", &[&[3], &[3]]);
        check("ij,ij->j", &[&[2, 3], &[2, 3]]);
    }

    #[test]
    fn one_operand() {
        check("ij->ji", &[&[2, 3]]);
        check("ij->i", &[&[2, 3]]);
        check("ij->", &[&[2, 3]]);
        check("ijk->kj", &[&[2, 3, 2]]);
    }

    #[test]
    fn three_operands_and_letters_of_one() {
        check("ij,jk,kl->il", &[&[2, 3], &[3, 2], &[2, 2]]);
        check("ia,jb->ij", &[&[2, 3], &[2, 2]]);
        check("i,,i->i", &[&[2], &[], &[2]]);
    }

    #[test]
    fn implicit_results() {
        check("ij,jk", &[&[2, 3], &[3, 2]]);
        check("ba", &[&[2, 3]]);
        check("...ij,...jk", &[&[2, 2, 3], &[2, 3, 2]]);
    }

    #[test]
    fn diagonals() {
        check("ii->i", &[&[3, 3]]);
        check("ii->", &[&[3, 3]]);
        check("bii->bi", &[&[2, 3, 3]]);
        check("iij,j->i", &[&[2, 2, 3], &[3]]);
        check("iii->i", &[&[2, 2, 2]]);
        check("iji->j", &[&[2, 3, 2]]);
    }

    #[test]
    fn ellipses() {
        check("...ij,...jk->...ik", &[&[2, 2, 3], &[2, 3, 2]]);
        // the specification stretches axes of an ellipsis, but wants as many of them everywhere
        check("...ij,...jk->...ik", &[&[2, 1, 2, 3], &[1, 3, 3, 2]]);
        check("...ij,jk->...ik", &[&[2, 2, 3], &[3, 2]]);
        check("i...,i...->...i", &[&[2, 3], &[2, 1]]);
        check("i...j->j...", &[&[2, 3, 2]]);
        check("...,...->...", &[&[2, 3], &[1, 3]]);
        check("...ii->...i", &[&[2, 3, 3]]);
        check("i...i->...", &[&[3, 2, 3]]);
        check("...i->...", &[&[3]]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn any_equation(
            terms in prop::collection::vec(prop::collection::vec(0..4usize, 0..4), 1..4),
            keep in prop::collection::vec(any::<bool>(), 4),
            order in Just(vec![0usize, 1, 2, 3]).prop_shuffle(),
            sizes in prop::collection::vec(1..4usize, 4),
        ) {
            let letter = |at: &usize| char::from(b'a' + *at as u8);
            let left: Vec<String> = terms.iter().map(|term| term.iter().map(letter).collect()).collect();
            let result: String = order.iter()
                .filter(|at| keep[**at] && terms.iter().any(|term| term.contains(at))).map(letter).collect();
            let dims: Vec<Vec<usize>> = terms.iter().map(|term| term.iter().map(|at| sizes[*at]).collect()).collect();
            let dims: Vec<&[usize]> = dims.iter().map(Vec::as_slice).collect();
            check(&format!("{}->{result}", left.join(",")), &dims);
        }
    }
}
