//! A warp: 32 lanes, as long as they agree in step, else in fragments that run one after another.

use super::async_copy::AsyncCopies;
use super::{Environment, Step, Trouble};
use crate::fault::FaultKind;
use crate::instruction::{Instruction, Operation, Predicate, Register};
use crate::lanes::{LANES, Row};
use crate::launch::Order;

/// Instructions until a fragment that others might wait for makes room.
const QUANTUM: u32 = 1 << 14;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Running,
    /// Waits for other lanes of the warp.
    AtCollective,
    /// Waits for other threads of the block.
    AtBarrier,
}

/// What a fragment returns to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Frame {
    /// The number of the call.
    pub(crate) call: u32,
    /// The caller and where its variables lie.
    pub(crate) function: usize,
    pub(crate) base: u64,
    /// Of a function that calls itself.
    pub(crate) saved: SavedRegisters,
}

/// The registers of a function that runs again inside itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct SavedRegisters {
    /// Lanes in which each row was written, and its values.
    pub(crate) rows: Vec<(u32, Vec<u64>)>,
    /// Lanes in which each predicate was written, and its values.
    pub(crate) predicates: Vec<(u32, u32)>,
}

/// Lanes that stand at the same instruction.
#[derive(Clone, Debug)]
pub(crate) struct Fragment {
    pub(crate) lanes: u32,
    /// The number of the instruction that is next.
    pub(crate) next: u32,
    pub(crate) state: State,
    /// Has used up its quantum while others wait.
    pub(crate) tired: bool,
    pub(crate) function: usize,
    /// Where its function's variables begin.
    pub(crate) base: u64,
    pub(crate) calls: Vec<Frame>,
}

impl Fragment {
    /// Whether two fragments may become one.
    fn joins(&self, other: &Fragment) -> bool {
        self.next == other.next && self.state == other.state && self.base == other.base && self.calls == other.calls
    }
}

pub(crate) struct Warp {
    /// In the block.
    pub(crate) number: usize,
    /// Lanes that there are.
    pub(crate) lanes: u32,
    pub(crate) exited: u32,
    pub(crate) rows: Vec<Row>,
    /// Lanes in which a row has been written.
    pub(crate) defined: Vec<u32>,
    /// One bit a lane.
    pub(crate) predicates: Vec<u32>,
    pub(crate) predicates_defined: Vec<u32>,
    pub(crate) carry: u32,
    pub(crate) fragments: Vec<Fragment>,
    /// `.local` and `.param` variables of each lane.
    pub(crate) stacks: Vec<Vec<u8>>,
    pub(crate) copies: AsyncCopies,
    pub(crate) instructions: u64,
    /// Lanes run one after another until they must wait.
    apart: bool,
}

/// What comes after an instruction.
pub(crate) enum After {
    Next,
    /// The fragment has a new place already.
    Moved,
    /// The fragment is gone or waits.
    Stopped,
}

impl Warp {
    pub(crate) fn new(number: usize, lanes: u32, registers: usize, predicates: usize) -> Warp {
        Warp {
            number,
            lanes,
            exited: 0,
            rows: (0..registers).map(|_| Row::default()).collect(),
            defined: vec![0; registers],
            predicates: vec![0; predicates],
            predicates_defined: vec![0; predicates],
            carry: 0,
            fragments: Vec::new(),
            stacks: vec![Vec::new(); LANES],
            copies: AsyncCopies::default(),
            instructions: 0,
            apart: false,
        }
    }

    /// As a new block finds it: all lanes at the kernel's first instruction.
    pub(crate) fn reset(&mut self, environment: &Environment<'_>) {
        let program = environment.program;
        self.exited = 0;
        self.carry = 0;
        self.defined.fill(0);
        self.predicates_defined.fill(0);
        for (register, _) in &program.constants {
            self.defined[*register as usize] = u32::MAX;
        }
        for (register, _) in &program.specials {
            self.defined[*register as usize] = u32::MAX;
        }
        self.copies.reset();
        let kernel = &program.functions[0];
        for stack in &mut self.stacks {
            stack.clear();
            stack.resize(kernel.frame as usize, 0);
        }
        self.fragments.clear();
        self.fragments.push(Fragment {
            lanes: self.lanes,
            next: kernel.start,
            state: State::Running,
            tired: false,
            function: 0,
            base: 0,
            calls: Vec::new(),
        });
    }

    /// The thread's number in the block.
    #[inline(always)]
    pub(crate) fn thread(&self, lane: usize) -> u32 {
        (self.number * LANES + lane) as u32
    }

    pub(crate) fn is_done(&self) -> bool {
        self.fragments.is_empty()
    }

    /// Whether there is something to run.
    pub(crate) fn is_running(&self) -> bool {
        self.fragments.iter().any(|fragment| fragment.state == State::Running)
    }

    /// Runs until every lane waits at a barrier or is done, or the turn is over.
    pub(crate) fn run(&mut self, environment: &mut Environment<'_>) -> Step {
        self.apart = matches!(environment.options.order, Order::Random(_)) && environment.random.u8(..4) == 0;
        if self.apart {
            self.take_apart();
        }
        loop {
            while let Some(place) = self.choose(environment) {
                let fragment = self.fragments.swap_remove(place);
                let rested = self.run_fragment(environment, fragment)?;
                if !rested {
                    return Ok(());
                }
            }
            if !self.resume_collectives(environment)? {
                break;
            }
        }
        self.check_aligned(environment)
    }

    /// One fragment for each lane that can run.
    fn take_apart(&mut self) {
        let fragments = std::mem::take(&mut self.fragments);
        for fragment in fragments {
            if fragment.state != State::Running {
                self.fragments.push(fragment);
                continue;
            }
            for lane in (0..LANES).filter(|lane| fragment.lanes >> lane & 1 == 1) {
                self.fragments.push(Fragment { lanes: 1 << lane, ..fragment.clone() });
            }
        }
    }

    /// The fragment to run next. Those at the same instruction become one; the one furthest behind comes first, so that
    /// lanes that parted meet again as soon as they can.
    fn choose(&mut self, environment: &mut Environment<'_>) -> Option<usize> {
        let running = |fragment: &Fragment| fragment.state == State::Running;
        if self.fragments.len() == 1 {
            return running(&self.fragments[0]).then_some(0);
        }
        if self.fragments.iter().all(|fragment| fragment.tired || !running(fragment)) {
            self.fragments.iter_mut().for_each(|fragment| fragment.tired = false);
        }
        let candidates = self.fragments.iter().enumerate().filter(|(_, f)| running(f) && !f.tired);
        if let Order::Random(_) = environment.options.order
            && (self.apart || environment.random.bool())
        {
            let candidates: Vec<usize> = candidates.map(|(place, _)| place).collect();
            return (!candidates.is_empty()).then(|| candidates[environment.random.usize(..candidates.len())]);
        }
        let (first, _) = match environment.options.order {
            Order::Descending => candidates.min_by_key(|(_, f)| (f.next, f.lanes.trailing_zeros())),
            _ => candidates.min_by_key(|(_, f)| (f.next, u32::MAX - f.lanes.trailing_zeros())),
        }?;
        Some(self.join(first))
    }

    /// Joins to this fragment all others that are where it is. Returns its new place.
    fn join(&mut self, place: usize) -> usize {
        let mut joined = self.fragments.swap_remove(place);
        self.fragments.retain(|other| {
            let joins = joined.joins(other);
            if joins {
                joined.lanes |= other.lanes;
            }
            !joins
        });
        self.fragments.push(joined);
        self.fragments.len() - 1
    }

    /// Joins whatever stands at the same instruction.
    pub(crate) fn join_all(&mut self) {
        for fragment in std::mem::take(&mut self.fragments) {
            match self.fragments.iter_mut().find(|other| other.joins(&fragment)) {
                Some(other) => other.lanes |= fragment.lanes,
                None => self.fragments.push(fragment),
            }
        }
    }

    /// Runs a fragment until it waits, ends, or meets another. False when its turn is over.
    fn run_fragment(&mut self, environment: &mut Environment<'_>, mut fragment: Fragment) -> Step<bool> {
        let program = environment.program;
        let mut meeting = self.next_meeting();
        let mut left = QUANTUM;
        if fragment.next >= program.functions[fragment.function].end {
            return Err(ran_out(fragment.next.saturating_sub(1), &fragment));
        }
        loop {
            let number = fragment.next;
            let result = self.step(environment, &mut fragment, &program.instructions[number as usize]);
            let after = result.map_err(|mut trouble| {
                trouble.instruction.get_or_insert(number);
                trouble
            })?;
            match after {
                After::Next => fragment.next = number + 1,
                After::Moved => meeting = self.next_meeting(),
                After::Stopped => {
                    if fragment.lanes != 0 {
                        self.fragments.push(fragment);
                    }
                    return Ok(true);
                }
            }
            if fragment.next >= program.functions[fragment.function].end {
                return Err(ran_out(number, &fragment));
            }
            if fragment.next >= meeting {
                self.fragments.push(fragment);
                return Ok(true);
            }
            left -= 1;
            if left == 0 {
                fragment.tired = true;
                self.fragments.push(fragment);
                return Ok(false);
            }
        }
    }

    /// The lowest instruction at which another fragment stands that can run.
    fn next_meeting(&self) -> u32 {
        if self.apart || self.fragments.is_empty() {
            return u32::MAX;
        }
        let running = self.fragments.iter().filter(|fragment| fragment.state == State::Running && !fragment.tired);
        running.map(|fragment| fragment.next).min().unwrap_or(u32::MAX)
    }

    #[inline]
    fn step(
        &mut self,
        environment: &mut Environment<'_>,
        fragment: &mut Fragment,
        instruction: &Instruction,
    ) -> Step<After> {
        let active = match instruction.guard {
            None => fragment.lanes,
            Some((predicate, value)) => {
                self.check_predicate(environment, fragment.lanes, predicate)?;
                let truths = self.predicates[predicate as usize];
                fragment.lanes & if value { truths } else { !truths }
            }
        };
        let statistics = &mut environment.statistics;
        statistics.thread_instructions += u64::from(active.count_ones());
        statistics.warp_instructions += 1;
        self.instructions += 1;
        if statistics.thread_instructions > environment.options.instruction_limit {
            let limit = environment.options.instruction_limit;
            return Err(trouble(FaultKind::InstructionLimit { limit }, fragment.lanes));
        }
        if active == 0 {
            return Ok(After::Next);
        }
        match &instruction.operation {
            Operation::Branch(target) => Ok(self.branch(fragment, active, *target)),
            Operation::BranchIndexed { index, targets } => {
                self.branch_indexed(environment, fragment, active, *index, targets)
            }
            Operation::Call(call) => self.call(environment, fragment, active, call),
            Operation::Return => self.return_from(environment, fragment, active),
            Operation::Exit => Ok(self.exit(fragment, active)),
            Operation::Trap => {
                let reason = "the kernel stopped itself: a failed assertion, trap or brkpt".into();
                Err(trouble(FaultKind::Trap { reason }, active))
            }
            Operation::Collective(collective) => self.collective(environment, fragment, active, collective),
            Operation::Barrier(_) => Ok(self.wait(fragment, active, State::AtBarrier)),
            operation => {
                self.execute(environment, fragment, active, operation)?;
                Ok(After::Next)
            }
        }
    }

    fn branch(&mut self, fragment: &mut Fragment, active: u32, target: u32) -> After {
        if active == fragment.lanes {
            fragment.next = target;
            return After::Moved;
        }
        let mut parted = self.part(fragment, active);
        parted.next = target;
        self.fragments.push(parted);
        fragment.next += 1;
        After::Moved
    }

    /// Takes lanes out of a fragment, as a fragment of their own.
    pub(crate) fn part(&self, fragment: &mut Fragment, lanes: u32) -> Fragment {
        fragment.lanes &= !lanes;
        Fragment { lanes, ..fragment.clone() }
    }

    fn branch_indexed(
        &mut self,
        environment: &Environment<'_>,
        fragment: &mut Fragment,
        active: u32,
        index: Register,
        targets: &[u32],
    ) -> Step<After> {
        self.check(environment, active, index)?;
        let idle = fragment.lanes & !active;
        if idle != 0 {
            let mut rest = self.part(fragment, idle);
            rest.next += 1;
            self.fragments.push(rest);
        }
        let mut lanes = fragment.lanes;
        while lanes != 0 {
            let lane = lanes.trailing_zeros() as usize;
            let chosen = self.rows[index as usize][lane].get();
            let together = self.lanes_with_value(lanes, index, chosen);
            let Some(&target) = targets.get(chosen as usize) else {
                let reason = format!("jump to label {chosen} of {}", targets.len());
                return Err(trouble(FaultKind::ControlFlow { reason }, 1 << lane));
            };
            lanes &= !together;
            let mut parted = self.part(fragment, together);
            parted.next = target;
            self.fragments.push(parted);
        }
        Ok(After::Stopped)
    }

    /// Those of `lanes` whose register has this value.
    pub(crate) fn lanes_with_value(&self, lanes: u32, register: Register, value: u64) -> u32 {
        let row = &self.rows[register as usize];
        (0..LANES).filter(|&lane| row[lane].get() == value).fold(0, |mask, lane| mask | 1 << lane) & lanes
    }

    fn exit(&mut self, fragment: &mut Fragment, active: u32) -> After {
        self.exited |= active;
        fragment.lanes &= !active;
        if fragment.lanes == 0 { After::Stopped } else { After::Next }
    }

    /// The active lanes wait at their instruction; the others go on.
    pub(crate) fn wait(&mut self, fragment: &mut Fragment, active: u32, state: State) -> After {
        let others = fragment.lanes & !active;
        if others != 0 {
            let mut rest = self.part(fragment, others);
            rest.next += 1;
            self.fragments.push(rest);
        }
        fragment.state = state;
        After::Stopped
    }

    /// Every lane of `lanes` has written the register.
    #[inline(always)]
    pub(crate) fn check(&self, environment: &Environment<'_>, lanes: u32, register: Register) -> Step {
        let missing = lanes & !self.defined[register as usize];
        if missing != 0 && environment.options.undefined_registers {
            return Err(self.undefined(environment, missing, register));
        }
        Ok(())
    }

    #[cold]
    fn undefined(&self, environment: &Environment<'_>, lanes: u32, register: Register) -> Box<Trouble> {
        let register = environment.program.register_names[register as usize].clone();
        trouble(FaultKind::UndefinedRegister { register }, lanes)
    }

    #[inline(always)]
    pub(crate) fn check_predicate(&self, environment: &Environment<'_>, lanes: u32, predicate: Predicate) -> Step {
        let missing = lanes & !self.predicates_defined[predicate as usize];
        if missing != 0 && environment.options.undefined_registers {
            let register = environment.program.predicate_names[predicate as usize].clone();
            return Err(trouble(FaultKind::UndefinedRegister { register }, missing));
        }
        Ok(())
    }
}

/// Of the first of these lanes.
#[cold]
pub(crate) fn trouble(kind: FaultKind, lanes: u32) -> Box<Trouble> {
    Box::new(Trouble { kind, lane: lanes.trailing_zeros() as usize % LANES, instruction: None })
}

#[cold]
fn ran_out(number: u32, fragment: &Fragment) -> Box<Trouble> {
    let reason = "the code goes on past the function's last instruction".into();
    let mut found = trouble(FaultKind::ControlFlow { reason }, fragment.lanes);
    found.instruction = Some(number);
    found
}
