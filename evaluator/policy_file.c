/* Copies of a policy package with notes added, and the notes read back.
 *
 * A package is a safetensors file: tensors and metadata. Keeping one copies all tensors byte for
 * byte and replaces the notes.
 *
 * Files are replaced atomically: a reader finds the old package or the new one. Numbers are kept as
 * texts, since metadata of a safetensors file are texts. No state, so any thread may call these. */
#include "evaluator/policy_file.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/base/utf8.h"
#include "common/networks/policy_copy.h"

/* What the keys of the notes begin with. */
#define NOTE "evaluated/"

/* ---- Keeping ---- */

/* 17 digits give back the same double. */
static status note_number(struct safetensors_writer *writer, const char *key, double value,
                          struct err *err)
{
    char text[40];
    snprintf(text, sizeof text, "%.17g", value);
    return safetensors_note(writer, key, text, err);
}

static status note_count(struct safetensors_writer *writer, const char *key, uint64_t value,
                         struct err *err)
{
    char text[40];
    snprintf(text, sizeof text, "%" PRIu64, value);
    return safetensors_note(writer, key, text, err);
}

/* The keys that read_notes expects; an old package may have notes already, which are not copied. */
static status write_notes(struct safetensors_writer *writer, const struct policy_notes *notes,
                          struct err *err)
{
    status s = safetensors_note(writer, NOTE "run_id", notes->run_id, err);
    s = s != STATUS_OK ? s : note_count(writer, NOTE "version", notes->version, err);
    s = s != STATUS_OK ? s : note_count(writer, NOTE "learner_step", notes->learner_step, err);
    s = s != STATUS_OK ? s : note_number(writer, NOTE "return_mean", notes->return_mean, err);
    return s != STATUS_OK ? s : note_number(writer, NOTE "wall_s", notes->wall_s, err);
}

status policy_file_keep(const char *path, const void *package, size_t size,
                        const struct policy_notes *notes, struct err *err)
{
    struct safetensors *file;
    struct safetensors_writer *writer;
    size_t n;
    /* Parsed and written anew, since notes are in the file's header. */
    status s = safetensors_parse(&file, package, size, err);
    if (s != STATUS_OK) {
        return err_context(err, s, "policy package");
    }
    s = safetensors_writer_new(&writer);
    if (s != STATUS_OK) {
        safetensors_free(file);
        return err_set(err, s, "%s: out of memory", path);
    }
    /* An empty prefix matches every tensor. The old notes are left out, since the new ones replace
     * them. */
    s = policy_copy_tensors(writer, file, "", "", &n, err);
    s = s != STATUS_OK ? s : policy_copy_notes(writer, file, NOTE, NOTE, err);
    s = s != STATUS_OK ? s : write_notes(writer, notes, err);
    s = s != STATUS_OK ? s : safetensors_replace(writer, path, err);
    safetensors_writer_free(writer);
    safetensors_free(file);
    return s;
}

/* ---- Loading ---- */

/* A note as a number, which may be nan: a policy that was not evaluated has that return. */
static status read_number(const struct policy *policy, const char *key, double *value,
                          struct err *err)
{
    const char *text = policy_note(policy, key);
    char *end;
    if (text == NULL) {
        return err_set(err, STATUS_CORRUPT, "metadata %s: absent", key);
    }
    /* The whole text must be the number. */
    *value = strtod(text, &end);
    if (end == text || *end != '\0') {
        return err_set(err, STATUS_CORRUPT, "metadata %s: %.32s: expected a number", key, text);
    }
    return STATUS_OK;
}

/* A note as a number of things: not negative and exact. */
static status read_count(const struct policy *policy, const char *key, uint64_t *value,
                         struct err *err)
{
    double number = 0;
    status s = read_number(policy, key, &number, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* Above 2^53 a double is no longer exact. */
    if (!(number >= 0 && number < 9007199254740992.0)) {
        return err_set(err, STATUS_CORRUPT, "metadata %s: %g: expected a count", key, number);
    }
    *value = (uint64_t)number;
    return STATUS_OK;
}

/* The notes of an evaluated package. CORRUPT: one is absent or malformed; then *notes is half
 * filled. The file may come from anywhere, so the run id is checked like any other text before it
 * is logged. */
static status read_notes(const struct policy *policy, struct policy_notes *notes, struct err *err)
{
    const char *run_id = policy_note(policy, NOTE "run_id");
    if (run_id == NULL || strlen(run_id) >= sizeof notes->run_id || !utf8_is_name(run_id)) {
        return err_set(err, STATUS_CORRUPT,
                       "metadata " NOTE "run_id: absent, too long, or with control characters");
    }
    strcpy(notes->run_id, run_id);
    status s = read_count(policy, NOTE "version", &notes->version, err);
    s = s != STATUS_OK ? s : read_count(policy, NOTE "learner_step", &notes->learner_step, err);
    s = s != STATUS_OK ? s : read_number(policy, NOTE "return_mean", &notes->return_mean, err);
    return s != STATUS_OK ? s : read_number(policy, NOTE "wall_s", &notes->wall_s, err);
}

status policy_file_load(const char *path, struct policy **policy, struct policy_notes *notes,
                        struct err *err)
{
    struct policy *loaded;
    struct policy_notes found;
    status s = policy_read(&loaded, path, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* A package that was never evaluated has no notes: an error only where they are wanted. */
    s = read_notes(loaded, &found, err);
    if (s != STATUS_OK && notes != NULL) {
        policy_free(loaded);
        return err_context(err, s, "%s", path);
    }
    if (notes != NULL) {
        *notes = found;
    }
    /* The caller owns the policy, where it wants one. */
    if (policy != NULL) {
        *policy = loaded;
    } else {
        policy_free(loaded);
    }
    return STATUS_OK;
}
