//! The row kernels beside the limits of the memory: `cargo bench --bench kernels -- [OPTIONS]`.
//!
//! For every shape × dtype × threads the forms take turns with plain reading (the limit of the forward pass) and plain
//! copying (that of the passes that write a gradient) on the same buffers, at the same thread count, so that a
//! disturbance or a change of the clock meets all of them. That is why this has a main of its own: criterion and divan
//! time one function after the other, minutes apart, each on its own, and know no ratio between them.
//!
//! Before anything is timed, every form is checked against float64 (`check.rs`). `cargo test --all-targets` runs the
//! checks only.

mod buffers;
mod cache;
mod check;
mod copy;
mod direct;
mod dtype;
mod form;
mod measure;
mod options;
mod read;
mod table;

use std::error::Error;

use clap::Parser;
use elonnx::loss::Shape;
use half::{bf16, f16};

use buffers::Buffers;
use dtype::Dtype;
use measure::Team;
use options::{DtypeName, Options};
use table::Record;

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::parse();
    direct::check()?;
    if !options.bench {
        return check_only();
    }
    let cache = cache::last_level();
    let mut records = Vec::new();
    for dims in options.shapes() {
        let shape = Shape::new(&dims)?;
        for isa in options.isas()? {
            for warm in options.temperatures() {
                let mut rows = Vec::new();
                for dtype in options.dtypes() {
                    rows.extend(match dtype {
                        DtypeName::F32 => measure::measure::<f32>(&options, &dims, shape, isa, warm, cache)?,
                        DtypeName::F16 => measure::measure::<f16>(&options, &dims, shape, isa, warm, cache)?,
                        DtypeName::Bf16 => measure::measure::<bf16>(&options, &dims, shape, isa, warm, cache)?,
                        DtypeName::F64 => measure::measure::<f64>(&options, &dims, shape, isa, warm, cache)?,
                    });
                }
                table::print(&dims, isa, warm, &rows);
                records.extend(rows);
            }
        }
    }
    if let Some(path) = &options.json {
        save(path, &records)?;
    }
    Ok(())
}

fn save(path: &std::path::Path, records: &[Record]) -> Result<(), Box<dyn Error>> {
    let text = serde_json::to_string_pretty(records)?;
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()).into())
}

/// All forms of all dtypes and instruction sets on small shapes, without timing.
fn check_only() -> Result<(), Box<dyn Error>> {
    fn small<T: Dtype>(team: &Team) -> Result<(), Box<dyn Error>> {
        for dims in [&[64, 10][..], &[40, 1000], &[2, 21, 16, 16], &[1, 70_001]] {
            let mut buffers = Buffers::<T>::new(Shape::new(dims)?, 1);
            for isa in elonnx::loss::Isa::available() {
                check::forms(&mut buffers, isa, team)?;
            }
        }
        Ok(())
    }
    for threads in [1, 2] {
        let team = Team::new(threads)?;
        small::<f32>(&team)?;
        small::<f16>(&team)?;
        small::<bf16>(&team)?;
        small::<f64>(&team)?;
    }
    println!("every form agrees with float64; nothing was timed (cargo bench does that)");
    Ok(())
}
