/* kernels_amx.c with two parts of bf16 for each number: what is bf16 elsewhere has the accuracy of
 * about 17 bits here, and a step in float takes its hidden layers from it (kernels_bf16_parts).
 *
 * Three products instead of one, and functions as exact as float's: 1.8 times the speed of a step
 * in float, half that of one in bf16 (docs/performance.md). Never chosen by itself, since the bits of
 * float are those of the other tables. */
#include "common/networks/kernels_avx512.h"
#include "common/networks/kernels_tiles.h"

#define KERNELS_TABLE       kernels_amx_x2
#define KERNELS_NAME        "amx-x2"
#define KERNELS_DESCRIPTION "floats as two parts of bf16 in tiles, 512-bit registers"
#define KERNELS_TILES
#define KERNELS_PARTS 2

#include "common/networks/kernels_vector.h"
