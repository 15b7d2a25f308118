/* One number in one line, overwritten in place with one pwrite of fixed size: a process that is
 * killed leaves the old line or the new one. A line that cannot be read counts as absent, because
 * the checkpoint holds a number to go on from. */
#include "common/base/counter_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LINE_SIZE 96

status counter_file_open(struct counter_file *record, const char *path, const char *run_id,
                         uint64_t *version, struct err *err)
{
    /* Made when it is absent: the first run of a folder. A symbolic link is refused, because it
     * could lead to a file that is not ours to overwrite. */
    int fd = open(path, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd < 0) {
        return err_errno(err, errno, "%s", path);
    }
    /* What cannot be parsed, or is of another run, is no record. */
    char line[LINE_SIZE + 1] = {0};
    ssize_t n = pread(fd, line, LINE_SIZE, 0);
    char recorded[64] = "";
    uint64_t number = 0;
    if (n != LINE_SIZE || sscanf(line, "%63s %" SCNu64, recorded, &number) != 2 ||
        strcmp(recorded, run_id) != 0) {
        number = 0;
    }
    record->fd = fd;
    snprintf(record->run_id, sizeof(record->run_id), "%s", run_id);
    *version = number;
    return STATUS_OK;
}

status counter_file_set(struct counter_file *record, uint64_t version, struct err *err)
{
    char line[LINE_SIZE + 1];
    int length = snprintf(line, sizeof(line), "%s %" PRIu64, record->run_id, version);
    ASSERT(length > 0 && length < LINE_SIZE);
    /* Always the same size: a shorter number leaves nothing of a longer one. */
    memset(line + length, ' ', (size_t)(LINE_SIZE - length));
    line[LINE_SIZE - 1] = '\n';
    /* Not synced: what is to be survived is the end of the process, not of the machine. */
    ssize_t n = pwrite(record->fd, line, LINE_SIZE, 0);
    /* A short write without an error means that the disk is full. */
    if (n != LINE_SIZE) {
        return err_errno(err, n < 0 ? errno : ENOSPC, "learner.version");
    }
    return STATUS_OK;
}

void counter_file_close(struct counter_file *record)
{
    if (record->fd >= 0) {
        close(record->fd);
        record->fd = -1;
    }
}
