/* The first rows and the last ones of a column may lie in different parts of a file, such as chunks,
 * row groups or record batches. */
#include "tests/fuzz/fuzz_log_file.h"

#include "tests/fuzz/fuzz.h"

#define VALUES_MAX     65536
#define RECORDINGS_MAX 4
#define COLUMNS_MAX    16

static void read_column(struct log_file *file, uint64_t recording_i,
                        const struct recording_column *column)
{
    static double values[VALUES_MAX];
    struct err err = {0};
    if (column->kind != RECORDING_NUMBERS) {
        return;
    }
    const uint64_t most = VALUES_MAX / column->width;
    const uint64_t n = column->rows < most ? column->rows : most;
    for (int end = 0; n > 0 && end < 2; end++) {
        const uint64_t first = end == 0 ? 0 : column->rows - n;
        if (log_file_read(file, recording_i, column, first, n, values, &err) != STATUS_OK) {
            fuzz_must(err.text[0] == '\0', "no text");
        }
    }
}

bool fuzz_log_file(const char *path)
{
    struct log_file *file;
    struct err err = {0};
    if (log_file_open(&file, path, &err) != STATUS_OK) {
        fuzz_must(err.text[0] == '\0', "no text");
        return false;
    }
    struct recording recording = {0};
    const uint64_t n = log_file_recordings(file);
    for (uint64_t i = 0; i < n && i < RECORDINGS_MAX; i++) {
        if (log_file_describe(file, i, &recording, &err) != STATUS_OK) {
            fuzz_must(err.text[0] == '\0', "no text");
            continue;
        }
        for (uint32_t j = 0; j < recording.n && j < COLUMNS_MAX; j++) {
            read_column(file, i, &recording.columns[j]);
        }
    }
    recording_fini(&recording);
    log_file_close(file);
    return true;
}
