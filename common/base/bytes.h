/* Numbers in bytes on disk: little-endian, at any alignment. All machines that this is built for
 * are little-endian, so they are copied as they are. */
#ifndef HINDCAST_BASE_BYTES_H
#define HINDCAST_BASE_BYTES_H

#include <stdint.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "files are little-endian");

static inline uint16_t bytes_get16(const uint8_t *at)
{
    uint16_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static inline uint32_t bytes_get32(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static inline uint64_t bytes_get64(const uint8_t *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static inline void bytes_put32(uint8_t *at, uint32_t value)
{
    memcpy(at, &value, sizeof value);
}

static inline void bytes_put64(uint8_t *at, uint64_t value)
{
    memcpy(at, &value, sizeof value);
}

#endif
