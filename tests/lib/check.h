/* cmocka, with the four headers it needs before it. Tests include this, so that sorting includes cannot break them. */
#ifndef HINDCAST_TESTS_CHECK_H
#define HINDCAST_TESTS_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#endif
