/* Every n-th state is drawn, and goes to the GIF and to the contact sheet. */
#include "common/render/film.h"

#include <errno.h>
#include <libgen.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/environments/environment_family.h"
#include "common/render/contact_sheet.h"
#include "common/render/gif_writer.h"
#include "common/render/renderer.h"

#define FRAME_S    0.04 /* at least; viewers slow down what is much faster */
#define SUFFIX     ".gif"
#define SUFFIX_PNG ".png"

struct film {
    char path[1024];
    double period_s; /* of a control step */
    uint64_t steps;  /* between two frames */
    uint64_t n_added, n_frames;
    struct renderer *renderer;
    struct gif_writer *gif;
    struct contact_sheet *sheet;
    uint8_t *pixels; /* (FILM_HEIGHT, FILM_WIDTH, 3) */
};

bool film_is_built_in(void)
{
    return true;
}

static status check_path(const char *path, struct err *err)
{
    const size_t length = strlen(path);
    if (length <= strlen(SUFFIX) || strcmp(path + length - strlen(SUFFIX), SUFFIX) != 0 ||
        length >= sizeof((struct film *)NULL)->path) {
        return err_set(err, STATUS_INVALID, "%.200s: expected a file name that ends in " SUFFIX,
                       path);
    }
    /* Told now, and not when the episode is over. */
    char folder[sizeof((struct film *)NULL)->path];
    (void)snprintf(folder, sizeof folder, "%s", path);
    if (access(dirname(folder), W_OK) != 0) {
        return err_errno(err, errno, "write %s", path);
    }
    return STATUS_OK;
}

status film_open(struct film **film, const char *path, const struct environment *environment,
                 struct err *err)
{
    const struct simulation *simulation = environment_simulation(environment);
    status s = check_path(path, err);
    if (s != STATUS_OK) {
        return s;
    }
    if (simulation == NULL) {
        return err_set(err, STATUS_INVALID, "%s: %s is no simulation of MuJoCo: nothing to show",
                       path, environment_description(environment)->uri);
    }
    struct film *made = mem_new(sizeof *made);
    uint8_t *pixels = mem_array((size_t)FILM_HEIGHT * FILM_WIDTH, 3);
    if (made == NULL || pixels == NULL) {
        mem_free(made);
        mem_free(pixels);
        return err_set(err, STATUS_NO_MEMORY, "film: out of memory");
    }
    (void)snprintf(made->path, sizeof made->path, "%s", path);
    made->pixels = pixels;
    made->period_s = environment_signature(environment)->control_period_s;
    made->steps = (uint64_t)ceil(FRAME_S / made->period_s - 1e-6);
    s = renderer_open(&made->renderer, simulation, FILM_WIDTH, FILM_HEIGHT, err);
    s = s != STATUS_OK ? s : gif_writer_new(&made->gif, FILM_WIDTH, FILM_HEIGHT, err);
    s = s != STATUS_OK ? s
                       : contact_sheet_new(&made->sheet, FILM_WIDTH, FILM_HEIGHT, FILM_PICTURES,
                                           FILM_SHEET_WIDTH, err);
    if (s != STATUS_OK) {
        film_drop(made);
        return err_context(err, s, "film of %s", environment_description(environment)->uri);
    }
    *film = made;
    return STATUS_OK;
}

status film_add(struct film *film, struct err *err)
{
    if (film->n_added++ % film->steps != 0) {
        return STATUS_OK;
    }
    status s = renderer_draw(film->renderer, film->pixels, err);
    if (s != STATUS_OK) {
        return s;
    }
    contact_sheet_add(film->sheet, film->pixels);
    /* Rounded so that the sum of all frames stays right. */
    const double frame_s = (double)film->steps * film->period_s;
    const double shown = (double)film->n_frames++ * frame_s;
    const int hundredths = (int)(lround((shown + frame_s) * 100.0) - lround(shown * 100.0));
    return gif_writer_add(film->gif, film->pixels, hundredths, err);
}

status film_close(struct film *film, struct err *err)
{
    ASSERT(film->n_frames > 0);
    char sheet[sizeof film->path];
    const void *bytes;
    size_t size;
    (void)snprintf(sheet, sizeof sheet, "%.*s" SUFFIX_PNG,
                   (int)(strlen(film->path) - strlen(SUFFIX)), film->path);
    /* The GIF last: who finds a new one finds its sheet. */
    status s = contact_sheet_write(film->sheet, sheet, err);
    s = s != STATUS_OK ? s : gif_writer_finish(film->gif, &bytes, &size, err);
    if (s == STATUS_OK) {
        const struct file_part part = {bytes, size};
        s = file_replace(film->path, &part, 1, err);
    }
    film_drop(film);
    return s;
}

void film_drop(struct film *film)
{
    if (film != NULL) {
        renderer_close(film->renderer);
        gif_writer_free(film->gif);
        contact_sheet_free(film->sheet);
        mem_free(film->pixels);
        mem_free(film);
    }
}
