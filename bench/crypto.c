/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Group `crypto`: what sealing for a blind hub costs. Sealing goes from a body as it lies in a
 * member's database to what the hub gets, names, padding and all; opening goes back, to a body in
 * the receiver's numbers. The limit is AES-256-GCM alone, of the same bodies as they lie in the
 * database, a nonce for each and one key, as `openssl speed -evp aes-256-gcm` does it.
 */

#include "bench.h"
#include "codec/doc.h"
#include "crypto/aead.h"
#include "crypto/record_seal.h"
#include "records.h"
#include "sync/form.h"

#include <stdlib.h>
#include <string.h>

#define RECORDS_MAX 100000u
#define MORE_SIZE   81u /* what a session authenticates with a body */

struct place {
    size_t at, size;
};

struct work {
    uint64_t n;
    struct blaze_names *names;
    struct bz_buf bodies, sealed, again, plain;
    struct place *body, *seal;
    struct bz_record_sealer *sealer;
    struct bz_aead *aead;
    struct bz_form out, in;
    struct bz_dictionaries dictionaries;
    blaze_id writer;
    uint8_t more[MORE_SIZE];
};

static void expect(int code)
{
    if (code != 0)
        bench_die("sealing failed: %s", blaze_error_string(code));
}

static struct bz_bytes bytes_at(const struct bz_buf *buf, struct place place)
{
    return bz_bytes(buf->data + place.at, place.size);
}

static int name_of(void *context, uint32_t number, struct bz_bytes *out)
{
    *out = bz_names_get(context, number);
    return 0;
}

static int number_of(void *context, struct bz_bytes name, uint32_t *out)
{
    return bz_names_find(context, name, out);
}

/* ---- the work ---- */

static void add_body(struct work *w, uint64_t i, blaze_doc *doc)
{
    struct bench_record record;
    char text[BENCH_TEXT_MAX];
    blaze_value value;
    bench_order(i, &record, text);
    bench_document(doc, &bench_orders, &record);
    expect(blaze_doc_value(doc, &value));
    size_t at = w->bodies.size;
    expect(bz_doc_intern(&w->bodies, &value, w->names));
    w->body[i] = (struct place){at, w->bodies.size - at};
}

static void seal_one(struct work *w, uint64_t i, struct bz_buf *out)
{
    size_t at = out->size;
    bz_store64le(w->more + 64, i + 1);
    expect(bz_form_write(&w->out, bytes_at(&w->bodies, w->body[i]), name_of, w->names, &w->plain));
    expect(bz_body_seal(
        w->sealer, &w->writer, bz_bytes(w->more, MORE_SIZE), bz_buf_bytes(&w->plain), out));
    w->seal[i] = (struct place){at, out->size - at};
}

static double run_seal(void *context)
{
    struct work *w = context;
    bz_buf_clear(&w->sealed);
    double start = bench_now();
    for (uint64_t i = 0; i < w->n; i++)
        seal_one(w, i, &w->sealed);
    return (double)w->n / (bench_now() - start);
}

static double run_open(void *context)
{
    struct work *w = context;
    double start = bench_now();
    for (uint64_t i = 0; i < w->n; i++) {
        struct bz_bytes body;
        bz_store64le(w->more + 64, i + 1);
        bz_buf_clear(&w->plain);
        expect(bz_body_open(w->sealer, &w->writer, bz_bytes(w->more, MORE_SIZE),
            bytes_at(&w->sealed, w->seal[i]), &w->plain));
        expect(bz_form_read(&w->in, bz_buf_bytes(&w->plain), number_of, w->names, &body));
        if (body.size != w->body[i].size)
            bench_die("a body came back otherwise");
    }
    return (double)w->n / (bench_now() - start);
}

static double run_limit(void *context)
{
    struct work *w = context;
    uint8_t nonce[BZ_AEAD_NONCE] = {0};
    bz_buf_clear(&w->again);
    uint8_t *out = bz_buf_reserve(&w->again, w->bodies.size + BZ_AEAD_TAG);
    if (out == NULL)
        bench_die("out of memory");
    double start = bench_now();
    for (uint64_t i = 0; i < w->n; i++) {
        bz_store64le(nonce, i);
        struct bz_bytes body = bytes_at(&w->bodies, w->body[i]);
        expect(bz_aead_seal(w->aead, nonce, bz_bytes(NULL, 0), body, out + w->body[i].at));
    }
    return (double)w->n / (bench_now() - start);
}

static double run_added(void *context)
{
    const struct work *w = context;
    return ((double)w->sealed.size - (double)w->bodies.size) / (double)w->n;
}

/* ---- the rows ---- */

static void begin(struct work *w, uint64_t n)
{
    static const struct bz_key content = {{1}}, name = {{2}};
    static const blaze_id database = {{3}};
    *w = (struct work){.n = n, .writer = {{4}}};
    blaze_doc *doc;
    expect(blaze_doc_new(&doc));
    expect(bz_names_new(&w->names));
    expect(bz_record_sealer_new(&w->sealer, &content, &name, &database));
    expect(bz_aead_new(&w->aead, content.bytes));
    bz_form_init(&w->out);
    bz_form_init(&w->in);
    bz_dictionaries_init(&w->dictionaries);
    struct bz_buf *buffers[] = {&w->bodies, &w->sealed, &w->again, &w->plain};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        bz_buf_init(buffers[i], (size_t)1 << 32);
    w->body = calloc(n, sizeof *w->body);
    w->seal = calloc(n, sizeof *w->seal);
    if (w->body == NULL || w->seal == NULL)
        bench_die("out of memory");
    for (uint64_t i = 0; i < n; i++)
        add_body(w, i, doc);
    blaze_doc_free(doc);
}

/* Trains a dictionary as a session does, which takes a thousand records. */
static bool learn(struct work *w)
{
    struct bz_dictionary *made = NULL;
    for (uint64_t i = 0; i < w->n && made == NULL; i++) {
        expect(
            bz_form_write(&w->out, bytes_at(&w->bodies, w->body[i]), name_of, w->names, &w->plain));
        expect(bz_dictionaries_sample(&w->dictionaries, bz_form_content(&w->out), &made));
    }
    w->out.dictionaries = w->in.dictionaries = &w->dictionaries;
    return made != NULL;
}

static void end(struct work *w)
{
    bz_names_unref(w->names);
    bz_record_sealer_free(w->sealer);
    bz_aead_free(w->aead);
    bz_form_release(&w->out);
    bz_form_release(&w->in);
    bz_dictionaries_release(&w->dictionaries);
    struct bz_buf *buffers[] = {&w->bodies, &w->sealed, &w->again, &w->plain};
    for (size_t i = 0; i < sizeof buffers / sizeof *buffers; i++)
        bz_buf_release(buffers[i]);
    free(w->body);
    free(w->seal);
}

static void measure(struct bench *bench, struct work *w, const char *how)
{
    static const char limit[] = "AES-256-GCM alone";
    char name[64];
    run_seal(w); /* what the other rows read */
    struct bench_row row = {"crypto", name, "records/s", w->n, .goals = {{limit, 0.5, 0}}};
    struct bench_contestant all[] = {
        {"blazedb", BENCH_OURS, NULL, run_seal, w}, {limit, BENCH_LIMIT, NULL, run_limit, w}};
    snprintf(name, sizeof name, "orders: seal%s", how);
    bench_measure(bench, &row, all, 2);
    snprintf(name, sizeof name, "orders: open%s", how);
    all[0].run = run_open;
    bench_measure(bench, &row, all, 2);
    snprintf(name, sizeof name, "orders: bytes added to a body%s", how);
    row =
        (struct bench_row){"crypto", name, "bytes/rec", w->n, .less_is_better = true, .once = true};
    all[0].run = run_added;
    bench_measure(bench, &row, all, 1);
}

static void round_crypto(struct bench *bench, uint64_t n)
{
    struct work w;
    begin(&w, n);
    measure(bench, &w, ", no dictionary yet");
    if (learn(&w))
        measure(bench, &w, "");
    end(&w);
}

void bench_crypto(struct bench *bench)
{
    bench_rounds(bench, "crypto", RECORDS_MAX, round_crypto);
}
