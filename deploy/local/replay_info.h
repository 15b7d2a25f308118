/* What `hindcast replay info` prints of a server's answer, for people. */
#ifndef HINDCAST_LOCAL_REPLAY_INFO_H
#define HINDCAST_LOCAL_REPLAY_INFO_H

#include <stdio.h>

#include "proto/replay.pb-c.h"

/* The server, then each of its tables: contents, history, settings, who waits for what, who holds
 * memory, writers. */
void replay_info_print(FILE *out, const char *address, const Hindcast__InfoResponse *info);
/* "  name value", one a line. */
void replay_info_print_settings(FILE *out, Hindcast__Setting *const *settings, size_t n);

#endif
