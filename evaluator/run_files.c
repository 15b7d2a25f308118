/* The file names of an evaluator, in one place.
 *
 * docs and tools know these names, so a change here is a change of the interface. */
#include "evaluator/run_files.h"

#include <stdio.h>

void run_files_init(struct run_files *files, const char *run_dir, int index)
{
    /* The first evaluator's files have no number. */
    char number[16] = "";
    if (index > 0) {
        snprintf(number, sizeof number, "-%d", index);
    }
    snprintf(files->history, sizeof files->history, "%s/evaluator%s.jsonl", run_dir, number);
    snprintf(files->policy, sizeof files->policy, "%s/policy%s.safetensors", run_dir, number);
    snprintf(files->policy_last, sizeof files->policy_last, "%s/policy_last%s.safetensors", run_dir,
             number);
    snprintf(files->curves, sizeof files->curves, "%s/tensorboard/evaluator%s", run_dir, number);
    snprintf(files->films, sizeof files->films, "%s/films", run_dir);
    snprintf(files->report, sizeof files->report, "%s/evaluation%s.json", run_dir, number);
}
