#include "common/rpc/protocol.h"

#include <stdio.h>
#include <string.h>

#define VALUE_MAX 128u

/* What a peer has said. */
struct said {
    unsigned oldest, newest;
    char program[VALUE_MAX]; /* visible ASCII and spaces */
};

void protocol_write(const struct rpc_protocol *protocol, char *text, size_t size)
{
    snprintf(text, size, "%u-%u %s", protocol->oldest, protocol->newest, protocol->program);
}

/* One to nine digits; *text moves behind them. */
static bool read_version(const char **text, unsigned *version)
{
    const size_t n = strspn(*text, "0123456789");
    *version = 0;
    for (size_t i = 0; i < n && i < 9; i++) {
        *version = 10 * *version + (unsigned)((*text)[i] - '0');
    }
    *text += n;
    return n >= 1 && n <= 9;
}

/* "OLDEST-NEWEST PROGRAM". False: not of this form. */
static bool parse(struct said *said, const uint8_t *value, size_t size)
{
    char text[VALUE_MAX];
    if (size >= sizeof text) {
        return false;
    }
    memcpy(text, value, size);
    text[size] = '\0';
    const char *at = text;
    if (!read_version(&at, &said->oldest) || *at++ != '-' || !read_version(&at, &said->newest) ||
        *at++ != ' ' || said->oldest < 1 || said->oldest > said->newest) {
        return false;
    }
    for (const char *c = at; *c; c++) {
        if (*c < ' ' || *c > '~') {
            return false;
        }
    }
    strcpy(said->program, at);
    return true;
}

/* "1", "1 to 3" */
static const char *range(char *text, size_t size, unsigned oldest, unsigned newest)
{
    if (oldest == newest) {
        snprintf(text, size, "%u", oldest);
    } else {
        snprintf(text, size, "%u to %u", oldest, newest);
    }
    return text;
}

int protocol_check(const struct rpc_protocol *own, const grpc_metadata_array *metadata, char *text,
                   size_t size)
{
    for (size_t i = 0; own->header != NULL && i < metadata->count; i++) {
        const grpc_metadata *entry = &metadata->metadata[i];
        struct said said;
        char theirs[32], ours[32];
        if (grpc_slice_str_cmp(entry->key, own->header) != 0) {
            continue;
        }
        if (!parse(&said, GRPC_SLICE_START_PTR(entry->value), GRPC_SLICE_LENGTH(entry->value))) {
            snprintf(text, size, "%s: expected OLDEST-NEWEST PROGRAM, as in \"1-2 %s\"",
                     own->header, own->program);
            return GRPC_STATUS_INVALID_ARGUMENT;
        }
        if (said.oldest <= own->newest && said.newest >= own->oldest) {
            return 0;
        }
        snprintf(text, size,
                 "the client (%s) speaks version %s of %s, this server (%s) version %s: run "
                 "programs of one version",
                 said.program[0] ? said.program : "?",
                 range(theirs, sizeof theirs, said.oldest, said.newest), own->header, own->program,
                 range(ours, sizeof ours, own->oldest, own->newest));
        return GRPC_STATUS_FAILED_PRECONDITION;
    }
    return 0;
}
