/* cmocka, after the four headers that it needs. Tests include this file, so that sorting includes
 * cannot break them. */
#ifndef HINDCAST_TESTS_CHECK_H
#define HINDCAST_TESTS_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#endif
