//! Reading, scoring and writing at once: a thread that reads, some that score, and the caller's that writes.
//!
//! The number of batches under way is bounded by tickets: one is taken for each batch that is read, and given back when
//! its results are written. So memory stays constant whichever part is slow, and results come out in order.

use std::collections::BTreeMap;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use super::columns::Columns;
use crate::data::{Batch, DataError};
use crate::edge::{EdgeError, Scored, Scorer};

/// What came of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Number of its first sample in the run.
    pub first: u64,
    /// What is known of its samples.
    pub scored: Scored,
    /// What they are called.
    pub names: Option<Vec<String>>,
    /// Their classes.
    pub labels: Option<Vec<i64>>,
}

impl Outcome {
    pub fn name(&self, row: usize) -> Option<&str> {
        self.names.as_ref()?.get(row).map(String::as_str)
    }

    pub fn label(&self, row: usize) -> Option<i64> {
        self.labels.as_ref()?.get(row).copied()
    }

    /// Scores of a sample.
    pub fn scores(&self, row: usize, columns: &Columns) -> &[f32] {
        let count = columns.scores.len();
        &self.scored.scores[row * count..(row + 1) * count]
    }

    /// The most probable classes of a sample, with their probabilities.
    pub fn top(&self, row: usize, columns: &Columns) -> impl Iterator<Item = (u32, f32)> {
        let of = row * columns.top_k..(row + 1) * columns.top_k;
        let probabilities = self.scored.top_probabilities[of.clone()].iter().copied();
        self.scored.top_classes[of].iter().copied().zip(probabilities)
    }
}

/// How much happens at once.
#[derive(Clone, Copy, Debug)]
pub struct Pipeline {
    /// Threads that score.
    pub threads: usize,
}

/// A batch on its way to a scorer: its place in the order, the number of its first sample, and room for its results.
type Job = (u64, u64, Batch, Scored);
/// The place in the order, and what came of it.
type Done = (u64, anyhow::Result<Outcome>);

/// Batches under way per scoring thread: one is scored, one waits, one is read or written.
const TICKETS_PER_THREAD: usize = 3;

impl Pipeline {
    /// Scores all batches; `write` gets the results in the order of the batches. Ends with the first error, after what
    /// comes before it was written.
    pub fn run(
        self,
        scorer: Scorer,
        batches: impl Iterator<Item = Result<Batch, DataError>> + Send + 'static,
        mut write: impl FnMut(&Outcome) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let mut scorers = vec![scorer];
        while scorers.len() < self.threads {
            scorers.push(scorers[0].another()?);
        }
        let (tickets, free) = mpsc::channel();
        for _ in 0..TICKETS_PER_THREAD * self.threads {
            let _ = tickets.send(Scored::default());
        }
        let (to_score, jobs) = mpsc::channel();
        let (done, results) = mpsc::channel();
        let mut threads = vec![read(batches, free, to_score, done.clone())];
        let jobs = Arc::new(Mutex::new(jobs));
        threads.extend(scorers.into_iter().map(|scorer| score(scorer, Arc::clone(&jobs), done.clone())));
        drop((jobs, done));

        let mut early = BTreeMap::new();
        let mut next = 0;
        for (place, result) in results {
            early.insert(place, result);
            while let Some(result) = early.remove(&next) {
                let outcome = result?;
                write(&outcome)?;
                next += 1;
                // nobody reads any more once all batches are on their way
                let _ = tickets.send(outcome.scored);
            }
        }
        for thread in threads {
            if let Err(panic) = thread.join() {
                std::panic::resume_unwind(panic);
            }
        }
        Ok(())
    }
}

/// Reads batches for as long as there are tickets to take. Not joined after an error elsewhere: it may be waiting for
/// standard input.
fn read(
    batches: impl Iterator<Item = Result<Batch, DataError>> + Send + 'static,
    free: Receiver<Scored>,
    to_score: Sender<Job>,
    done: Sender<Done>,
) -> JoinHandle<()> {
    thread::spawn(move || {
        let (mut place, mut first) = (0, 0);
        let mut batches = batches;
        while let Ok(room) = free.recv() {
            let sent = match batches.next() {
                None => return,
                Some(Ok(batch)) => {
                    let rows = batch.rows() as u64;
                    let sent = to_score.send((place, first, batch, room)).is_ok();
                    first += rows;
                    sent
                }
                Some(Err(error)) => done.send((place, Err(error.into()))).is_ok(),
            };
            if !sent {
                return;
            }
            place += 1;
        }
    })
}

fn score(mut scorer: Scorer, jobs: Arc<Mutex<Receiver<Job>>>, done: Sender<Done>) -> JoinHandle<()> {
    thread::spawn(move || {
        loop {
            // the lock is held while waiting: whoever has it gets the next batch
            let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok((place, first, batch, mut scored)) = job else { return };
            let result = scorer.score(&batch.inputs, &mut scored).map_err(|error| number(error, first).into());
            let result = result.map(|()| Outcome { first, scored, names: batch.names, labels: batch.labels });
            if done.send((place, result)).is_err() {
                return;
            }
        }
    })
}

/// Samples are counted over all batches in what the user reads.
fn number(error: EdgeError, first: u64) -> EdgeError {
    let offset = usize::try_from(first).unwrap_or(usize::MAX);
    match error {
        EdgeError::NotANumber { sample, value, input } => {
            EdgeError::NotANumber { sample: sample.saturating_add(offset), value, input }
        }
        EdgeError::NotAProbability { sample, value, found } => {
            EdgeError::NotAProbability { sample: sample.saturating_add(offset), value, found }
        }
        other => other,
    }
}
