/* A ring of finished episodes, indexed by sequence modulo the window: within a window no two
 * sequences share a slot.
 *
 * Two counters describe it: next_start, the sequence that is handed out next, and next_out, the one
 * that leaves next. Sequences between them are being acted or wait in their slots. Invariant:
 * next_out <= next_start <= next_out + window.
 *
 * There is no lock here; the worker pool calls all of this with its mutex held. */
#include "collector/reorder_buffer.h"

#include <string.h>

void reorder_buffer_init(struct reorder_buffer *buffer, uint32_t window, uint32_t block,
                         uint64_t done, uint64_t last)
{
    ASSERT(block >= 1 && block <= window && window <= REORDER_WINDOW_MAX);
    ASSERT(done < UINT64_MAX);
    memset(buffer, 0, sizeof *buffer);
    buffer->window = window;
    buffer->block = block;
    buffer->last = last;
    buffer->next_start = done + 1;
    buffer->next_out = done + 1;
}

status reorder_buffer_start(struct reorder_buffer *buffer, uint64_t *first, uint64_t *n)
{
    ASSERT(buffer->next_out <= buffer->next_start);
    /* All sequences have been handed out, though not all of them are finished yet. */
    if (buffer->last != 0 && buffer->next_start > buffer->last) {
        return STATUS_CLOSED;
    }
    /* A restart may continue in the middle of a block, and the last one may be cut off. */
    uint64_t count = buffer->block - (buffer->next_start - 1) % buffer->block;
    if (buffer->last != 0 && count > buffer->last - buffer->next_start + 1) {
        count = buffer->last - buffer->next_start + 1;
    }
    /* A slow episode at the front holds the others back: the ring has no more slots. */
    if (buffer->next_start + count > buffer->next_out + buffer->window) {
        return STATUS_QUEUE_FULL;
    }
    *first = buffer->next_start;
    *n = count;
    buffer->next_start += count;
    return STATUS_OK;
}

bool reorder_buffer_may_act(const struct reorder_buffer *buffer, uint64_t sequence)
{
    ASSERT(sequence >= buffer->next_out && sequence < buffer->next_start);
    /* What all but one may have finished of their blocks, and one more. If the oldest had to wait as
     * well, nothing would ever be passed on. */
    return sequence == buffer->next_out || buffer->n_items <= buffer->window - buffer->block;
}

void reorder_buffer_finish(struct reorder_buffer *buffer, uint64_t sequence, void *item)
{
    ASSERT(item != NULL);
    /* Only a sequence that was handed out, and each one once. */
    ASSERT(sequence >= buffer->next_out && sequence < buffer->next_start);
    void **slot = &buffer->items[sequence % buffer->window];
    ASSERT(*slot == NULL);
    *slot = item;
    buffer->n_items++;
}

void *reorder_buffer_next(struct reorder_buffer *buffer)
{
    /* Empty while the next episode in order is being acted. */
    void **slot = &buffer->items[buffer->next_out % buffer->window];
    void *item = *slot;
    /* Passing one on moves the window, so one more sequence can be handed out. */
    if (item != NULL) {
        ASSERT(buffer->next_out < buffer->next_start);
        *slot = NULL;
        buffer->n_items--;
        buffer->next_out++;
    }
    return item;
}

bool reorder_buffer_done(const struct reorder_buffer *buffer)
{
    return buffer->last != 0 && buffer->next_out > buffer->last;
}

void *reorder_buffer_drain(struct reorder_buffer *buffer)
{
    /* Any order will do: nobody reads these episodes. */
    for (uint32_t i = 0; i < buffer->window; i++) {
        void *item = buffer->items[i];
        if (item != NULL) {
            buffer->items[i] = NULL;
            buffer->n_items--;
            return item;
        }
    }
    return NULL;
}
