/* The assembler includes the files; each ends with a 0. */
#include "common/dashboard/page.h"

#define INCLUDE_FILE(name, path)                                                                   \
    __asm__(".section .rodata\n" #name ":\n.incbin \"" path "\"\n.byte 0\n.text\n");               \
    extern const char name[] __attribute__((visibility("hidden")))

INCLUDE_FILE(page_index, PAGE_FOLDER "/index.html");
INCLUDE_FILE(page_script, PAGE_FOLDER "/dashboard.js");
INCLUDE_FILE(page_style, PAGE_FOLDER "/dashboard.css");
INCLUDE_FILE(page_api, PAGE_FOLDER "/openapi.json");
INCLUDE_FILE(page_chart, CHART_JS);

const struct page_file *page_files(size_t *n)
{
    static const struct page_file files[] = {
        {"/", "text/html; charset=utf-8", page_index},
        {"/dashboard.js", "text/javascript; charset=utf-8", page_script},
        {"/dashboard.css", "text/css; charset=utf-8", page_style},
        {"/chart.js", "text/javascript; charset=utf-8", page_chart},
        {"/openapi.json", "application/json", page_api},
    };
    *n = sizeof files / sizeof files[0];
    return files;
}
