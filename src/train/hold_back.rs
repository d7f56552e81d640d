//! Training samples that are not trained on.

use std::str::FromStr;

use super::TrainError;
use super::order::Order;
use crate::data::Samples;

/// Chooses the samples, whatever the seed of the run: runs that differ in their seed can be compared.
const SEED: u64 = 0x7661_6c69_6461_7465;

/// How many samples of the training data are held back to validate with, chosen at random: files are often in the order
/// of their classes. The same data and number give the same samples, in every run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum HoldBack {
    /// So many.
    Count(usize),
    /// This part of them, between 0 and 1.
    Share(f64),
}

impl HoldBack {
    /// What is left to train on, and what is held back, each in the order of the files.
    ///
    /// # Errors
    /// Where one of the two would hold nothing.
    pub fn of(self, samples: &Samples) -> Result<(Samples, Samples), TrainError> {
        let all = samples.len();
        let count = match self {
            Self::Count(count) => count,
            Self::Share(share) => ((all as f64 * share).round() as usize).min(all),
        };
        if count == 0 || count >= all {
            return Err(TrainError::Options(format!(
                "{count} of {all} samples cannot be held back to validate with: at least one has to be there for it, and one \
                 to train on"
            )));
        }
        let mut shuffled = Order::shuffled(all, 1, SEED, false).indices(0);
        let mut left = shuffled.split_off(count);
        shuffled.sort_unstable();
        left.sort_unstable();
        Ok((samples.choose(&left), samples.choose(&shuffled)))
    }
}

impl FromStr for HoldBack {
    type Err = String;

    /// A number of samples, or a share of them: "5000", "0.1".
    fn from_str(text: &str) -> Result<Self, String> {
        let share = || text.parse().ok().filter(|share| *share > 0.0 && *share < 1.0).map(Self::Share);
        let count = text.parse().ok().filter(|count| *count > 0).map(Self::Count);
        count.or_else(share).ok_or_else(|| {
            format!("'{text}' is neither a number of samples, as 5000, nor a share of them between 0 and 1, as 0.1")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{InputSpec, Options, Values};
    use crate::model::DataType;

    /// Ten samples whose value is ten times their label.
    fn ten(limit: Option<u64>) -> Samples {
        let folder = tempfile::tempdir().unwrap();
        let lines: String = (0..10).map(|label| format!("{label},{}\n", label * 10)).collect();
        let path = folder.path().join("a.csv");
        std::fs::write(&path, format!("label,x\n{lines}")).unwrap();
        let input = InputSpec { name: "x".into(), data_type: DataType::Float, dims: vec![None, Some(1)] };
        Samples::open(&Options { paths: vec![path], limit, ..Options::default() }, &[input]).unwrap()
    }

    /// All samples, by their labels; their values must be theirs.
    fn labels(samples: &Samples) -> Vec<i64> {
        let batch = samples.batch(&(0..samples.len()).collect::<Vec<_>>(), None).unwrap();
        let labels = batch.labels.unwrap();
        let expected: Vec<f32> = labels.iter().map(|&label| label as f32 * 10.0).collect();
        assert_eq!(batch.inputs[0].values, Values::F32(expected));
        assert_eq!(samples.labels().unwrap(), labels);
        labels
    }

    #[test]
    fn every_sample_is_on_one_side() {
        for (wanted, count) in [(HoldBack::Count(3), 3), (HoldBack::Share(0.25), 3), (HoldBack::Share(0.9), 9)] {
            let (left, held) = wanted.of(&ten(None)).unwrap();
            let (left, held) = (labels(&left), labels(&held));
            assert_eq!(held.len(), count);
            let mut all = [left, held.clone()].concat();
            all.sort_unstable();
            assert_eq!(all, (0..10).collect::<Vec<_>>());
            assert_eq!(held, labels(&wanted.of(&ten(None)).unwrap().1));
            if count == 3 {
                assert_ne!(held, [7, 8, 9], "the last ones may all be of one class");
            }
        }
    }

    #[test]
    fn what_is_held_back_is_of_what_is_read() {
        let (left, held) = HoldBack::Count(2).of(&ten(Some(5))).unwrap();
        assert_eq!((left.len(), held.len()), (3, 2));
        let again = HoldBack::Count(1).of(&left).unwrap();
        assert!(labels(&again.0).iter().chain(&labels(&again.1)).all(|label| labels(&left).contains(label)));
    }

    #[test]
    fn numbers_and_shares() {
        assert_eq!(("5000".parse(), "0.1".parse()), (Ok(HoldBack::Count(5000)), Ok(HoldBack::Share(0.1))));
        for wrong in ["0", "1.0", "-3", "nan", "some", ""] {
            assert!(wrong.parse::<HoldBack>().is_err(), "{wrong}");
        }
        for wrong in [HoldBack::Count(10), HoldBack::Count(11), HoldBack::Share(0.01), HoldBack::Share(0.99)] {
            assert!(wrong.of(&ten(None)).is_err(), "{wrong:?}");
        }
    }
}
