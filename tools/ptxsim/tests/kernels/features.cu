// Each kernel makes the compiler use one part of PTX. tests/features.rs knows what comes out.

typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;
typedef unsigned short u16;
#define KERNEL extern "C" __global__ void

extern __shared__ __align__(16) unsigned char dynamic[];
__constant__ float table[4] = {1.5f, 2.5f, 3.5f, 4.5f};
__device__ u32 counter = 7;
__device__ int numbers[3] = {10, 20, 30};
__device__ const int *pointer = numbers + 1;

KERNEL integers(const i64 *x, i64 *y) {
    i64 v = x[threadIdx.x];
    i64 *o = y + threadIdx.x * 16;
    int w = (int)v;
    u32 u = (u32)v;
    o[0] = v / 7;
    o[1] = v % 1000003;
    o[2] = (u64)v / ((u64)w | 1);
    o[3] = __popc(u) + 100 * __clz(w) + 10000 * __ffsll(v);
    o[4] = __brev(u);
    o[5] = __umulhi(u, 12345u);
    o[6] = __mul64hi(v, v * 3);
    o[7] = __funnelshift_l(u, ~u, w & 31);
    o[8] = __byte_perm(u, ~u, 0x3175);
    o[9] = v >> (w & 63);
    o[10] = (short)w * (signed char)w;
    o[11] = (i64)(float)w;
    o[12] = max((u64)v, (u64)5);
    o[13] = min(v, -3ll);
    o[14] = abs(w);
    o[15] = w < 0 ? -1 : w > 5;
}

// the sum of each row of 64, staged in shared memory by cp.async in two groups, plus a number of the table
KERNEL staged(const float *x, float *y) {
    float *row = (float *)dynamic;
    u32 place = (u32)__cvta_generic_to_shared(row);
    const float *from = x + blockIdx.x * 64;
    for (int group = 0; group < 2; group++) {
        int i = group * 32 + threadIdx.x * 4;
        if (threadIdx.x < 8)
            asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(place + i * 4), "l"(from + i) : "memory");
        asm volatile("cp.async.commit_group;" ::: "memory");
    }
    float sum = 0;
    asm volatile("cp.async.wait_group 1;" ::: "memory");
    __syncthreads();
    sum += row[31 - threadIdx.x];
    asm volatile("cp.async.wait_group 0;" ::: "memory");
    __syncthreads();
    sum += row[63 - threadIdx.x];
    for (int o = 16; o; o >>= 1) sum += __shfl_xor_sync(0xffffffffu, sum, o);
    if (threadIdx.x == 0) y[blockIdx.x] = sum + table[blockIdx.x & 3];
}

KERNEL warps(const float *x, double *y, u32 *z) {
    __shared__ float s[64];
    int i = threadIdx.x;
    s[i] = x[i];
    __syncwarp();
    float v = s[i ^ 1];
    __syncwarp();
    s[i] = v * 2;
    __syncwarp();
    v = s[i ^ 3];
    double third_of_eight = __shfl_sync(0xffffffffu, (double)v, 3, 8);
    float next = __shfl_down_sync(0xffffffffu, v, 1, 16);
    float odd = 0;
    if (i & 1) odd = __shfl_up_sync(0xaaaaaaaau, v, 2, 16);
    y[i] = v + 100 * third_of_eight + 10000.0 * next + 1000000.0 * odd;
    z[i] = __ballot_sync(0xffffffffu, v > 60) + __any_sync(0xffffffffu, v > 125) + 2 * __all_sync(0xffffffffu, v > 125);
    z[64 + i] = __reduce_add_sync(0xffffffffu, i) + __match_any_sync(0xffffffffu, i / 8);
}

struct Packet {
    i64 a;
    float f;
    double d;
    short s;
    char c[3];
};

__device__ __noinline__ double power(double a, int n, const Packet &q) {
    if (n < 1) return a * q.d;
    double inner = power(a + 1, n - 1, q);
    return inner * q.f + n;
}

KERNEL calls(Packet q, double *y) { y[threadIdx.x] = power(q.a, threadIdx.x & 3, q) + q.s + q.c[1]; }

KERNEL locals(const int *x, int *y, int n) {
    int a[16];
    for (int i = 0; i < 16; i++) a[i] = x[i] * i;
    int v = a[x[threadIdx.x] & 15];
    switch (threadIdx.x) {
        case 0: v += n; break;
        case 1: v *= 3; break;
        case 2: v -= x[3]; break;
        case 3: v ^= 9; break;
        case 4: v = -v; break;
        case 5: v /= 3; break;
        default: v += 1000;
    }
    y[threadIdx.x] = v;
}

// f16 and bf16 by inline assembly, with a scope in one line
KERNEL halves(const u16 *x, float *up, u32 *down) {
    int i = threadIdx.x;
    float f, b;
    asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(x[i]));
    b = __uint_as_float((u32)x[i] << 16);
    up[2 * i] = f;
    up[2 * i + 1] = b;
    asm("{.reg .b16 a,b; cvt.rn.f16.f32 a,%1; cvt.rn.f16.f32 b,%2; mov.b32 %0,{a,b};}"
        : "=r"(down[3 * i]) : "f"(f * 3), "f"(f * 0.1f));
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(down[3 * i + 1]) : "f"(f * 3), "f"(f * 0.1f));
    u32 pair = (u32)x[i] << 16 | x[i];
    asm("fma.rn.f16x2 %0, %1, %1, %1;" : "=r"(down[3 * i + 2]) : "r"(pair));
}

KERNEL atomics(int *y, float *z) {
    __shared__ int s;
    if (threadIdx.x == 0) s = 100;
    __syncthreads();
    atomicAdd(&s, 1);
    __syncthreads();
    if (threadIdx.x == 0) {
        atomicAdd(y, s);
        atomicMax(y + 1, (int)blockIdx.x);
        atomicCAS(y + 2, 0, 42);
        atomicAdd(z, 0.5f);
        atomicAdd(&counter, 1u);
    }
}

KERNEL variables(u32 *y) {
    y[0] = counter;
    y[1] = *pointer;
    y[2] = numbers[threadIdx.x + 2];
}

KERNEL barriers(int *y) {
    __shared__ int s;
    int i = threadIdx.x;
    if (i == 0) s = 5;
    int count = __syncthreads_count(i & 1);
    int some = __syncthreads_or(i == 40);
    int all = __syncthreads_and(i != 40);
    y[i] = s + 10 * count + 1000 * (some != 0) + 10000 * (all != 0);
}

KERNEL vectors(const int4 *x, int4 *y, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    int4 a = __ldg(x + i);
    int4 b = __ldcs(x + i);
    a.x += b.w;
    __stcs(y + i, a);
}

KERNEL wide(const u64 *x, u64 *y) {
    u64 low, high;
    asm("{add.cc.u64 %0, %2, %4; addc.u64 %1, %3, %5;}" : "=l"(low), "=l"(high)
        : "l"(x[0]), "l"(x[1]), "l"(x[2]), "l"(x[3]));
    y[0] = low;
    y[1] = high;
    asm("{sub.cc.u64 %0, %2, %4; subc.u64 %1, %3, %5;}" : "=l"(low), "=l"(high)
        : "l"(x[0]), "l"(x[1]), "l"(x[2]), "l"(x[3]));
    y[2] = low;
    y[3] = high;
    asm("{mad.lo.cc.u64 %0, %2, %3, %4; madc.hi.u64 %1, %2, %3, 0;}" : "=l"(low), "=l"(high)
        : "l"(x[0]), "l"(x[2]), "l"(x[1]));
    y[4] = low;
    y[5] = high;
}
