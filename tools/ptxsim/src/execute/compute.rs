//! Instructions that each lane runs for itself, apart from memory.

use super::warp::{After, Fragment, Frame, SavedRegisters, State, Warp, trouble};
use super::{Environment, Step};
use crate::arithmetic::approximate::blurred;
use crate::arithmetic::carry;
use crate::arithmetic::float::{canonical, flushed};
use crate::fault::FaultKind;
use crate::instruction::{Call, Clock, Logic, Operation, Register, Space, Truth};
use crate::lanes::{Function, LANES, for_each_lane};
use crate::program::window;

/// Bytes of `.local` memory that a thread can have.
const MOST_LOCAL: u64 = 512 << 10;

impl Warp {
    pub(super) fn execute(
        &mut self,
        environment: &mut Environment<'_>,
        fragment: &Fragment,
        active: u32,
        operation: &Operation,
    ) -> Step {
        match operation {
            Operation::Compute { function, destination, sources } => {
                self.compute(environment, active, function, *destination, sources)?;
                self.defined[*destination as usize] |= active;
                Ok(())
            }
            Operation::Copy { destination, source, mask } => {
                self.copy(active, *destination, *source, *mask);
                Ok(())
            }
            Operation::Load(load) => self.load(environment, fragment, active, load),
            Operation::Store(store) => self.store(environment, fragment, active, store),
            Operation::Atomic(atomic) => self.atomic(environment, fragment, active, atomic),
            Operation::AsyncCopy(copy) => self.start_copy(environment, fragment, active, copy),
            Operation::AsyncCommit => {
                self.copies.commit(active);
                Ok(())
            }
            Operation::AsyncWait { groups, all } => self.finish_copies(environment, active, *groups, *all),
            _ => self.execute_rest(environment, fragment, active, operation),
        }
    }

    fn execute_rest(
        &mut self,
        environment: &mut Environment<'_>,
        fragment: &Fragment,
        active: u32,
        operation: &Operation,
    ) -> Step {
        match operation {
            Operation::Compare { comparison, sources: [a, b], combined, destination, complement } => {
                self.check(environment, active, *a)?;
                self.check(environment, active, *b)?;
                let truths = comparison(active, &self.rows[*a as usize], &self.rows[*b as usize]);
                let (truths, complements) = match combined {
                    None => (truths, !truths),
                    Some((logic, with)) => {
                        let with = self.truth(environment, active, *with)?;
                        (combine(*logic, truths, with), combine(*logic, !truths, with))
                    }
                };
                for (predicate, truths) in [(destination, truths), (complement, complements)] {
                    if let Some(predicate) = predicate {
                        self.set_predicate(active, *predicate, truths);
                    }
                }
            }
            Operation::Select { destination, sources: [a, b], condition, mask } => {
                let condition = self.truth(environment, active, *condition)?;
                // one row may be source and destination: each lane is written once
                self.copy(active & condition, *destination, *a, *mask);
                self.copy(active & !condition, *destination, *b, *mask);
            }
            Operation::Approximate { function, flush, destination, sources: [a, b] } => {
                self.check(environment, active, *a)?;
                self.check(environment, active, *b)?;
                let ulps = environment.options.ulp_noise;
                let to = &self.rows[*destination as usize];
                let (a, b) = (&self.rows[*a as usize], &self.rows[*b as usize]);
                for_each_lane(active, |lane| {
                    let mut x = f32::from_bits(a[lane].get() as u32);
                    let mut y = f32::from_bits(b[lane].get() as u32);
                    if *flush {
                        (x, y) = (flushed(x), flushed(y));
                    }
                    let mut result = canonical(function.compute(x, y));
                    if *flush {
                        result = flushed(result);
                    }
                    to[lane].set(blurred(result, ulps).to_bits().into());
                });
                self.defined[*destination as usize] |= active;
            }
            Operation::Divide { function, destination, sources: [a, b], mask } => {
                let divisors = &self.rows[*b as usize];
                let zeros = (0..LANES).filter(|&lane| divisors[lane].get() & mask == 0);
                let zeros = zeros.fold(0, |lanes, lane| lanes | 1 << lane) & active & self.defined[*b as usize];
                if zeros != 0 {
                    return Err(trouble(FaultKind::DivisionByZero, zeros));
                }
                self.compute(environment, active, function, *destination, &[*a, *b, *a, *a])?;
                self.defined[*destination as usize] |= active;
            }
            Operation::Carry { operation, of, reads, writes, destination, sources } => {
                for source in sources {
                    self.check(environment, active, *source)?;
                }
                let width = of.size() as u32 * 8;
                for_each_lane(active, |lane| {
                    let values = sources.map(|source| self.rows[source as usize][lane].get());
                    let carry_in = *reads && self.carry >> lane & 1 == 1;
                    let (value, carry) = carry::compute(*operation, width, of.is_signed(), values, carry_in);
                    self.rows[*destination as usize][lane].set(value);
                    if *writes {
                        self.carry = self.carry & !(1 << lane) | u32::from(carry) << lane;
                    }
                });
                self.defined[*destination as usize] |= active;
            }
            Operation::Logic { logic, destination, sources: [a, b] } => {
                let a = self.truth(environment, active, *a)?;
                let b = self.truth(environment, active, *b)?;
                self.set_predicate(active, *destination, combine(*logic, a, b));
            }
            Operation::CopyPredicate { destination, source } => self.copy_predicate(active, *destination, *source),
            Operation::Pack { destination, parts, width } => {
                for part in parts {
                    self.check(environment, active, *part)?;
                }
                let mask = crate::types::low_bits(*width);
                for_each_lane(active, |lane| {
                    let pieces = parts.iter().rev().map(|part| self.rows[*part as usize][lane].get() & mask);
                    let packed = pieces.fold(0, |packed, piece| packed << width | piece);
                    self.rows[*destination as usize][lane].set(packed);
                });
                self.defined[*destination as usize] |= active;
            }
            Operation::Unpack { destinations, source, width } => {
                self.check(environment, active, *source)?;
                let mask = crate::types::low_bits(*width);
                for_each_lane(active, |lane| {
                    let packed = self.rows[*source as usize][lane].get();
                    for (place, destination) in destinations.iter().enumerate() {
                        if let Some(destination) = destination {
                            let piece = packed >> (place as u32 * width) & mask;
                            self.rows[*destination as usize][lane].set(piece);
                        }
                    }
                });
                for destination in destinations.iter().flatten() {
                    self.defined[*destination as usize] |= active;
                }
            }
            Operation::ReadClock { clock, destination } => {
                let value = match clock {
                    Clock::Instructions => self.instructions,
                    Clock::ActiveLanes => active.into(),
                };
                self.set_all(active, *destination, value);
            }
            Operation::FrameAddress { destination, offset } => {
                self.set_all(active, *destination, fragment.base + offset);
            }
            Operation::Shift { destination, source, offset } => {
                self.check(environment, active, *source)?;
                for_each_lane(active, |lane| {
                    let moved = self.rows[*source as usize][lane].get().wrapping_add(*offset);
                    self.rows[*destination as usize][lane].set(moved);
                });
                self.defined[*destination as usize] |= active;
            }
            Operation::IsSpace { space, destination, source } => {
                self.check(environment, active, *source)?;
                let row = &self.rows[*source as usize];
                let inside = (0..LANES).filter(|&lane| space_of(row[lane].get()) == *space);
                let truths = inside.fold(0, |lanes, lane| lanes | 1 << lane);
                self.set_predicate(active, *destination, truths);
            }
            // hints; whatever changes the flow was handled before
            _ => {}
        }
        Ok(())
    }

    #[inline(always)]
    fn compute(
        &mut self,
        environment: &Environment<'_>,
        active: u32,
        function: &Function,
        destination: Register,
        sources: &[Register; 4],
    ) -> Step {
        let [a, b, c, d] = *sources;
        let row = |register: Register| &self.rows[register as usize];
        self.check(environment, active, a)?;
        match function {
            Function::Unary(function) => function(active, row(destination), row(a)),
            Function::Binary(function) => {
                self.check(environment, active, b)?;
                function(active, row(destination), row(a), row(b));
            }
            Function::Ternary(function) => {
                self.check(environment, active, b)?;
                self.check(environment, active, c)?;
                function(active, row(destination), row(a), row(b), row(c));
            }
            Function::Quaternary(function) => {
                for source in [b, c, d] {
                    self.check(environment, active, source)?;
                }
                function(active, row(destination), row(a), row(b), row(c), row(d));
            }
        }
        Ok(())
    }

    /// What is undefined stays so in the copy.
    #[inline(always)]
    fn copy(&mut self, lanes: u32, destination: Register, source: Register, mask: u64) {
        let (to, from) = (&self.rows[destination as usize], &self.rows[source as usize]);
        for_each_lane(lanes, |lane| to[lane].set(from[lane].get() & mask));
        let defined = self.defined[source as usize];
        let place = &mut self.defined[destination as usize];
        *place = *place & !lanes | defined & lanes;
    }

    pub(super) fn set_all(&mut self, lanes: u32, destination: Register, value: u64) {
        for_each_lane(lanes, |lane| self.rows[destination as usize][lane].set(value));
        self.defined[destination as usize] |= lanes;
    }

    pub(super) fn set_predicate(&mut self, lanes: u32, destination: u32, truths: u32) {
        let place = &mut self.predicates[destination as usize];
        *place = *place & !lanes | truths & lanes;
        self.predicates_defined[destination as usize] |= lanes;
    }

    fn copy_predicate(&mut self, lanes: u32, destination: u32, source: Truth) {
        let (truths, defined) = match source {
            Truth::Constant(value) => (if value { u32::MAX } else { 0 }, u32::MAX),
            Truth::Register { predicate, negated } => {
                let truths = self.predicates[predicate as usize];
                (if negated { !truths } else { truths }, self.predicates_defined[predicate as usize])
            }
        };
        self.set_predicate(lanes, destination, truths);
        let place = &mut self.predicates_defined[destination as usize];
        *place = *place & !lanes | defined & lanes;
    }

    /// One bit for each lane.
    pub(super) fn truth(&self, environment: &Environment<'_>, lanes: u32, truth: Truth) -> Step<u32> {
        match truth {
            Truth::Constant(value) => Ok(if value { u32::MAX } else { 0 }),
            Truth::Register { predicate, negated } => {
                self.check_predicate(environment, lanes, predicate)?;
                let truths = self.predicates[predicate as usize];
                Ok(if negated { !truths } else { truths })
            }
        }
    }

    /// The active lanes go on in the function; the others behind the call.
    pub(super) fn call(
        &mut self,
        environment: &Environment<'_>,
        fragment: &mut Fragment,
        active: u32,
        call: &Call,
    ) -> Step<After> {
        let others = fragment.lanes & !active;
        if others != 0 {
            let mut rest = self.part(fragment, others);
            rest.next += 1;
            self.fragments.push(rest);
        }
        let (caller, callee) =
            (&environment.program.functions[fragment.function], &environment.program.functions[call.function]);
        let base = fragment.base + caller.frame;
        if base + callee.frame > MOST_LOCAL {
            let reason = format!("calls of {} need more than {MOST_LOCAL} bytes of local memory", callee.name);
            return Err(trouble(FaultKind::ControlFlow { reason }, active));
        }
        for_each_lane(active, |lane| {
            let stack = &mut self.stacks[lane];
            stack.truncate(base as usize);
            stack.resize((base + callee.frame) as usize, 0);
            for (from, to, size) in &call.arguments {
                let from = (fragment.base + from) as usize;
                stack.copy_within(from..from + *size as usize, (base + to) as usize);
            }
        });
        let recursive =
            fragment.function == call.function || fragment.calls.iter().any(|frame| frame.function == call.function);
        let saved = if recursive { self.save(environment, call.function) } else { SavedRegisters::default() };
        let (next, function, base_of_caller) = (fragment.next, fragment.function, fragment.base);
        fragment.calls.push(Frame { call: next, function, base: base_of_caller, saved });
        fragment.function = call.function;
        fragment.base = base;
        fragment.next = callee.start;
        Ok(After::Moved)
    }

    /// The registers of a function that is about to run inside itself.
    fn save(&self, environment: &Environment<'_>, function: usize) -> SavedRegisters {
        let entry = &environment.program.functions[function];
        let rows = entry.registers.clone().map(|register| {
            let values = self.rows[register as usize].iter().map(|value| value.get()).collect();
            (self.defined[register as usize], values)
        });
        let predicates = entry
            .predicates
            .clone()
            .map(|predicate| (self.predicates_defined[predicate as usize], self.predicates[predicate as usize]));
        SavedRegisters { rows: rows.collect(), predicates: predicates.collect() }
    }

    pub(super) fn return_from(
        &mut self,
        environment: &Environment<'_>,
        fragment: &mut Fragment,
        active: u32,
    ) -> Step<After> {
        let others = fragment.lanes & !active;
        if others != 0 {
            let mut rest = self.part(fragment, others);
            rest.next += 1;
            self.fragments.push(rest);
        }
        let Some(frame) = fragment.calls.pop() else {
            return Ok(self.exit_lanes(fragment, active));
        };
        let program = environment.program;
        if let Operation::Call(call) = &program.instructions[frame.call as usize].operation {
            for_each_lane(active, |lane| {
                for (from, to, size) in &call.results {
                    let from = (fragment.base + from) as usize;
                    let to = (frame.base + to) as usize;
                    self.stacks[lane].copy_within(from..from + *size as usize, to);
                }
            });
        }
        self.restore(environment, fragment.function, active, &frame);
        fragment.function = frame.function;
        fragment.base = frame.base;
        fragment.next = frame.call + 1;
        Ok(After::Moved)
    }

    fn restore(&mut self, environment: &Environment<'_>, function: usize, lanes: u32, frame: &Frame) {
        let entry = &environment.program.functions[function];
        for (register, (defined, values)) in entry.registers.clone().zip(&frame.saved.rows) {
            for_each_lane(lanes, |lane| self.rows[register as usize][lane].set(values[lane]));
            let place = &mut self.defined[register as usize];
            *place = *place & !lanes | defined & lanes;
        }
        for (predicate, (defined, truths)) in entry.predicates.clone().zip(&frame.saved.predicates) {
            self.set_predicate(lanes, predicate, *truths);
            let place = &mut self.predicates_defined[predicate as usize];
            *place = *place & !lanes | defined & lanes;
        }
    }

    fn exit_lanes(&mut self, fragment: &mut Fragment, active: u32) -> After {
        self.exited |= active;
        fragment.lanes &= !active;
        fragment.state = State::Running;
        After::Stopped
    }
}

fn combine(logic: Logic, a: u32, b: u32) -> u32 {
    match logic {
        Logic::And => a & b,
        Logic::Or => a | b,
        Logic::Xor => a ^ b,
    }
}

/// The memory that a generic address lies in.
pub(super) fn space_of(address: u64) -> Space {
    match address & !(window::SIZE - 1) {
        window::SHARED => Space::Shared,
        window::LOCAL => Space::Local,
        window::PARAMETER => Space::Parameter,
        _ => Space::Global,
    }
}
