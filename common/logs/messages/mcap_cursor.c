#include "common/logs/messages/mcap_cursor.h"

#include <string.h>

#include "common/base/bytes.h"
#include "common/base/memory.h"

const uint8_t *mcap_cursor_take(struct mcap_cursor *c, uint64_t n)
{
    if (n > c->left) {
        return NULL;
    }
    const uint8_t *at = c->at;
    c->at += n;
    c->left -= n;
    return at;
}

const uint8_t *mcap_cursor_sized(struct mcap_cursor *c, size_t *size)
{
    const uint8_t *head = mcap_cursor_take(c, 4);
    if (head == NULL) {
        return NULL;
    }
    *size = bytes_get32(head);
    return mcap_cursor_take(c, *size);
}

bool mcap_cursor_text(struct mcap_cursor *c, char **text, bool *memory)
{
    size_t size = 0;
    const uint8_t *bytes = mcap_cursor_sized(c, &size);
    if (bytes == NULL || memchr(bytes, 0, size) != NULL) {
        return false;
    }
    *text = mem_new(size + 1);
    if (*text == NULL) {
        *memory = true;
        return false;
    }
    memcpy(*text, bytes, size);
    return true;
}
