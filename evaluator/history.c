/* A file that is only appended to, and the same records in memory for the admin page.
 *
 * The thread that appends is the only one that changes anything; the mutex is for the admin page,
 * which prints the records from another thread. */
#include "evaluator/history.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/memory.h"

#define HISTORY_BYTES_MAX (1u << 30)

struct history {
    int fd;
    double started_s;
    pthread_mutex_t mutex; /* guards `page` */
    cJSON *page;           /* {"evaluations": records} */
    cJSON *records;        /* in it */
};

/* Adds the lines of `text`; *good: bytes of whole lines. */
static status parse_lines(struct history *history, char *text, size_t *good, const char *path,
                          struct err *err)
{
    char *line = text;
    for (int number = 1;; number++) {
        char *end = strchr(line, '\n');
        if (end == NULL) {
            *good = (size_t)(line - text);
            return STATUS_OK;
        }
        *end = '\0';
        cJSON *record = cJSON_Parse(line);
        if (!cJSON_IsObject(record) || !cJSON_AddItemToArray(history->records, record)) {
            cJSON_Delete(record);
            return err_set(err, STATUS_CORRUPT, "%s line %d: expected a JSON object", path, number);
        }
        line = end + 1;
    }
}

static status read_file(struct history *history, const char *path, struct err *err)
{
    void *text;
    size_t size, good = 0;
    status s = file_read(path, HISTORY_BYTES_MAX, &text, &size, err);
    if (s != STATUS_OK) {
        return s;
    }
    s = parse_lines(history, text, &good, path, err);
    mem_free(text);
    if (s == STATUS_OK && good < size && ftruncate(history->fd, (off_t)good) != 0) {
        s = err_errno(err, errno, "truncate %s", path);
    }
    return s;
}

/* Wall clock of the first start: the first line has its own time and the seconds since then. */
static double find_start(const struct history *history)
{
    const cJSON *first = cJSON_GetArrayItem(history->records, 0);
    const cJSON *time_s = cJSON_GetObjectItemCaseSensitive(first, "time");
    const cJSON *wall_s = cJSON_GetObjectItemCaseSensitive(first, "wall_s");
    if (cJSON_IsNumber(time_s) && cJSON_IsNumber(wall_s)) {
        return time_s->valuedouble - wall_s->valuedouble;
    }
    return (double)clock_wall_ns() / 1e9;
}

status history_open(struct history **history, const char *path, struct err *err)
{
    struct history *opened = mem_new(sizeof *opened);
    if (opened == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "%s: out of memory", path);
    }
    pthread_mutex_init(&opened->mutex, NULL);
    opened->page = cJSON_CreateObject();
    opened->records = cJSON_AddArrayToObject(opened->page, "evaluations");
    opened->fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0644);
    status s = STATUS_OK;
    if (opened->records == NULL) {
        s = err_set(err, STATUS_NO_MEMORY, "%s: out of memory", path);
    } else if (opened->fd < 0) {
        s = err_errno(err, errno, "open %s", path);
    } else {
        s = read_file(opened, path, err);
    }
    if (s != STATUS_OK) {
        history_close(opened);
        return s;
    }
    opened->started_s = find_start(opened);
    *history = opened;
    return STATUS_OK;
}

void history_close(struct history *history)
{
    if (history != NULL) {
        if (history->fd >= 0) {
            close(history->fd);
        }
        cJSON_Delete(history->page);
        pthread_mutex_destroy(&history->mutex);
        mem_free(history);
    }
}

static status write_line(struct history *history, const cJSON *record, struct err *err)
{
    char *line = cJSON_PrintUnformatted(record);
    if (line == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "evaluation: out of memory");
    }
    size_t size = strlen(line);
    line[size] = '\n'; /* in the place of the final 0: one write, one line */
    status s = file_write_all(history->fd, line, size + 1, err);
    cJSON_free(line);
    return s == STATUS_OK ? file_sync(history->fd, err) : s;
}

status history_append(struct history *history, cJSON *record, struct err *err)
{
    status s = write_line(history, record, err);
    pthread_mutex_lock(&history->mutex);
    if (s == STATUS_OK && !cJSON_AddItemToArray(history->records, record)) {
        s = err_set(err, STATUS_NO_MEMORY, "evaluation: out of memory");
    }
    pthread_mutex_unlock(&history->mutex);
    if (s != STATUS_OK) {
        cJSON_Delete(record);
    }
    return s;
}

const cJSON *history_records(const struct history *history)
{
    return history->records;
}

double history_started_s(const struct history *history)
{
    return history->started_s;
}

char *history_page(struct history *history)
{
    pthread_mutex_lock(&history->mutex);
    char *printed = cJSON_PrintUnformatted(history->page);
    pthread_mutex_unlock(&history->mutex);
    char *text = printed == NULL ? NULL : mem_text(printed);
    cJSON_free(printed);
    return text;
}
