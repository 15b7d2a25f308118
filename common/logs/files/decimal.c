/* The short way from digits to a double.
 *
 * A number is digits * 10^power. Where the digits are below 2^53 and the power within 10^22, both
 * are exact as doubles, so that one multiplication or division rounds once and correctly (Clinger,
 * "How to read floating point numbers accurately", 1990). That holds for nearly all numbers that
 * logs contain; the caller has strtod for the others. */
#include "common/logs/files/decimal.h"

#include <stdint.h>

#define DIGITS_MAX 19 /* decimal digits that fit 64 bits */
#define POWER_MAX  22 /* 10^22 is the largest power of ten that is exact as a double */

static const double powers[POWER_MAX + 1] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                             1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                             1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};

static bool is_digit(const char *at, const char *end)
{
    return at < end && *at >= '0' && *at <= '9';
}

/* Adds digits to *number, and counts them. */
static const char *read_digits(const char *at, const char *end, uint64_t *number, int *n)
{
    for (; is_digit(at, end); at++) {
        /* Overflows after DIGITS_MAX digits; the caller looks at the count. */
        *number = *number * 10 + (uint64_t)(*at - '0');
        *n += *n <= DIGITS_MAX;
    }
    return at;
}

/* Reads an exponent behind `e`. False where there is none, or one of more than four digits. */
static bool read_exponent(const char **at, const char *end, int *power)
{
    const char *from = *at;
    const bool negative = from < end && *from == '-';
    from += from < end && (*from == '-' || *from == '+');
    uint64_t exponent = 0;
    int n = 0;
    const char *after = read_digits(from, end, &exponent, &n);
    if (n < 1 || n > 4) {
        return false;
    }
    *power += negative ? -(int)exponent : (int)exponent;
    *at = after;
    return true;
}

bool decimal_read(const char *text, const char *end, double *value, const char **after)
{
    const bool negative = text < end && *text == '-';
    const char *at = text + (text < end && (*text == '-' || *text == '+'));
    /* All digits make one whole number; those behind the point count in the power. */
    uint64_t digits = 0;
    int n = 0;
    int power = 0;
    at = read_digits(at, end, &digits, &n);
    if (at < end && *at == '.') {
        const char *point = ++at;
        at = read_digits(at, end, &digits, &n);
        power = at - point <= DIGITS_MAX ? -(int)(at - point) : -1000;
    }
    if (n < 1 || n > DIGITS_MAX) {
        return false;
    }
    if (at < end && (*at == 'e' || *at == 'E')) {
        at++;
        if (!read_exponent(&at, end, &power)) {
            return false;
        }
    }
    if (digits > 1ull << 53 || power < -POWER_MAX || power > POWER_MAX) {
        return false;
    }
    const double whole = (double)digits;
    const double size = power < 0 ? whole / powers[-power] : whole * powers[power];
    *value = negative ? -size : size;
    *after = at;
    return true;
}
