/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STDIN_MAX ((size_t)128 << 20) /* a document of 16 MiB is never longer in JSON */

int cli_open(const struct cli *cli, blaze_db **out)
{
    const char *path = cli->words[0];
    blaze_error error;
    int rc = blaze_open(out, path, NULL, &error);
    if (rc == BLAZE_ENOTFOUND)
        return cli_fail(
            EXIT_MISSING, path, "no database here: make one with: blazedb create %s", path);
    return rc == BLAZE_OK ? EXIT_DONE : cli_fail_error(path, rc, &error);
}

int cli_close(const struct cli *cli, blaze_db *db, int exit_code)
{
    blaze_error error;
    int rc = blaze_close(db, &error);
    if (rc != BLAZE_OK && exit_code == EXIT_DONE)
        return cli_fail_error(cli->words[0], rc, &error);
    return exit_code;
}

struct lookup {
    const char *name;
    bool found;
    char known[256]; /* the names there are, for the error */
};

static int on_collection(void *context, const char *name, uint64_t records)
{
    struct lookup *lookup = context;
    (void)records;
    lookup->found = lookup->found || strcmp(name, lookup->name) == 0;
    size_t used = strlen(lookup->known);
    snprintf(lookup->known + used, sizeof lookup->known - used, "%s%s", used > 0 ? ", " : "", name);
    return 0;
}

bool cli_has_collection(blaze_db *db, const char *collection)
{
    struct lookup lookup = {.name = collection};
    return blaze_collections(db, on_collection, &lookup, NULL) != BLAZE_OK || lookup.found;
}

int cli_need_collection(const struct cli *cli, blaze_db *db, const char *collection)
{
    struct lookup lookup = {.name = collection};
    blaze_error error;
    int rc = blaze_collections(db, on_collection, &lookup, &error);
    if (rc != BLAZE_OK)
        return cli_fail_error(cli->words[0], rc, &error);
    if (lookup.found)
        return EXIT_DONE;
    if (lookup.known[0] == '\0')
        return cli_fail(EXIT_MISSING, cli->words[0],
            "no collection %s: the database is empty (a collection appears with its first record)",
            collection);
    return cli_fail(
        EXIT_MISSING, cli->words[0], "no collection %s: there are %s", collection, lookup.known);
}

int cli_id(const char *text, blaze_id *out)
{
    if (blaze_id_parse(out, text) != BLAZE_OK)
        return cli_fail(
            EXIT_USAGE, text, "not an id: it has the form 0197a2b4-5c6d-7e8f-9a0b-1c2d3e4f5a6b");
    return EXIT_DONE;
}

/* Reads the standard input to its end; *out is to be freed. */
static int read_stdin(char **out, size_t *size)
{
    size_t capacity = 1 << 16, used = 0;
    char *data = malloc(capacity);
    int code = EXIT_DONE;
    while (data != NULL) {
        used += fread(data + used, 1, capacity - used, stdin);
        if (used < capacity)
            break;
        if (capacity >= STDIN_MAX) {
            code = cli_fail(EXIT_INPUT, "-", "the document is longer than any can be");
            goto done;
        }
        char *more = realloc(data, capacity *= 2);
        if (more == NULL)
            free(data);
        data = more;
    }
    if (data == NULL)
        code = cli_fail(EXIT_SYSTEM, "-", "out of memory");
    else if (ferror(stdin))
        code = cli_fail(EXIT_SYSTEM, "-", "%s", strerror(errno));
done:
    if (code != EXIT_DONE) {
        free(data);
        return code;
    }
    *out = data;
    *size = used;
    return EXIT_DONE;
}

int cli_document(const char *text, blaze_doc **out)
{
    bool from_stdin = strcmp(text, "-") == 0;
    char *read = NULL;
    size_t size = strlen(text);
    if (from_stdin) {
        int code = read_stdin(&read, &size);
        if (code != EXIT_DONE)
            return code;
        text = read;
    }
    blaze_error error;
    int rc = blaze_doc_from_json(out, text, size, &error);
    free(read);
    return rc == BLAZE_OK ? EXIT_DONE : cli_fail_error("document", rc, &error);
}
