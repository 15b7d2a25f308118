/* hindcast plot: curves of runs as a file. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/memory.h"
#include "deploy/local/commands.h"
#include "deploy/local/plot_chart.h"
#include "deploy/local/program_output.h"

#define RUNS_MAX 16

static const char usage[] =
    "usage: hindcast plot RUN_DIR .. [--column=NAME] [--axis=step|hours] [--out=FILE]\n"
    "Draws a column of evaluator.jsonl or learner.jsonl (return_mean) of each run, as SVG, or as\n"
    "PNG or CSV where FILE (plot.svg) ends in .png or .csv. A folder with several runs, such as\n"
    "the seeds of a sweep, gives their mean, and the region between the lowest and the highest. A\n"
    "task's return is tasks/TASK/mean; a wrong name is answered with those that there are.\n";

struct plot_flags {
    const char *runs[RUNS_MAX];
    size_t n;
    const char *column, *out;
    enum plot_axis axis;
};

/* The value of "--name=value", or NULL. */
static const char *value_of(const char *argument, const char *name)
{
    const size_t n = strlen(name);
    return strncmp(argument, name, n) == 0 ? argument + n : NULL;
}

/* False: the command line is wrong. */
static bool parse(struct plot_flags *flags, int argc, char **argv)
{
    *flags = (struct plot_flags){.column = "return_mean", .out = "plot.svg"};
    for (int i = 1; i < argc; i++) {
        const char *value;
        if ((value = value_of(argv[i], "--column=")) != NULL) {
            flags->column = value;
        } else if ((value = value_of(argv[i], "--out=")) != NULL) {
            flags->out = value;
        } else if ((value = value_of(argv[i], "--axis=")) != NULL) {
            flags->axis = strcmp(value, "hours") == 0 ? PLOT_HOURS : PLOT_STEPS;
            if (flags->axis == PLOT_STEPS && strcmp(value, "step") != 0) {
                return false;
            }
        } else if (argv[i][0] == '-' || flags->n == RUNS_MAX) {
            return false;
        } else {
            flags->runs[flags->n++] = argv[i];
        }
    }
    return flags->n > 0;
}

static bool ends_in(const char *path, const char *suffix)
{
    const char *dot = strrchr(path, '.');
    return dot != NULL && strcmp(dot, suffix) == 0;
}

/* Makes a picture of `svg`, a file, in `out`. The program of librsvg does it. */
static status draw_png(const char *svg, const char *out, struct err *err)
{
    char aside[PATH_MAX];
    snprintf(aside, sizeof aside, "%s.tmp", out);
    char *said = program_output((const char *const[]){"rsvg-convert", "--format=png", "--zoom=2",
                                                      "--output", aside, svg, NULL});
    status s = STATUS_OK;
    if (said == NULL) {
        s = err_set(err, STATUS_NOT_FOUND,
                    "%s: rsvg-convert fails, or is not there (Debian: librsvg2-bin)", out);
    } else if (rename(aside, out) != 0) {
        s = err_errno(err, errno, "%s", out);
    }
    mem_free(said);
    if (s != STATUS_OK) {
        unlink(aside);
    }
    return s;
}

/* The same of an SVG in memory, which is written beside the picture meanwhile. */
static status write_png(const char *out, const struct file_part *part, struct err *err)
{
    char svg[PATH_MAX];
    snprintf(svg, sizeof svg, "%s.svg", out);
    status s = file_replace(svg, part, 1, err);
    if (s == STATUS_OK) {
        s = draw_png(svg, out, err);
        unlink(svg);
    }
    return s;
}

static status write_chart(const struct plot_flags *flags, const struct plot_curve *curves,
                          struct err *err)
{
    struct text chart = {0};
    if (ends_in(flags->out, ".csv")) {
        plot_chart_csv(&chart, curves, flags->n, flags->column, flags->axis);
    } else {
        plot_chart_svg(&chart, curves, flags->n, flags->column, flags->axis);
    }
    size_t size;
    char *bytes = text_take(&chart, &size);
    const struct file_part part = {bytes, size};
    const status s = bytes == NULL                 ? err_set(err, STATUS_NO_MEMORY, "plot")
                     : ends_in(flags->out, ".png") ? write_png(flags->out, &part, err)
                                                   : file_replace(flags->out, &part, 1, err);
    mem_free(bytes);
    return s;
}

static status plot(const struct plot_flags *flags, struct err *err)
{
    struct plot_curve curves[RUNS_MAX] = {0};
    status s = STATUS_OK;
    for (size_t i = 0; s == STATUS_OK && i < flags->n; i++) {
        struct stat about;
        s = stat(flags->runs[i], &about) != 0 || !S_ISDIR(about.st_mode)
                ? err_set(err, STATUS_NOT_FOUND, "%s: no such run", flags->runs[i])
                : plot_curve_read(&curves[i], flags->runs[i], flags->column, flags->axis, err);
    }
    if (s == STATUS_OK) {
        s = write_chart(flags, curves, err);
    }
    for (size_t i = 0; i < flags->n; i++) {
        plot_curve_fini(&curves[i]);
    }
    return s;
}

int command_plot(int argc, char **argv)
{
    struct plot_flags flags;
    struct err err;
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        fputs(usage, stdout);
        return 0;
    }
    if (!parse(&flags, argc, argv)) {
        fputs(usage, stderr);
        return 2;
    }
    if (plot(&flags, &err) != STATUS_OK) {
        fprintf(stderr, "hindcast plot: %s\n", err.text);
        return 1;
    }
    printf("%s\n", flags.out);
    return 0;
}
