//! The command line.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Parser, ValueEnum};

/// Times the operators on the first GPU, beside reading and copying of the same buffers.
#[derive(Parser, Debug)]
#[command(name = "cuda")]
pub struct Options {
    /// Rows and classes, as 8192,50257; may be repeated. The default is the list in benches/README.md.
    #[arg(long = "shape", value_name = "ROWS,CLASSES")]
    pub shapes: Vec<Dims>,
    /// Types of the logits.
    #[arg(long, value_delimiter = ',', default_values_t = [DtypeName::Bf16, DtypeName::F32])]
    pub dtype: Vec<DtypeName>,
    /// Seconds for each measurement, at least.
    #[arg(long, default_value_t = 1.0)]
    pub seconds: f64,
    /// Writes every measurement, with all its samples, to this file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// One small case on the stand-in of libcuda, to test this program: its times mean nothing.
    #[arg(long)]
    pub standin: bool,
    /// Set by `cargo bench`.
    #[arg(long, hide = true)]
    pub bench: bool,
}

/// Rows and classes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dims {
    pub rows: usize,
    pub classes: usize,
}

impl FromStr for Dims {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let numbers: Result<Vec<usize>, _> = text.split(',').map(|number| number.trim().parse()).collect();
        match numbers.as_deref() {
            Ok(&[rows, classes]) if rows > 0 && classes > 1 => Ok(Dims { rows, classes }),
            _ => {
                Err("wants rows and classes with a comma between them, at least two classes, as 8192,50257".to_owned())
            }
        }
    }
}

/// A type of logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DtypeName {
    F32,
    F16,
    Bf16,
}

impl std::fmt::Display for DtypeName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            DtypeName::F32 => "f32",
            DtypeName::F16 => "f16",
            DtypeName::Bf16 => "bf16",
        })
    }
}

impl Options {
    pub fn shapes(&self) -> Vec<Dims> {
        if self.standin {
            return vec![Dims { rows: 33, classes: 250 }];
        }
        if !self.shapes.is_empty() {
            return self.shapes.clone();
        }
        [(32_768, 256), (32_768, 1024), (16_384, 4096), (8192, 32_000), (8192, 50_257), (8192, 50_256), (8192, 128_256)]
            .map(|(rows, classes)| Dims { rows, classes })
            .to_vec()
    }
}
