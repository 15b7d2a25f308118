/* Shapes, packing, forward and backward passes of a network, over kernels.h.
 *
 * Two kinds of forward pass. `infer` keeps nothing: a tile of rows goes through all layers while it
 * is in the cache. `forward` goes through one layer after another for all rows and leaves on a tape
 * what `backward` needs.
 *
 * The parameters of a network are one flat block of floats; the shape says where each tensor begins
 * in it. The functions here keep no state of their own, so that any number of threads may run the
 * same network, each with its own scratch or tape. */
#include "common/networks/network.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/noise.h"
#include "common/networks/kernels.h"

#define FLOATS_PER_LINE 16
/* Most rows that go through all layers together when nothing is kept: two such tiles of the widest
 * layer and the weights should fit the second cache. */
#define TILE_MAX 64

static size_t round_up(size_t n, size_t to)
{
    return (n + to - 1) / to * to;
}

/* Leading dimension of an activation: whole cache lines, and one more so that rows do not fall on
 * the same cache sets. */
static size_t ld_of(int width)
{
    return round_up((size_t)width, FLOATS_PER_LINE) + FLOATS_PER_LINE;
}

/* The same for activations of bf16, in elements of theirs, with room for all parts. */
static size_t ld_bf16_of(int width)
{
    const size_t part = round_up((size_t)width, 2 * FLOATS_PER_LINE) + 2 * FLOATS_PER_LINE;
    return (size_t)kernels_bf16_parts() * part;
}

/* The widest activation, outputs included. */
static int widest(const struct network_shape *shape)
{
    int width = shape->Q;
    for (int l = 0; l < shape->n_layers; l++) {
        width = shape->widths[l] > width ? shape->widths[l] : width;
    }
    return width;
}

/* ---- Shape ---- */

/* Appends a tensor [rows, columns], or [rows] where columns is 0; `at` is where it begins. */
static size_t add_tensor(struct network_shape *shape, const char *name, int rows, int columns,
                         size_t at)
{
    struct network_tensor *tensor = &shape->tensors[shape->n_tensors++];
    snprintf(tensor->name, sizeof tensor->name, "%s", name);
    tensor->n_dims = columns > 0 ? 2 : 1;
    tensor->shape[0] = rows;
    tensor->shape[1] = columns;
    tensor->at = at;
    tensor->size = (size_t)rows * (size_t)(columns > 0 ? columns : 1);
    return at + tensor->size;
}

/* Appends weight and bias of layer l, after the first also the layer norm's, from *at on; each
 * begins on a cache line. */
static void add_layer(struct network_shape *shape, int l, int fan_in, size_t *at)
{
    /* The weight [width, fan_in], then the bias. */
    char name[NETWORK_NAME_SIZE];
    const int width = shape->widths[l];
    shape->weight_at[l] = *at;
    snprintf(name, sizeof name, "layers/%d/weight", l);
    *at = round_up(add_tensor(shape, name, width, fan_in, *at), FLOATS_PER_LINE);
    shape->bias_at[l] = *at;
    snprintf(name, sizeof name, "layers/%d/bias", l);
    *at = round_up(add_tensor(shape, name, width, 0, *at), FLOATS_PER_LINE);
    /* Only the first layer is followed by a layer norm. */
    if (l == 0) {
        shape->scale_at = *at;
        *at = round_up(add_tensor(shape, "norm/scale", width, 0, *at), FLOATS_PER_LINE);
        shape->offset_at = *at;
        *at = round_up(add_tensor(shape, "norm/offset", width, 0, *at), FLOATS_PER_LINE);
    }
}

/* The trunk, then the heads. Sizes come from options or from a policy file: they are checked. */
static status network_shape_make(struct network_shape *shape, int I, const int *widths,
                                 int n_layers, const char *const *heads, const int *sizes,
                                 int n_heads, struct err *err)
{
    /* These bounds protect the shape's arrays and keep the sizes below far from overflow. */
    if (n_layers < 1 || n_layers > NETWORK_LAYERS_MAX) {
        return err_set(err, STATUS_INVALID, "%d layers: expected 1..%d", n_layers,
                       NETWORK_LAYERS_MAX);
    }
    if (I < 1 || I > 2 * NETWORK_WIDTH_MAX) {
        return err_set(err, STATUS_INVALID, "%d inputs: expected 1..%d", I, 2 * NETWORK_WIDTH_MAX);
    }
    memset(shape, 0, sizeof *shape);
    shape->I = I;
    shape->n_layers = n_layers;
    /* Hidden layers; each one's outputs are the next one's inputs. */
    int fan_in = I;
    size_t at = 0;
    for (int l = 0; l < n_layers; l++) {
        if (widths[l] < 1 || widths[l] > NETWORK_WIDTH_MAX) {
            return err_set(err, STATUS_INVALID, "width %d of layer %d: expected 1..%d", widths[l],
                           l, NETWORK_WIDTH_MAX);
        }
        shape->widths[l] = widths[l];
        add_layer(shape, l, fan_in, &at);
        fan_in = widths[l];
    }

    /* The heads lie side by side, so that one product computes them all. */
    char name[NETWORK_NAME_SIZE];
    shape->n_heads = n_heads;
    shape->head_weight_at = at;
    for (int i = 0; i < n_heads; i++) {
        if (sizes[i] < 1 || sizes[i] > NETWORK_WIDTH_MAX) {
            return err_set(err, STATUS_INVALID, "%d outputs: expected 1..%d", sizes[i],
                           NETWORK_WIDTH_MAX);
        }
        shape->heads[i] = sizes[i];
        shape->Q += sizes[i];
        snprintf(name, sizeof name, "%s/weight", heads[i]);
        at = add_tensor(shape, name, sizes[i], fan_in, at);
    }
    /* Then their biases, side by side for the same reason. */
    at = round_up(at, FLOATS_PER_LINE);
    shape->head_bias_at = at;
    for (int i = 0; i < n_heads; i++) {
        snprintf(name, sizeof name, "%s/bias", heads[i]);
        at = add_tensor(shape, name, sizes[i], 0, at);
    }
    shape->size = round_up(at, FLOATS_PER_LINE);
    return STATUS_OK;
}

status network_shape_gaussian(struct network_shape *shape, int I, const int *widths, int n_layers,
                              int A, struct err *err)
{
    /* The first A outputs are the raw means, the other A the raw stds. */
    static const char *const heads[] = {"mean", "std"};
    return network_shape_make(shape, I, widths, n_layers, heads, (const int[]){A, A}, 2, err);
}

status network_shape_out(struct network_shape *shape, int I, const int *widths, int n_layers, int Q,
                         struct err *err)
{
    static const char *const heads[] = {"out"};
    return network_shape_make(shape, I, widths, n_layers, heads, &Q, 1, err);
}

/* ---- Weights ---- */

static int fan_in_of(const struct network_shape *shape, int l)
{
    return l == 0 ? shape->I : shape->widths[l - 1];
}

/* Outputs of layer l; n_layers: of the heads. */
static int fan_out_of(const struct network_shape *shape, int l)
{
    return l == shape->n_layers ? shape->Q : shape->widths[l];
}

/* Where layer l of a network has its weights; n_layers: the heads. */
static size_t weight_at(const struct network_shape *shape, int l)
{
    return l < shape->n_layers ? shape->weight_at[l] : shape->head_weight_at;
}

/* Is it one of the layers that may run in bf16? */
static bool is_hidden(const struct network_shape *shape, int l)
{
    return l > 0 && l < shape->n_layers;
}

/* Floats of layer l in a packed copy: none where all passes run in bf16. */
static size_t packed_floats(const struct network_shape *shape, int l, enum network_bf16 kind)
{
    return kind == NETWORK_BF16_ALL && is_hidden(shape, l)
               ? 0
               : kernels_packed_size(fan_in_of(shape, l), fan_out_of(shape, l));
}

/* Takes `size` bytes on cache lines of their own; NULL where `base` is NULL or there are none. */
static void *take(unsigned char *base, size_t *at, size_t size)
{
    void *taken = base != NULL && size > 0 ? base + *at : NULL;
    *at += round_up(size, CACHE_LINE);
    return taken;
}

/* Lays the parts of a packed copy out from `base` on; NULL only counts. Returns the bytes taken. */
static size_t lay_out(struct network_packed *packed, const struct network_shape *shape,
                      unsigned char *base)
{
    size_t at = 0;
    /* Panels of floats; the heads count as one more layer. */
    for (int l = 0; l <= shape->n_layers; l++) {
        packed->layers[l] = take(base, &at, packed_floats(shape, l, packed->kind) * sizeof(float));
    }
    /* Panels of bf16, and of the transposes, which gradients go back through. */
    for (int l = 1; l < shape->n_layers; l++) {
        const int I = fan_in_of(shape, l);
        const int O = fan_out_of(shape, l);
        const bool any = packed->kind != NETWORK_BF16_NONE;
        const bool all = packed->kind == NETWORK_BF16_ALL;
        const size_t forward = any ? kernels_bf16_packed_size(I, O) : 0;
        const size_t back = all ? kernels_bf16_packed_size(O, I) : 0;
        packed->bf16[l] = take(base, &at, forward * sizeof(uint16_t));
        packed->back[l] = take(base, &at, back * sizeof(uint16_t));
    }
    return at;
}

status network_packed_init(struct network_packed *packed, const struct network_shape *shape,
                           enum network_bf16 kind)
{
    memset(packed, 0, sizeof *packed);
    packed->kind = kind;
    /* Count, allocate, then lay out for good. */
    packed->size_bytes = lay_out(packed, shape, NULL);
    packed->memory = mem_aligned(packed->size_bytes);
    if (packed->memory == NULL) {
        return STATUS_NO_MEMORY;
    }
    lay_out(packed, shape, packed->memory);
    return STATUS_OK;
}

void network_packed_fini(struct network_packed *packed)
{
    mem_free(packed->memory);
    memset(packed, 0, sizeof *packed);
}

void network_pack(struct network_packed *packed, const struct network_shape *shape,
                  const float *params, int i, int n)
{
    for (int l = 0; l <= shape->n_layers; l++) {
        const int I = fan_in_of(shape, l);
        const int O = fan_out_of(shape, l);
        const float *W = params + weight_at(shape, l);
        if (packed->layers[l] != NULL) {
            kernels_pack(packed->layers[l], W, I, O, i, n);
        }
        if (is_hidden(shape, l) && packed->bf16[l] != NULL) {
            kernels_bf16_pack(packed->bf16[l], W, I, O, i, n);
        }
        if (is_hidden(shape, l) && packed->back[l] != NULL) {
            kernels_bf16_pack_back(packed->back[l], W, I, O, i, n);
        }
    }
}

/* Copies `size` bytes that `to` needs; whether `from` had them. */
static bool copy_part(void *to, const void *from, size_t size)
{
    if (to != NULL && from != NULL) {
        memcpy(to, from, size);
    }
    return to == NULL || from != NULL;
}

bool network_packed_copy(struct network_packed *to, const struct network_packed *from,
                         const struct network_shape *shape)
{
    bool complete = true;
    for (int l = 0; l <= shape->n_layers; l++) {
        const size_t floats = packed_floats(shape, l, to->kind);
        complete &= copy_part(to->layers[l], from->layers[l], floats * sizeof(float));
    }
    for (int l = 1; l < shape->n_layers; l++) {
        const int I = fan_in_of(shape, l);
        const int O = fan_out_of(shape, l);
        complete &= copy_part(to->bf16[l], from->bf16[l],
                              kernels_bf16_packed_size(I, O) * sizeof(uint16_t));
        complete &= copy_part(to->back[l], from->back[l],
                              kernels_bf16_packed_size(O, I) * sizeof(uint16_t));
    }
    return complete;
}

void network_init(float *params, const struct network_shape *shape, uint64_t seed, uint32_t purpose)
{
    memset(params, 0, shape->size * sizeof *params);
    /* Elements are counted over the whole network: no two weights share a number. */
    uint64_t element = 0;
    for (int i = 0; i < shape->n_tensors; i++) {
        const struct network_tensor *tensor = &shape->tensors[i];
        float *to = params + tensor->at;
        /* Weights are drawn; scales are 1; biases and offsets stay 0. */
        if (strcmp(tensor->name, "norm/scale") == 0) {
            for (size_t j = 0; j < tensor->size; j++) {
                to[j] = 1.0f;
            }
        } else if (tensor->n_dims == 2) {
            /* Heads begin near 0: first actions are near the middle, first values near 0. */
            const double scale = strncmp(tensor->name, "layers/", 7) == 0 ? 1.0 / 3.0 : 1e-4;
            /* Uniform numbers within +-limit have the variance limit^2 / 3, here scale /
             * outputs. */
            const double limit = sqrt(3.0 * scale / tensor->shape[0]);
            for (size_t j = 0; j < tensor->size; j++) {
                /* 53 random bits make a double in [0, 1) without rounding. */
                const double u =
                    (double)noise_below(1ull << 53, seed, 0, purpose, element++) * 0x1p-53;
                to[j] = (float)(limit * (2.0 * u - 1.0));
            }
        }
    }
}

/* ---- Forward ---- */

/* Layer l of `net` for the kernels (n_layers: the heads): over its whole input, nothing kept. */
static struct kernels_layer layer_of(const struct network *net, int l)
{
    ASSERT(l >= 0 && l <= net->shape->n_layers);
    const struct network_shape *shape = net->shape;
    const bool is_head = l == shape->n_layers;
    /* The first layer has norm and tanh, the other hidden layers have elu, the heads nothing. */
    struct kernels_layer layer = {
        /* The kernels take the whole input and start from the bias. */
        .packed = net->packed->layers[l],
        .packed_bf16 = is_head ? NULL : net->packed->bf16[l],
        .I = fan_in_of(shape, l),
        .O = fan_out_of(shape, l),
        .count = fan_in_of(shape, l),
        .start = net->params + (is_head ? shape->head_bias_at : shape->bias_at[l]),
        .rows_per_start = 1,
        .activation = is_head  ? KERNELS_PLAIN
                      : l == 0 ? KERNELS_NORM_TANH
                               : KERNELS_ELU,
    };
    if (l == 0) {
        layer.scale = net->params + shape->scale_at;
        layer.offset = net->params + shape->offset_at;
    }
    return layer;
}

/* Rows of a tile: whole blocks of the kernels. */
static int tile_rows(void)
{
    const int block = kernels_block_rows();
    ASSERT(block <= TILE_MAX);
    return TILE_MAX / block * block;
}

/* Two tiles of the widest layer, of floats or, before one of floats, of bf16; and what the kernels
 * need for themselves. */
size_t network_scratch(const struct network_shape *shape)
{
    const int width = widest(shape);
    const size_t tiles = TILE_MAX * (ld_bf16_of(width) + ld_of(width));
    ASSERT(tiles >= 2 * TILE_MAX * ld_of(width));
    return tiles + kernels_bf16_scratch(width, width);
}

/* All layers over a tile x(R,..), from the first layer, given as `first`, to the heads. */
static void infer_tile(float *out, size_t ld_out, const struct network *net,
                       const struct kernels_layer *first, const float *x, size_t ld_x, int R,
                       float *scratch)
{
    const struct network_shape *shape = net->shape;
    const size_t ld = ld_of(widest(shape));
    kernels_linear_forward(scratch, ld, first, x, ld_x, R);
    /* Layers alternate between the two tiles. */
    float *from = scratch;
    float *to = scratch + TILE_MAX * ld;
    for (int l = 1; l < shape->n_layers; l++) {
        const struct kernels_layer layer = layer_of(net, l);
        kernels_linear_forward(to, ld, &layer, from, ld, R);
        float *swap = from;
        from = to;
        to = swap;
    }
    /* The heads read what the last hidden layer wrote. */
    const struct kernels_layer head = layer_of(net, shape->n_layers);
    kernels_linear_forward(out, ld_out, &head, from, ld, R);
}

/* All layers over a tile x(R,..), with bf16 between the first layer, given as `first`, and the
 * heads. */
static void infer_tile_bf16(float *out, size_t ld_out, const struct network *net,
                            const struct kernels_layer *first, const float *x, size_t ld_x, int R,
                            float *scratch)
{
    const struct network_shape *shape = net->shape;
    const size_t ld = ld_bf16_of(widest(shape));
    const size_t ld_floats = ld_of(widest(shape));
    const int last = shape->n_layers - 1;
    /* Two tiles of bf16, which take the place of one of floats, one of floats for the last layer's
     * outputs, the kernels' own. */
    uint16_t *from = (uint16_t *)(void *)scratch;
    uint16_t *to = from + TILE_MAX * ld;
    float *floats = scratch + TILE_MAX * ld;
    float *own = floats + TILE_MAX * ld_floats;
    /* The first layer reads floats and writes bf16. The last hidden layer writes floats again,
     * because the heads run in float. */
    kernels_bf16_first(from, ld, first, x, ld_x, R, own);
    for (int l = 1; l <= last; l++) {
        const struct kernels_layer layer = layer_of(net, l);
        kernels_bf16_next(l < last ? to : NULL, floats, l < last ? ld : ld_floats, &layer, from, ld,
                          R, own);
        uint16_t *swap = from;
        from = to;
        to = swap;
    }
    const struct kernels_layer head = layer_of(net, shape->n_layers);
    kernels_linear_forward(out, ld_out, &head, floats, ld_floats, R);
}

typedef void infer_function(float *out, size_t ld_out, const struct network *net,
                            const struct kernels_layer *first, const float *x, size_t ld_x, int R,
                            float *scratch);

/* How a pass runs that is in bf16 where the packed copy is of `kind` or beyond. */
static infer_function *infer_with(const struct network *net, enum network_bf16 kind)
{
    return net->shape->n_layers > 1 && net->packed->kind >= kind ? infer_tile_bf16 : infer_tile;
}

void network_infer(float *out, size_t ld_out, const struct network *net, const float *x,
                   size_t ld_x, int R, float *scratch)
{
    ASSERT(R >= 1);
    ASSERT(ld_x >= (size_t)net->shape->I && ld_out >= (size_t)net->shape->Q);
    const struct kernels_layer first = layer_of(net, 0);
    infer_function *function = infer_with(net, NETWORK_BF16_ALL);
    const int tile = tile_rows();
    /* Tile by tile through all layers. */
    for (int r = 0; r < R; r += tile) {
        const int n = R - r < tile ? R - r : tile;
        function(out + (size_t)r * ld_out, ld_out, net, &first, x + (size_t)r * ld_x, ld_x, n,
                 scratch);
    }
}

void network_state_part(float *part, size_t ld_part, const struct network *net, const float *x,
                        size_t ld_x, int R, int I)
{
    /* The first I inputs alone, without the activation: the rest is added later. */
    ASSERT(I >= 1 && I < net->shape->I);
    struct kernels_layer layer = layer_of(net, 0);
    layer.count = I;
    layer.activation = KERNELS_PLAIN;
    kernels_linear_forward(part, ld_part, &layer, x, ld_x, R);
}

void network_infer_actions(float *out, const struct network *net, const float *part, size_t ld_part,
                           const float *a, size_t ld_a, size_t first, int n, int M, int A,
                           float *scratch)
{
    ASSERT(M >= 1);
    ASSERT(A >= 1 && A < net->shape->I);
    const size_t Q = (size_t)net->shape->Q;
    /* The last A inputs, on top of the state's share, of which M rows use one row. */
    struct kernels_layer layer = layer_of(net, 0);
    layer.first = net->shape->I - A;
    layer.count = A;
    layer.start = part;
    layer.ld_start = ld_part;
    layer.rows_per_start = (size_t)M;
    infer_function *function = infer_with(net, NETWORK_BF16_ACTIONS);
    const int tile = tile_rows();
    /* Tile by tile; the kernels find the state of a row by its number, counted from `first`. */
    for (int r = 0; r < n; r += tile) {
        const int rows = n - r < tile ? n - r : tile;
        layer.first_row = first + (size_t)r;
        function(out + (size_t)r * Q, Q, net, &layer, a + (size_t)r * ld_a, ld_a, rows, scratch);
    }
}

/* ---- Forward and backward ---- */

/* Bytes of what the tape holds for products in bf16. */
static size_t tape_bf16_bytes(const struct network_shape *shape, int R_max)
{
    const int width = widest(shape);
    const size_t floats = ld_of(width) + kernels_bf16_scratch(width, width);
    return floats * sizeof(float) + (size_t)R_max * ld_bf16_of(width) * sizeof(uint16_t);
}

size_t network_tape_bytes(const struct network_shape *shape, int R_max, bool bf16)
{
    /* A row of everything that network_tape_init takes. */
    size_t floats = ld_of(shape->widths[0]) + ld_of(shape->Q) + 2 * ld_of(widest(shape)) + 1;
    for (int l = 0; l < shape->n_layers; l++) {
        floats += ld_of(shape->widths[l]);
    }
    /* Every piece may be rounded up to a cache line. */
    return floats * (size_t)R_max * sizeof(float) + (NETWORK_LAYERS_MAX + 8) * CACHE_LINE +
           (bf16 ? tape_bf16_bytes(shape, R_max) : 0);
}

void network_tape_init(struct network_tape *tape, const struct network_shape *shape, int R_max,
                       bool bf16, struct arena *arena)
{
    const size_t rows = (size_t)R_max;
    memset(tape, 0, sizeof *tape);
    tape->R_max = R_max;
    /* Every activation of the forward pass stays until the backward pass has read it. */
    for (int l = 0; l < shape->n_layers; l++) {
        tape->ld[l] = ld_of(shape->widths[l]);
        tape->h[l] = arena_take(arena, rows * tape->ld[l], sizeof(float));
    }
    /* What the backward pass of the layer norm needs besides its output. */
    tape->normal = arena_take(arena, rows * tape->ld[0], sizeof(float));
    tape->inverse_std = arena_take(arena, rows, sizeof(float));
    /* Two buffers for gradients on their way back: one is read while the other is written. */
    tape->ld_d = ld_of(widest(shape));
    tape->d[0] = arena_take(arena, rows * tape->ld_d, sizeof(float));
    tape->d[1] = arena_take(arena, rows * tape->ld_d, sizeof(float));
    /* The outputs, which callers read between the two passes. */
    tape->ld_out = ld_of(shape->Q);
    tape->out = arena_take(arena, rows * tape->ld_out, sizeof(float));
    if (bf16) {
        const int width = widest(shape);
        tape->ld_rounded = ld_bf16_of(width);
        tape->rounded = arena_take(arena, rows * tape->ld_rounded, sizeof(uint16_t));
        tape->zeros = arena_take(arena, tape->ld_d, sizeof(float));
        tape->scratch = arena_take(arena, kernels_bf16_scratch(width, width), sizeof(float));
        memset(tape->zeros, 0, tape->ld_d * sizeof(float));
    }
}

/* Whether layer l of this network is computed in bf16 on a tape. */
static bool runs_in_bf16(const struct network *net, int l)
{
    return is_hidden(net->shape, l) && net->packed->kind == NETWORK_BF16_ALL;
}

/* A hidden layer forward in bf16: its input is rounded, its output stays float. */
static void forward_bf16(struct network_tape *tape, const struct kernels_layer *layer, int l, int R)
{
    ASSERT(tape->rounded != NULL);
    kernels_bf16_round(tape->rounded, tape->ld_rounded, tape->h[l - 1], tape->ld[l - 1], R,
                       layer->I);
    kernels_bf16_next(NULL, tape->h[l], tape->ld[l], layer, tape->rounded, tape->ld_rounded, R,
                      tape->scratch);
}

void network_forward(struct network_tape *tape, const struct network *net, const float *x,
                     size_t ld_x, int R)
{
    ASSERT(R <= tape->R_max);
    ASSERT(net->packed != NULL);
    const struct network_shape *shape = net->shape;
    tape->x = x;
    tape->ld_x = ld_x;
    /* Every activation has its own place on the tape; the first layer keeps its normalised input,
     * too. */
    for (int l = 0; l < shape->n_layers; l++) {
        struct kernels_layer layer = layer_of(net, l);
        if (l == 0) {
            layer.normal = tape->normal;
            layer.ld_normal = tape->ld[0];
            layer.inverse_std = tape->inverse_std;
        }
        if (runs_in_bf16(net, l)) {
            forward_bf16(tape, &layer, l, R);
            continue;
        }
        const float *from = l == 0 ? x : tape->h[l - 1];
        kernels_linear_forward(tape->h[l], tape->ld[l], &layer, from,
                               l == 0 ? ld_x : tape->ld[l - 1], R);
    }
    /* The heads; their outputs stay on the tape. */
    const int last = shape->n_layers;
    const struct kernels_layer head = layer_of(net, last);
    kernels_linear_forward(tape->out, tape->ld_out, &head, tape->h[last - 1], tape->ld[last - 1],
                           R);
}

/* A hidden layer backward in bf16: as a layer of its own, whose weights are the transpose. */
static void backward_input_bf16(float *dx, const struct network *net, struct network_tape *tape,
                                const float *dy, int l, int R)
{
    const struct kernels_layer layer = {.packed_bf16 = net->packed->back[l],
                                        .I = net->shape->widths[l],
                                        .O = net->shape->widths[l - 1],
                                        .count = net->shape->widths[l],
                                        .start = tape->zeros,
                                        .rows_per_start = 1,
                                        .activation = KERNELS_PLAIN};
    kernels_bf16_round(tape->rounded, tape->ld_rounded, dy, tape->ld_d, R, layer.I);
    kernels_bf16_next(NULL, dx, tape->ld_d, &layer, tape->rounded, tape->ld_rounded, R,
                      tape->scratch);
}

/* Gradients of hidden layer l: those of its weights, where g is not NULL, and dx(R,I) from dy(R,O),
 * the gradient by what its elu gets. */
static void backward_hidden(float *g, float *dx, const struct network *net,
                            struct network_tape *tape, const float *dy, int l, int R)
{
    const struct network_shape *shape = net->shape;
    const int I = shape->widths[l - 1];
    const int O = shape->widths[l];
    const bool bf16 = runs_in_bf16(net, l);
    if (g != NULL && bf16) {
        kernels_bf16_backward_weight(g + shape->weight_at[l], g + shape->bias_at[l], dy, tape->ld_d,
                                     tape->h[l - 1], tape->ld[l - 1], R, I, O, tape->scratch);
    } else if (g != NULL) {
        kernels_linear_backward_weight(g + shape->weight_at[l], g + shape->bias_at[l], dy,
                                       tape->ld_d, tape->h[l - 1], tape->ld[l - 1], R, I, O);
    }
    if (bf16) {
        backward_input_bf16(dx, net, tape, dy, l, R);
    } else {
        kernels_linear_backward_input(dx, tape->ld_d, dy, tape->ld_d,
                                      net->params + shape->weight_at[l], R, I, O);
    }
}

void network_backward(float *gradients, float *dx, size_t ld_dx, const struct network *net,
                      struct network_tape *tape, const float *dout, int R)
{
    ASSERT(R >= 1 && R <= tape->R_max);
    ASSERT(gradients != NULL || dx != NULL);
    const struct network_shape *shape = net->shape;
    const float *p = net->params;
    float *g = gradients;
    const int last = shape->n_layers - 1;
    /* `d` holds the gradient by the activation of the layer at hand, `next` receives that of the
     * layer below. */
    float *d = tape->d[0];
    float *next = tape->d[1];

    /* The heads. */
    if (g != NULL) {
        kernels_linear_backward_weight(g + shape->head_weight_at, g + shape->head_bias_at, dout,
                                       tape->ld_out, tape->h[last], tape->ld[last], R,
                                       shape->widths[last], shape->Q);
    }
    kernels_linear_backward_input(d, tape->ld_d, dout, tape->ld_out, p + shape->head_weight_at, R,
                                  shape->widths[last], shape->Q);
    /* From the last hidden layer to the second: through elu, weights, then inputs. */
    for (int l = last; l > 0; l--) {
        kernels_elu_backward(d, tape->ld_d, tape->h[l], tape->ld[l], R, shape->widths[l]);
        backward_hidden(g, next, net, tape, d, l, R);
        float *swap = d;
        d = next;
        next = swap;
    }

    /* Where no gradients are wanted those of the layer norm still need a place: a free row. */
    float *dscale = g != NULL ? g + shape->scale_at : next;
    float *doffset = g != NULL ? g + shape->offset_at : next;
    kernels_norm_tanh_backward(d, tape->ld_d, dscale, doffset, tape->h[0], tape->ld[0],
                               tape->normal, tape->ld[0], tape->inverse_std, p + shape->scale_at, R,
                               shape->widths[0]);
    /* The first layer's inputs are the caller's: their gradient is optional. */
    if (g != NULL) {
        kernels_linear_backward_weight(g + shape->weight_at[0], g + shape->bias_at[0], d,
                                       tape->ld_d, tape->x, tape->ld_x, R, shape->I,
                                       shape->widths[0]);
    }
    if (dx != NULL) {
        kernels_linear_backward_input(dx, ld_dx, d, tape->ld_d, p + shape->weight_at[0], R,
                                      shape->I, shape->widths[0]);
    }
}
