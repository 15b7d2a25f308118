/* One episode after another, with a picture of each state on the way. */
#include "evaluator/video.h"

#include <stdio.h>
#include <string.h>

#include "common/rollout/rollout.h"
#include "evaluator/measurement.h"

#define LOG_MODULE "video"
#include "common/base/file.h"
#include "common/base/log.h"

#define PATH_SIZE 1024

/* The episode, step by step, as rollout_run acts it. */
static status act(struct rollout *rollout, struct actor *actor,
                  const struct environment_start *start, struct episode *episode, struct film *film,
                  const struct video_settings *settings, struct err *err)
{
    float action[SIGNATURE_ACTIONS_MAX];
    status s = rollout_begin(rollout, start, episode, err);
    s = s != STATUS_OK ? s : film_add(film, err);
    while (s == STATUS_OK && !rollout->last) {
        if (settings->stopping != NULL && settings->stopping(settings->arg)) {
            return STATUS_CLOSED;
        }
        actor_act(actor, action, rollout->observation);
        s = rollout_step(rollout, action, err);
        s = s != STATUS_OK ? s : film_add(film, err);
    }
    return s;
}

/* The film of one task. */
static status film_task(struct environment *environment, struct actor *actor, uint32_t task,
                        const char *path, const struct video_settings *settings, struct err *err)
{
    struct rollout rollout;
    struct rollout_stream stream;
    struct episode episode;
    struct film *film;
    status s = rollout_init(&rollout, environment, err);
    if (s != STATUS_OK) {
        return s;
    }
    s = film_open(&film, path, environment, err);
    if (s == STATUS_OK) {
        rollout_stream(&stream, settings->seed, MEASUREMENT_FINAL, settings->index, 0);
        const struct environment_start start = {.seed = stream.start_seed,
                                                .task = actor_reward(actor, task)};
        episode_init(&episode, signature_width(environment_signature(environment)));
        actor_start(actor, &stream.rng, task);
        s = act(&rollout, actor, &start, &episode, film, settings, err);
        episode_fini(&episode);
        if (s == STATUS_OK) {
            s = film_close(film, err);
        } else {
            film_drop(film);
        }
    }
    rollout_fini(&rollout);
    if (s == STATUS_OK) {
        log_info("filmed an episode file=%s", path);
    }
    return s;
}

/* An actor that acts by the policy. */
static status make_actor(struct actor **actor, const struct policy *policy,
                         const struct environment *environment,
                         const struct video_settings *settings, struct err *err)
{
    struct actor *made;
    status s = actor_new(&made, environment_signature(environment), err);
    if (s != STATUS_OK) {
        return s;
    }
    s = actor_use(made, policy, settings->sample, err);
    if (s != STATUS_OK) {
        actor_free(made);
        return s;
    }
    *actor = made;
    return STATUS_OK;
}

static const char *name_of(const struct environment *environment, const struct actor *actor,
                           uint32_t task)
{
    return environment_signature(environment)->rewards[actor_reward(actor, task)];
}

status video_make(const struct policy *policy, struct environment *environment, const char *path,
                  const struct video_settings *settings, struct err *err)
{
    struct actor *actor;
    status s = make_actor(&actor, policy, environment, settings, err);
    if (s != STATUS_OK) {
        return s;
    }
    const uint32_t n_tasks = actor_tasks(actor);
    /* Without its suffix, which a task's name goes before. */
    const char *suffix = strrchr(path, '.');
    const int stem = suffix == NULL ? (int)strlen(path) : (int)(suffix - path);
    for (uint32_t task = 0; s == STATUS_OK && task < n_tasks; task++) {
        char of_task[PATH_SIZE];
        (void)snprintf(of_task, sizeof of_task, "%.*s-%s.gif", stem, path,
                       name_of(environment, actor, task));
        s = film_task(environment, actor, task, n_tasks == 1 ? path : of_task, settings, err);
    }
    actor_free(actor);
    return s;
}

status video_make_one(const struct policy *policy, struct environment *environment,
                      const char *folder, uint64_t nth, const struct video_settings *settings,
                      struct err *err)
{
    char path[PATH_SIZE];
    struct actor *actor;
    status s = file_make_folders(folder, err);
    s = s != STATUS_OK ? s : make_actor(&actor, policy, environment, settings, err);
    if (s != STATUS_OK) {
        return s;
    }
    const uint32_t task = (uint32_t)(nth % actor_tasks(actor));
    (void)snprintf(path, sizeof path, "%s/%s.gif", folder, name_of(environment, actor, task));
    s = film_task(environment, actor, task, path, settings, err);
    actor_free(actor);
    return s;
}
