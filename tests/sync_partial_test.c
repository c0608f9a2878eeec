/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Partial replicas where things go wrong: every allocation fails once, a peer's scope or markers
 * are malformed, the copy becomes another node, or is opened read-only.
 */
#include "sync_world.h"

#include "base/alloc.h"
#include "crdt/scope.h"
#include "db/db_priv.h"
#include "sync/frame.h"

static const struct bz_bytes notes = {(const uint8_t *)"notes", 5};

static void scope_bytes(struct bz_buf *out, const char *collection, const char *filter)
{
    struct bz_scope_item item = {bz_bytes_text(collection), bz_bytes_text(filter)};
    bz_buf_init(out, BZ_SCOPE_BYTES_MAX);
    bz_scope_append(out, &item);
}

static int take_notes(struct bz_db *db, const char *filter)
{
    struct bz_buf scope;
    scope_bytes(&scope, "notes", filter);
    int rc = bz_db_scope_set(db, bz_buf_bytes(&scope), NULL);
    bz_buf_release(&scope);
    return rc;
}

static void put_field(struct bz_db *db, uint64_t id, const char *field, const char *value)
{
    blaze_doc *doc;
    struct bz_db_txn *txn;
    blaze_id record = fake_id(id);
    assert_int_equal(blaze_doc_new(&doc), 0);
    blaze_doc_add_string(doc, field, value);
    assert_int_equal(bz_db_begin(db, &txn, NULL), 0);
    assert_int_equal(bz_db_upsert(txn, notes, &record, doc, NULL), 0);
    assert_int_equal(bz_db_commit(txn, BZ_DURABLE_RELAXED, NULL), 0);
    blaze_doc_free(doc);
}

static void put(struct bz_db *db, uint64_t id, const char *kind)
{
    put_field(db, id, "kind", kind);
}

static uint64_t count_of(struct bz_db *db)
{
    struct bz_read *read;
    uint64_t count = 0;
    assert_int_equal(bz_read_begin(db, &read, NULL), 0);
    int rc = bz_read_count(read, notes, &count, NULL);
    assert_true(rc == 0 || rc == BLAZE_ENOTFOUND);
    bz_read_end(read);
    return count;
}

static void exchange(struct world *w)
{
    for (int turn = 0; turn < 3; turn++) {
        for (uint32_t i = 0; i < w->links; i++) {
            if (w->link[i].up && !pipe_live(&w->link[i].pipe))
                link_down(&w->link[i]);
        }
        all_links(w);
        wake_all(w);
        for (uint64_t steps = 0; step(w); steps++)
            assert_true(steps < STEPS);
    }
}

/* ---- memory ---- */

static struct {
    uint64_t at, count;
} fault;

static int fail_at(void *context)
{
    (void)context;
    return ++fault.count == fault.at;
}

static int evict_first(struct bz_db *db)
{
    blaze_id first = fake_id(1);
    return bz_db_evict(db, notes, &first, 1, NULL);
}

static int widen(struct bz_db *db)
{
    return take_notes(db, "");
}

static int narrow(struct bz_db *db)
{
    return take_notes(db, "kind = \"b\"");
}

/* Does `what` with every allocation failing once: all or nothing, and where it did not fail for
 * that, `undo`. Leaves it done. */
static void with_faults(
    struct bz_db *db, int (*what)(struct bz_db *db), int (*undo)(struct bz_db *db))
{
    uint64_t failed = 0;
    fault.at = 1;
    for (bool all = false; !all; fault.at++) {
        fault.count = 0;
        bz_alloc_set_fault(fail_at, NULL);
        int rc = what(db);
        bz_alloc_set_fault(NULL, NULL);
        all = fault.count < fault.at;
        assert_true(rc == (all ? 0 : BLAZE_ENOMEM) || (!all && rc == 0));
        assert_int_equal(bz_db_check(db, NULL, NULL, NULL), 0);
        failed += rc != 0;
        if (rc == 0 && !all && undo == NULL)
            break;
        if (rc == 0 && !all)
            assert_int_equal(undo(db), 0);
    }
    assert_true(failed > 0);
    assert_true(fault.at > 10);
}

static void every_allocation_of_a_change_of_scope_may_fail(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 1, CHAIN, 2);
    struct bz_db *full = w.site[0].db, *part = w.site[1].db;
    for (uint64_t i = 1; i <= 6; i++)
        put(full, i, i % 2 ? "a" : "b");
    assert_int_equal(take_notes(part, "kind = \"a\""), 0);
    exchange(&w);
    assert_int_equal(count_of(part), 3);
    put(part, 1, "a"); /* so that letting go of it is noted */
    exchange(&w);
    with_faults(part, evict_first, NULL);
    assert_int_equal(count_of(part), 2);
    with_faults(part, widen, narrow);
    exchange(&w);
    assert_int_equal(count_of(part), 6);
    with_faults(part, narrow, widen);
    exchange(&w); /* one holds a write of this node */
    assert_int_equal(count_of(part), 3);
    world_close(&w);
}

/* The same of an exchange: it ends, or it goes on, and the next one completes it. */
static void every_allocation_of_an_exchange_may_fail(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 2, CHAIN, 2);
    struct bz_db *full = w.site[0].db, *part = w.site[1].db;
    for (uint64_t i = 1; i <= 4; i++)
        put(full, i, "a");
    assert_int_equal(take_notes(part, "kind = \"a\""), 0);
    exchange(&w);
    uint64_t failed = 0;
    fault.at = 1;
    for (bool all = false; !all; fault.at += 3) {
        put(full, 1 + fault.at % 4, fault.at % 2 ? "b" : "a"); /* one leaves, or comes */
        put(part, 5, "b");                                     /* and one goes */
        fault.count = 0;
        bz_alloc_set_fault(fail_at, NULL);
        wake_all(&w);
        while (step(&w))
            ;
        bz_alloc_set_fault(NULL, NULL);
        all = fault.count < fault.at;
        failed += !all;
        for (int k = 0; k < 2; k++) {
            int code = pipe_status(&w.link[0].pipe, k).code;
            assert_true(
                code == 0 || code == BLAZE_ENOMEM || code == BLAZE_ECLOSED || code == BLAZE_EPROTO);
        }
        exchange(&w);
        uint64_t expected = 0;
        struct bz_read *read;
        assert_int_equal(bz_read_begin(full, &read, NULL), 0);
        for (uint64_t i = 1; i <= 4; i++) {
            blaze_id id = fake_id(i);
            blaze_value doc, kind;
            assert_int_equal(bz_read_get(read, notes, &id, &doc, NULL), 0);
            assert_int_equal(blaze_value_field(&doc, "kind", &kind), 0);
            expected += kind.as.text.data[0] == 'a';
        }
        bz_read_end(read);
        assert_int_equal(count_of(part), expected);
        assert_int_equal(bz_db_check(part, NULL, NULL, NULL), 0);
    }
    assert_true(failed > 20);
    assert_int_equal(count_of(full), 5);
    world_close(&w);
}

/* ---- another node ---- */

static void a_partial_replica_that_becomes_another_node_claims_anew_and_loses_nothing(void **state)
{
    (void)state;
    struct world w;
    struct bz_identity before, after;
    struct bz_read *read;
    struct bz_scope_kept kept;
    struct bz_arena arena;
    world_open(&w, 3, CHAIN, 2);
    struct bz_db *full = w.site[0].db, *part = w.site[1].db;
    assert_int_equal(take_notes(part, "kind = \"a\""), 0);
    put(part, 1, "b");
    exchange(&w);
    assert_int_equal(count_of(part), 0); /* let go of: a write of this node is not here any more */
    link_down(&w.link[0]);
    put(part, 2, "b"); /* nobody else has it */
    bz_db_identity(part, &before);
    assert_int_equal(bz_identity_outlived(part, &before.node, NULL, NULL), 0);
    bz_db_identity(part, &after);
    assert_memory_not_equal(&before.node, &after.node, sizeof before.node);
    bz_arena_init(&arena);
    assert_int_equal(bz_read_begin(part, &read, NULL), 0);
    assert_int_equal(bz_scope_load(read->view, &arena, &kept, NULL), 0);
    bz_read_end(read);
    assert_int_equal(kept.gave, 0);
    bz_arena_release(&arena);
    bool more;
    assert_int_equal(bz_scope_sweep(part, (struct bz_acknowledged){0}, &more, NULL), 0);
    assert_int_equal(count_of(part), 1); /* though it holds nothing of the node that this is now */
    put(part, 3, "a");
    exchange(&w);
    assert_int_equal(count_of(full), 3);
    assert_int_equal(count_of(part), 1);
    world_close(&w);
}

/* ---- what the keeper had is lost ---- */

/* One link alone, from a new session on. */
static void meet(struct world *w, uint32_t link)
{
    for (uint32_t i = 0; i < w->links; i++)
        link_down(&w->link[i]);
    for (int turn = 0; turn < 2; turn++) {
        link_down(&w->link[link]);
        link_up(w, &w->link[link]);
        wake_all(w);
        for (uint64_t steps = 0; step(w); steps++)
            assert_true(steps < STEPS);
    }
}

static int resumes(struct world *w, uint32_t peer, uint64_t position)
{
    struct bz_identity self, other;
    const struct bz_replica *part = &w->link[0].replicas[1];
    bz_db_identity(w->site[1].db, &self);
    bz_db_identity(w->site[peer].db, &other);
    return part->ops->resumed(part->context, &self.node, &other.node, position, NULL);
}

static blaze_id node_of(struct bz_db *db)
{
    struct bz_identity identity;
    bz_db_identity(db, &identity);
    return identity.node;
}

/* A part between two full ones, the keeper and another, that has let go of record 1 with a write
 * of its own, of which the other knows nothing: the write took it out of the scope. */
static void open_between(struct world *w)
{
    world_open(w, 5, CHAIN, 3);
    assert_int_equal(take_notes(w->site[1].db, "kind = \"a\""), 0);
    put(w->site[0].db, 1, "a");
    meet(w, 0);
    meet(w, 1);
    assert_int_equal(count_of(w->site[2].db), 1);
    put(w->site[1].db, 1, "b");
    meet(w, 0);
    assert_int_equal(count_of(w->site[1].db), 0);
}

/* Record 1 in a transaction that is to do to it what collecting does. */
struct first {
    struct bz_db_txn *txn;
    struct bz_txn_collection *collection;
    blaze_id id;
    struct bz_stored stored;
    struct bz_rec rec;
};

static void first_open(struct first *first, struct bz_db *db)
{
    uint32_t number;
    bool there;
    first->id = fake_id(1);
    assert_int_equal(bz_db_begin(db, &first->txn, NULL), 0);
    assert_int_equal(bz_catalog_collection(db->catalog, notes, &number), 0);
    assert_int_equal(bz_txn_load(first->txn, number, &first->id, &first->collection, &first->stored,
                         &first->rec, &there, NULL),
        0);
    assert_true(there);
}

/* As if it had been collected where it was not yet known to be anywhere else. */
static void erase_first(struct bz_db *db)
{
    struct first first;
    first_open(&first, db);
    assert_int_equal(
        bz_drop_record(first.txn, first.collection, &first.id, &first.stored, &first.rec, NULL), 0);
    assert_int_equal(bz_db_commit(first.txn, BZ_DURABLE_RELAXED, NULL), 0);
}

/* As if the delete in it had been collected elsewhere: what was concurrent with that stands alone,
 * though it has seen no more than before. */
static void shed_delete(struct bz_db *db)
{
    static const uint16_t only = 0;
    struct first first;
    first_open(&first, db);
    const struct bz_cell *life = &first.rec.life;
    struct bz_rec rec = first.rec;
    assert_int_equal(life->count, 2);
    rec.writes += life->members[!first.rec.writes[life->members[0]].alive];
    assert_true(rec.writes->alive);
    rec.write_count = 1;
    rec.cell_count = 0;
    rec.life = rec.rest = (struct bz_cell){.count = 1, .members = &only};
    assert_int_equal(
        bz_write_record(first.txn, first.collection, &first.id, &first.stored, &first.rec, &rec,
            (struct bz_origin){.node = first.txn->state.self, .untold = true}, NULL),
        0);
    assert_int_equal(bz_db_commit(first.txn, BZ_DURABLE_RELAXED, NULL), 0);
}

/* A part waits for who has its writes, and they have been collected: what is sent has none, and the
 * sender had them all. */
static void what_was_made_anew_comes_to_who_had_let_go_of_what_was_there(void **state)
{
    (void)state;
    struct world w;
    open_between(&w);
    struct bz_db *full = w.site[0].db, *part = w.site[1].db;
    erase_first(full);
    put(full, 1, "a");
    meet(&w, 0);
    assert_int_equal(count_of(part), 1);
    assert_int_equal(bz_db_check(part, NULL, NULL, NULL), 0);
    world_close(&w);
}

static void delete_first(struct bz_db *db)
{
    struct bz_db_txn *txn;
    blaze_id first = fake_id(1);
    assert_int_equal(bz_db_begin(db, &txn, NULL), 0);
    assert_int_equal(bz_db_delete(txn, notes, &first, NULL), 0);
    assert_int_equal(bz_db_commit(txn, BZ_DURABLE_RELAXED, NULL), 0);
}

/* The links of a mesh of four. */
enum { L01, L02, L03, L12, L13, L23 };

/* A part in a mesh of four. Another has a record in its scope, which a full one has written and
 * deleted without knowing of that. */
static void open_beside_a_delete(struct world *w)
{
    world_open(w, 6, MESH, 4);
    assert_int_equal(take_notes(w->site[1].db, "kind = \"a\""), 0);
    put(w->site[2].db, 1, "a");
    w->wall_ms += 10;
    put(w->site[0].db, 1, "b");
    delete_first(w->site[0].db);
}

/* The version vector says that it was shown; but then it was deleted. */
static void what_is_in_scope_since_a_delete_was_collected_comes(void **state)
{
    (void)state;
    struct world w;
    open_beside_a_delete(&w);
    struct bz_db *full = w.site[0].db, *part = w.site[1].db;
    put(full, 2, "a");
    meet(&w, L02);
    meet(&w, L01);
    assert_int_equal(count_of(part), 1);
    shed_delete(full);
    assert_int_equal(count_of(full), 2);
    meet(&w, L01);
    assert_int_equal(count_of(part), 2);
    meet(&w, L02);
    put(w.site[2].db, 1, "c");
    meet(&w, L12);
    assert_int_equal(count_of(part), 1);
    world_close(&w);
}

/* The same where the part itself had deleted it, and has noted in which state it was let go of. */
static void what_was_let_go_of_comes_since_a_delete_was_collected(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 6, MESH, 4);
    struct bz_db *part = w.site[1].db;
    assert_int_equal(take_notes(part, "kind = \"a\""), 0);
    put(part, 2, "b");
    exchange(&w); /* all know of all, and wait for the third with collecting */
    put(w.site[2].db, 1, "a");
    w.wall_ms += 10;
    put(part, 1, "b");
    delete_first(part);
    meet(&w, L01);
    meet(&w, L03);
    erase_first(w.site[0].db);
    meet(&w, L02);
    meet(&w, L01);
    assert_int_equal(count_of(part), 1);
    meet(&w, L23);
    meet(&w, L13);
    assert_int_equal(count_of(part), 0);
    shed_delete(w.site[3].db);
    meet(&w, L13);
    assert_int_equal(count_of(part), 1);
    assert_int_equal(bz_db_check(part, NULL, NULL, NULL), 0);
    world_close(&w);
}

/* The sender has not had all that was shown here: what it sends may be the older state. In another
 * session it has, and has nothing more to say of it. */
static void what_was_passed_over_for_want_of_something_comes_once_the_sender_has_that(void **state)
{
    (void)state;
    struct world w;
    open_beside_a_delete(&w);
    struct bz_db *full = w.site[0].db, *part = w.site[1].db;
    meet(&w, L02);
    meet(&w, L01);
    meet(&w, L03);
    put(w.site[3].db, 2, "a");
    meet(&w, L13);
    assert_int_equal(count_of(part), 1);
    shed_delete(full);
    meet(&w, L01);
    assert_int_equal(count_of(part), 1);
    meet(&w, L03);
    meet(&w, L01);
    assert_int_equal(count_of(part), 2);
    assert_int_equal(bz_db_check(part, NULL, NULL, NULL), 0);
    world_close(&w);
}

/* The same of a record that lacks a write of the part's own, which the sender has had and collected
 * by the next session. */
static void what_was_refused_for_want_of_an_own_write_comes_once_the_sender_has_had_that(
    void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 6, MESH, 3);
    struct bz_db *full = w.site[0].db, *part = w.site[1].db, *other = w.site[2].db;
    enum { M01, M02, M12 };
    assert_int_equal(take_notes(part, "kind = \"a\""), 0);
    put(part, 1, "b");
    meet(&w, M01);
    put(other, 1, "a");
    meet(&w, M12);
    assert_int_equal(count_of(part), 0);
    erase_first(full);
    meet(&w, M02);
    meet(&w, M12);
    assert_int_equal(count_of(part), 1);
    assert_int_equal(bz_db_check(part, NULL, NULL, NULL), 0);
    world_close(&w);
}

/* Within a session, of a record that it has collected and was sent a part of: it is as far as it
 * has acknowledged, and not where it resumed. */
static void a_keeper_that_asks_once_more_has_lost_nothing(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 6, CHAIN, 2);
    struct bz_db *full = w.site[0].db, *part = w.site[1].db;
    blaze_id before = node_of(part);
    assert_int_equal(take_notes(part, "kind = \"a\""), 0);
    put(part, 1, "a");
    all_links(&w);
    settle(&w);
    put(part, 2, "b");
    settle(&w);
    assert_int_equal(count_of(part), 1);
    erase_first(full);
    put_field(part, 1, "size", "large");
    settle(&w);
    blaze_id after = node_of(part);
    assert_memory_equal(&before, &after, sizeof before);
    assert_true(pipe_live(&w.link[0].pipe));
    assert_int_equal(count_of(full), 2);
    world_close(&w);
}

static void what_lacks_a_write_that_was_let_go_of_comes_when_that_is_lost(void **state)
{
    (void)state;
    struct world w;
    open_between(&w);
    struct bz_db *part = w.site[1].db;
    meet(&w, 1);
    assert_int_equal(count_of(part), 0);
    assert_int_equal(take_notes(part, ""), 0); /* wider, which makes no difference to that */
    meet(&w, 1);
    assert_int_equal(count_of(part), 0);
    blaze_id former = node_of(part);
    assert_int_equal(resumes(&w, 2, 0), 0); /* it was never counted on */
    assert_int_equal(resumes(&w, 0, bz_db_position(part)), 0);
    blaze_id same = node_of(part);
    assert_memory_equal(&former, &same, sizeof same);
    assert_int_equal(resumes(&w, 0, 0), BLAZE_ECLOSED);
    blaze_id another = node_of(part);
    assert_memory_not_equal(&former, &another, sizeof another);
    meet(&w, 1);
    assert_int_equal(count_of(part), 1);
    world_close(&w);
}

static void who_writes_anew_what_it_has_let_go_of_has_seen_that(void **state)
{
    (void)state;
    struct world w;
    open_between(&w);
    put(w.site[1].db, 1, "c");
    meet(&w, 1);
    struct bz_db_state other;
    struct version version;
    load(&w.site[2], &other, &version);
    assert_int_equal(other.records, 1);
    assert_int_equal(other.conflicts, 0);
    world_close(&w);
}

/* ---- a full one again ---- */

/* At one that has never had what it let go of; the other had it from itself. */
static void what_was_sent_and_let_go_of_comes_back_to_who_is_a_full_one_since(void **state)
{
    (void)state;
    struct world w;
    bool partial = true;
    world_open(&w, 7, STAR, 4);
    struct bz_db *db = w.site[0].db;
    put(w.site[1].db, 1, "b");
    meet(&w, 0);
    meet(&w, 1);
    assert_int_equal(count_of(w.site[2].db), 1);
    assert_int_equal(take_notes(db, "kind = \"a\""), 0);
    meet(&w, 1);
    assert_int_equal(count_of(db), 0);
    assert_int_equal(bz_db_scope_set(db, bz_bytes(NULL, 0), NULL), 0);
    meet(&w, 2);
    assert_int_equal(bz_db_is_partial(db, &partial, NULL), 0);
    assert_false(partial);
    assert_int_equal(count_of(db), 0);
    meet(&w, 1);
    assert_int_equal(count_of(db), 1);
    world_close(&w);
}

/* ---- what was passed over ---- */

/* A blind sender does not know the scope, and takes it that what it has sent is there: of a record
 * it sends what has changed since. */
static void write_where_it_was_passed_over(uint64_t seed)
{
    struct world w;
    struct bz_buf scope;
    struct first first;
    world_open_with(&w, seed, CHAIN, 3, 1u << 1);
    struct bz_db *full = w.site[0].db, *part = w.site[2].db;
    scope_bytes(&scope, "others", "");
    assert_int_equal(bz_db_scope_set(part, bz_buf_bytes(&scope), NULL), 0);
    bz_buf_release(&scope);
    put(full, 1, "a");
    exchange(&w);
    put_field(full, 1, "size", "large");
    put(part, 1, "b");
    meet(&w, 0);
    meet(&w, 1);
    meet(&w, 0);
    first_open(&first, full);
    assert_int_equal(first.rec.rest.count, 2); /* what kind it is is in conflict */
    bz_db_abort(first.txn);
    world_close(&w);
}

/* Whichever of the two is the first to send. */
static void what_was_passed_over_is_not_replaced_by_who_writes_there_unseen(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++)
        write_where_it_was_passed_over(seed);
}

/* ---- hostile bytes ---- */

static int decode(const struct bz_buf *payload)
{
    struct bz_resume resume;
    return bz_resume_decode(bz_buf_bytes(payload), &resume);
}

static int decode_scope(struct bz_bytes scope)
{
    struct bz_buf payload;
    bz_buf_init(&payload, 1u << 20);
    bz_resume_encode(&payload, &(struct bz_resume){.scope = scope});
    int rc = decode(&payload);
    bz_buf_release(&payload);
    return rc;
}

static void a_scope_beyond_the_limits_is_refused_before_it_is_understood(void **state)
{
    (void)state;
    struct bz_buf scope;
    static char filter[BZ_SCOPE_FILTER_MAX + 2];
    memset(filter, 'x', sizeof filter - 1);
    scope_bytes(&scope, "a", filter); /* a byte too long */
    assert_int_equal(decode_scope(bz_buf_bytes(&scope)), BLAZE_EPROTO);
    bz_buf_clear(&scope);
    for (uint32_t i = 0; i <= BZ_SCOPE_COLLECTIONS_MAX; i++) { /* one too many */
        char name[8];
        snprintf(name, sizeof name, "c%03u", i);
        struct bz_scope_item item = {bz_bytes_text(name), bz_bytes(NULL, 0)};
        bz_scope_append(&scope, &item);
        if (i + 1 == BZ_SCOPE_COLLECTIONS_MAX)
            assert_int_equal(decode_scope(bz_buf_bytes(&scope)), 0);
    }
    assert_int_equal(decode_scope(bz_buf_bytes(&scope)), BLAZE_EPROTO);
    bz_buf_release(&scope);
}

/* A scope that is sound as bytes and is none for whoever has to ask it. */
static void a_peer_whose_scope_cannot_be_understood_is_told_why(void **state)
{
    (void)state;
    char deep[200];
    memset(deep, '(', sizeof deep - 1);
    deep[sizeof deep - 1] = '\0';
    const struct {
        const char *filter;
        int code;
    } bad[] = {{"kind = ", BLAZE_ESYNTAX}, {deep, BLAZE_ELIMIT}, {"\xff\xfe", BLAZE_ESYNTAX}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct world w;
        struct bz_buf scope;
        struct bz_db_txn *txn;
        world_open(&w, 4, CHAIN, 2);
        put(w.site[0].db, 1, "a");
        scope_bytes(&scope, "notes", bad[i].filter);
        /* As a member would that does not check what it asks for. */
        struct bz_scope_kept kept = {.generation = 1, .scope = bz_buf_bytes(&scope)};
        assert_int_equal(bz_db_begin(w.site[1].db, &txn, NULL), 0);
        txn->state.position++;
        txn->changed = true;
        assert_int_equal(bz_scope_store(txn->txn, &kept, NULL), 0);
        assert_int_equal(bz_db_commit(txn, BZ_DURABLE_RELAXED, NULL), 0);
        all_links(&w);
        wake_all(&w);
        while (step(&w))
            ;
        struct bz_session_status status = pipe_status(&w.link[0].pipe, 0);
        assert_int_equal(status.phase, BZ_SESSION_CLOSED);
        assert_int_equal(status.code, bad[i].code);
        assert_non_null(strstr(status.reason, "filter on 'notes'"));
        assert_int_equal(pipe_status(&w.link[0].pipe, 1).code, bad[i].code);
        assert_int_equal(count_of(w.site[0].db), 1);
        bz_buf_release(&scope);
        world_close(&w);
    }
}

static void markers_that_are_malformed_are_refused(void **state)
{
    (void)state;
    static const blaze_id id;
    struct bz_dot falling[] = {{2, 1}, {1, 1}}, none[] = {{1, 0}}, beyond[] = {{UINT32_MAX, 1}};
    const struct bz_vv bad[] = {{NULL, 0}, {falling, 2}, {none, 1}, {beyond, 1}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct bz_buf body;
        struct bz_body_reader reader = {0};
        struct bz_arena arena;
        struct bz_marker marker;
        bz_arena_init(&arena);
        bz_buf_init(&body, 1000);
        bz_buf_append_varint(&body, 1);
        bz_marker_append(&body, &(struct bz_marker){.collection = 0, .id = id, .rvv = bad[i]});
        reader.reader = bz_reader(bz_buf_bytes(&body));
        assert_int_equal(bz_body_markers(&reader), 0);
        assert_int_equal(bz_body_next_marker(&reader, &arena, &marker), BLAZE_EPROTO);
        bz_buf_release(&body);
        bz_arena_release(&arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_allocation_of_a_change_of_scope_may_fail),
        cmocka_unit_test(every_allocation_of_an_exchange_may_fail),
        cmocka_unit_test(a_partial_replica_that_becomes_another_node_claims_anew_and_loses_nothing),
        cmocka_unit_test(what_was_made_anew_comes_to_who_had_let_go_of_what_was_there),
        cmocka_unit_test(what_is_in_scope_since_a_delete_was_collected_comes),
        cmocka_unit_test(what_was_let_go_of_comes_since_a_delete_was_collected),
        cmocka_unit_test(what_was_passed_over_for_want_of_something_comes_once_the_sender_has_that),
        cmocka_unit_test(
            what_was_refused_for_want_of_an_own_write_comes_once_the_sender_has_had_that),
        cmocka_unit_test(a_keeper_that_asks_once_more_has_lost_nothing),
        cmocka_unit_test(what_lacks_a_write_that_was_let_go_of_comes_when_that_is_lost),
        cmocka_unit_test(who_writes_anew_what_it_has_let_go_of_has_seen_that),
        cmocka_unit_test(what_was_sent_and_let_go_of_comes_back_to_who_is_a_full_one_since),
        cmocka_unit_test(what_was_passed_over_is_not_replaced_by_who_writes_there_unseen),
        cmocka_unit_test(a_scope_beyond_the_limits_is_refused_before_it_is_understood),
        cmocka_unit_test(a_peer_whose_scope_cannot_be_understood_is_told_why),
        cmocka_unit_test(markers_that_are_malformed_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
