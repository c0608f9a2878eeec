/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A bootstrap between real databases that is cut, at every frame and inside of frames: what it then
 * costs is counted in bytes. And one beside which both sides go on writing.
 */
#include "sync_world.h"

#include "sync/frame.h"

#define CHUNK   1000u
#define WINDOW  (4 * CHUNK)
#define RECORDS 250u

/* What a second session says before it goes on: the handshake, and the definitions once more; a
 * chunk may be larger than it should be by the record that filled it. */
#define OVERHEAD 900u

/* ---- exact cuts ---- */

/* Delivers what end `i` has sent, up to `limit` bytes of it in all. */
static bool deliver_up_to(struct session_pipe *p, int i, uint64_t limit)
{
    struct session_end *end = &p->ends[i];
    uint64_t room = limit - end->delivered;
    size_t size = end->wire.size < room ? end->wire.size : (size_t)room;
    if (size == 0)
        return false;
    struct bz_buf copy;
    bz_buf_init(&copy, size);
    bz_buf_append(&copy, end->wire.data, size);
    bz_buf_consume(&end->wire, size);
    end->delivered += size;
    bz_session_receive(p->ends[!i].session, bz_buf_bytes(&copy), p->now_ms);
    bz_buf_release(&copy);
    p->ends[!i].again = true;
    return true;
}

/* Lets a link work until nothing is left to do, or until exactly `limit` bytes of end `giver` have
 * come out at the other. */
static void run_up_to(struct link *l, int giver, uint64_t limit)
{
    struct session_pipe *p = &l->pipe;
    bool any = true;
    for (uint64_t n = 0; any; n++) {
        assert_true(n < STEPS);
        any = false;
        for (int i = 0; i < 2; i++) {
            any |= deliver_up_to(p, i, i == giver ? limit : UINT64_MAX);
            if (p->ends[!i].again) {
                pipe_run(p, !i);
                any = true;
            }
            for (int k = 0; k < 2; k++) {
                bool taken = pipe_take(p, k);
                p->ends[k].again |= taken;
                any |= taken;
            }
        }
    }
}

/* Bytes of `giver` that are on their way or have arrived. */
static uint64_t sent_by(const struct link *l, int giver)
{
    return l->pipe.ends[giver].delivered + l->pipe.ends[giver].wire.size;
}

struct recorded {
    int giver;
    struct bz_buf wire;
};

static void record_wire(void *context, int from, uint8_t *data, size_t size)
{
    struct recorded *r = context;
    if (from == r->giver)
        bz_buf_append(&r->wire, data, size);
}

/* Two sites, one of them with all the records: `giver` is the end of the link that has them. */
static void open_pair(struct world *w, int giver)
{
    world_open(w, 77, CHAIN, 2);
    w->chunk_bytes = CHUNK;
    insert_many(&w->site[giver], RECORDS);
}

static uint64_t records_at(struct site *s)
{
    struct bz_read *read;
    uint64_t count = 0;
    assert_int_equal(bz_read_begin(s->db, &read, NULL), 0);
    assert_int_equal(bz_read_count(read, bz_bytes_text("notes"), &count, NULL), 0);
    bz_read_end(read);
    return count;
}

/* A bootstrap that is cut when `at` bytes have arrived, and finished by a second session. */
static void cut_and_finish(int giver, uint64_t at, uint64_t whole)
{
    struct world w;
    open_pair(&w, giver);
    struct link *l = &w.link[0];
    link_up(&w, l);
    run_up_to(l, giver, at);
    assert_int_equal(l->pipe.ends[giver].delivered, at);
    uint64_t first = sent_by(l, giver);
    uint64_t had = records_at(&w.site[!giver]);
    link_down(l);

    assert_int_equal(records_at(&w.site[!giver]), had);
    link_up(&w, l);
    run_up_to(l, giver, UINT64_MAX);
    assert_true(pipe_live(&l->pipe));
    uint64_t second = sent_by(l, giver);
    /* All that is sent twice was on its way, or not yet applied, at the cut. */
    assert_true(first <= at + WINDOW + OVERHEAD);
    assert_true(second <= whole - at + WINDOW + OVERHEAD);
    assert_int_equal(pipe_status(&l->pipe, giver).sent_records, RECORDS - had);
    assert_int_equal(records_at(&w.site[!giver]), RECORDS);
    settle(&w);
    assert_equal(&w);
    world_close(&w);
}

static void a_cut_at_every_frame_and_within_costs_a_window_at_most(void **state)
{
    (void)state;
    struct rng rng = {test_seed()};
    for (int giver = 0; giver < 2; giver++) {
        struct world w;
        struct recorded r = {.giver = giver};
        bz_buf_init(&r.wire, 1u << 24);
        open_pair(&w, giver);
        w.link[0].pipe.on_wire = record_wire;
        w.link[0].pipe.context = &r;
        link_up(&w, &w.link[0]);
        run_up_to(&w.link[0], giver, UINT64_MAX);
        assert_true(pipe_live(&w.link[0].pipe));
        world_close(&w);
        uint64_t whole = r.wire.size, at = 0;
        unsigned frames = 0;
        while (at < whole) {
            uint8_t type;
            struct bz_bytes payload;
            size_t size;
            struct bz_bytes rest = bz_bytes(r.wire.data + at, (size_t)(whole - at));
            assert_int_equal(bz_frame_peek(rest, &type, &payload, &size), 0);
            cut_and_finish(giver, at + rng_next(&rng) % size, whole);
            at += size;
            cut_and_finish(giver, at, whole);
            frames++;
        }
        assert_true(frames > 20);
        bz_buf_release(&r.wire);
    }
}

/* The bytes of the other direction: a cut there loses acknowledgements only. */
static void a_cut_among_the_acknowledgements_costs_a_window_at_most(void **state)
{
    (void)state;
    for (int giver = 0; giver < 2; giver++) {
        struct world w;
        open_pair(&w, giver);
        link_up(&w, &w.link[0]);
        run_up_to(&w.link[0], giver, UINT64_MAX);
        uint64_t whole = sent_by(&w.link[0], giver);
        uint64_t acks = sent_by(&w.link[0], !giver);
        world_close(&w);
        for (uint64_t at = 0; at < acks; at += 5) {
            open_pair(&w, giver);
            struct link *l = &w.link[0];
            link_up(&w, l);
            run_up_to(l, !giver, at);
            uint64_t first = sent_by(l, giver);
            link_down(l);
            link_up(&w, l);
            run_up_to(l, giver, UINT64_MAX);
            assert_true(pipe_live(&l->pipe));
            assert_true(first + sent_by(l, giver) <= whole + WINDOW + 2 * OVERHEAD);
            assert_equal(&w);
            world_close(&w);
        }
    }
}

/* ---- meanwhile ---- */

/* Writes a record whose two fields are equal. */
static void put_twins(struct site *s, uint64_t id, int64_t value)
{
    blaze_doc *doc;
    struct bz_db_txn *txn;
    blaze_id key = fake_id(id);
    assert_int_equal(blaze_doc_new(&doc), 0);
    blaze_doc_add_int(doc, "left", value);
    blaze_doc_add_int(doc, "right", value);
    assert_int_equal(bz_db_begin(s->db, &txn, NULL), 0);
    assert_int_equal(bz_db_put(txn, bz_bytes_text("twins"), &key, doc, NULL), 0);
    assert_int_equal(bz_db_commit(txn, BZ_DURABLE_RELAXED, NULL), 0);
    blaze_doc_free(doc);
}

/* Looks at records that may have come by now: each must be whole. */
static uint64_t check_twins(struct site *s, uint64_t from, uint64_t count)
{
    struct bz_read *read;
    uint64_t seen = 0;
    assert_int_equal(bz_read_begin(s->db, &read, NULL), 0);
    for (uint64_t i = from; i < from + count; i++) {
        blaze_id id = fake_id(i);
        blaze_value document, left, right;
        int rc = bz_read_get(read, bz_bytes_text("twins"), &id, &document, NULL);
        if (rc == BLAZE_ENOTFOUND)
            continue;
        assert_int_equal(rc, 0);
        assert_int_equal(blaze_value_field(&document, "left", &left), 0);
        assert_int_equal(blaze_value_field(&document, "right", &right), 0);
        assert_int_equal(left.as.integer, right.as.integer);
        seen++;
    }
    bz_read_end(read);
    return seen;
}

static void both_sides_write_during_a_bootstrap_and_every_read_sees_whole_records(void **state)
{
    (void)state;
    uint64_t first = test_seed(), rounds = test_rounds(4, 40);
    for (uint64_t seed = first; seed < first + rounds; seed++) {
        struct world w;
        world_open(&w, seed, CHAIN, 2);
        w.chunk_bytes = 600;
        for (uint64_t i = 0; i < 300; i++)
            put_twins(&w.site[seed % 2], i, (int64_t)i);
        link_up(&w, &w.link[0]);
        w.link[0].pipe.piece_max = 400;
        int64_t value = 1000;
        uint64_t partly = 0;
        for (uint64_t n = 0; n < 1200; n++) {
            if (n % 12 == 0) /* of what is there, of what is still to come, and new ones */
                put_twins(&w.site[chance(&w, 2)], chance(&w, 340), value++);
            if (n % 5 == 0) {
                uint64_t seen = check_twins(&w.site[!(seed % 2)], chance(&w, 300), 40);
                partly += seen > 0 && seen < 40;
            }
            if (n % 300 == 299) { /* and it is cut now and then */
                link_down(&w.link[0]);
                link_up(&w, &w.link[0]);
            }
            wake_all(&w);
            step(&w);
        }
        assert_true(partly > 0); /* it was looked at while half of it was there */
        settle(&w);
        assert_equal(&w);
        check_twins(&w.site[0], 0, 340);
        world_close(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cut_at_every_frame_and_within_costs_a_window_at_most),
        cmocka_unit_test(a_cut_among_the_acknowledgements_costs_a_window_at_most),
        cmocka_unit_test(both_sides_write_during_a_bootstrap_and_every_read_sees_whole_records),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
