/* `hindcast dataset export`. */
#ifndef HINDCAST_DEPLOY_LOCAL_EXPORT_DATASET_H
#define HINDCAST_DEPLOY_LOCAL_EXPORT_DATASET_H

/* The lines of `hindcast dataset --help` about this command. */
extern const char export_dataset_usage[];

/* Runs the command with the arguments behind "export". Returns the exit status: 2 if the command line
 * is wrong, 1 if the export failed or an episode was left out. */
int export_dataset(int argc, char **argv);

#endif
