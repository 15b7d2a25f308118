/* What a shard file contains, told by its group names and attributes alone: no array is read.
 *
 * An episode is a group of the root called episode_<number>. Other members of the file are not
 * episodes and are ignored here. The file may come from anywhere, so the number of groups is
 * bounded and every attribute is checked for its type and size before it is read. */
#include "common/trajectory/shard_survey.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/trajectory/hdf5.h"

#define EPISODES_MAX 50000000u /* of one file */

/* The numbers found so far, as H5Literate gives them one by one. */
struct episode_list {
    uint64_t *items;
    uint64_t n, capacity;
    bool no_memory;
};

/* "episode_12" -> 12; other names are not episodes. */
static bool parse_name(const char *name, uint64_t *number)
{
    /* At most 18 digits, so that the number fits 64 bits. */
    size_t prefix = strlen(SHARD_EPISODE_PREFIX);
    size_t digits = strncmp(name, SHARD_EPISODE_PREFIX, prefix) == 0 ? strlen(name + prefix) : 0;
    if (digits < 1 || digits > 18 || strspn(name + prefix, "0123456789") != digits) {
        return false;
    }
    *number = strtoull(name + prefix, NULL, 10);
    return true;
}

/* An H5L_iterate_t. Links are told by their names; what they lead to is not opened here. */
static herr_t add_episode(hid_t group, const char *name, const H5L_info_t *info, void *arg)
{
    (void)group;
    (void)info;
    struct episode_list *list = arg;
    uint64_t number;
    /* Other members of the file are passed over. */
    if (!parse_name(name, &number)) {
        return 0;
    }
    /* The list doubles, up to the bound. */
    if (list->n == list->capacity) {
        uint64_t capacity = list->capacity == 0 ? 1024 : 2 * list->capacity;
        uint64_t *items = capacity <= 2ull * EPISODES_MAX
                              ? mem_resize(list->items, capacity, sizeof *items)
                              : NULL;
        if (items == NULL) {
            list->no_memory = true;
            return 1; /* stops the iteration */
        }
        list->items = items;
        list->capacity = capacity;
    }
    list->items[list->n++] = number;
    return 0;
}

static int compare_numbers(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

status shard_survey_list(hid_t file, const char *path, uint64_t **items, uint64_t *n,
                         struct err *err)
{
    struct episode_list list = {0};
    /* In whatever order is fastest; they are sorted below. */
    herr_t code = H5Literate(file, H5_INDEX_NAME, H5_ITER_NATIVE, NULL, add_episode, &list);
    /* Both kinds of failure free the list; HDF5's own leaves its reason behind. */
    if (list.no_memory || code < 0) {
        mem_free(list.items);
        return list.no_memory ? err_set(err, STATUS_NO_MEMORY, "%s: list of episodes", path)
                              : hdf5_error(err, STATUS_CORRUPT, "%s: list of episodes", path);
    }
    /* qsort must not be given NULL, which the list of an empty file is. */
    if (list.n > 0) {
        qsort(list.items, list.n, sizeof *list.items, compare_numbers);
    }
    *items = list.items;
    *n = list.n;
    return STATUS_OK;
}

/* Adds what the attributes of one episode say. One without attributes counts as well: they are
 * hints. */
static void survey_episode(struct shard_survey *survey, hid_t file, uint64_t i, uint64_t number)
{
    char name[SHARD_EPISODE_NAME_SIZE];
    snprintf(name, sizeof name, SHARD_EPISODE_PREFIX "%" PRIu64, number);
    survey->origins[i] = (struct episode_identity){0};
    /* A link may be there and lead to nothing; then the episode counts, without attributes. */
    hid_t group = H5Gopen2(file, name, H5P_DEFAULT);
    if (group < 0) {
        H5Eclear2(H5E_DEFAULT);
        return;
    }
    /* A number that cannot be true is not added, since sums of it decide about room in a table. */
    uint64_t T;
    uint64_t v[4];
    if (hdf5_read_attribute(&T, 1, group, "total_steps") == STATUS_OK &&
        T <= EPISODE_TRANSITIONS_MAX) {
        survey->transitions += T;
    }
    if (hdf5_read_attribute(v, 4, group, "identity") == STATUS_OK) {
        survey->origins[i] = (struct episode_identity){
            .source = v[0], .shard = v[1], .episode = v[2], .relabel = v[3]};
    }
    H5Gclose(group);
}

/* Surveys an open file. On an error *survey is untouched and nothing is left allocated. */
static status survey_file(struct shard_survey *survey, hid_t file, const char *path,
                          struct err *err)
{
    uint64_t *numbers;
    struct shard_survey made = {0};
    status s = shard_survey_list(file, path, &numbers, &made.episodes, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* One place at least, so that an empty file is no special case. */
    made.origins = mem_array(made.episodes > 0 ? made.episodes : 1, sizeof *made.origins);
    if (made.origins == NULL) {
        s = err_set(err, STATUS_NO_MEMORY, "%s: %" PRIu64 " episodes", path, made.episodes);
    } else {
        for (uint64_t i = 0; i < made.episodes; i++) {
            survey_episode(&made, file, i, numbers[i]);
        }
        *survey = made;
    }
    mem_free(numbers);
    return s;
}

/* Opens, surveys and closes within one hold of the lock, so that the handle is never seen outside
 * of it. */
status shard_survey(struct shard_survey *survey, const char *path, struct err *err)
{
    hid_t file;
    hdf5_lock();
    status s = hdf5_open(&file, path, err);
    if (s == STATUS_OK) {
        s = survey_file(survey, file, path, err);
        H5Fclose(file);
        H5Eclear2(H5E_DEFAULT);
    }
    hdf5_unlock();
    return s;
}
