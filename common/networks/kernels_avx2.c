/* The vector kernels for 256-bit registers. The v_ operations are in kernels_avx2.h, the loops in
 * kernels_vector.h.
 *
 * The parameters of the included file are macros, so that each set of registers has loops of its
 * own with all sizes known to the compiler. This file is compiled for its instructions alone and
 * called only where kernels.c has found them. */
#include "common/networks/kernels_avx2.h"

#define KERNELS_TABLE       kernels_avx2
#define KERNELS_NAME        "avx2"
#define KERNELS_DESCRIPTION "256-bit registers"

#include "common/networks/kernels_vector.h"
