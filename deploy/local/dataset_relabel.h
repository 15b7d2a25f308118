/* hindcast dataset relabel: a dataset with other rewards, computed by a Lua file
 * (common/relabel/script.h). */
#ifndef HINDCAST_LOCAL_DATASET_RELABEL_H
#define HINDCAST_LOCAL_DATASET_RELABEL_H

#include <stdio.h>

/* For the usage of `hindcast dataset`. */
extern const char dataset_relabel_usage[];

/* The words behind `hindcast dataset relabel`. The exit status: 2 where the command line is wrong;
 * 1 where the work failed or an episode is bad, which is left out. */
int dataset_relabel(int argc, char **argv);

#endif
