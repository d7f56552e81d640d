//! The attributes of a node as parameters of the loss.

use std::ffi::CStr;

use super::abi::{Failure, NodeInfo};
use crate::loss::{EncouragingLoss, ParameterError};

/// The attributes of one node.
pub(crate) trait Attributes {
    fn has(&self, name: &CStr) -> bool;
    fn float(&self, name: &CStr) -> Option<f32>;
    fn int(&self, name: &CStr) -> Option<i64>;
    fn text(&self, name: &CStr) -> Option<String>;
    fn ints(&self, name: &CStr) -> Option<Vec<i64>>;
}

impl Attributes for NodeInfo {
    fn has(&self, name: &CStr) -> bool {
        NodeInfo::has(self, name)
    }

    fn float(&self, name: &CStr) -> Option<f32> {
        NodeInfo::float(self, name).ok()
    }

    fn int(&self, name: &CStr) -> Option<i64> {
        NodeInfo::int(self, name).ok()
    }

    fn text(&self, name: &CStr) -> Option<String> {
        NodeInfo::text(self, name).ok()
    }

    fn ints(&self, name: &CStr) -> Option<Vec<i64>> {
        NodeInfo::ints(self, name).ok()
    }
}

/// Reads the attributes that the operators share (design §3); an absent one has its default.
///
/// Float attributes may be given as ints (`log_end = 1` in Python makes one).
///
/// # Errors
/// An attribute of the wrong type, by name and type wanted, or the sentence of the [`ParameterError`].
pub(crate) fn read(attributes: &impl Attributes) -> Result<EncouragingLoss, Failure> {
    let defaults = EncouragingLoss::default();
    let mut loss = EncouragingLoss::builder()
        .log_end(real(attributes, c"log_end", defaults.log_end())?)
        .power(real(attributes, c"power", defaults.power())?)
        .bonus_weight(real(attributes, c"bonus_weight", defaults.bonus_weight())?)
        .label_smoothing(real(attributes, c"label_smoothing", defaults.label_smoothing())?)
        .ignore_index(ignore_index(attributes)?);
    if let Some(bonus) = text(attributes, c"bonus", "log, power or cosine")? {
        loss = loss.bonus(bonus.parse().map_err(range)?);
    }
    if let Some(reduction) = text(attributes, c"reduction", "mean, sum or none")? {
        loss = loss.reduction(reduction.parse().map_err(range)?);
    }
    loss.build().map_err(range)
}

pub(crate) fn real(attributes: &impl Attributes, name: &CStr, default: f32) -> Result<f32, Failure> {
    if let Some(value) = attributes.float(name) {
        return Ok(value);
    }
    if let Some(value) = attributes.int(name) {
        return Ok(value as f32);
    }
    if attributes.has(name) { Err(wrong_type(name, "a float")) } else { Ok(default) }
}

fn ignore_index(attributes: &impl Attributes) -> Result<Option<i64>, Failure> {
    let name = c"ignore_index";
    match attributes.int(name) {
        Some(value) => Ok(Some(value)),
        None if attributes.has(name) => Err(wrong_type(name, "an int")),
        None => Ok(None),
    }
}

/// An int, or its default.
pub(crate) fn integer(attributes: &impl Attributes, name: &CStr, default: i64) -> Result<i64, Failure> {
    match attributes.int(name) {
        Some(value) => Ok(value),
        None if attributes.has(name) => Err(wrong_type(name, "an int")),
        None => Ok(default),
    }
}

/// A list of so many ints, or its default.
pub(crate) fn integers<const N: usize>(
    attributes: &impl Attributes,
    name: &CStr,
    default: [i64; N],
) -> Result<[i64; N], Failure> {
    match attributes.ints(name) {
        Some(values) => <[i64; N]>::try_from(values).map_err(|values| {
            // hosts give an empty list for numbers of another type
            let (name, found) = (name.to_string_lossy(), values.len());
            Failure::invalid(format!("attribute {name} must be a list of {N} ints, but holds {found} of them"))
        }),
        None if attributes.has(name) => Err(wrong_type(name, &format!("a list of {N} ints"))),
        None => Ok(default),
    }
}

fn text(attributes: &impl Attributes, name: &CStr, values: &str) -> Result<Option<String>, Failure> {
    match attributes.text(name) {
        Some(value) => Ok(Some(value)),
        None if attributes.has(name) => Err(wrong_type(name, &format!("a string ({values})"))),
        None => Ok(None),
    }
}

fn wrong_type(name: &CStr, wanted: &str) -> Failure {
    Failure::invalid(format!("attribute {} has the wrong type: it must be {wanted}", name.to_string_lossy()))
}

fn range(error: ParameterError) -> Failure {
    Failure::invalid(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::loss::{Bonus, Reduction};

    enum Value {
        Float(f32),
        Int(i64),
        Text(&'static str),
        Floats,
    }

    struct Node(Vec<(&'static CStr, Value)>);

    impl Node {
        fn get(&self, name: &CStr) -> Option<&Value> {
            self.0.iter().find(|(n, _)| *n == name).map(|(_, v)| v)
        }
    }

    impl Attributes for Node {
        fn has(&self, name: &CStr) -> bool {
            self.get(name).is_some()
        }
        fn float(&self, name: &CStr) -> Option<f32> {
            if let Some(Value::Float(v)) = self.get(name) { Some(*v) } else { None }
        }
        fn int(&self, name: &CStr) -> Option<i64> {
            if let Some(Value::Int(v)) = self.get(name) { Some(*v) } else { None }
        }
        fn text(&self, name: &CStr) -> Option<String> {
            if let Some(Value::Text(v)) = self.get(name) { Some((*v).to_owned()) } else { None }
        }
        fn ints(&self, _: &CStr) -> Option<Vec<i64>> {
            None
        }
    }

    fn error(attributes: Vec<(&'static CStr, Value)>) -> String {
        match read(&Node(attributes)) {
            Err(Failure::Invalid(sentence)) => sentence,
            other => panic!("expected an invalid argument, got {other:?}"),
        }
    }

    #[test]
    fn a_node_without_attributes_has_the_defaults() {
        assert_eq!(read(&Node(vec![])).unwrap(), EncouragingLoss::default());
    }

    #[test]
    fn every_attribute_is_read() {
        let loss = read(&Node(vec![
            (c"log_end", Value::Float(0.5)),
            (c"bonus", Value::Text("power")),
            (c"power", Value::Float(3.0)),
            (c"bonus_weight", Value::Float(0.25)),
            (c"label_smoothing", Value::Float(0.1)),
            (c"reduction", Value::Text("none")),
            (c"ignore_index", Value::Int(-100)),
        ]))
        .unwrap();
        let wanted = EncouragingLoss::builder()
            .log_end(0.5)
            .bonus(Bonus::Power)
            .power(3.0)
            .bonus_weight(0.25)
            .label_smoothing(0.1)
            .reduction(Reduction::None)
            .ignore_index(Some(-100));
        assert_eq!(loss, wanted.build().unwrap());
    }

    #[test]
    fn an_int_will_do_for_a_float() {
        assert_eq!(read(&Node(vec![(c"log_end", Value::Int(1))])).unwrap().log_end(), 1.0);
    }

    #[test]
    fn wrong_types_are_named() {
        assert_eq!(
            error(vec![(c"log_end", Value::Text("0.75"))]),
            "attribute log_end has the wrong type: it must be a float"
        );
        assert_eq!(error(vec![(c"power", Value::Floats)]), "attribute power has the wrong type: it must be a float");
        assert_eq!(
            error(vec![(c"ignore_index", Value::Float(3.0))]),
            "attribute ignore_index has the wrong type: it must be an int"
        );
        assert_eq!(
            error(vec![(c"reduction", Value::Int(1))]),
            "attribute reduction has the wrong type: it must be a string (mean, sum or none)"
        );
    }

    #[test]
    fn ranges_have_the_sentence_of_the_parameter() {
        assert!(error(vec![(c"log_end", Value::Float(0.0))]).starts_with("log_end must be above 0 and at most 1"));
        assert!(error(vec![(c"label_smoothing", Value::Int(2))]).starts_with("label_smoothing must be"));
        assert_eq!(error(vec![(c"bonus", Value::Text("sine"))]), "bonus must be log, power or cosine, not 'sine'");
        assert_eq!(error(vec![(c"reduction", Value::Text("avg"))]), "reduction must be mean, sum or none, not 'avg'");
    }
}
