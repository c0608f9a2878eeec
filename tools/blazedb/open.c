/* SPDX-License-Identifier: Apache-2.0 */
#include "cli.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STDIN_MAX ((size_t)128 << 20) /* a document of 16 MiB is never longer in JSON */

void cli_open_options(const struct cli *cli, blaze_open_options *out)
{
    blaze_open_options_init(out);
    out->allow_network_fs = cli_option(cli, "allow-network-fs") != NULL;
}

static int open_how(const struct cli *cli, bool read_only, blaze_db **out)
{
    const char *path = cli->words[0];
    blaze_open_options options;
    blaze_error error;
    struct cli_seal seal;
    int code = cli_seal_read(cli, &seal);
    if (code != EXIT_DONE)
        return code;
    cli_open_options(cli, &options);
    options.read_only = read_only;
    options.seal = seal.seal;
    int rc = blaze_open(out, path, &options, &error);
    if (rc == BLAZE_EAUTH && !cli_seal_given(&seal)) {
        code = cli_seal_ask(path, &seal);
        options.seal = seal.seal;
        if (code == EXIT_DONE)
            rc = blaze_open(out, path, &options, &error);
    }
    cli_seal_wipe(&seal);
    if (code != EXIT_DONE)
        return code;
    if (rc == BLAZE_ENOTFOUND)
        return cli_fail(
            EXIT_MISSING, path, "no database here: make one with: blazedb create %s", path);
    return rc == BLAZE_OK ? EXIT_DONE : cli_fail_error(path, rc, &error);
}

int cli_open(const struct cli *cli, blaze_db **out)
{
    return open_how(cli, false, out);
}

int cli_open_reading(const struct cli *cli, blaze_db **out)
{
    int code = open_how(cli, true, out);
    const char *damage = code == EXIT_DONE ? blaze_damage(*out) : NULL;
    if (damage != NULL)
        cli_fail(EXIT_DONE, cli->words[0], "damaged, this is what came before it: %s", damage);
    return code;
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

int cli_id_of_value(const blaze_value *value, blaze_id *out)
{
    if (value->type == BLAZE_UUID) {
        *out = value->as.uuid;
        return BLAZE_OK;
    }
    char text[BLAZE_ID_TEXT_SIZE];
    if (value->type != BLAZE_STRING || value->as.text.size != sizeof text - 1)
        return BLAZE_ESYNTAX;
    memcpy(text, value->as.text.data, sizeof text - 1);
    text[sizeof text - 1] = '\0';
    return blaze_id_parse(out, text);
}

int cli_without_id(const blaze_value *from, blaze_doc *to)
{
    blaze_iter iter;
    blaze_text name;
    blaze_value value;
    blaze_doc_clear(to);
    int rc = blaze_iter_init(&iter, from);
    while (rc == BLAZE_OK && (rc = blaze_iter_next(&iter, &name, &value)) == BLAZE_OK) {
        char field[BLAZE_MAX_NAME + 1];
        snprintf(field, sizeof field, "%.*s", (int)name.size, name.data);
        if (strcmp(field, "_id") != 0)
            rc = blaze_doc_add_value(to, field, &value);
    }
    return rc == BLAZE_END ? blaze_doc_check(to) : rc;
}

int cli_take_id(blaze_doc **document, blaze_id *id, bool *named)
{
    blaze_value value, given;
    blaze_doc *rest = NULL;
    *named = false;
    int rc = blaze_doc_value(*document, &value);
    if (rc == BLAZE_OK && blaze_value_field(&value, "_id", &given) != BLAZE_OK)
        return EXIT_DONE;
    if (rc == BLAZE_OK && cli_id_of_value(&given, id) != BLAZE_OK)
        return cli_fail(EXIT_USAGE, "document", "its \"_id\" is not an id of 36 characters");
    if (rc == BLAZE_OK)
        rc = blaze_doc_new(&rest);
    if (rc == BLAZE_OK)
        rc = cli_without_id(&value, rest);
    if (rc != BLAZE_OK) {
        blaze_doc_free(rest);
        return cli_fail_error("document", rc, NULL);
    }
    blaze_doc_free(*document);
    *document = rest;
    *named = true;
    return EXIT_DONE;
}
