/* Chooses which episodes of some sources are used, and cuts episodes around bad rows, by rules
 * (episode_rules.h). Afterwards the sources have the chosen episodes and pieces only, so whoever
 * reads them need not know of the rules. */
#ifndef HINDCAST_LOGS_SELECTION_H
#define HINDCAST_LOGS_SELECTION_H

#include <cjson/cJSON.h>
#include <stdio.h>

#include "common/logs/episodes/logs.h"
#include "common/logs/source/source.h"

/* What the rules have done. Episodes that cannot be read are in none of the numbers: they stay
 * in the source, so that reading them tells why they are bad. */
struct selection {
    bool active;           /* the rules change something; otherwise the rest is 0 */
    struct text rules;     /* in words */
    uint64_t episodes;     /* readable ones, as logged */
    uint64_t bad_rows;     /* rows with values that are not finite, or before a time gap */
    uint64_t cut;          /* episodes that are not used as one piece */
    uint64_t pieces;       /* of those, before the filter */
    uint64_t n_short;      /* pieces that were too short */
    uint64_t lost;         /* transitions in no piece */
    struct logs_gaps gaps; /* in time, of logs of another format */
    uint64_t filtered;     /* episodes and pieces that the filter saw */
    uint64_t by_reason[EPISODE_REASONS]; /* of those, by what became of them */
};

/* Told while episodes are read, at most once a second. */
typedef void (*selection_progress)(void *arg, uint64_t done, uint64_t all);

/* Applies the rules to n >= 1 sources together; the `best` of all of them may lie in one. Rules that
 * a mapping file contains are added to `rules`: episodes are cut if either says so, and the filter of
 * `rules` replaces that of the mapping. Actions are clipped where source_set_clip says so.
 *
 * Unless the rules change nothing, all episodes are read once. `selection` is overwritten; release
 * it with selection_fini, also after an error. Returns INVALID where the filter asks for a reward
 * that is not logged, or leaves no episode. */
status selection_make(struct selection *selection, struct source *const *sources, size_t n,
                      const struct episode_rules *rules, selection_progress progress, void *arg,
                      struct err *err) MUST_CHECK;
void selection_fini(struct selection *selection);

/* One or two lines of text for people, each ending in a newline; nothing where it is not active. */
void selection_print(const struct selection *selection, FILE *out);
/* {"rules": .., "episodes": .., "cut": .., "left_out": {..}, ..}, to be added to a report. NULL when
 * out of memory. */
cJSON *selection_json(const struct selection *selection);

#endif
