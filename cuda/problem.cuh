// One call of an operator, as src/runtime/cuda/problem.rs lays it out. Every kernel that sees rows takes it by value, as
// its first parameter. All pointers are to device memory; T is the type of the module.
#pragma once

typedef signed char i8;
typedef int i32;
typedef long long i64;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;

// The bonus b(p), in the order of src/loss/encouraging_loss.rs.
enum Bonus { BONUS_LOG = 0, BONUS_POWER = 1, BONUS_COSINE = 2 };

struct Problem {
    const void *logits;         // T [N, C, d...]
    void *dlogits;              // T [N, C, d...], may be the same memory as `logits`
    const void *labels;         // i32 or i64 [N, d...]
    const void *class_weights;  // T [C]; null: 1
    const float *bonus_weight;  // one number; null: `rho`
    const void *dloss;          // T, one for all rows or one a row; null: 1
    const float *saved_margins; // the forward pass's, one a row; null: not known
    void *losses;               // T, one a row; null: not wanted
    float *margins;             // one a row; null: not wanted
    double *partials;           // a pair for each block: sum of weighted losses, sum of weights; null: not wanted
    const double *weight_sum;   // what reduction mean divides by; null: `share` has it
    i64 rows, classes, inner;   // rows are N * d...; inner is the product of d...
    i64 ignore_index;
    double share;               // what a row's gradient is multiplied by: 1, or 1/rows
    double rho, log_end;
    double log_end_value;       // log(1 - log_end)
    double steepness;           // 1 / (1 - log_end)
    double power, smoothing;
    i32 bonus;
    i32 has_ignore_index;
    i32 labels_are_64_bit;
    i32 dloss_per_row;
    i32 lanes;                  // threads that share a row, where the kernel's name doesn't say it
    i32 reserved;
};
static_assert(sizeof(Problem) == 200, "as in Rust");
