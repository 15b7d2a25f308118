/* Pictures of a MuJoCo simulation, rendered without a screen: an OpenGL context by EGL on a graphics
 * card, or in software by Mesa, and MuJoCo's own renderer in it.
 *
 * The context belongs to the thread that opened the renderer, until it is closed; one renderer a thread
 * at a time. */
#ifndef HINDCAST_RENDER_RENDERER_H
#define HINDCAST_RENDER_RENDERER_H

#include <stdint.h>

#include "common/environments/simulation.h"

struct renderer;

/* For pictures of width x height. `simulation` is borrowed. UNAVAILABLE: no OpenGL driver; INTERNAL:
 * MuJoCo cannot render with the one there is. */
status renderer_open(struct renderer **renderer, const struct simulation *simulation, int width,
                     int height, struct err *err) MUST_CHECK;
void renderer_close(struct renderer *renderer); /* NULL is fine */

/* pixels(height, width, 3) <- the simulation's state, from the model's first camera, or from a free one
 * where it has none; rows from top to bottom. */
status renderer_draw(struct renderer *renderer, uint8_t *pixels, struct err *err) MUST_CHECK;

#endif
