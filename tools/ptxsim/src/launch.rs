//! Launching a kernel.

use crate::execute::{Block, Environment, SharedMemory};
use crate::fault::{Fault, FaultKind};
use crate::memory::Memory;
use crate::module::Kernel;
use crate::program::Constant;
use crate::statistics::Statistics;

/// The most threads in a block, on every GPU.
const MOST_THREADS: u32 = 1024;

/// The most blocks along each axis of a grid.
const MOST_BLOCKS: [u32; 3] = [i32::MAX as u32, 65535, 65535];

/// The most threads along each axis of a block.
const MOST_THREADS_OF_AXIS: [u32; 3] = [1024, 1024, 64];

/// Bytes of static shared memory that a kernel can declare, on every GPU.
const MOST_STATIC_SHARED: u64 = 48 << 10;

/// Blocks up to which a random order is any of all orders; of more, it is only which comes first.
const MOST_SHUFFLED: u64 = 1 << 24;

/// In which order threads run. What a kernel computes must not depend on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Blocks, warps and lanes from the first to the last.
    #[default]
    Ascending,
    /// From the last to the first.
    Descending,
    /// By chance; the same for the same number. Lanes of a warp run apart now and then.
    Random(u64),
}

/// What is checked, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// In which order threads run.
    pub order: Order,
    /// Places by which approximate functions (`ex2.approx`, `rcp.approx`, ...) may err; 0 is the nearest number.
    pub ulp_noise: u32,
    /// Data races, and `ld.global.nc` of memory that the launch writes.
    pub races: bool,
    /// Loads of shared memory that nobody has written.
    pub uninitialized_shared: bool,
    /// Loads of global memory that nobody has written.
    pub uninitialized_global: bool,
    /// Registers that are read before they are written.
    pub undefined_registers: bool,
    /// Static and dynamic shared memory that a block may have. A kernel that asks for more than 48 KiB of dynamic shared
    /// memory must be allowed to, by `cuFuncSetAttribute`, on a GPU: that is the caller's to check.
    pub shared_limit: u32,
    /// Thread-instructions until a launch is taken to be in a loop without an end.
    pub instruction_limit: u64,
}

impl Default for Options {
    /// Everything is checked, with the 227 KiB of shared memory of an H100 and 100 billion instructions.
    fn default() -> Options {
        Options {
            order: Order::Ascending,
            ulp_noise: 0,
            races: true,
            uninitialized_shared: true,
            uninitialized_global: true,
            undefined_registers: true,
            shared_limit: 227 << 10,
            instruction_limit: 100_000_000_000,
        }
    }
}

/// A kernel with all that a launch needs.
#[derive(Clone, Copy, Debug)]
pub struct Launch<'a> {
    /// Which kernel.
    pub kernel: &'a Kernel,
    /// Blocks along x, y and z.
    pub grid: [u32; 3],
    /// Threads of a block along x, y and z.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub dynamic_shared: u32,
    /// The bytes of each parameter.
    pub parameters: &'a [&'a [u8]],
}

impl Launch<'_> {
    /// Runs every thread of the grid.
    ///
    /// # Errors
    /// The first thing that a GPU would refuse, or leave undefined. Memory keeps what was written until then.
    pub fn run(&self, memory: &mut Memory, options: &Options) -> Result<Statistics, Box<Fault>> {
        self.check(options)?;
        let kernel = self.kernel;
        let program = &kernel.program;
        let parameters = self.packed_parameters()?;
        let addresses = memory.module_addresses(&kernel.data).map_err(|error| self.refusal(error.to_string()))?;
        let constants = program.constants.iter().map(|(_, constant)| match *constant {
            Constant::Value(value) => value,
            Constant::Global { variable, offset } => addresses[variable].wrapping_add_signed(offset),
            Constant::DynamicShared { offset } => program.dynamic_start().wrapping_add_signed(offset),
        });
        let constants: Vec<u64> = constants.collect();
        memory.clock.begin_launch();
        let seed = if let Order::Random(seed) = options.order { seed } else { 0 };
        let mut environment = Environment {
            program,
            memory,
            shared: SharedMemory::new(self.shared_bytes()),
            parameters: &parameters,
            options,
            statistics: Statistics::default(),
            hints: vec![0; program.instructions.len()],
            random: fastrand::Rng::with_seed(seed),
            block: [0; 3],
            block_size: self.block,
        };
        let mut block = Block::new(&environment, &constants);
        let threads: u32 = self.block.iter().product();
        for number in self.block_order(&mut environment) {
            environment.block = self.block_index(number);
            environment.memory.clock.begin_block(environment.block, threads as usize);
            block.run(&mut environment, self.grid, self.dynamic_shared, kernel.name())?;
        }
        Ok(environment.statistics)
    }

    fn blocks(&self) -> u64 {
        self.grid.iter().map(|&size| u64::from(size)).product()
    }

    fn block_index(&self, number: u64) -> [u32; 3] {
        let [x, y, _] = self.grid.map(u64::from);
        [number % x, number / x % y, number / (x * y)].map(|index| index as u32)
    }

    fn block_order(&self, environment: &mut Environment<'_>) -> Box<dyn Iterator<Item = u64>> {
        let blocks = self.blocks();
        match environment.options.order {
            Order::Ascending => Box::new(0..blocks),
            Order::Descending => Box::new((0..blocks).rev()),
            Order::Random(_) if blocks <= MOST_SHUFFLED => {
                let mut order: Vec<u64> = (0..blocks).collect();
                environment.random.shuffle(&mut order);
                Box::new(order.into_iter())
            }
            Order::Random(_) => {
                let first = environment.random.u64(..blocks);
                Box::new((first..blocks).chain(0..first))
            }
        }
    }

    fn shared_bytes(&self) -> u64 {
        let program = &self.kernel.program;
        match self.dynamic_shared {
            0 => program.static_shared,
            dynamic => program.dynamic_start() + u64::from(dynamic),
        }
    }

    /// What the driver refuses.
    fn check(&self, options: &Options) -> Result<(), Box<Fault>> {
        let Launch { kernel, grid, block, .. } = *self;
        let threads = block.iter().fold(1u32, |product, &size| product.saturating_mul(size));
        let most = kernel.max_threads().unwrap_or(MOST_THREADS).min(MOST_THREADS);
        if grid.contains(&0) || block.contains(&0) {
            return Err(self.refusal(format!("a grid of {grid:?} blocks of {block:?} threads is empty")));
        }
        if grid.iter().zip(MOST_BLOCKS).any(|(&size, most)| size > most) {
            return Err(self.refusal(format!("a grid of {grid:?} blocks: at most {MOST_BLOCKS:?} are possible")));
        }
        if block.iter().zip(MOST_THREADS_OF_AXIS).any(|(&size, most)| size > most) || threads > most {
            return Err(self.refusal(format!("blocks of {block:?} threads: at most {most} are possible")));
        }
        if kernel.required_block().is_some_and(|required| required != block) {
            let required = kernel.required_block().unwrap_or_default();
            return Err(self.refusal(format!("blocks of {block:?} threads: the kernel is for {required:?}")));
        }
        if kernel.program.static_shared > MOST_STATIC_SHARED {
            let bytes = kernel.program.static_shared;
            let most = MOST_STATIC_SHARED;
            return Err(self.refusal(format!("{bytes} bytes of static shared memory: at most {most} are possible")));
        }
        if self.shared_bytes() > options.shared_limit.into() {
            let (bytes, limit) = (self.shared_bytes(), options.shared_limit);
            return Err(self.refusal(format!("{bytes} bytes of shared memory: at most {limit} are possible")));
        }
        Ok(())
    }

    fn packed_parameters(&self) -> Result<Vec<u8>, Box<Fault>> {
        let places = self.kernel.parameter_places();
        if places.len() != self.parameters.len() {
            let reason = format!("{} parameters are given, the kernel has {}", self.parameters.len(), places.len());
            return Err(self.refusal(reason));
        }
        let mut packed = vec![0; places.last().map_or(0, |(offset, size)| (offset + size) as usize)];
        for (number, ((offset, size), bytes)) in places.iter().zip(self.parameters).enumerate() {
            if bytes.len() as u64 != *size {
                let reason = format!("parameter {number} has {size} bytes, {} are given", bytes.len());
                return Err(self.refusal(reason));
            }
            packed[*offset as usize..][..bytes.len()].copy_from_slice(bytes);
        }
        Ok(packed)
    }

    fn refusal(&self, reason: String) -> Box<Fault> {
        Box::new(Fault {
            kind: FaultKind::Launch { reason },
            kernel: self.kernel.name().to_string(),
            line: 0,
            instruction: String::new(),
            block: [0; 3],
            thread: [0; 3],
        })
    }
}
