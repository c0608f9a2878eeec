/* SPDX-License-Identifier: Apache-2.0 */

/* Group `codec`: how small a record becomes, and how fast it is written and read. */

#include "codec.h"

#include "bench.h"

#include <stdlib.h>

#define RECORDS_MAX 200000 /* a codec does not care how many records there are */
#define CODECS      5

static const struct bench_codec *const codecs[CODECS] = {&bench_codec_blaze, &bench_codec_json,
    &bench_codec_msgpack, &bench_codec_cbor, &bench_codec_bson};

/* One codec with all records encoded, one behind the other. */
struct work {
    const struct bench_codec *codec;
    void *state;
    const struct bench_records *records;
    struct bz_buf encoded;
    size_t *ends;
    size_t field;
    uint64_t sum; /* of the last decode or field run */
    bool summed;
};

static struct bz_bytes encoded_record(const struct work *w, size_t i)
{
    size_t begin = i > 0 ? w->ends[i - 1] : 0;
    return bz_bytes(w->encoded.data + begin, w->ends[i] - begin);
}

static double run_encode(void *context)
{
    struct work *w = context;
    bz_buf_clear(&w->encoded);
    double start = bench_now();
    for (size_t i = 0; i < w->records->count; i++) {
        w->codec->encode(w->state, &w->records->items[i], &w->encoded);
        w->ends[i] = w->encoded.size;
    }
    double seconds = bench_now() - start;
    if (w->encoded.error != 0)
        bench_die("%s: out of memory", w->codec->name);
    return (double)w->records->count / seconds;
}

static double run_decode(void *context)
{
    struct work *w = context;
    uint64_t sum = 0;
    double start = bench_now();
    for (size_t i = 0; i < w->records->count; i++)
        sum += w->codec->decode(w->state, encoded_record(w, i));
    double seconds = bench_now() - start;
    w->sum = sum;
    return (double)w->records->count / seconds;
}

static double run_field(void *context)
{
    struct work *w = context;
    uint64_t sum = 0;
    double start = bench_now();
    for (size_t i = 0; i < w->records->count; i++)
        sum += w->codec->field(w->state, encoded_record(w, i), w->field);
    double seconds = bench_now() - start;
    w->sum = sum;
    return (double)w->records->count / seconds;
}

static double run_size(void *context)
{
    struct work *w = context;
    return (double)w->encoded.size / (double)w->records->count;
}

static void measure(struct bench *bench, struct work *works, const char *what, const char *unit,
    double (*run)(void *context), const struct bench_goal *goals, bool size)
{
    char name[64];
    snprintf(name, sizeof name, "%s: %s", works[0].records->schema->name, what);
    struct bench_row row = {"codec", name, unit, works[0].records->count, size, size, {{0}}};
    for (size_t i = 0; goals != NULL && i < 2; i++)
        row.goals[i] = goals[i];
    struct bench_contestant contestants[CODECS];
    for (size_t i = 0; i < CODECS; i++)
        contestants[i] = (struct bench_contestant){
            codecs[i]->name, i == 0 ? BENCH_OURS : BENCH_PEER, codecs[i]->missing, run, &works[i]};
    bench_measure(bench, &row, contestants, CODECS);
}

/* All codecs must have read the same. */
static void check_sums(const struct work *works, const char *what)
{
    for (size_t i = 1; i < CODECS; i++)
        if (codecs[i]->missing == NULL && works[i].sum != works[0].sum)
            bench_die("%s and %s disagree on %s", codecs[i]->name, codecs[0]->name, what);
}

static void measure_records(struct bench *bench, const struct bench_records *records, size_t field)
{
    static const struct bench_goal size_goals[2] = {{BENCH_BEST_PEER, 1, 0}, {"json", 0.47, 0}};
    static const struct bench_goal field_goals[2] = {{"json", 10, 0}};
    struct work works[CODECS];
    for (size_t i = 0; i < CODECS; i++) {
        works[i] = (struct work){.codec = codecs[i], .records = records, .field = field};
        bz_buf_init(&works[i].encoded, (size_t)1 << 32);
        works[i].ends = calloc(records->count, sizeof *works[i].ends);
        if (works[i].ends == NULL)
            bench_die("out of memory");
        if (codecs[i]->missing == NULL)
            works[i].state = codecs[i]->open(records->schema);
    }
    measure(bench, works, "encode", "records/s", run_encode, NULL, false);
    measure(bench, works, "bytes a record", "bytes", run_size, size_goals, true);
    measure(bench, works, "decode", "records/s", run_decode, NULL, false);
    if (bench->row == NULL && !bench->without_peers)
        check_sums(works, "a decoded record");
    measure(bench, works, "one field", "records/s", run_field, field_goals, false);
    if (bench->row == NULL && !bench->without_peers)
        check_sums(works, "one field");
    for (size_t i = 0; i < CODECS; i++) {
        if (codecs[i]->missing == NULL)
            codecs[i]->close(works[i].state);
        bz_buf_release(&works[i].encoded);
        free(works[i].ends);
    }
}

static void round_codec(struct bench *bench, uint64_t n)
{
    struct bench_records records;
    bench_records_orders(&records, n);
    measure_records(bench, &records, ORDER_TOTAL);
    bench_records_release(&records);
    if (!bench_records_cities(&records, bench->cities, n)) {
        printf("    cities: missing: no cities.jsonl was found (--cities FILE)\n");
        return;
    }
    measure_records(bench, &records, 2);
    bench_records_release(&records);
}

void bench_codec(struct bench *bench)
{
    bench_rounds(bench, "codec", RECORDS_MAX, round_codec);
}
