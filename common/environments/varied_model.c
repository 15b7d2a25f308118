/* Copies of the struct mjModel, with private arrays in place of some shared ones.
 *
 * MuJoCo reaches every array through the struct that it is given, and the functions that simulate
 * take it const: so a copy of the struct is a model, and nothing but varied_model_at writes. One
 * thread, that of the simulation. */
#include "common/environments/varied_model.h"

#include <string.h>

#include "common/base/memory.h"

struct varied_model {
    const mjModel *compiled; /* the shared one */
    mjModel model, passive;  /* copies of the structs: their arrays are shared but for these */
    mjtNum *own[VARIED_ARRAYS_END]; /* NULL: not in the set */
};

/* What the table says of an array, for loops over it. */
struct array {
    mjtNum **in_model, **in_passive; /* the pointers in our two structs */
    const mjtNum *compiled;
    size_t n_elements, width;
};

static struct array describe(struct varied_model *varied, enum varied_array which)
{
    switch (which) {
#define CASE(name, field, count, numbers)                                                          \
    case VARIED_##name:                                                                            \
        return (struct array){&varied->model.field, &varied->passive.field,                        \
                              varied->compiled->field, (size_t)varied->compiled->count,            \
                              (size_t)(numbers)};
        VARIED_ARRAYS(CASE)
#undef CASE
    case VARIED_ARRAYS_END:
        break;
    }
    UNREACHABLE("an array of the table");
    return (struct array){0};
}

status varied_model_new(struct varied_model **varied, const struct shared_model *shared,
                        unsigned varies, struct err *err)
{
    ASSERT(varies != 0);
    ASSERT(varies < 1u << VARIED_ARRAYS_END);
    struct varied_model *made = mem_new(sizeof *made);
    if (made == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "model of its own: out of memory");
    }
    made->compiled = shared->model;
    made->model = *shared->model;
    made->passive = *shared->passive;
    for (unsigned i = 0; i < VARIED_ARRAYS_END; i++) {
        struct array array = describe(made, (enum varied_array)i);
        if ((varies & 1u << i) == 0) {
            continue;
        }
        made->own[i] = mem_array(array.n_elements * array.width, sizeof(mjtNum));
        if (made->own[i] == NULL) {
            varied_model_free(made);
            return err_set(err, STATUS_NO_MEMORY, "model of its own: out of memory");
        }
        /* Both structs point to the same array, so that a change is seen through either. */
        *array.in_model = made->own[i];
        *array.in_passive = made->own[i];
    }
    varied_model_restore(made);
    *varied = made;
    return STATUS_OK;
}

void varied_model_free(struct varied_model *varied)
{
    if (varied == NULL) {
        return;
    }
    for (size_t i = 0; i < VARIED_ARRAYS_END; i++) {
        mem_free(varied->own[i]);
    }
    mem_free(varied);
}

const mjModel *varied_model_model(const struct varied_model *varied)
{
    return &varied->model;
}

const mjModel *varied_model_passive(const struct varied_model *varied)
{
    return &varied->passive;
}

double *varied_model_at(struct varied_model *varied, enum varied_array array, int i)
{
    struct array of = describe(varied, array);
    ASSERT(varied->own[array] != NULL);
    ASSERT(i >= 0 && (size_t)i < of.n_elements);
    return varied->own[array] + (size_t)i * of.width;
}

void varied_model_restore(struct varied_model *varied)
{
    for (unsigned i = 0; i < VARIED_ARRAYS_END; i++) {
        if (varied->own[i] != NULL) {
            struct array of = describe(varied, (enum varied_array)i);
            memcpy(varied->own[i], of.compiled, of.n_elements * of.width * sizeof(mjtNum));
        }
    }
}
