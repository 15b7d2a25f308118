/* The schemas and channels of an MCAP file, by their ids. Errors say what is wrong, and the caller
 * where. */
#ifndef HINDCAST_LOGS_MCAP_DEFINITIONS_H
#define HINDCAST_LOGS_MCAP_DEFINITIONS_H

#include "common/logs/messages/mcap.h"
#include "common/logs/messages/mcap_cursor.h"

struct mcap_definitions {
    struct mcap_schema **schemas;   /* (65536) by id; NULL: not defined */
    struct mcap_channel **channels; /* (65536) */
    uint64_t bytes;                 /* of all definitions */
};

/* Returns false if memory fails; mcap_definitions_fini is right then, too. */
bool mcap_definitions_init(struct mcap_definitions *definitions);
void mcap_definitions_fini(struct mcap_definitions *definitions);

/* Keep the definition in the content of a record. Definitions may be repeated (each chunk may have
 * them), but only as they are. CORRUPT or NO_MEMORY. */
status mcap_definitions_schema(struct mcap_definitions *definitions, struct mcap_cursor c,
                               struct err *err) MUST_CHECK;
status mcap_definitions_channel(struct mcap_definitions *definitions, struct mcap_cursor c,
                                struct err *err) MUST_CHECK;

#endif
