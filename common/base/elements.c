/* Conversions of whole arrays, as plain loops for the vectoriser: one loop for each type, without a
 * decision inside.
 *
 * Bytes are copied into small blocks of their type first, since a file gives no alignment; the
 * compiler turns the copy into unaligned loads. */
#include "common/base/elements.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "common/base/status.h"

#define BLOCK 64 /* elements that are converted at a time */

struct element element_make(enum element_kind kind, uint64_t size)
{
    const bool whole = size == 1 || size == 2 || size == 4 || size == 8;
    const bool known = kind == ELEMENT_FLOAT ? size == 4 || size == 8 : whole;
    return known && kind != ELEMENT_NONE ? (struct element){kind, (uint32_t)size}
                                         : (struct element){ELEMENT_NONE, 0};
}

/* A function from n values of a type to doubles. */
#define CONVERSION(name, type)                                                                     \
    static void name(double *values, const unsigned char *bytes, size_t n)                         \
    {                                                                                              \
        type block[BLOCK];                                                                         \
        while (n >= BLOCK) {                                                                       \
            memcpy(block, bytes, sizeof block);                                                    \
            for (int i = 0; i < BLOCK; i++) {                                                      \
                values[i] = (double)block[i];                                                      \
            }                                                                                      \
            values += BLOCK;                                                                       \
            bytes += sizeof block;                                                                 \
            n -= BLOCK;                                                                            \
        }                                                                                          \
        for (size_t i = 0; i < n; i++) {                                                           \
            memcpy(block, bytes + i * sizeof block[0], sizeof block[0]);                           \
            values[i] = (double)block[0];                                                          \
        }                                                                                          \
    }

CONVERSION(from_float, float)
CONVERSION(from_int8, int8_t)
CONVERSION(from_int16, int16_t)
CONVERSION(from_int32, int32_t)
CONVERSION(from_int64, int64_t)
CONVERSION(from_uint8, uint8_t)
CONVERSION(from_uint16, uint16_t)
CONVERSION(from_uint32, uint32_t)
CONVERSION(from_uint64, uint64_t)

void elements_to_doubles(double *values, const void *bytes, size_t n, struct element element)
{
    typedef void (*conversion)(double *values, const unsigned char *bytes, size_t n);
    static const conversion of_signed[9] = {
        [1] = from_int8, [2] = from_int16, [4] = from_int32, [8] = from_int64};
    static const conversion of_unsigned[9] = {
        [1] = from_uint8, [2] = from_uint16, [4] = from_uint32, [8] = from_uint64};
    ASSERT(element.kind != ELEMENT_NONE && element.size <= 8);
    /* An empty array may have no memory at all. */
    if (n == 0) {
        return;
    }
    if (element.kind == ELEMENT_FLOAT && element.size == 8) {
        memcpy(values, bytes, n * sizeof *values);
    } else if (element.kind == ELEMENT_FLOAT) {
        from_float(values, bytes, n);
    } else {
        (element.kind == ELEMENT_SIGNED ? of_signed : of_unsigned)[element.size](values, bytes, n);
    }
}

/* Normal numbers are 1.fraction * 2^(exponent - 15), and those with exponent 0 are
 * 0.fraction * 2^-14. */
static double half_value(uint16_t bits)
{
    const int exponent = bits >> 10 & 31;
    const int fraction = bits & 1023;
    double value;
    if (exponent == 31) {
        value = fraction == 0 ? (double)INFINITY : (double)NAN;
    } else if (exponent == 0) {
        value = ldexp(fraction, -24);
    } else {
        value = ldexp(fraction + 1024, exponent - 25);
    }
    return bits >> 15 ? -value : value;
}

void elements_halves_to_doubles(double *values, const void *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint16_t bits;
        memcpy(&bits, (const unsigned char *)bytes + 2 * i, 2);
        values[i] = half_value(bits);
    }
}

bool elements_scatter(float *rows, size_t W, const double *values, size_t n, uint32_t width,
                      double scale, double offset)
{
    int good = 1;
    /* A single column is a loop over rows, several are a loop over the values of each row. */
    if (width == 1) {
        for (size_t t = 0; t < n; t++) {
            good &= fabs(values[t]) <= 3e38; /* false for NaN too */
            rows[t * W] = (float)(values[t] * scale + offset);
        }
        return good;
    }
    for (size_t t = 0; t < n; t++) {
        float *to = rows + t * W;
        const double *from = values + t * width;
        for (uint32_t j = 0; j < width; j++) {
            good &= fabs(from[j]) <= 3e38;
            to[j] = (float)(from[j] * scale + offset);
        }
    }
    return good;
}

bool elements_scatter_floats(float *rows, size_t W, const float *values, size_t n, uint32_t width)
{
    int good = 1;
    for (size_t i = 0; i < n * width; i++) {
        good &= fabsf(values[i]) <= 3e38f; /* false for NaN too */
    }
    for (size_t t = 0; t < n; t++) {
        memcpy(rows + t * W, values + t * width, width * sizeof *values);
    }
    return good;
}

bool elements_finite(const float *values, size_t n)
{
    int good = 1;
    for (size_t i = 0; i < n; i++) {
        good &= fabsf(values[i]) <= FLT_MAX; /* false for NaN too */
    }
    return good;
}
