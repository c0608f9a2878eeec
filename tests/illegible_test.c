/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What nobody can read of what comes through a blind database: sealed wrongly by a member that is
 * broken or of ill will, or forged by the blind side. It is left out and claimed by nobody, and
 * holds up nothing else; and it comes as soon as it can be read.
 */
#include "blind_world.h"

#include "sync/dictionary.h"

#define DAY_MS (24u * 3600000u)

/* ---- what a node has ---- */

struct entry {
    blaze_id node;
    uint64_t seq;
};

static int find_entry(void *context, const blaze_id *node, uint64_t seq)
{
    struct entry *entry = context;
    if (memcmp(node, &entry->node, sizeof *node) == 0)
        entry->seq = seq;
    return 0;
}

/* Up to where a node claims another's writes. */
static uint64_t claimed(struct node *node, struct node *writer)
{
    struct bz_identity identity;
    struct bz_read *read;
    bz_db_identity(writer->db, &identity);
    struct entry entry = {.node = identity.node};
    assert_int_equal(bz_read_begin(node->db, &read, NULL), 0);
    assert_int_equal(bz_read_version(read, find_entry, &entry, NULL), 0);
    bz_read_end(read);
    return entry.seq;
}

static bool has_order(struct node *node, uint64_t i)
{
    struct bz_read *read;
    blaze_value value;
    blaze_id id = id_of(i);
    assert_int_equal(bz_read_begin(node->db, &read, NULL), 0);
    int rc = bz_read_get(read, bz_bytes_text(collection), &id, &value, NULL);
    bz_read_end(read);
    assert_true(rc == 0 || rc == BLAZE_ENOTFOUND);
    return rc == 0;
}

struct expected {
    blaze_id id, writer;
    const char *collection;
    bool forged;
};

static int check_left_out(void *context, const struct bz_illegible_record *record)
{
    const struct expected *expected = context;
    assert_memory_equal(&record->id, &expected->id, sizeof record->id);
    assert_memory_equal(&record->writer, &expected->writer, sizeof record->writer);
    assert_int_equal(record->collection.size, strlen(expected->collection));
    assert_memory_equal(record->collection.data, expected->collection, record->collection.size);
    assert_int_equal(record->forged, expected->forged);
    return 0;
}

/* One is left out, and this is told of it. */
static void assert_left_out_of(
    struct node *node, const char *of, uint64_t i, struct node *writer, bool forged)
{
    struct bz_identity identity;
    struct bz_read *read;
    bz_db_identity(writer->db, &identity);
    struct expected expected = {id_of(i), identity.node, of, forged};
    assert_int_equal(count_left_out(node), 1);
    assert_int_equal(bz_read_begin(node->db, &read, NULL), 0);
    assert_int_equal(bz_read_illegible(read, check_left_out, &expected, NULL), 0);
    bz_read_end(read);
}

static void assert_left_out(struct node *node, uint64_t i, struct node *writer, bool forged)
{
    assert_left_out_of(node, collection, i, writer, forged);
}

static void assert_equal_states(struct node *x, struct node *y)
{
    struct bz_db_state states[2];
    struct node *nodes[] = {x, y};
    for (int i = 0; i < 2; i++) {
        struct bz_read *read;
        assert_int_equal(bz_read_begin(nodes[i]->db, &read, NULL), 0);
        assert_int_equal(bz_read_state(read, &states[i], NULL), 0);
        bz_read_end(read);
    }
    assert_memory_equal(&states[0].digest, &states[1].digest, sizeof states[0].digest);
    assert_int_equal(states[0].records, states[1].records);
}

/* ---- a record that is sealed wrongly ---- */

/* a writes five orders, of which it seals the third badly, and has them on the blind side. */
static void begin_badly(struct trio *t,
    int (*seal_body)(void *, const blaze_id *, struct bz_bytes, struct bz_bytes, struct bz_buf *))
{
    blaze_id bad = id_of(2);
    open_trio(t);
    struct bz_seal_ops seal = bad_seal(&t->a, &bad, seal_body);
    write_orders(&t->a, 0, 5);
    meet_sealing(&t->a, &t->blind, &seal);
}

/* b has all but that one, and claims nothing of its writer. */
static void assert_all_but_the_third(struct trio *t, struct node *node)
{
    for (uint64_t i = 0; i < 5; i++)
        assert_int_equal(has_order(node, i), i != 2);
    assert_int_equal(claimed(node, &t->a), 0);
    assert_int_equal(claimed(&t->blind, &t->a), 5);
}

static void hold_up_nothing(
    int (*seal_body)(void *, const blaze_id *, struct bz_bytes, struct bz_bytes, struct bz_buf *),
    bool forged)
{
    struct trio t;
    begin_badly(&t, seal_body);
    write_orders(&t.b, 5, 1);
    write_orders(&t.c, 6, 1);
    must_meet(&t.b, &t.blind);
    must_meet(&t.c, &t.blind);
    must_meet(&t.b, &t.blind);
    struct node *honest[] = {&t.b, &t.c};
    for (int i = 0; i < 2; i++) {
        assert_all_but_the_third(&t, honest[i]);
        assert_left_out(honest[i], 2, &t.a, forged);
        assert_true(has_order(honest[i], 5) && has_order(honest[i], 6));
    }
    assert_equal_states(&t.b, &t.c);

    /* Nothing comes again, and whatever changes goes on coming. */
    uint64_t idle = must_meet(&t.b, &t.blind);
    assert_in_range(idle, 0, 1000);
    write_orders(&t.a, 7, 1);
    must_meet(&t.a, &t.blind);
    must_meet(&t.b, &t.blind);
    assert_true(has_order(&t.b, 7));
    assert_int_equal(claimed(&t.b, &t.a), 0);
    must_meet(&t.b, &t.c);
    assert_true(has_order(&t.c, 7));
    assert_int_equal(claimed(&t.c, &t.a), 0);
    assert_in_range(must_meet(&t.b, &t.blind), 0, idle + 100);
    close_trio(&t);
}

static void a_record_that_is_sealed_wrongly_is_left_out_and_holds_up_nothing(void **state)
{
    (void)state;
    hold_up_nothing(seal_rubbish, false);
    hold_up_nothing(seal_falsely, true);
}

static void assert_come(struct trio *t, struct node *node, uint64_t writes)
{
    assert_int_equal(count_left_out(node), 0);
    assert_true(has_order(node, 2));
    assert_int_equal(claimed(node, &t->a), writes);
    assert_equal_states(node, &t->a);
}

static void it_comes_when_its_writer_writes_it_anew(void **state)
{
    (void)state;
    struct trio t;
    begin_badly(&t, seal_rubbish);
    must_meet(&t.b, &t.blind);
    write_orders(&t.a, 2, 1);
    must_meet(&t.a, &t.blind);
    must_meet(&t.b, &t.blind);
    must_meet(&t.c, &t.blind);
    assert_come(&t, &t.b, 6);
    assert_come(&t, &t.c, 6);
    assert_orders(&t.b, 5);
    close_trio(&t);
}

static void whoever_writes_it_whole_replaces_what_nobody_can_read(void **state)
{
    (void)state;
    struct trio t;
    begin_badly(&t, seal_rubbish);
    must_meet(&t.b, &t.blind);
    must_meet(&t.c, &t.blind);
    write_orders(&t.b, 2, 1);
    assert_int_equal(count_left_out(&t.b), 0);
    must_meet(&t.b, &t.blind);
    must_meet(&t.c, &t.blind);
    must_meet(&t.a, &t.blind);
    must_meet(&t.b, &t.blind);
    assert_come(&t, &t.c, 5);
    assert_come(&t, &t.b, 5);
    assert_equal_states(&t.a, &t.blind);
    close_trio(&t);
}

/* What others wrote to it, and could be read, is no sibling less. */
static void who_replaces_what_nobody_can_read_replaces_nothing_else(void **state)
{
    (void)state;
    struct trio t;
    begin_badly(&t, seal_rubbish);
    write_orders(&t.c, 2, 1); /* as the same record */
    must_meet(&t.c, &t.blind);
    must_meet(&t.b, &t.blind);
    assert_left_out(&t.b, 2, &t.a, false);
    assert_int_equal(claimed(&t.b, &t.c), 0);
    write_orders(&t.b, 2, 1);
    assert_int_equal(count_left_out(&t.b), 1); /* it had seen more */
    must_meet(&t.b, &t.blind);
    must_meet(&t.c, &t.blind);
    must_meet(&t.b, &t.blind);
    must_meet(&t.a, &t.blind);
    struct node *all[] = {&t.a, &t.b, &t.c};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(count_left_out(all[i]), 0);
        assert_equal_states(all[i], &t.blind);
    }
    must_meet(&t.b, &t.blind);
    assert_int_equal(claimed(&t.b, &t.c), 1);
    close_trio(&t);
}

static void it_comes_from_whoever_has_it_in_clear(void **state)
{
    (void)state;
    struct trio t;
    begin_badly(&t, seal_falsely);
    must_meet(&t.b, &t.blind);
    must_meet(&t.c, &t.blind);
    must_meet(&t.b, &t.a);
    assert_come(&t, &t.b, 5);
    must_meet(&t.c, &t.b);
    assert_come(&t, &t.c, 5);
    /* Who has it does not mind how it is sealed. */
    must_meet(&t.b, &t.blind);
    assert_come(&t, &t.b, 5);
    close_trio(&t);
}

static void update_order(struct node *node, uint64_t i, const char *field, const char *value)
{
    struct bz_db_txn *txn;
    blaze_doc *doc;
    blaze_id id = id_of(i);
    assert_int_equal(blaze_doc_new(&doc), 0);
    blaze_doc_add_string(doc, field, value);
    assert_int_equal(bz_db_begin(node->db, &txn, NULL), 0);
    assert_int_equal(bz_db_update(txn, bz_bytes_text(collection), &id, doc, NULL), 0);
    assert_int_equal(bz_db_commit(txn, BZ_DURABLE_RELAXED, NULL), 0);
    blaze_doc_free(doc);
}

static void what_is_here_in_clear_goes_on_merging(void **state)
{
    (void)state;
    struct trio t;
    begin_badly(&t, seal_rubbish);
    must_meet(&t.b, &t.a);
    must_meet(&t.c, &t.a);
    update_order(&t.c, 2, "currency", "NOK");
    must_meet(&t.c, &t.blind);
    must_meet(&t.b, &t.blind);
    assert_int_equal(count_left_out(&t.b), 0);
    assert_int_equal(claimed(&t.b, &t.c), 1);
    assert_equal_states(&t.b, &t.c);
    close_trio(&t);
}

static void go_on(struct trio *t, struct meeting *m, bool anew)
{
    if (anew) {
        meeting_close(m);
        *m = (struct meeting){0};
        meeting_open(m, &t->b, &t->blind);
    }
    meeting_must_settle(m);
}

/* The blind side leaves out what it believes to be there; what was left out is not. */
static void change_part_by_part(bool anew)
{
    struct trio t;
    struct meeting m = {0};
    blaze_id bad = id_of(2);
    open_trio(&t);
    struct bz_seal_ops seal = bad_seal(&t.a, &bad, seal_rubbish);
    write_orders(&t.a, 0, 5);
    must_meet(&t.a, &t.blind);
    meeting_open(&m, &t.b, &t.blind);
    meeting_must_settle(&m);
    assert_orders(&t.b, 5);

    update_order(&t.a, 2, "currency", "NOK");
    meet_sealing(&t.a, &t.blind, &seal);
    go_on(&t, &m, anew);
    assert_left_out(&t.b, 2, &t.a, false);
    assert_int_equal(claimed(&t.b, &t.a), 5);
    assert_orders(&t.b, 5); /* as it was */

    update_order(&t.a, 2, "order_status", "lost");
    must_meet(&t.a, &t.blind);
    go_on(&t, &m, anew);
    assert_left_out(&t.b, 2, &t.a, false);
    assert_orders(&t.b, 5);

    /* What could not be read is replaced, by half of the record. */
    update_order(&t.a, 2, "currency", "SEK");
    must_meet(&t.a, &t.blind);
    go_on(&t, &m, anew);
    assert_come(&t, &t.b, 8);
    meeting_close(&m);
    must_meet(&t.b, &t.a);
    assert_equal_states(&t.b, &t.a);
    struct bz_read *read;
    blaze_value value, field;
    assert_int_equal(bz_read_begin(t.b.db, &read, NULL), 0);
    assert_int_equal(bz_read_get(read, bz_bytes_text(collection), &bad, &value, NULL), 0);
    assert_int_equal(blaze_value_field(&value, "order_status", &field), 0);
    assert_memory_equal(field.as.text.data, "lost", 4);
    assert_int_equal(blaze_value_field(&value, "currency", &field), 0);
    assert_memory_equal(field.as.text.data, "SEK", 3);
    bz_read_end(read);
    close_trio(&t);
}

static void nothing_is_taken_for_there_that_was_left_out_in_a_session_that_goes_on(void **state)
{
    (void)state;
    change_part_by_part(false);
}

static void nothing_is_taken_for_there_that_was_left_out_in_a_session_before(void **state)
{
    (void)state;
    change_part_by_part(true);
}

/* ---- names and dictionaries ---- */

static enum bz_term bad_term;

static int seal_names_falsely(
    void *sealer, enum bz_term term, struct bz_bytes name, struct bz_buf *out)
{
    int rc = honest_seal->seal_name(sealer, term, name, out);
    if (rc == 0 && term == bad_term)
        out->data[out->size - 1] ^= 1;
    return rc;
}

static struct bz_seal_ops bad_names(const struct node *node, enum bz_term term)
{
    static const blaze_id none;
    struct bz_seal_ops seal = bad_seal(node, &none, seal_rubbish);
    seal.seal_name = seal_names_falsely;
    bad_term = term;
    return seal;
}

static void records_whose_collection_has_no_name_are_left_out(void **state)
{
    (void)state;
    struct trio t;
    open_trio(&t);
    struct bz_seal_ops seal = bad_names(&t.a, BZ_TERM_COLLECTION);
    write_orders(&t.a, 0, 1);
    write_orders(&t.c, 1, 2);
    meet_sealing(&t.a, &t.blind, &seal);
    must_meet(&t.c, &t.blind);
    must_meet(&t.b, &t.blind);
    assert_left_out_of(&t.b, "", 0, &t.a, true);
    assert_true(has_order(&t.b, 1) && has_order(&t.b, 2));
    assert_int_equal(claimed(&t.b, &t.a), 0);

    /* Its dots say that it is this one. */
    must_meet(&t.b, &t.a);
    assert_int_equal(count_left_out(&t.b), 0);
    assert_orders(&t.b, 3);
    close_trio(&t);
}

static void what_readable_peers_have_ends_what_no_record_could(void **state)
{
    (void)state;
    struct trio t;
    open_trio(&t);
    struct bz_seal_ops seal = bad_names(&t.a, BZ_TERM_COLLECTION);
    write_many(&t.a, "these", 0, 1);
    write_many(&t.c, "those", 0, 1);
    meet_sealing(&t.a, &t.blind, &seal);
    meet_sealing(&t.c, &t.blind, &seal);
    must_meet(&t.b, &t.blind);
    assert_int_equal(count_left_out(&t.b), 1); /* for they are told apart by their collections */
    must_meet(&t.b, &t.a);
    assert_int_equal(claimed(&t.b, &t.a), 1);
    assert_int_equal(count_left_out(&t.b), 1);
    must_meet(&t.b, &t.blind);
    assert_int_equal(claimed(&t.b, &t.c), 0);
    must_meet(&t.b, &t.c);
    assert_int_equal(claimed(&t.b, &t.c), 1);
    assert_int_equal(count_left_out(&t.b), 0);
    close_trio(&t);
}

static void a_record_with_a_field_that_has_no_name_is_left_out(void **state)
{
    (void)state;
    struct trio t;
    open_trio(&t);
    struct bz_seal_ops seal = bad_names(&t.a, BZ_TERM_FIELD);
    write_orders(&t.a, 0, 3);
    update_order(&t.a, 2, "currency", "NOK");
    meet_sealing(&t.a, &t.blind, &seal);
    must_meet(&t.b, &t.blind);
    assert_left_out(&t.b, 2, &t.a, true);
    assert_true(has_order(&t.b, 0) && has_order(&t.b, 1) && !has_order(&t.b, 2));
    write_orders(&t.a, 2, 1);
    must_meet(&t.a, &t.blind);
    must_meet(&t.b, &t.blind);
    assert_come(&t, &t.b, 5);
    close_trio(&t);
}

static int seal_no_dictionary(
    void *sealer, enum bz_term term, struct bz_bytes name, struct bz_buf *out)
{
    return honest_seal->seal_name(sealer, term,
        term == BZ_TERM_DICTIONARY ? bz_bytes_text("no dictionary of any kind") : name, out);
}

static void what_needs_a_dictionary_that_is_none_is_left_out(void **state)
{
    (void)state;
    struct trio t;
    static const blaze_id none;
    open_trio(&t);
    struct bz_seal_ops seal = bad_seal(&t.a, &none, seal_rubbish);
    seal.seal_name = seal_no_dictionary;
    write_orders(&t.a, 0, 3000);
    meet_sealing(&t.a, &t.blind, &seal);
    write_orders(&t.b, 3000, 2000); /* which makes a dictionary of its own */
    must_meet(&t.b, &t.blind);
    must_meet(&t.c, &t.blind);
    uint64_t left_out = count_left_out(&t.c);
    assert_in_range(left_out, 1, 2999);
    assert_int_equal(count_left_out(&t.b), left_out);
    for (uint64_t i = 3000; i < 5000; i++)
        assert_true(has_order(&t.c, i));
    assert_equal_states(&t.b, &t.c);

    write_orders(&t.c, 0, 3000);
    must_meet(&t.c, &t.blind);
    must_meet(&t.b, &t.blind);
    assert_orders(&t.b, 5000);
    assert_int_equal(count_left_out(&t.b) + count_left_out(&t.c), 0);
    close_trio(&t);
}

static void fill_with_dictionaries(struct node *blind)
{
    struct bz_replica replica;
    struct bz_apply *apply;
    struct bz_identity identity;
    struct bz_peer_state peer = {0};
    assert_int_equal(bz_db_replica_open(blind->db, &replica, NULL), 0);
    bz_db_identity(blind->db, &identity);
    assert_int_equal(replica.ops->apply_begin(replica.context, &(blaze_id){{9}}, &apply, NULL), 0);
    assert_int_equal(replica.ops->node_number(replica.context, &identity.node, &peer.self), 0);
    for (uint32_t i = 0; i < BZ_DICTIONARIES_MAX; i++) {
        char sealed[64];
        uint32_t number;
        snprintf(sealed, sizeof sealed, "none, they all begin alike, and this is number %u", i);
        assert_int_equal(
            replica.ops->resolve(apply, BZ_TERM_DICTIONARY, bz_bytes_text(sealed), &number, NULL),
            0);
    }
    assert_int_equal(replica.ops->apply_commit(apply, &peer, NULL, NULL, NULL), 0);
    bz_db_replica_close(&replica);
}

static void where_all_room_for_dictionaries_is_taken_none_is_used(void **state)
{
    (void)state;
    struct trio t;
    open_trio(&t);
    fill_with_dictionaries(&t.blind);
    write_orders(&t.b, 0, 3000);
    must_meet(&t.b, &t.blind);
    must_meet(&t.c, &t.blind);
    assert_orders(&t.c, 3000);

    /* Nor is one that a member has for another blind side. */
    struct node other;
    open_node(&other, "other", true, 1);
    must_meet(&t.b, &other);
    write_orders(&t.b, 3000, 500);
    must_meet(&t.b, &t.blind);
    must_meet(&t.c, &t.blind);
    assert_orders(&t.c, 3500);
    close_node(&other);
    close_trio(&t);
}

/* ---- what a blind side of ill will does to a record before it hands it on ---- */

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

static void change_the_stamp(struct bz_change *change)
{
    change->rec.writes[0].stamp++;
}

static void change_the_role(struct bz_change *change)
{
    change->rec.writes[0].role ^= 1;
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

static void change_the_id(struct bz_change *change)
{
    change->id.bytes[15] ^= 1;
}

static void change_the_seq(struct bz_change *change)
{
    static struct bz_dot seen;
    change->rec.writes[0].dot.seq += 100;
    seen = change->rec.writes[0].dot;
    change->rec.rvv = (struct bz_vv){&seen, 1};
}

static void meet_forging(struct node *node, struct node *blind, void (*forge)(struct bz_change *))
{
    struct bz_replica replica;
    assert_int_equal(bz_db_replica_open(blind->db, &replica, NULL), 0);
    forgery.honest = replica.ops;
    forgery.ops = *replica.ops;
    forgery.ops.changes_next = forge_next;
    forgery.forge = forge;
    struct meeting m = {.forge = &forgery.ops};
    must_hold(&m, node, blind);
    bz_db_replica_close(&replica);
}

static const struct {
    void (*forge)(struct bz_change *change);
    bool elsewhere; /* it is said to be of another place, where it will never come from */
} forgeries[] = {{change_the_stamp, false}, {change_the_role, false}, {change_a_byte, false},
    {empty_the_body, false}, {make_it_a_delete, false}, {change_the_id, true},
    {change_the_seq, true}};

static void what_a_blind_side_forges_is_left_out_and_asked_for_again_after_a_day(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof forgeries / sizeof *forgeries; i++) {
        struct trio t;
        open_trio(&t);
        write_orders(&t.a, 0, 5);
        must_meet(&t.a, &t.blind);
        meet_forging(&t.b, &t.blind, forgeries[i].forge);
        assert_int_equal(count_left_out(&t.b), 5);
        assert_int_equal(bz_db_position(t.b.db), 0);
        assert_int_equal(claimed(&t.b, &t.a), 0);

        wall_ms += DAY_MS - 1;
        must_meet(&t.b, &t.blind);
        assert_int_equal(bz_db_position(t.b.db), 0);
        wall_ms++;
        must_meet(&t.b, &t.blind);
        assert_orders(&t.b, 5);
        assert_int_equal(count_left_out(&t.b), forgeries[i].elsewhere ? 5 : 0);
        assert_int_equal(claimed(&t.b, &t.a), forgeries[i].elsewhere ? 0 : 5);
        uint64_t idle = must_meet(&t.b, &t.blind);
        assert_in_range(idle, 0, 1000);
        close_trio(&t);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_that_is_sealed_wrongly_is_left_out_and_holds_up_nothing),
        cmocka_unit_test(it_comes_when_its_writer_writes_it_anew),
        cmocka_unit_test(whoever_writes_it_whole_replaces_what_nobody_can_read),
        cmocka_unit_test(who_replaces_what_nobody_can_read_replaces_nothing_else),
        cmocka_unit_test(it_comes_from_whoever_has_it_in_clear),
        cmocka_unit_test(what_is_here_in_clear_goes_on_merging),
        cmocka_unit_test(nothing_is_taken_for_there_that_was_left_out_in_a_session_that_goes_on),
        cmocka_unit_test(nothing_is_taken_for_there_that_was_left_out_in_a_session_before),
        cmocka_unit_test(records_whose_collection_has_no_name_are_left_out),
        cmocka_unit_test(what_readable_peers_have_ends_what_no_record_could),
        cmocka_unit_test(a_record_with_a_field_that_has_no_name_is_left_out),
        cmocka_unit_test(what_needs_a_dictionary_that_is_none_is_left_out),
        cmocka_unit_test(where_all_room_for_dictionaries_is_taken_none_is_used),
        cmocka_unit_test(what_a_blind_side_forges_is_left_out_and_asked_for_again_after_a_day),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
