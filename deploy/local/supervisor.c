/* One libuv loop with a timer, two signals and a process handle for each child. All state
 * belongs to the loop thread; only asking a child's admin page runs on another one, and writes
 * `seen` alone.
 *
 * A child is WAITING (to be started at start_at_ns), RUNNING, DONE or FAILED. Whether a death is
 * answered by another start is decided in restart.h; what to start is decided in run_plan.h. */
#include "deploy/local/supervisor.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/base/text.h"
#include "deploy/local/restart.h"
#include "deploy/local/screen.h"

#define TICK_MS         250
#define PEEK_TIMEOUT_MS 400
#define PEEK_PERIOD_NS  NS_PER_S
#define PATH_SIZE       1200
#define TARGETS_SIZE    (SUPERVISOR_CHILDREN_MAX * 512)
#define LOG_TAIL_BYTES  8192
#define ADDRESS_SIZE    300

/* One process of the run. The loop thread owns it all, but for `seen` while `peeking` is set. */
struct child {
    struct supervisor *supervisor;
    char label[64];
    char *binary;
    char **argv; /* NULL-terminated, argv[0] first */
    char log_path[PATH_SIZE];
    char admin_path[PATH_SIZE];
    unsigned flags; /* enum child_flags */

    enum child_state state;
    struct restart restart;
    uint64_t start_at_ns; /* CHILD_WAITING: when to start */
    uv_process_t process; /* CHILD_RUNNING */
    bool terminated;      /* SIGTERM was sent */
    uint64_t kill_at_ns;
    unsigned starts;

    /* The last look at it. `peeking` is the loop thread's; the request writes only its own fields.
     */
    uv_work_t peek;
    bool peeking;
    /* Written on the pool's thread, and read by the loop thread in peek_done(), when that thread is
     * through. */
    struct {
        bool ok;
        double fraction;
        char text[256];
        char address[ADDRESS_SIZE]; /* of its admin page; empty: none */
    } seen;
    /* What is shown: the last answer, or the reason for which the process ended. */
    double fraction;
    char text[256];
    char address[ADDRESS_SIZE];
};

/* The whole run. `end` says how it will be reported once the loop has returned. */
struct supervisor {
    struct supervisor_options options;
    char run_dir[PATH_SIZE];
    uv_loop_t loop;
    uv_timer_t tick;
    uv_signal_t on_int, on_term;
    struct screen screen;
    struct child *children[SUPERVISOR_CHILDREN_MAX];
    size_t n_children;
    /* Set once and never cleared: from then on nothing is started any more. */
    bool stopping;
    unsigned interrupts;
    enum supervisor_end end;
    uint64_t next_peek_ns;
    struct err err;             /* why it failed */
    struct text reason;         /* the failed child's own words, whole */
    char targets[TARGETS_SIZE]; /* what the file of scrape targets holds */
};

/* Does this process take part in that way? */
static bool is(const struct child *child, enum child_flags flag)
{
    return (child->flags & (unsigned)flag) != 0;
}

/* ---- Making and freeing ---- */

status supervisor_new(struct supervisor **supervisor, const struct supervisor_options *options,
                      struct err *err)
{
    struct supervisor *s = mem_new(sizeof *s);
    if (!s) {
        return err_set(err, STATUS_NO_MEMORY, "supervisor");
    }
    /* The path is copied, since the caller may free its own before the run ends. */
    s->options = *options;
    snprintf(s->run_dir, sizeof s->run_dir, "%s", options->run_dir);
    s->end = SUPERVISOR_OVER;
    *supervisor = s;
    return STATUS_OK;
}

/* Frees a process that is not running. Takes one whose making failed half-way. */
static void child_free(struct child *child)
{
    for (char **argument = child->argv; argument && *argument; argument++) {
        mem_free(*argument);
    }
    mem_free(child->argv);
    mem_free(child->binary);
    mem_free(child);
}

void supervisor_free(struct supervisor *supervisor)
{
    if (!supervisor) {
        return;
    }
    for (size_t i = 0; i < supervisor->n_children; i++) {
        child_free(supervisor->children[i]);
    }
    text_fini(&supervisor->reason);
    mem_free(supervisor);
}

/* Copies, with the program's path as argv[0]. On an error child_free() takes what is there. */
static status copy_arguments(struct child *child, const char *binary, char *const *arguments)
{
    size_t n = 0;
    while (arguments[n]) {
        n++;
    }
    child->binary = mem_text(binary);
    child->argv = mem_array(n + 2, sizeof *child->argv);
    if (!child->binary || !child->argv || !(child->argv[0] = mem_text(binary))) {
        return STATUS_NO_MEMORY;
    }
    for (size_t i = 0; i < n; i++) {
        if (!(child->argv[i + 1] = mem_text(arguments[i]))) {
            return STATUS_NO_MEMORY;
        }
    }
    return STATUS_OK;
}

status supervisor_add(struct supervisor *supervisor, const struct child_spec *spec, struct err *err)
{
    if (supervisor->n_children == SUPERVISOR_CHILDREN_MAX) {
        return err_set(err, STATUS_FULL, "at most %d processes", SUPERVISOR_CHILDREN_MAX);
    }
    struct child *child = mem_new(sizeof *child);
    /* copy_arguments() may fail after some of its copies; child_free() frees them. */
    if (!child || copy_arguments(child, spec->binary, spec->arguments) != STATUS_OK) {
        if (child) {
            child_free(child);
        }
        return err_set(err, STATUS_NO_MEMORY, "process %s", spec->role);
    }
    /* Nothing is known of its progress until its first answer. */
    child->supervisor = supervisor;
    child->flags = spec->flags;
    child->fraction = -1;
    /* The label names its files, too: it must be unique within the run. */
    if (spec->count > 1) {
        snprintf(child->label, sizeof child->label, "%s-%d", spec->role, spec->index);
    } else {
        snprintf(child->label, sizeof child->label, "%s", spec->role);
    }
    snprintf(child->log_path, sizeof child->log_path, "%.1000s/%s.log", supervisor->run_dir,
             child->label);
    snprintf(child->admin_path, sizeof child->admin_path, "%.1000s/%s.admin", supervisor->run_dir,
             child->label);
    restart_init(&child->restart, supervisor->options.max_crashes);
    supervisor->children[supervisor->n_children++] = child;
    return STATUS_OK;
}

/* ---- One child: start, end ---- */

/* The text of the last ERROR line in `tail`, the end of a log, or NULL: behind its time, level,
 * process and module. The line ends at its newline. */
static char *last_error(char *tail)
{
    /* Searches to the end: the last error is usually the one that ended the process. */
    char *found = NULL;
    for (char *at = tail; (at = strstr(at, " ERROR ")) != NULL; at += 7) {
        found = at + 7;
    }
    if (found != NULL) {
        found[strcspn(found, "\n")] = '\0';
    }
    return found;
}

/* Reads the end of a file, from the beginning of a line on. */
static void read_tail(const char *path, char *tail, size_t size)
{
    tail[0] = '\0';
    /* NOFOLLOW: the run's folder may be writable for others, and its log is never a link. */
    const int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        return;
    }
    /* At most the last `size` - 1 bytes. */
    const off_t end = lseek(fd, 0, SEEK_END);
    const off_t most = (off_t)size - 1;
    const off_t from = end > most ? end - most : 0;
    const ssize_t n = pread(fd, tail, size - 1, from);
    close(fd);
    /* A line that is cut at its beginning would be misread, so it is dropped. */
    tail[n > 0 ? n : 0] = '\0';
    char *line = from > 0 ? strchr(tail, '\n') : NULL;
    if (line != NULL) {
        memmove(tail, line + 1, strlen(line + 1) + 1);
    }
}

/* Ends the run. The child's last error is what a user wants to see first, whole; where it logged
 * none (a crash), the last lines of its log stand in for it. */
static void fail(struct supervisor *supervisor, const struct child *child, const char *why,
                 status code)
{
    /* The first process that fails is the cause; others often fail because it is gone. */
    if (supervisor->end == SUPERVISOR_FAILED) {
        return;
    }
    supervisor->end = SUPERVISOR_FAILED;
    supervisor->stopping = true;
    char tail[LOG_TAIL_BYTES + 1];
    read_tail(child->log_path, tail, sizeof tail);
    const char *error = last_error(tail);
    /* `err` is one line for exit code and message, `reason` the longer text below it. */
    err_set(&supervisor->err, code, "%s %s; see %s", child->label, why, child->log_path);
    text_fini(&supervisor->reason);
    supervisor->reason = (struct text){0};
    if (error != NULL) {
        text_format(&supervisor->reason, "%s: %s", child->label, error);
    } else {
        text_format(&supervisor->reason, "the end of its log:\n%s", tail);
    }
}

/* Decides what the end of a process means: done, to be started again, or the end of the run. */
static void on_child_exit(uv_process_t *process, int64_t exit_status, int signal_number)
{
    struct child *child = process->data;
    struct supervisor *supervisor = child->supervisor;
    uv_close((uv_handle_t *)process, NULL);
    /* A server that leaves before the others has left too early, with whatever status. */
    bool well = exit_status == 0 && signal_number == 0;
    if (well && (supervisor->stopping || !is(child, CHILD_LAST))) {
        child->state = CHILD_DONE;
        child->fraction = supervisor->stopping ? child->fraction : 1;
        return;
    }
    /* Everything else is a failure, and `why` says it in words for the screen and the message. */
    char why[96];
    if (well) {
        snprintf(why, sizeof why, "left before the others"); /* a server that someone else ended */
    } else if (signal_number) {
        snprintf(why, sizeof why, "ended by signal %d (%s)", signal_number,
                 strsignal(signal_number));
    } else {
        snprintf(why, sizeof why, "left with status %d", (int)exit_status);
    }
    /* Its state for the screen, until the decision below sets another one. */
    child->state = CHILD_FAILED;
    snprintf(child->text, sizeof child->text, "%s", why);
    if (supervisor->stopping) {
        return;
    }
    /* It says itself that another start is of no use. */
    if (signal_number == 0 && exit_status == SUPERVISOR_EXIT_FINAL) {
        fail(supervisor, child, why, STATUS_INVALID);
        return;
    }
    /* A crash is answered by another start, after a delay and only so often in a row. */
    if (!restart_died(&child->restart, clock_now_ns(), &child->start_at_ns)) {
        fail(supervisor, child, why, STATUS_CLOSED);
        return;
    }
    child->state = CHILD_WAITING;
    screen_say(&supervisor->screen, "%s %s; starting it again", child->label, why);
}

/* Starts the process now. Where that is not possible the run fails: a missing binary or a full disk
 * does not get better by repeating. */
static void start(struct child *child)
{
    struct supervisor *supervisor = child->supervisor;
    /* Its log is opened by us, so that words before its first log line, or of a sanitizer, are
     * in it. */
    int log_fd =
        open(child->log_path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (log_fd < 0) {
        child->state = CHILD_FAILED;
        fail(supervisor, child, "cannot write its log", STATUS_IO);
        return;
    }
    /* No stdin: a process of a run never asks its user. Both outputs go to the log. */
    uv_stdio_container_t stdio[3] = {
        {.flags = UV_IGNORE},
        {.flags = UV_INHERIT_FD, .data.fd = log_fd},
        {.flags = UV_INHERIT_FD, .data.fd = log_fd},
    };
    uv_process_options_t options = {
        .exit_cb = on_child_exit,
        .file = child->binary,
        .args = child->argv,
        .flags = UV_PROCESS_DETACHED, /* Ctrl-C is ours to pass on, in order */
        .stdio = stdio,
        .stdio_count = 3,
    };
    /* A session of its own: the terminal's Ctrl-C reaches us alone, and we pass it on in order. */
    child->process.data = child;
    int code = uv_spawn(&supervisor->loop, &child->process, &options);
    /* The child has its own copy of the descriptor. */
    close(log_fd);
    restart_started(&child->restart, clock_now_ns());
    child->starts++;
    /* libuv requires the handle to be closed even though no process came to be. */
    if (code != 0) {
        char why[128];
        snprintf(why, sizeof why, "cannot be started: %s: %s", child->binary, uv_strerror(code));
        uv_close((uv_handle_t *)&child->process, NULL);
        child->state = CHILD_FAILED;
        fail(supervisor, child, why, STATUS_IO);
        return;
    }
    child->state = CHILD_RUNNING;
    child->terminated = false;
}

/* A goal process may have died before it knew that the run has ended, and those who could tell it
 * may be done. */
static void start_again(struct child *child)
{
    struct supervisor *supervisor = child->supervisor;
    /* The goal process starts first, so that it is there when the other one looks for it. */
    start(child);
    const bool tells = is(child, CHILD_GOAL) && !is(child, CHILD_AFTER);
    for (size_t i = 0; tells && i < supervisor->n_children; i++) {
        struct child *other = supervisor->children[i];
        if (is(other, CHILD_AGAIN) && other->state == CHILD_DONE && !supervisor->stopping) {
            screen_say(&supervisor->screen, "%s is asked once more", other->label);
            start(other);
        }
    }
}

/* SIGTERM first; SIGKILL once stop_ms are over. Called with every tick. */
static void terminate(struct child *child, uint64_t now_ns)
{
    if (!child->terminated) {
        child->terminated = true;
        child->kill_at_ns = now_ns + child->supervisor->options.stop_ms * NS_PER_MS;
        uv_process_kill(&child->process, SIGTERM);
    } else if (now_ns >= child->kill_at_ns) {
        child->kill_at_ns = UINT64_MAX;
        screen_say(&child->supervisor->screen, "%s does not end: killed", child->label);
        uv_process_kill(&child->process, SIGKILL);
    }
}

/* ---- Looking at them ---- */

/* On a thread of libuv's pool: asking may take PEEK_TIMEOUT_MS, and the loop must not wait. */
static void peek_work(uv_work_t *work)
{
    struct child *child = work->data;
    cJSON *json;
    /* The address may be there while the page does not answer, for example during the start. */
    if (peek_address(child->seen.address, sizeof child->seen.address, child->admin_path, NULL) !=
        STATUS_OK) {
        child->seen.address[0] = '\0';
    }
    child->seen.ok =
        peek_json(&json, child->admin_path, "/status", &child->supervisor->options.access,
                  PEEK_TIMEOUT_MS, NULL) == STATUS_OK;
    if (!child->seen.ok) {
        return;
    }
    /* Absent fields mean work without an end, and nothing to say. */
    const cJSON *fraction = cJSON_GetObjectItem(json, "fraction");
    const cJSON *text = cJSON_GetObjectItem(json, "text");
    child->seen.fraction = cJSON_IsNumber(fraction) ? fraction->valuedouble : -1;
    snprintf(child->seen.text, sizeof child->seen.text, "%s",
             cJSON_IsString(text) ? text->valuestring : "");
    cJSON_Delete(json);
}

/* Back on the loop thread: takes over what was seen, unless the process has ended meanwhile. */
static void peek_done(uv_work_t *work, int cancelled)
{
    struct child *child = work->data;
    child->peeking = false;
    /* The address counts even where the page did not answer: the scrape list must not flicker. */
    if (!cancelled) {
        memcpy(child->address, child->seen.address, sizeof child->address);
    }
    /* An answer that arrives after the end would overwrite the reason for it. */
    if (!cancelled && child->seen.ok && child->state == CHILD_RUNNING) {
        child->fraction = child->seen.fraction;
        memcpy(child->text, child->seen.text, sizeof child->text);
    }
}

/* RUN_DIR/metrics_targets.json, for Prometheus' file_sd_configs: the admin address of each process
 * that runs, with its role and index. Written when it changes. */
static void write_targets(struct supervisor *supervisor)
{
    /* Static, as it is large; only the loop thread comes here. */
    static char text[TARGETS_SIZE];
    size_t used = (size_t)snprintf(text, sizeof text, "[");
    for (size_t i = 0; i < supervisor->n_children; i++) {
        const struct child *child = supervisor->children[i];
        if (child->state != CHILD_RUNNING || child->address[0] == '\0') {
            continue;
        }
        /* One entry for each process whose address is known. */
        bool tls;
        const char *host = peek_address_host(child->address, &tls);
        const int n = snprintf(text + used, sizeof text - used,
                               "%s\n  {\"targets\": [\"%s\"], \"labels\": {%s\"process\": \"%s\"}}",
                               used > 1 ? "," : "", host, tls ? "\"__scheme__\": \"https\", " : "",
                               child->label);
        /* Four bytes are left for the end of the list, so that the file is always JSON. */
        if (n < 0 || used + (size_t)n + 4 > sizeof text) {
            break;
        }
        used += (size_t)n;
    }
    used += (size_t)snprintf(text + used, sizeof text - used, "\n]\n");
    /* Unchanged: Prometheus watches the file and would read it again for nothing. */
    if (strcmp(text, supervisor->targets) == 0) {
        return;
    }
    char path[PATH_SIZE];
    snprintf(path, sizeof path, "%.1000s/metrics_targets.json", supervisor->run_dir);
    struct err err;
    if (file_replace(path, &(struct file_part){text, used}, 1, &err) == STATUS_OK) {
        memcpy(supervisor->targets, text, used + 1);
    } else {
        screen_say(&supervisor->screen, "%s", err.text); /* tried again with the next look */
    }
}

/* About once a second: asks every running process, and shows what the last answers were. */
static void peek_at_all(struct supervisor *supervisor, uint64_t now_ns)
{
    if (now_ns < supervisor->next_peek_ns) {
        return;
    }
    supervisor->next_peek_ns = now_ns + PEEK_PERIOD_NS;
    /* The addresses are those of the last look, as the answers of this one come later. */
    write_targets(supervisor);
    /* At most one request for each process is under way: a slow one must not fill the pool. */
    for (size_t i = 0; i < supervisor->n_children; i++) {
        struct child *child = supervisor->children[i];
        if (child->state == CHILD_RUNNING && !child->peeking) {
            child->peek.data = child;
            child->peeking =
                uv_queue_work(&supervisor->loop, &child->peek, peek_work, peek_done) == 0;
        }
    }
    /* The screen gets copies of the answers that are known by now. */
    struct child_view views[SUPERVISOR_CHILDREN_MAX];
    for (size_t i = 0; i < supervisor->n_children; i++) {
        struct child *child = supervisor->children[i];
        views[i] = (struct child_view){.label = child->label,
                                       .state = child->state,
                                       .starts = child->starts,
                                       .fraction = child->fraction};
        memcpy(views[i].text, child->text, sizeof views[i].text);
    }
    screen_draw(&supervisor->screen, views, supervisor->n_children, now_ns);
}

/* ---- The run ---- */

/* Running servers (`last`) or other running processes. */
static size_t count_running(const struct supervisor *supervisor, bool last)
{
    size_t n = 0;
    for (size_t i = 0; i < supervisor->n_children; i++) {
        n += supervisor->children[i]->state == CHILD_RUNNING &&
             is(supervisor->children[i], CHILD_LAST) == last;
    }
    return n;
}

/* A run without goal processes (a server alone) never ends by itself. */
static bool goals_reached(const struct supervisor *supervisor)
{
    size_t goals = 0, done = 0;
    for (size_t i = 0; i < supervisor->n_children; i++) {
        goals += is(supervisor->children[i], CHILD_GOAL);
        done +=
            is(supervisor->children[i], CHILD_GOAL) && supervisor->children[i]->state == CHILD_DONE;
    }
    return goals > 0 && done == goals;
}

/* Is it this process's turn? */
static bool may_start(const struct supervisor *supervisor, const struct child *child)
{
    bool others_done = true;
    for (size_t i = 0; i < supervisor->n_children; i++) {
        const struct child *other = supervisor->children[i];
        others_done = others_done && (!is(other, CHILD_GOAL) || is(other, CHILD_AFTER) ||
                                      other->state == CHILD_DONE);
    }
    return others_done || !is(child, CHILD_AFTER);
}

/* The only timer: starts what is due, ends what should end, and looks at all. */
static void on_tick(uv_timer_t *timer)
{
    struct supervisor *supervisor = timer->data;
    uint64_t now_ns = clock_now_ns();
    /* From here on, processes are ended and none is started. */
    if (!supervisor->stopping && goals_reached(supervisor)) {
        supervisor->stopping = true;
    }
    /* Servers are ended only when nobody needs them any more. */
    bool others_gone = count_running(supervisor, false) == 0;
    /* Starts processes whose delay is over, and ends those whose time has come. */
    for (size_t i = 0; i < supervisor->n_children; i++) {
        struct child *child = supervisor->children[i];
        if (!supervisor->stopping && child->state == CHILD_WAITING &&
            now_ns >= child->start_at_ns && may_start(supervisor, child)) {
            start_again(child);
        } else if (supervisor->stopping && child->state == CHILD_RUNNING &&
                   (!is(child, CHILD_LAST) || others_gone)) {
            terminate(child, now_ns);
        }
    }
    peek_at_all(supervisor, now_ns);
    /* Closing the handles lets uv_run return. */
    if (supervisor->stopping && others_gone && count_running(supervisor, true) == 0) {
        uv_close((uv_handle_t *)&supervisor->tick, NULL);
        uv_close((uv_handle_t *)&supervisor->on_int, NULL);
        uv_close((uv_handle_t *)&supervisor->on_term, NULL);
    }
}

/* SIGINT and SIGTERM, on the loop thread: libuv turns them into an event. */
static void on_signal(uv_signal_t *handle, int number)
{
    struct supervisor *supervisor = handle->data;
    supervisor->stopping = true;
    supervisor->interrupts++;
    if (supervisor->end == SUPERVISOR_OVER) {
        supervisor->end = SUPERVISOR_INTERRUPTED;
    }
    /* The first signal ends all in order, the second at once. */
    if (supervisor->interrupts == 1) {
        screen_say(&supervisor->screen,
                   "%s: ending all processes in order; once more to end them at once",
                   number == SIGINT ? "interrupted" : "asked to end");
        return;
    }
    for (size_t i = 0; i < supervisor->n_children; i++) {
        if (supervisor->children[i]->state == CHILD_RUNNING) {
            uv_process_kill(&supervisor->children[i]->process, SIGKILL);
        }
    }
}

const char *supervisor_reason(struct supervisor *supervisor)
{
    return supervisor->reason.bytes != NULL ? supervisor->reason.bytes : "";
}

/* The caller has added all processes; the first tick, at once, starts them, as they are WAITING
 * with start_at_ns 0. */
enum supervisor_end supervisor_run(struct supervisor *supervisor, struct err *err)
{
    screen_init(&supervisor->screen, stderr, clock_now_ns());
    /* Handles live in the supervisor, which outlives the loop. */
    ASSERT(uv_loop_init(&supervisor->loop) == 0);
    uv_timer_init(&supervisor->loop, &supervisor->tick);
    uv_signal_init(&supervisor->loop, &supervisor->on_int);
    uv_signal_init(&supervisor->loop, &supervisor->on_term);
    supervisor->tick.data = supervisor->on_int.data = supervisor->on_term.data = supervisor;
    /* The first tick comes without a delay. */
    uv_timer_start(&supervisor->tick, on_tick, 0, TICK_MS);
    uv_signal_start(&supervisor->on_int, on_signal, SIGINT);
    uv_signal_start(&supervisor->on_term, on_signal, SIGTERM);
    uv_run(&supervisor->loop, UV_RUN_DEFAULT);
    /* Fails where a handle is still open, which would be a mistake of ours. */
    ASSERT(uv_loop_close(&supervisor->loop) == 0);
    if (supervisor->end == SUPERVISOR_FAILED && err) {
        *err = supervisor->err;
    }
    return supervisor->end;
}
