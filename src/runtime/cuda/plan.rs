//! Which kernels, with which grid, compute a call.

use super::launch::{Arguments, Call, Launch, MOST_BLOCKS, Plan};
use super::problem::Problem;
use crate::loss::Reduction;
use crate::runtime::ops::Operator;

const THREADS: u32 = 256;

/// The launches of a call that has rows.
pub(crate) fn plan(call: &Call) -> Plan {
    let mut plan = Plan::default();
    let grid = u32::try_from(call.problem.rows).unwrap_or(u32::MAX).min(MOST_BLOCKS);
    let reduced = call.loss != 0;
    let problem = Problem { partials: if reduced { call.scratch.partials } else { 0 }, ..call.problem };
    let kernel = if call.operator == Operator::Loss { "plain_forward" } else { "plain_gradient" };
    plan.launches.push(Launch { kernel, grid, block: THREADS, shared: 0, arguments: Arguments::Rows(problem) });
    if reduced {
        let count = i32::try_from(grid).unwrap_or(i32::MAX);
        let mean = i32::from(call.reduction == Reduction::Mean);
        let arguments = Arguments::Reduce { partials: call.scratch.partials, count, loss: call.loss, mean };
        plan.launches.push(Launch { kernel: "reduce", grid: 1, block: THREADS, shared: 0, arguments });
    }
    plan
}
