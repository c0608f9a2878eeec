/* SPDX-License-Identifier: Apache-2.0 */
#include "db/db.h"

#include "base/alloc.h"
#include "cmocka_all.h"
#include "codec/names.h"

#include <stdio.h>
#include <string.h>

static struct bz_db *open_memory(void)
{
    struct bz_db *db = NULL;
    blaze_error error = {0};
    struct bz_db_options options = {.create = true, .memory = true};
    if (bz_db_open(&db, "test", &options, &error) != 0)
        fail_msg("%s", error.text);
    return db;
}

static blaze_id id_of(uint32_t n)
{
    blaze_id id = {{0}};
    bz_store32be(id.bytes + 12, n);
    return id;
}

static void smoke(void **state)
{
    (void)state;
    struct bz_db *db = open_memory();
    blaze_error error = {0};
    struct bz_db_txn *txn = NULL;
    blaze_doc *doc = NULL;
    blaze_value v, f;
    blaze_id id = id_of(1);
    assert_int_equal(bz_db_begin(db, &txn, &error), 0);
    assert_int_equal(blaze_doc_new(&doc), 0);
    blaze_doc_add_string(doc, "name", "Anna");
    blaze_doc_add_int(doc, "age", 7);
    assert_int_equal(blaze_doc_value(doc, &v), 0);
    assert_int_equal(bz_db_insert(txn, bz_bytes_text("people"), &id, &v, &error), 0);
    assert_int_equal(bz_db_insert(txn, bz_bytes_text("people"), &id, &v, &error), BLAZE_EEXIST);
    assert_int_equal(bz_db_commit(txn, BZ_DURABLE_FULL, &error), 0);
    struct bz_read *read = NULL;
    assert_int_equal(bz_read_begin(db, &read, &error), 0);
    assert_int_equal(bz_read_get(read, bz_bytes_text("people"), &id, &v, &error), 0);
    assert_int_equal(blaze_value_field(&v, "age", &f), 0);
    assert_int_equal(f.as.integer, 7);
    uint64_t n;
    assert_int_equal(bz_read_count(read, bz_bytes_text("people"), &n, &error), 0);
    assert_int_equal(n, 1);
    bz_read_end(read);
    blaze_doc_free(doc);
    assert_int_equal(bz_db_close(db, &error), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(smoke),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
