/* Numbers as files store them, little-endian, and whole arrays of them as doubles and floats. */
#ifndef HINDCAST_BASE_ELEMENTS_H
#define HINDCAST_BASE_ELEMENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum element_kind {
    ELEMENT_NONE, /* not one of those below */
    ELEMENT_FLOAT,
    ELEMENT_SIGNED,
    ELEMENT_UNSIGNED, /* booleans too, as numbers of one byte */
};

struct element {
    enum element_kind kind;
    uint32_t size; /* bytes: 4, 8 for ELEMENT_FLOAT, else 1, 2, 4, 8 */
};

/* An element of this kind and size, or one of ELEMENT_NONE where there is no such thing. */
struct element element_make(enum element_kind kind, uint64_t size);

/* n elements at `bytes`, which need no alignment and must not overlap `values`. Integers beyond
 * 2^53 are rounded. `element` is not ELEMENT_NONE. */
void elements_to_doubles(double *values, const void *bytes, size_t n, struct element element);

/* The same for floats of 16 bits (IEEE 754). */
void elements_halves_to_doubles(double *values, const void *bytes, size_t n);

/* Puts an array (n, width) into the columns at .. at + width of rows (n, W) as
 * (float)(value * scale + offset). Returns whether every value is a finite number that a float can
 * hold, that is |value| <= 3e38; where one is not, the rows are still written. */
bool elements_scatter(float *rows, size_t W, const double *values, size_t n, uint32_t width,
                      double scale, double offset);

/* The same for floats that need no scale. */
bool elements_scatter_floats(float *rows, size_t W, const float *values, size_t n, uint32_t width);

/* Are all n values finite? */
bool elements_finite(const float *values, size_t n);

#endif
