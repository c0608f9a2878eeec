/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A database in the middle of three others: one that takes all at once, one that takes little at a
 * time, one that takes nothing at all. The slow ones hold up nobody, and what they cost is bounded
 * however much is written.
 */
#include "sync_world.h"

#include "sync/session_priv.h"

#define CHUNK    2000u
#define RECORDS  40u
#define WRITES   1500u
#define WIRE_MAX 4096u

enum { FAST, SLOW, STUCK };

/* What a session holds in its buffers. */
static size_t held(const struct bz_session *s)
{
    const struct bz_buf *buffers[] = {&s->input, &s->output, &s->scratch, &s->out.defined,
        &s->out.recorded, &s->out.carry, &s->out.body, &s->out.packed, &s->out.ready, &s->in.raw,
        &s->in.renamed};
    size_t size = s->in.arena.total;
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        size += buffers[i]->capacity;
    return size;
}

static void put_text(struct site *s, uint64_t id, uint64_t version)
{
    char text[400];
    blaze_doc *doc;
    struct bz_db_txn *txn;
    blaze_id key = fake_id(id);
    memset(text, 'a' + (int)(version % 26), sizeof text);
    snprintf(text, 30, "version %llu", (unsigned long long)version);
    text[sizeof text - 1] = '\0';
    assert_int_equal(blaze_doc_new(&doc), 0);
    blaze_doc_add_string(doc, "text", text);
    assert_int_equal(bz_db_begin(s->db, &txn, NULL), 0);
    assert_int_equal(bz_db_put(txn, bz_bytes_text("notes"), &key, doc, NULL), 0);
    assert_int_equal(bz_db_commit(txn, BZ_DURABLE_RELAXED, NULL), 0);
    blaze_doc_free(doc);
}

/* Lets a link work until nothing is left to do. */
static void work_off(struct link *l)
{
    pipe_wake(&l->pipe);
    for (uint64_t n = 0; pipe_step(&l->pipe); n++)
        assert_true(n < STEPS);
}

/* The middle's end of a link goes on; nothing of it is delivered. */
static void run_sender(struct link *l)
{
    for (int i = 0; i < 3; i++) {
        pipe_run(&l->pipe, 0);
        pipe_take(&l->pipe, 0);
    }
}

static void a_peer_that_does_not_read_costs_a_bounded_amount_and_holds_up_nobody(void **state)
{
    (void)state;
    struct world w;
    world_open(&w, test_seed(), STAR, 4);
    w.chunk_bytes = CHUNK;
    for (int i = FAST; i <= STUCK; i++) {
        struct link *l = &w.link[i];
        link_up(&w, l);
        work_off(l);
        assert_true(pipe_live(&l->pipe));
        l->pipe.wire_max = i == FAST ? 1u << 20 : WIRE_MAX;
    }
    w.link[SLOW].pipe.piece_max = 60;

    struct link *stuck = &w.link[STUCK];
    uint64_t wire_before[3], records_before[3];
    for (int i = FAST; i <= STUCK; i++) {
        wire_before[i] = w.link[i].pipe.ends[0].delivered;
        records_before[i] = pipe_status(&w.link[i].pipe, 0).sent_records;
    }
    size_t most = 0;
    for (uint64_t n = 0; n < WRITES; n++) {
        put_text(&w.site[0], n % RECORDS, n);
        work_off(&w.link[FAST]);
        assert_true(pipe_live(&w.link[FAST].pipe)); /* it has the write already */
        if (n % 20 == 0) {
            pipe_wake(&w.link[SLOW].pipe);
            pipe_step(&w.link[SLOW].pipe);
        }
        run_sender(stuck);
        size_t now = held(stuck->pipe.ends[0].session);
        most = now > most ? now : most;
        assert_true(stuck->pipe.ends[0].wire.size <= WIRE_MAX);
        for (int i = FAST; i <= STUCK; i++)
            w.link[i].pipe.now_ms += 10;
        /* Nothing is read for whoever does not take it: no snapshot is held for longer. */
        const struct bz_outgoing *out = &stuck->pipe.ends[0].session->out;
        assert_true(out->walk == NULL || out->walk_since_ms + 1000 >= stuck->pipe.now_ms - 10);
    }
    /* Of 600 KB that were written, some chunks. */
    assert_in_range(most, 1, 8 * CHUNK);
    uint64_t to_fast = pipe_status(&w.link[FAST].pipe, 0).sent_records - records_before[FAST];
    uint64_t to_slow = pipe_status(&w.link[SLOW].pipe, 0).sent_records - records_before[SLOW];
    assert_int_equal(to_fast, WRITES);
    assert_true(w.link[SLOW].pipe.ends[0].delivered > wire_before[SLOW]);

    /* Once they read, they get what there is now, not all that ever was. */
    for (int i = SLOW; i <= STUCK; i++) {
        work_off(&w.link[i]);
        assert_true(pipe_live(&w.link[i].pipe));
    }
    uint64_t to_stuck = pipe_status(&stuck->pipe, 0).sent_records - records_before[STUCK];
    assert_true(to_stuck <= 4 * RECORDS);
    assert_true(to_slow < WRITES / 2);
    settle(&w);
    assert_equal(&w);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_peer_that_does_not_read_costs_a_bounded_amount_and_holds_up_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
