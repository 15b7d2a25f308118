/* Finds options, groups and entries by name, and suggests the nearest name for a wrong one. */
#ifndef HINDCAST_BASE_CONFIG_LOOKUP_H
#define HINDCAST_BASE_CONFIG_LOOKUP_H

#include "common/base/config.h"

/* The section's option of this name, or NULL. An old name finds the option that replaces it and
 * sets *renamed. */
const struct config_option *config_find_option(const struct config_section *section,
                                               const char *name, bool *renamed);

/* Logs that `old_name` of `section` was used at `where` ("cheetah.yaml:3" or "--ahead"). */
void config_warn_renamed(const char *where, const struct config_section *section,
                         const char *old_name, const struct config_option *option);

/* The section's group of this name, or NULL; `size` bytes of `name` count. */
const struct config_group *config_find_group(const struct config_section *section, const char *name,
                                             size_t size);

/* Number of entries, and the i-th. */
size_t config_n_entries(const struct config_section *section, const struct config_group *group);
struct config_entry *config_entry_at(const struct config_section *section,
                                     const struct config_group *group, size_t i);

/* The entry of this name. A new one is added; *added tells which happened (may be NULL). INVALID: a
 * name that is empty, too long or has control characters, or more than max_entries. */
status config_entry_named(const struct config_section *section, const struct config_group *group,
                          const char *name, struct config_entry **entry, bool *added,
                          struct err *err) MUST_CHECK;

/* An entry seen as a section of its own, so that its options are parsed and printed like any
 * other's. `name` receives "section.group.entry" and must outlive the view. */
#define CONFIG_VIEW_NAME_SIZE 200
struct config_section config_entry_view(const struct config_section *section,
                                        const struct config_group *group,
                                        struct config_entry *entry,
                                        char name[CONFIG_VIEW_NAME_SIZE]);

/* Fills in what was not given for each entry. Once, after file and flags. */
void config_complete_entries(const struct config_section *section);

/* " (did you mean \"batch_snippets\"?)" for the nearest of names, or "" when none is near. */
void config_suggest(char *text, size_t size, const char *wrong, const char *const *names, size_t n);

/* The same, over the options and groups of one section. */
void config_suggest_option(char *text, size_t size, const char *wrong,
                           const struct config_section *section);

#endif
