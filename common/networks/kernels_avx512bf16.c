/* The vector kernels for 512-bit registers on processors that multiply bf16 (AVX512-BF16). What is
 * not bf16 has the same bits as in kernels_avx512.c. */
#include "common/networks/kernels_avx512.h"

#define KERNELS_TABLE       kernels_avx512bf16
#define KERNELS_NAME        "avx512bf16"
#define KERNELS_DESCRIPTION "products of bf16 in 512-bit registers"

#include "common/networks/kernels_vector.h"
