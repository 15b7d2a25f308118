/* Parses definitions line by line and expands the types in them, so that each leaf has one place.
 *
 *     TYPE NAME              float64 mass
 *     TYPE NAME DEFAULT      int32 limit 10           read like the line above
 *     TYPE NAME=VALUE        uint8 AUTO=1             a constant: not in the messages
 *
 * A type may be followed by [N], [] or [<=N], and string by <=N. A type without a package is one
 * of the package that uses it. */
#include "common/logs/messages/ros_definition.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"

#define SECTIONS_MAX 512u
#define NAME_SIZE    256u
#define ARRAY_MAX    (1u << 24) /* length of a fixed array */

/* A part of the text. */
struct span {
    const char *at;
    size_t size;
};

/* The definition of one type. */
struct section {
    char type[NAME_SIZE]; /* "package/Type" */
    struct span text;
};

struct parser {
    struct ros_definition *definition;
    struct message_fields *fields;
    struct section *sections; /* (n) the first one is the message itself */
    uint32_t n;
    struct err *err;
};

static const struct {
    const char *name;
    enum number_type type;
} numbers[] = {
    {"bool", NUMBER_BOOL},       {"byte", NUMBER_UINT8},    {"char", NUMBER_UINT8},
    {"int8", NUMBER_INT8},       {"uint8", NUMBER_UINT8},   {"int16", NUMBER_INT16},
    {"uint16", NUMBER_UINT16},   {"int32", NUMBER_INT32},   {"uint32", NUMBER_UINT32},
    {"int64", NUMBER_INT64},     {"uint64", NUMBER_UINT64}, {"float32", NUMBER_FLOAT32},
    {"float64", NUMBER_FLOAT64},
};

/* Types that every ROS 2 has, for recorders that leave them out of the file. */
static const struct {
    const char *type, *text;
} known_types[] = {
    {"builtin_interfaces/Time", "int32 sec\nuint32 nanosec"},
    {"builtin_interfaces/Duration", "int32 sec\nuint32 nanosec"},
};

void ros_definition_fini(struct ros_definition *definition)
{
    mem_free(definition->fields);
    *definition = (struct ros_definition){0};
}

/* ---- sections ---- */

/* Takes the next line, without its end. False at the end of the text. */
static bool next_line(struct span *text, struct span *line)
{
    if (text->size == 0) {
        return false;
    }
    const char *end = memchr(text->at, '\n', text->size);
    const size_t n = end == NULL ? text->size : (size_t)(end - text->at);
    *line = (struct span){text->at, n > 0 && text->at[n - 1] == '\r' ? n - 1 : n};
    text->at += end == NULL ? n : n + 1;
    text->size -= end == NULL ? n : n + 1;
    return true;
}

/* Writes a type as "package/Type", whether or not it has "/msg/" in the middle. */
static void short_type(const char *type, size_t n, char out[NAME_SIZE])
{
    snprintf(out, NAME_SIZE, "%.*s", (int)(n < NAME_SIZE ? n : NAME_SIZE - 1), type);
    char *middle = strstr(out, "/msg/");
    if (middle != NULL) {
        memmove(middle, middle + 4, strlen(middle + 4) + 1);
    }
}

/* Begins a section of this type. */
static status add_section(struct parser *p, const char *type, size_t n)
{
    if (p->n >= SECTIONS_MAX) {
        return err_set(p->err, STATUS_INVALID, "more than %u types in a definition", SECTIONS_MAX);
    }
    struct section *grown = mem_resize(p->sections, p->n + 1, sizeof *grown);
    if (grown == NULL) {
        return err_set(p->err, STATUS_NO_MEMORY, "definition");
    }
    p->sections = grown;
    p->sections[p->n] = (struct section){0};
    short_type(type, n, p->sections[p->n].type);
    p->n++;
    return STATUS_OK;
}

static bool is_separator(struct span line)
{
    size_t n = 0;
    while (n < line.size && line.at[n] == '=') {
        n++;
    }
    return n >= 3 && n == line.size;
}

/* Splits the text into the definitions of its types. */
static status split(struct parser *p, const char *type, struct span text)
{
    status s = add_section(p, type, strlen(type));
    struct span line;
    while (s == STATUS_OK && next_line(&text, &line)) {
        if (!is_separator(line)) {
            struct span *section = &p->sections[p->n - 1].text;
            section->at = section->at == NULL ? line.at : section->at;
            section->size = (size_t)(line.at + line.size - section->at);
            continue;
        }
        /* "MSG: std_msgs/Header"; "IDL: .." is another language. */
        if (!next_line(&text, &line) || line.size < 6 || memcmp(line.at, "MSG: ", 5) != 0) {
            return err_set(p->err, STATUS_INVALID,
                           "expected \"MSG: TYPE\" after a line of '=', not \"%.*s\"",
                           (int)(line.size < 60 ? line.size : 60), line.at);
        }
        size_t n = line.size - 5;
        while (n > 0 && isspace((unsigned char)line.at[5 + n - 1])) {
            n--;
        }
        s = add_section(p, line.at + 5, n);
    }
    return s;
}

static const struct section *section_named(const struct parser *p, const char *type)
{
    for (uint32_t i = 0; i < p->n; i++) {
        if (strcmp(p->sections[i].type, type) == 0) {
            return &p->sections[i];
        }
    }
    return NULL;
}

/* Finds the definition of a type that `user` names. Fills `found`. */
static bool resolve(const struct parser *p, const struct section *user, const char *type,
                    struct section *found)
{
    char full[NAME_SIZE];
    const struct section *section = NULL;
    if (strchr(type, '/') != NULL) {
        snprintf(full, sizeof full, "%s", type);
        section = section_named(p, full);
    } else {
        const char *end = strchr(user->type, '/');
        const int n = end == NULL ? 0 : (int)(end - user->type);
        snprintf(full, sizeof full, "%.*s/%.120s", n, user->type, type);
        section = section_named(p, full);
        if (section == NULL && strcmp(type, "Header") == 0) {
            section = section_named(p, "std_msgs/Header");
        }
    }
    if (section != NULL) {
        *found = *section;
        return true;
    }
    for (size_t i = 0; i < sizeof known_types / sizeof known_types[0]; i++) {
        if (strcmp(known_types[i].type, full) == 0) {
            snprintf(found->type, sizeof found->type, "%s", full);
            found->text = (struct span){known_types[i].text, strlen(known_types[i].text)};
            return true;
        }
    }
    return false;
}

/* ---- lines ---- */

/* Takes the next word, up to a space. */
static struct span next_word(struct span *line)
{
    while (line->size > 0 && isspace((unsigned char)line->at[0])) {
        line->at++;
        line->size--;
    }
    struct span word = {line->at, 0};
    while (word.size < line->size && !isspace((unsigned char)word.at[word.size])) {
        word.size++;
    }
    line->at += word.size;
    line->size -= word.size;
    return word;
}

/* Reads the shape behind a type: "", "[3]", "[]" or "[<=3]". Shortens `type` to what is before. */
static bool read_shape(struct span *type, struct ros_field *field)
{
    field->shape = ROS_ONE;
    const char *open = memchr(type->at, '[', type->size);
    if (open == NULL) {
        return true;
    }
    const size_t left = type->size - (size_t)(open - type->at);
    char inside[16] = "";
    if (left < 2 || left - 2 >= sizeof inside || open[left - 1] != ']') {
        return false;
    }
    memcpy(inside, open + 1, left - 2);
    type->size -= left;
    if (inside[0] == 0 || strncmp(inside, "<=", 2) == 0) {
        field->shape = ROS_SEQUENCE;
        return true;
    }
    char *end;
    const unsigned long n = strtoul(inside, &end, 10);
    field->shape = ROS_ARRAY;
    field->n = (uint32_t)n;
    return isdigit((unsigned char)inside[0]) && *end == 0 && n >= 1 && n <= ARRAY_MAX;
}

/* Appends a field. Returns its index, or 0 with the error set. */
static uint32_t add_field(struct parser *p, const struct ros_field *field)
{
    struct ros_definition *d = p->definition;
    if (d->n >= ROS_FIELDS_MAX) {
        (void)err_set(p->err, STATUS_INVALID, "more than %u fields", ROS_FIELDS_MAX);
        return 0;
    }
    if (d->n == d->capacity) {
        const uint32_t capacity = d->capacity == 0 ? 32 : 2 * d->capacity;
        struct ros_field *grown = mem_resize(d->fields, capacity, sizeof *grown);
        if (grown == NULL) {
            (void)err_set(p->err, STATUS_NO_MEMORY, "%u fields", capacity);
            return 0;
        }
        d->fields = grown;
        d->capacity = capacity;
    }
    d->fields[d->n] = *field;
    return d->n++;
}

/* Reads "TYPE NAME .." into `field` and `type` (of a message, else empty). Stores false in *is
 * where the line has no field: empty, a comment or a constant. */
static status read_line(struct parser *p, const struct section *section, struct span line,
                        struct ros_field *field, char type[NAME_SIZE], bool *is)
{
    *is = false;
    struct span word = next_word(&line);
    if (word.size == 0 || word.at[0] == '#') {
        return STATUS_OK;
    }
    const struct span whole = {word.at, word.size};
    struct span name = next_word(&line);
    size_t n = 0;
    while (n < name.size && (isalnum((unsigned char)name.at[n]) || name.at[n] == '_')) {
        n++;
    }
    /* "X=1", "X = 1" and "X =1" are constants. */
    const struct span rest = {name.at + n, name.size - n};
    const struct span after = rest.size > 0 ? rest : next_word(&line);
    if (n > 0 && after.size > 0 && after.at[0] == '=') {
        return STATUS_OK;
    }
    *field = (struct ros_field){.name = name.at, .name_size = (uint32_t)n};
    if (n == 0 || (rest.size > 0 && rest.at[0] != '#') || !read_shape(&word, field)) {
        return err_set(p->err, STATUS_INVALID, "%s: expected a type and a name, not \"%.*s %.*s\"",
                       section->type, (int)(whole.size < 60 ? whole.size : 60), whole.at,
                       (int)(name.size < 60 ? name.size : 60), name.at);
    }

    /* A number, a text with or without a bound, or another message. */
    *is = true;
    type[0] = 0;
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        if (strlen(numbers[i].name) == word.size &&
            memcmp(numbers[i].name, word.at, word.size) == 0) {
            field->type = numbers[i].type;
            return STATUS_OK;
        }
    }
    const char *bound = memchr(word.at, '<', word.size);
    const size_t size = bound == NULL ? word.size : (size_t)(bound - word.at);
    if (size == 6 && memcmp(word.at, "string", 6) == 0) {
        field->kind = ROS_TEXT;
        return STATUS_OK;
    }
    if (bound != NULL || (size == 7 && memcmp(word.at, "wstring", 7) == 0)) {
        return err_set(p->err, STATUS_INVALID, "%s: %.*s: %.*s is not supported", section->type,
                       (int)n, name.at, (int)(word.size < 60 ? word.size : 60), word.at);
    }
    field->kind = ROS_MESSAGE;
    short_type(word.at, word.size, type);
    return STATUS_OK;
}

/* ---- the tree ---- */

/* Joins two parts of a path. INVALID where it is longer than a column's name may be. */
static status join(struct parser *p, const char *prefix, const struct ros_field *field,
                   char path[RECORDING_NAME_SIZE])
{
    const int n = snprintf(path, RECORDING_NAME_SIZE, "%s%s%.*s", prefix, prefix[0] ? "/" : "",
                           (int)field->name_size, field->name);
    return n > 0 && (size_t)n < RECORDING_NAME_SIZE
               ? STATUS_OK
               : err_set(p->err, STATUS_INVALID, "%.60s..: the path of a field is too long",
                         prefix);
}

static status expand(struct parser *p, const struct section *section, uint32_t parent,
                     const char *prefix, uint32_t depth);

/* Adds the members of a message behind one another, so that they are found by first and number.
 * Members that are messages are expanded when all are there. */
static status add_members(struct parser *p, const struct section *section, uint32_t parent)
{
    struct span text = section->text, line;
    status s = STATUS_OK;
    while (s == STATUS_OK && next_line(&text, &line)) {
        struct ros_field field;
        char type[NAME_SIZE];
        bool is;
        s = read_line(p, section, line, &field, type, &is);
        if (s != STATUS_OK || !is) {
            continue;
        }
        const uint32_t at = add_field(p, &field);
        if (at == 0) {
            return p->err->code;
        }
        struct ros_field *to = &p->definition->fields[parent];
        to->first = to->n_members == 0 ? at : to->first;
        to->n_members++;
    }
    return s;
}

/* Gives a leaf its place among the fields of the topic, or expands a message in it. The line of the
 * definition is read once more for the type of the message. */
static status finish_member(struct parser *p, const struct section *section, uint32_t at,
                            const char *prefix, uint32_t depth)
{
    struct ros_field *field = &p->definition->fields[at];
    char path[RECORDING_NAME_SIZE];
    status s = join(p, prefix, field, path);
    if (s != STATUS_OK) {
        return s;
    }
    if (field->kind != ROS_MESSAGE) {
        return message_fields_add(p->fields, path, field->kind == ROS_TEXT, &field->leaf, p->err);
    }

    /* The line begins with the type and holds the name; both are in the section's text. */
    const char *from = field->name;
    while (from > section->text.at && from[-1] != '\n') {
        from--;
    }
    struct span line = {from, (size_t)(field->name + field->name_size - from)};
    struct ros_field again;
    char type[NAME_SIZE];
    bool is;
    struct section found;
    s = read_line(p, section, line, &again, type, &is);
    if (s == STATUS_OK && !resolve(p, section, type, &found)) {
        s = err_set(p->err, STATUS_INVALID, "%s: %s: the definition of %s is not in the file",
                    section->type, path, type);
    }
    return s == STATUS_OK ? expand(p, &found, at, path, depth + 1) : s;
}

/* Adds what is in a message, whose own field is `parent`. */
static status expand(struct parser *p, const struct section *section, uint32_t parent,
                     const char *prefix, uint32_t depth)
{
    if (depth > ROS_DEPTH_MAX) {
        return err_set(p->err, STATUS_INVALID, "%s: messages in messages, more than %u deep",
                       section->type, ROS_DEPTH_MAX);
    }
    status s = add_members(p, section, parent);
    const struct ros_field own = p->definition->fields[parent];
    for (uint32_t i = 0; s == STATUS_OK && i < own.n_members; i++) {
        s = finish_member(p, section, own.first + i, prefix, depth);
    }
    return s;
}

status ros_definition_parse(struct ros_definition *definition, const char *type, const char *text,
                            size_t size, struct message_fields *fields, struct err *err)
{
    struct err reason = {0};
    struct ros_definition made = {0};
    struct parser p = {.definition = &made, .fields = fields, .err = err != NULL ? err : &reason};
    status s = split(&p, type, (struct span){text, size});

    /* Index 0 is the message itself, so that a member never has it: add_field returns 0 for an
     * error. */
    if (s == STATUS_OK) {
        const struct ros_field root = {.kind = ROS_MESSAGE, .name = ""};
        p.err->code = STATUS_OK;
        (void)add_field(&p, &root);
        s = made.n == 1 ? STATUS_OK : p.err->code;
    }
    if (s == STATUS_OK) {
        const struct section whole = p.sections[0];
        s = expand(&p, &whole, 0, "", 0);
    }
    mem_free(p.sections);
    if (s != STATUS_OK) {
        ros_definition_fini(&made);
        return s;
    }
    *definition = made;
    return STATUS_OK;
}
