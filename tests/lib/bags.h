/* Writes MCAP files for tests of its readers: records one after another, without an index. Sizes and
 * checksums are right; a test that wants them wrong changes the bytes. */
#ifndef HINDCAST_TESTS_BAGS_H
#define HINDCAST_TESTS_BAGS_H

#include <stdbool.h>
#include <stdint.h>

#include "common/base/text.h"

/* The magic, at the beginning and at the end. */
void bags_magic(struct text *file);
void bags_schema(struct text *records, uint16_t id, const char *name, const char *encoding,
                 const char *definition);
void bags_channel(struct text *records, uint16_t id, uint16_t schema_id, const char *topic,
                  const char *encoding);
void bags_message(struct text *records, uint16_t channel_id, uint64_t time_ns, const void *data,
                  size_t size);
/* A chunk of these records, compressed with "", "lz4" or "zstd". */
void bags_chunk(struct text *file, const struct text *records, const char *compression);
/* The record that ends the data, with the checksum of all before it. */
void bags_end(struct text *file);

/* A file (to be released with text_fini) with 20 messages on each of three topics, 20 ms apart from
 * 1000 s on: /state in JSON ({"x": k}), /cmd/command in CDR (float64[] data), and one message on
 * /success in JSON at the end. */
void bags_example(struct text *file, const char *compression);

#endif
