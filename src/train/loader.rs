//! Batches made by other threads while the model computes.

use std::sync::mpsc::{Receiver, sync_channel};

use super::options::Augmentation;
use super::order::Order;
use crate::data::{Batch, DataError, Samples};

/// Batches that each thread makes ahead.
const AHEAD: usize = 2;

/// What an epoch is made of.
#[derive(Clone, Copy)]
pub struct Epoch<'a> {
    /// The samples.
    pub samples: &'a Samples,
    /// In which order.
    pub order: &'a Order,
    /// Which epoch, from 0.
    pub number: u64,
    /// The first batch to make.
    pub first: usize,
    /// What happens to pictures.
    pub augmentation: Augmentation,
    /// Where chance comes from.
    pub seed: u64,
    /// Threads.
    pub threads: usize,
}

/// Hands the batches of an epoch to `take`, in their order, until it gives false or an error.
///
/// # Errors
/// Those of the samples and of `take`.
pub fn each_batch<E: From<DataError>>(
    epoch: Epoch<'_>,
    mut take: impl FnMut(Batch) -> Result<bool, E>,
) -> Result<(), E> {
    let indices = epoch.order.indices(epoch.number);
    let threads = epoch.threads.max(1);
    std::thread::scope(|scope| {
        let mut made: Vec<Receiver<Result<Batch, DataError>>> = Vec::with_capacity(threads);
        for thread in 0..threads {
            let (give, get) = sync_channel(AHEAD);
            made.push(get);
            let indices = &indices;
            scope.spawn(move || {
                for number in (epoch.first + thread..epoch.order.batches()).step_by(threads) {
                    let chosen = indices.get(epoch.order.range(number)).unwrap_or_default();
                    // nobody takes it: the epoch was left early
                    if give.send(batch(epoch, chosen)).is_err() {
                        return;
                    }
                }
            });
        }
        let turns = (0..threads).cycle().take(epoch.order.batches().saturating_sub(epoch.first));
        for thread in turns {
            let Some(Ok(batch)) = made.get(thread).map(Receiver::recv) else { break };
            if !take(batch?)? {
                break;
            }
        }
        Ok(())
    })
}

fn batch(epoch: Epoch<'_>, chosen: &[usize]) -> Result<Batch, DataError> {
    if epoch.augmentation.is_none() {
        return epoch.samples.batch(chosen, None);
    }
    let shift = |place: usize| {
        let sample = chosen.get(place).copied().unwrap_or(0);
        epoch.augmentation.shift(epoch.seed, epoch.number, sample)
    };
    epoch.samples.batch(chosen, Some(&shift))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{InputSpec, Options, Values};
    use crate::model::DataType;

    fn samples(folder: &std::path::Path) -> Samples {
        let lines: String = (0..10).map(|label| format!("{label},{}\n", label * 10)).collect();
        let path = folder.join("a.csv");
        std::fs::write(&path, format!("label,x\n{lines}")).unwrap();
        let input = InputSpec { name: "x".into(), data_type: DataType::Float, dims: vec![None, Some(1)] };
        Samples::open(&Options { paths: vec![path], ..Options::default() }, &[input]).unwrap()
    }

    #[test]
    fn any_number_of_threads_gives_the_same_batches() {
        let folder = tempfile::tempdir().unwrap();
        let samples = samples(folder.path());
        let order = Order::shuffled(10, 3, 5, false);
        let taken = |threads: usize, first: usize, most: usize| {
            let augmentation = Augmentation::default();
            let epoch = Epoch { samples: &samples, order: &order, number: 1, first, augmentation, seed: 5, threads };
            let mut taken = Vec::new();
            each_batch(epoch, |batch| -> Result<bool, DataError> {
                let Values::F32(x) = &batch.inputs[0].values else { panic!() };
                let labels = batch.labels.unwrap();
                assert!(x.iter().zip(&labels).all(|(x, label)| *x == *label as f32 * 10.0));
                taken.push(labels);
                Ok(taken.len() < most)
            })
            .unwrap();
            taken
        };
        let all = taken(1, 0, 99);
        assert_eq!(all.iter().map(Vec::len).collect::<Vec<_>>(), [3, 3, 3, 1]);
        assert_eq!(all, taken(3, 0, 99));
        assert_eq!(all[2..], taken(2, 2, 99));
        assert_eq!(all[..2], taken(2, 0, 2));
    }
}
