/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Whether everything in a database agrees, in one snapshot:
 *
 *   records    decode; their documents are sound; nobody's writes or stamps are ahead of what the
 *              state knows; the log has an entry where the record says, naming it
 *   log        as many entries as records, none past the newest position
 *   index      for each visible document one entry in each index, and no other
 *   counts, conflicts, digest   are those of the records
 *
 * Memory is bounded by the number of collections and indexes.
 */

#include "db/db_priv.h"

#include "base/alloc.h"

#include <stdarg.h>
#include <stdio.h>

struct tally {
    uint64_t alive; /* of a collection */
    const struct bz_index_list *indexes;
};

struct check {
    struct bz_read *read;
    const struct bz_state *state;
    struct bz_catalog *catalog; /* as of the snapshot */
    struct tally *collections;
    uint32_t collection_count;
    uint64_t records, alive, conflicts;
    uint64_t dead_listed; /* of those that are not visible */
    struct bz_hash128 digest;
    struct bz_buf key;
    void (*each)(void *context, const char *problem);
    void *context;
    blaze_error *error;
    bool faulty;
    char first[BLAZE_ERROR_TEXT_SIZE]; /* of the faults: looking for others writes to `error` */
};

__attribute__((format(printf, 2, 3))) static void fault(
    struct check *check, const char *format, ...)
{
    char text[BLAZE_ERROR_TEXT_SIZE];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (!check->faulty)
        memcpy(check->first, text, sizeof text);
    check->faulty = true;
    if (check->each != NULL)
        check->each(check->context, text);
}

static void fault_of(struct check *check, const blaze_id *id, const char *what)
{
    char text[BLAZE_ID_TEXT_SIZE];
    fault(check, "record %s: %s", blaze_id_format(id, text), what);
}

/* A code that comes without words: a fault of the record, unless it is this check that failed. */
static int judge(struct check *check, const blaze_id *id, int rc)
{
    if (rc != BLAZE_ECORRUPT)
        return rc == 0 ? 0 : bz_error_code(check->error, rc);
    fault_of(check, id, "its document cannot be made out");
    return 0;
}

/* ---- records ---- */

/* Whether the log has an entry at the record's position that says what the record is. */
static int check_entry(struct check *check, struct bz_cursor *log, uint32_t collection,
    const blaze_id *id, uint64_t position, bool alive)
{
    struct bz_log_entry entry;
    int rc = bz_log_seek(log, position - 1, check->error);
    if (rc == 0)
        rc = bz_log_decode(log, &entry, check->error);
    if (rc != 0 && rc != BLAZE_END && rc != BLAZE_ECORRUPT)
        return rc;
    if (rc != 0 || entry.position != position || entry.collection != collection ||
        memcmp(&entry.id, id, sizeof *id) != 0)
        fault_of(check, id, "the change log does not have it where it says");
    else if (entry.dead == alive)
        fault_of(check, id, "the change log tells wrongly whether it is visible");
    return 0;
}

static void check_writes(struct check *check, const blaze_id *id, const struct bz_rec *rec)
{
    uint32_t names = bz_names_count(bz_catalog_names(check->catalog));
    uint32_t nodes = bz_catalog_nodes(check->catalog).count;
    for (uint32_t i = 0; i < rec->rvv.count; i++) {
        if (rec->rvv.entries[i].node >= nodes)
            fault_of(check, id, "it has a write of an unknown node");
        else if (rec->rvv.entries[i].node == check->state->self &&
                 rec->rvv.entries[i].seq > check->state->seq)
            fault_of(check, id, "it has a write of this node that is still to come");
    }
    for (uint32_t i = 0; i < rec->write_count; i++) {
        const struct bz_write *write = &rec->writes[i];
        if (write->stamp > check->state->stamp)
            fault_of(check, id, "it has a stamp ahead of the clock");
        bool readable = !check->read->db->identity.blind;
        if (readable && write->body.size > 0 && bz_doc_check(write->body, names) != 0)
            fault_of(check, id, "a document in it is not sound");
    }
}

static bool life_differs(const struct check *check, const struct bz_rec *rec)
{
    return !check->read->db->identity.blind && bz_rec_life_differs(rec);
}

static int check_conflict(struct check *check, uint32_t collection, const blaze_id *id, bool is)
{
    uint8_t key[BZ_RECORD_KEY_SIZE];
    struct bz_bytes value;
    int rc = bz_view_get(check->read->view, BZ_MAP_CONFLICTS, bz_record_key(key, collection, id),
        &value, check->error);
    if (rc != 0 && rc != BLAZE_ENOTFOUND)
        return rc;
    check->conflicts += is;
    if (is != (rc == 0))
        fault_of(check, id, is ? "a conflict in it is not listed" : "it is listed as in conflict");
    return 0;
}

static int check_index_entries(struct check *check, const struct bz_index_list *indexes,
    const blaze_id *id, const struct bz_rec *rec)
{
    for (uint32_t i = 0; i < indexes->count; i++) {
        struct bz_bytes value;
        bool cut = false;
        int rc = bz_index_key(
            &check->read->arena, &check->key, &indexes->indexes[i], rec, check->catalog, id, &cut);
        if (rc != 0)
            return judge(check, id, rc);
        rc = bz_view_get(
            check->read->view, BZ_MAP_INDEX, bz_buf_bytes(&check->key), &value, check->error);
        if (rc == BLAZE_ENOTFOUND)
            fault_of(check, id, "an index lacks it");
        else if (rc != 0)
            return rc;
        else if (cut != (value.size > 0))
            fault_of(check, id, "an index tells wrongly whether its key is cut off");
    }
    return 0;
}

static int check_visible(struct check *check, uint32_t collection, const blaze_id *id,
    const struct bz_rec *rec, const struct bz_nodes *nodes)
{
    struct tally *tally = &check->collections[collection];
    uint32_t conflicts = 0;
    const uint32_t *fields = NULL;
    tally->alive++;
    check->alive++;
    int rc = 0;
    if (!check->read->db->identity.blind)
        rc = bz_rec_conflicts(&check->read->arena, rec, &fields, &conflicts);
    if (rc != 0)
        return judge(check, id, rc);
    rc = check_conflict(check, collection, id, conflicts > 0 || life_differs(check, rec));
    if (rc != 0)
        return rc;
    bz_hash128_add(&check->digest, bz_rec_digest(rec, id, nodes));
    return check_index_entries(check, tally->indexes, id, rec);
}

/* Whether the log's entry is listed as that of a record that is not visible. */
static int check_dead(struct check *check, const blaze_id *id, uint64_t position)
{
    uint8_t key[BZ_LOG_KEY_SIZE];
    struct bz_bytes value;
    bz_store64be(key, position);
    int rc = bz_view_get(
        check->read->view, BZ_MAP_DEAD, bz_bytes(key, sizeof key), &value, check->error);
    if (rc != 0 && rc != BLAZE_ENOTFOUND)
        return rc;
    if (rc != 0)
        fault_of(check, id, "it is deleted and not listed as that");
    else
        check->dead_listed++;
    return 0;
}

static int check_record(
    struct check *check, struct bz_cursor *log, struct bz_bytes key, struct bz_bytes value)
{
    struct bz_stored stored;
    struct bz_rec rec;
    blaze_id id;
    struct bz_nodes nodes = bz_catalog_nodes(check->catalog);
    if (key.size != BZ_RECORD_KEY_SIZE || bz_load32be(key.data) >= check->collection_count) {
        fault(check, "a record of no collection");
        return 0;
    }
    uint32_t collection = bz_load32be(key.data);
    memcpy(&id, key.data + 4, sizeof id);
    check->records++;
    bz_arena_reset(&check->read->arena);
    int rc = bz_stored_split(value, &stored, NULL);
    if (rc == 0)
        rc = bz_rec_decode(&check->read->arena, stored.record, stored.position, &rec);
    if (rc == BLAZE_ENOMEM)
        return bz_error_code(check->error, rc);
    if (rc != 0) {
        fault_of(check, &id, "it does not decode");
        return 0;
    }
    bool alive = bz_rec_alive(&rec, &nodes);
    check_writes(check, &id, &rec);
    rc = check_entry(check, log, collection, &id, stored.position, alive);
    if (rc != 0)
        return rc;
    if (alive)
        return check_visible(check, collection, &id, &rec, &nodes);
    rc = check_dead(check, &id, stored.position);
    return rc != 0 ? rc : check_conflict(check, collection, &id, life_differs(check, &rec));
}

static int check_records(struct check *check)
{
    struct bz_cursor *cursor = NULL, *log = NULL;
    int rc = bz_cursor_open(check->read->view, BZ_MAP_RECORDS, &cursor, check->error);
    if (rc == 0)
        rc = bz_cursor_open(check->read->view, BZ_MAP_LOG, &log, check->error);
    while (rc == 0 && (rc = bz_cursor_next(cursor, check->error)) == 0)
        rc = check_record(check, log, bz_cursor_key(cursor), bz_cursor_value(cursor));
    bz_cursor_close(log);
    bz_cursor_close(cursor);
    return rc == BLAZE_END ? 0 : rc;
}

/* ---- the other maps ---- */

/* Counts the entries of a map below a prefix; *last is the last key, borrowed by nobody. */
static int count_entries(struct check *check, enum bz_map map, struct bz_bytes prefix,
    uint64_t *out, struct bz_buf *last)
{
    struct bz_cursor *cursor = NULL;
    uint64_t n = 0;
    int rc = bz_cursor_open(check->read->view, map, &cursor, check->error);
    if (rc == 0)
        rc = prefix.size > 0 ? bz_cursor_seek(cursor, prefix, check->error)
                             : bz_cursor_next(cursor, check->error);
    while (rc == 0) {
        struct bz_bytes key = bz_cursor_key(cursor);
        if (key.size < prefix.size ||
            (prefix.size > 0 && memcmp(key.data, prefix.data, prefix.size) != 0))
            break;
        n++;
        bz_buf_clear(last);
        bz_buf_append(last, key.data, key.size);
        rc = bz_cursor_next(cursor, check->error);
    }
    bz_cursor_close(cursor);
    *out = n;
    return rc == BLAZE_END ? 0 : rc;
}

static int check_log(struct check *check)
{
    uint64_t n = 0;
    int rc = count_entries(check, BZ_MAP_LOG, bz_bytes(NULL, 0), &n, &check->key);
    if (rc != 0)
        return rc;
    if (n != check->records)
        fault(check, "the change log has %llu entries for %llu records", (unsigned long long)n,
            (unsigned long long)check->records);
    if (n > 0 && (check->key.size != BZ_LOG_KEY_SIZE ||
                     bz_load64be(check->key.data) > check->state->position))
        fault(check, "the change log goes past its newest position");
    return 0;
}

/* Every index has as many entries as its collection documents, and there are no others. */
static int check_indexes(struct check *check)
{
    uint64_t all = 0, known = 0;
    int rc = count_entries(check, BZ_MAP_INDEX, bz_bytes(NULL, 0), &all, &check->key);
    for (uint32_t c = 0; rc == 0 && c < check->collection_count; c++) {
        const struct tally *tally = &check->collections[c];
        for (uint32_t i = 0; rc == 0 && i < tally->indexes->count; i++) {
            uint8_t prefix[4];
            uint64_t n = 0;
            bz_store32be(prefix, tally->indexes->indexes[i].number);
            rc = count_entries(
                check, BZ_MAP_INDEX, bz_bytes(prefix, sizeof prefix), &n, &check->key);
            known += n;
            if (rc == 0 && n != tally->alive)
                fault(check, "index '%s' has %llu entries for %llu documents",
                    tally->indexes->indexes[i].name, (unsigned long long)n,
                    (unsigned long long)tally->alive);
        }
    }
    if (rc == 0 && all != known)
        fault(check, "there are %llu entries of no index", (unsigned long long)(all - known));
    return rc;
}

static int check_totals(struct check *check)
{
    const struct bz_state *state = check->state;
    uint64_t listed = 0, dead = 0;
    int rc = count_entries(check, BZ_MAP_CONFLICTS, bz_bytes(NULL, 0), &listed, &check->key);
    if (rc == 0)
        rc = count_entries(check, BZ_MAP_DEAD, bz_bytes(NULL, 0), &dead, &check->key);
    for (uint32_t c = 0; rc == 0 && c < check->collection_count; c++) {
        uint64_t count = 0;
        rc = bz_count_load(check->read->view, c, &count, check->error);
        if (rc == 0 && count != check->collections[c].alive)
            fault(check, "collection %u is counted as %llu documents and has %llu", (unsigned)c,
                (unsigned long long)count, (unsigned long long)check->collections[c].alive);
    }
    if (rc != 0)
        return rc;
    if (state->records != check->alive)
        fault(check, "the database is counted as %llu documents and has %llu",
            (unsigned long long)state->records, (unsigned long long)check->alive);
    if (state->conflicts != check->conflicts || listed != check->conflicts)
        fault(check, "%llu conflicts are counted, %llu listed, and there are %llu",
            (unsigned long long)state->conflicts, (unsigned long long)listed,
            (unsigned long long)check->conflicts);
    if (state->dead != check->records - check->alive || dead != check->dead_listed)
        fault(check, "%llu deleted records are counted, %llu listed, and there are %llu",
            (unsigned long long)state->dead, (unsigned long long)dead,
            (unsigned long long)(check->records - check->alive));
    if (state->digest.low != check->digest.low || state->digest.high != check->digest.high)
        fault(check, "the digest is not that of the records");
    return 0;
}

static int note_peer(void *context, const blaze_id *node, const struct bz_peer_state *peer)
{
    (void)node;
    if (peer->reached > peer->cursor)
        fault(context, "a peer's head is noted as reached, and its log is not");
    return 0;
}

/* Whether what is known of other nodes can be read. */
static int check_peers(struct check *check)
{
    struct bz_vv vv;
    uint32_t nodes = bz_catalog_nodes(check->catalog).count;
    bz_arena_reset(&check->read->arena);
    int rc = bz_version_vector(check->read->view, check->state->self, check->state->seq,
        &check->read->arena, &vv, check->error);
    for (uint32_t i = 0; rc == 0 && i < vv.count; i++) {
        if (vv.entries[i].node >= nodes)
            fault(check, "the version vector has an unknown node");
    }
    return rc != 0 ? rc : bz_peer_each(check->read->view, note_peer, check, check->error);
}

/* Openings follow each other, and none is ahead of the state. */
static int check_openings(struct check *check)
{
    struct bz_cursor *cursor = NULL;
    struct bz_opening opening, last = {0};
    int rc = bz_cursor_open(check->read->view, BZ_MAP_OPENINGS, &cursor, check->error);
    while (rc == 0 && (rc = bz_cursor_next(cursor, check->error)) == 0) {
        rc = bz_opening_decode(cursor, &opening, check->error);
        if (rc != 0)
            break;
        if (opening.seq < last.seq || opening.number <= last.number ||
            opening.seq > check->state->seq || opening.mark.start > check->state->position)
            fault(check, "the openings of the database do not follow each other");
        last = opening;
    }
    bz_cursor_close(cursor);
    return rc == BLAZE_END ? 0 : rc;
}

/* ---- */

static int prepare(struct check *check)
{
    int rc = bz_read_load_state(check->read, &check->state, check->error);
    if (rc == 0)
        rc = bz_catalog_load(&check->catalog, check->read->view, check->state->generation,
            check->read->db->identity.blind, check->error);
    if (rc != 0)
        return rc;
    uint32_t count = bz_catalog_collections(check->catalog);
    check->collections = bz_zalloc((count + 1) * sizeof *check->collections);
    if (check->collections == NULL)
        return bz_error_code(check->error, BLAZE_ENOMEM);
    for (uint32_t c = 0; c < count; c++)
        check->collections[c].indexes = bz_catalog_indexes(check->catalog, c);
    check->collection_count = count;
    return 0;
}

static void release(struct check *check)
{
    for (uint32_t c = 0; c < check->collection_count; c++)
        bz_catalog_indexes_release(check->catalog, check->collections[c].indexes);
    bz_free(check->collections);
    bz_catalog_free(check->catalog);
    bz_buf_release(&check->key);
}

int bz_db_check(struct bz_db *db, void (*each)(void *context, const char *problem), void *context,
    blaze_error *error)
{
    struct check check = {.each = each, .context = context, .error = error};
    bz_buf_init(&check.key, BZ_STORE_KEY_MAX);
    int rc = bz_read_begin(db, &check.read, error);
    if (rc != 0)
        return rc;
    rc = prepare(&check);
    if (rc == 0)
        rc = check_records(&check);
    if (rc == 0)
        rc = check_log(&check);
    if (rc == 0)
        rc = check_indexes(&check);
    if (rc == 0)
        rc = check_totals(&check);
    if (rc == 0)
        rc = check_peers(&check);
    if (rc == 0)
        rc = check_openings(&check);
    release(&check);
    bz_read_end(check.read);
    if (check.faulty && (rc == 0 || rc == BLAZE_ECORRUPT))
        return bz_error_set(error, BLAZE_ECORRUPT, "%s", check.first);
    return rc;
}
