/* Scratch folders of tests, and short files in them. Every failure aborts the test program, since a
 * test cannot continue without its folder. */
#include "tests/lib/scratch.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

char scratch_folder[SCRATCH_SIZE];

static void fail(const char *what, const char *path)
{
    fprintf(stderr, "scratch: ");
    perror(what);
    fprintf(stderr, "scratch: path %s\n", path);
    abort();
}

void scratch_make(char folder[SCRATCH_SIZE])
{
    const char *base = getenv("TMPDIR");
    snprintf(folder, SCRATCH_SIZE, "%.200s/hindcast-test-XXXXXX", base == NULL ? "/tmp" : base);
    if (mkdtemp(folder) == NULL) {
        fail("mkdtemp", folder);
    }
}

static int remove_one(const char *path, const struct stat *info, int type, struct FTW *ftw)
{
    (void)info;
    (void)type;
    (void)ftw;
    return remove(path);
}

void scratch_remove(const char *folder)
{
    if (nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS) != 0) {
        fail("nftw", folder);
    }
}

int scratch_set_up(void **state)
{
    (void)state;
    scratch_make(scratch_folder);
    return 0;
}

int scratch_tear_down(void **state)
{
    (void)state;
    scratch_remove(scratch_folder);
    return 0;
}

char *scratch_at(const char *name)
{
    static char texts[8][2 * SCRATCH_SIZE];
    static unsigned next;
    return scratch_path(texts[next++ % 8], scratch_folder, name);
}

char *scratch_path(char path[2 * SCRATCH_SIZE], const char *folder, const char *name)
{
    snprintf(path, (size_t)2 * SCRATCH_SIZE, "%s/%s", folder, name);
    return path;
}

void scratch_write(const char *path, const char *text)
{
    FILE *file = fopen(path, "we");
    if (file == NULL || fputs(text, file) < 0 || fclose(file) != 0) {
        fail("write", path);
    }
}

char *scratch_read(const char *path)
{
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return NULL;
    }
    char *text = NULL;
    size_t used = 0;
    size_t n;
    do {
        text = realloc(text, used + 4097);
        if (text == NULL) {
            fail("realloc", path);
            return NULL;
        }
        n = fread(text + used, 1, 4096, file);
        used += n;
    } while (n > 0);
    text[used] = '\0';
    fclose(file);
    return text;
}
