/* The film of a build without rendering: it says so. */
#include "common/render/film.h"

bool film_is_built_in(void)
{
    return false;
}

status film_open(struct film **film, const char *path, const struct environment *environment,
                 struct err *err)
{
    (void)film;
    (void)environment;
    return err_set(err, STATUS_UNIMPLEMENTED,
                   "%s: this build cannot render; it needs libegl-dev, libgif-dev and libpng-dev "
                   "when it is configured (HINDCAST_RENDERING)",
                   path);
}

status film_add(struct film *film, struct err *err)
{
    (void)film;
    return err_set(err, STATUS_UNIMPLEMENTED, "no rendering");
}

status film_close(struct film *film, struct err *err)
{
    (void)film;
    return err_set(err, STATUS_UNIMPLEMENTED, "no rendering");
}

void film_drop(struct film *film)
{
    (void)film;
}
