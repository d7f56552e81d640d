// The entry points of a module: the same names for each type of logits. ONLY_PLAIN is for double, which nobody trains in.
#pragma once

#include "long_rows.cuh"
#include "reduce.cuh"
#include "rows.cuh"
#include "smooth.cuh"

// Threads of a block at most, and blocks that a multiprocessor should hold at least: what is left to the compiler is how
// many registers that allows.
#define THREADS(most, blocks) __launch_bounds__(most, blocks)

#ifdef ONLY_PLAIN
#define BLOCKS_OF_THREADS 6
#else
#define BLOCKS_OF_THREADS 8
#endif

#ifndef ONLY_PLAIN
KERNEL THREADS(128, 7) rows4_forward(Problem p) { rows_in_registers<Logits, 4, false>(p); }
KERNEL THREADS(128, 7) rows4_gradient(Problem p) { rows_in_registers<Logits, 4, true>(p); }
KERNEL THREADS(128, 4) rows8_forward(Problem p) { rows_in_registers<Logits, 8, false>(p); }
KERNEL THREADS(128, 4) rows8_gradient(Problem p) { rows_in_registers<Logits, 8, true>(p); }

KERNEL THREADS(256, 3) stream_forward(Problem p) { long_rows_forward<Logits>(p); }
KERNEL THREADS(384, 2) staged_gradient(Problem p) { long_rows_gradient<Logits, InShared<Logits>>(p); }
KERNEL THREADS(768, 1) two_pass_gradient(Problem p) { long_rows_gradient<Logits, InGlobal<Logits>>(p); }

KERNEL THREADS(128, 4) smooth_few(Problem p) { smooth<Logits, double, ThreadTeam>(p); }
#endif

KERNEL THREADS(128, BLOCKS_OF_THREADS) thread(Problem p) { plain<Logits, ThreadTeam>(p); }
KERNEL THREADS(512, 2) columns(Problem p) { plain<Logits, ColumnTeam>(p); }
KERNEL THREADS(128, 4) smooth_thread(Problem p) { smooth<Logits, Element<Logits>::Compute, ThreadTeam>(p); }
KERNEL THREADS(512, 1) smooth_columns(Problem p) { smooth<Logits, Element<Logits>::Compute, ColumnTeam>(p); }
KERNEL THREADS(256, 2) smooth_block(Problem p) { smooth<Logits, Element<Logits>::Compute, BlockTeam>(p); }
#ifdef ONLY_PLAIN
KERNEL THREADS(256, 4) block(Problem p) { plain<Logits, BlockTeam>(p); }
#endif

KERNEL THREADS(512, 1) sum_of_weights(Problem p, double *partials, double *total) {
    sum_of_weights_of<Logits>(p, partials, total);
}
KERNEL THREADS(256, 1) add_up(const double *partials, i32 count, double *total) {
    const double sum = sum_of(partials, count, 1);
    if (threadIdx.x == 0) *total = sum;
}
KERNEL THREADS(256, 1) reduce(const double *partials, i32 count, Logits *loss, i32 mean) {
    reduce_to<Logits>(partials, count, loss, mean);
}
