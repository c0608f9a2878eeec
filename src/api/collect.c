/* SPDX-License-Identifier: Apache-2.0 */
#include "api_priv.h"

int blaze_collect(blaze_db *db, uint64_t *collected, blaze_error *error)
{
    if (db == NULL)
        return bz_api_null(error, "the database");
    uint64_t count = 0;
    int rc = BLAZE_OK;
    for (bool more = true; rc == BLAZE_OK && more;)
        rc = bz_db_collect(db->db, &count, &more, error);
    if (rc == BLAZE_OK && collected != NULL)
        *collected = count;
    return rc;
}

int blaze_retention(blaze_db *db, uint64_t *ms, blaze_error *error)
{
    if (db == NULL || ms == NULL)
        return bz_api_null(error, db == NULL ? "the database" : "ms");
    return bz_db_retention(db->db, ms, error);
}

int blaze_set_retention(blaze_db *db, uint64_t ms, blaze_error *error)
{
    if (db == NULL)
        return bz_api_null(error, "the database");
    return bz_db_set_retention(db->db, ms, error);
}

int blaze_forget(blaze_db *db, const blaze_id *node, blaze_error *error)
{
    if (db == NULL || node == NULL)
        return bz_api_null(error, db == NULL ? "the database" : "the node");
    return bz_db_forget(db->db, node, error);
}
