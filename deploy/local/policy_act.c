/* Reads observations and noise from one safetensors file, asks the policy, and writes actions to
 * another. Names and shapes are those of the ONNX model, so that the same file can be given to
 * it. Everything about the input is checked before the first action; the output is written whole
 * or not. */
#include "deploy/local/policy_act.h"

#include <math.h>
#include <string.h>

#include "common/base/memory.h"

/* A file of inputs is read into memory whole; larger ones are refused. */
#define IN_BYTES_MAX ((size_t)1 << 30)
/* Rows of one call of policy_act(): enough for the kernels, and the scratch memory stays small. */
#define ROWS_AT_ONCE 64

/* What is needed between reading and writing. policy_act_files() owns the arrays and frees them. */
struct acting {
    const struct policy *policy;
    const struct policy_info *info;
    /* Which rule picks the action; a negative `task` means that the file has one for each row. */
    enum policy_rule rule;
    int task;
    size_t N, noise;           /* rows; normals of one */
    float *inputs;             /* (N, I) */
    float *normals;            /* (N, noise), NULL for a mean */
    float *actions, *physical; /* (N, A); physical: NULL without a signature */
    float *scratch;
};

/* ---- Reading ---- */

/* `file` has the tensors that it should have, and no others: a name misspelt is not one left out.
 */
static status check_names(const struct acting *acting, const struct safetensors *file,
                          struct err *err)
{
    /* Noise is an input of rules that draw, and a task one of policies with several tasks, unless
     * --task has fixed it. */
    const bool with_noise = acting->rule != POLICY_MEAN;
    const bool with_task = acting->info->K > 1 && acting->task < 0;
    for (size_t i = 0; i < safetensors_count(file); i++) {
        /* Missing tensors are found later, when they are read. */
        const char *name = safetensors_at(file, i)->name;
        if (strcmp(name, "observation") != 0 && !(with_noise && strcmp(name, "noise") == 0) &&
            !(with_task && strcmp(name, "task") == 0)) {
            return err_set(err, STATUS_INVALID, "tensor %.64s: expected observation%s%s", name,
                           with_noise ? ", noise" : "", with_task ? ", task" : "");
        }
    }
    return STATUS_OK;
}

/* A network would pass NaN on into the action. */
static status check_finite(const float *x, size_t n, const char *name, struct err *err)
{
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(x[i])) {
            return err_set(err, STATUS_INVALID, "tensor %s: element %zu is not finite", name, i);
        }
    }
    return STATUS_OK;
}

/* Rows of the file's first and foremost tensor. */
static status count_rows(struct acting *acting, const struct safetensors *file, struct err *err)
{
    /* The number of rows is free; every other size is given by the policy. */
    const struct safetensors_tensor *tensor = safetensors_find(file, "observation");
    if (tensor == NULL) {
        return err_set(err, STATUS_NOT_FOUND, "tensor observation is missing");
    }
    if (tensor->n_dims != 2 || tensor->shape[0] == 0 ||
        tensor->shape[1] != (size_t)acting->info->O) {
        return err_set(err, STATUS_MISMATCH, "tensor observation: expected shape (N, %d), N from 1",
                       acting->info->O);
    }
    acting->N = tensor->shape[0];
    return STATUS_OK;
}

/* The one-hot tasks behind the observations of inputs(N, I). */
static status add_tasks(struct acting *acting, const struct safetensors *file, struct err *err)
{
    /* `tasks` is allocated also where one task is given for all: the code below is then the
     * same. */
    const size_t N = acting->N, O = (size_t)acting->info->O, K = (size_t)acting->info->K;
    int64_t *tasks = mem_array(N, sizeof *tasks);
    if (tasks == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "%zu rows", N);
    }
    status s = STATUS_OK;
    /* Without --task the file names the task of each row. */
    if (acting->task < 0) {
        s = safetensors_copy(file, "task", SAFETENSORS_I64, 1, &N, tasks, err);
    }
    /* A one-hot code needs an index within its bounds: it comes from a file. */
    for (size_t n = 0; s == STATUS_OK && n < N; n++) {
        const int64_t task = acting->task < 0 ? tasks[n] : acting->task;
        if (task < 0 || task >= (int64_t)K) {
            s = err_set(err, STATUS_INVALID, "tensor task: row %zu: %lld: expected 0..%zu", n,
                        (long long)task, K - 1);
        } else {
            acting->inputs[n * (O + K) + O + (size_t)task] = 1.0f;
        }
    }
    mem_free(tasks);
    return s;
}

/* inputs(N, I): each row has the observation, then the one-hot task where there are several. */
static status read_inputs(struct acting *acting, const struct safetensors *file, struct err *err)
{
    const size_t N = acting->N, O = (size_t)acting->info->O;
    const size_t I = (size_t)policy_inputs(acting->info);
    /* The file has observations densely, while inputs have room for the task behind each. */
    float *observations = mem_array(N * O, sizeof *observations);
    acting->inputs = mem_array(N * I, sizeof *acting->inputs);
    if (observations == NULL || acting->inputs == NULL) {
        mem_free(observations);
        return err_set(err, STATUS_NO_MEMORY, "%zu rows", N);
    }
    /* The shape is checked by the copy, which fails where the file has another. */
    const size_t shape[2] = {N, O};
    status s = safetensors_copy(file, "observation", SAFETENSORS_F32, 2, shape, observations, err);
    s = s != STATUS_OK ? s : check_finite(observations, N * O, "observation", err);
    /* The rest of each row is zero, as mem_array() left it. */
    for (size_t n = 0; s == STATUS_OK && n < N; n++) {
        memcpy(acting->inputs + n * I, observations + n * O, O * sizeof *observations);
    }
    mem_free(observations);
    return s == STATUS_OK && acting->info->K > 1 ? add_tasks(acting, file, err) : s;
}

/* Normals of each row, as many as the rule needs; none for the mean. */
static status read_noise(struct acting *acting, const struct safetensors *file, struct err *err)
{
    const size_t N = acting->N, A = (size_t)acting->info->A;
    const size_t C = (size_t)policy_candidates(acting->policy);
    if (acting->rule == POLICY_MEAN) {
        return STATUS_OK;
    }
    /* One draw for each candidate and action; a sample needs the normals of one candidate. */
    acting->noise = C * A;
    acting->normals = mem_array(N, acting->noise * sizeof *acting->normals);
    if (acting->normals == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "noise of %zu rows", N);
    }
    /* As in the ONNX model: (N, A) for a sample, (N, C, A) for the best of C candidates. */
    const size_t sample[] = {N, A}, argmax[] = {N, C, A};
    const bool is_sample = acting->rule == POLICY_SAMPLE;
    const status s = safetensors_copy(file, "noise", SAFETENSORS_F32, is_sample ? 2 : 3,
                                      is_sample ? sample : argmax, acting->normals, err);
    return s != STATUS_OK ? s : check_finite(acting->normals, N * acting->noise, "noise", err);
}

/* Reads and checks everything; the file is freed here, since all values are copied out of it. */
static status read_file(struct acting *acting, const char *in, struct err *err)
{
    struct safetensors *file;
    /* Each check relies on those before it: names, then the number of rows, then the tensors. */
    status s = safetensors_read(&file, in, IN_BYTES_MAX, err);
    if (s != STATUS_OK) {
        return s;
    }
    s = check_names(acting, file, err);
    s = s != STATUS_OK ? s : count_rows(acting, file, err);
    s = s != STATUS_OK ? s : read_inputs(acting, file, err);
    s = s != STATUS_OK ? s : read_noise(acting, file, err);
    safetensors_free(file);
    return s == STATUS_OK ? s : err_context(err, s, "%s", in);
}

/* ---- Acting ---- */

/* Acts in blocks of rows. Rows are independent of one another. */
static void act(struct acting *acting)
{
    const size_t A = (size_t)acting->info->A, I = (size_t)policy_inputs(acting->info);
    for (size_t n = 0; n < acting->N; n += ROWS_AT_ONCE) {
        const size_t left = acting->N - n;
        /* The last block may have fewer rows than the others. */
        policy_act(acting->policy, acting->actions + n * A, acting->inputs + n * I,
                   acting->normals != NULL ? acting->normals + n * acting->noise : NULL,
                   (int)(left < ROWS_AT_ONCE ? left : ROWS_AT_ONCE), acting->scratch);
    }
}

/* Fills `physical`: the actions in the units of the logs. A policy without a signature has no
 * limits to scale to, and none are written. */
static status scale(struct acting *acting, struct err *err)
{
    const size_t A = (size_t)acting->info->A;
    if (acting->info->signature_json == NULL) {
        return STATUS_OK;
    }
    struct signature *signature = mem_new(sizeof *signature);
    acting->physical = mem_array(acting->N * A, sizeof *acting->physical);
    status s = signature != NULL && acting->physical != NULL
                   ? policy_info_signature(signature, acting->info, err)
                   : err_set(err, STATUS_NO_MEMORY, "%zu rows", acting->N);
    for (size_t n = 0; s == STATUS_OK && n < acting->N; n++) {
        signature_to_physical(signature, acting->physical + n * A, acting->actions + n * A);
    }
    mem_free(signature);
    return s;
}

/* Writes the actions under the names that the ONNX model gives its outputs. */
static status write_file(const struct acting *acting, const char *out, struct err *err)
{
    const size_t shape[2] = {acting->N, (size_t)acting->info->A};
    struct safetensors_writer *writer;
    status s = safetensors_writer_new(&writer);
    if (s != STATUS_OK) {
        return err_set(err, s, "%s", out);
    }
    s = safetensors_add(writer, "action", SAFETENSORS_F32, 2, shape, acting->actions, err);
    if (s == STATUS_OK && acting->physical != NULL) {
        s = safetensors_add(writer, "action_physical", SAFETENSORS_F32, 2, shape, acting->physical,
                            err);
    }
    s = s != STATUS_OK ? s : safetensors_replace(writer, out, err);
    safetensors_writer_free(writer);
    return s;
}

/* Reads, acts, writes. On an error the caller frees what was allocated so far. */
static status run(struct acting *acting, const char *in, const char *out, struct err *err)
{
    status s = read_file(acting, in, err);
    if (s != STATUS_OK) {
        return s;
    }
    acting->actions = mem_array(acting->N * (size_t)acting->info->A, sizeof *acting->actions);
    /* Aligned for the kernels, and sized for one block of rows. */
    acting->scratch =
        mem_aligned(policy_scratch(acting->policy, ROWS_AT_ONCE) * sizeof *acting->scratch);
    if (acting->actions == NULL || acting->scratch == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "%zu rows", acting->N);
    }
    act(acting);
    s = scale(acting, err);
    return s != STATUS_OK ? s : write_file(acting, out, err);
}

status policy_act_files(const struct policy *policy, enum policy_rule rule, int task,
                        const char *in, const char *out, struct err *err)
{
    /* All arrays begin as NULL, which mem_free() accepts. */
    struct acting acting = {
        .policy = policy, .info = policy_info(policy), .rule = rule, .task = task};
    const status s = run(&acting, in, out, err);
    mem_free(acting.inputs);
    mem_free(acting.normals);
    mem_free(acting.actions);
    mem_free(acting.physical);
    mem_free(acting.scratch);
    return s;
}
