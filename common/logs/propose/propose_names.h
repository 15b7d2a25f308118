/* What the names of columns say: what a column is taken for, and which columns belong together.
 *
 * The name that counts is the last part, after '.' or '/', without a trailing number. Case does not
 * matter. */
#ifndef HINDCAST_LOGS_PROPOSE_NAMES_H
#define HINDCAST_LOGS_PROPOSE_NAMES_H

#include "common/logs/columns/recording.h"
#include "common/trajectory/signature.h"

/* What a column is taken for. */
enum propose_role {
    PROPOSE_ROLE_OBSERVATION,
    PROPOSE_ROLE_NEXT_OBSERVATION,
    PROPOSE_ROLE_ACTION,
    PROPOSE_ROLE_REWARD,
    PROPOSE_ROLE_TERMINATED,
    PROPOSE_ROLE_SUCCESS,
    PROPOSE_ROLE_DONE, /* the end of an episode, for whatever reason */
    PROPOSE_ROLE_TIMEOUT,
    PROPOSE_ROLE_DISCOUNT,
    PROPOSE_ROLE_EPISODE,
    PROPOSE_ROLE_TIME,
    PROPOSE_ROLE_IGNORED,
};

/* Returns the role that the name of a column suggests. A name of which nothing is known is that of an
 * observation; a column without numbers is ignored. */
enum propose_role propose_names_role(const struct recording_column *column);
/* Returns whether the name says that a column is an observation: "obs/x", "observations". */
bool propose_names_observation(const char *name);

/* Returns whether two columns are numbered parts of one slice, such as "q_0" and "q_1". */
bool propose_names_same_slice(const struct recording_column *a, const struct recording_column *b);
/* Makes the name of a slice from that of a column: "encoder" for "obs/encoder". Characters other
 * than [a-zA-Z0-9_./-] are replaced. `grouped` drops the number of the column. */
void propose_names_slice(const char *column, bool grouped, char name[SIGNATURE_NAME_SIZE]);

#endif
