/* A small writer of SVG: shapes and texts with a few fixed styles, one after another. */
#ifndef HINDCAST_DEPLOY_LOCAL_SVG_H
#define HINDCAST_DEPLOY_LOCAL_SVG_H

#include "common/base/text.h"

/* What a shape or text is for; it decides the colour. */
enum svg_style { SVG_PLAIN, SVG_SOFT, SVG_STRONG, SVG_AXIS };
enum svg_anchor { SVG_START, SVG_MIDDLE, SVG_END };

/* Begins a picture of this size in pixels, on white, and ends it. */
void svg_begin(struct text *svg, double width, double height);
void svg_end(struct text *svg);

/* Coordinates are in pixels from the upper left corner; y is the base line of a text. */
void svg_rectangle(struct text *svg, double x, double y, double width, double height,
                   enum svg_style style);
void svg_line(struct text *svg, double x1, double y1, double x2, double y2, enum svg_style style);
/* Points are x, y, x, y, .. A path is a line through n of them, dashed or not, and a region is what
 * they enclose, through which one can see. Colours are those of CSS ("#0072b2"). */
void svg_path(struct text *svg, const double *points, size_t n, const char *colour, bool dashed);
void svg_region(struct text *svg, const double *points, size_t n, const char *colour);
void svg_text(struct text *svg, double x, double y, int size, enum svg_anchor anchor,
              const char *words);
/* The same in bold, for headings. */
void svg_heading(struct text *svg, double x, double y, const char *words);

#endif
