/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* One line, whatever is in it: names and file contents may hold control characters. */
static void print_line(const char *what, const char *why)
{
    char line[1024];
    size_t said = strlen(what); /* where the reason begins with it, once is enough */
    if (said > 0 && strncmp(why, what, said) == 0 &&
        (strncmp(why + said, ": ", 2) == 0 || strncmp(why + said, ", ", 2) == 0))
        why += said + 2;
    int size = snprintf(line, sizeof line, "blazedb: %s: %s", what, why);
    if (size >= (int)sizeof line)
        size = (int)sizeof line - 1;
    for (int i = 0; i < size; i++)
        if ((unsigned char)line[i] < 0x20 || line[i] == 0x7f)
            line[i] = ' ';
    fprintf(stderr, "%s\n", line);
}

int cli_fail(int exit_code, const char *what, const char *format, ...)
{
    char why[768];
    va_list args;
    va_start(args, format);
    vsnprintf(why, sizeof why, format, args);
    va_end(args);
    print_line(what, why);
    return exit_code;
}

int cli_fail_error(const char *what, int code, const blaze_error *error)
{
    const char *why =
        error != NULL && error->text[0] != '\0' ? error->text : blaze_error_string(code);
    print_line(what, why);
    return cli_exit_code(code);
}

int cli_exit_code(int code)
{
    switch (code) {
    case BLAZE_OK:
    case BLAZE_END:
        return EXIT_DONE;
    case BLAZE_EINVAL:
    case BLAZE_ESYNTAX:
    case BLAZE_ETYPE:
    case BLAZE_ERANGE:
    case BLAZE_ELIMIT:
        return EXIT_INPUT;
    case BLAZE_ENOTFOUND:
        return EXIT_MISSING;
    case BLAZE_EEXIST:
        return EXIT_EXISTS;
    case BLAZE_EBUSY:
    case BLAZE_EADDRINUSE:
    case BLAZE_EPERM:
    case BLAZE_EREADONLY:
        return EXIT_BUSY;
    case BLAZE_ECORRUPT:
    case BLAZE_EVERSION:
    case BLAZE_EFAILED:
        return EXIT_CORRUPT;
    case BLAZE_ECONNECT:
    case BLAZE_ECLOSED:
    case BLAZE_ETIMEOUT:
    case BLAZE_EPROTO:
        return EXIT_CONNECTION;
    case BLAZE_EAUTH:
    case BLAZE_EDATABASE:
    case BLAZE_ECLOCK:
        return EXIT_REFUSED;
    default: /* EIO, ENOSPC, ENOMEM, and what nobody has thought of */
        return EXIT_SYSTEM;
    }
}
