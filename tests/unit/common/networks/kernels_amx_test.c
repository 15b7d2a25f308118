/* The instructions of kernels_amx.c themselves. Where the processor has no matrix unit each of
 * them raises SIGILL, and a handler executes it: it decodes the instruction and does the same to
 * tiles in plain C. So what the compiler made of the intrinsics is tested on every processor with
 * AVX512-BF16, the configuration of the tiles included. Where there is a matrix unit, it is held
 * against the emulation. */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

#include "common/base/memory.h"
#include "common/base/noise.h"
#include "common/networks/kernels_table.h"
#include "common/networks/kernels_tiles.h"
#include "tests/lib/check.h"

/* ---- Executing an instruction ---- */

static int n_executed;
static bool shape_is_whole; /* the last LDTILECFG asked for eight tiles in full size */

/* General register 0..15 in the order of encodings. */
static uint64_t reg(const ucontext_t *context, unsigned i)
{
    static const int order[16] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP,
                                  REG_RSI, REG_RDI, REG_R8,  REG_R9,  REG_R10, REG_R11,
                                  REG_R12, REG_R13, REG_R14, REG_R15};
    return (uint64_t)context->uc_mcontext.gregs[order[i]];
}

/* A memory operand: address without the index, the index register's value times its scale, and the
 * bytes of ModRM, SIB and displacement. */
struct operand {
    uint64_t address, stride;
    size_t size;
};

static struct operand operand_of(const ucontext_t *context, const uint8_t *modrm, unsigned x,
                                 unsigned b)
{
    const unsigned mod = *modrm >> 6, rm = *modrm & 7u;
    struct operand operand = {.size = 1};
    unsigned base = rm;
    if (rm == 4) {
        const uint8_t sib = modrm[operand.size++];
        const unsigned index = (sib >> 3 & 7u) | x << 3;
        operand.stride = index == 4 ? 0 : reg(context, index) << (sib >> 6);
        base = sib & 7u;
    }
    ASSERT(mod != 3 && !(mod == 0 && base == 5)); /* neither a register nor relative to RIP */
    operand.address = reg(context, base | b << 3);
    if (mod == 1) {
        operand.address += (uint64_t)(int64_t)(int8_t)modrm[operand.size++];
    } else if (mod == 2) {
        int32_t displacement;
        memcpy(&displacement, modrm + operand.size, sizeof displacement);
        operand.address += (uint64_t)(int64_t)displacement;
        operand.size += sizeof displacement;
    }
    return operand;
}

/* Whether the 64 bytes ask for palette 1 and eight tiles of 16 rows of 64 bytes. */
static bool is_whole(const uint8_t *config)
{
    bool whole = config[0] == 1;
    for (int i = 1; i < 64; i++) {
        const int want = i >= 48 && i < 56                 ? TILES_ROWS
                         : i >= 16 && i < 32 && i % 2 == 0 ? TILES_BYTES
                                                           : 0;
        whole = whole && config[i] == want;
    }
    return whole;
}

/* Executes the instruction at `at`, a VEX instruction of map 0F38; returns its size, 0 if it is
 * none of AMX. */
static size_t execute(const ucontext_t *context, const uint8_t *at)
{
    if (at[0] != 0xc4 || (at[1] & 31u) != 2) {
        return 0;
    }
    const unsigned x = (at[1] >> 6 & 1u) ^ 1u, b = (at[1] >> 5 & 1u) ^ 1u;
    const unsigned prefix = at[2] & 3u, opcode = at[3];
    const int first = at[4] >> 3 & 7, second = at[4] & 7, third = (at[2] >> 3 & 7) ^ 7;
    if (opcode == 0x5c && prefix == 2) { /* TDPBF16PS */
        tile_multiply(first, second, third);
        return 5;
    }
    if (opcode == 0x49 && prefix == 0 && at[4] == 0xc0) { /* TILERELEASE */
        tile_release();
        return 5;
    }
    const struct operand operand = operand_of(context, at + 4, x, b);
    void *memory = (void *)(uintptr_t)operand.address;
    if (opcode == 0x49 && prefix == 0) { /* LDTILECFG */
        shape_is_whole = is_whole(memory);
        tile_configure();
    } else if (opcode == 0x4b && prefix == 3) { /* TILELOADD */
        tile_load(first, memory, operand.stride);
    } else if (opcode == 0x4b && prefix == 2) { /* TILESTORED */
        tile_store(first, memory, operand.stride);
    } else {
        return 0;
    }
    return 4 + operand.size;
}

static void on_illegal(int number, siginfo_t *info, void *arg)
{
    (void)number;
    (void)info;
    ucontext_t *context = arg;
    greg_t *rip = &context->uc_mcontext.gregs[REG_RIP];
    const size_t size = execute(context, (const uint8_t *)(uintptr_t)*rip);
    if (size == 0) {
        abort();
    }
    *rip += (greg_t)size;
    n_executed++;
}

/* ---- The test ---- */

/* What a table makes of the same numbers: a layer in float and as the bits of bf16, the gradients by
 * its inputs and by its weights. */
struct result {
    float *y, *dx, *dW, *db;
    uint16_t *y_bf16;
};

/* x(R,I) and dy(R,O), with leading dimensions of their own. */
struct numbers {
    int R, I, O;
    size_t ld_x, ld_y;
    float *W, *bias, *x, *dy;
};

static float *normals(size_t n, uint32_t purpose)
{
    float *x = mem_array(n, sizeof *x);
    assert_non_null(x);
    noise_normal(x, n, 3, 0, purpose, 0);
    return x;
}

/* x(R,n) as the table's functions of bf16 read it, rows of parts times ld. */
static uint16_t *rounded(const struct kernels_table *table, const float *x, size_t ld, int R, int n)
{
    const size_t ld_bf16 = (size_t)table->bf16_parts * ld;
    uint16_t *y = mem_array((size_t)R * ld_bf16, sizeof *y);
    assert_non_null(y);
    table->bf16_round(y, ld_bf16, x, ld, R, n);
    return y;
}

/* Without activation, whose last places differ between vectors of 256 and of 512 bits. */
static struct result run(const struct kernels_table *table, const struct numbers *in)
{
    const int R = in->R, I = in->I, O = in->O;
    const size_t parts = (size_t)table->bf16_parts;
    const size_t size_forward = table->bf16_packed_size(I, O);
    const size_t size_back = table->bf16_packed_size(O, I);
    uint16_t *forward = mem_aligned(size_forward * sizeof *forward);
    uint16_t *back = mem_aligned(size_back * sizeof *back);
    const size_t own = table->bf16_scratch(I, O), turned = table->bf16_scratch(O, I);
    float *scratch = mem_aligned((own > turned ? own : turned) * sizeof *scratch);
    float *zeros = mem_array((size_t)I, sizeof *zeros);
    table->bf16_pack(forward, in->W, I, O, 0, O);
    table->bf16_pack_back(back, in->W, I, O, 0, I);
    const struct kernels_layer layer = {.packed_bf16 = forward,
                                        .I = I,
                                        .O = O,
                                        .count = I,
                                        .start = in->bias,
                                        .rows_per_start = 1,
                                        .activation = KERNELS_PLAIN};
    const struct kernels_layer turned_layer = {.packed_bf16 = back,
                                               .I = O,
                                               .O = I,
                                               .count = O,
                                               .start = zeros,
                                               .rows_per_start = 1,
                                               .activation = KERNELS_PLAIN};
    const size_t n_y = (size_t)R * in->ld_y, n_x = (size_t)R * in->ld_x;
    struct result out = {
        .y = mem_array(n_y, sizeof *out.y),
        .dx = mem_array(n_x, sizeof *out.dx),
        .dW = normals((size_t)I * (size_t)O, 9), /* is added to */
        .db = normals((size_t)O, 10),
        .y_bf16 = mem_array(parts * n_y, sizeof *out.y_bf16),
    };
    uint16_t *x_bf16 = rounded(table, in->x, in->ld_x, R, I);
    uint16_t *dy_bf16 = rounded(table, in->dy, in->ld_y, R, O);
    table->thread_begin();
    table->bf16_next(NULL, out.y, in->ld_y, &layer, x_bf16, parts * in->ld_x, R, scratch);
    table->bf16_next(out.y_bf16, NULL, parts * in->ld_y, &layer, x_bf16, parts * in->ld_x, R,
                     scratch);
    table->bf16_next(NULL, out.dx, in->ld_x, &turned_layer, dy_bf16, parts * in->ld_y, R, scratch);
    table->bf16_backward_weight(out.dW, out.db, in->dy, in->ld_y, in->x, in->ld_x, R, I, O,
                                scratch);
    table->thread_end();
    mem_free(forward);
    mem_free(back);
    mem_free(scratch);
    mem_free(zeros);
    mem_free(x_bf16);
    mem_free(dy_bf16);
    return out;
}

static void free_result(struct result *result)
{
    void *const all[] = {result->y, result->dx, result->dW, result->db, result->y_bf16};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        mem_free(all[i]);
    }
}

static void check(const struct kernels_table *real, const struct kernels_table *emulated, int R,
                  int I, int O)
{
    struct numbers in = {.R = R, .I = I, .O = O};
    in.ld_x = (size_t)(I + I % 2) + 2;
    in.ld_y = (size_t)(O + O % 2);
    const size_t n_x = (size_t)R * in.ld_x, n_y = (size_t)R * in.ld_y;
    in.W = normals((size_t)I * (size_t)O, 1);
    in.bias = normals((size_t)O, 2);
    in.x = normals(n_x, 3);
    in.dy = normals(n_y, 4);
    struct result want = run(emulated, &in);
    struct result got = run(real, &in);
    const size_t n_W = (size_t)I * (size_t)O;
    if (memcmp(got.y, want.y, n_y * sizeof *got.y) != 0 ||
        memcmp(got.y_bf16, want.y_bf16, (size_t)real->bf16_parts * n_y * sizeof *got.y_bf16) != 0 ||
        memcmp(got.dx, want.dx, n_x * sizeof *got.dx) != 0 ||
        memcmp(got.dW, want.dW, n_W * sizeof *got.dW) != 0 ||
        memcmp(got.db, want.db, (size_t)O * sizeof *got.db) != 0) {
        fail_msg("%s R %d I %d O %d: not the bits of the emulation", real->name, R, I, O);
    }
    free_result(&want);
    free_result(&got);
    void *const all[] = {in.W, in.bias, in.x, in.dy};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        mem_free(all[i]);
    }
}

static void the_instructions_do_what_the_emulation_does(void **state)
{
    (void)state;
    if (!__builtin_cpu_supports("avx512bf16") || !__builtin_cpu_supports("avx512bw") ||
        !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl")) {
        print_message("this processor cannot run the vector part of kernels_amx.c\n");
        return;
    }
    const bool native = kernels_select("amx", NULL) == STATUS_OK;
    struct sigaction before, action = {.sa_sigaction = on_illegal, .sa_flags = SA_SIGINFO};
    sigemptyset(&action.sa_mask);
    assert_int_equal(sigaction(SIGILL, &action, &before), 0);
    static const int sizes[][3] = {{1, 1, 1},       {2, 33, 17},   {16, 32, 16},
                                   {17, 31, 15},    {32, 64, 32},  {33, 70, 33},
                                   {144, 256, 256}, {45, 48, 100}, {129, 40, 33}};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        check(&kernels_amx, &kernels_amx_emulated, sizes[i][0], sizes[i][1], sizes[i][2]);
        check(&kernels_amx_x2, &kernels_amx_x2_emulated, sizes[i][0], sizes[i][1], sizes[i][2]);
    }
    assert_int_equal(sigaction(SIGILL, &before, NULL), 0);
    print_message("%d instructions executed by the handler\n", n_executed);
    assert_true(native ? n_executed == 0 : n_executed > 0 && shape_is_whole);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_instructions_do_what_the_emulation_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
