//! Which kernels, with which grid, compute a call.
//!
//! | rows | forward | gradient |
//! | --- | --- | --- |
//! | short: 8 vectors of 16 bytes for each of 32 threads | `rows4`, `rows8`: in registers, several rows per block | the same |
//! | longer | `stream_forward`: one read | `staged_gradient`: the row in shared memory; beyond it `two_pass_gradient` |
//! | an inner axis, or few classes | `thread`: one thread per row; `columns`: warps share 32 rows | the same |
//! | float64 | as above, and `block` | the same |
//! | smoothed labels | `smooth_…` | the same |
//!
//! Sums over rows take a second step: every block leaves its part, `reduce` adds them up in a fixed order. Where rows may
//! be ignored or weighted, the gradient of a mean needs the sum of weights before: `sum_of_weights`.

use super::element::ElementType;
use super::launch::{Arguments, Call, Launch, MOST_BLOCKS, Plan};
use super::problem::Problem;
use crate::loss::Reduction;
use crate::runtime::ops::Operator;

/// Bytes that a thread loads at once.
const VECTOR_BYTES: i64 = 16;
/// Rows with fewer classes are read number by number.
const FEWEST_IN_VECTORS: i64 = 32;
/// Classes from which on several threads work on a row that is read number by number.
const FEWEST_SHARED: i64 = 64;
/// So many threads keep a device busy, one per row; with fewer rows, several share one.
const ENOUGH_ROWS: i64 = 131_072;
/// A thread that adds up more than this many numbers loses digits of float32.
const MOST_IN_ONE_SUM: i64 = 1024;
/// Classes up to which smoothed labels are computed in double: see cuda/smooth.cuh.
const FEW_SMOOTHED: i64 = 8;
/// What a block of `staged_gradient` has in shared memory besides the row, and what the driver keeps of it.
const OTHER_SHARED: u32 = 2048;
/// Threads of a multiprocessor that keep its memory busy.
const THREADS_WANTED: u32 = 768;
/// Threads of a block of `sum_of_weights`.
const LABEL_THREADS: u32 = 512;
/// Rows of such a block: each thread asks for four labels at once, and waits for them once.
const LABELS_PER_BLOCK: i64 = 4 * LABEL_THREADS as i64;
/// Up to so many rows one block, which waits a few times, is faster than a second launch.
const LABELS_OF_ONE_BLOCK: i64 = 4 * LABELS_PER_BLOCK;

/// The launches of a call that has rows.
pub(crate) fn plan(call: &Call) -> Plan {
    let mut plan = Plan::default();
    let mut problem = call.problem;
    if needs_sum_of_weights(call) {
        sum_of_weights(call, &mut plan);
        problem.weight_sum = call.scratch.weight_sum;
    }
    let reduced = call.loss != 0;
    if reduced {
        problem.partials = call.scratch.partials;
    }
    let rows = Rows::new(call);
    problem.lanes = rows.lanes;
    let grid = blocks(call.problem.rows, rows.per_block).min(rows.most_blocks);
    let arguments = Arguments::Rows(problem);
    plan.launches.push(Launch { kernel: rows.kernel, grid, block: rows.block, shared: rows.shared, arguments });
    if reduced {
        let mean = i32::from(call.reduction == Reduction::Mean);
        let arguments =
            Arguments::Reduce { partials: call.scratch.partials, count: signed(grid), loss: call.loss, mean };
        plan.launches.push(Launch { kernel: "reduce", grid: 1, block: 256, shared: 0, arguments });
    }
    plan
}

/// Whether the gradient is divided by something that only the labels tell.
fn needs_sum_of_weights(call: &Call) -> bool {
    let Problem { class_weights, has_ignore_index, .. } = call.problem;
    call.operator != Operator::Loss
        && call.reduction == Reduction::Mean
        && (class_weights != 0 || has_ignore_index != 0)
}

fn sum_of_weights(call: &Call, plan: &mut Plan) {
    let (partials, total) = (call.scratch.weights, call.scratch.weight_sum);
    let rows = call.problem.rows;
    let grid = if rows <= LABELS_OF_ONE_BLOCK { 1 } else { blocks(rows, LABELS_PER_BLOCK) };
    let arguments = Arguments::SumOfWeights { problem: call.problem, partials, total };
    plan.launches.push(Launch { kernel: "sum_of_weights", grid, block: LABEL_THREADS, shared: 0, arguments });
    if grid > 1 {
        let arguments = Arguments::AddUp { partials, count: signed(grid), total };
        plan.launches.push(Launch { kernel: "add_up", grid: 1, block: 256, shared: 0, arguments });
    }
}

/// Blocks for so many rows, as far as there is room for what they leave.
fn blocks(rows: i64, per_block: i64) -> u32 {
    u32::try_from((rows + per_block - 1) / per_block).unwrap_or(u32::MAX).min(MOST_BLOCKS)
}

fn signed(count: u32) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

/// The kernel that sees the rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rows {
    kernel: &'static str,
    /// threads
    block: u32,
    /// rows that a block takes at a time
    per_block: i64,
    /// dynamic, in bytes
    shared: u32,
    /// [`Problem::lanes`]
    lanes: i32,
    most_blocks: u32,
}

impl Rows {
    fn new(call: &Call) -> Rows {
        let Problem { classes, inner, smoothing, .. } = call.problem;
        if smoothing > 0.0 {
            return Rows::smooth(call);
        }
        let in_vectors = inner == 1 && call.element != ElementType::F64 && classes >= FEWEST_IN_VECTORS;
        if !in_vectors {
            return match team(call) {
                Team::Thread => Rows::thread("thread"),
                Team::Columns => Rows::columns("columns", classes),
                Team::Block if call.element == ElementType::F64 => Rows::block("block", 256),
                // the other types have no such kernel: their rows are in vectors
                Team::Block => Rows::columns("columns", classes),
            };
        }
        Rows::in_registers(call).unwrap_or_else(|| Rows::long(call))
    }

    fn smooth(call: &Call) -> Rows {
        let classes = call.problem.classes;
        match team(call) {
            _ if classes <= FEW_SMOOTHED && call.element != ElementType::F64 => Rows::thread("smooth_few"),
            Team::Thread => Rows::thread("smooth_thread"),
            Team::Columns => Rows::columns("smooth_columns", classes),
            Team::Block => Rows::block("smooth_block", 256),
        }
    }

    /// One thread per row.
    fn thread(kernel: &'static str) -> Rows {
        Rows { kernel, block: 128, per_block: 128, shared: 0, lanes: 0, most_blocks: MOST_BLOCKS }
    }

    /// One block per row.
    fn block(kernel: &'static str, block: u32) -> Rows {
        Rows { kernel, block, per_block: 1, shared: 0, lanes: 0, most_blocks: MOST_BLOCKS }
    }

    /// Warps that share 32 rows: so many that a thread has 16 classes, up to 16.
    fn columns(kernel: &'static str, classes: i64) -> Rows {
        let warps = power_of_two(classes / 16, 2, 16);
        Rows { per_block: 32, ..Rows::block(kernel, 32 * warps) }
    }

    /// `None`: the rows are too long.
    fn in_registers(call: &Call) -> Option<Rows> {
        let vectors = call.problem.classes / per_vector(call.element);
        // head and tail of a row take one lane for each element
        let fewest_lanes = if call.element == ElementType::F32 { 4 } else { 8 };
        // labels, margins and addresses cost a thread as much as 32 numbers: eight vectors where a row has them
        let held = if vectors >= 8 * i64::from(fewest_lanes) { 8 } else { 4 };
        let lanes = (((vectors + held - 1) / held) as u32).next_power_of_two().max(fewest_lanes);
        if lanes > 32 {
            return None;
        }
        let kernel = match (held, call.operator) {
            (4, Operator::Loss) => "rows4_forward",
            (4, _) => "rows4_gradient",
            (_, Operator::Loss) => "rows8_forward",
            _ => "rows8_gradient",
        };
        let per_block = i64::from(128 / lanes);
        Some(Rows { per_block, lanes: signed(lanes), ..Rows::block(kernel, 128) })
    }

    fn long(call: &Call) -> Rows {
        let vectors = call.problem.classes / per_vector(call.element);
        if call.operator == Operator::Loss {
            // eight vectors a thread, or more
            return Rows::block("stream_forward", power_of_two(vectors / 8, 64, 256));
        }
        let shared = u32::try_from(vectors * VECTOR_BYTES).unwrap_or(u32::MAX);
        let limits = &call.limits;
        if shared.saturating_add(OTHER_SHARED) <= limits.shared_per_block {
            let resident = (limits.shared_per_multiprocessor / (shared + OTHER_SHARED)).max(1);
            let block = (THREADS_WANTED / resident / 128 * 128).clamp(128, 384);
            return Rows { shared, ..Rows::block("staged_gradient", block) };
        }
        let rows = Rows::block("two_pass_gradient", THREADS_WANTED);
        // one row per multiprocessor under way: it is to be in L2 when it is read for the second time
        let reads_twice = call.problem.saved_margins == 0;
        Rows {
            most_blocks: if reads_twice { limits.multiprocessors.clamp(1, MOST_BLOCKS) } else { MOST_BLOCKS },
            ..rows
        }
    }
}

/// Who works on a row that is read number by number.
enum Team {
    Thread,
    Columns,
    Block,
}

fn team(call: &Call) -> Team {
    let Problem { classes, inner, rows, .. } = call.problem;
    if classes < FEWEST_SHARED || (inner > 1 && rows >= ENOUGH_ROWS && classes <= MOST_IN_ONE_SUM) {
        Team::Thread
    } else if inner > 1 {
        Team::Columns
    } else {
        Team::Block
    }
}

fn per_vector(element: ElementType) -> i64 {
    VECTOR_BYTES / element.size() as i64
}

/// The largest power of two up to `wanted`, within the bounds.
fn power_of_two(wanted: i64, least: u32, most: u32) -> u32 {
    let wanted = u32::try_from(wanted).unwrap_or(u32::MAX).clamp(least, most);
    1 << wanted.ilog2()
}

#[cfg(test)]
mod tests {
    use super::super::launch::{DeviceLimits, Scratch};
    use super::*;

    const H100: DeviceLimits = DeviceLimits {
        compute_capability: (9, 0),
        multiprocessors: 132,
        shared_per_block: 227 * 1024,
        shared_per_multiprocessor: 228 * 1024,
        l2: 50 << 20,
    };

    fn call(operator: Operator, element: ElementType, rows: i64, classes: i64, inner: i64) -> Call {
        let problem = Problem { logits: 4096, rows, classes, inner, share: 1.0, ..Problem::default() };
        let loss = if operator == Operator::Gradient { 0 } else { 64 };
        let scratch = Scratch::at(1 << 20);
        Call { operator, element, reduction: Reduction::Mean, problem, loss, limits: H100, scratch }
    }

    fn rows(operator: Operator, element: ElementType, classes: i64) -> Rows {
        Rows::new(&call(operator, element, 8192, classes, 1))
    }

    #[test]
    fn longer_rows_take_more_threads_and_then_other_kernels() {
        let lanes = |classes| rows(Operator::Loss, ElementType::Bf16, classes).lanes;
        assert_eq!([33, 256, 511, 512, 520, 1024, 2048].map(lanes), [8, 8, 16, 8, 16, 16, 32]);
        let kernel = |operator, element, classes| rows(operator, element, classes).kernel;
        for (classes, f32, bf16) in [
            (31, "thread", "thread"),
            (32, "rows4_forward", "rows4_forward"),
            (127, "rows4_forward", "rows4_forward"),
            (128, "rows8_forward", "rows4_forward"),
            (512, "rows8_forward", "rows8_forward"),
            (1028, "stream_forward", "rows8_forward"),
            (50257, "stream_forward", "stream_forward"),
        ] {
            assert_eq!(kernel(Operator::Loss, ElementType::F32, classes), f32, "{classes}");
            assert_eq!(kernel(Operator::Loss, ElementType::Bf16, classes), bf16, "{classes}");
        }
        for (classes, f32, bf16) in [
            (1024, "rows8_gradient", "rows8_gradient"),
            (50257, "staged_gradient", "staged_gradient"),
            (128_256, "two_pass_gradient", "two_pass_gradient"),
        ] {
            assert_eq!(kernel(Operator::Gradient, ElementType::F32, classes), f32, "{classes}");
            assert_eq!(kernel(Operator::LossAndGradient, ElementType::Bf16, classes), bf16, "{classes}");
        }
        assert_eq!(kernel(Operator::Loss, ElementType::F64, 1000), "block");
    }

    #[test]
    fn a_row_is_staged_only_where_the_device_has_room() {
        let staged = rows(Operator::Gradient, ElementType::Bf16, 50257);
        assert_eq!((staged.shared, staged.block), (50257 / 8 * 16, 384));
        let small = DeviceLimits { shared_per_block: 99 * 1024, shared_per_multiprocessor: 100 * 1024, ..H100 };
        let on_small = Call { limits: small, ..call(Operator::Gradient, ElementType::Bf16, 8192, 50257, 1) };
        let two_pass = Rows::new(&on_small);
        assert_eq!((two_pass.kernel, two_pass.shared, two_pass.most_blocks), ("two_pass_gradient", 0, 132));
    }

    #[test]
    fn every_row_has_a_place_and_every_grid_fits_the_scratch() {
        for operator in Operator::ALL {
            for element in [ElementType::F32, ElementType::F16, ElementType::Bf16, ElementType::F64] {
                for classes in [2, 31, 32, 63, 64, 100, 1000, 1023, 2056, 4099, 50257, 200_003] {
                    for (count, inner) in [(1, 1), (2049, 1), (1 << 24, 1), (96, 3), (1 << 20, 1 << 10)] {
                        for smoothing in [0.0, 0.1] {
                            let mut call = call(operator, element, count, classes, inner);
                            call.problem.smoothing = smoothing;
                            call.problem.class_weights = 64;
                            let rows = Rows::new(&call);
                            for launch in plan(&call).launches {
                                assert!((1..=MOST_BLOCKS).contains(&launch.grid), "{launch:?}");
                                assert!(launch.block.is_multiple_of(32) && launch.block <= 1024, "{launch:?}");
                            }
                            if rows.lanes > 0 {
                                // body, head and tail have a lane for everything
                                let vectors = classes / per_vector(element);
                                let held: i64 = if rows.kernel.starts_with("rows4") { 4 } else { 8 };
                                assert!(i64::from(rows.lanes) * held >= vectors, "{rows:?}");
                                assert!(i64::from(rows.lanes) >= per_vector(element) - 1, "{rows:?}");
                                assert_eq!(rows.per_block * i64::from(rows.lanes), i64::from(rows.block));
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn sums_of_weights_come_first_where_only_the_labels_tell_them() {
        let kernels = |call: &Call| plan(call).launches.iter().map(|launch| launch.kernel).collect::<Vec<_>>();
        let plain = call(Operator::LossAndGradient, ElementType::F32, 100, 10, 1);
        assert_eq!(kernels(&plain), ["thread", "reduce"]);
        let ignoring = Problem { has_ignore_index: 1, ..plain.problem };
        let few = Call { problem: ignoring, ..plain.clone() };
        assert_eq!(kernels(&few), ["sum_of_weights", "thread", "reduce"]);
        let many = Call { problem: Problem { rows: 1 << 20, ..ignoring }, ..plain.clone() };
        assert_eq!(kernels(&many), ["sum_of_weights", "add_up", "thread", "reduce"]);
        let forward = Call { operator: Operator::Loss, ..few.clone() };
        assert_eq!(kernels(&forward), ["thread", "reduce"]);
        let backward = Call { operator: Operator::Gradient, loss: 0, ..few.clone() };
        assert_eq!(kernels(&backward), ["sum_of_weights", "thread"]);
        let sum = Call { reduction: Reduction::Sum, ..few };
        assert_eq!(kernels(&sum), ["thread", "reduce"]);
    }
}
