/* Films of a policy (common/render/film.h). */
#ifndef HINDCAST_EVALUATOR_VIDEO_H
#define HINDCAST_EVALUATOR_VIDEO_H

#include "common/networks/policy.h"
#include "common/render/film.h"

struct video_settings {
    uint64_t seed;
    uint64_t index;              /* of the evaluator */
    bool sample;                 /* else the mean action */
    bool (*stopping)(void *arg); /* called before every step; may be NULL */
    void *arg;
};

/* Films one episode of each of the policy's tasks, the first that a report measures with these settings,
 * in `environment`, which is borrowed. `path` ends in ".gif", of several tasks in "-TASK.gif" in place of
 * that; a contact sheet, ".png", is beside it. An episode in which the environment fails leaves no film,
 * and its error is returned. CLOSED: it was time to stop. Others as film_open and actor_use. */
status video_make(const struct policy *policy, struct environment *environment, const char *path,
                  const struct video_settings *settings, struct err *err) MUST_CHECK;
/* The same of one task, number `nth` modulo the number of tasks, as FOLDER/TASK.gif and .png. The folder
 * is made. */
status video_make_one(const struct policy *policy, struct environment *environment,
                      const char *folder, uint64_t nth, const struct video_settings *settings,
                      struct err *err) MUST_CHECK;

#endif
