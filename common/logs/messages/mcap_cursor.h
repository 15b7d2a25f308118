/* Bytes of an MCAP record that are taken apart from front to back. */
#ifndef HINDCAST_LOGS_MCAP_CURSOR_H
#define HINDCAST_LOGS_MCAP_CURSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mcap_cursor {
    const uint8_t *at;
    size_t left;
};

/* Returns the next n bytes, or NULL if fewer are left. */
const uint8_t *mcap_cursor_take(struct mcap_cursor *c, uint64_t n);
/* Takes bytes that have their size(4) in front. */
const uint8_t *mcap_cursor_sized(struct mcap_cursor *c, size_t *size);
/* Takes a text as a copy that ends with 0. Returns false if it is not there, holds a 0, or memory
 * fails (*memory is then set). */
bool mcap_cursor_text(struct mcap_cursor *c, char **text, bool *memory);

#endif
