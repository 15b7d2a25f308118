/* npz files: zip archives of NumPy arrays. A file is one recording and each array is a column.
 *
 * An array (T, ..) is a column of T rows; an array without dimensions, such as a success flag, is a
 * column of one row. Little-endian numbers and booleans are read. Text, objects and other types are
 * left out. libzip reads the archive and verifies the checksum of each member. An array is
 * decompressed when it is first read, and then kept; all arrays together take at most
 * LOG_FILE_BYTES_MAX.
 *
 * Each member starts with an .npy header, which contains a Python dictionary as text:
 *
 *     \x93NUMPY major minor header_size(2 or 4 bytes)
 *     {'descr': '<f8', 'fortran_order': False, 'shape': (121, 3), }
 */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zip.h>

#include "common/base/elements.h"
#include "common/base/memory.h"
#include "common/logs/files/log_file.h"

#define HEADER_SIZE_MAX 65536u
#define RANK_MAX        8

struct array {
    zip_uint64_t member; /* index in the archive */
    uint64_t data_at;    /* bytes before the data */
    struct element element;
    uint64_t rows;
    uint64_t width;
    unsigned char *bytes; /* the whole member, decompressed; NULL until read */
};

/* An open archive. Headers are read at once, values when a column is first used. */
struct npz {
    struct log_file base;
    char *path;
    zip_t *zip;
    struct recording recording;
    struct array *arrays; /* one for each column */
    uint64_t bytes;       /* size of all arrays in memory */
};

static bool npz_recognise(const unsigned char *head, size_t n)
{
    /* A zip archive whose first member has a name that ends in .npy. */
    if (n < 30 || memcmp(head, "PK\3\4", 4) != 0) {
        return false;
    }
    /* The fields of zip's local header: the size of the name at byte 26, the name from byte 30
     * on. */
    const size_t name_size = (size_t)head[26] | (size_t)head[27] << 8;
    return name_size > 4 && 30 + name_size <= n && memcmp(head + 26 + name_size, ".npy", 4) == 0;
}

/* Sets an error with libzip's own text. */
static status zip_error_of(struct npz *npz, status code, const char *what, struct err *err)
{
    return err_set(err, code, "%s: %s: %s", npz->path, what, zip_strerror(npz->zip));
}

/* Reads n bytes. Returns false if there are fewer or on an error. */
static bool read_bytes(zip_file_t *member, void *bytes, uint64_t n)
{
    /* libzip may return fewer bytes than asked for. */
    for (uint64_t at = 0; at < n;) {
        const zip_int64_t got = zip_fread(member, (char *)bytes + at, n - at);
        if (got <= 0) {
            return false;
        }
        at += (uint64_t)got;
    }
    return true;
}

/* Returns the text after `'key':` in the header's dictionary, or NULL if the key is missing. */
static const char *value_of(const char *header, const char *key)
{
    /* A search for text is enough, because NumPy writes the dictionary in one fixed form. */
    const char *at = strstr(header, key);
    if (at == NULL) {
        return NULL;
    }
    at += strlen(key);
    at += strspn(at, " ");
    if (*at != ':') {
        return NULL;
    }
    at++;
    return at + strspn(at, " ");
}

/* Parses a type such as '<f8' or '|b1'. Leaves ELEMENT_NONE if the type is not supported. */
static void parse_element(struct array *array, const char *text)
{
    /* '<' is little-endian and '|' is a single byte, which has no order. Big-endian arrays are not
     * read. */
    if (text[0] != '\'' || (text[1] != '<' && text[1] != '|')) {
        return;
    }

    /* A letter for the kind and the size in bytes. */
    enum element_kind kind = text[2] == 'f'                     ? ELEMENT_FLOAT
                             : text[2] == 'i'                   ? ELEMENT_SIGNED
                             : text[2] == 'u' || text[2] == 'b' ? ELEMENT_UNSIGNED
                                                                : ELEMENT_NONE;
    array->element = element_make(kind, strtoul(text + 3, NULL, 10));
}

/* Gets rows and width from a shape such as "(121, 3)". Returns false if the text is not a shape, or
 * if the array would be too large. */
static bool parse_shape(struct array *array, const char *text, int *rank)
{
    /* A shape without dimensions, "()", is one row with one value. */
    if (*text++ != '(') {
        return false;
    }

    /* The first dimension is time; the product of the others is the width. */
    array->rows = 1;
    array->width = 1;
    for (*rank = 0;; ++*rank) {
        text += strspn(text, " ,");
        if (*text == ')') {
            return true;
        }
        if (!isdigit((unsigned char)*text) || *rank >= RANK_MAX) {
            return false;
        }
        char *end;
        const uint64_t n = strtoull(text, &end, 10);
        text = end;
        if (*rank == 0) {
            array->rows = n;
            /* The product is checked before it is formed, as a file may claim any size. */
        } else if (n != 0 && array->width > LOG_FILE_BYTES_MAX / n) {
            return false;
        } else {
            array->width *= n;
        }
    }
}

/* Reads the header of a member. Returns CORRUPT if it is not a valid .npy header. */
static status read_header(struct npz *npz, struct array *array, const char *name, struct err *err)
{
    zip_file_t *member = zip_fopen_index(npz->zip, array->member, 0);
    if (member == NULL) {
        return zip_error_of(npz, STATUS_CORRUPT, name, err);
    }

    /* Version 1 has a header size of 2 bytes, later versions have 4. */
    unsigned char magic[12];
    uint64_t size = 0;
    bool valid = read_bytes(member, magic, 10) && memcmp(magic, "\x93NUMPY", 6) == 0;
    if (valid && magic[6] == 1) {
        size = (uint64_t)magic[8] | (uint64_t)magic[9] << 8;
        array->data_at = 10 + size;
    } else if (valid && read_bytes(member, magic + 10, 2)) {
        size = (uint64_t)magic[8] | (uint64_t)magic[9] << 8 | (uint64_t)magic[10] << 16 |
               (uint64_t)magic[11] << 24;
        array->data_at = 12 + size;
    } else {
        valid = false;
    }
    /* A header is a few hundred bytes; a large size is damage or an attack. */
    char *header = valid && size <= HEADER_SIZE_MAX ? mem_new(size + 1) : NULL;
    valid = header != NULL && read_bytes(member, header, size);
    (void)zip_fclose(member);

    /* The type, order and shape of the array. */
    int rank = 0;
    if (valid) {
        const char *descr = value_of(header, "'descr'");
        const char *shape = value_of(header, "'shape'");
        const char *fortran = value_of(header, "'fortran_order'");
        valid =
            descr != NULL && shape != NULL && fortran != NULL && parse_shape(array, shape, &rank);
        if (valid) {
            parse_element(array, descr);
            /* Fortran order makes no difference for vectors, and is not supported for others. */
            if (strncmp(fortran, "True", 4) == 0 && rank > 1) {
                array->element.kind = ELEMENT_NONE;
            }
        }
    }
    mem_free(header);
    return valid ? STATUS_OK
                 : err_set(err, STATUS_CORRUPT, "%s: %s: not a valid .npy array", npz->path, name);
}

/* Adds the member of the archive as a column. Members that are not .npy files are skipped. */
static status add_array(struct npz *npz, zip_uint64_t member, struct err *err)
{
    /* NumPy names the member of array `x` "x.npy". */
    const char *name = zip_get_name(npz->zip, member, ZIP_FL_ENC_GUESS);
    const size_t length = name == NULL ? 0 : strlen(name);
    if (length <= 4 || strcmp(name + length - 4, ".npy") != 0) {
        return STATUS_OK;
    }
    struct array array = {.member = member};
    status s = read_header(npz, &array, name, err);
    if (s != STATUS_OK) {
        return s;
    }

    /* Arrays that cannot be read are listed too, so that a mapping that names one gets a clear
     * error. */
    const bool readable = array.element.kind != ELEMENT_NONE && array.width >= 1 &&
                          array.width <= RECORDING_WIDTH_MAX && array.rows <= RECORDING_ROWS_MAX;
    char column[RECORDING_NAME_SIZE];
    snprintf(column, sizeof column, "%.*s", (int)(length - 4), name);
    /* The width of an array that is not readable is only shown. */
    s = recording_add(&npz->recording, column, readable ? RECORDING_NUMBERS : RECORDING_OTHER,
                      (uint32_t)array.width, array.rows, err);
    if (s != STATUS_OK) {
        return err_context(err, s, "%s", npz->path);
    }

    /* arrays[i] belongs to column i. */
    struct array *arrays = mem_resize(npz->arrays, npz->recording.n, sizeof *arrays);
    if (arrays == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "%s: %u arrays", npz->path, npz->recording.n);
    }
    npz->arrays = arrays;
    npz->arrays[npz->recording.n - 1] = array;
    return STATUS_OK;
}

/* Also closes a file that could be opened only in part. */
static void npz_close(struct log_file *file)
{
    struct npz *npz = (struct npz *)file;
    for (uint32_t i = 0; npz->arrays != NULL && i < npz->recording.n; i++) {
        mem_free(npz->arrays[i].bytes);
    }
    /* The archive is open for reading only, so there is nothing to write back. */
    if (npz->zip != NULL) {
        zip_discard(npz->zip);
    }
    recording_fini(&npz->recording);
    mem_free(npz->arrays);
    mem_free(npz->path);
    mem_free(npz);
}

/* Opens the archive and reads the headers of all members, but no values. */
static status npz_open(struct log_file **file, const char *path, struct err *err)
{
    struct npz *npz = mem_new(sizeof *npz);
    if (npz == NULL || (npz->path = mem_text(path)) == NULL) {
        mem_free(npz);
        return err_set(err, STATUS_NO_MEMORY, "%s", path);
    }
    npz->base.format = &log_format_npz;

    /* The code of libzip becomes a text; there is no archive yet that could have one. */
    int code = 0;
    npz->zip = zip_open(path, ZIP_RDONLY, &code);
    status s = STATUS_OK;
    if (npz->zip == NULL) {
        zip_error_t error;
        zip_error_init_with_code(&error, code);
        s = err_set(err, STATUS_CORRUPT, "%s: %s", path, zip_error_strerror(&error));
        zip_error_fini(&error);
    }

    /* The order of members in the archive is the order of the columns. */
    const zip_int64_t n = s == STATUS_OK ? zip_get_num_entries(npz->zip, 0) : 0;
    for (zip_int64_t i = 0; s == STATUS_OK && i < n; i++) {
        s = add_array(npz, (zip_uint64_t)i, err);
    }
    if (s != STATUS_OK) {
        npz_close(&npz->base);
        return s;
    }
    *file = &npz->base;
    return STATUS_OK;
}

/* An archive is one recording. */
static uint64_t npz_recordings(const struct log_file *file)
{
    (void)file;
    return 1;
}

/* Copies the columns, which npz_open has already found. */
static status npz_describe(struct log_file *file, uint64_t recording_i, struct recording *recording,
                           struct err *err)
{
    (void)recording_i;
    const struct npz *npz = (const struct npz *)file;
    return recording_append(recording, &npz->recording, err);
}

/* Decompresses the whole array. Reading a range would cost as much, since zip members have no
 * random access. */
static status load(struct npz *npz, struct array *array, const char *name, struct err *err)
{
    /* No overflow: rows and width of a readable column are limited. The size in the archive must
     * match the shape before any memory is allocated for it. */
    const uint64_t size = array->data_at + array->rows * array->width * array->element.size;
    zip_stat_t about;
    if (size > LOG_FILE_BYTES_MAX - npz->bytes) {
        return err_set(err, STATUS_INVALID, "%s: %s: the arrays need more than %llu bytes",
                       npz->path, name, (unsigned long long)LOG_FILE_BYTES_MAX);
    }
    if (zip_stat_index(npz->zip, array->member, 0, &about) != 0) {
        return zip_error_of(npz, STATUS_CORRUPT, name, err);
    }
    if (about.size != size) {
        return err_set(err, STATUS_CORRUPT, "%s: %s: has %" PRIu64 " bytes, expected %" PRIu64,
                       npz->path, name, (uint64_t)about.size, size);
    }

    unsigned char *bytes = mem_resize(NULL, size, 1); /* not zeroed: all of it is read */
    zip_file_t *member = zip_fopen_index(npz->zip, array->member, 0);
    status s = STATUS_OK;
    if (bytes == NULL) {
        s = err_set(err, STATUS_NO_MEMORY, "%s: %s", npz->path, name);
    } else if (member == NULL || !read_bytes(member, bytes, size) ||
               zip_fread(member, &(char){0}, 1) != 0) { /* reading at the end verifies the CRC */
        s = err_set(err, STATUS_CORRUPT, "%s: %s: damaged", npz->path, name);
    }
    if (member != NULL) {
        (void)zip_fclose(member);
    }
    if (s != STATUS_OK) {
        mem_free(bytes);
        return s;
    }
    array->bytes = bytes;
    npz->bytes += size;
    return STATUS_OK;
}

/* Copies rows of a column, after loading it on first use. log_file_read has checked the range. */
static status npz_read(struct log_file *file, uint64_t recording_i,
                       const struct recording_column *column, uint64_t first, uint64_t n,
                       double *values, struct err *err)
{
    (void)recording_i;
    struct npz *npz = (struct npz *)file;
    struct array *array = &npz->arrays[column->index];
    /* The values stay in memory until the file is closed, since every episode in it reads the same
     * columns at other rows. */
    if (array->bytes == NULL) {
        const status s = load(npz, array, column->name, err);
        if (s != STATUS_OK) {
            return s;
        }
    }
    const uint64_t row_size = array->width * array->element.size;
    elements_to_doubles(values, array->bytes + array->data_at + first * row_size, n * array->width,
                        array->element);
    return STATUS_OK;
}

const struct log_format log_format_npz = {
    .name = "npz",
    .what = "NumPy arrays in a zip archive",
    .recognise = npz_recognise,
    .open = npz_open,
    .close = npz_close,
    .n_recordings = npz_recordings,
    .describe = npz_describe,
    .read = npz_read,
};
