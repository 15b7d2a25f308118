/* Parquet files in a build without carquet: they are recognised, and refused with what is
 * missing. */
#include <string.h>

#include "common/logs/files/log_file.h"
#include "common/logs/files/parquet_writer.h"

static bool parquet_recognise(const unsigned char *head, size_t n)
{
    return n >= 12 && (memcmp(head, "PAR1", 4) == 0 || memcmp(head, "PARE", 4) == 0);
}

static status parquet_open(struct log_file **file, const char *path, struct err *err)
{
    (void)file;
    return err_set(err, STATUS_INVALID,
                   "%s: this build of Hindcast cannot read Parquet files: it was built without "
                   "carquet (deploy/install_dependencies, then cmake -DHINDCAST_PARQUET=ON)",
                   path);
}

/* Only `open` is ever called, as no file is opened. */
const struct log_format log_format_parquet = {
    .name = "parquet",
    .what = "Parquet",
    .recognise = parquet_recognise,
    .open = parquet_open,
};

status parquet_write(const char *path, const struct parquet_field *fields, size_t n, uint64_t rows,
                     const char *key, const char *value, struct err *err)
{
    (void)fields;
    (void)n;
    (void)rows;
    (void)key;
    (void)value;
    return err_set(err, STATUS_INVALID,
                   "%s: this build of Hindcast cannot write Parquet files: it was built without "
                   "carquet (deploy/install_dependencies, then cmake -DHINDCAST_PARQUET=ON)",
                   path);
}
