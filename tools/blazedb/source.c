/* SPDX-License-Identifier: Apache-2.0 */
#include "source.h"

#include "cli.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_SIZE ((size_t)256 << 10)
#define PIECE_MAX ((size_t)128 << 20) /* a document of 16 MiB is never longer in JSON */

int source_open(struct source *source, const char *name, bool array)
{
    *source = (struct source){.name = name, .array = array, .line = 1};
    if (strcmp(name, "-") == 0) {
        source->fd = STDIN_FILENO;
    } else {
        source->fd = open(name, O_RDONLY | O_CLOEXEC);
        source->own = true;
        if (source->fd < 0)
            return cli_fail(
                errno == ENOENT ? EXIT_MISSING : EXIT_SYSTEM, name, "%s", strerror(errno));
    }
    struct stat info;
    if (fstat(source->fd, &info) == 0 && S_ISREG(info.st_mode))
        source->total = (uint64_t)info.st_size;
    return EXIT_DONE;
}

void source_close(struct source *source)
{
    if (source->own && source->fd >= 0)
        close(source->fd);
    free(source->data);
}

double source_part(const struct source *source)
{
    if (source->total == 0)
        return -1;
    return (double)(source->passed + source->at) / (double)source->total;
}

/* Reads more behind the window, dropping what lies before `at`. Sets `ended` when there is none. A
 * stop is an error too. */
static int fill(struct source *source)
{
    if (source->at > 0)
        memmove(source->data, source->data + source->at, source->size - source->at);
    source->passed += source->at;
    source->size -= source->at;
    source->at = 0;
    if (source->capacity - source->size < READ_SIZE) {
        size_t capacity = source->capacity == 0 ? 2 * READ_SIZE : 2 * source->capacity;
        if (capacity > 2 * PIECE_MAX)
            return cli_fail(EXIT_INPUT, source->name,
                "line %" PRIu64 ": a record longer than any can be", source->line);
        char *data = realloc(source->data, capacity);
        if (data == NULL)
            return cli_fail(EXIT_SYSTEM, source->name, "out of memory");
        source->data = data;
        source->capacity = capacity;
    }
    if (!cli_stop_or_readable(source->fd))
        return cli_fail(EXIT_SIGNAL + cli_stopped(), source->name, "stopped");
    ssize_t got = read(source->fd, source->data + source->size, READ_SIZE);
    if (got < 0)
        return cli_fail(EXIT_SYSTEM, source->name, "%s", strerror(errno));
    source->ended = got == 0;
    source->size += (size_t)got;
    return EXIT_DONE;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Moves to the next byte that is no white space: *c is 0 at the end. */
static int skip_space(struct source *source, char *c)
{
    for (;;) {
        while (source->at < source->size && is_space(source->data[source->at]))
            source->line += source->data[source->at++] == '\n';
        if (source->at < source->size) {
            *c = source->data[source->at];
            return EXIT_DONE;
        }
        if (source->ended) {
            *c = '\0';
            return EXIT_DONE;
        }
        int code = fill(source);
        if (code != EXIT_DONE)
            return code;
    }
}

static int next_line(struct source *source, struct piece *out, bool *end)
{
    char first;
    int code = skip_space(source, &first);
    if (code != EXIT_DONE)
        return code;
    *end = first == '\0' && source->at == source->size;
    if (*end)
        return EXIT_DONE;
    size_t scanned = 0; /* of the line; it keeps its place when the window moves */
    char *newline;
    while ((newline = memchr(source->data + source->at + scanned, '\n',
                source->size - source->at - scanned)) == NULL &&
           !source->ended) {
        scanned = source->size - source->at;
        if ((code = fill(source)) != EXIT_DONE)
            return code;
    }
    out->data = source->data + source->at;
    out->size = newline != NULL ? (size_t)(newline - out->data) : source->size - source->at;
    out->line = source->line;
    source->at += out->size;
    return EXIT_DONE;
}

/* Takes the object that begins at `at`: up to the brace that closes it, strings skipped. */
static int take_object(struct source *source, struct piece *out)
{
    size_t size = 0;
    int depth = 0;
    bool in_string = false, escaped = false;
    uint64_t lines = 0;
    do {
        if (source->at + size == source->size) {
            if (source->ended)
                return cli_fail(EXIT_INPUT, source->name,
                    "line %" PRIu64 ": the file ends within this record", source->line);
            int code = fill(source);
            if (code != EXIT_DONE)
                return code;
            continue;
        }
        char c = source->data[source->at + size++];
        lines += c == '\n';
        if (in_string) {
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
        } else if (c == '"') {
            in_string = true;
        } else if (c == '{' || c == '[') {
            depth++;
        } else if (c == '}' || c == ']') {
            depth--;
        }
    } while (depth > 0);
    *out = (struct piece){source->data + source->at, size, source->line};
    source->at += size;
    source->line += lines;
    return EXIT_DONE;
}

static int unexpected(const struct source *source, const char *wanted)
{
    return cli_fail(
        EXIT_INPUT, source->name, "line %" PRIu64 ": expected %s", source->line, wanted);
}

/* The elements of an array, or a single object. */
static int next_element(struct source *source, struct piece *out, bool *end)
{
    for (;;) {
        char c;
        int code = skip_space(source, &c);
        if (code != EXIT_DONE)
            return code;
        enum source_place place = source->place;
        *end = place == SOURCE_AFTER && source->at == source->size;
        if (*end)
            return EXIT_DONE;
        if (c == '{' && place != SOURCE_BEHIND_ELEMENT && place != SOURCE_AFTER) {
            source->place = place == SOURCE_BEFORE ? SOURCE_AFTER : SOURCE_BEHIND_ELEMENT;
            return take_object(source, out);
        }
        if (place == SOURCE_BEFORE && c == '[')
            source->place = SOURCE_FIRST;
        else if (place == SOURCE_BEHIND_ELEMENT && c == ',')
            source->place = SOURCE_BEHIND_COMMA;
        else if ((place == SOURCE_FIRST || place == SOURCE_BEHIND_ELEMENT) && c == ']')
            source->place = SOURCE_AFTER;
        else if (place == SOURCE_BEFORE)
            return unexpected(source, "an array of objects, or one object");
        else if (place == SOURCE_BEHIND_ELEMENT)
            return unexpected(source, "a comma or the end of the array");
        else if (place == SOURCE_AFTER)
            return unexpected(source, "nothing more after the end");
        else
            return unexpected(source, "an object");
        source->at++;
    }
}

int source_next(struct source *source, struct piece *out, bool *end)
{
    if (cli_stopped())
        return cli_fail(EXIT_SIGNAL + cli_stopped(), source->name, "stopped");
    if (source->data == NULL) {
        int code = fill(source);
        if (code != EXIT_DONE)
            return code;
        if (source->size >= 3 && memcmp(source->data, "\xef\xbb\xbf", 3) == 0)
            source->at = 3; /* a byte order mark */
    }
    return source->array ? next_element(source, out, end) : next_line(source, out, end);
}
