/* SPDX-License-Identifier: Apache-2.0 */
#include "crdt/rec.h"

#include "cmocka_all.h"

#include <blazedb/error.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

static struct bz_arena arena;

static int setup(void **state)
{
    (void)state;
    bz_arena_init(&arena);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    bz_arena_release(&arena);
    return 0;
}

/* ---- a record as a line of text: what the golden vectors are given in ---- */

static void print_hex(struct bz_buf *out, struct bz_bytes b)
{
    for (size_t i = 0; i < b.size; i++)
        bz_buf_printf(out, "%02x", b.data[i]);
}

static void print_members(struct bz_buf *out, const struct bz_cell *cell)
{
    for (uint32_t i = 0; i < cell->count; i++)
        bz_buf_printf(out, "%s%u", i == 0 ? "" : ",", cell->members[i]);
}

static void print_rec(struct bz_buf *out, const struct bz_rec *rec)
{
    bz_buf_printf(out, "rvv");
    for (uint32_t i = 0; i < rec->rvv.count; i++)
        bz_buf_printf(
            out, " %" PRIu32 ":%" PRIu64, rec->rvv.entries[i].node, rec->rvv.entries[i].seq);
    for (uint32_t i = 0; i < rec->write_count; i++) {
        const struct bz_write *w = &rec->writes[i];
        bz_buf_printf(out, "; write %" PRIu32 ":%" PRIu64 " %" PRIu64 ".%u %s %s%s at %" PRIu64,
            w->dot.node, w->dot.seq, w->stamp >> 16, (unsigned)(w->stamp & 0xffff),
            w->role == BZ_ROLE_SERVER ? "server" : "client", w->alive ? "alive" : "dead",
            w->resolved ? " resolved" : "", w->arrived);
        if (w->kind != 0)
            bz_buf_printf(out, " kind %" PRIu32, w->kind);
        bz_buf_printf(out, " <");
        print_hex(out, w->body);
        bz_buf_printf(out, ">");
    }
    if (rec->has_life) {
        bz_buf_printf(out, "; life ");
        print_members(out, &rec->life);
    }
    if (rec->has_rest) {
        bz_buf_printf(out, "; rest ");
        print_members(out, &rec->rest);
    }
    for (uint32_t i = 0; i < rec->cell_count; i++) {
        bz_buf_printf(out, "; field %" PRIu32 " ", rec->cells[i].field);
        print_members(out, &rec->cells[i]);
    }
}

static size_t from_hex(const char *hex, uint8_t *out, size_t max)
{
    size_t n = 0;
    for (; hex[0] != 0 && hex[1] != 0; hex += 2) {
        char two[3] = {hex[0], hex[1], 0}, *end;
        assert_true(n < max);
        out[n++] = (uint8_t)strtoul(two, &end, 16);
        assert_true(*end == 0);
    }
    assert_true(hex[0] == 0);
    return n;
}

/* ---- records to encode ---- */

static struct bz_write write_of(uint32_t node, uint64_t seq, const char *body)
{
    return (struct bz_write){.dot = {node, seq},
        .stamp = (uint64_t)1767225600000 << 16,
        .arrived = 9,
        .alive = true,
        .body = bz_bytes_text(body)};
}

static struct bz_rec put(const struct bz_rec *old, struct bz_write w)
{
    struct bz_rec rec;
    assert_int_equal(bz_rec_put(&arena, old, &w, &rec), 0);
    return rec;
}

static struct bz_bytes encoded(struct bz_buf *buf, const struct bz_rec *rec, uint64_t position)
{
    bz_buf_clear(buf);
    bz_rec_encode(buf, rec, position);
    assert_int_equal(buf->error, 0);
    return bz_buf_bytes(buf);
}

static void check_round_trip(const struct bz_rec *rec, uint64_t position)
{
    struct bz_buf buf, text, back;
    struct bz_rec decoded;
    bz_buf_init(&buf, 1 << 20);
    bz_buf_init(&text, 1 << 20);
    bz_buf_init(&back, 1 << 20);
    assert_int_equal(bz_rec_decode(&arena, encoded(&buf, rec, position), position, &decoded), 0);
    print_rec(&text, rec);
    print_rec(&back, &decoded);
    assert_true(text.error == 0 && back.error == 0);
    assert_true(bz_bytes_equal(bz_buf_bytes(&text), bz_buf_bytes(&back)));
    /* Every shorter string is refused, but for a whole form cut within its body. */
    struct bz_bytes body = bz_buf_bytes(&buf);
    size_t open_end = bz_rec_simple_body(bz_buf_bytes(&buf), &body) ? body.size : 0;
    for (size_t size = 0; size + open_end < buf.size; size++)
        assert_int_equal(
            bz_rec_decode(&arena, bz_bytes(buf.data, size), position, &decoded), BLAZE_ECORRUPT);
    bz_buf_release(&buf);
    bz_buf_release(&text);
    bz_buf_release(&back);
}

/* A record with siblings, cells, a tombstone and several nodes, all of which arrived by 9. */
static struct bz_rec rich(void)
{
    struct bz_write w = write_of(3, 1, "base");
    w.arrived = 3;
    struct bz_rec a = put(NULL, w), b, c, d;
    w = write_of(300, 70000, "ab");
    uint32_t fields[] = {0, 7, 1000000};
    assert_int_equal(bz_rec_update(&arena, &a, &w, fields, 3, &b), 0);
    w = write_of(70000, 5, "xy");
    w.role = BZ_ROLE_SERVER;
    w.stamp += 65535;
    w.arrived = 4;
    assert_int_equal(bz_rec_update(&arena, &a, &w, fields, 2, &c), 0);
    bool changed, subsumed;
    assert_int_equal(bz_rec_merge(&arena, &b, &c, 4, &d, &changed, &subsumed), 0);
    w = write_of(3, 2, "");
    w.alive = false;
    w.arrived = 2;
    assert_int_equal(bz_rec_delete(&arena, &c, &w, &a), 0);
    assert_int_equal(bz_rec_merge(&arena, &d, &a, 2, &b, &changed, &subsumed), 0);
    assert_int_equal(b.cells[0].count, 2);
    assert_int_equal(b.life.count, 2);
    return b;
}

static struct bz_rec on_wire(struct bz_rec rec)
{
    struct bz_write *writes = bz_arena_alloc(&arena, rec.write_count * sizeof *writes);
    assert_non_null(writes);
    for (uint32_t i = 0; i < rec.write_count; i++) {
        writes[i] = rec.writes[i];
        writes[i].arrived = 0;
    }
    rec.writes = writes;
    return rec;
}

static void records_of_every_kind_come_back_as_they_were(void **state)
{
    (void)state;
    struct bz_rec rec = put(NULL, write_of(0, 1, "body")), wire;
    check_round_trip(&rec, 9);
    check_round_trip(&rec, 10);
    rec = put(&rec, write_of(0, UINT64_MAX, ""));
    check_round_trip(&rec, 9);
    rec = put(&rec, write_of(UINT32_MAX, 17, "other"));
    check_round_trip(&rec, 9);
    rec = put(&rec, write_of(5, 1, "third"));
    rec.writes[0].role = BZ_ROLE_SERVER;
    rec.writes[0].stamp = UINT64_MAX;
    check_round_trip(&rec, UINT64_MAX);
    wire = on_wire(rec);
    check_round_trip(&wire, 0);
    rec = rich();
    check_round_trip(&rec, 9);
    check_round_trip(&rec, 10);
    wire = on_wire(rec);
    check_round_trip(&wire, 0);
    struct bz_rec part;
    assert_int_equal(bz_rec_since(&arena, &rec, 4, &part), 0);
    assert_true(!part.has_rest && part.has_life && part.cell_count == 3);
    part = on_wire(part);
    check_round_trip(&part, 0);
}

static void a_plain_record_costs_nine_bytes_over_its_body(void **state)
{
    (void)state;
    struct bz_buf buf;
    struct bz_bytes body;
    bz_buf_init(&buf, 1000);
    struct bz_rec rec = put(NULL, write_of(1, 100, "a body"));
    assert_int_equal(encoded(&buf, &rec, 9).size, 9 + 6);
    assert_true(bz_rec_simple_body(bz_buf_bytes(&buf), &body));
    assert_true(bz_bytes_equal(body, bz_bytes_text("a body")));
    rec = put(NULL, write_of(1, 100, ""));
    assert_false(bz_rec_simple_body(encoded(&buf, &rec, 9), &body));
    rec = rich();
    assert_false(bz_rec_simple_body(encoded(&buf, &rec, 9), &body));
    bz_buf_release(&buf);
}

static void the_body_of_a_stored_record_is_found_whatever_stands_before_it(void **state)
{
    (void)state;
    struct bz_buf buf;
    struct bz_bytes body;
    bz_buf_init(&buf, 1000);
    struct bz_rec rec = put(NULL, write_of(7, 1, "one"));
    rec = put(&rec, write_of(300, 2, "two"));
    rec = put(&rec, write_of(5, 1 << 20, "three"));
    rec.writes[0].stamp++;
    rec.writes[0].role = BZ_ROLE_SERVER;
    encoded(&buf, &rec, 1000);
    assert_true(bz_rec_simple_body(bz_buf_bytes(&buf), &body));
    assert_true(bz_bytes_equal(body, bz_bytes_text("three")));
    for (size_t size = 0; size < buf.size - 5; size++)
        assert_false(bz_rec_simple_body(bz_bytes(buf.data, size), &body));
    bz_buf_release(&buf);
}

static void a_failed_decode_leaves_its_result_alone(void **state)
{
    (void)state;
    struct bz_rec rec = {.write_count = 77};
    assert_int_equal(bz_rec_decode(&arena, bz_bytes("\x01", 1), 0, &rec), BLAZE_ECORRUPT);
    assert_int_equal(rec.write_count, 77);
}

static void a_buffer_that_is_too_small_says_so(void **state)
{
    (void)state;
    struct bz_rec rec = rich();
    struct bz_buf buf;
    for (size_t max = 0; max < 60; max++) {
        bz_buf_init(&buf, max);
        bz_rec_encode(&buf, &rec, 9);
        assert_int_equal(buf.error, BLAZE_ELIMIT);
        bz_buf_release(&buf);
    }
}

/* ---- limits ---- */

static void append_many_dots(struct bz_buf *buf, uint32_t count)
{
    bz_buf_append_varint(buf, count);
    for (uint32_t i = 0; i < count; i++)
        bz_buf_append(buf, "\0\1", 2);
}

static void more_nodes_than_the_limit_are_refused(void **state)
{
    (void)state;
    struct bz_buf buf;
    struct bz_rec rec;
    bz_buf_init(&buf, 1 << 20);
    for (uint32_t over = 0; over < 2; over++) {
        bz_buf_clear(&buf);
        bz_buf_append8(&buf, 0x01);
        append_many_dots(&buf, BZ_REC_MAX_NODES + over);
        bz_buf_append(&buf, "\0\0", 2);
        assert_int_equal(
            bz_rec_decode(&arena, bz_buf_bytes(&buf), 0, &rec), over ? BLAZE_ELIMIT : BLAZE_OK);
        bz_buf_clear(&buf);
        bz_buf_append(&buf, "\x10\xff\xff\x7f\x01\0\0\0\0\0\0", 11);
        append_many_dots(&buf, BZ_REC_MAX_NODES - 1 + over);
        assert_int_equal(
            bz_rec_decode(&arena, bz_buf_bytes(&buf), 0, &rec), over ? BLAZE_ELIMIT : BLAZE_OK);
    }
    bz_buf_release(&buf);
}

static void more_cells_than_the_limit_are_refused(void **state)
{
    (void)state;
    struct bz_buf buf;
    struct bz_rec rec;
    bz_buf_init(&buf, 1 << 20);
    for (uint32_t over = 0; over < 2; over++) {
        bz_buf_clear(&buf);
        bz_buf_append(&buf, "\x01\x01\0\1\x01\0\0\0\0\0\0\0\0\0\0", 15);
        bz_buf_append_varint(&buf, BZ_REC_MAX_CELLS + over);
        for (uint32_t i = 0; i < BZ_REC_MAX_CELLS + over; i++)
            bz_buf_append(&buf, "\0\1\0", 3);
        assert_int_equal(
            bz_rec_decode(&arena, bz_buf_bytes(&buf), 0, &rec), over ? BLAZE_ELIMIT : BLAZE_OK);
    }
    assert_int_equal(rec.cell_count, BZ_REC_MAX_CELLS);
    bz_buf_release(&buf);
}

static void more_members_than_the_limit_are_refused(void **state)
{
    (void)state;
    enum { DEEP = 1024, SAME = BZ_REC_MAX_MEMBERS / DEEP };
    struct bz_buf buf;
    struct bz_rec rec;
    bz_buf_init(&buf, 8 << 20);
    for (uint32_t over = 0; over < 2; over++) {
        bz_buf_clear(&buf);
        bz_buf_append8(&buf, 0x01);
        append_many_dots(&buf, DEEP);
        bz_buf_append_varint(&buf, DEEP);
        for (uint32_t i = 0; i < DEEP; i++)
            bz_buf_append(&buf, i == 0 ? "\0\0\0\0\0\0\0\0\0\0" : "\0\1\0\0\0\0\0\0\0\0", 10);
        bz_buf_append_varint(&buf, SAME + over);
        for (uint32_t cell = 0; cell < SAME + over; cell++) {
            bz_buf_append8(&buf, 0);
            bz_buf_append_varint(&buf, DEEP);
            for (uint32_t i = 0; i < DEEP; i++)
                bz_buf_append8(&buf, 0);
        }
        assert_int_equal(
            bz_rec_decode(&arena, bz_buf_bytes(&buf), 0, &rec), over ? BLAZE_ELIMIT : BLAZE_OK);
    }
    bz_buf_release(&buf);
}

/* ---- the golden vectors ---- */

/*
 * Lines of "good | name | position | hex | record", "bad | why | position | hex" and
 * "digest | id | node:seq ... | hash".
 */
static void check_good(char *fields[5], struct bz_buf *text, struct bz_buf *back)
{
    uint8_t bytes[1024];
    size_t size = from_hex(fields[3], bytes, sizeof bytes);
    uint64_t position = strtoull(fields[2], NULL, 10);
    struct bz_rec rec;
    assert_int_equal(bz_rec_decode(&arena, bz_bytes(bytes, size), position, &rec), 0);
    bz_buf_clear(text);
    print_rec(text, &rec);
    if (!bz_bytes_equal(bz_buf_bytes(text), bz_bytes_text(fields[4])))
        fail_msg("%s: decoded as %.*s", fields[1], (int)text->size, (const char *)text->data);
    bz_buf_clear(back);
    bz_rec_encode(back, &rec, position);
    assert_true(bz_bytes_equal(bz_buf_bytes(back), bz_bytes(bytes, size)));
}

static void check_bad(char *fields[5])
{
    uint8_t bytes[1024];
    size_t size = from_hex(fields[3], bytes, sizeof bytes);
    struct bz_rec rec;
    int rc = bz_rec_decode(&arena, bz_bytes(bytes, size), strtoull(fields[2], NULL, 10), &rec);
    if (rc != BLAZE_ECORRUPT)
        fail_msg("%s: gave %d", fields[1], rc);
}

static void check_digest(char *fields[5])
{
    enum { MAX = 8 };
    blaze_id ids[MAX], id;
    struct bz_write writes[MAX];
    uint16_t members[MAX];
    uint8_t hash[16];
    struct bz_rec rec = {.writes = writes, .has_life = true, .has_rest = true};
    char *rest = NULL;
    for (char *dot = strtok_r(fields[2], " ", &rest); dot; dot = strtok_r(NULL, " ", &rest)) {
        uint32_t n = rec.write_count++;
        char *colon = strchr(dot, ':');
        assert_true(n < MAX && colon != NULL);
        *colon = 0;
        assert_int_equal(from_hex(dot, ids[n].bytes, 16), 16);
        writes[n] = (struct bz_write){.dot = {n, strtoull(colon + 1, NULL, 10)}, .alive = true};
        members[n] = (uint16_t)n;
    }
    rec.life = rec.rest = (struct bz_cell){.count = rec.write_count, .members = members};
    assert_int_equal(from_hex(fields[1], id.bytes, 16), 16);
    struct bz_nodes nodes = {ids, rec.write_count};
    struct bz_hash128 digest = bz_rec_digest(&rec, &id, &nodes);
    assert_int_equal(from_hex(fields[3], hash, 16), 16);
    if (digest.low != bz_load64le(hash) || digest.high != bz_load64le(hash + 8))
        fail_msg("%s: %016" PRIx64 " %016" PRIx64, fields[1], digest.low, digest.high);
}

static void the_golden_vectors_decode_and_encode_as_written(void **state)
{
    (void)state;
    FILE *file = fopen(BZ_SOURCE_DIR "/tests/vectors/record.txt", "r");
    assert_non_null(file);
    struct bz_buf text, back;
    bz_buf_init(&text, 1 << 16);
    bz_buf_init(&back, 1 << 16);
    char line[4096];
    size_t good = 0, bad = 0, digests = 0;
    while (fgets(line, sizeof line, file) != NULL) {
        char *fields[5], *at = line;
        line[strcspn(line, "\n")] = 0;
        if (line[0] == '#' || line[0] == 0)
            continue;
        for (size_t i = 0; i < 5; i++) {
            fields[i] = at;
            char *bar = strstr(at, " | ");
            if (bar != NULL)
                *bar = 0;
            at = bar != NULL ? bar + 3 : at + strlen(at);
        }
        if (strcmp(fields[0], "good") == 0) {
            check_good(fields, &text, &back);
            good++;
        } else if (strcmp(fields[0], "digest") == 0) {
            check_digest(fields);
            digests++;
        } else {
            assert_string_equal(fields[0], "bad");
            check_bad(fields);
            bad++;
        }
    }
    fclose(file);
    bz_buf_release(&text);
    bz_buf_release(&back);
    assert_true(good >= 10 && bad >= 20 && digests >= 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_of_every_kind_come_back_as_they_were),
        cmocka_unit_test(a_plain_record_costs_nine_bytes_over_its_body),
        cmocka_unit_test(the_body_of_a_stored_record_is_found_whatever_stands_before_it),
        cmocka_unit_test(a_failed_decode_leaves_its_result_alone),
        cmocka_unit_test(a_buffer_that_is_too_small_says_so),
        cmocka_unit_test(more_nodes_than_the_limit_are_refused),
        cmocka_unit_test(more_cells_than_the_limit_are_refused),
        cmocka_unit_test(more_members_than_the_limit_are_refused),
        cmocka_unit_test(the_golden_vectors_decode_and_encode_as_written),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
