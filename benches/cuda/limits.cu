// What the memory can do: a read and a copy, with the loads and stores that the kernels use. benches/cuda measures them
// beside the operators, which can at best be as fast.

#include "memory.cuh"

// Vectors of sixteen bytes that a thread has in flight at a time.
const int FLIGHT = 4;

DEVICE u32 together(const Vector &v) { return v.words[0] | v.words[1] | v.words[2] | v.words[3]; }

// Reads every vector. `never` is what no data gives, so that nothing is written, which the compiler can't know.
KERNEL __launch_bounds__(512) read(const Vector *from, u64 vectors, u32 never, u32 *to) {
    const u64 step = (u64)gridDim.x * blockDim.x;
    u64 at = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    u32 sum = 0;
    for (; at + (FLIGHT - 1) * step < vectors; at += FLIGHT * step) {
        Vector v[FLIGHT];
#pragma unroll
        for (int i = 0; i < FLIGHT; i++) v[i] = load_vector(from + at + i * step);
#pragma unroll
        for (int i = 0; i < FLIGHT; i++) sum |= together(v[i]);
    }
    for (; at < vectors; at += step) sum |= together(load_vector(from + at));
    if (sum == never) *to = sum;
}

KERNEL __launch_bounds__(512) copy(const Vector *from, u64 vectors, Vector *to) {
    const u64 step = (u64)gridDim.x * blockDim.x;
    u64 at = (u64)blockIdx.x * blockDim.x + threadIdx.x;
    for (; at + (FLIGHT - 1) * step < vectors; at += FLIGHT * step) {
        Vector v[FLIGHT];
#pragma unroll
        for (int i = 0; i < FLIGHT; i++) v[i] = load_vector(from + at + i * step);
#pragma unroll
        for (int i = 0; i < FLIGHT; i++) store_vector(to + at + i * step, v[i]);
    }
    for (; at < vectors; at += step) store_vector(to + at, load_vector(from + at));
}
