/* The vector kernels for 512-bit registers, on processors without instructions for bf16. The v_
 * operations are in kernels_avx512.h, the loops in kernels_vector.h. */
#include "common/networks/kernels_avx512.h"

#define KERNELS_TABLE       kernels_avx512
#define KERNELS_NAME        "avx512"
#define KERNELS_DESCRIPTION "512-bit registers"

#include "common/networks/kernels_vector.h"
