/* The signature as JSON. metadata.json and policy packages contain it in this form:
 *
 *     {"observation": [{"name": "position", "size": 8}, ..],
 *      "action": {"min": [-1, ..], "max": [1, ..]},
 *      "rewards": ["run", ..],
 *      "control_period_s": 0.01}
 *
 * Reading accepts JSON from anywhere: counts are checked before arrays are filled, and the result
 * passes signature_check. */
#include <math.h>
#include <string.h>

#include "common/base/json.h"
#include "common/base/memory.h"
#include "common/trajectory/signature.h"

/* ---- writing ---- */

/* An array of these numbers; NULL: out of memory. */
static cJSON *floats_to_json(const float *values, uint32_t n)
{
    /* Of floats, since limits are floats: 17 digits give them back exactly. */
    cJSON *array = cJSON_CreateArray();
    for (uint32_t i = 0; array != NULL && i < n; i++) {
        cJSON *number = cJSON_CreateNumber((double)values[i]);
        if (number == NULL) {
            cJSON_Delete(array);
            return NULL;
        }
        cJSON_AddItemToArray(array, number);
    }
    return array;
}

/* The three below add one member each. False: out of memory, and the caller deletes the root. */
static bool add_slices(cJSON *root, const struct signature *signature)
{
    cJSON *slices = cJSON_AddArrayToObject(root, "observation");
    for (uint32_t i = 0; slices != NULL && i < signature->n_slices; i++) {
        cJSON *slice = cJSON_CreateObject();
        if (slice == NULL || !cJSON_AddItemToArray(slices, slice) ||
            cJSON_AddStringToObject(slice, "name", signature->slices[i].name) == NULL ||
            cJSON_AddNumberToObject(slice, "size", signature->slices[i].size) == NULL) {
            return false;
        }
    }
    return slices != NULL;
}

/* Limits are two arrays, in the order of the actions. */
static bool add_action(cJSON *root, const struct signature *signature)
{
    cJSON *action = cJSON_AddObjectToObject(root, "action");
    return action != NULL &&
           json_put(action, "min", floats_to_json(signature->action_min, signature->A)) &&
           json_put(action, "max", floats_to_json(signature->action_max, signature->A));
}

/* In order: the place of a name is the column of its reward. */
static bool add_rewards(cJSON *root, const struct signature *signature)
{
    cJSON *rewards = cJSON_AddArrayToObject(root, "rewards");
    for (uint32_t k = 0; rewards != NULL && k < signature->K; k++) {
        if (!cJSON_AddItemToArray(rewards, cJSON_CreateString(signature->rewards[k]))) {
            return false;
        }
    }
    return rewards != NULL;
}

char *signature_to_json(const struct signature *signature)
{
    /* cJSON's memory is copied to ours, so that callers need not know which it is. */
    char *text = NULL;
    cJSON *root = cJSON_CreateObject();
    if (root != NULL && add_slices(root, signature) && add_action(root, signature) &&
        add_rewards(root, signature) &&
        cJSON_AddNumberToObject(root, "control_period_s", signature->control_period_s) != NULL) {
        char *printed = cJSON_PrintUnformatted(root);
        if (printed != NULL) {
            text = mem_text(printed);
            cJSON_free(printed);
        }
    }
    cJSON_Delete(root);
    return text;
}

/* A line for programs that started this one: a prefix, then the signature as JSON. */
void signature_tell(const struct signature *signature, FILE *out)
{
    char *json = signature_to_json(signature);
    fprintf(out, SIGNATURE_TOLD "%s\n", json == NULL ? "" : json);
    mem_free(json);
}

/* ---- reading ---- */

/* A text that fits, padded with zeros so that equal signatures have equal bytes. */
static status read_name(const cJSON *item, char name[SIGNATURE_NAME_SIZE], const char *where,
                        struct err *err)
{
    /* A value that is not a text is NULL here. */
    const char *text = cJSON_GetStringValue(item);
    if (text == NULL || strlen(text) >= SIGNATURE_NAME_SIZE) {
        return err_set(err, STATUS_INVALID, "signature: %s: expected a name of at most %d bytes",
                       where, SIGNATURE_NAME_SIZE - 1);
    }
    memset(name, 0, SIGNATURE_NAME_SIZE);
    memcpy(name, text, strlen(text));
    return STATUS_OK;
}

/* object[key] must be an array of at most `max` items; *n is their number. */
static status read_array(const cJSON *object, const char *key, int max, const cJSON **array,
                         uint32_t *n, struct err *err)
{
    /* An object that is NULL, or no object, has no such member, and so is refused here. */
    *array = cJSON_GetObjectItemCaseSensitive(object, key);
    int size = cJSON_IsArray(*array) ? cJSON_GetArraySize(*array) : -1;
    if (size < 0 || size > max) {
        return err_set(err, STATUS_INVALID, "signature: %s: expected an array of at most %d items",
                       key, max);
    }
    *n = (uint32_t)size;
    return STATUS_OK;
}

/* The slices, in the order of the columns. Names are checked by signature_check. */
static status read_slices(struct signature *signature, const cJSON *root, struct err *err)
{
    const cJSON *array;
    status s =
        read_array(root, "observation", SIGNATURE_SLICES_MAX, &array, &signature->n_slices, err);
    uint32_t i = 0;
    for (const cJSON *item = s == STATUS_OK ? array->child : NULL; item != NULL;
         item = item->next) {
        /* A whole number within the limits, before it is converted. */
        const cJSON *size = cJSON_GetObjectItemCaseSensitive(item, "size");
        if (!cJSON_IsNumber(size) || !(size->valuedouble >= 1) ||
            size->valuedouble > SIGNATURE_OBSERVATION_MAX ||
            size->valuedouble != floor(size->valuedouble)) {
            return err_set(err, STATUS_INVALID, "signature: observation[%u].size: expected 1..%d",
                           i, SIGNATURE_OBSERVATION_MAX);
        }
        signature->slices[i].size = (uint32_t)size->valuedouble;
        s = read_name(cJSON_GetObjectItemCaseSensitive(item, "name"), signature->slices[i].name,
                      "observation name", err);
        if (s != STATUS_OK) {
            return s;
        }
        i++;
    }
    return s;
}

/* One array of limits; *n is its length. */
static status read_limits(const cJSON *action, const char *key, float *limits, uint32_t *n,
                          struct err *err)
{
    const cJSON *array;
    status s = read_array(action, key, SIGNATURE_ACTIONS_MAX, &array, n, err);
    uint32_t i = 0;
    for (const cJSON *item = s == STATUS_OK ? array->child : NULL; item != NULL;
         item = item->next) {
        /* The bound also refuses infinity and NaN, and keeps the conversion to float defined. */
        if (!cJSON_IsNumber(item) || !(fabs(item->valuedouble) <= 1e30)) {
            return err_set(err, STATUS_INVALID, "signature: action.%s[%u]: expected a number", key,
                           i);
        }
        limits[i++] = (float)item->valuedouble;
    }
    return s;
}

/* Both arrays of limits; their common length is A. */
static status read_actions(struct signature *signature, const cJSON *root, struct err *err)
{
    const cJSON *action = cJSON_GetObjectItemCaseSensitive(root, "action");
    uint32_t n_max = 0;
    status s = read_limits(action, "min", signature->action_min, &signature->A, err);
    if (s == STATUS_OK) {
        s = read_limits(action, "max", signature->action_max, &n_max, err);
    }
    if (s == STATUS_OK && n_max != signature->A) {
        s = err_set(err, STATUS_INVALID, "signature: action.min has %u items, action.max %u",
                    signature->A, n_max);
    }
    return s;
}

/* Names only; signature_check finds those that are there twice. */
static status read_rewards(struct signature *signature, const cJSON *root, struct err *err)
{
    const cJSON *array;
    status s = read_array(root, "rewards", SIGNATURE_TASKS_MAX, &array, &signature->K, err);
    uint32_t k = 0;
    for (const cJSON *item = s == STATUS_OK ? array->child : NULL; item != NULL && s == STATUS_OK;
         item = item->next) {
        /* A name that does not fit ends the loop by its status. */
        s = read_name(item, signature->rewards[k++], "rewards", err);
    }
    return s;
}

status signature_from_json(struct signature *signature, const char *json, struct err *err)
{
    cJSON *root = NULL;
    status s = json_parse(json, strlen(json) + 1, false, &root, NULL);
    if (s == STATUS_NO_MEMORY) {
        return err_set(err, s, "signature: out of memory");
    }
    if (!cJSON_IsObject(root)) {
        cJSON_Delete(root);
        return err_set(err, STATUS_INVALID, "signature: expected a JSON object");
    }
    /* Zeroed as a whole, so that equal signatures have equal bytes. */
    struct signature read = {0};
    s = read_slices(&read, root, err);
    if (s == STATUS_OK) {
        s = read_actions(&read, root, err);
    }
    if (s == STATUS_OK) {
        s = read_rewards(&read, root, err);
    }
    /* The only member that is a plain number; 0 stands for "unknown". */
    const cJSON *period = cJSON_GetObjectItemCaseSensitive(root, "control_period_s");
    if (s == STATUS_OK && !cJSON_IsNumber(period)) {
        s = err_set(err, STATUS_INVALID, "signature: control_period_s: expected a number");
    }
    if (s == STATUS_OK) {
        read.control_period_s = period->valuedouble;
        s = signature_check(&read, err);
    }
    /* Given out only when all of it is sound. */
    if (s == STATUS_OK) {
        *signature = read;
    }
    cJSON_Delete(root);
    return s;
}
