/* One value of one option: from text into its field, and back. */
#ifndef HINDCAST_BASE_CONFIG_VALUE_H
#define HINDCAST_BASE_CONFIG_VALUE_H

#include "common/base/config.h"

/* Where the option's value lies. */
void *config_field(const struct config_section *section, const struct config_option *option);

/* Sets the field from `text` (a flag's, or a default). For lists: all items, separated by commas,
 * in brackets or not. INVALID: `"many": expected an integer 1..65536`; the field is then unchanged.
 */
status config_value_parse(const struct config_option *option, void *field, const char *text,
                          struct err *err) MUST_CHECK;

/* Empties a list; appends one item to it. INVALID beyond CONFIG_LIST_MAX, or as above. */
void config_list_clear(const struct config_option *option, void *field);
status config_list_add(const struct config_option *option, void *field, const char *text,
                       struct err *err) MUST_CHECK;
bool config_is_list(const struct config_option *option);

/* "an integer 1..65536", "true or false", "one of a, b, c". */
void config_expected(const struct config_option *option, char *text, size_t size);

/* Writes the field as YAML. */
void config_value_print(struct text *out, const struct config_option *option, const void *field);

/* Writes a text bare where YAML reads it back as the same text, else in double quotes. */
void config_text_print(struct text *out, const char *text);

/* Bytes of the option's field. */
size_t config_value_size(const struct config_option *option);

#endif
