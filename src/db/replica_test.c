/* SPDX-License-Identifier: Apache-2.0 */
#include "crdt/scope.h"
#include "db/db_priv.h"
#include "db/test_util.h"

#define NODES 3
#define IDS   25

struct net {
    struct world world[NODES];
    struct bz_db *db[NODES];
};

static void net_open(struct net *net, uint64_t seed)
{
    for (unsigned i = 0; i < NODES; i++) {
        net->world[i] = (struct world){{seed * 31 + i}, 1700000000000u + i * 7};
        net->db[i] = open_memory(&net->world[i], i == 0 ? BZ_ROLE_SERVER : BZ_ROLE_CLIENT);
    }
}

static void net_close(struct net *net)
{
    for (unsigned i = 0; i < NODES; i++)
        must(bz_db_close(net->db[i], error));
}

static void what_one_writes_another_reads(void **state)
{
    (void)state;
    struct net net;
    net_open(&net, 1);
    write_json(net.db[0], INSERT, "people", 1, "{\"name\":\"Anna\",\"tags\":[1,{\"x\":2}]}");
    write_json(net.db[0], INSERT, "people", 2, "{\"name\":\"Bert\"}");
    delete_one_of(net.db[0], "people", 2);
    struct exchange e = send_changes(net.db[0], net.db[1], 10, 0);
    assert_true(e.reached);
    assert_int_equal(e.records, 2);
    expect_json(net.db[1], "people", 1, "{\"name\":\"Anna\",\"tags\":[1,{\"x\":2}]}");
    expect_json(net.db[1], "people", 2, NULL);
    expect_equal(net.db[0], net.db[1]);
    check_all(net.db[1]);
    net_close(&net);
}

static void a_change_is_not_sent_back_to_where_it_came_from(void **state)
{
    (void)state;
    struct net net;
    net_open(&net, 2);
    for (uint32_t i = 0; i < 20; i++)
        write_json(net.db[0], INSERT, "c", i, "{\"a\":1}");
    send_changes(net.db[0], net.db[1], 7, 0);
    struct exchange back = send_changes(net.db[1], net.db[0], 7, 0);
    assert_int_equal(back.records, 0);
    assert_true(back.reached);

    /* A merge of both does go back, for the sender had not seen all of it. */
    write_json(net.db[0], UPDATE, "c", 3, "{\"b\":1}");
    write_json(net.db[1], UPDATE, "c", 3, "{\"c\":1}");
    assert_int_equal(send_changes(net.db[0], net.db[1], 7, 0).records, 1);
    assert_int_equal(send_changes(net.db[1], net.db[0], 7, 0).records, 1);
    expect_json(net.db[0], "c", 3, "{\"a\":1,\"b\":1,\"c\":1}");
    expect_equal(net.db[0], net.db[1]);
    assert_int_equal(send_changes(net.db[0], net.db[1], 7, 0).records, 0);

    /* Nor is it sent by a third, who had it from the second, to the first. */
    send_changes(net.db[1], net.db[2], 7, 0);
    assert_int_equal(send_changes(net.db[2], net.db[0], 7, 0).records, 0);
    net_close(&net);
}

/* Records told to somebody who has all writes that are here. */
static unsigned told_to_one_who_has_all(struct bz_db *db, bool lazy)
{
    struct bz_replica replica;
    struct bz_changes *changes;
    struct bz_change change;
    struct bz_arena arena;
    struct bz_receiver receiver = {.lazy = lazy};
    blaze_error why;
    unsigned records = 0;
    bz_arena_init(&arena);
    must(bz_db_replica_open(db, &replica, error));
    assert_int_equal(replica.ops->version(replica.context, &arena, &receiver.vv), 0);
    must(replica.ops->changes_open(replica.context, &receiver, 0, &changes, error));
    while (replica.ops->changes_next(changes, &change, &why) == 0)
        records++;
    replica.ops->changes_close(changes);
    bz_db_replica_close(&replica);
    bz_arena_release(&arena);
    return records;
}

static void pretend_that_all_deletes_were_collected(struct bz_db *db)
{
    struct bz_db_txn *txn;
    struct bz_dot dots[] = {{0, 100}, {1, 100}};
    struct bz_vv vv = {dots, 2};
    must(bz_db_begin(db, &txn, error));
    must(bz_purged_raise(txn, &vv, 1, 1, error));
    must(bz_db_commit(txn, BZ_DURABLE_FULL, error));
}

static void a_torn_record_is_told_again_unless_others_tell_it_and_none_was_collected(void **state)
{
    (void)state;
    struct net net;
    net_open(&net, 3);
    write_json(net.db[0], INSERT, "c", 1, "{\"a\":1}");
    write_json(net.db[0], INSERT, "c", 2, "{\"a\":1}");
    send_changes(net.db[0], net.db[1], 7, 0);
    delete_one_of(net.db[0], "c", 1);
    write_json(net.db[1], UPDATE, "c", 1, "{\"b\":1}");
    assert_int_equal(told_to_one_who_has_all(net.db[1], false), 0);
    send_changes(net.db[0], net.db[1], 7, 0);
    assert_int_equal(told_to_one_who_has_all(net.db[1], false), 1);
    assert_int_equal(told_to_one_who_has_all(net.db[1], true), 0);
    pretend_that_all_deletes_were_collected(net.db[1]);
    assert_int_equal(told_to_one_who_has_all(net.db[1], true), 1);
    net_close(&net);
}

static uint64_t collect(struct bz_db *db)
{
    uint64_t collected = 0;
    bool more = false;
    must(bz_db_collect(db, &collected, &more, error));
    assert_false(more);
    return collected;
}

/* What was superseded where a record was collected does not stand again beside what outlives it,
 * and all are told so, though no version vector says it. */
static void a_record_that_comes_where_it_was_collected_leaves_what_was_deleted(void **state)
{
    (void)state;
    struct net net;
    net_open(&net, 4);
    write_json(net.db[0], INSERT, "c", 1, "{\"a\":1,\"b\":1}");
    write_json(net.db[1], INSERT, "c", 1, "{\"a\":2,\"c\":2}");
    send_changes(net.db[1], net.db[0], 10, 0);
    send_changes(net.db[0], net.db[2], 10, 0);
    assert_int_equal(state_of(net.db[2]).conflicts, 1);
    delete_one_of(net.db[1], "c", 1);
    assert_int_equal(collect(net.db[1]), 1);

    send_changes(net.db[0], net.db[1], 10, 0);
    expect_json(net.db[1], "c", 1, "{\"a\":1,\"b\":1}");
    assert_int_equal(state_of(net.db[1]).conflicts, 0);
    send_changes(net.db[1], net.db[0], 10, 0);
    send_changes(net.db[0], net.db[2], 10, 0);
    for (unsigned i = 0; i < NODES; i++) {
        assert_int_equal(state_of(net.db[i]).conflicts, 0);
        expect_equal(net.db[0], net.db[i]);
        check_all(net.db[i]);
    }
    net_close(&net);
}

static void tell_what_it_has(struct bz_db *teller, struct bz_db *to)
{
    struct bz_identity receiver;
    struct bz_coverage told;
    struct bz_standing standing;
    struct bz_arena arena;
    bz_arena_init(&arena);
    bz_db_identity(to, &receiver);
    assert_int_equal(bz_coverage_tell(teller, &receiver.node, &arena, &told), 0);
    must(bz_coverage_learn(to, &told, &arena, &standing, error));
    bz_arena_release(&arena);
}

/* Others may still hold what was collected here, some as deleted and some not: they are given time
 * to agree. */
static void what_comes_back_where_it_was_collected_is_not_collected_again_at_once(void **state)
{
    (void)state;
    struct net net;
    uint64_t retention = 0;
    net_open(&net, 5);
    write_json(net.db[1], INSERT, "c", 1, "{\"a\":1}");
    send_changes(net.db[1], net.db[0], 10, 0);
    delete_one_of(net.db[1], "c", 1);
    assert_int_equal(collect(net.db[1]), 1);
    assert_int_equal(
        send_as(net.db[0], net.db[1], (struct exchange){.chunk = 10, .anew = true}).changed, 1);
    delete_one_of(net.db[1], "c", 1);
    send_changes(net.db[1], net.db[0], 10, 0);
    tell_what_it_has(net.db[0], net.db[1]);
    must(bz_db_retention(net.db[1], &retention, error));
    assert_int_equal(collect(net.db[1]), 0);
    net.world[1].ms += retention;
    assert_int_equal(collect(net.db[1]), 0);
    net.world[1].ms++;
    assert_int_equal(collect(net.db[1]), 1);
    check_all(net.db[1]);
    net_close(&net);
}

static void a_small_update_of_a_large_record_is_sent_alone(void **state)
{
    (void)state;
    struct net net;
    char json[5000];
    net_open(&net, 3);
    size_t n = (size_t)snprintf(json, sizeof json, "{\"n\":1,\"text\":\"");
    memset(json + n, 'x', 4000);
    memcpy(json + n + 4000, "\"}", 3);
    write_json(net.db[0], INSERT, "c", 1, json);
    assert_true(send_changes(net.db[0], net.db[1], 10, 0).bytes > 4000);
    write_json(net.db[0], UPDATE, "c", 1, "{\"n\":2}");
    struct exchange e = send_changes(net.db[0], net.db[1], 10, 0);
    assert_int_equal(e.records, 1);
    assert_true(e.bytes < 200);
    expect_equal(net.db[0], net.db[1]);
    check_all(net.db[1]);
    net_close(&net);
}

struct seen {
    unsigned calls;
    bool server_first;
    int64_t winner, loser;
};

static int see_conflict(void *context, const struct bz_conflict *conflict)
{
    struct seen *seen = context;
    assert_int_equal(conflict->count, 2);
    assert_true(bz_bytes_equal(conflict->field, bz_bytes_text("n")));
    seen->calls++;
    seen->server_first = conflict->siblings[0].role == BZ_ROLE_SERVER;
    seen->winner = conflict->siblings[0].value.as.integer;
    seen->loser = conflict->siblings[1].value.as.integer;
    return 0;
}

static void the_server_wins_and_the_loser_is_listed(void **state)
{
    (void)state;
    struct net net;
    net_open(&net, 4);
    write_json(net.db[0], INSERT, "c", 1, "{\"n\":0,\"m\":0}");
    write_json(net.db[0], INSERT, "c", 2, "{\"n\":0,\"m\":0}");
    send_changes(net.db[0], net.db[1], 10, 0);
    write_json(net.db[0], UPDATE, "c", 1, "{\"n\":1}");
    net.world[1].ms += 60000; /* the client's write is the later one */
    write_json(net.db[1], UPDATE, "c", 1, "{\"n\":2}");
    sync_both(net.db[0], net.db[1]);
    for (unsigned i = 0; i < 2; i++) {
        struct seen seen = {0};
        struct bz_read *read = NULL;
        expect_json(net.db[i], "c", 1, "{\"n\":1,\"m\":0}");
        assert_int_equal(state_of(net.db[i]).conflicts, 1);
        must(bz_read_begin(net.db[i], &read, error));
        must(bz_read_conflicts(read, bz_bytes(NULL, 0), NULL, see_conflict, &seen, error));
        blaze_id one = id_of(1), two = id_of(2);
        must(bz_read_conflicts(read, bz_bytes_text("c"), &one, see_conflict, &seen, error));
        must(bz_read_conflicts(read, bz_bytes_text("c"), &two, see_conflict, &seen, error));
        bz_read_end(read);
        assert_int_equal(seen.calls, 2);
        assert_true(seen.server_first);
        assert_int_equal(seen.winner, 1);
        assert_int_equal(seen.loser, 2);
    }
    write_json(net.db[1], UPDATE, "c", 1, "{\"n\":3}");
    sync_both(net.db[1], net.db[0]);
    expect_json(net.db[0], "c", 1, "{\"n\":3,\"m\":0}");
    assert_int_equal(state_of(net.db[0]).conflicts, 0);
    expect_equal(net.db[0], net.db[1]);
    check_all(net.db[0]);
    net_close(&net);
}

static void random_write(struct bz_db *db, struct rng *rng)
{
    static const char *const collections[] = {"a", "b"};
    struct bz_db_txn *txn = NULL;
    must(bz_db_begin(db, &txn, error));
    for (uint32_t n = 1 + rng_below(rng, 3); n > 0; n--) {
        const char *collection = collections[rng_below(rng, 2)];
        uint32_t number = rng_below(rng, IDS);
        blaze_id id = id_of(number);
        char json[128];
        snprintf(json, sizeof json, "{\"f%u\":%u,\"f%u\":\"s%u\"}", rng_below(rng, 3),
            rng_below(rng, 4), 3 + rng_below(rng, 3), rng_below(rng, 4));
        if (rng_below(rng, 6) == 0)
            snprintf(json, sizeof json, "{\"f%u\":{\"$unset\":true}}", rng_below(rng, 6));
        blaze_error error;
        int rc = 0;
        switch (rng_below(rng, 8)) {
        case 0:
            rc = bz_db_delete(txn, bz_bytes_text(collection), &id, &error);
            break;
        case 1:
            rc = strstr(json, "unset") != NULL
                     ? 0
                     : try_write(txn, PUT, collection, number, json, &error);
            break;
        case 2:
        case 3:
            rc = strstr(json, "unset") != NULL
                     ? 0
                     : try_write(txn, INSERT, collection, number, json, &error);
            break;
        default:
            rc = try_write(txn, UPDATE, collection, number, json, &error);
        }
        assert_true(rc == 0 || rc == BLAZE_ENOTFOUND || rc == BLAZE_EEXIST);
    }
    must(bz_db_commit(txn, BZ_DURABLE_RELAXED, error));
}

static void random_exchange(struct net *net, struct rng *rng)
{
    unsigned from = rng_below(rng, NODES), to = rng_below(rng, NODES);
    if (from != to)
        send_changes(net->db[from], net->db[to], 1 + rng_below(rng, 8), rng_below(rng, 4));
}

/* Everybody to everybody until nothing moves. */
static void settle(struct net *net)
{
    for (uint64_t changed = 1; changed > 0;) {
        changed = 0;
        for (unsigned from = 0; from < NODES; from++) {
            for (unsigned to = 0; to < NODES; to++) {
                if (from == to)
                    continue;
                struct exchange e = send_changes(net->db[from], net->db[to], 100, 0);
                assert_false(e.diverged);
                changed += e.changed;
            }
        }
    }
}

static void one_history(uint64_t seed)
{
    struct rng rng = {seed};
    struct net net;
    net_open(&net, seed);
    if (seed % 2 == 0)
        must(bz_db_index_create(net.db[1], bz_bytes_text("a"), "f1", "by_f1", error));
    for (unsigned step = 0; step < 60; step++) {
        unsigned node = rng_below(&rng, NODES);
        net.world[node].ms += rng_below(&rng, 50);
        if (rng_below(&rng, 3) != 0)
            random_write(net.db[node], &rng);
        else
            random_exchange(&net, &rng);
    }
    settle(&net);
    for (unsigned i = 0; i < NODES; i++) {
        if (i > 0)
            expect_equal(net.db[0], net.db[i]);
        check_all(net.db[i]);
    }
    net_close(&net);
}

static void three_databases_converge_whatever_is_written_and_exchanged(void **state)
{
    (void)state;
    uint64_t first = test_seed(), rounds = test_rounds(200, 20000);
    for (uint64_t i = 0; i < rounds; i++)
        one_history(first + i);
}

/* ---- hostile changes ---- */

struct hostile {
    struct net net;
    struct bz_replica replica;
    struct bz_apply *apply;
    struct bz_arena arena;
    uint32_t collection, node, field;
    struct bz_write write;
    struct bz_change change;
};

/* A sound change of a made-up peer, to be spoilt. */
static void hostile_open(struct hostile *h, struct bz_bytes body)
{
    static const blaze_id stranger = {{9, 9, 9}};
    net_open(&h->net, 5);
    write_json(h->net.db[0], INSERT, "c", 1, "{\"n\":0}");
    bz_arena_init(&h->arena);
    must(bz_db_replica_open(h->net.db[0], &h->replica, error));
    const struct bz_replica_ops *ops = h->replica.ops;
    must(ops->apply_begin(h->replica.context, &stranger, &h->apply, error));
    must(ops->resolve(h->apply, BZ_TERM_COLLECTION, bz_bytes_text("d"), &h->collection, error));
    must(ops->resolve(h->apply, BZ_TERM_NODE, bz_bytes(&stranger, 16), &h->node, error));
    must(ops->resolve(h->apply, BZ_TERM_FIELD, bz_bytes_text("x"), &h->field, error));
    h->write = (struct bz_write){
        .dot = {h->node, 1}, .stamp = BZ_STAMP(1700000000000u, 0), .alive = true, .body = body};
    h->change = (struct bz_change){.position = 1, .collection = h->collection, .id = id_of(2)};
    must(bz_rec_put(&h->arena, NULL, &h->write, &h->change.rec));
}

static void hostile_refused(struct hostile *h, int code)
{
    struct bz_db *db = h->net.db[0];
    blaze_error error = {0};
    bool changed = false;
    int rc = h->replica.ops->apply_change(h->apply, &h->change, &changed, &error);
    assert_int_equal(rc, code);
    assert_int_equal(error.code, code);
    h->replica.ops->apply_abort(h->apply);
    bz_arena_release(&h->arena);
    bz_db_replica_close(&h->replica);
    /* Who finds that it was put back writes again what it has written since. */
    assert_int_equal(state_of(db).position, code == BLAZE_ECLOSED ? 2 : 1);
    expect_json(db, "c", 1, "{\"n\":0}");
    check_all(db);
    net_close(&h->net);
}

static struct bz_bytes empty_document(void)
{
    static struct bz_buf buf = {.max = 1000};
    static struct blaze_names *names;
    blaze_doc *doc = doc_of("{}");
    blaze_value value;
    bz_buf_clear(&buf);
    assert_int_equal(bz_names_new(&names), 0);
    assert_int_equal(blaze_doc_value(doc, &value), 0);
    assert_int_equal(bz_doc_intern(&buf, &value, names), 0);
    bz_names_unref(names);
    blaze_doc_free(doc);
    static uint8_t copy[16];
    assert_true(buf.size <= sizeof copy);
    memcpy(copy, buf.data, buf.size);
    size_t size = buf.size;
    bz_buf_release(&buf);
    return bz_bytes(copy, size);
}

static void a_sound_change_of_a_stranger_is_taken(void **state)
{
    (void)state;
    struct hostile h;
    bool changed = false;
    hostile_open(&h, empty_document());
    must(h.replica.ops->apply_change(h.apply, &h.change, &changed, error));
    assert_true(changed);
    struct bz_peer_state peer = {.cursor = 1, .as_of = 1};
    must(h.replica.ops->apply_commit(h.apply, &peer, NULL, NULL, error));
    expect_json(h.net.db[0], "d", 2, "{}");
    bz_arena_release(&h.arena);
    bz_db_replica_close(&h.replica);
    check_all(h.net.db[0]);
    net_close(&h.net);
}

static void a_document_that_is_not_sound_is_refused(void **state)
{
    (void)state;
    struct hostile h;
    hostile_open(&h, bz_bytes("\xff\xff\xff", 3));
    hostile_refused(&h, BLAZE_ECORRUPT);
}

/* A name that stands as text has no number, so no cell could ever speak for it. */
static void a_field_without_a_number_is_refused(void **state)
{
    (void)state;
    struct hostile h;
    blaze_doc *doc = doc_of("{\"x\":1}");
    blaze_value value;
    assert_int_equal(blaze_doc_value(doc, &value), 0);
    hostile_open(&h, bz_bytes(value.as.nested.data, value.as.nested.size));
    hostile_refused(&h, BLAZE_ECORRUPT);
    blaze_doc_free(doc);
}

static void a_stamp_far_ahead_is_refused(void **state)
{
    (void)state;
    struct hostile h;
    hostile_open(&h, empty_document());
    h.change.rec.writes[0].stamp = BZ_STAMP(1700000000000u + 2 * BZ_STAMP_AHEAD_MAX_MS, 0);
    hostile_refused(&h, BLAZE_ECLOCK);
}

static void numbers_of_nothing_are_refused(void **state)
{
    (void)state;
    struct hostile h;
    hostile_open(&h, empty_document());
    h.change.collection = 77;
    hostile_refused(&h, BLAZE_EPROTO);
    hostile_open(&h, empty_document());
    h.change.rec.writes[0].dot.node = h.change.rec.rvv.entries[0].node = 77;
    hostile_refused(&h, BLAZE_EPROTO);
    hostile_open(&h, empty_document());
    uint16_t member = 0;
    struct bz_cell cell = {.field = 77, .count = 1, .members = &member};
    h.change.rec.cells = &cell;
    h.change.rec.cell_count = 1;
    hostile_refused(&h, BLAZE_EPROTO);
}

static void writes_of_ours_that_we_never_made_are_refused(void **state)
{
    (void)state;
    struct hostile h;
    struct bz_identity us;
    hostile_open(&h, empty_document());
    bz_db_identity(h.net.db[0], &us);
    uint32_t self = 0;
    must(h.replica.ops->resolve(h.apply, BZ_TERM_NODE, bz_bytes(&us.node, 16), &self, error));
    h.change.rec.writes[0].dot = (struct bz_dot){self, 5};
    h.change.rec.rvv.entries[0] = (struct bz_dot){self, 5};
    hostile_refused(&h, BLAZE_ECLOSED);
}

static void bad_names_are_refused(void **state)
{
    (void)state;
    struct hostile h;
    uint32_t number = 0;
    char long_name[300];
    memset(long_name, 'x', sizeof long_name);
    hostile_open(&h, empty_document());
    const struct bz_bytes bad[] = {bz_bytes("", 0), bz_bytes("\xff", 1), bz_bytes(long_name, 256)};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(h.replica.ops->resolve(h.apply, BZ_TERM_COLLECTION, bad[i], &number, NULL),
            BLAZE_EINVAL);
        assert_int_equal(
            h.replica.ops->resolve(h.apply, BZ_TERM_FIELD, bad[i], &number, NULL), BLAZE_EINVAL);
    }
    assert_int_equal(
        h.replica.ops->resolve(h.apply, BZ_TERM_FIELD, bz_bytes("a\0b", 3), &number, NULL),
        BLAZE_EINVAL);
    assert_int_equal(
        h.replica.ops->resolve(h.apply, BZ_TERM_COLLECTION, bz_bytes_text("a\nb"), &number, NULL),
        BLAZE_EINVAL);
    assert_int_equal(
        h.replica.ops->resolve(h.apply, BZ_TERM_NODE, bz_bytes_text("short"), &number, NULL),
        BLAZE_EPROTO);
    h.change.collection = 77;
    hostile_refused(&h, BLAZE_EPROTO);
}

static void a_digest_that_differs_at_equal_versions_is_told(void **state)
{
    (void)state;
    struct net net;
    net_open(&net, 6);
    write_json(net.db[0], INSERT, "c", 1, "{\"n\":0}");
    assert_false(send_changes(net.db[0], net.db[1], 10, 0).diverged);
    struct bz_replica from, to;
    must(bz_db_replica_open(net.db[0], &from, error));
    must(bz_db_replica_open(net.db[1], &to, error));
    struct bz_identity us;
    struct bz_peer_state known;
    struct bz_apply *apply = NULL;
    struct bz_arena arena;
    struct bz_head head = {0};
    bool diverged = false;
    bz_arena_init(&arena);
    from.ops->identity(from.context, &us);
    must(to.ops->peer_load(to.context, &us.node, &known));
    must(to.ops->version(to.context, &arena, &head.vv));
    head.position = known.reached;
    for (unsigned partial = 0; partial < 2; partial++) {
        head.partial = partial;
        must(to.ops->apply_begin(to.context, &us.node, &apply, error));
        must(to.ops->apply_commit(apply, &known, &head, &diverged, error));
        assert_int_equal(diverged, !partial);
    }
    bz_arena_release(&arena);
    bz_db_replica_close(&from);
    bz_db_replica_close(&to);
    net_close(&net);
}

static bool is_beyond(struct bz_db *db)
{
    struct bz_read *read = NULL;
    bool beyond = false;
    must(bz_read_begin(db, &read, error));
    must(bz_read_beyond(read, &beyond, error));
    bz_read_end(read);
    return beyond;
}

/* While a walk goes on, this copy holds writes that its version vector does not cover. */
static void what_came_without_its_head_lies_beyond_the_version_vector(void **state)
{
    (void)state;
    struct net net;
    net_open(&net, 7);
    for (uint32_t i = 0; i < 20; i++)
        write_json(net.db[0], INSERT, "c", i, "{\"a\":1}");
    struct exchange part = send_changes(net.db[0], net.db[1], 7, 1);
    assert_false(part.reached);
    assert_true(is_beyond(net.db[1]));
    assert_true(send_changes(net.db[0], net.db[1], 7, 0).reached);
    assert_false(is_beyond(net.db[1]));
    net_close(&net);
}

/* A delete that the sender has collected stands here beside what it sends: for a while the two show
 * something else with the same writes. */
static void a_record_that_is_torn_by_what_the_sender_has_collected_is_untold(void **state)
{
    (void)state;
    for (int collected = 0; collected < 2; collected++) {
        struct net net;
        struct bz_dot delete = {0, 1};
        struct bz_vv told = {&delete, 1};
        net_open(&net, 12);
        write_json(net.db[0], INSERT, "c", 1, "{\"a\":1}");
        send_changes(net.db[0], net.db[1], 10, 0);
        delete_one_of(net.db[1], "c", 1);
        write_json(net.db[0], UPDATE, "c", 1, "{\"a\":2}");
        send_as(net.db[0], net.db[1],
            (struct exchange){.chunk = 10, .collected = collected ? &told : NULL});
        assert_int_equal(told_to_one_who_has_all(net.db[1], false), 1);
        assert_int_equal(is_beyond(net.db[1]), collected);
        net_close(&net);
    }
}

static struct bz_range all_ids(void)
{
    struct bz_range range = {.collection = bz_bytes_text("c"), .whole = true};
    memset(&range.last, 0xff, sizeof range.last);
    return range;
}

/* `there` are those from 2 on. */
static void compare_with_one_that_collected_record_1(struct bz_db *db, struct bz_db *peer)
{
    struct bz_replica replica, other;
    struct bz_arena arena;
    struct bz_standing standing = {.collected_stamp = UINT64_MAX};
    struct bz_range range = all_ids();
    blaze_id there[19];
    struct bz_bytes node;
    blaze_id id;
    uint64_t removed = 0;
    bz_arena_init(&arena);
    for (uint32_t i = 0; i < 19; i++)
        there[i] = id_of(i + 2);
    must(bz_db_replica_open(db, &replica, error));
    must(bz_db_replica_open(peer, &other, error));
    must(other.ops->version(other.context, &arena, &standing.has));
    for (uint32_t i = 0; i < standing.has.count; i++) {
        struct bz_dot *dot = &standing.has.entries[i];
        must(other.ops->meaning(other.context, BZ_TERM_NODE, dot->node, &node));
        memcpy(&id, node.data, sizeof id);
        must(bz_catalog_node(db->catalog, &id, &dot->node));
    }
    standing.collected = standing.has;
    must(
        replica.ops->range_compare(replica.context, &range, there, 19, &standing, &removed, error));
    assert_int_equal(removed, 1);
    bz_db_replica_close(&replica);
    bz_db_replica_close(&other);
    bz_arena_release(&arena);
}

static bool is_listed(struct bz_db *db, uint32_t n)
{
    struct bz_replica replica;
    struct bz_range range = all_ids();
    blaze_id ids[32], id = id_of(n);
    struct bz_range_sum sum = {.max = 32, .ids = ids};
    bool is = false;
    must(bz_db_replica_open(db, &replica, error));
    assert_int_equal(replica.ops->range_list(replica.context, &range, &sum), 0);
    for (uint64_t i = 0; i < sum.count; i++) {
        assert_true(i == 0 || memcmp(&ids[i - 1], &ids[i], sizeof id) < 0);
        is |= memcmp(&ids[i], &id, sizeof id) == 0;
    }
    bz_db_replica_close(&replica);
    return is;
}

/* The second has record 1, deleted by the fourth write of the first, and no head. */
static void open_half_way_after_a_delete(struct net *net, uint64_t seed)
{
    net_open(net, seed);
    for (unsigned i = 0; i < 2; i++) {
        write_json(net->db[0], INSERT, "c", 1, "{\"a\":1}");
        delete_one_of(net->db[0], "c", 1);
    }
    for (uint32_t i = 2; i < 21; i++)
        write_json(net->db[0], INSERT, "c", i, "{\"a\":1}");
    assert_false(send_changes(net->db[0], net->db[1], 7, 1).reached);
}

/* Whatever the peer still tells of it then: it may have lost that. */
static void what_a_comparison_took_away_is_collected_at_its_end(void **state)
{
    (void)state;
    struct net net;
    struct bz_identity first;
    struct bz_read *read;
    struct bz_purged purged;
    struct bz_dot delete = {0, 4};
    open_half_way_after_a_delete(&net, 10);
    bz_db_identity(net.db[0], &first);
    must(bz_catalog_node(net.db[1]->catalog, &first.node, &delete.node));
    compare_with_one_that_collected_record_1(net.db[1], net.db[0]);
    for (unsigned i = 0; i < 2; i++) {
        must(bz_read_begin(net.db[1], &read, error));
        must(bz_purged_load(read->view, &read->arena, &purged, error));
        assert_int_equal(bz_vv_covers(&purged.vv, delete), i == 1);
        bz_read_end(read);
        if (i == 0)
            assert_true(send_changes(net.db[0], net.db[1], 10, 0).reached);
    }
    check_all(net.db[1]);
    net_close(&net);
}

/* Though its version vector does not say yet that the delete was here. Until it does, nobody else
 * is to take the record for gone by this copy's word. */
static void who_makes_a_record_anew_that_a_comparison_took_away_has_seen_it(void **state)
{
    (void)state;
    struct net net;
    open_half_way_after_a_delete(&net, 9);
    compare_with_one_that_collected_record_1(net.db[1], net.db[0]);
    assert_int_equal(state_of(net.db[1]).dead, 0);
    assert_true(is_listed(net.db[1], 1));
    write_json(net.db[1], INSERT, "c", 1, "{\"a\":2}");
    send_changes(net.db[1], net.db[0], 10, 0);
    expect_json(net.db[0], "c", 1, "{\"a\":2}");
    assert_int_equal(told_to_one_who_has_all(net.db[0], false), 0); /* it is not torn */
    assert_true(send_changes(net.db[0], net.db[1], 10, 0).reached);
    expect_equal(net.db[0], net.db[1]);
    check_all(net.db[1]);
    net_close(&net);
}

/* Who finds without more that it was put back cannot tell how much of what it wrote others have. */
static void what_a_copy_wrote_before_it_was_put_back_lies_beyond_what_it_claims(void **state)
{
    (void)state;
    struct net net;
    struct bz_identity former;
    struct bz_replica replica;
    net_open(&net, 8);
    for (unsigned i = 0; i < 2; i++) {
        if (i == 1)
            write_json(net.db[0], INSERT, "c", 1, "{\"a\":1}");
        must(bz_db_replica_open(net.db[0], &replica, error));
        replica.ops->identity(replica.context, &former);
        must(replica.ops->outlived(replica.context, &former.node, NULL, error));
        bz_db_replica_close(&replica);
        assert_int_equal(is_beyond(net.db[0]), i == 1);
    }
    net_close(&net);
}

static void set_scope(struct bz_db *db, const char *filter)
{
    struct bz_buf scope;
    struct bz_scope_item item = {bz_bytes_text("c"), bz_bytes_text(filter)};
    bz_buf_init(&scope, BZ_SCOPE_BYTES_MAX);
    bz_scope_append(&scope, &item);
    must(bz_db_scope_set(db, bz_buf_bytes(&scope), error));
    bz_buf_release(&scope);
}

/* Also in what it has been merged to, of which the sender did not have all. */
static void what_a_part_wrote_under_a_former_name_stays_until_others_have_it(void **state)
{
    (void)state;
    struct net net;
    struct bz_identity former;
    net_open(&net, 11);
    set_scope(net.db[1], "");
    for (uint32_t i = 1; i <= 2; i++)
        write_json(net.db[1], INSERT, "c", i, "{\"a\":1}");
    bz_db_identity(net.db[1], &former);
    must(bz_identity_outgrown(net.db[1], &former.node, error));
    for (uint32_t i = 2; i <= 3; i++)
        write_json(net.db[0], INSERT, "c", i, "{\"a\":1}");
    assert_true(send_changes(net.db[0], net.db[1], 10, 0).reached);
    set_scope(net.db[1], "a = 2");
    expect_json(net.db[1], "c", 1, "{\"a\":1}");
    expect_json(net.db[1], "c", 2, "{\"a\":1}");
    expect_json(net.db[1], "c", 3, NULL);
    check_all(net.db[1]);
    net_close(&net);
}

/* The sender has made it anew, out of scope: what is here goes, if it is what the sender had
 * collected before. */
static void a_marker_of_what_was_made_anew_takes_away_what_was_collected_before(void **state)
{
    (void)state;
    for (int collected = 0; collected < 2; collected++) {
        struct net net;
        struct bz_replica replica;
        struct bz_identity sender;
        struct bz_peer_state peer;
        struct bz_apply *apply;
        struct bz_arena arena;
        struct bz_scope_state scope = {0};
        struct bz_dot old = {1, 1}, new = {2, 1}; /* in the order in which it heard of them */
        struct bz_vv gone = {&old, 1};
        struct bz_change marker = {.id = id_of(1), .rec = {.rvv = {&new, 1}}};
        bool changed = false;
        net_open(&net, 14);
        bz_arena_init(&arena);
        set_scope(net.db[1], "a = 1");
        write_json(net.db[0], INSERT, "c", 1, "{\"a\":1}");
        write_json(net.db[2], INSERT, "c", 2, "{\"a\":1}");
        send_changes(net.db[0], net.db[1], 10, 0);
        send_changes(net.db[2], net.db[1], 10, 0);
        bz_db_identity(net.db[0], &sender);
        must(bz_db_replica_open(net.db[1], &replica, error));
        must(replica.ops->peer_load(replica.context, &sender.node, &peer));
        must(replica.ops->scope(replica.context, &arena, &scope));
        must(replica.ops->node_number(replica.context, &net.db[1]->identity.node, &peer.self));
        peer.scope = scope.generation;
        must(replica.ops->apply_begin(replica.context, &sender.node, &apply, error));
        replica.ops->apply_from(apply, &(struct bz_sender){.collected = collected ? &gone : NULL});
        must(replica.ops->apply_marker(apply, &marker, &changed, error));
        must(replica.ops->apply_commit(apply, &peer, NULL, NULL, error));
        expect_json(net.db[1], "c", 1, collected ? NULL : "{\"a\":1}");
        expect_json(net.db[1], "c", 2, "{\"a\":1}");
        check_all(net.db[1]);
        bz_db_replica_close(&replica);
        bz_arena_release(&arena);
        net_close(&net);
    }
}

/* As with a peer that has none of its records, and has collected others of that age. */
static void compare_with_one_that_collected_others(struct bz_db *db)
{
    struct bz_replica replica;
    struct bz_range range = all_ids();
    struct bz_dot dot = {1, 1}; /* of the first that it has heard of */
    struct bz_standing standing = {.collected = {&dot, 1}, .collected_stamp = UINT64_MAX};
    uint64_t removed = 0;
    must(bz_db_replica_open(db, &replica, error));
    must(replica.ops->range_compare(replica.context, &range, NULL, 0, &standing, &removed, error));
    must(replica.ops->range_compared(replica.context, 0, &standing, error));
    assert_int_equal(removed, 0);
    bz_db_replica_close(&replica);
}

/* And in what a comparison has written anew. */
static void what_a_part_wrote_under_a_former_name_stays_though_it_is_compared(void **state)
{
    (void)state;
    struct net net;
    struct bz_identity former;
    net_open(&net, 13);
    write_json(net.db[0], INSERT, "c", 2, "{\"a\":1}");
    set_scope(net.db[1], "");
    write_json(net.db[1], INSERT, "c", 1, "{\"a\":1}");
    send_changes(net.db[0], net.db[1], 10, 0);
    bz_db_identity(net.db[1], &former);
    must(bz_identity_outgrown(net.db[1], &former.node, error));
    uint64_t before = bz_db_position(net.db[1]);
    compare_with_one_that_collected_others(net.db[1]);
    assert_true(bz_db_position(net.db[1]) > before);
    set_scope(net.db[1], "a = 2");
    expect_json(net.db[1], "c", 1, "{\"a\":1}");
    check_all(net.db[1]);
    net_close(&net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_one_writes_another_reads),
        cmocka_unit_test(a_change_is_not_sent_back_to_where_it_came_from),
        cmocka_unit_test(a_torn_record_is_told_again_unless_others_tell_it_and_none_was_collected),
        cmocka_unit_test(a_record_that_comes_where_it_was_collected_leaves_what_was_deleted),
        cmocka_unit_test(what_comes_back_where_it_was_collected_is_not_collected_again_at_once),
        cmocka_unit_test(a_small_update_of_a_large_record_is_sent_alone),
        cmocka_unit_test(the_server_wins_and_the_loser_is_listed),
        cmocka_unit_test(three_databases_converge_whatever_is_written_and_exchanged),
        cmocka_unit_test(a_sound_change_of_a_stranger_is_taken),
        cmocka_unit_test(a_document_that_is_not_sound_is_refused),
        cmocka_unit_test(a_field_without_a_number_is_refused),
        cmocka_unit_test(a_stamp_far_ahead_is_refused),
        cmocka_unit_test(numbers_of_nothing_are_refused),
        cmocka_unit_test(writes_of_ours_that_we_never_made_are_refused),
        cmocka_unit_test(bad_names_are_refused),
        cmocka_unit_test(a_digest_that_differs_at_equal_versions_is_told),
        cmocka_unit_test(what_came_without_its_head_lies_beyond_the_version_vector),
        cmocka_unit_test(a_record_that_is_torn_by_what_the_sender_has_collected_is_untold),
        cmocka_unit_test(what_a_comparison_took_away_is_collected_at_its_end),
        cmocka_unit_test(who_makes_a_record_anew_that_a_comparison_took_away_has_seen_it),
        cmocka_unit_test(what_a_part_wrote_under_a_former_name_stays_until_others_have_it),
        cmocka_unit_test(what_a_part_wrote_under_a_former_name_stays_though_it_is_compared),
        cmocka_unit_test(a_marker_of_what_was_made_anew_takes_away_what_was_collected_before),
        cmocka_unit_test(what_a_copy_wrote_before_it_was_put_back_lies_beyond_what_it_claims),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
