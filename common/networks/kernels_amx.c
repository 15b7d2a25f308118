/* The vector kernels for 512-bit registers on processors with a matrix unit (AMX): later layers of
 * bf16 go through tiles. What is not bf16 has the same bits as in kernels_avx512.c.
 *
 * A tile instruction makes 16 times as many products as a vector one, so that this table is never
 * slower than kernels_avx512bf16.c and is preferred wherever the kernel grants the tiles
 * (kernels.c asks). */
#include "common/networks/kernels_avx512.h"
#include "common/networks/kernels_tiles.h"

#define KERNELS_TABLE       kernels_amx
#define KERNELS_NAME        "amx"
#define KERNELS_DESCRIPTION "tiles of bf16, 512-bit registers"
#define KERNELS_TILES

#include "common/networks/kernels_vector.h"
