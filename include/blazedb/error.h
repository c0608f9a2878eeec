/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BLAZEDB_ERROR_H
#define BLAZEDB_ERROR_H

/*
 * Errors. Every fallible function returns an int: 0 (BLAZE_OK), one of the negative codes below,
 * or, where its comment says so, the positive BLAZE_END for the end of an iteration. The numbers
 * are pinned: they never change meaning.
 *
 * Functions that can say more take a `blaze_error *` as their last argument. It may be NULL. It is
 * owned by the caller, needs no initialisation, is written only on failure, and holds a sentence
 * that tells what was wrong with which thing, and what to do about it where that is known.
 */

#include <blazedb/export.h>

#ifdef __cplusplus
extern "C" {
#endif

#define BLAZE_ERRORS(X)                                                                            \
    X(EINVAL, -1, "invalid argument")                                                              \
    X(ENOMEM, -2, "out of memory")                                                                 \
    X(ENOTFOUND, -3, "not found")                                                                  \
    X(EEXIST, -4, "already exists")                                                                \
    X(ECORRUPT, -5, "data is corrupt")                                                             \
    X(EIO, -6, "input/output error")                                                               \
    X(ENOSPC, -7, "no space left on the device")                                                   \
    X(EBUSY, -8, "in use by another")                                                              \
    X(ELIMIT, -9, "a limit is exceeded")                                                           \
    X(ESYNTAX, -10, "malformed input")                                                             \
    X(ETYPE, -11, "wrong type of value")                                                           \
    X(ERANGE, -12, "value out of range")                                                           \
    X(EREADONLY, -13, "opened read-only")                                                          \
    X(EFAILED, -14, "the handle failed earlier and must be reopened")                              \
    X(EVERSION, -15, "unsupported version")                                                        \
    X(EPROTO, -16, "protocol violation by the peer")                                               \
    X(EAUTH, -17, "authentication failed")                                                         \
    X(EDATABASE, -18, "a different database")                                                      \
    X(ECONNECT, -19, "cannot connect")                                                             \
    X(ECLOSED, -20, "connection closed")                                                           \
    X(ETIMEOUT, -21, "timed out")                                                                  \
    X(ECLOCK, -22, "a clock is too far off")                                                       \
    X(EADDRINUSE, -23, "address already in use")                                                   \
    X(ECANCELED, -24, "canceled")                                                                  \
    X(EPERM, -25, "not permitted")

typedef enum blaze_code {
    BLAZE_OK = 0,
    BLAZE_END = 1, /* the end of an iteration; not a failure */
#define BLAZE_ERROR_ENUM(name, number, text) BLAZE_##name = number,
    BLAZE_ERRORS(BLAZE_ERROR_ENUM)
#undef BLAZE_ERROR_ENUM
} blaze_code;

#define BLAZE_ERROR_TEXT_SIZE 256

typedef struct blaze_error {
    int code;                         /* the code that the function also returned */
    char text[BLAZE_ERROR_TEXT_SIZE]; /* one line, NUL-terminated, without a final full stop */
} blaze_error;

/* The code's name ("BLAZE_ENOTFOUND"), or "BLAZE_E?" for a number that is none. Static storage. */
BLAZE_API const char *blaze_error_name(int code);

/* The code's general sentence ("not found"). Static storage. */
BLAZE_API const char *blaze_error_string(int code);

#ifdef __cplusplus
}
#endif

#endif
