//! How many instructions a second run, with every check: `cargo run -p ptxsim --profile ci --example speed`.

use std::error::Error;
use std::time::Instant;

use ptxsim::{Launch, Memory, Module, Options, Order};

const ROWS: u32 = 64;
const COLUMNS: i32 = 50257;

fn main() -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let module = Module::parse(include_str!("../tests/kernels/softmax.ptx"))?;
    println!("{} kernels parsed in {:.1?}", module.kernels().len(), start.elapsed());
    let kernel = module.kernel("softmax").ok_or("no kernel")?;
    let numbers = (0..ROWS as i32 * COLUMNS).map(|i| (i.wrapping_mul(7919) % 1000) as f32 / 100.0);
    let numbers: Vec<u8> = numbers.flat_map(f32::to_le_bytes).collect();
    let unchecked = Options {
        races: false,
        uninitialized_shared: false,
        uninitialized_global: false,
        undefined_registers: false,
        ..Options::default()
    };
    let random = Options { order: Order::Random(1), ..Options::default() };
    for (name, options) in
        [("every check", Options::default()), ("random order", random), ("only bounds and alignment", unchecked)]
    {
        let mut memory = Memory::new();
        let x = memory.allocate(numbers.len())?;
        memory.write(x, &numbers)?;
        let y = memory.allocate(numbers.len())?;
        let parameters: [&[u8]; 3] = [&x.to_le_bytes(), &y.to_le_bytes(), &COLUMNS.to_le_bytes()];
        let launch =
            Launch { kernel, grid: [ROWS, 1, 1], block: [128, 1, 1], dynamic_shared: 0, parameters: &parameters };
        let start = Instant::now();
        let statistics = launch.run(&mut memory, &options)?;
        let millions = statistics.thread_instructions as f64 / 1e6;
        let rate = millions / start.elapsed().as_secs_f64();
        println!("{name}: {millions:.0} million thread-instructions, {rate:.0} million a second");
    }
    Ok(())
}
