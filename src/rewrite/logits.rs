//! stub
use crate::model::*;
use super::NearMiss;
pub(crate) struct LogitsCandidate { pub value: String, pub through: Vec<String>, pub certain: bool, pub class_axis: usize }
impl LogitsCandidate { pub fn explain(&self) -> String { String::new() } }
pub(crate) struct Head;
impl Head { pub fn name(&self) -> &'static str { "" } }
pub(crate) fn find_logits(_d: &Document, _i: &GraphIndex, _s: &Shapes) -> (Vec<LogitsCandidate>, Vec<NearMiss>) { (vec![], vec![]) }
pub(crate) fn head_before_loss(_i: &GraphIndex, _s: &Shapes, _l: &str) -> Option<Head> { None }
