/* Loading: defaults, then the file, then the flags. And the pages made from the tables: --help,
 * --sample, what is logged. */
#include "common/base/config.h"

#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "common/base/config_value.h"
#include "common/base/config_yaml.h"
#include "common/base/memory.h"

static void set_defaults(const struct config_section *section)
{
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
}

/* name(size) -> the section and option it means. "a.b" names the section; "b" alone must be in one
 * only. */
static status find_flag(const struct config_section *sections, size_t n, const char *name,
                        const struct config_section **section, const struct config_option **option,
                        struct err *err)
{
    const char *dot = strchr(name, '.');
    const char *key = dot == NULL ? name : dot + 1;
    size_t found = 0;
    char suggestion[128] = "";
    for (size_t i = 0; i < n; i++) {
        const bool here =
            dot == NULL || (strlen(sections[i].name) == (size_t)(dot - name) &&
                            strncmp(sections[i].name, name, (size_t)(dot - name)) == 0);
        for (size_t j = 0; here && j < sections[i].n_options; j++) {
            if (strcmp(sections[i].options[j].name, key) == 0) {
                *section = &sections[i];
                *option = &sections[i].options[j];
                found++;
            }
        }
        if (here && suggestion[0] == '\0') {
            config_suggest_option(suggestion, sizeof suggestion, key, &sections[i]);
        }
    }
    if (found == 0) {
        return err_set(err, STATUS_INVALID, "--%s: unknown flag%s, see --help", name, suggestion);
    }
    if (found > 1) {
        return err_set(err, STATUS_INVALID, "--%s: stands in %zu sections: say --SECTION.%s=..",
                       name, found, key);
    }
    return STATUS_OK;
}

static status apply_flag(const struct config_section *sections, size_t n, const char *flag,
                         struct err *err)
{
    char name[128];
    const char *equals = strchrnul(flag, '=');
    const size_t length = (size_t)(equals - flag);
    if (length <= 2 || length - 2 >= sizeof name) {
        return err_set(err, STATUS_INVALID, "%.64s: expected --name=value", flag);
    }
    memcpy(name, flag + 2, length - 2);
    name[length - 2] = '\0';

    const struct config_section *section = NULL;
    const struct config_option *option = NULL;
    status s = find_flag(sections, n, name, &section, &option, err);
    if (s != STATUS_OK) {
        return s;
    }
    if (*equals == '\0' && option->type != CONFIG_BOOL) {
        char expected[256];
        config_expected(option, expected, sizeof expected);
        return err_set(err, STATUS_INVALID, "--%s: no value: expected --%s=VALUE, %s", name, name,
                       expected);
    }
    /* A switch alone means on. */
    const char *value = *equals == '\0' ? "true" : equals + 1;
    s = config_value_parse(option, config_field(section, option), value, err);
    return s == STATUS_OK ? s : err_context(err, s, "--%s", name);
}

static void print_help(const struct config_section *sections, size_t n, const char *program)
{
    printf(
        "%s\n\n"
        "  --config=FILE  the experiment's YAML file, shared by all processes; flags win over it\n"
        "  --sample       print such a file with every option of this process, and leave\n"
        "  --version      print the version, and leave\n"
        "  --help         this page\n",
        program);
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
    }
}

/* The effective values; with comments where `comments`. */
static void print_sections(struct text *out, const struct config_section *sections, size_t n,
                           bool comments)
{
    for (size_t i = 0; i < n; i++) {
        text_format(out, "%s%s:\n", comments && i > 0 ? "\n" : "", sections[i].name);
        for (size_t j = 0; j < sections[i].n_options; j++) {
            const struct config_option *option = &sections[i].options[j];
            if (comments) {
                char expected[256];
                config_expected(option, expected, sizeof expected);
                const bool unit = option->unit != NULL && option->unit[0] != '\0';
                text_format(out, "  # %s (%s%s%s)\n", option->help, expected, unit ? "; " : "",
                            unit ? option->unit : "");
            }
            text_format(out, "  %s: ", option->name);
            config_value_print(out, option, config_field(&sections[i], option));
            text_add(out, "\n");
        }
    }
}

/* The same to a file. */
static void put_sections(FILE *out, const struct config_section *sections, size_t n, bool comments)
{
    struct text text = {0};
    print_sections(&text, sections, n, comments);
    char *bytes = text_take(&text, NULL);
    fputs(bytes == NULL ? "# out of memory\n" : bytes, out);
    mem_free(bytes);
}

/* --help, --sample, --version: printed, and nothing else is done. */
static bool print_page(const struct config_section *sections, size_t n, const char *program,
                       const char *flag)
{
    if (strcmp(flag, "--help") == 0) {
        print_help(sections, n, program);
    } else if (strcmp(flag, "--sample") == 0) {
        printf("# %s\n", program);
        put_sections(stdout, sections, n, true);
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
    for (size_t i = 0; i < n; i++) {
        set_defaults(&sections[i]);
    }
    const char *file = NULL;
    for (int i = 1; i < argc; i++) {
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
    status s = file == NULL ? STATUS_OK : config_yaml_read(sections, n, file, err);
    for (int i = 1; i < argc && s == STATUS_OK; i++) {
        if (strncmp(argv[i], "--config=", 9) != 0) {
            s = apply_flag(sections, n, argv[i], err);
        }
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
    struct text out = {0};
    config_print_text(&out, section, 1);
    size_t size = 0;
    char *text = text_take(&out, &size);
    ASSERT(text != NULL); /* a digest of less would pass for another configuration */
    const uint64_t digest = XXH64(text, size, 0);
    mem_free(text);
    return digest;
}
