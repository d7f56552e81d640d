//! From statements to a program: names become places, mnemonics become operations.

mod arithmetic;
mod control;
mod function;
mod memory;
mod mnemonic;
mod operand;

use std::collections::HashMap;

use crate::instruction::Register;
use crate::parse_error::ParseError;
use crate::program::{Constant, FunctionEntry, Program, Special};
use crate::syntax::{Function, Source, Variable};

/// A symbol of the module.
#[derive(Clone, Copy)]
pub(crate) enum ModuleSymbol<'a> {
    Variable(usize),
    Function(&'a Function<'a>),
}

/// The module's names; definitions win over declarations.
pub(crate) fn symbols<'a>(source: &'a Source<'a>) -> HashMap<&'a str, ModuleSymbol<'a>> {
    let mut symbols = HashMap::new();
    for (number, variable) in source.variables.iter().enumerate() {
        symbols.insert(variable.name, ModuleSymbol::Variable(number));
    }
    for function in &source.functions {
        if function.body.is_some() || !symbols.contains_key(function.name) {
            symbols.insert(function.name, ModuleSymbol::Function(function));
        }
    }
    symbols
}

/// Decodes `kernel` and all it calls.
pub(crate) fn program<'a>(
    text: &'a str,
    source: &'a Source<'a>,
    symbols: &'a HashMap<&'a str, ModuleSymbol<'a>>,
    kernel: &'a Function<'a>,
) -> Result<Program, ParseError> {
    let mut linker = Linker {
        text,
        variables: &source.variables,
        symbols,
        program: Program { dynamic_alignment: 1, ..Program::default() },
        constants: HashMap::new(),
        specials: HashMap::new(),
        shared: HashMap::new(),
        numbers: HashMap::new(),
        layouts: Vec::new(),
        sources: Vec::new(),
    };
    linker.function_number(kernel);
    let mut next = 0;
    while next < linker.sources.len() {
        function::decode(&mut linker, next)?;
        next += 1;
    }
    Ok(linker.program)
}

/// Where a function's parameters lie in its frame, or a kernel's among its parameters.
#[derive(Clone, Debug, Default)]
pub(crate) struct Layout {
    /// Offset and size of each.
    pub(crate) parameters: Vec<(u64, u64)>,
    pub(crate) returns: Vec<(u64, u64)>,
    /// Bytes of all.
    pub(crate) size: u64,
}

/// Places for variables in a row, each at its alignment. Returns offsets and sizes.
pub(crate) fn places(variables: &[Variable<'_>], size: &mut u64) -> Vec<(u64, u64)> {
    let mut places = Vec::new();
    for variable in variables {
        let offset = size.next_multiple_of(variable.align);
        *size = offset + variable.size;
        places.push((offset, variable.size));
    }
    places
}

/// What the functions of a program share while they are decoded.
pub(crate) struct Linker<'a> {
    pub(crate) text: &'a str,
    pub(crate) variables: &'a [Variable<'a>],
    pub(crate) symbols: &'a HashMap<&'a str, ModuleSymbol<'a>>,
    pub(crate) program: Program,
    constants: HashMap<Constant, Register>,
    specials: HashMap<Special, Register>,
    /// Shared variables of the module that are in use.
    shared: HashMap<usize, Constant>,
    numbers: HashMap<&'a str, usize>,
    layouts: Vec<Layout>,
    sources: Vec<&'a Function<'a>>,
}

impl<'a> Linker<'a> {
    pub(crate) fn register(&mut self, name: String) -> Register {
        self.program.register_names.push(name);
        self.program.register_names.len() as Register - 1
    }

    /// The row that holds `constant`.
    pub(crate) fn constant(&mut self, constant: Constant) -> Register {
        if let Some(&register) = self.constants.get(&constant) {
            return register;
        }
        let register = self.register("a constant".into());
        self.constants.insert(constant, register);
        self.program.constants.push((register, constant));
        register
    }

    pub(crate) fn special(&mut self, special: Special) -> Register {
        if let Some(&register) = self.specials.get(&special) {
            return register;
        }
        let register = self.register("a special register".into());
        self.specials.insert(special, register);
        self.program.specials.push((register, special));
        register
    }

    /// The place of a shared variable of the module.
    pub(crate) fn shared_variable(&mut self, number: usize) -> Constant {
        if let Some(&place) = self.shared.get(&number) {
            return place;
        }
        let place = self.place_in_shared(&self.variables[number]);
        self.shared.insert(number, place);
        place
    }

    pub(crate) fn place_in_shared(&mut self, variable: &Variable<'_>) -> Constant {
        if variable.external {
            let alignment = &mut self.program.dynamic_alignment;
            *alignment = variable.align.max(*alignment);
            return Constant::DynamicShared { offset: 0 };
        }
        let offset = self.program.static_shared.next_multiple_of(variable.align);
        self.program.static_shared = offset + variable.size;
        Constant::Value(offset)
    }

    /// The function's number in the program. It is decoded when its turn comes.
    pub(crate) fn function_number(&mut self, function: &'a Function<'a>) -> usize {
        if let Some(&number) = self.numbers.get(function.name) {
            return number;
        }
        let mut layout = Layout::default();
        layout.parameters = places(&function.parameters, &mut layout.size);
        layout.returns = places(&function.returns, &mut layout.size);
        let number = self.sources.len();
        self.numbers.insert(function.name, number);
        self.layouts.push(layout);
        self.sources.push(function);
        self.program.functions.push(FunctionEntry { name: function.name.into(), ..FunctionEntry::default() });
        number
    }

    pub(crate) fn layout(&self, number: usize) -> &Layout {
        &self.layouts[number]
    }
}
