/* Films of a policy (common/render/film.h). */
#ifndef HINDCAST_EVALUATOR_VIDEO_H
#define HINDCAST_EVALUATOR_VIDEO_H

#include "common/networks/policy.h"
#include "common/render/film.h"

struct video_settings {
    const char *path; /* ends in ".gif"; with several tasks each has -TASK before that */
    uint64_t seed;
    uint64_t index; /* of the evaluator */
    bool sample;    /* else the mean action */
};

/* Films one episode of each of the policy's tasks, the first that a report measures with these settings,
 * in `environment`, which is borrowed: FILE.gif and FILE.png, or FILE-TASK.gif and FILE-TASK.png. An
 * episode in which the environment fails leaves no film, and its error is returned. Errors as film_open
 * and actor_use. */
status video_make(const struct policy *policy, struct environment *environment,
                  const struct video_settings *settings, struct err *err) MUST_CHECK;

#endif
