/* The vector kernels for 512-bit registers. */
#include "common/networks/kernels_avx512.h"

#define KERNELS_TABLE kernels_avx512
#define KERNELS_NAME  "avx512"

#include "common/networks/kernels_vector.h"
