/* Texts from outside that are not messages or files of a format: UTF-8, addresses, the file of tokens,
 * the header that tells a peer's version. The input's first byte chooses which. Accepted: a sound text,
 * an address that can be used, a file of tokens, a version that goes with ours. */
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/roles.h"
#include "common/base/utf8.h"
#include "common/rpc/address.h"
#include "common/rpc/protocol.h"
#include "tests/fuzz/fuzz.h"

static const char *path;

static size_t make_seeds(struct fuzz_input *seeds, const char *scratch)
{
    static const char *const texts[] = {
        "0a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80 plain",
        "1unix:/run/a b/take#2/replay.sock",
        "1[::1]:50051",
        "1dns:///localhost:1",
        "1unix:relative.sock",
        "2# who\n0123456789abcdef insert,sample alice\nfedcba9876543210 admin # end\n",
        "31-2 hindcast 0.1.0",
        "32-9 another program, 7",
    };
    const size_t n = sizeof texts / sizeof texts[0];
    path = fuzz_path(scratch, "tokens");
    for (size_t i = 0; i < n; i++) {
        seeds[i] = (struct fuzz_input){(void *)texts[i], strlen(texts[i])};
    }
    return n;
}

static bool run_utf8(const char *text, size_t size)
{
    const size_t length = strlen(text);
    const size_t sound = utf8_sound(text, size);
    fuzz_must(sound > length, "sound beyond a NUL");
    fuzz_must(utf8_sound(text, sound) != sound, "a sound part that is not");
    fuzz_must(utf8_is_text(text) != (sound == length), "two answers");
    char *copy = malloc(length + 1);
    fuzz_must(copy == NULL, "memory");
    for (size_t most = 0; most <= sound && most < 300; most++) {
        /* A sound text that is cut anywhere is sound again after utf8_trim, and no shorter than it
         * must be. */
        memcpy(copy, text, most);
        copy[most] = '\0';
        utf8_trim(copy);
        fuzz_must(!utf8_is_text(copy), "a trimmed text that is not sound");
        memcpy(copy, text, sound);
        copy[sound] = '\0';
        const size_t cut = utf8_cut(copy, most);
        fuzz_must(cut > most || most - cut > 3 || utf8_sound(copy, cut) != cut, "a bad cut");
    }
    memcpy(copy, text, length + 1);
    utf8_clean(copy);
    fuzz_must(strlen(copy) != length || !utf8_is_name(copy), "a cleaned text that is no name");
    free(copy);
    return sound == length && length == size;
}

static bool run_address(const char *text)
{
    /* Only the form: nothing outside the scratch folder may be made. */
    const char *unix_path = address_unix_path(text);
    if (unix_path != NULL && (strlen(unix_path) > 100 || strchr(unix_path, ',') != NULL)) {
        return false;
    }
    struct address_target target;
    struct err err = {0};
    const status s = address_open(&target, text, &err);
    (void)rpc_address_is_local(text);
    if (s != STATUS_OK) {
        fuzz_must(err.text[0] == '\0' || !utf8_is_name(err.text), "no clean text");
        return false;
    }
    if (unix_path != NULL) {
        fuzz_must(strcmp(target.path, unix_path) != 0, "another path");
        for (const char *c = target.uri + 5; *c != '\0'; c++) {
            fuzz_must(strchr("?#, ", *c) != NULL || (unsigned char)*c >= 0x7f, "not escaped");
        }
    }
    address_close(&target);
    return true;
}

static bool run_tokens(const void *bytes, size_t size)
{
    fuzz_write_file(path, bytes, size);
    (void)chmod(path, 0600);
    struct tokens *tokens = NULL;
    char client[TOKENS_CLIENT_SIZE] = "";
    struct err err = {0};
    if (roles_read(&tokens, path, &err) != STATUS_OK) {
        fuzz_must(err.text[0] == '\0' || !utf8_is_name(err.text), "no clean text");
        return false;
    }
    fuzz_must(tokens_role_of(tokens, "", client) != 0 ||
                  tokens_role_of(tokens, NULL, client) != 0 || client[0] != '\0',
              "no token");
    tokens_free(tokens);
    return true;
}

static bool run_version(const char *value, size_t size)
{
    const struct rpc_protocol own = {
        .header = "fuzz-wire", .program = "fuzz", .oldest = 2, .newest = 3};
    grpc_metadata entry = {.key = grpc_slice_from_static_string("fuzz-wire"),
                           .value = grpc_slice_from_copied_buffer(value, size)};
    const grpc_metadata_array all = {.count = 1, .capacity = 1, .metadata = &entry};
    char text[PROTOCOL_TEXT_SIZE] = "";
    const int refusal = protocol_check(&own, &all, text, sizeof text);
    fuzz_must((refusal == 0) != (text[0] == '\0') || !utf8_is_name(text), "no clean text");
    grpc_slice_unref(entry.value);
    return refusal == 0;
}

static bool run(const void *input, size_t size)
{
    if (size == 0) {
        return false;
    }
    const char *bytes = input;
    char *text = malloc(size);
    fuzz_must(text == NULL, "memory");
    memcpy(text, bytes + 1, size - 1);
    text[size - 1] = '\0';
    bool accepted;
    switch (bytes[0] % 4) {
    case 0:
        accepted = run_utf8(text, size - 1);
        break;
    case 1:
        accepted = run_address(text);
        break;
    case 3:
        accepted = run_version(bytes + 1, size - 1);
        break;
    default:
        accepted = run_tokens(bytes + 1, size - 1);
        break;
    }
    free(text);
    return accepted;
}

static const char *const words[] = {"unix:", "[",         "]",           ":",
                                    "/",     ",",         "%",           "#",
                                    "?",     "\xc3",      "\xe2\x82",    "\xed\xa0\x80",
                                    "\xf4",  "insert",    "read,sample", "admin ",
                                    "\t",    "127.0.0.1", "65536",       NULL};

int main(int argc, char **argv)
{
    const struct fuzz_target target = {"texts", make_seeds, run, words};
    return fuzz_main(&target, argc, argv);
}
