/* SPDX-License-Identifier: Apache-2.0 */
/* create, insert, put, update, delete, get: one record, one commit. */
#include "cli.h"

#include <string.h>

int cmd_create(struct cli *cli)
{
    blaze_open_options options;
    cli_open_options(cli, &options);
    options.create = 1;
    const char *role = cli_option(cli, "role");
    if (role != NULL && strcmp(role, "server") == 0)
        options.role = BLAZE_SERVER;
    else if (role != NULL && strcmp(role, "client") != 0)
        return cli_fail(EXIT_USAGE, "create", "--role wants client or server, not \"%s\"", role);

    const char *path = cli->words[0];
    blaze_db *db;
    blaze_error error;
    struct cli_seal seal;
    int code = cli_seal_create(cli, &seal);
    if (code != EXIT_DONE)
        return code;
    options.seal = seal.seal;
    int rc = blaze_open(&db, path, &options, &error);
    cli_seal_wipe(&seal);
    if (rc != BLAZE_OK)
        return cli_fail_error(path, rc, &error);

    blaze_id database, node;
    blaze_database_id(db, &database);
    blaze_node_id(db, &node);
    code = cli_close(cli, db, EXIT_DONE);
    if (code != EXIT_DONE)
        return code;
    struct cli_result *result = cli_result_new();
    cli_result_text(result, "path", path);
    cli_result_id(result, "database", &database);
    cli_result_id(result, "node", &node);
    cli_result_text(result, "role", options.role == BLAZE_SERVER ? "server" : "client");
    return cli_result_print(cli, result);
}

/* Says what went wrong with one record. That there is no such record is no failure of the
 * database, and has an exit code of its own. */
static int record_failed(const struct cli *cli, blaze_db *db, int rc, const blaze_error *error)
{
    const char *collection = cli->words[1];
    if (rc != BLAZE_ENOTFOUND)
        return cli_fail_error(cli->words[0], rc, error);
    if (!cli_has_collection(db, collection))
        return cli_fail(EXIT_NO_RECORD, cli->words[0], "no collection %s", collection);
    return cli_fail(EXIT_NO_RECORD, cli->words[0], "no record %s in %s", cli->words[2], collection);
}

/* Prints {"_id":...} after a write that went well. */
static int finish_write(
    const struct cli *cli, blaze_db *db, int rc, const blaze_id *id, const blaze_error *error)
{
    int code = rc == BLAZE_OK ? EXIT_DONE : record_failed(cli, db, rc, error);
    code = cli_close(cli, db, code);
    if (code != EXIT_DONE)
        return code;
    struct cli_result *result = cli_result_new();
    cli_result_id(result, "_id", id);
    return cli_result_print(cli, result);
}

int cmd_insert(struct cli *cli)
{
    blaze_id id = {{0}};
    const char *given = cli_option(cli, "id");
    if (given != NULL && cli_id(given, &id) != EXIT_DONE)
        return EXIT_USAGE;
    blaze_doc *document;
    int code = cli_document(cli->words[2], &document);
    if (code != EXIT_DONE)
        return code;
    blaze_db *db;
    blaze_id own;
    bool named;
    code = cli_take_id(&document, &own, &named);
    if (named && given == NULL)
        id = own;
    if (code == EXIT_DONE)
        code = cli_open(cli, &db);
    if (code == EXIT_DONE) {
        blaze_error error;
        int rc = blaze_insert(db, cli->words[1], &id, document, &error);
        code = finish_write(cli, db, rc, &id, &error);
    }
    blaze_doc_free(document);
    return code;
}

typedef int write_call(blaze_db *db, const char *collection, const blaze_id *id,
    blaze_doc *document, blaze_error *error);

static int write_document(struct cli *cli, write_call *call)
{
    blaze_id id;
    if (cli_id(cli->words[2], &id) != EXIT_DONE)
        return EXIT_USAGE;
    blaze_doc *document;
    int code = cli_document(cli->words[3], &document);
    if (code != EXIT_DONE)
        return code;
    blaze_db *db;
    blaze_id own;
    bool named = false;
    if (call == blaze_put)
        code = cli_take_id(&document, &own, &named);
    if (named && memcmp(&own, &id, sizeof id) != 0)
        code = cli_fail(EXIT_USAGE, "document", "its \"_id\" is not %s", cli->words[2]);
    if (code == EXIT_DONE)
        code = cli_open(cli, &db);
    if (code == EXIT_DONE) {
        blaze_error error;
        int rc = call(db, cli->words[1], &id, document, &error);
        code = finish_write(cli, db, rc, &id, &error);
    }
    blaze_doc_free(document);
    return code;
}

int cmd_put(struct cli *cli)
{
    return write_document(cli, blaze_put);
}

int cmd_update(struct cli *cli)
{
    return write_document(cli, blaze_update);
}

int cmd_delete(struct cli *cli)
{
    blaze_id id;
    if (cli_id(cli->words[2], &id) != EXIT_DONE)
        return EXIT_USAGE;
    blaze_db *db;
    int code = cli_open(cli, &db);
    if (code != EXIT_DONE)
        return code;
    blaze_error error;
    int rc = blaze_delete(db, cli->words[1], &id, &error);
    return finish_write(cli, db, rc, &id, &error);
}

int cmd_get(struct cli *cli)
{
    blaze_id id;
    if (cli_id(cli->words[2], &id) != EXIT_DONE)
        return EXIT_USAGE;
    blaze_db *db;
    int code = cli_open_reading(cli, &db);
    if (code != EXIT_DONE)
        return code;
    blaze_error error;
    blaze_doc *document;
    int rc = blaze_get(db, cli->words[1], &id, &document, &error);
    if (rc != BLAZE_OK)
        return cli_close(cli, db, record_failed(cli, db, rc, &error));
    blaze_value value;
    rc = blaze_doc_value(document, &value);
    if (rc == BLAZE_OK)
        rc = cli_json_document(&id, &value, !cli->json);
    code = rc == BLAZE_OK ? cli_flush() : cli_fail_error(cli->words[0], rc, NULL);
    blaze_doc_free(document);
    return cli_close(cli, db, code);
}
