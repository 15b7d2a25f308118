/* Faults of connections and hosts, and the memory of everything on the network. */
#include <stdlib.h>
#include <string.h>

#include "tests/sim/network_private.h"

#define HOSTS_MAX 1024

struct block {
    struct block *next;
    max_align_t memory[];
};

struct network_counts network_counts;
static struct block *blocks;
static bool dead[HOSTS_MAX];
static uint64_t delay_ns_max = NS_PER_MS;
size_t network_window_bytes = 1 << 16;

void *network_memory(size_t size)
{
    struct block *block = calloc(1, sizeof *block + size);
    ASSERT(block != NULL);
    block->next = blocks;
    blocks = block;
    return block->memory;
}

char *network_text(const char *text)
{
    char *copy = network_memory(strlen(text) + 1);
    return strcpy(copy, text);
}

void network_reset(void)
{
    frames_lose_all();
    calls_reset();
    connections_reset();
    servers_reset();
    while (blocks) {
        struct block *next = blocks->next;
        free(blocks);
        blocks = next;
    }
    for (int i = 0; i < HOSTS_MAX; i++) {
        dead[i] = false;
    }
    network_counts = (struct network_counts){0};
}

void network_set(uint64_t delay_max_ns, uint64_t window_bytes)
{
    delay_ns_max = delay_max_ns;
    network_window_bytes = window_bytes;
}

uint64_t network_delay(void)
{
    return chance_skewed(20000, delay_ns_max);
}

void network_count(struct network_counts *counts)
{
    *counts = network_counts;
}

bool host_is_dead(int host)
{
    ASSERT(host >= 0 && host < HOSTS_MAX);
    return dead[host];
}

static struct connection *choose(void)
{
    struct connection *chosen = NULL;
    unsigned n = 0;
    for (struct connection *c = connection_first(); c; c = c->next) {
        if (!c->broken && chance_in(++n)) {
            chosen = c;
        }
    }
    return chosen;
}

void network_cut_one(void)
{
    struct connection *connection = choose();
    if (connection) {
        connection_break(connection);
    }
}

void network_stall_one(uint64_t ns)
{
    struct connection *connection = choose();
    if (connection) {
        network_counts.stalls++;
        trace("connection to %s is held up for %.3f s", connection->channel->address,
              (double)ns * 1e-9);
        connection->stalled_until_ns = agenda_now() + ns;
    }
}

void network_kill_host(int host)
{
    trace("host %d is gone", host);
    dead[host] = true;
    for (struct connection *c = connection_first(); c; c = c->next) {
        if (c->channel->host == host || c->server->host == host) {
            connection_break(c);
        }
    }
}
