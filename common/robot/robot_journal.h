/* What was done on a robot, step by step, as logs that the restorer reads.
 *
 *     FOLDER/logs/      episodes that came to their end: a dataset (common/trajectory/log_store.h)
 *     FOLDER/failed/    the steps of those that did not, up to the last sound one: another dataset
 *     FOLDER/failed.jsonl    a line for each of them: {"episode": .., "kind": .., "text": .., "time": ..}
 *     FOLDER/steps      the episode under way: each step is there before the next action is sent
 *
 * After a process that was killed, `steps` becomes a failed episode. One thread; one process per
 * folder. */
#ifndef HINDCAST_ROBOT_ROBOT_JOURNAL_H
#define HINDCAST_ROBOT_ROBOT_JOURNAL_H

#include "common/trajectory/signature.h"

struct robot_journal;

struct robot_journal_settings {
    const char *folder;
    const char *program; /* "hindcast-evaluator" */
    const char *robot;   /* its name */
    bool keep;           /* episodes that came to their end, too; else somebody else keeps them */
};

/* Makes the folder, or continues in it. EXISTS: another process has it; MISMATCH: it is of another
 * robot. `settings` is borrowed for the call. */
status robot_journal_open(struct robot_journal **journal,
                          const struct robot_journal_settings *settings,
                          const struct signature *signature, struct err *err) MUST_CHECK;
/* Writes what is not in a shard yet as one. NULL is fine. */
void robot_journal_close(struct robot_journal *journal);

/* An episode begins; one that is under way has failed (kind "given up"). */
status robot_journal_begin(struct robot_journal *journal, const float *observation,
                           struct err *err) MUST_CHECK;
/* One step: action(A) canonical, rewards(K), next observation(O). */
status robot_journal_step(struct robot_journal *journal, const float *action, const float *rewards,
                          float discount, const float *observation, struct err *err) MUST_CHECK;
/* The episode came to its end; or it failed. Nothing where none is under way. */
status robot_journal_end(struct robot_journal *journal, struct err *err) MUST_CHECK;
status robot_journal_fail(struct robot_journal *journal, const char *kind, const char *text,
                          struct err *err) MUST_CHECK;

#endif
