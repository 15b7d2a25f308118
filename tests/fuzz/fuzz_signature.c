/* A signature's JSON: what stands in metadata.json, packages, checkpoints and the store. */
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/status.h"
#include "common/trajectory/signature.h"
#include "tests/fuzz/fuzz.h"
#include "tests/lib/trajectories.h"

static size_t make_seeds(struct fuzz_input *seeds, const char *scratch)
{
    (void)scratch;
    for (uint32_t i = 0; i < 3; i++) {
        struct signature signature;
        trajectories_signature(&signature, i + 1);
        signature.control_period_s = i == 0 ? 0 : 0.02;
        char *json = signature_to_json(&signature);
        fuzz_must(json == NULL, "JSON");
        seeds[i] = (struct fuzz_input){json, strlen(json)};
    }
    return 3;
}

static bool run(const void *bytes, size_t size)
{
    struct signature signature, again;
    struct err err = {0};
    char *json = mem_new(size + 1);
    memcpy(json, bytes, size);
    bool accepted = signature_from_json(&signature, json, &err) == STATUS_OK;
    mem_free(json);
    if (accepted) {
        /* What was accepted is sound and means the same when written again. */
        fuzz_must(signature_check(&signature, &err), "signature_check");
        json = signature_to_json(&signature);
        fuzz_must(json == NULL, "JSON");
        fuzz_must(signature_from_json(&again, json, &err), json);
        fuzz_must(signature_same(&signature, &again, &err), json);
        mem_free(json);
    }
    return accepted;
}

static const char *const words[] = {"\"observation\"",
                                    "\"action\"",
                                    "\"min\"",
                                    "\"rewards\"",
                                    "[",
                                    "]",
                                    "{",
                                    "}",
                                    ",",
                                    "null",
                                    "true",
                                    "1e999",
                                    "-1",
                                    "4294967296",
                                    "\"\"",
                                    "\"size\":",
                                    "\"name\":",
                                    "\\u0000",
                                    "0.5",
                                    "NaN",
                                    NULL};

int main(int argc, char **argv)
{
    const struct fuzz_target target = {"signature", make_seeds, run, words};
    return fuzz_main(&target, argc, argv);
}
