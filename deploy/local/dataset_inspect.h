/* `hindcast dataset inspect`: what a dataset, or logs of another format, holds. */
#ifndef HINDCAST_DEPLOY_LOCAL_DATASET_INSPECT_H
#define HINDCAST_DEPLOY_LOCAL_DATASET_INSPECT_H

/* argv: the words behind `inspect`. Returns 0; 1 where an episode is bad or the logs cannot be read,
 * which is told; 2 where the command line is wrong, whose usage is the caller's. */
int dataset_inspect(int argc, char **argv);

#endif
