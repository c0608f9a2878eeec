/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Which records a scope takes. Any replica asks this: a partial one of what comes to it, and
 * whoever sends to one of what it has. Both look at the same document, so they agree where they
 * hold the same record.
 */

#include "db/db_priv.h"

#include "base/alloc.h"
#include "crdt/scope.h"

struct part {
    struct bz_bytes collection; /* empty: every one */
    struct bz_filter *filter;   /* NULL: every record */
    struct bz_matcher *matcher;
};

struct bz_selection {
    struct bz_catalog *catalog;
    struct bz_buf text;
    bool everything;
    uint32_t count;
    bool looked; /* `last` is what speaks of the collection `number` */
    uint32_t number;
    struct part *last;
    struct part parts[BZ_SCOPE_COLLECTIONS_MAX];
};

void bz_selection_free(struct bz_selection *selection)
{
    if (selection == NULL)
        return;
    for (uint32_t i = 0; i < selection->count; i++) {
        bz_matcher_free(selection->parts[i].matcher);
        bz_filter_free(selection->parts[i].filter);
    }
    bz_buf_release(&selection->text);
    bz_free(selection);
}

static int add_part(
    struct bz_selection *selection, const struct bz_scope_item *item, blaze_error *error)
{
    struct part *part = &selection->parts[selection->count++];
    *part = (struct part){.collection = item->collection};
    if (item->filter.size == 0)
        return 0;
    blaze_error inner;
    int rc = bz_filter_parse(&part->filter, item->filter, &inner);
    if (rc == BLAZE_ENOMEM)
        return bz_error_code(error, rc);
    if (rc != 0)
        return bz_error_set(error, rc, "the filter on '%.*s': %.150s",
            (int)(item->collection.size < 60 ? item->collection.size : 60),
            (const char *)item->collection.data, inner.text);
    rc = bz_matcher_new(&part->matcher, part->filter, bz_catalog_names(selection->catalog));
    return rc == 0 ? 0 : bz_error_code(error, rc);
}

int bz_selection_new(struct bz_selection **out, struct bz_catalog *catalog, struct bz_bytes scope,
    blaze_error *error)
{
    struct bz_selection *selection = bz_zalloc(sizeof *selection);
    if (selection == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    selection->catalog = catalog;
    selection->everything = scope.size == 0;
    bz_buf_init(&selection->text, BZ_SCOPE_BYTES_MAX);
    bz_buf_append(&selection->text, scope.data, scope.size);
    struct bz_bytes rest = bz_buf_bytes(&selection->text);
    struct bz_scope_item item;
    int rc = selection->text.error;
    if (rc != 0)
        bz_error_code(error, rc);
    while (rc == 0 && (rc = bz_scope_next(&rest, &item)) == 0)
        rc = add_part(selection, &item, error);
    if (rc != BLAZE_END) {
        bz_selection_free(selection);
        return rc;
    }
    *out = selection;
    return 0;
}

/* What speaks of a collection; NULL: nothing does. */
static struct part *part_of(struct bz_selection *selection, uint32_t collection)
{
    struct bz_bytes name;
    if (selection->looked && selection->number == collection)
        return selection->last;
    selection->looked = true;
    selection->number = collection;
    selection->last = NULL;
    if (bz_catalog_collection_name(selection->catalog, collection, &name) != 0)
        return NULL;
    for (uint32_t i = 0; i < selection->count && selection->last == NULL; i++) {
        struct part *part = &selection->parts[i];
        if (part->collection.size == 0 || bz_bytes_equal(part->collection, name))
            selection->last = part;
    }
    return selection->last;
}

bool bz_selection_collection(struct bz_selection *selection, uint32_t collection, bool *filtered)
{
    *filtered = false;
    if (selection->everything)
        return true;
    const struct part *part = part_of(selection, collection);
    *filtered = part != NULL && part->filter != NULL;
    return part != NULL;
}

struct source {
    const struct bz_rec *rec;
    struct bz_nodes nodes;
    const struct blaze_names *names;
};

static int field_of(const void *context, uint32_t id, blaze_value *out)
{
    const struct source *source = context;
    return bz_rec_field(source->rec, &source->nodes, id, source->names, out);
}

bool bz_selection_takes(struct bz_selection *selection, uint32_t collection, const blaze_id *id,
    const struct bz_rec *rec)
{
    if (selection->everything)
        return true;
    const struct part *part = part_of(selection, collection);
    if (part == NULL || part->filter == NULL)
        return part != NULL;
    const struct source source = {
        rec, bz_catalog_nodes(selection->catalog), bz_catalog_names(selection->catalog)};
    return bz_matcher_match_fields(part->matcher, id, &(struct bz_fields){field_of, &source});
}
