/* Which kernels the policy library runs: 512-bit registers, 256-bit ones, or plain C, whatever the
 * processor has first.
 *
 * The same floats as kernels_choice.c would choose, and no bf16, with which only learners compute.
 * So the library does not ask Linux for matrix units, which would change the process that it is
 * part of. On other processors than x86-64 there is plain C. */
#include "common/networks/kernels_table.h"

const struct kernels_table *kernels_best(void)
{
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw")) {
        return &kernels_avx512;
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) {
        return &kernels_avx2;
    }
#endif
    return &kernels_plain;
}
