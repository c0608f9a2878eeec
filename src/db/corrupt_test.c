/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A database whose stored bytes are not what was written: whatever is read from it ends, in an
 * answer or an error, and the check tells of what it can know.
 */

#include "db/corrupt_test_util.h"

struct damage {
    enum bz_map map;
    uint8_t key[BZ_STORE_KEY_MAX];
    size_t key_size;
};

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

/* The first fault of a check. */
struct first {
    bool told;
    char text[BLAZE_ERROR_TEXT_SIZE];
};

static void keep_first(void *context, const char *problem)
{
    struct first *first = context;
    if (!first->told)
        snprintf(first->text, sizeof first->text, "%s", problem);
    first->told = true;
}

/* Whether the check finds anything; the error says what it found first, whatever it met later. */
static bool is_told(struct bz_db *db)
{
    struct first first = {0};
    blaze_error found = {0};
    int rc = bz_db_check(db, keep_first, &first, &found);
    if (rc == 0)
        return false;
    assert_int_equal(found.code, rc);
    if (first.told)
        assert_string_equal(found.text, first.text);
    return true;
}

static void damaged_databases_give_errors_and_nothing_worse(void **state)
{
    (void)state;
    unsigned damaged = 0, told = 0;
    uint64_t first = test_seed(), rounds = test_rounds(250, 50000);
    for (uint64_t seed = first; seed < first + rounds; seed++) {
        struct rng rng = {seed};
        struct world world = {{seed}, 1700000000000u};
        struct bz_db *db = make_victim(&world, seed);
        check_all(db);
        damaged += damage(db, &rng);
        told += is_told(db);
        use_everything(db);
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
