/* Temporary folders for tests, under $TMPDIR or /tmp, and small helpers for files in them. */
#ifndef HINDCAST_TESTS_SCRATCH_H
#define HINDCAST_TESTS_SCRATCH_H

#define SCRATCH_SIZE 256

/* Makes an empty folder and stores its path. Aborts on failure. */
void scratch_make(char folder[SCRATCH_SIZE]);
/* Removes a folder with all its contents. */
void scratch_remove(const char *folder);

/* One folder for the current test or group of tests, made and removed by these two functions, which
 * serve as cmocka's set-up and tear-down. */
extern char scratch_folder[SCRATCH_SIZE];
int scratch_set_up(void **state);
int scratch_tear_down(void **state);
/* scratch_folder/name. The text is valid until the eighth call after this one. */
char *scratch_at(const char *name);

/* Stores folder/name in `path` and returns it. */
char *scratch_path(char path[2 * SCRATCH_SIZE], const char *folder, const char *name);
/* Creates or replaces a file. */
void scratch_write(const char *path, const char *text);
/* Returns the contents of a file, to be freed, or NULL if it cannot be opened. */
char *scratch_read(const char *path);

#endif
