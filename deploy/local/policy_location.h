/* Which policy file is meant: a run folder, an experiment file, or a policy file itself. */
#ifndef HINDCAST_LOCAL_POLICY_LOCATION_H
#define HINDCAST_LOCAL_POLICY_LOCATION_H

#include "common/base/status.h"

#define POLICY_LOCATION_PATH_SIZE 1200
#define POLICY_LOCATION_NAME_SIZE 256

struct policy_location {
    char path[POLICY_LOCATION_PATH_SIZE];    /* of the package */
    char run_dir[POLICY_LOCATION_PATH_SIZE]; /* empty where a file was named */
    char name[POLICY_LOCATION_NAME_SIZE]; /* what an export is called: of the run, or of the file */
};

/* `version`: "best", "last", or NULL, which is the best, or, where no evaluator kept one, the
 * learner's last; only a run has versions. INVALID;
 * NOT_FOUND where no such run or file is, or the run has kept no policy yet. */
status policy_location_find(struct policy_location *location, const char *text, const char *version,
                            struct err *err) MUST_CHECK;

#endif
