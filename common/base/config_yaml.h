/* The experiment file, read event by event. */
#ifndef HINDCAST_BASE_CONFIG_YAML_H
#define HINDCAST_BASE_CONFIG_YAML_H

#include "common/base/config.h"

#define CONFIG_FILE_MAX (1u << 20) /* bytes of an experiment file */

/* Sets the values that `path` gives to options of these sections. What it refuses is described in
 * config.h; values set before the fault stay set. */
status config_yaml_read(const struct config_section *sections, size_t n, const char *path,
                        struct err *err) MUST_CHECK;

/* " (did you mean \"batch_snippets\"?)" for the nearest of names, or "" when none is near. */
void config_suggest(char *text, size_t size, const char *wrong, const char *const *names, size_t n);

/* The same, over the options of one section. */
void config_suggest_option(char *text, size_t size, const char *wrong,
                           const struct config_section *section);

#endif
