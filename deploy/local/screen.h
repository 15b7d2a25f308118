/* One screen for all processes: redrawn in place on a terminal, plain lines otherwise. */
#ifndef HINDCAST_LOCAL_SCREEN_H
#define HINDCAST_LOCAL_SCREEN_H

#include <stdint.h>
#include <stdio.h>

#include "deploy/local/supervisor.h"

/* When a process was first seen at work, and how far it was. */
struct screen_rate {
    uint64_t since_ns; /* 0: not yet */
    double fraction;
};

struct screen {
    FILE *out;
    bool terminal;
    int lines_drawn; /* on a terminal: to go up again */
    uint64_t started_ns;
    struct screen_rate rates[SUPERVISOR_CHILDREN_MAX]; /* of the processes, in their order */
    uint64_t next_lines_ns;                            /* otherwise: when to print next */
};

void screen_init(struct screen *screen, FILE *out, uint64_t now_ns);
/* Shows n processes. Call about once a second. */
void screen_draw(struct screen *screen, const struct child_view *views, size_t n, uint64_t now_ns);
/* Says one sentence above the processes, at once. */
void screen_say(struct screen *screen, const char *format, ...) PRINTF_LIKE(2, 3);
/* One line about one process, without a struct screen: as wide as the terminal, whole elsewhere. */
void screen_row(FILE *out, const char *name, const char *state, const char *text);

#endif
