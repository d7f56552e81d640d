#include "element.cuh"
typedef f16 Logits;
#include "kernels.cuh"
