/* Reading safetensors from untrusted bytes.
 *
 * The header is parsed as JSON and each entry checked on its own (type, shape, range within the
 * body), then all of them together: sorted by offset they must fill the body without overlap or
 * gap, sorted by name they must be unique. Only then do pointers into the body get out. Names and
 * texts stay in the view of the JSON.
 *
 * A file borrows its bytes from the caller, unless safetensors_read has read them itself; then it
 * owns and frees them. After parsing nothing changes: any number of threads may read. */
#include "common/networks/safetensors.h"

#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/json_view.h"
#include "common/base/memory.h"

#define PREFIX 8 /* bytes of the header's size */

/* One tensor, and the range that it takes of the body. */
struct entry {
    struct safetensors_tensor tensor;
    size_t begin, end; /* within the arrays */
};

/* One string of the metadata; both texts are the header's. */
struct note {
    const char *key, *text;
};

struct safetensors {
    void *owned;              /* the file's bytes, when we read them */
    struct json_view *header; /* keeps the names and texts */
    size_t n_entries;
    struct entry *entries; /* in order of name */
    size_t n_notes;
    struct note *notes;
};

/* What the format calls the types, and the bytes of an element; by enum safetensors_type. */
static const struct {
    const char *name;
    size_t size;
} types[] = {
    [SAFETENSORS_F64] = {"F64", 8}, [SAFETENSORS_I64] = {"I64", 8}, [SAFETENSORS_F32] = {"F32", 4},
    [SAFETENSORS_I32] = {"I32", 4}, [SAFETENSORS_U8] = {"U8", 1},
};
#define N_TYPES (sizeof types / sizeof types[0])

size_t safetensors_type_size(enum safetensors_type type)
{
    return types[type].size;
}

const char *safetensors_type_name(enum safetensors_type type)
{
    return types[type].name;
}

/* ---- The header ---- */

/* Whether the JSON number is a whole number of at most `max`. NaN and fractions are not. */
static bool whole(const struct json_view *json, int item, size_t max, size_t *value)
{
    double number;
    if (!json_view_number(json, item, &number) || !(number >= 0.0) || !(number <= (double)max)) {
        return false;
    }
    /* JSON numbers are doubles here; a fraction does not survive the conversion. */
    *value = (size_t)number;
    return (double)*value == number;
}

/* One of the types that we know; others (F16, BOOL) are refused by name. */
static status read_type(const struct json_view *json, int item, enum safetensors_type *type,
                        const char *name, struct err *err)
{
    const char *dtype = json_view_text(json, json_view_member(json, item, "dtype"));
    if (dtype == NULL) {
        return err_set(err, STATUS_CORRUPT, "tensor %s: no dtype", name);
    }
    /* Types that we do not know may be valid elsewhere, but nobody here could use the tensor. */
    for (size_t i = 0; i < N_TYPES; i++) {
        if (strcmp(dtype, types[i].name) == 0) {
            *type = (enum safetensors_type)i;
            return STATUS_OK;
        }
    }
    return err_set(err, STATUS_CORRUPT, "tensor %s: dtype %.16s: expected F64, I64, F32, I32 or U8",
                   name, dtype);
}

/* Dimensions and their product, which must not overflow. A dimension beyond the body's size
 * cannot be right. */
static status read_shape(const struct json_view *json, int item, struct safetensors_tensor *tensor,
                         size_t body_size, struct err *err)
{
    const int shape = json_view_member(json, item, "shape");
    if (json_view_type(json, shape) != JSON_ARRAY) {
        return err_set(err, STATUS_CORRUPT, "tensor %s: no shape", tensor->name);
    }
    /* The number of elements so far; a scalar has one. */
    tensor->count = 1;
    for (int dim = json_view_first(json, shape); dim != JSON_NONE;
         dim = json_view_next(json, dim)) {
        if (tensor->n_dims == SAFETENSORS_DIMS_MAX) {
            return err_set(err, STATUS_CORRUPT, "tensor %s: more than %d dimensions", tensor->name,
                           SAFETENSORS_DIMS_MAX);
        }
        /* A dimension may be 0: the tensor is empty then. */
        size_t n;
        if (!whole(json, dim, body_size, &n)) {
            return err_set(err, STATUS_CORRUPT,
                           "tensor %s: dimension %d is not a whole number within the file's size",
                           tensor->name, tensor->n_dims);
        }
        /* Even of dimensions within the file's size the product may overflow. */
        if (__builtin_mul_overflow(tensor->count, n, &tensor->count)) {
            return err_set(err, STATUS_CORRUPT, "tensor %s: shape overflows", tensor->name);
        }
        tensor->shape[tensor->n_dims++] = n;
    }
    return STATUS_OK;
}

/* One tensor of the header into a zeroed entry. Its name stays in the header; its data points into
 * the body, which need not be aligned. */
static status read_entry(const struct json_view *json, int item, struct entry *entry,
                         const unsigned char *body, size_t body_size, struct err *err)
{
    struct safetensors_tensor *tensor = &entry->tensor;
    tensor->name = json_view_key(json, item);
    const size_t length = strlen(tensor->name);
    /* Names go into messages and file listings: they are bounded. */
    if (length < 1 || length > SAFETENSORS_NAME_MAX) {
        return err_set(err, STATUS_CORRUPT, "a tensor's name of %zu bytes: expected 1..%d", length,
                       SAFETENSORS_NAME_MAX);
    }
    /* An entry's fields are found by name; unknown ones are ignored. */
    if (json_view_type(json, item) != JSON_OBJECT) {
        return err_set(err, STATUS_CORRUPT, "tensor %s: not an object", tensor->name);
    }
    /* Type and shape, which say how many bytes the tensor takes. */
    status s = read_type(json, item, &tensor->type, tensor->name, err);
    if (s != STATUS_OK) {
        return s;
    }
    s = read_shape(json, item, tensor, body_size, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* The range must lie within the body. */
    const int offsets = json_view_member(json, item, "data_offsets");
    const int first = json_view_first(json, offsets);
    if (json_view_type(json, offsets) != JSON_ARRAY || json_view_size(json, offsets) != 2 ||
        !whole(json, first, body_size, &entry->begin) ||
        !whole(json, json_view_next(json, first), body_size, &entry->end) ||
        entry->begin > entry->end) {
        return err_set(err, STATUS_CORRUPT,
                       "tensor %s: data_offsets are not a range within %zu bytes", tensor->name,
                       body_size);
    }
    /* And it must be exactly as long: reading a shorter one would go beyond its end, and a longer
     * one could hide bytes. */
    size_t bytes;
    if (__builtin_mul_overflow(tensor->count, types[tensor->type].size, &bytes) ||
        bytes != entry->end - entry->begin) {
        return err_set(err, STATUS_CORRUPT, "tensor %s: its shape does not fill its %zu bytes",
                       tensor->name, entry->end - entry->begin);
    }
    tensor->data = body + entry->begin;
    return STATUS_OK;
}

/* The metadata strings; keys are unique. */
static status read_notes(struct safetensors *file, int item, struct err *err)
{
    const struct json_view *json = file->header;
    if (json_view_type(json, item) != JSON_OBJECT) {
        return err_set(err, STATUS_CORRUPT, "__metadata__ is not an object");
    }
    /* Bounded before it is allocated. */
    const size_t n = (size_t)json_view_size(json, item);
    if (n > SAFETENSORS_TENSORS_MAX) {
        return err_set(err, STATUS_CORRUPT, "%zu metadata strings: expected at most %d", n,
                       SAFETENSORS_TENSORS_MAX);
    }
    /* One more than needed: an empty object also leaves `notes` set, by which read_header sees that
     * the metadata has been there. */
    file->notes = mem_array(n + 1, sizeof *file->notes);
    if (file->notes == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "metadata");
    }
    /* Of two texts under one key a reader would take either: such files are refused. */
    for (int value = json_view_first(json, item); value != JSON_NONE;
         value = json_view_next(json, value)) {
        const struct note note = {json_view_key(json, value), json_view_text(json, value)};
        if (note.text == NULL) {
            return err_set(err, STATUS_CORRUPT, "metadata %.64s is not a string", note.key);
        }
        if (safetensors_metadata(file, note.key) != NULL) {
            return err_set(err, STATUS_CORRUPT, "metadata %.64s appears twice", note.key);
        }
        file->notes[file->n_notes++] = note;
    }
    return STATUS_OK;
}

/* By offset; of empty tensors at the same one the order does not matter. */
static int by_begin(const void *a, const void *b)
{
    const struct entry *x = a;
    const struct entry *y = b;
    if (x->begin != y->begin) {
        return x->begin < y->begin ? -1 : 1;
    }
    return (x->end > y->end) - (x->end < y->end);
}

/* By the bytes of the name, in no language's order. */
static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct entry *)a)->tensor.name, ((const struct entry *)b)->tensor.name);
}

/* The arrays lie one after another and fill the body; names are unique. Leaves the entries in order
 * of name. */
static status check_entries(struct safetensors *file, size_t body_size, struct err *err)
{
    /* First by offset; by name at the end, which is the order that stays. */
    if (file->n_entries > 0) {
        qsort(file->entries, file->n_entries, sizeof *file->entries, by_begin);
    }
    /* In order of offset each must begin where the one before ended. */
    size_t at = 0;
    for (size_t i = 0; i < file->n_entries; i++) {
        const struct entry *entry = &file->entries[i];
        if (entry->begin != at) {
            return err_set(err, STATUS_CORRUPT, "tensor %s: begins at %zu, expected %zu (%s)",
                           entry->tensor.name, entry->begin, at,
                           entry->begin < at ? "overlap" : "gap");
        }
        at = entry->end;
    }
    /* Nor may bytes follow the last array. */
    if (at != body_size) {
        return err_set(err, STATUS_CORRUPT, "%zu bytes after the last tensor", body_size - at);
    }
    if (file->n_entries > 0) {
        qsort(file->entries, file->n_entries, sizeof *file->entries, by_name);
    }
    /* In order of name equal ones are neighbours. */
    for (size_t i = 1; i < file->n_entries; i++) {
        if (by_name(&file->entries[i - 1], &file->entries[i]) == 0) {
            return err_set(err, STATUS_CORRUPT, "tensor %s appears twice",
                           file->entries[i].tensor.name);
        }
    }
    return STATUS_OK;
}

/* All entries of the header, tensors and metadata. */
static status read_header(struct safetensors *file, const unsigned char *body, size_t body_size,
                          struct err *err)
{
    /* The count includes the metadata, so that the array is large enough in any case. */
    const struct json_view *json = file->header;
    const size_t n = (size_t)json_view_size(json, 0);
    if (n > SAFETENSORS_TENSORS_MAX) {
        return err_set(err, STATUS_CORRUPT, "%zu tensors: expected at most %d", n,
                       SAFETENSORS_TENSORS_MAX);
    }
    file->entries = mem_array(n + 1, sizeof *file->entries);
    if (file->entries == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "%zu tensors", n);
    }
    for (int item = json_view_first(json, 0); item != JSON_NONE;
         item = json_view_next(json, item)) {
        status s;
        /* The metadata is one entry among the tensors. */
        if (strcmp(json_view_key(json, item), "__metadata__") == 0) {
            s = file->notes != NULL ? err_set(err, STATUS_CORRUPT, "__metadata__ appears twice")
                                    : read_notes(file, item, err);
        } else {
            s = read_entry(json, item, &file->entries[file->n_entries++], body, body_size, err);
        }
        if (s != STATUS_OK) {
            return s;
        }
    }
    return check_entries(file, body_size, err);
}

/* ---- The file ---- */

status safetensors_parse(struct safetensors **out, const void *bytes, size_t size, struct err *err)
{
    const unsigned char *at = bytes;
    if (size < PREFIX) {
        return err_set(err, STATUS_CORRUPT, "safetensors: %zu bytes are too short for a header",
                       size);
    }
    /* Little endian, whatever the machine. */
    uint64_t header_size = 0;
    for (int i = 0; i < PREFIX; i++) {
        header_size |= (uint64_t)at[i] << (8 * i);
    }
    /* By subtraction: with a size from the file a sum could wrap around. */
    if (header_size > SAFETENSORS_HEADER_MAX || header_size > size - PREFIX) {
        return err_set(err, STATUS_CORRUPT, "safetensors: header of %llu bytes in a file of %zu",
                       (unsigned long long)header_size, size);
    }
    /* The header's size is within the file: it can be parsed. */
    struct safetensors *file = mem_new(sizeof *file);
    if (file == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "safetensors");
    }
    /* The format pads with spaces only, which are white space to JSON. */
    status s = json_view_parse(&file->header, (const char *)at + PREFIX, (size_t)header_size, err);
    if (s == STATUS_NO_MEMORY) {
        s = err_context(err, s, "safetensors: header");
    } else if (s != STATUS_OK) {
        s = err_context(err, s, "safetensors: the header is not a JSON object");
    } else if (json_view_type(file->header, 0) != JSON_OBJECT) {
        s = err_set(err, STATUS_CORRUPT, "safetensors: the header is not a JSON object");
    }
    /* What lies behind the header is the body. */
    if (s == STATUS_OK) {
        s = read_header(file, at + PREFIX + header_size, size - PREFIX - (size_t)header_size, err);
        /* Entries and notes that were already read go with the file. */
        if (s != STATUS_OK) {
            s = err_context(err, s, "safetensors");
        }
    }
    if (s != STATUS_OK) {
        safetensors_free(file);
        return s;
    }
    *out = file;
    return STATUS_OK;
}

status safetensors_read(struct safetensors **out, const char *path, size_t max_bytes,
                        struct err *err)
{
    void *bytes;
    size_t size;
    status s = file_read(path, max_bytes, &bytes, &size, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* After a failure the bytes are still ours. */
    struct safetensors *file;
    s = safetensors_parse(&file, bytes, size, err);
    if (s != STATUS_OK) {
        mem_free(bytes);
        return err_context(err, s, "%s", path);
    }
    /* The arrays are read from it until safetensors_free. */
    file->owned = bytes;
    *out = file;
    return STATUS_OK;
}

void safetensors_free(struct safetensors *file)
{
    if (file == NULL) {
        return;
    }
    /* Also a file that was parsed in part: what it lacks is NULL. */
    json_view_free(file->header);
    mem_free(file->entries);
    mem_free(file->notes);
    mem_free(file->owned);
    mem_free(file);
}

/* ---- Looking up ---- */

size_t safetensors_count(const struct safetensors *file)
{
    return file->n_entries;
}

const struct safetensors_tensor *safetensors_at(const struct safetensors *file, size_t i)
{
    ASSERT(i < file->n_entries);
    return &file->entries[i].tensor;
}

const struct safetensors_tensor *safetensors_find(const struct safetensors *file, const char *name)
{
    /* Entries are in order of name: a binary search. */
    size_t low = 0;
    size_t high = file->n_entries;
    while (low < high) {
        /* Half of the range that may contain the name is left after each turn. */
        const size_t middle = low + (high - low) / 2;
        const int order = strcmp(name, file->entries[middle].tensor.name);
        if (order == 0) {
            return &file->entries[middle].tensor;
        }
        if (order < 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    return NULL;
}

const char *safetensors_metadata(const struct safetensors *file, const char *key)
{
    /* One after another: files have a few dozen strings. */
    for (size_t i = 0; i < file->n_notes; i++) {
        if (strcmp(file->notes[i].key, key) == 0) {
            return file->notes[i].text;
        }
    }
    return NULL;
}

size_t safetensors_metadata_count(const struct safetensors *file)
{
    return file->n_notes;
}

void safetensors_metadata_at(const struct safetensors *file, size_t i, const char **key,
                             const char **text)
{
    ASSERT(i < file->n_notes);
    *key = file->notes[i].key;
    *text = file->notes[i].text;
}

status safetensors_copy(const struct safetensors *file, const char *name,
                        enum safetensors_type type, int n_dims, const size_t *shape, void *out,
                        struct err *err)
{
    const struct safetensors_tensor *tensor = safetensors_find(file, name);
    if (tensor == NULL) {
        return err_set(err, STATUS_NOT_FOUND, "tensor %s is missing", name);
    }
    /* Type and shape must be exactly those that the caller has space for. */
    if (tensor->type != type) {
        return err_set(err, STATUS_MISMATCH, "tensor %s: %s, expected %s", name,
                       types[tensor->type].name, types[type].name);
    }
    if (tensor->n_dims != n_dims) {
        return err_set(err, STATUS_MISMATCH, "tensor %s: %d dimensions, expected %d", name,
                       tensor->n_dims, n_dims);
    }
    /* Sizes are compared one by one: equal products would not do. */
    for (int i = 0; i < n_dims; i++) {
        if (tensor->shape[i] != shape[i]) {
            return err_set(err, STATUS_MISMATCH, "tensor %s: dimension %d is %zu, expected %zu",
                           name, i, tensor->shape[i], shape[i]);
        }
    }
    /* By bytes, since the data may be unaligned. */
    memcpy(out, tensor->data, tensor->count * types[type].size);
    return STATUS_OK;
}
