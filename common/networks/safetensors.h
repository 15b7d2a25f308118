/* safetensors: named arrays in one file, readable by numpy, PyTorch, JAX.
 *
 *     0    8   size H of the header, little endian
 *     8    H   JSON, padded with spaces to a multiple of 8:
 *              {"__metadata__": {text: text},
 *               name: {"dtype": .., "shape": .., "data_offsets": [begin, end]}, ..}
 *     8+H  ..  the arrays, row-major, little endian, without gaps
 *
 * Input is not trusted: sizes, offsets, overlaps, gaps, types, names and nesting are checked
 * before anything is used. Written files are deterministic: tensors by type (widest first), then
 * by name. */
#ifndef HINDCAST_NETWORKS_SAFETENSORS_H
#define HINDCAST_NETWORKS_SAFETENSORS_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/status.h"

#define SAFETENSORS_DIMS_MAX    8
#define SAFETENSORS_TENSORS_MAX 4096 /* and as many metadata strings */
#define SAFETENSORS_HEADER_MAX  (8u << 20)
#define SAFETENSORS_NAME_MAX    255 /* bytes, without the 0 */

enum safetensors_type {
    SAFETENSORS_F64,
    SAFETENSORS_I64,
    SAFETENSORS_F32,
    SAFETENSORS_I32,
    SAFETENSORS_U8
};
size_t safetensors_type_size(enum safetensors_type type); /* bytes */
const char *safetensors_type_name(enum safetensors_type type);

struct safetensors_tensor {
    const char *name;
    enum safetensors_type type;
    int n_dims; /* 0: a scalar */
    size_t shape[SAFETENSORS_DIMS_MAX];
    size_t count;     /* elements: the product of the shape */
    const void *data; /* may be unaligned: memcpy from it */
};

/* ---- Reading ---- */

struct safetensors;

/* Parses `size` bytes, borrowed: they must outlive the result. CORRUPT says what is wrong and
 * where. */
status safetensors_parse(struct safetensors **file, const void *bytes, size_t size,
                         struct err *err) MUST_CHECK;
/* Reads a file of at most `max_bytes`. */
status safetensors_read(struct safetensors **file, const char *path, size_t max_bytes,
                        struct err *err) MUST_CHECK;
void safetensors_free(struct safetensors *file);

size_t safetensors_count(const struct safetensors *file);
const struct safetensors_tensor *safetensors_at(const struct safetensors *file,
                                                size_t i); /* in order of name */
const struct safetensors_tensor *safetensors_find(const struct safetensors *file,
                                                  const char *name); /* or NULL */
/* The metadata string, or NULL. */
const char *safetensors_metadata(const struct safetensors *file, const char *key);
size_t safetensors_metadata_count(const struct safetensors *file);
void safetensors_metadata_at(const struct safetensors *file, size_t i, const char **key,
                             const char **text);

/* Copies a tensor of exactly this type and shape to `out`. NOT_FOUND, MISMATCH (says what is
 * there). */
status safetensors_copy(const struct safetensors *file, const char *name,
                        enum safetensors_type type, int n_dims, const size_t *shape, void *out,
                        struct err *err) MUST_CHECK;

/* ---- Writing ---- */

struct safetensors_writer;

status safetensors_writer_new(struct safetensors_writer **writer) MUST_CHECK;
void safetensors_writer_free(struct safetensors_writer *writer);
/* `name` is copied, `data` borrowed until the file is made. EXISTS for a name twice, INVALID for a
 * bad one, NO_MEMORY. */
status safetensors_add(struct safetensors_writer *writer, const char *name,
                       enum safetensors_type type, int n_dims, const size_t *shape,
                       const void *data, struct err *err) MUST_CHECK;
/* Both texts (UTF-8) are copied. EXISTS for a key twice. */
status safetensors_note(struct safetensors_writer *writer, const char *key, const char *text,
                        struct err *err) MUST_CHECK;
/* The whole file in memory; *bytes is the caller's (mem_free). */
status safetensors_encode(struct safetensors_writer *writer, void **bytes, size_t *size,
                          struct err *err) MUST_CHECK;
/* The whole file on disk: aside, synced, renamed. */
status safetensors_replace(struct safetensors_writer *writer, const char *path,
                           struct err *err) MUST_CHECK;

#endif
