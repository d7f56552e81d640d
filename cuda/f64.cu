#define ONLY_PLAIN
typedef double Logits;
#include "kernels.cuh"
