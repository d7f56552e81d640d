//! A block: its warps take turns, and meet at barriers.

use super::warp::{Fragment, State, Warp};
use super::{Environment, Step, Trouble};
use crate::fault::{Fault, FaultKind};
use crate::instruction::{Barrier, BarrierReduction, Operation};
use crate::lanes::{LANES, for_each_lane};
use crate::launch::Order;
use crate::program::Special;

/// The warps of one block after another.
pub(crate) struct Block {
    warps: Vec<Warp>,
}

/// Where a fragment waits.
struct Waiting {
    warp: usize,
    place: usize,
    barrier: u64,
    /// Threads that the barrier is for.
    expected: usize,
    lanes: u32,
    instruction: u32,
}

impl Block {
    pub(crate) fn new(environment: &Environment<'_>, constants: &[u64]) -> Block {
        let program = environment.program;
        let threads: u32 = environment.block_size.iter().product();
        let (registers, predicates) = (program.register_names.len(), program.predicate_names.len());
        let warps = (0..threads.div_ceil(32)).map(|number| {
            let lanes = (threads - number * 32).min(32);
            let mask = if lanes == 32 { u32::MAX } else { (1 << lanes) - 1 };
            let warp = Warp::new(number as usize, mask, registers, predicates);
            for ((register, _), value) in program.constants.iter().zip(constants) {
                warp.rows[*register as usize].iter().for_each(|lane| lane.set(*value));
            }
            warp
        });
        Block { warps: warps.collect() }
    }

    /// Runs the environment's block from its start to its end.
    pub(crate) fn run(
        &mut self,
        environment: &mut Environment<'_>,
        grid: [u32; 3],
        dynamic_shared: u32,
        kernel: &str,
    ) -> Result<(), Box<Fault>> {
        for warp in &mut self.warps {
            warp.reset(environment);
            fill_specials(warp, environment, grid, dynamic_shared);
        }
        environment.shared.reset();
        let mut order: Vec<usize> = (0..self.warps.len()).collect();
        loop {
            match environment.options.order {
                Order::Ascending => {}
                Order::Descending => order.sort_unstable_by(|a, b| b.cmp(a)),
                Order::Random(_) => environment.random.shuffle(&mut order),
            }
            for &number in &order {
                let warp = &mut self.warps[number];
                if warp.is_running() {
                    let result = warp.run(environment);
                    result.map_err(|trouble| fault(environment, kernel, number, *trouble))?;
                }
            }
            if self.warps.iter().all(Warp::is_done) {
                environment.statistics.blocks += 1;
                return Ok(());
            }
            if !self.warps.iter().any(Warp::is_running) {
                let released = self.release(environment);
                released.map_err(|(warp, trouble)| fault(environment, kernel, warp, *trouble))?;
            }
        }
    }

    /// Lets the threads go on whose barrier is complete. All threads wait at one, or have ended.
    fn release(&mut self, environment: &mut Environment<'_>) -> Result<(), (usize, Box<Trouble>)> {
        let waiting = self.waiting(environment)?;
        let mut released = false;
        let mut barriers: Vec<u64> = waiting.iter().map(|waiting| waiting.barrier).collect();
        barriers.sort_unstable();
        barriers.dedup();
        for barrier in barriers {
            let here: Vec<&Waiting> = waiting.iter().filter(|waiting| waiting.barrier == barrier).collect();
            let arrived: u32 = here.iter().map(|waiting| waiting.lanes.count_ones()).sum();
            if here.iter().all(|waiting| waiting.expected == arrived as usize) {
                let block: u32 = environment.block_size.iter().product();
                if arrived == block {
                    self.check_same_instruction(environment, barrier, &here)?;
                    environment.memory.clock.synchronize_block();
                    environment.statistics.barriers += 1;
                } else {
                    let threads = here.iter().flat_map(|waiting| {
                        let lanes = (0..LANES).filter(|lane| waiting.lanes >> lane & 1 == 1);
                        lanes.map(|lane| waiting.warp * LANES + lane)
                    });
                    environment.memory.clock.synchronize_threads(&threads.collect::<Vec<_>>());
                }
                self.pass(environment, &here).map_err(|trouble| (here[0].warp, trouble))?;
                released = true;
            }
        }
        if released { Ok(()) } else { Err(self.stuck(environment, &waiting)) }
    }

    fn waiting(&self, environment: &Environment<'_>) -> Result<Vec<Waiting>, (usize, Box<Trouble>)> {
        let block: u32 = environment.block_size.iter().product();
        let mut all = Vec::new();
        for (number, warp) in self.warps.iter().enumerate() {
            for (place, fragment) in warp.fragments.iter().enumerate() {
                let Some(barrier) = barrier_at(environment, fragment) else { continue };
                let lane = fragment.lanes.trailing_zeros() as usize;
                for register in [Some(barrier.number), barrier.threads].into_iter().flatten() {
                    warp.check(environment, fragment.lanes, register).map_err(|mut trouble| {
                        trouble.instruction = Some(fragment.next);
                        (number, trouble)
                    })?;
                }
                let value = |register: u32| warp.rows[register as usize][lane].get() & 0xffff_ffff;
                all.push(Waiting {
                    warp: number,
                    place,
                    barrier: value(barrier.number),
                    expected: barrier.threads.map_or(block as usize, |register| value(register) as usize),
                    lanes: fragment.lanes,
                    instruction: fragment.next,
                });
            }
        }
        Ok(all)
    }

    /// A barrier of the whole block that warps reach at different instructions only looks complete.
    fn check_same_instruction(
        &self,
        environment: &Environment<'_>,
        barrier: u64,
        here: &[&Waiting],
    ) -> Result<(), (usize, Box<Trouble>)> {
        let first = here[0];
        let Some(other) = here.iter().find(|other| other.instruction != first.instruction) else { return Ok(()) };
        let line = environment.program.origins[other.instruction as usize].line;
        let reason = format!("others at line {line}, which is another place of the code");
        let waiting = here.iter().filter(|same| same.instruction == first.instruction);
        let waiting = waiting.map(|same| same.lanes.count_ones() as usize).sum();
        let kind = FaultKind::Barrier { barrier, waiting, reason };
        let lane = first.lanes.trailing_zeros() as usize;
        Err((first.warp, Box::new(Trouble { kind, lane, instruction: Some(first.instruction) })))
    }

    /// The threads go on behind the barrier, and get what it computed.
    fn pass(&mut self, environment: &Environment<'_>, here: &[&Waiting]) -> Step {
        let (mut count, mut threads) = (0, 0);
        for waiting in here {
            let warp = &self.warps[waiting.warp];
            let reduction = barrier_at(environment, &warp.fragments[waiting.place]).and_then(|b| b.reduction);
            if let Some((_, truth)) = reduction {
                count += (warp.truth(environment, waiting.lanes, truth)? & waiting.lanes).count_ones();
            }
            threads += waiting.lanes.count_ones();
        }
        for waiting in here {
            let warp = &mut self.warps[waiting.warp];
            let reduction = barrier_at(environment, &warp.fragments[waiting.place]).and_then(|b| b.reduction);
            let all = |truth: bool| if truth { u32::MAX } else { 0 };
            match reduction {
                Some((BarrierReduction::Count(register), _)) => warp.set_all(waiting.lanes, register, count.into()),
                Some((BarrierReduction::And(predicate), _)) => {
                    warp.set_predicate(waiting.lanes, predicate, all(count == threads));
                }
                Some((BarrierReduction::Or(predicate), _)) => {
                    warp.set_predicate(waiting.lanes, predicate, all(count > 0));
                }
                None => {}
            }
            let fragment = &mut warp.fragments[waiting.place];
            fragment.next += 1;
            fragment.state = State::Running;
        }
        Ok(())
    }

    /// Why no barrier is complete.
    fn stuck(&self, environment: &Environment<'_>, waiting: &[Waiting]) -> (usize, Box<Trouble>) {
        let exited: u32 = self.warps.iter().map(|warp| warp.exited.count_ones()).sum();
        let first = &waiting[0];
        let here = waiting.iter().filter(|other| other.barrier == first.barrier);
        let arrived = here.map(|other| other.lanes.count_ones() as usize).sum();
        let elsewhere = waiting.iter().find(|other| other.barrier != first.barrier);
        let reason = match elsewhere {
            Some(other) => {
                let line = environment.program.origins[other.instruction as usize].line;
                format!("others at barrier {} (line {line})", other.barrier)
            }
            None if exited > 0 => format!("{exited} others have exited, of {} that it is for", first.expected),
            None => format!("it is for {}", first.expected),
        };
        let kind = FaultKind::Barrier { barrier: first.barrier, waiting: arrived, reason };
        let lane = first.lanes.trailing_zeros() as usize;
        (first.warp, Box::new(Trouble { kind, lane, instruction: Some(first.instruction) }))
    }
}

fn barrier_at<'p>(environment: &Environment<'p>, fragment: &Fragment) -> Option<&'p Barrier> {
    match &environment.program.instructions[fragment.next as usize].operation {
        Operation::Barrier(barrier) if fragment.state == State::AtBarrier => Some(barrier),
        _ => None,
    }
}

fn fill_specials(warp: &Warp, environment: &Environment<'_>, grid: [u32; 3], dynamic_shared: u32) {
    let program = environment.program;
    for (register, special) in &program.specials {
        for_each_lane(u32::MAX, |lane| {
            let thread = environment.thread_index(warp.thread(lane));
            let below = (1u32 << lane) - 1;
            let value = match *special {
                Special::Thread(axis) => thread[axis],
                Special::BlockSize(axis) => environment.block_size[axis],
                Special::Block(axis) => environment.block[axis],
                Special::GridSize(axis) => grid[axis],
                Special::Lane => lane as u32,
                Special::Warp => warp.number as u32,
                Special::Warps => environment.block_size.iter().product::<u32>().div_ceil(32),
                Special::LanesEqual => 1 << lane,
                Special::LanesBelow => below,
                Special::LanesUpTo => below | 1 << lane,
                Special::LanesAbove => !(below | 1 << lane),
                Special::LanesFrom => !below,
                Special::DynamicShared => dynamic_shared,
                Special::TotalShared => environment.shared.bytes.len() as u32,
                Special::Zero => 0,
                Special::One => 1,
            };
            warp.rows[*register as usize][lane].set(value.into());
        });
    }
}

#[cold]
fn fault(environment: &Environment<'_>, kernel: &str, warp: usize, trouble: Trouble) -> Box<Fault> {
    let origin = trouble.instruction.and_then(|number| environment.program.origins.get(number as usize));
    Box::new(Fault {
        kind: trouble.kind,
        kernel: kernel.to_string(),
        line: origin.map_or(0, |origin| origin.line),
        instruction: origin.map(|origin| origin.text.clone()).unwrap_or_default(),
        block: environment.block,
        thread: environment.thread_index((warp * LANES + trouble.lane) as u32),
    })
}
