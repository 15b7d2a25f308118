/* A ring of finished episodes, indexed by sequence. */
#include "collector/order.h"

#include <string.h>

void order_init(struct order *order, uint32_t window, uint64_t done, uint64_t last)
{
    ASSERT(window >= 1 && window <= ORDER_WINDOW_MAX);
    memset(order, 0, sizeof *order);
    order->window = window;
    order->last = last;
    order->next_start = done + 1;
    order->next_out = done + 1;
}

status order_start(struct order *order, uint64_t *sequence)
{
    if (order->last != 0 && order->next_start > order->last) {
        return STATUS_CLOSED;
    }
    if (order->next_start - order->next_out >= order->window) {
        return STATUS_QUEUE_FULL;
    }
    *sequence = order->next_start++;
    return STATUS_OK;
}

void order_finish(struct order *order, uint64_t sequence, void *item)
{
    ASSERT(item != NULL);
    ASSERT(sequence >= order->next_out && sequence < order->next_start);
    void **slot = &order->items[sequence % order->window];
    ASSERT(*slot == NULL);
    *slot = item;
}

void *order_next(struct order *order)
{
    void **slot = &order->items[order->next_out % order->window];
    void *item = *slot;
    if (item != NULL) {
        *slot = NULL;
        order->next_out++;
    }
    return item;
}

bool order_done(const struct order *order)
{
    return order->last != 0 && order->next_out > order->last;
}

void *order_drain(struct order *order)
{
    for (uint32_t i = 0; i < order->window; i++) {
        void *item = order->items[i];
        if (item != NULL) {
            order->items[i] = NULL;
            return item;
        }
    }
    return NULL;
}
