// What the memory can do: a read and a copy, as plain as the kernels' own accesses. benches/cuda measures them beside
// the operators, which can at best be as fast.

typedef unsigned int u32;
typedef unsigned long long u64;

struct alignas(16) Line {
    u32 a, b, c, d;
};

// Lines that a thread has in flight at a time.
constexpr int FLIGHT = 4;

// Reads every line of 16 bytes. `never` is a sum that no data gives, so that nothing is written, which the compiler
// cannot know.
extern "C" __global__ void __launch_bounds__(512) read(const Line *from, u64 lines, u32 never, u32 *to) {
    u64 step = (u64)gridDim.x * blockDim.x;
    u32 sum = 0;
    for (u64 at = (u64)blockIdx.x * blockDim.x + threadIdx.x; at < lines; at += FLIGHT * step) {
        Line line[FLIGHT];
#pragma unroll
        for (int i = 0; i < FLIGHT; i++) {
            line[i] = at + i * step < lines ? from[at + i * step] : Line{0, 0, 0, 0};
        }
#pragma unroll
        for (int i = 0; i < FLIGHT; i++) {
            sum |= line[i].a | line[i].b | line[i].c | line[i].d;
        }
    }
    if (sum == never) {
        *to = sum;
    }
}

extern "C" __global__ void __launch_bounds__(512) copy(const Line *from, u64 lines, Line *to) {
    u64 step = (u64)gridDim.x * blockDim.x;
    for (u64 at = (u64)blockIdx.x * blockDim.x + threadIdx.x; at < lines; at += FLIGHT * step) {
        Line line[FLIGHT];
#pragma unroll
        for (int i = 0; i < FLIGHT; i++) {
            if (at + i * step < lines) {
                line[i] = from[at + i * step];
            }
        }
#pragma unroll
        for (int i = 0; i < FLIGHT; i++) {
            if (at + i * step < lines) {
                to[at + i * step] = line[i];
            }
        }
    }
}
