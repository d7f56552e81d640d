//! Instructions that compute: from registers to registers.

use super::function::FunctionDecoder;
use super::mnemonic::Mnemonic;
use super::operand::{Number, Operand};
use crate::arithmetic::approximate::{Approximation, gross_f64};
use crate::arithmetic::carry::CarryOperation;
use crate::arithmetic::compare;
use crate::arithmetic::convert::{self, Conversion};
use crate::arithmetic::float::{self, Style};
use crate::arithmetic::half_precision::{self, HalfOperation};
use crate::arithmetic::integer::{self, Part, Permutation};
use crate::arithmetic::rounding::Rounding;
use crate::instruction::{Logic, Operation, Register};
use crate::lanes::{Function, unary};
use crate::types::Type;

impl<'a> FunctionDecoder<'a, '_> {
    /// `None` where the opcode isn't one of these.
    pub(super) fn arithmetic(
        &mut self,
        mnemonic: &mut Mnemonic<'a>,
        operands: &[Operand<'a>],
    ) -> Result<Option<Operation>, String> {
        let operation = match mnemonic.opcode {
            "addc" | "subc" | "madc" => self.with_carry(mnemonic, operands)?,
            "add" | "sub" | "mad" if mnemonic.has("cc") => self.with_carry(mnemonic, operands)?,
            "add" | "sub" | "mul" | "fma" | "min" | "max" | "abs" | "neg" => self.either_kind(mnemonic, operands)?,
            "mad" => self.multiply_add(mnemonic, operands)?,
            "div" | "rem" => self.division(mnemonic, operands)?,
            "rcp" | "sqrt" | "rsqrt" | "ex2" | "lg2" | "sin" | "cos" | "tanh" => {
                self.function_of_one(mnemonic, operands)?
            }
            "and" | "or" | "xor" | "not" | "cnot" => self.logic(mnemonic, operands)?,
            "setp" | "testp" => self.comparison(mnemonic, operands)?,
            "selp" => self.selection(mnemonic, operands)?,
            "cvt" => self.conversion(mnemonic, operands)?,
            "shl" | "shr" | "shf" | "lop3" | "prmt" | "bfe" | "bfi" | "popc" | "clz" | "brev" | "bfind" | "sad"
            | "mul24" | "dp4a" | "slct" | "copysign" => self.bits(mnemonic, operands)?,
            _ => return Ok(None),
        };
        Ok(Some(operation))
    }

    /// An operation with the closure `function`, whose operands have the types in `sources`.
    fn compute(
        &mut self,
        function: Option<Function>,
        operands: &[Operand<'a>],
        sources: &[Type],
    ) -> Result<Operation, String> {
        let function = function.ok_or("this combination of type and modifiers isn't known")?;
        let (destination, sources) = self.destination_and_sources(operands, sources)?;
        Ok(Operation::Compute { function, destination, sources })
    }

    /// Sources that there aren't are the destination, which is a row as good as any.
    fn destination_and_sources(
        &mut self,
        operands: &[Operand<'a>],
        types: &[Type],
    ) -> Result<(Register, [Register; 4]), String> {
        let [destination, given @ ..] = operands else { return Err("the operands are missing".into()) };
        if given.len() != types.len() {
            return Err(format!("{} operands are expected, there are {}", types.len() + 1, operands.len()));
        }
        let (destination, _) = self.destination(destination)?;
        let mut sources = [destination; 4];
        for ((source, operand), of) in sources.iter_mut().zip(given).zip(types) {
            *source = self.source(operand, *of)?;
        }
        Ok((destination, sources))
    }

    fn style(mnemonic: &mut Mnemonic<'a>) -> Style {
        Style {
            rounding: mnemonic.take_rounding().unwrap_or(Rounding::Nearest),
            flush: mnemonic.take("ftz"),
            saturate: mnemonic.take("sat"),
        }
    }

    /// Instructions that integers and floats have alike.
    fn either_kind(&mut self, mnemonic: &mut Mnemonic<'a>, operands: &[Operand<'a>]) -> Result<Operation, String> {
        let of = mnemonic.take_type()?;
        let count =
            if matches!(mnemonic.opcode, "abs" | "neg") { 1 } else { 2 + usize::from(mnemonic.opcode == "fma") };
        let function = match of {
            Type::F32 | Type::F64 => Self::float_function(mnemonic, of),
            Type::F16 | Type::F16x2 | Type::Bf16 | Type::Bf16x2 => Self::half_function(mnemonic, of),
            _ => Self::integer_function(mnemonic, of),
        };
        self.compute(function, operands, &[of; 3][..count])
    }

    fn float_function(mnemonic: &mut Mnemonic<'a>, of: Type) -> Option<Function> {
        match mnemonic.opcode {
            "min" => float::minimum(of, mnemonic.take("ftz"), mnemonic.take("NaN")),
            "max" => float::maximum(of, mnemonic.take("ftz"), mnemonic.take("NaN")),
            "abs" => float::absolute(of, mnemonic.take("ftz")),
            "neg" => float::negate(of, mnemonic.take("ftz")),
            "add" => float::add(of, Self::style(mnemonic)),
            "sub" => float::subtract(of, Self::style(mnemonic)),
            "mul" => float::multiply(of, Self::style(mnemonic)),
            "fma" => float::multiply_add(of, Self::style(mnemonic)),
            _ => None,
        }
    }

    fn half_function(mnemonic: &mut Mnemonic<'a>, of: Type) -> Option<Function> {
        mnemonic.take("rn");
        let operation = match mnemonic.opcode {
            "min" => HalfOperation::Minimum { keep_nan: mnemonic.take("NaN") },
            "max" => HalfOperation::Maximum { keep_nan: mnemonic.take("NaN") },
            "abs" => HalfOperation::Absolute,
            "neg" => HalfOperation::Negate,
            "add" => HalfOperation::Add,
            "sub" => HalfOperation::Subtract,
            "mul" => HalfOperation::Multiply,
            "fma" => HalfOperation::MultiplyAdd { relu: mnemonic.take("relu") },
            _ => return None,
        };
        half_precision::function(operation, of)
    }

    fn integer_function(mnemonic: &mut Mnemonic<'a>, of: Type) -> Option<Function> {
        match mnemonic.opcode {
            "min" => integer::minimum(of),
            "max" => integer::maximum(of),
            "abs" => integer::absolute(of),
            "neg" => integer::negate(of),
            "add" => integer::add(of),
            "sub" => integer::subtract(of),
            "mul" => integer::multiply(of, Self::part(mnemonic)?),
            _ => None,
        }
    }

    fn part(mnemonic: &mut Mnemonic<'a>) -> Option<Part> {
        Some(match mnemonic.take_any(&["lo", "hi", "wide"])? {
            "lo" => Part::Low,
            "hi" => Part::High,
            _ => Part::Wide,
        })
    }

    fn multiply_add(&mut self, mnemonic: &mut Mnemonic<'a>, operands: &[Operand<'a>]) -> Result<Operation, String> {
        let of = mnemonic.take_type()?;
        if of.is_float() {
            let function = float::multiply_add(of, Self::style(mnemonic));
            return self.compute(function, operands, &[of; 3]);
        }
        let part = Self::part(mnemonic).ok_or("lo, hi or wide is missing")?;
        let summand = match (part, of) {
            (Part::Wide, Type::U16 | Type::S16) => Type::U32,
            (Part::Wide, _) => Type::U64,
            _ => of,
        };
        self.compute(integer::multiply_add(of, part), operands, &[of, of, summand])
    }

    fn with_carry(&mut self, mnemonic: &mut Mnemonic<'a>, operands: &[Operand<'a>]) -> Result<Operation, String> {
        let of = mnemonic.take_type()?;
        let writes = mnemonic.take("cc");
        let operation = match (mnemonic.opcode, Self::part(mnemonic)) {
            ("add" | "addc", None) => CarryOperation::Add,
            ("sub" | "subc", None) => CarryOperation::Subtract,
            ("mad" | "madc", Some(Part::Low)) => CarryOperation::MultiplyLowAdd,
            ("mad" | "madc", Some(Part::High)) => CarryOperation::MultiplyHighAdd,
            _ => return Err("this combination of modifiers isn't known".into()),
        };
        if !matches!(of, Type::U32 | Type::S32 | Type::B32 | Type::U64 | Type::S64 | Type::B64) {
            return Err("there is no arithmetic with carry of this type".into());
        }
        let count = if matches!(operation, CarryOperation::Add | CarryOperation::Subtract) { 2 } else { 3 };
        let (destination, [a, b, c, _]) = self.destination_and_sources(operands, &[of; 3][..count])?;
        let reads = mnemonic.opcode.ends_with('c');
        Ok(Operation::Carry {
            operation,
            of,
            reads,
            writes,
            destination,
            sources: [a, b, if count == 3 { c } else { a }],
        })
    }

    fn division(&mut self, mnemonic: &mut Mnemonic<'a>, operands: &[Operand<'a>]) -> Result<Operation, String> {
        let of = mnemonic.take_type()?;
        if of.is_float() {
            if mnemonic.take_any(&["approx", "full"]).is_some() {
                return self.approximation(Approximation::Divide, mnemonic, operands, of);
            }
            let function = float::divide(of, Self::style(mnemonic));
            return self.compute(function, operands, &[of; 2]);
        }
        let function = if mnemonic.opcode == "div" { integer::divide(of) } else { integer::remainder(of) };
        let function = function.ok_or("there is no division of this type")?;
        let (destination, [a, b, ..]) = self.destination_and_sources(operands, &[of; 2])?;
        Ok(Operation::Divide { function, destination, sources: [a, b], mask: of.mask() })
    }

    fn function_of_one(&mut self, mnemonic: &mut Mnemonic<'a>, operands: &[Operand<'a>]) -> Result<Operation, String> {
        let of = mnemonic.take_type()?;
        if mnemonic.take("approx") {
            return self.approximate_function_of_one(mnemonic, operands, of);
        }
        let function = match mnemonic.opcode {
            "rcp" => float::reciprocal(of, Self::style(mnemonic)),
            "sqrt" => float::square_root(of, Self::style(mnemonic)),
            _ => None,
        };
        self.compute(function, operands, &[of])
    }

    fn approximate_function_of_one(
        &mut self,
        mnemonic: &mut Mnemonic<'a>,
        operands: &[Operand<'a>],
        of: Type,
    ) -> Result<Operation, String> {
        let half_operation = match mnemonic.opcode {
            "ex2" => Some(HalfOperation::Exp2),
            "tanh" => Some(HalfOperation::Tanh),
            _ => None,
        };
        match (of, half_operation) {
            (Type::F16 | Type::F16x2 | Type::Bf16 | Type::Bf16x2, Some(operation)) => {
                mnemonic.take("ftz");
                return self.compute(half_precision::function(operation, of), operands, &[of]);
            }
            (Type::F64, _) if matches!(mnemonic.opcode, "rcp" | "rsqrt") => {
                let root = mnemonic.opcode == "rsqrt";
                mnemonic.take("ftz");
                return self.compute(Some(unary(move |a: f64| gross_f64(root, a))), operands, &[of]);
            }
            _ => {}
        }
        let function = match mnemonic.opcode {
            "rcp" => Approximation::Reciprocal,
            "sqrt" => Approximation::Root,
            "rsqrt" => Approximation::ReciprocalRoot,
            "ex2" => Approximation::Exp2,
            "lg2" => Approximation::Log2,
            "sin" => Approximation::Sine,
            "cos" => Approximation::Cosine,
            _ => Approximation::Tanh,
        };
        self.approximation(function, mnemonic, operands, of)
    }

    fn approximation(
        &mut self,
        function: Approximation,
        mnemonic: &mut Mnemonic<'a>,
        operands: &[Operand<'a>],
        of: Type,
    ) -> Result<Operation, String> {
        if of != Type::F32 {
            return Err("there is no approximation of this type".into());
        }
        let flush = mnemonic.take("ftz");
        let count = if function == Approximation::Divide { 2 } else { 1 };
        let (destination, [a, b, ..]) = self.destination_and_sources(operands, &[of; 2][..count])?;
        let sources = [a, if count == 2 { b } else { a }];
        Ok(Operation::Approximate { function, flush, destination, sources })
    }

    fn logic(&mut self, mnemonic: &mut Mnemonic<'a>, operands: &[Operand<'a>]) -> Result<Operation, String> {
        let of = mnemonic.take_type()?;
        if of == Type::Pred {
            return self.predicate_logic(mnemonic, operands);
        }
        let function = match mnemonic.opcode {
            "and" => integer::and(of),
            "or" => integer::or(of),
            "xor" => integer::exclusive_or(of),
            "not" => integer::not(of),
            _ => integer::logical_not(of),
        };
        let count = if matches!(mnemonic.opcode, "not" | "cnot") { 1 } else { 2 };
        self.compute(function, operands, &[of; 2][..count])
    }

    fn predicate_logic(&mut self, mnemonic: &mut Mnemonic<'a>, operands: &[Operand<'a>]) -> Result<Operation, String> {
        match (mnemonic.opcode, operands) {
            ("not", [destination, source]) => {
                let source = self.truth(source)?;
                let destination = self.predicate_destination(destination)?;
                let truth = crate::instruction::Truth::Constant(true);
                Ok(Operation::Logic { logic: Logic::Xor, destination, sources: [source, truth] })
            }
            (opcode @ ("and" | "or" | "xor"), [destination, a, b]) => {
                let sources = [self.truth(a)?, self.truth(b)?];
                let destination = self.predicate_destination(destination)?;
                Ok(Operation::Logic { logic: logic(opcode).ok_or("no such logic")?, destination, sources })
            }
            _ => Err("this operation on predicates isn't known".into()),
        }
    }

    fn comparison(&mut self, mnemonic: &mut Mnemonic<'a>, operands: &[Operand<'a>]) -> Result<Operation, String> {
        let of = mnemonic.take_type()?;
        let name = mnemonic.take_first()?;
        let combined = mnemonic.take_any(&["and", "or", "xor"]).and_then(logic);
        let (count, comparison) = if mnemonic.opcode == "testp" {
            (1, compare::test_class(name, of))
        } else {
            (2, compare::compare(name, of, mnemonic.take("ftz")))
        };
        let comparison = comparison.ok_or_else(|| format!("there is no comparison {name} of this type"))?;
        let expected = 1 + count + usize::from(combined.is_some());
        if operands.len() != expected {
            return Err(format!("{expected} operands are expected, there are {}", operands.len()));
        }
        let (destination, complement) = match &operands[0] {
            Operand::Name(name) => (self.predicate(name)?, None),
            Operand::Pair(name, complement) => (self.predicate(name)?, self.predicate(complement)?),
            _ => return Err("a predicate to write is expected".into()),
        };
        let combined = match combined {
            Some(logic) => Some((logic, self.truth(&operands[count + 1])?)),
            None => None,
        };
        let sources = [self.source(&operands[1], of)?, self.source(&operands[count], of)?];
        Ok(Operation::Compare { comparison, sources, combined, destination, complement })
    }

    fn selection(&mut self, mnemonic: &mut Mnemonic<'a>, operands: &[Operand<'a>]) -> Result<Operation, String> {
        let of = mnemonic.take_type()?;
        let [destination, a, b, condition] = operands else { return Err("4 operands are expected".into()) };
        let sources = [self.source(a, of)?, self.source(b, of)?];
        let (destination, _) = self.destination(destination)?;
        Ok(Operation::Select { destination, sources, condition: self.truth(condition)?, mask: of.mask() })
    }

    fn conversion(&mut self, mnemonic: &mut Mnemonic<'a>, operands: &[Operand<'a>]) -> Result<Operation, String> {
        let integral = mnemonic.take_integer_rounding();
        let how = Conversion {
            rounding: integral.or_else(|| mnemonic.take_rounding()).unwrap_or(Rounding::Nearest),
            to_integral: integral.is_some(),
            flush: mnemonic.take("ftz"),
            saturate: mnemonic.take("sat"),
            relu: mnemonic.take("relu"),
        };
        let to = mnemonic.take_type()?;
        let from = mnemonic.take_type()?;
        let count = if matches!(to, Type::F16x2 | Type::Bf16x2) { 2 } else { 1 };
        let operation = self.compute(convert::function(to, from, how), operands, &[from; 2][..count])?;
        // a narrow signed result fills a wider register with its sign
        match (&operands[0], to.is_signed()) {
            (destination, true) => {
                let (_, register) = self.destination(destination)?;
                if register.size() <= to.size() {
                    return Ok(operation);
                }
                self.widened(operation, to, register)
            }
            _ => Ok(operation),
        }
    }

    fn widened(&self, operation: Operation, to: Type, register: Type) -> Result<Operation, String> {
        let (width, mask) = (to.size() as u32 * 8, register.mask());
        let Operation::Compute { function: Function::Unary(convert), destination, sources } = operation else {
            return Ok(operation);
        };
        let function = Function::Unary(Box::new(move |lanes, to, from| {
            convert(lanes, to, from);
            crate::lanes::for_each_lane(lanes, |lane| {
                to[lane].set(crate::types::sign_extended(to[lane].get(), width) & mask);
            });
        }));
        Ok(Operation::Compute { function, destination, sources })
    }

    fn bits(&mut self, mnemonic: &mut Mnemonic<'a>, operands: &[Operand<'a>]) -> Result<Operation, String> {
        use Type::{B32, U32};
        match mnemonic.opcode {
            "prmt" => return self.permutation(mnemonic, operands),
            "lop3" => return self.three_bits(mnemonic, operands),
            "shf" => {
                let left = mnemonic.take_any(&["l", "r"]).ok_or("l or r is missing")? == "l";
                let wrap = mnemonic.take_any(&["wrap", "clamp"]).ok_or("wrap or clamp is missing")? == "wrap";
                let of = mnemonic.take_type()?;
                let function = (of == B32).then(|| integer::funnel_shift(left, wrap));
                return self.compute(function, operands, &[B32, B32, U32]);
            }
            "dp4a" => {
                let (a, b) = (mnemonic.take_type()?, mnemonic.take_type()?);
                return self.compute(integer::dot_of_bytes(a, b), operands, &[U32; 3]);
            }
            _ => {}
        }
        let of = mnemonic.take_type()?;
        match mnemonic.opcode {
            "shl" => self.compute(integer::shift_left(of), operands, &[of, U32]),
            "shr" => self.compute(integer::shift_right(of), operands, &[of, U32]),
            "bfe" => self.compute(integer::extract_bits(of), operands, &[of, U32, U32]),
            "bfi" => self.compute(integer::insert_bits(of), operands, &[of, of, U32, U32]),
            "popc" => self.compute(integer::count_ones(of), operands, &[of]),
            "clz" => self.compute(integer::leading_zeros(of), operands, &[of]),
            "brev" => self.compute(integer::reverse_bits(of), operands, &[of]),
            "bfind" => self.compute(integer::find_highest(of, mnemonic.take("shiftamt")), operands, &[of]),
            "sad" => self.compute(integer::sum_of_absolute_differences(of), operands, &[of; 3]),
            "copysign" => self.compute(float::copy_sign(of), operands, &[of; 2]),
            "mul24" => {
                let part = Self::part(mnemonic).ok_or("lo or hi is missing")?;
                self.compute(integer::multiply_24(of, part), operands, &[of; 2])
            }
            _ => {
                let sign_of = mnemonic.take_type()?;
                mnemonic.take("ftz");
                self.compute(integer::select_by_sign(of, sign_of), operands, &[of, of, sign_of])
            }
        }
    }

    fn permutation(&mut self, mnemonic: &mut Mnemonic<'a>, operands: &[Operand<'a>]) -> Result<Operation, String> {
        let of = mnemonic.take_type()?;
        let mode = match mnemonic.take_any(&["f4e", "b4e", "rc8", "ecl", "ecr", "rc16"]) {
            None => Permutation::Generic,
            Some("f4e") => Permutation::Forward,
            Some("b4e") => Permutation::Backward,
            Some("rc8") => Permutation::Replicate8,
            Some("ecl") => Permutation::EdgeLeft,
            Some("ecr") => Permutation::EdgeRight,
            Some(_) => Permutation::Replicate16,
        };
        self.compute((of == Type::B32).then(|| integer::permute_bytes(mode)), operands, &[Type::B32; 3])
    }

    fn three_bits(&mut self, mnemonic: &mut Mnemonic<'a>, operands: &[Operand<'a>]) -> Result<Operation, String> {
        let of = mnemonic.take_type()?;
        let [rest @ .., Operand::Number(Number::Integer(table @ 0..=255))] = operands else {
            return Err("the last operand must be a number from 0 to 255".into());
        };
        self.compute((of == Type::B32).then(|| integer::three_bits(*table as u8)), rest, &[Type::B32; 3])
    }
}

fn logic(name: &str) -> Option<Logic> {
    Some(match name {
        "and" => Logic::And,
        "or" => Logic::Or,
        "xor" => Logic::Xor,
        _ => return None,
    })
}
