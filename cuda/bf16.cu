#include "element.cuh"
typedef bf16 Logits;
#include "kernels.cuh"
