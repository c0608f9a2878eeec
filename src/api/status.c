/* SPDX-License-Identifier: Apache-2.0 */
/*
 * blaze_status(): everything that can be told of a database in one JSON object, of one state.
 *
 *   {"database":ID, "node":ID, "role":"client", "records":N, "conflicts":N, "digest":HEX,
 *    "position":N, "writes":N, "blind":false, "unsettled":N (only if not 0),
 *    "unreadable":{"count":N,"records":[{"record":ID,"collection":NAME,"writer":ID,
 *      "sealed":true}, ...]} (only if there are any; some of them),
 *    "partial":true, "scope":{COLLECTION:FILTER, ...},
 *    "collections":{NAME:N, ...}, "vv":{NODE:N, ...},
 *    "peers":[{"node":ID,"cursor":N,"reached":N,"state":"caught up","seen":RFC 3339}, ...],
 *    "caught_up":true,
 *    "links":[{"url":..., "state":..., ...}, ...],
 *    "storage":{"log_bytes":N,"base_bytes":N,"memory_bytes":N,"checkpoints":N,"syncs":N},
 *    "warnings":[{"kind":"free_disk","value":N,"threshold":N,"text":"..."}, ...],
 *    "sealed":false, "version":"..."}
 */
#include "api_priv.h"
#include "base/alloc.h"

#include <inttypes.h>
#include <time.h>

#define STATUS_MAX (64u << 20)

void bz_api_json_text(struct bz_buf *out, struct bz_bytes text)
{
    bz_buf_append8(out, '"');
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.data[i];
        if (c == '"' || c == '\\')
            bz_buf_append8(out, '\\');
        if (c < 0x20)
            bz_buf_printf(out, "\\u%04x", c);
        else
            bz_buf_append8(out, c);
    }
    bz_buf_append8(out, '"');
}

static void append_id(struct bz_buf *out, const blaze_id *id)
{
    char text[BLAZE_ID_TEXT_SIZE];
    bz_buf_printf(out, "\"%s\"", blaze_id_format(id, text));
}

static void append_time(struct bz_buf *out, uint64_t ms)
{
    time_t seconds = (time_t)(ms / 1000);
    struct tm utc;
    if (ms == 0 || gmtime_r(&seconds, &utc) == NULL) {
        bz_buf_printf(out, "null");
        return;
    }
    char text[32];
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &utc);
    bz_buf_printf(out, "\"%s.%03uZ\"", text, (unsigned)(ms % 1000));
}

/* The members of a JSON object or array, with commas between. */
struct list {
    struct bz_buf *out;
    bool begun;
};

static struct bz_buf *next(struct list *list)
{
    if (list->begun)
        bz_buf_append8(list->out, ',');
    list->begun = true;
    return list->out;
}

static int on_collection(void *context, struct bz_bytes name, uint64_t records)
{
    struct bz_buf *out = next(context);
    bz_api_json_text(out, name);
    bz_buf_printf(out, ":%" PRIu64, records);
    return 0;
}

static int on_version(void *context, const blaze_id *node, uint64_t seq)
{
    struct bz_buf *out = next(context);
    append_id(out, node);
    bz_buf_printf(out, ":%" PRIu64, seq);
    return 0;
}

struct peers {
    struct list list;
    bool behind;  /* some of what one of them has told of is not here yet */
    bool partial; /* this copy is */
};

static int on_peer(void *context, const blaze_id *node, const struct bz_peer_state *state)
{
    struct peers *peers = context;
    struct bz_buf *out = next(&peers->list);
    /* A scope that takes more than before voids what is known of a peer's log. */
    bool behind = state->cursor > state->reached || (peers->partial && state->cursor == 0);
    peers->behind |= behind;
    bz_buf_printf(out, "{\"node\":");
    append_id(out, node);
    bz_buf_printf(out,
        ",\"cursor\":%" PRIu64 ",\"reached\":%" PRIu64 ",\"state\":\"%s\",\"seen\":", state->cursor,
        state->reached, behind ? "catching up" : "caught up");
    append_time(out, state->seen_ms);
    bz_buf_append8(out, '}');
    return 0;
}

static void append_storage(struct bz_buf *out, struct bz_store *store)
{
    struct bz_store_stats stats;
    bz_store_stats(store, &stats);
    bz_buf_printf(out,
        ",\"storage\":{\"log_bytes\":%" PRIu64 ",\"base_bytes\":%" PRIu64
        ",\"memory_bytes\":%" PRIu64 ",\"checkpoints\":%" PRIu64 ",\"syncs\":%" PRIu64
        ",\"written_bytes\":%" PRIu64 "}",
        stats.log_bytes, stats.base_bytes, stats.memtable_bytes, stats.checkpoints, stats.syncs,
        stats.written_bytes);
    bz_buf_printf(out, ",\"sealed\":%s", stats.sealed ? "true" : "false");
    if (stats.damaged != NULL) {
        bz_buf_printf(out, ",\"damaged\":");
        bz_api_json_text(out, bz_bytes_text(stats.damaged));
    }
}

static int append_head(struct bz_buf *out, blaze_db *db, struct bz_read *read, blaze_error *error)
{
    struct bz_identity identity;
    struct bz_db_state state;
    bz_db_identity(db->db, &identity);
    int rc = bz_read_state(read, &state, error);
    if (rc != BLAZE_OK)
        return rc;
    char digest[BLAZE_DIGEST_TEXT_SIZE];
    bz_api_digest_text(state.digest, digest);
    bz_buf_printf(out, "{\"database\":");
    append_id(out, &identity.database);
    bz_buf_printf(out, ",\"node\":");
    append_id(out, &identity.node);
    bz_buf_printf(out,
        ",\"role\":\"%s\",\"records\":%" PRIu64 ",\"conflicts\":%" PRIu64
        ",\"digest\":\"%s\",\"position\":%" PRIu64 ",\"writes\":%" PRIu64,
        identity.role == BLAZE_SERVER ? "server" : "client", state.records, state.conflicts, digest,
        state.position, state.seq);
    return BLAZE_OK;
}

static int on_replica(void *context, const struct bz_replica_known *known)
{
    struct bz_buf *out = next(context);
    bz_buf_printf(out, "{\"node\":");
    append_id(out, &known->node);
    bz_buf_printf(out, ",\"seen\":");
    append_time(out, known->seen_ms);
    bz_buf_printf(out, ",\"stale\":%s}", known->stale ? "true" : "false");
    return 0;
}

/* What is deleted, and for whom it waits. */
static int append_deleted(struct bz_buf *out, struct bz_read *read, blaze_error *error)
{
    struct bz_db_state state;
    uint64_t retention_ms = 0;
    int rc = bz_read_state(read, &state, error);
    if (rc == BLAZE_OK)
        rc = bz_read_retention(read, &retention_ms, error);
    if (rc != BLAZE_OK)
        return rc;
    bz_buf_printf(out,
        "],\"deleted\":{\"waiting\":%" PRIu64 ",\"collected\":%" PRIu64
        ",\"retention_days\":%g},\"replicas\":[",
        state.dead, state.purged, (double)retention_ms / 86400000.0);
    return bz_read_replicas(read, on_replica, &(struct list){.out = out}, error);
}

#define UNREADABLE_TOLD 100u

struct unreadable {
    struct list list;
    unsigned told;
};

static int on_unreadable(void *context, const struct bz_illegible_record *record)
{
    struct unreadable *unreadable = context;
    struct bz_buf *out = next(&unreadable->list);
    bz_buf_printf(out, "{\"record\":");
    append_id(out, &record->id);
    if (record->collection.size > 0) {
        bz_buf_printf(out, ",\"collection\":");
        bz_api_json_text(out, record->collection);
    }
    bz_buf_printf(out, ",\"writer\":");
    append_id(out, &record->writer);
    bz_buf_printf(out, ",\"sealed\":%s}", record->forged ? "false" : "true");
    return ++unreadable->told < UNREADABLE_TOLD ? BLAZE_OK : BLAZE_END;
}

/* Records that were left out, until they are here. */
static int append_unreadable(struct bz_buf *out, struct bz_read *read, blaze_error *error)
{
    struct unreadable unreadable = {.list.out = out};
    uint64_t count = 0;
    int rc = bz_read_illegible_count(read, &count, error);
    if (rc != BLAZE_OK || count == 0)
        return rc;
    bz_buf_printf(out, ",\"unreadable\":{\"count\":%" PRIu64 ",\"records\":[", count);
    rc = bz_read_illegible(read, on_unreadable, &unreadable, error);
    bz_buf_printf(out, "]}");
    return rc;
}

static int append_all(struct bz_buf *out, blaze_db *db, struct bz_read *read, blaze_error *error)
{
    int rc = append_head(out, db, read, error);
    if (rc != BLAZE_OK)
        return rc;

    struct bz_identity identity;
    bz_db_identity(db->db, &identity);
    uint64_t unsettled = bz_db_unsettled(db->db);
    if (unsettled > 0)
        bz_buf_printf(out, ",\"unsettled\":%" PRIu64, unsettled);
    rc = append_unreadable(out, read, error);
    if (rc != BLAZE_OK)
        return rc;
    bool partial = false;
    bz_buf_printf(out, ",\"blind\":%s", identity.blind ? "true" : "false");
    rc = bz_api_scope_json(out, read, &partial, error);
    if (rc != BLAZE_OK)
        return rc;
    bz_buf_printf(out, ",\"collections\":{");
    if (!identity.blind) /* which knows no names */
        rc = bz_read_collections(read, on_collection, &(struct list){.out = out}, error);
    if (rc != BLAZE_OK)
        return rc;
    bz_buf_printf(out, "},\"vv\":{");
    rc = bz_read_version(read, on_version, &(struct list){.out = out}, error);
    if (rc != BLAZE_OK)
        return rc;
    bz_buf_printf(out, "},\"peers\":[");
    struct peers peers = {.list.out = out, .partial = partial};
    rc = bz_read_peers(read, on_peer, &peers, error);
    if (rc != BLAZE_OK)
        return rc;
    rc = append_deleted(out, read, error);
    if (rc != BLAZE_OK)
        return rc;
    bz_buf_printf(out, "],\"caught_up\":%s,\"links\":[", peers.behind ? "false" : "true");
    bz_api_links_json(db, out);
    bz_buf_append8(out, ']');
    append_storage(out, bz_db_store(db->db));
    bz_buf_printf(out, ",\"warnings\":");
    bz_api_warnings_json(db, out);
    bz_buf_printf(out, ",\"version\":\"%s\"}", blaze_version());
    bz_buf_append8(out, '\0');
    return out->error == 0 ? BLAZE_OK : bz_error_code(error, out->error);
}

struct names {
    int (*each)(void *context, const char *name, uint64_t records);
    void *context;
};

static int tell_name(void *context, struct bz_bytes name, uint64_t records)
{
    struct names *names = context;
    char text[BLAZE_MAX_NAME + 1];
    size_t size = name.size < sizeof text ? name.size : sizeof text - 1;
    memcpy(text, name.data, size);
    text[size] = '\0';
    return names->each(names->context, text, records);
}

int blaze_collections(blaze_db *db, int (*each)(void *context, const char *name, uint64_t records),
    void *context, blaze_error *error)
{
    if (db == NULL || each == NULL)
        return bz_api_null(error, db == NULL ? "the database" : "each");
    struct bz_read *read;
    int rc = bz_read_begin(db->db, &read, error);
    if (rc != BLAZE_OK)
        return rc;
    rc = bz_read_collections(read, tell_name, &(struct names){each, context}, error);
    bz_read_end(read);
    return rc;
}

int blaze_status(blaze_db *db, char **out, blaze_error *error)
{
    if (db == NULL || out == NULL)
        return bz_api_null(error, db == NULL ? "the database" : "out");
    struct bz_read *read;
    int rc = bz_read_begin(db->db, &read, error);
    if (rc != BLAZE_OK)
        return rc;
    struct bz_buf text;
    bz_buf_init(&text, STATUS_MAX);
    rc = append_all(&text, db, read, error);
    bz_read_end(read);
    if (rc == BLAZE_OK)
        *out = (char *)text.data;
    else
        bz_buf_release(&text);
    return rc;
}
