/* Keeps pictures while they come, and arranges those that are chosen. */
#include "common/render/contact_sheet.h"

#include <png.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/memory.h"

struct contact_sheet {
    int width, height, n, in_a_row;
    size_t picture_size;
    uint8_t *kept; /* (2 n, height, width, 3) */
    size_t n_kept; /* pictures 0, every, 2 every, .. */
    uint64_t every, n_seen;
};

status contact_sheet_new(struct contact_sheet **sheet, int width, int height, int n, int in_a_row,
                         struct err *err)
{
    ASSERT(n >= 2 && in_a_row >= 1);
    struct contact_sheet *made = mem_new(sizeof *made);
    if (made != NULL) {
        made->width = width;
        made->height = height;
        made->n = n;
        made->in_a_row = in_a_row;
        made->every = 1;
        made->picture_size = (size_t)width * (size_t)height * 3;
        made->kept = mem_array(2 * (size_t)n, made->picture_size);
    }
    if (made == NULL || made->kept == NULL) {
        contact_sheet_free(made);
        return err_set(err, STATUS_NO_MEMORY, "contact sheet: out of memory");
    }
    *sheet = made;
    return STATUS_OK;
}

void contact_sheet_free(struct contact_sheet *sheet)
{
    if (sheet != NULL) {
        mem_free(sheet->kept);
        mem_free(sheet);
    }
}

void contact_sheet_add(struct contact_sheet *sheet, const uint8_t *pixels)
{
    const size_t size = sheet->picture_size;
    if (sheet->n_seen++ % sheet->every != 0) {
        return;
    }
    memcpy(sheet->kept + sheet->n_kept * size, pixels, size);
    sheet->n_kept++;
    if (sheet->n_kept == 2 * (size_t)sheet->n) {
        /* Pictures 0, 2, 4, .. move to the front. */
        for (size_t i = 1; i < (size_t)sheet->n; i++) {
            memcpy(sheet->kept + i * size, sheet->kept + 2 * i * size, size);
        }
        sheet->n_kept = (size_t)sheet->n;
        sheet->every *= 2;
    }
}

/* Copies a picture to its place on the page. */
static void place(const struct contact_sheet *sheet, uint8_t *page, size_t page_row, size_t i,
                  const uint8_t *picture)
{
    const size_t row = (size_t)sheet->width * 3;
    const size_t in_a_row = (size_t)sheet->in_a_row, height = (size_t)sheet->height;
    uint8_t *to = page + i / in_a_row * height * page_row + i % in_a_row * row;
    for (size_t y = 0; y < height; y++) {
        memcpy(to + y * page_row, picture + y * row, row);
    }
}

/* Encodes the page and puts it in the file's place. */
static status write_png(const char *path, const uint8_t *page, int width, int height,
                        struct err *err)
{
    png_image image = {.version = PNG_IMAGE_VERSION,
                       .width = (png_uint_32)width,
                       .height = (png_uint_32)height,
                       .format = PNG_FORMAT_RGB};
    png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(image);
    void *bytes = mem_array(size, 1);
    if (bytes == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "%s: out of memory", path);
    }
    status s = STATUS_OK;
    if (!png_image_write_to_memory(&image, bytes, &size, 0, page, 0, NULL)) {
        s = err_set(err, STATUS_INTERNAL, "%s: %s", path, image.message);
    }
    const struct file_part part = {bytes, size};
    s = s != STATUS_OK ? s : file_replace(path, &part, 1, err);
    mem_free(bytes);
    return s;
}

status contact_sheet_write(const struct contact_sheet *sheet, const char *path, struct err *err)
{
    ASSERT(sheet->n_kept > 0);
    const size_t n = sheet->n_kept < (size_t)sheet->n ? sheet->n_kept : (size_t)sheet->n;
    const size_t in_a_row = n < (size_t)sheet->in_a_row ? n : (size_t)sheet->in_a_row;
    const size_t rows = (n + in_a_row - 1) / in_a_row;
    const size_t page_row = in_a_row * (size_t)sheet->width * 3;
    uint8_t *page = mem_array(rows * (size_t)sheet->height, page_row);
    if (page == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "contact sheet: out of memory");
    }
    for (size_t i = 0; i < n; i++) {
        const size_t chosen = n == 1 ? 0 : i * (sheet->n_kept - 1) / (n - 1);
        place(sheet, page, page_row, i, sheet->kept + chosen * sheet->picture_size);
    }
    status s = write_png(path, page, (int)in_a_row * sheet->width, (int)rows * sheet->height, err);
    mem_free(page);
    return s;
}
