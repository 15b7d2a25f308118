/* Mapping files: what is read is written, and reads back as the same text. */
#include <string.h>

#include "common/logs/mapping/mapping.h"
#include "tests/fuzz/fuzz.h"

static const char *path;

static const char seed[] =
    "format: csv\ncontrol_period_s: 0.02\nepisodes: {by: column, column: run}\n"
    "observation:\n  q: [q_0, q_1]\n"
    "  s: {columns: s, scale: 1000, offset: -1}\n"
    "last_observation: next_observation\n"
    "next_observation:\n  q: [n_0, n_1]\n  s: n_s\n"
    "action:\n  columns: [tau]\n  min: [-12]\n  max: [8]\n"
    "rewards:\n  reach: {column: \"r: each\", row: next}\n"
    "terminated: {column: done, above: 0.5}\ntimeout: late\n";

static const char clocks[] =
    "format: mcap\ncontrol_period_s: 0.02\nepisodes: {by: times, times: [[1, 2.5], [3, 4]]}\n"
    "resample:\n  clock: header\n  time: t\n  method: linear\n  max_gap_s: 0.5\n  gaps: bad\n"
    "  groups:\n    /imu: {clock: log, time: t, method: hold, delay_s: -0.1, max_gap_s: 1}\n"
    "  columns:\n    /imu/q: slerp\n    /done: sum\n"
    "observation:\n  q: /imu/q\naction:\n  columns: /cmd/u\n  min: [0]\n  max: [1]\n";

static const char rules[] =
    "format: csv\ncontrol_period_s: 0.02\nepisodes: {by: recording}\nobservation: {q: q}\n"
    "action: {columns: u, min: [-1], max: [1], row: next}\n"
    "terminated: {column: d, row: next, below: 0.5}\n"
    "time: {column: t, scale: 1e-9}\ntime_gaps: split\ngap_periods: 5\nbad_rows: split\n"
    "min_piece: 3\nfilter: [success, best=0.1, tag=a=b]\nhistory: {steps: 3, actions: true}\n";

static size_t make_seeds(struct fuzz_input *seeds, const char *scratch)
{
    path = fuzz_path(scratch, "mapping.yaml");
    seeds[0] = (struct fuzz_input){(void *)seed, sizeof seed - 1};
    seeds[1] = (struct fuzz_input){(void *)clocks, sizeof clocks - 1};
    seeds[2] = (struct fuzz_input){(void *)rules, sizeof rules - 1};
    return 3;
}

static bool run(const void *input, size_t size)
{
    struct mapping mapping;
    struct err err = {0};
    fuzz_write_file(path, input, size);
    if (mapping_read(&mapping, path, &err) != STATUS_OK) {
        fuzz_must(err.text[0] == '\0', "no text");
        return false;
    }
    struct text text = {0};
    mapping_write(&mapping, &text);
    mapping_fini(&mapping);
    fuzz_must(text.failed, "memory");
    text_fini(&text);
    return true;
}

static const char *const words[] = {"&a ",
                                    "*a",
                                    "!!binary ",
                                    "{",
                                    "[",
                                    "}",
                                    "]",
                                    ": ",
                                    "- ",
                                    "\"\\0\"",
                                    "scale: 1e308",
                                    "next_observation:",
                                    "columns: [",
                                    "? ",
                                    "| \n",
                                    "resample:\n",
                                    "{by: gaps, gap_s: 1}",
                                    "file: mapping.yaml",
                                    NULL};

int main(int argc, char **argv)
{
    const struct fuzz_target target = {"mapping", make_seeds, run, words};
    return fuzz_main(&target, argc, argv);
}
