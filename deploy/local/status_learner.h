/* The state of a run by its addresses, for runs whose folder is on another machine. */
#ifndef HINDCAST_LOCAL_STATUS_LEARNER_H
#define HINDCAST_LOCAL_STATUS_LEARNER_H

/* Asks the learner at --experiment.parameters, then the replay servers that it names, and prints a
 * line for each. `flags` are those of the section experiment, as for a process (TLS, token_file). 0
 * where the learner answers, 1 where it does not, 2 where a flag is wrong. */
int status_of_learner(int n_flags, char *const *flags);

#endif
