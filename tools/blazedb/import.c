/* SPDX-License-Identifier: Apache-2.0 */
/*
 * import: objects from a file into a collection, in transactions of BATCH_RECORDS. An object that
 * cannot be taken ends the import; what stood before it is committed, and the result says how many
 * that were. So does a signal.
 *
 * The id of a record: its "_id" if it has one; else with --id FIELD the UUIDv5 of that field's
 * value within a space that depends on the collection's name only, so that the same file gives the
 * same ids everywhere; else a new one. With the first two a record that is there already is
 * replaced.
 */
#include "cli.h"
#include "source.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BATCH_RECORDS 5000
#define BATCH_BYTES   ((size_t)16 << 20)

struct import {
    const struct cli *cli;
    blaze_db *db;
    const char *collection;
    const char *id_field;
    blaze_id space; /* of derived ids */
    struct source source;
    struct cli_progress progress;
    blaze_txn *txn;        /* NULL between transactions */
    uint64_t batch;        /* records in it */
    size_t batch_bytes;    /* their JSON */
    uint64_t imported;     /* committed */
    blaze_doc *without_id; /* reused: a document whose "_id" was taken out */
};

/* Fails for one object of the file, naming its line. */
static int fail_at(const struct import *import, const struct piece *piece, int rc, const char *why)
{
    int code = cli_exit_code(rc), within = 0, skip = 0;
    uint64_t line = piece->line;
    /* A fault in the JSON says the line within the object, which goes on from there. */
    if (sscanf(why, "line %d, %n", &within, &skip) == 1 && skip > 0 && within > 0)
        return cli_fail(code, import->source.name, "line %" PRIu64 ", %s",
            line + (uint64_t)(within - 1), why + skip);
    return cli_fail(code, import->source.name, "line %" PRIu64 ": %s", line, why);
}

/* The space is itself a UUIDv5: of "blazedb:COLLECTION" in the URL name space of RFC 9562. */
static int choose_space(struct import *import)
{
    static const blaze_id urls = {{0x6b, 0xa7, 0xb8, 0x11, 0x9d, 0xad, 0x11, 0xd1, 0x80, 0xb4, 0x00,
        0xc0, 0x4f, 0xd4, 0x30, 0xc8}};
    char name[BLAZE_MAX_NAME + 16];
    int size = snprintf(name, sizeof name, "blazedb:%s", import->collection);
    if (size >= (int)sizeof name)
        return BLAZE_ELIMIT;
    return blaze_id_derive(&import->space, &urls, name, (size_t)size);
}

/* The id derived from a field: of a string its bytes, of anything else its JSON. */
static int derive(const struct import *import, const blaze_value *key, blaze_id *out)
{
    if (key->type == BLAZE_STRING)
        return blaze_id_derive(out, &import->space, key->as.text.data, key->as.text.size);
    char *json;
    int rc = blaze_value_to_json(&json, key, false);
    if (rc == BLAZE_OK) {
        rc = blaze_id_derive(out, &import->space, json, strlen(json));
        blaze_free(json);
    }
    return rc;
}

/* Writes one document into the transaction at hand. */
static int write_document(struct import *import, blaze_doc *document, const struct piece *piece)
{
    blaze_error error = {0};
    blaze_value value, given;
    blaze_id id = {{0}};
    bool named = true; /* the id says which record it is: put, not insert */
    int rc = blaze_doc_value(document, &value);
    if (rc != BLAZE_OK)
        return fail_at(import, piece, rc, blaze_error_string(rc));
    if (blaze_value_field(&value, "_id", &given) == BLAZE_OK) {
        if (cli_id_of_value(&given, &id) != BLAZE_OK)
            return fail_at(import, piece, BLAZE_ESYNTAX, "\"_id\" is not an id of 36 characters");
        rc = cli_without_id(&value, import->without_id);
        document = import->without_id;
    } else if (import->id_field != NULL) {
        if (blaze_value_field(&value, import->id_field, &given) != BLAZE_OK ||
            given.type == BLAZE_NULL)
            return fail_at(import, piece, BLAZE_ESYNTAX, "it has not the field that --id names");
        rc = derive(import, &given, &id);
    } else {
        named = false;
    }
    if (rc == BLAZE_OK && named)
        rc = blaze_txn_put(import->txn, import->collection, &id, document, &error);
    else if (rc == BLAZE_OK)
        rc = blaze_txn_insert(import->txn, import->collection, &id, document, &error);
    if (rc != BLAZE_OK)
        return fail_at(import, piece, rc, error.code == rc ? error.text : blaze_error_string(rc));
    return EXIT_DONE;
}

static int take(struct import *import, const struct piece *piece)
{
    blaze_error error;
    blaze_doc *document;
    int rc = blaze_doc_from_json(&document, piece->data, piece->size, &error);
    if (rc != BLAZE_OK)
        return fail_at(import, piece, rc, error.text);
    int code = EXIT_DONE;
    if (import->txn == NULL && (rc = blaze_begin(import->db, &import->txn, &error)) != BLAZE_OK) {
        import->txn = NULL;
        code = cli_fail_error(import->cli->words[0], rc, &error);
    }
    if (code == EXIT_DONE)
        code = write_document(import, document, piece);
    blaze_doc_free(document);
    if (code == EXIT_DONE) {
        import->batch++;
        import->batch_bytes += piece->size;
    }
    return code;
}

static int commit(struct import *import)
{
    if (import->txn == NULL)
        return EXIT_DONE;
    blaze_error error;
    int rc = blaze_commit(import->txn, &error);
    import->txn = NULL;
    if (rc != BLAZE_OK)
        return cli_fail_error(import->cli->words[0], rc, &error);
    import->imported += import->batch;
    import->batch = 0;
    import->batch_bytes = 0;
    return EXIT_DONE;
}

/* Takes all objects, and commits what was taken also where it ends early. */
static int run(struct import *import)
{
    struct piece piece;
    bool end = false;
    int code;
    while ((code = source_next(&import->source, &piece, &end)) == EXIT_DONE && !end) {
        if ((code = take(import, &piece)) != EXIT_DONE)
            break;
        if (import->batch >= BATCH_RECORDS || import->batch_bytes >= BATCH_BYTES) {
            if ((code = commit(import)) != EXIT_DONE)
                break;
            cli_progress_show(
                &import->progress, source_part(&import->source), import->imported, "records");
        }
    }
    int last = commit(import);
    if (code == EXIT_DONE)
        code = last;
    return code;
}

static int report(struct import *import, int code)
{
    double seconds = cli_seconds() - import->progress.started;
    struct cli_result *result = cli_result_new();
    cli_result_number(result, "imported", import->imported);
    cli_result_seconds(result, "seconds", seconds);
    int printed = cli_result_print(import->cli, result);
    return code != EXIT_DONE ? code : printed;
}

int cmd_import(struct cli *cli)
{
    const char *format = cli_option(cli, "format");
    if (format != NULL && strcmp(format, "json") != 0 && strcmp(format, "jsonl") != 0)
        return cli_fail(EXIT_USAGE, "import", "--format wants jsonl or json, not \"%s\"", format);
    struct import import = {
        .cli = cli,
        .collection = cli->words[1],
        .id_field = cli_option(cli, "id"),
    };
    int rc = choose_space(&import);
    if (rc == BLAZE_OK)
        rc = blaze_doc_new(&import.without_id);
    if (rc != BLAZE_OK)
        return cli_fail_error("import", rc, NULL);

    int code =
        source_open(&import.source, cli->words[2], format != NULL && strcmp(format, "json") == 0);
    if (code == EXIT_DONE && (code = cli_open(cli, &import.db)) == EXIT_DONE) {
        cli_stop_watch();
        cli_progress_begin(&import.progress, cli, "import");
        code = run(&import);
        cli_progress_end(&import.progress);
        code = cli_close(cli, import.db, report(&import, code));
    }
    source_close(&import.source);
    blaze_doc_free(import.without_id);
    return code;
}
