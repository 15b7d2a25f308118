/* The HTTP thread only copies the text that the dashboard's own thread made last. */
#include "common/dashboard/dashboard.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/dashboard/page.h"
#include "common/dashboard/run_view.h"

#define PATH_SIZE   4096
#define PERIOD_MS   2000u
#define INTEREST_MS 15000u /* after a request, how long the numbers are kept up to date */
#define DEPTH_MAX   2      /* levels of folders below the one that was given */

struct dashboard {
    char *folder;
    struct peek_access access;
    struct run_view *views[DASHBOARD_RUNS_MAX];
    size_t n_views;

    pthread_t thread;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t wake;
    bool ending;
    uint64_t asked_ns;       /* when somebody asked last; 0: never */
    char *text;              /* the answer; NULL: none yet */
    struct film_files films; /* that it tells of */
};

/* ---- finding runs ---- */

/* Adds the run, or marks it as found again. */
static void add_run(struct dashboard *dashboard, const char *name, const char *folder)
{
    for (size_t i = 0; i < dashboard->n_views; i++) {
        if (strcmp(dashboard->views[i]->folder, folder) == 0) {
            dashboard->views[i]->seen = true;
            return;
        }
    }
    if (dashboard->n_views < DASHBOARD_RUNS_MAX) {
        struct run_view *view = run_view_new(name, folder);
        if (view != NULL) {
            view->seen = true;
            dashboard->views[dashboard->n_views++] = view;
        }
    }
}

static bool is_folder(const char *path)
{
    struct stat about;
    return stat(path, &about) == 0 && S_ISDIR(about.st_mode);
}

/* Adds the runs in a folder and below it. `name` is the part of its path that the page shows. */
static void search(struct dashboard *dashboard, const char *folder, const char *name, int depth)
{
    struct dirent **entries;
    if (run_view_is_run(folder)) {
        add_run(dashboard, name, folder);
    }
    const int n = depth < DEPTH_MAX ? scandir(folder, &entries, NULL, alphasort) : -1;
    for (int i = 0; i < n; i++) {
        char below[PATH_SIZE], shown[PATH_SIZE];
        const char *entry = entries[i]->d_name;
        const bool fits =
            (size_t)snprintf(below, sizeof below, "%s/%s", folder, entry) < sizeof below &&
            (size_t)snprintf(shown, sizeof shown, "%s%s%s", depth > 0 ? name : "",
                             depth > 0 ? "/" : "", entry) < sizeof shown;
        if (fits && entry[0] != '.' && is_folder(below)) {
            search(dashboard, below, shown, depth + 1);
        }
        free(entries[i]);
    }
    if (n >= 0) {
        free(entries);
    }
}

/* Looks for runs again; those that are gone are dropped. */
static void find_runs(struct dashboard *dashboard)
{
    for (size_t i = 0; i < dashboard->n_views; i++) {
        dashboard->views[i]->seen = false;
    }
    const char *slash = strrchr(dashboard->folder, '/');
    search(dashboard, dashboard->folder, slash == NULL ? dashboard->folder : slash + 1, 0);
    size_t n = 0;
    for (size_t i = 0; i < dashboard->n_views; i++) {
        if (dashboard->views[i]->seen) {
            dashboard->views[n++] = dashboard->views[i];
        } else {
            run_view_free(dashboard->views[i]);
        }
    }
    dashboard->n_views = n;
}

/* ---- the numbers ---- */

/* The text of /runs.json, and the films that it tells of; NULL: out of memory. */
static char *print_runs(struct dashboard *dashboard, struct film_files *films)
{
    cJSON *json = cJSON_CreateObject();
    bool ok = cJSON_AddNumberToObject(json, "time", (double)time(NULL)) != NULL;
    cJSON *runs = cJSON_AddArrayToObject(json, "runs");
    ok = ok && runs != NULL;
    for (size_t i = 0; ok && i < dashboard->n_views; i++) {
        cJSON *run = run_view_update(dashboard->views[i], films, &dashboard->access);
        ok = run != NULL && cJSON_AddItemToArray(runs, run);
        if (!ok) {
            cJSON_Delete(run);
        }
    }
    char *text = ok ? cJSON_PrintUnformatted(json) : NULL;
    cJSON_Delete(json);
    return text;
}

/* Is anybody looking? The lock is held. */
static bool of_interest(const struct dashboard *dashboard)
{
    return dashboard->asked_ns > 0 &&
           clock_now_ns() - dashboard->asked_ns < INTEREST_MS * NS_PER_MS;
}

/* Waits for the next look. The lock is held. */
static void wait_period(struct dashboard *dashboard)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += PERIOD_MS / 1000;
    int code = 0;
    while (!dashboard->ending && code != ETIMEDOUT) {
        code = pthread_cond_timedwait(&dashboard->wake, &dashboard->lock, &until);
    }
}

static void *dashboard_main(void *arg)
{
    struct dashboard *dashboard = arg;
    pthread_mutex_lock(&dashboard->lock);
    while (!dashboard->ending) {
        while (!dashboard->ending && !of_interest(dashboard)) {
            pthread_cond_wait(&dashboard->wake, &dashboard->lock);
        }
        pthread_mutex_unlock(&dashboard->lock);
        find_runs(dashboard);
        struct film_files films = {0};
        char *text = print_runs(dashboard, &films);
        pthread_mutex_lock(&dashboard->lock);
        if (text != NULL) {
            mem_free(dashboard->text);
            film_files_fini(&dashboard->films);
            dashboard->text = text;
            dashboard->films = films;
        } else {
            film_files_fini(&films);
        }
        wait_period(dashboard);
    }
    pthread_mutex_unlock(&dashboard->lock);
    return NULL;
}

/* ---- pages ---- */

static char *runs_page(void *arg)
{
    struct dashboard *dashboard = arg;
    pthread_mutex_lock(&dashboard->lock);
    const bool idle = !of_interest(dashboard);
    dashboard->asked_ns = clock_now_ns();
    /* A thread that is waiting out its period goes on by itself. */
    if (idle) {
        pthread_cond_signal(&dashboard->wake);
    }
    char *text =
        mem_text(dashboard->text == NULL ? "{\"time\": 0, \"runs\": []}" : dashboard->text);
    pthread_mutex_unlock(&dashboard->lock);
    return text;
}

static char *file_page(void *arg)
{
    const struct page_file *file = arg;
    return mem_text(file->bytes);
}

/* Only what the last answer told of. */
static const char *find_film(void *arg, const char *rest, char *path, size_t size)
{
    struct dashboard *dashboard = arg;
    const char *suffix = strrchr(rest, '.');
    pthread_mutex_lock(&dashboard->lock);
    const char *found = film_files_find(&dashboard->films, rest);
    const bool fits = found != NULL && (size_t)snprintf(path, size, "%s", found) < size;
    pthread_mutex_unlock(&dashboard->lock);
    return !fits ? NULL : strcmp(suffix, ".png") == 0 ? "image/png" : "image/gif";
}

static void add_pages(struct dashboard *dashboard, struct admin *admin)
{
    size_t n;
    const struct page_file *files = page_files(&n);
    for (size_t i = 0; i < n; i++) {
        admin_add_page(admin, files[i].path, files[i].content_type, file_page, (void *)&files[i]);
    }
    admin_add_page(admin, "/runs.json", "application/json", runs_page, dashboard);
    admin_add_files(admin, "/films/", find_film, dashboard);
}

/* ---- life ---- */

static void release(struct dashboard *dashboard)
{
    for (size_t i = 0; i < dashboard->n_views; i++) {
        run_view_free(dashboard->views[i]);
    }
    pthread_mutex_destroy(&dashboard->lock);
    pthread_cond_destroy(&dashboard->wake);
    mem_free(dashboard->folder);
    mem_free(dashboard->text);
    film_files_fini(&dashboard->films);
    mem_free(dashboard);
}

status dashboard_open(struct dashboard **out, const char *folder, const struct peek_access *access,
                      struct admin *admin, struct err *err)
{
    struct dashboard *dashboard = mem_new(sizeof *dashboard);
    if (dashboard == NULL || (dashboard->folder = mem_text(folder)) == NULL) {
        mem_free(dashboard);
        return err_set(err, STATUS_NO_MEMORY, "dashboard");
    }
    dashboard->access = *access;
    /* A slash at the end would leave the run without a name. */
    size_t n = strlen(dashboard->folder);
    while (n > 1 && dashboard->folder[n - 1] == '/') {
        dashboard->folder[--n] = 0;
    }
    pthread_mutex_init(&dashboard->lock, NULL);
    pthread_cond_init(&dashboard->wake, NULL);
    const int code = pthread_create(&dashboard->thread, NULL, dashboard_main, dashboard);
    if (code != 0) {
        release(dashboard);
        return err_errno(err, code, "dashboard");
    }
    add_pages(dashboard, admin);
    *out = dashboard;
    return STATUS_OK;
}

void dashboard_close(struct dashboard *dashboard)
{
    if (dashboard == NULL) {
        return;
    }
    pthread_mutex_lock(&dashboard->lock);
    dashboard->ending = true;
    pthread_cond_signal(&dashboard->wake);
    pthread_mutex_unlock(&dashboard->lock);
    pthread_join(dashboard->thread, NULL);
    release(dashboard);
}
