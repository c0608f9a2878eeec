/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Listing what was written apart: for each field with differing siblings all of them, the one that
 * readers see first. Before them life, if it was deleted here and written to there; that also of a
 * record that readers do not see.
 */

#include "db/db_priv.h"

struct listing {
    struct bz_read *read;
    int (*each)(void *context, const struct bz_conflict *conflict);
    void *context;
    blaze_error *error;
    int failure; /* of the first record that cannot be read; 0: none */
    blaze_error first;
};

static int sibling_of(const struct bz_db *db, const struct bz_write *write,
    struct bz_conflict_sibling *out, blaze_error *error)
{
    *out = (struct bz_conflict_sibling){.seq = write->dot.seq,
        .stamp = write->stamp,
        .role = write->role,
        .resolved = write->resolved};
    int rc = bz_catalog_node_id(db->catalog, write->dot.node, &out->node);
    return rc == 0 ? 0 : bz_error_set(error, BLAZE_ECORRUPT, "a write of an unknown node");
}

/* What a sibling says: of a field its value, of life (field NULL) the document. */
static void say(const struct bz_read *read, const struct bz_write *write, const uint32_t *field,
    const blaze_value *document, struct bz_conflict_sibling *out)
{
    const struct blaze_names *names = bz_catalog_names(read->db->catalog);
    if (field != NULL) {
        out->present = bz_doc_field(write->body, names, *field, &out->value) == 0;
    } else if (write->alive) {
        out->present = true;
        out->value = *document;
    }
}

/* One cell, with the winner first and the others in the order of the record. */
static int load_cell(struct bz_read *read, const struct bz_rec *rec, const struct bz_cell *cell,
    const uint32_t *field, const blaze_value *document, struct bz_conflict *conflict,
    blaze_error *error)
{
    struct bz_nodes nodes = bz_catalog_nodes(read->db->catalog);
    const struct bz_write *winner = bz_rec_winner(rec, cell, &nodes);
    struct bz_conflict_sibling *siblings =
        bz_arena_alloc(&read->arena, cell->count * sizeof *siblings);
    if (siblings == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    uint32_t others = 1;
    for (uint32_t i = 0; i < cell->count; i++) {
        const struct bz_write *write = &rec->writes[cell->members[i]];
        uint32_t place = write == winner ? 0 : others++;
        int rc = sibling_of(read->db, write, &siblings[place], error);
        if (rc != 0)
            return rc;
        say(read, write, field, document, &siblings[place]);
    }
    conflict->siblings = siblings;
    conflict->count = cell->count;
    return 0;
}

static int load_field(struct bz_read *read, const struct bz_rec *rec, uint32_t field,
    struct bz_conflict *conflict, blaze_error *error)
{
    conflict->field = bz_names_get(bz_catalog_names(read->db->catalog), field);
    return load_cell(read, rec, bz_rec_cell(rec, field), &field, NULL, conflict, error);
}

static int load_life(struct bz_read *read, const struct bz_rec *rec, struct bz_conflict *conflict,
    blaze_error *error)
{
    struct bz_nodes nodes = bz_catalog_nodes(read->db->catalog);
    blaze_value document;
    bz_buf_clear(&read->document);
    int rc = bz_rec_document(&read->document, rec, &nodes);
    if (rc != 0)
        return bz_error_code(error, rc);
    bz_doc_value(bz_buf_bytes(&read->document), bz_catalog_names(read->db->catalog), &document);
    conflict->life = true;
    return load_cell(read, rec, &rec->life, NULL, &document, conflict, error);
}

/* Life and the fields that are in conflict; one list, with life, if it is, at its head. */
static int load_all(struct bz_read *read, const struct bz_rec *rec, const struct bz_conflict *of,
    struct bz_record_conflicts *out, blaze_error *error)
{
    struct bz_nodes nodes = bz_catalog_nodes(read->db->catalog);
    const uint32_t *fields = NULL;
    uint32_t count = 0;
    int rc = 0;
    if (bz_rec_alive(rec, &nodes))
        rc = bz_rec_conflicts(&read->arena, rec, &fields, &count);
    struct bz_conflict *list = bz_arena_alloc(&read->arena, (count + 1) * sizeof *list);
    if (rc == BLAZE_ENOMEM || list == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    if (rc != 0)
        return bz_record_corrupt(error, &of->id);
    list[0] = *of;
    if (bz_rec_life_differs(rec)) {
        rc = load_life(read, rec, &list[0], error);
        out->life = &list[0];
    }
    for (uint32_t i = 0; rc == 0 && i < count; i++) {
        list[1 + i] = *of;
        rc = load_field(read, rec, fields[i], &list[1 + i], error);
    }
    out->fields = list + 1;
    out->count = count;
    return rc;
}

int bz_conflicts_load(struct bz_read *read, uint32_t collection, const blaze_id *id,
    struct bz_record_conflicts *out, blaze_error *error)
{
    struct bz_stored stored;
    struct bz_rec rec;
    struct bz_bytes name;
    int rc = bz_stored_load(read->view, collection, id, &stored, error);
    if (rc == BLAZE_ENOTFOUND)
        return bz_record_corrupt(error, id); /* it is listed */
    if (rc == 0)
        rc = bz_catalog_collection_name(read->db->catalog, collection, &name);
    if (rc != 0)
        return rc;
    bz_arena_reset(&read->arena);
    rc = bz_stored_decode(&read->arena, &stored, id, &rec, error);
    if (rc == 0 && bz_rec_check_kinds(&rec) != 0)
        rc = bz_kind_unknown(error);
    if (rc != 0)
        return rc;
    const struct bz_conflict of = {.collection = name, .id = *id};
    struct bz_record_conflicts found = {.collection = collection,
        .id = *id,
        .position = stored.position,
        .size = stored.record.size};
    rc = load_all(read, &rec, &of, &found, error);
    if (rc == 0)
        *out = found;
    return rc;
}

static int tell_loaded(const struct listing *listing, const struct bz_record_conflicts *found)
{
    int rc = found->life == NULL ? 0 : listing->each(listing->context, found->life);
    for (uint32_t i = 0; rc == 0 && i < found->count; i++)
        rc = listing->each(listing->context, &found->fields[i]);
    return rc;
}

static int tell_record(const struct listing *listing, uint32_t collection, const blaze_id *id)
{
    struct bz_record_conflicts found;
    int rc = bz_conflicts_load(listing->read, collection, id, &found, listing->error);
    return rc == 0 ? tell_loaded(listing, &found) : rc;
}

/* One of many: if it cannot be read, the others are told all the same, and then that. */
static int tell_or_skip(struct listing *listing, uint32_t collection, const blaze_id *id)
{
    struct bz_record_conflicts found;
    blaze_error why = {0};
    int rc = bz_conflicts_load(listing->read, collection, id, &found, &why);
    if (rc == 0)
        return tell_loaded(listing, &found);
    if (bz_is_unreadable(rc)) {
        if (listing->failure == 0)
            listing->first = why;
        listing->failure = listing->failure == 0 ? rc : listing->failure;
        return 0;
    }
    if (listing->error != NULL)
        *listing->error = why;
    return rc;
}

/* Tells of the records under a cursor until one is of another collection (`all`: until the end). */
static int tell_from(
    struct listing *listing, struct bz_cursor *cursor, uint32_t collection, bool all)
{
    uint8_t first[4];
    bz_store32be(first, collection);
    int rc = bz_cursor_seek(cursor, bz_bytes(first, sizeof first), listing->error);
    while (rc == 0) {
        struct bz_bytes key = bz_cursor_key(cursor);
        blaze_id id;
        if (key.size != BZ_RECORD_KEY_SIZE)
            return bz_error_set(listing->error, BLAZE_ECORRUPT, "the list of conflicts is corrupt");
        uint32_t of = bz_load32be(key.data);
        if (!all && of != collection)
            return 0;
        memcpy(&id, key.data + 4, sizeof id);
        rc = tell_or_skip(listing, of, &id);
        if (rc == 0)
            rc = bz_cursor_next(cursor, listing->error);
    }
    return rc == BLAZE_END ? 0 : rc;
}

int bz_conflicts_listed(
    struct bz_read *read, uint32_t collection, const blaze_id *id, blaze_error *error)
{
    uint8_t key[BZ_RECORD_KEY_SIZE];
    struct bz_bytes value;
    return bz_view_get(
        read->view, BZ_MAP_CONFLICTS, bz_record_key(key, collection, id), &value, error);
}

int bz_read_conflicts(struct bz_read *read, struct bz_bytes collection, const blaze_id *id,
    int (*each)(void *context, const struct bz_conflict *conflict), void *context,
    blaze_error *error)
{
    struct listing listing = {read, each, context, error, 0, {0}};
    struct bz_cursor *cursor = NULL;
    uint32_t number = 0;
    bool all = collection.size == 0;
    int rc = bz_db_readable(read->db, error);
    if (rc != 0)
        return rc;
    if (!all && bz_catalog_collection(read->db->catalog, collection, &number) != 0)
        return 0;
    if (id != NULL && !all) {
        rc = bz_conflicts_listed(read, number, id, error);
        if (rc != 0)
            return rc == BLAZE_ENOTFOUND ? 0 : rc;
        return tell_record(&listing, number, id);
    }
    rc = bz_cursor_open(read->view, BZ_MAP_CONFLICTS, &cursor, error);
    if (rc == 0)
        rc = tell_from(&listing, cursor, number, all);
    bz_cursor_close(cursor);
    if (rc == 0 && listing.failure != 0) {
        rc = listing.failure;
        if (error != NULL)
            *error = listing.first;
    }
    return rc;
}

int bz_read_conflict_count(
    struct bz_read *read, struct bz_bytes collection, uint64_t *out, blaze_error *error)
{
    const struct bz_state *state = NULL;
    struct bz_cursor *cursor = NULL;
    uint32_t number = 0;
    uint8_t first[4];
    uint64_t count = 0;
    if (collection.size == 0) {
        int rc = bz_read_load_state(read, &state, error);
        if (rc == 0)
            *out = state->conflicts;
        return rc;
    }
    int rc = bz_db_readable(read->db, error); /* the name of a collection is sealed */
    if (rc != 0)
        return rc;
    *out = 0;
    if (bz_catalog_collection(read->db->catalog, collection, &number) != 0)
        return 0;
    bz_store32be(first, number);
    rc = bz_cursor_open(read->view, BZ_MAP_CONFLICTS, &cursor, error);
    if (rc == 0)
        rc = bz_cursor_seek(cursor, bz_bytes(first, sizeof first), error);
    while (rc == 0) {
        struct bz_bytes key = bz_cursor_key(cursor);
        if (key.size != BZ_RECORD_KEY_SIZE || bz_load32be(key.data) != number)
            break;
        count++;
        rc = bz_cursor_next(cursor, error);
    }
    bz_cursor_close(cursor);
    if (rc == 0 || rc == BLAZE_END)
        *out = count;
    return rc == BLAZE_END ? 0 : rc;
}
