/* Writing safetensors: the same content gives the same bytes, whatever the order of the calls.
 *
 * A writer collects tensors, whose data it borrows, and metadata. Encoding sorts both, makes the
 * header, and gives out header and arrays as parts of one file, so that arrays are not copied on
 * their way to disk.
 *
 * A writer is used by one thread. Nothing is written before safetensors_encode or
 * safetensors_replace, and both leave the writer usable. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/networks/safetensors.h"

#define PREFIX 8 /* bytes of the header's size */

/* Both texts are copies. */
struct note {
    char *key, *text;
};

/* Two lists in the order of the calls, until make_header sorts them. */
struct safetensors_writer {
    size_t n_tensors, tensors_capacity;
    struct safetensors_tensor *tensors; /* names are ours */
    size_t n_notes, notes_capacity;
    struct note *notes;
};

status safetensors_writer_new(struct safetensors_writer **writer)
{
    *writer = mem_new(sizeof **writer);
    return *writer == NULL ? STATUS_NO_MEMORY : STATUS_OK;
}

void safetensors_writer_free(struct safetensors_writer *writer)
{
    if (writer == NULL) {
        return;
    }
    /* Names and texts are copies; the data is the callers'. */
    for (size_t i = 0; i < writer->n_tensors; i++) {
        mem_free((char *)(uintptr_t)writer->tensors[i].name);
    }
    for (size_t i = 0; i < writer->n_notes; i++) {
        mem_free(writer->notes[i].key);
        mem_free(writer->notes[i].text);
    }
    mem_free(writer->tensors);
    mem_free(writer->notes);
    mem_free(writer);
}

/* ---- Collecting ---- */

/* Makes space for one more element, by doubling. False without memory; the array is unchanged. */
static bool grow(void **array, size_t n, size_t *capacity, size_t size)
{
    if (n < *capacity) {
        return true;
    }
    const size_t more = *capacity == 0 ? 16 : 2 * *capacity;
    void *larger = mem_resize(*array, more, size);
    if (larger == NULL) {
        return false;
    }
    *array = larger;
    *capacity = more;
    return true;
}

status safetensors_add(struct safetensors_writer *writer, const char *name,
                       enum safetensors_type type, int n_dims, const size_t *shape,
                       const void *data, struct err *err)
{
    /* Mistakes of the program (a bad or repeated name) are reported, not asserted: names may come
     * from a user's settings. */
    const size_t length = strlen(name);
    if (length < 1 || length > SAFETENSORS_NAME_MAX || strcmp(name, "__metadata__") == 0) {
        return err_set(err, STATUS_INVALID, "tensor name '%.64s': 1..%d bytes, not __metadata__",
                       name, SAFETENSORS_NAME_MAX);
    }
    ASSERT(n_dims >= 0 && n_dims <= SAFETENSORS_DIMS_MAX);
    for (size_t i = 0; i < writer->n_tensors; i++) {
        /* A second tensor of that name would make a file that our own reader refuses. */
        if (strcmp(writer->tensors[i].name, name) == 0) {
            return err_set(err, STATUS_EXISTS, "tensor %s: added twice", name);
        }
    }
    /* The limit is the reader's. */
    if (writer->n_tensors == SAFETENSORS_TENSORS_MAX) {
        return err_set(err, STATUS_FULL, "tensor %s: more than %d", name, SAFETENSORS_TENSORS_MAX);
    }
    /* Everything that can fail comes before the tensor is in the list. */
    struct safetensors_tensor tensor = {.type = type, .n_dims = n_dims, .count = 1, .data = data};
    for (int i = 0; i < n_dims; i++) {
        tensor.shape[i] = shape[i];
        tensor.count *= shape[i];
    }
    /* The name is copied; without memory the copy goes and the list stays as it was. */
    tensor.name = mem_text(name);
    if (tensor.name == NULL || !grow((void **)&writer->tensors, writer->n_tensors,
                                     &writer->tensors_capacity, sizeof *writer->tensors)) {
        mem_free((char *)(uintptr_t)tensor.name);
        return err_set(err, STATUS_NO_MEMORY, "tensor %s", name);
    }
    writer->tensors[writer->n_tensors++] = tensor;
    return STATUS_OK;
}

status safetensors_note(struct safetensors_writer *writer, const char *key, const char *text,
                        struct err *err)
{
    /* Keys are unique in a file. */
    for (size_t i = 0; i < writer->n_notes; i++) {
        if (strcmp(writer->notes[i].key, key) == 0) {
            return err_set(err, STATUS_EXISTS, "metadata %s: added twice", key);
        }
    }
    /* Both texts or neither. */
    struct note note = {mem_text(key), mem_text(text)};
    if (note.key == NULL || note.text == NULL ||
        !grow((void **)&writer->notes, writer->n_notes, &writer->notes_capacity, sizeof note)) {
        mem_free(note.key);
        mem_free(note.text);
        return err_set(err, STATUS_NO_MEMORY, "metadata %s", key);
    }
    writer->notes[writer->n_notes++] = note;
    return STATUS_OK;
}

/* ---- The header ---- */

/* "__metadata__":{"key":"text",..} */
static void put_notes(struct text *out, const struct safetensors_writer *writer)
{
    /* The object is written even when it is empty. */
    text_format(out, "\"__metadata__\":{");
    for (size_t i = 0; i < writer->n_notes; i++) {
        text_add_bytes(out, ",", i > 0);
        text_add_quoted(out, writer->notes[i].key);
        text_add(out, ":");
        text_add_quoted(out, writer->notes[i].text);
    }
    text_add(out, "}");
}

/* "name":{"dtype":..,"shape":[..],"data_offsets":[..]}; its array begins at `at` behind the
 * header. */
static void put_tensor(struct text *out, const struct safetensors_tensor *tensor, size_t at)
{
    text_add_quoted(out, tensor->name);
    text_format(out, ":{\"dtype\":\"%s\",\"shape\":[", safetensors_type_name(tensor->type));
    for (int i = 0; i < tensor->n_dims; i++) {
        text_format(out, "%s%zu", i > 0 ? "," : "", tensor->shape[i]);
    }
    const size_t bytes = tensor->count * safetensors_type_size(tensor->type);
    text_format(out, "],\"data_offsets\":[%zu,%zu]}", at, at + bytes);
}

/* The enum goes from the widest type to the narrowest: in this order every array begins at a
 * multiple of its element's size. */
static int by_type_and_name(const void *a, const void *b)
{
    const struct safetensors_tensor *x = a;
    const struct safetensors_tensor *y = b;
    return x->type != y->type ? (int)x->type - (int)y->type : strcmp(x->name, y->name);
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const struct note *)a)->key, ((const struct note *)b)->key);
}

/* Size field, JSON and padding; *bytes is the caller's. Sorts the writer's lists. */
static status make_header(struct safetensors_writer *writer, char **bytes, size_t *size)
{
    /* Sorting makes the file independent of the order in which things were added. */
    if (writer->n_tensors > 0) {
        qsort(writer->tensors, writer->n_tensors, sizeof *writer->tensors, by_type_and_name);
    }
    if (writer->n_notes > 0) {
        qsort(writer->notes, writer->n_notes, sizeof *writer->notes, by_key);
    }
    struct text out = {0};
    /* The size is filled in when it is known. */
    const char zeros[PREFIX] = {0};
    text_add_bytes(&out, zeros, PREFIX);
    text_add(&out, "{");
    put_notes(&out, writer);
    /* Arrays follow each other without gaps. */
    size_t at = 0;
    for (size_t i = 0; i < writer->n_tensors; i++) {
        text_add(&out, ",");
        put_tensor(&out, &writer->tensors[i], at);
        at += writer->tensors[i].count * safetensors_type_size(writer->tensors[i].type);
    }
    text_add(&out, "}");
    /* Padding, so that the arrays begin on a multiple of 8. */
    text_add_bytes(&out, "        ", (8 - out.size % 8) % 8);
    *bytes = text_take(&out, size);
    if (*bytes == NULL) {
        return STATUS_NO_MEMORY;
    }
    /* The size field, little endian, without itself. */
    for (int i = 0; i < PREFIX; i++) {
        (*bytes)[i] = (char)(unsigned char)((uint64_t)(*size - PREFIX) >> (8 * i));
    }
    return STATUS_OK;
}

/* Header and arrays as parts; both pointers are the caller's to free. On failure there is nothing
 * to free. */
static status make_parts(struct safetensors_writer *writer, char **header, struct file_part **parts,
                         struct err *err)
{
    size_t header_size;
    *parts = mem_array(writer->n_tensors + 1, sizeof **parts);
    if (*parts == NULL || make_header(writer, header, &header_size) != STATUS_OK) {
        mem_free(*parts);
        return err_set(err, STATUS_NO_MEMORY, "safetensors header");
    }
    /* The header, then the arrays in the order in which it lists them. */
    (*parts)[0] = (struct file_part){*header, header_size};
    for (size_t i = 0; i < writer->n_tensors; i++) {
        const struct safetensors_tensor *tensor = &writer->tensors[i];
        (*parts)[i + 1] =
            (struct file_part){tensor->data, tensor->count * safetensors_type_size(tensor->type)};
    }
    return STATUS_OK;
}

/* ---- The file ---- */

status safetensors_encode(struct safetensors_writer *writer, void **bytes, size_t *size,
                          struct err *err)
{
    char *header;
    struct file_part *parts;
    status s = make_parts(writer, &header, &parts, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* One block, the parts one after another. */
    size_t total = 0;
    for (size_t i = 0; i <= writer->n_tensors; i++) {
        total += parts[i].size;
    }
    unsigned char *out = mem_new(total);
    if (out == NULL) {
        s = err_set(err, STATUS_NO_MEMORY, "safetensors of %zu bytes", total);
    } else {
        size_t at = 0;
        for (size_t i = 0; i <= writer->n_tensors; i++) {
            if (parts[i].size > 0) { /* an empty tensor may have no data at all */
                memcpy(out + at, parts[i].bytes, parts[i].size);
                at += parts[i].size;
            }
        }
        *bytes = out;
        *size = total;
    }
    /* The parts only point to header and arrays. */
    mem_free(parts);
    mem_free(header);
    return s;
}

status safetensors_replace(struct safetensors_writer *writer, const char *path, struct err *err)
{
    char *header;
    struct file_part *parts;
    status s = make_parts(writer, &header, &parts, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* The arrays are written from where they lie, without a copy. */
    s = file_replace(path, parts, writer->n_tensors + 1, err);
    mem_free(parts);
    mem_free(header);
    return s;
}
