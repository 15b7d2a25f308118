/* Places in the buffer are offsets from its beginning. Each is checked where it is used, so a wrong
 * one that was followed does no harm. */
#include "common/logs/files/flatbuffer.h"

#include <string.h>

int64_t flatbuffer_number(const struct flatbuffer *buffer, size_t at, size_t size)
{
    if (at > buffer->size || size > buffer->size - at) {
        return 0;
    }
    /* The sign bit is moved to the top and back. */
    uint64_t number = 0;
    memcpy(&number, buffer->bytes + at, size);
    const unsigned shift = 64 - 8 * (unsigned)size;
    return (int64_t)(number << shift) >> shift;
}

/* The place to which the distance at `at` leads, or 0. */
static size_t follow(const struct flatbuffer *buffer, size_t at)
{
    const uint32_t distance = (uint32_t)flatbuffer_number(buffer, at, 4);
    return distance == 0 || distance >= buffer->size - at ? 0 : at + distance;
}

flatbuffer_table flatbuffer_root(const struct flatbuffer *buffer)
{
    return buffer->size < 8 ? 0 : follow(buffer, 0);
}

/* The place of a field, or 0. */
static size_t field_at(const struct flatbuffer *buffer, flatbuffer_table table, unsigned field)
{
    if (table == 0 || table >= buffer->size) {
        return 0;
    }
    const int64_t vtable = (int64_t)table - flatbuffer_number(buffer, table, 4);
    if (vtable < 0 || (uint64_t)vtable + 4 > buffer->size) {
        return 0;
    }
    const uint16_t vtable_size = (uint16_t)flatbuffer_number(buffer, (size_t)vtable, 2);
    const size_t entry = 4 + 2 * (size_t)field;
    if (entry + 2 > vtable_size) {
        return 0;
    }
    const uint16_t offset = (uint16_t)flatbuffer_number(buffer, (size_t)vtable + entry, 2);
    return offset == 0 || offset >= buffer->size - table ? 0 : table + offset;
}

int64_t flatbuffer_integer(const struct flatbuffer *buffer, flatbuffer_table table, unsigned field,
                           size_t size, int64_t otherwise)
{
    const size_t at = field_at(buffer, table, field);
    return at == 0 ? otherwise : flatbuffer_number(buffer, at, size);
}

flatbuffer_table flatbuffer_child(const struct flatbuffer *buffer, flatbuffer_table table,
                                  unsigned field)
{
    const size_t at = field_at(buffer, table, field);
    return at == 0 ? 0 : follow(buffer, at);
}

struct flatbuffer_vector flatbuffer_vector(const struct flatbuffer *buffer, flatbuffer_table table,
                                           unsigned field, size_t size)
{
    const size_t at = flatbuffer_child(buffer, table, field);
    if (at == 0 || buffer->size - at < 4) {
        return (struct flatbuffer_vector){0, 0};
    }
    const uint32_t n = (uint32_t)flatbuffer_number(buffer, at, 4);
    if (n > (buffer->size - at - 4) / size) {
        return (struct flatbuffer_vector){0, 0};
    }
    return (struct flatbuffer_vector){at + 4, n};
}

flatbuffer_table flatbuffer_element(const struct flatbuffer *buffer,
                                    struct flatbuffer_vector vector, uint32_t i)
{
    return i >= vector.n ? 0 : follow(buffer, vector.at + 4 * (size_t)i);
}
