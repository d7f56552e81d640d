//! Copies of short rows.

/// Copies a row without a call: rows of small images take less time than one. Of equal lengths.
#[inline(always)]
pub(in crate::kernels) fn copy_few(from: &[f32], to: &mut [f32]) {
    const STEP: usize = 8;
    if from.len() < STEP || from.len() > 16 * STEP {
        if from.len() > STEP {
            to.copy_from_slice(from);
            return;
        }
        for (to, from) in to.iter_mut().zip(from) {
            *to = *from;
        }
        return;
    }
    // the last step overlaps the one before
    if let (Some(from), Some(to)) = (from.last_chunk::<STEP>(), to.last_chunk_mut::<STEP>()) {
        *to = *from;
    }
    for (from, to) in from.chunks_exact(STEP).zip(to.chunks_exact_mut(STEP)) {
        if let (Some(from), Some(to)) = (from.first_chunk::<STEP>(), to.first_chunk_mut::<STEP>()) {
            *to = *from;
        }
    }
}
