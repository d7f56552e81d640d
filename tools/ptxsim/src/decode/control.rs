//! Branches, calls, and what threads do together.

use super::ModuleSymbol;
use super::function::{FunctionDecoder, Symbol};
use super::mnemonic::Mnemonic;
use super::operand::Operand;
use crate::instruction::{
    AtomicOperation, Barrier, BarrierReduction, Call, Clock, Collective, Operation, Shuffle, ShuffleMode, VoteMode,
};
use crate::types::Type;

/// The function of CUDA's runtime that a failed assertion calls.
const ASSERTION_FAILED: &str = "__assertfail";

/// The function of CUDA's runtime that prints. Here it prints nothing.
const PRINT: &str = "vprintf";

impl<'a> FunctionDecoder<'a, '_> {
    /// `None` where the opcode isn't one of these.
    pub(super) fn control(
        &mut self,
        mnemonic: &mut Mnemonic<'a>,
        operands: &[Operand<'a>],
    ) -> Result<Option<Operation>, String> {
        let operation = match mnemonic.opcode {
            "bra" => {
                mnemonic.take("uni");
                let [Operand::Name(label)] = operands else { return Err("a label is expected".into()) };
                Operation::Branch(self.label(label)?)
            }
            "brx" => {
                mnemonic.take("idx");
                mnemonic.take("uni");
                let [index, Operand::Name(table)] = operands else {
                    return Err("an index and a list of labels are expected".into());
                };
                Operation::BranchIndexed { index: self.source(index, Type::U32)?, targets: self.branch_targets(table)? }
            }
            "call" => {
                mnemonic.take("uni");
                self.call(operands)?
            }
            "ret" if self.is_entry => {
                mnemonic.take("uni");
                Operation::Exit
            }
            "ret" => {
                mnemonic.take("uni");
                Operation::Return
            }
            "exit" => Operation::Exit,
            "trap" | "brkpt" => Operation::Trap,
            "nanosleep" | "pmevent" => {
                mnemonic.drop_starting_with("");
                Operation::Nothing
            }
            "bar" | "barrier" => self.barrier(mnemonic, operands)?,
            "shfl" => Operation::Collective(self.shuffle(mnemonic, operands)?),
            "vote" => Operation::Collective(self.vote(mnemonic, operands)?),
            "redux" => Operation::Collective(self.reduction(mnemonic, operands)?),
            "match" => Operation::Collective(self.matching(mnemonic, operands)?),
            "activemask" => {
                mnemonic.take_type()?;
                let [destination] = operands else { return Err("a register is expected".into()) };
                let (destination, _) = self.destination(destination)?;
                Operation::ReadClock { clock: Clock::ActiveLanes, destination }
            }
            _ => return Ok(None),
        };
        Ok(Some(operation))
    }

    fn call(&mut self, operands: &[Operand<'a>]) -> Result<Operation, String> {
        let (results, rest) = match operands {
            [Operand::List(results), rest @ ..] => (results.as_slice(), rest),
            rest => (&[][..], rest),
        };
        let (name, arguments) = match rest {
            [Operand::Name(name)] => (name, &[][..]),
            [Operand::Name(name), Operand::List(arguments), ..] => (name, arguments.as_slice()),
            _ => return Err("only functions that are named can be called".into()),
        };
        let Some(&ModuleSymbol::Function(function)) = self.linker.symbols.get(name) else {
            return Err(format!("there is no function {name}"));
        };
        if function.body.is_none() {
            return match *name {
                ASSERTION_FAILED => Ok(Operation::Trap),
                PRINT => Ok(Operation::Nothing),
                _ => Err(format!("function {name} has no body here")),
            };
        }
        if function.is_entry {
            return Err(format!("{name} is a kernel, which can't be called"));
        }
        let number = self.linker.function_number(function);
        let layout = self.linker.layout(number).clone();
        let arguments = self.frame_places(arguments, &layout.parameters)?;
        let results = self.frame_places(results, &layout.returns)?;
        let results = results.into_iter().map(|(caller, callee, size)| (callee, caller, size)).collect();
        Ok(Operation::Call(Call { function: number, arguments, results }))
    }

    /// Offsets in the caller's frame and in the callee's, and sizes.
    fn frame_places(&mut self, given: &[Operand<'a>], expected: &[(u64, u64)]) -> Result<Vec<(u64, u64, u64)>, String> {
        if given.len() != expected.len() {
            return Err(format!("{} parameters are expected, there are {}", expected.len(), given.len()));
        }
        let mut places = Vec::new();
        for (operand, (offset, size)) in given.iter().zip(expected) {
            let Operand::Name(name) = operand else { return Err("a .param variable is expected".into()) };
            match self.symbol(name)? {
                Symbol::Frame(place) => places.push((place, *offset, *size)),
                _ => return Err(format!("{name} isn't a .param variable")),
            }
        }
        Ok(places)
    }

    fn barrier(&mut self, mnemonic: &mut Mnemonic<'a>, operands: &[Operand<'a>]) -> Result<Operation, String> {
        if mnemonic.take("warp") {
            mnemonic.take("sync");
            let [members] = operands else { return Err("a mask is expected".into()) };
            let members = self.source(members, Type::B32)?;
            return Ok(Operation::Collective(Collective::Synchronize { members }));
        }
        mnemonic.take("cta");
        let aligned = mnemonic.opcode == "bar" || mnemonic.take("aligned");
        match mnemonic.take_any(&["sync", "red"]) {
            Some("sync") => {
                let (number, threads) = match operands {
                    [number] => (number, None),
                    [number, threads] => (number, Some(self.source(threads, Type::U32)?)),
                    _ => return Err("the barrier's number is expected".into()),
                };
                let number = self.source(number, Type::U32)?;
                Ok(Operation::Barrier(Barrier { number, threads, aligned, reduction: None }))
            }
            Some(_) => self.reducing_barrier(mnemonic, operands, aligned),
            None => Err("this barrier isn't known".into()),
        }
    }

    fn reducing_barrier(
        &mut self,
        mnemonic: &mut Mnemonic<'a>,
        operands: &[Operand<'a>],
        aligned: bool,
    ) -> Result<Operation, String> {
        let operation = mnemonic.take_any(&["popc", "and", "or"]).ok_or("this reduction isn't known")?;
        mnemonic.take_type()?;
        let [destination, number, rest @ .., truth] = operands else { return Err("operands are missing".into()) };
        let threads = match rest {
            [] => None,
            [threads] => Some(self.source(threads, Type::U32)?),
            _ => return Err("there are too many operands".into()),
        };
        let reduction = match operation {
            "popc" => BarrierReduction::Count(self.destination(destination)?.0),
            "and" => BarrierReduction::And(self.predicate_destination(destination)?),
            _ => BarrierReduction::Or(self.predicate_destination(destination)?),
        };
        let truth = self.truth(truth)?;
        let number = self.source(number, Type::U32)?;
        Ok(Operation::Barrier(Barrier { number, threads, aligned, reduction: Some((reduction, truth)) }))
    }

    fn shuffle(&mut self, mnemonic: &mut Mnemonic<'a>, operands: &[Operand<'a>]) -> Result<Collective, String> {
        if !mnemonic.take("sync") {
            return Err("shuffles without .sync are of the past".into());
        }
        let mode = match mnemonic.take_any(&["up", "down", "bfly", "idx"]) {
            Some("up") => ShuffleMode::Up,
            Some("down") => ShuffleMode::Down,
            Some("bfly") => ShuffleMode::Butterfly,
            Some(_) => ShuffleMode::Index,
            None => return Err("up, down, bfly or idx is missing".into()),
        };
        mnemonic.take_type()?;
        let [destination, source, lane, clamp, members] = operands else {
            return Err(format!("5 operands are expected, there are {}", operands.len()));
        };
        let (destination, in_range) = match destination {
            Operand::Pair(register, predicate) => (Operand::Name(register), self.predicate(predicate)?),
            other => (other.clone(), None),
        };
        let source = self.source(source, Type::B32)?;
        Ok(Collective::Shuffle(Shuffle {
            mode,
            destination: self.destination(&destination)?.0,
            in_range,
            source,
            lane: self.source(lane, Type::B32)?,
            clamp: self.source(clamp, Type::B32)?,
            members: self.source(members, Type::B32)?,
        }))
    }

    fn vote(&mut self, mnemonic: &mut Mnemonic<'a>, operands: &[Operand<'a>]) -> Result<Collective, String> {
        let [destination, source, members] = operands else { return Err("3 operands are expected".into()) };
        let mode = mnemonic.take_any(&["all", "any", "uni", "ballot"]).ok_or("this vote isn't known")?;
        if !mnemonic.take("sync") {
            return Err("votes without .sync are of the past".into());
        }
        mnemonic.take_type()?;
        let (source, members) = (self.truth(source)?, self.source(members, Type::B32)?);
        if mode == "ballot" {
            return Ok(Collective::Ballot { destination: self.destination(destination)?.0, source, members });
        }
        let mode = match mode {
            "all" => VoteMode::All,
            "any" => VoteMode::Any,
            _ => VoteMode::Uniform,
        };
        Ok(Collective::Vote { mode, destination: self.predicate_destination(destination)?, source, members })
    }

    fn reduction(&mut self, mnemonic: &mut Mnemonic<'a>, operands: &[Operand<'a>]) -> Result<Collective, String> {
        mnemonic.take("sync");
        let operation = match mnemonic.take_any(&["add", "min", "max", "and", "or", "xor"]) {
            Some("add") => AtomicOperation::Add,
            Some("min") => AtomicOperation::Min,
            Some("max") => AtomicOperation::Max,
            Some("and") => AtomicOperation::And,
            Some("or") => AtomicOperation::Or,
            Some(_) => AtomicOperation::Xor,
            None => return Err("this reduction isn't known".into()),
        };
        let of = mnemonic.take_type()?;
        let [destination, source, members] = operands else { return Err("3 operands are expected".into()) };
        if of.size() != 4 || of.is_float() {
            return Err("there is no reduction of this type".into());
        }
        let (source, members) = (self.source(source, of)?, self.source(members, Type::B32)?);
        Ok(Collective::Reduce { operation, of, destination: self.destination(destination)?.0, source, members })
    }

    fn matching(&mut self, mnemonic: &mut Mnemonic<'a>, operands: &[Operand<'a>]) -> Result<Collective, String> {
        let any = mnemonic.take_any(&["any", "all"]).ok_or("any or all is missing")? == "any";
        mnemonic.take("sync");
        let of = mnemonic.take_type()?;
        let [destination, source, members] = operands else { return Err("3 operands are expected".into()) };
        let (source, members) = (self.source(source, of)?, self.source(members, Type::B32)?);
        if any {
            return Ok(Collective::MatchAny { of, destination: self.destination(destination)?.0, source, members });
        }
        let (destination, all) = match destination {
            Operand::Pair(register, predicate) => (Operand::Name(register), self.predicate(predicate)?),
            other => (other.clone(), None),
        };
        Ok(Collective::MatchAll { of, destination: self.destination(&destination)?.0, all, source, members })
    }
}
