/* SPDX-License-Identifier: Apache-2.0 */
/* Sharing, joining and syncing through the public functions, all in one process. */
#include "api/api_test_util.h"
#include "crypto/keys.h"

#include <blazedb.h>
#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* ---- a place with a hub and two copies of a database ---- */

struct place {
    char dir[32];
    blaze_hub *hub;
    blaze_db *a, *b;
    char *code;
};

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    (void)info;
    (void)kind;
    (void)where;
    return remove(path);
}

static blaze_hub *open_hub(const char *directory, const char *url)
{
    blaze_hub_options options;
    blaze_hub_options_init(&options);
    options.listen = &url;
    options.listen_count = 1;
    blaze_hub *hub;
    OK(blaze_hub_open(&hub, directory, &options, &error));
    return hub;
}

static int begin_place(void **state)
{
    struct place *p = calloc(1, sizeof *p);
    strcpy(p->dir, "/tmp/blazedb-api-XXXXXX");
    if (mkdtemp(p->dir) == NULL || chdir(p->dir) != 0)
        return -1;
    p->hub = open_hub("hub", "mem:hub");
    blaze_open_options options;
    blaze_open_options_init(&options);
    options.create = 1;
    options.memory = 1;
    OK(blaze_open(&p->a, "a", &options, &error));
    OK(blaze_share(p->a, "mem:hub", NULL, &p->code, &error));
    OK(blaze_join(&p->b, "b.blz", p->code, NULL, NULL, &error));
    *state = p;
    return 0;
}

static int end_place(void **state)
{
    struct place *p = *state;
    blaze_close(p->a, NULL);
    blaze_close(p->b, NULL);
    blaze_hub_close(p->hub, NULL);
    blaze_free(p->code);
    int rc = chdir("/");
    nftw(p->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(p);
    return rc;
}

static void put(blaze_db *db, const blaze_id *id, const char *json)
{
    blaze_doc *doc;
    OK(blaze_doc_from_json(&doc, json, strlen(json), &error));
    OK(blaze_upsert(db, "c", id, doc, &error));
    blaze_doc_free(doc);
}

static blaze_id new_id(void)
{
    blaze_id id;
    assert_int_equal(blaze_id_new(&id), BLAZE_OK);
    return id;
}

static void sync_both(struct place *p)
{
    OK(blaze_sync(p->a, NULL, NULL, &error));
    OK(blaze_sync(p->b, NULL, NULL, &error));
    OK(blaze_sync(p->a, NULL, NULL, &error));
    char a[BLAZE_DIGEST_TEXT_SIZE], b[BLAZE_DIGEST_TEXT_SIZE];
    OK(blaze_digest(p->a, a, &error));
    OK(blaze_digest(p->b, b, &error));
    assert_string_equal(a, b);
}

/* ---- tests ---- */

static void a_copy_has_the_database_id_and_a_node_id_of_its_own(void **state)
{
    struct place *p = *state;
    blaze_id a, b;
    blaze_database_id(p->a, &a);
    blaze_database_id(p->b, &b);
    assert_memory_equal(&a, &b, sizeof a);
    blaze_node_id(p->a, &a);
    blaze_node_id(p->b, &b);
    assert_memory_not_equal(&a, &b, sizeof a);
}

struct conflict_seen {
    unsigned fields;
    int64_t values[4];
    blaze_id nodes[4];
    size_t siblings;
};

static int see_conflict(void *context, const blaze_conflict *conflict)
{
    struct conflict_seen *seen = context;
    seen->fields++;
    seen->siblings = conflict->count;
    for (size_t i = 0; i < conflict->count && i < 4; i++) {
        seen->values[i] =
            conflict->siblings[i].present ? conflict->siblings[i].value.as.integer : -1;
        seen->nodes[i] = conflict->siblings[i].node;
    }
    return 0;
}

static void writes_apart_to_one_field_leave_a_winner_and_a_sibling(void **state)
{
    struct place *p = *state;
    blaze_id id = new_id(), node_a, node_b;
    put(p->a, &id, "{\"n\":0}");
    sync_both(p);
    put(p->a, &id, "{\"n\":1}");
    put(p->b, &id, "{\"n\":2}");
    sync_both(p);

    struct conflict_seen on_a = {0}, on_b = {0};
    OK(blaze_conflicts(p->a, "c", &id, see_conflict, &on_a, &error));
    OK(blaze_conflicts(p->b, NULL, NULL, see_conflict, &on_b, &error));
    assert_int_equal(on_a.fields, 1);
    assert_int_equal(on_a.siblings, 2);
    assert_memory_equal(&on_a, &on_b, sizeof on_a);
    blaze_node_id(p->a, &node_a);
    blaze_node_id(p->b, &node_b);
    for (int i = 0; i < 2; i++)
        assert_memory_equal(&on_a.nodes[i], on_a.values[i] == 1 ? &node_a : &node_b, 16);
    blaze_id nobody = new_id();
    assert_int_equal(
        blaze_conflicts(p->a, NULL, &nobody, see_conflict, &on_a, &error), BLAZE_EINVAL);

    put(p->b, &id, "{\"n\":3}");
    sync_both(p);
    struct conflict_seen settled = {0};
    OK(blaze_conflicts(p->a, "c", NULL, see_conflict, &settled, &error));
    assert_int_equal(settled.fields, 0);
}

/* What a link's callback has told. */
struct told {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    blaze_link_status status;
    unsigned calls;
};

static void on_progress(void *context, const blaze_link_status *status)
{
    struct told *told = context;
    pthread_mutex_lock(&told->lock);
    told->status = *status;
    told->calls++;
    pthread_cond_broadcast(&told->changed);
    pthread_mutex_unlock(&told->lock);
}

static blaze_link *open_link(blaze_db *db, struct told *told)
{
    *told = (struct told){.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    blaze_sync_options options;
    blaze_sync_options_init(&options);
    options.on_progress = on_progress;
    options.context = told;
    blaze_link *link;
    OK(blaze_link_open(db, &options, &link, &error));
    return link;
}

#define AWAIT(told, condition)                                                                     \
    do {                                                                                           \
        pthread_mutex_lock(&(told)->lock);                                                         \
        while (!(condition))                                                                       \
            pthread_cond_wait(&(told)->changed, &(told)->lock);                                    \
        pthread_mutex_unlock(&(told)->lock);                                                       \
    } while (0)

static void a_link_tells_of_every_exchange_also_of_the_last(void **state)
{
    struct place *p = *state;
    struct told a, b;
    blaze_link *link_a = open_link(p->a, &a), *link_b = open_link(p->b, &b);
    AWAIT(&a, a.status.state == BLAZE_LINK_LIVE);
    AWAIT(&b, b.status.state == BLAZE_LINK_LIVE);
    for (uint64_t i = 1; i <= 20; i++) {
        blaze_id id = new_id();
        put(p->a, &id, "{\"n\":1}");
        AWAIT(&b, b.status.received_records == i);
        OK(blaze_exists(p->b, "c", &id, &error));
    }
    AWAIT(&a, a.status.sent_records == 20);
    pthread_mutex_lock(&a.lock);
    uint64_t received = a.status.received_records;
    pthread_mutex_unlock(&a.lock);
    assert_int_equal(received, 0); /* nothing comes back */

    char *json;
    OK(blaze_status(p->a, &json, &error));
    assert_non_null(strstr(json, "\"links\":[{\"url\":\"mem:hub\",\"state\":\"live\""));
    blaze_free(json);
    blaze_link_close(link_a);
    blaze_link_close(link_b);
}

/* The link may not have looked at it yet, and say that it is live of what was before. */
static void a_wait_for_a_link_waits_for_what_was_just_written(void **state)
{
    struct place *p = *state;
    struct told told;
    blaze_link *link = open_link(p->a, &told);
    for (int i = 0; i < 200; i++) {
        blaze_id id = new_id();
        put(p->a, &id, "{\"n\":1}");
        OK(blaze_link_wait(link, 60000, &error));
        OK(blaze_link_wait_write(link, blaze_position(p->a), 0, &error));
    }
    blaze_link_close(link);
}

static void closing_a_database_stops_its_links(void **state)
{
    struct place *p = *state;
    struct told told;
    blaze_link *link = open_link(p->b, &told);
    AWAIT(&told, told.status.state == BLAZE_LINK_LIVE);
    OK(blaze_close(p->b, &error));
    p->b = NULL;
    blaze_link_status status;
    blaze_link_get_status(link, &status);
    assert_int_equal(status.state, BLAZE_LINK_STOPPED);
    blaze_link_close(link);
}

static void a_link_finds_a_hub_that_comes_back(void **state)
{
    struct place *p = *state;
    struct told told;
    blaze_link *link = open_link(p->b, &told);
    AWAIT(&told, told.status.state == BLAZE_LINK_LIVE);
    OK(blaze_hub_close(p->hub, &error));
    p->hub = NULL;
    AWAIT(&told, told.status.state == BLAZE_LINK_WAITING && told.status.code != 0);
    p->hub = open_hub("hub", "mem:hub");
    AWAIT(&told, told.status.state == BLAZE_LINK_LIVE);
    blaze_link_close(link);
}

struct seen {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    blaze_event event;
    bool any;
};

static void on_events(void *context, const blaze_event *events, size_t count)
{
    struct seen *seen = context;
    pthread_mutex_lock(&seen->lock);
    seen->event = events[count - 1];
    seen->any = true;
    pthread_cond_signal(&seen->changed);
    pthread_mutex_unlock(&seen->lock);
}

static void an_observer_tells_remote_changes_from_local_ones(void **state)
{
    struct place *p = *state;
    struct seen seen = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    blaze_observer *observer;
    OK(blaze_observe(p->b, "c", on_events, &seen, &observer, &error));
    blaze_id id = new_id();
    put(p->a, &id, "{\"n\":1}");
    sync_both(p);
    AWAIT(&seen, seen.any);
    assert_memory_equal(&seen.event.id, &id, sizeof id);
    assert_true(seen.event.remote);
    assert_false(seen.event.deleted);
    seen.any = false;
    OK(blaze_delete(p->b, "c", &id, &error));
    AWAIT(&seen, seen.any);
    assert_false(seen.event.remote);
    assert_true(seen.event.deleted);
    blaze_unobserve(observer);
}

/* A socket at which nobody ever answers. */
static int open_silence(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(fd, 8), 0);
    return fd;
}

static int at_the_third_time(void *context)
{
    return ++*(unsigned *)context == 3;
}

static void a_call_gives_up_when_nothing_moves_or_when_it_is_told_to(void **state)
{
    struct place *p = *state;
    int silence = open_silence("silence");
    blaze_sync_options options;
    blaze_sync_options_init(&options);
    options.url = "unix:silence";
    options.timeout_ms = 100;
    blaze_link_status status = {0};
    assert_int_equal(blaze_sync(p->a, &options, &status, &error), BLAZE_ETIMEOUT);
    assert_int_equal(status.size, sizeof status);

    unsigned asked = 0;
    options.timeout_ms = 3600 * 1000;
    options.canceled = at_the_third_time;
    options.context = &asked;
    assert_int_equal(blaze_sync(p->a, &options, NULL, &error), BLAZE_ECANCELED);
    assert_int_equal(asked, 3);
    close(silence);

    OK(blaze_hub_close(p->hub, &error));
    p->hub = NULL;
    assert_int_equal(blaze_sync(p->a, NULL, &status, &error), BLAZE_ECONNECT);
    assert_int_equal(status.state, BLAZE_LINK_STOPPED);
}

/* A code that is whole, but whose secret is not the database's. */
static void a_wrong_secret_is_refused(void **state)
{
    struct place *p = *state;
    struct bz_join join;
    OK(bz_join_parse(&join, p->code, &error));
    join.secret.bytes[7] ^= 1;
    struct bz_buf code;
    bz_buf_init(&code, 1024);
    OK(bz_join_format(&code, &join, &error));
    bz_buf_append8(&code, '\0');
    blaze_db *joined;
    assert_int_equal(
        blaze_join(&joined, "c.blz", (char *)code.data, NULL, NULL, &error), BLAZE_EAUTH);
    assert_int_not_equal(access("c.blz", F_OK), 0);
    bz_buf_release(&code);
    sync_both(p); /* the others do not notice */
}

static void what_cannot_be_synced_says_why(void **state)
{
    struct place *p = *state;
    blaze_open_options options;
    blaze_open_options_init(&options);
    options.create = 1;
    options.memory = 1;
    blaze_db *alone, *joined;
    OK(blaze_open(&alone, "alone", &options, &error));
    assert_int_equal(blaze_sync(alone, NULL, NULL, &error), BLAZE_ENOTFOUND);
    assert_non_null(strstr(error.text, "share it"));
    char *code = NULL;
    assert_int_equal(blaze_share(alone, "gopher://x", NULL, &code, &error), BLAZE_EINVAL);
    assert_null(code);
    OK(blaze_share(alone, "mem:hub", NULL, &code, &error));

    assert_int_equal(blaze_join(&joined, "c.blz", "blaze://x", NULL, NULL, &error), BLAZE_ESYNTAX);
    assert_int_not_equal(access("c.blz", F_OK), 0);
    OK(blaze_close(p->b, &error));
    p->b = NULL;
    assert_int_equal(blaze_join(&joined, "b.blz", code, NULL, NULL, &error), BLAZE_EDATABASE);
    OK(blaze_join(&p->b, "b.blz", p->code, NULL, NULL, &error)); /* joining again does no harm */
    blaze_free(code);
    OK(blaze_close(alone, &error));

    /* A join that comes to nothing leaves nothing, and may be repeated. */
    OK(blaze_hub_close(p->hub, &error));
    p->hub = NULL;
    assert_int_equal(blaze_join(&joined, "c.blz", p->code, NULL, NULL, &error), BLAZE_ECONNECT);
    assert_int_not_equal(access("c.blz", F_OK), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin_place, end_place)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_copy_has_the_database_id_and_a_node_id_of_its_own),
        TEST(writes_apart_to_one_field_leave_a_winner_and_a_sibling),
        TEST(a_link_tells_of_every_exchange_also_of_the_last),
        TEST(a_wait_for_a_link_waits_for_what_was_just_written),
        TEST(closing_a_database_stops_its_links),
        TEST(a_link_finds_a_hub_that_comes_back),
        TEST(an_observer_tells_remote_changes_from_local_ones),
        TEST(a_call_gives_up_when_nothing_moves_or_when_it_is_told_to),
        TEST(a_wrong_secret_is_refused),
        TEST(what_cannot_be_synced_says_why),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
