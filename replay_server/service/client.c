/* A rate is kept as a debt that is paid back at that rate. An episode is taken whole whatever its
 * size, and its client waits until the debt is small again: so a burst is one second's worth and one
 * episode, and over time nobody gets more than the rate. */
#include "replay_server/service/client.h"

#include <string.h>
#include <xxhash.h>

#include "common/base/clock.h"
#include "common/base/memory.h"

#define CLIENTS_KEPT 256u /* those that come back, and whose names Info shows */

/* 0 means in the store that the client is not known. */
static uint32_t number_of(const char *name)
{
    const uint32_t digest = (uint32_t)XXH3_64bits(name, strlen(name));
    return digest != 0 ? digest : 1;
}

struct client *client_enter(struct client **clients, const char *name)
{
    struct client *client = *clients;
    while (client != NULL && strcmp(client->name, name) != 0) {
        client = client->next;
    }
    if (client == NULL) {
        client = mem_new(sizeof *client);
        if (client == NULL) {
            return NULL;
        }
        ASSERT(strlen(name) < sizeof client->name);
        strcpy(client->name, name);
        client->number = number_of(name);
        client->next = *clients;
        *clients = client;
    }
    client->n_streams++;
    return client;
}

void client_leave(struct client *client)
{
    if (client) {
        ASSERT(client->n_streams > 0);
        client->n_streams--;
    }
}

/* Brings the debt to what it is now. */
static void repay(struct client *client, double bytes_per_s, uint64_t now_ns)
{
    const double paid = (double)(now_ns - client->repaid_ns) * 1e-9 * bytes_per_s;
    client->debt_bytes = client->debt_bytes > paid ? client->debt_bytes - paid : 0;
    client->repaid_ns = now_ns;
}

void clients_trim(struct client **clients, double bytes_per_s, uint64_t now_ns)
{
    size_t n = 0;
    for (struct client **at = clients; *at != NULL;) {
        struct client *client = *at;
        repay(client, bytes_per_s, now_ns);
        if (client->n_streams == 0 && client->debt_bytes == 0 && n >= CLIENTS_KEPT) {
            *at = client->next;
            mem_free(client);
        } else {
            at = &client->next;
            n++;
        }
    }
}

void clients_free(struct client *clients)
{
    while (clients != NULL) {
        struct client *client = clients;
        clients = client->next;
        mem_free(client);
    }
}

bool client_may_insert(struct client *client, double bytes_per_s, uint64_t now_ns)
{
    if (bytes_per_s == 0) {
        return true;
    }
    repay(client, bytes_per_s, now_ns);
    return client->debt_bytes <= bytes_per_s;
}

void client_count_insert(struct client *client, uint64_t bytes)
{
    client->debt_bytes += (double)bytes;
}

const char *client_name(const struct client *clients, uint32_t number)
{
    while (clients != NULL && clients->number != number) {
        clients = clients->next;
    }
    return clients != NULL ? clients->name : NULL;
}
