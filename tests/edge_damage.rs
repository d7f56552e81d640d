//! Damaged and hostile models end in a sentence, never in a panic.
#![cfg(feature = "edge")]

use std::path::{Path, PathBuf};
use std::sync::Mutex;

use elonnx::data::{Tensor, Values};
use elonnx::edge::{Scored, Scorer, ScorerOptions};
use elonnx::model::Document;

fn models() -> Vec<PathBuf> {
    let heads = Path::new(env!("CARGO_MANIFEST_DIR")).join("onnx_models/heads");
    let mut models: Vec<PathBuf> = std::fs::read_dir(heads).unwrap().map(|entry| entry.unwrap().path()).collect();
    models.sort();
    models
}

/// Loads and, where that goes well, scores two samples. True where both went well.
fn survives(bytes: &[u8]) -> bool {
    let scored = || -> Result<(), Box<dyn std::error::Error>> {
        let document = Document::from_bytes(bytes.to_vec())?;
        let mut scorer = Scorer::new(&document, &ScorerOptions::default())?;
        let tensor = |dims: &[Option<usize>]| {
            let dims: Vec<usize> = dims.iter().enumerate().map(|(i, d)| d.unwrap_or([2, 16][i.min(1)])).collect();
            let count = dims.iter().product::<usize>().min(1 << 20);
            Tensor { dims, values: Values::F32(vec![0.25; count]) }
        };
        let inputs: Vec<Tensor> = scorer.inputs().iter().map(|spec| tensor(&spec.dims)).collect();
        scorer.score(&inputs, &mut Scored::default())?;
        Ok(())
    };
    match scored() {
        Ok(()) => true,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            false
        }
    }
}

/// tract panics on some of them, and that is caught: what the hook would print only hides what a test prints.
fn quietly<T>(run: impl FnOnce() -> T) -> T {
    static LAST: Mutex<String> = Mutex::new(String::new());
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|panic| *LAST.lock().unwrap() = panic.to_string()));
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(run));
    std::panic::set_hook(hook);
    outcome.unwrap_or_else(|_| panic!("a panic came through: {}", LAST.lock().unwrap()))
}

#[test]
fn truncated_and_damaged_models_give_errors() {
    quietly(|| {
        let mut seed = 7_u64;
        let mut next = |below: usize| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) as usize % below
        };
        let mut whole = 0;
        for path in models() {
            let bytes = std::fs::read(&path).unwrap();
            whole += usize::from(survives(&bytes));
            for _ in 0..12 {
                // one that ends between two fields behind the graph is whole
                survives(&bytes[..next(bytes.len())]);
            }
            for _ in 0..60 {
                let mut damaged = bytes.clone();
                for _ in 0..=next(3) {
                    damaged[next(bytes.len())] ^= 1 << next(8);
                }
                survives(&damaged);
            }
        }
        assert!(whole >= 7, "{whole}");
    });
}
