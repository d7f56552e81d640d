// Threads that share a row, and how they add up.
//
// Every reduction is a butterfly of sums of two, which are the same in both orders: all threads get the same bits, in
// every run.
#pragma once

#include "element.cuh"

enum : u32 { ALL_LANES = 0xffffffff };
enum { MOST_WARPS = 32 };

DEVICE int lane_of_warp() { return threadIdx.x % 32; }
DEVICE int warp_of_block() { return threadIdx.x / 32; }
DEVICE int warps_of_block() { return blockDim.x / 32; }

struct Sum {
    template <class R> static DEVICE R identity() { return 0; }
    template <class R> static DEVICE R of(R a, R b) { return a + b; }
};
struct Max {
    template <class R> static DEVICE R identity() { return -infinity<R>(); }
    static DEVICE float of(float a, float b) { return fmaxf(a, b); }
    static DEVICE double of(double a, double b) { return fmax(a, b); }
};
struct Min {
    template <class R> static DEVICE R identity() { return 0x7fffffff; }
    static DEVICE i32 of(i32 a, i32 b) { return a < b ? a : b; }
};

// Over `lanes` neighbouring lanes of a warp, a power of two. All lanes of the warp must call it.
template <class Operation, class R> DEVICE R over_lanes(R x, int lanes) {
    for (int distance = lanes / 2; distance > 0; distance /= 2) {
        x = Operation::of(x, __shfl_xor_sync(ALL_LANES, x, distance));
    }
    return x;
}

// Over the block; all of its threads must call it, with the same memory of MOST_WARPS elements.
template <class Operation, class R> DEVICE R over_block(R x, R *slots) {
    x = over_lanes<Operation>(x, 32);
    __syncthreads(); // who read the slots the last time is done
    if (lane_of_warp() == 0) slots[warp_of_block()] = x;
    __syncthreads();
    const R other = lane_of_warp() < warps_of_block() ? slots[lane_of_warp()] : Operation::template identity<R>();
    return over_lanes<Operation>(other, 32);
}

// One thread a row.
struct ThreadTeam {
    enum { ALONE = true };
    static DEVICE i64 rows_of_block() { return blockDim.x; }
    static DEVICE i64 row_of_thread() { return threadIdx.x; }
    static DEVICE i64 member() { return 0; }
    static DEVICE i64 members() { return 1; }
    template <class Operation, class R> static DEVICE R over_team(R x) { return x; }
};

// All warps of a block share 32 rows: lane and row go together, so that neighbouring rows are read side by side.
struct ColumnTeam {
    enum { ALONE = false };
    static DEVICE i64 rows_of_block() { return 32; }
    static DEVICE i64 row_of_thread() { return lane_of_warp(); }
    static DEVICE i64 member() { return warp_of_block(); }
    static DEVICE i64 members() { return warps_of_block(); }
    template <class Operation, class R> static DEVICE R over_team(R x) {
        __shared__ R slots[MOST_WARPS][32];
        __syncthreads();
        slots[warp_of_block()][lane_of_warp()] = x;
        __syncthreads();
        R total = slots[0][lane_of_warp()];
        for (int warp = 1; warp < warps_of_block(); warp++) total = Operation::of(total, slots[warp][lane_of_warp()]);
        return total;
    }
};

// A block a row.
struct BlockTeam {
    enum { ALONE = false };
    static DEVICE i64 rows_of_block() { return 1; }
    static DEVICE i64 row_of_thread() { return 0; }
    static DEVICE i64 member() { return threadIdx.x; }
    static DEVICE i64 members() { return blockDim.x; }
    template <class Operation, class R> static DEVICE R over_team(R x) {
        __shared__ R slots[MOST_WARPS];
        return over_block<Operation>(x, slots);
    }
};
