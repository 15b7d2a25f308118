/* Reads the experiment file with libyaml's event parser: each event carries its line, which errors
 * name.
 *
 * The functions follow the shape of the file: read_stream -> read_top (a section) -> read_section
 * -> read_entry (an option or a group) -> read_value, read_list, read_group. Each is called with
 * its first event as the current one and returns with its last event as the current one. Anchors,
 * aliases and tags are refused: nothing here needs them, and aliases can make a small file
 * enormous. */
#include "common/base/config_yaml.h"

#include <string.h>
#include <yaml.h>

#include "common/base/config_lookup.h"
#include "common/base/config_value.h"
#include "common/base/file.h"
#include "common/base/memory.h"

static const char *const roles[] = {CONFIG_ROLES};
#define N_ROLES (sizeof roles / sizeof roles[0])
/* Lists and mappings inside each other. libyaml takes time for each level at each token, so that
 * half a megabyte of '[' would take minutes. */
#define DEPTH_MAX 32

struct reader {
    yaml_parser_t parser;
    yaml_event_t event; /* the current one; owned, deleted by the next next_event() */
    const char *path;
    struct err *err;
    const struct config_section *sections;
    size_t n_sections;
    unsigned depth; /* open lists and mappings */
    /* The line in which each section began, 0: not yet. First the roles, then `sections`. */
    size_t section_lines[N_ROLES + 16];
};

/* libyaml counts lines from 0, people from 1. */
static size_t line_of(const struct reader *r)
{
    return r->event.start_mark.line + 1;
}

/* Counts the lists and mappings that are open after the current event, which must not be too
 * many. */
static status count_depth(struct reader *r)
{
    const yaml_event_type_t type = r->event.type;
    r->depth += type == YAML_MAPPING_START_EVENT || type == YAML_SEQUENCE_START_EVENT;
    r->depth -= type == YAML_MAPPING_END_EVENT || type == YAML_SEQUENCE_END_EVENT;
    return r->depth <= DEPTH_MAX
               ? STATUS_OK
               : err_set(r->err, STATUS_INVALID, "%s:%zu: nested deeper than %d levels", r->path,
                         line_of(r), DEPTH_MAX);
}

/* Moves on to the next event. INVALID names the line where the file is not YAML. */
static status next_event(struct reader *r)
{
    /* From here on, texts of the event before are gone. */
    yaml_event_delete(&r->event);
    if (yaml_parser_parse(&r->parser, &r->event) != 0) {
        return count_depth(r);
    }
    /* Lack of memory says nothing about the file. */
    if (r->parser.error == YAML_MEMORY_ERROR) {
        return err_set(r->err, STATUS_NO_MEMORY, "%s: out of memory", r->path);
    }
    return err_set(r->err, STATUS_INVALID, "%s:%zu: not valid YAML: %s%s%s", r->path,
                   r->parser.problem_mark.line + 1,
                   r->parser.problem == NULL ? "parse error" : r->parser.problem,
                   r->parser.context == NULL ? "" : " ",
                   r->parser.context == NULL ? "" : r->parser.context);
}

/* The text of the current event, which must be a scalar. Valid until the next event. */
static const char *scalar(const struct reader *r)
{
    return (const char *)r->event.data.scalar.value;
}

/* Is the current event a scalar without anchor, tag or 0 bytes? */
static bool is_simple_scalar(const struct reader *r)
{
    return r->event.type == YAML_SCALAR_EVENT && r->event.data.scalar.anchor == NULL &&
           r->event.data.scalar.tag == NULL && strlen(scalar(r)) == r->event.data.scalar.length;
}

/* Without quotes. A quoted number is a text. */
static bool is_plain(const struct reader *r)
{
    return r->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
}

/* What the current event is, for errors. */
static const char *event_name(const struct reader *r)
{
    switch (r->event.type) {
    case YAML_SEQUENCE_START_EVENT:
        return "a list";
    case YAML_MAPPING_START_EVENT:
        return "a mapping";
    case YAML_ALIAS_EVENT:
        return "an alias";
    case YAML_SCALAR_EVENT:
        return is_simple_scalar(r) ? "a single value" : "a value with an anchor or a tag";
    default:
        return "something else";
    }
}

/* The list whose '[' is the current event. Filled in place: a bad item leaves it cut, and the whole
 * load INVALID. */
static status read_list(struct reader *r, const struct config_section *section,
                        const struct config_option *option)
{
    void *field = config_field(section, option);
    /* The default goes; only what the file says counts. */
    config_list_clear(option, field);
    for (;;) {
        status s = next_event(r);
        if (s != STATUS_OK) {
            return s;
        }
        if (r->event.type == YAML_SEQUENCE_END_EVENT) {
            return STATUS_OK;
        }
        /* A quoted number is a text, here as for single values. */
        if (!is_simple_scalar(r) || (option->type == CONFIG_INTS && !is_plain(r))) {
            return err_set(r->err, STATUS_INVALID, "%s:%zu: %s.%s: an item is %s: expected %s",
                           r->path, line_of(r), section->name, option->name,
                           is_simple_scalar(r) ? "quoted" : event_name(r),
                           option->type == CONFIG_INTS ? "an integer" : "text");
        }
        s = config_list_add(option, field, scalar(r), r->err);
        if (s != STATUS_OK) {
            return err_context(r->err, s, "%s:%zu: %s.%s", r->path, line_of(r), section->name,
                               option->name);
        }
    }
}

/* The value behind an option's key: the current event. */
static status read_value(struct reader *r, const struct config_section *section,
                         const struct config_option *option)
{
    /* Lists are YAML lists, all others single values. */
    const bool list = config_is_list(option);
    if (list && r->event.type == YAML_SEQUENCE_START_EVENT) {
        return read_list(r, section, option);
    }
    /* Either a list where one value belongs, or one value where a list does. */
    char expected[256];
    config_expected(option, expected, sizeof expected);
    if (list || !is_simple_scalar(r)) {
        return err_set(r->err, STATUS_INVALID, "%s:%zu: %s.%s: %s: expected %s", r->path,
                       line_of(r), section->name, option->name, event_name(r), expected);
    }
    /* What stands in quotes is text, and only options of text can take it. */
    const bool text = option->type == CONFIG_TEXT || option->type == CONFIG_CHOICE;
    if (!text && !is_plain(r)) {
        return err_set(r->err, STATUS_INVALID, "%s:%zu: %s.%s: \"%.64s\" in quotes: expected %s",
                       r->path, line_of(r), section->name, option->name, scalar(r), expected);
    }
    /* A plain ~ or null is YAML's way to say nothing; for text that is the empty text. */
    const char *value = scalar(r);
    if (is_plain(r) && (strcmp(value, "~") == 0 || strcmp(value, "null") == 0)) {
        value = "";
    }
    const status s = config_value_parse(option, config_field(section, option), value, r->err);
    if (s != STATUS_OK) {
        return err_context(r->err, s, "%s:%zu: %s.%s", r->path, line_of(r), section->name,
                           option->name);
    }
    return STATUS_OK;
}

/* A group's `name: value`, a mapping of entries, is read by the function that reads its entries'
 * options. */
static status read_group(struct reader *r, const struct config_section *section,
                         const struct config_group *group);

/* The error for an option or group that `first_line` has set already. */
static status refuse_twice(struct reader *r, const struct config_section *section, const char *name,
                           size_t first_line)
{
    return err_set(r->err, STATUS_INVALID, "%s:%zu: %s.%s: already set in line %zu", r->path,
                   line_of(r), section->name, name, first_line);
}

/* The error for a key that is neither an option nor a group, with the nearest name. */
static status refuse_unknown(struct reader *r, const struct config_section *section)
{
    char suggestion[128];
    config_suggest_option(suggestion, sizeof suggestion, scalar(r), section);
    return err_set(r->err, STATUS_INVALID, "%s:%zu: %s.%.64s: unknown option%s", r->path,
                   line_of(r), section->name, scalar(r), suggestion);
}

/* Tells the new name of an option that was given under its old one. */
static void warn_renamed(struct reader *r, const struct config_section *section,
                         const struct config_option *option)
{
    char where[600];
    snprintf(where, sizeof where, "%.500s:%zu", r->path, line_of(r));
    config_warn_renamed(where, section, scalar(r), option);
}

/* One `key: value` of a section; the key is the current event. `lines`: where each option, then
 * each group, was set; 0: not yet. */
static status read_entry(struct reader *r, const struct config_section *section, size_t *lines)
{
    if (!is_simple_scalar(r)) {
        return err_set(r->err, STATUS_INVALID, "%s:%zu: %s: %s where an option's name was expected",
                       r->path, line_of(r), section->name, event_name(r));
    }
    /* The key: an option under its present or an old name, or a group. */
    bool renamed = false;
    const struct config_option *option = config_find_option(section, scalar(r), &renamed);
    const struct config_group *group =
        option == NULL ? config_find_group(section, scalar(r), strlen(scalar(r))) : NULL;
    if (option == NULL && group == NULL) {
        return refuse_unknown(r, section);
    }
    /* An option that is given twice is a mistake, even with the same value. */
    size_t *line = option != NULL ? &lines[option - section->options]
                                  : &lines[section->n_options + (size_t)(group - section->groups)];
    if (*line != 0) {
        return refuse_twice(r, section, option != NULL ? option->name : group->name, *line);
    }
    if (renamed) {
        warn_renamed(r, section, option);
    }
    /* From here on the key counts as set, whatever its value is. */
    *line = line_of(r);
    const status s = next_event(r);
    if (s != STATUS_OK) {
        return s;
    }
    return option != NULL ? read_value(r, section, option) : read_group(r, section, group);
}

/* A section's mapping, whose start is the current event. An option of an entry is marked as given
 * there (`entry`, NULL for a section). */
static status read_section(struct reader *r, const struct config_section *section,
                           struct config_entry *entry)
{
    size_t *lines = mem_array(section->n_options + section->n_groups, sizeof *lines);
    if (lines == NULL) {
        return err_set(r->err, STATUS_NO_MEMORY, "%s: out of memory", r->path);
    }
    /* One key with its value at a time, until the mapping ends. */
    status s = next_event(r);
    while (s == STATUS_OK && r->event.type != YAML_MAPPING_END_EVENT) {
        s = read_entry(r, section, lines);
        if (s == STATUS_OK) {
            s = next_event(r);
        }
    }
    /* Which options were given: the others take the section's values. */
    for (size_t i = 0; entry != NULL && i < section->n_options; i++) {
        entry->given |= (uint64_t)(lines[i] != 0) << i;
    }
    mem_free(lines);
    return s;
}

/* A plain scalar without characters: `learner:` with nothing below it. */
static bool is_nothing(const struct reader *r)
{
    return is_simple_scalar(r) && is_plain(r) && scalar(r)[0] == '\0';
}

/* Is the current event the start of a mapping without anchor and tag? */
static bool is_simple_mapping(const struct reader *r)
{
    return r->event.type == YAML_MAPPING_START_EVENT &&
           r->event.data.mapping_start.anchor == NULL && r->event.data.mapping_start.tag == NULL;
}

/* One `name: settings` of a group; the name is the current event. */
static status read_group_entry(struct reader *r, const struct config_section *section,
                               const struct config_group *group)
{
    if (!is_simple_scalar(r)) {
        return err_set(r->err, STATUS_INVALID, "%s:%zu: %s.%s: %s where a name was expected",
                       r->path, line_of(r), section->name, group->name, event_name(r));
    }
    /* The entry's name. */
    struct config_entry *entry = NULL;
    bool added = false;
    status s = config_entry_named(section, group, scalar(r), &entry, &added, r->err);
    if (s != STATUS_OK) {
        return err_context(r->err, s, "%s:%zu: %s.%s", r->path, line_of(r), section->name,
                           group->name);
    }
    /* The entry as a section of its own, named as errors show it. */
    char name[CONFIG_VIEW_NAME_SIZE];
    const struct config_section view = config_entry_view(section, group, entry, name);
    if (!added) {
        return err_set(r->err, STATUS_INVALID, "%s:%zu: %s: given twice", r->path, line_of(r),
                       name);
    }
    /* And its settings: none, or a mapping of options. */
    s = next_event(r);
    if (s != STATUS_OK || is_nothing(r)) {
        return s;
    }
    if (!is_simple_mapping(r)) {
        return err_set(r->err, STATUS_INVALID,
                       "%s:%zu: %s: %s: expected options indented below the name", r->path,
                       line_of(r), name, event_name(r));
    }
    return read_section(r, &view, entry);
}

/* All entries of a group. Nothing below the group's name means that it has none. */
static status read_group(struct reader *r, const struct config_section *section,
                         const struct config_group *group)
{
    if (is_nothing(r)) {
        return STATUS_OK;
    }
    if (!is_simple_mapping(r)) {
        return err_set(r->err, STATUS_INVALID,
                       "%s:%zu: %s.%s: %s: expected names with their options below them", r->path,
                       line_of(r), section->name, group->name, event_name(r));
    }
    /* One name with its options at a time, until the mapping ends. */
    status s = next_event(r);
    while (s == STATUS_OK && r->event.type != YAML_MAPPING_END_EVENT) {
        s = read_group_entry(r, section, group);
        if (s == STATUS_OK) {
            s = next_event(r);
        }
    }
    return s;
}

/* Another role's mapping: not looked into. */
static status skip_section(struct reader *r)
{
    /* The depth counts the mapping that has just begun: it is over when one less is open. */
    const unsigned outside = r->depth - 1;
    status s = STATUS_OK;
    while (s == STATUS_OK && r->depth > outside) {
        s = next_event(r);
    }
    return s;
}

/* The section of this name. *slot is its place in section_lines, SIZE_MAX where no role has this
 * name; NULL with a slot is a section of another process. */
static const struct config_section *find_section(const struct reader *r, const char *name,
                                                 size_t *slot)
{
    /* Ours first: a section may be one of the roles and also ours. */
    for (size_t i = 0; i < r->n_sections; i++) {
        if (strcmp(r->sections[i].name, name) == 0) {
            *slot = N_ROLES + i;
            return &r->sections[i];
        }
    }
    for (size_t i = 0; i < N_ROLES; i++) {
        if (strcmp(roles[i], name) == 0) {
            *slot = i;
            return NULL;
        }
    }
    *slot = SIZE_MAX;
    return NULL;
}

/* One `name: mapping` of the file; the name is the current event. */
static status read_top(struct reader *r)
{
    if (!is_simple_scalar(r)) {
        return err_set(r->err, STATUS_INVALID, "%s:%zu: %s where a section's name was expected",
                       r->path, line_of(r), event_name(r));
    }
    /* Which section is it: ours, another process's, or nobody's? */
    size_t slot;
    const struct config_section *section = find_section(r, scalar(r), &slot);
    if (slot == SIZE_MAX) {
        /* A typing error should not cost a look into the documentation. */
        char suggestion[128];
        config_suggest(suggestion, sizeof suggestion, scalar(r), roles, N_ROLES);
        return err_set(r->err, STATUS_INVALID, "%s:%zu: %.64s: unknown section%s", r->path,
                       line_of(r), scalar(r), suggestion);
    }
    /* Kept: the next event replaces the scalar. */
    char name[64];
    snprintf(name, sizeof name, "%s", scalar(r));
    if (r->section_lines[slot] != 0) {
        return err_set(r->err, STATUS_INVALID, "%s:%zu: %s: section already begun in line %zu",
                       r->path, line_of(r), name, r->section_lines[slot]);
    }
    r->section_lines[slot] = line_of(r);

    const status s = next_event(r);
    if (s != STATUS_OK) {
        return s;
    }
    if (is_nothing(r)) {
        return STATUS_OK; /* all defaults */
    }
    if (!is_simple_mapping(r)) {
        return err_set(r->err, STATUS_INVALID,
                       "%s:%zu: %s: expected a section, options indented below its name", r->path,
                       line_of(r), name);
    }
    /* Options of another process are not known here, so its section is only stepped over. */
    return section == NULL ? skip_section(r) : read_section(r, section, NULL);
}

/* From stream start to stream end: no document or one. */
static status read_stream(struct reader *r)
{
    status s = next_event(r); /* stream start */
    if (s == STATUS_OK) {
        s = next_event(r);
    }
    if (s != STATUS_OK || r->event.type == YAML_STREAM_END_EVENT) {
        return s;
    }
    s = next_event(r); /* what the document is */
    if (s != STATUS_OK) {
        return s;
    }
    /* An empty file is all defaults. */
    const bool empty = is_nothing(r);
    if (!empty && r->event.type != YAML_MAPPING_START_EVENT) {
        return err_set(r->err, STATUS_INVALID, "%s:%zu: %s: expected sections", r->path, line_of(r),
                       event_name(r));
    }
    if (!empty) {
        s = next_event(r);
    }
    /* The sections, until the mapping of the whole file ends. */
    while (!empty && s == STATUS_OK && r->event.type != YAML_MAPPING_END_EVENT) {
        s = read_top(r);
        if (s == STATUS_OK) {
            s = next_event(r);
        }
    }
    /* Document end, stream end. */
    for (int i = 0; i < 2 && s == STATUS_OK; i++) {
        s = next_event(r);
    }
    if (s == STATUS_OK && r->event.type != YAML_STREAM_END_EVENT) {
        return err_set(r->err, STATUS_INVALID, "%s:%zu: a second document: expected one", r->path,
                       line_of(r));
    }
    return s;
}

status config_yaml_read(const struct config_section *sections, size_t n, const char *path,
                        struct err *err)
{
    /* Bounded: an experiment file is a few kilobytes. */
    void *bytes = NULL;
    size_t size = 0;
    status s = file_read(path, CONFIG_FILE_MAX, &bytes, &size, err);
    if (s != STATUS_OK) {
        return s;
    }
    struct reader r = {.path = path, .err = err, .sections = sections, .n_sections = n};
    ASSERT(N_ROLES + n <= sizeof r.section_lines / sizeof r.section_lines[0]);
    if (yaml_parser_initialize(&r.parser) == 0) {
        mem_free(bytes);
        return err_set(err, STATUS_NO_MEMORY, "%s: out of memory", path);
    }
    /* The whole file is in memory: libyaml does no reading of its own. */
    yaml_parser_set_input_string(&r.parser, bytes, size);
    s = read_stream(&r);
    /* The last event is still the reader's, whether reading succeeded or not. */
    yaml_event_delete(&r.event);
    yaml_parser_delete(&r.parser);
    mem_free(bytes);
    return s;
}
