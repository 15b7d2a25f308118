/* The folder of a run's candidates: see candidates.h. */
#include "learner/run/candidates.h"

#include <glob.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"

uint64_t candidates_stride(uint64_t published, uint64_t most)
{
    ASSERT(published >= 1 && most >= 1);
    uint64_t stride = 1;
    while (published / stride > most) {
        stride *= 2;
    }
    return stride;
}

/* Removes the files of publications that are no multiple of `stride`. */
static void thin_out(const char *run_dir, uint64_t publish_every, uint64_t stride)
{
    char pattern[PATH_MAX];
    glob_t found = {0};
    snprintf(pattern, sizeof pattern, "%s/candidates/step-*.safetensors", run_dir);
    if (glob(pattern, GLOB_NOSORT, NULL, &found) == 0) {
        for (size_t i = 0; i < found.gl_pathc; i++) {
            const char *number = strrchr(found.gl_pathv[i], '-') + 1;
            const uint64_t step = strtoull(number, NULL, 10);
            if (step % publish_every != 0 || step / publish_every % stride != 0) {
                unlink(found.gl_pathv[i]);
            }
        }
    }
    globfree(&found);
}

status candidates_keep(const char *run_dir, uint64_t step, uint64_t publish_every, uint64_t most,
                       const void *package, size_t size, struct err *err)
{
    /* Step 0 has learned nothing, and a run that goes on publishes between two multiples, too. */
    const uint64_t published = step / publish_every;
    if (published == 0 || step % publish_every != 0) {
        return STATUS_OK;
    }
    const uint64_t stride = candidates_stride(published, most);
    if (published % stride != 0) {
        return STATUS_OK;
    }
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/candidates", run_dir);
    status s = file_make_folders(path, err);
    if (s == STATUS_OK) {
        snprintf(path, sizeof path, "%s/candidates/step-%08" PRIu64 ".safetensors", run_dir, step);
        s = file_replace(path, &(struct file_part){package, size}, 1, err);
    }
    if (s == STATUS_OK) {
        thin_out(run_dir, publish_every, stride);
    }
    return s;
}

void candidates_clear(const char *run_dir)
{
    /* No publication is a multiple of so large a number. */
    thin_out(run_dir, 1, UINT64_MAX);
}
