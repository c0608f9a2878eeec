/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The standing settler: an observer with nothing to show. It is woken for a first look at all that
 * is listed, and then looks at what changes. It starts with the first thing to settle by.
 */

#include "db/db_priv.h"

/* Whether there is anything to settle by. */
static bool has_rules(struct bz_db *db)
{
    struct bz_settler *settler = &db->settler;
    pthread_mutex_lock(&settler->lock);
    bool some = settler->resolvers != NULL, keeps = settler->keeps;
    pthread_mutex_unlock(&settler->lock);
    return some || (keeps && bz_db_has_policies(db));
}

static void on_events(void *context, const struct bz_event *events, size_t count)
{
    struct bz_db *db = context;
    int rc = count == 0 || db->settler.behind ? bz_db_settle_pass(db, NULL, NULL)
                                              : bz_settle_changed(db, events, count);
    db->settler.behind = rc != 0; /* the next commit, or the next wake, tries it again */
}

int bz_settler_start(struct bz_db *db, blaze_error *error)
{
    struct bz_settler *settler = &db->settler;
    int rc = 0;
    if (settler->by_hand)
        return 0;
    pthread_mutex_lock(&settler->starting);
    if (settler->observer == NULL)
        rc = bz_db_observe(db, bz_bytes(NULL, 0), on_events, db, &settler->observer, error);
    if (rc == 0) {
        pthread_mutex_lock(&settler->lock);
        settler->started = true;
        pthread_mutex_unlock(&settler->lock);
        bz_watch_wake(settler->observer);
    }
    pthread_mutex_unlock(&settler->starting);
    return rc;
}

void bz_settler_look(struct bz_db *db)
{
    if (has_rules(db))
        bz_settler_start(db, NULL); /* if it cannot start now, the next look may */
}

/* Whether the policies are others than when this was asked last. */
static bool policies_changed(struct bz_db *db)
{
    struct bz_settler *settler = &db->settler;
    struct bz_read *read = NULL;
    uint64_t sum = 0;
    if (bz_read_begin(db, &read, NULL) != 0)
        return false; /* the next commit has it looked at again */
    int rc = bz_policy_sum(read->view, &sum, NULL);
    bz_read_end(read);
    if (rc != 0)
        return false;
    pthread_mutex_lock(&settler->lock);
    bool changed = settler->policies != sum;
    settler->policies = sum;
    pthread_mutex_unlock(&settler->lock);
    return changed;
}

void bz_settler_poll(struct bz_db *db)
{
    struct bz_settler *settler = &db->settler;
    pthread_mutex_lock(&settler->lock);
    bool keeps = settler->keeps, started = settler->started;
    pthread_mutex_unlock(&settler->lock);
    if (keeps && (policies_changed(db) || !started))
        bz_settler_look(db);
}

int bz_db_keep_policies(struct bz_db *db, blaze_error *error)
{
    if (db->read_only || db->identity.blind)
        return 0;
    pthread_mutex_lock(&db->settler.lock);
    db->settler.keeps = true;
    pthread_mutex_unlock(&db->settler.lock);
    return has_rules(db) ? bz_settler_start(db, error) : 0;
}

void bz_settler_init(struct bz_settler *settler)
{
    *settler = (struct bz_settler){0};
    pthread_mutex_init(&settler->lock, NULL);
    pthread_mutex_init(&settler->starting, NULL);
    pthread_cond_init(&settler->idle, NULL);
}

void bz_settler_stop(struct bz_db *db)
{
    struct bz_settler *settler = &db->settler;
    bz_db_unobserve(settler->observer);
    settler->observer = NULL;
    bz_resolvers_free(settler);
}

void bz_settler_release(struct bz_settler *settler)
{
    pthread_cond_destroy(&settler->idle);
    pthread_mutex_destroy(&settler->starting);
    pthread_mutex_destroy(&settler->lock);
}
