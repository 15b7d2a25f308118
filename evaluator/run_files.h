/* The files of an evaluator in RUN_DIR. */
#ifndef HINDCAST_EVALUATOR_RUN_FILES_H
#define HINDCAST_EVALUATOR_RUN_FILES_H

#include "common/base/config.h"

#define RUN_FILES_PATH_SIZE (CONFIG_TEXT_SIZE + 64)

struct run_files {
    char history[RUN_FILES_PATH_SIZE]; /* evaluator.jsonl */
    char policy[RUN_FILES_PATH_SIZE];  /* policy.safetensors: the best so far */
    char policy_last
        [RUN_FILES_PATH_SIZE];        /* policy_last.safetensors: exists once the run has ended */
    char report[RUN_FILES_PATH_SIZE]; /* evaluation.json: written last */
    char curves[RUN_FILES_PATH_SIZE]; /* tensorboard/evaluator, a folder */
    char films[RUN_FILES_PATH_SIZE];  /* films, a folder: of the dashboard */
};

/* With index > 0 the names are evaluator-1.jsonl, policy-1.safetensors, ..,
 * tensorboard/evaluator-1. */
void run_files_init(struct run_files *files, const char *run_dir, int index);

#endif
