/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Members and a blind database between them, on the store in memory, sealed by what members really
 * seal with: what travels, what is left of it where it cannot be read, and what a blind side of ill
 * will can do.
 */
#include "cmocka_all.h"

#include "base/alloc.h"
#include "db/db.h"
#include "peer/member.h"
#include "random.h"
#include "session_pipe.h"

#include <stdio.h>
#include <stdlib.h>

struct node {
    struct bz_db *db;
    struct bz_keys keys;
};

struct meeting {
    struct node *ends[2];
    struct bz_replica replicas[2];
    struct bz_session_auth auths[2];
    struct session_pipe pipe;
    const struct bz_seal_ops *seal; /* what the first end seals with; NULL: as members do */
    uint64_t bytes;                 /* that the last session took, both ways */
    char reason[160];               /* why the first end ended it */
};

static const blaze_id database = {{7}};

static void open_node(struct node *node, const char *name, bool blind, uint8_t secret_byte)
{
    struct bz_db_options options = {.create = true,
        .memory = true,
        .blind = blind,
        .role = blind ? BZ_ROLE_SERVER : BZ_ROLE_CLIENT,
        .database = database};
    struct bz_secret secret = {{secret_byte}};
    struct bz_key access;
    blaze_error error;
    assert_int_equal(bz_db_open(&node->db, name, &options, &error), 0);
    if (blind) {
        assert_int_equal(bz_key_derive(&access, &secret, &database, BZ_KEY_ACCESS), 0);
        assert_int_equal(bz_member_adopt_access(node->db, &access, &error), 0);
        access.bytes[0] ^= 1;
        assert_int_equal(bz_member_adopt_access(node->db, &access, &error), BLAZE_EAUTH);
    } else {
        assert_int_equal(bz_member_adopt_secret(node->db, &secret, &error), 0);
    }
    assert_int_equal(bz_keys_load(node->db, &node->keys, &error), 0);
}

static void close_node(struct node *node)
{
    assert_int_equal(bz_db_check(node->db, NULL, NULL, NULL), 0);
    assert_int_equal(bz_db_close(node->db, NULL), 0);
}

static int host_open(void *context, const blaze_id *id, struct bz_replica *replica,
    struct bz_session_auth *auth, blaze_error *error)
{
    struct meeting *m = context;
    (void)id;
    (void)error;
    *replica = m->replicas[1];
    *auth = m->auths[1];
    return 0;
}

/* One session to the end; the codes of both ends, 0 if they came to be live. */
static void meet(struct meeting *m, struct node *a, struct node *b, int codes[2])
{
    m->ends[0] = a;
    m->ends[1] = b;
    m->pipe.rng.state = test_seed();
    m->pipe.now_ms = 1000;
    m->pipe.wall_ms = 1800000000000u;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(bz_db_replica_open(m->ends[i]->db, &m->replicas[i], NULL), 0);
        m->auths[i] = bz_keys_auth(&m->ends[i]->keys);
    }
    if (m->seal != NULL)
        m->auths[0].seal = m->seal;
    struct bz_session_host host = {host_open, NULL, m};
    struct bz_session_options connecting = {
        .connecting = true, .replica = &m->replicas[0], .auth = &m->auths[0]};
    struct bz_session_options accepting = {.host = &host};
    assert_int_equal(pipe_open(&m->pipe, &connecting, &accepting), 0);
    pipe_wake(&m->pipe);
    pipe_settle(&m->pipe, 1000000);
    for (int i = 0; i < 2; i++) {
        struct bz_session_status status = pipe_status(&m->pipe, i);
        codes[i] = status.phase == BZ_SESSION_CLOSED ? status.code : 0;
        if (i == 0)
            memcpy(m->reason, status.reason, sizeof m->reason);
        assert_false(status.diverged);
    }
    assert_true(codes[0] != 0 || pipe_live(&m->pipe));
    m->bytes = m->pipe.ends[0].delivered + m->pipe.ends[1].delivered;
    pipe_close(&m->pipe);
    for (int i = 0; i < 2; i++)
        bz_db_replica_close(&m->replicas[i]);
}

/* The bytes that it took, both ways. */
static uint64_t must_meet(struct node *a, struct node *b)
{
    struct meeting m = {0};
    int codes[2];
    meet(&m, a, b, codes);
    assert_int_equal(codes[0], 0);
    assert_int_equal(codes[1], 0);
    return m.bytes;
}

/* ---- records ---- */

static const char collection[] = "orders";

static blaze_id id_of(uint64_t i)
{
    blaze_id id = {{0}};
    bz_store64le(id.bytes, i + 1);
    return id;
}

static void fill(blaze_doc *doc, uint64_t i)
{
    static const char *const states[] = {"open", "paid", "sent", "returned"};
    char text[64];
    blaze_doc_clear(doc);
    snprintf(text, sizeof text, "customer %llu", (unsigned long long)(i * 7919 % 1000));
    blaze_doc_add_string(doc, "customer_name", text);
    blaze_doc_add_string(doc, "order_status", states[i % 4]);
    blaze_doc_add_int(doc, "total_cents", (int64_t)(i * 31337 % 100000));
    blaze_doc_add_string(doc, "currency", "EUR");
    blaze_doc_begin_map(doc, "address");
    blaze_doc_add_string(doc, "city", "Andorra la Vella");
    blaze_doc_end(doc);
}

static void write_orders(struct node *node, uint64_t first, uint64_t count)
{
    struct bz_db_txn *txn;
    blaze_doc *doc;
    assert_int_equal(blaze_doc_new(&doc), 0);
    assert_int_equal(bz_db_begin(node->db, &txn, NULL), 0);
    for (uint64_t i = first; i < first + count; i++) {
        blaze_id id = id_of(i);
        fill(doc, i);
        assert_int_equal(bz_db_put(txn, bz_bytes_text(collection), &id, doc, NULL), 0);
    }
    assert_int_equal(bz_db_commit(txn, BZ_DURABLE_RELAXED, NULL), 0);
    blaze_doc_free(doc);
}

static void assert_orders(struct node *node, uint64_t count)
{
    struct bz_read *read;
    blaze_doc *doc;
    uint64_t have;
    assert_int_equal(blaze_doc_new(&doc), 0);
    assert_int_equal(bz_read_begin(node->db, &read, NULL), 0);
    assert_int_equal(bz_read_count(read, bz_bytes_text(collection), &have, NULL), 0);
    assert_int_equal(have, count);
    for (uint64_t i = 0; i < count; i++) {
        blaze_id id = id_of(i);
        blaze_value value, expected;
        fill(doc, i);
        assert_int_equal(blaze_doc_value(doc, &expected), 0);
        assert_int_equal(bz_read_get(read, bz_bytes_text(collection), &id, &value, NULL), 0);
        assert_int_equal(blaze_value_compare(&value, &expected), 0);
    }
    bz_read_end(read);
    blaze_doc_free(doc);
}

static uint32_t dictionaries_of(struct node *node)
{
    struct bz_replica replica;
    struct bz_bytes sealed;
    uint32_t count = 0;
    assert_int_equal(bz_db_replica_open(node->db, &replica, NULL), 0);
    while (replica.ops->meaning(replica.context, BZ_TERM_DICTIONARY, count, &sealed) == 0)
        count++;
    bz_db_replica_close(&replica);
    return count;
}

/* Bytes of all records as they lie in the store. */
static uint64_t stored_bytes(struct node *node)
{
    struct bz_replica replica;
    struct bz_changes *walk;
    struct bz_change change;
    struct bz_receiver receiver = {0};
    uint64_t bytes = 0;
    assert_int_equal(bz_db_replica_open(node->db, &replica, NULL), 0);
    assert_int_equal(replica.ops->changes_open(replica.context, &receiver, 0, &walk, NULL), 0);
    while (replica.ops->changes_next(walk, &change, NULL) == 0)
        bytes += change.rec.writes[0].body.size;
    replica.ops->changes_close(walk);
    bz_db_replica_close(&replica);
    return bytes;
}

/* ---- tests ---- */

static void a_dictionary_is_trained_once_kept_by_the_blind_and_opens_for_all(void **state)
{
    (void)state;
    struct node a, b, c, blind;
    open_node(&a, "a", false, 1);
    open_node(&b, "b", false, 1);
    open_node(&c, "c", false, 1);
    open_node(&blind, "blind", true, 1);
    write_orders(&a, 0, 3000);
    must_meet(&a, &blind);
    assert_int_equal(dictionaries_of(&blind), 1);
    assert_int_equal(dictionaries_of(&a), 1);
    must_meet(&b, &blind);
    assert_orders(&b, 3000);
    uint64_t before = stored_bytes(&blind), clear_before = stored_bytes(&a);
    write_orders(&b, 3000, 2000);
    must_meet(&b, &blind);
    assert_int_equal(dictionaries_of(&blind), 1); /* b has used that one */
    must_meet(&c, &blind);
    must_meet(&a, &blind);
    assert_orders(&c, 5000);
    assert_orders(&a, 5000);
    /* With a dictionary, bodies are sealed and padded at little more than sealing alone adds. */
    uint64_t sealed = stored_bytes(&blind) - before, clear = stored_bytes(&a) - clear_before;
    assert_true(sealed < clear + 2000 * 40);
    close_node(&a);
    close_node(&b);
    close_node(&c);
    close_node(&blind);
}

static void a_session_with_one_record_is_told_no_dictionary_that_is_there(void **state)
{
    (void)state;
    struct node a, b, blind;
    open_node(&a, "a", false, 1);
    open_node(&b, "b", false, 1);
    open_node(&blind, "blind", true, 1);
    write_orders(&a, 0, 3000);
    must_meet(&a, &blind);
    must_meet(&b, &blind);
    for (uint64_t i = 0; i < 4; i++) {
        struct node *from = i % 2 ? &b : &a, *to = i % 2 ? &a : &b;
        uint64_t idle = must_meet(from, &blind);
        write_orders(from, 3000 + i, 1);
        assert_in_range(must_meet(from, &blind), idle, 1000);
        assert_in_range(must_meet(to, &blind), idle, 1100); /* and what others have */
        assert_in_range(idle, 0, 800);
    }
    assert_orders(&a, 3004);
    assert_orders(&b, 3004);
    close_node(&a);
    close_node(&b);
    close_node(&blind);
}

static void a_new_blind_hub_is_told_the_dictionary_that_a_member_has(void **state)
{
    (void)state;
    struct node a, b, blind[2];
    open_node(&a, "a", false, 1);
    open_node(&b, "b", false, 1);
    open_node(&blind[0], "blind 0", true, 1);
    open_node(&blind[1], "blind 1", true, 1);
    write_orders(&a, 0, 3000);
    must_meet(&a, &blind[0]);
    must_meet(&a, &blind[1]);
    assert_int_equal(dictionaries_of(&a), 1);
    assert_int_equal(dictionaries_of(&blind[1]), 1);
    must_meet(&b, &blind[1]);
    must_meet(&b, &blind[0]);
    assert_int_equal(dictionaries_of(&b), 1);
    assert_int_equal(dictionaries_of(&blind[0]), 1);
    assert_orders(&b, 3000);
    close_node(&a);
    close_node(&b);
    close_node(&blind[0]);
    close_node(&blind[1]);
}

static void one_blind_hub_feeds_another(void **state)
{
    (void)state;
    struct node a, b, blind[2];
    open_node(&a, "a", false, 1);
    open_node(&b, "b", false, 1);
    open_node(&blind[0], "blind 0", true, 1);
    open_node(&blind[1], "blind 1", true, 1);
    write_orders(&a, 0, 2000);
    must_meet(&a, &blind[0]);
    must_meet(&blind[0], &blind[1]);
    assert_int_equal(dictionaries_of(&blind[1]), 1);
    must_meet(&blind[1], &b);
    assert_orders(&b, 2000);
    close_node(&a);
    close_node(&b);
    close_node(&blind[0]);
    close_node(&blind[1]);
}

static void who_has_another_secret_is_let_in_nowhere(void **state)
{
    (void)state;
    struct node a, other, blind;
    struct meeting m = {0};
    int codes[2];
    open_node(&a, "a", false, 1);
    open_node(&other, "other", false, 2);
    open_node(&blind, "blind", true, 1);
    write_orders(&a, 0, 10);
    write_orders(&other, 0, 10);
    meet(&m, &other, &blind, codes);
    assert_int_equal(codes[0], BLAZE_EAUTH);
    assert_int_equal(codes[1], BLAZE_EAUTH);
    assert_int_equal(bz_db_position(blind.db), 0);
    must_meet(&a, &blind);
    assert_int_equal(bz_db_position(blind.db), 10);
    close_node(&a);
    close_node(&other);
    close_node(&blind);
}

/* What a blind side of ill will does to a record before it hands it on. */
struct forgery {
    const struct bz_replica_ops *honest;
    struct bz_replica_ops ops;
    void (*forge)(struct bz_change *change);
    struct bz_write write; /* of the change at hand */
    uint8_t body[4096];
};

static struct forgery forgery;

static int forge_next(struct bz_changes *walk, struct bz_change *out, blaze_error *error)
{
    int rc = forgery.honest->changes_next(walk, out, error);
    if (rc != 0 || out->rec.write_count != 1)
        return rc;
    forgery.write = out->rec.writes[0];
    assert_true(forgery.write.body.size <= sizeof forgery.body);
    memcpy(forgery.body, forgery.write.body.data, forgery.write.body.size);
    forgery.write.body.data = forgery.body;
    out->rec.writes = &forgery.write;
    forgery.forge(out);
    return 0;
}

static void change_the_id(struct bz_change *change)
{
    change->id.bytes[15] ^= 1;
}

static void change_the_stamp(struct bz_change *change)
{
    change->rec.writes[0].stamp++;
}

static void change_the_role(struct bz_change *change)
{
    change->rec.writes[0].role ^= 1;
}

static void change_the_seq(struct bz_change *change)
{
    static struct bz_dot seen;
    change->rec.writes[0].dot.seq += 100;
    seen = change->rec.writes[0].dot;
    change->rec.rvv = (struct bz_vv){&seen, 1};
}

static void change_a_byte(struct bz_change *change)
{
    forgery.body[change->rec.writes[0].body.size / 2] ^= 1;
}

static void empty_the_body(struct bz_change *change)
{
    change->rec.writes[0].body.size = 0;
}

static void make_it_a_delete(struct bz_change *change)
{
    change->rec.writes[0].alive = false;
}

static void what_a_blind_side_forges_ends_the_session_and_changes_nothing(void **state)
{
    (void)state;
    static void (*const forgeries[])(struct bz_change * change) = {change_the_id, change_the_stamp,
        change_the_role, change_the_seq, change_a_byte, empty_the_body, make_it_a_delete};
    struct node a, b, blind;
    open_node(&a, "a", false, 1);
    open_node(&b, "b", false, 1);
    open_node(&blind, "blind", true, 1);
    write_orders(&a, 0, 5);
    must_meet(&a, &blind);
    for (size_t i = 0; i < sizeof forgeries / sizeof *forgeries; i++) {
        struct meeting m = {.ends = {&b, &blind}};
        for (int k = 0; k < 2; k++) {
            assert_int_equal(bz_db_replica_open(m.ends[k]->db, &m.replicas[k], NULL), 0);
            m.auths[k] = bz_keys_auth(&m.ends[k]->keys);
        }
        forgery.honest = m.replicas[1].ops;
        forgery.ops = *m.replicas[1].ops;
        forgery.ops.changes_next = forge_next;
        forgery.forge = forgeries[i];
        m.replicas[1].ops = &forgery.ops;
        m.pipe =
            (struct session_pipe){.rng = {test_seed()}, .now_ms = 1000, .wall_ms = 1800000000000u};
        struct bz_session_host host = {host_open, NULL, &m};
        struct bz_session_options connecting = {
            .connecting = true, .replica = &m.replicas[0], .auth = &m.auths[0]};
        struct bz_session_options accepting = {.host = &host};
        assert_int_equal(pipe_open(&m.pipe, &connecting, &accepting), 0);
        pipe_wake(&m.pipe);
        pipe_settle(&m.pipe, 1000000);
        assert_int_equal(pipe_status(&m.pipe, 0).code, BLAZE_EAUTH);
        assert_int_equal(pipe_status(&m.pipe, 1).code, BLAZE_EAUTH);
        assert_non_null(strstr(pipe_status(&m.pipe, 0).reason, "gave record "));
        pipe_close(&m.pipe);
        m.replicas[1].ops = forgery.honest;
        bz_db_replica_close(&m.replicas[0]);
        bz_db_replica_close(&m.replicas[1]);
        assert_int_equal(bz_db_position(b.db), 0);
    }
    must_meet(&b, &blind);
    assert_orders(&b, 5);
    close_node(&a);
    close_node(&b);
    close_node(&blind);
}

/* A member of ill will, or one that is broken: it holds the key, so what it seals is authentic. */
static struct bz_seal_ops bad_seal;
static const struct bz_seal_ops *honest_seal;

static int seal_rubbish(void *sealer, const blaze_id *node, struct bz_bytes more,
    struct bz_bytes body, struct bz_buf *out)
{
    blaze_id bad = id_of(2);
    bool is_bad = memcmp(more.data + 32, &bad, sizeof bad) == 0;
    return honest_seal->seal_body(
        sealer, node, more, is_bad ? bz_bytes_text("\xff no form of a body") : body, out);
}

static void a_record_that_a_member_sealed_badly_is_named_and_holds_up_what_follows(void **state)
{
    (void)state;
    struct node a, b, blind;
    struct meeting m = {0};
    struct bz_identity writer;
    char record[BLAZE_ID_TEXT_SIZE], node[BLAZE_ID_TEXT_SIZE];
    blaze_id bad = id_of(2);
    int codes[2];
    open_node(&a, "a", false, 1);
    open_node(&b, "b", false, 1);
    open_node(&blind, "blind", true, 1);
    bz_db_identity(a.db, &writer);
    honest_seal = bz_keys_auth(&a.keys).seal;
    bad_seal = *honest_seal;
    bad_seal.seal_body = seal_rubbish;
    write_orders(&a, 0, 5);
    m.seal = &bad_seal;
    meet(&m, &a, &blind, codes);
    assert_int_equal(codes[0], 0);

    /* Each time again, nothing of that chunk is taken in, and nothing goes out. */
    write_orders(&b, 5, 1);
    uint64_t before = bz_db_position(blind.db);
    for (int i = 0; i < 2; i++) {
        m = (struct meeting){0};
        meet(&m, &b, &blind, codes);
        assert_int_equal(codes[0], BLAZE_EPROTO);
        assert_int_equal(codes[1], BLAZE_EPROTO);
        assert_non_null(strstr(m.reason, blaze_id_format(&bad, record)));
        assert_non_null(strstr(m.reason, blaze_id_format(&writer.node, node)));
        assert_int_equal(bz_db_position(b.db), 1);
        assert_int_equal(bz_db_position(blind.db), before);
    }

    /* Until whoever wrote it writes it anew. */
    write_orders(&a, 2, 1);
    must_meet(&a, &blind);
    must_meet(&b, &blind);
    must_meet(&a, &blind);
    assert_orders(&b, 6);
    assert_orders(&a, 6);
    close_node(&a);
    close_node(&b);
    close_node(&blind);
}

/* ---- out of memory ---- */

static uint64_t countdown;
static bool armed, failed;

static int fault(void *context)
{
    (void)context;
    if (!armed || failed || countdown-- > 0)
        return 0;
    failed = true;
    return 1;
}

/* Takes what the other has said, and goes on; whether anything moved. */
static bool turn(struct bz_session *self, struct bz_session *other)
{
    struct bz_bytes out = bz_session_output(other);
    uint8_t *copy = malloc(out.size + 1);
    assert_non_null(copy);
    if (out.size > 0)
        memcpy(copy, out.data, out.size);
    bz_session_sent(other, out.size);
    armed = true;
    bz_session_receive(self, bz_bytes(copy, out.size), 1000);
    bool more = bz_session_run(self, 1000, 1800000000000u);
    armed = false;
    free(copy);
    return out.size > 0 || more;
}

/* A session in which the allocation after so many fails; whether there were as many. */
static bool meet_short_of_memory(struct node *a, struct node *b, uint64_t allocations)
{
    struct meeting m = {.ends = {a, b}};
    struct bz_session *sessions[2] = {NULL, NULL};
    for (int i = 0; i < 2; i++) {
        assert_int_equal(bz_db_replica_open(m.ends[i]->db, &m.replicas[i], NULL), 0);
        m.auths[i] = bz_keys_auth(&m.ends[i]->keys);
    }
    struct bz_session_host host = {host_open, NULL, &m};
    struct bz_session_options options[2] = {
        {.connecting = true, .replica = &m.replicas[0], .auth = &m.auths[0]}, {.host = &host}};
    countdown = allocations;
    failed = false;
    int rc = 0;
    for (int i = 0; rc == 0 && i < 2; i++) {
        armed = true;
        rc = bz_session_new(&sessions[i], &options[i], 1000, NULL);
        armed = false;
    }
    assert_true(rc == 0 || rc == BLAZE_ENOMEM);
    for (bool moves = rc == 0; moves;) {
        moves = turn(sessions[0], sessions[1]);
        moves |= turn(sessions[1], sessions[0]);
    }
    for (int i = 0; i < 2; i++) {
        bz_session_free(sessions[i]);
        bz_db_replica_close(&m.replicas[i]);
    }
    return failed;
}

static void each_allocation_that_fails_harms_nothing(void **state)
{
    (void)state;
    bz_alloc_set_fault(fault, NULL);
    bool reached[2] = {true, true};
    for (uint64_t n = 0; reached[0] || reached[1]; n++) {
        struct node a, b, blind;
        open_node(&a, "a", false, 1);
        open_node(&b, "b", false, 1);
        open_node(&blind, "blind", true, 1);
        write_orders(&a, 0, 3);
        reached[0] = meet_short_of_memory(&a, &blind, n);
        must_meet(&a, &blind);
        reached[1] = meet_short_of_memory(&b, &blind, n);
        must_meet(&b, &blind);
        assert_orders(&b, 3);
        close_node(&a);
        close_node(&b);
        close_node(&blind);
        assert_true(n < 20000);
    }
    bz_alloc_set_fault(NULL, NULL);
}

static void each_allocation_that_fails_leaves_dictionaries_as_they_are(void **state)
{
    (void)state;
    struct node a, b, blind;
    bool reached = true;
    open_node(&a, "a", false, 1);
    open_node(&blind, "blind", true, 1);
    write_orders(&a, 0, 1000);
    must_meet(&a, &blind);
    bz_alloc_set_fault(fault, NULL);
    for (uint64_t n = 0; reached; n++) {
        write_orders(&a, 1000 + n, 1);
        reached = meet_short_of_memory(&a, &blind, n);
        must_meet(&a, &blind);
        open_node(&b, "b", false, 1);
        assert_true(meet_short_of_memory(&b, &blind, n) || !reached);
        must_meet(&b, &blind);
        assert_int_equal(dictionaries_of(&b), 1);
        close_node(&b);
        assert_true(n < 2000);
    }
    bz_alloc_set_fault(NULL, NULL);
    assert_int_equal(dictionaries_of(&a), 1);
    assert_int_equal(dictionaries_of(&blind), 1);
    close_node(&a);
    close_node(&blind);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_dictionary_is_trained_once_kept_by_the_blind_and_opens_for_all),
        cmocka_unit_test(a_session_with_one_record_is_told_no_dictionary_that_is_there),
        cmocka_unit_test(a_new_blind_hub_is_told_the_dictionary_that_a_member_has),
        cmocka_unit_test(one_blind_hub_feeds_another),
        cmocka_unit_test(who_has_another_secret_is_let_in_nowhere),
        cmocka_unit_test(what_a_blind_side_forges_ends_the_session_and_changes_nothing),
        cmocka_unit_test(a_record_that_a_member_sealed_badly_is_named_and_holds_up_what_follows),
        cmocka_unit_test(each_allocation_that_fails_harms_nothing),
        cmocka_unit_test(each_allocation_that_fails_leaves_dictionaries_as_they_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
