//! Which samples make which batch.

use std::ops::Range;

use super::random::Random;

/// The batches of a run: a function of seed and epoch alone, so that any of them can be made again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    samples: usize,
    batch: usize,
    seed: u64,
    shuffle: bool,
    /// Whether samples that do not fill a batch are left out; others of them each epoch.
    drop_last: bool,
}

impl Order {
    /// Shuffled anew each epoch.
    pub fn shuffled(samples: usize, batch: usize, seed: u64, drop_last: bool) -> Self {
        Self { samples, batch: batch.max(1), seed, shuffle: true, drop_last }
    }

    /// As they come.
    pub fn in_turn(samples: usize, batch: usize, drop_last: bool) -> Self {
        Self { samples, batch: batch.max(1), seed: 0, shuffle: false, drop_last }
    }

    /// Batches of an epoch.
    pub fn batches(&self) -> usize {
        if self.drop_last { self.samples / self.batch } else { self.samples.div_ceil(self.batch) }
    }

    /// Samples of an epoch.
    pub fn samples(&self) -> usize {
        if self.drop_last { self.batches() * self.batch } else { self.samples }
    }

    /// Indices of samples, those of a batch after those of the one before. `epoch` counts from 0.
    pub fn indices(&self, epoch: u64) -> Vec<usize> {
        let mut indices: Vec<usize> = (0..self.samples).collect();
        if self.shuffle {
            let mut random = Random::of(&[self.seed, epoch]);
            // Fisher and Yates
            for end in (1..indices.len()).rev() {
                indices.swap(end, random.below(end as u64 + 1) as usize);
            }
        }
        indices.truncate(self.samples());
        indices
    }

    /// Where the indices of a batch lie among those of its epoch.
    pub fn range(&self, batch: usize) -> Range<usize> {
        let start = (batch * self.batch).min(self.samples());
        start..(start + self.batch).min(self.samples())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_comes_once_in_an_order_of_the_epoch() {
        let order = Order::shuffled(1000, 64, 3, false);
        assert_eq!((order.batches(), order.samples()), (16, 1000));
        let first = order.indices(0);
        let mut sorted = first.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..1000).collect::<Vec<_>>());
        assert_ne!(first, sorted);
        assert_eq!(first, order.indices(0));
        assert_ne!(first, order.indices(1));
        assert_ne!(first, Order::shuffled(1000, 64, 4, false).indices(0));
    }

    #[test]
    fn batches_cover_the_epoch() {
        for drop_last in [false, true] {
            let order = Order::shuffled(10, 4, 0, drop_last);
            let ranges: Vec<_> = (0..order.batches()).map(|batch| order.range(batch)).collect();
            let expected: &[Range<usize>] = if drop_last { &[0..4, 4..8] } else { &[0..4, 4..8, 8..10] };
            assert_eq!(ranges, expected);
            assert_eq!(order.indices(5).len(), ranges.last().unwrap().end);
            assert!(order.range(99).is_empty());
        }
        assert_eq!(Order::in_turn(5, 2, false).indices(1), [0, 1, 2, 3, 4]);
    }
}
