/* Records of TFRecord files: whatever an Example holds, the file is described and read, or refused
 * with a text. The input is one Example; it is written twice, with the right checksums, so that what
 * is behind them is reached. */
#include <stdio.h>
#include <string.h>

#include "common/base/event_file.h"
#include "common/base/memory.h"
#include "common/logs/files/log_file.h"
#include "tests/fuzz/fuzz.h"

#define VALUES_MAX 4096
#define RECORD_MAX (1u << 16)

static const char *path;

/* {"reward": [1, 0], "action": [2, 3], "observation/q": [4, 5]}, as protobuf writes it. */
static const unsigned char steps[] = {
    0x0a, 0x49, 0x0a, 0x16, 0x0a, 0x06, 0x61, 0x63, 0x74, 0x69, 0x6f, 0x6e, 0x12, 0x0c, 0x12,
    0x0a, 0x0a, 0x08, 0x00, 0x00, 0x00, 0x40, 0x00, 0x00, 0x40, 0x40, 0x0a, 0x16, 0x0a, 0x06,
    0x72, 0x65, 0x77, 0x61, 0x72, 0x64, 0x12, 0x0c, 0x12, 0x0a, 0x0a, 0x08, 0x00, 0x00, 0x80,
    0x3f, 0x00, 0x00, 0x00, 0x00, 0x0a, 0x17, 0x0a, 0x0d, 0x6f, 0x62, 0x73, 0x65, 0x72, 0x76,
    0x61, 0x74, 0x69, 0x6f, 0x6e, 0x2f, 0x71, 0x12, 0x06, 0x1a, 0x04, 0x0a, 0x02, 0x04, 0x05};
/* {"r_t": [1], "o_tm1": [2], "o_t": [3]} */
static const unsigned char sarsa[] = {
    0x0a, 0x35, 0x0a, 0x11, 0x0a, 0x05, 0x6f, 0x5f, 0x74, 0x6d, 0x31, 0x12, 0x08, 0x12,
    0x06, 0x0a, 0x04, 0x00, 0x00, 0x00, 0x40, 0x0a, 0x0f, 0x0a, 0x03, 0x6f, 0x5f, 0x74,
    0x12, 0x08, 0x12, 0x06, 0x0a, 0x04, 0x00, 0x00, 0x40, 0x40, 0x0a, 0x0f, 0x0a, 0x03,
    0x72, 0x5f, 0x74, 0x12, 0x08, 0x12, 0x06, 0x0a, 0x04, 0x00, 0x00, 0x80, 0x3f};

static size_t make_seeds(struct fuzz_input *seeds, const char *scratch)
{
    path = fuzz_path(scratch, "log");
    seeds[0] = (struct fuzz_input){(void *)steps, sizeof steps};
    seeds[1] = (struct fuzz_input){(void *)sarsa, sizeof sarsa};
    return 2;
}

/* Appends a record to the file; returns its size. */
static size_t put_record(unsigned char *to, const void *data, size_t size)
{
    const uint64_t length = size;
    memcpy(to, &length, 8);
    const uint32_t head = event_file_masked_crc(to, 8);
    memcpy(to + 8, &head, 4);
    memcpy(to + 12, data, size);
    const uint32_t tail = event_file_masked_crc(data, size);
    memcpy(to + 12 + size, &tail, 4);
    return size + 16;
}

static void read_column(struct log_file *file, const struct recording_column *column)
{
    static double values[VALUES_MAX];
    struct err err = {0};
    const uint64_t most = VALUES_MAX / column->width;
    const uint64_t n = column->rows < most ? column->rows : most;
    if (column->kind == RECORDING_NUMBERS && n > 0 &&
        log_file_read(file, 0, column, column->rows - n, n, values, &err) != STATUS_OK) {
        fuzz_must(err.text[0] == '\0', "no text");
    }
}

static bool run(const void *input, size_t size)
{
    static unsigned char bytes[2 * (RECORD_MAX + 16)];
    struct log_file *file;
    struct err err = {0};
    if (size > RECORD_MAX) {
        return false;
    }
    size_t n = put_record(bytes, input, size);
    n += put_record(bytes + n, input, size);
    fuzz_write_file(path, bytes, n);
    if (log_file_open(&file, path, &err) != STATUS_OK) {
        fuzz_must(err.text[0] == '\0', "no text");
        return false;
    }
    struct recording recording = {0};
    fuzz_must(log_file_describe(file, 0, &recording, &err) != STATUS_OK, err.text);
    for (uint32_t i = 0; i < recording.n; i++) {
        read_column(file, &recording.columns[i]);
    }
    recording_fini(&recording);
    log_file_close(file);
    return true;
}

static const char *const words[] = {
    "reward",         "discount", "observation/",         "observation", "o_tm1/x",
    "\x0a\x06reward", "\x12\x00", "\xff\xff\xff\xff\x0f", NULL};

int main(int argc, char **argv)
{
    const struct fuzz_target target = {"tfrecord", make_seeds, run, words};
    return fuzz_main(&target, argc, argv);
}
