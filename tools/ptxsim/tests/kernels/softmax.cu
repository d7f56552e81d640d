// Softmax of rows, written in the ways that kernels fail in: tests/mutations.rs breaks what the compiler makes of it.

typedef unsigned int u32;
#define KERNEL extern "C" __global__ void

__device__ float greatest(float a) {
    __shared__ float part[4];
    for (int o = 16; o; o >>= 1) a = fmaxf(a, __shfl_xor_sync(0xffffffffu, a, o));
    if ((threadIdx.x & 31) == 0) part[threadIdx.x >> 5] = a;
    __syncthreads();
    a = fmaxf(fmaxf(part[0], part[1]), fmaxf(part[2], part[3]));
    return a;
}

__device__ float total(float a) {
    __shared__ float part[4];
    for (int o = 16; o; o >>= 1) a += __shfl_xor_sync(0xffffffffu, a, o);
    if ((threadIdx.x & 31) == 0) part[threadIdx.x >> 5] = a;
    __syncthreads();
    a = part[0] + part[1] + part[2] + part[3];
    return a;
}

// A block of 128 for each row, 16 bytes a thread where the row is aligned; may write to where it reads.
KERNEL __launch_bounds__(128) softmax(const float *x, float *y, int columns) {
    const float *row = x + (long long)blockIdx.x * columns;
    float *out = y + (long long)blockIdx.x * columns;
    int head = (int)((16 - ((unsigned long long)row & 15)) & 15) / 4;
    if (head > columns) head = columns;
    if (((unsigned long long)row & 15) != ((unsigned long long)out & 15)) head = columns;
    int vectors = (columns - head) / 4, tail = head + vectors * 4;
    float m = -__int_as_float(0x7f800000);
    for (int i = threadIdx.x; i < head; i += 128) m = fmaxf(m, row[i]);
    for (int i = threadIdx.x; i < vectors; i += 128) {
        float4 v = *(const float4 *)(row + head + i * 4);
        m = fmaxf(fmaxf(fmaxf(m, v.x), fmaxf(v.y, v.z)), v.w);
    }
    if (tail + threadIdx.x < columns) m = fmaxf(m, row[tail + threadIdx.x]);
    m = greatest(m);
    float s = 0;
    for (int i = threadIdx.x; i < head; i += 128) s += exp2f((row[i] - m) * 1.4426950408889634f);
    for (int i = threadIdx.x; i < vectors; i += 128) {
        float4 v = *(const float4 *)(row + head + i * 4);
        s += exp2f((v.x - m) * 1.4426950408889634f) + exp2f((v.y - m) * 1.4426950408889634f) +
             exp2f((v.z - m) * 1.4426950408889634f) + exp2f((v.w - m) * 1.4426950408889634f);
    }
    if (tail + threadIdx.x < columns) s += exp2f((row[tail + threadIdx.x] - m) * 1.4426950408889634f);
    s = 1.0f / total(s);
    for (int i = threadIdx.x; i < head; i += 128) out[i] = exp2f((row[i] - m) * 1.4426950408889634f) * s;
    for (int i = threadIdx.x; i < vectors; i += 128) {
        float4 v = *(const float4 *)(row + head + i * 4);
        v.x = exp2f((v.x - m) * 1.4426950408889634f) * s;
        v.y = exp2f((v.y - m) * 1.4426950408889634f) * s;
        v.z = exp2f((v.z - m) * 1.4426950408889634f) * s;
        v.w = exp2f((v.w - m) * 1.4426950408889634f) * s;
        *(float4 *)(out + head + i * 4) = v;
    }
    int i = tail + threadIdx.x;
    if (i < columns) out[i] = exp2f((row[i] - m) * 1.4426950408889634f) * s;
}

extern __shared__ __align__(16) float staged_row[];

// Columns are a multiple of 4 and rows aligned: the row is brought to shared memory by cp.async.
KERNEL __launch_bounds__(128) softmax_staged(const float *x, float *y, int columns) {
    const float *row = x + (long long)blockIdx.x * columns;
    u32 place = (u32)__cvta_generic_to_shared(staged_row);
    for (int i = threadIdx.x * 4; i < columns; i += 512)
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(place + i * 4), "l"(row + i) : "memory");
    asm volatile("cp.async.commit_group;" ::: "memory");
    asm volatile("cp.async.wait_group 0;" ::: "memory");
    __syncthreads();
    float m = -__int_as_float(0x7f800000);
    for (int i = threadIdx.x; i < columns; i += 128) m = fmaxf(m, staged_row[i]);
    m = greatest(m);
    float s = 0;
    for (int i = threadIdx.x; i < columns; i += 128) s += exp2f((staged_row[i] - m) * 1.4426950408889634f);
    s = 1.0f / total(s);
    for (int i = threadIdx.x; i < columns; i += 128)
        y[(long long)blockIdx.x * columns + i] = exp2f((staged_row[i] - m) * 1.4426950408889634f) * s;
}

// Transposes 32 by 32 numbers, a warp each time, through shared memory that the warp alone uses.
KERNEL __launch_bounds__(64) transpose(const float *x, float *y, int tiles) {
    __shared__ float tile[2][32][33];
    int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    for (int t = blockIdx.x * 2 + warp; t < tiles; t += gridDim.x * 2) {
        for (int i = 0; i < 32; i++) tile[warp][i][lane] = x[t * 1024 + i * 32 + lane];
        __syncwarp();
        for (int i = 0; i < 32; i++) y[t * 1024 + i * 32 + lane] = tile[warp][lane][i];
        __syncwarp();
    }
}
