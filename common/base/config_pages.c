/* The pages that are made from the tables of options. Each is one text, printed at once. */
#include "common/base/config_pages.h"

#include <string.h>

#include "common/base/config_lookup.h"
#include "common/base/config_value.h"
#include "common/base/memory.h"

/* Help texts are wrapped at this column, indented by HELP_INDENT. */
#define HELP_WIDTH  100
#define HELP_INDENT 8

/* Ends with the help, which it empties; where memory failed there, the page has failed, too. */
static void add_help(struct text *out, struct text *help)
{
    out->failed = out->failed || help->failed;
    text_add_wrapped(out, help->bytes == NULL ? "" : help->bytes, HELP_INDENT, HELP_WIDTH);
    text_fini(help);
}

/* An option with its default, its help, what is expected and the unit. */
static void help_option(struct text *out, const struct config_option *option)
{
    char expected[256];
    config_expected(option, expected, sizeof expected);
    const bool unit = option->unit != NULL && option->unit[0] != '\0';
    struct text help = {0};
    text_format(&help, "%s (%s%s%s)", option->help, expected, unit ? "; " : "",
                unit ? option->unit : "");
    text_format(out, "  --%s=%s\n", option->name, option->default_text);
    add_help(out, &help);
}

/* Groups have no fixed entries: the form of their flags. */
static void help_group(struct text *out, const struct config_group *group)
{
    struct text help = {0};
    text_format(&help, "%s (OPTION is one of", group->help);
    for (size_t k = 0; k < group->n_options; k++) {
        text_format(&help, "%s %s", k == 0 ? "" : ",", group->options[k].name);
    }
    text_add(&help, ")");
    text_format(out, "  --%s.NAME.OPTION=VALUE\n", group->name);
    add_help(out, &help);
}

/* Ends with the text, which it empties. A page that cannot be made says so, in a comment of YAML. */
static void put(FILE *out, struct text *text)
{
    char *bytes = text_take(text, NULL);
    fputs(bytes == NULL ? "# out of memory\n" : bytes, out);
    mem_free(bytes);
}

void config_help(FILE *out, const struct config_section *sections, size_t n)
{
    struct text page = {0};
    /* Section by section, in the order of the tables. */
    for (size_t i = 0; i < n; i++) {
        text_format(&page, "\n%s:\n", sections[i].name);
        for (size_t j = 0; j < sections[i].n_options; j++) {
            help_option(&page, &sections[i].options[j]);
        }
        for (size_t j = 0; j < sections[i].n_groups; j++) {
            help_group(&page, &sections[i].groups[j]);
        }
    }
    put(out, &page);
}

static void print_help(const struct config_section *sections, size_t n, const char *program)
{
    printf(
        "%s\n\n"
        "  --config=FILE  the experiment's YAML file, shared by all processes; flags win over it\n"
        "  --sample       print such a file with every option of this process, and leave\n"
        "  --options      print a line for each option, for shell completion, and leave\n"
        "  --version      print the version, and leave\n"
        "  --help, -h     this page\n",
        program);
    config_help(stdout, sections, n);
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
    put(out, &text);
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

bool config_page(const struct config_section *sections, size_t n, const char *program,
                 const char *flag)
{
    /* False: this flag is none of the pages, and nothing was printed. */
    if (strcmp(flag, "--help") == 0 || strcmp(flag, "-h") == 0) {
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

void config_print(FILE *out, const struct config_section *sections, size_t n)
{
    put_sections(out, sections, n, false);
}

void config_print_text(struct text *out, const struct config_section *sections, size_t n)
{
    print_sections(out, sections, n, false);
}
