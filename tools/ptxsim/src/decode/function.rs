//! One function's statements: declarations, labels, and the operands of its instructions.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::mnemonic::Mnemonic;
use super::operand::{Number, Operand, operands};
use super::{Linker, ModuleSymbol};
use crate::instruction::{Address, Instruction, Operation, Origin, Predicate, Register, Truth};
use crate::lexer::TokenKind;
use crate::parse_error::ParseError;
use crate::program::{Constant, Special};
use crate::syntax::{self, Statement, StatementKind};
use crate::types::Type;

/// Names at most this many registers in a declaration: nobody writes more, and memory is finite.
const MOST_REGISTERS: u64 = 1 << 16;

/// Bytes of `.local` variables that a GPU allows a thread.
const MOST_FRAME: u64 = 512 << 10;

/// What a name in a function stands for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Symbol {
    Register(Register, Type),
    Predicate(Predicate),
    /// A variable in the thread's frame: `.local`, or `.param` of functions.
    Frame(u64),
    /// A parameter of the kernel.
    Parameter(u64),
    /// A variable in shared or global memory.
    Place(Constant),
}

/// Decodes the linker's function with this number, behind those that are decoded already.
pub(super) fn decode(linker: &mut Linker<'_>, number: usize) -> Result<(), ParseError> {
    let source = linker.sources[number];
    let statements = source.body.as_deref().unwrap_or(&[]);
    let layout = linker.layout(number).clone();
    let first_register = linker.program.register_names.len() as Register;
    let first_predicate = linker.program.predicate_names.len() as Predicate;
    let start = linker.program.instructions.len() as u32;

    let mut names = HashMap::new();
    let to_symbol = if source.is_entry { Symbol::Parameter } else { Symbol::Frame };
    let variables = source.parameters.iter().chain(&source.returns);
    for (variable, (offset, _)) in variables.zip(layout.parameters.iter().chain(&layout.returns)) {
        names.insert(variable.name.to_string(), to_symbol(*offset));
    }
    let frame = if source.is_entry { 0 } else { layout.size };
    let (labels, tables, parents) = labels(statements, start)?;
    let mut decoder = FunctionDecoder {
        linker,
        is_entry: source.is_entry,
        scopes: vec![names],
        scope_numbers: vec![0],
        scopes_seen: 0,
        labels,
        tables,
        parents,
        frame,
    };
    for statement in statements {
        decoder.statement(statement).map_err(|reason| error(statement, reason))?;
    }
    let frame = decoder.frame;

    let program = &mut linker.program;
    // constants lie among the registers: to save them with the rest costs nothing but time in recursion
    let entry = &mut program.functions[number];
    entry.start = start;
    entry.end = program.instructions.len() as u32;
    entry.registers = first_register..program.register_names.len() as Register;
    entry.predicates = first_predicate..program.predicate_names.len() as Predicate;
    entry.frame = frame.next_multiple_of(16);
    Ok(())
}

fn error(statement: &Statement<'_>, reason: String) -> ParseError {
    let text = statement.text.split_whitespace().collect::<Vec<_>>().join(" ");
    ParseError { line: statement.line, text, reason }
}

/// A label's name and the scope it lies in.
type ScopedName<'a> = (usize, &'a str);
type Labels<'a> = HashMap<ScopedName<'a>, u32>;
type Tables<'a> = HashMap<ScopedName<'a>, Vec<&'a str>>;

/// Numbers of the instructions that labels stand before, lists of `.branchtargets`, and the scope around each scope.
fn labels<'a>(statements: &[Statement<'a>], start: u32) -> Result<(Labels<'a>, Tables<'a>, Vec<usize>), ParseError> {
    let mut labels = Labels::new();
    let mut tables = Tables::new();
    let mut parents = vec![0];
    let mut open = vec![0];
    let mut instruction = start;
    let mut last_label = None;
    for statement in statements {
        let scope = open.last().copied().unwrap_or(0);
        match statement.kind {
            StatementKind::OpenScope => {
                open.push(parents.len());
                parents.push(scope);
            }
            StatementKind::CloseScope => {
                open.pop();
            }
            StatementKind::Label => {
                if labels.insert((scope, statement.text), instruction).is_some() {
                    return Err(error(statement, "there is another label of this name".into()));
                }
                last_label = Some(statement.text);
            }
            StatementKind::Directive => {
                let targets = statement.tokens.iter().filter_map(|token| match token.kind {
                    TokenKind::Word(word) => Some(word),
                    _ => None,
                });
                let targets: Vec<&str> = targets.collect();
                if let (Some((&".branchtargets", targets)), Some(label)) = (targets.split_first(), last_label) {
                    tables.insert((scope, label), targets.to_vec());
                }
            }
            StatementKind::Instruction => instruction += 1,
        }
    }
    Ok((labels, tables, parents))
}

/// The state while one function is decoded.
pub(super) struct FunctionDecoder<'a, 'l> {
    pub(super) linker: &'l mut Linker<'a>,
    pub(super) is_entry: bool,
    scopes: Vec<HashMap<String, Symbol>>,
    scope_numbers: Vec<usize>,
    scopes_seen: usize,
    labels: Labels<'a>,
    tables: Tables<'a>,
    parents: Vec<usize>,
    frame: u64,
}

impl<'a> FunctionDecoder<'a, '_> {
    fn statement(&mut self, statement: &Statement<'a>) -> Result<(), String> {
        match statement.kind {
            StatementKind::OpenScope => {
                self.scopes_seen += 1;
                self.scopes.push(HashMap::new());
                self.scope_numbers.push(self.scopes_seen);
                Ok(())
            }
            StatementKind::CloseScope => {
                self.scopes.pop();
                self.scope_numbers.pop();
                Ok(())
            }
            StatementKind::Label => Ok(()),
            StatementKind::Directive => self.directive(statement),
            StatementKind::Instruction => self.instruction(statement),
        }
    }

    fn directive(&mut self, statement: &Statement<'a>) -> Result<(), String> {
        let Some(TokenKind::Word(name)) = statement.tokens.first().map(|token| token.kind) else { return Ok(()) };
        match name {
            ".reg" => self.declare_registers(statement),
            ".local" | ".param" | ".shared" | ".global" | ".const" => self.declare_variables(statement),
            ".pragma" | ".branchtargets" | ".callprototype" => Ok(()),
            _ => Err(format!("{name} isn't known here")),
        }
    }

    fn declare(&mut self, name: String, symbol: Symbol) -> Result<(), String> {
        let scope = self.scopes.last_mut().ok_or("a brace too many is closed")?;
        match scope.entry(name) {
            Entry::Vacant(place) => {
                place.insert(symbol);
                Ok(())
            }
            Entry::Occupied(place) => Err(format!("{} is declared twice", place.key())),
        }
    }

    /// `%r<3>` declares `%r0` to `%r2`.
    fn declare_registers(&mut self, statement: &Statement<'a>) -> Result<(), String> {
        let declared = syntax::register_declarations(self.linker.text, &statement.tokens).map_err(|e| e.reason)?;
        for syntax::DeclaredRegisters { of, name, count } in declared {
            match count {
                None => self.declare_register(name.to_string(), of)?,
                Some(count) if count > MOST_REGISTERS => return Err(format!("{count} registers are too many")),
                Some(count) => {
                    for number in 0..count {
                        self.declare_register(format!("{name}{number}"), of)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn declare_register(&mut self, name: String, of: Type) -> Result<(), String> {
        let symbol = if of == Type::Pred {
            self.linker.program.predicate_names.push(name.clone());
            Symbol::Predicate(self.linker.program.predicate_names.len() as Predicate - 1)
        } else {
            Symbol::Register(self.linker.register(name.clone()), of)
        };
        self.declare(name, symbol)
    }

    fn declare_variables(&mut self, statement: &Statement<'a>) -> Result<(), String> {
        let declared = syntax::variable_declarations(self.linker.text, &statement.tokens).map_err(|e| e.reason)?;
        for variable in declared {
            let symbol = match variable.space {
                ".shared" => Symbol::Place(self.linker.place_in_shared(&variable)),
                ".local" | ".param" => {
                    let offset = self.frame.next_multiple_of(variable.align);
                    self.frame = offset + variable.size;
                    if self.frame > MOST_FRAME {
                        return Err(format!("{} is too large", variable.name));
                    }
                    Symbol::Frame(offset)
                }
                other => return Err(format!("{other} variables in functions aren't known")),
            };
            self.declare(variable.name.to_string(), symbol)?;
        }
        Ok(())
    }

    /// What a name stands for here.
    pub(super) fn symbol(&mut self, name: &str) -> Result<Symbol, String> {
        if let Some(symbol) = self.scopes.iter().rev().find_map(|scope| scope.get(name)) {
            return Ok(*symbol);
        }
        match self.linker.symbols.get(name) {
            Some(&ModuleSymbol::Variable(number)) => match self.linker.variables[number].space {
                ".shared" => Ok(Symbol::Place(self.linker.shared_variable(number))),
                _ => Ok(Symbol::Place(Constant::Global { variable: number, offset: 0 })),
            },
            Some(ModuleSymbol::Function(_)) => Err(format!("the address of function {name} can't be taken here")),
            None => Err(format!("{name} isn't declared")),
        }
    }

    /// The row to read for an operand of this type.
    pub(super) fn source(&mut self, operand: &Operand<'a>, of: Type) -> Result<Register, String> {
        match operand {
            Operand::Number(number) => Ok(self.value(number.bits(of))),
            Operand::Name(name) => self.named_source(name, 0),
            Operand::Sum(name, offset) => self.named_source(name, *offset),
            _ => Err("a register or a number is expected".into()),
        }
    }

    pub(super) fn value(&mut self, bits: u64) -> Register {
        self.linker.constant(Constant::Value(bits))
    }

    fn named_source(&mut self, name: &str, offset: i64) -> Result<Register, String> {
        if let Some(special) = special(name) {
            return Ok(self.linker.special(special));
        }
        match self.symbol(name)? {
            Symbol::Register(register, _) if offset == 0 => Ok(register),
            Symbol::Register(..) => Err(format!("{name} is a register, to which nothing can be added here")),
            Symbol::Place(place) => Ok(self.linker.constant(moved(place, offset))),
            Symbol::Parameter(place) => Ok(self.value(place.wrapping_add_signed(offset))),
            Symbol::Predicate(_) => Err(format!("{name} is a predicate")),
            Symbol::Frame(_) => Err(format!("the address of {name} can be taken by mov only")),
        }
    }

    /// The row to write, and the bits that the register has.
    pub(super) fn destination(&mut self, operand: &Operand<'a>) -> Result<(Register, Type), String> {
        let Operand::Name(name) = operand else { return Err("a register to write is expected".into()) };
        match self.symbol(name)? {
            Symbol::Register(register, of) => Ok((register, of)),
            _ => Err(format!("{name} isn't a register that can be written here")),
        }
    }

    /// As [`Self::destination`]; `_` takes what nobody wants.
    pub(super) fn optional_destination(&mut self, operand: &Operand<'a>) -> Result<Option<(Register, Type)>, String> {
        if *operand == Operand::Name("_") { Ok(None) } else { self.destination(operand).map(Some) }
    }

    pub(super) fn predicate(&mut self, name: &str) -> Result<Option<Predicate>, String> {
        if name == "_" {
            return Ok(None);
        }
        match self.symbol(name)? {
            Symbol::Predicate(predicate) => Ok(Some(predicate)),
            _ => Err(format!("{name} isn't a predicate")),
        }
    }

    pub(super) fn predicate_destination(&mut self, operand: &Operand<'a>) -> Result<Predicate, String> {
        let Operand::Name(name) = operand else { return Err("a predicate to write is expected".into()) };
        self.predicate(name)?.ok_or_else(|| "a predicate to write is expected".into())
    }

    /// A predicate to read.
    pub(super) fn truth(&mut self, operand: &Operand<'a>) -> Result<Truth, String> {
        let (name, negated) = match operand {
            Operand::Name(name) => (name, false),
            Operand::Not(name) => (name, true),
            Operand::Number(Number::Integer(value)) => return Ok(Truth::Constant(*value != 0)),
            _ => return Err("a predicate is expected".into()),
        };
        let predicate = self.predicate(name)?.ok_or("a predicate is expected")?;
        Ok(Truth::Register { predicate, negated })
    }

    /// Whether the operand is a predicate register.
    pub(super) fn is_predicate(&mut self, operand: &Operand<'a>) -> bool {
        matches!(operand, Operand::Name(name) if matches!(self.symbol(name), Ok(Symbol::Predicate(_))))
    }

    /// An address in brackets, and the frame's variable that it names, if it does.
    pub(super) fn address(&mut self, operand: &Operand<'a>) -> Result<(Address, AddressOf), String> {
        let Operand::Address(name, offset) = operand else { return Err("an address in brackets is expected".into()) };
        let Some(name) = name else {
            return Ok((Address { base: self.value(*offset as u64), offset: 0 }, AddressOf::Register));
        };
        Ok(match self.symbol(name)? {
            Symbol::Register(base, _) => (Address { base, offset: *offset }, AddressOf::Register),
            Symbol::Place(place) => {
                let base = self.linker.constant(moved(place, *offset));
                (Address { base, offset: 0 }, AddressOf::Register)
            }
            Symbol::Parameter(place) => {
                let base = self.value(place.wrapping_add_signed(*offset));
                (Address { base, offset: 0 }, AddressOf::Parameter)
            }
            Symbol::Frame(place) => {
                let base = self.value(place.wrapping_add_signed(*offset));
                (Address { base, offset: 0 }, AddressOf::Frame)
            }
            Symbol::Predicate(_) => return Err(format!("{name} is a predicate and no address")),
        })
    }

    /// The number of the instruction behind a label.
    pub(super) fn label(&self, name: &str) -> Result<u32, String> {
        self.find_scoped(|scope| self.labels.get(&(scope, name)).copied())
            .ok_or_else(|| format!("there is no label {name} in this function"))
    }

    /// The labels of a `.branchtargets`.
    pub(super) fn branch_targets(&self, name: &str) -> Result<Vec<u32>, String> {
        let table = self.find_scoped(|scope| self.tables.get(&(scope, name)));
        let table = table.ok_or_else(|| format!("there is no list of labels {name} in this function"))?;
        table.iter().map(|label| self.label(label)).collect()
    }

    fn find_scoped<T>(&self, find: impl Fn(usize) -> Option<T>) -> Option<T> {
        let mut scope = self.scope_numbers.last().copied().unwrap_or(0);
        loop {
            match find(scope) {
                Some(found) => return Some(found),
                None if scope == 0 => return None,
                None => scope = self.parents[scope],
            }
        }
    }

    fn instruction(&mut self, statement: &Statement<'a>) -> Result<(), String> {
        let (guard, tokens) = match statement.tokens.as_slice() {
            [at, not, name, rest @ ..] if at.kind == TokenKind::Mark('@') && not.kind == TokenKind::Mark('!') => {
                (Some((name.kind, false)), rest)
            }
            [at, name, rest @ ..] if at.kind == TokenKind::Mark('@') => (Some((name.kind, true)), rest),
            rest => (None, rest),
        };
        let guard = match guard {
            None => None,
            Some((TokenKind::Word(name), value)) => {
                Some((self.predicate(name)?.ok_or("a guard must be a predicate")?, value))
            }
            Some(_) => return Err("a guard must be a predicate".into()),
        };
        let [first, rest @ ..] = tokens else { return Err("the instruction is missing".into()) };
        let TokenKind::Word(name) = first.kind else { return Err("no instruction starts like this".into()) };
        let mut mnemonic = Mnemonic::new(name);
        let operands = operands(rest)?;
        let operation = self.operation(&mut mnemonic, &operands)?;
        mnemonic.finish()?;
        let text = statement.text.split_whitespace().collect::<Vec<_>>().join(" ");
        self.linker.program.instructions.push(Instruction { guard, operation });
        self.linker.program.origins.push(Origin { line: statement.line, text });
        Ok(())
    }

    fn operation(&mut self, mnemonic: &mut Mnemonic<'a>, operands: &[Operand<'a>]) -> Result<Operation, String> {
        if let Some(operation) = self.arithmetic(mnemonic, operands)? {
            return Ok(operation);
        }
        if let Some(operation) = self.memory(mnemonic, operands)? {
            return Ok(operation);
        }
        if let Some(operation) = self.control(mnemonic, operands)? {
            return Ok(operation);
        }
        Err(format!("the instruction {} isn't known", mnemonic.opcode))
    }
}

/// Whether an address is computed or names a parameter or a variable of the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AddressOf {
    Register,
    Parameter,
    Frame,
}

fn moved(place: Constant, by: i64) -> Constant {
    match place {
        Constant::Value(value) => Constant::Value(value.wrapping_add_signed(by)),
        Constant::Global { variable, offset } => Constant::Global { variable, offset: offset.wrapping_add(by) },
        Constant::DynamicShared { offset } => Constant::DynamicShared { offset: offset.wrapping_add(by) },
    }
}

/// Registers that the launch fills.
fn special(name: &str) -> Option<Special> {
    let (name, place) = match name.split_once('.') {
        Some((name, axis)) => (name, ["x", "y", "z"].iter().position(|known| *known == axis)?),
        None => (name, 0),
    };
    Some(match name {
        "%tid" => Special::Thread(place),
        "%ntid" => Special::BlockSize(place),
        "%ctaid" => Special::Block(place),
        "%nctaid" => Special::GridSize(place),
        "%laneid" => Special::Lane,
        "%warpid" => Special::Warp,
        "%nwarpid" => Special::Warps,
        "%lanemask_eq" => Special::LanesEqual,
        "%lanemask_lt" => Special::LanesBelow,
        "%lanemask_le" => Special::LanesUpTo,
        "%lanemask_gt" => Special::LanesAbove,
        "%lanemask_ge" => Special::LanesFrom,
        "%dynamic_smem_size" => Special::DynamicShared,
        "%total_smem_size" => Special::TotalShared,
        "%smid" | "%gridid" => Special::Zero,
        "%nsmid" => Special::One,
        _ => return None,
    })
}
