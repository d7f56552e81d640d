//! The bank of nearest neighbours.

use super::Spool;
use crate::edge::CalibrationError;
use crate::edge::feature::{Knn, normalize};

/// The same samples each time.
const SEED: u64 = 0x6b6e_6e20_6261_6e6b;

/// A uniform sample of at most `size` rows for which `wanted` holds, in their order (reservoir sampling, Vitter's
/// algorithm R). `None` where there is none.
pub(crate) fn fit_knn(
    features: &mut Spool,
    wanted: impl Fn(usize) -> bool,
    k: usize,
    size: usize,
) -> Result<Option<Knn>, CalibrationError> {
    let width = features.width();
    let mut random = fastrand::Rng::with_seed(SEED);
    let mut seen = 0;
    let mut reservoir: Vec<(usize, Vec<f32>)> = Vec::new();
    features.each(|index, row| {
        if !wanted(index) {
            return;
        }
        seen += 1;
        let place = if reservoir.len() < size { reservoir.len() } else { random.usize(..seen) };
        if place == reservoir.len() && place < size {
            reservoir.push((index, Vec::new()));
        }
        if let Some((at, kept)) = reservoir.get_mut(place) {
            *at = index;
            normalize(row, kept);
        }
    })?;
    if reservoir.is_empty() || width == 0 {
        return Ok(None);
    }
    reservoir.sort_unstable_by_key(|(index, _)| *index);
    let k = k.clamp(1, reservoir.len());
    let bank = reservoir.into_iter().flat_map(|(_, row)| row).collect();
    Ok(Some(Knn { k, features: width, bank }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fair_sample_of_those_wanted() {
        let mut spool = Spool::new(2);
        let rows: Vec<f32> = (0..1000).flat_map(|i| [(i as f32).cos(), (i as f32).sin()]).collect();
        spool.push(&rows).unwrap();
        let knn = fit_knn(&mut spool, |index| index % 2 == 0, 50, 100).unwrap().unwrap();
        assert_eq!((knn.k, knn.features, knn.bank.len()), (50, 2, 200));
        assert_eq!(fit_knn(&mut spool, |index| index % 2 == 0, 50, 100).unwrap().unwrap(), knn);
        let index = |row: &[f32]| {
            let at = rows.chunks(2).position(|r| (r[0] - row[0]).abs() + (r[1] - row[1]).abs() < 1e-6);
            at.unwrap()
        };
        let indices: Vec<usize> = knn.bank.chunks(2).map(index).collect();
        assert!(indices.is_sorted() && indices.iter().all(|index| index % 2 == 0), "{indices:?}");
        // about as many of each half
        let early = indices.iter().filter(|&&index| index < 500).count();
        assert!((30..=70).contains(&early), "{early}");
        let few = fit_knn(&mut spool, |index| index < 3, 50, 100).unwrap().unwrap();
        assert_eq!((few.k, few.bank.len()), (3, 6));
        assert_eq!(fit_knn(&mut spool, |_| false, 50, 100).unwrap(), None);
    }
}
