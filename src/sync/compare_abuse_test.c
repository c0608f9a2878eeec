/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A session against a peer that misbehaves in what it tells of replicas (COVERED), and in comparing
 * records (RANGES, ITEMS).
 */
#include "puppet_test_util.h"

static struct compared {
    bool behind;
    struct bz_vv purged; /* what the peer knows to have been collected, and has not itself */
    unsigned learnt, removals;
    uint64_t there; /* ids that the last answer listed */
} compared;

static int tell_nothing(
    void *context, const blaze_id *receiver, struct bz_arena *arena, struct bz_coverage *out)
{
    (void)receiver;
    *out = (struct bz_coverage){.rows = bz_arena_alloc(arena, sizeof *out->rows), .count = 1};
    assert_non_null(out->rows);
    *out->rows = (struct bz_coverage_row){.node = ((struct fake *)context)->identity.node};
    return 0;
}

static uint64_t no_mark(void *context)
{
    (void)context;
    return 0;
}

/* The peer knows of a record that was collected, whatever it says. */
static int be_behind(void *context, const struct bz_coverage *told, struct bz_arena *arena,
    struct bz_standing *out, blaze_error *error)
{
    static struct bz_dot gone = {0, 1};
    (void)context;
    (void)arena;
    (void)error;
    for (uint32_t i = 0; i < told->count; i++)
        assert_true(told->rows[i].vv.count == 0 || told->rows[i].vv.entries[0].seq > 0);
    compared.learnt++;
    *out = (struct bz_standing){
        .behind = compared.behind, .purged = compared.purged, .collected = {&gone, 1}};
    return 0;
}

static int collect_nothing(void *context, bool *more, blaze_error *error)
{
    (void)context;
    (void)error;
    *more = false;
    return 0;
}

/* The collection "notes" has three records here. */
static int list_three(void *context, const struct bz_range *range, struct bz_range_sum *out)
{
    (void)context;
    out->more = false;
    out->count = bz_bytes_equal(range->collection, bz_bytes_text("notes")) && range->whole ? 3 : 0;
    for (uint64_t i = 0; out->ids != NULL && i < out->count && i < out->max; i++)
        out->ids[i] = fake_id(i + 1);
    return 0;
}

static int count_removal(void *context, const struct bz_range *range, const blaze_id *there,
    uint32_t count, const struct bz_standing *standing, uint64_t *removed, blaze_error *error)
{
    (void)context;
    (void)range;
    (void)standing;
    (void)removed;
    (void)error;
    for (uint32_t i = 1; i < count; i++)
        assert_true(memcmp(&there[i - 1], &there[i], sizeof *there) < 0);
    compared.removals++;
    compared.there = count;
    return 0;
}

static int compared_all(
    void *context, uint64_t began, const struct bz_standing *standing, blaze_error *error)
{
    (void)began;
    (void)context;
    (void)standing;
    (void)error;
    return 0;
}

static struct bz_replica_ops comparing_ops;

/* A scene with a session that compares, open, and with what it says of replicas heard. */
static void begin_comparing(struct scene *s)
{
    compared = (struct compared){0};
    comparing_ops = fake_ops;
    comparing_ops.coverage_tell = tell_nothing;
    comparing_ops.coverage_mark = no_mark;
    comparing_ops.coverage_learn = be_behind;
    comparing_ops.collect = collect_nothing;
    comparing_ops.range_list = list_three;
    comparing_ops.range_compare = count_removal;
    comparing_ops.range_compared = compared_all;
    begin_scene(s);
    s->replica.ops = &comparing_ops;
    s->features |= BZ_FEATURE_RECONCILE;
    shake_hands(s, BZ_FRAME_CHANGES);
}

#define ID_A    "aaaaaaaaaaaaaaaa"
#define ID_B    "bbbbbbbbbbbbbbbb"
#define LAST    "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"
#define DIGEST  "0123456789abcdef"
#define STAMP   "\0\0\0\0\0\0\0\0"
#define ENDLESS "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f"
#define WORDS(text)                                                                                \
    {                                                                                              \
        (const uint8_t *)(text), sizeof(text) - 1                                                  \
    }

struct words {
    const char *what;
    uint8_t type;
    struct bz_bytes payload;
    int code;
};

static const struct words told[] = {
    {"nobody", BZ_FRAME_COVERED, WORDS("\0\0\0" STAMP "\0"), 0},
    {"flags that nobody knows", BZ_FRAME_COVERED, WORDS("\xfe\0\0" STAMP "\0"), 0},
    {"two nodes and a row", BZ_FRAME_COVERED,
        WORDS("\0\2" ID_A "\5" ID_B "\6\1\1\3" STAMP "\1" ID_A "\0\0\1\0\4"), 0},
    {"nothing", BZ_FRAME_COVERED, WORDS(""), BLAZE_EPROTO},
    {"a table that is cut off", BZ_FRAME_COVERED, WORDS("\0\2" ID_A "\5" ID_B), BLAZE_EPROTO},
    {"a table without end", BZ_FRAME_COVERED, WORDS("\0" ENDLESS ID_A "\5"), BLAZE_EPROTO},
    {"a table out of order", BZ_FRAME_COVERED, WORDS("\0\2" ID_B "\5" ID_A "\5\0" STAMP "\0"),
        BLAZE_EPROTO},
    {"a node twice", BZ_FRAME_COVERED, WORDS("\0\2" ID_A "\5" ID_A "\5\0" STAMP "\0"),
        BLAZE_EPROTO},
    {"more differences than nodes", BZ_FRAME_COVERED, WORDS("\0\1" ID_A "\5\2\0\1\0\1" STAMP "\0"),
        BLAZE_EPROTO},
    {"a difference beyond the table", BZ_FRAME_COVERED, WORDS("\0\1" ID_A "\5\1\1\1" STAMP "\0"),
        BLAZE_EPROTO},
    {"a difference far beyond it", BZ_FRAME_COVERED,
        WORDS("\0\1" ID_A "\5\1" ENDLESS "\1" STAMP "\0"), BLAZE_EPROTO},
    {"66 rows", BZ_FRAME_COVERED, WORDS("\0\0\0" STAMP "\x42"), BLAZE_EPROTO},
    {"rows without end", BZ_FRAME_COVERED, WORDS("\0\0\0" STAMP ENDLESS), BLAZE_EPROTO},
    {"a row that is cut off", BZ_FRAME_COVERED, WORDS("\0\0\0" STAMP "\1" ID_A "\0"), BLAZE_EPROTO},

    {"all of a collection", BZ_FRAME_RANGES, WORDS("\5notes\1" ID_A "\1" LAST "\0" DIGEST), 0},
    {"a collection of no name here", BZ_FRAME_RANGES, WORDS("\5other\1" ID_A "\1" LAST "\0" DIGEST),
        0},
    {"nothing", BZ_FRAME_RANGES, WORDS(""), BLAZE_EPROTO},
    {"no name", BZ_FRAME_RANGES, WORDS("\0\1" ID_A "\1" LAST "\0" DIGEST), BLAZE_EPROTO},
    {"no range", BZ_FRAME_RANGES, WORDS("\5notes\1" ID_A "\0"), BLAZE_EPROTO},
    {"65 ranges", BZ_FRAME_RANGES, WORDS("\5notes\1" ID_A "\x41" LAST "\0" DIGEST), BLAZE_EPROTO},
    {"fewer than it says", BZ_FRAME_RANGES, WORDS("\5notes\1" ID_A "\2" ID_B "\0" DIGEST),
        BLAZE_EPROTO},
    {"out of order", BZ_FRAME_RANGES,
        WORDS("\5notes\1" ID_A "\2" ID_B "\0" DIGEST ID_A "\0" DIGEST), BLAZE_EPROTO},
    {"one range twice", BZ_FRAME_RANGES,
        WORDS("\5notes\1" ID_A "\2" ID_B "\0" DIGEST ID_B "\0" DIGEST), BLAZE_EPROTO},
    {"before where it begins", BZ_FRAME_RANGES, WORDS("\5notes\0" ID_B "\1" ID_A "\0" DIGEST),
        BLAZE_EPROTO},
    {"after the last id", BZ_FRAME_RANGES, WORDS("\5notes\0" LAST "\1" LAST "\0" DIGEST),
        BLAZE_EPROTO},
    {"too many records", BZ_FRAME_RANGES, WORDS("\5notes\1" ID_A "\1" LAST "\x81\x08" DIGEST),
        BLAZE_EPROTO},
    {"a digest that is cut off", BZ_FRAME_RANGES,
        WORDS("\5notes\1" ID_A "\1" LAST "\0"
              "0123"),
        BLAZE_EPROTO},

    {"an answer to nothing", BZ_FRAME_ITEMS, WORDS("\1\0"), BLAZE_EPROTO},
};

static void send_words(struct scene *s, uint8_t type, struct bz_bytes payload)
{
    bz_buf_append(&s->out, payload.data, payload.size);
    send_frame(s, type);
}

static void what_is_told_of_replicas_and_compared_is_checked(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof told / sizeof *told; i++) {
        struct scene s;
        begin_comparing(&s);
        send_words(&s, told[i].type, told[i].payload);
        if (status_of(&s).code != told[i].code)
            print_message("%s\n", told[i].what);
        if (told[i].code == 0)
            assert_int_not_equal(status_of(&s).phase, BZ_SESSION_CLOSED);
        else
            assert_ended(&s, told[i].code);
        assert_int_equal(
            compared.learnt, 1 + (told[i].code == 0 && told[i].type == BZ_FRAME_COVERED));
        assert_int_equal(compared.removals, 0);
        end_scene(&s);
    }
}

/* Who has not said that it compares may not. */
static void comparing_without_having_agreed_on_it_ends_the_session(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof told / sizeof *told; i++) {
        struct scene s;
        begin_scene(&s);
        shake_hands(&s, BZ_FRAME_CHANGES);
        send_words(&s, told[i].type, told[i].payload);
        assert_ended(&s, BLAZE_EPROTO);
        end_scene(&s);
    }
}

/* The session asks for one range that is a whole collection. */
static void expect_ranges(struct scene *s)
{
    struct bz_buf payload;
    uint8_t type = 0;
    struct bz_bytes bytes;
    size_t size;
    bz_buf_init(&payload, 1u << 20);
    while (bz_frame_peek(bz_session_output(s->session), &type, &bytes, &size) == 0 && size > 0) {
        if (type == BZ_FRAME_RANGES)
            break;
        bz_session_sent(s->session, size);
    }
    assert_int_equal(type, BZ_FRAME_RANGES);
    expect_frame(s, BZ_FRAME_RANGES, &payload);
    assert_memory_equal(payload.data, "\5notes\1", 7);
    bz_buf_release(&payload);
}

/* It is behind, and does so. */
static void be_asked(struct scene *s)
{
    begin_comparing(s);
    compared.behind = true;
    send_words(s, BZ_FRAME_COVERED, told[0].payload);
    expect_ranges(s);
}

static void answers_that_cannot_be_end_the_session_and_remove_nothing(void **state)
{
    (void)state;
    static const struct words answers[] = {
        {"equal", 0, WORDS("\1\0"), 0},
        {"a list", 0, WORDS("\1\1\2" ID_A ID_B), 0},
        {"an empty list", 0, WORDS("\1\1\0"), 0},
        {"a part", 0, WORDS("\1\2" ID_B "\1" ID_A), 0},
        {"nothing", 0, WORDS(""), BLAZE_EPROTO},
        {"no range", 0, WORDS("\0"), BLAZE_EPROTO},
        {"more ranges than asked for", 0, WORDS("\2\0\0"), BLAZE_EPROTO},
        {"ranges without end", 0, WORDS(ENDLESS "\0"), BLAZE_EPROTO},
        {"of no kind", 0, WORDS("\1\3"), BLAZE_EPROTO},
        {"ids out of order", 0, WORDS("\1\1\2" ID_B ID_A), BLAZE_EPROTO},
        {"an id twice", 0, WORDS("\1\1\2" ID_A ID_A), BLAZE_EPROTO},
        {"fewer than it says", 0, WORDS("\1\1\3" ID_A ID_B), BLAZE_EPROTO},
        {"more than a list may have", 0, WORDS("\1\1\x81\x40" ID_A), BLAZE_EPROTO},
        {"a list without end", 0, WORDS("\1\1" ENDLESS ID_A), BLAZE_EPROTO},
        {"a part with an id beyond it", 0, WORDS("\1\2" ID_A "\1" ID_B), BLAZE_EPROTO},
        {"a part that is cut off", 0,
            WORDS("\1\2"
                  "aaaa"),
            BLAZE_EPROTO},
    };
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        struct scene s;
        be_asked(&s);
        send_words(&s, BZ_FRAME_ITEMS, answers[i].payload);
        if (status_of(&s).code != answers[i].code)
            print_message("%s\n", answers[i].what);
        if (answers[i].code != 0) {
            assert_ended(&s, answers[i].code);
            assert_int_equal(compared.removals, 0);
        } else {
            assert_int_not_equal(status_of(&s).phase, BZ_SESSION_CLOSED);
            assert_int_equal(compared.removals, i > 0);
            /* Answered twice, if it was answered in full: nothing more was asked. */
            send_words(&s, BZ_FRAME_ITEMS, answers[i].payload);
            if (i < 3)
                assert_ended(&s, BLAZE_EPROTO);
        }
        end_scene(&s);
    }
}

/* However often it is told the same, a session compares once. */
static void a_session_compares_once(void **state)
{
    (void)state;
    struct scene s;
    be_asked(&s);
    send_words(&s, BZ_FRAME_ITEMS, (struct bz_bytes)WORDS("\1\0"));
    for (int i = 0; i < 20; i++) {
        bz_session_sent(s.session, bz_session_output(s.session).size);
        send_words(&s, BZ_FRAME_COVERED, told[0].payload);
        assert_int_not_equal(status_of(&s).phase, BZ_SESSION_CLOSED);
        uint8_t type = 0;
        struct bz_bytes payload;
        size_t size;
        while (
            bz_frame_peek(bz_session_output(s.session), &type, &payload, &size) == 0 && size > 0) {
            assert_int_not_equal(type, BZ_FRAME_RANGES);
            bz_session_sent(s.session, size);
        }
    }
    end_scene(&s);
}

/* The peer did not have the records when it told what had been collected, and by its head it has.
 */
static void a_head_that_reaches_what_was_collected_is_compared_first(void **state)
{
    (void)state;
    static struct bz_dot collected = {1, 3};
    struct scene s;
    struct bz_buf body;
    begin_comparing(&s);
    compared.purged = (struct bz_vv){&collected, 1};
    send_words(&s, BZ_FRAME_COVERED, told[0].payload);
    define_usual(&s);
    bz_buf_init(&body, 1000);
    body_into(&s, &body);
    bz_head_append(&body, &(struct bz_body_head){0}, 1);
    bz_head_append_entry(&body, (struct bz_dot){5, 3});
    send_chunk(&s, (struct bz_chunk){.from = 0, .to = 1, .body = bz_buf_bytes(&body)});
    expect_ranges(&s);
    bz_buf_release(&body);
    end_scene(&s);
}

/* What is told while it compares has it begin once more, as soon as it has come to the end, and not
 * only when something else happens. */
static void a_comparison_that_must_be_repeated_is_begun_at_once(void **state)
{
    (void)state;
    struct scene s;
    be_asked(&s);
    send_words(&s, BZ_FRAME_COVERED, told[0].payload);
    send_words(&s, BZ_FRAME_ITEMS, (struct bz_bytes)WORDS("\1\0"));
    expect_ranges(&s);
    end_scene(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_told_of_replicas_and_compared_is_checked),
        cmocka_unit_test(comparing_without_having_agreed_on_it_ends_the_session),
        cmocka_unit_test(answers_that_cannot_be_end_the_session_and_remove_nothing),
        cmocka_unit_test(a_session_compares_once),
        cmocka_unit_test(a_head_that_reaches_what_was_collected_is_compared_first),
        cmocka_unit_test(a_comparison_that_must_be_repeated_is_begun_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
