/* The lines that `hindcast up` shows. On a terminal they are drawn over the last ones with the
 * escape sequences that every terminal knows (up N lines, erase line); elsewhere they are plain
 * lines with a time. All of it goes to stderr, so that stdout has the summary alone. */
#include "deploy/local/screen.h"

#include <math.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/base/clock.h"

/* Logs of batch systems should not fill with progress. */
#define PLAIN_PERIOD_NS (15 * NS_PER_S)
/* On terminals of fewer and of at least 100 columns. */
#define BAR_CELLS_MIN 8
#define BAR_CELLS_MAX 16

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

/* "[====----]" for a fraction in 0..1; blanks where the work has no end, and the word where a process
 * is not at work. */
static void format_bar(char bar[BAR_CELLS_MAX + 3], const struct child_view *view, int cells)
{
    if (view->state != CHILD_RUNNING || view->fraction < 0) {
        snprintf(bar, BAR_CELLS_MAX + 3, "%-*s", cells + 2,
                 view->state == CHILD_RUNNING ? "" : state_words[view->state]);
        return;
    }
    const int full = (int)(view->fraction * cells + 0.5);
    bar[0] = '[';
    for (int i = 0; i < cells; i++) {
        bar[1 + i] = i < full ? '=' : '-';
    }
    snprintf(bar + 1 + cells, 2, "]");
}

/* Cuts the text between two of its figures, which two spaces separate, so that it has at most `room`
 * characters: half a figure would mislead. Processes say the most important first. */
static void cut_to(char *text, size_t room)
{
    while (strlen(text) > room) {
        char *last = NULL;
        for (char *gap = strstr(text, "  "); gap != NULL; gap = strstr(gap + 2, "  ")) {
            last = gap;
        }
        if (last == NULL) {
            text[room] = '\0'; /* one long figure */
            return;
        }
        *last = '\0';
    }
}

/* One process on one line of the terminal, which must not wrap: that would break the counting of
 * lines. */
static void draw_line(struct screen *screen, const struct child_view *view, int label, int width)
{
    char bar[BAR_CELLS_MAX + 3];
    format_bar(bar, view, width < 100 ? BAR_CELLS_MIN : BAR_CELLS_MAX);
    /* A process that was restarted says how often, since that may explain its slowness. */
    char text[sizeof view->text + 32];
    if (view->starts > 1) {
        snprintf(text, sizeof text, "%s  (start %u)", view->text, view->starts);
    } else {
        /* What a process said a second before it was done is not where it ended. */
        snprintf(text, sizeof text, "%s", view->state == CHILD_DONE ? "" : view->text);
    }
    const int before = label + 1 + (int)strlen(bar) + 1;
    cut_to(text, width > before + 1 ? (size_t)(width - 1 - before) : 0);
    /* Erases the line first: the new text may be shorter than the old one. */
    fprintf(screen->out, "\r\033[K%-*s %s %s\n", label, view->label, bar, text);
}

/* Seconds until the slowest process is done, from its rate since it was first seen; negative where
 * none has an end, or the rate is not known yet. */
static double seconds_left(struct screen *screen, const struct child_view *views, size_t n,
                           uint64_t now_ns)
{
    double longest = -1;
    for (size_t i = 0; i < n && i < SUPERVISOR_CHILDREN_MAX; i++) {
        struct screen_rate *rate = &screen->rates[i];
        if (views[i].state != CHILD_RUNNING || views[i].fraction < 0) {
            continue;
        }
        if (rate->since_ns == 0) {
            *rate = (struct screen_rate){.since_ns = now_ns, .fraction = views[i].fraction};
        }
        const double done = views[i].fraction - rate->fraction;
        const double left =
            (1 - views[i].fraction) / done * (double)(now_ns - rate->since_ns) / 1e9;
        longest = done > 0 && left > longest ? left : longest;
    }
    return longest;
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
        int label = 0;
        for (size_t i = 0; i < n; i++) {
            label = (int)strlen(views[i].label) > label ? (int)strlen(views[i].label) : label;
        }
        for (size_t i = 0; i < n; i++) {
            draw_line(screen, &views[i], label, width);
        }
        char left[32] = "";
        const double rest = seconds_left(screen, views, n, now_ns);
        if (rest >= 0) {
            snprintf(left, sizeof left, "about %.0f min left   ", ceil(rest / 60));
        }
        fprintf(screen->out, "\r\033[K%02u:%02u:%02u   %sCtrl-C ends all in order\n",
                seconds / 3600, seconds / 60 % 60, seconds % 60, left);
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

void screen_row(FILE *out, const char *name, const char *state, const char *text)
{
    char row[4096];
    if (isatty(fileno(out))) {
        snprintf(row, sizeof row, "%-16s %-9s %s", name, state, text);
        cut_to(row, (size_t)terminal_width(out) - 1);
        fprintf(out, "%s\n", row);
    } else {
        fprintf(out, "%-16s %-9s %s\n", name, state, text);
    }
}
