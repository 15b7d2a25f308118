/* Reading the signature out of a Minari metadata.json.
 *
 * Minari keeps each Gymnasium space as JSON text inside the JSON. Only Box spaces, and Dict spaces
 * of them, describe rows of floats; every other space is refused with its type and with the way
 * out, a metadata.json of our own that gives the signature.
 *
 * The file may come from anyone: sizes, depth and the number of parts are bounded before anything
 * is filled in. Pure functions. */
#include "common/trajectory/minari_metadata.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/memory.h"

/* The end of every message about a space that cannot be read. */
#define HINT "; a metadata.json of ours beside data/ can give the signature instead"

/* Ours has neither of these two. */
bool minari_is_metadata(const cJSON *metadata)
{
    return cJSON_HasObjectItem(metadata, "data_format") ||
           cJSON_HasObjectItem(metadata, "minari_version");
}

/* ---- spaces ---- */

/* Python writes Infinity and NaN, which are no JSON: outside of texts they become numbers that
 * cJSON reads (1e999 is infinite). In place: the replacement is never longer. */
static void make_readable(char *json)
{
    bool in_text = false;
    for (char *c = json; *c != 0; c++) {
        if (in_text) {
            /* A character after a backslash does not end the text. */
            if (*c == '\\' && c[1] != 0) {
                c++;
            } else if (*c == '"') {
                in_text = false;
            }
        } else if (*c == '"') {
            in_text = true;
        } else if (strncmp(c, "Infinity", 8) == 0) {
            memcpy(c, "1e999   ", 8);
        } else if (strncmp(c, "NaN", 3) == 0) {
            memcpy(c, "0  ", 3);
        }
    }
}

/* A space: JSON's text within the JSON (Minari), or an object. *parsed is for cJSON_Delete. */
static status read_space(const cJSON *metadata, const char *key, cJSON **parsed, struct err *err)
{
    /* The space of observations, or that of actions. */
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(metadata, key);
    if (item == NULL) {
        return err_set(err, STATUS_INVALID, "%s: is not there" HINT, key);
    }
    /* A copy, since the text is changed in place. */
    char *text = cJSON_IsString(item) ? mem_text(item->valuestring) : NULL;
    if (text != NULL) {
        make_readable(text);
    }
    status s = STATUS_OK;
    cJSON *space = NULL;
    /* A text is parsed once more; an object is copied. */
    if (text != NULL) {
        s = json_parse(text, strlen(text) + 1, false, &space, NULL);
    } else {
        space = cJSON_IsString(item) ? NULL : cJSON_Duplicate(item, true);
        s = space == NULL ? STATUS_NO_MEMORY : STATUS_OK;
    }
    mem_free(text);
    if (s == STATUS_NO_MEMORY) {
        return err_set(err, s, "%s: out of memory", key);
    }
    /* A number or a text is valid JSON, and is no space. */
    if (!cJSON_IsObject(space)) {
        cJSON_Delete(space);
        return err_set(err, STATUS_INVALID, "%s: not a space that can be read" HINT, key);
    }
    *parsed = space;
    return STATUS_OK;
}

/* Never NULL, for comparisons and messages. */
static const char *space_type(const cJSON *space)
{
    const char *type = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(space, "type"));
    return type != NULL ? type : "unknown";
}

/* Product of a Box's shape. */
static status box_size(const cJSON *box, uint32_t max, uint32_t *size, const char *where,
                       struct err *err)
{
    if (strcmp(space_type(box), "Box") != 0) {
        return err_set(err, STATUS_INVALID, "%s: a %s space, expected Box" HINT, where,
                       space_type(box));
    }
    /* A shape that is not an array, or holds something else than numbers, makes the product 0. */
    const cJSON *shape = cJSON_GetObjectItemCaseSensitive(box, "shape");
    double product = cJSON_IsArray(shape) ? 1 : 0;
    const cJSON *dim;
    cJSON_ArrayForEach(dim, shape)
    {
        product *= cJSON_IsNumber(dim) ? dim->valuedouble : 0;
    }
    if (!(product >= 1) || product > (double)max || product != floor(product)) {
        return err_set(err, STATUS_INVALID, "%s: shape: expected 1..%u values in all" HINT, where,
                       max);
    }
    *size = (uint32_t)product;
    return STATUS_OK;
}

/* Adds the slices of a space; `name` is what it is called so far. */
static status add_slices(struct signature *signature, const cJSON *space, const char *name,
                         int depth, struct err *err)
{
    /* A leaf: one slice, named by its path through the Dicts. */
    if (strcmp(space_type(space), "Dict") != 0) {
        /* A space that is a Box as a whole has no name, and becomes one slice "observation". */
        const char *where = name[0] == 0 ? "observation" : name;
        if (signature->n_slices == SIGNATURE_SLICES_MAX || strlen(where) >= SIGNATURE_NAME_SIZE) {
            return err_set(err, STATUS_INVALID,
                           "observation_space: %s: too many parts, or too long" HINT, where);
        }
        struct signature_slice *slice = &signature->slices[signature->n_slices];
        status s = box_size(space, SIGNATURE_OBSERVATION_MAX, &slice->size, where, err);
        if (s == STATUS_OK) {
            memcpy(slice->name, where, strlen(where) + 1);
            signature->n_slices++;
        }
        return s;
    }
    /* This bounds the recursion. */
    if (depth > 4) {
        return err_set(err, STATUS_INVALID, "observation_space: %s: too deep" HINT, name);
    }
    /* In the file's order, which is the order of the columns. */
    const cJSON *part;
    cJSON_ArrayForEach(part, cJSON_GetObjectItemCaseSensitive(space, "subspaces"))
    {
        char path[2 * SIGNATURE_NAME_SIZE];
        const int length =
            snprintf(path, sizeof path, "%s%s%s", name, name[0] == 0 ? "" : "/", part->string);
        if ((size_t)length >= sizeof path) {
            return err_set(err, STATUS_INVALID, "observation_space: %s: name too long" HINT, path);
        }
        status s = add_slices(signature, part, path, depth + 1, err);
        if (s != STATUS_OK) {
            return s;
        }
    }
    return STATUS_OK;
}

/* One number for all dimensions, or an array (also nested) of one each. */
static uint32_t read_limits(const cJSON *item, float *limits, uint32_t n, uint32_t A)
{
    /* Numbers beyond A are counted and not stored. */
    if (cJSON_IsNumber(item)) {
        if (n < A) {
            limits[n] = (float)item->valuedouble;
        }
        return n + 1;
    }
    const cJSON *part;
    cJSON_ArrayForEach(part, item)
    {
        n = read_limits(part, limits, n, A);
    }
    return n;
}

/* One of the two arrays of limits, for all A actions. INVALID: another number of them, or one that
 * is not finite, without which actions have no canonical form. */
static status read_action_limits(const cJSON *space, const char *key, float *limits, uint32_t A,
                                 struct err *err)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(space, key);
    uint32_t n = read_limits(item, limits, 0, A);
    /* One number stands for all. */
    if (cJSON_IsNumber(item)) {
        for (uint32_t i = 1; i < A; i++) {
            limits[i] = limits[0];
        }
    } else if (n != A) {
        return err_set(err, STATUS_INVALID, "action_space: %s: %u limits, expected %u" HINT, key, n,
                       A);
    }
    for (uint32_t i = 0; i < A; i++) {
        if (!isfinite(limits[i])) {
            return err_set(
                err, STATUS_INVALID,
                "action_space: %s: action %u has no finite limit, but actions must have both" HINT,
                key, i);
        }
    }
    return STATUS_OK;
}

/* The number of actions and their limits. An action space is one Box. */
static status read_actions(struct signature *signature, const cJSON *metadata, struct err *err)
{
    cJSON *space;
    status s = read_space(metadata, "action_space", &space, err);
    if (s != STATUS_OK) {
        return s;
    }
    s = box_size(space, SIGNATURE_ACTIONS_MAX, &signature->A, "action_space", err);
    if (s == STATUS_OK) {
        s = read_action_limits(space, "low", signature->action_min, signature->A, err);
    }
    if (s == STATUS_OK) {
        s = read_action_limits(space, "high", signature->action_max, signature->A, err);
    }
    cJSON_Delete(space);
    return s;
}

status minari_actions(struct signature *signature, const cJSON *metadata, struct err *err)
{
    struct signature made = {0};
    const status s = read_actions(&made, metadata, err);
    if (s == STATUS_OK) {
        *signature = made;
    }
    return s;
}

status minari_signature(struct signature *signature, const cJSON *metadata, struct err *err)
{
    /* Minari also knows Arrow files. */
    const char *format =
        cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(metadata, "data_format"));
    if (format != NULL && strcmp(format, "hdf5") != 0) {
        return err_set(err, STATUS_INVALID, "data_format: \"%s\": only \"hdf5\" can be read",
                       format);
    }
    /* Minari has one reward and no control period. */
    struct signature made = {.K = 1, .rewards = {"reward"}};
    cJSON *space;
    status s = read_space(metadata, "observation_space", &space, err);
    if (s != STATUS_OK) {
        return s;
    }
    s = add_slices(&made, space, "", 0, err);
    cJSON_Delete(space);
    if (s == STATUS_OK) {
        s = read_actions(&made, metadata, err);
    }
    if (s == STATUS_OK) {
        s = signature_check(&made, err);
    }
    if (s == STATUS_OK) {
        *signature = made;
    }
    return s;
}
