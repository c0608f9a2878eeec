/* SPDX-License-Identifier: Apache-2.0 */
/* Partial copies: their scope, and evicting. */
#include "crdt/scope.h"

#include "api_priv.h"

_Static_assert(BLAZE_MAX_SCOPE == BZ_SCOPE_COLLECTIONS_MAX, "one limit");
_Static_assert(BLAZE_MAX_SCOPE_FILTER == BZ_SCOPE_FILTER_MAX, "one limit");

/* ---- setting ---- */

static int check_item(const blaze_scope_item *item, blaze_error *error)
{
    if (item->collection == NULL || item->collection[0] == '\0')
        return bz_error_set(error, BLAZE_EINVAL, "a collection must be named");
    if (item->filter != NULL && strlen(item->filter) > BLAZE_MAX_SCOPE_FILTER)
        return bz_error_set(error, BLAZE_EINVAL, "the filter on '%.60s' is longer than %d bytes",
            item->collection, BLAZE_MAX_SCOPE_FILTER);
    return BLAZE_OK;
}

/* By collection, as a scope wants it. */
static int sort_items(const blaze_scope_item **sorted, const blaze_scope_item *items, size_t count,
    blaze_error *error)
{
    for (size_t i = 0; i < count; i++) {
        size_t at = i;
        int rc = check_item(&items[i], error);
        if (rc != BLAZE_OK)
            return rc;
        int order = -1;
        for (; at > 0; at--) {
            order = strcmp(sorted[at - 1]->collection, items[i].collection);
            if (order <= 0)
                break;
            sorted[at] = sorted[at - 1];
        }
        if (at > 0 && order == 0)
            return bz_error_set(error, BLAZE_EINVAL,
                "the scope names '%.60s' twice: join its filters with 'or'", items[i].collection);
        sorted[at] = &items[i];
    }
    return BLAZE_OK;
}

static int encode(
    struct bz_buf *out, const blaze_scope_item *items, size_t count, blaze_error *error)
{
    const blaze_scope_item *sorted[BLAZE_MAX_SCOPE];
    if (count > BLAZE_MAX_SCOPE)
        return bz_error_set(
            error, BLAZE_EINVAL, "a scope names at most %d collections", BLAZE_MAX_SCOPE);
    int rc = sort_items(sorted, items, count, error);
    for (size_t i = 0; rc == BLAZE_OK && i < count; i++) {
        const char *filter = sorted[i]->filter != NULL ? sorted[i]->filter : "";
        struct bz_scope_item item = {bz_bytes_text(sorted[i]->collection), bz_bytes_text(filter)};
        bz_scope_append(out, &item);
    }
    if (rc == BLAZE_OK && out->error == BLAZE_ELIMIT)
        rc = bz_error_set(
            error, BLAZE_EINVAL, "a scope takes at most %u bytes in all", BZ_SCOPE_BYTES_MAX);
    else if (rc == BLAZE_OK && out->error != BLAZE_OK)
        rc = bz_error_code(error, out->error);
    return rc;
}

int blaze_set_scope(blaze_db *db, const blaze_scope_item *items, size_t count, blaze_error *error)
{
    if (db == NULL || (items == NULL && count > 0))
        return bz_api_null(error, db == NULL ? "the database" : "the items");
    struct bz_buf scope;
    bz_buf_init(&scope, BZ_SCOPE_BYTES_MAX);
    int rc = encode(&scope, items, count, error);
    if (rc == BLAZE_OK)
        rc = bz_db_scope_set(db->db, bz_buf_bytes(&scope), error);
    bz_buf_release(&scope);
    return rc;
}

/* ---- looking ---- */

static int tell(struct bz_bytes scope, int (*each)(void *context, const blaze_scope_item *item),
    void *context, blaze_error *error)
{
    struct bz_scope_item item;
    struct bz_buf text;
    int rc = 0;
    bz_buf_init(&text, 2 * BZ_SCOPE_BYTES_MAX);
    while (rc == 0 && bz_scope_next(&scope, &item) == 0 && item.collection.size > 0) {
        bz_buf_clear(&text);
        bz_buf_append(&text, item.collection.data, item.collection.size);
        bz_buf_append8(&text, '\0');
        bz_buf_append(&text, item.filter.data, item.filter.size);
        bz_buf_append8(&text, '\0');
        if (text.error != 0) {
            rc = bz_error_code(error, text.error);
            break;
        }
        const char *name = (const char *)text.data;
        rc = each(context, &(blaze_scope_item){name, name + item.collection.size + 1});
    }
    bz_buf_release(&text);
    return rc;
}

int blaze_get_scope(blaze_db *db, int *partial,
    int (*each)(void *context, const blaze_scope_item *item), void *context, blaze_error *error)
{
    if (db == NULL)
        return bz_api_null(error, "the database");
    struct bz_buf scope;
    bz_buf_init(&scope, BZ_SCOPE_BYTES_MAX);
    int rc = bz_db_scope(db->db, &scope, error);
    if (rc == BLAZE_OK && partial != NULL)
        *partial = scope.size > 0;
    if (rc == BLAZE_OK && each != NULL)
        rc = tell(bz_buf_bytes(&scope), each, context, error);
    bz_buf_release(&scope);
    return rc;
}

int bz_api_scope_json(struct bz_buf *out, struct bz_read *read, bool *partial, blaze_error *error)
{
    struct bz_bytes scope;
    struct bz_scope_item item;
    int rc = bz_read_scope(read, &scope, error);
    if (rc != BLAZE_OK)
        return rc;
    *partial = scope.size > 0;
    bz_buf_printf(out, ",\"partial\":%s", *partial ? "true" : "false");
    if (!*partial)
        return BLAZE_OK;
    bz_buf_printf(out, ",\"scope\":{");
    for (bool first = true; bz_scope_next(&scope, &item) == 0 && item.collection.size > 0;
         first = false) {
        if (!first)
            bz_buf_append8(out, ',');
        bz_api_json_text(out, item.collection);
        bz_buf_append8(out, ':');
        bz_api_json_text(out, item.filter);
    }
    bz_buf_append8(out, '}');
    return BLAZE_OK;
}

/* ---- evicting ---- */

int blaze_evict(blaze_db *db, const char *collection, const blaze_id *id, blaze_error *error)
{
    if (db == NULL || collection == NULL || id == NULL)
        return bz_api_null(error, db == NULL           ? "the database"
                                  : collection == NULL ? "the collection"
                                                       : "the id");
    return bz_db_evict(db->db, bz_bytes_text(collection), id, 1, error);
}

int blaze_evict_where(blaze_db *db, const char *collection, const char *filter, uint64_t *evicted,
    uint64_t *kept, blaze_error *error)
{
    uint64_t went = 0, stayed = 0;
    if (db == NULL || collection == NULL)
        return bz_api_null(error, db == NULL ? "the database" : "the collection");
    blaze_scope_item item = {collection, filter != NULL ? filter : ""};
    int rc = check_item(&item, error);
    if (rc == BLAZE_OK)
        rc = bz_db_evict_where(
            db->db, bz_bytes_text(collection), bz_bytes_text(item.filter), &went, &stayed, error);
    if (evicted != NULL)
        *evicted = went;
    if (kept != NULL)
        *kept = stayed;
    return rc;
}
