/* A look is one stat. What was read is replaced whole, between two questions. */
#define LOG_MODULE "tokens"
#include "common/base/token_file.h"

#include <stdatomic.h>

#include "common/base/file.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/roles.h"

struct token_file {
    char *path;
    struct file_mark mark; /* of the file as it was looked at last */
    struct tokens *tokens;
    _Atomic uint64_t failures;
};

status token_file_open(struct token_file **out, const char *path, struct err *err)
{
    struct token_file *file = mem_new(sizeof *file);
    if (file == NULL || (file->path = mem_text(path)) == NULL) {
        token_file_close(file);
        return err_set(err, STATUS_NO_MEMORY, "tokens_file %s", path);
    }
    /* Before the file is read: what changes meanwhile is noticed by the first look. */
    (void)file_mark_take(&file->mark, path);
    const status s = roles_read(&file->tokens, path, err);
    if (s != STATUS_OK) {
        token_file_close(file);
        return s;
    }
    *out = file;
    return STATUS_OK;
}

void token_file_close(struct token_file *file)
{
    if (file) {
        tokens_free(file->tokens);
        mem_free(file->path);
        mem_free(file);
    }
}

unsigned token_file_role_of(const char *token, char name[TOKENS_CLIENT_SIZE], void *arg)
{
    struct token_file *file = arg;
    return tokens_role_of(file->tokens, token, name);
}

void token_file_look(void *arg)
{
    struct token_file *file = arg;
    struct tokens *tokens = NULL;
    struct err err;
    if (!file_mark_take(&file->mark, file->path)) {
        return;
    }
    /* It may be in the middle of being written: the next change is noticed again. */
    if (roles_read(&tokens, file->path, &err) != STATUS_OK) {
        atomic_fetch_add(&file->failures, 1);
        log_warn(
            "the file of tokens has changed and cannot be used, what was read before stays: %s",
            err.text);
        return;
    }
    tokens_free(file->tokens);
    file->tokens = tokens;
    log_info("the file of tokens was read again tokens=%zu file=%s", tokens_count(tokens),
             file->path);
}

uint64_t token_file_failures(const struct token_file *file)
{
    return atomic_load(&file->failures);
}
