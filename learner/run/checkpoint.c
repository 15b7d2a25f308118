/* Checkpoint files: written, listed, removed when old, read back. See checkpoint.h.
 *
 * safetensors has no checksum, and a flipped bit in an optimizer moment would never be noticed. So
 * each file carries a note `checksum` over every float and every other note. A file that fails it
 * is not used; the next older one is.
 *
 * Nothing here keeps state between calls or takes a lock. A folder has one writer, and each file
 * appears whole or not at all, so another process may read while a learner writes. */
#include "learner/run/checkpoint.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "common/base/file.h"
#include "common/base/memory.h"

#define LOG_MODULE "checkpoint"
#include "common/base/log.h"

#define PREFIX "step-"
#define SUFFIX ".safetensors"
/* The notes that every checkpoint has, in the order in which they enter the checksum; `checksum`
 * itself comes last. The order is part of the format. */
static const char *const NOTE_NAMES[] = {
    "run_id",        "version",    "next_batch", "table_version", "learning_seconds", "finished",
    "finish_reason", "finish_who", "signature",  "config",        "config_digest"};
#define N_NOTES (sizeof(NOTE_NAMES) / sizeof(NOTE_NAMES[0]))

/* ---- Notes ---- */

/* The notes of a checkpoint, and the texts that they point to. */
struct notes {
    struct state_note items[N_NOTES + 1];
    char version[24], next_batch[24], table_version[24], seconds[32], digest[24], checksum[24];
    char *signature;
};

/* Over everything that a resumed run depends on: step, all blocks of the state, all notes. */
static status checksum_of(uint64_t *sum, const struct state *state, const struct state_note *notes,
                          struct err *err)
{
    XXH64_state_t *hash = XXH64_createState();
    if (hash == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "checksum");
    }
    /* Tensor by tensor, since the gaps between groups are not in the file. */
    XXH64_reset(hash, 0);
    const uint64_t step = state_step(state);
    XXH64_update(hash, &step, sizeof(step));
    for (int i = 0; i < state_layout(state)->n_groups; i++) {
        const struct parameters_group *group = &state_layout(state)->groups[i];
        for (int j = 0; j < group->n_tensors; j++) {
            size_t at = group->at + group->tensors[j].at;
            size_t bytes = group->tensors[j].size * sizeof(float);
            XXH64_update(hash, state_read(state, STATE_PARAMS) + at, bytes);
            XXH64_update(hash, state_read(state, STATE_M) + at, bytes);
            XXH64_update(hash, state_read(state, STATE_V) + at, bytes);
            if (group->has_target) {
                XXH64_update(hash, state_read(state, STATE_TARGETS) + at, bytes);
            }
        }
    }
    /* With their terminating 0, so that no byte can move from one text to the next. */
    for (size_t i = 0; i < N_NOTES; i++) {
        XXH64_update(hash, notes[i].name, strlen(notes[i].name) + 1);
        XXH64_update(hash, notes[i].text, strlen(notes[i].text) + 1);
    }
    *sum = XXH64_digest(hash);
    XXH64_freeState(hash);
    return STATUS_OK;
}

/* Fills in `notes`; notes->signature is to be freed. */
static status notes_make(struct notes *notes, const struct state *state,
                         const struct checkpoint *about, struct err *err)
{
    /* The signature is the only text that needs memory of its own. */
    memset(notes, 0, sizeof(*notes));
    notes->signature = signature_to_json(&about->signature);
    if (notes->signature == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "signature");
    }
    /* Numbers as texts that read back exactly. */
    snprintf(notes->version, sizeof(notes->version), "%" PRIu64, about->version);
    snprintf(notes->next_batch, sizeof(notes->next_batch), "%" PRIu64, about->next_batch);
    snprintf(notes->table_version, sizeof(notes->table_version), "%016" PRIx64,
             about->table_version);
    snprintf(notes->seconds, sizeof(notes->seconds), "%.17g", about->learning_seconds);
    snprintf(notes->digest, sizeof(notes->digest), "%016" PRIx64, about->config_digest);
    /* The texts stand in the order of NOTE_NAMES. */
    const char *texts[N_NOTES] = {
        about->run_id,        notes->version,    notes->next_batch,
        notes->table_version, notes->seconds,    about->finished ? "true" : "false",
        about->finish_reason, about->finish_who, notes->signature,
        about->config,        notes->digest};
    for (size_t i = 0; i < N_NOTES; i++) {
        notes->items[i] = (struct state_note){.name = NOTE_NAMES[i], .text = texts[i]};
    }
    /* The checksum covers the notes above, so it is made when they are complete. */
    uint64_t sum = 0;
    status s = checksum_of(&sum, state, notes->items, err);
    if (s != STATUS_OK) {
        mem_free(notes->signature);
        notes->signature = NULL;
        return s;
    }
    snprintf(notes->checksum, sizeof(notes->checksum), "%016" PRIx64, sum);
    notes->items[N_NOTES] = (struct state_note){.name = "checksum", .text = notes->checksum};
    return STATUS_OK;
}

/* Copies a note that must be there and fit. */
static status note_text(const struct safetensors *file, const char *name, char *text, size_t size,
                        struct err *err)
{
    /* Missing or too long, the note does not come from a learner of this format. */
    const char *found = safetensors_metadata(file, name);
    if (found == NULL) {
        return err_set(err, STATUS_CORRUPT, "note %s is missing", name);
    }
    if (strlen(found) >= size) {
        return err_set(err, STATUS_CORRUPT, "note %s: %zu bytes, at most %zu expected", name,
                       strlen(found), size - 1);
    }
    memcpy(text, found, strlen(found) + 1);
    return STATUS_OK;
}

/* Reads a note that must be a whole number in this base. */
static status note_number(const struct safetensors *file, const char *name, int base,
                          uint64_t *number, struct err *err)
{
    char text[32];
    status s = note_text(file, name, text, sizeof(text), err);
    if (s != STATUS_OK) {
        return s;
    }
    /* strtoull accepts a minus sign and wraps around, so the sign is refused separately. */
    char *end = NULL;
    errno = 0;
    unsigned long long value = strtoull(text, &end, base);
    if (end == text || *end != '\0' || errno != 0 || text[0] == '-') {
        return err_set(err, STATUS_CORRUPT, "note %s: '%s' is no number", name, text);
    }
    *number = value;
    return STATUS_OK;
}

/* The inverse of notes_make. CORRUPT: a note is missing or is not what it should be. */
static status notes_read(const struct safetensors *file, struct checkpoint *about, struct err *err)
{
    /* Where each note goes. A text has the size of its field, a number the base that it is written
     * in. */
    static const struct {
        const char *name;
        size_t at, size; /* size 0: a number */
        int base;
    } fields[] = {
        {"run_id", offsetof(struct checkpoint, run_id), sizeof(about->run_id), 0},
        {"finish_reason", offsetof(struct checkpoint, finish_reason), sizeof(about->finish_reason),
         0},
        {"finish_who", offsetof(struct checkpoint, finish_who), sizeof(about->finish_who), 0},
        {"config", offsetof(struct checkpoint, config), sizeof(about->config), 0},
        {"version", offsetof(struct checkpoint, version), 0, 10},
        {"next_batch", offsetof(struct checkpoint, next_batch), 0, 10},
        {"table_version", offsetof(struct checkpoint, table_version), 0, 16},
        {"config_digest", offsetof(struct checkpoint, config_digest), 0, 16},
    };
    /* Texts and whole numbers, by the table. */
    memset(about, 0, sizeof(*about));
    for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
        char *field = (char *)about + fields[i].at;
        status s = fields[i].size ? note_text(file, fields[i].name, field, fields[i].size, err)
                                  : note_number(file, fields[i].name, fields[i].base,
                                                (uint64_t *)(void *)field, err);
        if (s != STATUS_OK) {
            return s;
        }
    }
    /* The rest: a truth value, a real number, JSON. */
    const char *finished = safetensors_metadata(file, "finished");
    const char *seconds = safetensors_metadata(file, "learning_seconds");
    const char *json = safetensors_metadata(file, "signature");
    if (finished == NULL || seconds == NULL || json == NULL) {
        return err_set(err, STATUS_CORRUPT,
                       "a note of finished, learning_seconds, signature is missing");
    }
    about->finished = strcmp(finished, "true") == 0;
    about->learning_seconds = strtod(seconds, NULL);
    status s = signature_from_json(&about->signature, json, err);
    if (s == STATUS_OK || s == STATUS_NO_MEMORY) { /* NO_MEMORY says nothing about the file */
        return s;
    }
    return err_context(err, STATUS_CORRUPT, "note signature");
}

/* Compares the checksum in the file with that of the state and the texts as they were read. */
static status check_sum(const struct state *state, const struct safetensors *file, struct err *err)
{
    /* A file without the note was not written by a learner. */
    uint64_t expected;
    status s = note_number(file, "checksum", 16, &expected, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* The texts are taken from the file itself. A missing note counts as empty: then the sums
     * differ. */
    struct state_note items[N_NOTES];
    for (size_t i = 0; i < N_NOTES; i++) {
        const char *text = safetensors_metadata(file, NOTE_NAMES[i]);
        items[i] = (struct state_note){.name = NOTE_NAMES[i], .text = text != NULL ? text : ""};
    }
    uint64_t found = 0;
    if ((s = checksum_of(&found, state, items, err)) != STATUS_OK) {
        return s;
    }
    /* A flipped bit anywhere, in the state or in a note. */
    if (found != expected) {
        return err_set(err, STATUS_CORRUPT, "checksum %016" PRIx64 ", expected %016" PRIx64, found,
                       expected);
    }
    return STATUS_OK;
}

/* ---- Files ---- */

/* Padded to eight digits, so that a listing by name is one by step for any usual run. */
static void path_of(char path[PATH_MAX], const char *folder, uint64_t step)
{
    snprintf(path, PATH_MAX, "%s/" PREFIX "%08" PRIu64 SUFFIX, folder, step);
}

/* "step-00001200.safetensors" -> 1200. False for any other file, such as one that was set aside. */
static bool parse_name(const char *name, uint64_t *step)
{
    /* A digit must follow the prefix: strtoull alone would also take spaces and signs. */
    if (strncmp(name, PREFIX, strlen(PREFIX)) != 0 || name[strlen(PREFIX)] < '0' ||
        name[strlen(PREFIX)] > '9') {
        return false;
    }
    char *end = NULL;
    errno = 0;
    *step = strtoull(name + strlen(PREFIX), &end, 10);
    return errno == 0 && strcmp(end, SUFFIX) == 0;
}

/* For qsort. The difference of two uint64_t does not fit an int, so they are compared. */
static int newest_first(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? 1 : x > y ? -1 : 0;
}

status checkpoint_list(const char *folder, uint64_t **steps, size_t *n, struct err *err)
{
    /* A run that has not written anything yet has no folder. */
    DIR *open_folder = opendir(folder);
    if (open_folder == NULL && errno == ENOENT) {
        *steps = NULL;
        *n = 0;
        return STATUS_OK;
    }
    if (open_folder == NULL) {
        return err_errno(err, errno, "checkpoints: %s", folder);
    }
    /* A folder holds few checkpoints, but whoever copies them there may keep many. */
    uint64_t *found = NULL;
    size_t count = 0, room = 0;
    status s = STATUS_OK;
    for (struct dirent *entry = readdir(open_folder); entry != NULL; entry = readdir(open_folder)) {
        uint64_t step;
        if (!parse_name(entry->d_name, &step)) {
            continue;
        }
        /* Room doubles, so that a folder of many files does not cost a copy for each. */
        if (count == room) {
            room = room ? 2 * room : 16;
            uint64_t *more = mem_resize(found, room, sizeof(*found));
            if (more == NULL) {
                s = err_set(err, STATUS_NO_MEMORY, "checkpoints: %s", folder);
                mem_free(found);
                goto close_folder;
            }
            found = more;
        }
        found[count++] = step;
    }
    /* Newest first: the order in which they are tried, and kept. */
    if (count > 1) {
        qsort(found, count, sizeof(*found), newest_first);
    }
    *steps = found;
    *n = count;
close_folder:
    closedir(open_folder);
    return s;
}

/* Removes all but the `keep` newest. A file that cannot be removed is no reason to stop
 * learning. */
static void remove_old(const char *folder, int64_t keep)
{
    uint64_t *steps = NULL;
    size_t n = 0;
    struct err err = {0};
    if (checkpoint_list(folder, &steps, &n, &err) != STATUS_OK) {
        log_warn("%s", err.text);
        return;
    }
    /* The list begins with the newest, so what follows the first `keep` is old. */
    for (size_t i = (size_t)keep; i < n; i++) {
        char path[PATH_MAX];
        path_of(path, folder, steps[i]);
        if (unlink(path) != 0 && errno != ENOENT) {
            log_warn("an old checkpoint cannot be removed: %s: %s", path, strerror(errno));
        }
    }
    mem_free(steps);
}

status checkpoint_write(const char *folder, int64_t keep, const struct state *state,
                        const struct settings *settings, const struct checkpoint *about,
                        struct err *err)
{
    /* state_save writes aside, syncs and renames: the file is whole or absent. */
    char path[PATH_MAX];
    path_of(path, folder, state_step(state));
    struct notes notes;
    status s = file_make_folders(folder, err);
    if (s == STATUS_OK) {
        s = notes_make(&notes, state, about, err);
    }
    if (s == STATUS_OK) {
        s = state_save(state, settings, notes.items, N_NOTES + 1, path, err);
        mem_free(notes.signature);
    }
    if (s == STATUS_OK) {
        /* Old files go only when the new one is durable. */
        remove_old(folder, keep);
    }
    return s;
}

/* ---- Resuming ---- */

/* Reads the notes alone, and whether the state normalizes. They come first, because the sizes of the
 * state follow from their signature and from that. */
static status read_about(const char *path, struct checkpoint *about, bool *normalized,
                         struct err *err)
{
    /* state_load opens the file once more when there is a state to read it into. */
    struct safetensors *file = NULL;
    status s = safetensors_read(&file, path, CHECKPOINT_MAX_BYTES, err);
    if (s != STATUS_OK) {
        return err_context(err, s, "checkpoint"); /* it names the path */
    }
    s = notes_read(file, about, err);
    /* A state has a normalizer or it has not, whatever the setting was called. */
    *normalized = safetensors_find(file, "normalizer/mean") != NULL;
    safetensors_free(file);
    return s == STATUS_OK ? s : err_context(err, s, "checkpoint %s", path);
}

/* One file, whole and checked, into a new state. */
static status read_one(const char *path, const struct learner_options *options, uint64_t seed,
                       struct state **state, struct settings *settings, struct checkpoint *about,
                       struct err *err)
{
    /* A state of the sizes that this signature and these options ask for. */
    struct state *made = NULL;
    bool normalized = false;
    status s = read_about(path, about, &normalized, err);
    if (s == STATUS_OK) {
        /* The options must fit the run: another algorithm is refused when the state is read. */
        s = learner_options_settings(options, &about->signature, seed, settings, err);
        if (learner_options_normalize_auto(options)) {
            settings->normalize = normalized ? NORMALIZE_STANDARD : NORMALIZE_NONE;
        }
        s = s == STATUS_OK ? state_new(&made, settings, err) : s;
        s = s == STATUS_OK ? s : err_context(err, s, "checkpoint %s", path);
    }
    if (s != STATUS_OK) {
        return s;
    }
    /* The state, then the checksum over it. */
    struct safetensors *file = NULL;
    s = state_load(made, settings, path, &file, err);
    if (s == STATUS_OK) {
        s = check_sum(made, file, err);
        s = s == STATUS_OK ? s : err_context(err, s, "checkpoint %s", path);
        safetensors_free(file);
    }
    if (s != STATUS_OK) {
        state_free(made);
        return s;
    }
    *state = made;
    return STATUS_OK;
}

/* Renames a damaged file, so that it is not read again but can still be examined. */
static void set_aside(const char *path)
{
    /* The new name does not end in SUFFIX, so parse_name passes over it from now on. */
    char aside[PATH_MAX + 16];
    snprintf(aside, sizeof(aside), "%s.corrupt", path);
    if (rename(path, aside) != 0) {
        log_warn("cannot rename to %s: %s", aside, strerror(errno));
    }
}

/* Reads the newest sound checkpoint. `tidy`: newer ones that are damaged are set aside. */
static status read_newest(const char *folder, const struct learner_options *options, uint64_t seed,
                          bool tidy, struct state **state, struct settings *settings,
                          struct checkpoint *about, struct err *err)
{
    uint64_t *steps = NULL;
    size_t n = 0, sound = 0;
    status s = checkpoint_list(folder, &steps, &n, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* From the newest on, until one is sound or says that the run itself cannot go on. */
    s = n > 0 ? STATUS_CORRUPT : err_set(err, STATUS_NOT_FOUND, "no checkpoint in %s", folder);
    for (size_t i = 0; i < n && (s == STATUS_CORRUPT || s == STATUS_IO); i++) {
        char path[PATH_MAX];
        path_of(path, folder, steps[i]);
        s = read_one(path, options, seed, state, settings, about, err);
        /* The one that was looked at last. It is sound where the loop ends with OK. */
        sound = i;
        if (s == STATUS_CORRUPT || s == STATUS_IO) {
            /* Each file that is passed over is named, whether an older one is sound or not. */
            log_error("%s", err != NULL ? err->text : path);
        }
    }
    if (n > 0 && (s == STATUS_CORRUPT || s == STATUS_IO)) {
        /* What is left of them may be worth more than a new run, so none is begun here. */
        s = err_context(err, s,
                        "none of the %zu checkpoints is sound; move them away to start over", n);
    }
    /* Only once there is a sound one are the damaged ones moved. */
    for (size_t i = 0; tidy && s == STATUS_OK && i < sound; i++) {
        char path[PATH_MAX];
        path_of(path, folder, steps[i]);
        log_error("%s: set aside, using step %" PRIu64 " instead", path, steps[sound]);
        set_aside(path);
    }
    mem_free(steps);
    return s;
}

status checkpoint_look(const char *folder, const struct learner_options *options, uint64_t seed,
                       struct state **state, struct settings *settings, struct checkpoint *about,
                       struct err *err)
{
    return read_newest(folder, options, seed, false, state, settings, about, err);
}

status checkpoint_resume(const char *folder, const struct learner_options *options, uint64_t seed,
                         struct state **state, struct settings *settings, struct checkpoint *about,
                         struct err *err)
{
    return read_newest(folder, options, seed, true, state, settings, about, err);
}
