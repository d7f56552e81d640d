//! Instructions that move data: between registers and to and from memory.

use super::function::{AddressOf, FunctionDecoder, Symbol};
use super::mnemonic::Mnemonic;
use super::operand::Operand;
use crate::instruction::{AsyncCopy, Atomic, AtomicOperation, Clock, Load, Operation, Register, Space, Store};
use crate::program::window;
use crate::types::Type;

/// Hints on caching, without an effect here.
const CACHE_HINTS: [&str; 8] = ["ca", "cg", "cs", "cv", "lu", "wb", "wt", "weak"];

impl<'a> FunctionDecoder<'a, '_> {
    /// `None` where the opcode isn't one of these.
    pub(super) fn memory(
        &mut self,
        mnemonic: &mut Mnemonic<'a>,
        operands: &[Operand<'a>],
    ) -> Result<Option<Operation>, String> {
        let operation = match mnemonic.opcode {
            "mov" => self.mov(mnemonic, operands)?,
            "cvta" => self.cvta(mnemonic, operands)?,
            "isspacep" => self.is_space(mnemonic, operands)?,
            "ld" | "ldu" => Operation::Load(self.load(mnemonic, operands)?),
            "st" => Operation::Store(self.store(mnemonic, operands)?),
            "atom" | "red" => Operation::Atomic(self.atomic(mnemonic, operands)?),
            "cp" => self.async_copy(mnemonic, operands)?,
            "prefetch" | "prefetchu" | "applypriority" | "discard" | "membar" | "fence" => self.hint(mnemonic)?,
            "createpolicy" => {
                // a policy is a number that only caches understand
                self.hint(mnemonic)?;
                let [destination, ..] = operands else { return Err("the operands are missing".into()) };
                let (destination, _) = self.destination(destination)?;
                Operation::Copy { destination, source: self.value(0), mask: u64::MAX }
            }
            _ => return Ok(None),
        };
        Ok(Some(operation))
    }

    fn hint(&mut self, mnemonic: &mut Mnemonic<'a>) -> Result<Operation, String> {
        mnemonic.drop_starting_with("");
        Ok(Operation::Nothing)
    }

    fn mov(&mut self, mnemonic: &mut Mnemonic<'a>, operands: &[Operand<'a>]) -> Result<Operation, String> {
        let of = mnemonic.take_type()?;
        let [destination, source] = operands else { return Err("2 operands are expected".into()) };
        match (destination, source) {
            _ if of == Type::Pred => {
                let source = self.truth(source)?;
                Ok(Operation::CopyPredicate { destination: self.predicate_destination(destination)?, source })
            }
            (_, Operand::Vector(parts)) => {
                let width = part_width(of, parts.len())?;
                let parts = self.sources(parts, of)?;
                Ok(Operation::Pack { destination: self.destination(destination)?.0, parts, width })
            }
            (Operand::Vector(parts), _) => {
                let width = part_width(of, parts.len())?;
                let mut destinations = Vec::new();
                for part in parts {
                    destinations.push(self.optional_destination(part)?.map(|(register, _)| register));
                }
                Ok(Operation::Unpack { destinations, source: self.source(source, of)?, width })
            }
            _ => self.copy(destination, source, of),
        }
    }

    fn copy(&mut self, destination: &Operand<'a>, source: &Operand<'a>, of: Type) -> Result<Operation, String> {
        let (destination, _) = self.destination(destination)?;
        let clock = match source {
            Operand::Name("%clock" | "%clock64" | "%globaltimer" | "%globaltimer_lo") => Some(Clock::Instructions),
            _ => None,
        };
        if let Some(clock) = clock {
            return Ok(Operation::ReadClock { clock, destination });
        }
        if let Operand::Name(name) | Operand::Sum(name, _) = source
            && let Ok(Symbol::Frame(place)) = self.symbol(name)
        {
            let offset = if let Operand::Sum(_, offset) = source { *offset } else { 0 };
            return Ok(Operation::FrameAddress { destination, offset: place.wrapping_add_signed(offset) });
        }
        Ok(Operation::Copy { destination, source: self.source(source, of)?, mask: of.mask() })
    }

    fn sources(&mut self, operands: &[Operand<'a>], of: Type) -> Result<Vec<Register>, String> {
        operands.iter().map(|operand| self.source(operand, of)).collect()
    }

    /// Global memory and constants have the same addresses in every space.
    fn cvta(&mut self, mnemonic: &mut Mnemonic<'a>, operands: &[Operand<'a>]) -> Result<Operation, String> {
        let from_generic = mnemonic.take("to");
        let space = take_space(mnemonic)?;
        let of = mnemonic.take_type()?;
        let [destination, source] = operands else { return Err("2 operands are expected".into()) };
        let start = match space {
            Space::Shared => window::SHARED,
            Space::Local => window::LOCAL,
            Space::Parameter => window::PARAMETER,
            _ => 0,
        };
        let (destination, _) = self.destination(destination)?;
        let offset = if from_generic { start.wrapping_neg() } else { start };
        if let Operand::Name(name) = source
            && let Symbol::Frame(_) = self.symbol(name)?
        {
            return Err("the address of a local variable must be in a register".into());
        }
        Ok(Operation::Shift { destination, source: self.source(source, of)?, offset })
    }

    fn is_space(&mut self, mnemonic: &mut Mnemonic<'a>, operands: &[Operand<'a>]) -> Result<Operation, String> {
        let space = take_space(mnemonic)?;
        let [destination, source] = operands else { return Err("2 operands are expected".into()) };
        let source = self.source(source, Type::U64)?;
        Ok(Operation::IsSpace { space, destination: self.predicate_destination(destination)?, source })
    }

    fn load(&mut self, mnemonic: &mut Mnemonic<'a>, operands: &[Operand<'a>]) -> Result<Load, String> {
        let read_only = mnemonic.take("nc") || mnemonic.opcode == "ldu";
        let access = take_access(mnemonic)?;
        let [destination, address, ..] = operands else { return Err("2 operands are expected".into()) };
        let elements = elements(destination, access.elements)?;
        let mut destinations = Vec::new();
        for element in elements {
            destinations.push(self.optional_destination(element)?.map(|(register, of)| (register, of.mask())));
        }
        let (address, names) = self.address(address)?;
        let space = space_of(access.space, names)?;
        Ok(Load { space, of: access.of, destinations, address, read_only, strong: access.strong })
    }

    fn store(&mut self, mnemonic: &mut Mnemonic<'a>, operands: &[Operand<'a>]) -> Result<Store, String> {
        let access = take_access(mnemonic)?;
        let [address, source, ..] = operands else { return Err("2 operands are expected".into()) };
        let elements = elements(source, access.elements)?;
        let mut sources = Vec::new();
        for element in elements {
            sources.push(self.source(element, access.of)?);
        }
        let (address, names) = self.address(address)?;
        let space = space_of(access.space, names)?;
        if matches!(space, Space::Parameter | Space::Const) {
            return Err("parameters of kernels and constants can't be written".into());
        }
        Ok(Store { space, of: access.of, sources, address, strong: access.strong })
    }

    fn atomic(&mut self, mnemonic: &mut Mnemonic<'a>, operands: &[Operand<'a>]) -> Result<Atomic, String> {
        let returns = mnemonic.opcode == "atom";
        mnemonic.take("noftz");
        let operation = match mnemonic.take_any(&["add", "min", "max", "and", "or", "xor", "exch", "cas", "inc", "dec"])
        {
            Some("add") => AtomicOperation::Add,
            Some("min") => AtomicOperation::Min,
            Some("max") => AtomicOperation::Max,
            Some("and") => AtomicOperation::And,
            Some("or") => AtomicOperation::Or,
            Some("xor") => AtomicOperation::Xor,
            Some("exch") => AtomicOperation::Exchange,
            Some("cas") => AtomicOperation::CompareAndSwap,
            Some("inc") => AtomicOperation::Increment,
            Some("dec") => AtomicOperation::Decrement,
            _ => return Err("this atomic operation isn't known".into()),
        };
        let access = take_access(mnemonic)?;
        let known = match access.of {
            Type::F32 | Type::F64 => operation == AtomicOperation::Add,
            of => !of.is_float() && of.size() >= 4,
        };
        if !known || access.elements != 1 {
            return Err("there is no such atomic operation of this type".into());
        }
        let (destination, operands) = match operands {
            [Operand::Name("_"), rest @ ..] if returns => (None, rest),
            [destination, rest @ ..] if returns => (Some(self.destination(destination)?.0), rest),
            rest => (None, rest),
        };
        let [address, first, rest @ ..] = operands else { return Err("operands are missing".into()) };
        let first = self.source(first, access.of)?;
        let second = match (operation, rest) {
            (AtomicOperation::CompareAndSwap, [second, ..]) => self.source(second, access.of)?,
            (AtomicOperation::CompareAndSwap, []) => return Err("operands are missing".into()),
            _ => first,
        };
        let (address, names) = self.address(address)?;
        let space = space_of(access.space, names)?;
        if !matches!(space, Space::Generic | Space::Global | Space::Shared) {
            return Err("there are no atomic operations on this memory".into());
        }
        Ok(Atomic { operation, space, of: access.of, destination, address, sources: [first, second] })
    }

    fn async_copy(&mut self, mnemonic: &mut Mnemonic<'a>, operands: &[Operand<'a>]) -> Result<Operation, String> {
        if !mnemonic.take("async") {
            return Err("only cp.async is known".into());
        }
        match mnemonic.take_any(&["commit_group", "wait_group", "wait_all", "ca", "cg"]) {
            Some("commit_group") => Ok(Operation::AsyncCommit),
            Some("wait_all") => Ok(Operation::AsyncWait { groups: 0, all: true }),
            Some("wait_group") => match operands {
                [Operand::Number(number)] => Ok(Operation::AsyncWait { groups: number.bits(Type::U64), all: false }),
                _ => Err("a number of groups is expected".into()),
            },
            Some(cache) => {
                mnemonic.drop_starting_with("L2::");
                let spaces = (mnemonic.take_any(&["shared", "shared::cta"]), mnemonic.take("global"));
                let ((Some(_), true), [to, from, size, rest @ ..]) = (spaces, operands) else {
                    return Err("cp.async copies from global to shared memory".into());
                };
                let Operand::Number(size) = size else { return Err("the size must be a number".into()) };
                let size = size.bits(Type::U64);
                if !(matches!(size, 4 | 8) && cache == "ca" || size == 16) {
                    return Err(format!("cp.async.{cache} of {size} bytes isn't possible"));
                }
                let source_size = match rest.first() {
                    Some(operand) if !self.is_predicate(operand) => Some(self.source(operand, Type::U32)?),
                    Some(_) => return Err("ignore-src of cp.async isn't known".into()),
                    None => None,
                };
                Ok(Operation::AsyncCopy(AsyncCopy {
                    to: self.address(to)?.0,
                    from: self.address(from)?.0,
                    size,
                    source_size,
                }))
            }
            None => Err("this cp.async isn't known".into()),
        }
    }
}

/// What the modifiers of loads and stores say.
struct Access {
    space: Space,
    of: Type,
    elements: usize,
    strong: bool,
}

fn take_access(mnemonic: &mut Mnemonic<'_>) -> Result<Access, String> {
    let strong = mnemonic.take_any(&["volatile", "relaxed", "acquire", "release", "acq_rel", "mmio"]).is_some();
    mnemonic.take_any(&["cta", "gpu", "sys", "cluster"]);
    mnemonic.take_any(&CACHE_HINTS);
    mnemonic.drop_starting_with("L1::");
    mnemonic.drop_starting_with("L2::");
    let space = take_space(mnemonic)?;
    let elements = match mnemonic.take_any(&["v2", "v4", "v8"]) {
        Some("v2") => 2,
        Some("v4") => 4,
        Some(_) => 8,
        None => 1,
    };
    let of = mnemonic.take_type()?;
    if of == Type::Pred || of.size() * elements as u64 > 32 {
        return Err("there is no access of this type".into());
    }
    Ok(Access { space, of, elements, strong })
}

fn take_space(mnemonic: &mut Mnemonic<'_>) -> Result<Space, String> {
    let names = ["global", "shared", "shared::cta", "local", "const", "param", "param::entry", "param::func"];
    Ok(match mnemonic.take_any(&names) {
        Some("global") => Space::Global,
        Some("shared" | "shared::cta") => Space::Shared,
        Some("local") => Space::Local,
        Some("const") => Space::Const,
        Some(_) => Space::Parameter,
        None => Space::Generic,
    })
}

/// `.param` is the kernel's parameters or the frame, by what the address names.
fn space_of(space: Space, names: AddressOf) -> Result<Space, String> {
    match (space, names) {
        (Space::Parameter | Space::Local, AddressOf::Frame) => Ok(Space::Frame),
        (Space::Parameter, _) => Ok(Space::Parameter),
        (space, AddressOf::Register) => Ok(space),
        _ => Err("the address is of another memory than the access".into()),
    }
}

fn elements<'o, 'a>(operand: &'o Operand<'a>, count: usize) -> Result<&'o [Operand<'a>], String> {
    let elements = match operand {
        Operand::Vector(elements) => elements.as_slice(),
        single => std::slice::from_ref(single),
    };
    if elements.len() == count { Ok(elements) } else { Err(format!("{count} registers are expected")) }
}

fn part_width(of: Type, parts: usize) -> Result<u32, String> {
    match of.size() as usize * 8 / parts.max(1) {
        width @ (8 | 16 | 32) if width * parts == of.size() as usize * 8 => Ok(width as u32),
        _ => Err(format!("{parts} registers don't make one of this type")),
    }
}
