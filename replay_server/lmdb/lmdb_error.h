/* LMDB's error codes as ours. */
#ifndef HINDCAST_REPLAY_SERVER_LMDB_LMDB_ERROR_H
#define HINDCAST_REPLAY_SERVER_LMDB_LMDB_ERROR_H

#include "common/base/status.h"

/* OK for 0; otherwise the text is "store FOLDER: WHAT: LMDB's text". FULL also where LMDB says EIO
 * and the folder's disk has no room: a short write means that. */
status lmdb_error(int rc, const char *folder, struct err *err, const char *what);

#endif
