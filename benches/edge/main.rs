//! Scoring at the edge: `cargo bench --bench edge -- [OPTIONS] [MODEL.onnx …]`.
//!
//! For each model: tract's time for a sample by how many go through at once, the share of the scores in it, one thread
//! against more, ONNX Runtime beside it where there is one (feature `runtime`), and how often memory is asked for once
//! everything is warm. What is compared takes turns, so that a disturbance meets all of it, and minima are shown.
//! `cargo test --all-targets` runs everything once on a small model.

mod allocations;
mod measure;
mod samples;

use std::error::Error;
use std::path::{Path, PathBuf};

use clap::Parser;
use elonnx::edge::{EngineKind, Evidence, Score, Scored, Scorer, ScorerOptions, ScorerPool};
use elonnx::model::Document;

use measure::{minima, per_sample};

/// Times scoring with tract.
#[derive(Parser, Debug)]
#[command(name = "edge")]
struct Options {
    /// Models; the default is those of ../shared/models that benches/README.md has, or a small one where they are not
    /// there.
    models: Vec<PathBuf>,
    /// Threads beside one.
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// Numbers of samples that go through the model at once.
    #[arg(long, value_delimiter = ',', default_values_t = [1, 4, 16, 64, 256])]
    batches: Vec<usize>,
    /// Samples of a batch for the comparison of threads.
    #[arg(long, default_value_t = 256)]
    samples: usize,
    /// Seconds for each comparison.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Set by `cargo bench`; without it everything runs once.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut options = Options::parse();
    let small = Path::new(env!("CARGO_MANIFEST_DIR")).join("onnx_models/heads/logits.onnx");
    if !options.bench {
        options.seconds = 0.0;
        options.samples = 8;
        options.models = vec![small.clone()];
    }
    if options.models.is_empty() {
        let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/models");
        let names =
            ["mnist_cntk_opset8.onnx", "exports_models/mlp784.ts.op17.onnx", "exports_models/lenet.ts.op17.onnx"];
        options.models = names.iter().map(|name| shared.join(name)).collect();
        options.models.push(shared.join("efficientnet_lite0.ts.op17.onnx"));
        options.models.retain(|path| path.is_file());
    }
    if options.models.is_empty() {
        options.models.push(small);
    }
    for path in &options.models {
        model(path, &options)?;
    }
    Ok(())
}

fn model(path: &Path, options: &Options) -> Result<(), Box<dyn Error>> {
    let document = Document::open(path)?;
    let scores = ScorerOptions { scores: Score::ALL[..7].to_vec(), top_k: 5, ..ScorerOptions::default() };
    let tract = Scorer::new(&document, &scores)?;
    println!("\n{}", path.display());
    let free = if tract.model().free_batch { "free" } else { "fixed" };
    println!("  {} classes, batch {free}, {} samples at once", tract.classes(), tract.samples_at_once());
    batches(&tract, options)?;
    share(&document, options)?;
    threads(&document, options)?;
    engines(&document, options)?;
    allocated(&document)
}

/// Time by how many samples go through at once.
fn batches(scorer: &Scorer, options: &Options) -> Result<(), Box<dyn Error>> {
    for &rows in &options.batches {
        let mut engine = scorer.another()?;
        engine.set_samples_at_once(rows);
        let inputs = samples::of(scorer.inputs(), rows);
        let mut evidence = Evidence::default();
        let [time] = minima(options.seconds / 2.0, [&mut || engine.evidence(&inputs, &mut evidence)])?;
        println!("  model, {rows:4} at once: {}", per_sample(time, rows));
    }
    Ok(())
}

/// The scores beside the model.
fn share(document: &Document, options: &Options) -> Result<(), Box<dyn Error>> {
    let default = ScorerOptions::default();
    let all = ScorerOptions { scores: Score::ALL[..7].to_vec(), top_k: 5, ..ScorerOptions::default() };
    let mut by_default = Scorer::new(document, &default)?;
    let mut with_all = Scorer::new(document, &all)?;
    let mut engine = by_default.another()?;
    for rows in [1, by_default.samples_at_once()] {
        let inputs = samples::of(by_default.inputs(), rows);
        let mut evidence = Evidence::default();
        engine.evidence(&inputs, &mut evidence)?;
        let known = evidence.clone();
        let (mut few, mut many) = (Scored::default(), Scored::default());
        let [model, few, many] = minima(
            options.seconds,
            [
                &mut || engine.evidence(&inputs, &mut evidence),
                &mut || by_default.score_evidence(&known, &mut few),
                &mut || with_all.score_evidence(&known, &mut many),
            ],
        )?;
        let names = by_default.scores().iter().map(|s| s.as_str()).collect::<Vec<_>>().join(", ");
        println!("  {rows} at once: model {}", per_sample(model, rows));
        println!("    {names}: {}, {:.3} % of it", per_sample(few, rows), 100.0 * few / model);
        println!("    all seven of logits, top 5: {}, {:.3} % of it", per_sample(many, rows), 100.0 * many / model);
    }
    Ok(())
}

/// One thread against more.
fn threads(document: &Document, options: &Options) -> Result<(), Box<dyn Error>> {
    let mut one = Scorer::new(document, &ScorerOptions::default())?;
    let mut pool = ScorerPool::new(one.another()?, options.threads)?;
    let inputs = samples::of(one.inputs(), options.samples);
    let (mut alone, mut together) = (Scored::default(), Scored::default());
    let [single, many] = minima(
        2.0 * options.seconds,
        [&mut || one.score(&inputs, &mut alone), &mut || pool.score(&inputs, &mut together)],
    )?;
    let rows = options.samples;
    println!("  batch of {rows}: 1 thread {}, {:.0}/s", per_sample(single, rows), rows as f64 / single);
    println!(
        "    {} threads {}, {:.0}/s, {:.2} times one",
        pool.threads(),
        per_sample(many, rows),
        rows as f64 / many,
        single / many
    );
    Ok(())
}

/// ONNX Runtime beside tract, on one thread.
fn engines(document: &Document, options: &Options) -> Result<(), Box<dyn Error>> {
    let of = |engine| Scorer::new(document, &ScorerOptions { engine, ..ScorerOptions::default() });
    let mut tract = of(EngineKind::Tract)?;
    let mut ort = match of(EngineKind::OnnxRuntime) {
        Ok(ort) => ort,
        Err(error) => {
            println!("  no ONNX Runtime: {error}");
            return Ok(());
        }
    };
    for rows in [1, tract.samples_at_once()] {
        let inputs = samples::of(tract.inputs(), rows);
        let (mut ours, mut theirs) = (Evidence::default(), Evidence::default());
        let [by_tract, by_ort] = minima(
            options.seconds,
            [&mut || tract.evidence(&inputs, &mut ours), &mut || ort.evidence(&inputs, &mut theirs)],
        )?;
        println!(
            "  {rows} at once, 1 thread: tract {}, ONNX Runtime {}, {:.2} times",
            per_sample(by_tract, rows),
            per_sample(by_ort, rows),
            by_tract / by_ort
        );
    }
    Ok(())
}

/// How often memory is asked for, once everything has been there.
fn allocated(document: &Document) -> Result<(), Box<dyn Error>> {
    let options = ScorerOptions { scores: Score::ALL[..7].to_vec(), top_k: 5, ..ScorerOptions::default() };
    let mut scorer = Scorer::new(document, &options)?;
    let inputs = samples::of(scorer.inputs(), 1);
    let (mut evidence, mut scored) = (Evidence::default(), Scored::default());
    for _ in 0..2 {
        scorer.evidence(&inputs, &mut evidence)?;
        scorer.score(&inputs, &mut scored)?;
        scorer.score_evidence(&evidence, &mut scored)?;
    }
    let model = allocations::during(|| scorer.evidence(&inputs, &mut evidence))?;
    let scores = allocations::during(|| scorer.score_evidence(&evidence, &mut scored))?;
    let whole = allocations::during(|| scorer.score(&inputs, &mut scored))?;
    println!("  allocations per call of one sample, warm: model {model}, scores {scores}, both {whole}");
    Ok(())
}
