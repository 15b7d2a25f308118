/* Two tables: known names, and known prefixes of the whole name. */
#include "common/logs/propose/propose_names.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* Roles by name. All other columns of numbers are observations. */
static const struct {
    const char *name;
    enum propose_role role;
} known_names[] = {
    {"action", PROPOSE_ROLE_ACTION},
    {"actions", PROPOSE_ROLE_ACTION},
    {"act", PROPOSE_ROLE_ACTION},
    {"command", PROPOSE_ROLE_ACTION},
    {"cmd", PROPOSE_ROLE_ACTION},
    {"control", PROPOSE_ROLE_ACTION},
    {"ctrl", PROPOSE_ROLE_ACTION},
    {"tau", PROPOSE_ROLE_ACTION},
    {"u", PROPOSE_ROLE_ACTION},
    {"setpoint", PROPOSE_ROLE_ACTION},
    {"reward", PROPOSE_ROLE_REWARD},
    {"rewards", PROPOSE_ROLE_REWARD},
    {"terminated", PROPOSE_ROLE_TERMINATED},
    {"terminations", PROPOSE_ROLE_TERMINATED},
    {"terminal", PROPOSE_ROLE_TERMINATED},
    {"terminals", PROPOSE_ROLE_TERMINATED},
    {"is_terminal", PROPOSE_ROLE_TERMINATED},
    {"success", PROPOSE_ROLE_SUCCESS},
    {"is_success", PROPOSE_ROLE_SUCCESS},
    {"done", PROPOSE_ROLE_DONE},
    {"dones", PROPOSE_ROLE_DONE},
    {"timeout", PROPOSE_ROLE_TIMEOUT},
    {"timeouts", PROPOSE_ROLE_TIMEOUT},
    {"truncated", PROPOSE_ROLE_TIMEOUT},
    {"truncations", PROPOSE_ROLE_TIMEOUT},
    {"discount", PROPOSE_ROLE_DISCOUNT},
    {"discounts", PROPOSE_ROLE_DISCOUNT},
    {"episode", PROPOSE_ROLE_EPISODE},
    {"episode_index", PROPOSE_ROLE_EPISODE},
    {"episode_id", PROPOSE_ROLE_EPISODE},
    {"trajectory", PROPOSE_ROLE_EPISODE},
    {"traj_id", PROPOSE_ROLE_EPISODE},
    {"demo", PROPOSE_ROLE_EPISODE},
    {"t", PROPOSE_ROLE_TIME},
    {"time", PROPOSE_ROLE_TIME},
    {"time_s", PROPOSE_ROLE_TIME},
    {"timestamp", PROPOSE_ROLE_TIME},
    {"timestamps", PROPOSE_ROLE_TIME},
    {"stamp", PROPOSE_ROLE_TIME},
    {"index", PROPOSE_ROLE_IGNORED},
    {"frame_index", PROPOSE_ROLE_IGNORED},
    {"step", PROPOSE_ROLE_IGNORED},
    {"step_type", PROPOSE_ROLE_IGNORED},
    {"task_index", PROPOSE_ROLE_IGNORED},
};

/* Roles by prefix of the whole name. They take precedence. */
static const struct {
    const char *prefix;
    enum propose_role role;
} known_prefixes[] = {
    {"next_obs", PROPOSE_ROLE_NEXT_OBSERVATION},
    {"next.obs", PROPOSE_ROLE_NEXT_OBSERVATION},
    {"action", PROPOSE_ROLE_ACTION},
    {"infos/", PROPOSE_ROLE_IGNORED},
    {"metadata/", PROPOSE_ROLE_IGNORED},
};

/* What observations are called in the layouts that name them. */
static const char *const observation_names[] = {"obs", "observation", "observations", "state"};

/* Stores the last part of a name without a trailing number: "tau" for "obs/tau_0" and "q" for
 * "q[3]". */
static void stem_of(const char *name, char stem[RECORDING_NAME_SIZE])
{
    /* The last part starts after the last separator that is not at the very end. */
    const char *last = name;
    for (const char *at = name; *at != 0; at++) {
        if ((*at == '/' || *at == '.') && at[1] != 0) {
            last = at + 1;
        }
    }

    /* Cut off the digits and what joins them to the name, unless nothing would be left. */
    snprintf(stem, RECORDING_NAME_SIZE, "%s", last);
    size_t n = strlen(stem);
    while (n > 0 && (isdigit((unsigned char)stem[n - 1]) || stem[n - 1] == ']')) {
        n--;
    }
    while (n > 0 && n < strlen(stem) && (stem[n - 1] == '_' || stem[n - 1] == '[')) {
        n--;
    }
    if (n > 0) {
        stem[n] = 0;
    }
}

bool propose_names_observation(const char *name)
{
    for (size_t i = 0; i < sizeof observation_names / sizeof observation_names[0]; i++) {
        const size_t n = strlen(observation_names[i]);
        if (strncasecmp(name, observation_names[i], n) == 0 && strchr("/.", name[n]) != NULL) {
            return true; /* strchr finds the 0 at the end of a name, too */
        }
    }
    return false;
}

enum propose_role propose_names_role(const struct recording_column *column)
{
    char stem[RECORDING_NAME_SIZE];
    if (column->kind != RECORDING_NUMBERS) {
        return PROPOSE_ROLE_IGNORED;
    }
    /* A prefix is compared with the whole name, since "next_obs/action" is no action. */
    for (size_t i = 0; i < sizeof known_prefixes / sizeof known_prefixes[0]; i++) {
        const char *prefix = known_prefixes[i].prefix;
        if (strncasecmp(column->name, prefix, strlen(prefix)) == 0) {
            return known_prefixes[i].role;
        }
    }
    /* A name that nothing is known about is an observation: it is easier to delete a line than to
     * notice that one is missing. */
    stem_of(column->name, stem);
    for (size_t i = 0; i < sizeof known_names / sizeof known_names[0]; i++) {
        if (strcasecmp(stem, known_names[i].name) == 0) {
            return known_names[i].role;
        }
    }
    return PROPOSE_ROLE_OBSERVATION;
}

void propose_names_slice(const char *column, bool grouped, char name[SIGNATURE_NAME_SIZE])
{
    static const char *const prefixes[] = {"obs/", "observations/", "observation/", "observation."};
    char stem[RECORDING_NAME_SIZE];
    const char *from = column;
    /* The prefix says only that the column is an observation, which its place in the mapping says,
     * too. */
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++) {
        if (strncmp(column, prefixes[i], strlen(prefixes[i])) == 0) {
            from = column + strlen(prefixes[i]);
        }
    }

    if (grouped) {
        stem_of(from, stem);
        from = stem;
    }
    size_t n = 0;
    for (; from[n] != 0 && n + 1 < SIGNATURE_NAME_SIZE; n++) {
        const unsigned char c = (unsigned char)from[n];
        name[n] = (char)(isalnum(c) || strchr("_./-", c) != NULL ? c : '_');
    }
    name[n] = 0;
}

bool propose_names_same_slice(const struct recording_column *a, const struct recording_column *b)
{
    /* Only single values are joined: a column with several values is a slice already. */
    char stem_a[RECORDING_NAME_SIZE], stem_b[RECORDING_NAME_SIZE];
    stem_of(a->name, stem_a);
    stem_of(b->name, stem_b);
    const size_t n = strlen(a->name);
    return a->width == 1 && b->width == 1 && strcmp(stem_a, stem_b) == 0 && n > 0 &&
           (isdigit((unsigned char)a->name[n - 1]) || a->name[n - 1] == ']');
}
