/* The code of kernels_amx.c over tiles in plain C and 256-bit registers: for tests of packing,
 * blocking and tails on processors without a matrix unit. Slow, and never chosen by itself. */
#include "common/networks/kernels_avx2.h"
#include "common/networks/kernels_tiles.h"

#define KERNELS_TABLE       kernels_amx_emulated
#define KERNELS_NAME        "amx-emulated"
#define KERNELS_DESCRIPTION "tiles of bf16 in plain C"
#define KERNELS_TILES

#include "common/networks/kernels_vector.h"
