/* The progress of a process, shown on stderr.
 *
 * On a terminal, one line, redrawn in place below the log:
 *
 *     learner [###########.............]  48%  step 9600/20000  23.1 steps/s  ETA 7m30s
 *
 * On a pipe or file, a log line: at most every 10 s, or when another 5% is done, and when all is.
 */
#ifndef HINDCAST_BASE_PROGRESS_H
#define HINDCAST_BASE_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROGRESS_TEXT 256

struct progress {
    const char *what;  /* "learner"; borrowed */
    bool terminal;     /* a bar, not lines */
    bool begun;        /* the two below hold */
    uint64_t first_ns; /* when the first report came, and with what fraction: for the time left */
    double first_fraction;
    uint64_t shown_ns; /* the last one shown */
    double shown_fraction;
};

void progress_init(struct progress *progress, const char *what, bool terminal);

/* Shows `text` when it is due at `now_ns`; `fraction` 0..1, or < 0 where there is no end. Returns
 * whether it was shown. One thread at a time. */
bool progress_show(struct progress *progress, uint64_t now_ns, double fraction, const char *text);

/* Takes the bar away. */
void progress_end(struct progress *progress);

/* The bar as it is drawn: `columns` wide at most. `left_s` < 0: unknown. Returns the length. */
size_t progress_bar(char *out, size_t size, const char *what, unsigned columns, double fraction,
                    const char *text, double left_s);

#endif
