/* Small Parquet files in every form that the reader knows, for unit tests and fuzzing. */
#ifndef HINDCAST_TESTS_PARQUET_SAMPLES_H
#define HINDCAST_TESTS_PARQUET_SAMPLES_H

#include <carquet/carquet.h>
#include <stdbool.h>

#define PARQUET_SAMPLE_ROWS   60
#define PARQUET_SAMPLE_GROUPS 2

struct parquet_sample {
    carquet_compression_t compression;
    int page_version; /* 1 or 2 */
    bool dictionary;
    bool checksums;
};

/* Writes a file with PARQUET_SAMPLE_GROUPS row groups of equal size. Row i of the file has
 *
 *     x      double         i / 4
 *     q      list<float>    3 values: i, i + 0.5, -i
 *     count  int64          i, null where i % 5 == 0
 *     ok     boolean        i % 3 == 0
 *     name   string         "text"
 *
 * Aborts on failure. */
void parquet_sample_write(const char *path, const struct parquet_sample *sample);

#endif
