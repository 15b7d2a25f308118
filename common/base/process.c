/* A process from start to end: signals, loop, admin page, status line, bounded shutdown.
 *
 * SIGTERM and SIGINT are blocked in all threads. While the process starts, a small thread waits for
 * them (start_watch): the main thread may be opening a large store, or hang in a library. From
 * process_run on the loop takes them. After that request an alarm bounds the end: a process that
 * hangs is ended by on_end_limit, with a backtrace. */
#include "common/base/process.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cjson/cJSON.h>

#include "common/base/clock.h"
#include "common/base/crash.h"
#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/base/metrics.h"
#include "common/base/process_metrics.h"
#include "common/base/progress.h"
#include "common/base/utf8.h"

#define LOG_MODULE "process"
#include "common/base/log.h"

#define TIMERS_MAX     16
#define LAG_PERIOD_MS  250
#define END_LIMIT_S    60 /* from the request to end until process_close */
#define START_LIMIT_S  8  /* from a request to end while starting until process_run */
#define CLOSE_LIMIT_MS 2000
/* Threads that a process must be able to make: gRPC alone starts four, and waits for ever for one
 * that it cannot start. */
#define THREADS_LEAST 8

/* One call of process_every. */
struct timer {
    uv_timer_t handle;
    void (*tick)(void *arg);
    void *arg;
};

struct process {
    char role[32];
    int index;
    int count;
    char name[48]; /* "learner", "restorer/2" */
    uint64_t start_ns;
    /* Seconds from the request to end until process_close, after which the alarm comes. */
    unsigned end_limit_s;
    /* The thread's mask before process_open, which process_close restores. */
    sigset_t old_mask;
    uv_loop_t loop;
    uv_signal_t on_term;
    uv_signal_t on_int;
    /* The handle by which process_stop wakes the loop from another thread. */
    uv_async_t stop;
    /* A timer that is due each LAG_PERIOD_MS, and when it is due next: how late it comes is the
     * lag. */
    uv_timer_t lag;
    uint64_t lag_due_ns;
    struct metric *lag_seconds;
    struct timer timers[TIMERS_MAX];
    size_t n_timers;
    struct admin *admin;
    pthread_t start_watch; /* until process_run or process_close */
    bool has_start_watch;
    int start_signals, start_end; /* signalfd, eventfd; open while it has the watch */
    atomic_bool running;
    atomic_bool stopping;
    /* The first code that is not 0, of all that process_stop was given. */
    atomic_int exit_code;

    pthread_mutex_t lock; /* guards what follows */
    struct progress progress;
    /* -1 where there is no end, or no report yet. */
    double fraction;
    char text[PROGRESS_TEXT];
};

/* ---- ending ---- */

/* SIGALRM: the end has taken too long. Async-signal-safe; the backtrace shows where it hangs. */
static void on_end_limit(int number)
{
    (void)number;
    static const char text[] = "hindcast: did not end in time; leaving now\n";
    const ssize_t n = write(STDERR_FILENO, text, sizeof text - 1);
    (void)n;
    crash_print_backtrace();
    _exit(1);
}

/* ---- starting ---- */

/* What the threads of check_threads run. */
static void *wait_for_lock(void *lock)
{
    pthread_mutex_lock(lock);
    pthread_mutex_unlock(lock);
    return NULL;
}

/* Can this process have THREADS_LEAST more threads at once? All wait for a lock that is held until
 * they have been made, and then end. */
static status check_threads(struct err *err)
{
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_t threads[THREADS_LEAST];
    unsigned n = 0;
    int error = 0;
    /* All of them must exist at the same time. */
    pthread_mutex_lock(&lock);
    while (n < THREADS_LEAST && error == 0) {
        error = pthread_create(&threads[n], NULL, wait_for_lock, &lock);
        n += error == 0;
    }
    pthread_mutex_unlock(&lock);
    for (unsigned i = 0; i < n; i++) {
        pthread_join(threads[i], NULL);
    }
    if (error == 0) {
        return STATUS_OK;
    }
    /* The usual reasons, since EAGAIN itself says nothing. */
    return err_errno(err, error,
                     "only %u of at least %d threads can be made (ulimit -v, ulimit -u, or the "
                     "container's limit of processes)",
                     n, THREADS_LEAST);
}

/* Takes the request to end while the process starts, until `start_end` is written. A signal that is
 * not read stays pending, for the loop: on the way from one to the other none is lost. */
static void *watch_start(void *arg)
{
    struct process *process = arg;
    struct pollfd waits[2] = {{.fd = process->start_end, .events = POLLIN},
                              {.fd = process->start_signals, .events = POLLIN}};
    while (poll(waits, 2, -1) < 0) {
    }
    struct signalfd_siginfo taken;
    if (waits[0].revents != 0 ||
        read(process->start_signals, &taken, sizeof taken) != (ssize_t)sizeof taken) {
        return NULL;
    }
    log_info("stopping on signal=%s before the start was complete",
             taken.ssi_signo == SIGTERM ? "SIGTERM" : "SIGINT");
    atomic_store(&process->stopping, true);
    alarm(START_LIMIT_S);
    return NULL;
}

/* Ends that thread, so that the signals are the loop's alone. Safe to repeat. */
static void end_start_watch(struct process *process)
{
    if (process->has_start_watch) {
        const uint64_t one = 1;
        const ssize_t written = write(process->start_end, &one, sizeof one);
        ASSERT(written == (ssize_t)sizeof one);
        pthread_join(process->start_watch, NULL);
        close(process->start_end);
        close(process->start_signals);
        process->has_start_watch = false;
    }
}

/* ---- ending ---- */

/* Loop thread. */
static void begin_end(struct process *process)
{
    atomic_store(&process->stopping, true);
    uv_stop(&process->loop);
}

/* SIGTERM or SIGINT, on the loop thread. */
static void on_signal(uv_signal_t *handle, int number)
{
    struct process *process = handle->data;
    log_info("stopping on signal=%s", number == SIGTERM ? "SIGTERM" : "SIGINT");
    begin_end(process);
}

/* process_stop was called, perhaps by another thread; this is the loop thread. */
static void on_stop(uv_async_t *handle)
{
    begin_end(handle->data);
}

void process_stop(struct process *process, int exit_code)
{
    int none = 0;
    /* The first code that is not 0 is the reason; later ones follow from it. */
    if (exit_code != 0) {
        atomic_compare_exchange_strong(&process->exit_code, &none, exit_code);
    }
    /* Once: the loop wakes, and process_run returns. */
    if (!atomic_exchange(&process->stopping, true)) {
        uv_async_send(&process->stop);
    }
}

bool process_stopping(const struct process *process)
{
    return atomic_load_explicit(&process->stopping, memory_order_relaxed);
}

/* ---- status ---- */

/* "starting", "running" or "stopping", for the status page. */
static const char *state_name(const struct process *process)
{
    if (atomic_load(&process->stopping)) {
        return "stopping";
    }
    return atomic_load(&process->running) ? "running" : "starting";
}

/* HTTP thread. Everything it reads is constant, atomic, or under the lock. */
static char *status_page(void *arg)
{
    struct process *process = arg;
    /* cJSON tolerates NULL, so only the last result is checked: without memory there is no page. */
    cJSON *json = cJSON_CreateObject();
    cJSON_AddStringToObject(json, "role", process->role);
    cJSON_AddNumberToObject(json, "index", process->index);
    cJSON_AddNumberToObject(json, "count", process->count);
    cJSON_AddNumberToObject(json, "pid", (double)getpid());
    cJSON_AddStringToObject(json, "version", HINDCAST_VERSION);
    cJSON_AddStringToObject(json, "state", state_name(process));
    cJSON_AddNumberToObject(json, "uptime_s", 1e-9 * (double)(clock_now_ns() - process->start_ns));
    /* Fraction and text belong together, hence the lock. */
    pthread_mutex_lock(&process->lock);
    if (process->fraction >= 0) {
        cJSON_AddNumberToObject(json, "fraction", process->fraction);
    } else {
        cJSON_AddNullToObject(json, "fraction");
    }
    cJSON_AddStringToObject(json, "text", process->text);
    pthread_mutex_unlock(&process->lock);
    char *text = cJSON_PrintUnformatted(json);
    cJSON_Delete(json);
    return text;
}

void process_report(struct process *process, double fraction, const char *format, ...)
{
    /* Formatted without the lock, for which the HTTP thread may wait. */
    char text[PROGRESS_TEXT];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    utf8_trim(text); /* it becomes JSON at /status */
    utf8_clean(text);

    pthread_mutex_lock(&process->lock);
    process->fraction = fraction;
    memcpy(process->text, text, sizeof text);
    /* Shown here when it is due; the page always has the newest. */
    progress_show(&process->progress, clock_now_ns(), fraction, text);
    pthread_mutex_unlock(&process->lock);
}

/* ---- opening ---- */

/* How late the loop is: what a timer missed its time by. */
static void on_lag_timer(uv_timer_t *handle)
{
    struct process *process = handle->data;
    const uint64_t now_ns = clock_now_ns();
    const uint64_t late_ns = now_ns > process->lag_due_ns ? now_ns - process->lag_due_ns : 0;
    metric_set(process->lag_seconds, 1e-9 * (double)late_ns);
    process->lag_due_ns = now_ns + LAG_PERIOD_MS * NS_PER_MS;
}

/* One period of process_every is over; loop thread. */
static void on_timer(uv_timer_t *handle)
{
    const struct timer *timer = handle->data;
    timer->tick(timer->arg);
}

/* Initialising uv handles on a fresh loop fails only for want of file descriptors or memory. */
static status open_loop(struct process *process, struct err *err)
{
    /* The loop first, then all handles that every process has. */
    int uv = uv_loop_init(&process->loop);
    if (uv != 0) {
        return err_set(err, STATUS_IO, "event loop: %s", uv_strerror(uv));
    }
    ASSERT(uv_signal_init(&process->loop, &process->on_term) == 0);
    ASSERT(uv_signal_init(&process->loop, &process->on_int) == 0);
    ASSERT(uv_async_init(&process->loop, &process->stop, on_stop) == 0);
    ASSERT(uv_timer_init(&process->loop, &process->lag) == 0);
    process->on_term.data = process;
    process->on_int.data = process;
    process->stop.data = process;
    process->lag.data = process;
    /* The signals are blocked until process_run, so these do nothing before. */
    ASSERT(uv_signal_start(&process->on_term, on_signal, SIGTERM) == 0);
    ASSERT(uv_signal_start(&process->on_int, on_signal, SIGINT) == 0);
    return STATUS_OK;
}

/* Some may be closing already, after a failed start. */
static void close_own_handle(uv_handle_t *handle)
{
    if (!uv_is_closing(handle)) {
        uv_close(handle, NULL);
    }
}

/* Closes our handles and runs the loop empty; other parts must have closed theirs (a few may still
 * be closing). */
static void close_loop(struct process *process)
{
    for (size_t i = 0; i < process->n_timers; i++) {
        close_own_handle((uv_handle_t *)&process->timers[i].handle);
    }
    close_own_handle((uv_handle_t *)&process->lag);
    close_own_handle((uv_handle_t *)&process->stop);
    close_own_handle((uv_handle_t *)&process->on_int);
    close_own_handle((uv_handle_t *)&process->on_term);
    /* Closing callbacks run in the loop; give them a while. */
    const uint64_t end_ns = clock_now_ns() + CLOSE_LIMIT_MS * NS_PER_MS;
    while (uv_run(&process->loop, UV_RUN_NOWAIT) != 0 && clock_now_ns() < end_ns) {
        clock_sleep_ms(1);
    }
    const int closed = uv_loop_close(&process->loop);
    if (closed != 0) {
        /* A handle that a part forgot: its kind and address, before the assertion below ends us. */
        uv_print_all_handles(&process->loop, stderr);
    }
    ASSERT(closed == 0);
}

/* For this thread and all that it starts. */
static void block_signals(struct process *process)
{
    /* Blocked signals wait until a thread takes them: the watch of the start, then the loop. */
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    pthread_sigmask(SIG_BLOCK, &ends, &process->old_mask);
    /* A peer that went away is an error code, not a death. */
    signal(SIGPIPE, SIG_IGN);
    /* SIGALRM comes only when the end takes too long. */
    const struct sigaction limit = {.sa_handler = on_end_limit};
    sigaction(SIGALRM, &limit, NULL);
}

/* The admin page as the section asks for it. */
static struct admin_settings admin_settings_of(const struct experiment *experiment)
{
    return (struct admin_settings){.address = experiment->admin,
                                   .tokens_file = experiment->admin_tokens_file,
                                   .tls_cert = experiment->tls_cert,
                                   .tls_key = experiment->tls_key,
                                   .allow_insecure = experiment->allow_insecure};
}

status process_check(const struct experiment *experiment, struct err *err)
{
    enum log_level level;
    const struct admin_settings settings = admin_settings_of(experiment);
    const status s = log_level_parse(&level, experiment->log_level, err);
    return s == STATUS_OK ? admin_check(&settings, err) : s;
}

/* The admin page with its address file, names, status page and the process's own metrics. */
static status open_admin(struct process *process, const struct experiment *experiment,
                         struct err *err)
{
    char file[CONFIG_TEXT_SIZE + 64];
    char suffix[16] = "";
    if (process->count > 1) {
        snprintf(suffix, sizeof suffix, "-%d", process->index);
    }
    /* RUN_DIR/learner.admin, RUN_DIR/evaluator-1.admin: how others find the page. */
    snprintf(file, sizeof file, "%s/%s%s.admin", experiment->run_dir, process->role, suffix);
    struct admin_settings settings = admin_settings_of(experiment);
    settings.port_file = file;
    const status s = admin_open(&process->admin, &settings, err);
    if (s == STATUS_OK) {
        /* Names that only the configuration knows. */
        for (size_t i = 0; i < experiment->admin_hosts.n; i++) {
            admin_allow_host(process->admin, experiment->admin_hosts.items[i]);
        }
        admin_add_page(process->admin, "/status", "application/json", status_page, process);
        metrics_add_hook(process_metrics_update, NULL);
    }
    return s;
}

/* A supervisor that dies must not leave its processes behind. It says who it is by the environment,
 * and so the signal reaches only those who were started by it. */
static status end_with_supervisor(struct err *err)
{
    const char *supervisor = getenv("HINDCAST_SUPERVISED");
    if (supervisor == NULL) {
        return STATUS_OK;
    }
    if (prctl(PR_SET_PDEATHSIG, SIGTERM) != 0) {
        return err_errno(err, errno, "prctl");
    }
    /* It may have died before the prctl: no signal would ever come. */
    if (strtol(supervisor, NULL, 10) != (long)getppid()) {
        return err_set(err, STATUS_CLOSED, "process %s, which started this one, is gone",
                       supervisor);
    }
    return STATUS_OK;
}

/* Starts watch_start. */
static status start_watch(struct process *process, struct err *err)
{
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    process->start_end = eventfd(0, EFD_CLOEXEC);
    process->start_signals = signalfd(-1, &ends, SFD_CLOEXEC);
    int error = process->start_end < 0 || process->start_signals < 0 ? errno : 0;
    if (error == 0) {
        error = pthread_create(&process->start_watch, NULL, watch_start, process);
    }
    if (error != 0) {
        close(process->start_end);
        close(process->start_signals);
        return err_errno(err, error, "start a thread");
    }
    process->has_start_watch = true;
    return STATUS_OK;
}

/* Checks and makes what a process needs before there is one; nothing has to be undone. */
static status prepare(const struct experiment *experiment, enum log_level *level, struct err *err)
{
    status s = log_level_parse(level, experiment->log_level, err);
    /* Without the supervisor that wanted this process there is nothing to begin. */
    if (s == STATUS_OK) {
        s = end_with_supervisor(err);
    }
    if (s == STATUS_OK) {
        s = check_threads(err);
    }
    if (s != STATUS_OK) {
        return s;
    }
    /* Everything that a run writes lies in this folder. */
    s = file_make_folders(experiment->run_dir, err);
    return s == STATUS_OK ? s : err_context(err, s, "run_dir");
}

/* Opens the log, and fills what needs no system call that may fail. Returns NULL if memory fails. */
static struct process *make(const char *role, int index, int count, enum log_level level)
{
    struct process *made = mem_new(sizeof *made);
    if (made == NULL) {
        return NULL;
    }
    snprintf(made->role, sizeof made->role, "%s", role);
    made->index = index;
    made->count = count;
    made->fraction = -1;
    made->start_ns = clock_now_ns();
    made->end_limit_s = END_LIMIT_S;
    snprintf(made->name, sizeof made->name, count > 1 ? "%s/%d" : "%s", role, index);
    /* From here on lines carry the name, and a crash leaves its backtrace. */
    log_open(made->name, level);
    ASSERT(pthread_mutex_init(&made->lock, NULL) == 0);
    progress_init(&made->progress, made->name, isatty(STDERR_FILENO) == 1);
    return made;
}

status process_open(struct process **process, const char *role, int index, int count,
                    const struct experiment *experiment, struct err *err)
{
    enum log_level level;
    status s = prepare(experiment, &level, err);
    if (s != STATUS_OK) {
        return s;
    }
    struct process *made = make(role, index, count, level);
    if (made == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "process: out of memory");
    }
    /* Before any thread starts, since threads inherit the mask. */
    block_signals(made);
    s = open_loop(made, err);
    if (s != STATUS_OK) {
        goto free_made;
    }
    /* The loop's own metric; the page needs it to be registered. */
    made->lag_seconds = metric_gauge("hindcast_process_loop_lag_seconds",
                                     "How late the loop thread's timer last came.", NULL);
    s = open_admin(made, experiment, err);
    if (s != STATUS_OK) {
        goto close_loop;
    }
    /* Last: until the loop runs, a thread takes the requests to end. */
    s = start_watch(made, err);
    if (s != STATUS_OK) {
        goto close_admin;
    }
    log_info("started version=%s pid=%ld run_dir=%s admin=%s", HINDCAST_VERSION, (long)getpid(),
             experiment->run_dir, admin_address(made->admin));
    *process = made;
    return STATUS_OK;
close_admin:
    admin_close(made->admin);
    (void)metrics_remove_hook(process_metrics_update, NULL);
close_loop:
    close_loop(made);
free_made:
    pthread_sigmask(SIG_SETMASK, &made->old_mask, NULL);
    pthread_mutex_destroy(&made->lock);
    mem_free(made);
    return s;
}

uv_loop_t *process_loop(struct process *process)
{
    return &process->loop;
}

struct admin *process_admin(struct process *process)
{
    return process->admin;
}

void process_every(struct process *process, uint64_t period_ms, void (*tick)(void *arg), void *arg)
{
    ASSERT(process->n_timers < TIMERS_MAX && period_ms > 0);
    /* Timers live in the process, so that close_loop finds them. */
    struct timer *timer = &process->timers[process->n_timers++];
    timer->tick = tick;
    timer->arg = arg;
    ASSERT(uv_timer_init(&process->loop, &timer->handle) == 0);
    timer->handle.data = timer;
    ASSERT(uv_timer_start(&timer->handle, on_timer, period_ms, period_ms) == 0);
}

void process_run(struct process *process)
{
    /* The watch of the start ends. A request that it has taken shows in `stopping`. */
    end_start_watch(process);
    /* Only this thread takes the signals, and only while it can act on them. */
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    pthread_sigmask(SIG_UNBLOCK, &ends, NULL);
    /* The lag counts from here: a long start is not a late loop. */
    process->lag_due_ns = clock_now_ns() + LAG_PERIOD_MS * NS_PER_MS;
    ASSERT(uv_timer_start(&process->lag, on_lag_timer, LAG_PERIOD_MS, LAG_PERIOD_MS) == 0);
    atomic_store(&process->running, true);
    /* uv_stop() ends one uv_run only; the flag decides. */
    while (!process_stopping(process)) {
        uv_run(&process->loop, UV_RUN_DEFAULT);
    }
    pthread_sigmask(SIG_BLOCK, &ends, NULL);
    uv_timer_stop(&process->lag);
    /* From here on the process ends: /healthz says so, and the alarm limits how long it takes. */
    admin_set_serving(process->admin, false);
    alarm(process->end_limit_s);
}

void process_set_end_limit(struct process *process, unsigned limit_s)
{
    ASSERT(limit_s >= 1);
    process->end_limit_s = limit_s;
}

int process_close(struct process *process)
{
    const int exit_code = atomic_load(&process->exit_code);
    /* It still runs where process_run was never reached. */
    end_start_watch(process);
    /* The page before all that it reads. */
    admin_close(process->admin);
    (void)metrics_remove_hook(process_metrics_update, NULL);
    progress_end(&process->progress);
    close_loop(process);
    /* The end is complete: the alarm must not come any more. */
    alarm(0);
    log_info("ended exit_code=%d after_s=%.1f", exit_code,
             1e-9 * (double)(clock_now_ns() - process->start_ns));
    pthread_sigmask(SIG_SETMASK, &process->old_mask, NULL);
    pthread_mutex_destroy(&process->lock);
    mem_free(process);
    return exit_code;
}
