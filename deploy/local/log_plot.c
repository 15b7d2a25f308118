/* Gathering in one pass, then panels from top to bottom.
 *
 * Observations of different units share one axis, which is linear near 0 and logarithmic beyond
 * (symmetric logarithm): their ranges and scales can be compared however far apart they are. */
#include "deploy/local/log_plot.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/logs/source/source_reader.h"
#include "deploy/local/svg.h"

#define WIDTH            960.0
#define MARGIN           24.0
#define BINS             40 /* of a histogram of returns or lengths */
#define ACTION_BINS      41 /* odd, so that 0 is the middle of one */
#define PANEL_HEIGHT     110.0
#define ROW_HEIGHT       15.0 /* of an observation */
#define OBSERVATIONS_MAX 128  /* rows that are drawn */
#define TASKS_MAX        8
#define ACTION_COLUMNS   4
#define AT_LIMIT         (1.0f - 1e-6f)

/* A list of numbers that grows. */
struct numbers {
    uint64_t n, capacity;
    double *items;
};

/* What one pass over the logs gathers. */
struct gathered {
    struct signature signature;
    uint32_t O;
    uint64_t rows, steps;
    struct numbers lengths;
    struct numbers returns[SIGNATURE_TASKS_MAX];
    double *mean, *square, *low, *high; /* (O): Welford's mean and sum of squares, extremes */
    uint64_t (*bins)[ACTION_BINS];      /* (A) */
    uint64_t *at_limit;                 /* (A) */
};

/* ---- gathering ---- */

static status add_number(struct numbers *numbers, double value)
{
    if (numbers->n == numbers->capacity) {
        const uint64_t capacity = numbers->capacity == 0 ? 256 : 2 * numbers->capacity;
        double *items = mem_resize(numbers->items, capacity, sizeof *items);
        if (items == NULL) {
            return STATUS_NO_MEMORY;
        }
        numbers->items = items;
        numbers->capacity = capacity;
    }
    numbers->items[numbers->n++] = value;
    return STATUS_OK;
}

static status gathered_init(struct gathered *gathered, const struct signature *signature)
{
    *gathered = (struct gathered){.signature = *signature, .O = signature_observation(signature)};
    gathered->mean = mem_array(4ull * gathered->O, sizeof(double));
    gathered->bins = mem_array(signature->A, sizeof(*gathered->bins));
    gathered->at_limit = mem_array(signature->A, sizeof(*gathered->at_limit));
    if (gathered->mean == NULL || gathered->bins == NULL || gathered->at_limit == NULL) {
        return STATUS_NO_MEMORY;
    }
    gathered->square = gathered->mean + gathered->O;
    gathered->low = gathered->square + gathered->O;
    gathered->high = gathered->low + gathered->O;
    return STATUS_OK;
}

static void gathered_fini(struct gathered *gathered)
{
    mem_free(gathered->lengths.items);
    for (uint32_t k = 0; k < SIGNATURE_TASKS_MAX; k++) {
        mem_free(gathered->returns[k].items);
    }
    mem_free(gathered->mean);
    mem_free(gathered->bins);
    mem_free(gathered->at_limit);
}

static void add_observation(struct gathered *gathered, const float *row)
{
    const double n = (double)++gathered->rows;
    for (uint32_t i = 0; i < gathered->O; i++) {
        const double value = (double)row[i];
        const double off = value - gathered->mean[i];
        gathered->mean[i] += off / n;
        gathered->square[i] += off * (value - gathered->mean[i]);
        gathered->low[i] = n == 1 || value < gathered->low[i] ? value : gathered->low[i];
        gathered->high[i] = n == 1 || value > gathered->high[i] ? value : gathered->high[i];
    }
}

/* Canonical actions, in -1..1. */
static void add_action(struct gathered *gathered, const float *action)
{
    for (uint32_t i = 0; i < gathered->signature.A; i++) {
        const double place = ((double)action[i] + 1) / 2 * ACTION_BINS;
        const int bin = place < 0 ? 0 : place >= ACTION_BINS ? ACTION_BINS - 1 : (int)place;
        gathered->bins[i][bin]++;
        gathered->at_limit[i] += fabsf(action[i]) >= AT_LIMIT;
    }
    gathered->steps++;
}

static status add_episode(struct gathered *gathered, const struct episode *episode)
{
    const struct signature *signature = &gathered->signature;
    for (uint32_t t = 0; t <= episode->T; t++) {
        const float *row = episode->rows + (size_t)t * episode->W;
        add_observation(gathered, row);
        if (t < episode->T) {
            add_action(gathered, row + signature_action_at(signature));
        }
    }
    status s = add_number(&gathered->lengths, episode->T);
    for (uint32_t k = 0; k < signature->K && s == STATUS_OK; k++) {
        s = add_number(&gathered->returns[k], episode_return(episode, signature, k));
    }
    return s;
}

/* Adds the good episodes of one shard; bad ones have been told by whoever made the summary. */
static status add_shard(struct gathered *gathered, struct source *source, size_t shard_i,
                        struct episode *episode)
{
    struct source_reader *reader;
    if (source_shard(source, shard_i)->episodes == 0 ||
        source_reader_open(&reader, source, shard_i, NULL) != STATUS_OK) {
        return STATUS_OK;
    }
    status s = STATUS_OK;
    for (uint64_t i = 0; i < source_reader_episodes(reader) && s == STATUS_OK; i++) {
        if (source_reader_read(reader, i, episode, NULL) == STATUS_OK) {
            s = add_episode(gathered, episode);
        }
    }
    source_reader_close(reader);
    return s;
}

static status gather(struct gathered *gathered, const struct sources *sources, struct err *err)
{
    struct episode episode;
    episode_init(&episode, signature_width(&gathered->signature));
    status s = STATUS_OK;
    for (size_t d = 0; d < sources_n(sources) && s == STATUS_OK; d++) {
        struct source *source = sources_at(sources, d);
        for (size_t i = 0; i < source_n_shards(source) && s == STATUS_OK; i++) {
            s = add_shard(gathered, source, i, &episode);
        }
    }
    episode_fini(&episode);
    if (s != STATUS_OK) {
        return err_set(err, s, "plot: out of memory");
    }
    return gathered->lengths.n > 0 ? s
                                   : err_set(err, STATUS_INVALID, "plot: there is no good episode");
}

/* ---- panels ---- */

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a;
    const double y = *(const double *)b;
    return (x > y) - (x < y);
}

/* A histogram with its extremes below, at (x, y), and a line for the median. Sorts the numbers. */
static void draw_histogram(struct text *svg, double x, double y, double width,
                           struct numbers *numbers, const char *name)
{
    char words[160];
    double *items = numbers->items;
    const uint64_t n = numbers->n;
    qsort(items, n, sizeof *items, compare_doubles);
    const double low = items[0];
    const double high = items[n - 1];
    const double median = items[n / 2];
    uint64_t bins[BINS] = {0};
    uint64_t most = 1;
    for (uint64_t i = 0; i < n; i++) {
        const double place = high > low ? (items[i] - low) / (high - low) * BINS : BINS / 2.0;
        const int bin = place >= BINS ? BINS - 1 : (int)place;
        bins[bin]++;
        most = bins[bin] > most ? bins[bin] : most;
    }
    const double bottom = y + PANEL_HEIGHT - 18;
    const double top = y + 20;
    for (int i = 0; i < BINS; i++) {
        const double height = (bottom - top) * (double)bins[i] / (double)most;
        svg_rectangle(svg, x + i * width / BINS, bottom - height, width / BINS - 1, height,
                      SVG_PLAIN);
    }
    svg_line(svg, x, bottom, x + width, bottom, SVG_AXIS);
    const double middle = high > low ? x + (median - low) / (high - low) * width : x + width / 2;
    svg_line(svg, middle, top, middle, bottom, SVG_STRONG);
    snprintf(words, sizeof words, "%.80s: median %.4g, tallest bar %" PRIu64 " episodes", name,
             median, most);
    svg_text(svg, x, y + 12, 12, SVG_START, words);
    snprintf(words, sizeof words, "%.4g", low);
    svg_text(svg, x, bottom + 14, 11, SVG_START, words);
    snprintf(words, sizeof words, "%.4g", high);
    svg_text(svg, x + width, bottom + 14, 11, SVG_END, words);
}

/* Returns of the first tasks, and lengths, two beside each other. Returns the y below. */
static double draw_episodes(struct text *svg, double y, struct gathered *gathered)
{
    const double width = (WIDTH - 3 * MARGIN) / 2;
    const uint32_t K = gathered->signature.K < TASKS_MAX ? gathered->signature.K : TASKS_MAX;
    svg_heading(svg, MARGIN, y, "Episodes");
    y += 14;
    for (uint32_t k = 0; k <= K; k++) {
        char name[SIGNATURE_NAME_SIZE + 16] = "length in transitions";
        if (k < K) {
            snprintf(name, sizeof name, "return, %s", gathered->signature.rewards[k]);
        }
        const uint32_t row = k / 2;
        draw_histogram(svg, MARGIN + (k % 2) * (width + MARGIN), y + row * PANEL_HEIGHT, width,
                       k < K ? &gathered->returns[k] : &gathered->lengths, name);
    }
    const uint32_t rows = K / 2 + 1;
    return y + rows * PANEL_HEIGHT + 30;
}

/* The place of a value on an axis that is linear within +-unit and logarithmic beyond; `decades` of
 * it are drawn to either side. In -1..1. */
static double symmetric(double value, double unit, double decades)
{
    const double size = fabs(value) / unit;
    const double place = (size <= 1 ? size : 1 + log10(size)) / (1 + decades);
    return value < 0 ? -place : place;
}

static double deviation(const struct gathered *gathered, uint32_t i)
{
    return sqrt(gathered->square[i] / (double)gathered->rows);
}

/* The axis for all observations: the smallest scale is its unit. */
static void find_axis(const struct gathered *gathered, double *unit, double *decades)
{
    double least = INFINITY;
    double most = 0;
    for (uint32_t i = 0; i < gathered->O; i++) {
        const double scale = deviation(gathered, i);
        const double size = fmax(fabs(gathered->low[i]), fabs(gathered->high[i]));
        least = scale > 0 && scale < least ? scale : least;
        most = size > most ? size : most;
    }
    *unit = isfinite(least) ? pow(10, floor(log10(least))) : 1;
    *decades = most > *unit ? ceil(log10(most / *unit)) : 1;
    /* A pair of scales that far apart is enough to see; smaller ones are drawn as 0. */
    if (*decades > 12) {
        *unit *= pow(10, *decades - 12);
        *decades = 12;
    }
}

/* Grid lines of the axis with their values. */
static void draw_axis(struct text *svg, double y, double bottom, double center, double half,
                      double unit, double decades)
{
    const int every = decades > 6 ? 3 : decades > 3 ? 2 : 1;
    for (int d = 0; d <= (int)decades; d += every) {
        for (int sign = -1; sign <= 1; sign += 2) {
            char words[32];
            const double value = sign * unit * pow(10, d);
            const double x = center + half * symmetric(value, unit, decades);
            svg_line(svg, x, y + 4, x, bottom, SVG_SOFT);
            snprintf(words, sizeof words, "%g", value);
            svg_text(svg, x, y, 10, SVG_MIDDLE, words);
        }
    }
    svg_line(svg, center, y + 4, center, bottom, SVG_AXIS);
    svg_text(svg, center, y, 10, SVG_MIDDLE, "0");
}

/* One row for each observation: its range, and mean +- standard deviation in it. */
static double draw_observations(struct text *svg, double y, const struct gathered *gathered)
{
    const uint32_t n = gathered->O < OBSERVATIONS_MAX ? gathered->O : OBSERVATIONS_MAX;
    const double left = 200;
    const double right = WIDTH - 250;
    const double half = (right - left) / 2;
    const double center = left + half;
    double unit, decades;
    char words[200];
    find_axis(gathered, &unit, &decades);
    svg_heading(svg, MARGIN, y, "Observations: range, and mean with standard deviation");
    if (n < gathered->O) {
        snprintf(words, sizeof words, "the first %u of %u", n, gathered->O);
        svg_text(svg, WIDTH - MARGIN, y, 12, SVG_END, words);
    }
    y += 28;
    draw_axis(svg, y, y + 10 + n * ROW_HEIGHT, center, half, unit, decades);
    y += 10;
    for (uint32_t i = 0; i < n; i++, y += ROW_HEIGHT) {
        const double mean = gathered->mean[i];
        const double scale = deviation(gathered, i);
        const double x[4] = {center + half * symmetric(gathered->low[i], unit, decades),
                             center + half * symmetric(gathered->high[i], unit, decades),
                             center + half * symmetric(mean - scale, unit, decades),
                             center + half * symmetric(mean + scale, unit, decades)};
        char name[SIGNATURE_NAME_SIZE + 16];
        signature_name_observation(&gathered->signature, i, name, sizeof name);
        snprintf(words, sizeof words, "%.30s", name);
        svg_text(svg, left - 16, y + 11, 11, SVG_END, words);
        /* At least a pixel wide, so that a constant can be seen; it is drawn as a warning. */
        const bool constant = gathered->low[i] == gathered->high[i];
        svg_rectangle(svg, x[0], y + 6, fmax(x[1] - x[0], 1.5), 3,
                      constant ? SVG_STRONG : SVG_SOFT);
        if (!constant) {
            svg_rectangle(svg, x[2], y + 3.5, fmax(x[3] - x[2], 1.5), 8, SVG_PLAIN);
        }
        snprintf(words, sizeof words, "%.3g .. %.3g, %s%.3g", gathered->low[i], gathered->high[i],
                 constant ? "constant " : "std ", constant ? mean : scale);
        svg_text(svg, right + 16, y + 11, 11, SVG_START, words);
    }
    return y + 36;
}

/* How one action uses its limits: a histogram, with what is at the limits in another colour. */
static void draw_action(struct text *svg, double x, double y, double width,
                        const struct gathered *gathered, uint32_t i)
{
    const struct signature *signature = &gathered->signature;
    const double bottom = y + PANEL_HEIGHT - 36;
    const double top = y + 18;
    char words[96];
    uint64_t most = 1;
    for (int b = 0; b < ACTION_BINS; b++) {
        most = gathered->bins[i][b] > most ? gathered->bins[i][b] : most;
    }
    const double share = (double)gathered->at_limit[i] / (double)gathered->steps;
    for (int b = 0; b < ACTION_BINS; b++) {
        const double height = (bottom - top) * (double)gathered->bins[i][b] / (double)most;
        const bool edge = (b == 0 || b == ACTION_BINS - 1) && gathered->at_limit[i] > 0;
        svg_rectangle(svg, x + b * width / ACTION_BINS, bottom - height, width / ACTION_BINS - 0.5,
                      height, edge ? SVG_STRONG : SVG_PLAIN);
    }
    svg_line(svg, x, bottom, x + width, bottom, SVG_AXIS);
    snprintf(words, sizeof words, "action %u: %.1f%% at its limits", i, 100 * share);
    svg_text(svg, x, y + 12, 12, SVG_START, words);
    snprintf(words, sizeof words, "%.4g", (double)signature->action_min[i]);
    svg_text(svg, x, bottom + 14, 11, SVG_START, words);
    snprintf(words, sizeof words, "%.4g", (double)signature->action_max[i]);
    svg_text(svg, x + width, bottom + 14, 11, SVG_END, words);
}

static double draw_actions(struct text *svg, double y, const struct gathered *gathered)
{
    const uint32_t A = gathered->signature.A;
    const double width = (WIDTH - (ACTION_COLUMNS + 1) * MARGIN) / ACTION_COLUMNS;
    svg_heading(svg, MARGIN, y, "Actions between their limits");
    y += 14;
    for (uint32_t i = 0; i < A; i++) {
        const uint32_t row = i / ACTION_COLUMNS;
        draw_action(svg, MARGIN + (i % ACTION_COLUMNS) * (width + MARGIN), y + row * PANEL_HEIGHT,
                    width, gathered, i);
    }
    const uint32_t rows = (A - 1) / ACTION_COLUMNS + 1;
    return y + rows * PANEL_HEIGHT + 20;
}

/* How many intervals between rows are how long. */
static double draw_gaps(struct text *svg, double y, const struct logs_gaps *gaps)
{
    static const char *const sizes[LOGS_GAP_SIZES] = {"not positive",        "up to 10 periods",
                                                      "10 to 30 periods",    "30 to 100 periods",
                                                      "100 to 1000 periods", "longer"};
    char words[640];
    svg_heading(svg, MARGIN, y, "Gaps in time");
    y += 20;
    if (gaps == NULL || gaps->n == 0) {
        svg_text(svg, MARGIN, y, 12, SVG_START,
                 gaps == NULL ? "times are not logged"
                              : "none: no interval is much longer than "
                                "the control period");
        return y + 20;
    }
    snprintf(words, sizeof words, "%" PRIu64 " gaps, the longest %.6g s (%s)", gaps->n,
             gaps->longest_s, gaps->place);
    svg_text(svg, MARGIN, y, 12, SVG_START, words);
    y += 10;
    for (int i = 0; i < LOGS_GAP_SIZES; i++, y += ROW_HEIGHT) {
        const double width = 500 * (double)gaps->sizes[i] / (double)gaps->n;
        svg_text(svg, 184, y + 11, 11, SVG_END, sizes[i]);
        svg_rectangle(svg, 200, y + 3, width, 8, SVG_PLAIN);
        snprintf(words, sizeof words, "%" PRIu64, gaps->sizes[i]);
        svg_text(svg, 208 + width, y + 11, 11, SVG_START, words);
    }
    return y + 20;
}

/* Draws all panels; the height is known only at the end, so the head is put in front. */
static status draw(const char *file, const char *title, struct gathered *gathered,
                   const struct logs_gaps *gaps, struct err *err)
{
    struct text body = {0};
    struct text svg = {0};
    char words[512];
    svg_heading(&body, MARGIN, 30, title);
    snprintf(words, sizeof words, "%" PRIu64 " episodes, %" PRIu64 " transitions",
             gathered->lengths.n, gathered->steps);
    svg_text(&body, MARGIN, 48, 12, SVG_START, words);
    double y = draw_episodes(&body, 84, gathered);
    y = draw_observations(&body, y, gathered);
    y = draw_actions(&body, y, gathered);
    y = draw_gaps(&body, y, gaps);
    svg_begin(&svg, WIDTH, y + MARGIN);
    text_add_bytes(&svg, body.bytes, body.size);
    svg_end(&svg);
    const bool failed = body.failed || svg.failed;
    const status s = failed ? err_set(err, STATUS_NO_MEMORY, "plot: out of memory")
                            : file_replace(file, &(struct file_part){svg.bytes, svg.size}, 1, err);
    text_fini(&body);
    text_fini(&svg);
    return s;
}

status log_plot(const char *file, const char *title, const struct sources *sources,
                const struct logs_gaps *gaps, struct err *err)
{
    struct gathered gathered;
    status s = gathered_init(&gathered, sources_signature(sources)) == STATUS_OK
                   ? STATUS_OK
                   : err_set(err, STATUS_NO_MEMORY, "plot: out of memory");
    if (s == STATUS_OK) {
        s = gather(&gathered, sources, err);
    }
    if (s == STATUS_OK) {
        s = draw(file, title, &gathered, gaps, err);
    }
    gathered_fini(&gathered);
    return s;
}
