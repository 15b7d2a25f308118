/* The formulas of the header, in dm_control's order of operations, so that rewards agree to the
 * last bit.
 *
 * A formula that is equal on paper but rounds differently is a bug here: logged rewards would
 * differ from those of dm_control. */
#include "common/environments/tolerance.h"

#include <math.h>

#include "common/base/status.h"

double tolerance(double x, const struct tolerance *shape)
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
