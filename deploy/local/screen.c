/* The lines that `hindcast up` shows. On a terminal they are drawn over the last ones with the
 * escape sequences that every terminal knows (up N lines, erase line); elsewhere they are plain
 * lines with a time. All of it goes to stderr, so that stdout has the summary alone. */
#include "deploy/local/screen.h"

#include <stdarg.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/base/clock.h"

/* Logs of batch systems should not fill with progress. */
#define PLAIN_PERIOD_NS (15 * NS_PER_S)
#define BAR_CELLS       16

/* As wide as the longest of them, so that the columns stay. */
static const char *const state_words[] = {
    [CHILD_WAITING] = "waiting",
    [CHILD_RUNNING] = "running",
    [CHILD_DONE] = "done",
    [CHILD_FAILED] = "failed",
};

void screen_init(struct screen *screen, FILE *out, uint64_t now_ns)
{
    *screen = (struct screen){.out = out, .terminal = isatty(fileno(out)), .started_ns = now_ns};
}

/* 100 where the terminal does not tell, as in some editors. */
static int terminal_width(FILE *out)
{
    struct winsize size;
    if (ioctl(fileno(out), TIOCGWINSZ, &size) == 0 && size.ws_col > 20) {
        return size.ws_col;
    }
    return 100;
}

/* "====----" for a fraction in 0..1, blanks where the work has no end. */
static void format_bar(char bar[BAR_CELLS + 1], double fraction)
{
    /* A negative fraction stands for work without an end, and leaves all cells blank. */
    int full = fraction < 0 ? 0 : (int)(fraction * BAR_CELLS + 0.5);
    for (int i = 0; i < BAR_CELLS; i++) {
        bar[i] = fraction < 0 ? ' ' : i < full ? '=' : '-';
    }
    bar[BAR_CELLS] = 0;
}

/* One process on one line of the terminal; a longer text is cut, because a line that wraps would
 * break the counting of lines. */
static void draw_line(struct screen *screen, const struct child_view *view, int width)
{
    char line[512];
    char bar[BAR_CELLS + 1];
    format_bar(bar, view->fraction);
    const char *word = state_words[view->state];
    /* A process that was restarted says how often, since that may explain its slowness. */
    char again[32] = "";
    if (view->starts > 1) {
        snprintf(again, sizeof again, " (start %u)", view->starts);
    }
    /* Erases the line first: the new text may be shorter than the old one. */
    snprintf(line, sizeof line, "%-14s %-7s [%s] %s%s", view->label, word, bar, view->text, again);
    fprintf(screen->out, "\r\033[K%.*s\n", width - 1, line);
}

void screen_draw(struct screen *screen, const struct child_view *views, size_t n, uint64_t now_ns)
{
    /* Time since the start of this `up`, not since the start of the run. */
    unsigned seconds = (unsigned)((now_ns - screen->started_ns) / NS_PER_S);
    if (screen->terminal) {
        int width = terminal_width(screen->out);
        /* Up to the first line of the last drawing, which is then written over. */
        if (screen->lines_drawn) {
            fprintf(screen->out, "\033[%dA", screen->lines_drawn);
        }
        for (size_t i = 0; i < n; i++) {
            draw_line(screen, &views[i], width);
        }
        fprintf(screen->out, "\r\033[K%02u:%02u:%02u   Ctrl-C ends all in order\n", seconds / 3600,
                seconds / 60 % 60, seconds % 60);
        screen->lines_drawn = (int)n + 1;
    } else if (now_ns >= screen->next_lines_ns) {
        /* Into a file or a pipe: a block of lines now and then. */
        screen->next_lines_ns = now_ns + PLAIN_PERIOD_NS;
        for (size_t i = 0; i < n; i++) {
            fprintf(screen->out, "%02u:%02u:%02u %-14s %-7s %s\n", seconds / 3600,
                    seconds / 60 % 60, seconds % 60, views[i].label, state_words[views[i].state],
                    views[i].text);
        }
    }
    fflush(screen->out);
}

void screen_say(struct screen *screen, const char *format, ...)
{
    /* The sentence takes the place of the drawing, which comes again below it. */
    if (screen->terminal && screen->lines_drawn) {
        fprintf(screen->out, "\033[%dA\r\033[J", screen->lines_drawn);
        screen->lines_drawn = 0;
    }
    va_list arguments;
    va_start(arguments, format);
    vfprintf(screen->out, format, arguments);
    va_end(arguments);
    fputc('\n', screen->out);
    fflush(screen->out);
}
