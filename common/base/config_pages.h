/* The pages that a program prints about its options. */
#ifndef HINDCAST_BASE_CONFIG_PAGES_H
#define HINDCAST_BASE_CONFIG_PAGES_H

#include "common/base/config.h"

/* Prints the page that the flag asks for (--help, -h, --sample, --options, --version) to stdout.
 * False: it is none of these, and nothing was printed. */
bool config_page(const struct config_section *sections, size_t n, const char *program,
                 const char *flag);

#endif
