/* An animated GIF in memory, by giflib: pictures of 252 colours, dithered, of which each frame holds only
 * what has changed. Plays for ever. One thread. */
#ifndef HINDCAST_RENDER_GIF_WRITER_H
#define HINDCAST_RENDER_GIF_WRITER_H

#include <stdint.h>

#include "common/base/status.h"

struct gif_writer;

status gif_writer_new(struct gif_writer **writer, int width, int height,
                      struct err *err) MUST_CHECK;
void gif_writer_free(struct gif_writer *writer); /* NULL is fine */

/* Adds pixels(height, width, 3), shown for so many hundredths of a second. */
status gif_writer_add(struct gif_writer *writer, const uint8_t *pixels, int hundredths,
                      struct err *err) MUST_CHECK;
/* Ends the file. Its bytes are the writer's. Nothing may be added afterwards. */
status gif_writer_finish(struct gif_writer *writer, const void **bytes, size_t *size,
                         struct err *err) MUST_CHECK;

#endif
