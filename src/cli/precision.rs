//! The option `--precision`.

use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::rewrite::Precision;

/// Takes the name of a precision.
pub fn parser() -> impl TypedValueParser<Value = Precision> {
    PossibleValuesParser::new(Precision::ALL.map(Precision::name)).try_map(|name| name.parse::<Precision>())
}
