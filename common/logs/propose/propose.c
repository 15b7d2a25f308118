/* Logs of two kinds have rules of their own (propose_topics.h, propose_exorl.h). For others a mapping
 * is proposed in three steps.
 *
 * The first gives each column of the first recording a role, by its name and shape. The second
 * reads the values of all recordings and collects findings: ranges of actions, and where rewards
 * and flags are set. The third decides from the findings how episodes end, in which rows rewards
 * are, and what `done` means. Decisions that the user should check are written to the notes. */
#include "common/logs/propose/propose.h"

#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/logs/propose/propose_columns.h"
#include "common/logs/propose/propose_decisions.h"
#include "common/logs/propose/propose_exorl.h"
#include "common/logs/propose/propose_findings.h"
#include "common/logs/propose/propose_topics.h"

bool propose_is_certain(const struct text *notes, char *guess, size_t size)
{
    const char *line = notes->bytes;
    while (line != NULL && strncmp(line, PROPOSE_CONFIRM, strlen(PROPOSE_CONFIRM)) != 0) {
        const char *end = strchr(line, '\n');
        line = end != NULL && end[1] != '\0' ? end + 1 : NULL;
    }
    if (line != NULL) {
        line += strlen(PROPOSE_CONFIRM);
        snprintf(guess, size, "%.*s", (int)strcspn(line, "\n"), line);
    }
    return line == NULL;
}

/* The three steps. On an error the caller releases the mapping, which may be filled in part. */
static status propose_in_steps(struct proposal *p)
{
    struct propose_findings found;
    status s = propose_columns(p);
    if (s == STATUS_OK) {
        s = propose_findings_collect(p, &found);
    }
    return s == STATUS_OK ? propose_decide(p, &found) : s;
}

status propose_mapping(struct logs *logs, struct mapping *mapping, struct text *notes,
                       struct err *err)
{
    /* Errors are extended on the way, which needs a place even if the caller wants none. */
    struct err reason = {0};
    struct proposal p = {
        .logs = logs, .mapping = mapping, .notes = notes, .err = err != NULL ? err : &reason};
    mapping_init(mapping);
    /* Topics with clocks of their own have rules of their own. */
    const bool topics = logs_format(logs) == &log_format_mcap;
    bool exorl = false;
    status s = topics ? propose_topics(logs, mapping, notes, p.err)
                      : propose_exorl(logs, &exorl, mapping, notes, p.err);
    if (s == STATUS_OK && !topics && !exorl) {
        s = propose_in_steps(&p);
    }
    if (s != STATUS_OK) {
        mapping_fini(mapping);
    }
    recording_fini(&p.recording);
    mem_free(p.roles);
    return s;
}
