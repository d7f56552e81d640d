//! What a kernel is called with.

/// One call of an operator; the layout of `Problem` in cuda/problem.cuh, which says what the fields mean.
///
/// Pointers are device addresses, 0 where C has null.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Problem {
    pub(crate) logits: u64,
    pub(crate) dlogits: u64,
    pub(crate) labels: u64,
    pub(crate) class_weights: u64,
    pub(crate) bonus_weight: u64,
    pub(crate) dloss: u64,
    pub(crate) saved_margins: u64,
    pub(crate) losses: u64,
    pub(crate) margins: u64,
    pub(crate) partials: u64,
    pub(crate) weight_sum: u64,
    pub(crate) rows: i64,
    pub(crate) classes: i64,
    pub(crate) inner: i64,
    pub(crate) ignore_index: i64,
    pub(crate) share: f64,
    pub(crate) rho: f64,
    pub(crate) log_end: f64,
    pub(crate) log_end_value: f64,
    pub(crate) steepness: f64,
    pub(crate) power: f64,
    pub(crate) smoothing: f64,
    pub(crate) bonus: i32,
    pub(crate) has_ignore_index: i32,
    pub(crate) labels_are_64_bit: i32,
    pub(crate) dloss_per_row: i32,
    pub(crate) lanes: i32,
    pub(crate) reserved: i32,
}

const _: () = assert!(size_of::<Problem>() == 200, "as in C");
