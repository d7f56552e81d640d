//! The command line.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Parser, ValueEnum};
use elonnx::loss::Isa;

use crate::form::Form;

/// Times the row kernels beside reading and copying of the same buffers.
#[derive(Parser, Debug)]
#[command(name = "kernels")]
pub struct Options {
    /// Only forms whose name contains one of these words.
    pub filters: Vec<String>,
    /// Dimensions of the logits, as 512,50257; may be repeated. The default is the list in benches/README.md.
    #[arg(long = "shape", value_name = "N,C[,D..]")]
    pub shape: Vec<Dims>,
    /// Element types [default: all; f32 with --quick].
    #[arg(long, value_delimiter = ',')]
    pub dtype: Vec<DtypeName>,
    /// Numbers of threads.
    #[arg(long, value_delimiter = ',', default_values_t = default_threads())]
    pub threads: Vec<usize>,
    /// Instruction sets of this machine, as avx2,sse2 [default: the best], or "all".
    #[arg(long, value_delimiter = ',')]
    pub isa: Vec<String>,
    /// One buffer again and again instead of buffers that are together larger than four times the last-level cache.
    #[arg(long)]
    pub warm: bool,
    /// Both cold and warm.
    #[arg(long, conflicts_with = "warm")]
    pub both: bool,
    /// A first impression: f32 only, half a second for each dtype × threads.
    #[arg(long)]
    pub quick: bool,
    /// Seconds for each shape × dtype × threads [default: 3; 0.5 with --quick].
    #[arg(long)]
    pub seconds: Option<f64>,
    /// Writes every row, with all its samples, to this file.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Set by `cargo bench`; without it the values are checked and nothing is timed.
    #[arg(long, hide = true)]
    pub bench: bool,
}

/// Dimensions of logits.
#[derive(Clone, Debug)]
pub struct Dims(Vec<usize>);

impl FromStr for Dims {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let dims: Result<Vec<usize>, _> = text.split(',').map(|d| d.trim().parse()).collect();
        match dims {
            Ok(dims) if dims.len() >= 2 && dims.iter().all(|&d| d > 0) => Ok(Dims(dims)),
            _ => Err("wants two or more positive whole numbers with commas between them, as 512,50257".to_owned()),
        }
    }
}

/// An element type of the logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DtypeName {
    F32,
    F16,
    Bf16,
    F64,
}

/// One thread, and one for each core.
fn default_threads() -> Vec<usize> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    if cores == 1 { vec![1] } else { vec![1, cores] }
}

impl Options {
    pub fn shapes(&self) -> Vec<Vec<usize>> {
        if !self.shape.is_empty() {
            return self.shape.iter().map(|dims| dims.0.clone()).collect();
        }
        [&[512, 50257][..], &[4096, 1000], &[8, 21, 512, 512], &[65536, 10], &[32768, 64], &[1, 262_144], &[64, 10]]
            .into_iter()
            .map(<[usize]>::to_vec)
            .collect()
    }

    pub fn dtypes(&self) -> Vec<DtypeName> {
        match (self.dtype.is_empty(), self.quick) {
            (false, _) => self.dtype.clone(),
            (true, true) => vec![DtypeName::F32],
            (true, false) => vec![DtypeName::F32, DtypeName::F16, DtypeName::Bf16, DtypeName::F64],
        }
    }

    /// # Errors
    /// A name that is no instruction set of this machine.
    pub fn isas(&self) -> Result<Vec<Isa>, String> {
        if self.isa.is_empty() {
            return Ok(vec![Isa::detect()]);
        }
        let plain = |name: &str| name.to_lowercase().replace('-', "");
        let available = Isa::available();
        let mut chosen = Vec::new();
        for name in &self.isa {
            if name == "all" {
                chosen.extend(&available);
            } else if let Some(&isa) = available.iter().find(|isa| plain(&isa.to_string()) == plain(name)) {
                chosen.push(isa);
            } else {
                let names: Vec<_> = available.iter().map(ToString::to_string).collect();
                return Err(format!("--isa {name}: this machine has {}; choose of these", names.join(", ")));
            }
        }
        Ok(chosen)
    }

    /// False for cold, true for warm.
    pub fn temperatures(&self) -> Vec<bool> {
        if self.both { vec![false, true] } else { vec![self.warm] }
    }

    pub fn forms(&self, rows: usize) -> Vec<Form> {
        Form::all(rows)
            .filter(|form| {
                self.filters.is_empty() || self.filters.iter().any(|word| form.name().contains(word.as_str()))
            })
            .collect()
    }

    pub fn seconds(&self) -> f64 {
        self.seconds.unwrap_or(if self.quick { 0.5 } else { 3.0 })
    }
}
