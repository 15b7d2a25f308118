#include "tests/lib/bags.h"

#include <lz4frame.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>
#include <zstd.h>

#include "common/base/status.h"

static void put16(struct text *t, uint16_t value)
{
    text_add_bytes(t, &value, sizeof value);
}

static void put32(struct text *t, uint32_t value)
{
    text_add_bytes(t, &value, sizeof value);
}

static void put64(struct text *t, uint64_t value)
{
    text_add_bytes(t, &value, sizeof value);
}

static void put_text(struct text *t, const char *piece)
{
    put32(t, (uint32_t)strlen(piece));
    text_add(t, piece);
}

/* Adds a record, and releases its content. */
static void put_record(struct text *to, uint8_t opcode, struct text *content)
{
    text_add_bytes(to, &opcode, 1);
    put64(to, content->size);
    if (content->size > 0) {
        text_add_bytes(to, content->bytes, content->size);
    }
    text_fini(content);
}

void bags_magic(struct text *file)
{
    text_add_bytes(file, "\x89MCAP0\r\n", 8);
}

void bags_schema(struct text *records, uint16_t id, const char *name, const char *encoding,
                 const char *definition)
{
    struct text content = {0};
    put16(&content, id);
    put_text(&content, name);
    put_text(&content, encoding);
    put_text(&content, definition);
    put_record(records, 3, &content);
}

void bags_channel(struct text *records, uint16_t id, uint16_t schema_id, const char *topic,
                  const char *encoding)
{
    struct text content = {0};
    put16(&content, id);
    put16(&content, schema_id);
    put_text(&content, topic);
    put_text(&content, encoding);
    put32(&content, 0);
    put_record(records, 4, &content);
}

void bags_message(struct text *records, uint16_t channel_id, uint64_t time_ns, const void *data,
                  size_t size)
{
    struct text content = {0};
    put16(&content, channel_id);
    put32(&content, 0);
    put64(&content, time_ns);
    put64(&content, time_ns);
    if (size > 0) {
        text_add_bytes(&content, data, size);
    }
    put_record(records, 5, &content);
}

void bags_chunk(struct text *file, const struct text *records, const char *compression)
{
    struct text content = {0};
    const size_t n = records->size, room = LZ4F_compressFrameBound(n, NULL) + ZSTD_compressBound(n);
    char *packed = malloc(room);
    ASSERT(packed != NULL);
    size_t size = n;
    if (strcmp(compression, "zstd") == 0) {
        size = ZSTD_compress(packed, room, records->bytes, n, 1);
    } else if (strcmp(compression, "lz4") == 0) {
        size = LZ4F_compressFrame(packed, room, records->bytes, n, NULL);
    } else {
        memcpy(packed, records->bytes, n);
    }
    put64(&content, 0);
    put64(&content, 0);
    put64(&content, n);
    put32(&content, (uint32_t)crc32(0, (const unsigned char *)records->bytes, (unsigned)n));
    put_text(&content, compression);
    put64(&content, size);
    text_add_bytes(&content, packed, size);
    free(packed);
    put_record(file, 6, &content);
}

void bags_end(struct text *file)
{
    struct text content = {0};
    put32(&content, (uint32_t)crc32(0, (const unsigned char *)file->bytes, (unsigned)file->size));
    put_record(file, 15, &content);
}

void bags_example(struct text *file, const char *compression)
{
    struct text records = {0};
    bags_schema(&records, 1, "none", "jsonschema", "{}");
    bags_schema(&records, 2, "std_msgs/msg/Data", "ros2msg", "float64[] data\n");
    bags_channel(&records, 1, 1, "/state", "json");
    bags_channel(&records, 2, 2, "/cmd/command", "cdr");
    bags_channel(&records, 3, 1, "/success", "json");
    for (unsigned k = 0; k < 20; k++) {
        const uint64_t time_ns = 1000000000000ull + k * 20000000ull;
        char json[64];
        /* kind, options, length, padding up to the first number, one number */
        unsigned char cdr[20] = {0, 1, 0, 0, 1, 0, 0, 0};
        const double value = k % 3;
        snprintf(json, sizeof json, "{\"x\": %u}", k);
        memcpy(cdr + 12, &value, sizeof value);
        bags_message(&records, 1, time_ns, json, strlen(json));
        bags_message(&records, 2, time_ns, cdr, sizeof cdr);
    }
    bags_message(&records, 3, 1000380000000ull, "{\"success\": true}", 17);
    bags_magic(file);
    bags_chunk(file, &records, compression);
    bags_end(file);
    bags_magic(file);
    text_fini(&records);
}
