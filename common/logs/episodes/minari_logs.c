/* Reads what the metadata of such a dataset adds to its files: the limits of the actions, and the
 * number of episodes. Observations are read as the files have them. */
#include "common/logs/episodes/minari_logs.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/json.h"
#include "common/base/memory.h"
#include "common/trajectory/minari_metadata.h"

#define PATH_SIZE          4096
#define METADATA_BYTES_MAX (16u << 20)

struct minari_logs {
    char data[PATH_SIZE];
    uint64_t episodes;
    bool limited;
    struct signature limits;
};

/* Reads the metadata, and stores the folder that it is in. NOT_FOUND if it is that of another kind
 * of dataset, or of none. */
static status read_metadata(const char *folder, char data[PATH_SIZE], cJSON **metadata,
                            struct err *err)
{
    static const char *const places[] = {"/data", ""};
    for (int i = 0; i < 2; i++) {
        char path[PATH_SIZE];
        const int length = snprintf(path, sizeof path, "%s%s/metadata.json", folder, places[i]);
        if (length < 0 || (size_t)length >= sizeof path || access(path, R_OK) != 0) {
            continue;
        }
        cJSON *read;
        const status s = json_read(path, METADATA_BYTES_MAX, &read, err);
        if (s != STATUS_OK) {
            return s;
        }
        const char *format =
            cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(read, "data_format"));
        if (format != NULL && (strcmp(format, "arrow") == 0 || strcmp(format, "parquet") == 0)) {
            snprintf(data, PATH_SIZE, "%.4000s%s", folder, places[i]);
            *metadata = read;
            return STATUS_OK;
        }
        cJSON_Delete(read);
    }
    return err_set(err, STATUS_NOT_FOUND, "%s: no metadata of Minari's Arrow form", folder);
}

bool minari_logs_is(const char *folder)
{
    char data[PATH_SIZE];
    cJSON *metadata = NULL;
    const bool is = read_metadata(folder, data, &metadata, NULL) == STATUS_OK;
    cJSON_Delete(metadata);
    return is;
}

status minari_logs_open(struct minari_logs **out, const char *folder, struct err *err)
{
    struct minari_logs *minari = mem_new(sizeof *minari);
    if (minari == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "%s", folder);
    }
    cJSON *metadata = NULL;
    double episodes = 0;
    status s = read_metadata(folder, minari->data, &metadata, err);
    if (s == STATUS_OK) {
        s = json_number(metadata, "total_episodes", &episodes, minari->data, err);
    }
    if (s == STATUS_OK && (!(episodes >= 0) || episodes > 1e9 || episodes != floor(episodes))) {
        s = err_set(err, STATUS_INVALID,
                    "%s/metadata.json: total_episodes: %g, expected a whole number", minari->data,
                    episodes);
    }
    if (s == STATUS_OK) {
        minari->episodes = (uint64_t)episodes;
        minari->limited = minari_actions(&minari->limits, metadata, NULL) == STATUS_OK;
    }
    cJSON_Delete(metadata);
    if (s != STATUS_OK) {
        mem_free(minari);
        return s;
    }
    *out = minari;
    return STATUS_OK;
}

void minari_logs_close(struct minari_logs *minari)
{
    mem_free(minari);
}

const char *minari_logs_data(const struct minari_logs *minari)
{
    return minari->data;
}

const struct signature *minari_logs_limits(const struct minari_logs *minari)
{
    return minari->limited ? &minari->limits : NULL;
}

status minari_logs_check(const struct minari_logs *minari, size_t n, struct err *err)
{
    if (n == minari->episodes) {
        return STATUS_OK;
    }
    /* Episodes are numbered from 0 on, each in a folder of its own. */
    for (uint64_t i = 0; i < minari->episodes; i++) {
        char path[PATH_SIZE];
        const int length = snprintf(path, sizeof path, "%s/%" PRIu64, minari->data, i);
        if (length > 0 && (size_t)length < sizeof path && access(path, R_OK) != 0) {
            return err_set(err, STATUS_NOT_FOUND,
                           "%s: is missing; metadata.json has total_episodes %" PRIu64, path,
                           minari->episodes);
        }
    }
    return err_set(err, STATUS_INVALID,
                   "%s: there are %zu files of episodes, but metadata.json has total_episodes "
                   "%" PRIu64,
                   minari->data, n, minari->episodes);
}
