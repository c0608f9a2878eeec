/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Real databases, real hubs and real streams, in one process; what depends on the streams runs over
 * mem:, unix: and tcp:.
 */

#include "hub/hub.h"

#include "base/alloc.h"
#include "db/db.h"
#include "hub/hub_priv.h"
#include "peer/member.h"
#include "peer/peer.h"

#include "cmocka_all.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* ---- Waiting ---- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static unsigned changes;

static void note(void *context)
{
    (void)context;
    pthread_mutex_lock(&lock);
    changes++;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

/* Waits until `holds(context)`, looking again after each note(); four minutes are a failure. */
static void wait_until(bool (*holds)(void *context), void *context, const char *what)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += 240;
    for (;;) {
        pthread_mutex_lock(&lock);
        unsigned before = changes;
        pthread_mutex_unlock(&lock);
        if (holds(context))
            return;
        int rc = 0;
        pthread_mutex_lock(&lock);
        while (changes == before && rc == 0)
            rc = pthread_cond_clockwait(&changed, &lock, CLOCK_MONOTONIC, &until);
        pthread_mutex_unlock(&lock);
        if (rc != 0 && !holds(context))
            fail_msg("waited four minutes in vain until %s", what);
    }
}

/* ---- A place with a hub ---- */

struct place {
    const char *kind;
    char dir[64];
    char listen[128];
    char url[128];
    struct bz_hub *hub;
    struct bz_hub_options options;
    const char *urls[1];
    unsigned databases;
};

static void on_log(void *context, const char *line)
{
    (void)context;
    if (getenv("BZ_TEST_LOG") != NULL)
        fprintf(stderr, "hub: %s\n", line);
    note(NULL);
}

static void hub_start(struct place *place)
{
    blaze_error error;
    char dir[128];
    snprintf(dir, sizeof dir, "%s/hub", place->dir);
    place->urls[0] = place->url[0] != '\0' ? place->url : place->listen;
    place->options.listen = place->urls;
    place->options.listen_count = 1;
    if (bz_hub_open(&place->hub, dir, &place->options, &error) != 0)
        fail_msg("%s", error.text);
    /* A port that was picked stays the same when the hub comes back. */
    snprintf(place->url, sizeof place->url, "%s", bz_hub_url(place->hub, 0));
}

static void hub_stop(struct place *place)
{
    blaze_error error;
    if (bz_hub_close(place->hub, &error) != 0)
        fail_msg("%s", error.text);
    place->hub = NULL;
}

static void place_open(struct place *place, void **state)
{
    static unsigned number;
    *place = (struct place){.kind = *state};
    strcpy(place->dir, "/tmp/bz-hub-XXXXXX");
    assert_non_null(mkdtemp(place->dir));
    if (strcmp(place->kind, "tcp") == 0)
        snprintf(place->listen, sizeof place->listen, "tcp://127.0.0.1:0");
    else if (strcmp(place->kind, "unix") == 0)
        snprintf(place->listen, sizeof place->listen, "unix:%s/sock", place->dir);
    else
        snprintf(place->listen, sizeof place->listen, "mem:hub-%u", ++number);
    bz_hub_options_init(&place->options);
    place->options.on_log = on_log;
    hub_start(place);
}

static void place_close(struct place *place)
{
    char command[128];
    if (place->hub != NULL)
        hub_stop(place);
    snprintf(command, sizeof command, "rm -rf %s", place->dir);
    assert_int_equal(system(command), 0);
}

/* ---- A copy of a database ---- */

struct copy {
    char path[128];
    struct bz_db *db;
    struct bz_peer *peer;
    struct bz_listener_handle *listener;
};

static void copy_open(struct copy *copy, struct place *place, const blaze_id *database)
{
    blaze_error error;
    struct bz_db_options options = {.create = true, .store.segment_bytes = 256u << 10};
    if (database != NULL)
        options.database = *database;
    snprintf(copy->path, sizeof copy->path, "%s/copy-%u.blz", place->dir, place->databases++);
    if (bz_db_open(&copy->db, copy->path, &options, &error) != 0 ||
        bz_peer_open(&copy->peer, copy->db, &error) != 0)
        fail_msg("%s", error.text);
    assert_int_equal(bz_db_listen(copy->db, note, NULL, &copy->listener), 0);
}

static void copy_close(struct copy *copy)
{
    blaze_error error;
    bz_peer_close(copy->peer);
    bz_db_unlisten(copy->listener);
    if (bz_db_close(copy->db, &error) != 0)
        fail_msg("%s", error.text);
}

static blaze_id id_of(uint64_t n)
{
    blaze_id id = {{0}};
    bz_store64be(id.bytes + 8, n);
    return id;
}

static void put(struct bz_db *db, uint64_t from, uint64_t count, const char *field, int64_t value)
{
    blaze_error error;
    struct bz_db_txn *txn;
    blaze_doc *doc;
    assert_int_equal(blaze_doc_new(&doc), 0);
    assert_int_equal(bz_db_begin(db, &txn, &error), 0);
    for (uint64_t i = from; i < from + count; i++) {
        blaze_id id = id_of(i);
        blaze_doc_clear(doc);
        blaze_doc_add_int(doc, field, value);
        blaze_doc_add_int(doc, "number", (int64_t)i);
        if (bz_db_upsert(txn, bz_bytes_text("things"), &id, doc, &error) != 0)
            fail_msg("%s", error.text);
    }
    if (bz_db_commit(txn, BZ_DURABLE_RELAXED, &error) != 0)
        fail_msg("%s", error.text);
    blaze_doc_free(doc);
}

static void delete (struct bz_db *db, uint64_t n)
{
    struct bz_db_txn *txn;
    blaze_id id = id_of(n);
    assert_int_equal(bz_db_begin(db, &txn, NULL), 0);
    assert_int_equal(bz_db_delete(txn, bz_bytes_text("things"), &id, NULL), 0);
    assert_int_equal(bz_db_commit(txn, BZ_DURABLE_RELAXED, NULL), 0);
}

static struct bz_db_state state_of(struct bz_db *db)
{
    struct bz_read *read;
    struct bz_db_state state;
    assert_int_equal(bz_read_begin(db, &read, NULL), 0);
    assert_int_equal(bz_read_state(read, &state, NULL), 0);
    bz_read_end(read);
    return state;
}

static void assert_equal_copies(struct copy *a, struct copy *b, uint64_t records)
{
    struct bz_db_state left = state_of(a->db);
    struct bz_db_state right = state_of(b->db);
    assert_true(left.records == records);
    assert_true(right.records == records);
    assert_true(left.digest.low == right.digest.low && left.digest.high == right.digest.high);
}

struct both {
    struct copy *a;
    struct copy *b;
    uint64_t records;
};

static bool are_equal(void *context)
{
    struct both *both = context;
    struct bz_db_state left = state_of(both->a->db);
    struct bz_db_state right = state_of(both->b->db);
    return left.records == both->records && right.records == both->records &&
           left.digest.low == right.digest.low && left.digest.high == right.digest.high;
}

static void wait_equal(struct copy *a, struct copy *b, uint64_t records)
{
    struct both both = {a, b, records};
    wait_until(are_equal, &both, "both copies are equal");
}

static void on_status(void *context, const struct bz_link_status *status)
{
    (void)status;
    note(context);
}

static struct bz_link *link_open(
    struct copy *copy, const char *url, enum bz_link_mode mode, bool enrol)
{
    struct bz_link *link;
    blaze_error error;
    struct bz_link_options options = {
        .url = url, .mode = mode, .enrol = enrol, .on_status = on_status};
    if (bz_link_open(&link, copy->peer, &options, &error) != 0)
        fail_msg("%s", error.text);
    return link;
}

/* Syncs once; what comes of it. */
static int sync_once(struct copy *copy, const char *url, bool enrol, blaze_error *error)
{
    struct bz_link *link = link_open(copy, url, BZ_LINK_ONCE, enrol);
    int rc = bz_link_wait(link, 60000, error);
    bz_link_close(link);
    return rc;
}

static void must_sync(struct copy *copy, struct place *place)
{
    blaze_error error;
    if (sync_once(copy, place->url, false, &error) != 0)
        fail_msg("%s", error.text);
}

static void share(struct copy *copy, struct place *place)
{
    blaze_error error;
    struct bz_secret secret;
    assert_int_equal(bz_member_ensure_secret(copy->db, &secret, &error), 0);
    if (sync_once(copy, place->url, true, &error) != 0)
        fail_msg("%s", error.text);
}

/* A new copy from the join code of another. */
static void join(struct copy *copy, struct copy *from, struct place *place)
{
    blaze_error error;
    struct bz_buf code;
    struct bz_join parsed;
    bz_buf_init(&code, 4096);
    assert_int_equal(bz_member_code(from->db, place->url, &code, &error), 0);
    bz_buf_append8(&code, 0);
    assert_int_equal(bz_join_parse(&parsed, (char *)code.data, &error), 0);
    bz_buf_release(&code);
    assert_string_equal(parsed.url, place->url);
    copy_open(copy, place, &parsed.database);
    if (bz_member_join(copy->db, &parsed, &error) != 0)
        fail_msg("%s", error.text);
}

/* ---- Tests ---- */

static void two_copies_converge_through_a_hub(void **state)
{
    struct place place;
    struct copy a;
    struct copy b;
    place_open(&place, state);
    copy_open(&a, &place, NULL);
    put(a.db, 0, 1000, "color", 1);
    share(&a, &place);
    join(&b, &a, &place);
    must_sync(&b, &place);
    assert_equal_copies(&a, &b, 1000);

    /* Apart: other fields of one record, the same field of another, a delete, a new record. */
    put(a.db, 1, 1, "left", 5);
    put(b.db, 1, 1, "right", 6);
    put(a.db, 2, 1, "color", 7);
    put(b.db, 2, 1, "color", 8);
    delete (a.db, 3);
    put(b.db, 3000, 1, "color", 9);
    must_sync(&a, &place);
    must_sync(&b, &place);
    must_sync(&a, &place);
    assert_equal_copies(&a, &b, 1000);
    copy_close(&a);
    copy_close(&b);
    place_close(&place);
}

static void live_links_carry_changes_both_ways(void **state)
{
    struct place place;
    struct copy a;
    struct copy b;
    place_open(&place, state);
    copy_open(&a, &place, NULL);
    share(&a, &place);
    join(&b, &a, &place);
    struct bz_link *left = link_open(&a, place.url, BZ_LINK_LIVE_MODE, false);
    struct bz_link *right = link_open(&b, place.url, BZ_LINK_LIVE_MODE, false);
    assert_int_equal(bz_link_wait(left, 60000, NULL), 0);
    assert_int_equal(bz_link_wait(right, 60000, NULL), 0);
    for (unsigned i = 0; i < 20; i++) {
        put(i % 2 ? a.db : b.db, i, 1, "color", i);
        wait_equal(&a, &b, i + 1);
    }
    put(a.db, 1000, 1500, "color", 1);
    put(b.db, 10000, 1500, "color", 1);
    wait_equal(&a, &b, 3020);
    delete (b.db, 1000);
    wait_equal(&a, &b, 3019);
    bz_link_close(left);
    bz_link_close(right);
    copy_close(&a);
    copy_close(&b);
    place_close(&place);
}

static void one_write_reaches_every_live_copy(void **state)
{
    enum { COPIES = 4 };
    struct place place;
    struct copy a;
    struct copy copies[COPIES];
    place_open(&place, state);
    copy_open(&a, &place, NULL);
    share(&a, &place);
    link_open(&a, place.url, BZ_LINK_LIVE_MODE, false);
    for (unsigned i = 0; i < COPIES; i++) {
        join(&copies[i], &a, &place);
        link_open(&copies[i], place.url, BZ_LINK_LIVE_MODE, false);
    }
    put(a.db, 0, 100, "color", 1);
    for (unsigned i = 0; i < COPIES; i++)
        wait_equal(&a, &copies[i], 100);
    put(copies[0].db, 200, 1, "color", 1);
    for (unsigned i = 0; i < COPIES; i++)
        wait_equal(&a, &copies[i], 101);
    for (unsigned i = 0; i < COPIES; i++)
        copy_close(&copies[i]); /* closes the links too */
    copy_close(&a);
    place_close(&place);
}

static void a_wrong_secret_is_refused_for_good(void **state)
{
    struct place place;
    struct copy a;
    struct copy b;
    struct bz_identity identity;
    struct bz_secret secret;
    blaze_error error;
    place_open(&place, state);
    copy_open(&a, &place, NULL);
    share(&a, &place);
    bz_db_identity(a.db, &identity);
    copy_open(&b, &place, &identity.database);
    assert_int_equal(bz_member_ensure_secret(b.db, &secret, &error), 0);
    put(b.db, 0, 10, "color", 1);
    assert_int_equal(sync_once(&b, place.url, false, &error), BLAZE_EAUTH);
    assert_int_equal(sync_once(&b, place.url, true, &error), BLAZE_EAUTH);

    /* A live link does not try again either. */
    struct bz_link *link = link_open(&b, place.url, BZ_LINK_LIVE_MODE, false);
    assert_int_equal(bz_link_wait(link, 60000, &error), BLAZE_EAUTH);
    struct bz_link_status status;
    bz_link_get_status(link, &status);
    assert_int_equal(status.state, BZ_LINK_STOPPED);
    bz_link_close(link);
    must_sync(&a, &place);
    assert_true(state_of(a.db).records == 0);
    copy_close(&a);
    copy_close(&b);
    place_close(&place);
}

static void a_database_that_the_hub_does_not_have_is_not_found(void **state)
{
    struct place place;
    struct copy a;
    struct bz_secret secret;
    blaze_error error;
    place_open(&place, state);
    copy_open(&a, &place, NULL);
    assert_int_equal(bz_member_ensure_secret(a.db, &secret, &error), 0);
    assert_int_equal(sync_once(&a, place.url, false, &error), BLAZE_ENOTFOUND);
    hub_stop(&place);
    place.options.closed = true;
    hub_start(&place);
    assert_int_equal(sync_once(&a, place.url, true, &error), BLAZE_EPERM);
    copy_close(&a);
    place_close(&place);
}

static void a_hub_takes_in_as_many_databases_as_it_may(void **state)
{
    struct place place;
    struct copy copies[3];
    struct bz_secret secret;
    blaze_error error;
    char command[256];
    place_open(&place, state);
    hub_stop(&place);
    place.options.databases_max = 2;
    hub_start(&place);
    for (int i = 0; i < 3; i++)
        copy_open(&copies[i], &place, NULL);
    share(&copies[0], &place);
    share(&copies[1], &place);
    assert_int_equal(bz_member_ensure_secret(copies[2].db, &secret, &error), 0);
    assert_int_equal(sync_once(&copies[2], place.url, true, &error), BLAZE_ELIMIT);
    assert_non_null(strstr(error.text, "takes in no more"));

    /* Those that are there are served, and enrolling them again is nothing new. */
    put(copies[0].db, 0, 10, "color", 1);
    share(&copies[0], &place);
    hub_stop(&place);
    hub_start(&place);
    must_sync(&copies[1], &place);
    assert_int_equal(sync_once(&copies[2], place.url, true, &error), BLAZE_ELIMIT);

    /* One that was removed makes room. */
    struct bz_identity identity;
    char text[BLAZE_ID_TEXT_SIZE];
    hub_stop(&place);
    bz_db_identity(copies[1].db, &identity);
    snprintf(command, sizeof command, "rm -r %s/hub/%s.blz", place.dir,
        blaze_id_format(&identity.database, text));
    assert_int_equal(system(command), 0);
    hub_start(&place);
    share(&copies[2], &place);
    for (int i = 0; i < 3; i++)
        copy_close(&copies[i]);
    place_close(&place);
}

static void a_database_without_a_secret_has_no_links(void **state)
{
    struct place place;
    struct copy a;
    struct bz_link *link;
    blaze_error error;
    place_open(&place, state);
    copy_open(&a, &place, NULL);
    struct bz_link_options options = {.url = place.url};
    assert_int_equal(bz_link_open(&link, a.peer, &options, &error), BLAZE_ENOTFOUND);
    assert_non_null(strstr(error.text, "not shared"));
    options.url = "nonsense";
    assert_int_equal(bz_link_open(&link, a.peer, &options, &error), BLAZE_EINVAL);
    copy_close(&a);
    place_close(&place);
}

static void a_join_code_for_another_database_is_refused(void **state)
{
    struct place place;
    struct copy a;
    struct copy b;
    blaze_error error;
    place_open(&place, state);
    copy_open(&a, &place, NULL);
    copy_open(&b, &place, NULL);
    struct bz_join other = {.url = "mem:x"};
    struct bz_identity identity;
    bz_db_identity(a.db, &identity);
    other.database = identity.database;
    assert_int_equal(bz_member_join(b.db, &other, &error), BLAZE_EDATABASE);
    assert_int_equal(bz_member_join(a.db, &other, &error), 0);
    assert_int_equal(bz_member_join(a.db, &other, &error), 0);
    other.secret.bytes[0] = 1;
    assert_int_equal(bz_member_join(a.db, &other, &error), BLAZE_EAUTH);
    copy_close(&a);
    copy_close(&b);
    place_close(&place);
}

static bool is_waiting(void *context)
{
    struct bz_link_status status;
    bz_link_get_status(context, &status);
    return status.state == BZ_LINK_WAITING && status.code == BLAZE_ECONNECT;
}

static bool has_been_live(void *context)
{
    struct bz_link_status status;
    bz_link_get_status(context, &status);
    return status.reached;
}

static void a_hub_that_was_gone_is_found_again(void **state)
{
    struct place place;
    struct copy a;
    struct copy b;
    place_open(&place, state);
    copy_open(&a, &place, NULL);
    share(&a, &place);
    join(&b, &a, &place);
    struct bz_link *left = link_open(&a, place.url, BZ_LINK_LIVE_MODE, false);
    link_open(&b, place.url, BZ_LINK_LIVE_MODE, false);
    put(a.db, 0, 10, "color", 1);
    wait_equal(&a, &b, 10);
    wait_until(has_been_live, left, "the link is live");
    for (unsigned i = 0; i < 2; i++) {
        hub_stop(&place);
        put(a.db, 100 * (i + 1), 10, "color", 1);
        put(b.db, 100 * (i + 1) + 10, 10, "color", 1);
        wait_until(is_waiting, left, "the link waits");
        struct bz_link_status status;
        bz_link_get_status(left, &status);
        assert_true(status.state != BZ_LINK_LIVE && status.reached);
        hub_start(&place);
        wait_equal(&a, &b, 10 + 20 * (i + 1));
    }
    copy_close(&a);
    copy_close(&b);
    place_close(&place);
}

static void nobody_there_ends_a_single_sync_and_makes_a_live_link_wait(void **state)
{
    struct place place;
    struct copy a;
    blaze_error error;
    place_open(&place, state);
    copy_open(&a, &place, NULL);
    share(&a, &place);
    hub_stop(&place);
    assert_int_equal(sync_once(&a, place.url, false, &error), BLAZE_ECONNECT);
    assert_non_null(strstr(error.text, place.url));
    struct bz_link *link = link_open(&a, place.url, BZ_LINK_LIVE_MODE, false);
    wait_until(is_waiting, link, "the link waits");
    assert_int_equal(bz_link_wait(link, 1, &error), BLAZE_ETIMEOUT);
    bz_link_close(link);
    copy_close(&a);
    place_close(&place);
}

static bool none_open(void *context)
{
    struct place *place = context;
    struct bz_hub_status status;
    bz_hub_get_status(place->hub, &status);
    return status.databases == 0;
}

static void a_database_without_clients_is_closed_and_opened_again(void **state)
{
    struct place place;
    struct copy a;
    place_open(&place, state);
    hub_stop(&place);
    place.options.idle_ms = 5;
    hub_start(&place);
    copy_open(&a, &place, NULL);
    share(&a, &place);
    for (unsigned i = 0; i < 3; i++) {
        put(a.db, i, 1, "color", 1);
        must_sync(&a, &place);
        /* It is closed by itself; nobody tells us when, so we look at each of the hub's turns. */
        struct timespec moment = {.tv_nsec = 1000000};
        for (unsigned turn = 0; !none_open(&place) && turn < 240000; turn++)
            nanosleep(&moment, NULL);
        assert_true(none_open(&place));
    }
    copy_close(&a);
    place_close(&place);
}

struct leaving {
    pthread_t thread;
    struct bz_hub *hub;
    struct hosted *hosted;
};

/* A client leaves, a millisecond or more after the closing of another database began. */
static int leave(void *context, enum bz_os_op op, const char *path)
{
    (void)op;
    (void)path;
    struct leaving *leaving = context;
    if (!pthread_equal(leaving->thread, pthread_self()) || leaving->hosted == NULL)
        return 0;
    uint64_t began = bz_os_mono_ns();
    while (bz_os_mono_ns() - began < 1000000u) {
    }
    bz_hosted_release(leaving->hub, leaving->hosted);
    leaving->hosted = NULL;
    return 0;
}

static blaze_id database_of(struct copy *copy)
{
    struct bz_identity identity;
    bz_db_identity(copy->db, &identity);
    return identity.database;
}

static void a_database_that_was_left_while_others_are_closed_is_kept_for_its_time(void **state)
{
    struct place place;
    struct copy copy;
    blaze_id ids[2];
    struct hosted *hosted[2];
    place_open(&place, state);
    for (unsigned i = 0; i < 2; i++) {
        copy_open(&copy, &place, NULL);
        share(&copy, &place);
        ids[i] = database_of(&copy);
        copy_close(&copy);
    }
    hub_stop(&place);
    place.options.idle_ms = 3600000;
    static struct leaving leaving; /* outlives a failure */
    leaving.thread = pthread_self();
    bz_os_set_fault(leave, &leaving); /* while no database's thread is there */
    hub_start(&place);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(bz_hosted_acquire(place.hub, &ids[i], NULL, &hosted[i], NULL), 0);
    bz_hosted_release(place.hub, hosted[0]);
    hosted[0]->idle_since_ms -= place.options.idle_ms;
    leaving.hub = place.hub;
    leaving.hosted = hosted[1];
    assert_int_equal(bz_hosted_sweep(place.hub, false, NULL), 0);
    assert_null(leaving.hosted);
    assert_ptr_equal(place.hub->hosted, hosted[1]);
    assert_null(hosted[1]->next);
    hub_stop(&place);
    bz_os_set_fault(NULL, NULL);
    place_close(&place);
}

/* Else each change that passes through a relaxed hub waits for its disk. */
static void databases_are_as_durable_as_the_hub_was_opened_for(void **state)
{
    static const enum bz_durability durabilities[] = {BZ_DURABLE_FULL, BZ_DURABLE_RELAXED};
    for (size_t i = 0; i < 2; i++) {
        struct place place;
        struct copy a;
        place_open(&place, state);
        hub_stop(&place);
        place.options.idle_ms = 3600000;
        place.options.durability = durabilities[i];
        hub_start(&place);
        copy_open(&a, &place, NULL);
        share(&a, &place);
        pthread_mutex_lock(&place.hub->lock);
        assert_non_null(place.hub->hosted);
        assert_int_equal(bz_db_apply_durability(place.hub->hosted->db), durabilities[i]);
        pthread_mutex_unlock(&place.hub->lock);
        copy_close(&a);
        place_close(&place);
    }
}

static void a_second_hub_for_a_directory_is_turned_away(void **state)
{
    struct place place;
    place_open(&place, state);
    struct bz_hub *second;
    char dir[128];
    blaze_error error;
    const char *urls[] = {"mem:second"};
    snprintf(dir, sizeof dir, "%s/hub", place.dir);
    struct bz_hub_options options;
    bz_hub_options_init(&options);
    options.listen = urls;
    options.listen_count = 1;
    assert_int_equal(bz_hub_open(&second, dir, &options, &error), BLAZE_EBUSY);
    assert_non_null(strstr(error.text, dir));
    char holder[32];
    snprintf(holder, sizeof holder, "process %ld", (long)getpid());
    assert_non_null(strstr(error.text, holder));

    /* And one for another directory, at the same address. */
    snprintf(dir, sizeof dir, "%s/other", place.dir);
    urls[0] = place.url;
    assert_int_equal(bz_hub_open(&second, dir, &options, &error), BLAZE_EADDRINUSE);
    assert_non_null(strstr(error.text, place.url));
    place_close(&place);
}

static void links_may_be_closed_at_any_moment(void **state)
{
    struct place place;
    struct copy a;
    struct copy b;
    place_open(&place, state);
    copy_open(&a, &place, NULL);
    put(a.db, 0, 3000, "color", 1);
    share(&a, &place);
    join(&b, &a, &place);
    struct timespec moment = {0};
    for (unsigned i = 0; i < 12; i++) {
        struct bz_link *link = link_open(&b, place.url, BZ_LINK_LIVE_MODE, false);
        moment.tv_nsec = 400000L * i; /* another moment each time; none is waited for */
        nanosleep(&moment, NULL);
        bz_link_close(link);
        put(a.db, 10000 + i, 1, "color", 1);
        link = link_open(&a, place.url, BZ_LINK_ONCE, false);
        bz_link_close(link);
    }
    must_sync(&a, &place);
    must_sync(&b, &place);
    assert_equal_copies(&a, &b, 3012);
    copy_close(&a);
    copy_close(&b);
    place_close(&place);
}

/* ---- Strangers ---- */

struct stranger {
    struct bz_loop *loop;
    const char *url;
    const char *says;
    bool closed;
};

static void stranger_on_open(void *context, struct bz_stream *stream)
{
    struct stranger *stranger = context;
    if (stranger->says != NULL)
        bz_stream_write(stream, bz_bytes_text(stranger->says));
}

static void stranger_on_close(void *context, struct bz_stream *stream, const blaze_error *reason)
{
    struct stranger *stranger = context;
    (void)stream;
    (void)reason;
    pthread_mutex_lock(&lock);
    stranger->closed = true;
    pthread_mutex_unlock(&lock);
    note(NULL);
}

static void stranger_connect(void *context)
{
    static const struct bz_stream_callbacks callbacks = {
        .on_open = stranger_on_open, .on_close = stranger_on_close};
    struct stranger *stranger = context;
    struct bz_stream *stream;
    if (bz_stream_connect(
            &stream, stranger->loop, stranger->url, NULL, &callbacks, stranger, NULL) != 0)
        abort();
}

static bool is_closed(void *context)
{
    struct stranger *stranger = context;
    pthread_mutex_lock(&lock);
    bool closed = stranger->closed;
    pthread_mutex_unlock(&lock);
    return closed;
}

static bool has_turned_away_four(void *context)
{
    struct place *place = context;
    struct bz_hub_status status;
    bz_hub_get_status(place->hub, &status);
    return status.refused == 4 && status.accepted == 4;
}

static void strangers_are_hung_up_on_and_harm_nobody(void **state)
{
    struct place place;
    struct copy a;
    place_open(&place, state);
    hub_stop(&place);
    place.options.handshake_ms = 2000; /* all of them manage TLS in that */
    hub_start(&place);
    static const char *const sayings[] = {NULL, "GET / HTTP/1.1\r\n\r\n",
        "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "\x01\x01\x01\x01\x01\x01\x01\x01"};
    for (unsigned i = 0; i < 4; i++) {
        struct stranger stranger = {.url = place.url, .says = sayings[i]};
        assert_int_equal(bz_loop_open(&stranger.loop, NULL), 0);
        bz_loop_call(stranger.loop, stranger_connect, &stranger);
        wait_until(is_closed, &stranger, "the stranger is hung up on");
        bz_loop_close(stranger.loop);
    }
    wait_until(has_turned_away_four, &place, "the hub has counted them");
    hub_stop(&place);
    place.options.handshake_ms = 10000; /* enough for honest clients on a slow machine */
    hub_start(&place);
    copy_open(&a, &place, NULL);
    put(a.db, 0, 10, "color", 1);
    share(&a, &place);
    struct bz_hub_status status;
    bz_hub_get_status(place.hub, &status);
    assert_true(status.refused == 0 && status.accepted == 1);
    assert_true(status.received_bytes > 0 && status.sent_bytes > 0);
    copy_close(&a);
    place_close(&place);
}

/* ---- Another process ---- */

static void write_in_child(const char *path, int go)
{
    struct bz_db *db;
    struct bz_db_options options = {0};
    char c;
    if (read(go, &c, 1) != 1 || bz_db_open(&db, path, &options, NULL) != 0)
        _exit(1);
    put(db, 500, 5, "color", 1);
    _exit(bz_db_close(db, NULL) != 0);
}

static void what_another_process_writes_is_carried_too(void **state)
{
    struct place place;
    struct copy a;
    struct copy b;
    int go[2];
    assert_int_equal(pipe(go), 0);
    /* The child is made while there is one thread, and told later what to write to. */
    int path[2];
    assert_int_equal(pipe(path), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        char name[128] = "";
        if (read(path[0], name, sizeof name) <= 0)
            _exit(1);
        write_in_child(name, go[0]);
    }
    place_open(&place, state);
    copy_open(&a, &place, NULL);
    share(&a, &place);
    join(&b, &a, &place);
    assert_int_equal(
        bz_link_wait(link_open(&a, place.url, BZ_LINK_LIVE_MODE, false), 60000, NULL), 0);
    assert_int_equal(
        bz_link_wait(link_open(&b, place.url, BZ_LINK_LIVE_MODE, false), 60000, NULL), 0);
    assert_true(write(path[1], a.path, sizeof a.path) > 0);
    assert_int_equal(write(go[1], "x", 1), 1);
    wait_equal(&a, &b, 5);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    copy_close(&a);
    copy_close(&b);
    place_close(&place);
    close(go[0]);
    close(go[1]);
    close(path[0]);
    close(path[1]);
}

#define ONCE(test)                                                                                 \
    {                                                                                              \
#test, test, NULL, NULL, (void *)(uintptr_t) "unix"                                        \
    }

#define EACH(test)                                                                                 \
    {#test " (mem)", test, NULL, NULL, (void *)(uintptr_t) "mem"},                                 \
        {#test " (unix)", test, NULL, NULL, (void *)(uintptr_t) "unix"},                           \
    {                                                                                              \
#test " (tcp)", test, NULL, NULL, (void *)(uintptr_t) "tcp"                                \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        ONCE(what_another_process_writes_is_carried_too),
        EACH(two_copies_converge_through_a_hub),
        EACH(live_links_carry_changes_both_ways),
        ONCE(one_write_reaches_every_live_copy),
        ONCE(a_wrong_secret_is_refused_for_good),
        ONCE(a_database_that_the_hub_does_not_have_is_not_found),
        ONCE(a_hub_takes_in_as_many_databases_as_it_may),
        ONCE(a_database_without_a_secret_has_no_links),
        ONCE(a_join_code_for_another_database_is_refused),
        EACH(a_hub_that_was_gone_is_found_again),
        EACH(nobody_there_ends_a_single_sync_and_makes_a_live_link_wait),
        ONCE(a_database_without_clients_is_closed_and_opened_again),
        ONCE(a_database_that_was_left_while_others_are_closed_is_kept_for_its_time),
        ONCE(databases_are_as_durable_as_the_hub_was_opened_for),
        EACH(a_second_hub_for_a_directory_is_turned_away),
        EACH(links_may_be_closed_at_any_moment),
        EACH(strangers_are_hung_up_on_and_harm_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
