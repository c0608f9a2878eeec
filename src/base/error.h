/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_BASE_ERROR_H
#define BZ_BASE_ERROR_H

#include <blazedb/error.h>

/* Writes the detail where the fault is detected and returns `code`, so that it can stand in a
 * return. `error` may be NULL. */
int bz_error_set(blaze_error *error, int code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The same with the general sentence of the code as the text. */
int bz_error_code(blaze_error *error, int code);

/* The code for a system call's errno, and its text: "WHAT: strerror". */
int bz_error_errno(blaze_error *error, int number, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
