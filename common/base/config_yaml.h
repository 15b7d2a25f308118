/* The experiment file, read event by event. */
#ifndef HINDCAST_BASE_CONFIG_YAML_H
#define HINDCAST_BASE_CONFIG_YAML_H

#include "common/base/config.h"

#define CONFIG_FILE_MAX (1u << 20) /* bytes of an experiment file */

/* Sets the values that `path` gives to options of these sections. What it refuses is described in
 * config.h; values set before the fault stay set. */
status config_yaml_read(const struct config_section *sections, size_t n, const char *path,
                        struct err *err) MUST_CHECK;

#endif
