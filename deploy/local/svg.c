/* Elements with attributes instead of a style sheet, which some viewers ignore. */
#include "deploy/local/svg.h"

#include <stdio.h>

static const char *const colors[] = {[SVG_PLAIN] = "#3b6ea5",
                                     [SVG_SOFT] = "#b8cde3",
                                     [SVG_STRONG] = "#c0392b",
                                     [SVG_AXIS] = "#888888"};

void svg_begin(struct text *svg, double width, double height)
{
    text_format(svg,
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
                "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" "
                "viewBox=\"0 0 %.0f %.0f\" font-family=\"sans-serif\">\n"
                "<rect width=\"100%%\" height=\"100%%\" fill=\"white\"/>\n",
                width, height, width, height);
}

void svg_end(struct text *svg)
{
    text_add(svg, "</svg>\n");
}

void svg_rectangle(struct text *svg, double x, double y, double width, double height,
                   enum svg_style style)
{
    text_format(svg, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"%s\"/>\n",
                x, y, width > 0 ? width : 0, height > 0 ? height : 0, colors[style]);
}

void svg_line(struct text *svg, double x1, double y1, double x2, double y2, enum svg_style style)
{
    text_format(svg, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"%s\"/>\n", x1,
                y1, x2, y2, colors[style]);
}

static void add_points(struct text *svg, const char *element, const double *points, size_t n)
{
    text_format(svg, "<%s points=\"", element);
    for (size_t i = 0; i < n; i++) {
        text_format(svg, "%s%.1f,%.1f", i > 0 ? " " : "", points[2 * i], points[2 * i + 1]);
    }
}

void svg_path(struct text *svg, const double *points, size_t n, const char *colour, bool dashed)
{
    add_points(svg, "polyline", points, n);
    text_format(svg, "\" fill=\"none\" stroke=\"%s\" stroke-width=\"%s\"%s/>\n", colour,
                dashed ? "1.2" : "1.8", dashed ? " stroke-dasharray=\"6 4\"" : "");
}

void svg_region(struct text *svg, const double *points, size_t n, const char *colour)
{
    add_points(svg, "polygon", points, n);
    text_format(svg, "\" fill=\"%s\" fill-opacity=\"0.2\" stroke=\"none\"/>\n", colour);
}

/* Adds words with the characters replaced that mean something in XML; control characters, which XML
 * does not allow, become spaces. */
static void add_words(struct text *svg, const char *words)
{
    for (const char *at = words; *at != '\0'; at++) {
        switch (*at) {
        case '&':
            text_add(svg, "&amp;");
            break;
        case '<':
            text_add(svg, "&lt;");
            break;
        case '>':
            text_add(svg, "&gt;");
            break;
        default:
            text_add_bytes(svg, (unsigned char)*at < 0x20 ? " " : at, 1);
        }
    }
}

void svg_text(struct text *svg, double x, double y, int size, enum svg_anchor anchor,
              const char *words)
{
    static const char *const anchors[] = {"start", "middle", "end"};
    text_format(svg, "<text x=\"%.1f\" y=\"%.1f\" font-size=\"%d\" text-anchor=\"%s\">", x, y, size,
                anchors[anchor]);
    add_words(svg, words);
    text_add(svg, "</text>\n");
}

void svg_heading(struct text *svg, double x, double y, const char *words)
{
    text_format(svg, "<text x=\"%.1f\" y=\"%.1f\" font-size=\"15\" font-weight=\"bold\">", x, y);
    add_words(svg, words);
    text_add(svg, "</text>\n");
}
