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
 * 2018). */
#ifndef HINDCAST_ENVIRONMENTS_TOLERANCE_H
#define HINDCAST_ENVIRONMENTS_TOLERANCE_H

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

double tolerance(double x, const struct tolerance *shape);

#endif
