/* SPDX-License-Identifier: Apache-2.0 */
#include "crdt/scope.h"

#include <blazedb/value.h>

void bz_scope_append(struct bz_buf *out, const struct bz_scope_item *item)
{
    bz_buf_append_sized(out, item->collection);
    bz_buf_append_sized(out, item->filter);
}

int bz_scope_next(struct bz_bytes *rest, struct bz_scope_item *out)
{
    if (rest->size == 0)
        return BLAZE_END;
    struct bz_reader r = bz_reader(*rest);
    struct bz_scope_item item;
    item.collection = bz_read_sized(&r);
    item.filter = bz_read_sized(&r);
    if (!r.ok)
        return BLAZE_EPROTO;
    *rest = bz_bytes(r.p, bz_reader_left(&r));
    *out = item;
    return 0;
}

static int compare(struct bz_bytes a, struct bz_bytes b)
{
    size_t common = a.size < b.size ? a.size : b.size;
    int order = common == 0 ? 0 : memcmp(a.data, b.data, common);
    return order != 0 ? order : (a.size > b.size) - (a.size < b.size);
}

int bz_scope_check(struct bz_bytes scope)
{
    struct bz_scope_item item, last = {0};
    uint32_t count = 0;
    int rc;
    if (scope.size > BZ_SCOPE_BYTES_MAX)
        return BLAZE_EPROTO;
    while ((rc = bz_scope_next(&scope, &item)) == 0) {
        bool every = item.collection.size == 0;
        if (++count > BZ_SCOPE_COLLECTIONS_MAX || item.filter.size > BZ_SCOPE_FILTER_MAX ||
            item.collection.size > BLAZE_MAX_NAME ||
            (every && (item.filter.size > 0 || scope.size > 0 || count > 1)) ||
            (count > 1 && compare(last.collection, item.collection) >= 0))
            return BLAZE_EPROTO;
        last = item;
    }
    return rc == BLAZE_END ? 0 : rc;
}

bool bz_scope_find(struct bz_bytes scope, struct bz_bytes collection, struct bz_scope_item *out)
{
    struct bz_scope_item item;
    while (bz_scope_next(&scope, &item) == 0) {
        if (item.collection.size == 0 || bz_bytes_equal(item.collection, collection)) {
            *out = item;
            return true;
        }
    }
    return false;
}

bool bz_scope_filtered(struct bz_bytes scope)
{
    struct bz_scope_item item;
    while (bz_scope_next(&scope, &item) == 0) {
        if (item.filter.size > 0)
            return true;
    }
    return false;
}

bool bz_scope_takes_all(struct bz_bytes scope)
{
    struct bz_scope_item item;
    return bz_scope_next(&scope, &item) == 0 && item.collection.size == 0;
}

bool bz_scope_includes(struct bz_bytes wide, struct bz_bytes narrow)
{
    struct bz_scope_item item, taken;
    if (wide.size == 0 || bz_scope_takes_all(wide))
        return true;
    if (narrow.size == 0)
        return false;
    while (bz_scope_next(&narrow, &item) == 0) {
        if (item.collection.size == 0 || !bz_scope_find(wide, item.collection, &taken))
            return false;
        if (taken.filter.size > 0 && !bz_bytes_equal(taken.filter, item.filter))
            return false;
    }
    return true;
}
