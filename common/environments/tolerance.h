/* The control suite's shaping function: 1 inside [low, high], falling off outside.
 *
 * With d = distance to the interval / margin and v = the value wanted at d = 1:
 *
 *     gaussian   exp(-(d sqrt(-2 ln v))^2 / 2)
 *     linear     1 - d (1 - v)          while that distance d (1 - v) < 1, then 0
 *     quadratic  1 - d^2 (1 - v)        while d sqrt(1 - v) < 1, then 0
 *     long_tail  1 / (d^2 (1/v - 1) + 1)
 *
 * margin 0: 0 outside. Pure functions of doubles. Source: dm_control.utils.rewards (Tassa et al.
 * 2018).
 *
 * In dm_control's order of operations, so that rewards agree to the last bit: a formula that is equal
 * on paper but rounds differently is a bug here. Inline, since most shapes are constants of a task,
 * whose roots and logarithms the compiler then computes once: small models step in a microsecond. */
#ifndef HINDCAST_ENVIRONMENTS_TOLERANCE_H
#define HINDCAST_ENVIRONMENTS_TOLERANCE_H

#include <math.h>

#include "common/base/status.h"

enum tolerance_shape {
    TOLERANCE_GAUSSIAN,
    TOLERANCE_LINEAR,
    TOLERANCE_QUADRATIC,
    TOLERANCE_LONG_TAIL,
};

struct tolerance {
    double low, high; /* high may be INFINITY */
    double margin;    /* >= 0, in units of x */
    enum tolerance_shape shape;
    double value_at_margin; /* v: 0 <= v < 1 for linear and quadratic, 0 < v < 1 for the others */
};

static inline double tolerance(double x, const struct tolerance *shape)
{
    if (shape->low <= x && x <= shape->high) {
        return 1.0;
    }
    /* Without a margin the value falls to 0 at once, and the division below would be by 0. */
    if (shape->margin == 0.0) {
        return 0.0;
    }
    /* Distance to the interval in units of the margin, and the value wanted at distance 1. */
    double d = (x < shape->low ? shape->low - x : x - shape->high) / shape->margin;
    double v = shape->value_at_margin;
    /* Each formula scales the distance so that its value at distance 1 is v. */
    double scaled;
    switch (shape->shape) {
    case TOLERANCE_GAUSSIAN:
        scaled = d * sqrt(-2.0 * log(v));
        return exp(-0.5 * (scaled * scaled));
    case TOLERANCE_LINEAR:
        scaled = d * (1.0 - v);
        return fabs(scaled) < 1.0 ? 1.0 - scaled : 0.0;
    case TOLERANCE_QUADRATIC:
        scaled = d * sqrt(1.0 - v);
        return fabs(scaled) < 1.0 ? 1.0 - scaled * scaled : 0.0;
    case TOLERANCE_LONG_TAIL:
        scaled = d * sqrt(1.0 / v - 1.0);
        return 1.0 / (scaled * scaled + 1.0);
    }
    UNREACHABLE("a shape of the list");
    return 0.0;
}

#endif
