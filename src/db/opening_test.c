/* SPDX-License-Identifier: Apache-2.0 */
/* Openings, and what others remember of them, stay few however often a database is opened. */
#include "db/test_util.h"

#include "db/db_priv.h"
#include "store/memory_image.h"

#include "random.h"

/* Closed, and opened anew. */
static struct bz_db *again(struct bz_db *db, struct world *world)
{
    struct bz_memory_image *image = bz_memory_image_take(bz_db_store(db), false);
    struct bz_db_options options = world_options(world);
    options.create = false;
    options.store.image = image;
    must(bz_db_close(db, error));
    must(bz_db_open(&db, "again", &options, error));
    bz_memory_image_free(image);
    return db;
}

/* As if it had been opened for each of the positions from `first` on. */
static void note_openings(struct bz_db *db, uint64_t first, uint64_t count)
{
    struct bz_txn *txn = NULL;
    must(bz_txn_begin(bz_db_store(db), &txn, error));
    for (uint64_t i = 0; i < count; i++) {
        uint8_t key[8], value[8 + 2 * BZ_VARINT_MAX];
        bz_store64be(key, first + i);
        bz_store64le(value, 1000 + i);
        uint8_t *p = bz_varint_put(value + 8, first + i);
        p = bz_varint_put(p, 2 + i);
        must(bz_txn_put(txn, BZ_MAP_OPENINGS, bz_bytes(key, sizeof key),
            bz_bytes(value, (size_t)(p - value)), error));
    }
    must(bz_txn_commit(txn, BZ_DURABLE_FULL, error));
}

struct openings {
    uint64_t count, oldest;
};

static struct openings openings_of(struct bz_db *db)
{
    struct openings found = {0};
    struct bz_read *read = NULL;
    struct bz_cursor *cursor = NULL;
    struct bz_opening opening;
    must(bz_read_begin(db, &read, error));
    must(bz_cursor_open(read->view, BZ_MAP_OPENINGS, &cursor, error));
    while (bz_cursor_next(cursor, NULL) == 0) {
        must(bz_opening_decode(cursor, &opening, error));
        found.oldest = found.count++ == 0 ? opening.mark.start : found.oldest;
    }
    bz_cursor_close(cursor);
    bz_read_end(read);
    return found;
}

static enum bz_recognition recognize(struct bz_db *db, uint64_t as_of, uint64_t start, uint64_t id)
{
    struct bz_read *read = NULL;
    struct bz_trail trail = {1, {{start, id}}};
    enum bz_recognition out = BZ_CURSOR_GOOD;
    must(bz_read_begin(db, &read, error));
    must(bz_opening_recognize(read->view, bz_db_position(db), as_of, &trail, &out, error));
    bz_read_end(read);
    return out;
}

static void the_oldest_openings_are_forgotten_and_with_them_cursors_not_nodes(void **state)
{
    (void)state;
    struct world world = {{1}, 1700000000000u};
    struct bz_db *db = open_memory(&world, BZ_ROLE_CLIENT);
    struct bz_db_txn *txn = NULL;
    struct bz_opening first;
    struct bz_read *read = NULL;
    blaze_id id = id_of(1);
    blaze_doc *doc = doc_of("{\"n\":1}");
    must(bz_db_begin(db, &txn, error));
    for (uint32_t i = 0; i < BZ_OPENINGS_MAX + 10; i++)
        must(bz_db_put(txn, bz_bytes_text("c"), &id, doc, error));
    must(bz_db_commit(txn, BZ_DURABLE_FULL, error));
    blaze_doc_free(doc);
    must(bz_read_begin(db, &read, error));
    must(bz_opening_at(read->view, 1, &first, error));
    bz_read_end(read);
    note_openings(db, 1, BZ_OPENINGS_MAX - 1);
    assert_int_equal(openings_of(db).count, BZ_OPENINGS_MAX);
    assert_int_equal(openings_of(db).oldest, 0);
    assert_int_equal(recognize(db, 1, 0, first.mark.id), BZ_CURSOR_GOOD);
    for (uint32_t i = 0; i < 3; i++) {
        db = again(db, &world);
        write_json(db, PUT, "c", 1, "{\"n\":2}");
        write_json(db, PUT, "c", 1, "{\"n\":3}");
        assert_int_equal(openings_of(db).count, BZ_OPENINGS_MAX);
        assert_int_equal(openings_of(db).oldest, i + 1);
    }
    assert_int_equal(recognize(db, 1, 0, first.mark.id), BZ_CURSOR_VOID);
    assert_int_equal(recognize(db, 3, 2, 1001), BZ_CURSOR_VOID);
    assert_int_equal(recognize(db, 4, 3, 1002), BZ_CURSOR_GOOD);
    assert_int_equal(recognize(db, 4, 3, 9999), BZ_CURSOR_OUTLIVED);
    check_all(db);
    must(bz_db_close(db, error));
}

static bool holds(const struct bz_trail *trail, struct bz_opening_mark mark)
{
    for (uint32_t i = 0; i < trail->count; i++) {
        if (trail->marks[i].start == mark.start && trail->marks[i].id == mark.id)
            return true;
    }
    return false;
}

/* The first and the last are there, and between them none is far from where it would be sought:
 * however far back a fork lies, the next mark before it is not out of all proportion farther. */
static void check_spread(const struct bz_trail *trail, struct bz_opening_mark oldest,
    struct bz_opening_mark newest, uint64_t span)
{
    assert_true(trail->count <= BZ_TRAIL_MAX);
    assert_true(holds(trail, oldest));
    assert_true(trail->marks[0].start == newest.start && trail->marks[0].id == newest.id);
    for (uint32_t i = 1; i < trail->count; i++)
        assert_true(trail->marks[i].start < trail->marks[i - 1].start);
    for (uint32_t i = 2; i < trail->count; i++) {
        uint64_t near = newest.start - trail->marks[i - 1].start;
        uint64_t far = newest.start - trail->marks[i].start;
        assert_true(far <= 128 * near + span);
    }
}

static void what_a_peer_remembers_of_many_openings_is_few_of_all_ages(void **state)
{
    (void)state;
    struct rng rng = {test_seed()};
    struct bz_trail trail = {0};
    struct bz_opening_mark oldest = {1, 1}, mark = oldest;
    uint64_t span = 8;
    for (uint64_t i = 0; i < test_rounds(20000, 1000000); i++) {
        struct bz_trail newer = {0};
        for (uint32_t n = 1 + rng_below(&rng, 3); n > 0; n--) {
            memmove(&newer.marks[1], &newer.marks[0], newer.count * sizeof newer.marks[0]);
            newer.marks[0] = mark;
            newer.count++;
            mark = (struct bz_opening_mark){
                mark.start + 1 + rng_below(&rng, (uint32_t)span), rng_next(&rng) | 1};
        }
        struct bz_opening_mark newest = newer.marks[0];
        assert_true(bz_trail_add(&trail, &newer));
        check_spread(&trail, oldest, newest, 3 * span);
        assert_false(bz_trail_add(&trail, &newer)); /* it does not follow */
        assert_true(holds(&trail, newest));
    }
    assert_int_equal(trail.count, BZ_TRAIL_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_oldest_openings_are_forgotten_and_with_them_cursors_not_nodes),
        cmocka_unit_test(what_a_peer_remembers_of_many_openings_is_few_of_all_ages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
