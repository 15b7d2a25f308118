/* Colours are those of a fixed cube, 6 x 7 x 6, with a 4 x 4 ordered dither: a pixel depends on its own
 * colour and place alone, so that what stands still does not flicker and is left out of the next frame
 * as transparent. */
#include "common/render/gif_writer.h"

#include <gif_lib.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"

#define REDS        6
#define GREENS      7
#define BLUES       6
#define COLOURS     256
#define TRANSPARENT 255
#define BYTES_MAX   (256u << 20)

/* What giflib has written. */
struct bytes {
    uint8_t *data;
    size_t size, capacity;
};

struct gif_writer {
    int width, height;
    GifFileType *gif;
    struct bytes bytes;
    uint8_t *shown;  /* (height, width) what a viewer sees, in colours of the palette */
    uint8_t *next;   /* (height, width) the picture that is added */
    uint8_t *change; /* a row of a frame */
    bool begun;      /* there is a frame */
};

/* giflib's output function: returns how many bytes it took. */
static int take_bytes(GifFileType *gif, const GifByteType *data, int n)
{
    struct bytes *bytes = gif->UserData;
    const size_t needed = bytes->size + (size_t)n;
    if (needed > bytes->capacity) {
        const size_t capacity = 2 * needed;
        uint8_t *larger = needed <= BYTES_MAX ? mem_array(capacity, 1) : NULL;
        if (larger == NULL) {
            return 0;
        }
        if (bytes->size > 0) {
            memcpy(larger, bytes->data, bytes->size);
        }
        mem_free(bytes->data);
        bytes->data = larger;
        bytes->capacity = capacity;
    }
    memcpy(bytes->data + bytes->size, data, (size_t)n);
    bytes->size = needed;
    return n;
}

/* ---- Colours ---- */

static void fill_palette(GifColorType *palette)
{
    memset(palette, 0, COLOURS * sizeof *palette);
    for (int i = 0; i < REDS * GREENS * BLUES; i++) {
        palette[i].Red = (GifByteType)(i / (GREENS * BLUES) * 255 / (REDS - 1));
        palette[i].Green = (GifByteType)(i / BLUES % GREENS * 255 / (GREENS - 1));
        palette[i].Blue = (GifByteType)(i % BLUES * 255 / (BLUES - 1));
    }
}

/* The level of 0 .. levels - 1 for a value of 0 .. 255, rounded up where the place's threshold
 * (1 .. 31 of 32) is below what is left. */
static int level_of(int value, int levels, int threshold)
{
    const int scaled = value * (levels - 1);
    const int level = scaled / 255;
    return level + (scaled % 255 * 32 > threshold * 255);
}

static void dither(const struct gif_writer *writer, const uint8_t *pixels)
{
    static const int thresholds[4][4] = {
        {1, 17, 5, 21}, {25, 9, 29, 13}, {7, 23, 3, 19}, {31, 15, 27, 11}}; /* Bayer's */
    for (int y = 0; y < writer->height; y++) {
        for (int x = 0; x < writer->width; x++) {
            const size_t at = (size_t)y * (size_t)writer->width + (size_t)x;
            const int threshold = thresholds[y % 4][x % 4];
            const int red = level_of(pixels[3 * at], REDS, threshold);
            const int green = level_of(pixels[3 * at + 1], GREENS, threshold);
            const int blue = level_of(pixels[3 * at + 2], BLUES, threshold);
            writer->next[at] = (uint8_t)((red * GREENS + green) * BLUES + blue);
        }
    }
}

/* ---- Frames ---- */

/* The part of the picture that has changed; one pixel where nothing has. */
struct part {
    int left, top, width, height;
};

static struct part changed_part(const struct gif_writer *writer)
{
    int left = writer->width, right = 0, top = writer->height, bottom = 0;
    for (int y = 0; y < writer->height; y++) {
        for (int x = 0; x < writer->width; x++) {
            const size_t at = (size_t)y * (size_t)writer->width + (size_t)x;
            if (!writer->begun || writer->next[at] != writer->shown[at]) {
                left = x < left ? x : left;
                right = x + 1 > right ? x + 1 : right;
                top = y < top ? y : top;
                bottom = y + 1;
            }
        }
    }
    if (right == 0) {
        return (struct part){0, 0, 1, 1};
    }
    return (struct part){left, top, right - left, bottom - top};
}

/* Rows of the part; what is as before is transparent. */
static int put_rows(struct gif_writer *writer, const struct part *part)
{
    int good = GIF_OK;
    for (int y = part->top; good == GIF_OK && y < part->top + part->height; y++) {
        const size_t row = (size_t)y * (size_t)writer->width + (size_t)part->left;
        for (int x = 0; x < part->width; x++) {
            const size_t at = row + (size_t)x;
            const bool same = writer->begun && writer->next[at] == writer->shown[at];
            writer->change[x] = same ? TRANSPARENT : writer->next[at];
        }
        good = EGifPutLine(writer->gif, writer->change, part->width);
    }
    return good;
}

/* Header, palette, and the block that makes viewers repeat it for ever. */
static int put_header(struct gif_writer *writer)
{
    GifColorType palette[COLOURS];
    fill_palette(palette);
    ColorMapObject *map = GifMakeMapObject(COLOURS, palette);
    if (map == NULL) {
        return GIF_ERROR;
    }
    EGifSetGifVersion(writer->gif, true);
    int good = EGifPutScreenDesc(writer->gif, writer->width, writer->height, 8, 0, map);
    GifFreeMapObject(map);
    static const uint8_t repeat[] = {1, 0, 0};
    good = good != GIF_OK ? good : EGifPutExtensionLeader(writer->gif, APPLICATION_EXT_FUNC_CODE);
    good = good != GIF_OK ? good : EGifPutExtensionBlock(writer->gif, 11, "NETSCAPE2.0");
    good = good != GIF_OK ? good : EGifPutExtensionBlock(writer->gif, sizeof repeat, repeat);
    return good != GIF_OK ? good : EGifPutExtensionTrailer(writer->gif);
}

static int put_frame(struct gif_writer *writer, int hundredths)
{
    const GraphicsControlBlock control = {
        .DisposalMode = DISPOSE_DO_NOT, .DelayTime = hundredths, .TransparentColor = TRANSPARENT};
    GifByteType extension[4];
    const size_t size = EGifGCBToExtension(&control, extension);
    const struct part part = changed_part(writer);
    int good = EGifPutExtension(writer->gif, GRAPHICS_EXT_FUNC_CODE, (int)size, extension);
    good = good != GIF_OK ? good
                          : EGifPutImageDesc(writer->gif, part.left, part.top, part.width,
                                             part.height, false, NULL);
    return good != GIF_OK ? good : put_rows(writer, &part);
}

/* ---- The writer ---- */

status gif_writer_new(struct gif_writer **writer, int width, int height, struct err *err)
{
    const size_t n = (size_t)width * (size_t)height;
    int reason = 0;
    struct gif_writer *made = mem_new(sizeof *made);
    if (made != NULL) {
        made->width = width;
        made->height = height;
        made->shown = mem_array(n, 1);
        made->next = mem_array(n, 1);
        made->change = mem_array((size_t)width, 1);
        made->gif = EGifOpen(&made->bytes, take_bytes, &reason);
    }
    if (made == NULL || made->shown == NULL || made->next == NULL || made->change == NULL ||
        made->gif == NULL || put_header(made) != GIF_OK) {
        gif_writer_free(made);
        return err_set(err, STATUS_NO_MEMORY, "GIF: out of memory");
    }
    *writer = made;
    return STATUS_OK;
}

void gif_writer_free(struct gif_writer *writer)
{
    if (writer != NULL) {
        if (writer->gif != NULL) {
            (void)EGifCloseFile(writer->gif, NULL);
        }
        mem_free(writer->bytes.data);
        mem_free(writer->shown);
        mem_free(writer->next);
        mem_free(writer->change);
        mem_free(writer);
    }
}

status gif_writer_add(struct gif_writer *writer, const uint8_t *pixels, int hundredths,
                      struct err *err)
{
    dither(writer, pixels);
    if (put_frame(writer, hundredths) != GIF_OK) {
        return err_set(err, STATUS_NO_MEMORY, "GIF of more than %u bytes, or out of memory",
                       BYTES_MAX);
    }
    /* The picture becomes what is shown without a copy. */
    uint8_t *swapped = writer->shown;
    writer->shown = writer->next;
    writer->next = swapped;
    writer->begun = true;
    return STATUS_OK;
}

status gif_writer_finish(struct gif_writer *writer, const void **bytes, size_t *size,
                         struct err *err)
{
    GifFileType *gif = writer->gif;
    writer->gif = NULL;
    if (EGifCloseFile(gif, NULL) != GIF_OK) {
        return err_set(err, STATUS_NO_MEMORY, "GIF: cannot be ended");
    }
    *bytes = writer->bytes.data;
    *size = writer->bytes.size;
    return STATUS_OK;
}
