/* resample_open reads the stamps of every recording and divides it into stretches. A column is
 * resampled when it is read. The stamps of one recording are in memory, and of the values those that
 * the wanted rows need. The work is done in the parts (resample_parts.h); here they become a log
 * file. */
#include <string.h>

#include "common/base/memory.h"
#include "common/logs/mapping/resample_parts.h"

static void resampled_close(struct log_file *file)
{
    struct resampled *r = (struct resampled *)file;
    resample_forget_groups(r);
    for (size_t i = 0; i < r->n_stretches; i++) {
        mem_free(r->stretches[i].bad);
    }
    log_file_close(r->inner);
    recording_fini(&r->recording);
    mem_free(r->uses);
    mem_free(r->groups);
    mem_free(r->stretches);
    mem_free(r->raw);
    mem_free(r);
}

static uint64_t resampled_recordings(const struct log_file *file)
{
    return ((const struct resampled *)file)->n_stretches;
}

static status resampled_describe(struct log_file *file, uint64_t recording_i,
                                 struct recording *recording, struct err *err)
{
    struct resampled *r = (struct resampled *)file;
    const struct resample_stretch *stretch = &r->stretches[recording_i];
    status s = resample_load(r, stretch->recording_i, NULL, err);
    for (uint32_t i = 0; s == STATUS_OK && i < r->n_uses; i++) {
        const struct resample_use *use = &r->uses[i];
        /* A topic without events is a column of zeros. Other columns that are not there are
         * missed by the mapping. */
        if (use->group != RESAMPLE_NO_GROUP) {
            s = recording_add(recording, use->name, RECORDING_NUMBERS, use->column->width,
                              stretch->n, err);
        } else if (use->method == RESAMPLE_SUM) {
            s = recording_add(recording, use->name, RECORDING_NUMBERS, 1, stretch->n, err);
        }
    }
    return s;
}

static void resampled_notes(const struct log_file *file, bool warnings, struct text *notes)
{
    log_file_notes(((const struct resampled *)file)->inner, warnings, notes);
}

/* The stamps are much less than the values, but the file below is only as large as it says. */
static uint64_t resampled_memory(const struct log_file *file)
{
    const struct resampled *r = (const struct resampled *)file;
    const struct log_format *format = r->inner->format;
    uint64_t bytes = format->memory != NULL ? format->memory(r->inner) : UINT64_MAX;
    for (uint32_t i = 0; i < r->n_groups && bytes != UINT64_MAX; i++) {
        bytes += r->groups[i].n * (sizeof(double) + sizeof(uint64_t));
    }
    return bytes == UINT64_MAX ? bytes : bytes + r->raw_capacity * sizeof(double);
}

/* Not in the table of formats: it recognises no file. */
static const struct log_format log_format_resampled = {
    .name = "resampled",
    .what = "another file, at the control period",
    .close = resampled_close,
    .n_recordings = resampled_recordings,
    .describe = resampled_describe,
    .read = resample_read,
    .memory = resampled_memory,
    .notes = resampled_notes,
};

status resample_open(struct log_file **resampled, struct log_file *file,
                     const struct mapping *mapping, struct resample_findings *findings,
                     struct err *err)
{
    ASSERT(mapping->resample.on);
    struct resampled *r = mem_new(sizeof *r);
    if (r == NULL) {
        log_file_close(file);
        return err_set(err, STATUS_NO_MEMORY, "resampling");
    }
    r->base.format = &log_format_resampled;
    r->inner = file;
    r->mapping = mapping;
    status s = resample_collect_uses(r, err);
    if (s == STATUS_OK) {
        s = resample_check_names(r, err);
    }
    const uint64_t n = log_file_recordings(file);
    for (uint64_t i = 0; s == STATUS_OK && i < n; i++) {
        s = resample_load(r, i, findings, err);
        if (s == STATUS_OK) {
            s = resample_divide(r, findings, err);
        }
    }
    if (s != STATUS_OK) {
        resampled_close(&r->base);
        return s;
    }
    *resampled = &r->base;
    return STATUS_OK;
}

bool resample_is(const struct log_file *file)
{
    return file->format == &log_format_resampled;
}

double resample_start(const struct log_file *resampled, uint64_t recording_i)
{
    ASSERT(resample_is(resampled));
    return ((const struct resampled *)resampled)->stretches[recording_i].start;
}
