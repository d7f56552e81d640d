//! Scores of logits ask for no memory once everything is warm.
#![cfg(feature = "edge")]

#[path = "../benches/edge/allocations.rs"]
mod allocations;

use std::path::Path;

use elonnx::data::{Tensor, Values};
use elonnx::edge::{Evidence, Score, Scored, Scorer, ScorerOptions};
use elonnx::model::Document;

#[test]
fn scores_ask_for_no_memory() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("onnx_models/heads/logits.onnx");
    let options = ScorerOptions { scores: Score::ALL[..7].to_vec(), top_k: 3, ..ScorerOptions::default() };
    let mut scorer = Scorer::new(&Document::open(path).unwrap(), &options).unwrap();
    let inputs = [Tensor { dims: vec![8, 16], values: Values::F32((0..128).map(|i| i as f32 * 0.1).collect()) }];
    let (mut evidence, mut scored) = (Evidence::default(), Scored::default());
    scorer.evidence(&inputs, &mut evidence).unwrap();
    scorer.score(&inputs, &mut scored).unwrap();
    let alone = allocations::during(|| scorer.score_evidence(&evidence, &mut scored)).unwrap();
    assert_eq!(alone, 0);
    // what is left is the model's own
    let model = allocations::during(|| scorer.evidence(&inputs, &mut evidence)).unwrap();
    let whole = allocations::during(|| scorer.score(&inputs, &mut scored)).unwrap();
    assert_eq!(whole, model);
    // wider logits, for the parts that select
    let wide = Evidence { rows: 2, classes: 1000, logits: (0..2000).map(|i| (i as f32).sin()).collect(), ..evidence };
    scorer.score_evidence(&wide, &mut scored).unwrap();
    assert_eq!(allocations::during(|| scorer.score_evidence(&wide, &mut scored)).unwrap(), 0);
}
