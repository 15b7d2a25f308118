/* The process's list of compiled models, with reference counts.
 *
 * A model takes 20 to 200 ms to compile and megabytes to hold; a process that acts in fifty
 * environments of a task has it once. The list is short, so it is searched linearly.
 *
 * An entry is in the list as long as it has users, and its model does not change after make_entry:
 * that is why any number of threads may simulate with it at once, without the lock. */
#include "common/environments/shared_model.h"

#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "common/base/memory.h"
#include "common/environments/mujoco_guard.h"

/* One compiled model: made when the first user takes it, freed when the last one drops it. */
struct entry {
    struct shared_model shared; /* first: what users hold points here */
    mjModel *model;
    mjModel passive; /* a copy of the struct, not of its arrays */
    /* Path and key together name the model. */
    char *path;
    char *key;
    size_t users;
    struct entry *next;
};

/* Guards the list and the `users` of every entry. Held while a model is compiled, so that threads
 * that open the same task at once compile it once. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct entry *entries;

/* Frees an entry that is in no list; its parts may be NULL. */
static void free_entry(struct entry *entry)
{
    if (entry->model != NULL) {
        mj_deleteModel(entry->model);
    }
    mem_free(entry->path);
    mem_free(entry->key);
    mem_free(entry);
}

/* How the spec of a model is made. */
struct recipe {
    const char *path; /* of the file, or of the folder for `assemble` */
    const char *key;
    shared_model_edit *edit;         /* of the parsed file; NULL: as it is */
    shared_model_assemble *assemble; /* instead of parsing a file; NULL: a file */
    const void *arg;
};

/* Parses and edits one file. */
static status parse(mjSpec **spec, const struct recipe *recipe, struct err *err)
{
    char text[512] = "";
    /* MuJoCo would report an absent file in words of its own. */
    if (access(recipe->path, R_OK) != 0) {
        return err_set(err, STATUS_NOT_FOUND, "model %s: no such readable file", recipe->path);
    }
    mjSpec *parsed = mj_parseXML(recipe->path, NULL, text, sizeof text);
    if (parsed == NULL) {
        return err_set(err, STATUS_INVALID, "model %s: %s", recipe->path, text);
    }
    status s = recipe->edit == NULL ? STATUS_OK : recipe->edit(parsed, recipe->arg, err);
    if (s != STATUS_OK) {
        mj_deleteSpec(parsed);
        return err_context(err, s, "model %s", recipe->path);
    }
    *spec = parsed;
    return STATUS_OK;
}

/* Makes the spec, which is MuJoCo's editable form of a model, and compiles it. A parsed file without
 * an edit gives what MuJoCo's mj_loadXML gives. */
static status compile(mjModel **model, const struct recipe *recipe, struct err *err)
{
    mjSpec *spec;
    status s = recipe->assemble == NULL ? parse(&spec, recipe, err)
                                        : recipe->assemble(&spec, recipe->path, recipe->arg, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* Compiling checks the model as a whole; its text names what is wrong. */
    *model = mj_compile(spec, NULL);
    if (*model == NULL) {
        s = err_set(err, STATUS_INVALID, "model %s: %s", recipe->path, mjs_getError(spec));
    }
    mj_deleteSpec(spec);
    return s;
}

/* A new entry with its compiled model, not yet in the list. */
static status make_entry(struct entry **made, const struct recipe *recipe, struct err *err)
{
    struct entry *entry = mem_new(sizeof *entry);
    if (entry == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "model %s: out of memory", recipe->path);
    }
    /* Copies, since the caller's texts need not live as long as the entry. */
    entry->path = mem_text(recipe->path);
    entry->key = mem_text(recipe->key);
    if (entry->path == NULL || entry->key == NULL) {
        free_entry(entry);
        return err_set(err, STATUS_NO_MEMORY, "model %s: out of memory", recipe->path);
    }
    status s = compile(&entry->model, recipe, err);
    if (s != STATUS_OK) {
        free_entry(entry);
        return s;
    }
    /* `passive` shares all arrays with the model; only its options differ. */
    entry->model->opt.disableflags |= mjDSBL_AUTORESET;
    entry->passive = *entry->model;
    entry->passive.opt.disableflags |= mjDSBL_ACTUATION;
    entry->shared.model = entry->model;
    entry->shared.passive = &entry->passive;
    *made = entry;
    return STATUS_OK;
}

static status take(const struct shared_model **shared, const struct recipe *recipe, struct err *err)
{
    /* Before the first call to MuJoCo, whose errors would otherwise end the process without a log
     * line. */
    mujoco_guard_install();
    (void)pthread_mutex_lock(&lock);
    /* Both path and key must agree: tasks may edit the same file differently. */
    struct entry *entry = entries;
    while (entry != NULL &&
           (strcmp(entry->path, recipe->path) != 0 || strcmp(entry->key, recipe->key) != 0)) {
        entry = entry->next;
    }
    status s = STATUS_OK;
    if (entry == NULL) {
        s = make_entry(&entry, recipe, err);
        if (s == STATUS_OK) {
            entry->next = entries;
            entries = entry;
        }
    }
    if (s == STATUS_OK) {
        entry->users++;
        *shared = &entry->shared;
    }
    (void)pthread_mutex_unlock(&lock);
    return s;
}

status shared_model_take(const struct shared_model **shared, const char *path, const char *key,
                         shared_model_edit *edit, const void *arg, struct err *err)
{
    const struct recipe recipe = {.path = path, .key = key, .edit = edit, .arg = arg};
    return take(shared, &recipe, err);
}

status shared_model_take_assembled(const struct shared_model **shared, const char *folder,
                                   const char *key, shared_model_assemble *assemble,
                                   const void *arg, struct err *err)
{
    const struct recipe recipe = {.path = folder, .key = key, .assemble = assemble, .arg = arg};
    return take(shared, &recipe, err);
}

void shared_model_drop(const struct shared_model *shared)
{
    if (shared == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&lock);
    /* A pointer to the link rather than to the entry, so that the first entry is no special
     * case. */
    struct entry **link = &entries;
    while (*link != NULL && &(*link)->shared != shared) {
        link = &(*link)->next;
    }
    struct entry *entry = *link;
    ASSERT(entry != NULL && entry->users > 0);
    /* The last user frees the model. */
    if (--entry->users == 0) {
        *link = entry->next;
        free_entry(entry);
    }
    (void)pthread_mutex_unlock(&lock);
}
