/* The replay servers of a simulation. Each is started, ended in order, or killed and started again
 * from what its store had at that moment; each incarnation is a process of its own on the network.
 */
#ifndef HINDCAST_SIM_SERVER_H
#define HINDCAST_SIM_SERVER_H

#include "replay_server/service/service_private.h"
#include "tests/sim/plan.h"

void servers_open(const struct plan *plan); /* starts all; from a fiber */
/* kill -9 now; started again after `away_ns`. */
void servers_kill(uint32_t server, uint64_t away_ns);
/* SIGTERM now; started again after `away_ns`. */
void servers_restart(uint32_t server, uint64_t away_ns);
/* Ends all in order and waits for it; servers_free when their stores have been looked at. */
void servers_close(void);
void servers_free(void);

/* The service while it runs and has not been killed; else NULL. */
struct service *servers_service(uint32_t server);
/* The number of the server's incarnation: 1, 2, .. */
uint32_t servers_incarnation(uint32_t server);
/* The folder of its store. */
void servers_path(uint32_t server, char *path, size_t size);

/* Has any been killed, or had a full disk: may counts of draws have been lost? */
bool servers_lost_draws(void);

/* From now on LMDB reports a full map, or no longer does. */
void servers_fill(bool full);
/* Has the disk been full at any time, and has the server started again since? */
bool servers_marked_by_full_disk(uint32_t server);

#endif
