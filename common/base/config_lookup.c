/* How names are found: options under their present or an old name, groups, their entries; and what
 * is suggested for a name that does not exist. The file (config_yaml) and the flags (config) share
 * it. Nothing here parses what a user wrote as a value.
 *
 * Tables of options do not change here. What changes are a group's entries and their count: both
 * lie in the caller's struct, where the table's offsets say. */
#define LOG_MODULE "config"
#include "common/base/config_lookup.h"

#include <stdio.h>
#include <string.h>

#include "common/base/config_value.h"
#include "common/base/log.h"

/* ---- Options ---- */

/* By its present name alone. */
static const struct config_option *option_named(const struct config_section *section,
                                                const char *name)
{
    for (size_t i = 0; i < section->n_options; i++) {
        if (strcmp(section->options[i].name, name) == 0) {
            return &section->options[i];
        }
    }
    return NULL;
}

const struct config_option *config_find_option(const struct config_section *section,
                                               const char *name, bool *renamed)
{
    *renamed = false;
    const struct config_option *option = option_named(section, name);
    /* Old names are asked only when no option has this name now. */
    for (size_t i = 0; option == NULL && i < section->n_renames; i++) {
        if (strcmp(section->renames[i].old_name, name) == 0) {
            /* An old name: the option under its present name. */
            option = option_named(section, section->renames[i].name);
            ASSERT(option != NULL); /* the table of renames names an option that does not exist */
            *renamed = true;
        }
    }
    return option;
}

void config_warn_renamed(const char *where, const struct config_section *section,
                         const char *old_name, const struct config_option *option)
{
    log_write_each(
        LOG_WARN, LOG_MODULE,
        "%s: the option %s.%s is now called %s; the next release will not accept the old name",
        where, section->name, old_name, option->name);
}

/* ---- Groups and their entries ---- */

const struct config_group *config_find_group(const struct config_section *section, const char *name,
                                             size_t size)
{
    for (size_t i = 0; i < section->n_groups; i++) {
        const struct config_group *group = &section->groups[i];
        if (strlen(group->name) == size && memcmp(group->name, name, size) == 0) {
            return group;
        }
    }
    return NULL;
}

/* Where the caller's struct keeps the number of this group's entries. */
static size_t *count_of(const struct config_section *section, const struct config_group *group)
{
    return (size_t *)(void *)((char *)section->values + group->count_offset);
}

size_t config_n_entries(const struct config_section *section, const struct config_group *group)
{
    return *count_of(section, group);
}

struct config_entry *config_entry_at(const struct config_section *section,
                                     const struct config_group *group, size_t i)
{
    ASSERT(i < group->max_entries);
    /* entry_size is the size of the caller's struct, which begins with a struct config_entry. */
    char *entries = (char *)section->values + group->entries_offset;
    return (struct config_entry *)(void *)(entries + i * group->entry_size);
}

/* Does the text hold a control character of ASCII? */
static bool has_control(const char *text)
{
    for (const unsigned char *at = (const unsigned char *)text; *at != '\0'; at++) {
        if (*at < 0x20 || *at == 0x7f) {
            return true;
        }
    }
    return false;
}

status config_entry_named(const struct config_section *section, const struct config_group *group,
                          const char *name, struct config_entry **entry, bool *added,
                          struct err *err)
{
    ASSERT(group->n_options <= 64 && group->entry_size >= sizeof(struct config_entry));
    /* Known already? */
    size_t *count = count_of(section, group);
    for (size_t i = 0; i < *count; i++) {
        struct config_entry *known = config_entry_at(section, group, i);
        if (strcmp(known->name, name) == 0) {
            *entry = known;
            if (added != NULL) {
                *added = false;
            }
            return STATUS_OK;
        }
    }
    /* A name is shown in errors and logs. */
    if (name[0] == '\0' || strlen(name) >= CONFIG_ENTRY_NAME_SIZE || has_control(name)) {
        return err_set(err, STATUS_INVALID,
                       "\"%.64s\": expected a name of 1 to %d bytes without control characters",
                       name, CONFIG_ENTRY_NAME_SIZE - 1);
    }
    /* The caller's array has a fixed size. */
    if (*count == group->max_entries) {
        return err_set(err, STATUS_INVALID, "\"%.64s\": there are %zu already, and no more can be",
                       name, *count);
    }
    /* The next free place of the array. */
    struct config_entry *made = config_entry_at(section, group, (*count)++);
    /* The entry's options stay unset until config_complete_entries, but for those that are
     * given. */
    memset(made, 0, group->entry_size);
    snprintf(made->name, sizeof made->name, "%s", name);
    *entry = made;
    if (added != NULL) {
        *added = true;
    }
    return STATUS_OK;
}

struct config_section config_entry_view(const struct config_section *section,
                                        const struct config_group *group,
                                        struct config_entry *entry,
                                        char name[CONFIG_VIEW_NAME_SIZE])
{
    /* Errors show an entry as SECTION.GROUP.ENTRY. */
    snprintf(name, CONFIG_VIEW_NAME_SIZE, "%.64s.%.64s.%s", section->name, group->name,
             entry->name);
    /* The entry takes the place of the section's struct, so that all functions for sections work on
     * it. */
    return (struct config_section){.name = name,
                                   .options = group->options,
                                   .n_options = group->n_options,
                                   .values = entry,
                                   .renames = group->renames,
                                   .n_renames = group->n_renames};
}

/* The value of an option that was not given for an entry. */
static void inherit(const struct config_section *section, const struct config_option *option,
                    void *field)
{
    /* The section's option of the same name is the default of all entries. */
    const struct config_option *source = option_named(section, option->name);
    if (source != NULL) {
        ASSERT(source->type == option->type);
        memcpy(field, config_field(section, source), config_value_size(option));
        return;
    }
    /* The section has no such option: what counts is the default in the group's own table. */
    const status s = config_value_parse(option, field, option->default_text, NULL);
    ASSERT(s == STATUS_OK);
}

void config_complete_entries(const struct config_section *section)
{
    for (size_t g = 0; g < section->n_groups; g++) {
        const struct config_group *group = &section->groups[g];
        for (size_t i = 0; i < config_n_entries(section, group); i++) {
            struct config_entry *entry = config_entry_at(section, group, i);
            for (size_t j = 0; j < group->n_options; j++) {
                /* A bit of `given` means that the user set this option, and the value stays. */
                if ((entry->given >> j & 1) == 0) {
                    inherit(section, &group->options[j], (char *)entry + group->options[j].offset);
                }
            }
        }
    }
}

/* ---- Suggestions ---- */

/* The number of characters to insert, remove or replace that makes `a` into `b`; SIZE_MAX where `b`
 * is too long for the row. */
static size_t distance(const char *a, const char *b)
{
    /* Levenshtein's, one row at a time; names are short. */
    size_t row[64];
    const size_t n = strlen(b);
    if (n + 1 > sizeof row / sizeof row[0]) {
        return SIZE_MAX;
    }
    /* From an empty text, j characters are to be inserted. */
    for (size_t j = 0; j <= n; j++) {
        row[j] = j;
    }
    for (size_t i = 1; a[i - 1] != '\0'; i++) {
        /* The value above and to the left, before it is overwritten. */
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            /* Equal characters cost nothing to replace; the other way is to insert or to remove
             * one. */
            const size_t replace = diagonal + (a[i - 1] != b[j - 1]);
            const size_t insert = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            diagonal = row[j];
            row[j] = replace < insert ? replace : insert;
        }
    }
    return row[n];
}

/* Keeps `name` in *best if it is nearer to `wrong` than the present one. */
static void keep_nearer(const char *wrong, const char *name, const char **best, size_t *least)
{
    const size_t d = distance(wrong, name);
    if (d < *least) {
        *least = d;
        *best = name;
    }
}

/* A name that differs in more than a third of its characters is no help. */
static void print_suggestion(char *text, size_t size, const char *wrong, const char *best,
                             size_t least)
{
    /* One wrong character is always allowed, however short the name is. */
    const size_t near = 1 + strlen(wrong) / 3;
    text[0] = '\0';
    if (best != NULL && least <= near) {
        snprintf(text, size, " (did you mean \"%s\"?)", best);
    }
}

void config_suggest(char *text, size_t size, const char *wrong, const char *const *names, size_t n)
{
    const char *best = NULL;
    size_t least = SIZE_MAX;
    for (size_t i = 0; i < n; i++) {
        keep_nearer(wrong, names[i], &best, &least);
    }
    print_suggestion(text, size, wrong, best, least);
}

void config_suggest_option(char *text, size_t size, const char *wrong,
                           const struct config_section *section)
{
    const char *best = NULL;
    size_t least = SIZE_MAX;
    for (size_t i = 0; i < section->n_options; i++) {
        keep_nearer(wrong, section->options[i].name, &best, &least);
    }
    for (size_t i = 0; i < section->n_groups; i++) {
        keep_nearer(wrong, section->groups[i].name, &best, &least);
    }
    print_suggestion(text, size, wrong, best, least);
}
