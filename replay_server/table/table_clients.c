/* An array without gaps, and a map onto it. A client that has nothing left gives its place to the
 * last one, so that there are never more entries than episodes. */
#include "replay_server/table/table_clients.h"

#include "common/base/memory.h"

#define CAPACITY_MIN 8u

void table_clients_fini(struct table_clients *clients)
{
    slot_map_fini(&clients->by_client);
    mem_free(clients->at);
}

/* The place of this client in the array; SLOT_NONE: it has none. */
static uint32_t place_of(const struct table_clients *clients, uint32_t client)
{
    size_t cursor = 0;
    /* The key is the hash, so that there is at most one match. */
    return slot_map_next(&clients->by_client, client, &cursor);
}

const struct table_client *table_clients_find(const struct table_clients *clients, uint32_t client)
{
    const uint32_t place = place_of(clients, client);
    return place == SLOT_NONE ? NULL : &clients->at[place];
}

status table_clients_reserve(struct table_clients *clients)
{
    if (slot_map_reserve(&clients->by_client) != STATUS_OK) {
        return STATUS_NO_MEMORY;
    }
    if (clients->n < clients->capacity) {
        return STATUS_OK;
    }
    const uint32_t more = clients->capacity ? 2 * clients->capacity : CAPACITY_MIN;
    struct table_client *at = mem_resize(clients->at, more, sizeof *at);
    if (at == NULL) {
        return STATUS_NO_MEMORY;
    }
    clients->at = at;
    clients->capacity = more;
    return STATUS_OK;
}

void table_clients_add(struct table_clients *clients, uint32_t client, uint64_t bytes)
{
    uint32_t place = place_of(clients, client);
    if (place == SLOT_NONE) {
        ASSERT(clients->n < clients->capacity);
        place = clients->n++;
        clients->at[place] = (struct table_client){.client = client};
        slot_map_put(&clients->by_client, client, place);
    }
    clients->at[place].episodes++;
    clients->at[place].bytes += bytes;
}

void table_clients_take(struct table_clients *clients, uint32_t client, uint64_t bytes)
{
    const uint32_t place = place_of(clients, client);
    ASSERT(place != SLOT_NONE);
    struct table_client *entry = &clients->at[place];
    ASSERT(entry->episodes > 0 && entry->bytes >= bytes);
    entry->bytes -= bytes;
    if (--entry->episodes > 0) {
        return;
    }
    /* The last one moves into its place. */
    slot_map_remove(&clients->by_client, client, place);
    const uint32_t last = --clients->n;
    if (place != last) {
        slot_map_remove(&clients->by_client, clients->at[last].client, last);
        *entry = clients->at[last];
        slot_map_put(&clients->by_client, entry->client, place);
    }
}
