/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A database whose stored bytes are not what was written: whatever is read from it ends, in an
 * answer or an error, and the check tells of what it can know.
 */

#include "db/test_util.h"

#include "catalog/catalog.h"
#include "query/query.h"

struct damage {
    enum bz_map map;
    uint8_t key[BZ_STORE_KEY_MAX];
    size_t key_size;
};

static int ignore_conflict(void *context, const struct bz_conflict *conflict)
{
    (void)conflict;
    ++*(unsigned *)context;
    return 0;
}

static int ignore_version(void *context, const blaze_id *node, uint64_t seq)
{
    (void)context;
    (void)node;
    (void)seq;
    return 0;
}

static int ignore_peer(void *context, const blaze_id *node, const struct bz_peer_state *peer)
{
    (void)context;
    (void)node;
    (void)peer;
    return 0;
}

static int ignore_collection(void *context, struct bz_bytes name, uint64_t records)
{
    (void)context;
    (void)name;
    (void)records;
    return 0;
}

/* Two databases that have met, with conflicts, deletions and indexes. */
static struct bz_db *make(struct world *world, uint64_t seed)
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

/* Picks an entry anywhere. */
static void pick(struct bz_db *db, struct rng *rng, struct damage *out, struct bz_buf *value)
{
    struct bz_snapshot *snapshot = NULL;
    struct bz_cursor *cursor = NULL;
    must(bz_snapshot_open(bz_db_store(db), &snapshot, error));
    do {
        bz_cursor_close(cursor);
        cursor = NULL;
        out->map = (enum bz_map)rng_below(rng, BZ_MAP_COUNT);
        must(bz_cursor_open(bz_snapshot_view(snapshot), out->map, &cursor, error));
    } while (bz_cursor_next(cursor, NULL) != 0);
    for (uint32_t n = rng_below(rng, 10); n > 0; n--) {
        if (bz_cursor_next(cursor, NULL) != 0)
            must(bz_cursor_prev(cursor, error));
    }
    struct bz_bytes key = bz_cursor_key(cursor), found = bz_cursor_value(cursor);
    memcpy(out->key, key.data, key.size);
    out->key_size = key.size;
    bz_buf_clear(value);
    bz_buf_append(value, found.data, found.size);
    bz_cursor_close(cursor);
    bz_snapshot_close(snapshot);
}

static void spoil(struct rng *rng, struct bz_buf *value)
{
    for (uint32_t n = 1 + rng_below(rng, 3); n > 0; n--) {
        uint32_t at = rng_below(rng, (uint32_t)value->size + 1);
        switch (rng_below(rng, 4)) {
        case 0:
            if (at < value->size)
                value->data[at] ^= (uint8_t)(1u << rng_below(rng, 8));
            break;
        case 1:
            if (at < value->size)
                value->data[at] = (uint8_t)rng_next(rng);
            break;
        case 2:
            value->size = at;
            break;
        default:
            bz_buf_append8(value, (uint8_t)rng_next(rng));
        }
    }
}

/* Returns whether the damage is more than none. */
static bool damage(struct bz_db *db, struct rng *rng)
{
    struct damage damage;
    struct bz_buf value, before;
    struct bz_txn *txn = NULL;
    bz_buf_init(&value, 1 << 20);
    bz_buf_init(&before, 1 << 20);
    pick(db, rng, &damage, &value);
    bz_buf_append(&before, value.data, value.size);
    spoil(rng, &value);
    bool differs = !bz_bytes_equal(bz_buf_bytes(&before), bz_buf_bytes(&value));
    must(bz_txn_begin(bz_db_store(db), &txn, error));
    struct bz_bytes key = bz_bytes(damage.key, damage.key_size);
    if (rng_below(rng, 10) == 0) {
        must(bz_txn_delete(txn, damage.map, key, error));
        differs = true;
    } else {
        must(bz_txn_put(txn, damage.map, key, bz_buf_bytes(&value), error));
    }
    must(bz_txn_commit(txn, BZ_DURABLE_FULL, error));
    bz_buf_release(&value);
    bz_buf_release(&before);
    return differs;
}

static void read_everything(struct bz_db *db)
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

static void send_everything(struct bz_db *db)
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

static void write_everything(struct bz_db *db)
{
    struct bz_db_txn *txn = NULL;
    if (bz_db_begin(db, &txn, NULL) != 0)
        return;
    for (uint32_t i = 0; i < 6; i++)
        try_write(txn, i % 2 == 0 ? UPDATE : PUT, "c", i, "{\"n\":9}", NULL);
    bz_db_delete_all(txn, bz_bytes_text("c"), NULL, NULL);
    bz_db_commit(txn, BZ_DURABLE_FULL, NULL);
}

static void damaged_databases_give_errors_and_nothing_worse(void **state)
{
    (void)state;
    unsigned damaged = 0, told = 0;
    uint64_t first = test_seed(), rounds = test_rounds(250, 50000);
    for (uint64_t seed = first; seed < first + rounds; seed++) {
        struct rng rng = {seed};
        struct world world = {{seed}, 1700000000000u};
        struct bz_db *db = make(&world, seed);
        check_all(db);
        damaged += damage(db, &rng);
        told += bz_db_check(db, NULL, NULL, NULL) != 0;
        read_everything(db);
        send_everything(db);
        write_everything(db);
        must(bz_db_close(db, error));
    }
    /* Some damage makes another sound database: a text, a setting, what is known of a peer. */
    assert_true(told > damaged * 2 / 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(damaged_databases_give_errors_and_nothing_worse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
