/* Writes the signature as JSON, in the form that signature_json_read.c describes. */
#include "common/base/json.h"
#include "common/base/memory.h"
#include "common/trajectory/signature.h"

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
