/* One episode after another, with a picture of each state on the way. */
#include "evaluator/video.h"

#include <stdio.h>
#include <string.h>

#include "common/rollout/rollout.h"
#include "evaluator/measurement.h"

#define LOG_MODULE "video"
#include "common/base/log.h"

/* The episode, step by step, as rollout_run acts it. */
static status act(struct rollout *rollout, struct actor *actor,
                  const struct environment_start *start, struct episode *episode, struct film *film,
                  struct err *err)
{
    float action[SIGNATURE_ACTIONS_MAX];
    status s = rollout_begin(rollout, start, episode, err);
    s = s != STATUS_OK ? s : film_add(film, err);
    while (s == STATUS_OK && !rollout->last) {
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
        s = act(&rollout, actor, &start, &episode, film, err);
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

status video_make(const struct policy *policy, struct environment *environment,
                  const struct video_settings *settings, struct err *err)
{
    struct actor *actor;
    const struct signature *signature = environment_signature(environment);
    status s = actor_new(&actor, signature, err);
    if (s != STATUS_OK) {
        return s;
    }
    s = actor_use(actor, policy, settings->sample, err);
    const uint32_t n_tasks = s == STATUS_OK ? actor_tasks(actor) : 0;
    /* Without its suffix, which a task's name goes before. */
    const char *suffix = strrchr(settings->path, '.');
    const int stem = suffix == NULL ? (int)strlen(settings->path) : (int)(suffix - settings->path);
    for (uint32_t task = 0; s == STATUS_OK && task < n_tasks; task++) {
        char path[1024];
        if (n_tasks == 1) {
            (void)snprintf(path, sizeof path, "%s", settings->path);
        } else {
            (void)snprintf(path, sizeof path, "%.*s-%s.gif", stem, settings->path,
                           signature->rewards[actor_reward(actor, task)]);
        }
        s = film_task(environment, actor, task, path, settings, err);
    }
    actor_free(actor);
    return s;
}
