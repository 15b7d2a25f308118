/* What each client has in a table: who inserted how many of its episodes. A client is a number that
 * the caller makes of a name; 0 stands for all whose name is not known, and is counted like any
 * other. Memory only; one thread at a time. */
#ifndef HINDCAST_REPLAY_SERVER_TABLE_TABLE_CLIENTS_H
#define HINDCAST_REPLAY_SERVER_TABLE_TABLE_CLIENTS_H

#include "replay_server/table/slot_map.h"

struct table_client {
    uint32_t client;
    uint32_t episodes; /* > 0 */
    uint64_t bytes;
};

/* All zero: nobody has anything. */
struct table_clients {
    struct table_client *at; /* (capacity), n of them in use, in any order */
    uint32_t n, capacity;
    struct slot_map by_client; /* client -> place in `at` */
};

void table_clients_fini(struct table_clients *clients);
/* Makes room for one more client. NO_MEMORY changes nothing that can be seen. */
status table_clients_reserve(struct table_clients *clients) MUST_CHECK;
/* An episode of this client came. After a reserve. */
void table_clients_add(struct table_clients *clients, uint32_t client, uint64_t bytes);
/* One that came has gone. */
void table_clients_take(struct table_clients *clients, uint32_t client, uint64_t bytes);
/* NULL: it has none. Borrowed until the next change. */
const struct table_client *table_clients_find(const struct table_clients *clients, uint32_t client);

#endif
