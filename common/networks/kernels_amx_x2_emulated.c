/* The code of kernels_amx_x2.c over tiles in plain C and 256-bit registers, for tests, as
 * kernels_amx_emulated.c is that of kernels_amx.c. */
#include "common/networks/kernels_avx2.h"
#include "common/networks/kernels_tiles.h"

#define KERNELS_TABLE       kernels_amx_x2_emulated
#define KERNELS_NAME        "amx-x2-emulated"
#define KERNELS_DESCRIPTION "floats as two parts of bf16 in tiles in plain C"
#define KERNELS_TILES
#define KERNELS_PARTS 2

#include "common/networks/kernels_vector.h"
