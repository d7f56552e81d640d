//! Forms and limits in turn on the same buffers.

use std::error::Error;
use std::time::{Duration, Instant};

use elonnx::loss::{Isa, LossError, Partial, Rayon, Sequential, Shape};

use crate::buffers::{Buffers, Slot};
use crate::check;
use crate::copy::CopyWay;
use crate::dtype::Dtype;
use crate::form::{Form, Pass};
use crate::options::Options;
use crate::read::ReadWay;
use crate::table::{Limit, Record};

/// A sample goes through at least so many bytes of logits, so that reading the clock does not count.
const SAMPLE: usize = 256 << 10;
/// Below this a piece of a buffer is not worth a thread, so that one thread is tried as well.
const SMALL: usize = 4 << 20;
/// Ways that take part in the rotation, after a heat among all.
const FINALISTS: usize = 2;
const ROUNDS_OF_A_HEAT: usize = 4;
const LEAST_ROUNDS: usize = 5;
const MOST_ROUNDS: usize = 5000;

/// The threads that a measurement runs on.
pub struct Team {
    pool: rayon::ThreadPool,
}

impl Team {
    pub fn new(threads: usize) -> Result<Self, rayon::ThreadPoolBuildError> {
        Ok(Team { pool: rayon::ThreadPoolBuilder::new().num_threads(threads).build()? })
    }

    pub fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// Runs everything in the pool, so that entering it is not part of a sample.
    fn enter<R: Send>(&self, work: impl FnOnce() -> R + Send) -> R {
        self.pool.install(work)
    }

    pub fn run<T: Dtype>(&self, form: &Form, slot: Slot<'_, T>, isa: Isa) -> Result<Partial, LossError> {
        let one = self.threads() == 1;
        self.enter(|| run_form(form, slot, isa, one))
    }
}

fn run_form<T: Dtype>(form: &Form, slot: Slot<'_, T>, isa: Isa, one_thread: bool) -> Result<Partial, LossError> {
    if one_thread { form.run(slot, isa, &Sequential) } else { form.run(slot, isa, &Rayon) }
}

/// What takes part in the rotation.
#[derive(Clone, Copy, Debug)]
enum Work {
    Read(ReadWay),
    Copy(CopyWay),
    Form(Form),
}

/// Seconds per call, one entry for each sample.
type Samples = Vec<f64>;

/// Checks and times all chosen forms of one shape and element type for each number of threads.
///
/// # Errors
/// A wrong value; a thread pool that cannot be made.
pub fn measure<T: Dtype>(
    options: &Options,
    dims: &[usize],
    shape: Shape,
    isa: Isa,
    warm: bool,
    cache: usize,
) -> Result<Vec<Record>, Box<dyn Error>> {
    let bytes = shape.elements() * size_of::<T>();
    let slots = if warm { 1 } else { (4 * cache / bytes) + 1 };
    let mut buffers = Buffers::<T>::new(shape, slots);
    let mut records = Vec::new();
    for &threads in &options.threads {
        eprintln!("{dims:?} {} {isa}, {threads} threads, {slots} buffers", T::NAME);
        let team = Team::new(threads)?;
        check::forms(&mut buffers, isa, &team)?;
        let (works, samples) = team.enter(|| -> Result<_, LossError> {
            let mut rotation = Rotation { buffers: &mut buffers, isa, one_thread: threads == 1, warm, at: 0 };
            rotation.fill_margins()?;
            let mut works = rotation.limits(threads, bytes);
            works.extend(options.forms(shape.rows()).into_iter().map(Work::Form));
            let samples = rotation.run(&works, Duration::from_secs_f64(options.seconds()), LEAST_ROUNDS);
            Ok((works, samples))
        })?;
        records.extend(assemble(&works, samples, |name, limit, moved, samples| Record {
            shape: dims.to_vec(),
            dtype: T::NAME,
            isa: isa.to_string(),
            threads,
            warm,
            name,
            limit,
            bytes: moved * bytes,
            elements: shape.elements(),
            seconds: samples,
            times_limit: None,
            times_limit_median: None,
        }));
    }
    Ok(records)
}

/// The faster read, the faster copy, and the forms beside the one of the two that is their limit.
fn assemble(
    works: &[Work],
    samples: Vec<Samples>,
    record: impl Fn(String, Limit, usize, Samples) -> Record,
) -> Vec<Record> {
    let (mut read, mut copy, mut forms) = (None::<Record>, None::<Record>, Vec::new());
    let faster = |best: Option<Record>, new: Record| match best {
        Some(best) if best.min() <= new.min() => Some(best),
        _ => Some(new),
    };
    for (work, samples) in works.iter().zip(samples) {
        match work {
            Work::Read(way) => read = faster(read, record(format!("read: {}", way.name()), Limit::Read, 1, samples)),
            Work::Copy(way) => copy = faster(copy, record(format!("copy: {}", way.name()), Limit::Copy, 2, samples)),
            Work::Form(form) if form.pass == Pass::Forward => forms.push(record(form.name(), Limit::Read, 1, samples)),
            Work::Form(form) => forms.push(record(form.name(), Limit::Copy, 2, samples)),
        }
    }
    let (read, copy) = (read.expect("there is a way to read"), copy.expect("there is a way to copy"));
    for form in &mut forms {
        let limit = if form.limit == Limit::Read { &read } else { &copy };
        form.times_limit = Some(form.min() / limit.min());
        form.times_limit_median = Some(form.median() / limit.median());
    }
    [read, copy].into_iter().chain(forms).collect()
}

/// Goes through the slots in one circle for all, so that a slot comes back only after all others were used.
struct Rotation<'a, T> {
    buffers: &'a mut Buffers<T>,
    isa: Isa,
    one_thread: bool,
    warm: bool,
    at: usize,
}

impl<T: Dtype> Rotation<'_, T> {
    /// The margins that the backward passes read.
    fn fill_margins(&mut self) -> Result<(), LossError> {
        let forward = Form { pass: Pass::Forward, smooth: false, ignored: false };
        for slot in 0..self.buffers.slots {
            run_form(&forward, self.buffers.slot(slot), self.isa, self.one_thread)?;
            let slot = self.buffers.slot(slot);
            slot.margins.copy_from_slice(slot.scratch_margins);
        }
        Ok(())
    }

    /// The fastest ways of reading and of copying.
    fn limits(&mut self, threads: usize, bytes: usize) -> Vec<Work> {
        let mut parts = vec![threads];
        if threads > 1 {
            parts.push(if bytes < SMALL { 1 } else { 8 * threads });
        }
        let reads = ReadWay::all(&parts).into_iter().map(Work::Read).collect();
        let copies = CopyWay::all(&parts).into_iter().map(Work::Copy).collect();
        let (reads, copies) = (self.heat(reads), self.heat(copies));
        reads.into_iter().chain(copies).collect()
    }

    fn heat(&mut self, ways: Vec<Work>) -> Vec<Work> {
        let samples = self.run(&ways, Duration::ZERO, ROUNDS_OF_A_HEAT);
        let least = |samples: &Samples| samples.iter().copied().fold(f64::INFINITY, f64::min);
        let mut ranked: Vec<(f64, Work)> = samples.iter().map(least).zip(ways).collect();
        ranked.sort_by(|a, b| a.0.total_cmp(&b.0));
        ranked.into_iter().take(FINALISTS).map(|(_, way)| way).collect()
    }

    /// Rounds in which each takes one sample, for so long and at least so many.
    fn run(&mut self, works: &[Work], time: Duration, least_rounds: usize) -> Vec<Samples> {
        let bytes = self.buffers.shape.elements() * size_of::<T>();
        let calls = SAMPLE.div_ceil(bytes);
        let mut samples = vec![Samples::new(); works.len()];
        let start = Instant::now();
        let mut round = 0;
        while round < least_rounds || (start.elapsed() < time && round < MOST_ROUNDS) {
            for (work, samples) in works.iter().zip(&mut samples) {
                samples.push(self.sample(work, calls));
            }
            // so that nobody meets the same slots in every round
            self.at = (self.at + 1) % self.buffers.slots;
            round += 1;
        }
        samples
    }

    fn sample(&mut self, work: &Work, calls: usize) -> f64 {
        if self.warm {
            // what ran before may have left the caches in another state
            self.call(work);
        }
        let start = Instant::now();
        for _ in 0..calls {
            self.call(work);
        }
        start.elapsed().as_secs_f64() / calls as f64
    }

    fn call(&mut self, work: &Work) {
        let at = self.at;
        self.at = if at + 1 == self.buffers.slots { 0 } else { at + 1 };
        let slot = self.buffers.slot(at);
        match work {
            Work::Read(way) => way.run(slot.logits),
            Work::Copy(way) => way.run(slot.logits, slot.dlogits),
            Work::Form(form) => {
                let result = run_form(form, slot, self.isa, self.one_thread);
                result.expect("the same call succeeded in the check");
            }
        }
    }
}
