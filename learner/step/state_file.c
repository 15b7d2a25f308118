/* The state in files: checkpoints and policy packages.
 *
 * One visitor goes over the layout's tensors for both directions, so that what is written is what
 * is read. Reading goes into fresh memory first: a file that turns out bad half way leaves the
 * state as it was.
 *
 * A checkpoint is one safetensors file: params under their own names (`policy/layers/0/weight`,
 * `dual/rho_eta`), targets under `target/`, Adam moments under `m/` and `v/`, with `policy_average`
 * the averages under `average/`; metadata: format, learner_step, every setting, the caller's notes.
 *
 * Files are written by whichever thread has a state of its own at hand: a checkpoint is made from a
 * copy while the learner goes on. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "learner/step/algorithm.h"
#include "learner/step/state.h"

#define FORMAT    "hindcast-checkpoint-1"
#define BYTES_MAX ((size_t)4 << 30)

/* ---- One visitor for both directions ---- */

/* Prefixes of the blocks. */
static const char *const prefixes[STATE_BLOCKS] = {[STATE_PARAMS] = "",
                                                   [STATE_TARGETS] = "target/",
                                                   [STATE_M] = "m/",
                                                   [STATE_V] = "v/",
                                                   [STATE_AVERAGE] = "average/"};

/* The state of one pass over the tensors, writing a file from `state` or reading it into `fresh`.
 * The first error ends it: later tensors do nothing. */
struct pass {
    const struct state *state;
    struct safetensors_writer *writer; /* writing; else NULL */
    const struct safetensors *file;    /* reading */
    float *fresh;                      /* (STATE_BLOCKS, size) */
    size_t size;                       /* of a block */
    bool averages;                     /* the file has them */
    status result;
    struct err *err;
};

/* Called by parameters_visit for each tensor; goes over the blocks that have it. */
static void pass_tensor(void *arg, const struct parameters_group *group, const char *name,
                        const struct network_tensor *tensor)
{
    struct pass *pass = arg;
    const size_t shape[2] = {(size_t)tensor->shape[0], (size_t)tensor->shape[1]};
    for (int i = 0; i < STATE_BLOCKS && pass->result == STATUS_OK; i++) {
        /* The prior and the duals have no target copy. */
        if (i == STATE_TARGETS && !group->has_target) {
            continue;
        }
        if (i == STATE_AVERAGE && (!group->is_network || !pass->averages)) {
            continue;
        }
        char full[PARAMETERS_NAME_SIZE + 16];
        snprintf(full, sizeof full, "%s%s", prefixes[i], name);
        /* The same names and shapes in both directions. */
        if (pass->writer != NULL) {
            const float *from = state_read(pass->state, (enum state_block)i) + tensor->at;
            pass->result = safetensors_add(pass->writer, full, SAFETENSORS_F32, tensor->n_dims,
                                           shape, from, pass->err);
        } else {
            float *to = pass->fresh + (size_t)i * pass->size + tensor->at;
            pass->result = safetensors_copy(pass->file, full, SAFETENSORS_F32, tensor->n_dims,
                                            shape, to, pass->err);
        }
    }
}

/* ---- Writing ---- */

/* What note_setting, a callback, needs; as in struct pass the first error stays. */
struct noting {
    struct safetensors_writer *writer;
    const char *prefix;
    status result;
    struct err *err;
};

/* Called by settings_visit: writes one setting as metadata, under the prefix. */
static void note_setting(void *arg, const char *name, const char *text)
{
    struct noting *noting = arg;
    char key[64];
    snprintf(key, sizeof key, "%s%s", noting->prefix, name);
    if (noting->result == STATUS_OK) {
        noting->result = safetensors_note(noting->writer, key, text, noting->err);
    }
}

/* Settings under `prefix`, and the caller's notes. */
static status note_all(struct safetensors_writer *writer, const char *prefix,
                       const struct settings *settings, const struct state_note *notes, size_t n,
                       struct err *err)
{
    struct noting noting = {writer, prefix, STATUS_OK, err};
    settings_visit(settings, note_setting, &noting);
    for (size_t i = 0; i < n && noting.result == STATUS_OK; i++) {
        noting.result = safetensors_note(writer, notes[i].name, notes[i].text, err);
    }
    return noting.result;
}

status state_save(const struct state *state, const struct settings *settings,
                  const struct state_note *notes, size_t n_notes, const char *path, struct err *err)
{
    struct safetensors_writer *writer;
    status s = safetensors_writer_new(&writer);
    if (s != STATUS_OK) {
        return err_set(err, s, "checkpoint %s", path);
    }
    /* Metadata first, then every tensor of the layout from each block that has it. */
    char step[32];
    snprintf(step, sizeof step, "%llu", (unsigned long long)state_step(state));
    s = safetensors_note(writer, "format", FORMAT, err);
    s = s != STATUS_OK ? s : safetensors_note(writer, "learner_step", step, err);
    s = s != STATUS_OK ? s : note_all(writer, "", settings, notes, n_notes, err);
    if (s == STATUS_OK) {
        struct pass pass = {.state = state,
                            .writer = writer,
                            .averages = settings->policy_average > 0.0,
                            .err = err};
        parameters_visit(state_layout(state), pass_tensor, &pass);
        s = pass.result;
    }
    /* The writer borrows the state's blocks until here. */
    s = s != STATUS_OK ? s : safetensors_replace(writer, path, err);
    safetensors_writer_free(writer);
    return s == STATUS_OK ? s : err_context(err, s, "checkpoint %s", path);
}

/* One of policy_write_critic, policy_write_perturb and policy_write_prior. */
typedef status write_network(struct safetensors_writer *writer, const struct policy_info *info,
                             const float *params, struct err *err);

/* Writes what the package has beside the acting network: all that acting needs, and the prior. The
 * weights are those of the block. */
static status write_others(struct safetensors_writer *writer, const struct state *state,
                           enum state_block weights, const struct algorithm *algorithm,
                           const struct policy_info *info, struct err *err)
{
    /* An argmax evaluates its candidates by Q1; BCQ also perturbs them. */
    const bool has_critic = strcmp(info->acting, POLICY_ACT_GAUSSIAN) != 0;
    const struct {
        const char *group;
        write_network *write;
        bool wanted;
    } others[] = {{"critic", policy_write_critic, has_critic},
                  {"perturb", policy_write_perturb, has_critic},
                  {"prior", policy_write_prior, strcmp(algorithm->acting, "prior") != 0}};
    /* A group that this algorithm does not have is left out. */
    status s = STATUS_OK;
    for (size_t i = 0; s == STATUS_OK && i < sizeof others / sizeof others[0]; i++) {
        const struct parameters_group *group =
            parameters_group(state_layout(state), others[i].group);
        if (group != NULL && others[i].wanted) {
            s = others[i].write(writer, info, state_read(state, weights) + group->at, err);
        }
    }
    return s;
}

/* How the policy acts: as the algorithm does, or by the best of several samples where it is asked
 * for. */
static const char *acting_rule(const struct settings *settings, const struct algorithm *algorithm)
{
    const bool gaussian = strcmp(algorithm->act, POLICY_ACT_GAUSSIAN) == 0;
    return gaussian && settings->act_candidates > 1 ? POLICY_ACT_ARGMAX : algorithm->act;
}

status state_package(const struct state *state, const struct settings *settings,
                     const char *signature_json, const struct policy_ranges *ranges,
                     const struct state_note *notes, size_t n_notes, void **bytes, size_t *size,
                     struct err *err)
{
    const struct algorithm *algorithm = algorithm_of(settings);
    const struct parameters_group *group = parameters_group(state_layout(state), algorithm->acting);
    ASSERT(group != NULL);
    /* What acting needs to know; the rest of the settings goes along under setting/. */
    struct policy_info info = {
        .candidates = settings->act_candidates,
        .perturb_scale = settings->perturb_scale,
        .O = settings->O,
        .A = settings->A,
        .K = settings->K,
        .n_widths = settings->n_widths,
        .min_std = strcmp(algorithm->acting, "prior") == 0 ? settings->prior_min_std
                                                           : settings->policy_min_std,
        .init_std = settings->init_std,
        .learner_step = state_step(state),
        .signature_json = signature_json,
    };
    /* Names of the algorithm and of its acting rule, and the hidden layers. */
    snprintf(info.algorithm, sizeof info.algorithm, "%s",
             settings_algorithm_name(settings->algorithm));
    snprintf(info.acting, sizeof info.acting, "%s", acting_rule(settings, algorithm));
    memcpy(info.widths, settings->widths, sizeof info.widths);

    /* The acting network, what it needs beside it, and the metadata; encoded in memory. */
    struct safetensors_writer *writer;
    status s = safetensors_writer_new(&writer);
    if (s != STATUS_OK) {
        return err_set(err, s, "policy package");
    }
    const struct normalizer normalizer = state_normalizer(state);
    const enum state_block weights = settings->policy_average > 0.0 ? STATE_AVERAGE : STATE_PARAMS;
    s = policy_write(writer, &info, state_read(state, weights) + group->at, err);
    if (s == STATUS_OK && normalizer.O > 0) {
        s = policy_write_normalizer(writer, &normalizer, err);
    }
    if (s == STATUS_OK && ranges != NULL && ranges->O > 0) {
        s = policy_write_ranges(writer, ranges, err);
    }
    s = s != STATUS_OK ? s : write_others(writer, state, weights, algorithm, &info, err);
    s = s != STATUS_OK ? s : note_all(writer, "setting/", settings, notes, n_notes, err);
    s = s != STATUS_OK ? s : safetensors_encode(writer, bytes, size, err);
    safetensors_writer_free(writer);
    return s == STATUS_OK ? s : err_context(err, s, "policy package");
}

/* ---- Reading ---- */

/* The settings that shape networks must be those of the file. */
struct comparing {
    const struct safetensors *file;
    status result;
    struct err *err;
};

/* Called by settings_visit: compares one setting, if it shapes a network, with the file's. */
static void compare_setting(void *arg, const char *name, const char *text)
{
    static const char *const shaping[] = {"algorithm", "O", "A", "K", "widths", "normalize"};
    struct comparing *comparing = arg;
    /* Other settings may change between two runs of one state. */
    for (size_t i = 0; i < sizeof shaping / sizeof shaping[0] && comparing->result == STATUS_OK;
         i++) {
        if (strcmp(name, shaping[i]) != 0) {
            continue;
        }
        const char *there = safetensors_metadata(comparing->file, name);
        if (there == NULL && strcmp(name, "normalize") == 0) {
            there = "none"; /* a checkpoint from before there was a choice */
        }
        if (there == NULL || strcmp(there, text) != 0) {
            comparing->result = err_set(comparing->err, STATUS_MISMATCH, "%s %.64s, expected %s",
                                        name, there == NULL ? "(absent)" : there, text);
        }
    }
}

/* The number of steps done, a whole number in the metadata. */
static status read_step(const struct safetensors *file, uint64_t *step, struct err *err)
{
    const char *text = safetensors_metadata(file, "learner_step");
    char *end = NULL;
    errno = 0;
    /* Absent, empty, signed, too large or followed by more: none is a step number. */
    if (text != NULL) {
        *step = strtoull(text, &end, 10);
    }
    if (text == NULL || end == text || *end != 0 || errno != 0 || text[0] == '-') {
        return err_set(err, STATUS_CORRUPT,
                       "metadata learner_step '%.32s': expected a whole number",
                       text == NULL ? "(absent)" : text);
    }
    return STATUS_OK;
}

/* Format and settings, before any tensor is read. */
static status check_file(const struct safetensors *file, const struct settings *settings,
                         struct err *err)
{
    const char *format = safetensors_metadata(file, "format");
    if (format == NULL || strcmp(format, FORMAT) != 0) {
        return err_set(err, STATUS_CORRUPT, "format %.32s, expected " FORMAT,
                       format == NULL ? "(absent)" : format);
    }
    /* The first setting that differs names the mismatch. */
    struct comparing comparing = {file, STATUS_OK, err};
    settings_visit(settings, compare_setting, &comparing);
    return comparing.result;
}

/* Reads all blocks into `fresh`, which is as large as they are. In a file without averages these
 * begin at the parameters. */
static status read_blocks(const struct state *state, const struct safetensors *file, float *fresh,
                          struct err *err)
{
    const struct parameters_layout *layout = state_layout(state);
    /* Every tensor of the layout must be in the file; others in it are ignored. */
    const char *decay = safetensors_metadata(file, "policy_average");
    struct pass pass = {.file = file, .fresh = fresh, .size = layout->size, .err = err};
    pass.averages = decay != NULL && strtod(decay, NULL) > 0.0;
    parameters_visit(layout, pass_tensor, &pass);
    if (!pass.averages) {
        memcpy(fresh + STATE_AVERAGE * layout->size, fresh, layout->size * sizeof *fresh);
    }
    return pass.result;
}

status state_load(struct state *state, const struct settings *settings, const char *path,
                  struct safetensors **out, struct err *err)
{
    /* The file is parsed whole; its tensors are copied into memory as large as the state's. */
    struct safetensors *file;
    status s = safetensors_read(&file, path, BYTES_MAX, err);
    if (s != STATUS_OK) {
        return err_context(err, s, "checkpoint");
    }
    /* Settings are checked before tensors are read, and none of this changes the state. */
    const size_t size = state_layout(state)->size;
    float *fresh = mem_aligned(STATE_BLOCKS * size * sizeof *fresh);
    uint64_t step = 0;
    s = fresh == NULL ? err_set(err, STATUS_NO_MEMORY, "learner state") : STATUS_OK;
    s = s != STATUS_OK ? s : check_file(file, settings, err);
    s = s != STATUS_OK ? s : read_step(file, &step, err);
    s = s != STATUS_OK ? s : read_blocks(state, file, fresh, err);
    if (s == STATUS_OK) {
        /* Everything was read: only now does the state change. */
        for (size_t i = 0; i < STATE_BLOCKS; i++) {
            state_replace(state, (enum state_block)i, fresh + i * size);
        }
        state_set_step(state, step);
    } else {
        s = err_context(err, s, "checkpoint %s", path);
    }
    mem_free(fresh);
    /* The caller may want the notes: then the file is theirs. */
    if (s == STATUS_OK && out != NULL) {
        *out = file;
    } else {
        safetensors_free(file);
    }
    return s;
}
