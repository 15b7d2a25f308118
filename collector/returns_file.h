/* returns.csv: one line per kept episode, for plots and for people.
 *
 *     episode,wall_s,version,learner_step,acting,task,steps,return_run
 *     1,0.412,0,0,random,run,1000,3.25
 *     2,0.815,7,350,policy,run,1000,12.5
 *
 * wall_s counts from the first start of this collector. A line is written before its episode goes
 * to the journal; a restart removes lines whose episodes the journal does not have, so that after a
 * crash of the process lines and episodes agree. Half-written lines are removed as well; they cost no
 * other line. */
#ifndef HINDCAST_COLLECTOR_RETURNS_FILE_H
#define HINDCAST_COLLECTOR_RETURNS_FILE_H

#include "collector/finished_episode.h"
#include "common/environments/environment.h"

struct returns_file;

/* Where the environment defines success (environment.h), a last column tells whether the episode
 * succeeded in its task: 1 or 0. */

/* Creates the file, or continues in it after `last` (the last sequence in journal and shards; 0:
 * none). INVALID: it has other columns. `environment` is borrowed. */
status returns_file_open(struct returns_file **file, const char *path,
                         const struct environment_description *environment, uint64_t last,
                         struct err *err) MUST_CHECK;
status returns_file_append(struct returns_file *file, const struct finished_episode *finished,
                           double wall_s, struct err *err) MUST_CHECK;
void returns_file_close(struct returns_file *file);

#endif
