//! Who runs the blocks of a problem.

/// Runs pieces of work, on as many threads as it likes.
pub trait Parallel {
    /// Calls `work` once with each of 0..`count`, in any order and from any thread, and returns when all calls have.
    fn for_each(&self, count: usize, work: &(dyn Fn(usize) + Sync));
}

/// One thread, in order.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sequential;

impl Parallel for Sequential {
    fn for_each(&self, count: usize, work: &(dyn Fn(usize) + Sync)) {
        (0..count).for_each(work);
    }
}

/// The rayon thread pool that the caller is in: the global one, or that of `pool.install(|| …)`.
#[cfg(feature = "rayon")]
#[derive(Clone, Copy, Debug, Default)]
pub struct Rayon;

#[cfg(feature = "rayon")]
impl Parallel for Rayon {
    fn for_each(&self, count: usize, work: &(dyn Fn(usize) + Sync)) {
        use rayon::prelude::*;
        if count <= 1 {
            return Sequential.for_each(count, work);
        }
        (0..count).into_par_iter().with_max_len(1).for_each(work);
    }
}
