/* Walks LMDB's trees with plain reads, page by page from the roots, and notes the use of each page.
 *
 * Every number that is read from the file is compared with what it may be before it is used: page
 * numbers with the last page, offsets with the page, counts with the tree. `used` has a bit for
 * each page, so that a page with two uses (which LMDB would overwrite under one of them) is found,
 * and a tree with a cycle ends. The bytes are drawn in lmdb_format.h. */
#include "replay_server/lmdb/lmdb_check.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/memory.h"
#include "replay_server/lmdb/lmdb_format.h"

/* Pages taken and given back within one transaction may lie beyond the end of the file: no more
 * than one transaction can touch. */
#define PAGES_BEYOND (1u << 18)

struct check {
    int fd;
    const struct lmdb_named *databases;
    size_t n_databases;
    struct lmdb_header header;
    uint32_t page_size;
    uint64_t n_pages;              /* of the file */
    uint8_t *used;                 /* a bit for each of them: it has a use */
    uint64_t page;                 /* being checked, for the error's text */
    bool taken[LMDB_PAGE_MAX / 2]; /* pairs of bytes of that page that belong to an entry */
    struct err *err;
};

/* A walk through one database's tree. */
struct walk {
    const char *name;
    const struct lmdb_database *database;
    uint8_t *pages; /* (depth, page_size) */
    uint64_t branches, leaves, overflows, entries;
    uint8_t key[LMDB_KEY_MAX]; /* the last one seen */
    size_t key_size;
    bool key_seen, key_may_repeat; /* may: it came from a branch, a leaf's may be the same */
    status (*value)(struct check *check, const uint8_t *key, size_t key_size, uint16_t flags,
                    const uint8_t *value, size_t size);
};

/* The error that names the page and what is wrong with it. */
static status damaged(const struct check *check, const char *what)
{
    return err_set(check->err, STATUS_CORRUPT, "page %" PRIu64 ": %s", check->page, what);
}

/* Reads the beginning of a page. Beyond the end of the file is damage, not an I/O error. */
static status read_bytes(struct check *check, uint64_t page, void *bytes, size_t size)
{
    check->page = page;
    status s = file_read_at(check->fd, bytes, size, (off_t)(page * check->page_size), check->err);
    return s == STATUS_CLOSED ? damaged(check, "the file ends here") : s;
}

/* Notes that these pages have a use; it must be their only one. */
static status use_pages(struct check *check, uint64_t first, uint64_t n)
{
    /* Pages 0 and 1 are the headers; beyond the last page nothing may be. */
    if (first < 2 || first > check->header.last_page || n > check->header.last_page - first + 1) {
        check->page = first;
        return damaged(check, "beyond the last page");
    }
    /* Pages beyond the end of the file have no bit (PAGES_BEYOND). */
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

/* ---- Keys ---- */

/* As LMDB orders keys. */
static int compare(const struct walk *walk, const uint8_t *key, size_t size)
{
    if (walk->database->flags & LMDB_INTEGER_KEYS) {
        const uint64_t a = bytes_get64(key), b = bytes_get64(walk->key);
        return a < b ? -1 : a > b;
    }
    /* Other keys are compared byte by byte; a prefix comes before what it is a prefix of. */
    const int c = memcmp(key, walk->key, size < walk->key_size ? size : walk->key_size);
    return c != 0 ? c : size < walk->key_size ? -1 : size > walk->key_size;
}

/* Keys rise through the whole tree; one in a branch is at most the first one below it. */
static status take_key(struct check *check, struct walk *walk, const uint8_t *key, size_t size,
                       bool of_branch)
{
    /* Sizes that LMDB itself would not write. */
    if (size == 0 || size > LMDB_KEY_MAX ||
        ((walk->database->flags & LMDB_INTEGER_KEYS) && size != 8)) {
        return damaged(check, "a key of a wrong size");
    }
    /* The first key of a leaf may be that of the branch above it. No other key may come twice. */
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

/* The page's header: number, kind, bounds. *n: its entries. */
static status check_page(struct check *check, const uint8_t *page, bool leaf, size_t *n)
{
    const size_t lower = bytes_get16(page + 12), upper = bytes_get16(page + 14);
    /* A page that says another number was written to the wrong place, or the right one never
     * was. */
    if (bytes_get64(page) != check->page ||
        bytes_get16(page + 10) != (leaf ? LMDB_LEAF : LMDB_BRANCH)) {
        return damaged(check, leaf ? "is not the leaf that should be here"
                                   : "is not the branch that should be here");
    }
    /* Offsets grow from below and nodes from above; they must not meet. */
    if (lower < LMDB_PAGE_HEADER || lower % 2 != 0 || lower > upper || upper > check->page_size) {
        return damaged(check, "bad bounds");
    }
    /* A leaf has at least one entry, a branch at least two. */
    *n = (lower - LMDB_PAGE_HEADER) / 2;
    return *n < (leaf ? 1u : 2u) ? damaged(check, "too few entries") : STATUS_OK;
}

/* Entry i; its offset has not been checked before check_nodes. */
static const uint8_t *node_of(const uint8_t *page, size_t i)
{
    return page + bytes_get16(page + LMDB_PAGE_HEADER + 2 * i);
}

/* The nodes lie in the upper part of the page, without gap or overlap: LMDB relies on it when it
 * moves them. */
static status check_nodes(struct check *check, const uint8_t *page, bool leaf, size_t n)
{
    const size_t upper = bytes_get16(page + 14);
    /* Marks the bytes of each entry; what is marked twice overlaps. */
    size_t total = 0;
    memset(check->taken, 0, sizeof check->taken);
    for (size_t i = 0; i < n; i++) {
        const uint8_t *node = node_of(page, i);
        const size_t at = (size_t)(node - page);
        /* Its header lies among the nodes, at an even place. */
        if (at < upper || at % 2 != 0 || at + LMDB_NODE_HEADER > check->page_size) {
            return damaged(check, "an entry outside of its page");
        }
        /* It takes its key, and in a leaf the value or the number of the value's first page. */
        size_t size = LMDB_NODE_HEADER + bytes_get16(node + 6);
        if (leaf) {
            size += bytes_get16(node + 4) & LMDB_NODE_BIG ? sizeof(uint64_t) : bytes_get32(node);
        }
        size = (size + 1) / 2 * 2;
        if (size > check->page_size - at) {
            return damaged(check, "an entry outside of its page");
        }
        /* Nodes begin at even places, so that pairs of bytes are enough. */
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

/* The entries of a leaf: keys in order, known kinds, large values in pages that exist. */
static status walk_leaf(struct check *check, struct walk *walk, const uint8_t *page, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const uint8_t *node = node_of(page, i);
        const size_t size = bytes_get32(node), key_size = bytes_get16(node + 6);
        const uint16_t flags = bytes_get16(node + 4);
        const uint8_t *value = node + LMDB_NODE_HEADER + key_size;
        status s = take_key(check, walk, node + LMDB_NODE_HEADER, key_size, false);
        if (s != STATUS_OK) {
            return s;
        }
        /* The value is in the leaf, in pages of its own, or the record of a database. */
        if (flags != 0 && flags != LMDB_NODE_BIG && flags != LMDB_NODE_DATABASE) {
            return damaged(check, "an entry of no known kind");
        }
        const uint64_t leaf_page = check->page;
        /* A value in pages of its own: they must exist and be its alone. */
        if (flags == LMDB_NODE_BIG) {
            const uint64_t first = bytes_get64(value);
            const uint64_t pages =
                (LMDB_PAGE_HEADER + size + check->page_size - 1) / check->page_size;
            if ((s = use_pages(check, first, pages)) != STATUS_OK) {
                return s;
            }
            if (first + pages > check->n_pages) {
                check->page = first;
                return damaged(check, "the file ends here");
            }
            walk->overflows += pages;
        }
        /* What the value means is for the function of this tree to check. It may walk another tree,
         * which changes check->page. */
        s = walk->value(check, node + LMDB_NODE_HEADER, key_size, flags, value, size);
        if (s != STATUS_OK) {
            return s;
        }
        check->page = leaf_page;
    }
    walk->entries += n;
    walk->leaves++;
    return STATUS_OK;
}

/* A page number of 48 bits, where a leaf has the value's size and the flags. */
static uint64_t child_of(const uint8_t *node)
{
    return bytes_get32(node) | (uint64_t)bytes_get16(node + 4) << 32;
}

/* Asks the disk for all of a branch's children at once: they are read one after the other. Whether
 * their numbers are good is seen then. */
static void ask_for_children(const struct check *check, const uint8_t *page, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const uint64_t child = child_of(node_of(page, i));
        if (child < check->n_pages) {
            (void)posix_fadvise(check->fd, (off_t)(child * check->page_size),
                                (off_t)check->page_size, POSIX_FADV_WILLNEED);
        }
    }
}

/* The page `number` at `level` (0: the root) and all below it. */
static status walk_page(struct check *check, struct walk *walk, uint64_t number, unsigned level)
{
    /* One page for each level is kept: a branch is still read while the levels below it are
     * walked. */
    uint8_t *page = walk->pages + (size_t)level * check->page_size;
    const bool leaf = level + 1 == walk->database->depth;
    size_t n = 0;
    /* The page itself is checked first; only then are its entries followed. */
    status s = use_pages(check, number, 1);
    if (s != STATUS_OK || (s = read_bytes(check, number, page, check->page_size)) != STATUS_OK ||
        (s = check_page(check, page, leaf, &n)) != STATUS_OK ||
        (s = check_nodes(check, page, leaf, n)) != STATUS_OK) {
        return s;
    }
    if (leaf) {
        return walk_leaf(check, walk, page, n);
    }
    /* A branch: the child of each entry, between its key and the next. */
    walk->branches++;
    ask_for_children(check, page, n);
    for (size_t i = 0; i < n; i++) {
        const uint8_t *node = node_of(page, i);
        check->page = number;
        if (i > 0) { /* the first has no key */
            s = take_key(check, walk, node + LMDB_NODE_HEADER, bytes_get16(node + 6), true);
        }
        if (s == STATUS_OK) {
            s = walk_page(check, walk, child_of(node), level + 1);
        }
        if (s != STATUS_OK) {
            return s;
        }
    }
    return STATUS_OK;
}

/* A whole tree, and that its record counts it right. */
static status walk_database(struct check *check, struct walk *walk)
{
    const struct lmdb_database *database = walk->database;
    status s = STATUS_OK;
    /* An empty tree has no root, and only that one. */
    if ((database->root == LMDB_NO_PAGE) != (database->depth == 0) ||
        database->depth > LMDB_DEPTH_MAX) {
        s = damaged(check, "an impossible depth");
    } else if (database->depth > 0) {
        walk->pages = mem_array(database->depth, check->page_size);
        s = walk->pages == NULL ? err_set(check->err, STATUS_NO_MEMORY, "out of memory")
                                : walk_page(check, walk, database->root, 0);
        mem_free(walk->pages);
    }
    /* LMDB keeps these counts with every change: others mean that a part is missing or old. */
    if (s == STATUS_OK &&
        (walk->branches != database->branches || walk->leaves != database->leaves ||
         walk->overflows != database->overflows || walk->entries != database->entries)) {
        s = damaged(check, "counts are not those of the tree");
    }
    return s == STATUS_OK ? s : err_context(check->err, s, "%s", walk->name);
}

/* ---- What the trees hold ---- */

/* An entry of a database: nothing of ours is in its value that LMDB would follow. */
static status take_row(struct check *check, const uint8_t *key, size_t key_size, uint16_t flags,
                       const uint8_t *value, size_t size)
{
    (void)key;
    (void)key_size;
    (void)value;
    (void)size;
    return flags & LMDB_NODE_DATABASE ? damaged(check, "a database within a database") : STATUS_OK;
}

/* The record of a database: walks its tree. */
static status take_name(struct check *check, const uint8_t *key, size_t key_size, uint16_t flags,
                        const uint8_t *value, size_t size)
{
    for (size_t i = 0; i < check->n_databases; i++) {
        const struct lmdb_named *known = &check->databases[i];
        if (key_size != strlen(known->name) || memcmp(key, known->name, key_size) != 0) {
            continue;
        }
        /* The flags say how keys are ordered, and must be those with which the database is
         * opened. */
        const uint16_t known_flags = known->integer_keys ? LMDB_INTEGER_KEYS : 0;
        if (flags != LMDB_NODE_DATABASE || size != LMDB_DATABASE_SIZE ||
            bytes_get16(value + 4) != known_flags) {
            return damaged(check, "bad record of a database");
        }
        const struct lmdb_database database = lmdb_get_database(value);
        struct walk walk = {.name = known->name, .database = &database, .value = take_row};
        return walk_database(check, &walk);
    }
    return damaged(check, "a database of an unknown name");
}

/* Pages that one transaction freed: their number, then they, falling. */
static status take_free(struct check *check, const uint8_t *key, size_t key_size, uint16_t flags,
                        const uint8_t *value, size_t size)
{
    (void)key;
    (void)key_size;
    /* The list may lie in the leaf or in pages of its own. */
    uint8_t *list = mem_new(size);
    if (list == NULL) {
        return err_set(check->err, STATUS_NO_MEMORY, "out of memory");
    }
    status s = STATUS_OK;
    /* It is read from pages of its own, whose header nobody has looked at yet. */
    if (flags == LMDB_NODE_BIG) {
        const uint64_t first = bytes_get64(value);
        uint8_t header[LMDB_PAGE_HEADER];
        s = read_bytes(check, first, header, sizeof header);
        if (s == STATUS_OK &&
            (bytes_get64(header) != first || bytes_get16(header + 10) != LMDB_OVERFLOW)) {
            s = damaged(check, "is not the free list's page that should be here");
        }
        if (s == STATUS_OK) {
            s = file_read_at(check->fd, list, size,
                             (off_t)(first * check->page_size + LMDB_PAGE_HEADER), check->err);
        }
    } else {
        memcpy(list, value, size);
    }
    /* The first number says how many follow. */
    if (s == STATUS_OK && (flags & LMDB_NODE_DATABASE || size < 8 || size % 8 != 0 ||
                           bytes_get64(list) != size / 8 - 1)) {
        s = damaged(check, "a free list of a wrong size");
    }
    /* A free page may have no other use: LMDB would write over it. */
    for (size_t i = 1; s == STATUS_OK && i < size / 8; i++) {
        const uint64_t page = bytes_get64(list + 8 * i);
        if (i > 1 && page >= bytes_get64(list + 8 * (i - 1))) {
            s = damaged(check, "a free list out of order");
        } else {
            s = use_pages(check, page, 1);
        }
    }
    mem_free(list);
    return s;
}

/* ---- Header pages ---- */

/* One of the two header pages. */
static status read_header(struct check *check, unsigned i, struct lmdb_header *header)
{
    uint8_t bytes[LMDB_HEADER_SIZE];
    status s = read_bytes(check, i, bytes, sizeof bytes);
    if (s != STATUS_OK) {
        return s;
    }
    /* On page 0 this is another kind of file; on page 1 it is damage. */
    if (bytes_get32(bytes + 16) != LMDB_MAGIC || bytes_get32(bytes + 20) != LMDB_VERSION) {
        return err_set(check->err, i == 0 ? STATUS_INVALID : STATUS_CORRUPT,
                       "page %u: no header of LMDB's format %u", i, LMDB_VERSION);
    }
    *header = (struct lmdb_header){.page_size = bytes_get32(bytes + 40),
                                   .free_list = lmdb_get_database(bytes + 40),
                                   .names = lmdb_get_database(bytes + 88),
                                   .last_page = bytes_get64(bytes + 136),
                                   .transaction = bytes_get64(bytes + 144)};
    /* A header knows which of the two pages it is on. */
    if (bytes_get64(bytes) != i || bytes_get16(bytes + 10) != LMDB_HEADER) {
        return damaged(check, "is not the header that should be here");
    }
    /* The free list's flags are those of the environment too, none of which we use. */
    if (header->free_list.flags != LMDB_INTEGER_KEYS || header->names.flags != 0 ||
        header->last_page < 1 || (header->transaction != 0 && header->transaction % 2 != i)) {
        return damaged(check, "bad header");
    }
    return STATUS_OK;
}

/* The header of the last transaction is the one that counts; the other is of the one before. */
static status read_headers(struct check *check)
{
    struct lmdb_header both[2] = {0};
    /* LMDB takes the machine's page size when it makes a file, and so the two must agree. */
    check->page_size = (uint32_t)sysconf(_SC_PAGESIZE);
    ASSERT(check->page_size <= LMDB_PAGE_MAX);
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
    /* LMDB opens with the newer one; they must be of consecutive transactions. */
    const unsigned newer = both[1].transaction > both[0].transaction;
    if (both[newer].transaction - both[!newer].transaction > 1) {
        return damaged(check, "headers of transactions that do not follow each other");
    }
    check->header = both[newer];
    return STATUS_OK;
}

/* Headers, the trees of the databases, and the free list last: its pages must have no other use. */
static status check_all(struct check *check, uint64_t size)
{
    status s = read_headers(check);
    if (s != STATUS_OK) {
        return s;
    }
    check->n_pages = size / check->page_size;
    /* All page numbers are compared with the last page, so that it must itself be plausible. */
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

status lmdb_check_file(const char *path, const struct lmdb_named *databases, size_t n,
                       struct err *err)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    /* No file yet: there is nothing to check. */
    if (fd < 0) {
        return errno == ENOENT ? STATUS_OK : err_errno(err, errno, "open %s", path);
    }
    /* On the heap: `taken` alone has 32 KiB. */
    struct check *check = mem_new(sizeof *check);
    if (check == NULL) {
        close(fd);
        return err_set(err, STATUS_NO_MEMORY, "%s", path);
    }
    check->fd = fd;
    check->databases = databases;
    check->n_databases = n;
    check->err = err;
    struct stat info;
    status s = fstat(fd, &info) != 0 ? err_errno(err, errno, "stat") : STATUS_OK;
    /* An empty file counts as none. */
    if (s == STATUS_OK && info.st_size > 0) {
        s = check_all(check, (uint64_t)info.st_size);
    }
    mem_free(check);
    close(fd);
    return s == STATUS_OK ? s : err_context(err, s, "%s", path);
}

bool lmdb_check_value(const void *value, size_t size)
{
    const size_t page_size = (size_t)sysconf(_SC_PAGESIZE);
    const size_t node_max = (page_size - LMDB_PAGE_HEADER) / 2 - 2;
    /* Where LMDB puts a value: with key and header it either takes at most half of a page, or gets
     * pages of its own. */
    if (LMDB_NODE_HEADER + sizeof(uint64_t) + size <= node_max) {
        return true; /* in a leaf, beside others */
    }
    /* A value in pages of its own begins behind the header of the first one. */
    const uint8_t *page = (const uint8_t *)value - LMDB_PAGE_HEADER;
    return bytes_get16(page + 10) == LMDB_OVERFLOW &&
           bytes_get32(page + 12) == (LMDB_PAGE_HEADER + size + page_size - 1) / page_size;
}
