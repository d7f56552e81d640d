//! A PTX text, read and decoded.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::decode;
use crate::parse_error::ParseError;
use crate::program::Program;
use crate::syntax::{self, Initial};

/// A module: its kernels and the variables they share.
pub struct Module {
    version: (u32, u32),
    target: String,
    kernels: Vec<Kernel>,
    data: Arc<ModuleData>,
}

/// What a module puts into device memory.
#[derive(Debug)]
pub(crate) struct ModuleData {
    /// Tells modules apart.
    pub(crate) identity: u64,
    pub(crate) variables: Vec<ModuleVariable>,
}

/// A `.global` or `.const` variable.
#[derive(Debug)]
pub(crate) struct ModuleVariable {
    pub(crate) name: String,
    pub(crate) size: u64,
    /// `.const`
    pub(crate) read_only: bool,
    /// Shared memory has its place elsewhere.
    pub(crate) in_memory: bool,
    /// The bytes at its start; zeros follow.
    pub(crate) initial: Vec<u8>,
    /// Where in it the address of another variable stands: (place, variable, offset).
    pub(crate) addresses: Vec<(usize, usize, i64)>,
}

/// An entry point of a module.
pub struct Kernel {
    name: String,
    parameters: Vec<(u64, u64)>,
    max_threads: Option<u32>,
    required_block: Option<[u32; 3]>,
    pub(crate) program: Program,
    pub(crate) data: Arc<ModuleData>,
}

impl Module {
    /// Reads a PTX text and decodes every kernel in it.
    ///
    /// # Errors
    /// Names the line and the statement that isn't PTX, or isn't known to this crate.
    pub fn parse(ptx: &str) -> Result<Module, ParseError> {
        static MODULES: AtomicU64 = AtomicU64::new(0);
        let text = ptx.trim_end_matches('\0');
        let source = syntax::parse(text)?;
        let symbols = decode::symbols(&source);
        let variables = source.variables.iter().map(|variable| module_variable(variable, &source.variables));
        let variables = variables.collect::<Result<_, _>>()?;
        let identity = MODULES.fetch_add(1, Ordering::Relaxed);
        let data = Arc::new(ModuleData { identity, variables });
        let mut kernels = Vec::new();
        for function in source.functions.iter().filter(|function| function.is_entry && function.body.is_some()) {
            let program = decode::program(text, &source, &symbols, function)?;
            kernels.push(Kernel {
                name: function.name.to_string(),
                parameters: decode::places(&function.parameters, &mut 0),
                max_threads: function.max_threads,
                required_block: function.required_block,
                program,
                data: Arc::clone(&data),
            });
        }
        Ok(Module { version: source.version, target: source.target, kernels, data })
    }

    /// The `.version` of the PTX: (8, 0).
    pub fn version(&self) -> (u32, u32) {
        self.version
    }

    /// The first `.target`: `sm_80`.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The kernels, in the order of the PTX.
    pub fn kernels(&self) -> &[Kernel] {
        &self.kernels
    }

    /// The kernel with this name.
    pub fn kernel(&self, name: &str) -> Option<&Kernel> {
        self.kernels.iter().find(|kernel| kernel.name == name)
    }

    /// What the module puts into device memory.
    pub(crate) fn data(&self) -> &ModuleData {
        &self.data
    }
}

impl fmt::Debug for Module {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Module { version, target, kernels, .. } = self;
        f.debug_struct("Module").field("version", version).field("target", target).field("kernels", kernels).finish()
    }
}

impl Kernel {
    /// The name of its `.entry`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes of each parameter.
    pub fn parameters(&self) -> Vec<usize> {
        self.parameters.iter().map(|(_, size)| *size as usize).collect()
    }

    /// Offset and size of each parameter.
    pub(crate) fn parameter_places(&self) -> &[(u64, u64)] {
        &self.parameters
    }

    /// The threads a block may have at most, where the kernel says so (`.maxntid`, `.reqntid`).
    pub fn max_threads(&self) -> Option<u32> {
        self.max_threads
    }

    /// The one block that the kernel can be launched with (`.reqntid`).
    pub fn required_block(&self) -> Option<[u32; 3]> {
        self.required_block
    }

    /// Bytes of shared memory that the kernel declares.
    pub fn static_shared(&self) -> u32 {
        self.program.static_shared as u32
    }
}

impl fmt::Debug for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Kernel { name, max_threads, .. } = self;
        f.debug_struct("Kernel")
            .field("name", name)
            .field("parameters", &self.parameters())
            .field("max_threads", max_threads)
            .field("instructions", &self.program.instructions.len())
            .finish()
    }
}

fn module_variable(
    variable: &syntax::Variable<'_>,
    all: &[syntax::Variable<'_>],
) -> Result<ModuleVariable, ParseError> {
    let error = |reason: String| ParseError { line: 0, text: variable.name.to_string(), reason };
    let in_memory = matches!(variable.space, ".global" | ".const");
    if in_memory && variable.external {
        return Err(error("external variables aren't known".into()));
    }
    let positions: HashMap<&str, usize> =
        if variable.initial.iter().any(|initial| matches!(initial, Initial::Address { .. })) {
            all.iter().enumerate().map(|(number, other)| (other.name, number)).collect()
        } else {
            HashMap::new()
        };
    let width = variable.element.size() as usize;
    let mut initial = Vec::new();
    let mut addresses = Vec::new();
    for value in &variable.initial {
        match *value {
            Initial::Bits(bits) => initial.extend_from_slice(&bits.to_le_bytes()[..width]),
            Initial::Address { name, offset } => {
                let number = positions.get(name).ok_or_else(|| error(format!("{name} is no variable")))?;
                if width != 8 {
                    return Err(error(format!("the address of {name} has 8 bytes, not {width}")));
                }
                addresses.push((initial.len(), *number, offset));
                initial.extend_from_slice(&[0; 8]);
            }
        }
    }
    if initial.len() as u64 > variable.size {
        return Err(error("there are more values than the variable has places".into()));
    }
    let read_only = variable.space == ".const";
    Ok(ModuleVariable {
        name: variable.name.to_string(),
        size: variable.size,
        read_only,
        in_memory,
        initial,
        addresses,
    })
}
