/* Progress on stderr: a bar that is redrawn on a terminal, or a log line now and then elsewhere.
 * The rule that decides when a line is due is a function of time and fraction alone (is_due), and
 * so is the bar's text (progress_bar); only progress_show writes.
 *
 * There is no lock here: process.c calls these functions under its own. */
#include "common/base/progress.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/base/clock.h"

#define LOG_MODULE "progress"
#include "common/base/log.h"

/* A log gets a line every LINE_EVERY_NS, or when one of its STEPS steps is complete; a bar is drawn
 * anew every BAR_EVERY_NS. */
#define BAR_WIDTH     24
#define LINE_EVERY_NS (10 * NS_PER_S)
#define BAR_EVERY_NS  (100 * NS_PER_MS)
#define STEPS         20.0 /* a line each twentieth */

void progress_init(struct progress *progress, const char *what, bool terminal)
{
    *progress = (struct progress){.what = what, .terminal = terminal};
}

/* "7m30s", "2h05m", "3d04h" */
static void print_duration(char *out, size_t size, double seconds)
{
    /* Nonsense (negative, endless) is shown as 0. */
    const unsigned long long s = seconds > 0 && seconds < 1e9 ? (unsigned long long)seconds : 0;
    if (s < 60) {
        snprintf(out, size, "%llus", s);
    } else if (s < 3600) {
        snprintf(out, size, "%llum%02llus", s / 60, s % 60);
    } else if (s < 86400) {
        snprintf(out, size, "%lluh%02llum", s / 3600, s % 3600 / 60);
    } else {
        snprintf(out, size, "%llud%02lluh", s / 86400, s % 86400 / 3600);
    }
}

/* A fraction into 0..1; NaN becomes 0. */
static double clamp(double fraction)
{
    return fraction > 1 ? 1 : fraction >= 0 ? fraction : 0;
}

size_t progress_bar(char *out, size_t size, const char *what, unsigned columns, double fraction,
                    const char *text, double left_s)
{
    char bar[BAR_WIDTH + 16] = "";
    /* The bar itself; nothing where there is no end to measure against. */
    if (fraction >= 0) {
        const double done = clamp(fraction);
        /* Rounded down, so that the bar is full at the end and not before. */
        const int full = (int)(done * BAR_WIDTH);
        char cells[BAR_WIDTH + 1];
        memset(cells, '.', BAR_WIDTH);
        memset(cells, '#', (size_t)full);
        cells[BAR_WIDTH] = '\0';
        snprintf(bar, sizeof bar, " [%s] %3d%% ", cells, (int)(done * 100));
    }
    /* The time left, if it is known. */
    char left[32] = "";
    if (left_s >= 0) {
        char duration[24];
        print_duration(duration, sizeof duration, left_s);
        snprintf(left, sizeof left, "  ETA %s", duration);
    }
    /* Name, bar, text and time left, as far as they fit. */
    const int n = snprintf(out, size, "%s%s %s%s", what, bar, text, left);
    size_t length = n < 0 ? 0 : (size_t)n < size ? (size_t)n : size - 1;
    /* A line longer than the terminal would wrap and could not be redrawn. */
    if (columns > 0 && length >= columns) {
        length = columns - 1;
        out[length] = '\0';
    }
    return length;
}

/* Asked each time, because a window changes its size. 80 where there is no answer. */
static unsigned terminal_columns(void)
{
    struct winsize window;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 0 ? window.ws_col : 80;
}

/* Is it time? The first report always is, the last one too. */
static bool is_due(const struct progress *progress, uint64_t now_ns, double fraction)
{
    const uint64_t since_ns = now_ns - progress->shown_ns;
    /* The report that reaches the end is shown once, whenever it comes. */
    const bool finished = fraction >= 1 && progress->shown_fraction < 1;
    if (!progress->begun || finished) {
        return true;
    }
    /* A bar is redrawn ten times a second; a log gets a line each 10 s or each twentieth. */
    if (progress->terminal) {
        return since_ns >= BAR_EVERY_NS;
    }
    return since_ns >= LINE_EVERY_NS ||
           (int)(clamp(fraction) * STEPS) > (int)(clamp(progress->shown_fraction) * STEPS);
}

bool progress_show(struct progress *progress, uint64_t now_ns, double fraction, const char *text)
{
    if (!is_due(progress, now_ns, fraction)) {
        return false;
    }
    /* The first report is what the rate is measured from: a resumed run does not begin at 0. */
    if (!progress->begun) {
        progress->begun = true;
        progress->first_ns = now_ns;
        progress->first_fraction = clamp(fraction);
    }
    progress->shown_ns = now_ns;
    progress->shown_fraction = fraction;

    /* The time left, at the mean rate so far. */
    const double gained = fraction - progress->first_fraction;
    const double elapsed_s = 1e-9 * (double)(now_ns - progress->first_ns);
    /* Without progress there is no rate that says how long the rest takes. */
    const bool known = fraction < 1 && gained > 1e-6;
    const double left_s = known ? elapsed_s * (1 - fraction) / gained : -1;

    /* On a terminal the bar; elsewhere a line with as much as is known. */
    if (progress->terminal) {
        char line[PROGRESS_TEXT + 128];
        progress_bar(line, sizeof line, progress->what, terminal_columns(), fraction, text, left_s);
        log_footer(line);
    } else if (fraction < 0) {
        log_info("%s", text);
    } else if (!known) {
        log_info("%s done=%.1f%%", text, 100 * clamp(fraction));
    } else {
        char duration[24];
        print_duration(duration, sizeof duration, left_s);
        log_info("%s done=%.1f%% left=%s", text, 100 * clamp(fraction), duration);
    }
    return true;
}

void progress_end(struct progress *progress)
{
    /* Without a report there is no bar to take away. */
    if (progress->terminal && progress->begun) {
        log_footer(NULL);
    }
}
