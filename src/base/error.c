/* SPDX-License-Identifier: Apache-2.0 */
#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *blaze_error_name(int code)
{
    switch (code) {
    case BLAZE_OK:
        return "BLAZE_OK";
    case BLAZE_END:
        return "BLAZE_END";
#define NAME(name, number, text)                                                                   \
    case number:                                                                                   \
        return "BLAZE_" #name;
        BLAZE_ERRORS(NAME)
#undef NAME
    default:
        return "BLAZE_E?";
    }
}

const char *blaze_error_string(int code)
{
    switch (code) {
    case BLAZE_OK:
        return "done";
    case BLAZE_END:
        return "end";
#define TEXT(name, number, text)                                                                   \
    case number:                                                                                   \
        return text;
        BLAZE_ERRORS(TEXT)
#undef TEXT
    default:
        return "unknown error";
    }
}

int bz_error_set(blaze_error *error, int code, const char *format, ...)
{
    if (error != NULL) {
        va_list args;
        va_start(args, format);
        error->code = code;
        vsnprintf(error->text, sizeof error->text, format, args);
        va_end(args);
    }
    return code;
}

int bz_error_code(blaze_error *error, int code)
{
    return bz_error_set(error, code, "%s", blaze_error_string(code));
}

static int code_of_errno(int number)
{
    switch (number) {
    case ENOMEM:
        return BLAZE_ENOMEM;
    case ENOENT:
    case ENOTDIR:
        return BLAZE_ENOTFOUND;
    case EEXIST:
    case ENOTEMPTY:
        return BLAZE_EEXIST;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
        return BLAZE_ENOSPC;
    case EACCES:
    case EPERM:
        return BLAZE_EPERM;
    case EROFS:
        return BLAZE_EREADONLY;
    case EADDRINUSE:
        return BLAZE_EADDRINUSE;
    case ECONNREFUSED:
    case EHOSTUNREACH:
    case ENETUNREACH:
    case ENETDOWN:
        return BLAZE_ECONNECT;
    case ECONNRESET:
    case EPIPE:
    case ECONNABORTED:
        return BLAZE_ECLOSED;
    case ETIMEDOUT:
        return BLAZE_ETIMEOUT;
    case EINVAL:
        return BLAZE_EINVAL;
    default:
        return BLAZE_EIO;
    }
}

int bz_error_errno(blaze_error *error, int number, const char *format, ...)
{
    int code = code_of_errno(number);
    if (error != NULL) {
        char what[BLAZE_ERROR_TEXT_SIZE];
        va_list args;
        va_start(args, format);
        vsnprintf(what, sizeof what, format, args);
        va_end(args);
        char reason[128];
        const char *text = strerror_r(number, reason, sizeof reason);
        error->code = code;
        snprintf(error->text, sizeof error->text, "%.180s: %.70s", what, text);
    }
    return code;
}
