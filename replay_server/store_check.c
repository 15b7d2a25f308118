/* LMDB's file format, version 1, as far as it must be understood to be trusted (64-bit,
 * little-endian):
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
 *     database  0   4  (of the free list: page size)     header page  16  4  0xBEEFC0DE
 *               4   2  flags                                          20  4  version
 *               6   2  depth                                          40 48  database: free list
 *               8   8  branch pages                                   88 48  database: names
 *              16   8  leaf pages                                    136  8  last page
 *              24   8  overflow pages                                144  8  number of the
 * transaction 32   8  entries 40   8  root page, or all ones */
#include "replay_server/store_check.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/memory.h"

#define PAGE_HEADER   16u
#define NODE_HEADER   8u
#define DATABASE_SIZE 48u
#define HEADER_SIZE   152u
#define KEY_MAX       511u
#define PAGE_MAX      65536u
#define DEPTH_MAX     32u
#define MAGIC         0xBEEFC0DEu
#define VERSION       1u
#define INTEGER_KEYS  8u
#define NO_PAGE       UINT64_MAX
/* Pages taken and given back within one transaction may lie beyond the end of the file: no more
 * than one transaction can touch. */
#define PAGES_BEYOND (1u << 18)

enum kind { BRANCH = 1, LEAF = 2, OVERFLOW = 4, HEADER = 8 };
enum node { NODE_BIG = 1, NODE_DATABASE = 2 };

struct database {
    uint16_t flags, depth;
    uint64_t branches, leaves, overflows, entries, root;
};

struct header {
    uint32_t page_size;
    struct database free_list, names;
    uint64_t last_page, transaction;
};

struct check {
    int fd;
    struct header header;
    uint32_t page_size;
    uint64_t n_pages;         /* of the file */
    uint8_t *used;            /* a bit for each of them */
    uint64_t page;            /* that is looked at, for the error's text */
    bool taken[PAGE_MAX / 2]; /* of the page that is looked at: pairs of bytes that an entry has */
    struct err *err;
};

/* A walk through one database's tree. */
struct walk {
    const char *name;
    const struct database *database;
    uint8_t *pages; /* (depth, page_size) */
    uint64_t branches, leaves, overflows, entries;
    uint8_t key[KEY_MAX]; /* the last one seen */
    size_t key_size;
    bool key_seen, key_may_repeat; /* may: it came from a branch, a leaf's may be the same */
    status (*value)(struct check *check, const uint8_t *key, size_t key_size, uint16_t flags,
                    const uint8_t *value, size_t size);
};

static uint16_t get16(const uint8_t *at)
{
    uint16_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static uint32_t get32(const uint8_t *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static uint64_t get64(const uint8_t *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static status damaged(const struct check *check, const char *what)
{
    return err_set(check->err, STATUS_CORRUPT, "page %" PRIu64 ": %s", check->page, what);
}

static status read_bytes(struct check *check, uint64_t page, void *bytes, size_t size)
{
    check->page = page;
    status s = file_read_at(check->fd, bytes, size, (off_t)(page * check->page_size), check->err);
    return s == STATUS_CLOSED ? damaged(check, "the file ends here") : s;
}

/* Notes that these pages have a use; it must be their only one. */
static status use_pages(struct check *check, uint64_t first, uint64_t n)
{
    if (first < 2 || first > check->header.last_page || n > check->header.last_page - first + 1) {
        check->page = first;
        return damaged(check, "beyond the last page");
    }
    for (uint64_t page = first; page < first + n && page < check->n_pages; page++) {
        uint8_t *byte = &check->used[page / 8];
        const uint8_t bit = (uint8_t)(1u << page % 8);
        if (*byte & bit) {
            check->page = page;
            return damaged(check, "is used twice");
        }
        *byte |= bit;
    }
    return STATUS_OK;
}

static struct database database_of(const uint8_t *at)
{
    return (struct database){.flags = get16(at + 4),
                             .depth = get16(at + 6),
                             .branches = get64(at + 8),
                             .leaves = get64(at + 16),
                             .overflows = get64(at + 24),
                             .entries = get64(at + 32),
                             .root = get64(at + 40)};
}

/* ---- Keys ---- */

static int compare(const struct walk *walk, const uint8_t *key, size_t size)
{
    if (walk->database->flags & INTEGER_KEYS) {
        const uint64_t a = get64(key), b = get64(walk->key);
        return a < b ? -1 : a > b;
    }
    const int c = memcmp(key, walk->key, size < walk->key_size ? size : walk->key_size);
    return c != 0 ? c : size < walk->key_size ? -1 : size > walk->key_size;
}

/* Keys rise through the whole tree; one in a branch is at most the first one below it. */
static status take_key(struct check *check, struct walk *walk, const uint8_t *key, size_t size,
                       bool of_branch)
{
    if (size == 0 || size > KEY_MAX || ((walk->database->flags & INTEGER_KEYS) && size != 8)) {
        return damaged(check, "a key of a wrong size");
    }
    if (walk->key_seen) {
        const int c = compare(walk, key, size);
        if (c < 0 || (c == 0 && (of_branch || !walk->key_may_repeat))) {
            return damaged(check, "keys out of order");
        }
    }
    memcpy(walk->key, key, size);
    walk->key_size = size;
    walk->key_seen = true;
    walk->key_may_repeat = of_branch;
    return STATUS_OK;
}

/* ---- Trees ---- */

static status check_page(struct check *check, const uint8_t *page, bool leaf, size_t *n)
{
    const size_t lower = get16(page + 12), upper = get16(page + 14);
    if (get64(page) != check->page || get16(page + 10) != (leaf ? LEAF : BRANCH)) {
        return damaged(check, leaf ? "is not the leaf that should be here"
                                   : "is not the branch that should be here");
    }
    if (lower < PAGE_HEADER || lower % 2 != 0 || lower > upper || upper > check->page_size) {
        return damaged(check, "bad bounds");
    }
    *n = (lower - PAGE_HEADER) / 2;
    return *n < (leaf ? 1u : 2u) ? damaged(check, "too few entries") : STATUS_OK;
}

static const uint8_t *node_of(const uint8_t *page, size_t i)
{
    return page + get16(page + PAGE_HEADER + 2 * i);
}

/* The nodes lie in the upper part of the page, without gap or overlap: LMDB relies on it when it
 * moves them. */
static status check_nodes(struct check *check, const uint8_t *page, bool leaf, size_t n)
{
    const size_t upper = get16(page + 14);
    size_t total = 0;
    memset(check->taken, 0, sizeof check->taken);
    for (size_t i = 0; i < n; i++) {
        const uint8_t *node = node_of(page, i);
        const size_t at = (size_t)(node - page);
        if (at < upper || at % 2 != 0 || at + NODE_HEADER > check->page_size) {
            return damaged(check, "an entry outside of its page");
        }
        size_t size = NODE_HEADER + get16(node + 6);
        if (leaf) {
            size += get16(node + 4) & NODE_BIG ? sizeof(uint64_t) : get32(node);
        }
        size = (size + 1) / 2 * 2;
        if (size > check->page_size - at) {
            return damaged(check, "an entry outside of its page");
        }
        for (size_t pair = at / 2; pair < (at + size) / 2; pair++) {
            if (check->taken[pair]) {
                return damaged(check, "entries overlap");
            }
            check->taken[pair] = true;
        }
        total += size;
    }
    return total == check->page_size - upper ? STATUS_OK : damaged(check, "a gap between entries");
}

static status walk_leaf(struct check *check, struct walk *walk, const uint8_t *page, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const uint8_t *node = node_of(page, i);
        const size_t size = get32(node), key_size = get16(node + 6);
        const uint16_t flags = get16(node + 4);
        const uint8_t *value = node + NODE_HEADER + key_size;
        status s = take_key(check, walk, node + NODE_HEADER, key_size, false);
        if (s != STATUS_OK) {
            return s;
        }
        if (flags != 0 && flags != NODE_BIG && flags != NODE_DATABASE) {
            return damaged(check, "an entry of no known kind");
        }
        const uint64_t leaf_page = check->page;
        if (flags == NODE_BIG) {
            const uint64_t first = get64(value);
            const uint64_t pages = (PAGE_HEADER + size + check->page_size - 1) / check->page_size;
            if ((s = use_pages(check, first, pages)) != STATUS_OK) {
                return s;
            }
            if (first + pages > check->n_pages) {
                check->page = first;
                return damaged(check, "the file ends here");
            }
            walk->overflows += pages;
        }
        s = walk->value(check, node + NODE_HEADER, key_size, flags, value, size);
        if (s != STATUS_OK) {
            return s;
        }
        check->page = leaf_page;
    }
    walk->entries += n;
    walk->leaves++;
    return STATUS_OK;
}

/* The page `number` at `level` (0: the root) and all below it. */
static status walk_page(struct check *check, struct walk *walk, uint64_t number, unsigned level)
{
    uint8_t *page = walk->pages + (size_t)level * check->page_size;
    const bool leaf = level + 1 == walk->database->depth;
    size_t n = 0;
    status s = use_pages(check, number, 1);
    if (s != STATUS_OK || (s = read_bytes(check, number, page, check->page_size)) != STATUS_OK ||
        (s = check_page(check, page, leaf, &n)) != STATUS_OK ||
        (s = check_nodes(check, page, leaf, n)) != STATUS_OK) {
        return s;
    }
    if (leaf) {
        return walk_leaf(check, walk, page, n);
    }
    walk->branches++;
    for (size_t i = 0; i < n; i++) {
        const uint8_t *node = node_of(page, i);
        check->page = number;
        if (i > 0) { /* the first has no key */
            s = take_key(check, walk, node + NODE_HEADER, get16(node + 6), true);
        }
        if (s == STATUS_OK) {
            const uint64_t child = get32(node) | (uint64_t)get16(node + 4) << 32;
            s = walk_page(check, walk, child, level + 1);
        }
        if (s != STATUS_OK) {
            return s;
        }
    }
    return STATUS_OK;
}

static status walk_database(struct check *check, struct walk *walk)
{
    const struct database *database = walk->database;
    status s = STATUS_OK;
    if ((database->root == NO_PAGE) != (database->depth == 0) || database->depth > DEPTH_MAX) {
        s = damaged(check, "an impossible depth");
    } else if (database->depth > 0) {
        walk->pages = mem_array(database->depth, check->page_size);
        s = walk->pages == NULL ? err_set(check->err, STATUS_NO_MEMORY, "out of memory")
                                : walk_page(check, walk, database->root, 0);
        mem_free(walk->pages);
    }
    if (s == STATUS_OK &&
        (walk->branches != database->branches || walk->leaves != database->leaves ||
         walk->overflows != database->overflows || walk->entries != database->entries)) {
        s = damaged(check, "counts are not those of the tree");
    }
    return s == STATUS_OK ? s : err_context(check->err, s, "%s", walk->name);
}

/* ---- What the trees hold ---- */

static status take_row(struct check *check, const uint8_t *key, size_t key_size, uint16_t flags,
                       const uint8_t *value, size_t size)
{
    (void)key;
    (void)key_size;
    (void)value;
    (void)size;
    return flags & NODE_DATABASE ? damaged(check, "a database within a database") : STATUS_OK;
}

/* A database of the store, by its name. */
static status take_name(struct check *check, const uint8_t *key, size_t key_size, uint16_t flags,
                        const uint8_t *value, size_t size)
{
    static const struct {
        const char *name;
        uint16_t flags;
    } known[] = {{"meta", 0}, {"writers", 0}, {"episodes", INTEGER_KEYS}, {"chunks", INTEGER_KEYS}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (key_size != strlen(known[i].name) || memcmp(key, known[i].name, key_size) != 0) {
            continue;
        }
        if (flags != NODE_DATABASE || size != DATABASE_SIZE || get16(value + 4) != known[i].flags) {
            return damaged(check, "bad record of a database");
        }
        const struct database database = database_of(value);
        struct walk walk = {.name = known[i].name, .database = &database, .value = take_row};
        return walk_database(check, &walk);
    }
    return damaged(check, "a database that is none of the store's");
}

/* Pages that one transaction freed: their number, then they, falling. */
static status take_free(struct check *check, const uint8_t *key, size_t key_size, uint16_t flags,
                        const uint8_t *value, size_t size)
{
    (void)key;
    (void)key_size;
    uint8_t *list = mem_new(size);
    if (list == NULL) {
        return err_set(check->err, STATUS_NO_MEMORY, "out of memory");
    }
    status s = STATUS_OK;
    if (flags == NODE_BIG) {
        const uint64_t first = get64(value);
        uint8_t header[PAGE_HEADER];
        s = read_bytes(check, first, header, sizeof header);
        if (s == STATUS_OK && (get64(header) != first || get16(header + 10) != OVERFLOW)) {
            s = damaged(check, "is not the free list's page that should be here");
        }
        if (s == STATUS_OK) {
            s = file_read_at(check->fd, list, size, (off_t)(first * check->page_size + PAGE_HEADER),
                             check->err);
        }
    } else {
        memcpy(list, value, size);
    }
    if (s == STATUS_OK &&
        (flags & NODE_DATABASE || size < 8 || size % 8 != 0 || get64(list) != size / 8 - 1)) {
        s = damaged(check, "a free list of a wrong size");
    }
    for (size_t i = 1; s == STATUS_OK && i < size / 8; i++) {
        const uint64_t page = get64(list + 8 * i);
        if (i > 1 && page >= get64(list + 8 * (i - 1))) {
            s = damaged(check, "a free list out of order");
        } else {
            s = use_pages(check, page, 1);
        }
    }
    mem_free(list);
    return s;
}

/* ---- Header pages ---- */

static status read_header(struct check *check, unsigned i, struct header *header)
{
    uint8_t bytes[HEADER_SIZE];
    status s = read_bytes(check, i, bytes, sizeof bytes);
    if (s != STATUS_OK) {
        return s;
    }
    if (get32(bytes + 16) != MAGIC || get32(bytes + 20) != VERSION) {
        return err_set(check->err, i == 0 ? STATUS_INVALID : STATUS_CORRUPT,
                       "page %u: no header of LMDB's format %u", i, VERSION);
    }
    *header = (struct header){.page_size = get32(bytes + 40),
                              .free_list = database_of(bytes + 40),
                              .names = database_of(bytes + 88),
                              .last_page = get64(bytes + 136),
                              .transaction = get64(bytes + 144)};
    if (get64(bytes) != i || get16(bytes + 10) != HEADER) {
        return damaged(check, "is not the header that should be here");
    }
    /* The free list's flags are those of the environment too, none of which we use. */
    if (header->free_list.flags != INTEGER_KEYS || header->names.flags != 0 ||
        header->last_page < 1 || (header->transaction != 0 && header->transaction % 2 != i)) {
        return damaged(check, "bad header");
    }
    return STATUS_OK;
}

/* The header of the last transaction is the one that counts; the other is of the one before. */
static status read_headers(struct check *check)
{
    struct header both[2] = {0};
    check->page_size = (uint32_t)sysconf(_SC_PAGESIZE);
    ASSERT(check->page_size <= PAGE_MAX);
    for (unsigned i = 0; i < 2; i++) {
        status s = read_header(check, i, &both[i]);
        if (s != STATUS_OK) {
            return s;
        }
        if (both[i].page_size != check->page_size) {
            return err_set(check->err, STATUS_INVALID,
                           "page %u: pages of %u bytes, this machine's have %u", i,
                           both[i].page_size, check->page_size);
        }
    }
    const unsigned newer = both[1].transaction > both[0].transaction;
    if (both[newer].transaction - both[!newer].transaction > 1) {
        return damaged(check, "headers of transactions that do not follow each other");
    }
    check->header = both[newer];
    return STATUS_OK;
}

static status check_all(struct check *check, uint64_t size)
{
    status s = read_headers(check);
    if (s != STATUS_OK) {
        return s;
    }
    check->n_pages = size / check->page_size;
    if (check->header.last_page >= 2 * check->n_pages + PAGES_BEYOND) {
        return damaged(check, "bad number of pages");
    }
    check->used = mem_new(check->n_pages / 8 + 1);
    if (check->used == NULL) {
        return err_set(check->err, STATUS_NO_MEMORY, "out of memory");
    }
    struct walk free_list = {
        .name = "free list", .database = &check->header.free_list, .value = take_free};
    struct walk names = {.name = "names", .database = &check->header.names, .value = take_name};
    s = walk_database(check, &names);
    if (s == STATUS_OK) {
        s = walk_database(check, &free_list);
    }
    mem_free(check->used);
    return s;
}

status store_check_file(const char *path, struct err *err)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return errno == ENOENT ? STATUS_OK : err_errno(err, errno, "open %s", path);
    }
    struct check *check = mem_new(sizeof *check);
    if (check == NULL) {
        close(fd);
        return err_set(err, STATUS_NO_MEMORY, "%s", path);
    }
    check->fd = fd;
    check->err = err;
    struct stat info;
    status s = fstat(fd, &info) != 0 ? err_errno(err, errno, "stat") : STATUS_OK;
    if (s == STATUS_OK && info.st_size > 0) {
        s = check_all(check, (uint64_t)info.st_size);
    }
    mem_free(check);
    close(fd);
    return s == STATUS_OK ? s : err_context(err, s, "%s", path);
}

bool store_check_value(const void *value, size_t size)
{
    const size_t page_size = (size_t)sysconf(_SC_PAGESIZE);
    const size_t node_max =
        (page_size - PAGE_HEADER) / 2 - 2; /* what is larger has its own pages */
    if (NODE_HEADER + sizeof(uint64_t) + size <= node_max) {
        return true;
    }
    const uint8_t *page = (const uint8_t *)value - PAGE_HEADER;
    return get16(page + 10) == OVERFLOW &&
           get32(page + 12) == (PAGE_HEADER + size + page_size - 1) / page_size;
}
