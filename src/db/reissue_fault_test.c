/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A copy finds out that it was put back to an older state, and whatever the system may refuse
 * meanwhile fails: it is another node with all that it has written since, or who it was with all of
 * it, and then finds out the next time.
 */

#include "db/test_util.h"

#include "db/db_priv.h"
#include "store/fault_test_util.h"
#include "store/testing.h"

static struct bz_test_dir dir;
static char path[100], aside[100];
static struct bz_test_image image;
static struct bz_identity former;
static struct bz_trail trail;
static uint64_t fork_seq;

static const char *const before[] = {"{\"n\":1}", "{\"n\":2}", "{\"n\":3}"};
static const char *const after[] = {"{\"m\":1,\"n\":1}", NULL, "{\"n\":33}", "{\"n\":4}"};

static int open_on_disk(struct bz_db **db, bool create, blaze_error *error)
{
    struct bz_db_options options = {.create = create};
    return bz_db_open(db, path, &options, error);
}

/* A database with two openings, of which a peer knows the first, and another for the second. */
static void prepare(void)
{
    struct bz_db *db = NULL;
    struct bz_read *read = NULL;
    struct bz_opening first, second;
    must(open_on_disk(&db, true, error));
    for (uint32_t i = 0; i < 3; i++)
        write_json(db, INSERT, "c", i, before[i]);
    must(bz_db_close(db, error));
    must(open_on_disk(&db, false, error));
    write_json(db, UPDATE, "c", 0, "{\"m\":1}");
    delete_one_of(db, "c", 1);
    write_json(db, PUT, "c", 2, after[2]);
    write_json(db, INSERT, "c", 3, after[3]);
    bz_db_identity(db, &former);
    must(bz_read_begin(db, &read, error));
    must(bz_opening_at(read->view, 1, &first, error));
    must(bz_opening_at(read->view, UINT64_MAX, &second, error));
    bz_read_end(read);
    assert_int_equal(second.mark.start, 3);
    fork_seq = second.seq;
    trail = (struct bz_trail){2, {{second.mark.start, second.mark.id + 2}, first.mark}};
    must(bz_db_close(db, error));
    bz_test_image_take(&image, path);
}

/* The file by which a copied directory is noticed stays where it is. */
static void put_again(void)
{
    char identity[128];
    snprintf(identity, sizeof identity, "%s/identity", path);
    assert_int_equal(rename(identity, aside), 0);
    bz_test_image_put(&image, path);
    assert_int_equal(rename(aside, identity), 0);
}

static void judge(const struct bz_fault *fault, int rc, const blaze_error *error)
{
    if (rc != 0 && (rc > 0 || error->code != rc || error->text[0] == '\0'))
        fail_msg("%s: code %d, in the error %d \"%s\"", bz_fault_name(fault), rc, error->code,
            error->text);
    if (rc != 0 && !atomic_load(&fault->hit))
        fail_msg("%s: it has not failed yet, but: %s", bz_fault_name(fault), error->text);
}

/* How many writes a node has after a seq. */
static uint32_t writes_of(struct bz_db *db, const blaze_id *node, uint64_t seq)
{
    struct bz_replica replica;
    struct bz_changes *changes = NULL;
    struct bz_change change;
    struct bz_receiver nobody = {0};
    uint32_t number, count = 0;
    must(bz_db_replica_open(db, &replica, error));
    assert_int_equal(replica.ops->node_number(replica.context, node, &number), 0);
    must(replica.ops->changes_open(replica.context, &nobody, 0, &changes, error));
    while (replica.ops->changes_next(changes, &change, NULL) == 0) {
        for (uint32_t i = 0; i < change.rec.write_count; i++) {
            struct bz_dot dot = change.rec.writes[i].dot;
            count += dot.node == number && dot.seq > seq;
        }
    }
    replica.ops->changes_close(changes);
    bz_db_replica_close(&replica);
    return count;
}

/* Whether it is another node by now; nothing of what it wrote is missing, or is both nodes'. */
static bool is_renewed(const struct bz_fault *fault)
{
    struct bz_db *db = NULL;
    struct bz_identity identity;
    must(open_on_disk(&db, false, error));
    bz_db_identity(db, &identity);
    bool renewed = memcmp(&identity.node, &former.node, sizeof former.node) != 0;
    uint32_t kept = writes_of(db, &former.node, fork_seq);
    uint32_t moved = renewed ? writes_of(db, &identity.node, fork_seq) : 0;
    if (kept != (renewed ? 0 : 4) || moved != (renewed ? 4 : 0))
        fail_msg("%s: %u writes are the former node's and %u the new one's", bz_fault_name(fault),
            kept, moved);
    assert_int_equal(state_of(db).seq, fork_seq + 4);
    for (uint32_t i = 0; i < 4; i++)
        expect_json(db, "c", i, after[i]);
    check_all(db);
    must(bz_db_close(db, error));
    return renewed;
}

static void run(struct bz_fault *fault)
{
    struct bz_db *db = NULL;
    blaze_error failure = {0};
    put_again();
    bz_fault_begin(fault);
    int rc = open_on_disk(&db, false, &failure);
    judge(fault, rc, &failure);
    bool opened = rc == 0, found = false;
    if (opened) {
        rc = bz_identity_outlived(db, &former.node, &trail, &failure);
        judge(fault, rc, &failure);
        found = rc == 0;
        judge(fault, bz_db_close(db, &failure), &failure);
    }
    bz_fault_end();
    bool renewed = is_renewed(fault);
    if (found && !renewed)
        fail_msg("%s: it says that it is another node, and is not", bz_fault_name(fault));
    must(open_on_disk(&db, false, error));
    must(bz_identity_outlived(db, &former.node, &trail, error)); /* once is enough */
    must(bz_db_close(db, error));
    assert_true(is_renewed(fault));
}

static void whatever_the_system_refuses_a_copy_is_renewed_in_whole_or_not_at_all(void **state)
{
    (void)state;
    bz_test_dir_make(&dir);
    snprintf(path, sizeof path, "%s/db", dir.path);
    snprintf(aside, sizeof aside, "%s/identity", dir.path);
    prepare();
    bz_fault_each(test_step(9, 1), run);
    bz_test_image_free(&image);
    bz_test_dir_remove(&dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_the_system_refuses_a_copy_is_renewed_in_whole_or_not_at_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
