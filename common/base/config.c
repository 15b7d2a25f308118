/* Loading: defaults, then the file, then the flags. And the pages made from the tables of options:
 * --help, --sample, what is logged at start. The values themselves are parsed and printed in
 * config_value, the file is read in config_yaml, names are looked up in config_lookup.
 *
 * The order of loading is the order of precedence: each source overwrites what the one before it
 * set. All values live in the structs of the callers, at the offsets that their tables give;
 * nothing is allocated that outlives a call. Everything runs at start, on one thread. */
#include "common/base/config.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "common/base/config_lookup.h"
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

/* Every option with its default, help, what is expected and the unit. */
static void print_help(const struct config_section *sections, size_t n, const char *program)
{
    printf(
        "%s\n\n"
        "  --config=FILE  the experiment's YAML file, shared by all processes; flags win over it\n"
        "  --sample       print such a file with every option of this process, and leave\n"
        "  --options      print a line for each option, for shell completion, and leave\n"
        "  --version      print the version, and leave\n"
        "  --help         this page\n",
        program);
    /* Section by section, in the order of the tables. */
    for (size_t i = 0; i < n; i++) {
        printf("\n%s:\n", sections[i].name);
        for (size_t j = 0; j < sections[i].n_options; j++) {
            const struct config_option *option = &sections[i].options[j];
            char expected[256];
            config_expected(option, expected, sizeof expected);
            const bool unit = option->unit != NULL && option->unit[0] != '\0';
            printf("  --%s=%s\n        %s (%s%s%s)\n", option->name, option->default_text,
                   option->help, expected, unit ? "; " : "", unit ? option->unit : "");
        }
        /* Groups have no fixed entries: show the form of their flags. */
        for (size_t j = 0; j < sections[i].n_groups; j++) {
            const struct config_group *group = &sections[i].groups[j];
            printf("  --%s.NAME.OPTION=VALUE\n        %s (OPTION is one of", group->name,
                   group->help);
            for (size_t k = 0; k < group->n_options; k++) {
                printf("%s %s", k == 0 ? "" : ",", group->options[k].name);
            }
            printf(")\n");
        }
    }
}

/* One `name: value` line for each option of the section. With `comments`, a line above it says what
 * the option means and which values it takes. */
static void print_options(struct text *out, const struct config_section *section,
                          const char *indent, bool comments)
{
    for (size_t j = 0; j < section->n_options; j++) {
        const struct config_option *option = &section->options[j];
        if (comments) {
            char expected[256];
            config_expected(option, expected, sizeof expected);
            const bool unit = option->unit != NULL && option->unit[0] != '\0';
            text_format(out, "%s# %s (%s%s%s)\n", indent, option->help, expected, unit ? "; " : "",
                        unit ? option->unit : "");
        }
        text_format(out, "%s%s: ", indent, option->name);
        config_value_print(out, option, config_field(section, option));
        text_add(out, "\n");
    }
}

/* A group with all its entries and all their options, as YAML. */
static void print_group(struct text *out, const struct config_section *section,
                        const struct config_group *group, bool comments)
{
    /* The options are named once, above all entries. */
    if (comments) {
        text_format(out, "  # %s (names with options below them:", group->help);
        for (size_t i = 0; i < group->n_options; i++) {
            text_format(out, "%s %s", i == 0 ? "" : ",", group->options[i].name);
        }
        text_add(out, ")\n");
    }
    /* {} where there is none, so that the page is valid YAML. */
    const size_t n = config_n_entries(section, group);
    text_format(out, "  %s:%s\n", group->name, n == 0 ? " {}" : "");
    /* Each entry is printed as if it were a section, two levels deeper. */
    for (size_t i = 0; i < n; i++) {
        char name[CONFIG_VIEW_NAME_SIZE];
        struct config_entry *entry = config_entry_at(section, group, i);
        const struct config_section view = config_entry_view(section, group, entry, name);
        text_add(out, "    ");
        config_text_print(out, entry->name);
        text_add(out, ":\n");
        print_options(out, &view, "      ", false);
    }
}

/* The effective values; with comments where `comments`. */
static void print_sections(struct text *out, const struct config_section *sections, size_t n,
                           bool comments)
{
    for (size_t i = 0; i < n; i++) {
        text_format(out, "%s%s:\n", comments && i > 0 ? "\n" : "", sections[i].name);
        print_options(out, &sections[i], "  ", comments);
        for (size_t j = 0; j < sections[i].n_groups; j++) {
            print_group(out, &sections[i], &sections[i].groups[j], comments);
        }
    }
}

/* The same to a file. */
static void put_sections(FILE *out, const struct config_section *sections, size_t n, bool comments)
{
    struct text text = {0};
    print_sections(&text, sections, n, comments);
    char *bytes = text_take(&text, NULL);
    /* A page that cannot be made says so, in a comment of YAML. */
    fputs(bytes == NULL ? "# out of memory\n" : bytes, out);
    mem_free(bytes);
}

/* One line for each option, for programs to read: section.name, type, choices ("a|b", or empty),
 * help, with tabs between them. */
static void print_table(const struct config_section *sections, size_t n)
{
    static const char *const types[] = {
        [CONFIG_BOOL] = "bool",  [CONFIG_INT] = "int",       [CONFIG_REAL] = "real",
        [CONFIG_TEXT] = "text",  [CONFIG_CHOICE] = "choice", [CONFIG_INTS] = "ints",
        [CONFIG_TEXTS] = "texts"};
    for (size_t i = 0; i < n; i++) {
        for (size_t j = 0; j < sections[i].n_options; j++) {
            const struct config_option *option = &sections[i].options[j];
            const char *choices = option->type == CONFIG_CHOICE ? option->choices : "";
            printf("%s.%s\t%s\t%s\t%s\n", sections[i].name, option->name, types[option->type],
                   choices, option->help);
        }
    }
}

/* --help, --sample, --options, --version: printed, and nothing else is done. */
static bool print_page(const struct config_section *sections, size_t n, const char *program,
                       const char *flag)
{
    /* False: this flag is none of the pages, and nothing was printed. */
    if (strcmp(flag, "--help") == 0) {
        print_help(sections, n, program);
    } else if (strcmp(flag, "--sample") == 0) {
        printf("# %s\n", program);
        put_sections(stdout, sections, n, true);
    } else if (strcmp(flag, "--options") == 0) {
        print_table(sections, n);
    } else if (strcmp(flag, "--version") == 0) {
        puts(HINDCAST_VERSION);
    } else {
        return false;
    }
    fflush(stdout);
    return true;
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
        if (print_page(sections, n, program, argv[i])) {
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

void config_print(FILE *out, const struct config_section *sections, size_t n)
{
    put_sections(out, sections, n, false);
}

void config_print_text(struct text *out, const struct config_section *sections, size_t n)
{
    print_sections(out, sections, n, false);
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
