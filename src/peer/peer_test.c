/* SPDX-License-Identifier: Apache-2.0 */

/* The pool of strands; membership; a link's way of trying again. Links between real databases are
 * tested beside the hub. */

#include "base/alloc.h"
#include "db/db.h"
#include "net/net.h"
#include "peer/member.h"
#include "peer/peer.h"
#include "peer/pool.h"

#include "cmocka_all.h"
#include "wait.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

/* ---- Strands ---- */

struct work {
    struct bz_strand strand;
    struct bz_pool *pool;
    atomic_int inside;
    unsigned overlaps;
    unsigned runs;
    unsigned again; /* times to post itself */
    bool hold;      /* stays in its run until let go */
    bool held;
};

static void run_work(struct bz_strand *strand)
{
    struct work *work = (struct work *)strand;
    unsigned overlap = atomic_fetch_add(&work->inside, 1) != 0;
    NOTE(work->held = true);
    WAIT_UNTIL(!work->hold);
    if (work->again > 0) {
        work->again--;
        bz_strand_post(work->pool, strand);
    }
    atomic_fetch_sub(&work->inside, 1);
    NOTE(work->runs++; work->overlaps += overlap);
}

static void a_strand_never_runs_beside_itself(void **state)
{
    (void)state;
    struct bz_pool *pool;
    assert_int_equal(bz_pool_open(&pool, 4, NULL), 0);
    struct work work[8] = {0};
    for (unsigned i = 0; i < 8; i++) {
        work[i].strand.run = run_work;
        work[i].pool = pool;
        work[i].again = 300;
    }
    for (unsigned turn = 0; turn < 100; turn++)
        for (unsigned i = 0; i < 8; i++)
            bz_strand_post(pool, &work[i].strand);
    for (unsigned i = 0; i < 8; i++)
        WAIT_UNTIL(work[i].runs >= 301);
    for (unsigned i = 0; i < 8; i++) {
        bz_strand_cancel(pool, &work[i].strand);
        assert_int_equal(work[i].overlaps, 0);
        assert_true(work[i].runs <= 301 + 100);
    }
    bz_pool_close(pool);
}

static void posts_during_a_run_make_one_more_run(void **state)
{
    (void)state;
    struct bz_pool *pool;
    assert_int_equal(bz_pool_open(&pool, 2, NULL), 0);
    struct work work = {.strand.run = run_work, .pool = pool, .hold = true};
    bz_strand_post(pool, &work.strand);
    WAIT_UNTIL(work.held);
    for (unsigned i = 0; i < 10; i++)
        bz_strand_post(pool, &work.strand);
    NOTE(work.hold = false);
    WAIT_UNTIL(work.runs == 2);
    bz_strand_cancel(pool, &work.strand);
    assert_int_equal(work.runs, 2);
    bz_pool_close(pool);
}

static void one_that_is_held_up_holds_up_no_other(void **state)
{
    (void)state;
    struct bz_pool *pool;
    assert_int_equal(bz_pool_open(&pool, 2, NULL), 0);
    struct work slow = {.strand.run = run_work, .pool = pool, .hold = true};
    struct work quick = {.strand.run = run_work, .pool = pool, .again = 50};
    bz_strand_post(pool, &slow.strand);
    bz_strand_post(pool, &quick.strand);
    WAIT_UNTIL(quick.runs == 51);
    assert_int_equal(slow.runs, 0);
    NOTE(slow.hold = false);
    WAIT_UNTIL(slow.runs == 1);
    bz_pool_close(pool);
}

struct handing {
    struct work *next;
    struct bz_strand strand;
    bool stays; /* until the other has run, which has to be on another thread then */
};

static void run_handing(struct bz_strand *strand)
{
    struct handing *handing = (struct handing *)((char *)strand - offsetof(struct handing, strand));
    bz_strand_post_next(handing->next->pool, &handing->next->strand);
    if (!handing->stays)
        return;
    bz_pool_share(handing->next->pool);
    WAIT_UNTIL(handing->next->runs == 1);
}

static void what_is_posted_next_runs_behind_the_poster_or_beside_it(void **state)
{
    (void)state;
    for (unsigned turn = 0; turn < 200; turn++) {
        struct bz_pool *pool;
        assert_int_equal(bz_pool_open(&pool, 1 + turn % 3, NULL), 0);
        struct work next = {.strand.run = run_work, .pool = pool};
        struct handing first = {
            .next = &next, .strand.run = run_handing, .stays = turn % 3 > 0 && turn % 2 == 0};
        bz_strand_post(pool, &first.strand);
        WAIT_UNTIL(next.runs == 1);
        bz_pool_close(pool);
    }
}

static void a_cancelled_strand_does_not_run(void **state)
{
    (void)state;
    struct bz_pool *pool;
    assert_int_equal(bz_pool_open(&pool, 1, NULL), 0);
    struct work first = {.strand.run = run_work, .pool = pool, .hold = true};
    struct work second = {.strand.run = run_work, .pool = pool};
    struct work third = {.strand.run = run_work, .pool = pool};
    bz_strand_post(pool, &first.strand);
    WAIT_UNTIL(first.held);
    bz_strand_post(pool, &second.strand); /* behind it: there is one thread */
    bz_strand_post(pool, &third.strand);
    bz_strand_cancel(pool, &second.strand);
    NOTE(first.hold = false);
    WAIT_UNTIL(third.runs == 1);
    assert_int_equal(second.runs, 0);
    bz_pool_close(pool);
}

/* ---- Membership ---- */

static struct bz_db *new_db(void)
{
    struct bz_db *db;
    blaze_error error;
    struct bz_db_options options = {.create = true, .memory = true};
    if (bz_db_open(&db, "peer-test", &options, &error) != 0)
        fail_msg("%s", error.text);
    return db;
}

static void a_secret_is_made_once_and_kept(void **state)
{
    (void)state;
    struct bz_db *db = new_db();
    struct bz_secret first;
    struct bz_secret second;
    struct bz_keys keys;
    struct bz_buf buf;
    bz_buf_init(&buf, 4096);
    blaze_error error;
    assert_int_equal(bz_member_secret(db, &first, &error), BLAZE_ENOTFOUND);
    assert_int_equal(bz_keys_load(db, &keys, &error), BLAZE_ENOTFOUND);
    assert_int_equal(bz_member_code(db, "mem:x", &buf, &error), BLAZE_ENOTFOUND);
    assert_int_equal(bz_member_hub(db, &buf, &error), BLAZE_ENOTFOUND);
    assert_int_equal(bz_member_ensure_secret(db, &first, &error), 0);
    assert_int_equal(bz_member_ensure_secret(db, &second, &error), 0);
    assert_memory_equal(&first, &second, sizeof first);
    assert_int_equal(bz_member_adopt_secret(db, &first, &error), 0);
    second.bytes[0] ^= 1;
    assert_int_equal(bz_member_adopt_secret(db, &second, &error), BLAZE_EAUTH);
    assert_int_equal(bz_member_set_hub(db, "tcp://h:1", &error), 0);
    assert_int_equal(bz_member_hub(db, &buf, &error), 0);
    assert_true(bz_bytes_equal(bz_buf_bytes(&buf), bz_bytes_text("tcp://h:1")));
    bz_buf_release(&buf);
    assert_int_equal(bz_db_close(db, NULL), 0);
}

static void keys_prove_membership_and_access_apart(void **state)
{
    (void)state;
    struct bz_db *db = new_db();
    struct bz_secret secret;
    struct bz_keys keys;
    blaze_error error;
    uint8_t access[32];
    uint8_t member[32];
    uint8_t again[32];
    assert_int_equal(bz_member_ensure_secret(db, &secret, &error), 0);
    assert_int_equal(bz_keys_load(db, &keys, &error), 0);
    struct bz_session_auth auth = bz_keys_auth(&keys);
    struct bz_bytes transcript = bz_bytes_text("what was said");
    assert_int_equal(auth.mac(auth.context, false, transcript, access), 0);
    assert_int_equal(auth.mac(auth.context, true, transcript, member), 0);
    assert_int_equal(auth.mac(auth.context, false, transcript, again), 0);
    assert_memory_not_equal(access, member, sizeof access);
    assert_memory_equal(access, again, sizeof access);
    assert_int_equal(auth.random(auth.context, again, sizeof again), 0);
    assert_memory_not_equal(access, again, sizeof access);
    assert_int_equal(bz_db_close(db, NULL), 0);
}

/* ---- Trying again ---- */

/* A listener that hangs up on everybody, and counts. */
struct refuser {
    struct bz_loop *loop;
    struct bz_listener *listener;
    unsigned callers;
};

static void refuse(void *context, struct bz_listener *listener, struct bz_stream *stream)
{
    struct refuser *refuser = context;
    (void)listener;
    (void)stream;
    NOTE(refuser->callers++);
}

static void listen_now(void *context)
{
    static const struct bz_listener_callbacks callbacks = {.on_accept = refuse};
    struct refuser *refuser = context;
    if (bz_listener_open(
            &refuser->listener, refuser->loop, "mem:refuser", NULL, &callbacks, refuser, NULL) != 0)
        abort();
}

struct seen {
    unsigned connecting;
    unsigned waiting;
    uint64_t longest_ms;
    bool wrong;
};

static void on_status(void *context, const struct bz_link_status *status)
{
    struct seen *seen = context;
    NOTE(seen->connecting += status->state == BZ_LINK_CONNECTING;
         seen->waiting += status->state == BZ_LINK_WAITING;
         if (status->wait_ms > seen->longest_ms) seen->longest_ms = status->wait_ms;
         seen->wrong |= status->state == BZ_LINK_WAITING &&
                        (status->code == 0 || strncmp(status->text, "waiting ", 8) != 0));
}

static void a_live_link_tries_again_and_again_with_growing_pauses(void **state)
{
    (void)state;
    struct refuser refuser = {0};
    assert_int_equal(bz_loop_open(&refuser.loop, NULL), 0);
    bz_loop_call(refuser.loop, listen_now, &refuser);

    struct bz_db *db = new_db();
    struct bz_secret secret;
    struct bz_peer *peer;
    struct bz_link *link;
    struct seen seen = {0};
    blaze_error error;
    assert_int_equal(bz_member_ensure_secret(db, &secret, &error), 0);
    assert_int_equal(bz_peer_open(&peer, db, &error), 0);
    struct bz_link_options options = {
        .url = "mem:refuser", .on_status = on_status, .context = &seen};
    assert_int_equal(bz_link_open(&link, peer, &options, &error), 0);
    WAIT_UNTIL(refuser.callers >= 4);
    struct bz_link_status status;
    bz_link_get_status(link, &status);
    assert_false(status.reached);
    bz_link_close(link);
    bz_peer_close(peer);
    assert_int_equal(bz_db_close(db, NULL), 0);
    bz_loop_close(refuser.loop);
    assert_false(seen.wrong);
    /* 100 ms at most after the first, 200 after the second, 400 after the third ... */
    assert_true(seen.longest_ms <= 50u << refuser.callers);
}

static void a_link_that_is_to_sync_once_gives_up_on_one_that_hangs_up(void **state)
{
    (void)state;
    struct refuser refuser = {0};
    assert_int_equal(bz_loop_open(&refuser.loop, NULL), 0);
    bz_loop_call(refuser.loop, listen_now, &refuser);
    struct bz_db *db = new_db();
    struct bz_secret secret;
    struct bz_peer *peer;
    struct bz_link *link;
    blaze_error error;
    assert_int_equal(bz_member_ensure_secret(db, &secret, &error), 0);
    assert_int_equal(bz_peer_open(&peer, db, &error), 0);
    struct bz_link_options options = {.url = "mem:refuser", .mode = BZ_LINK_ONCE};
    assert_int_equal(bz_link_open(&link, peer, &options, &error), 0);
    assert_int_equal(bz_link_wait(link, 60000, &error), BLAZE_ECLOSED);
    assert_non_null(strstr(error.text, "mem:refuser"));
    bz_peer_close(peer); /* closes the link */
    assert_int_equal(bz_db_close(db, NULL), 0);
    bz_loop_close(refuser.loop);
    assert_int_equal(refuser.callers, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_strand_never_runs_beside_itself),
        cmocka_unit_test(posts_during_a_run_make_one_more_run),
        cmocka_unit_test(one_that_is_held_up_holds_up_no_other),
        cmocka_unit_test(what_is_posted_next_runs_behind_the_poster_or_beside_it),
        cmocka_unit_test(a_cancelled_strand_does_not_run),
        cmocka_unit_test(a_secret_is_made_once_and_kept),
        cmocka_unit_test(keys_prove_membership_and_access_apart),
        cmocka_unit_test(a_live_link_tries_again_and_again_with_growing_pauses),
        cmocka_unit_test(a_link_that_is_to_sync_once_gives_up_on_one_that_hangs_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
