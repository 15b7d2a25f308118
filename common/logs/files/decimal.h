/* Decimal numbers in text, without a terminating 0 and independent of the locale. */
#ifndef HINDCAST_LOGS_DECIMAL_H
#define HINDCAST_LOGS_DECIMAL_H

#include <stdbool.h>

/* Reads a number such as "-12.5e3" at `text`, which ends before `end`. On success stores its value,
 * which equals that of strtod bit for bit, and the position behind it. Returns false for whatever
 * needs more care: no number, more digits than a double has, "nan", "inf", hexadecimal numbers. */
bool decimal_read(const char *text, const char *end, double *value, const char **after);

#endif
