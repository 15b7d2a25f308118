/* LMDB's file format, version 1, and why this folder exists.
 *
 * LMDB is a B+tree in a memory map: reads are pointers into the file, a commit writes changed pages
 * to new places and then a header page that names the new root. That is what makes the store fast
 * and kill -9 harmless. Three things it does not do, and the store needs, are done here; they are
 * the only code that knows the format:
 *
 *   lmdb_check     LMDB trusts its file. Whatever a disk, a copy or a cut leaves of it, the process
 *                  must end with a sentence and not with SIGSEGV: the trees are checked before LMDB
 *                  opens them.
 *   lmdb_snapshot  With MDB_NOSYNC a power cut may leave any mixture of old and new pages. LMDB
 *                  overwrites the older of its two header pages with every commit, and reuses freed
 *                  pages from the second commit on, so nothing that was synced stays whole. Here
 *                  the last synced header is kept beside the file, its pages are kept from reuse by
 *                  a read transaction, and the next start after a power cut puts the header back.
 *                  A new data file is also made here, whole and durable, for LMDB would make it in
 *                  place.
 *   lmdb_error     One translation of LMDB's codes.
 *
 * What these modules share with the store is an MDB_env and the path of its folder.
 *
 * The format (64-bit, little-endian), as far as it is needed:
 *
 *     page      0   8  its number
 *              10   2  kind: 1 branch, 2 leaf, 4 overflow, 8 header
 *              12   2  lower: end of the table of offsets      | overflow: 12  4  pages it spans
 *              14   2  upper: start of the nodes               |
 *              16      offsets of the nodes, u16, in order of key; overflow: the value
 *
 *     node      0   4  leaf: size of the value; branch: page number, with the next 2
 *               4   2  leaf: 1 the value is a page number (overflow), 2 it is a database
 *               6   2  size of the key
 *               8      key, value
 *
 *     database  0   4  (of the free list: page size)
 *               4   2  flags
 *               6   2  depth
 *               8   8  branch pages
 *              16   8  leaf pages
 *              24   8  overflow pages
 *              32   8  entries
 *              40   8  root page, or all ones
 *
 *     header page (0 and 1)
 *              16   4  0xBEEFC0DE
 *              20   4  version
 *              40  48  database: free list
 *              88  48  database: names
 *             136   8  last page
 *             144   8  number of the transaction */
#ifndef HINDCAST_REPLAY_SERVER_LMDB_LMDB_FORMAT_H
#define HINDCAST_REPLAY_SERVER_LMDB_LMDB_FORMAT_H

#include "common/base/bytes.h"

#define LMDB_PAGE_HEADER   16u
#define LMDB_NODE_HEADER   8u
#define LMDB_DATABASE_SIZE 48u
#define LMDB_HEADER_SIZE   152u
#define LMDB_KEY_MAX       511u
#define LMDB_PAGE_MAX      65536u
#define LMDB_DEPTH_MAX     32u
#define LMDB_MAGIC         0xBEEFC0DEu
#define LMDB_VERSION       1u
#define LMDB_INTEGER_KEYS  8u /* flag of a database */
#define LMDB_NO_PAGE       UINT64_MAX

enum lmdb_page_kind { LMDB_BRANCH = 1, LMDB_LEAF = 2, LMDB_OVERFLOW = 4, LMDB_HEADER = 8 };
enum lmdb_node_flags { LMDB_NODE_BIG = 1, LMDB_NODE_DATABASE = 2 };

struct lmdb_database {
    uint16_t flags, depth;
    uint64_t branches, leaves, overflows, entries, root;
};

struct lmdb_header {
    uint32_t page_size;
    struct lmdb_database free_list, names;
    uint64_t last_page, transaction;
};

static inline struct lmdb_database lmdb_get_database(const uint8_t *at)
{
    return (struct lmdb_database){.flags = bytes_get16(at + 4),
                                  .depth = bytes_get16(at + 6),
                                  .branches = bytes_get64(at + 8),
                                  .leaves = bytes_get64(at + 16),
                                  .overflows = bytes_get64(at + 24),
                                  .entries = bytes_get64(at + 32),
                                  .root = bytes_get64(at + 40)};
}

#endif
