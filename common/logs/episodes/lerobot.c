/* Reads meta/info.json of a LeRobot dataset, and compares the data files with it.
 *
 * info.json comes from anyone: the path of a data file is made from its pattern, which must not
 * lead out of the folder, and every number is checked before it is used. */
#include "common/logs/episodes/lerobot.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/json.h"
#include "common/base/memory.h"
#include "common/logs/episodes/logs_list.h"
#include "common/logs/files/log_file.h"

#define PATH_SIZE      4096
#define INFO_BYTES_MAX (16u << 20)
#define NAMES_MAX      64 /* names of values that a note lists */

struct lerobot {
    char *folder;
    char *info_path;
    char data[PATH_SIZE];
    cJSON *info;
    const char *version;   /* in info */
    const char *data_path; /* in info: pattern of the data files, relative to the folder */
    double fps;
    uint64_t episodes, frames, chunk_size;
};

/* ---- info.json ---- */

static bool join(char path[PATH_SIZE], const char *folder, const char *name)
{
    const int length = snprintf(path, PATH_SIZE, "%s/%s", folder, name);
    return length > 0 && length < PATH_SIZE;
}

bool lerobot_is(const char *folder)
{
    /* Other datasets may have a meta/info.json, too. */
    char path[PATH_SIZE];
    cJSON *info = NULL;
    const bool is = join(path, folder, "meta/info.json") && access(path, R_OK) == 0 &&
                    json_read(path, INFO_BYTES_MAX, &info, NULL) == STATUS_OK &&
                    cJSON_HasObjectItem(info, "codebase_version");
    cJSON_Delete(info);
    return is;
}

/* Reads a whole number from 0 to 2^53. */
static status read_count(const struct lerobot *lerobot, const char *key, uint64_t *count,
                         struct err *err)
{
    double number;
    const status s = json_number(lerobot->info, key, &number, lerobot->info_path, err);
    if (s != STATUS_OK) {
        return s;
    }
    if (!(number >= 0) || number > 9007199254740992.0 || number != floor(number)) {
        return err_set(err, STATUS_INVALID, "%s: %s: %g, expected a whole number",
                       lerobot->info_path, key, number);
    }
    *count = (uint64_t)number;
    return STATUS_OK;
}

/* The pattern must lead to a file below a folder of the dataset. */
static status check_pattern(struct lerobot *lerobot, struct err *err)
{
    const char *pattern = lerobot->data_path;
    const char *end = strchr(pattern, '{');
    const char *slash = strchr(pattern, '/');
    if (pattern[0] == '/' || strstr(pattern, "..") != NULL || slash == NULL || end == NULL ||
        slash > end || strlen(pattern) > 512) {
        return err_set(err, STATUS_INVALID,
                       "%s: data_path: \"%.100s\": expected a pattern such as "
                       "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
                       lerobot->info_path, pattern);
    }
    snprintf(lerobot->data, sizeof lerobot->data, "%s/%.*s", lerobot->folder,
             (int)(slash - pattern), pattern);
    return STATUS_OK;
}

/* Checks the fields that are needed. */
static status read_info(struct lerobot *lerobot, struct err *err)
{
    const char *path = lerobot->info_path;
    status s = json_text(lerobot->info, "codebase_version", &lerobot->version, path, err);
    if (s == STATUS_OK && strncmp(lerobot->version, "v2.", 3) != 0 &&
        strncmp(lerobot->version, "v3.", 3) != 0) {
        s = err_set(err, STATUS_INVALID,
                    "%s: codebase_version: \"%.20s\": expected v2.0, v2.1 or v3.0", path,
                    lerobot->version);
    }
    if (s == STATUS_OK) {
        s = json_text(lerobot->info, "data_path", &lerobot->data_path, path, err);
    }
    if (s == STATUS_OK) {
        s = check_pattern(lerobot, err);
    }
    if (s == STATUS_OK) {
        s = json_number(lerobot->info, "fps", &lerobot->fps, path, err);
    }
    if (s == STATUS_OK && !(lerobot->fps > 0 && lerobot->fps < 1e6)) {
        s = err_set(err, STATUS_INVALID, "%s: fps: %g, expected a number above 0", path,
                    lerobot->fps);
    }
    if (s == STATUS_OK) {
        s = read_count(lerobot, "total_episodes", &lerobot->episodes, err);
    }
    if (s == STATUS_OK) {
        s = read_count(lerobot, "total_frames", &lerobot->frames, err);
    }
    if (s == STATUS_OK && lerobot->episodes > LOGS_EPISODES_MAX) {
        s = err_set(err, STATUS_INVALID, "%s: total_episodes: %" PRIu64 ", expected at most %u",
                    path, lerobot->episodes, LOGS_EPISODES_MAX);
    }
    /* Only version 2 needs it. */
    if (s == STATUS_OK &&
        read_count(lerobot, "chunks_size", &lerobot->chunk_size, NULL) != STATUS_OK) {
        lerobot->chunk_size = 1000;
    }
    return s;
}

status lerobot_open(struct lerobot **out, const char *folder, struct err *err)
{
    struct lerobot *lerobot = mem_new(sizeof *lerobot);
    char path[PATH_SIZE];
    if (!join(path, folder, "meta/info.json") || strlen(folder) + 600 > PATH_SIZE) {
        mem_free(lerobot);
        return err_set(err, STATUS_INVALID, "%.200s..: the path is too long", folder);
    }
    if (lerobot == NULL || (lerobot->folder = mem_text(folder)) == NULL ||
        (lerobot->info_path = mem_text(path)) == NULL) {
        lerobot_close(lerobot);
        return err_set(err, STATUS_NO_MEMORY, "%s", folder);
    }
    status s = json_read(path, INFO_BYTES_MAX, &lerobot->info, err);
    if (s == STATUS_OK) {
        s = read_info(lerobot, err);
    }
    if (s != STATUS_OK) {
        lerobot_close(lerobot);
        return s;
    }
    *out = lerobot;
    return STATUS_OK;
}

void lerobot_close(struct lerobot *lerobot)
{
    if (lerobot == NULL) {
        return;
    }
    cJSON_Delete(lerobot->info);
    mem_free(lerobot->folder);
    mem_free(lerobot->info_path);
    mem_free(lerobot);
}

const char *lerobot_data(const struct lerobot *lerobot)
{
    return lerobot->data;
}

double lerobot_fps(const struct lerobot *lerobot)
{
    return lerobot->fps;
}

/* ---- features ---- */

static bool is_image(const cJSON *feature)
{
    const char *type = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(feature, "dtype"));
    return type != NULL && (strcmp(type, "image") == 0 || strcmp(type, "video") == 0);
}

bool lerobot_is_image(const struct lerobot *lerobot, const char *name)
{
    const cJSON *features = cJSON_GetObjectItemCaseSensitive(lerobot->info, "features");
    return is_image(cJSON_GetObjectItemCaseSensitive(features, name));
}

/* Appends the texts in `names`, which is a list or, in some datasets, an object of lists. Returns
 * how many there have been so far. */
static uint32_t add_names(const cJSON *names, struct text *notes, uint32_t n)
{
    const cJSON *name;
    cJSON_ArrayForEach(name, names)
    {
        if (cJSON_IsString(name) && n < NAMES_MAX) {
            text_add(notes, n == 0 ? " " : ", ");
            /* A line end in a name would begin a new note. */
            for (const char *c = name->valuestring; *c != 0; c++) {
                text_add_bytes(notes, (unsigned char)*c < 0x20 ? " " : c, 1);
            }
        }
        n = cJSON_IsString(name) ? n + 1 : add_names(name, notes, n);
    }
    return n;
}

void lerobot_images(const struct lerobot *lerobot, struct text *names)
{
    const cJSON *feature;
    cJSON_ArrayForEach(feature, cJSON_GetObjectItemCaseSensitive(lerobot->info, "features"))
    {
        if (is_image(feature)) {
            text_format(names, "%s%.100s", names->size == 0 ? "" : ", ", feature->string);
        }
    }
}

void lerobot_describe(const struct lerobot *lerobot, struct text *notes)
{
    text_format(notes, "LeRobot %.20s: %" PRIu64 " episodes, %" PRIu64 " frames at %g per second\n",
                lerobot->version, lerobot->episodes, lerobot->frames, lerobot->fps);
    const cJSON *feature;
    cJSON_ArrayForEach(feature, cJSON_GetObjectItemCaseSensitive(lerobot->info, "features"))
    {
        const cJSON *names = cJSON_GetObjectItemCaseSensitive(feature, "names");
        if (is_image(feature)) {
            text_format(notes, "\"%.100s\" is left out: it holds images or video\n",
                        feature->string);
        } else if ((strncmp(feature->string, "observation", 11) == 0 ||
                    strncmp(feature->string, "action", 6) == 0) &&
                   cJSON_GetArraySize(names) > 0) {
            text_format(notes, "the values of \"%.100s\" are", feature->string);
            text_add(notes, add_names(names, notes, 0) > NAMES_MAX ? ", ..\n" : "\n");
        }
    }
}

/* ---- comparing the data files with meta/ ---- */

/* Stores the path of a data file: each {name} or {name:06d} of the pattern is replaced by the number
 * of that name. */
static status data_file(const struct lerobot *lerobot, uint64_t chunk, uint64_t file,
                        char path[PATH_SIZE], struct err *err)
{
    struct text made = {0};
    text_format(&made, "%s/", lerobot->folder);
    bool valid = true;
    for (const char *c = lerobot->data_path; valid && *c != 0; c++) {
        if (*c != '{') {
            text_add_bytes(&made, c, 1);
            continue;
        }
        const char *end = strchr(c, '}');
        const char *colon = strchr(c, ':');
        const bool is_chunk =
            strncmp(c, "{chunk_index", 12) == 0 || strncmp(c, "{episode_chunk", 14) == 0;
        const bool is_file =
            strncmp(c, "{file_index", 11) == 0 || strncmp(c, "{episode_index", 14) == 0;
        const int width = colon != NULL && end != NULL && colon < end ? atoi(colon + 1) : 0;
        valid = end != NULL && (is_chunk || is_file) && width >= 0 && width <= 20;
        if (valid) {
            text_format(&made, "%0*" PRIu64, width, is_chunk ? chunk : file);
            c = end;
        }
    }
    status s = STATUS_OK;
    if (!valid) {
        s = err_set(err, STATUS_INVALID,
                    "%s: data_path: \"%.100s\": expected {chunk_index:03d}, {file_index:03d}, "
                    "{episode_chunk:03d} or {episode_index:06d}",
                    lerobot->info_path, lerobot->data_path);
    } else if (made.failed || made.size >= PATH_SIZE) {
        s = err_set(err, STATUS_NO_MEMORY, "%s", lerobot->folder);
    } else {
        memcpy(path, made.bytes, made.size + 1);
    }
    text_fini(&made);
    return s;
}

/* Checks that a data file is there. `by` says what names it. */
static status check_there(const struct lerobot *lerobot, uint64_t chunk, uint64_t file,
                          const char *by, uint64_t episode, struct err *err)
{
    char path[PATH_SIZE];
    const status s = data_file(lerobot, chunk, file, path, err);
    if (s == STATUS_OK && access(path, R_OK) != 0) {
        return err_set(err, STATUS_NOT_FOUND,
                       "%s: is missing; according to %s episode %" PRIu64 " is in it", path, by,
                       episode);
    }
    return s;
}

/* In version 2 each episode has a file. */
static status check_files_2(const struct lerobot *lerobot, struct err *err)
{
    if (lerobot->chunk_size == 0) {
        return err_set(err, STATUS_INVALID, "%s: chunks_size: 0, expected a number above 0",
                       lerobot->info_path);
    }
    status s = STATUS_OK;
    for (uint64_t i = 0; s == STATUS_OK && i < lerobot->episodes; i++) {
        s = check_there(lerobot, i / lerobot->chunk_size, i, "total_episodes", i, err);
    }
    return s;
}

/* Reads a whole column with one number in each row, *n of them. The caller releases *values with
 * mem_free. */
static status read_numbers(struct log_file *file, const char *path, const char *name,
                           double **values, uint64_t *n, struct err *err)
{
    struct recording recording = {0};
    status s = log_file_describe(file, 0, &recording, err);
    const struct recording_column *column =
        s == STATUS_OK ? recording_find(&recording, name) : NULL;
    double *made = NULL;
    if (s == STATUS_OK &&
        (column == NULL || column->kind != RECORDING_NUMBERS || column->width != 1)) {
        s = err_set(err, STATUS_INVALID, "%s: expected a column \"%s\" with a number in each row",
                    path, name);
    }
    if (s == STATUS_OK) {
        made = mem_resize(NULL, column->rows + 1, sizeof *made);
        s = made == NULL ? err_set(err, STATUS_NO_MEMORY, "%s: %s", path, name)
                         : log_file_read(file, 0, column, 0, column->rows, made, err);
    }
    if (s == STATUS_OK) {
        *values = made;
        *n = column->rows;
    } else {
        mem_free(made);
    }
    recording_fini(&recording);
    return s;
}

/* Checks the data files that a file of meta/episodes names. */
static status check_episodes_file(const struct lerobot *lerobot, const char *path, struct err *err)
{
    struct log_file *file;
    status s = log_file_open(&file, path, err);
    if (s != STATUS_OK) {
        return s;
    }
    double *columns[3] = {NULL};
    static const char *const names[3] = {LEROBOT_EPISODE_COLUMN, "data/chunk_index",
                                         "data/file_index"};
    uint64_t n = 0;
    for (int i = 0; s == STATUS_OK && i < 3; i++) {
        s = read_numbers(file, path, names[i], &columns[i], &n, err);
    }
    for (uint64_t i = 0; s == STATUS_OK && i < n; i++) {
        const double episode = columns[0][i], chunk = columns[1][i], number = columns[2][i];
        if (!(episode >= 0 && episode < 1e9 && chunk >= 0 && chunk < 1e9 && number >= 0 &&
              number < 1e9)) {
            s = err_set(err, STATUS_INVALID, "%s: row %" PRIu64 ": expected numbers from 0 on",
                        path, i);
        } else if (i == 0 || chunk != columns[1][i - 1] || number != columns[2][i - 1]) {
            s = check_there(lerobot, (uint64_t)chunk, (uint64_t)number, path, (uint64_t)episode,
                            err);
        }
    }
    for (int i = 0; i < 3; i++) {
        mem_free(columns[i]);
    }
    log_file_close(file);
    return s;
}

/* In version 3 meta/episodes says which file an episode is in. A dataset without that folder is
 * read by its totals alone. */
static status check_files_3(const struct lerobot *lerobot, struct err *err)
{
    char path[PATH_SIZE];
    struct logs_list episodes = {0};
    struct stat info;
    if (!join(path, lerobot->folder, "meta/episodes") || stat(path, &info) != 0) {
        return STATUS_OK;
    }
    status s = logs_list_add_folder(&episodes, path, NULL, err);
    if (s == STATUS_OK) {
        s = logs_list_check(&episodes, path, err);
    }
    for (size_t i = 0; s == STATUS_OK && i < episodes.n; i++) {
        s = check_episodes_file(lerobot, episodes.paths[i], err);
    }
    logs_list_fini(&episodes);
    return s;
}

/* Marks the episodes of a file in `seen` (total_episodes), and adds up episodes and frames. */
static status count_file(const struct lerobot *lerobot, const char *path, unsigned char *seen,
                         uint64_t *n_episodes, uint64_t *n_frames, struct err *err)
{
    struct log_file *file;
    status s = log_file_open(&file, path, err);
    if (s != STATUS_OK) {
        return s;
    }
    double *episodes = NULL;
    uint64_t n = 0;
    s = read_numbers(file, path, LEROBOT_EPISODE_COLUMN, &episodes, &n, err);
    log_file_close(file);
    *n_frames += n;
    for (uint64_t t = 0; s == STATUS_OK && t < n; t++) {
        const double episode = episodes[t];
        if (t > 0 && episode == episodes[t - 1]) {
            continue;
        }
        if (!(episode >= 0 && episode < (double)lerobot->episodes && episode == floor(episode))) {
            s = err_set(
                err, STATUS_INVALID,
                "%s: row %" PRIu64 ": " LEROBOT_EPISODE_COLUMN " is %g, expected 0..%" PRIu64
                ", since info.json has total_episodes %" PRIu64,
                path, t, episode, lerobot->episodes - (lerobot->episodes > 0), lerobot->episodes);
        } else if (seen[(uint64_t)episode] != 0) {
            s = err_set(err, STATUS_INVALID,
                        "%s: row %" PRIu64 ": episode %g begins a second time; expected each "
                        "episode in one piece",
                        path, t, episode);
        } else {
            seen[(uint64_t)episode] = 1;
            ++*n_episodes;
        }
    }
    mem_free(episodes);
    return s;
}

status lerobot_check(const struct lerobot *lerobot, char *const *files, size_t n, struct err *err)
{
    status s =
        lerobot->version[1] == '2' ? check_files_2(lerobot, err) : check_files_3(lerobot, err);
    if (s != STATUS_OK) {
        return s;
    }
    unsigned char *seen = mem_array(lerobot->episodes + 1, 1);
    if (seen == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "%s: list of episodes", lerobot->folder);
    }
    uint64_t episodes = 0, frames = 0;
    for (size_t i = 0; s == STATUS_OK && i < n; i++) {
        s = count_file(lerobot, files[i], seen, &episodes, &frames, err);
    }
    if (s == STATUS_OK && episodes != lerobot->episodes) {
        uint64_t first = 0;
        while (seen[first] != 0) {
            first++;
        }
        s = err_set(err, STATUS_INVALID,
                    "%s: total_episodes is %" PRIu64 ", but the data files have %" PRIu64
                    " episodes; the first that is missing is %" PRIu64,
                    lerobot->info_path, lerobot->episodes, episodes, first);
    }
    if (s == STATUS_OK && frames != lerobot->frames) {
        s = err_set(err, STATUS_INVALID,
                    "%s: total_frames is %" PRIu64 ", but the data files have %" PRIu64 " rows",
                    lerobot->info_path, lerobot->frames, frames);
    }
    mem_free(seen);
    return s;
}
