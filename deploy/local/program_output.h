/* What one of our programs prints about itself. */
#ifndef HINDCAST_LOCAL_PROGRAM_OUTPUT_H
#define HINDCAST_LOCAL_PROGRAM_OUTPUT_H

/* What a program prints to stdout, terminated; mem_free() it. `argv` begins with its path, or
 * its name on the PATH, and ends with NULL. NULL where the program cannot be run, fails, or memory does. Waits for its end. */
char *program_output(const char *const argv[]);

#endif
