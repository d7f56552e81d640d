//! A batch over threads.

use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use crate::data::Tensor;

use super::scorer::{Scored, Scorer};
use super::{EdgeError, inputs};

/// A [`Scorer`] for each of some threads (feature `rayon`). Samples keep their order, and their scores are those that one
/// scorer gives.
pub struct ScorerPool {
    threads: rayon::ThreadPool,
    workers: Vec<Worker>,
}

/// One thread's scorer, and what it has scored of a batch.
struct Worker {
    scorer: Scorer,
    scored: Scored,
    /// Parts of the batch, in order, with their rows in `scored`.
    parts: Vec<(usize, Range<usize>)>,
    failure: Option<(usize, EdgeError)>,
}

impl ScorerPool {
    /// With so many threads; 0: one for each core.
    ///
    /// # Errors
    /// What the runtime has against another scorer; threads that the system refuses.
    pub fn new(scorer: Scorer, threads: usize) -> Result<Self, EdgeError> {
        let threads = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .thread_name(|i| format!("elonnx-score-{i}"))
            .build()
            .map_err(|_| EdgeError::Option {
                option: "the number of threads",
                value: threads.to_string(),
                expected: "a number that the system allows",
            })?;
        let others: Vec<Scorer> =
            (1..threads.current_num_threads()).map(|_| scorer.another()).collect::<Result<_, _>>()?;
        let worker = |scorer| Worker { scorer, scored: Scored::default(), parts: Vec::new(), failure: None };
        let workers = std::iter::once(scorer).chain(others).map(worker).collect();
        Ok(Self { threads, workers })
    }

    /// The first thread's scorer: what the model wants and gives.
    #[must_use]
    pub fn scorer(&self) -> &Scorer {
        &self.workers[0].scorer
    }

    /// How many threads.
    #[must_use]
    pub fn threads(&self) -> usize {
        self.workers.len()
    }

    /// Scores samples; `scored` is overwritten.
    ///
    /// # Errors
    /// As [`Scorer::score`]; of several samples that have no scores, the first one's.
    pub fn score(&mut self, inputs: &[Tensor], scored: &mut Scored) -> Result<(), EdgeError> {
        let rows = inputs::check(self.scorer().inputs(), inputs)?;
        let at_once = self.part(rows);
        let next = AtomicUsize::new(0);
        let Self { threads, workers } = self;
        threads.install(|| {
            workers.par_iter_mut().with_max_len(1).for_each(|worker| worker.work(inputs, rows, at_once, &next));
        });
        scored.clear();
        let failures = workers.iter_mut().filter_map(|worker| worker.failure.take());
        if let Some((_, error)) = failures.min_by_key(|(part, _)| *part) {
            return Err(error);
        }
        for part in 0..rows.div_ceil(at_once) {
            for worker in workers.iter() {
                // few parts, and each worker's are in order
                if let Ok(found) = worker.parts.binary_search_by_key(&part, |(part, _)| *part) {
                    scored.append(&worker.scored, worker.parts[found].1.clone());
                }
            }
        }
        Ok(())
    }

    /// Rows of a part: what goes through the model at once, or less where a thread would have nothing to do.
    fn part(&self, rows: usize) -> usize {
        self.scorer().samples_at_once().min(rows.div_ceil(self.threads())).max(1)
    }
}

impl Worker {
    /// Takes parts until none is left; every part before one that fails has been taken by then.
    fn work(&mut self, inputs: &[Tensor], rows: usize, at_once: usize, next: &AtomicUsize) {
        self.scored.clear();
        self.parts.clear();
        self.failure = None;
        loop {
            let part = next.fetch_add(1, Ordering::Relaxed);
            let from = part.saturating_mul(at_once);
            if from >= rows {
                return;
            }
            let before = self.scored.rows;
            match self.scorer.score_rows(inputs, from..rows.min(from + at_once), &mut self.scored) {
                Ok(()) => self.parts.push((part, before..self.scored.rows)),
                Err(error) => {
                    self.failure = Some((part, error));
                    return;
                }
            }
        }
    }
}
