//! From samples to columns, over threads.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::ScoredSet;
use crate::data::Batch;
use crate::edge::{EdgeError, Evidence, Scored, Scorer};
use crate::rewrite;

/// Batches with their place: number of the batch, samples before it.
struct Feed<I> {
    batches: I,
    next: usize,
    samples: usize,
    over: bool,
}

/// What is scored, in order, and what came out of order.
struct Gathered<E> {
    set: ScoredSet,
    next: usize,
    waiting: BTreeMap<usize, Part>,
    /// Of the first batch that failed.
    failure: Option<(usize, E)>,
}

/// One scored batch.
struct Part {
    scored: Scored,
    labels: Option<Vec<i64>>,
    label_nll: Vec<f64>,
}

impl ScoredSet {
    /// Scores every batch, one thread per scorer; samples keep their order, so the set is the same for any number of
    /// threads. Without `labelled`, labels of the samples are ignored. `progress` is told how many samples are done.
    ///
    /// # Errors
    /// Of the first batch that cannot be read or scored.
    pub fn read<E: From<EdgeError> + Send>(
        name: &str,
        scorers: &mut [Scorer],
        batches: impl Iterator<Item = Result<Batch, E>> + Send,
        labelled: bool,
        progress: impl Fn(usize) + Sync,
    ) -> Result<Self, E> {
        let scores = scorers.first().map(|scorer| scorer.scores().to_vec()).unwrap_or_default();
        let feed = Mutex::new(Feed { batches, next: 0, samples: 0, over: false });
        let set = ScoredSet::new(name, &scores);
        let gathered = Mutex::new(Gathered { set, next: 0, waiting: BTreeMap::new(), failure: None });
        std::thread::scope(|scope| {
            for scorer in scorers {
                scope.spawn(|| work(scorer, &feed, &gathered, labelled, &progress));
            }
        });
        let gathered = gathered.into_inner().unwrap_or_else(PoisonError::into_inner);
        match gathered.failure {
            Some((_, error)) => Err(error),
            None => Ok(gathered.set),
        }
    }
}

fn work<E: From<EdgeError>>(
    scorer: &mut Scorer,
    feed: &Mutex<Feed<impl Iterator<Item = Result<Batch, E>>>>,
    gathered: &Mutex<Gathered<E>>,
    labelled: bool,
    progress: &impl Fn(usize),
) {
    let mut evidence = Evidence::default();
    loop {
        let Some((index, samples, batch)) = lock(feed).take() else { return };
        let result = batch.and_then(|batch| {
            let rows = batch.rows();
            let part = score(scorer, batch, labelled, &mut evidence).map_err(|error| counted_from(error, samples))?;
            progress(rows);
            Ok(part)
        });
        match result {
            Ok(part) => lock(gathered).add(index, part),
            Err(error) => {
                lock(feed).over = true;
                let mut gathered = lock(gathered);
                if gathered.failure.as_ref().is_none_or(|(first, _)| index < *first) {
                    gathered.failure = Some((index, error));
                }
                return;
            }
        }
    }
}

impl<E, I: Iterator<Item = Result<Batch, E>>> Feed<I> {
    /// The next batch with its number and the number of samples before it.
    fn take(&mut self) -> Option<(usize, usize, Result<Batch, E>)> {
        if self.over {
            return None;
        }
        let Some(batch) = self.batches.next() else {
            self.over = true;
            return None;
        };
        let place = (self.next, self.samples);
        self.next += 1;
        self.samples += batch.as_ref().map_or(0, Batch::rows);
        Some((place.0, place.1, batch))
    }
}

impl<E> Gathered<E> {
    fn add(&mut self, index: usize, part: Part) {
        self.waiting.insert(index, part);
        while let Some(part) = self.waiting.remove(&self.next) {
            self.set.push(&part.scored, part.labels.as_deref());
            self.set.label_nll.extend(part.label_nll);
            self.next += 1;
        }
    }
}

fn score(scorer: &mut Scorer, batch: Batch, labelled: bool, evidence: &mut Evidence) -> Result<Part, EdgeError> {
    let mut scored = Scored::default();
    let labels = batch.labels.filter(|_| labelled);
    let logits = scorer.model().evidence == rewrite::Evidence::Logits;
    let mut label_nll = Vec::new();
    match &labels {
        Some(labels) if logits => {
            scorer.evidence(&batch.inputs, evidence)?;
            scorer.score_evidence(evidence, &mut scored)?;
            let rows = evidence.logits.chunks_exact(evidence.classes.max(1));
            label_nll.extend(
                rows.zip(labels).map(|(row, label)| negative_log_likelihood(row, *label, scorer.temperature())),
            );
        }
        _ => scorer.score(&batch.inputs, &mut scored)?,
    }
    if !logits {
        scored.margin.clear();
    }
    Ok(Part { scored, labels, label_nll })
}

/// −ln softmax(z/T) of the label: softplus(logsumexp of the others − z of the label), which loses nothing where the label
/// is all but certain. NaN for a label that is no class; those are refused later, by name.
fn negative_log_likelihood(logits: &[f32], label: i64, temperature: f64) -> f64 {
    let Some(label) = usize::try_from(label).ok().filter(|label| *label < logits.len()) else {
        return f64::NAN;
    };
    let scaled = |z: f32| f64::from(z) / temperature;
    let others = || logits.iter().enumerate().filter(|(index, _)| *index != label).map(|(_, z)| scaled(*z));
    let top = others().fold(f64::NEG_INFINITY, f64::max);
    let own = scaled(logits[label]);
    if top == f64::NEG_INFINITY {
        return 0.0;
    }
    let rest = if top == f64::INFINITY { top } else { top + others().map(|z| (z - top).exp()).sum::<f64>().ln() };
    let behind = rest - own;
    behind.max(0.0) + (-behind.abs()).exp().ln_1p()
}

/// Samples are counted from the beginning of the set, not of the batch.
fn counted_from(error: EdgeError, before: usize) -> EdgeError {
    match error {
        EdgeError::NotANumber { sample, value, input } => {
            EdgeError::NotANumber { sample: before + sample, value, input }
        }
        EdgeError::NotAProbability { sample, value, found } => {
            EdgeError::NotAProbability { sample: before + sample, value, found }
        }
        other => other,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn likelihood_of_a_label() {
        let by_definition = |logits: &[f32], label: usize, temperature: f64| {
            let total: f64 = logits.iter().map(|z| (f64::from(*z) / temperature).exp()).sum();
            total.ln() - f64::from(logits[label]) / temperature
        };
        let logits = [1.0, -2.0, 0.5, 3.25];
        for temperature in [1.0, 0.5, 3.0] {
            for label in 0..4usize {
                let found = negative_log_likelihood(&logits, label as i64, temperature);
                assert!((found - by_definition(&logits, label, temperature)).abs() < 1e-12);
            }
        }
        // far beyond what a probability can hold
        assert_eq!(negative_log_likelihood(&[500.0, -500.0], 1, 1.0), 1000.0);
        assert!(negative_log_likelihood(&[40.0, 0.0], 0, 1.0) > 0.0);
        assert_eq!(negative_log_likelihood(&[1.0, f32::NEG_INFINITY], 0, 1.0), 0.0);
        assert_eq!(negative_log_likelihood(&[1.0, f32::NEG_INFINITY], 1, 1.0), f64::INFINITY);
        assert!(negative_log_likelihood(&[1.0, 2.0], 2, 1.0).is_nan());
        assert!(negative_log_likelihood(&[1.0, 2.0], -1, 1.0).is_nan());
    }
}
