/* hindcast policy evaluate --offline RUN: the replay server of a run and an offline evaluator, under
 * a supervisor, until the evaluation is done. */
#ifndef HINDCAST_LOCAL_POLICY_EVALUATE_H
#define HINDCAST_LOCAL_POLICY_EVALUATE_H

/* argv: what follows the word `evaluate`. Returns the exit status: 0, 2 for a wrong command line or
 * bad input, 130 when interrupted, 1 otherwise. The same command goes on where it was stopped. */
int policy_evaluate(int argc, char **argv);

#endif
