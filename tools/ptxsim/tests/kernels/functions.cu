// What the compiler makes of functions of the C library: one result for each function and input.

extern "C" __global__ void single(const float *x, float *y, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    float v = x[i];
    float *o = y + i * 16;
    o[0] = expf(v);
    o[1] = logf(fabsf(v));
    o[2] = log1pf(fabsf(v));
    o[3] = sinpif(v);
    o[4] = cospif(v);
    o[5] = powf(fabsf(v), 2.3f);
    o[6] = tanhf(v);
    o[7] = sqrtf(fabsf(v));
    o[8] = 1.0f / v;
    o[9] = v / 3.7f;
    o[10] = rsqrtf(fabsf(v));
    o[11] = __expf(v);
    o[12] = expm1f(v);
    o[13] = floorf(v) + 2 * ceilf(v) + 4 * rintf(v) + 8 * truncf(v);
    o[14] = fmodf(v, 0.7f);
    o[15] = sinf(v);
}

extern "C" __global__ void twice(const double *x, double *y, int n) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    double v = x[i];
    double *o = y + i * 12;
    o[0] = exp(v);
    o[1] = log(fabs(v));
    o[2] = log1p(fabs(v));
    o[3] = sinpi(v);
    o[4] = cospi(v);
    o[5] = pow(fabs(v), 2.3);
    o[6] = sqrt(fabs(v));
    o[7] = 1.0 / v;
    o[8] = v / 3.7;
    o[9] = floor(v) + 2 * ceil(v) + 4 * rint(v) + 8 * trunc(v);
    o[10] = expm1(v);
    o[11] = sin(v);
}
