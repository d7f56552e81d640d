//! Results as Markdown and as JSON.

use elonnx::loss::Isa;
use serde::Serialize;

/// Which limit a row is held against.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Limit {
    Read,
    Copy,
}

/// One row: a limit, or a form beside its limit.
#[derive(Clone, Debug, Serialize)]
pub struct Record {
    pub shape: Vec<usize>,
    pub dtype: &'static str,
    pub isa: String,
    pub threads: usize,
    pub warm: bool,
    pub name: String,
    pub limit: Limit,
    /// The logits read once, and written once where there is a gradient.
    pub bytes: usize,
    pub elements: usize,
    /// Seconds per call, one entry per sample.
    pub seconds: Vec<f64>,
    /// Least time over that of the limit; none for a limit itself.
    pub times_limit: Option<f64>,
    /// The same with the medians.
    pub times_limit_median: Option<f64>,
}

impl Record {
    pub fn min(&self) -> f64 {
        self.seconds.iter().copied().fold(f64::INFINITY, f64::min)
    }

    pub fn median(&self) -> f64 {
        let mut sorted = self.seconds.clone();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    }
}

/// The rows of one shape, instruction set and temperature.
pub fn print(dims: &[usize], isa: Isa, warm: bool, rows: &[Record]) {
    println!("\n{dims:?}, {}, {isa}\n", if warm { "warm" } else { "cold" });
    println!("| dtype, threads | form                    |   min µs | median µs |  GB/s | Gel/s | × limit | median |");
    println!("| -------------- | ----------------------- | -------: | --------: | ----: | ----: | ------: | -----: |");
    for row in rows {
        let (min, ratio) = (row.min(), |ratio: Option<f64>| ratio.map_or("-".to_owned(), |r| format!("{r:.2}")));
        // which way of reading or copying was the fastest stands in the JSON file
        let name = row.name.split(':').next().unwrap_or_default();
        let name = if row.times_limit.is_none() { format!("limit: {name}") } else { name.to_owned() };
        println!(
            "| {:<14} | {name:<23} | {:>8} | {:>9} | {:>5.1} | {:>5.2} | {:>7} | {:>6} |",
            format!("{}, {}", row.dtype, row.threads),
            microseconds(min),
            microseconds(row.median()),
            row.bytes as f64 / min / 1e9,
            row.elements as f64 / min / 1e9,
            ratio(row.times_limit),
            ratio(row.times_limit_median),
        );
    }
}

/// Four digits, where there are as many.
fn microseconds(seconds: f64) -> String {
    let us = seconds * 1e6;
    let decimals = if us >= 1000.0 { 0 } else { 2 - us.max(1.0).log10().floor() as usize + 1 };
    format!("{us:.decimals$}")
}
