//! Room that a thread keeps from call to call: a training step runs the same kernels over and over.

use std::cell::RefCell;

/// Numbers that a thread keeps at most; more are given back after use.
const MOST_KEPT: usize = 4 << 20;

thread_local! {
    static ROOM: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Lends `len` numbers of any value to `work`.
pub(super) fn with_scratch<R>(len: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    // taken out meanwhile, so that a second loan within the first gets room of its own
    let mut room = ROOM.with(RefCell::take);
    if room.len() < len {
        room.resize(len, 0.0);
    }
    let result = work(&mut room[..len]);
    if room.len() <= MOST_KEPT {
        ROOM.with(|kept| *kept.borrow_mut() = room);
    }
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loans_within_loans_do_not_overlap() {
        with_scratch(4, |outer| {
            outer.fill(1.0);
            with_scratch(8, |inner| inner.fill(2.0));
            assert_eq!(outer, [1.0; 4]);
        });
        with_scratch(2, |again| assert_eq!(again.len(), 2));
    }
}
