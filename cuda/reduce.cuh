// The second step of reductions over rows: what the blocks left is added up in a fixed order.
#pragma once

#include "row.cuh"

// Numbers that a thread has under way. Beyond the end it reads one again that is there: a read that a branch decides about
// waits for the branch, and those after it too.
enum { PARTS_AT_ONCE = 8, LABELS_AT_ONCE = 4 };

// What blocks left: every `stride`-th of `count` numbers, over the block; for all threads.
DEVICE double sum_of(const double *numbers, i32 count, i32 stride) {
    __shared__ double slots[MOST_WARPS];
    const i32 threads = (i32)blockDim.x;
    double sum = 0;
    for (i32 i = (i32)threadIdx.x; i < count; i += PARTS_AT_ONCE * threads) {
        double parts[PARTS_AT_ONCE];
#pragma unroll
        for (int k = 0; k < PARTS_AT_ONCE; k++) {
            parts[k] = numbers[(i64)(i + k * threads < count ? i + k * threads : i) * stride];
        }
#pragma unroll
        for (int k = 0; k < PARTS_AT_ONCE; k++) sum += i + k * threads < count ? parts[k] : 0;
    }
    return over_block<Sum>(sum, slots);
}

// Sum of the class weights of the labels that count: to `total` if there is one block, else one a block to `partials`.
template <class T> DEVICE void sum_of_weights_of(const Problem &p, double *partials, double *total) {
    __shared__ double slots[MOST_WARPS];
    const i64 threads = gridDim.x * (i64)blockDim.x;
    double sum = 0;
    for (i64 row = blockIdx.x * (i64)blockDim.x + threadIdx.x; row < p.rows; row += LABELS_AT_ONCE * threads) {
        i64 labels[LABELS_AT_ONCE];
#pragma unroll
        for (int k = 0; k < LABELS_AT_ONCE; k++) {
            labels[k] = label_of(p, row + k * threads < p.rows ? row + k * threads : row);
        }
#pragma unroll
        for (int k = 0; k < LABELS_AT_ONCE; k++) {
            const Target<double> target = Target<double>::of_label(p, (const T *)p.logits, labels[k]);
            sum += row + k * threads < p.rows ? target.weight : 0;
        }
    }
    sum = over_block<Sum>(sum, slots);
    if (threadIdx.x == 0) *(gridDim.x == 1 ? total : partials + blockIdx.x) = sum;
}

// The loss from pairs of sums of weighted losses and of weights. The mean of nothing is 0.
template <class T> DEVICE void reduce_to(const double *partials, i32 count, T *loss, i32 mean) {
    const double losses = sum_of(partials, count, 2);
    const double weights = sum_of(partials + 1, count, 2);
    if (threadIdx.x != 0) return;
    *loss = Element<T>::from_double(mean ? weighted(weights == 0 ? 0 : 1 / weights, losses) : losses);
}
