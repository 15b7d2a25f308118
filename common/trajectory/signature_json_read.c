/* Reads the signature from JSON. metadata.json and policy packages contain it in this form:
 *
 *     {"observation": [{"name": "position", "size": 8}, ..],
 *      "action": {"min": [-1, ..], "max": [1, ..]},
 *      "rewards": ["run", ..],
 *      "control_period_s": 0.01}
 *
 * The JSON may come from anywhere: counts are checked before arrays are filled, and the result
 * passes signature_check. */
#include <math.h>
#include <string.h>

#include "common/base/json_view.h"
#include "common/trajectory/signature.h"

/* A text that fits, padded with zeros so that equal signatures have equal bytes. */
static status read_name(const struct json_view *json, int value, char name[SIGNATURE_NAME_SIZE],
                        const char *where, struct err *err)
{
    /* A value that is not a text is NULL here. */
    const char *text = json_view_text(json, value);
    if (text == NULL || strlen(text) >= SIGNATURE_NAME_SIZE) {
        return err_set(err, STATUS_INVALID, "signature: %s: expected a name of at most %d bytes",
                       where, SIGNATURE_NAME_SIZE - 1);
    }
    memset(name, 0, SIGNATURE_NAME_SIZE);
    memcpy(name, text, strlen(text));
    return STATUS_OK;
}

/* object[key] must be an array of at most `max` items: *n of them, of which *item is the first. */
static status read_array(const struct json_view *json, int object, const char *key, int max,
                         int *item, uint32_t *n, struct err *err)
{
    /* What is no object has no such member, and so is refused here. */
    const int array = json_view_member(json, object, key);
    if (json_view_type(json, array) != JSON_ARRAY || json_view_size(json, array) > max) {
        return err_set(err, STATUS_INVALID, "signature: %s: expected an array of at most %d items",
                       key, max);
    }
    *item = json_view_first(json, array);
    *n = (uint32_t)json_view_size(json, array);
    return STATUS_OK;
}

/* The slices, in the order of the columns. Names are checked by signature_check. */
static status read_slices(struct signature *signature, const struct json_view *json,
                          struct err *err)
{
    int item = JSON_NONE;
    status s =
        read_array(json, 0, "observation", SIGNATURE_SLICES_MAX, &item, &signature->n_slices, err);
    for (uint32_t i = 0; s == STATUS_OK && item != JSON_NONE; i++) {
        /* A whole number within the limits, before it is converted. */
        double size;
        if (!json_view_number(json, json_view_member(json, item, "size"), &size) || !(size >= 1) ||
            size > SIGNATURE_OBSERVATION_MAX || size != floor(size)) {
            return err_set(err, STATUS_INVALID, "signature: observation[%u].size: expected 1..%d",
                           i, SIGNATURE_OBSERVATION_MAX);
        }
        signature->slices[i].size = (uint32_t)size;
        s = read_name(json, json_view_member(json, item, "name"), signature->slices[i].name,
                      "observation name", err);
        item = json_view_next(json, item);
    }
    return s;
}

/* One array of limits; *n is its length. */
static status read_limits(const struct json_view *json, int action, const char *key, float *limits,
                          uint32_t *n, struct err *err)
{
    int item = JSON_NONE;
    const status s = read_array(json, action, key, SIGNATURE_ACTIONS_MAX, &item, n, err);
    for (uint32_t i = 0; s == STATUS_OK && item != JSON_NONE; i++) {
        /* The bound keeps the conversion to float defined. */
        double limit;
        if (!json_view_number(json, item, &limit) || !(fabs(limit) <= 1e30)) {
            return err_set(err, STATUS_INVALID, "signature: action.%s[%u]: expected a number", key,
                           i);
        }
        limits[i] = (float)limit;
        item = json_view_next(json, item);
    }
    return s;
}

/* Both arrays of limits; their common length is A. */
static status read_actions(struct signature *signature, const struct json_view *json,
                           struct err *err)
{
    const int action = json_view_member(json, 0, "action");
    uint32_t n_max = 0;
    status s = read_limits(json, action, "min", signature->action_min, &signature->A, err);
    if (s == STATUS_OK) {
        s = read_limits(json, action, "max", signature->action_max, &n_max, err);
    }
    if (s == STATUS_OK && n_max != signature->A) {
        s = err_set(err, STATUS_INVALID, "signature: action.min has %u items, action.max %u",
                    signature->A, n_max);
    }
    return s;
}

/* Names only; signature_check finds those that are there twice. */
static status read_rewards(struct signature *signature, const struct json_view *json,
                           struct err *err)
{
    int item = JSON_NONE;
    status s = read_array(json, 0, "rewards", SIGNATURE_TASKS_MAX, &item, &signature->K, err);
    for (uint32_t k = 0; s == STATUS_OK && item != JSON_NONE; k++) {
        s = read_name(json, item, signature->rewards[k], "rewards", err);
        item = json_view_next(json, item);
    }
    return s;
}

status signature_from_json(struct signature *signature, const char *text, struct err *err)
{
    struct json_view *json = NULL;
    status s = json_view_parse(&json, text, strlen(text), err);
    if (s != STATUS_OK) {
        return s == STATUS_NO_MEMORY
                   ? err_set(err, s, "signature: out of memory")
                   : err_set(err, STATUS_INVALID, "signature: expected a JSON object");
    }
    if (json_view_type(json, 0) != JSON_OBJECT) {
        json_view_free(json);
        return err_set(err, STATUS_INVALID, "signature: expected a JSON object");
    }
    /* Zeroed as a whole, so that equal signatures have equal bytes. */
    struct signature read = {0};
    s = read_slices(&read, json, err);
    if (s == STATUS_OK) {
        s = read_actions(&read, json, err);
    }
    if (s == STATUS_OK) {
        s = read_rewards(&read, json, err);
    }
    /* The only member that is a plain number; 0 stands for "unknown". */
    if (s == STATUS_OK && !json_view_number(json, json_view_member(json, 0, "control_period_s"),
                                            &read.control_period_s)) {
        s = err_set(err, STATUS_INVALID, "signature: control_period_s: expected a number");
    }
    if (s == STATUS_OK) {
        s = signature_check(&read, err);
    }
    /* Given out only when all of it is sound. */
    if (s == STATUS_OK) {
        *signature = read;
    }
    json_view_free(json);
    return s;
}
