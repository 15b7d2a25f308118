/* Starts the disk early. A commit first copies its pages into the kernel and then waits for the
 * disk; by itself the kernel begins to write only when it is waited for. Between writeback_begin
 * and writeback_end a thread asks it to begin, every millisecond, with whatever has been copied so
 * far, so that copying and writing overlap.
 *
 * This is a hint and nothing more: what is durable, and when, is the commit's own sync. */
#ifndef HINDCAST_REPLAY_SERVER_STORE_WRITEBACK_H
#define HINDCAST_REPLAY_SERVER_STORE_WRITEBACK_H

#include "common/base/status.h"

struct writeback;

/* Of the file behind `fd`, which stays the caller's and must stay open. */
status writeback_open(struct writeback **writeback, int fd, struct err *err) MUST_CHECK;
void writeback_close(struct writeback *writeback);

/* In pairs, by one thread at a time. */
void writeback_begin(struct writeback *writeback);
void writeback_end(struct writeback *writeback);

#endif
