/* The thread sleeps on a condition while no commit is under way, and between two requests. A request
 * returns when the pages have been handed to the disk; pages that are being written already, or are
 * clean, cost it nothing. */
#include "replay_server/store/writeback.h"

#include <fcntl.h>
#include <pthread.h>
#include <time.h>

#include "common/base/clock.h"
#include "common/base/memory.h"

#define PAUSE_NS (1 * NS_PER_MS)

struct writeback {
    int fd;
    pthread_t thread;
    pthread_mutex_t lock;   /* guards what follows */
    pthread_cond_t changed; /* `active` or `closing` */
    bool active, closing;
};

/* Waits for PAUSE_NS, or until the commit is over. Under the lock. */
static void pause_until_changed(struct writeback *writeback)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += (long)PAUSE_NS;
    if (until.tv_nsec >= (long)NS_PER_S) {
        until.tv_nsec -= (long)NS_PER_S;
        until.tv_sec++;
    }
    (void)pthread_cond_timedwait(&writeback->changed, &writeback->lock, &until);
}

static void *run(void *arg)
{
    struct writeback *writeback = arg;
    pthread_setname_np(pthread_self(), "replay-disk");
    pthread_mutex_lock(&writeback->lock);
    while (!writeback->closing) {
        if (!writeback->active) {
            pthread_cond_wait(&writeback->changed, &writeback->lock);
            continue;
        }
        /* First a pause: a small commit is over before there is anything to gain. */
        pause_until_changed(writeback);
        if (writeback->active) {
            pthread_mutex_unlock(&writeback->lock);
            /* A file system that does not know the call writes when it is synced, as without us. */
            (void)sync_file_range(writeback->fd, 0, 0, SYNC_FILE_RANGE_WRITE);
            pthread_mutex_lock(&writeback->lock);
        }
    }
    pthread_mutex_unlock(&writeback->lock);
    return NULL;
}

status writeback_open(struct writeback **out, int fd, struct err *err)
{
    struct writeback *writeback = mem_new(sizeof *writeback);
    if (writeback == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "writeback");
    }
    writeback->fd = fd;
    pthread_mutex_init(&writeback->lock, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&writeback->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    const int rc = pthread_create(&writeback->thread, NULL, run, writeback);
    if (rc != 0) {
        pthread_cond_destroy(&writeback->changed);
        pthread_mutex_destroy(&writeback->lock);
        mem_free(writeback);
        return err_errno(err, rc, "writeback: thread");
    }
    *out = writeback;
    return STATUS_OK;
}

static void set(struct writeback *writeback, bool *what, bool value)
{
    pthread_mutex_lock(&writeback->lock);
    *what = value;
    pthread_cond_signal(&writeback->changed);
    pthread_mutex_unlock(&writeback->lock);
}

void writeback_begin(struct writeback *writeback)
{
    set(writeback, &writeback->active, true);
}

void writeback_end(struct writeback *writeback)
{
    set(writeback, &writeback->active, false);
}

void writeback_close(struct writeback *writeback)
{
    if (writeback) {
        set(writeback, &writeback->closing, true);
        pthread_join(writeback->thread, NULL);
        pthread_cond_destroy(&writeback->changed);
        pthread_mutex_destroy(&writeback->lock);
        mem_free(writeback);
    }
}
