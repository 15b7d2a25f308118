/* Reads FlatBuffers, the encoding of Arrow's metadata, with every access checked.
 *
 * A table begins with the distance to its vtable, which has the place of each field in the table, or
 * 0 if the field is absent. Texts, vectors and other tables are referred to by their distance. All
 * numbers are little-endian. Source: FlatBuffers internals,
 * https://flatbuffers.dev/internals/
 *
 * A damaged buffer gives absent fields and empty vectors, and never a read beyond its end. */
#ifndef HINDCAST_LOGS_FLATBUFFER_H
#define HINDCAST_LOGS_FLATBUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct flatbuffer {
    const unsigned char *bytes;
    size_t size;
};

/* The place of a table in its buffer; 0: absent. Offset 0 is never a table. */
typedef size_t flatbuffer_table;

/* The n elements of a vector begin at `at`. */
struct flatbuffer_vector {
    size_t at;
    uint32_t n;
};

flatbuffer_table flatbuffer_root(const struct flatbuffer *buffer);
/* Returns an integer field of `size` bytes (1, 2, 4, 8), sign-extended, or `otherwise` if it is
 * absent. */
int64_t flatbuffer_integer(const struct flatbuffer *buffer, flatbuffer_table table, unsigned field,
                           size_t size, int64_t otherwise);
flatbuffer_table flatbuffer_child(const struct flatbuffer *buffer, flatbuffer_table table,
                                  unsigned field);
/* Returns a vector of elements of `size` bytes, which lies within the buffer. */
struct flatbuffer_vector flatbuffer_vector(const struct flatbuffer *buffer, flatbuffer_table table,
                                           unsigned field, size_t size);
/* Returns table i of a vector of tables. */
flatbuffer_table flatbuffer_element(const struct flatbuffer *buffer,
                                    struct flatbuffer_vector vector, uint32_t i);
/* Returns a number of `size` bytes at `at`, sign-extended, or 0 beyond the end. */
int64_t flatbuffer_number(const struct flatbuffer *buffer, size_t at, size_t size);

#endif
