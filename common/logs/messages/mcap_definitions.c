/* The first definition of an id is kept, and later ones are compared with it. */
#include "common/logs/messages/mcap_definitions.h"

#include <string.h>

#include "common/base/bytes.h"
#include "common/base/memory.h"
#include "common/base/utf8.h"

#define IDS             65536         /* of channels and of schemas */
#define DEFINITIONS_MAX (64ull << 20) /* bytes of all schemas and channels */

bool mcap_definitions_init(struct mcap_definitions *definitions)
{
    *definitions = (struct mcap_definitions){0};
    definitions->schemas = mem_array(IDS, sizeof(struct mcap_schema *));
    definitions->channels = mem_array(IDS, sizeof(struct mcap_channel *));
    return definitions->schemas != NULL && definitions->channels != NULL;
}

static void schema_free(struct mcap_schema *schema)
{
    if (schema != NULL) {
        mem_free(schema->name);
        mem_free(schema->encoding);
        mem_free((void *)schema->data);
        mem_free(schema);
    }
}

static void channel_free(struct mcap_channel *channel)
{
    if (channel != NULL) {
        mem_free(channel->topic);
        mem_free(channel->encoding);
        mem_free(channel);
    }
}

void mcap_definitions_fini(struct mcap_definitions *definitions)
{
    for (uint32_t i = 0; i < IDS; i++) {
        if (definitions->schemas != NULL) {
            schema_free(definitions->schemas[i]);
        }
        if (definitions->channels != NULL) {
            channel_free(definitions->channels[i]);
        }
    }
    mem_free(definitions->schemas);
    mem_free(definitions->channels);
}

/* Counts a definition. They are kept, so that all together must be small. */
static status count(struct mcap_definitions *definitions, size_t size, struct err *err)
{
    definitions->bytes += size;
    return definitions->bytes <= DEFINITIONS_MAX
               ? STATUS_OK
               : err_set(err, STATUS_CORRUPT, "definitions of messages of more than 64 MiB");
}

status mcap_definitions_schema(struct mcap_definitions *definitions, struct mcap_cursor c,
                               struct err *err)
{
    const size_t whole = c.left;
    const uint8_t *id = mcap_cursor_take(&c, 2);
    struct mcap_schema *schema = mem_new(sizeof *schema);
    bool memory = schema == NULL;
    size_t size = 0;
    const uint8_t *data = NULL;
    const bool sound = schema != NULL && id != NULL && bytes_get16(id) != 0 &&
                       mcap_cursor_text(&c, &schema->name, &memory) &&
                       mcap_cursor_text(&c, &schema->encoding, &memory) &&
                       (data = mcap_cursor_sized(&c, &size)) != NULL;
    status s = sound ? STATUS_OK : err_set(err, STATUS_CORRUPT, "a damaged schema");

    /* The first one of an id is kept. */
    struct mcap_schema **place = sound ? &definitions->schemas[bytes_get16(id)] : NULL;
    if (sound && *place != NULL) {
        if (strcmp((*place)->name, schema->name) != 0 || (*place)->size != size ||
            (size > 0 && memcmp((*place)->data, data, size) != 0)) {
            s = err_set(err, STATUS_CORRUPT, "two different schemas have one id");
        }
    } else if (sound) {
        s = count(definitions, whole, err);
        uint8_t *copy = s == STATUS_OK ? mem_new(size + 1) : NULL;
        memory = s == STATUS_OK && copy == NULL;
        if (copy != NULL) {
            memcpy(copy, data, size);
            schema->data = copy;
            schema->size = size;
            *place = schema;
            return STATUS_OK;
        }
    }
    schema_free(schema);
    return memory ? err_set(err, STATUS_NO_MEMORY, "schema") : s;
}

status mcap_definitions_channel(struct mcap_definitions *definitions, struct mcap_cursor c,
                                struct err *err)
{
    /* The map of metadata behind the texts is not looked at. */
    const size_t whole = c.left;
    const uint8_t *ids = mcap_cursor_take(&c, 4);
    struct mcap_channel *channel = mem_new(sizeof *channel);
    bool memory = channel == NULL;
    const bool sound =
        channel != NULL && ids != NULL && mcap_cursor_text(&c, &channel->topic, &memory) &&
        utf8_is_name(channel->topic) && mcap_cursor_text(&c, &channel->encoding, &memory);
    status s = sound ? STATUS_OK : err_set(err, STATUS_CORRUPT, "a damaged channel");
    if (sound) {
        const uint16_t schema_id = bytes_get16(ids + 2);
        channel->schema = definitions->schemas[schema_id];
        struct mcap_channel **place = &definitions->channels[bytes_get16(ids)];
        if (schema_id != 0 && channel->schema == NULL) {
            s = err_set(err, STATUS_CORRUPT, "topic %s: its schema %u is not defined before it",
                        channel->topic, schema_id);
        } else if (*place == NULL) {
            s = count(definitions, whole, err);
            if (s == STATUS_OK) {
                *place = channel;
                return STATUS_OK;
            }
        } else if (strcmp((*place)->topic, channel->topic) != 0 ||
                   strcmp((*place)->encoding, channel->encoding) != 0 ||
                   (*place)->schema != channel->schema) {
            s = err_set(err, STATUS_CORRUPT, "two different channels have one id");
        }
    }
    channel_free(channel);
    return memory ? err_set(err, STATUS_NO_MEMORY, "channel") : s;
}
