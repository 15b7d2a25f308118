/* Ticks are at multiples of 1, 2 or 5 times a power of ten. */
#include "deploy/local/plot_chart.h"

#include <math.h>
#include <stdio.h>

#include "deploy/local/svg.h"

#define WIDTH       960.0
#define HEIGHT      540.0 /* without the legend */
#define LEFT        80.0
#define RIGHT       24.0
#define TOP         48.0
#define BOTTOM      56.0
#define LEGEND_GAP  10.0
#define LEGEND_LINE 18.0
#define TICKS       6

/* Okabe and Ito's colours, as on the dashboard; then more, as far apart as there is room. */
static const char *const colours[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                      "#e69f00", "#56b4e9", "#8c6d31", "#7f7f7f",
                                      "#000000", "#66a61e", "#5e3c99", "#b2182b"};
#define LOGS_COLOUR "#555555" /* of levels that all curves share */

/* The part of the plane that is drawn, and where its corners are on the picture. */
struct view {
    double x_low, x_high, y_low, y_high;
};

static double at_x(const struct view *view, double x)
{
    return LEFT + (x - view->x_low) / (view->x_high - view->x_low) * (WIDTH - LEFT - RIGHT);
}

static double at_y(const struct view *view, double y)
{
    return HEIGHT - BOTTOM -
           (y - view->y_low) / (view->y_high - view->y_low) * (HEIGHT - TOP - BOTTOM);
}

/* Widens low .. high by a value, unless it is NaN. */
static void widen(double *low, double *high, double value)
{
    *low = fmin(*low, value);
    *high = fmax(*high, value);
}

/* A range of positive length. */
static void open_range(double *low, double *high)
{
    if (!(*low < *high)) {
        const double middle = isfinite(*low) ? *low : 0;
        *low = middle - 0.5;
        *high = middle + 0.5;
    }
}

static struct view view_of(const struct plot_curve *curves, size_t n)
{
    struct view view = {INFINITY, -INFINITY, INFINITY, -INFINITY};
    for (size_t k = 0; k < n; k++) {
        for (size_t i = 0; i < curves[k].n; i++) {
            widen(&view.x_low, &view.x_high, curves[k].x[i]);
            widen(&view.y_low, &view.y_high, curves[k].low[i]);
            widen(&view.y_low, &view.y_high, curves[k].high[i]);
        }
        widen(&view.y_low, &view.y_high, curves[k].logs_mean);
        widen(&view.y_low, &view.y_high, curves[k].logs_best);
    }
    open_range(&view.x_low, &view.x_high);
    open_range(&view.y_low, &view.y_high);
    const double margin = 0.03 * (view.y_high - view.y_low);
    view.y_low -= margin;
    view.y_high += margin;
    return view;
}

/* The distance between ticks for about TICKS of them. */
static double tick_of(double low, double high)
{
    const double rough = (high - low) / TICKS;
    const double power = pow(10, floor(log10(rough)));
    const double digit = rough / power;
    return power * (digit < 1.5 ? 1 : digit < 3.5 ? 2 : digit < 7.5 ? 5 : 10);
}

static void draw_axes(struct text *svg, const struct view *view, const char *column,
                      enum plot_axis axis)
{
    char words[64];
    const double dx = tick_of(view->x_low, view->x_high);
    for (double x = ceil(view->x_low / dx) * dx; x <= view->x_high + 1e-9 * dx; x += dx) {
        svg_line(svg, at_x(view, x), HEIGHT - BOTTOM, at_x(view, x), HEIGHT - BOTTOM + 5, SVG_AXIS);
        snprintf(words, sizeof words, "%.6g", fabs(x) < 1e-9 * dx ? 0 : x);
        svg_text(svg, at_x(view, x), HEIGHT - BOTTOM + 20, 12, SVG_MIDDLE, words);
    }
    const double dy = tick_of(view->y_low, view->y_high);
    for (double y = ceil(view->y_low / dy) * dy; y <= view->y_high + 1e-9 * dy; y += dy) {
        svg_line(svg, LEFT, at_y(view, y), WIDTH - RIGHT, at_y(view, y), SVG_SOFT);
        snprintf(words, sizeof words, "%.6g", fabs(y) < 1e-9 * dy ? 0 : y);
        svg_text(svg, LEFT - 8, at_y(view, y) + 4, 12, SVG_END, words);
    }
    svg_line(svg, LEFT, HEIGHT - BOTTOM, WIDTH - RIGHT, HEIGHT - BOTTOM, SVG_AXIS);
    svg_line(svg, LEFT, TOP, LEFT, HEIGHT - BOTTOM, SVG_AXIS);
    svg_text(svg, (LEFT + WIDTH - RIGHT) / 2, HEIGHT - 14, 13, SVG_MIDDLE,
             axis == PLOT_STEPS ? "learner step" : "hours");
    svg_heading(svg, LEFT, 28, column);
}

/* A level across the picture. */
static void draw_level(struct text *svg, const struct view *view, double value, const char *colour)
{
    if (!isnan(value)) {
        const double points[] = {LEFT, at_y(view, value), WIDTH - RIGHT, at_y(view, value)};
        svg_path(svg, points, 2, colour, true);
    }
}

static void draw_curve(struct text *svg, const struct view *view, const struct plot_curve *curve,
                       const char *colour)
{
    double points[4 * PLOT_CURVE_POINTS] = {0};
    const size_t n = curve->n;
    for (size_t i = 0; i < n; i++) {
        /* There along the upper edge, and back along the lower one. */
        points[2 * i] = points[2 * (2 * n - 1 - i)] = at_x(view, curve->x[i]);
        points[2 * i + 1] = at_y(view, curve->high[i]);
        points[2 * (2 * n - 1 - i) + 1] = at_y(view, curve->low[i]);
    }
    if (curve->seeds > 1) {
        svg_region(svg, points, 2 * n, colour);
    }
    for (size_t i = 0; i < n; i++) {
        points[2 * i + 1] = at_y(view, curve->mean[i]);
    }
    svg_path(svg, points, n, colour, false);
}

/* Were all curves learned from logs with the same returns? Their levels are then drawn once. */
static bool share_logs(const struct plot_curve *curves, size_t n)
{
    bool same = n > 1;
    for (size_t k = 0; k < n; k++) { /* false for NaN */
        same = same && curves[k].logs_mean == curves[0].logs_mean &&
               curves[k].logs_best == curves[0].logs_best;
    }
    return same;
}

static void draw_logs(struct text *svg, const struct view *view, const struct plot_curve *curve,
                      const char *colour)
{
    draw_level(svg, view, curve->logs_mean, colour);
    draw_level(svg, view, curve->logs_best, colour);
}

/* Below the picture, two columns or, where entries are long, one. */
static size_t legend_columns(const struct plot_curve *curves, size_t n, bool shared)
{
    return n > 1 && (shared || isnan(curves[0].logs_mean)) ? 2 : 1;
}

static void draw_entry(struct text *svg, size_t k, size_t columns, const char *colour, bool dashed,
                       const char *words)
{
    const size_t line = k / columns;
    const double x = LEFT + (double)(k % columns) * (WIDTH - LEFT - RIGHT) / (double)columns;
    const double y = HEIGHT + LEGEND_GAP + LEGEND_LINE * (double)line;
    const double sample[] = {x, y - 4, x + 24, y - 4};
    svg_path(svg, sample, 2, colour, dashed);
    svg_text(svg, x + 30, y, 12, SVG_START, words);
}

/* An entry for each curve with its last value, and one for the logs of all of them. */
static void draw_legend(struct text *svg, const struct plot_curve *curves, size_t n, bool shared)
{
    const size_t columns = legend_columns(curves, n, shared);
    char words[320];
    for (size_t k = 0; k < n; k++) {
        const struct plot_curve *curve = &curves[k];
        char seeds[40] = "", logs[96] = "";
        if (curve->seeds > 1) {
            snprintf(seeds, sizeof seeds, ", %zu seeds", curve->seeds);
        }
        if (!shared && !isnan(curve->logs_mean)) {
            snprintf(logs, sizeof logs, " (dashes: logs, mean %.4g, best %.4g)", curve->logs_mean,
                     curve->logs_best);
        }
        snprintf(words, sizeof words, "%s%s: %.4g at the end%s", curve->label, seeds,
                 curve->n > 0 ? curve->mean[curve->n - 1] : (double)NAN, logs);
        draw_entry(svg, k, columns, colours[k % (sizeof colours / sizeof colours[0])], false,
                   words);
    }
    if (shared) {
        snprintf(words, sizeof words, "logs: mean %.4g, best %.4g", curves[0].logs_mean,
                 curves[0].logs_best);
        draw_entry(svg, n, columns, LOGS_COLOUR, true, words);
    }
}

void plot_chart_svg(struct text *svg, const struct plot_curve *curves, size_t n, const char *column,
                    enum plot_axis axis)
{
    const struct view view = view_of(curves, n);
    const bool shared = share_logs(curves, n);
    const size_t columns = legend_columns(curves, n, shared);
    const size_t lines = (n + (shared ? 1 : 0) + columns - 1) / columns;
    svg_begin(svg, WIDTH, HEIGHT + LEGEND_GAP + LEGEND_LINE * (double)lines);
    draw_axes(svg, &view, column, axis);
    for (size_t k = 0; k < n; k++) {
        const char *colour = colours[k % (sizeof colours / sizeof colours[0])];
        draw_curve(svg, &view, &curves[k], colour);
        if (!shared) {
            draw_logs(svg, &view, &curves[k], colour);
        }
    }
    if (shared) {
        draw_logs(svg, &view, &curves[0], LOGS_COLOUR);
    }
    draw_legend(svg, curves, n, shared);
    svg_end(svg);
}

/* A field in quotes, with its quotes doubled (RFC 4180). */
static void add_field(struct text *csv, const char *words)
{
    text_add(csv, "\"");
    for (const char *at = words; *at != '\0'; at++) {
        text_add_bytes(csv, at, 1);
        if (*at == '"') {
            text_add(csv, "\"");
        }
    }
    text_add(csv, "\"");
}

void plot_chart_csv(struct text *csv, const struct plot_curve *curves, size_t n, const char *column,
                    enum plot_axis axis)
{
    text_format(csv, "run,seeds,%s,", axis == PLOT_STEPS ? "learner_step" : "hours");
    add_field(csv, column);
    text_add(csv, ",lowest,highest\r\n");
    for (size_t k = 0; k < n; k++) {
        for (size_t i = 0; i < curves[k].n; i++) {
            add_field(csv, curves[k].label);
            text_format(csv, ",%zu,%.17g,%.17g,%.17g,%.17g\r\n", curves[k].seeds, curves[k].x[i],
                        curves[k].mean[i], curves[k].low[i], curves[k].high[i]);
        }
    }
}
