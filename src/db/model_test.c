/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Random transactions against a plain model: documents, counts, savepoints, rollback, indexes and
 * finds, with the integrity check in between.
 */

#include "db/test_util.h"

#include "query/query.h"

#include <stdlib.h>

#define COLLECTIONS 3
#define IDS         30
#define FIELDS      5

static const char *const collection_names[COLLECTIONS] = {"cities", "people", "dinge\xc3\xa4"};
static const char *const field_names[FIELDS] = {"a", "b", "c", "d", "e"};

/* A field's value by kind and number; absent is one too. */
struct field {
    enum kind { ABSENT, INTEGER, DOUBLE, TEXT, LONG_TEXT, EMPTY, NESTED, KINDS } kind;
    uint32_t n;
};

struct document {
    bool alive;
    struct field fields[FIELDS];
};

struct model {
    struct document documents[COLLECTIONS][IDS];
};

#define MARKS 4

struct test {
    struct rng rng;
    struct world world;
    struct bz_db *db;
    struct model model;
    bool indexed[COLLECTIONS][FIELDS];
};

/* ---- values ---- */

static struct field random_field(struct rng *rng)
{
    return (struct field){(enum kind)rng_below(rng, KINDS), rng_below(rng, 6)};
}

/* Long texts agree in their first 300 bytes, past where index keys are cut. */
static void long_text(uint32_t n, char out[320])
{
    memset(out, 'l', 300);
    snprintf(out + 300, 20, "%u", n);
}

static void add_field(blaze_doc *doc, const char *name, struct field field)
{
    char text[320];
    switch (field.kind) {
    case INTEGER:
        blaze_doc_add_int(doc, name, (int64_t)field.n - 3);
        break;
    case DOUBLE:
        blaze_doc_add_double(doc, name, field.n * 0.5);
        break;
    case TEXT:
        snprintf(text, sizeof text, "t%u", field.n);
        blaze_doc_add_string(doc, name, text);
        break;
    case LONG_TEXT:
        long_text(field.n, text);
        blaze_doc_add_string(doc, name, text);
        break;
    case EMPTY:
        blaze_doc_add_null(doc, name);
        break;
    case NESTED:
        blaze_doc_begin_map(doc, name);
        blaze_doc_add_int(doc, "deep", field.n);
        blaze_doc_end(doc);
        break;
    default:
        break;
    }
}

static blaze_doc *document_of(const struct document *document, bool unset)
{
    blaze_doc *doc = NULL;
    assert_int_equal(blaze_doc_new(&doc), 0);
    for (unsigned f = 0; f < FIELDS; f++) {
        if (document->fields[f].kind != ABSENT)
            add_field(doc, field_names[f], document->fields[f]);
        else if (unset)
            blaze_doc_add_unset(doc, field_names[f]);
    }
    assert_int_equal(blaze_doc_check(doc), 0);
    return doc;
}

static void random_document(struct rng *rng, struct document *out)
{
    out->alive = true;
    for (unsigned f = 0; f < FIELDS; f++)
        out->fields[f] = random_field(rng);
}

/* ---- comparing ---- */

static void compare_document(
    struct bz_read *read, const struct document *wanted, const char *collection, const blaze_id *id)
{
    blaze_value have, want;
    int rc = bz_read_get(read, bz_bytes_text(collection), id, &have, NULL);
    assert_int_equal(rc, wanted->alive ? 0 : BLAZE_ENOTFOUND);
    assert_int_equal(bz_read_exists(read, bz_bytes_text(collection), id, NULL), rc);
    if (rc != 0)
        return;
    blaze_doc *doc = document_of(wanted, false);
    assert_int_equal(blaze_doc_value(doc, &want), 0);
    assert_int_equal(blaze_value_compare(&have, &want), 0);
    blaze_doc_free(doc);
}

static void compare_all(const struct test *t, struct bz_read *read)
{
    struct bz_db_state state;
    uint64_t total = 0;
    for (unsigned c = 0; c < COLLECTIONS; c++) {
        uint64_t alive = 0, count = 0;
        for (uint32_t i = 0; i < IDS; i++) {
            blaze_id id = id_of(i);
            compare_document(read, &t->model.documents[c][i], collection_names[c], &id);
            alive += t->model.documents[c][i].alive;
        }
        must(bz_read_count(read, bz_bytes_text(collection_names[c]), &count, error));
        assert_int_equal(count, alive);
        total += alive;
    }
    must(bz_read_state(read, &state, error));
    assert_int_equal(state.records, total);
}

static void compare_snapshot(const struct test *t)
{
    struct bz_read *read = NULL;
    must(bz_read_begin(t->db, &read, error));
    compare_all(t, read);
    bz_read_end(read);
}

/* ---- finding ---- */

/* The model's answer: the ids that match, sorted. */
struct answer {
    uint32_t ids[IDS];
    uint32_t count;
};

struct sorting {
    const struct document *documents;
    int field; /* -1: by id */
    bool descending;
};
static struct sorting sorting;

static int compare_rows(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    int order = (x > y) - (x < y);
    if (sorting.field >= 0) {
        blaze_doc *docs[] = {
            document_of(&sorting.documents[x], false), document_of(&sorting.documents[y], false)};
        blaze_value maps[2], values[2];
        bool have[2];
        for (int i = 0; i < 2; i++) {
            assert_int_equal(blaze_doc_value(docs[i], &maps[i]), 0);
            have[i] = blaze_value_field(&maps[i], field_names[sorting.field], &values[i]) == 0;
        }
        int by_value =
            have[0] && have[1] ? blaze_value_compare(&values[0], &values[1]) : have[0] - have[1];
        order = by_value != 0 ? by_value : order;
        blaze_doc_free(docs[0]);
        blaze_doc_free(docs[1]);
    }
    return sorting.descending ? -order : order;
}

static void answer_of(const struct document *documents, const struct bz_filter *filter, int field,
    bool descending, struct answer *out)
{
    out->count = 0;
    for (uint32_t i = 0; i < IDS; i++) {
        if (!documents[i].alive)
            continue;
        blaze_value value;
        blaze_id id = id_of(i);
        blaze_doc *doc = document_of(&documents[i], false);
        assert_int_equal(blaze_doc_value(doc, &value), 0);
        if (filter == NULL || bz_filter_match(filter, &id, &value))
            out->ids[out->count++] = i;
        blaze_doc_free(doc);
    }
    sorting = (struct sorting){documents, field, descending};
    qsort(out->ids, out->count, sizeof out->ids[0], compare_rows);
}

static struct bz_filter *random_filter(struct rng *rng)
{
    char text[600], value[400] = "1", long_value[320];
    struct bz_filter *filter = NULL;
    const char *field = field_names[rng_below(rng, FIELDS)];
    static const char *const operators[] = {"=", "!=", "<", "<=", ">", ">="};
    long_text(rng_below(rng, 6), long_value);
    switch (rng_below(rng, 4)) {
    case 0:
        snprintf(value, sizeof value, "%d", (int)rng_below(rng, 6) - 3);
        break;
    case 1:
        snprintf(value, sizeof value, "\"t%u\"", rng_below(rng, 6));
        break;
    case 2:
        snprintf(value, sizeof value, "\"%s\"", long_value);
        break;
    default:
        break;
    }
    switch (rng_below(rng, 8)) {
    case 0:
        return NULL;
    case 1:
        snprintf(text, sizeof text, "exists %s", field);
        break;
    case 2:
        snprintf(text, sizeof text, "%s in [%s, 1, \"t1\", null]", field, value);
        break;
    case 3:
        snprintf(text, sizeof text, "%s starts \"t\" or %s > %s", field, field, value);
        break;
    case 4:
        snprintf(text, sizeof text, "not (%s.deep >= 2) and %s <= %s", field,
            field_names[rng_below(rng, FIELDS)], value);
        break;
    default:
        snprintf(text, sizeof text, "%s %s %s", field, operators[rng_below(rng, 6)], value);
    }
    must(bz_filter_parse(&filter, bz_bytes_text(text), error));
    return filter;
}

static void expect_rows(struct bz_read *read, const struct bz_find *find,
    const struct document *documents, const struct answer *answer)
{
    struct bz_rows *rows = NULL;
    blaze_id id;
    blaze_value have, want;
    uint64_t from = find->offset < answer->count ? find->offset : answer->count;
    uint64_t n = answer->count - from;
    if (find->limit != 0 && find->limit < n)
        n = find->limit;
    must(bz_read_find(read, find, &rows, error));
    for (uint64_t i = 0; i < n; i++) {
        uint32_t wanted = answer->ids[from + i];
        blaze_id wanted_id = id_of(wanted);
        must(bz_rows_next(rows, &id, &have, error));
        assert_memory_equal(&id, &wanted_id, sizeof id);
        blaze_doc *doc = document_of(&documents[wanted], false);
        assert_int_equal(blaze_doc_value(doc, &want), 0);
        assert_int_equal(blaze_value_compare(&have, &want), 0);
        blaze_doc_free(doc);
    }
    assert_int_equal(bz_rows_next(rows, &id, &have, NULL), BLAZE_END);
    bz_rows_close(rows);
    uint64_t count = 0;
    must(bz_read_find_count(read, find, &count, error));
    assert_int_equal(count, n);
}

static void random_find(struct test *t, struct bz_read *read)
{
    unsigned c = rng_below(&t->rng, COLLECTIONS);
    int field = (int)rng_below(&t->rng, FIELDS + 2) - 2;
    struct bz_filter *filter = random_filter(&t->rng);
    struct answer answer;
    struct bz_find find = {
        .collection = bz_bytes_text(collection_names[c]),
        .filter = filter,
        .sort = field >= 0 ? field_names[field] : NULL,
        .descending = rng_below(&t->rng, 2) == 0,
        .limit = rng_below(&t->rng, 2) == 0 ? rng_below(&t->rng, 8) : 0,
        .offset = rng_below(&t->rng, 3) == 0 ? rng_below(&t->rng, 8) : 0,
    };
    answer_of(t->model.documents[c], filter, field, find.descending, &answer);
    expect_rows(read, &find, t->model.documents[c], &answer);
    bz_filter_free(filter);
}

/* ---- writing ---- */

static void random_op(struct test *t, struct bz_db_txn *txn)
{
    unsigned c = rng_below(&t->rng, COLLECTIONS);
    uint32_t i = rng_below(&t->rng, IDS);
    struct document *have = &t->model.documents[c][i];
    struct bz_bytes collection = bz_bytes_text(collection_names[c]);
    struct document next;
    blaze_id id = id_of(i);
    uint64_t deleted = 0;
    bool update = false;
    random_document(&t->rng, &next);
    unsigned verb = rng_below(&t->rng, 40);
    if (verb >= 20 && verb < 34) /* an update of some fields */
        update = have->alive || verb < 27;
    blaze_doc *doc = document_of(&next, update && have->alive);
    int rc;
    if (verb < 10) {
        rc = bz_db_insert(txn, collection, &id, doc, NULL);
        assert_int_equal(rc, have->alive ? BLAZE_EEXIST : 0);
    } else if (verb < 20) {
        rc = bz_db_put(txn, collection, &id, doc, NULL);
        assert_int_equal(rc, 0);
    } else if (verb < 27) {
        rc = bz_db_update(txn, collection, &id, doc, NULL);
        assert_int_equal(rc, have->alive ? 0 : BLAZE_ENOTFOUND);
    } else if (verb < 34) {
        rc = bz_db_upsert(txn, collection, &id, doc, NULL);
        assert_int_equal(rc, 0);
    } else if (verb < 39) {
        rc = bz_db_delete(txn, collection, &id, NULL);
        assert_int_equal(rc, have->alive ? 0 : BLAZE_ENOTFOUND);
        next.alive = false;
    } else {
        uint64_t alive = 0;
        for (unsigned k = 0; k < IDS; k++)
            alive += t->model.documents[c][k].alive;
        must(bz_db_delete_all(txn, collection, &deleted, error));
        assert_int_equal(deleted, alive);
        memset(t->model.documents[c], 0, sizeof t->model.documents[c]);
        rc = -1;
    }
    if (rc == 0)
        *have = next;
    blaze_doc_free(doc);
}

static void random_transaction(struct test *t)
{
    struct bz_db_txn *txn = NULL;
    struct model before = t->model;
    struct {
        uint32_t savepoint;
        struct model model;
    } marks[MARKS];
    unsigned mark_count = 0;
    must(bz_db_begin(t->db, &txn, error));
    for (unsigned n = rng_below(&t->rng, 12); n > 0; n--) {
        unsigned what = rng_below(&t->rng, 12);
        if (what == 0 && mark_count < MARKS) {
            marks[mark_count].savepoint = bz_db_savepoint(txn);
            marks[mark_count++].model = t->model;
        } else if (what == 1 && mark_count > 0) {
            unsigned back = rng_below(&t->rng, mark_count);
            must(bz_db_rollback_to(txn, marks[back].savepoint, error));
            t->model = marks[back].model;
            mark_count = back + 1;
        } else if (what == 2) {
            random_find(t, bz_db_txn_read(txn));
        } else {
            random_op(t, txn);
        }
    }
    compare_all(t, bz_db_txn_read(txn));
    if (rng_below(&t->rng, 5) == 0) {
        bz_db_abort(txn);
        t->model = before;
    } else {
        must(bz_db_commit(txn, BZ_DURABLE_RELAXED, error));
    }
}

static void random_index(struct test *t)
{
    unsigned c = rng_below(&t->rng, COLLECTIONS), f = rng_below(&t->rng, FIELDS);
    struct bz_bytes collection = bz_bytes_text(collection_names[c]);
    if (t->indexed[c][f]) {
        must(bz_db_index_drop(t->db, collection, field_names[f], error));
    } else {
        char path[20];
        snprintf(path, sizeof path, f == 4 ? "%s.deep" : "%s", field_names[f]);
        must(bz_db_index_create(t->db, collection, path, field_names[f], error));
        assert_int_equal(
            bz_db_index_create(t->db, collection, path, field_names[f], NULL), BLAZE_EEXIST);
    }
    t->indexed[c][f] = !t->indexed[c][f];
}

static void run(uint64_t seed)
{
    struct test t = {.rng = {seed}, .world = {{seed}, 1700000000000u}};
    t.db = open_memory(&t.world, BZ_ROLE_CLIENT);
    for (unsigned step = 0; step < 80; step++) {
        struct bz_read *read = NULL;
        t.world.ms += rng_below(&t.rng, 3);
        random_transaction(&t);
        if (rng_below(&t.rng, 8) == 0)
            random_index(&t);
        must(bz_read_begin(t.db, &read, error));
        for (unsigned n = 0; n < 4; n++)
            random_find(&t, read);
        bz_read_end(read);
        if (rng_below(&t.rng, 4) == 0)
            compare_snapshot(&t);
    }
    check_all(t.db);
    must(bz_db_close(t.db, error));
}

static void random_transactions_do_what_the_model_does(void **state)
{
    (void)state;
    uint64_t first = test_seed(), rounds = test_rounds(15, 300);
    for (uint64_t i = 0; i < rounds; i++)
        run(first + i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_transactions_do_what_the_model_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
