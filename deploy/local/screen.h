/* One screen for all processes: redrawn in place on a terminal, plain lines otherwise. */
#ifndef HINDCAST_LOCAL_SCREEN_H
#define HINDCAST_LOCAL_SCREEN_H

#include <stdint.h>
#include <stdio.h>

#include "deploy/local/supervisor.h"

struct screen {
    FILE *out;
    bool terminal;
    int lines_drawn; /* on a terminal: to go up again */
    uint64_t started_ns;
    uint64_t next_lines_ns; /* otherwise: when to print next */
};

void screen_init(struct screen *screen, FILE *out, uint64_t now_ns);
/* Shows n processes. Call about once a second. */
void screen_draw(struct screen *screen, const struct child_view *views, size_t n, uint64_t now_ns);
/* Says one sentence above the processes, at once. */
void screen_say(struct screen *screen, const char *format, ...) PRINTF_LIKE(2, 3);

#endif
