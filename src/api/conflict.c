/* SPDX-License-Identifier: Apache-2.0 */
#include "api_priv.h"
#include "base/alloc.h"
#include "crdt/clock.h"

struct walk {
    int (*each)(void *context, const blaze_conflict *conflict);
    void *context;
    bool no_memory;
};

static int on_conflict(void *context, const struct bz_conflict *in)
{
    struct walk *walk = context;
    blaze_sibling *siblings = bz_malloc(in->count * sizeof *siblings);
    if (siblings == NULL) {
        walk->no_memory = true;
        return BLAZE_ENOMEM;
    }
    for (uint32_t i = 0; i < in->count; i++)
        siblings[i] = (blaze_sibling){
            .present = in->siblings[i].present,
            .value = in->siblings[i].value,
            .node = in->siblings[i].node,
            .time_ms = (int64_t)BZ_STAMP_MS(in->siblings[i].stamp),
            .role = (blaze_role)in->siblings[i].role,
        };
    blaze_conflict conflict = {
        .collection = {(const char *)in->collection.data, in->collection.size},
        .id = in->id,
        .field = {(const char *)in->field.data, in->field.size},
        .count = in->count,
        .siblings = siblings,
    };
    int rc = walk->each(walk->context, &conflict);
    bz_free(siblings);
    return rc;
}

int blaze_conflicts(blaze_db *db, const char *collection, const blaze_id *id,
    int (*each)(void *context, const blaze_conflict *conflict), void *context, blaze_error *error)
{
    if (db == NULL || each == NULL)
        return bz_api_null(error, db == NULL ? "the database" : "each");
    if (id != NULL && collection == NULL)
        return bz_error_set(error, BLAZE_EINVAL, "an id means a record only in a collection");
    struct bz_read *read;
    int rc = bz_read_begin(db->db, &read, error);
    if (rc != BLAZE_OK)
        return rc;
    struct walk walk = {.each = each, .context = context};
    rc = bz_read_conflicts(read, collection == NULL ? bz_bytes(NULL, 0) : bz_bytes_text(collection),
        id, on_conflict, &walk, error);
    bz_read_end(read);
    if (walk.no_memory)
        bz_error_code(error, BLAZE_ENOMEM);
    return id != NULL && rc == BLAZE_ENOTFOUND ? bz_api_record_error(rc, collection, id, error)
                                               : rc;
}
