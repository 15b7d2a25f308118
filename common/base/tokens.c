/* The file of bearer tokens, and the comparison.
 *
 * A token that a caller shows is compared with all entries in full, byte by byte without an early
 * exit: how long that takes says nothing about how much of a guess was right. */
#include "common/base/tokens.h"

#include <stdio.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/memory.h"

#define FILE_MAX   (1u << 20)
#define OWN_MAX    4096u /* bytes of a file with one token */
#define TOKEN_MIN  16u
#define TOKEN_MAX  256u
#define CLIENT_MAX 64u

/* One line of the file. */
struct entry {
    char token[TOKEN_MAX + 1]; /* padded with 0 */
    unsigned roles;
    char client[TOKENS_CLIENT_SIZE];
};

/* All lines of the file. Nothing changes after tokens_read, so any thread may compare. */
struct tokens {
    size_t n;
    struct entry *entries;
};

/* The file being read: where its entries go, and the roles that it may name. */
struct reading {
    struct tokens *tokens;
    const struct tokens_role *roles;
    size_t n_roles;
};

/* 0: there is no such role. */
static unsigned role_named(const struct reading *reading, const char *name)
{
    for (size_t i = 0; i < reading->n_roles; i++) {
        if (strcmp(name, reading->roles[i].name) == 0) {
            return reading->roles[i].bit;
        }
    }
    return 0;
}

/* "role x: expected read, write or admin" */
static status refuse_role(const struct reading *reading, const char *name, struct err *err)
{
    char expected[256] = "";
    size_t used = 0;
    for (size_t i = 0; i < reading->n_roles && used < sizeof expected; i++) {
        /* Commas between the names, "or" before the last. */
        const char *before = i == 0 ? "" : i + 1 == reading->n_roles ? " or " : ", ";
        used += (size_t)snprintf(expected + used, sizeof expected - used, "%s%s", before,
                                 reading->roles[i].name);
    }
    return err_set(err, STATUS_INVALID, "role %s: expected %s", name, expected);
}

/* Long enough not to be guessed, short enough for a header, and what a header can carry. */
static status check_token(const char *token, struct err *err)
{
    const size_t length = strlen(token);
    if (length < TOKEN_MIN || length > TOKEN_MAX) {
        return err_set(err, STATUS_INVALID, "token of %zu characters, expected %u..%u", length,
                       TOKEN_MIN, TOKEN_MAX);
    }
    for (size_t i = 0; i < length; i++) {
        if (token[i] < '!' || token[i] > '~') {
            return err_set(err, STATUS_INVALID, "token: byte %zu is not visible ASCII", i);
        }
    }
    return STATUS_OK;
}

/* Whom the token belongs to: a name for logs and metrics. */
static status check_client(const char *client, struct err *err)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
    const size_t length = strspn(client, allowed);
    return length <= CLIENT_MAX && client[length] == '\0'
               ? STATUS_OK
               : err_set(err, STATUS_INVALID, "client %.80s: expected [a-zA-Z0-9_.-]{1,%u}", client,
                         CLIENT_MAX);
}

/* "insert,sample" as bits. INVALID names the role that is none. */
static status read_roles(const struct reading *reading, char *text, unsigned *roles,
                         struct err *err)
{
    char *rest = NULL;
    *roles = 0;
    for (char *name = strtok_r(text, ",", &rest); name; name = strtok_r(NULL, ",", &rest)) {
        const unsigned role = role_named(reading, name);
        if (role == 0) {
            return refuse_role(reading, name, err);
        }
        /* Several roles of one token add up. */
        *roles |= role;
    }
    return *roles ? STATUS_OK : err_set(err, STATUS_INVALID, "a token without roles");
}

/* Reads one line that is not empty, which strtok cuts to pieces, into a new entry. After a failure
 * the entry may be there in part; the caller throws all of them away. */
static status read_line(const struct reading *reading, char *line, struct err *err)
{
    struct tokens *tokens = reading->tokens;
    char *rest = NULL;
    /* Two words or three: the token, its roles, and whose it is. */
    const char *token = strtok_r(line, " \t\r", &rest);
    char *roles = strtok_r(NULL, " \t\r", &rest);
    const char *client = strtok_r(NULL, " \t\r", &rest);
    /* A role in the place of the client is one with a space where a comma should be. */
    if (roles == NULL || (client != NULL && (strtok_r(NULL, " \t\r", &rest) != NULL ||
                                             role_named(reading, client) != 0))) {
        return err_set(err, STATUS_INVALID,
                       "expected a token, its roles and, optionally, its client, as in \"TOKEN "
                       "ROLE,ROLE CLIENT\"");
    }
    status s = check_token(token, err);
    if (s == STATUS_OK && client != NULL) {
        s = check_client(client, err);
    }
    if (s != STATUS_OK) {
        return s;
    }
    /* One place more; files have few lines. */
    struct entry *entries = mem_resize(tokens->entries, tokens->n + 1, sizeof *entries);
    if (entries == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "out of memory");
    }
    tokens->entries = entries;
    struct entry *entry = &entries[tokens->n++];
    memset(entry, 0, sizeof *entry);
    memcpy(entry->token, token, strlen(token));
    /* Before read_roles cuts the text. */
    snprintf(entry->client, sizeof entry->client, "%s", client != NULL ? client : roles);
    return read_roles(reading, roles, &entry->roles, err);
}

status tokens_read(struct tokens **out, const char *path, const struct tokens_role *roles,
                   size_t n_roles, struct err *err)
{
    ASSERT(n_roles > 0);
    /* Tokens that others can read are no secret; tokens that others can write are theirs. */
    status s = file_check_private(path, err);
    if (s != STATUS_OK) {
        return err_context(err, s, "tokens_file");
    }
    void *bytes = NULL;
    size_t size;
    s = file_read(path, FILE_MAX, &bytes, &size, err);
    if (s != STATUS_OK) {
        return err_context(err, s, "tokens_file");
    }
    /* Line by line; the first mistake ends it, with its number. */
    struct tokens *tokens = mem_new(sizeof *tokens);
    s = tokens ? STATUS_OK : err_set(err, STATUS_NO_MEMORY, "tokens_file %s", path);
    const struct reading reading = {tokens, roles, n_roles};
    unsigned line_i = 0;
    for (char *line = bytes; s == STATUS_OK && line;) {
        /* Each line is ended in place; the bytes are ours. */
        char *end = strchr(line, '\n');
        if (end) {
            *end = '\0';
        }
        line_i++;
        /* A comment reaches to the end of its line. */
        line[strcspn(line, "#")] = '\0';
        if (line[strspn(line, " \t\r")] != '\0') {
            s = read_line(&reading, line, err);
        }
        line = end ? end + 1 : NULL;
    }
    mem_free(bytes);
    /* A file without a token would refuse everybody: surely a mistake. */
    if (s == STATUS_OK && tokens->n == 0) {
        s = err_set(err, STATUS_INVALID, "no token");
    }
    if (s != STATUS_OK) {
        tokens_free(tokens);
        return err_context(err, s, "tokens_file %s: line %u", path, line_i);
    }
    *out = tokens;
    return STATUS_OK;
}

void tokens_free(struct tokens *tokens)
{
    if (tokens) {
        mem_free(tokens->entries);
        mem_free(tokens);
    }
}

size_t tokens_count(const struct tokens *tokens)
{
    return tokens->n;
}

unsigned tokens_role_of(const struct tokens *tokens, const char *token,
                        char client[TOKENS_CLIENT_SIZE])
{
    char shown[TOKEN_MAX + 1] = "";
    /* No token, or one that is longer than any in the file. */
    if (token == NULL || strlen(token) > TOKEN_MAX) {
        return 0;
    }
    /* Padded with zeros, as the entries are: all comparisons are of the same length. */
    memcpy(shown, token, strlen(token));
    unsigned roles = 0;
    for (size_t i = 0; i < tokens->n; i++) {
        /* All bytes of all entries, whether they differ or not. */
        unsigned char difference = 0;
        for (size_t k = 0; k < sizeof shown; k++) {
            difference |= (unsigned char)(shown[k] ^ tokens->entries[i].token[k]);
        }
        if (difference == 0) {
            roles |= tokens->entries[i].roles;
            memcpy(client, tokens->entries[i].client, TOKENS_CLIENT_SIZE);
        }
    }
    return roles;
}

/* ---- The token that a program shows ---- */

status token_read(char **token, const char *path, struct err *err)
{
    /* A file that others can read is refused before it is read. */
    void *bytes = NULL;
    size_t size = 0;
    status s = file_check_private(path, err);
    if (s == STATUS_OK) {
        s = file_read(path, OWN_MAX, &bytes, &size, err);
    }
    if (s != STATUS_OK) {
        return err_context(err, s, "token_file");
    }
    /* Only the first line counts; an editor may have added a line end. */
    char *text = bytes;
    text[strcspn(text, "\r\n")] = '\0';
    /* It becomes a header of every request. */
    for (const char *c = text; *c; c++) {
        if (*c < '!' || *c > '~') {
            mem_free(bytes);
            return err_set(err, STATUS_INVALID, "token_file %s: byte %zu is not visible ASCII",
                           path, (size_t)(c - text));
        }
    }
    if (text[0] == '\0') {
        mem_free(bytes);
        return err_set(err, STATUS_INVALID, "token_file %s: its first line is empty", path);
    }
    *token = text;
    return STATUS_OK;
}
