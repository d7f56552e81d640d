//! Launches: checked as the driver checks them, then run by the interpreter.

use std::ffi::{c_uint, c_void};
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::Ordering;

use ptxsim::{FaultKind, Order};

use crate::capture;
use crate::code::Code;
use crate::context::{self, Context};
use crate::entry::{self, Outcome, lock};
use crate::handles;
use crate::module::{Function, SHARED_WITHOUT_ASKING};
use crate::options::Options;
use crate::stream;

/// A launch with everything it needs, to be run now or by a graph.
#[derive(Clone)]
pub(crate) struct Launch {
    function: Arc<Function>,
    grid: [u32; 3],
    block: [u32; 3],
    shared: u32,
    parameters: Vec<Vec<u8>>,
}

impl Launch {
    /// What the driver refuses at once.
    fn check(&self, options: &Options) -> Outcome {
        let [x, y, z] = self.block;
        let threads = u64::from(x) * u64::from(y) * u64::from(z);
        let most = u64::from(self.function.kernel()?.max_threads().unwrap_or(1024).min(1024));
        let block_fits = threads > 0 && threads <= most && z <= 64;
        let grid_fits = self.grid.iter().all(|&n| n > 0)
            && self.grid[0] <= i32::MAX.cast_unsigned()
            && self.grid[1..].iter().all(|&n| n <= 65_535);
        if !block_fits || !grid_fits {
            return Err(Code::ERROR_INVALID_VALUE);
        }
        let fixed = self.function.static_shared()?;
        let allowed = self.function.dynamic_shared.load(Ordering::Acquire);
        let allowed = allowed.max(SHARED_WITHOUT_ASKING.saturating_sub(fixed)).min(options.shared() - fixed);
        if self.shared > allowed { Err(Code::ERROR_INVALID_VALUE) } else { Ok(()) }
    }

    /// Runs it to its end. A fault becomes the context's error; with `CUDA_LAUNCH_BLOCKING` it is that of this call.
    pub(crate) fn run(&self, context: &Context) -> Outcome {
        let device = context.device;
        let order = match device.options().order {
            0 => Order::Ascending,
            seed => Order::Random(seed),
        };
        let parameters: Vec<&[u8]> = self.parameters.iter().map(Vec::as_slice).collect();
        let launch = ptxsim::Launch {
            kernel: self.function.kernel()?,
            grid: self.grid,
            block: self.block,
            dynamic_shared: self.shared,
            parameters: &parameters,
        };
        let options = ptxsim::Options { order, ..Default::default() };
        let done = launch.run(&mut lock(&device.memory), &options);
        let Err(fault) = done else { return Ok(()) };
        let words = fault.to_string();
        eprintln!("libcuda_standin: device {}: {words}", device.ordinal);
        *lock(&device.fault) = words;
        let code = code_of(&fault.kind);
        context.fail(code);
        if launches_block() { Err(code) } else { Ok(()) }
    }
}

/// Whether launches wait, as the driver's variable says.
fn launches_block() -> bool {
    static BLOCK: LazyLock<bool> =
        LazyLock::new(|| std::env::var_os("CUDA_LAUNCH_BLOCKING").is_some_and(|value| value == "1"));
    *BLOCK
}

/// What a GPU would give, where it notices at all.
fn code_of(kind: &FaultKind) -> Code {
    match kind {
        FaultKind::OutOfBounds { .. } | FaultKind::UseAfterFree { .. } => Code::ERROR_ILLEGAL_ADDRESS,
        FaultKind::Misaligned { .. } => Code::ERROR_MISALIGNED_ADDRESS,
        FaultKind::InstructionLimit { .. } => Code::ERROR_LAUNCH_TIMEOUT,
        _ => Code::ERROR_LAUNCH_FAILED,
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn cuLaunchKernel(
    function: usize,
    grid_x: c_uint,
    grid_y: c_uint,
    grid_z: c_uint,
    block_x: c_uint,
    block_y: c_uint,
    block_z: c_uint,
    shared: c_uint,
    stream: usize,
    parameters: *const *const c_void,
    extra: *const *const c_void,
) -> u32 {
    entry::initialised(|| {
        let context = context::healthy()?;
        let function = handles::get::<Function>(function)?;
        let device = context.device;
        let (grid, block) = ([grid_x, grid_y, grid_z], [block_x, block_y, block_z]);
        if !extra.is_null() {
            return Err(Code::ERROR_NOT_SUPPORTED);
        }
        // SAFETY: the caller's.
        let parameters = unsafe { read_parameters(function.kernel()?, parameters) }?;
        device.calls.add(format_args!(
            "cuLaunchKernel name={} grid={grid_x},{grid_y},{grid_z} block={block_x},{block_y},{block_z} shared={shared} \
             parameters={} stream={stream:#x}",
            function.name,
            in_hex(&parameters)
        ));
        // a kernel, a stream and the current context that are not of one another
        if function.context != context.handle || stream::context_of(stream)?.handle != context.handle {
            return Err(Code::ERROR_INVALID_HANDLE);
        }
        let launch = Launch { function, grid, block, shared, parameters };
        launch.check(&device.options())?;
        {
            let mut options = lock(&device.options);
            if options.fail_launch.strikes() {
                return Err(Code(options.launch_error));
            }
        }
        match capture::keep(stream, launch)? {
            Some(launch) => launch.run(&context),
            None => Ok(()),
        }
    })
}

/// Parameters as numbers, as they lie in memory; of long ones the size.
fn in_hex(parameters: &[Vec<u8>]) -> String {
    let number = |bytes: &Vec<u8>| match bytes.len() {
        size @ 1..=8 => {
            let mut whole = [0; 8];
            whole[..size].copy_from_slice(bytes);
            format!("{:#x}", u64::from_le_bytes(whole))
        }
        size => format!("[{size}]"),
    };
    parameters.iter().map(number).collect::<Vec<_>>().join(",")
}

/// Copies the parameters of a kernel: nothing tells how many the caller passes, or how large they are, but the kernel.
///
/// # Safety
/// `from` must point to a pointer for each parameter of the kernel, each valid for reading the parameter's bytes.
unsafe fn read_parameters(kernel: &ptxsim::Kernel, from: *const *const c_void) -> Outcome<Vec<Vec<u8>>> {
    let sizes = kernel.parameters();
    if from.is_null() && !sizes.is_empty() {
        return Err(Code::ERROR_INVALID_VALUE);
    }
    sizes
        .iter()
        .enumerate()
        .map(|(i, &size)| {
            // SAFETY: not null, and the caller's.
            let parameter = unsafe { from.add(i).read() };
            if parameter.is_null() {
                return Err(Code::ERROR_INVALID_VALUE);
            }
            // SAFETY: not null, and the caller's.
            Ok(unsafe { std::slice::from_raw_parts(parameter.cast::<u8>(), size) }.to_vec())
        })
        .collect()
}
