/* A film of an episode: an animated GIF, and a contact sheet (PNG) of twelve pictures in order.
 *
 *     film_open(&film, "out/run.gif", environment, &err);
 *     environment_reset(..);  film_add(film, &err);
 *     each step: environment_step(..);  film_add(film, &err);
 *     film_close(film, &err);                    out/run.gif and out/run.png are there
 *
 * Rendered by MuJoCo without a screen (EGL), from the model's first camera. An optional part of the
 * build: without it film_open says which packages it needs. All calls on one thread, which holds the
 * OpenGL context meanwhile; the environment's state is only read. */
#ifndef HINDCAST_RENDER_FILM_H
#define HINDCAST_RENDER_FILM_H

#include <stdbool.h>

#include "common/environments/environment.h"

/* Pictures. A frame shows at least 40 ms of the episode: as many steps as that takes. */
#define FILM_WIDTH       320
#define FILM_HEIGHT      240
#define FILM_PICTURES    12 /* of a contact sheet, at most */
#define FILM_SHEET_WIDTH 4  /* pictures in a row */

/* Is this program able to? */
bool film_is_built_in(void);

struct film;

/* INVALID: the path does not end in ".gif", or the environment is not a simulation, such as a robot.
 * NOT_FOUND, DENIED, ..: nothing can be written there. UNIMPLEMENTED: rendering is not built in. UNAVAILABLE: no OpenGL driver; the text names the packages
 * that have one. `environment` is borrowed until film_close. */
status film_open(struct film **film, const char *path, const struct environment *environment,
                 struct err *err) MUST_CHECK;
/* Adds the state that the environment is in: after its reset, and after each step. */
status film_add(struct film *film, struct err *err) MUST_CHECK;
/* Writes both files, each aside and renamed, and frees the film, also on error. */
status film_close(struct film *film, struct err *err) MUST_CHECK;
/* Frees it without writing anything. NULL is fine. */
void film_drop(struct film *film);

#endif
