//! Room that a thread keeps from call to call: a training step runs the same kernels over and over.

use std::cell::RefCell;

/// Numbers that a thread keeps at most; more are given back after use.
const MOST_KEPT: usize = 4 << 20;

/// Numbers of a line of memory.
const LINE: usize = 64 / size_of::<f32>();

thread_local! {
    static ROOM: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// A loan of numbers of any value, which goes back when dropped.
///
/// A guard and no closure: what a kernel does in a closure is not always compiled for its instruction set.
pub(super) struct Scratch {
    room: Vec<f32>,
    start: usize,
    len: usize,
}

impl Scratch {
    /// Lends `len` numbers, which start with a line of memory: registers are as wide, and take twice as long across two.
    pub(super) fn lend(len: usize) -> Scratch {
        // taken out meanwhile, so that a second loan within the first gets room of its own
        let mut room = ROOM.with(RefCell::take);
        if room.len() < len + LINE {
            room.resize(len + LINE, 0.0);
        }
        let into_line = room.as_ptr().addr() / size_of::<f32>() % LINE;
        Scratch { room, start: (LINE - into_line) % LINE, len }
    }

    /// The numbers.
    pub(super) fn numbers(&mut self) -> &mut [f32] {
        self.room.get_mut(self.start..self.start + self.len).unwrap_or_default()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.room.len() <= MOST_KEPT {
            ROOM.with(|kept| kept.replace(std::mem::take(&mut self.room)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loans_within_loans_do_not_overlap() {
        let mut outer = Scratch::lend(4);
        outer.numbers().fill(1.0);
        let mut inner = Scratch::lend(8);
        assert!(inner.numbers().as_ptr().addr().is_multiple_of(64), "a line starts");
        inner.numbers().fill(2.0);
        drop(inner);
        assert_eq!(outer.numbers(), [1.0; 4]);
        drop(outer);
        assert_eq!(Scratch::lend(2).numbers().len(), 2);
    }
}
