/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The examples of tests/vectors/wire.txt of comparing: what a session answers to RANGES about a
 * database that has the notes 1, 2 and 3, and what it does not take.
 */
#include "hex.h"
#include "sync_world.h"
#include "vector_file.h"

#include "sync/frame.h"

struct asked {
    struct world w;
    struct bz_buf heard; /* what site 1 says from when it is asked on */
};

static void hear(void *context, int from, uint8_t *data, size_t size)
{
    if (from == 1)
        bz_buf_append(context, data, size);
}

/* Two sites that are at rest; site 0 seems to ask. */
static void ask(struct asked *a, struct bz_bytes frame)
{
    struct link *l = &a->w.link[0];
    world_open(&a->w, 1, CHAIN, 2);
    bz_buf_init(&a->heard, 1u << 20);
    for (uint32_t i = 1; i <= 3; i++)
        write_note(&a->w.site[1], i, "a note", BZ_DURABLE_RELAXED);
    l->pipe.on_wire = hear;
    l->pipe.context = &a->heard;
    all_links(&a->w);
    settle(&a->w);
    bz_buf_clear(&a->heard);
    bz_buf_append(&l->pipe.ends[0].wire, frame.data, frame.size);
    assert_true(pipe_settle(&l->pipe, 10000) < 10000);
}

static void ask_no_more(struct asked *a)
{
    bz_buf_release(&a->heard);
    world_close(&a->w);
}

static void ranges_are_answered_as_written(void **state)
{
    (void)state;
    struct vectors v;
    unsigned count = 0;
    vectors_open(&v);
    for (; vectors_next(&v, "answer"); count++) {
        uint8_t asking[LINE_MAX_SIZE], answering[LINE_MAX_SIZE];
        struct bz_bytes ranges = from_hex(v.parts[2], asking);
        struct bz_bytes items = from_hex(v.parts[3], answering);
        struct asked a;
        ask(&a, ranges);
        if (a.heard.size < items.size || memcmp(a.heard.data, items.data, items.size) != 0)
            fail_msg("the answer is another one: %s", v.parts[1]);
        ask_no_more(&a);
    }
    assert_true(count >= 4);
}

static void ranges_that_cannot_be_end_the_session(void **state)
{
    (void)state;
    struct vectors v;
    unsigned count = 0;
    vectors_open(&v);
    while (vectors_next(&v, "bad")) {
        uint8_t bytes[LINE_MAX_SIZE];
        struct bz_buf frame;
        struct asked a;
        if (strcmp(v.parts[1], "RANGES") != 0)
            continue;
        count++;
        bz_buf_init(&frame, LINE_MAX_SIZE);
        bz_frame_append(&frame, BZ_FRAME_RANGES, from_hex(v.parts[3], bytes));
        ask(&a, bz_buf_bytes(&frame));
        struct bz_session_status status = pipe_status(&a.w.link[0].pipe, 1);
        assert_true(a.heard.size > 1 && a.heard.data[1] == BZ_FRAME_BYE); /* no answer before */
        if (status.phase != BZ_SESSION_CLOSED)
            print_message("taken: %s\n", v.parts[2]);
        assert_int_equal(status.phase, BZ_SESSION_CLOSED);
        assert_int_equal(status.code, BLAZE_EPROTO);
        ask_no_more(&a);
        bz_buf_release(&frame);
    }
    assert_true(count >= 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges_are_answered_as_written),
        cmocka_unit_test(ranges_that_cannot_be_end_the_session),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
