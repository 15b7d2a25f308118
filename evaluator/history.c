/* A file that is only appended to, and the same records in memory for the admin page.
 *
 * The thread that appends is the only one that changes anything; the mutex is for the admin page,
 * which prints the records from another thread. That is why the appending thread may read the
 * records without the mutex.
 *
 * A record is in memory only if its line is on disk. What a crash leaves of a line is cut off at
 * the next start, so a new line never continues a torn one. */
#include "evaluator/history.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#define LOG_MODULE "history"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/line_file.h"
#include "common/base/log.h"
#include "common/base/memory.h"

/* A longer file is refused: it is read into memory as a whole. */
#define HISTORY_BYTES_MAX (1u << 30)

/* The open file and its records, which are the items of the page. */
struct history {
    struct line_file file;
    /* wall clock of the first start in this folder */
    double started_s;
    pthread_mutex_t mutex; /* guards `page` */
    cJSON *page;           /* {"evaluations": records} */
    cJSON *records;        /* in it */
};

/* Adds the records of `text`. A line that is not a JSON object, such as the remains of a failed
 * write, is skipped: the lines around it are good. *whole: bytes up to the end of the last line. */
static status parse_lines(struct history *history, char *text, size_t *whole, const char *path,
                          struct err *err)
{
    char *line = text, *end;
    /* Text behind the last newline is not a line, and is not counted in *whole. */
    for (int number = 1; (end = strchr(line, '\n')) != NULL; number++, line = end + 1) {
        *end = '\0';
        cJSON *record = cJSON_Parse(line);
        if (!cJSON_IsObject(record)) {
            cJSON_Delete(record);
            log_warn("a line is unreadable and is skipped path=%s line=%d", path, number);
            continue;
        }
        if (!cJSON_AddItemToArray(history->records, record)) {
            cJSON_Delete(record);
            return err_set(err, STATUS_NO_MEMORY, "%s: out of memory", path);
        }
    }
    *whole = (size_t)(line - text);
    return STATUS_OK;
}

/* Reads the file that line_file_open has opened or made, and cuts off a last line that is not
 * whole. */
static status read_file(struct history *history, const char *path, struct err *err)
{
    void *text;
    size_t size, whole = 0;
    status s = file_read(path, HISTORY_BYTES_MAX, &text, &size, err);
    if (s != STATUS_OK) {
        return s;
    }
    s = parse_lines(history, text, &whole, path, err);
    mem_free(text);
    /* A crash may have left the beginning of a line. */
    if (s == STATUS_OK && whole < size && ftruncate(history->file.fd, (off_t)whole) != 0) {
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
    /* history_close ends what was opened, so from here on any failure can go through it. */
    struct history *opened = mem_new(sizeof *opened);
    if (opened == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "%s: out of memory", path);
    }
    pthread_mutex_init(&opened->mutex, NULL);
    /* The records live in the page, so that printing it needs no copy. */
    opened->page = cJSON_CreateObject();
    opened->records = cJSON_AddArrayToObject(opened->page, "evaluations");
    opened->file.fd = -1;
    status s = opened->records != NULL ? line_file_open(&opened->file, path, err)
                                       : err_set(err, STATUS_NO_MEMORY, "%s: out of memory", path);
    s = s != STATUS_OK ? s : read_file(opened, path, err);
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
        if (history->file.fd >= 0) {
            line_file_close(&history->file);
        }
        cJSON_Delete(history->page);
        pthread_mutex_destroy(&history->mutex);
        mem_free(history);
    }
}

/* Appends one line that outlives a power cut when OK returns. */
static status write_line(struct history *history, const cJSON *record, struct err *err)
{
    const int fd = history->file.fd;
    char *line = cJSON_PrintUnformatted(record);
    if (line == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "evaluation: out of memory");
    }
    /* Where the line will begin, so that it can be removed again. */
    const off_t before = lseek(fd, 0, SEEK_END);
    status s = line_file_append(&history->file, line, strlen(line), err);
    cJSON_free(line);
    if (s != STATUS_OK) {
        return s;
    }
    s = file_sync(fd, err);
    /* After a sync that failed nothing is known of the line: it is not counted as written. */
    if (s != STATUS_OK && before >= 0 && ftruncate(fd, before) != 0) {
        log_warn("the line of an evaluation that failed cannot be removed");
    }
    return s;
}

status history_append(struct history *history, cJSON *record, struct err *err)
{
    /* First the disk: what the page shows is on it. */
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
    /* Printed under the mutex, and copied outside of it into memory that the admin page can
     * free. */
    pthread_mutex_lock(&history->mutex);
    char *printed = cJSON_PrintUnformatted(history->page);
    pthread_mutex_unlock(&history->mutex);
    char *text = printed == NULL ? NULL : mem_text(printed);
    cJSON_free(printed);
    return text;
}
