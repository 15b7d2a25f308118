/* Is a data file what LMDB wrote? LMDB itself does not ask: it follows page numbers and offsets as
 * they stand, so one flipped bit in a tree page, or a cut file, would end the process (SIGSEGV,
 * SIGBUS) or send writes into pages in use. This walks everything that LMDB would follow, before it
 * does, with reads that cannot fault:
 *
 *     both header pages; the trees of the free list and of all databases: page kinds, numbers,
 *     offsets, sizes, order of keys, counts; the free list; that every page has one use.
 *
 * Values in pages of their own are not read; their content is their owner's to check. So the cost
 * is that of the trees, about 1/2000 of the rows of long episodes. */
#ifndef HINDCAST_REPLAY_SERVER_LMDB_LMDB_CHECK_H
#define HINDCAST_REPLAY_SERVER_LMDB_LMDB_CHECK_H

#include <stdbool.h>
#include <stddef.h>

#include "common/base/status.h"

/* A database that may be in the file. */
struct lmdb_named {
    const char *name;
    bool integer_keys; /* 8 bytes (MDB_INTEGERKEY) */
};

/* Checks the data file at `path`, which nobody may be writing; it may hold these databases and no
 * others. OK also where it is absent or empty. CORRUPT: the text names page and fault; INVALID: not
 * LMDB's, or of a version or machine that this one cannot read; IO; NO_MEMORY. */
status lmdb_check_file(const char *path, const struct lmdb_named *databases, size_t n,
                       struct err *err) MUST_CHECK;

/* May LMDB remove this value (of an integer key, as mdb_get gave it)? It would free as many pages
 * as the value's first page says. */
bool lmdb_check_value(const void *value, size_t size);

#endif
