//! Results as Markdown and as JSON.

use serde::Serialize;

use crate::options::Dims;

/// Which limit a measurement is held against.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Limit {
    Read,
    Copy,
}

/// How the calls got to the GPU.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum How {
    /// As one graph, captured beforehand.
    Graph,
    /// One by one through the plugin, as ONNX Runtime without CUDA graphs makes them.
    Calls,
}

/// One row: a limit, or a pass of the operators beside its limit.
#[derive(Clone, Debug, Serialize)]
pub struct Record {
    pub shape: [usize; 2],
    pub dtype: &'static str,
    pub name: String,
    pub limit: Limit,
    pub how: How,
    /// The logits read once, and a gradient written once where there is one.
    pub bytes: usize,
    /// Seconds per call, one entry per sample.
    pub seconds: Vec<f64>,
    /// Median time of the limit over that of this; none for a limit itself.
    pub share: Option<f64>,
}

impl Record {
    pub fn median(&self) -> f64 {
        let mut sorted = self.seconds.clone();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    }
}

/// The rows of one shape.
pub fn print(dims: Dims, rows: &[Record]) {
    println!("\n[{}, {}]\n", dims.rows, dims.classes);
    println!("| type | pass                | median µs | GB/s  | of the limit | called one by one, µs |");
    println!("| ---- | ------------------- | --------: | ----: | -----------: | --------------------: |");
    for row in rows.iter().filter(|row| row.share.is_none() || row.how == How::Graph || !has_graph(rows, row)) {
        // which way of reading or copying was the fastest stands in the JSON file
        let name = row.name.split(':').next().unwrap_or_default();
        let name = if row.share.is_none() { format!("limit: {name}") } else { name.to_owned() };
        let called = rows.iter().find(|other| same(other, row) && other.how == How::Calls && row.share.is_some());
        println!(
            "| {:<4} | {name:<19} | {:>9} | {:>5.0} | {:>12} | {:>21} |",
            row.dtype,
            microseconds(row.median()),
            row.bytes as f64 / row.median() / 1e9,
            row.share.map_or("-".to_owned(), |share| format!("{:.1} %", 100.0 * share)),
            called.map_or("-".to_owned(), |called| microseconds(called.median())),
        );
    }
}

fn has_graph(rows: &[Record], row: &Record) -> bool {
    rows.iter().any(|other| same(other, row) && other.how == How::Graph)
}

fn same(a: &Record, b: &Record) -> bool {
    a.name == b.name && a.dtype == b.dtype
}

/// Four digits, where there are as many.
fn microseconds(seconds: f64) -> String {
    let us = seconds * 1e6;
    let decimals = if us >= 1000.0 { 0 } else { 2 - us.max(1.0).log10().floor() as usize + 1 };
    format!("{us:.decimals$}")
}
