//! Outputs that several threads write, each its own part.

use std::marker::PhantomData;
use std::ops::Range;

/// A slice of which blocks of work take disjoint parts.
pub(super) struct Shared<'a> {
    start: *mut f32,
    len: usize,
    lifetime: PhantomData<&'a mut [f32]>,
}

// SAFETY: parts are taken by `part`, whose callers promise that no two overlap.
unsafe impl Sync for Shared<'_> {}

impl<'a> Shared<'a> {
    pub(super) fn new(slice: &'a mut [f32]) -> Self {
        Shared { start: slice.as_mut_ptr(), len: slice.len(), lifetime: PhantomData }
    }

    /// The part `range`.
    ///
    /// # Safety
    /// While a part lives nobody takes another one that overlaps it.
    #[expect(clippy::mut_from_ref, reason = "parts are disjoint by contract")]
    pub(super) unsafe fn part(&self, range: Range<usize>) -> &mut [f32] {
        assert!(range.start <= range.end && range.end <= self.len, "a part within the slice");
        // SAFETY: within the slice, as just asked; disjoint by contract.
        unsafe { std::slice::from_raw_parts_mut(self.start.add(range.start), range.len()) }
    }
}
