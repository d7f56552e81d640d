typedef float Logits;
#include "kernels.cuh"
