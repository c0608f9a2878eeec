/* SPDX-License-Identifier: Apache-2.0 */
#include "api_priv.h"

static int check(const blaze_db *db, const char *collection, blaze_error *error)
{
    if (db == NULL || collection == NULL)
        return bz_api_null(error, db == NULL ? "the database" : "the collection");
    return BLAZE_OK;
}

int blaze_index_create(
    blaze_db *db, const char *collection, const char *field, const char *name, blaze_error *error)
{
    int rc = check(db, collection, error);
    if (rc != BLAZE_OK)
        return rc;
    if (field == NULL || field[0] == '\0')
        return bz_error_set(error, BLAZE_EINVAL, "an index needs a field");
    return bz_db_index_create(
        db->db, bz_bytes_text(collection), field, name != NULL ? name : field, error);
}

int blaze_index_drop(blaze_db *db, const char *collection, const char *name, blaze_error *error)
{
    int rc = check(db, collection, error);
    if (rc != BLAZE_OK)
        return rc;
    if (name == NULL)
        return bz_api_null(error, "the name of the index");
    return bz_db_index_drop(db->db, bz_bytes_text(collection), name, error);
}

int blaze_index_list(blaze_db *db, const char *collection,
    int (*each)(void *context, const char *name, const char *field), void *context,
    blaze_error *error)
{
    int rc = check(db, collection, error);
    if (rc != BLAZE_OK)
        return rc;
    if (each == NULL)
        return bz_api_null(error, "each");
    return bz_db_index_list(db->db, bz_bytes_text(collection), each, context, error);
}
