/* What a family of environments provides. For its implementation only; users see environment.h.
 *
 * A family is one file and one line in families.c. Its own struct for an open environment begins
 * with a struct environment. environment.c checks arguments and the order of calls before an
 * operation runs, so an operation sees a canonical action in [-1, 1], a start that the description
 * allows, and an episode under way. */
#ifndef HINDCAST_ENVIRONMENTS_ENVIRONMENT_FAMILY_H
#define HINDCAST_ENVIRONMENTS_ENVIRONMENT_FAMILY_H

#include "common/environments/environment.h"

struct simulation;

struct environment_operations {
    status (*reset)(struct environment *environment, const struct environment_start *start,
                    float *observation, struct err *err);
    status (*step)(struct environment *environment, const float *action, float *observation,
                   float *rewards, float *discount, bool *last, struct err *err);
    void (*close)(struct environment *environment); /* frees it */
    /* As environment_script; NULL where the description does not say `scripted`. */
    void (*script)(const struct environment *environment, uint32_t task, const float *observation,
                   float *action);
    /* The simulation behind it; NULL: it is none of MuJoCo in this process. */
    const struct simulation *(*simulation)(const struct environment *environment);
};

struct environment {
    const struct environment_operations *operations;
    struct environment_description description;
    uint32_t O;     /* observation size, of the description's signature */
    bool under_way; /* between a successful reset and the last step or an error */
    double delay;   /* of the step's action, as environment_delay */
};

/* Of `n` physics steps of a control step, how many the last action still acts in. */
int environment_late_steps(const struct environment *environment, int n);

/* What is to be rendered of it, valid until environment_close; NULL: nothing. */
const struct simulation *environment_simulation(const struct environment *environment);

struct environment_family {
    /* A URI that begins with one of them belongs to this family: "cheetah-", "robot:"; then NULL.
     * No prefix may begin with a prefix of another family. */
    const char *const *prefixes;
    /* What can be opened, or patterns of it, for --help and messages; then NULL. Any thread. */
    const char *const *(*names)(void);
    /* As environment_describe and environment_open; `uri` has one of the prefixes. On OK describe
     * has filled everything; open has filled everything but `under_way`. */
    status (*describe)(struct environment_description *description, const char *uri,
                       struct err *err);
    status (*open)(struct environment **environment, const char *uri, struct err *err);
};

/* NOT_FOUND, with the names that all families know: the answer to a URI with a known prefix and an
 * unknown rest. */
status environment_unknown(const char *uri, struct err *err);

/* The families of this build, then NULL. */
extern const struct environment_family *const environment_families[];

/* Adds a family that this build does not have: a program's own, or a test's. Before any other
 * thread uses environments; at most ENVIRONMENT_FAMILIES_ADDED_MAX. Borrowed for ever. */
#define ENVIRONMENT_FAMILIES_ADDED_MAX 4
void environment_add_family(const struct environment_family *family);

#endif
