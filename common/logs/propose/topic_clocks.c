/* Summaries of the stamps, which the survey made, are enough: no message is read again. */
#include "common/logs/propose/topic_clocks.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/logs/propose/propose.h"

#define GAP_PERIODS    10   /* periods of a topic that are a pause */
#define OFFSET_MAX_S   1.0  /* between two clocks that tell the same time */
#define NICE_TOLERANCE 2e-3 /* relative error of a rounded control period */

static bool is_used(const struct topic *topic)
{
    return topic->role != TOPIC_IGNORED;
}

status topic_clocks_choose(const struct topic_survey *survey, struct mapping *mapping,
                           struct text *notes, struct err *err)
{
    bool all = true, near = true, any = false;
    for (size_t i = 0; i < survey->n_topics; i++) {
        const struct topic *topic = &survey->topics[i];
        if (!is_used(topic)) {
            continue;
        }
        const struct clock_summary *clock = clock_report_find(&survey->header, topic->name);
        all &= topic->header;
        any |= topic->header;
        near &= !topic->header || clock == NULL || clock->offsets == 0 ||
                fabs(clock->offset_sum / (double)clock->offsets) < OFFSET_MAX_S;
    }
    struct mapping_resample *resample = &mapping->resample;
    resample->clock = any && (near || all) ? RESAMPLE_HEADER : RESAMPLE_LOG;
    if (any && resample->clock == RESAMPLE_LOG) {
        text_add(notes, "the headers' stamps are of another clock than the recorder's, and some "
                        "topics have none: the times of recording are used\n");
    }
    for (size_t i = 0; i < survey->n_topics && resample->clock == RESAMPLE_HEADER; i++) {
        const struct topic *topic = &survey->topics[i];
        if (is_used(topic) && !topic->header) {
            struct resample_group *group = mapping_resample_group(resample, topic->name);
            if (group == NULL) {
                return err_set(err, STATUS_NO_MEMORY, "groups of the mapping");
            }
            group->clock = RESAMPLE_LOG;
        }
    }
    return STATUS_OK;
}

/* The summary of a topic's stamps by the clock that the mapping uses. */
static const struct clock_summary *clock_of(const struct topic_survey *survey,
                                            const struct mapping *mapping,
                                            const struct topic *topic)
{
    const bool header = mapping->resample.clock == RESAMPLE_HEADER && topic->header;
    return clock_report_find(header ? &survey->header : &survey->log, topic->name);
}

double topic_clocks_period(const struct topic_survey *survey, const struct mapping *mapping,
                           const struct topic *topic)
{
    const struct clock_summary *clock = clock_of(survey, mapping, topic);
    return clock != NULL && clock->regular > 0 ? clock->regular_sum / (double)clock->regular : 0;
}

/* A period that someone would have chosen: of a whole rate, or of tenths of a millisecond. */
static double nice_period(double period)
{
    const double of_rate = 1 / fmax(round(1 / period), 1);
    const double of_tenths = fmax(round(period * 1e4), 1) / 1e4;
    const double nice = fabs(of_rate - period) <= fabs(of_tenths - period) ? of_rate : of_tenths;
    if (fabs(nice - period) <= NICE_TOLERANCE * period) {
        return nice;
    }
    char rounded[32];
    snprintf(rounded, sizeof rounded, "%.4g", period);
    return strtod(rounded, NULL);
}

void topic_clocks_set_periods(const struct topic_survey *survey, struct mapping *mapping,
                              struct text *notes)
{
    double fastest = INFINITY, slowest = 0;
    const struct topic *of = NULL;
    for (size_t i = 0; i < survey->n_topics; i++) {
        const struct topic *topic = &survey->topics[i];
        const double period = topic_clocks_period(survey, mapping, topic);
        if (topic->role > TOPIC_ACTION || period <= 0) {
            continue;
        }
        slowest = fmax(slowest, period);
        if (topic->role == TOPIC_ACTION && period < fastest) {
            fastest = period;
            of = topic;
        }
    }
    if (of != NULL) {
        mapping->control_period_s = nice_period(fastest);
        text_format(notes,
                    "the control period is that of %s, whose mean without pauses is %.6g s\n",
                    of->name, fastest);
    } else {
        mapping->control_period_s = 0.05;
        text_add(notes, PROPOSE_CONFIRM "the control period is a guess: set it, in seconds\n");
    }
    char rounded[32];
    snprintf(rounded, sizeof rounded, "%.2g",
             GAP_PERIODS * fmax(slowest, mapping->control_period_s));
    mapping->resample.max_gap_s = strtod(rounded, NULL);
    text_format(notes, "an episode is split where a topic pauses for more than %s s (max_gap_s)\n",
                rounded);
}
