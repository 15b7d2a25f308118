/* Prints an InfoResponse. Texts in it come from a server and its clients: what a terminal would act
 * upon is taken out of them. */
#include "deploy/local/replay_info.h"

#include <inttypes.h>

#include "common/base/utf8.h"

/* The message is ours, and is cleaned in place. */
static const char *clean(char *text)
{
    utf8_clean(text);
    return text;
}

/* 1234567 -> "1.2 MB"; 12 -> "12 bytes". */
static const char *bytes_text(char text[32], uint64_t bytes)
{
    static const char *const units[] = {"bytes", "kB", "MB", "GB", "TB", "PB", "EB"};
    double value = (double)bytes;
    size_t i = 0;
    for (; value >= 1000 && i + 1 < sizeof units / sizeof units[0]; i++) {
        value /= 1000;
    }
    snprintf(text, 32, i == 0 ? "%.0f %s" : "%.1f %s", value, units[i]);
    return text;
}

/* 7265 -> "2 h 1 min"; 1.25 -> "1.2 s". */
static const char *seconds_text(char text[32], double seconds)
{
    const uint64_t whole = seconds > 0 && seconds < 1e15 ? (uint64_t)seconds : 0;
    if (whole < 60) {
        snprintf(text, 32, "%.1f s", seconds);
    } else if (whole < 3600) {
        snprintf(text, 32, "%" PRIu64 " min %" PRIu64 " s", whole / 60, whole % 60);
    } else if (whole < 86400) {
        snprintf(text, 32, "%" PRIu64 " h %" PRIu64 " min", whole / 3600, whole / 60 % 60);
    } else {
        snprintf(text, 32, "%" PRIu64 " days %" PRIu64 " h", whole / 86400, whole / 3600 % 24);
    }
    return text;
}

void replay_info_print_settings(FILE *out, Hindcast__Setting *const *settings, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        fprintf(out, "  %-30s %s\n", clean(settings[i]->name), clean(settings[i]->value));
    }
}

static void print_table(FILE *out, const Hindcast__TableInfo *table)
{
    char text[32];
    fprintf(out, "table %s%s\n", clean(table->name), table->sealed ? "  sealed" : "");
    if (table->sealed) {
        fprintf(out, "  version    %016" PRIx64 "\n", table->sealed_version);
    }
    fprintf(out, "  holds      %" PRIu64 " episodes, %" PRIu64 " transitions, %s\n",
            table->episodes, table->transitions, bytes_text(text, table->bytes));
    fprintf(out,
            "  inserted   %" PRIu64 " episodes, %" PRIu64 " transitions; %" PRIu64
            " were there already\n",
            table->episodes_inserted, table->transitions_inserted, table->episodes_duplicate);
    fprintf(out,
            "  removed    %" PRIu64 " episodes, %" PRIu64 " transitions; %" PRIu64
            " were damaged\n",
            table->episodes_removed, table->transitions_removed, table->episodes_corrupt);
    fprintf(out, "  sampled    %" PRIu64 " snippets, %" PRIu64 " transitions\n",
            table->snippets_sampled, table->transitions_sampled);
    for (size_t i = 0; i < table->n_waiters; i++) {
        const Hindcast__Waiter *w = table->waiters[i];
        fprintf(out, "  waits      %s, to %s, for %s: %s\n", clean(w->who), clean(w->what),
                seconds_text(text, w->seconds), clean(w->why));
    }
    for (size_t i = 0; i < table->n_holders; i++) {
        const Hindcast__Holder *h = table->holders[i];
        char size[32];
        fprintf(out, "  memory     %s, to %s: %s for %s\n", clean(h->who), clean(h->what),
                bytes_text(size, h->bytes), seconds_text(text, h->seconds));
    }
    for (size_t i = 0; i < table->n_writers; i++) {
        const Hindcast__WriterInfo *w = table->writers[i];
        fprintf(out, "  writer     %s, generation %" PRIu64 ", sequence %" PRIu64 "%s\n",
                clean(w->writer), w->generation, w->last_sequence, w->done ? ", done" : "");
    }
    for (size_t i = 0; i < table->n_clients; i++) {
        const Hindcast__ClientInfo *c = table->clients[i];
        char number[16], size[32];
        snprintf(number, sizeof number, "%08" PRIx32, c->number);
        fprintf(out, "  client     %s, %" PRIu64 " episodes, %s\n",
                c->client[0] != '\0' ? clean(c->client)
                : c->number != 0     ? number
                                     : "not known",
                c->episodes, bytes_text(size, c->bytes));
    }
    fprintf(out, "  settings\n");
    for (size_t i = 0; i < table->n_settings; i++) {
        fprintf(out, "    %-28s %s\n", clean(table->settings[i]->name),
                clean(table->settings[i]->value));
    }
}

void replay_info_print(FILE *out, const char *address, const Hindcast__InfoResponse *info)
{
    char text[32], most[32];
    fprintf(out, "server %s\n", address);
    fprintf(out, "  version    %s, wire %u, store %u; up for %s\n", clean(info->version),
            info->wire_version, info->store_format, seconds_text(text, info->uptime_s));
    fprintf(out, "  store      %s of %s\n", bytes_text(text, info->store_bytes),
            bytes_text(most, info->map_bytes));
    fprintf(out, "  queues     %u inserts, %u batches; longest stall of calls lately %.1f ms\n",
            info->insert_queue, info->sample_queue, (double)info->lag_ns * 1e-6);
    for (size_t i = 0; i < info->n_tables; i++) {
        print_table(out, info->tables[i]);
    }
}
