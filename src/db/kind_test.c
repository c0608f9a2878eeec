/* SPDX-License-Identifier: Apache-2.0 */
/* Records with values of a kind that this version does not know: carried, and not read. */
#include "db/pair_test_util.h"

#include "db/db_priv.h"

#include <pthread.h>

/* As a newer version would have written it. */
static void give_a_kind(struct bz_db *db, uint32_t n, uint32_t kind)
{
    struct bz_txn *txn = NULL;
    struct bz_stored stored;
    struct bz_rec rec;
    struct bz_arena arena;
    struct bz_buf buf;
    uint8_t key[BZ_RECORD_KEY_SIZE];
    uint32_t number;
    blaze_id id = id_of(n);
    bz_arena_init(&arena);
    bz_buf_init(&buf, SIZE_MAX);
    assert_int_equal(bz_catalog_collection(db->catalog, bz_bytes_text("c"), &number), 0);
    must(bz_txn_begin(db->store, &txn, error));
    must(bz_stored_load(bz_txn_view(txn), number, &id, &stored, error));
    must(bz_stored_decode(&arena, &stored, &id, &rec, error));
    rec.writes[0].kind = kind;
    bz_buf_append_varint(&buf, stored.position);
    bz_rec_encode(&buf, &rec, stored.position);
    must(bz_txn_put(
        txn, BZ_MAP_RECORDS, bz_record_key(key, number, &id), bz_buf_bytes(&buf), error));
    must(bz_txn_commit(txn, BZ_DURABLE_FULL, error));
    bz_buf_release(&buf);
    bz_arena_release(&arena);
}

static void write_apart(struct pair *p, uint32_t n)
{
    write_json(p->a, UPSERT, "c", n, "{\"m\":1}");
    write_json(p->b, UPSERT, "c", n, "{\"m\":2}");
}

static void what_is_stored_is_neither_read_nor_written_to(void **state)
{
    (void)state;
    struct pair p;
    struct bz_read *read = NULL;
    struct bz_db_txn *txn = NULL;
    blaze_value value;
    blaze_id id = id_of(1);
    pair_open(&p);
    write_json(p.a, INSERT, "c", 1, "{\"m\":1}");
    write_json(p.a, INSERT, "c", 2, "{\"m\":1}");
    give_a_kind(p.a, 1, 7);
    must(bz_read_begin(p.a, &read, error));
    assert_int_equal(bz_read_get(read, bz_bytes_text("c"), &id, &value, NULL), BLAZE_EVERSION);
    bz_read_end(read);
    must(bz_db_begin(p.a, &txn, error));
    assert_int_equal(try_write(txn, PUT, "c", 1, "{}", NULL), BLAZE_EVERSION);
    assert_int_equal(try_write(txn, UPDATE, "c", 1, "{\"m\":2}", NULL), BLAZE_EVERSION);
    assert_int_equal(bz_db_delete(txn, bz_bytes_text("c"), &id, NULL), BLAZE_EVERSION);
    assert_int_equal(try_write(txn, UPDATE, "c", 2, "{\"m\":2}", NULL), 0);
    must(bz_db_commit(txn, BZ_DURABLE_FULL, error));
    expect_json(p.a, "c", 2, "{\"m\":2}");
    pair_close(&p);
}

static void what_a_peer_sends_of_it_is_refused_and_changes_nothing(void **state)
{
    (void)state;
    struct pair p;
    struct exchange e = {.chunk = 10};
    struct bz_changes *changes = NULL;
    struct bz_receiver receiver = {0};
    struct bz_peer_state known = {0};
    blaze_error why = {0};
    pair_open(&p);
    write_json(p.a, INSERT, "c", 1, "{\"m\":1}");
    write_json(p.a, INSERT, "c", 2, "{\"m\":1}");
    give_a_kind(p.a, 1, 7);
    must(bz_db_replica_open(p.a, &e.from, error));
    must(bz_db_replica_open(p.b, &e.to, error));
    must(e.from.ops->changes_open(e.from.context, &receiver, 0, &changes, error));
    assert_int_equal(exchange_chunk(&e, changes, &known, &why), BLAZE_EVERSION);
    assert_non_null(strstr(why.text, "newer"));
    e.from.ops->changes_close(changes);
    bz_db_replica_close(&e.from);
    bz_db_replica_close(&e.to);
    assert_int_equal(state_of(p.b).position, 0);
    assert_int_equal(state_of(p.b).records, 0);
    pair_close(&p);
}

static int count_fields(void *context, const struct bz_conflict *conflict)
{
    assert_int_equal(bz_load32be(conflict->id.bytes + 12), 2);
    ++*(unsigned *)context;
    return 0;
}

/* Records 1 and 2 are in conflict, and 1 cannot be read. */
static void part(struct pair *p)
{
    pair_open(p);
    write_apart(p, 1);
    write_apart(p, 2);
    sync_both(p->a, p->b);
    give_a_kind(p->a, 1, 7);
    must(bz_db_policy_put(p->a, bz_bytes_text("c"), bz_bytes(NULL, 0), BZ_POLICY_GREATEST, error));
}

static void a_listing_leaves_it_out_and_says_so_in_the_end(void **state)
{
    (void)state;
    struct pair p;
    struct bz_read *read = NULL;
    unsigned fields = 0;
    blaze_error why = {0};
    part(&p);
    must(bz_read_begin(p.a, &read, error));
    assert_int_equal(bz_read_conflicts(read, bz_bytes(NULL, 0), NULL, count_fields, &fields, &why),
        BLAZE_EVERSION);
    bz_read_end(read);
    assert_int_equal(fields, 1);
    assert_int_equal(why.code, BLAZE_EVERSION);
    pair_close(&p);
}

static void settling_expressly_settles_the_others_and_says_so(void **state)
{
    (void)state;
    struct pair p;
    uint64_t settled = 0;
    part(&p);
    assert_int_equal(bz_db_settle(p.a, &(struct bz_settle){0}, &settled, NULL), BLAZE_EVERSION);
    assert_int_equal(settled, 1);
    expect_json(p.a, "c", 2, "{\"m\":2}");
    pair_close(&p);
}

static void the_standing_settler_goes_past_it_and_counts_it(void **state)
{
    (void)state;
    struct pair p;
    uint64_t settled = 0;
    part(&p);
    assert_int_equal(bz_db_unsettled(p.a), 0);
    must(bz_db_settle_pass(p.a, &settled, error));
    assert_int_equal(settled, 1);
    assert_int_equal(bz_db_unsettled(p.a), 1);
    must(bz_db_settle_pass(p.a, &settled, error));
    assert_int_equal(settled, 0);
    give_a_kind(p.a, 1, 0); /* this is now a version that knows it */
    must(bz_db_settle_pass(p.a, &settled, error));
    assert_int_equal(settled, 1);
    assert_int_equal(bz_db_unsettled(p.a), 0);
    check_all(p.a);
    pair_close(&p);
}

struct heard {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t records; /* told of, a bit each */
};

static void on_conflict(void *context, const struct bz_conflict_event *event)
{
    struct heard *heard = context;
    pthread_mutex_lock(&heard->lock);
    heard->records |= (uint64_t)1 << bz_load32be(event->id.bytes + 12);
    pthread_cond_broadcast(&heard->changed);
    pthread_mutex_unlock(&heard->lock);
}

static void await(struct heard *heard, uint64_t records)
{
    pthread_mutex_lock(&heard->lock);
    while ((heard->records & records) != records)
        pthread_cond_wait(&heard->changed, &heard->lock);
    assert_int_equal(heard->records, records);
    pthread_mutex_unlock(&heard->lock);
}

static void whoever_watches_is_told_of_the_others(void **state)
{
    (void)state;
    struct pair p;
    struct heard heard = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0};
    struct bz_conflict_watch *watch = NULL;
    part(&p);
    must(bz_db_watch_conflicts(p.a, bz_bytes(NULL, 0), on_conflict, &heard, &watch, error));
    await(&heard, 1 << 2);
    write_apart(&p, 3);
    send_changes(p.b, p.a, 10, 0);
    await(&heard, 1 << 2 | 1 << 3);
    bz_db_unwatch_conflicts(watch);
    pair_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_stored_is_neither_read_nor_written_to),
        cmocka_unit_test(what_a_peer_sends_of_it_is_refused_and_changes_nothing),
        cmocka_unit_test(a_listing_leaves_it_out_and_says_so_in_the_end),
        cmocka_unit_test(settling_expressly_settles_the_others_and_says_so),
        cmocka_unit_test(the_standing_settler_goes_past_it_and_counts_it),
        cmocka_unit_test(whoever_watches_is_told_of_the_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
