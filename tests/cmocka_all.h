/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_TESTS_CMOCKA_ALL_H
#define BZ_TESTS_CMOCKA_ALL_H

/* cmocka.h with the headers that it wants first. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#endif
