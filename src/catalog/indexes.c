/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Index definitions. A list of a collection's indexes never changes: a change makes a new list, and
 * whoever holds the old one gives it back when done. A change is kept aside until its transaction
 * is committed, so that no reader plans with an index that may come to nothing.
 *
 * Definition: collection, the generation that made it, and the top-level field, all varints; 1 if
 * the path leads on from that field, else 0; path and name, each with its size.
 */

#include "catalog/catalog_priv.h"

#include "base/alloc.h"

#include <string.h>

static struct bz_index_list *list_new(uint32_t count)
{
    struct bz_index_list *list = bz_zalloc(sizeof *list + count * sizeof list->indexes[0]);
    if (list != NULL) {
        list->references = 1;
        list->count = count;
    }
    return list;
}

static void list_unref(const struct bz_index_list *list)
{
    struct bz_index_list *own = (struct bz_index_list *)list;
    if (own != NULL && --own->references == 0)
        bz_free(own);
}

static const struct bz_index_list *lists_get(
    const struct bz_index_lists *lists, uint32_t collection)
{
    return collection < lists->count ? lists->lists[collection] : NULL;
}

const struct bz_index_list *bz_catalog_indexes(struct bz_catalog *catalog, uint32_t collection)
{
    pthread_mutex_lock(&catalog->lock);
    const struct bz_index_list *list = lists_get(&catalog->indexes, collection);
    if (list == NULL)
        list = catalog->no_indexes;
    ((struct bz_index_list *)list)->references++;
    pthread_mutex_unlock(&catalog->lock);
    return list;
}

void bz_catalog_indexes_release(struct bz_catalog *catalog, const struct bz_index_list *list)
{
    pthread_mutex_lock(&catalog->lock);
    list_unref(list);
    pthread_mutex_unlock(&catalog->lock);
}

/* ---- tables of lists: built aside, then swapped in ---- */

static void lists_free(struct bz_index_lists *lists)
{
    for (uint32_t i = 0; i < lists->count; i++)
        list_unref(lists->lists[i]);
    bz_free(lists->lists);
    *lists = (struct bz_index_lists){0};
}

static int lists_reach(struct bz_index_lists *lists, uint32_t collection)
{
    if (collection < lists->count)
        return 0;
    uint32_t count = collection + 1;
    const struct bz_index_list **grown = bz_realloc(lists->lists, count * sizeof *grown);
    if (grown == NULL)
        return BLAZE_ENOMEM;
    memset(grown + lists->count, 0, (count - lists->count) * sizeof *grown);
    lists->lists = grown;
    lists->count = count;
    return 0;
}

/* A copy of `old` (which may be NULL) with `index` at its end. */
static struct bz_index_list *list_with(
    const struct bz_index_list *old, const struct bz_index *index)
{
    uint32_t count = old == NULL ? 0 : old->count;
    struct bz_index_list *list = list_new(count + 1);
    if (list == NULL)
        return NULL;
    if (count > 0)
        memcpy(list->indexes, old->indexes, count * sizeof list->indexes[0]);
    list->indexes[count] = *index;
    return list;
}

static struct bz_index_list *list_without(
    const struct bz_index_list *old, const struct bz_index *index)
{
    struct bz_index_list *list = list_new(old->count - 1);
    uint32_t kept = 0;
    for (uint32_t i = 0; list != NULL && i < old->count; i++) {
        if (old->indexes[i].number != index->number)
            list->indexes[kept++] = old->indexes[i];
    }
    return list;
}

static int lists_add(struct bz_index_lists *lists, const struct bz_index *index)
{
    if (lists_reach(lists, index->collection) != 0)
        return BLAZE_ENOMEM;
    const struct bz_index_list *old = lists->lists[index->collection];
    struct bz_index_list *list = list_with(old, index);
    if (list == NULL)
        return BLAZE_ENOMEM;
    lists->lists[index->collection] = list;
    list_unref(old);
    return 0;
}

/* ---- definitions ---- */

static bool read_text(struct bz_reader *r, char out[BLAZE_MAX_NAME + 1])
{
    struct bz_bytes text = bz_read_sized(r);
    if (!r->ok || text.size == 0 || text.size > BLAZE_MAX_NAME)
        return false;
    memcpy(out, text.data, text.size);
    out[text.size] = '\0';
    return true;
}

static bool decode_index(
    const struct bz_catalog *catalog, struct bz_bytes definition, struct bz_index *out)
{
    struct bz_reader r = bz_reader(definition);
    uint64_t collection = bz_read_varint(&r);
    out->since = bz_read_varint(&r);
    uint64_t field = bz_read_varint(&r);
    uint8_t nested = bz_read8(&r);
    if (!read_text(&r, out->path) || !read_text(&r, out->name) || bz_reader_left(&r) != 0 ||
        collection >= bz_names_count(catalog->collections) ||
        field >= bz_names_count(catalog->fields) || nested > 1)
        return false;
    out->collection = (uint32_t)collection;
    out->field = (uint32_t)field;
    out->nested = nested == 1;
    return true;
}

static int encode_index(struct bz_buf *out, const struct bz_index *index)
{
    bz_buf_append_varint(out, index->collection);
    bz_buf_append_varint(out, index->since);
    bz_buf_append_varint(out, index->field);
    bz_buf_append8(out, index->nested);
    bz_buf_append_sized(out, bz_bytes_text(index->path));
    bz_buf_append_sized(out, bz_bytes_text(index->name));
    return out->error;
}

struct index_load {
    struct bz_catalog *catalog;
    struct bz_index_lists lists;
    blaze_error *error;
};

static int load_index(void *context, uint32_t number, struct bz_bytes definition)
{
    struct index_load *load = context;
    struct bz_index index = {.number = number};
    if (!decode_index(load->catalog, definition, &index))
        return bz_catalog_corrupt(load->error, "index", number);
    int rc = lists_add(&load->lists, &index);
    return rc == 0 ? 0 : bz_error_code(load->error, rc);
}

static void swap_lists(struct bz_catalog *catalog, struct bz_index_lists *lists)
{
    pthread_mutex_lock(&catalog->lock);
    struct bz_index_lists old = catalog->indexes;
    catalog->indexes = *lists;
    lists_free(&old);
    pthread_mutex_unlock(&catalog->lock);
}

int bz_catalog_indexes_init(struct bz_catalog *catalog)
{
    catalog->no_indexes = list_new(0);
    return catalog->no_indexes == NULL ? BLAZE_ENOMEM : 0;
}

void bz_catalog_indexes_free(struct bz_catalog *catalog)
{
    lists_free(&catalog->indexes);
    list_unref(catalog->no_indexes);
}

int bz_catalog_indexes_load(struct bz_catalog *catalog, struct bz_view *view, blaze_error *error)
{
    struct index_load load = {.catalog = catalog, .error = error};
    int rc = bz_catalog_scan(view, BZ_KIND_INDEX, 0, load_index, &load, error);
    if (rc == 0)
        swap_lists(catalog, &load.lists);
    else
        lists_free(&load.lists);
    return rc;
}

/* ---- changing ---- */

/* The smallest number above all that are in use. A dropped index's number may come again: its
 * entries went with it, and views that still have them are older than its successor. */
static uint32_t next_number(const struct bz_catalog *catalog)
{
    uint32_t next = 0;
    for (uint32_t c = 0; c < catalog->indexes.count; c++) {
        const struct bz_index_list *list = catalog->indexes.lists[c];
        for (uint32_t i = 0; list != NULL && i < list->count; i++) {
            if (list->indexes[i].number >= next)
                next = list->indexes[i].number + 1;
        }
    }
    return next;
}

static const struct bz_index *find_index(
    const struct bz_catalog *catalog, uint32_t collection, const char *name)
{
    const struct bz_index_list *list = lists_get(&catalog->indexes, collection);
    for (uint32_t i = 0; list != NULL && i < list->count; i++) {
        if (strcmp(list->indexes[i].name, name) == 0)
            return &list->indexes[i];
    }
    return NULL;
}

int bz_catalog_add_index(struct bz_catalog *catalog, struct bz_index *index, blaze_error *error)
{
    if (!bz_catalog_name_valid(bz_bytes_text(index->name)))
        return bz_error_set(error, BLAZE_EINVAL,
            "an index's name is 1 to %d bytes of UTF-8 without control characters", BLAZE_MAX_NAME);
    if (find_index(catalog, index->collection, index->name) != NULL)
        return bz_error_set(error, BLAZE_EEXIST, "there is an index '%s' already", index->name);
    const struct bz_index_list *list = lists_get(&catalog->indexes, index->collection);
    if (list != NULL && list->count >= BZ_CATALOG_INDEXES_MAX)
        return bz_error_set(
            error, BLAZE_ELIMIT, "a collection has at most %u indexes", BZ_CATALOG_INDEXES_MAX);
    index->number = next_number(catalog);
    index->since = atomic_load(&catalog->generation) + 1;
    catalog->index_change = BZ_INDEX_ADDED;
    catalog->changed = *index;
    return 0;
}

int bz_catalog_drop_index(struct bz_catalog *catalog, uint32_t collection, const char *name,
    struct bz_index *dropped, blaze_error *error)
{
    const struct bz_index *index = find_index(catalog, collection, name);
    if (index == NULL)
        return bz_error_set(error, BLAZE_ENOTFOUND, "there is no index '%s'", name);
    catalog->index_change = BZ_INDEX_DROPPED;
    catalog->changed = *index;
    *dropped = *index;
    return 0;
}

/* Writes the change, and makes the list that it leads to: nothing may fail after the commit. */
int bz_catalog_indexes_flush(struct bz_catalog *catalog, struct bz_txn *txn, blaze_error *error)
{
    const struct bz_index *changed = &catalog->changed;
    if (catalog->index_change == BZ_INDEX_KEPT)
        return 0;
    pthread_mutex_lock(&catalog->lock);
    int rc = lists_reach(&catalog->indexes, changed->collection);
    pthread_mutex_unlock(&catalog->lock);
    if (rc != 0)
        return bz_error_code(error, rc);

    const struct bz_index_list *old = catalog->indexes.lists[changed->collection];
    bool added = catalog->index_change == BZ_INDEX_ADDED;
    catalog->next_list = added ? list_with(old, changed) : list_without(old, changed);
    if (catalog->next_list == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    if (!added)
        return bz_catalog_erase(txn, BZ_KIND_INDEX, changed->number, error);

    struct bz_buf definition;
    bz_buf_init(&definition, 4 * BLAZE_MAX_NAME);
    rc = encode_index(&definition, changed);
    rc = rc == 0 ? bz_catalog_write(
                       txn, BZ_KIND_INDEX, changed->number, bz_buf_bytes(&definition), error)
                 : bz_error_code(error, rc);
    bz_buf_release(&definition);
    return rc;
}

void bz_catalog_indexes_committed(struct bz_catalog *catalog)
{
    if (catalog->index_change == BZ_INDEX_KEPT)
        return;
    pthread_mutex_lock(&catalog->lock);
    const struct bz_index_list **place = &catalog->indexes.lists[catalog->changed.collection];
    list_unref(*place);
    *place = catalog->next_list;
    pthread_mutex_unlock(&catalog->lock);
    catalog->next_list = NULL;
    catalog->index_change = BZ_INDEX_KEPT;
}

void bz_catalog_indexes_rollback(struct bz_catalog *catalog)
{
    list_unref(catalog->next_list);
    catalog->next_list = NULL;
    catalog->index_change = BZ_INDEX_KEPT;
}
