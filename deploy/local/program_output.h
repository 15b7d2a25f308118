/* What one of our programs prints about itself. */
#ifndef HINDCAST_LOCAL_PROGRAM_OUTPUT_H
#define HINDCAST_LOCAL_PROGRAM_OUTPUT_H

/* What `path flag` prints to stdout, terminated; mem_free() it. NULL where the program cannot be run,
 * fails, or memory does. Waits for its end. */
char *program_output(const char *path, const char *flag);

#endif
