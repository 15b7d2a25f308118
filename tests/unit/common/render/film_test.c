/* Films: what is refused, what is written, and that a GIF shows what was put into it. That the files of
 * whole episodes are good is checked by Pillow (tests/integration/test_video.py). */
#include "common/render/film.h"

#include <gif_lib.h>
#include <png.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/environments/environment_family.h"
#include "common/render/contact_sheet.h"
#include "common/render/gif_writer.h"
#include "common/render/renderer.h"
#include "tests/lib/check.h"
#include "tests/lib/scratch.h"
#include "tests/lib/toy_environment.h"

enum { W = 37, H = 21, FRAMES = 6, PIXELS = W * H };

static struct environment *open_environment(const char *uri)
{
    struct environment *environment;
    struct err err = {0};
    if (environment_open(&environment, uri, &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
    return environment;
}

/* ---- GIF ---- */

struct reader {
    const uint8_t *bytes;
    size_t size, at;
};

static int read_bytes(GifFileType *gif, GifByteType *to, int n)
{
    struct reader *reader = gif->UserData;
    const size_t left = reader->size - reader->at;
    const size_t count = (size_t)n < left ? (size_t)n : left;
    memcpy(to, reader->bytes + reader->at, count);
    reader->at += count;
    return (int)count;
}

/* A picture with a coloured square that moves; what is around it stands still. */
static void paint(uint8_t *pixels, int frame)
{
    for (int i = 0; i < PIXELS; i++) {
        const int x = i % W, y = i / W;
        const bool inside = x >= 4 * frame && x < 4 * frame + 8 && y >= 5 && y < 13;
        pixels[3 * i] = inside ? 250 : (uint8_t)(4 * x);
        pixels[3 * i + 1] = inside ? 20 : (uint8_t)(8 * y);
        pixels[3 * i + 2] = inside ? 40 : 100;
    }
}

/* shown(W * H) <- the frame on top of those before it. */
static void compose(const GifFileType *gif, int frame, int *shown)
{
    const SavedImage *image = &gif->SavedImages[frame];
    GraphicsControlBlock control;
    assert_int_equal(DGifSavedExtensionToGCB((GifFileType *)gif, frame, &control), GIF_OK);
    assert_int_equal(control.DelayTime, 4 + frame);
    for (int y = 0; y < image->ImageDesc.Height; y++) {
        for (int x = 0; x < image->ImageDesc.Width; x++) {
            const int colour = image->RasterBits[y * image->ImageDesc.Width + x];
            if (colour != control.TransparentColor) {
                shown[(y + image->ImageDesc.Top) * W + x + image->ImageDesc.Left] = colour;
            }
        }
    }
}

/* The mean over blocks of 4 x 4, where the dither evens out, is near what was painted; a single pixel is
 * off by at most one step of the palette. */
static void check_colours(const GifFileType *gif, const int *shown, const uint8_t *painted)
{
    double worst = 0.0;
    for (int i = 0; i < PIXELS; i++) {
        const GifColorType *colour = &gif->SColorMap->Colors[shown[i]];
        const int differences[] = {colour->Red - painted[3 * i], colour->Green - painted[3 * i + 1],
                                   colour->Blue - painted[3 * i + 2]};
        for (int c = 0; c < 3; c++) {
            worst = differences[c] > worst ? differences[c] : worst;
            worst = -differences[c] > worst ? -differences[c] : worst;
        }
    }
    assert_true(worst <= 51.0);
}

static void a_gif_shows_what_was_added(void **state)
{
    (void)state;
    static uint8_t pixels[3 * PIXELS];
    struct gif_writer *writer;
    struct err err = {0};
    const void *bytes;
    size_t size;
    int reason = 0, shown[PIXELS];
    assert_int_equal(gif_writer_new(&writer, W, H, &err), STATUS_OK);
    for (int frame = 0; frame < FRAMES; frame++) {
        paint(pixels,
              frame < FRAMES - 1 ? frame : FRAMES - 2); /* the last one is as the one before */
        assert_int_equal(gif_writer_add(writer, pixels, 4 + frame, &err), STATUS_OK);
    }
    assert_int_equal(gif_writer_finish(writer, &bytes, &size, &err), STATUS_OK);
    struct reader reader = {bytes, size, 0};
    GifFileType *gif = DGifOpen(&reader, read_bytes, &reason);
    assert_non_null(gif);
    assert_int_equal(DGifSlurp(gif), GIF_OK);
    assert_int_equal(gif->ImageCount, FRAMES);
    assert_int_equal(gif->SWidth, W);
    assert_int_equal(gif->SHeight, H);
    for (int frame = 0; frame < FRAMES; frame++) {
        compose(gif, frame, shown);
        paint(pixels, frame < FRAMES - 1 ? frame : FRAMES - 2);
        check_colours(gif, shown, pixels);
    }
    /* Only what has changed is in a frame. */
    assert_int_equal(gif->SavedImages[0].ImageDesc.Width, W);
    assert_int_equal(gif->SavedImages[1].ImageDesc.Height, 8);
    assert_int_equal(gif->SavedImages[FRAMES - 1].ImageDesc.Width, 1);
    assert_int_equal(DGifCloseFile(gif, &reason), GIF_OK);
    gif_writer_free(writer);
}

/* ---- Contact sheets ---- */

/* pixels(4) <- the reds of a sheet of 2 x 2 pictures of one pixel; returns how many there are. */
static int read_sheet(const char *path, uint8_t *reds)
{
    png_image image = {.version = PNG_IMAGE_VERSION};
    uint8_t pixels[12];
    assert_int_not_equal(png_image_begin_read_from_file(&image, path), 0);
    image.format = PNG_FORMAT_RGB;
    const int n = (int)(image.width * image.height);
    assert_in_range(n, 1, 4);
    assert_int_not_equal(png_image_finish_read(&image, NULL, pixels, 0, NULL), 0);
    for (int i = 0; i < n; i++) {
        reds[i] = pixels[3 * i];
    }
    return n;
}

/* However many come, the first is there, they are in order, and none of a fourth of them is missing. */
static void any_number_of_pictures_fits_on_a_sheet(void **state)
{
    (void)state;
    for (int n = 1; n <= 200; n += n < 30 ? 1 : 17) {
        struct contact_sheet *sheet;
        struct err err = {0};
        uint8_t reds[4];
        assert_int_equal(contact_sheet_new(&sheet, 1, 1, 4, 2, &err), STATUS_OK);
        for (int i = 0; i < n; i++) {
            const uint8_t picture[3] = {(uint8_t)i, 0, 0};
            contact_sheet_add(sheet, picture);
        }
        if (contact_sheet_write(sheet, scratch_at("sheet.png"), &err) != STATUS_OK) {
            fail_msg("%s", err.text);
        }
        contact_sheet_free(sheet);
        /* An empty place of a sheet is black. */
        const int n_read = read_sheet(scratch_at("sheet.png"), reds);
        const int n_shown = n < 4 ? n : 4;
        assert_int_equal(n_read, n_shown == 3 ? 4 : n_shown);
        assert_int_equal(reds[0], 0);
        for (int i = 1; i < n_shown; i++) {
            assert_true(reds[i] > reds[i - 1]);
        }
        assert_true(4 * (n - reds[n_shown - 1]) <= 4 + n);
    }
}

/* ---- Films ---- */

static void what_cannot_be_filmed_is_refused(void **state)
{
    (void)state;
    struct film *film = NULL;
    struct err err = {0};
    toy_environment_install();
    struct environment *toy = open_environment("toy:walk");
    assert_int_equal(film_open(&film, "x.gif", toy, &err), STATUS_INVALID);
    assert_non_null(strstr(err.text, "toy:walk is no simulation"));
    environment_close(toy);
    struct environment *cheetah = open_environment("cheetah-run");
    static const char *const bad[] = {"", ".gif", "x.mp4", "x.gif.png", "x"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(film_open(&film, bad[i], cheetah, &err), STATUS_INVALID);
        assert_non_null(strstr(err.text, "expected a file name that ends in .gif"));
    }
    assert_int_equal(film_open(&film, "/nowhere/x.gif", cheetah, &err), STATUS_NOT_FOUND);
    assert_non_null(strstr(err.text, "/nowhere/x.gif"));
    environment_close(cheetah);
}

static size_t count_different(const uint8_t *a, const uint8_t *b, size_t n)
{
    size_t count = 0;
    for (size_t i = 0; i < n; i++) {
        count += a[i] != b[i];
    }
    return count;
}

/* The picture follows the state, and drawing does not change it; the same state gives the same bytes. */
static void a_picture_shows_the_state(void **state)
{
    (void)state;
    enum { WIDTH = 160, HEIGHT = 120, BYTES = WIDTH * HEIGHT * 3, STEPS = 30 };
    static uint8_t first[BYTES], again[BYTES], later[BYTES];
    static const char *const names[] = {"cheetah-run", "reacher-easy", "sawyer-stack"};
    float observation[SIGNATURE_OBSERVATION_MAX], action[SIGNATURE_ACTIONS_MAX];
    float rewards[SIGNATURE_TASKS_MAX], discount;
    for (size_t n = 0; n < sizeof names / sizeof names[0]; n++) {
        struct err err = {0};
        bool last;
        struct renderer *renderer;
        struct environment *environment = open_environment(names[n]);
        const struct simulation *simulation = environment_simulation(environment);
        const struct environment_start start = {.seed = 3};
        assert_int_equal(environment_reset(environment, &start, observation, &err), STATUS_OK);
        if (renderer_open(&renderer, simulation, WIDTH, HEIGHT, &err) != STATUS_OK) {
            fail_msg("%s", err.text);
        }
        const mjModel *model = simulation->model;
        mjtNum *before = mem_array((size_t)model->nq, sizeof *before);
        memcpy(before, simulation->data->qpos, (size_t)model->nq * sizeof *before);
        assert_int_equal(renderer_draw(renderer, first, &err), STATUS_OK);
        assert_int_equal(renderer_draw(renderer, again, &err), STATUS_OK);
        assert_memory_equal(before, simulation->data->qpos, (size_t)model->nq * sizeof *before);
        mem_free(before);
        assert_memory_equal(first, again, BYTES);
        assert_true(count_different(first, (const uint8_t[BYTES]){0}, BYTES) > BYTES / 10);
        for (uint32_t a = 0; a < SIGNATURE_ACTIONS_MAX; a++) {
            action[a] = 1.0f;
        }
        for (int step = 0; step < STEPS; step++) {
            assert_int_equal(
                environment_step(environment, action, observation, rewards, &discount, &last, &err),
                STATUS_OK);
        }
        assert_int_equal(renderer_draw(renderer, later, &err), STATUS_OK);
        assert_true(count_different(first, later, BYTES) > BYTES / 500);
        renderer_close(renderer);
        environment_close(environment);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_gif_shows_what_was_added),
        cmocka_unit_test(any_number_of_pictures_fits_on_a_sheet),
        cmocka_unit_test(what_cannot_be_filmed_is_refused),
        cmocka_unit_test(a_picture_shows_the_state),
    };
    return cmocka_run_group_tests(tests, scratch_set_up, scratch_tear_down);
}
