/* Runs the learner step on reference cases and prints how far it is from them.
 *
 *     verify_algorithms FOLDER [NAME ..] [--threads=N] [--kernels=NAME]
 *
 * FOLDER holds *.safetensors of format abm-reference-case-2 (tests/golden/algorithms/README.md):
 * inputs in float32, expectations in float64. NAME picks cases by algorithm or file name; without
 * names every file is run, and one whose algorithm is not in our table counts as failed. Prints,
 * for each file, the worst error of each quantity; those above its tolerance by name. Exit status 0
 * when at least one case ran and none failed. */
#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/networks/kernels.h"
#include "common/networks/policy.h"
#include "common/networks/safetensors.h"
#include "learner/step/algorithm.h"
#include "learner/step/state.h"
#include "learner/step/update.h"

#define FILE_MAX  ((size_t)2 << 30)
#define PATH_SIZE 4096

/* ---- Quantities: how an error is measured, and what is required (the reference's README) ---- */

enum quantity { REPORT, KL, ACTION, GRADIENT, GRADIENT_DUAL, ADAM, ADAM_DUAL, AFTER, N_QUANTITIES };

static const struct {
    const char *name;
    double tolerance;
} quantities[N_QUANTITIES] = {
    [REPORT] = {"report", 2e-5},           [KL] = {"kl", 1e-4},
    [ACTION] = {"action", 1e-5},           [GRADIENT] = {"grad", 2e-4},
    [GRADIENT_DUAL] = {"grad_dual", 1e-3}, [ADAM] = {"adam", 2e-4},
    [ADAM_DUAL] = {"adam_dual", 1e-3},     [AFTER] = {"after", 2e-2},
};

struct verdict {
    double worst[N_QUANTITIES]; /* < 0: not met in this case */
    int n_checked, n_failed;
};

/* Largest |got - want| / max(least, |want|). */
static double error_relative(const double *got, const double *want, size_t n, double least)
{
    double worst = 0.0;
    for (size_t i = 0; i < n; i++) {
        const double error = fabs(got[i] - want[i]) / fmax(least, fabs(want[i]));
        if (!(error <= worst)) { /* also NaN */
            worst = error;
        }
    }
    return worst;
}

/* |got - want| / |want|, norms over the tensor, |want| at least `least`. */
static double error_norm(const double *got, const double *want, size_t n, double least)
{
    double difference = 0.0;
    double norm = 0.0;
    for (size_t i = 0; i < n; i++) {
        difference += (got[i] - want[i]) * (got[i] - want[i]);
        norm += want[i] * want[i];
    }
    return sqrt(difference) / fmax(least, sqrt(norm));
}

/* Largest |got - want| / unit. */
static double error_absolute(const double *got, const double *want, size_t n, double unit)
{
    double worst = 0.0;
    for (size_t i = 0; i < n; i++) {
        const double error = fabs(got[i] - want[i]) / unit;
        if (!(error <= worst)) {
            worst = error;
        }
    }
    return worst;
}

static void note_error(struct verdict *verdict, const char *tensor, enum quantity quantity,
                       double error)
{
    verdict->n_checked++;
    if (!(error <= quantities[quantity].tolerance)) {
        verdict->n_failed++;
        printf("    %s: %s error %.2e, required %.0e\n", tensor, quantities[quantity].name, error,
               quantities[quantity].tolerance);
    }
    if (!(error <= verdict->worst[quantity])) {
        verdict->worst[quantity] = error;
    }
}

/* ---- A case ---- */

struct example {
    const struct safetensors *file;
    struct settings settings;
    int B, N;
    struct state *state;
    struct update *update;
    struct verdict verdict;
};

static status fail(struct err *err, const char *what, const char *name)
{
    return err_set(err, STATUS_CORRUPT, "%s: %s", name, what);
}

/* The tensor's elements as float (F32) or int32 (I32), the caller's (mem_free). NULL where it is
 * missing or has another size. */
static void *input(const struct safetensors *file, const char *name, enum safetensors_type type,
                   size_t count, struct err *err)
{
    const struct safetensors_tensor *tensor = safetensors_find(file, name);
    if (tensor == NULL || tensor->type != type || tensor->count != count) {
        (void)err_set(err, STATUS_CORRUPT, "%s: expected %s with %zu elements", name,
                      safetensors_type_name(type), count);
        return NULL;
    }
    void *copy = mem_aligned(count * 4 + 4);
    if (copy == NULL) {
        (void)err_set(err, STATUS_NO_MEMORY, "%s", name);
        return NULL;
    }
    memcpy(copy, tensor->data, count * 4);
    return copy;
}

static status read_int(const struct safetensors *file, const char *key, int *value, struct err *err)
{
    const char *text = safetensors_metadata(file, key);
    char *end = NULL;
    const long n = text == NULL ? 0 : strtol(text, &end, 10);
    if (text == NULL || end == text || *end != 0 || n < 1 || n > 1000000) {
        return fail(err, "expected a whole number from 1 on in the metadata", key);
    }
    *value = (int)n;
    return STATUS_OK;
}

/* Settings from the metadata; keys that are no settings (format, steps, ..) are skipped. */
static status read_settings(struct example *example, struct err *err)
{
    const char *format = safetensors_metadata(example->file, "format");
    if (format == NULL || strcmp(format, "abm-reference-case-2") != 0) {
        return fail(err, "expected abm-reference-case-2", "format");
    }
    example->settings = settings_default();
    for (size_t i = 0; i < safetensors_metadata_count(example->file); i++) {
        const char *key;
        const char *text;
        safetensors_metadata_at(example->file, i, &key, &text);
        const status s = settings_set(&example->settings, key, text, err);
        if (s != STATUS_OK && s != STATUS_NOT_FOUND) {
            return s;
        }
    }
    status s = read_int(example->file, "B", &example->B, err);
    s = s != STATUS_OK ? s : read_int(example->file, "N", &example->N, err);
    return s != STATUS_OK ? s : settings_check(&example->settings, err);
}

struct filling {
    const struct safetensors *file;
    const char *prefix;
    float *block;
    bool targets; /* only groups with a target copy */
    int n;
    status result;
    struct err *err;
};

static void fill_tensor(void *arg, const struct parameters_group *group, const char *name,
                        const struct network_tensor *tensor)
{
    struct filling *filling = arg;
    if (filling->result != STATUS_OK || (filling->targets && !group->has_target)) {
        return;
    }
    char full[256];
    snprintf(full, sizeof full, "%s/%s", filling->prefix, name);
    const size_t shape[2] = {(size_t)tensor->shape[0], (size_t)tensor->shape[1]};
    filling->n++;
    filling->result = safetensors_copy(filling->file, full, SAFETENSORS_F32, tensor->n_dims, shape,
                                       filling->block + tensor->at, filling->err);
}

static bool begins(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

static int count_prefix(const struct safetensors *file, const char *prefix)
{
    int n = 0;
    for (size_t i = 0; i < safetensors_count(file); i++) {
        n += begins(safetensors_at(file, i)->name, prefix);
    }
    return n;
}

/* Fills one block of the state; the file must have these tensors and no others under that prefix.
 */
static status fill_block(struct example *example, const char *prefix, float *block, bool targets,
                         struct err *err)
{
    struct filling filling = {example->file, prefix, block, targets, 0, STATUS_OK, err};
    parameters_visit(state_layout(example->state), fill_tensor, &filling);
    if (filling.result != STATUS_OK) {
        return filling.result;
    }
    char with_slash[64];
    snprintf(with_slash, sizeof with_slash, "%s/", prefix);
    if (count_prefix(example->file, with_slash) != filling.n) {
        return fail(err, "has tensors that the algorithm does not", prefix);
    }
    return STATUS_OK;
}

/* ---- Comparing ---- */

/* Expected values as double. NULL (out of memory) ends the program. */
static double *expected(const struct safetensors_tensor *tensor)
{
    double *want = mem_array(tensor->count + 1, sizeof *want);
    ASSERT(want != NULL);
    if (tensor->type == SAFETENSORS_F64) {
        memcpy(want, tensor->data, tensor->count * sizeof *want);
    } else {
        for (size_t i = 0; i < tensor->count; i++) {
            float value;
            memcpy(&value, (const char *)tensor->data + i * sizeof value, sizeof value);
            want[i] = tensor->type == SAFETENSORS_F32 ? (double)value : (double)NAN;
        }
    }
    return want;
}

static void missing(struct example *example, const char *tensor, const char *what)
{
    printf("    %s: %s\n", tensor, what);
    example->verdict.n_failed++;
}

static void compare_report(struct example *example, const struct safetensors_tensor *tensor,
                           const char *name, const struct report *report)
{
    const struct report_value *value = report_find(report, name);
    if (value == NULL || (size_t)value->size != tensor->count) {
        missing(example, tensor->name, "not reported, or of another size");
        return;
    }
    double *want = expected(tensor);
    const bool kl = begins(name, "kl_");
    note_error(&example->verdict, tensor->name, kl ? KL : REPORT,
               error_relative(value->values, want, tensor->count, kl ? 1e-2 : 1.0));
    mem_free(want);
}

/* Finds the place of "group/name" in the layout. */
struct finding {
    const char *name;
    bool found;
    struct network_tensor tensor;
};

static void find_tensor(void *arg, const struct parameters_group *group, const char *name,
                        const struct network_tensor *tensor)
{
    (void)group;
    struct finding *finding = arg;
    if (strcmp(name, finding->name) == 0) {
        finding->found = true;
        finding->tensor = *tensor;
    }
}

/* `name` is the part after the prefix: "policy/layers/0/weight". */
static void compare_block(struct example *example, const struct safetensors_tensor *tensor,
                          const char *name, const float *block, enum quantity quantity)
{
    struct finding finding = {.name = name};
    parameters_visit(state_layout(example->state), find_tensor, &finding);
    if (!finding.found || finding.tensor.size != tensor->count) {
        missing(example, tensor->name, "not ours, or of another size");
        return;
    }
    const size_t n = tensor->count;
    double *want = expected(tensor);
    double *got = mem_array(n + 1, sizeof *got);
    ASSERT(got != NULL);
    for (size_t i = 0; i < n; i++) {
        got[i] = (double)block[finding.tensor.at + i];
    }
    const bool dual = begins(name, "dual/");
    const double rate = dual ? example->settings.dual_lr : example->settings.lr;
    switch (quantity) {
    case GRADIENT:
        note_error(&example->verdict, tensor->name, dual ? GRADIENT_DUAL : GRADIENT,
                   error_norm(got, want, n, 1e-6));
        break;
    case ADAM:
        note_error(&example->verdict, tensor->name, dual ? ADAM_DUAL : ADAM,
                   error_norm(got, want, n, 1e-12));
        break;
    default:
        note_error(&example->verdict, tensor->name, AFTER, error_absolute(got, want, n, rate));
        break;
    }
    mem_free(got);
    mem_free(want);
}

/* Compares everything that the file expects after step `number`. */
static void compare_step(struct example *example, int number, const struct report *report)
{
    const struct state *state = example->state;
    char step[64];
    snprintf(step, sizeof step, "step%d/grad/", number);
    const float *gradients =
        count_prefix(example->file, step) > 0 ? update_last_gradients(example->update) : NULL;
    const struct {
        const char *format;
        const float *block;
        enum quantity quantity;
    } blocks[] = {
        {"step%d/grad/", gradients, GRADIENT},
        {"after%d/", state_read(state, STATE_PARAMS), AFTER},
        {"after%d_target/", state_read(state, STATE_TARGETS), AFTER},
        {"after%d_m/", state_read(state, STATE_M), ADAM},
        {"after%d_v/", state_read(state, STATE_V), ADAM},
    };
    for (size_t i = 0; i < safetensors_count(example->file); i++) {
        const struct safetensors_tensor *tensor = safetensors_at(example->file, i);
        snprintf(step, sizeof step, "step%d/expect/", number);
        if (begins(tensor->name, step)) {
            compare_report(example, tensor, tensor->name + strlen(step), report);
        }
        for (size_t b = 0; b < sizeof blocks / sizeof blocks[0]; b++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
            snprintf(step, sizeof step, blocks[b].format, number);
#pragma GCC diagnostic pop
            if (begins(tensor->name, step)) {
                compare_block(example, tensor, tensor->name + strlen(step), blocks[b].block,
                              blocks[b].quantity);
            }
        }
    }
}

/* ---- Running ---- */

/* Acts as an evaluator does: state, package, parse, act. */
static status run_act(struct example *example, struct err *err)
{
    const struct safetensors_tensor *want = safetensors_find(example->file, "act/expect/action");
    if (want == NULL) {
        return STATUS_OK;
    }
    void *bytes = NULL;
    size_t size;
    struct policy *policy = NULL;
    float *x = NULL;
    float *z = NULL;
    float *scratch = NULL;
    float *actions = NULL;
    double *wanted = NULL;
    double *got = NULL;
    const size_t A = (size_t)example->settings.A;
    const size_t P = want->count / A;
    status s =
        state_package(example->state, &example->settings, NULL, NULL, NULL, 0, &bytes, &size, err);
    s = s != STATUS_OK ? s : policy_parse(&policy, bytes, size, err);
    if (s == STATUS_OK) {
        x = input(example->file, "act/input", SAFETENSORS_F32,
                  P * (size_t)settings_inputs(&example->settings), err);
        z = input(example->file, "act/noise", SAFETENSORS_F32,
                  P * (size_t)policy_candidates(policy) * A, err);
        scratch = mem_aligned(policy_scratch(policy, (int)P) * sizeof(float));
        actions = mem_array(P * A, sizeof *actions);
        got = mem_array(P * A, sizeof *got);
        wanted = expected(want);
        s = x == NULL || z == NULL || scratch == NULL || actions == NULL || got == NULL
                ? STATUS_CORRUPT
                : STATUS_OK;
    }
    if (s == STATUS_OK) {
        policy_act(policy, actions, x, z, (int)P, scratch);
        for (size_t i = 0; i < P * A; i++) {
            got[i] = (double)actions[i];
        }
        note_error(&example->verdict, "act/expect/action", ACTION,
                   error_absolute(got, wanted, P * A, 1.0));
    }
    policy_free(policy);
    mem_free(bytes);
    mem_free(x);
    mem_free(z);
    mem_free(scratch);
    mem_free(actions);
    mem_free(got);
    mem_free(wanted);
    return s;
}

/* An input of step `number` of the case, or NULL with `err` set. */
static void *step_input(const struct example *example, int number, const char *name,
                        enum safetensors_type type, size_t count, struct err *err)
{
    char full[64];
    snprintf(full, sizeof full, "step%d/%s", number, name);
    return input(example->file, full, type, count, err);
}

/* The weights of the step's snippets; NULL in *weights where the file has none. False, with `err`
 * set, when they are of another size. */
static bool step_weights(const struct example *example, int number, double **weights,
                         struct err *err)
{
    char full[64];
    snprintf(full, sizeof full, "step%d/batch/weights", number);
    const size_t B = (size_t)example->B;
    *weights = NULL;
    if (safetensors_find(example->file, full) == NULL) {
        return true;
    }
    *weights = mem_array(B, sizeof **weights);
    return *weights != NULL && safetensors_copy(example->file, full, SAFETENSORS_F64, 1, &B,
                                                *weights, err) == STATUS_OK;
}

/* Noise array i of the step: value, improve, backup. Where the file has none, *array is NULL, and
 * the step says so if it needs it. False, with `err` set, when it is of another size. */
static bool step_noise(const struct example *example, int number, int i, float **array,
                       struct err *err)
{
    const struct settings *settings = &example->settings;
    const struct algorithm *algorithm = algorithm_of(settings);
    const size_t N = (size_t)example->N;
    const struct {
        const char *name;
        size_t rows, samples;
    } kinds[] = {
        {"noise/value", N + 1, (size_t)settings->M},
        {"noise/improve", N, algorithm->improve_one ? 1 : (size_t)settings->M},
        {"noise/backup", N, algorithm->backup_one ? 1 : (size_t)settings->candidates},
    };
    char full[64];
    snprintf(full, sizeof full, "step%d/%s", number, kinds[i].name);
    *array = NULL;
    if (safetensors_find(example->file, full) == NULL) {
        return true;
    }
    *array = input(example->file, full, SAFETENSORS_F32,
                   (size_t)example->B * kinds[i].rows * (size_t)settings->T * kinds[i].samples *
                       (size_t)settings->A,
                   err);
    return *array != NULL;
}

static status run_step(struct example *example, int number, struct err *err)
{
    const struct settings *settings = &example->settings;
    const size_t B = (size_t)example->B;
    const size_t N = (size_t)example->N;
    const size_t T = (size_t)settings->T;
    const size_t W = (size_t)settings_row_width(settings);
    float *rows = step_input(example, number, "batch/rows", SAFETENSORS_F32, B * (N + 1) * W, err);
    void *valid = step_input(example, number, "batch/valid", SAFETENSORS_I32, B, err);
    int32_t *tasks = step_input(example, number, "batch/tasks", SAFETENSORS_I32, B * T, err);
    float *noise[3];
    double *weights = NULL;
    bool complete = step_weights(example, number, &weights, err);
    for (int i = 0; i < 3; i++) {
        complete = step_noise(example, number, i, &noise[i], err) && complete;
    }
    status s = STATUS_CORRUPT;
    if (rows != NULL && valid != NULL && tasks != NULL && complete) {
        const struct batch batch = {.rows = rows,
                                    .n_valid = valid,
                                    .tasks = tasks,
                                    .B = example->B,
                                    .N = example->N,
                                    .weights = weights};
        const struct noise given = {.value = noise[0], .improve = noise[1], .backup = noise[2]};
        static struct report report;
        s = update_step(example->update, example->state, &batch, &given, &report, err);
        if (s == STATUS_OK) {
            compare_step(example, number, &report);
        }
    }
    mem_free(rows);
    mem_free(valid);
    mem_free(tasks);
    mem_free(weights);
    for (int i = 0; i < 3; i++) {
        mem_free(noise[i]);
    }
    return s;
}

static status run_case(struct example *example, int threads, struct err *err)
{
    status s = read_settings(example, err);
    s = s != STATUS_OK ? s : state_new(&example->state, &example->settings, err);
    s = s != STATUS_OK
            ? s
            : fill_block(example, "init", state_write(example->state, STATE_PARAMS), false, err);
    s = s != STATUS_OK ? s
                       : fill_block(example, "init_target",
                                    state_write(example->state, STATE_TARGETS), true, err);
    s = s != STATUS_OK ? s
                       : update_new(&example->update, &example->settings, example->B, example->N,
                                    threads, err);
    s = s != STATUS_OK ? s : run_act(example, err);
    for (int number = 1; s == STATUS_OK; number++) {
        char rows[64];
        snprintf(rows, sizeof rows, "step%d/batch/rows", number);
        if (safetensors_find(example->file, rows) == NULL) {
            break;
        }
        s = run_step(example, number, err);
    }
    return s;
}

/* Every expectation in the file must have been compared. */
static void check_complete(struct example *example)
{
    int n = count_prefix(example->file, "act/expect/") + count_prefix(example->file, "after");
    for (size_t i = 0; i < safetensors_count(example->file); i++) {
        const char *name = safetensors_at(example->file, i)->name;
        n += begins(name, "step") &&
             (strstr(name, "/expect/") != NULL || strstr(name, "/grad/") != NULL);
    }
    if (n == 0 || n != example->verdict.n_checked) {
        printf("    %d expectations in the file, %d checked\n", n, example->verdict.n_checked);
        example->verdict.n_failed++;
    }
}

static bool verify_file(const struct safetensors *file, const char *name, int threads)
{
    struct example example = {.file = file};
    for (int i = 0; i < N_QUANTITIES; i++) {
        example.verdict.worst[i] = -1.0;
    }
    struct err err = {0};
    const status s = run_case(&example, threads, &err);
    if (s != STATUS_OK) {
        printf("    %s\n", err.text);
        example.verdict.n_failed++;
    } else {
        check_complete(&example);
    }
    const bool passed = example.verdict.n_failed == 0;
    printf("%-28s %-6s", name, passed ? "ok" : "FAILED");
    for (int i = 0; i < N_QUANTITIES; i++) {
        if (!(example.verdict.worst[i] < 0.0)) {
            printf(" %s %.1e", quantities[i].name, example.verdict.worst[i]);
        }
    }
    printf("\n");
    fflush(stdout);
    update_free(example.update);
    state_free(example.state);
    return passed;
}

/* ---- The folder ---- */

static bool is_wanted(const struct safetensors *file, const char *stem, char **names, int n_names)
{
    const char *algorithm = safetensors_metadata(file, "algorithm");
    for (int i = 0; i < n_names; i++) {
        if (strcmp(names[i], stem) == 0 ||
            (algorithm != NULL && strcmp(names[i], algorithm) == 0)) {
            return true;
        }
    }
    return n_names == 0;
}

static int is_case(const struct dirent *entry)
{
    const size_t length = strlen(entry->d_name);
    return length > 12 && strcmp(entry->d_name + length - 12, ".safetensors") == 0;
}

/* Reads and verifies one file: 1 passed, 0 failed, -1 not asked for. */
static int verify_path(const char *folder, const char *entry, char **names, int n_names,
                       int threads)
{
    char path[PATH_SIZE];
    char stem[512];
    snprintf(path, sizeof path, "%s/%s", folder, entry);
    snprintf(stem, sizeof stem, "%.*s", (int)strlen(entry) - 12, entry);
    struct safetensors *file;
    struct err err = {0};
    if (safetensors_read(&file, path, FILE_MAX, &err) != STATUS_OK) {
        printf("    %s\n%-28s FAILED\n", err.text, stem);
        return 0;
    }
    const int result =
        is_wanted(file, stem, names, n_names) ? verify_file(file, stem, threads) : -1;
    safetensors_free(file);
    return result;
}

int main(int argc, char **argv)
{
    const char *folder = NULL;
    char **names = calloc((size_t)argc + 1, sizeof *names);
    int n_names = 0;
    int threads = 2;
    const char *kernels = "best";
    for (int i = 1; i < argc; i++) {
        if (begins(argv[i], "--threads=")) {
            threads = atoi(argv[i] + 10);
        } else if (begins(argv[i], "--kernels=")) {
            kernels = argv[i] + 10;
        } else if (folder == NULL) {
            folder = argv[i];
        } else {
            names[n_names++] = argv[i];
        }
    }
    struct err err = {0};
    if (folder == NULL || threads < 1 || threads > 1024 ||
        kernels_select(kernels, &err) != STATUS_OK) {
        fprintf(stderr,
                "%s\nusage: verify_algorithms FOLDER [NAME ..] [--threads=N] [--kernels=NAME]\n",
                err.text);
        free(names);
        return 2;
    }
    struct dirent **entries = NULL;
    const int n = scandir(folder, &entries, is_case, alphasort);
    int passed = 0;
    int failed = n < 0;
    for (int i = 0; i < n; i++) {
        const int result = verify_path(folder, entries[i]->d_name, names, n_names, threads);
        passed += result == 1;
        failed += result == 0;
        free(entries[i]);
    }
    free(entries);
    free(names);
    if (passed + failed == 0 || n < 0) {
        printf("no such cases in %s\n", folder);
        failed = 1;
    }
    printf("%d passed, %d failed\n", passed, failed);
    return passed > 0 && failed == 0 ? 0 : 1;
}
