/* HDF5 files of any layout whose datasets have time as their first dimension.
 *
 * If the root or its group `data` has groups called WORD_NUMBER (such as demo_0 in robomimic
 * files), each of them is a recording, in the order of their numbers. Otherwise the whole file is
 * one recording (D4RL files). Every dataset in a recording is a column, named by its path, such as
 * "obs/encoder".
 *
 * Soft and external links are not followed, and hdf5.h refuses datasets with external storage,
 * so a log cannot make us read other files. HDF5 is not thread-safe: every function here that calls
 * it holds hdf5_lock, or requires the caller to. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/logs/files/hdf5_columns.h"
#include "common/logs/files/log_file.h"
#include "common/trajectory/hdf5.h"

#define GROUPS_MAX 10000000u
#define DEPTH_MAX  8 /* levels of groups in a recording */

/* A group that is a recording. `number` decides its place, so that demo_10 comes after demo_9. */
struct hdf5_group {
    char *name;
    uint64_t number;
};

/* An open file. hdf5_lock protects the handles; the rest does not change after hdf5_file_open. */
struct hdf5_file {
    struct log_file base;
    char *path;
    hid_t file;
    const char *container;       /* "/" or "/data" */
    uint64_t n, capacity;        /* n = 0: the container itself is the only recording */
    struct hdf5_group *groups;   /* (n), sorted by number */
    uint64_t open_i;             /* the recording whose group is open */
    hid_t open;                  /* its group; -1 if none is open */
    struct hdf5_columns columns; /* those of its datasets that were read */
};

/* Every HDF5 file without a user block starts with these bytes. */
static bool hdf5_recognise(const unsigned char *head, size_t n)
{
    return n >= 8 && memcmp(head, "\x89HDF\r\n\x1a\n", 8) == 0;
}

/* ---- recordings ---- */

/* Gets 12 from "demo_12". False if the name has another form. */
static bool parse_group(const char *name, uint64_t *number)
{
    /* 18 digits fit 64 bits without overflow. */
    const char *mark = strrchr(name, '_');
    const size_t digits = mark == NULL || mark == name ? 0 : strlen(mark + 1);
    if (digits < 1 || digits > 18 || strspn(mark + 1, "0123456789") != digits) {
        return false;
    }
    *number = strtoull(mark + 1, NULL, 10);
    return true;
}

/* What the iteration over groups carries along. */
struct group_list {
    struct hdf5_file *file;
    bool no_memory;
};

/* A callback of H5Literate: adds a group whose name has the form of a recording. Returns 1, which
 * ends the iteration, when memory runs out. */
static herr_t add_group(hid_t parent, const char *name, const H5L_info_t *info, void *arg)
{
    struct group_list *list = arg;
    struct hdf5_file *file = list->file;
    uint64_t number;
    /* Only hard links to groups can be recordings; a soft link could lead anywhere in the file. */
    if (info->type != H5L_TYPE_HARD || !parse_group(name, &number) ||
        hdf5_kind_of(parent, name) != HDF5_GROUP) {
        return 0;
    }
    /* The list grows by doubling. A file can claim any number of groups, so the list has a
     * limit. */
    if (file->n == file->capacity) {
        const uint64_t capacity = file->capacity == 0 ? 256 : 2 * file->capacity;
        struct hdf5_group *groups = capacity <= 2ull * GROUPS_MAX
                                        ? mem_resize(file->groups, capacity, sizeof *groups)
                                        : NULL;
        if (groups == NULL) {
            list->no_memory = true;
            return 1;
        }
        file->groups = groups;
        file->capacity = capacity;
    }
    /* HDF5 owns the name, and only for the time of this call. */
    char *copy = mem_text(name);
    if (copy == NULL) {
        list->no_memory = true;
        return 1;
    }
    file->groups[file->n++] = (struct hdf5_group){copy, number};
    return 0;
}

/* By number, and by name where two groups have the same number, such as demo_1 and run_1. */
static int compare_groups(const void *a, const void *b)
{
    const struct hdf5_group *x = a, *y = b;
    return x->number != y->number ? (x->number > y->number) - (x->number < y->number)
                                  : strcmp(x->name, y->name);
}

/* Lists the recordings in file->groups. The caller holds the lock. */
static status list_groups(struct hdf5_file *file, struct err *err)
{
    /* A group called `data` holds the recordings in robomimic files. */
    file->container = hdf5_kind_of(file->file, "data") == HDF5_GROUP ? "/data" : "/";
    hid_t container = H5Gopen2(file->file, file->container, H5P_DEFAULT);
    /* The order of HDF5's own index is arbitrary; sorting below makes it the order of the
     * numbers. */
    struct group_list list = {.file = file};
    if (container < 0 ||
        H5Literate(container, H5_INDEX_NAME, H5_ITER_NATIVE, NULL, add_group, &list) < 0) {
        if (container >= 0) {
            (void)H5Gclose(container);
        }
        return hdf5_error(err, STATUS_CORRUPT, "%s", file->path);
    }
    (void)H5Gclose(container);
    if (list.no_memory) {
        return err_set(err, STATUS_NO_MEMORY, "%s: list of groups", file->path);
    }
    /* A file without such groups keeps n = 0, and is one recording. */
    if (file->n > 1) {
        qsort(file->groups, file->n, sizeof *file->groups, compare_groups);
    }
    return STATUS_OK;
}

/* ---- opening ---- */

/* Also closes a file that was opened only in part, without the lock held by the caller. */
static void hdf5_file_close(struct log_file *base)
{
    struct hdf5_file *file = (struct hdf5_file *)base;
    /* Handles are closed in the reverse order of opening. */
    hdf5_lock();
    hdf5_columns_close(&file->columns);
    if (file->open >= 0) {
        (void)H5Gclose(file->open);
    }
    if (file->file >= 0) {
        (void)H5Fclose(file->file);
    }
    hdf5_unlock();
    /* The rest is our own memory and needs no lock. */
    for (uint64_t i = 0; i < file->n; i++) {
        mem_free(file->groups[i].name);
    }
    mem_free(file->groups);
    mem_free(file->path);
    mem_free(file);
}

static status hdf5_file_open(struct log_file **out, const char *path, struct err *err)
{
    struct hdf5_file *file = mem_new(sizeof *file);
    if (file == NULL || (file->path = mem_text(path)) == NULL) {
        mem_free(file);
        return err_set(err, STATUS_NO_MEMORY, "%s", path);
    }
    /* -1 marks handles that are not open, for hdf5_file_close. */
    file->base.format = &log_format_hdf5;
    file->file = -1;
    file->open = -1;
    hdf5_lock();
    status s = hdf5_open(&file->file, path, err);
    if (s == STATUS_OK) {
        s = list_groups(file, err);
    } else {
        file->file = -1; /* hdf5_file_close must not close it */
    }
    hdf5_unlock();
    /* The lock is released by now, since hdf5_file_close takes it. */
    if (s != STATUS_OK) {
        hdf5_file_close(&file->base);
        return s;
    }
    *out = &file->base;
    return STATUS_OK;
}

/* Without groups of recordings, the container is the only one. */
static uint64_t hdf5_recordings(const struct log_file *base)
{
    const struct hdf5_file *file = (const struct hdf5_file *)base;
    return file->n > 0 ? file->n : 1;
}

/* Opens the recording's group, which stays open until another recording is needed. The caller holds
 * the lock. */
static status open_recording(struct hdf5_file *file, uint64_t recording_i, struct err *err)
{
    if (file->open >= 0 && file->open_i == recording_i) {
        return STATUS_OK;
    }
    hdf5_columns_close(&file->columns);
    if (file->open >= 0) {
        (void)H5Gclose(file->open);
    }
    /* A recording is opened by its path; an empty name stands for the container. */
    char name[1024];
    const char *group = file->n > 0 ? file->groups[recording_i].name : "";
    snprintf(name, sizeof name, "%s/%s", file->container, group);
    file->open = H5Gopen2(file->file, name, H5P_DEFAULT);
    file->open_i = recording_i;
    return file->open >= 0 ? STATUS_OK
                           : hdf5_error(err, STATUS_CORRUPT, "%s: %s", file->path, name);
}

/* ---- columns ---- */

/* What the iteration over datasets carries along. */
struct column_list {
    struct recording *recording;
    char prefix[RECORDING_NAME_SIZE]; /* path of the group that is visited; empty at the top */
    int depth;
    status s; /* the first error */
    struct err *err;
};

/* add_below and add_column call each other, once for each level of groups. */
static herr_t add_column(hid_t parent, const char *name, const H5L_info_t *info, void *arg);

/* Adds all datasets in the group and in the groups below it. */
static status add_below(hid_t group, struct column_list *list)
{
    /* A negative result without an error of our own is a failure of HDF5 itself. */
    if (H5Literate(group, H5_INDEX_NAME, H5_ITER_NATIVE, NULL, add_column, list) < 0 &&
        list->s == STATUS_OK) {
        list->s = hdf5_error(list->err, STATUS_CORRUPT, "%s", list->prefix);
    }
    return list->s;
}

/* Adds one dataset as a column named `path`. An error is stored in list->s. */
static void add_dataset(hid_t parent, const char *name, const char *path, struct column_list *list)
{
    hid_t dataset;
    struct hdf5_shape shape;
    const status s = hdf5_dataset_open(&dataset, &shape, parent, name, UINT64_MAX, NULL);
    /* Out of memory is the only failure of opening that ends the listing. */
    if (s == STATUS_NO_MEMORY) {
        list->s = err_set(list->err, s, "%s", path);
        return;
    }
    /* Datasets that cannot be read as rows of numbers (text, scalars, links to other files) are
     * listed too, so that a mapping that names one gets a clear error. */
    enum recording_kind kind = RECORDING_OTHER;
    uint64_t rows = 0, width = 1;
    /* Only the first two dimensions have a meaning here: time and the values in a row. */
    if (s == STATUS_OK) {
        rows = shape.dims[0];
        width = shape.row_size;
        const bool numbers =
            shape.kind == H5T_FLOAT || shape.kind == H5T_INTEGER || shape.kind == H5T_ENUM;
        if (numbers && shape.rank <= 2 && width >= 1 && width <= RECORDING_WIDTH_MAX &&
            rows <= RECORDING_ROWS_MAX) {
            kind = RECORDING_NUMBERS;
        } else if (shape.kind == H5T_STRING) {
            kind = RECORDING_TEXT;
        }
        (void)H5Dclose(dataset);
    }
    if (width > UINT32_MAX) {
        width = UINT32_MAX; /* shown only: the column is not readable */
    }
    list->s = recording_add(list->recording, path, kind, (uint32_t)width, rows, list->err);
}

/* A callback of H5Literate: adds a dataset, or descends into a group. Returns 1, which ends the
 * iteration, after an error. */
static herr_t add_column(hid_t parent, const char *name, const H5L_info_t *info, void *arg)
{
    struct column_list *list = arg;
    char path[RECORDING_NAME_SIZE];
    const int length =
        snprintf(path, sizeof path, "%s%s%s", list->prefix, list->prefix[0] != 0 ? "/" : "", name);
    if (info->type != H5L_TYPE_HARD || length < 0 || (size_t)length >= sizeof path) {
        return 0; /* links, and paths that are too long for a mapping */
    }
    /* What is neither a dataset nor a group, such as a named type, is skipped. */
    const enum hdf5_kind kind = hdf5_kind_of(parent, name);
    if (kind == HDF5_DATASET) {
        add_dataset(parent, name, path, list);
    } else if (kind == HDF5_GROUP && list->depth < DEPTH_MAX) {
        /* The prefix is that of the subgroup during the recursion, and is then restored. */
        hid_t group = H5Gopen2(parent, name, H5P_DEFAULT);
        if (group >= 0) {
            char prefix[RECORDING_NAME_SIZE];
            memcpy(prefix, list->prefix, sizeof prefix);
            memcpy(list->prefix, path, sizeof path);
            list->depth++;
            (void)add_below(group, list);
            list->depth--;
            memcpy(list->prefix, prefix, sizeof prefix);
            (void)H5Gclose(group);
        }
    }
    return list->s == STATUS_OK ? 0 : 1;
}

/* The whole group is listed at each call; `logs` keeps the result while it reads a recording. */
static status hdf5_describe(struct log_file *base, uint64_t recording_i,
                            struct recording *recording, struct err *err)
{
    struct hdf5_file *file = (struct hdf5_file *)base;
    struct column_list list = {.recording = recording, .err = err};
    hdf5_lock();
    status s = open_recording(file, recording_i, err);
    if (s == STATUS_OK) {
        s = add_below(file->open, &list);
        if (s != STATUS_OK) {
            (void)err_context(err, s, "%s", file->path);
        }
    }
    hdf5_unlock();
    return s;
}

/* Reads rows as doubles or, where `values` is NULL, as floats, which may be NOT_FOUND. Datasets of the
 * recording that was read before are closed by open_recording. */
static status read_rows(struct log_file *base, uint64_t recording_i,
                        const struct recording_column *column, uint64_t first, uint64_t n,
                        double *values, float *floats, struct err *err)
{
    struct hdf5_file *file = (struct hdf5_file *)base;
    if (n == 0) {
        return STATUS_OK;
    }
    hdf5_lock();
    status s = open_recording(file, recording_i, err);
    if (s == STATUS_OK) {
        s = values != NULL
                ? hdf5_columns_read(&file->columns, file->open, column, first, n, values, err)
                : hdf5_columns_read_floats(&file->columns, file->open, column, first, n, floats,
                                           err);
    }
    hdf5_unlock();
    const bool other_kind = values == NULL && s == STATUS_NOT_FOUND;
    return s == STATUS_OK || other_kind ? s : err_context(err, s, "%s", file->path);
}

static status hdf5_read(struct log_file *base, uint64_t recording_i,
                        const struct recording_column *column, uint64_t first, uint64_t n,
                        double *values, struct err *err)
{
    return read_rows(base, recording_i, column, first, n, values, NULL, err);
}

static status hdf5_read_stored(struct log_file *base, uint64_t recording_i,
                               const struct recording_column *column, uint64_t first, uint64_t n,
                               float *values, struct err *err)
{
    return read_rows(base, recording_i, column, first, n, NULL, values, err);
}

/* An attribute of the recording's group. */
static status hdf5_attribute(struct log_file *base, uint64_t recording_i, const char *name,
                             char *value, size_t size)
{
    struct hdf5_file *file = (struct hdf5_file *)base;
    hdf5_lock();
    status s = open_recording(file, recording_i, NULL);
    if (s == STATUS_OK) {
        s = hdf5_read_text(value, size, file->open, name);
    }
    hdf5_unlock();
    return s;
}

const struct log_format log_format_hdf5 = {
    .name = "hdf5",
    .what = "HDF5: robomimic, D4RL and others",
    .recognise = hdf5_recognise,
    .open = hdf5_file_open,
    .close = hdf5_file_close,
    .n_recordings = hdf5_recordings,
    .describe = hdf5_describe,
    .read = hdf5_read,
    .read_floats = hdf5_read_stored,
    .attribute = hdf5_attribute,
};
