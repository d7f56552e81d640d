//! Passes and limits in turn on the same buffers.

use std::cell::Cell;
use std::time::{Duration, Instant};

use crate::buffers::Buffers;
use crate::check;
use crate::device::{Device, Graph, Outcome};
use crate::dtype::Dtype;
use crate::host::Type;
use crate::limits::{Limits, Way};
use crate::operators::{Operators, Pass};
use crate::options::{Dims, Options};
use crate::table::{How, Limit, Record};

/// A sample takes about so long, so that the events around it don't count.
const SAMPLE_SECONDS: f64 = 10e-3;
/// What is assumed of the memory to find out how many calls that is.
const BYTES_PER_SECOND: f64 = 3e12;
const MOST_CALLS: usize = 1000;
/// Ways that take part in the rounds, after a heat among all.
const FINALISTS: usize = 2;
const ROUNDS_OF_A_HEAT: usize = 5;
const LEAST_ROUNDS: usize = 20;
const MOST_ROUNDS: usize = 1000;

/// What takes part.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Work {
    Way(Way),
    Pass(Pass),
}

/// A work as it is sampled.
struct Entry {
    work: Work,
    /// None where calls are made one by one.
    graph: Option<Graph>,
    samples: Vec<f64>,
}

/// Checks and times all passes of one shape and type.
///
/// # Errors
/// A wrong number; too little memory; errors of the driver.
pub fn measure<T: Dtype + Type>(options: &Options, device: &Device, dims: Dims) -> Outcome<Vec<Record>> {
    let buffers = Buffers::<T>::new(device, dims, options.standin)?;
    let (operators, limits) = (Operators::new::<T>(device)?, Limits::new(device)?);
    eprintln!("[{}, {}] {}, {} buffers", dims.rows, dims.classes, T::NAME, buffers.slots.len());
    check::passes(device, &operators, &buffers)?;
    let (reading, copying): (Vec<Way>, Vec<Way>) = (Way::reading().collect(), Way::copying(options.standin).collect());
    limits.check(device, &copying, &buffers.slots[0])?;
    // the checks are done with the gradients; the margins stay for the backward pass
    let most_calls = if options.standin { 1 } else { MOST_CALLS };
    let rounds =
        Rounds { device, buffers: &buffers, operators: &operators, limits: &limits, most_calls, at: Cell::new(0) };
    let (seconds, least) = if options.standin { (0.0, 1) } else { (options.seconds, LEAST_ROUNDS) };
    let mut entries = Vec::new();
    for ways in [reading, copying] {
        entries.extend(rounds.heat(ways)?);
    }
    for pass in Pass::ALL {
        entries.extend(rounds.both(Work::Pass(pass)));
    }
    let time = Duration::from_secs_f64(seconds * entries.len() as f64);
    rounds.run(&mut entries, time, least)?;
    Ok(assemble(entries, |name, limit, how, seconds| Record {
        shape: [dims.rows, dims.classes],
        dtype: T::NAME,
        name,
        limit,
        how,
        bytes: buffers.bytes() * if limit == Limit::Read { 1 } else { 2 },
        seconds,
        share: None,
    }))
}

/// The faster read, the faster copy, and the passes beside the one of the two that is their limit.
fn assemble(entries: Vec<Entry>, record: impl Fn(String, Limit, How, Vec<f64>) -> Record) -> Vec<Record> {
    let (mut read, mut copy, mut passes) = (None::<Record>, None::<Record>, Vec::new());
    let faster = |best: Option<Record>, new: Record| match best {
        Some(best) if best.median() <= new.median() => Some(best),
        _ => Some(new),
    };
    for entry in entries {
        let how = if entry.graph.is_some() { How::Graph } else { How::Calls };
        match entry.work {
            Work::Way(way @ Way::Read(_)) => {
                read = faster(read, record(way.name(), Limit::Read, how, entry.samples));
            }
            Work::Way(way) => copy = faster(copy, record(way.name(), Limit::Copy, how, entry.samples)),
            Work::Pass(pass) => {
                let limit = if pass == Pass::Forward { Limit::Read } else { Limit::Copy };
                passes.push(record(pass.name().to_owned(), limit, how, entry.samples));
            }
        }
    }
    let (read, copy) = (read.expect("there is a way to read"), copy.expect("there is a way to copy"));
    for pass in &mut passes {
        let limit = if pass.limit == Limit::Read { &read } else { &copy };
        pass.share = Some(limit.median() / pass.median());
    }
    [read, copy].into_iter().chain(passes).collect()
}

/// Goes through the slots in one circle for all, so that a slot comes back only after all others were used.
struct Rounds<'a, T> {
    device: &'a Device,
    buffers: &'a Buffers<T>,
    operators: &'a Operators,
    limits: &'a Limits,
    most_calls: usize,
    at: Cell<usize>,
}

impl<T: Dtype + Type> Rounds<'_, T> {
    /// The fastest of these ways.
    fn heat(&self, ways: Vec<Way>) -> Outcome<Vec<Entry>> {
        let mut entries: Vec<Entry> = ways.into_iter().map(|way| self.captured(Work::Way(way))).collect();
        self.run(&mut entries, Duration::ZERO, ROUNDS_OF_A_HEAT)?;
        let least = |entry: &Entry| entry.samples.iter().copied().fold(f64::INFINITY, f64::min);
        entries.sort_by(|a, b| least(a).total_cmp(&least(b)));
        entries.truncate(FINALISTS);
        entries.iter_mut().for_each(|entry| entry.samples.clear());
        Ok(entries)
    }

    /// As a graph, where it can be one, and called one by one.
    fn both(&self, work: Work) -> Vec<Entry> {
        let graph = self.captured(work);
        let calls = Entry { work, graph: None, samples: Vec::new() };
        if graph.graph.is_some() { vec![graph, calls] } else { vec![calls] }
    }

    fn captured(&self, work: Work) -> Entry {
        let graph = self.device.capture(|| self.call_all(work));
        if let Err(error) = &graph {
            eprintln!("{work:?}: called one by one, since it can't be captured: {error}");
        }
        Entry { work, graph: graph.ok(), samples: Vec::new() }
    }

    /// Calls of a sample: all slots equally often.
    fn calls(&self) -> usize {
        let slots = self.buffers.slots.len();
        let of_bytes = SAMPLE_SECONDS * BYTES_PER_SECOND / (2 * self.buffers.bytes()) as f64;
        (of_bytes as usize).clamp(1, self.most_calls).next_multiple_of(slots)
    }

    fn call_all(&self, work: Work) -> Outcome<()> {
        (0..self.calls()).try_for_each(|_| self.call(work))
    }

    fn call(&self, work: Work) -> Outcome<()> {
        let slot = &self.buffers.slots[self.at.get()];
        self.at.set((self.at.get() + 1) % self.buffers.slots.len());
        match work {
            Work::Way(way) => self.limits.run(self.device, way, slot),
            Work::Pass(pass) => self.operators.run(pass, self.buffers, slot),
        }
    }

    /// Rounds in which each takes one sample, for so long and at least so many.
    fn run(&self, entries: &mut [Entry], time: Duration, least: usize) -> Outcome<()> {
        for entry in entries.iter() {
            // a first use may load and upload things
            self.sample(entry)?;
        }
        let start = Instant::now();
        let mut round = 0;
        while round < least || (start.elapsed() < time && round < MOST_ROUNDS) {
            for entry in entries.iter_mut() {
                let seconds = self.sample(entry)?;
                entry.samples.push(seconds);
            }
            round += 1;
        }
        Ok(())
    }

    fn sample(&self, entry: &Entry) -> Outcome<f64> {
        let seconds = self.device.seconds(|| match &entry.graph {
            Some(graph) => self.device.launch_graph(graph),
            None => self.call_all(entry.work),
        })?;
        Ok(seconds / self.calls() as f64)
    }
}
