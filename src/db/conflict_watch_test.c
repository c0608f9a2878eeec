/* SPDX-License-Identifier: Apache-2.0 */
#include "db/pair_test_util.h"

#include <pthread.h>

/* What was told: "c1:m,n c1:" is two calls, the second of which says that it is over; "c1!:" says
 * that its life is in conflict. */
struct told {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    char text[2000];
    unsigned calls;
    struct bz_conflict_watch *leave; /* to be ended from within the call */
};

static void told_init(struct told *told)
{
    *told = (struct told){.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
}

static void on_conflict(void *context, const struct bz_conflict_event *event)
{
    struct told *told = context;
    pthread_mutex_lock(&told->lock);
    size_t n = strlen(told->text), size = sizeof told->text;
    n += (size_t)snprintf(told->text + n, size - n, "%.*s%u%s:", (int)event->collection.size,
        (const char *)event->collection.data, bz_load32be(event->id.bytes + 12),
        event->life ? "!" : "");
    for (uint32_t i = 0; i < event->count; i++)
        n += (size_t)snprintf(told->text + n, size - n, "%s%.*s", i == 0 ? "" : ",",
            (int)event->fields[i].size, (const char *)event->fields[i].data);
    snprintf(told->text + n, size - n, " ");
    told->calls++;
    if (told->leave != NULL)
        bz_db_unwatch_conflicts(told->leave);
    told->leave = NULL;
    pthread_cond_broadcast(&told->changed);
    pthread_mutex_unlock(&told->lock);
}

static void expect_told(struct told *told, unsigned calls, const char *text)
{
    pthread_mutex_lock(&told->lock);
    while (told->calls < calls)
        pthread_cond_wait(&told->changed, &told->lock);
    assert_string_equal(told->text, text);
    pthread_mutex_unlock(&told->lock);
}

static void write_apart(struct pair *p, const char *collection, uint32_t n, const char *field)
{
    char json[64];
    snprintf(json, sizeof json, "{\"%s\":\"a\"}", field);
    write_json(p->a, UPSERT, collection, n, json);
    snprintf(json, sizeof json, "{\"%s\":\"b\"}", field);
    write_json(p->b, UPSERT, collection, n, json);
}

static void conflicts_are_told_when_they_come_change_and_end(void **state)
{
    (void)state;
    struct pair p;
    struct told told;
    struct bz_conflict_watch *watch = NULL;
    told_init(&told);
    pair_open(&p);
    write_json(p.a, INSERT, "c", 1, "{\"m\":0}");
    write_json(p.a, INSERT, "c", 2, "{\"m\":0}");
    sync_both(p.a, p.b);
    write_apart(&p, "c", 2, "m");
    sync_both(p.a, p.b);
    must(bz_db_watch_conflicts(p.a, bz_bytes(NULL, 0), on_conflict, &told, &watch, error));
    expect_told(&told, 1, "c2:m "); /* it was there */
    write_apart(&p, "c", 1, "m");
    sync_both(p.a, p.b);
    expect_told(&told, 2, "c2:m c1:m ");
    write_json(p.a, UPDATE, "c", 1, "{\"else\":1}"); /* no news */
    sync_both(p.a, p.b);
    write_apart(&p, "c", 1, "n");
    sync_both(p.a, p.b);
    expect_told(&told, 3, "c2:m c1:m c1:m,n ");
    write_json(p.b, UPDATE, "c", 1, "{\"m\":1}");
    sync_both(p.b, p.a);
    expect_told(&told, 4, "c2:m c1:m c1:m,n c1:n ");
    write_json(p.a, PUT, "c", 1, "{}");
    expect_told(&told, 5, "c2:m c1:m c1:m,n c1:n c1: ");
    delete_one_of(p.a, "c", 2);
    expect_told(&told, 6, "c2:m c1:m c1:m,n c1:n c1: c2: ");
    bz_db_unwatch_conflicts(watch);
    pair_close(&p);
}

static void conflicts_of_life_are_told_too(void **state)
{
    (void)state;
    struct pair p;
    struct told told;
    struct bz_conflict_watch *watch = NULL;
    told_init(&told);
    pair_open(&p);
    for (uint32_t n = 1; n < 3; n++) {
        write_json(p.a, INSERT, "c", n, "{\"m\":0}");
        sync_both(p.a, p.b);
        p.world[0].ms += 1000; /* deletes win */
        delete_one_of(p.a, "c", n);
        write_json(p.b, UPDATE, "c", n, "{\"m\":1}");
        if (n == 1)
            sync_both(p.a, p.b);
    }
    must(bz_db_watch_conflicts(p.b, bz_bytes(NULL, 0), on_conflict, &told, &watch, error));
    expect_told(&told, 1, "c1!: "); /* it was there */
    sync_both(p.a, p.b);
    expect_told(&told, 2, "c1!: c2!: ");
    write_json(p.b, INSERT, "c", 1, "{}");
    expect_told(&told, 3, "c1!: c2!: c1: ");
    bz_db_unwatch_conflicts(watch);
    pair_close(&p);
}

static void a_watch_of_one_collection_hears_of_no_other(void **state)
{
    (void)state;
    struct pair p;
    struct told told;
    struct bz_conflict_watch *watch = NULL;
    told_init(&told);
    pair_open(&p);
    write_apart(&p, "c", 1, "m");
    write_apart(&p, "d", 2, "m");
    sync_both(p.a, p.b);
    must(bz_db_watch_conflicts(p.a, bz_bytes_text("d"), on_conflict, &told, &watch, error));
    write_apart(&p, "c", 3, "m");
    write_apart(&p, "d", 4, "m");
    sync_both(p.a, p.b);
    pthread_mutex_lock(&told.lock);
    while (told.calls < 2)
        pthread_cond_wait(&told.changed, &told.lock);
    assert_non_null(strstr(told.text, "d2:m "));
    assert_non_null(strstr(told.text, "d4:m "));
    assert_null(strchr(told.text, 'c'));
    pthread_mutex_unlock(&told.lock);
    bz_db_unwatch_conflicts(watch);
    pair_close(&p);
}

static void a_watch_may_end_from_within_its_call(void **state)
{
    (void)state;
    struct pair p;
    struct told told;
    struct bz_conflict_watch *watch = NULL;
    told_init(&told);
    pair_open(&p);
    for (uint32_t n = 0; n < 5; n++)
        write_apart(&p, "c", n, "m");
    sync_both(p.a, p.b);
    pthread_mutex_lock(&told.lock); /* the call waits until `leave` is set */
    must(bz_db_watch_conflicts(p.a, bz_bytes(NULL, 0), on_conflict, &told, &watch, error));
    told.leave = watch;
    pthread_mutex_unlock(&told.lock);
    expect_told(&told, 1, "c0:m ");
    pair_close(&p);
    assert_int_equal(told.calls, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conflicts_are_told_when_they_come_change_and_end),
        cmocka_unit_test(conflicts_of_life_are_told_too),
        cmocka_unit_test(a_watch_of_one_collection_hears_of_no_other),
        cmocka_unit_test(a_watch_may_end_from_within_its_call),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
