/* Writing the manifest, and comparing one with the logs as they are now.
 *
 * Comparing is quick: a file with the listed size and time is taken for unchanged, as build tools
 * do, and only one with another time is read for its digest. What is compared is contents: the
 * metadata's digest, the names, sizes and digests of files, the script's digest, and the options
 * that decide which rows come out.
 *
 * The manifest says what the table of a run was made of, and is written atomically. Folders are
 * listed for people and not compared: logs may be moved. One thread. */
#include "restorer/run_manifest.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/config.h"
#include "common/base/json.h"
#include "common/base/memory.h"
#include "common/base/text.h"

/* Room for the run's folder and the file's name. */
#define PATH_SIZE (CONFIG_TEXT_SIZE + 32)
/* A larger file is no manifest of ours. */
#define MANIFEST_BYTES_MAX (64u << 20)
/* Enough for 64 bits as text, in hexadecimal digits or as nanoseconds. */
#define NUMBER_SIZE 24

/* As text, since a JSON number holds 53 bits only. */
static void print_digest(char text[NUMBER_SIZE], uint64_t digest)
{
    snprintf(text, NUMBER_SIZE, "%016" PRIx64, digest);
}

/* Names are compared without their folder, which may have moved. */
static const char *file_name(const struct dataset_shard *shard)
{
    const char *name = strrchr(shard->path, '/');
    return name != NULL ? name + 1 : shard->path;
}

/* Size and time of a shard's file as it is now; zeros where it is not there. */
static void look_at(const struct dataset_shard *shard, double *bytes, char modified[NUMBER_SIZE])
{
    struct stat info = {0};
    (void)!stat(shard->path, &info);
    *bytes = (double)info.st_size;
    snprintf(modified, NUMBER_SIZE, "%lld",
             (long long)info.st_mtim.tv_sec * 1000000000 + info.st_mtim.tv_nsec);
}

/* ---- writing ---- */

/* The folders of the logs, for people who read the file. */
static bool add_datasets(cJSON *manifest, const struct sources *sources)
{
    cJSON *folders = cJSON_AddArrayToObject(manifest, "datasets");
    for (size_t i = 0; folders != NULL && i < sources_n(sources); i++) {
        if (!cJSON_AddItemToArray(folders,
                                  cJSON_CreateString(source_path(sources_at(sources, i))))) {
            return false;
        }
    }
    /* Where the mapping is a file of the user's, it is needed to read the logs again. */
    const char *mapping = source_mapping(sources_at(sources, 0));
    return folders != NULL &&
           (mapping[0] == '\0' || cJSON_AddStringToObject(manifest, "mapping", mapping) != NULL);
}

/* One file; its digest only where `whole`, since it may have to be read for it. */
static bool add_file(cJSON *files, const struct source *source, size_t shard_i, bool whole)
{
    const struct dataset_shard *shard = source_shard(source, shard_i);
    double bytes;
    uint64_t digest;
    char modified[NUMBER_SIZE];
    char text[NUMBER_SIZE];
    look_at(shard, &bytes, modified);
    /* What was added belongs to `files`, which the caller frees on failure too. */
    cJSON *file = cJSON_CreateObject();
    if (!cJSON_AddItemToArray(files, file) ||
        cJSON_AddStringToObject(file, "file", file_name(shard)) == NULL ||
        cJSON_AddNumberToObject(file, "bytes", bytes) == NULL ||
        cJSON_AddStringToObject(file, "modified", modified) == NULL) {
        return false;
    }
    /* A file that cannot be read has no digest; restoring it reports that. */
    if (!whole || source_shard_digest(source, shard_i, &digest, NULL) != STATUS_OK) {
        return true;
    }
    print_digest(text, digest);
    return cJSON_AddStringToObject(file, "xxh64", text) != NULL;
}

/* Per source: the digest of its metadata or mapping, and its files. */
static bool add_logs(cJSON *made_of, const struct sources *sources, bool whole)
{
    cJSON *logs = cJSON_AddArrayToObject(made_of, "logs");
    for (size_t d = 0; logs != NULL && d < sources_n(sources); d++) {
        const struct source *source = sources_at(sources, d);
        char metadata[NUMBER_SIZE];
        print_digest(metadata, source_digest(source));
        cJSON *one = cJSON_CreateObject();
        if (!cJSON_AddItemToArray(logs, one) ||
            cJSON_AddStringToObject(one, "metadata", metadata) == NULL) {
            return false;
        }
        cJSON *files = cJSON_AddArrayToObject(one, "files");
        for (size_t i = 0; i < source_n_shards(source); i++) {
            if (files == NULL || !add_file(files, source, i, whole)) {
                return false;
            }
        }
    }
    return logs != NULL;
}

/* The rules about episodes in words; empty for those that use all. */
static const char *rules_of(const struct run_manifest_inputs *inputs)
{
    const struct selection *selection = inputs->selection;
    return selection != NULL && selection->rules.bytes != NULL ? selection->rules.bytes : "";
}

/* Which episodes are held out, in words; empty for none. */
static bool add_holdout(cJSON *made_of, const struct run_manifest_inputs *inputs)
{
    const struct episode_holdout holdout = restorer_options_holdout(inputs->options);
    struct text text = {0};
    text_add(&text, "");
    episode_holdout_write(&holdout, &text);
    char *words = text_take(&text, NULL);
    const bool added = words != NULL && cJSON_AddStringToObject(made_of, "holdout", words) != NULL;
    mem_free(words);
    return added;
}

/* The choices that decide which rows come out of the logs. */
static bool add_rules(cJSON *made_of, const struct run_manifest_inputs *inputs)
{
    const struct signature *signature = relabel_signature(inputs->relabel);
    char script[NUMBER_SIZE];
    print_digest(script, relabel_digest(inputs->relabel));
    cJSON *rewards = cJSON_AddArrayToObject(made_of, "rewards");
    for (uint32_t k = 0; rewards != NULL && k < signature->K; k++) {
        if (!cJSON_AddItemToArray(rewards, cJSON_CreateString(signature->rewards[k]))) {
            return false;
        }
    }
    return rewards != NULL && cJSON_AddStringToObject(made_of, "relabel", script) != NULL &&
           cJSON_AddStringToObject(made_of, "actions", inputs->options->actions) != NULL &&
           cJSON_AddStringToObject(made_of, "rules", rules_of(inputs)) != NULL &&
           add_holdout(made_of, inputs);
}

/* The options about episodes, so that others can read the logs by the same rules. */
static bool add_episodes(cJSON *manifest, const struct restorer_options *options)
{
    cJSON *episodes = cJSON_AddObjectToObject(manifest, "rules");
    cJSON *filter = cJSON_AddArrayToObject(episodes, "filter");
    for (size_t i = 0; filter != NULL && i < options->filter.n; i++) {
        if (!cJSON_AddItemToArray(filter, cJSON_CreateString(options->filter.items[i]))) {
            return false;
        }
    }
    return filter != NULL &&
           cJSON_AddStringToObject(episodes, "bad_rows", options->bad_rows) != NULL &&
           cJSON_AddNumberToObject(episodes, "min_piece", (double)options->min_piece) != NULL &&
           cJSON_AddStringToObject(episodes, "actions", options->actions) != NULL;
}

/* What the rules about episodes have done, where there are any. */
static bool add_selection(cJSON *manifest, const struct selection *selection)
{
    if (selection == NULL || !selection->active) {
        return true;
    }
    cJSON *json = selection_json(selection);
    return json != NULL && cJSON_AddItemToObject(manifest, "selection", json);
}

/* The manifest that is there, for cJSON_Delete; NULL: none that can be read. */
static cJSON *read_manifest(const char *run_dir)
{
    char path[PATH_SIZE];
    cJSON *manifest = NULL;
    snprintf(path, sizeof path, "%s/restorer.json", run_dir);
    return json_read(path, MANIFEST_BYTES_MAX, &manifest, NULL) == STATUS_OK ? manifest : NULL;
}

status run_manifest_write(const char *run_dir, const struct run_manifest_inputs *inputs,
                          struct dataset_summary *summary, struct err *err)
{
    char path[PATH_SIZE];
    snprintf(path, sizeof path, "%s/restorer.json", run_dir);
    /* Without a summary nothing is written where the manifest is right already. */
    if (summary == NULL && run_manifest_check(run_dir, inputs, NULL) == STATUS_OK) {
        return STATUS_OK; /* it may have a summary */
    }
    /* The summary is the manifest's upper part; `made_of` is added to it. */
    cJSON *manifest = summary != NULL ? dataset_summary_json(summary) : cJSON_CreateObject();
    cJSON *made_of = manifest != NULL ? cJSON_AddObjectToObject(manifest, "made_of") : NULL;
    status s;
    if (made_of != NULL && add_datasets(manifest, inputs->sources) &&
        add_logs(made_of, inputs->sources, summary != NULL) && add_rules(made_of, inputs) &&
        add_selection(manifest, inputs->selection) && add_episodes(manifest, inputs->options)) {
        s = json_write(path, manifest, err);
    } else {
        s = err_set(err, STATUS_NO_MEMORY, "%s", path);
    }
    cJSON_Delete(manifest);
    return s;
}

/* ---- comparing ---- */

/* Never NULL, so that a value that is absent compares as different. */
static const char *text_of(const cJSON *object, const char *key)
{
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, key));
    return text != NULL ? text : "";
}

/* Is the file the one that `listed` describes? */
static bool same_file(const cJSON *listed, const struct source *source, size_t shard_i)
{
    double bytes;
    uint64_t digest;
    char modified[NUMBER_SIZE];
    char text[NUMBER_SIZE];
    look_at(source_shard(source, shard_i), &bytes, modified);
    /* Another size: other contents, without reading the file. */
    const cJSON *listed_bytes = cJSON_GetObjectItemCaseSensitive(listed, "bytes");
    if (!cJSON_IsNumber(listed_bytes) || listed_bytes->valuedouble != bytes) {
        return false;
    }
    /* The same time as well: taken for the same file. */
    if (strcmp(text_of(listed, "modified"), modified) == 0) {
        return true;
    }
    /* Another time, as after a copy: the contents decide. */
    if (source_shard_digest(source, shard_i, &digest, NULL) != STATUS_OK) {
        return false;
    }
    print_digest(text, digest);
    return strcmp(text_of(listed, "xxh64"), text) == 0;
}

/* One dataset: its metadata and its files, in order. */
static status check_source(const cJSON *listed, const struct source *source, struct err *err)
{
    char metadata[NUMBER_SIZE];
    print_digest(metadata, source_digest(source));
    if (strcmp(text_of(listed, "metadata"), metadata) != 0) {
        return err_set(err, STATUS_MISMATCH, "the %s of %s is another one", source_rules(source),
                       source_path(source));
    }
    /* Both lists have the order of metadata.json, so they are walked together. */
    const cJSON *files = cJSON_GetObjectItemCaseSensitive(listed, "files");
    const cJSON *file = files != NULL ? files->child : NULL;
    for (size_t i = 0; i < source_n_shards(source); i++) {
        const struct dataset_shard *shard = source_shard(source, i);
        if (file == NULL || strcmp(text_of(file, "file"), file_name(shard)) != 0) {
            return err_set(err, STATUS_MISMATCH, "%s is not among the files it was made of",
                           shard->path);
        }
        if (!same_file(file, source, i)) {
            return err_set(err, STATUS_MISMATCH, "%s has other contents", shard->path);
        }
        file = file->next;
    }
    /* What is left over was removed from the dataset. */
    if (file != NULL) {
        return err_set(err, STATUS_MISMATCH, "%s no longer has %s", source_path(source),
                       text_of(file, "file"));
    }
    return STATUS_OK;
}

/* The datasets one by one, in the order of their folders' names. */
static status check_logs(const cJSON *logs, const struct sources *sources, struct err *err)
{
    const int n = cJSON_GetArraySize(logs);
    if ((size_t)n != sources_n(sources)) {
        return err_set(err, STATUS_MISMATCH, "it was made of %d datasets, now there are %zu", n,
                       sources_n(sources));
    }
    status s = STATUS_OK;
    const cJSON *one = logs->child;
    for (size_t d = 0; d < sources_n(sources) && s == STATUS_OK; d++, one = one->next) {
        s = check_source(one, sources_at(sources, d), err);
    }
    return s;
}

/* The options are written as they would be now, and compared with what is there. */
static status check_rules(const cJSON *made_of, const struct run_manifest_inputs *inputs,
                          struct err *err)
{
    static const char *const names[] = {"rewards", "relabel", "actions"};
    static const char *const texts[] = {"the list of rewards", "the script of restorer.relabel",
                                        "restorer.actions"};
    cJSON *now = cJSON_CreateObject();
    status s = STATUS_OK;
    if (now == NULL || !add_rules(now, inputs)) {
        s = err_set(err, STATUS_NO_MEMORY, "restorer.json");
    }
    for (size_t i = 0; i < sizeof names / sizeof names[0] && s == STATUS_OK; i++) {
        if (!cJSON_Compare(cJSON_GetObjectItemCaseSensitive(made_of, names[i]),
                           cJSON_GetObjectItemCaseSensitive(now, names[i]), true)) {
            s = err_set(err, STATUS_MISMATCH, "%s is another one", texts[i]);
        }
    }
    /* Manifests of earlier releases have no rules, as if all episodes were used. */
    if (s == STATUS_OK && strcmp(text_of(made_of, "rules"), rules_of(inputs)) != 0) {
        s = err_set(err, STATUS_MISMATCH,
                    "the rules about episodes (restorer.filter, restorer.bad_rows, or those of the "
                    "mapping) were \"%s\" and are \"%s\"",
                    text_of(made_of, "rules"), rules_of(inputs));
    }
    /* Nor a rule about held-out episodes: none were. */
    if (s == STATUS_OK && strcmp(text_of(made_of, "holdout"), text_of(now, "holdout")) != 0) {
        s = err_set(err, STATUS_MISMATCH,
                    "restorer.holdout (or restorer.fold of restorer.folds) was \"%s\" and is "
                    "\"%s\"",
                    text_of(made_of, "holdout"), text_of(now, "holdout"));
    }
    cJSON_Delete(now);
    return s;
}

status run_manifest_check(const char *run_dir, const struct run_manifest_inputs *inputs,
                          struct err *err)
{
    cJSON *manifest = read_manifest(run_dir);
    const cJSON *made_of = cJSON_GetObjectItemCaseSensitive(manifest, "made_of");
    const cJSON *logs = cJSON_GetObjectItemCaseSensitive(made_of, "logs");
    status s;
    /* Without a manifest, or in one without these, there is nothing to compare with. */
    if (!cJSON_IsArray(logs)) {
        s = err_set(err, STATUS_NOT_FOUND,
                    "%s/restorer.json does not say what the table is made of", run_dir);
    } else {
        s = check_logs(logs, inputs->sources, err);
        if (s == STATUS_OK) {
            s = check_rules(made_of, inputs, err);
        }
    }
    cJSON_Delete(manifest);
    return s;
}
