/* hindcast man: manual pages, made of what the programs say about themselves with --help. So they are
 * right for the binaries that print them; cmake --install keeps them in share/man/man1. */
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/text.h"
#include "deploy/local/commands.h"
#include "deploy/local/program_output.h"
#include "deploy/local/programs.h"

#define SELF "/proc/self/exe"

/* Text in which roff sees no request and no escape of its own. */
static void add_escaped(struct text *page, const char *from, size_t length)
{
    if (length > 0 && (from[0] == '.' || from[0] == '\'')) {
        text_add(page, "\\&");
    }
    for (size_t i = 0; i < length; i++) {
        if (from[i] == '\\') {
            text_add(page, "\\e");
        } else if (from[i] == '-') {
            text_add(page, "\\-");
        } else {
            text_format(page, "%c", from[i]);
        }
    }
}

/* NAME(1) with its first section. `about` is one line. */
static void add_head(struct text *page, const char *name, const char *about, size_t length)
{
    text_add(page, ".TH ");
    for (const char *c = name; *c != '\0'; c++) {
        text_format(page, "%c", *c >= 'a' && *c <= 'z' ? *c - 'a' + 'A' : *c);
    }
    text_format(page, " 1 \"\" \"hindcast %s\" Hindcast\n.SH NAME\n", HINDCAST_VERSION);
    add_escaped(page, name, strlen(name));
    text_add(page, " \\- ");
    add_escaped(page, about, length);
    text_add(page, "\n");
}

/* "  --name=default", or "  --name      what it does": the name in bold, the rest as its text. */
static void add_option(struct text *page, const char *line, size_t length)
{
    const char *end = line;
    while (end < line + length && strncmp(end, "  ", 2) != 0) {
        end++;
    }
    text_add(page, ".TP\n\\fB");
    add_escaped(page, line, (size_t)(end - line));
    text_add(page, "\\fR\n");
    while (end < line + length && *end == ' ') {
        end++;
    }
    if (end < line + length) {
        add_escaped(page, end, (size_t)(line + length - end));
        text_add(page, "\n");
    }
}

/* The page of a process: its help is a line about it, options, and sections of options ("learner:")
 * whose texts are indented further. */
static void add_process(struct text *page, const char *name, const char *help)
{
    const char *colon = strchr(help, ':');
    const char *line = strchr(help, '\n');
    if (colon == NULL || line == NULL || colon + 2 > line) {
        page->failed = true;
        return;
    }
    add_head(page, name, colon + 2, (size_t)(line - colon - 2));
    text_add(page, ".SH SYNOPSIS\n\\fB");
    add_escaped(page, name, strlen(name));
    text_add(page, "\\fR \\-\\-config=FILE [\\-\\-name=value ..]\n.SH OPTIONS\n");
    const char *next;
    for (line++; *line != '\0'; line = *next == '\0' ? next : next + 1) {
        next = line + strcspn(line, "\n");
        const size_t indent = strspn(line, " ");
        const size_t length = (size_t)(next - line);
        if (length == 0) {
            continue;
        }
        if (indent == 0) {
            text_add(page, ".SS ");
            add_escaped(page, line, line[length - 1] == ':' ? length - 1 : length);
            text_add(page, "\n");
        } else if (indent == 2) {
            add_option(page, line + 2, length - 2);
        } else {
            add_escaped(page, line + indent, length - indent);
            text_add(page, "\n");
        }
    }
    text_add(page, ".SH SEE ALSO\n\\fBhindcast\\fR(1)\n");
}

/* Lines as they are. */
static void add_verbatim(struct text *page, const char *lines)
{
    text_add(page, ".nf\n");
    const char *next;
    for (const char *line = lines; *line != '\0'; line = *next == '\0' ? next : next + 1) {
        next = line + strcspn(line, "\n");
        add_escaped(page, line, (size_t)(next - line));
        text_add(page, "\n");
    }
    text_add(page, ".fi\n");
}

/* The page of hindcast itself: the list of commands, then what each says about itself. */
static void add_front_end(struct text *page, const char *help)
{
    static const char about[] = "learns control policies from logged data";
    add_head(page, "hindcast", about, strlen(about));
    text_add(page, ".SH SYNOPSIS\n\\fBhindcast\\fR COMMAND ..\n.SH COMMANDS\n");
    /* Each command is a line that is indented by two. */
    for (const char *line = strchr(help, '\n'); line != NULL; line = strchr(line + 1, '\n')) {
        if (strspn(line + 1, " ") != 2) {
            continue;
        }
        char name[32];
        snprintf(name, sizeof name, "%.*s", (int)strcspn(line + 3, " \n"), line + 3);
        char *usage = program_output((const char *const[]){SELF, name, "--help", NULL});
        page->failed = page->failed || usage == NULL;
        text_format(page, ".SS %s\n", name);
        add_verbatim(page, usage == NULL ? "" : usage);
        mem_free(usage);
    }
    text_add(page, ".SH SEE ALSO\n");
    for (size_t i = 0; programs_get(i) != NULL; i++) {
        text_format(page, "%s\\fB", i == 0 ? "" : ",\n");
        add_escaped(page, programs_get(i)->name, strlen(programs_get(i)->name));
        text_add(page, "\\fR(1)");
    }
    text_add(page, "\n");
}

/* Prints the page of a program. NOT_FOUND: there is no such program. */
static status print_page(const char *name, struct err *err)
{
    const bool front_end = strcmp(name, "hindcast") == 0;
    char path[PATH_MAX] = SELF;
    status s = front_end ? STATUS_OK : programs_find(name, path, err);
    if (s != STATUS_OK) {
        return s;
    }
    char *help = program_output((const char *const[]){path, "--help", NULL});
    if (help == NULL) {
        return err_set(err, STATUS_IO, "%s --help fails", path);
    }
    struct text text = {0};
    if (front_end) {
        add_front_end(&text, help);
    } else {
        add_process(&text, name, help);
    }
    mem_free(help);
    char *page = text_take(&text, NULL);
    if (page == NULL) {
        return err_set(err, STATUS_IO, "%s: its help cannot be read", name);
    }
    fputs(page, stdout);
    mem_free(page);
    return fflush(stdout) == 0 ? STATUS_OK : err_set(err, STATUS_IO, "standard output");
}

int command_man(int argc, char **argv)
{
    static const char usage[] =
        "usage: hindcast man [PROGRAM]\n"
        "Prints the manual page of hindcast, or of one of its programs (hindcast-learner), as\n"
        "roff: hindcast man hindcast-learner | man -l -\n";
    const bool help = argc == 2 && strcmp(argv[1], "--help") == 0;
    if (argc > 2 || help || (argc == 2 && argv[1][0] == '-')) {
        fputs(usage, help ? stdout : stderr);
        return help ? 0 : 2;
    }
    struct err err;
    const status s = print_page(argc == 2 ? argv[1] : "hindcast", &err);
    if (s != STATUS_OK) {
        fprintf(stderr, "hindcast man: %s\n", err.text);
    }
    return s == STATUS_OK ? 0 : s == STATUS_NOT_FOUND ? 2 : 1;
}
