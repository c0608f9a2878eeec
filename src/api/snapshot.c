/* SPDX-License-Identifier: Apache-2.0 */
#include "api_priv.h"
#include "base/alloc.h"

int blaze_snapshot_open(blaze_db *db, blaze_snapshot **out, blaze_error *error)
{
    if (db == NULL || out == NULL)
        return bz_api_null(error, db == NULL ? "the database" : "out");
    blaze_snapshot *snapshot = bz_malloc(sizeof *snapshot);
    if (snapshot == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    bz_owner_init(&snapshot->owner);
    int rc = bz_read_begin(db->db, &snapshot->read, error);
    if (rc != BLAZE_OK) {
        bz_free(snapshot);
        return rc;
    }
    *out = snapshot;
    return BLAZE_OK;
}

void blaze_snapshot_close(blaze_snapshot *snapshot)
{
    if (snapshot == NULL)
        return;
    bz_owner_check(&snapshot->owner);
    bz_read_end(snapshot->read);
    bz_free(snapshot);
}

static int check(const blaze_snapshot *snapshot, const char *collection, blaze_error *error)
{
    if (snapshot == NULL || collection == NULL)
        return bz_api_null(error, snapshot == NULL ? "the snapshot" : "the collection");
    bz_owner_check(&snapshot->owner);
    return BLAZE_OK;
}

int blaze_snapshot_get(blaze_snapshot *snapshot, const char *collection, const blaze_id *id,
    blaze_value *out, blaze_error *error)
{
    int rc = check(snapshot, collection, error);
    if (rc != BLAZE_OK)
        return rc;
    if (id == NULL)
        return bz_api_null(error, "the id");
    rc = bz_read_get(snapshot->read, bz_bytes_text(collection), id, out, error);
    return bz_api_record_error(rc, collection, id, error);
}

int blaze_snapshot_count(
    blaze_snapshot *snapshot, const char *collection, uint64_t *out, blaze_error *error)
{
    int rc = check(snapshot, collection, error);
    if (rc != BLAZE_OK)
        return rc;
    return bz_read_count(snapshot->read, bz_bytes_text(collection), out, error);
}
