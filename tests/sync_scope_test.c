/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Partial replicas among full ones: random edits that move records in and out of scopes, links that
 * break, scopes that widen and narrow. In the end a partial replica holds exactly what its scope
 * takes of what the full ones hold, and full ones are whole.
 */
#include "sync_world.h"

#include "db/db_priv.h"

static const char *const scopes[][5] = {
    {"notes", "kind = \"a\"", NULL},
    {"notes", "kind = \"b\" or size > 5", "people", "", NULL},
    {"people", "", NULL},
    {"notes", "", NULL},
    {"notes", "not exists kind", "people", "kind in [\"a\", \"c\"]", NULL},
    {"notes", "kind != \"b\"", "people", "size < 5", NULL},
};

static void write_some(struct world *w, struct site *s)
{
    static const char *const kinds[] = {"a", "b", "c"};
    blaze_doc *doc;
    struct bz_db_txn *txn;
    assert_int_equal(blaze_doc_new(&doc), 0);
    assert_int_equal(bz_db_begin(s->db, &txn, NULL), 0);
    for (uint64_t n = 1 + chance(w, 3); n > 0; n--) {
        struct bz_bytes collection = bz_bytes_text(chance(w, 3) ? "notes" : "people");
        blaze_id id = fake_id(chance(w, 25));
        blaze_doc_clear(doc);
        if (chance(w, 3))
            blaze_doc_add_string(doc, "kind", kinds[chance(w, 3)]);
        if (chance(w, 2))
            blaze_doc_add_int(doc, "size", (int64_t)chance(w, 10));
        if (chance(w, 2))
            blaze_doc_add_int(doc, "count", (int64_t)chance(w, 1000));
        uint64_t what = chance(w, 10);
        int rc = what < 2   ? bz_db_put(txn, collection, &id, doc, NULL)
                 : what < 9 ? bz_db_upsert(txn, collection, &id, doc, NULL)
                            : bz_db_delete(txn, collection, &id, NULL);
        assert_true(rc == 0 || rc == BLAZE_ENOTFOUND);
    }
    assert_int_equal(bz_db_commit(txn, BZ_DURABLE_RELAXED, NULL), 0);
    blaze_doc_free(doc);
}

/* Links that have ended because a scope changed come up again, until nothing moves any more. */
static void settle_again(struct world *w)
{
    for (uint64_t n = 0, quiet = 0; quiet < 3; n++) {
        uint64_t before = 0, after = 0;
        assert_true(n < 100);
        for (uint32_t i = 0; i < w->links; i++) {
            struct link *l = &w->link[i];
            bool closed = false;
            for (int k = 0; l->up && k < 2; k++) {
                struct bz_session_status status = pipe_status(&l->pipe, k);
                if (status.phase != BZ_SESSION_CLOSED)
                    continue;
                closed = true;
                if (status.code != BLAZE_EBUSY && status.code != BLAZE_ECLOSED)
                    print_message("link %u end %d: %s\n", i, k, status.reason);
                assert_true(status.code == BLAZE_EBUSY || status.code == BLAZE_ECLOSED);
            }
            if (closed)
                link_down(l);
        }
        all_links(w);
        for (uint32_t i = 0; i < w->sites; i++)
            before += bz_db_position(w->site[i].db);
        wake_all(w);
        for (uint64_t steps = 0; step(w); steps++)
            assert_true(steps < STEPS);
        for (uint32_t i = 0; i < w->sites; i++)
            after += bz_db_position(w->site[i].db);
        bool live = true;
        for (uint32_t i = 0; i < w->links; i++) {
            live &= pipe_live(&w->link[i].pipe);
            w->link[i].pipe.now_ms += 2000; /* lazy links tell after a while */
        }
        quiet = before == after && live ? quiet + 1 : 0;
    }
}

/* ---- comparing ---- */

static struct bz_bytes scope_of(struct site *s, struct bz_buf *out)
{
    bz_buf_init(out, BZ_SCOPE_BYTES_MAX);
    assert_int_equal(bz_db_scope(s->db, out, NULL), 0);
    return bz_buf_bytes(out);
}

/* The digest, by their dots, and number of the records of a site that a scope takes. */
static struct bz_hash128 digest_within(struct site *s, struct bz_bytes scope, uint64_t *count)
{
    struct bz_read *read;
    struct bz_selection *selection;
    struct bz_cursor *cursor;
    struct bz_hash128 sum = {0};
    struct bz_nodes nodes;
    *count = 0;
    assert_int_equal(bz_selection_new(&selection, s->db->catalog, scope, NULL), 0);
    assert_int_equal(bz_read_begin(s->db, &read, NULL), 0);
    assert_int_equal(bz_cursor_open(read->view, BZ_MAP_RECORDS, &cursor, NULL), 0);
    while (bz_cursor_next(cursor, NULL) == 0) {
        struct bz_stored stored;
        struct bz_rec rec;
        blaze_id id;
        struct bz_bytes key = bz_cursor_key(cursor);
        memcpy(&id, key.data + 4, sizeof id);
        bz_arena_reset(&read->arena);
        assert_int_equal(bz_stored_split(bz_cursor_value(cursor), &stored, NULL), 0);
        assert_int_equal(bz_stored_decode(&read->arena, &stored, &id, &rec, NULL), 0);
        if (!bz_selection_takes(selection, bz_load32be(key.data), &id, &rec))
            continue;
        nodes = bz_catalog_nodes(s->db->catalog);
        *count += bz_rec_alive(&rec, &nodes);
        bz_hash128_add(&sum, bz_rec_digest(&rec, &id, &nodes));
    }
    bz_cursor_close(cursor);
    bz_read_end(read);
    bz_selection_free(selection);
    return sum;
}

static void assert_sound(struct site *s)
{
    blaze_error error;
    int rc = bz_db_check(s->db, NULL, NULL, &error);
    if (rc != 0)
        print_message("%s\n", error.text);
    assert_int_equal(rc, 0);
}

/* What `s` holds is what its scope takes of what `full` holds. */
static void assert_holds(struct site *s, struct site *full)
{
    struct bz_buf buf;
    struct bz_bytes scope = scope_of(s, &buf);
    uint64_t here, there;
    struct bz_db_state state;
    struct version version;
    struct bz_hash128 mine = digest_within(s, scope, &here);
    struct bz_hash128 wanted = digest_within(full, scope, &there);
    load(s, &state, &version);
    assert_int_equal(here, there);
    assert_true(mine.low == wanted.low && mine.high == wanted.high);
    assert_int_equal(state.records, here); /* and nothing else */
    assert_sound(s);
    bz_buf_release(&buf);
}

static void a_world_at_random(uint64_t seed)
{
    struct world w;
    uint64_t kind = seed % 3;
    bool blind = kind == 2; /* the centre, which cannot tell what is in a scope */
    world_open_with(&w, seed, STAR, 5, blind);
    if (kind == 0) {
        for (uint32_t i = 2; i < 5; i++)
            add_link(&w, 1, i); /* each partial one has two full ones */
    }
    w.chunk_bytes = chance(&w, 2) ? 400 : 5000;
    /* Two full ones, in contact; three partial ones. */
    for (uint32_t i = 2; i < 5; i++)
        set_scope(&w.site[i], scopes[chance(&w, 6)]);
    for (int turn = 0; turn < 60; turn++) {
        struct link *l = &w.link[chance(&w, w.links)];
        write_some(&w, &w.site[blind + chance(&w, w.sites - blind)]);
        if (l->up && chance(&w, 4) == 0)
            link_down(l);
        else if (!l->up)
            link_up(&w, l);
        if (chance(&w, 12) == 0)
            set_scope(&w.site[2 + chance(&w, 3)], scopes[chance(&w, 6)]);
        if (chance(&w, 25) == 0)
            set_scope(&w.site[2 + chance(&w, 3)], NULL);
        for (uint32_t i = 0; i < w.links; i++)
            w.link[i].pipe.piece_max = 700;
        wake_all(&w);
        for (uint64_t n = chance(&w, 60); n > 0 && step(&w); n--)
            ;
        for (uint32_t i = 0; i < w.links; i++) {
            if (w.link[i].up && (pipe_status(&w.link[i].pipe, 0).phase == BZ_SESSION_CLOSED ||
                                    pipe_status(&w.link[i].pipe, 1).phase == BZ_SESSION_CLOSED))
                link_down(&w.link[i]);
        }
        w.wall_ms += 1000;
    }
    settle_again(&w);
    /* A difference that shows when nothing moves any more is found with the next session. */
    for (int again = 0; blind && again < 3; again++) {
        for (uint32_t i = 0; i < w.links; i++)
            link_down(&w.link[i]);
        settle_again(&w);
    }
    struct bz_db_state one, other;
    struct version version;
    load(&w.site[0], &one, &version);
    load(&w.site[1], &other, &version);
    assert_int_equal(one.records, other.records);
    assert_true(one.digest.low == other.digest.low && one.digest.high == other.digest.high);
    for (uint32_t i = blind; i < 5; i++)
        assert_holds(&w.site[i], &w.site[1]);
    world_close(&w);
}

static void partial_replicas_hold_what_their_scopes_take(void **state)
{
    (void)state;
    const char *one = getenv("BLAZEDB_SEED");
    if (one != NULL) {
        a_world_at_random(strtoull(one, NULL, 10));
        return;
    }
    for (uint64_t seed = 1; seed <= 60; seed++)
        a_world_at_random(seed);
}

static void two_partial_replicas_do_not_talk_to_each_other(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, 1, CHAIN, 2);
    set_scope(&w.site[0], scopes[2]);
    set_scope(&w.site[1], scopes[3]);
    write_some(&w, &w.site[0]);
    all_links(&w);
    while (step(&w))
        ;
    assert_int_equal(pipe_status(&w.link[0].pipe, 0).code, BLAZE_EBUSY);
    assert_int_equal(pipe_status(&w.link[0].pipe, 1).code, BLAZE_EBUSY);
    assert_false(pipe_status(&w.link[0].pipe, 0).refused); /* one of them may become a full one */
    world_close(&w);
}

static uint64_t count_of(struct site *s, const char *collection)
{
    struct bz_read *read;
    uint64_t count;
    assert_int_equal(bz_read_begin(s->db, &read, NULL), 0);
    assert_int_equal(bz_read_count(read, bz_bytes_text(collection), &count, NULL), 0);
    bz_read_end(read);
    return count;
}

static void put_one(struct site *s, const char *collection, uint64_t id, const char *kind)
{
    blaze_doc *doc;
    struct bz_db_txn *txn;
    blaze_id record = fake_id(id);
    assert_int_equal(blaze_doc_new(&doc), 0);
    blaze_doc_add_string(doc, "kind", kind);
    assert_int_equal(bz_db_begin(s->db, &txn, NULL), 0);
    assert_int_equal(bz_db_put(txn, bz_bytes_text(collection), &record, doc, NULL), 0);
    assert_int_equal(bz_db_commit(txn, BZ_DURABLE_RELAXED, NULL), 0);
    blaze_doc_free(doc);
}

/* Two full ones whose only contact is the partial one between them. */
static void a_full_replica_behind_a_partial_one_claims_nothing_that_it_lacks(void **state)
{
    (void)state;
    struct world w;
    struct version version;
    struct bz_db_state s;
    struct bz_identity one, middle;
    world_open(&w, 2, CHAIN, 3);
    set_scope(&w.site[1], scopes[0]); /* notes where kind = "a" */
    put_one(&w.site[0], "notes", 1, "a");
    put_one(&w.site[0], "notes", 2, "b");
    put_one(&w.site[1], "notes", 3, "b");
    settle_again(&w);
    assert_int_equal(count_of(&w.site[0], "notes"), 3);
    assert_int_equal(count_of(&w.site[1], "notes"), 1); /* what it wrote out of scope has gone */
    load(&w.site[2], &s, &version);
    bz_db_identity(w.site[0].db, &one);
    bz_db_identity(w.site[1].db, &middle);
    for (size_t i = 0; i < version.count; i++) {
        assert_memory_not_equal(&version.entries[i].node, &one.node, sizeof one.node);
        if (memcmp(&version.entries[i].node, &middle.node, sizeof middle.node) == 0)
            assert_int_equal(count_of(&w.site[2], "notes"), 2); /* claimed, so it is there */
    }
    world_close(&w);
}

static void evicting_takes_a_record_from_here_only_and_never_the_last_copy(void **state)
{
    (void)state;
    struct world w;
    blaze_error error;
    blaze_id first = fake_id(1), second = fake_id(2);
    struct bz_bytes notes = bz_bytes_text("notes");
    world_open(&w, 3, CHAIN, 2);
    put_one(&w.site[0], "notes", 1, "a");
    settle_again(&w);
    assert_int_equal(bz_db_evict(w.site[1].db, notes, &first, 1, &error), BLAZE_EPERM);
    set_scope(&w.site[1], scopes[3]); /* all notes */
    settle_again(&w);
    link_down(&w.link[0]);
    put_one(&w.site[1], "notes", 2, "a");
    assert_int_equal(bz_db_evict(w.site[1].db, notes, &second, 1, &error), BLAZE_EBUSY);
    settle_again(&w);
    assert_int_equal(bz_db_evict(w.site[1].db, notes, &second, 1, &error), 0);
    assert_int_equal(bz_db_evict(w.site[1].db, notes, &first, 1, &error), 0);
    assert_int_equal(bz_db_evict(w.site[1].db, notes, &first, 1, &error), BLAZE_ENOTFOUND);
    settle_again(&w);
    assert_int_equal(count_of(&w.site[0], "notes"), 2);
    assert_int_equal(count_of(&w.site[1], "notes"), 0);
    assert_sound(&w.site[1]);
    put_one(&w.site[0], "notes", 1, "c"); /* changed elsewhere: it comes back */
    settle_again(&w);
    assert_int_equal(count_of(&w.site[1], "notes"), 1);
    set_scope(&w.site[1], scopes[3]); /* asked for again: so does the rest */
    settle_again(&w);
    assert_int_equal(count_of(&w.site[1], "notes"), 2);
    assert_holds(&w.site[1], &w.site[0]);
    world_close(&w);
}

static void a_scope_that_cannot_be_is_refused_with_the_reason(void **state)
{
    (void)state;
    struct world w;
    blaze_error error;
    struct bz_buf scope;
    char deep[200];
    world_open(&w, 4, CHAIN, 2);
    memset(deep, '(', sizeof deep - 1);
    deep[sizeof deep - 1] = '\0';
    const struct {
        const char *collection, *filter;
        int code;
    } bad[] = {{"notes", "kind = ", BLAZE_ESYNTAX}, {"notes", deep, BLAZE_ELIMIT},
        {"no\nname", "", BLAZE_EINVAL}};
    bz_buf_init(&scope, BZ_SCOPE_BYTES_MAX);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct bz_scope_item item = {
            bz_bytes_text(bad[i].collection), bz_bytes_text(bad[i].filter)};
        bz_buf_clear(&scope);
        bz_scope_append(&scope, &item);
        assert_int_equal(bz_db_scope_set(w.site[0].db, bz_buf_bytes(&scope), &error), bad[i].code);
        assert_true(error.text[0] != '\0');
    }
    bool partial = true;
    assert_int_equal(bz_db_is_partial(w.site[0].db, &partial, NULL), 0);
    assert_false(partial);
    bz_buf_release(&scope);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(partial_replicas_hold_what_their_scopes_take),
        cmocka_unit_test(two_partial_replicas_do_not_talk_to_each_other),
        cmocka_unit_test(a_full_replica_behind_a_partial_one_claims_nothing_that_it_lacks),
        cmocka_unit_test(evicting_takes_a_record_from_here_only_and_never_the_last_copy),
        cmocka_unit_test(a_scope_that_cannot_be_is_refused_with_the_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
