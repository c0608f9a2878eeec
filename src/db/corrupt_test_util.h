/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_DB_CORRUPT_TEST_UTIL_H
#define BZ_DB_CORRUPT_TEST_UTIL_H

/*
 * A database to be damaged, and everything that can then be asked of it. What comes of that does
 * not matter, so long as it is an answer or an error.
 */

#include "db/test_util.h"

#include "catalog/catalog.h"
#include "query/query.h"

static inline int ignore_conflict(void *context, const struct bz_conflict *conflict)
{
    (void)conflict;
    ++*(unsigned *)context;
    return 0;
}

static inline int ignore_version(void *context, const blaze_id *node, uint64_t seq)
{
    (void)context;
    (void)node;
    (void)seq;
    return 0;
}

static inline int ignore_peer(void *context, const blaze_id *node, const struct bz_peer_state *peer)
{
    (void)context;
    (void)node;
    (void)peer;
    return 0;
}

static inline int ignore_collection(void *context, struct bz_bytes name, uint64_t records)
{
    (void)context;
    (void)name;
    (void)records;
    return 0;
}

/* Two databases that have met, with conflicts, deletions and indexes. */
static inline struct bz_db *make_victim(struct world *world, uint64_t seed)
{
    struct world other_world = {{seed + 1}, 1700000000000u};
    struct bz_db *db = open_memory(world, BZ_ROLE_CLIENT);
    struct bz_db *other = open_memory(&other_world, BZ_ROLE_SERVER);
    must(bz_db_index_create(db, bz_bytes_text("c"), "n", "by_n", error));
    must(bz_db_index_create(db, bz_bytes_text("c"), "deep.x", "by_x", error));
    for (uint32_t i = 0; i < 6; i++)
        write_json(db, INSERT, "c", i, "{\"n\":1,\"deep\":{\"x\":\"y\"},\"t\":\"some text\"}");
    sync_both(db, other);
    write_json(db, UPDATE, "c", 1, "{\"n\":2}");
    write_json(other, UPDATE, "c", 1, "{\"n\":3,\"t\":\"other\"}");
    delete_one_of(db, "c", 2);
    write_json(other, UPDATE, "c", 2, "{\"n\":4}");
    delete_one_of(db, "c", 3);
    sync_both(db, other);
    must(bz_db_close(other, error));
    return db;
}

static inline void read_everything(struct bz_db *db)
{
    struct bz_read *read = NULL;
    struct bz_rows *rows = NULL;
    struct bz_db_state state;
    unsigned conflicts = 0;
    blaze_id id;
    blaze_value value, field;
    if (bz_read_begin(db, &read, NULL) != 0)
        return;
    for (uint32_t i = 0; i < 6; i++) {
        id = id_of(i);
        if (bz_read_get(read, bz_bytes_text("c"), &id, &value, NULL) == 0) {
            char *json = NULL;
            blaze_value_field(&value, "deep", &field);
            blaze_value_to_json(&json, &value, false);
            blaze_free(json);
        }
    }
    static const char *const sorts[] = {NULL, "n", "deep.x", "t"};
    for (size_t i = 0; i < 4; i++) {
        struct bz_find find = {.collection = bz_bytes_text("c"), .sort = sorts[i]};
        if (bz_read_find(read, &find, &rows, NULL) != 0)
            continue;
        while (bz_rows_next(rows, &id, &value, NULL) == 0)
            ;
        bz_rows_close(rows);
    }
    bz_read_conflicts(read, bz_bytes(NULL, 0), NULL, ignore_conflict, &conflicts, NULL);
    bz_read_version(read, ignore_version, NULL, NULL);
    bz_read_peers(read, ignore_peer, NULL, NULL);
    bz_read_collections(read, ignore_collection, NULL, NULL);
    bz_read_state(read, &state, NULL);
    bz_read_end(read);
}

static inline void send_everything(struct bz_db *db)
{
    struct bz_replica replica;
    struct bz_changes *changes = NULL;
    struct bz_change change;
    struct bz_receiver receiver = {.reached = 3};
    must(bz_db_replica_open(db, &replica, error));
    if (replica.ops->changes_open(replica.context, &receiver, 0, &changes, NULL) == 0) {
        while (replica.ops->changes_next(changes, &change, NULL) == 0)
            ;
        replica.ops->changes_close(changes);
    }
    bz_db_replica_close(&replica);
}

static inline void write_everything(struct bz_db *db)
{
    struct bz_db_txn *txn = NULL;
    if (bz_db_begin(db, &txn, NULL) != 0)
        return;
    for (uint32_t i = 0; i < 6; i++)
        try_write(txn, i % 2 == 0 ? UPDATE : PUT, "c", i, "{\"n\":9}", NULL);
    bz_db_delete_all(txn, bz_bytes_text("c"), NULL, NULL);
    bz_db_commit(txn, BZ_DURABLE_FULL, NULL);
}

static inline void use_everything(struct bz_db *db)
{
    read_everything(db);
    send_everything(db);
    write_everything(db);
}

#endif
