/* Configuration: one YAML file per experiment, one section per role, flags on top.
 *
 *     experiment:              # shared by all roles (common/base/experiment.h)
 *       name: cheetah-run
 *     learner:
 *       batch_snippets: 64     # same as --batch_snippets=64 on the learner's command line
 *
 * All processes of a run read the same file: what `hindcast up` does is to start each role with the
 * same --config= and, where several of a role run, with --index= and --count=, which such a role
 * declares in its own section.
 *
 * A process declares one table per section it reads; the table yields parser, checks, --help and
 * the sample file. Order: defaults, then --config=FILE, then flags, of which the last one wins. An
 * unknown section, key or flag, a key given twice, a value of the wrong type (also a number in
 * quotes) or out of range is INVALID, and the text names file, line, key, value, what was expected,
 * and the known name that is nearest:
 *
 *     cheetah.yaml:14: learner.batch_snippets: "many": expected an integer 1..65536
 *
 * Sections of the other roles (CONFIG_ROLES) are checked for being sections, not looked into.
 * Anchors, aliases and tags are refused. At start, one thread. */
#ifndef HINDCAST_BASE_CONFIG_H
#define HINDCAST_BASE_CONFIG_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "common/base/status.h"
#include "common/base/text.h"

#define CONFIG_ROLES                                                                               \
    "experiment", "replay_server", "restorer", "learner", "evaluator", "offline_evaluator",        \
        "collector", "robot_sim", "robot_operator", "up"
#define CONFIG_TEXT_SIZE 512 /* a CONFIG_TEXT field is char[CONFIG_TEXT_SIZE] */
#define CONFIG_LIST_MAX  64

enum config_type {
    CONFIG_BOOL,   /* bool:     true | false */
    CONFIG_INT,    /* int64_t:  decimal; where `unit` is "bytes" also 64K, M, G, T (1024s) */
    CONFIG_REAL,   /* double */
    CONFIG_TEXT,   /* char[CONFIG_TEXT_SIZE] */
    CONFIG_CHOICE, /* char[CONFIG_TEXT_SIZE], one of `choices` ("a|b|c") */
    CONFIG_INTS,   /* struct config_ints; YAML [1, 2], flag 1,2 */
    CONFIG_TEXTS,  /* struct config_texts; YAML [a, b], flag a,b */
};

struct config_ints {
    size_t n;
    int64_t items[CONFIG_LIST_MAX];
};
struct config_texts {
    size_t n;
    char items[CONFIG_LIST_MAX][CONFIG_TEXT_SIZE];
};

struct config_option {
    const char *name;
    enum config_type type;
    size_t offset;            /* of the field in the section's struct */
    const char *unit;         /* "steps", "ms", "bytes", "" */
    const char *default_text; /* as it would be written in YAML; "" leaves text empty */
    double min, max;          /* numbers, inclusive; min == max: no limits */
    const char *choices;      /* CONFIG_CHOICE */
    const char *help;         /* one line */
};

/* An option that has a new name. The old name is accepted in the file and as a flag for one
 * release; each use logs one warning that gives the new name. */
struct config_rename {
    const char *old_name;
    const char *name;
};

/* Named groups of settings inside a section:
 *
 *     replay_server:
 *       max_bytes: 10G
 *       tables:                      # the group's name
 *         expert: {max_bytes: 1G}    # one entry, and what differs for it
 *
 * As a flag: --replay_server.tables.expert.max_bytes=1G, or --tables.expert.max_bytes=1G. The
 * option's name follows the last dot, so an entry's name may contain dots.
 *
 * The section's struct holds an array of entries and their number. An entry is a struct that starts
 * with a struct config_entry. An option that is not given for an entry has the value of the
 * section's option of the same name, which must have the same type, and else its own default. */
#define CONFIG_ENTRY_NAME_SIZE 65
struct config_entry {
    char name[CONFIG_ENTRY_NAME_SIZE]; /* 1 to 64 bytes without control characters */
    uint64_t given;                    /* bit i: option i of the group was given for this entry */
};

struct config_group {
    const char *name;
    const char *help;
    const struct config_option *options; /* `offset` is relative to the entry */
    size_t n_options;                    /* at most 64 */
    const struct config_rename *renames;
    size_t n_renames;
    size_t entries_offset; /* of the array, in the section's struct */
    size_t count_offset;   /* of its size_t number of entries, in the section's struct */
    size_t entry_size;     /* bytes */
    size_t max_entries;
};

struct config_section {
    const char *name;
    const struct config_option *options;
    size_t n_options;
    void *values; /* the struct that `offset` points into */
    const struct config_rename *renames;
    size_t n_renames;
    const struct config_group *groups;
    size_t n_groups;
};

/* Fills every section's values. `program` is one line for --help.
 *
 * Handles itself, and then sets *done: --help (-h); --version; --options, which prints the table for
 * programs; --sample, which prints a commented YAML file of these sections. A flag is --name=value,
 * or --section.name=value where two sections have an option of that name; --name alone turns a
 * CONFIG_BOOL on. Positional arguments are INVALID.
 *
 * After an error the values are partly set, and of no use. A default that its own option refuses is
 * a bug: ASSERT. */
status config_load(const struct config_section *sections, size_t n, const char *program, int argc,
                   char **argv, bool *done, struct err *err) MUST_CHECK;

/* What --help says about the options of these sections, in lines of at most 100 characters. */
void config_help(FILE *out, const struct config_section *sections, size_t n);
/* The effective values as YAML, one option a line in table order: what is logged at start. */
void config_print(FILE *out, const struct config_section *sections, size_t n);
void config_print_text(struct text *out, const struct config_section *sections, size_t n);

/* 64-bit digest of the effective values of one section; kept in checkpoints. */
uint64_t config_digest(const struct config_section *section);

#endif
