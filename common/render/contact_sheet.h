/* Some pictures of many, evenly spaced, beside each other in one PNG (libpng).
 *
 * How many will come is not known: of every k-th picture at most twice as many are kept as the sheet has,
 * then every second of these is dropped and k doubles. One thread. */
#ifndef HINDCAST_RENDER_CONTACT_SHEET_H
#define HINDCAST_RENDER_CONTACT_SHEET_H

#include <stdint.h>

#include "common/base/status.h"

struct contact_sheet;

/* Of at most n pictures (>= 2) of width x height, so many in a row. */
status contact_sheet_new(struct contact_sheet **sheet, int width, int height, int n, int in_a_row,
                         struct err *err) MUST_CHECK;
void contact_sheet_free(struct contact_sheet *sheet); /* NULL is fine */

/* Takes a copy of pixels(height, width, 3), or not. */
void contact_sheet_add(struct contact_sheet *sheet, const uint8_t *pixels);
/* The first and the last that are kept, and others between them; at least one was added. Atomic. */
status contact_sheet_write(const struct contact_sheet *sheet, const char *path,
                           struct err *err) MUST_CHECK;

#endif
