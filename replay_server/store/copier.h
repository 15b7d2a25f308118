/* A thread that makes one copy of the store (store_copy.h) and says when it is done. */
#ifndef HINDCAST_REPLAY_SERVER_STORE_COPIER_H
#define HINDCAST_REPLAY_SERVER_STORE_COPIER_H

#include "replay_server/store/store_copy.h"

struct copier;

struct copier_result {
    status result;
    struct err err;
    uint64_t bytes;
    double seconds;
};

/* Starts the copy to the folder `to`. `done` is called once, on the copier's thread, which then ends.
 */
status copier_open(struct copier **copier, struct store *store, const char *to,
                   void (*done)(void *arg, const struct copier_result *result), void *arg,
                   struct err *err) MUST_CHECK;
/* Gives the copy up if it is not done yet, and waits for the thread. */
void copier_close(struct copier *copier);

#endif
