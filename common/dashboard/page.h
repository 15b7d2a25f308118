/* The files of the web page, as they are in the program. */
#ifndef HINDCAST_DASHBOARD_PAGE_H
#define HINDCAST_DASHBOARD_PAGE_H

#include <stddef.h>

struct page_file {
    const char *path; /* "/dashboard.js" */
    const char *content_type;
    const char *bytes; /* terminated */
};

/* All of them; *n is their number. */
const struct page_file *page_files(size_t *n);

#endif
