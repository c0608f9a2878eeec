/* SPDX-License-Identifier: Apache-2.0 */
/* Opens a database (making it the first time), adds two records, and finds one of them. */
#include <blazedb.h>
#include <stdio.h>
#include <string.h>

static int open_or_create(blaze_db **db, const char *path, blaze_error *error)
{
    int rc = blaze_open(db, path, NULL, error);
    if (rc != BLAZE_ENOTFOUND)
        return rc;
    blaze_open_options options;
    blaze_open_options_init(&options);
    options.create = 1;
    return blaze_open(db, path, &options, error);
}

static int add(blaze_db *db, const char *name, double lat, blaze_error *error)
{
    blaze_doc *doc;
    int rc = blaze_doc_new(&doc);
    if (rc != BLAZE_OK)
        return rc;
    blaze_doc_add_string(doc, "name", name);
    blaze_doc_add_double(doc, "lat", lat);
    blaze_id id = {{0}}; /* all zero: a new one is made */
    rc = blaze_insert(db, "cities", &id, doc, error);
    blaze_doc_free(doc);
    return rc;
}

static int print_north(blaze_db *db, blaze_error *error)
{
    blaze_query query;
    blaze_query_init(&query);
    query.filter = "lat > 42.55";
    blaze_cursor *cursor;
    int rc = blaze_find(db, "cities", &query, &cursor, error);
    if (rc != BLAZE_OK)
        return rc;
    blaze_id id;
    blaze_value city, name;
    while ((rc = blaze_cursor_next(cursor, &id, &city, error)) == BLAZE_OK)
        if (blaze_value_field(&city, "name", &name) == BLAZE_OK && name.type == BLAZE_STRING)
            printf("%.*s\n", (int)name.as.text.size, name.as.text.data);
    blaze_cursor_close(cursor);
    return rc == BLAZE_END ? BLAZE_OK : rc;
}

int main(int argc, char **argv)
{
    blaze_db *db;
    blaze_error error = {0};
    int rc = open_or_create(&db, argc > 1 ? argv[1] : "hello.blz", &error);
    if (rc == BLAZE_OK) {
        rc = add(db, "Vila", 42.53, &error);
        if (rc == BLAZE_OK)
            rc = add(db, "El Tarter", 42.58, &error);
        if (rc == BLAZE_OK)
            rc = print_north(db, &error);
        int closed = blaze_close(db, rc == BLAZE_OK ? &error : NULL);
        if (rc == BLAZE_OK)
            rc = closed;
    }
    if (rc != BLAZE_OK)
        fprintf(stderr, "hello: %s\n", error.text[0] != '\0' ? error.text : blaze_error_string(rc));
    return rc != BLAZE_OK;
}
