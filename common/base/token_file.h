/* The file of tokens of a server that runs: read again when it changes, so that tokens come and go
 * without a restart. What cannot be used is logged and counted, and what was read before stays. */
#ifndef HINDCAST_BASE_TOKEN_FILE_H
#define HINDCAST_BASE_TOKEN_FILE_H

#include <stdint.h>

#include "common/base/tokens.h"

struct token_file;

/* Reads the file. Errors are those of roles_read. */
status token_file_open(struct token_file **file, const char *path, struct err *err) MUST_CHECK;
void token_file_close(struct token_file *file); /* NULL is fine */

/* The roles of a token (tokens_role_of), and the look whether the file has changed, one stat: both on
 * one thread. They fit rpc_server_options.role_of and rpc_server_every. */
unsigned token_file_role_of(const char *token, char name[TOKENS_CLIENT_SIZE], void *file);
void token_file_look(void *file);

/* How often the file has changed into one that could not be used. Any thread. */
uint64_t token_file_failures(const struct token_file *file);

#endif
