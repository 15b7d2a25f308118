/* One pass over all episodes, then one decision.
 *
 * The pass notes each piece of each episode as a unit, and what the filter needs to know of it. The
 * filter decides over all units, because the best ones are known only at the end. Units of episodes
 * that cannot be read are kept without asking the filter. What is left is handed to the sources. */
#include "common/logs/source/selection.h"

#include <inttypes.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/logs/source/source_reader.h"
#include "common/trajectory/episode_pieces.h"

/* All state of a pass. */
struct pass {
    struct selection *selection;
    struct episode_rules rules;
    uint32_t reward; /* index */
    uint64_t n, capacity;
    struct source_unit *units; /* (n) of all sources */
    struct episode_facts *facts;
    uint64_t n_facts; /* readable units, in the same order */
    struct episode episode;
    struct episode_pieces pieces;
    selection_progress progress;
    void *arg;
    uint64_t done, all, told_ns;
    struct err *err;
};

/* ---- the pass ---- */

/* Adds a unit; `facts` is NULL for an episode that cannot be read. */
static status add_unit(struct pass *pass, struct source_unit unit,
                       const struct episode_facts *facts)
{
    /* Both arrays grow together, though there may be fewer facts. */
    if (pass->n == pass->capacity) {
        const uint64_t capacity = pass->capacity == 0 ? 1024 : 2 * pass->capacity;
        struct source_unit *units = mem_resize(pass->units, capacity, sizeof *units);
        if (units != NULL) {
            pass->units = units;
        }
        struct episode_facts *more = mem_resize(pass->facts, capacity, sizeof *more);
        if (more != NULL) {
            pass->facts = more;
        }
        if (units == NULL || more == NULL) {
            return err_set(pass->err, STATUS_NO_MEMORY, "selection of %" PRIu64 " episodes",
                           capacity);
        }
        pass->capacity = capacity;
    }
    pass->units[pass->n++] = unit;
    if (facts != NULL) {
        pass->facts[pass->n_facts++] = *facts;
    }
    return STATUS_OK;
}

/* What the filter needs to know of one piece of pass->episode. */
static struct episode_facts facts_of(const struct pass *pass, const struct signature *signature,
                                     struct episode_piece piece, bool tagged)
{
    struct episode_facts facts = {.T = piece.T, .tagged = tagged};
    const uint32_t at = signature_rewards_at(signature) + pass->reward;
    for (uint32_t t = piece.first; signature->K > 0 && t < piece.first + piece.T; t++) {
        facts.last_reward = (double)pass->episode.rows[(size_t)t * pass->episode.W + at];
        facts.episode_return += facts.last_reward;
    }
    return facts;
}

/* Does the episode have the tag? True where the filter does not ask for one. */
static bool is_tagged(struct pass *pass, struct source_reader *reader, uint64_t i)
{
    char value[EPISODE_TAG_SIZE];
    if (pass->rules.filter.tag[0] == '\0') {
        return true;
    }
    return source_reader_tag(reader, i, pass->rules.filter.tag, value, sizeof value) == STATUS_OK &&
           episode_filter_tag_is(&pass->rules.filter, value);
}

/* Adds the pieces of one episode, or the whole of one that cannot be read. */
static status add_episode(struct pass *pass, struct source_reader *reader,
                          const struct signature *signature, uint64_t i)
{
    struct selection *selection = pass->selection;
    struct err why = {0};
    status s = source_reader_read_logged(reader, i, &pass->episode, &why);
    if (s == STATUS_NO_MEMORY) {
        return err_set(pass->err, s, "%s", why.text);
    }
    if (s != STATUS_OK) {
        return add_unit(pass, (struct source_unit){.episode_i = i}, NULL);
    }
    s = episode_pieces_find(&pass->pieces, &pass->episode, signature, pass->rules.min_piece,
                            pass->err);
    /* An episode that is sound is used whole, however short it is. */
    struct episode_piece whole = {0, pass->episode.T};
    const bool cut = s == STATUS_OK && pass->pieces.bad_rows > 0;
    const struct episode_piece *items = cut ? pass->pieces.items : &whole;
    const uint32_t n = cut ? pass->pieces.n : 1;
    selection->episodes++;
    if (cut) {
        selection->cut++;
        selection->bad_rows += pass->pieces.bad_rows;
        selection->pieces += n;
        selection->n_short += pass->pieces.n_short;
        selection->lost += pass->pieces.lost;
    }
    const bool tagged = is_tagged(pass, reader, i);
    for (uint32_t p = 0; p < n && s == STATUS_OK; p++) {
        const struct episode_facts facts = facts_of(pass, signature, items[p], tagged);
        s = add_unit(pass, (struct source_unit){i, items[p].first, items[p].T}, &facts);
    }
    return s;
}

/* Tells how far the pass is. */
static void tell(struct pass *pass)
{
    const uint64_t now = clock_now_ns();
    pass->done++;
    if (pass->progress != NULL && now - pass->told_ns >= 1000000000) {
        pass->progress(pass->arg, pass->done, pass->all);
        pass->told_ns = now;
    }
}

/* Adds the episodes of one shard. One that cannot be opened keeps as many as are listed. */
static status add_shard(struct pass *pass, struct source *source, size_t shard_i)
{
    struct source_reader *reader;
    struct err why = {0};
    const uint64_t listed = source_shard(source, shard_i)->episodes;
    status s = source_reader_open(&reader, source, shard_i, &why);
    if (s == STATUS_NO_MEMORY) {
        return err_set(pass->err, s, "%s", why.text);
    }
    if (s != STATUS_OK) {
        s = STATUS_OK;
        for (uint64_t i = 0; (i < listed || i == 0) && s == STATUS_OK; i++) {
            s = add_unit(pass, (struct source_unit){.episode_i = i}, NULL);
        }
        return s;
    }
    const uint64_t n = source_reader_episodes(reader);
    for (uint64_t i = 0; (i < n || i < listed) && s == STATUS_OK; i++) {
        /* Episodes that are listed and not there. */
        s = i < n ? add_episode(pass, reader, source_logged_signature(source), i)
                  : add_unit(pass, (struct source_unit){.episode_i = i}, NULL);
        tell(pass);
    }
    source_reader_close(reader);
    return s;
}

/* ---- the decision ---- */

/* Leaves the units of one source that are kept, which are behind `at`, and hands them over. *fact
 * counts the facts on the way. */
static status hand_over(struct pass *pass, struct source *source, const uint64_t *n_units,
                        uint64_t *at, uint64_t *fact)
{
    const size_t n_shards = source_n_shards(source);
    uint64_t *firsts = mem_array(n_shards + 1, sizeof *firsts);
    uint64_t total = 0;
    for (size_t i = 0; i < n_shards; i++) {
        total += n_units[i];
    }
    struct source_unit *kept = mem_array(total + 1, sizeof *kept);
    if (firsts == NULL || kept == NULL) {
        mem_free(firsts);
        mem_free(kept);
        return err_set(pass->err, STATUS_NO_MEMORY, "selection of %" PRIu64 " episodes", total);
    }
    uint64_t n = 0;
    for (size_t i = 0; i < n_shards; i++) {
        firsts[i] = n;
        for (uint64_t j = 0; j < n_units[i]; j++) {
            const struct source_unit *unit = &pass->units[(*at)++];
            const bool readable = unit->T > 0;
            if (!readable || pass->facts[(*fact)++].reason == EPISODE_KEPT) {
                kept[n++] = *unit;
            }
        }
    }
    firsts[n_shards] = n;
    return source_take_units(source, kept, firsts, pass->err);
}

/* Applies the filter and hands the units to the sources. */
static status decide(struct pass *pass, struct source *const *sources, size_t n,
                     uint64_t *const *n_units)
{
    struct selection *selection = pass->selection;
    status s = episode_filter_apply(&pass->rules.filter, pass->facts, pass->n_facts, pass->err);
    selection->filtered = pass->n_facts;
    for (uint64_t i = 0; s == STATUS_OK && i < pass->n_facts; i++) {
        selection->by_reason[pass->facts[i].reason]++;
    }
    /* Nothing at all is left: a mistake in the rules, told at once. Bad episodes are told later. */
    if (s == STATUS_OK && selection->by_reason[EPISODE_KEPT] == 0 && pass->n == pass->n_facts) {
        return err_set(pass->err, STATUS_INVALID,
                       "%s: none of %" PRIu64 " episodes is left by the rules (%s)",
                       source_path(sources[0]), selection->episodes,
                       selection->rules.bytes != NULL ? selection->rules.bytes : "");
    }
    uint64_t at = 0;
    uint64_t fact = 0;
    for (size_t d = 0; d < n && s == STATUS_OK; d++) {
        s = hand_over(pass, sources[d], n_units[d], &at, &fact);
    }
    return s;
}

/* Reads all episodes and decides. n_units[d] gets an array with the number of units of each shard of
 * source d, for the caller to free. */
static status run(struct pass *pass, struct source *const *sources, size_t n, uint64_t **n_units)
{
    status s = STATUS_OK;
    for (size_t d = 0; d < n; d++) {
        pass->all += source_episodes(sources[d]);
    }
    for (size_t d = 0; d < n && s == STATUS_OK; d++) {
        const size_t n_shards = source_n_shards(sources[d]);
        source_set_rules(sources[d], &pass->rules);
        n_units[d] = mem_array(n_shards + 1, sizeof(**n_units));
        if (n_units[d] == NULL) {
            return err_set(pass->err, STATUS_NO_MEMORY, "selection");
        }
        for (size_t i = 0; i < n_shards && s == STATUS_OK; i++) {
            const uint64_t before = pass->n;
            s = add_shard(pass, sources[d], i);
            n_units[d][i] = pass->n - before;
        }
    }
    /* Later reads would count the same gaps again. */
    if (source_gaps(sources[0]) != NULL) {
        pass->selection->gaps = *source_gaps(sources[0]);
    }
    return s == STATUS_OK ? decide(pass, sources, n, n_units) : s;
}

status selection_make(struct selection *selection, struct source *const *sources, size_t n,
                      const struct episode_rules *rules, selection_progress progress, void *arg,
                      struct err *err)
{
    ASSERT(n >= 1);
    *selection = (struct selection){0};
    struct pass pass = {.selection = selection,
                        .rules = *rules,
                        .progress = progress,
                        .arg = arg,
                        .told_ns = clock_now_ns(),
                        .err = err};
    source_add_rules(sources[0], &pass.rules);
    episode_rules_write(&pass.rules, &selection->rules);
    if (episode_rules_use_all(&pass.rules)) {
        return STATUS_OK;
    }
    selection->active = true;
    const struct signature *signature = source_logged_signature(sources[0]);
    status s = episode_filter_reward(&pass.rules.filter, signature, &pass.reward, err);
    if (s != STATUS_OK) {
        return s;
    }
    episode_init(&pass.episode, signature_width(signature));
    uint64_t **n_units = mem_array(n, sizeof(*n_units));
    s = n_units != NULL ? run(&pass, sources, n, n_units)
                        : err_set(err, STATUS_NO_MEMORY, "selection");
    for (size_t d = 0; n_units != NULL && d < n; d++) {
        mem_free(n_units[d]);
    }
    mem_free(n_units);
    episode_pieces_fini(&pass.pieces);
    episode_fini(&pass.episode);
    mem_free(pass.units);
    mem_free(pass.facts);
    return s;
}

void selection_fini(struct selection *selection)
{
    text_fini(&selection->rules);
}

/* ---- telling ---- */

void selection_print(const struct selection *selection, FILE *out)
{
    if (selection->rules.size > 0) {
        fprintf(out, "rules: %s\n", selection->rules.bytes);
    }
    if (selection->cut > 0) {
        fprintf(out,
                "%" PRIu64 " of %" PRIu64 " episodes were cut around %" PRIu64
                " bad rows into %" PRIu64 " pieces; %" PRIu64 " pieces were too short, %" PRIu64
                " transitions are left out\n",
                selection->cut, selection->episodes, selection->bad_rows, selection->pieces,
                selection->n_short, selection->lost);
    }
    if (selection->by_reason[EPISODE_KEPT] == selection->filtered) {
        return;
    }
    fprintf(out, "%" PRIu64 " of %" PRIu64 " episodes are kept; left out:",
            selection->by_reason[EPISODE_KEPT], selection->filtered);
    const char *between = "";
    for (int i = EPISODE_KEPT + 1; i < EPISODE_REASONS; i++) {
        if (selection->by_reason[i] > 0) {
            fprintf(out, "%s %" PRIu64 " %s", between, selection->by_reason[i],
                    episode_filter_reason_text((enum episode_filter_reason)i));
            between = ",";
        }
    }
    fputc('\n', out);
}

cJSON *selection_json(const struct selection *selection)
{
    cJSON *json = cJSON_CreateObject();
    const struct {
        const char *key;
        uint64_t value;
    } counts[] = {{"episodes", selection->episodes},
                  {"bad_rows", selection->bad_rows},
                  {"cut", selection->cut},
                  {"pieces", selection->pieces},
                  {"short_pieces", selection->n_short},
                  {"lost_transitions", selection->lost},
                  {"kept", selection->by_reason[EPISODE_KEPT]}};
    bool good =
        cJSON_AddStringToObject(
            json, "rules", selection->rules.bytes != NULL ? selection->rules.bytes : "") != NULL;
    for (size_t i = 0; i < sizeof counts / sizeof counts[0]; i++) {
        good = good && cJSON_AddNumberToObject(json, counts[i].key, (double)counts[i].value);
    }
    cJSON *left_out = cJSON_AddObjectToObject(json, "left_out");
    for (int i = EPISODE_KEPT + 1; i < EPISODE_REASONS; i++) {
        if (selection->by_reason[i] > 0) {
            good = good && cJSON_AddNumberToObject(
                               left_out, episode_filter_reason_text((enum episode_filter_reason)i),
                               (double)selection->by_reason[i]) != NULL;
        }
    }
    if (!good || left_out == NULL) {
        cJSON_Delete(json);
        return NULL;
    }
    return json;
}
