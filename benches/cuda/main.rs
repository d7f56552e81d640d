//! The operators on a GPU beside the limits of its memory: `cargo bench --bench cuda -- [OPTIONS]`.
//!
//! Everything goes through the plugin, called as ONNX Runtime calls it, so that the library's own plans and launches are
//! what is timed. For every shape × type the passes take turns with reading (the limit of the forward pass) and copying
//! (that of the passes that write a gradient) on the same buffers, so that a change of the clock meets all of them. The
//! buffers take turns and are together larger than four times the L2 cache: nothing finds its input there.
//!
//! Before anything is timed, every pass is checked against float64 (`check.rs`). Without a GPU nothing is done;
//! `--standin` runs a small case on the stand-in of libcuda, which tests this program.

mod buffers;
mod check;
mod device;
#[path = "../kernels/direct.rs"]
mod direct;
#[path = "../kernels/dtype.rs"]
mod dtype;
#[path = "../../tests/cuda/host/mod.rs"]
#[allow(dead_code, unused_imports, reason = "tests ask it for more")]
mod host;
mod limits;
mod measure;
mod operators;
mod options;
mod standin;
mod table;

use std::path::Path;

use clap::Parser;
use half::{bf16, f16};

use buffers::TooSmall;
use device::{Device, Outcome};
use options::{Dims, DtypeName, Options};
use table::Record;

fn main() -> Outcome<()> {
    let options = Options::parse();
    direct::check()?;
    if options.standin {
        standin::load()?;
    }
    let Some(device) = Device::first()? else {
        println!("no GPU, skipped");
        return Ok(());
    };
    if !options.bench && !options.standin {
        println!("nothing to do: cargo bench times the operators");
        return Ok(());
    }
    let facts = &device.facts;
    println!("{}, {} multiprocessors, L2 cache of {} MiB", facts.name, facts.multiprocessors, facts.l2_bytes >> 20);
    if options.standin {
        println!("the stand-in of libcuda: times mean nothing");
    }
    let mut records = Vec::new();
    for dims in options.shapes() {
        let mut rows = Vec::new();
        for &dtype in &options.dtype {
            match measure(&options, &device, dims, dtype) {
                Ok(found) => rows.extend(found),
                Err(error) if error.is::<TooSmall>() => eprintln!("[{}, {}] {dtype}: {error}", dims.rows, dims.classes),
                Err(error) => return Err(format!("[{}, {}] {dtype}: {error}", dims.rows, dims.classes).into()),
            }
        }
        table::print(dims, &rows);
        records.extend(rows);
    }
    if let Some(path) = &options.json {
        save(path, &records)?;
    }
    Ok(())
}

fn measure(options: &Options, device: &Device, dims: Dims, dtype: DtypeName) -> Outcome<Vec<Record>> {
    match dtype {
        DtypeName::F32 => measure::measure::<f32>(options, device, dims),
        DtypeName::F16 => measure::measure::<f16>(options, device, dims),
        DtypeName::Bf16 => measure::measure::<bf16>(options, device, dims),
    }
}

fn save(path: &Path, records: &[Record]) -> Outcome<()> {
    let text = serde_json::to_string_pretty(records)?;
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()).into())
}
