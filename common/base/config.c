/* Loading: defaults, then the file, then the flags. The values themselves are parsed and printed in
 * config_value, the file is read in config_yaml, names are looked up in config_lookup, and the
 * pages that are made from the tables of options are in config_pages.
 *
 * The order of loading is the order of precedence: each source overwrites what the one before it
 * set. All values live in the structs of the callers, at the offsets that their tables give;
 * nothing is allocated that outlives a call. Everything runs at start, on one thread. */
#include "common/base/config.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "common/base/config_lookup.h"
#include "common/base/config_pages.h"
#include "common/base/config_value.h"
#include "common/base/config_yaml.h"
#include "common/base/memory.h"

/* Every field gets the default of its option; groups begin without entries. */
static void set_defaults(const struct config_section *section)
{
    /* Defaults are texts and pass the same parser as a user's values, so a default that is out of
     * range is found whenever the program starts. */
    for (size_t i = 0; i < section->n_options; i++) {
        const struct config_option *option = &section->options[i];
        struct err err = {0};
        const status s =
            config_value_parse(option, config_field(section, option), option->default_text, &err);
        if (s != STATUS_OK) {
            /* A table of ours is wrong: say which line of it before the assertion. */
            fprintf(stderr, "default of %s.%s: %s\n", section->name, option->name, err.text);
        }
        ASSERT(s == STATUS_OK);
    }
    /* Groups start with a count of 0; their entries are filled as they are added. */
    for (size_t i = 0; i < section->n_groups; i++) {
        char *count = (char *)section->values + section->groups[i].count_offset;
        memset(count, 0, sizeof(size_t));
    }
}

/* What a flag names: an option of a section, or of an entry of one of its groups. */
struct target {
    const struct config_section *section;
    const struct config_option *option;
    const struct config_group *group; /* NULL: an option of the section */
    /* The entry's name, where there is a group. */
    char entry[CONFIG_VIEW_NAME_SIZE];
    /* The flag used an old name of the option. */
    bool renamed;
};

/* "tables.expert.max_bytes": an option of an entry, whose name lies between the first dot and the
 * last. */
static bool find_in_group(const struct config_section *section, const char *name,
                          struct target *target)
{
    const char *first = strchr(name, '.');
    const char *last = strrchr(name, '.');
    /* An entry's option has two dots or more: with one dot there is no place for the entry's
     * name. */
    const struct config_group *group =
        first == NULL || first == last ? NULL
                                       : config_find_group(section, name, (size_t)(first - name));
    if (group == NULL) {
        return false;
    }
    /* The group's options, looked up as those of a section. */
    const struct config_section options = {.name = section->name,
                                           .options = group->options,
                                           .n_options = group->n_options,
                                           .renames = group->renames,
                                           .n_renames = group->n_renames};
    const struct config_option *option = config_find_option(&options, last + 1, &target->renamed);
    if (option == NULL) {
        return false;
    }
    /* Found: what lies between the dots is the entry's name. */
    target->section = section;
    target->option = option;
    target->group = group;
    snprintf(target->entry, sizeof target->entry, "%.*s", (int)(last - first - 1), first + 1);
    return true;
}

/* The part of a flag's name behind "section.", or the whole name where the section is not named. */
static const char *behind_section(const struct config_section *section, const char *name,
                                  bool *named)
{
    const size_t size = strlen(section->name);
    *named = strncmp(name, section->name, size) == 0 && name[size] == '.';
    return *named ? name + size + 1 : name;
}

/* Does this section have what the flag names? Then *target says what it is. */
static bool find_in_section(const struct config_section *section, const char *name,
                            struct target *target)
{
    bool named;
    const char *key = behind_section(section, name, &named);
    /* A dot that is left after the section's name belongs to GROUP.ENTRY.OPTION. */
    if (strchr(key, '.') != NULL) {
        return find_in_group(section, key, target);
    }
    bool renamed;
    const struct config_option *option = config_find_option(section, key, &renamed);
    if (option == NULL) {
        return false;
    }
    *target = (struct target){.section = section, .option = option, .renamed = renamed};
    return true;
}

/* Says that no section has it, with the nearest name of the section that was named. */
static status refuse_flag(const struct config_section *sections, size_t n, const char *name,
                          struct err *err)
{
    /* Names of options are compared with the last part alone. Where the flag names a section, only
     * that section may suggest something. */
    const char *dot = strrchr(name, '.');
    const char *key = dot == NULL ? name : dot + 1;
    char suggestion[128] = "";
    for (size_t i = 0; i < n && suggestion[0] == '\0'; i++) {
        bool named;
        (void)behind_section(&sections[i], name, &named);
        if (named || dot == NULL) {
            config_suggest_option(suggestion, sizeof suggestion, key, &sections[i]);
        }
    }
    return err_set(err, STATUS_INVALID, "--%s: unknown flag%s, see --help", name, suggestion);
}

/* The target of --name. "a.b" names the section; "b" alone must be in one only. */
static status find_flag(const struct config_section *sections, size_t n, const char *name,
                        struct target *target, struct err *err)
{
    /* All sections are asked: a name that two of them have is ambiguous. */
    size_t found = 0;
    for (size_t i = 0; i < n; i++) {
        struct target here = {0};
        if (find_in_section(&sections[i], name, &here)) {
            *target = here;
            found++;
        }
    }
    /* None: perhaps a typing error. Several: the section must be named. */
    if (found == 0) {
        return refuse_flag(sections, n, name, err);
    }
    if (found > 1) {
        return err_set(err, STATUS_INVALID,
                       "--%s: %zu sections have this option; write --SECTION.%s=..", name, found,
                       name);
    }
    return STATUS_OK;
}

/* Sets the option; an entry that is not there yet is added. */
static status set_target(const struct target *target, const char *value, struct err *err)
{
    /* An option of the section itself. */
    if (target->group == NULL) {
        return config_value_parse(target->option, config_field(target->section, target->option),
                                  value, err);
    }
    /* An option of an entry, which the flag may be the first to name. */
    struct config_entry *entry = NULL;
    status s = config_entry_named(target->section, target->group, target->entry, &entry, NULL, err);
    if (s != STATUS_OK) {
        return s;
    }
    s = config_value_parse(target->option, (char *)entry + target->option->offset, value, err);
    if (s == STATUS_OK) {
        entry->given |= UINT64_C(1) << (target->option - target->group->options);
    }
    return s;
}

/* One flag: find what it names, parse its value, set it. */
static status apply_flag(const struct config_section *sections, size_t n, const char *flag,
                         struct err *err)
{
    char name[CONFIG_VIEW_NAME_SIZE + 64];
    /* "--name" or "--name=value". */
    const char *equals = strchrnul(flag, '=');
    const size_t length = (size_t)(equals - flag);
    if (length <= 2 || length - 2 >= sizeof name) {
        return err_set(err, STATUS_INVALID, "%.64s: expected --name=value", flag);
    }
    /* The name between "--" and "=". */
    memcpy(name, flag + 2, length - 2);
    name[length - 2] = '\0';

    struct target target;
    status s = find_flag(sections, n, name, &target, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* An old name still works, with a warning that tells the new one. */
    if (target.renamed) {
        char where[sizeof name + 2];
        snprintf(where, sizeof where, "--%s", name);
        const char *dot = strrchr(name, '.');
        config_warn_renamed(where, target.section, dot == NULL ? name : dot + 1, target.option);
    }
    /* Only a switch may stand without a value. */
    if (*equals == '\0' && target.option->type != CONFIG_BOOL) {
        char expected[256];
        config_expected(target.option, expected, sizeof expected);
        return err_set(err, STATUS_INVALID, "--%s: no value: expected --%s=VALUE, %s", name, name,
                       expected);
    }
    /* A switch alone means on. */
    s = set_target(&target, *equals == '\0' ? "true" : equals + 1, err);
    return s == STATUS_OK ? s : err_context(err, s, "--%s", name);
}

status config_load(const struct config_section *sections, size_t n, const char *program, int argc,
                   char **argv, bool *done, struct err *err)
{
    *done = false;
    /* Defaults first: they are what --sample shows. */
    for (size_t i = 0; i < n; i++) {
        set_defaults(&sections[i]);
    }
    /* First round over the flags: pages that end the program, and the name of the file. */
    const char *file = NULL;
    for (int i = 1; i < argc; i++) {
        /* These pages win over everything else on the command line, even over mistakes. */
        if (config_page(sections, n, program, argv[i])) {
            *done = true;
            return STATUS_OK;
        }
        if (strncmp(argv[i], "--", 2) != 0) {
            return err_set(err, STATUS_INVALID, "%.64s: expected --name=value", argv[i]);
        }
        if (strncmp(argv[i], "--config=", 9) == 0) {
            if (file != NULL) {
                return err_set(err, STATUS_INVALID, "--config: given twice");
            }
            file = argv[i] + 9;
        }
    }
    /* The file, then the flags over it, in order. */
    status s = file == NULL ? STATUS_OK : config_yaml_read(sections, n, file, err);
    for (int i = 1; i < argc && s == STATUS_OK; i++) {
        if (strncmp(argv[i], "--config=", 9) != 0) {
            s = apply_flag(sections, n, argv[i], err);
        }
    }
    /* Last, because entries inherit values of their section, which flags may have changed. */
    for (size_t i = 0; i < n && s == STATUS_OK; i++) {
        config_complete_entries(&sections[i]);
    }
    return s;
}

uint64_t config_digest(const struct config_section *section)
{
    /* The printed values are digested, not the structs, so padding does not count, nor does the
     * order of flags, nor where a value came from. */
    struct text out = {0};
    config_print_text(&out, section, 1);
    size_t size = 0;
    char *text = text_take(&out, &size);
    ASSERT(text != NULL); /* a digest of less would pass for another configuration */
    const uint64_t digest = XXH64(text, size, 0);
    mem_free(text);
    return digest;
}
