/* SPDX-License-Identifier: Apache-2.0 */
/* Records that are deleted here while they are written to there. */
#include "db/pair_test_util.h"

static void pair_sync(struct pair *p)
{
    sync_both(p->a, p->b);
    expect_equal(p->a, p->b);
}

/* Record 1, deleted at a and written to at b; the later of the two wins. */
static void part(struct pair *p, bool delete_wins)
{
    write_json(p->a, INSERT, "c", 1, "{\"m\":1,\"n\":1}");
    pair_sync(p);
    p->world[delete_wins ? 0 : 1].ms += 1000;
    delete_one_of(p->a, "c", 1);
    write_json(p->b, UPDATE, "c", 1, "{\"n\":2}");
    pair_sync(p);
}

struct seen {
    unsigned lives, fields;
    bool winner_present;
    char document[100];
};

static int see(void *context, const struct bz_conflict *conflict)
{
    struct seen *seen = context;
    if (!conflict->life) {
        seen->fields++;
        return 0;
    }
    seen->lives++;
    seen->winner_present = conflict->siblings[0].present;
    assert_int_equal(conflict->field.size, 0);
    assert_int_equal(conflict->count, 2);
    assert_true(conflict->siblings[0].present != conflict->siblings[1].present);
    char *json = NULL;
    const struct bz_conflict_sibling *alive = &conflict->siblings[!conflict->siblings[0].present];
    assert_int_equal(blaze_value_to_json(&json, &alive->value, false), 0);
    snprintf(seen->document, sizeof seen->document, "%s", json);
    blaze_free(json);
    return 0;
}

static struct seen look(struct bz_db *db)
{
    struct seen seen = {0}, one = {0};
    struct bz_read *read = NULL;
    blaze_id id = id_of(1);
    must(bz_read_begin(db, &read, error));
    must(bz_read_conflicts(read, bz_bytes(NULL, 0), NULL, see, &seen, error));
    must(bz_read_conflicts(read, bz_bytes_text("c"), &id, see, &one, error));
    bz_read_end(read);
    assert_memory_equal(&seen, &one, sizeof seen);
    return seen;
}

static void settle_life(struct bz_db *db, bool keep)
{
    struct bz_db_txn *txn = NULL;
    blaze_id id = id_of(1);
    must(bz_db_begin(db, &txn, error));
    must(bz_db_settle_life(txn, bz_bytes_text("c"), &id, keep, error));
    must(bz_db_commit(txn, BZ_DURABLE_FULL, error));
}

static void a_delete_that_lost_and_one_that_won_are_listed_and_counted(void **state)
{
    (void)state;
    for (int delete_wins = 0; delete_wins < 2; delete_wins++) {
        struct pair p;
        pair_open(&p);
        part(&p, delete_wins);
        struct seen seen = look(p.b);
        assert_int_equal(seen.lives, 1);
        assert_int_equal(seen.fields, 0);
        assert_int_equal(seen.winner_present, !delete_wins);
        assert_string_equal(seen.document, "{\"m\":1,\"n\":2}");
        assert_int_equal(state_of(p.a).conflicts, 1);
        expect_json(p.a, "c", 1, delete_wins ? NULL : "{\"m\":1,\"n\":2}");
        pair_close_checked(&p);
    }
}

static void it_is_kept_or_deleted_whichever_had_won(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct pair p;
        bool keep = i & 1;
        pair_open(&p);
        part(&p, i & 2);
        settle_life(p.a, keep);
        assert_int_equal(look(p.a).lives, 0);
        pair_sync(&p);
        expect_json(p.b, "c", 1, keep ? "{\"m\":1,\"n\":2}" : NULL);
        assert_int_equal(state_of(p.a).conflicts, 0);
        assert_int_equal(state_of(p.b).conflicts, 0);
        pair_close_checked(&p);
    }
}

static void a_write_brings_it_back_and_ends_the_conflict(void **state)
{
    (void)state;
    static const enum verb verbs[] = {PUT, INSERT, UPSERT};
    for (size_t i = 0; i < sizeof verbs / sizeof *verbs; i++) {
        struct pair p;
        pair_open(&p);
        part(&p, true);
        write_json(p.b, verbs[i], "c", 1, "{\"m\":7}");
        pair_sync(&p);
        expect_json(p.a, "c", 1, "{\"m\":7}");
        assert_int_equal(state_of(p.a).conflicts, 0);
        pair_close_checked(&p);
    }
}

static void an_update_or_a_delete_of_what_is_there_ends_it(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct pair p;
        pair_open(&p);
        part(&p, false);
        if (i == 0)
            write_json(p.a, UPDATE, "c", 1, "{\"m\":7}");
        else
            delete_one_of(p.a, "c", 1);
        pair_sync(&p);
        expect_json(p.b, "c", 1, i == 0 ? "{\"m\":7,\"n\":2}" : NULL);
        assert_int_equal(state_of(p.b).conflicts, 0);
        pair_close_checked(&p);
    }
}

static void what_is_in_no_such_conflict_is_left_alone(void **state)
{
    (void)state;
    struct pair p;
    struct bz_db_txn *txn = NULL;
    pair_open(&p);
    write_json(p.a, INSERT, "c", 1, "{\"m\":1}");
    write_json(p.a, INSERT, "c", 2, "{\"m\":1}");
    pair_sync(&p);
    delete_one_of(p.a, "c", 2); /* both delete it: they agree */
    delete_one_of(p.b, "c", 2);
    pair_sync(&p);
    assert_int_equal(state_of(p.a).conflicts, 0);
    must(bz_db_begin(p.a, &txn, error));
    for (uint32_t n = 1; n < 4; n++) {
        blaze_id id = id_of(n);
        assert_int_equal(
            bz_db_settle_life(txn, bz_bytes_text("c"), &id, false, NULL), BLAZE_ENOTFOUND);
        assert_int_equal(
            bz_db_settle_life(txn, bz_bytes_text("none"), &id, true, NULL), BLAZE_ENOTFOUND);
    }
    must(bz_db_commit(txn, BZ_DURABLE_FULL, error));
    expect_json(p.a, "c", 1, "{\"m\":1}");
    pair_close_checked(&p);
}

static void rules_leave_life_alone_and_settle_the_fields_when_it_is_back(void **state)
{
    (void)state;
    struct pair p;
    uint64_t settled = 9;
    pair_open(&p);
    write_json(p.a, INSERT, "c", 1, "{\"m\":1}");
    pair_sync(&p);
    write_json(p.a, UPDATE, "c", 1, "{\"m\":2}");
    delete_one_of(p.a, "c", 1);
    write_json(p.b, UPDATE, "c", 1, "{\"m\":3}");
    p.world[0].ms += 1000;
    pair_sync(&p);
    struct seen before = look(p.a);
    must(bz_db_policy_put(p.a, bz_bytes_text("c"), bz_bytes(NULL, 0), BZ_POLICY_GREATEST, error));
    must(bz_db_settle(p.a, &(struct bz_settle){0}, &settled, error));
    settle_life(p.a, true);
    must(bz_db_settle(p.a, &(struct bz_settle){0}, &settled, error));
    assert_int_equal(before.lives, 1);
    assert_int_equal(state_of(p.a).conflicts, 0);
    pair_sync(&p);
    expect_json(p.b, "c", 1, "{\"m\":3}");
    pair_close_checked(&p);
}

static void nothing_is_listed_of_what_a_blind_copy_holds(void **state)
{
    (void)state;
    struct world world = {{3}, 1700000000000u};
    struct bz_db *db = NULL;
    struct bz_db_txn *txn = NULL;
    struct bz_db_options options = world_options(&world);
    blaze_id id = id_of(1);
    options.database = (blaze_id){{1}};
    options.blind = true;
    must(bz_db_open(&db, "blind", &options, error));
    must(bz_db_begin(db, &txn, error));
    assert_int_equal(bz_db_settle_life(txn, bz_bytes_text("c"), &id, true, NULL), BLAZE_EPERM);
    bz_db_abort(txn);
    must(bz_db_close(db, error));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_delete_that_lost_and_one_that_won_are_listed_and_counted),
        cmocka_unit_test(it_is_kept_or_deleted_whichever_had_won),
        cmocka_unit_test(a_write_brings_it_back_and_ends_the_conflict),
        cmocka_unit_test(an_update_or_a_delete_of_what_is_there_ends_it),
        cmocka_unit_test(what_is_in_no_such_conflict_is_left_alone),
        cmocka_unit_test(rules_leave_life_alone_and_settle_the_fields_when_it_is_back),
        cmocka_unit_test(nothing_is_listed_of_what_a_blind_copy_holds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
