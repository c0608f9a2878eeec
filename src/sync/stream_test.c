/* SPDX-License-Identifier: Apache-2.0 */
/* Compression over whole sessions: which frames go over the wire, and what is left at rest. */
#include "sync/pair_test_util.h"

#include "sync/frame.h"

/* What an end has put onto the wire, frame by frame. */
struct tally {
    struct bz_buf sent[2];
};

static void keep_wire(void *context, int from, uint8_t *data, size_t size)
{
    bz_buf_append(&((struct tally *)context)->sent[from], data, size);
}

static void tally_init(struct tally *t, struct pair *p)
{
    bz_buf_init(&t->sent[0], 1u << 26);
    bz_buf_init(&t->sent[1], 1u << 26);
    p->pipe.on_wire = keep_wire;
    p->pipe.context = t;
}

static void tally_release(struct tally *t)
{
    bz_buf_release(&t->sent[0]);
    bz_buf_release(&t->sent[1]);
}

struct counts {
    unsigned packings[4];
    unsigned rests;
    uint64_t chunks;
};

static struct counts count_frames(const struct tally *t, int end)
{
    struct counts counts = {0};
    struct bz_bytes wire = bz_buf_bytes(&t->sent[end]), payload;
    uint8_t type;
    size_t size;
    while (bz_frame_peek(wire, &type, &payload, &size) == 0) {
        struct bz_chunk chunk;
        if (type == BZ_FRAME_CHANGES) {
            assert_int_equal(bz_chunk_decode(payload, &chunk), 0);
            counts.packings[chunk.packing]++;
            counts.chunks++;
        }
        counts.rests += type == BZ_FRAME_REST;
        wire = bz_bytes(wire.data + size, wire.size - size);
    }
    assert_int_equal(wire.size, 0);
    return counts;
}

static void write_words(struct fake *f, uint64_t from, uint64_t count)
{
    char text[400];
    for (uint64_t i = 0; i < count; i++) {
        snprintf(text, sizeof text,
            "the quick brown fox number %llu jumps over the lazy dog number %llu and comes to rest "
            "beside a river whose name nobody here remembers, whatever the season, %llu",
            (unsigned long long)(from + i), (unsigned long long)(from * 7 + i),
            (unsigned long long)(i * i));
        write_text(f, from + i, "text", text);
    }
}

static void chunks_that_shrink_are_compressed_by_what_both_ends_know(void **state)
{
    (void)state;
    static const struct {
        uint64_t without[2];
        enum bz_packing used;
    } cases[] = {
        {{0, 0}, BZ_PACKING_ZSTD},
        {{BZ_FEATURE_ZSTD, 0}, BZ_PACKING_LZ4},
        {{0, BZ_FEATURE_ZSTD}, BZ_PACKING_LZ4},
        {{BZ_FEATURE_LZ4, 0}, BZ_PACKING_ZSTD},
        {{BZ_FEATURE_LZ4, BZ_FEATURE_ZSTD}, BZ_PACKING_NONE},
    };
    uint64_t plain = 0;
    for (size_t i = sizeof cases / sizeof *cases; i-- > 0;) {
        struct pair p;
        struct tally t;
        pair_init(&p, 9);
        tally_init(&t, &p);
        p.options[0].without = cases[i].without[0];
        p.options[1].without = cases[i].without[1];
        write_words(p.fakes[0], 0, 200);
        pair_connect(&p);
        settle(&p);
        assert_live_and_same(&p);
        struct counts counts = count_frames(&t, 0);
        assert_true(counts.packings[cases[i].used] > 0);
        if (cases[i].used == BZ_PACKING_NONE)
            plain = p.pipe.ends[0].delivered;
        else
            assert_true(p.pipe.ends[0].delivered * 2 < plain);
        tally_release(&t);
        pair_release(&p);
    }
}

static void a_bootstrap_is_one_stream_and_ends_with_it(void **state)
{
    (void)state;
    struct pair p;
    struct tally t;
    pair_init(&p, 30);
    tally_init(&t, &p);
    p.options[0].without = BZ_FEATURE_LZ4;
    p.options[0].chunk_bytes = 2000;
    write_words(p.fakes[0], 0, 100); /* not enough to keep a stream for */
    pair_connect(&p);
    settle(&p);
    assert_live_and_same(&p);
    struct counts counts = count_frames(&t, 0);
    assert_int_equal(counts.packings[BZ_PACKING_ZSTD], 1);
    assert_true(counts.packings[BZ_PACKING_ZSTD_ON] > 5);
    assert_int_equal(bz_session_deadline(p.pipe.ends[0].session), 1000 + 30000);
    assert_int_equal(counts.rests, 0);
    tally_release(&t);
    pair_release(&p);
}

static void a_stream_of_changes_is_kept_while_they_come_and_given_up_after(void **state)
{
    (void)state;
    struct pair p;
    struct tally t;
    pair_init(&p, 31);
    tally_init(&t, &p);
    pair_connect(&p);
    settle(&p);
    for (uint64_t i = 0; i < 400; i++) {
        write_words(p.fakes[0], i, 1);
        settle(&p);
        p.pipe.now_ms++;
    }
    assert_live_and_same(&p);
    struct counts counts = count_frames(&t, 0);
    assert_true(counts.packings[BZ_PACKING_ZSTD_ON] > 200);
    assert_int_equal(counts.rests, 0);
    assert_in_range(p.pipe.ends[0].delivered, 1, 400 * 140);

    pipe_sleep(&p.pipe); /* to the stream's deadline */
    settle(&p);
    counts = count_frames(&t, 0);
    assert_int_equal(counts.rests, 1);
    assert_true(p.pipe.now_ms < 5000);
    uint64_t began = counts.packings[BZ_PACKING_ZSTD];

    /* What comes then begins anew, and is read. */
    write_words(p.fakes[0], 5000, 50);
    settle(&p);
    assert_live_and_same(&p);
    assert_int_equal(count_frames(&t, 0).packings[BZ_PACKING_ZSTD], began + 1);
    tally_release(&t);
    pair_release(&p);
}

static void a_new_round_begins_its_stream_anew_whatever_was_on_its_way(void **state)
{
    (void)state;
    uint64_t first = test_seed(), rounds = test_rounds(30, 200);
    for (uint64_t seed = first; seed < first + rounds; seed++) {
        struct pair p;
        pair_init(&p, seed);
        p.pipe.piece_max = 1 + rng_next(&p.pipe.rng) % 3000;
        p.options[0].chunk_bytes = p.options[1].chunk_bytes = 600;
        write_words(p.fakes[0], 0, 60);
        pair_connect(&p);
        settle(&p);
        pipe_close(&p.pipe);
        /* A loss that only the digests tell; and much that is new, in both directions. */
        bz_free((void *)p.fakes[1]->records[3].rec.data);
        p.fakes[1]->records[3] = p.fakes[1]->records[--p.fakes[1]->count];
        write_words(p.fakes[0], 100, 40);
        write_words(p.fakes[1], 200, 40);
        pair_connect(&p);
        for (uint64_t i = 0; i < 300; i++) {
            if (i % 3 == 0)
                write_words(p.fakes[0], 300 + i, 1);
            pipe_wake(&p.pipe);
            pipe_step(&p.pipe);
        }
        settle(&p);
        assert_live_and_same(&p);
        assert_true(pipe_status(&p.pipe, 1).diverged);
        pair_release(&p);
    }
}

/* Over a wire that holds little, the bytes are what counts; where the peer is slow, the work. */
static void the_slower_of_network_and_peer_chooses(void **state)
{
    (void)state;
    for (int slow_peer = 0; slow_peer < 2; slow_peer++) {
        struct pair p;
        struct tally t;
        pair_init(&p, 32);
        tally_init(&t, &p);
        p.options[0].near = slow_peer == 0; /* begins with the other one */
        p.options[0].chunk_bytes = p.options[1].chunk_bytes = 2000;
        write_words(p.fakes[0], 0, 1500);
        pair_connect(&p);
        p.pipe.piece_max = slow_peer ? 0 : 200;
        for (uint64_t n = 0; n < 100000 && !pipe_live(&p.pipe); n++) {
            pipe_wake(&p.pipe);
            /* Either it gets all at once and deals with a chunk now and then, or little by little
             * and deals with it at once. */
            pipe_deliver(&p.pipe, 0);
            if (!slow_peer || n % 8 == 0)
                pipe_run(&p.pipe, 1);
            pipe_take(&p.pipe, 1);
            while (pipe_deliver(&p.pipe, 1))
                ;
            pipe_run(&p.pipe, 0);
            pipe_take(&p.pipe, 0);
        }
        settle(&p);
        assert_live_and_same(&p);
        struct counts counts = count_frames(&t, 0);
        uint64_t zstd = counts.packings[BZ_PACKING_ZSTD] + counts.packings[BZ_PACKING_ZSTD_ON];
        uint64_t lz4 = counts.packings[BZ_PACKING_LZ4];
        assert_true(slow_peer ? lz4 > 4 * zstd : zstd > 4 * lz4);
        tally_release(&t);
        pair_release(&p);
    }
}

static void ten_updates_of_a_record_while_the_peer_is_slow_are_sent_once(void **state)
{
    (void)state;
    struct pair p;
    pair_init(&p, 33);
    pair_connect(&p);
    settle(&p);
    uint64_t before = pipe_status(&p.pipe, 0).sent_records;
    /* The first write leaves at once; while nothing is taken, the others gather. */
    p.pipe.wire_max = 1;
    for (int i = 0; i < 10; i++) {
        for (uint64_t id = 0; id < 20; id++)
            write_text(p.fakes[0], id, i % 2 ? "text" : "title", "again and again");
        for (int k = 0; k < 50; k++)
            pipe_run(&p.pipe, 0);
    }
    p.pipe.wire_max = 1u << 20;
    settle(&p);
    assert_live_and_same(&p);
    uint64_t sent = pipe_status(&p.pipe, 0).sent_records - before;
    /* Once as they were first, and once more as they were when there was room. */
    assert_int_equal(sent, 2 * 20);
    pair_release(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(chunks_that_shrink_are_compressed_by_what_both_ends_know),
        cmocka_unit_test(a_bootstrap_is_one_stream_and_ends_with_it),
        cmocka_unit_test(a_stream_of_changes_is_kept_while_they_come_and_given_up_after),
        cmocka_unit_test(a_new_round_begins_its_stream_anew_whatever_was_on_its_way),
        cmocka_unit_test(the_slower_of_network_and_peer_chooses),
        cmocka_unit_test(ten_updates_of_a_record_while_the_peer_is_slow_are_sent_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
