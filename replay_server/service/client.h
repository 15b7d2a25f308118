/* The clients of a replay server, as quotas see them: who inserts, and how fast. A client is who
 * rpc_call_client says it is. Call thread only.
 *
 * What a client holds in a table is the table's to count (table_clients.h), by the client's number:
 * a digest of its name, which the store keeps with every episode. Should two names ever have the
 * same number they share their quotas. */
#ifndef HINDCAST_REPLAY_SERVER_SERVICE_CLIENT_H
#define HINDCAST_REPLAY_SERVER_SERVICE_CLIENT_H

#include "common/rpc/server.h"

struct client {
    struct client *next;
    uint32_t number; /* never 0 */
    uint32_t n_streams;
    double debt_bytes;  /* inserted beyond what the rate has allowed so far */
    uint64_t repaid_ns; /* when the debt was what it says */
    char name[RPC_CALLER_NAME_SIZE];
};

/* The client of this name, found or made, with one insert stream more. NULL: out of memory. */
struct client *client_enter(struct client **clients, const char *name);
/* The stream is over. NULL is fine. Who comes back soon is still known. */
void client_leave(struct client *client);
/* Forgets some of those without streams or debt, where there are many. */
void clients_trim(struct client **clients, double bytes_per_s, uint64_t now_ns);
void clients_free(struct client *clients);

/* May the client insert now, at `bytes_per_s` (0: no limit)? As long as its debt is no more than one
 * second's. */
bool client_may_insert(struct client *client, double bytes_per_s, uint64_t now_ns);
/* It has inserted so many. */
void client_count_insert(struct client *client, uint64_t bytes);
/* The name that goes with a number; NULL: nobody of that number has inserted lately. */
const char *client_name(const struct client *clients, uint32_t number);

#endif
