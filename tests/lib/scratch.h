/* A folder of its own for a test, under $TMPDIR or /tmp, and what is often done in one. */
#ifndef HINDCAST_TESTS_SCRATCH_H
#define HINDCAST_TESTS_SCRATCH_H

#define SCRATCH_SIZE 256

/* Makes an empty folder; aborts when it cannot. */
void scratch_make(char folder[SCRATCH_SIZE]);
/* Removes it and all that is in it. */
void scratch_remove(const char *folder);

/* The folder of the test that runs now, or of the whole group: for tests that need but one, with
 * these two as set-up and tear-down. */
extern char scratch_folder[SCRATCH_SIZE];
int scratch_set_up(void **state);
int scratch_tear_down(void **state);
/* scratch_folder/name. The text lives until the eighth call after this one. */
char *scratch_at(const char *name);

/* path <- folder/name; returns path. */
char *scratch_path(char path[2 * SCRATCH_SIZE], const char *folder, const char *name);
void scratch_write(const char *path, const char *text);
/* The whole file as heap text (free it), or NULL when it is absent. */
char *scratch_read(const char *path);

#endif
