/* Reading, writing and applying filters.
 *
 * Conditions on single episodes come first, then `best`, then `every`: so `best` is the best part of
 * the episodes that fulfil the conditions, whatever the order in which they are written. */
#include "common/trajectory/episode_filter.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"

void episode_filter_init(struct episode_filter *filter)
{
    *filter = (struct episode_filter){.min_return = -HUGE_VAL,
                                      .max_return = HUGE_VAL,
                                      .max_length = UINT32_MAX,
                                      .best = 1,
                                      .every = 1};
}

/* The reward's name alone is no condition. */
bool episode_filter_keeps_all(const struct episode_filter *filter)
{
    return filter->min_return == -HUGE_VAL && filter->max_return == HUGE_VAL && !filter->success &&
           filter->min_length == 0 && filter->max_length == UINT32_MAX && filter->tag[0] == '\0' &&
           filter->best == 1 && filter->every == 1;
}

/* ---- reading ---- */

/* Reads a number within low..high. */
static status read_number(const char *condition, const char *text, double low, double high,
                          bool whole, double *number, struct err *err)
{
    char *end;
    errno = 0;
    const double value = strtod(text, &end);
    if (end == text || *end != '\0' || !(value >= low && value <= high) ||
        (whole && value != floor(value))) {
        return err_set(err, STATUS_INVALID, "filter: %.80s: expected a %snumber %g..%g", condition,
                       whole ? "whole " : "", low, high);
    }
    *number = value;
    return STATUS_OK;
}

/* Reads "NAME=VALUE" into the tag. */
static status read_tag(struct episode_filter *filter, const char *condition, const char *text,
                       struct err *err)
{
    const char *mark = strchr(text, '=');
    const size_t name = mark != NULL ? (size_t)(mark - text) : 0;
    if (name == 0 || name >= EPISODE_TAG_SIZE || strlen(mark + 1) >= EPISODE_TAG_SIZE ||
        strstr(text, EPISODE_FILTER_BETWEEN) != NULL) {
        return err_set(
            err, STATUS_INVALID,
            "filter: %.80s: expected tag=NAME=VALUE, of at most %u bytes each and without "
            "a comma before a space",
            condition, EPISODE_TAG_SIZE - 1);
    }
    memcpy(filter->tag, text, name);
    filter->tag[name] = '\0';
    memcpy(filter->tag_value, mark + 1, strlen(mark + 1) + 1);
    return STATUS_OK;
}

/* The part behind "KEY=", or NULL where the condition has another key. */
static const char *value_of(const char *condition, const char *key)
{
    const size_t n = strlen(key);
    return strncmp(condition, key, n) == 0 && condition[n] == '=' ? condition + n + 1 : NULL;
}

status episode_filter_add(struct episode_filter *filter, const char *condition, struct err *err)
{
    const char *value;
    double number = 0;
    status s = STATUS_OK;
    if (strcmp(condition, "success") == 0) {
        filter->success = true;
    } else if ((value = value_of(condition, "min_return")) != NULL) {
        s = read_number(condition, value, -1e300, 1e300, false, &filter->min_return, err);
    } else if ((value = value_of(condition, "max_return")) != NULL) {
        s = read_number(condition, value, -1e300, 1e300, false, &filter->max_return, err);
    } else if ((value = value_of(condition, "min_length")) != NULL) {
        s = read_number(condition, value, 1, EPISODE_TRANSITIONS_MAX, true, &number, err);
        filter->min_length = s == STATUS_OK ? (uint32_t)number : filter->min_length;
    } else if ((value = value_of(condition, "max_length")) != NULL) {
        s = read_number(condition, value, 1, EPISODE_TRANSITIONS_MAX, true, &number, err);
        filter->max_length = s == STATUS_OK ? (uint32_t)number : filter->max_length;
    } else if ((value = value_of(condition, "best")) != NULL) {
        s = read_number(condition, value, 1e-6, 1, false, &filter->best, err);
    } else if ((value = value_of(condition, "every")) != NULL) {
        s = read_number(condition, value, 1, 1e9, true, &number, err);
        filter->every = s == STATUS_OK ? (uint64_t)number : filter->every;
    } else if ((value = value_of(condition, "tag")) != NULL) {
        s = read_tag(filter, condition, value, err);
    } else if ((value = value_of(condition, "reward")) != NULL && value[0] != '\0' &&
               strlen(value) < sizeof filter->reward) {
        memcpy(filter->reward, value, strlen(value) + 1);
    } else {
        s = err_set(err, STATUS_INVALID,
                    "filter: \"%.80s\": expected success, min_return=, max_return=, min_length=, "
                    "max_length=, tag=NAME=VALUE, best=, every= or reward=",
                    condition);
    }
    if (s == STATUS_OK && filter->min_return > filter->max_return) {
        s = err_set(err, STATUS_INVALID, "filter: min_return is above max_return");
    }
    if (s == STATUS_OK && filter->min_length > filter->max_length) {
        s = err_set(err, STATUS_INVALID, "filter: min_length is above max_length");
    }
    return s;
}

/* ---- writing ---- */

/* A separator, unless the text is still as long as it was at first. */
static void add_key(struct text *text, size_t at_first, const char *key)
{
    text_format(text, "%s%s", text->size > at_first ? EPISODE_FILTER_BETWEEN : "", key);
}

void episode_filter_write(const struct episode_filter *filter, struct text *text)
{
    const size_t at_first = text->size;
    if (episode_filter_keeps_all(filter)) {
        return;
    }
    if (filter->reward[0] != '\0') {
        add_key(text, at_first, "reward=");
        text_add(text, filter->reward);
    }
    if (filter->success) {
        add_key(text, at_first, "success");
    }
    if (filter->min_return != -HUGE_VAL) {
        add_key(text, at_first, "min_return=");
        text_add_number(text, filter->min_return);
    }
    if (filter->max_return != HUGE_VAL) {
        add_key(text, at_first, "max_return=");
        text_add_number(text, filter->max_return);
    }
    if (filter->min_length != 0) {
        add_key(text, at_first, "min_length=");
        text_format(text, "%u", filter->min_length);
    }
    if (filter->max_length != UINT32_MAX) {
        add_key(text, at_first, "max_length=");
        text_format(text, "%u", filter->max_length);
    }
    if (filter->tag[0] != '\0') {
        add_key(text, at_first, "tag=");
        text_format(text, "%s=%s", filter->tag, filter->tag_value);
    }
    if (filter->best != 1) {
        add_key(text, at_first, "best=");
        text_add_number(text, filter->best);
    }
    if (filter->every != 1) {
        add_key(text, at_first, "every=");
        text_format(text, "%llu", (unsigned long long)filter->every);
    }
}

/* ---- applying ---- */

status episode_filter_reward(const struct episode_filter *filter, const struct signature *signature,
                             uint32_t *k, struct err *err)
{
    *k = 0;
    for (uint32_t i = 0; i < signature->K; i++) {
        if (strcmp(signature->rewards[i], filter->reward) == 0) {
            *k = i;
            return STATUS_OK;
        }
    }
    if (filter->reward[0] != '\0') {
        return err_set(err, STATUS_INVALID, "filter: reward=%s: the logs have no such reward",
                       filter->reward);
    }
    const bool needed = filter->success || filter->best != 1 || filter->min_return != -HUGE_VAL ||
                        filter->max_return != HUGE_VAL;
    return signature->K == 0 && needed
               ? err_set(err, STATUS_INVALID,
                         "filter: success, best and returns need a reward, and none is logged")
               : STATUS_OK;
}

bool episode_filter_tag_is(const struct episode_filter *filter, const char *value)
{
    char *end, *wanted_end;
    const double number = strtod(value, &end);
    const double wanted = strtod(filter->tag_value, &wanted_end);
    if (end != value && *end == '\0' && wanted_end != filter->tag_value && *wanted_end == '\0') {
        return number == wanted;
    }
    return strcmp(value, filter->tag_value) == 0;
}

/* The conditions on the episode alone. */
static enum episode_filter_reason judge(const struct episode_filter *filter,
                                        const struct episode_facts *facts)
{
    if (!(facts->episode_return >= filter->min_return &&
          facts->episode_return <= filter->max_return)) {
        return EPISODE_RETURN;
    }
    if (filter->success && !(facts->last_reward > 0)) {
        return EPISODE_FAILURE;
    }
    if (facts->T < filter->min_length || facts->T > filter->max_length) {
        return EPISODE_LENGTH;
    }
    return facts->tagged ? EPISODE_KEPT : EPISODE_TAG;
}

/* The highest return first; equal ones in the order of the logs. */
static int compare_returns(const void *a, const void *b)
{
    const struct episode_facts *x = *(const struct episode_facts *const *)a;
    const struct episode_facts *y = *(const struct episode_facts *const *)b;
    if (x->episode_return != y->episode_return) {
        return x->episode_return > y->episode_return ? -1 : 1;
    }
    return (x > y) - (x < y); /* both are in one array */
}

/* Leaves the best share of the episodes that are kept so far. */
static status keep_best(const struct episode_filter *filter, struct episode_facts *facts,
                        uint64_t n, struct err *err)
{
    struct episode_facts **kept = mem_array(n + 1, sizeof(*kept));
    if (kept == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "filter: %llu episodes", (unsigned long long)n);
    }
    uint64_t n_kept = 0;
    for (uint64_t i = 0; i < n; i++) {
        if (facts[i].reason == EPISODE_KEPT) {
            kept[n_kept++] = &facts[i];
        }
    }
    qsort(kept, n_kept, sizeof(*kept), compare_returns);
    /* Rounded up: the best tenth of 5 episodes is one episode. */
    const uint64_t most = (uint64_t)ceil(filter->best * (double)n_kept - 1e-9);
    for (uint64_t i = most; i < n_kept; i++) {
        kept[i]->reason = EPISODE_NOT_BEST;
    }
    mem_free(kept);
    return STATUS_OK;
}

status episode_filter_apply(const struct episode_filter *filter, struct episode_facts *facts,
                            uint64_t n, struct err *err)
{
    ASSERT(filter->every >= 1);
    for (uint64_t i = 0; i < n; i++) {
        facts[i].reason = judge(filter, &facts[i]);
    }
    const status s = filter->best < 1 ? keep_best(filter, facts, n, err) : STATUS_OK;
    uint64_t number = 0;
    for (uint64_t i = 0; s == STATUS_OK && i < n; i++) {
        if (facts[i].reason == EPISODE_KEPT && number++ % filter->every != 0) {
            facts[i].reason = EPISODE_NOT_NTH;
        }
    }
    return s;
}

const char *episode_filter_reason_text(enum episode_filter_reason reason)
{
    static const char *const texts[EPISODE_REASONS] = {[EPISODE_KEPT] = "kept",
                                                       [EPISODE_RETURN] = "with another return",
                                                       [EPISODE_FAILURE] = "without success",
                                                       [EPISODE_LENGTH] = "of another length",
                                                       [EPISODE_TAG] = "without the tag",
                                                       [EPISODE_NOT_BEST] = "not among the best",
                                                       [EPISODE_NOT_NTH] = "between every n-th"};
    ASSERT(reason < EPISODE_REASONS);
    return texts[reason];
}
