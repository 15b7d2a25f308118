/* The clocks and the control period, as they follow from the stamps of topics. */
#ifndef HINDCAST_LOGS_TOPIC_CLOCKS_H
#define HINDCAST_LOGS_TOPIC_CLOCKS_H

#include "common/logs/mapping/mapping.h"
#include "common/logs/propose/topic_survey.h"

/* Chooses the clock of each topic in mapping->resample. Stamps in headers are when something was
 * measured, and are used where all of them tell the same time as the recorder, or where all topics
 * have them. */
status topic_clocks_choose(const struct topic_survey *survey, struct mapping *mapping,
                           struct text *notes, struct err *err) MUST_CHECK;
/* After that: sets the control period to that of the fastest topic of actions, and max_gap_s to many
 * periods of the slowest topic. */
void topic_clocks_set_periods(const struct topic_survey *survey, struct mapping *mapping,
                              struct text *notes);
/* Returns the period of a topic by the clock that was chosen, without pauses; 0: it has none. */
double topic_clocks_period(const struct topic_survey *survey, const struct mapping *mapping,
                           const struct topic *topic);

#endif
