//! Random shifts of pictures.

use super::options::Augmentation;
use super::random::Random;
use crate::data::Shift;

/// Tells the shifts of one epoch from other random numbers of the same seed.
const PURPOSE: u64 = 0x0061_7567_6d65_6e74;

impl Augmentation {
    /// Whether it does nothing.
    pub fn is_none(self) -> bool {
        self == Self::default()
    }

    /// Of a sample in an epoch.
    pub fn shift(self, seed: u64, epoch: u64, sample: usize) -> Shift {
        let mut random = Random::of(&[PURPOSE, seed, epoch, sample as u64]);
        let mirror = self.mirror && random.bits() & 1 == 1;
        let padding = i32::try_from(self.padding).unwrap_or(i32::MAX / 4);
        let mut by = || random.below(2 * u64::from(self.padding) + 1) as i32 - padding;
        Shift { mirror, right: by(), down: by() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shifts_are_within_bounds_and_differ() {
        let augmentation = Augmentation { mirror: true, padding: 2 };
        let shifts: Vec<Shift> = (0..500).map(|sample| augmentation.shift(1, 2, sample)).collect();
        assert_eq!(shifts[7], augmentation.shift(1, 2, 7));
        assert_ne!(shifts, (0..500).map(|sample| augmentation.shift(1, 3, sample)).collect::<Vec<_>>());
        for by in -2..=2 {
            assert!(shifts.iter().any(|shift| shift.right == by) && shifts.iter().any(|shift| shift.down == by));
        }
        assert!(shifts.iter().all(|shift| shift.right.abs() <= 2 && shift.down.abs() <= 2));
        let mirrored = shifts.iter().filter(|shift| shift.mirror).count();
        assert!((180..320).contains(&mirrored), "{mirrored}");
        assert_eq!(Augmentation::default().shift(1, 2, 3), Shift::default());
    }
}
