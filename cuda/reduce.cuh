// The second step of reductions over rows: what the blocks left is added up in a fixed order.
#pragma once

#include "row.cuh"

// Every `stride`-th of `count` numbers, over the block; for all threads.
DEVICE double sum_of(const double *numbers, i32 count, i32 stride) {
    __shared__ double slots[MOST_WARPS];
    double sum = 0;
    for (i32 i = threadIdx.x; i < count; i += blockDim.x) sum += numbers[(i64)i * stride];
    return over_block<Sum>(sum, slots);
}

// Sum of the class weights of the labels that count: to `total` if there is one block, else one a block to `partials`.
template <class T> DEVICE void sum_of_weights_of(const Problem &p, double *partials, double *total) {
    __shared__ double slots[MOST_WARPS];
    double sum = 0;
    for (i64 row = blockIdx.x * (i64)blockDim.x + threadIdx.x; row < p.rows; row += gridDim.x * (i64)blockDim.x) {
        sum += Target<double>::of(p, (const T *)p.logits, row).weight;
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
