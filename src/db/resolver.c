/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Resolvers: functions of this process that settle the conflicts of a collection. One that is taken
 * away while it runs goes when it is back; nobody waits for it on the thread that it runs on.
 */

#include "db/db_priv.h"

#include "base/alloc.h"

struct bz_resolver {
    struct bz_resolver *next;
    struct bz_bytes collection; /* owned */
    bz_resolve_fn *fn;
    void *context;
    void (*release)(void *context);
    unsigned running;
    bool removed;
};

/* With the lock held. */
static struct bz_resolver *find(const struct bz_settler *settler, struct bz_bytes collection)
{
    struct bz_resolver *r = settler->resolvers;
    while (r != NULL && (r->removed || !bz_bytes_equal(r->collection, collection)))
        r = r->next;
    return r;
}

struct bz_resolver *bz_resolver_take(struct bz_db *db, struct bz_bytes collection)
{
    struct bz_settler *settler = &db->settler;
    pthread_mutex_lock(&settler->lock);
    struct bz_resolver *r = find(settler, collection);
    if (r != NULL)
        r->running++;
    pthread_mutex_unlock(&settler->lock);
    return r;
}

static void resolver_free(struct bz_resolver *resolver)
{
    if (resolver->release != NULL)
        resolver->release(resolver->context);
    bz_free((void *)resolver->collection.data);
    bz_free(resolver);
}

/* With the lock held: takes a removed one out of the list once nothing runs. */
static void reap(struct bz_settler *settler, struct bz_resolver *resolver)
{
    if (!resolver->removed || resolver->running > 0)
        return;
    struct bz_resolver **at = &settler->resolvers;
    while (*at != resolver)
        at = &(*at)->next;
    *at = resolver->next;
    resolver_free(resolver);
}

void bz_resolver_give(struct bz_db *db, struct bz_resolver *resolver)
{
    struct bz_settler *settler = &db->settler;
    pthread_mutex_lock(&settler->lock);
    resolver->running--;
    pthread_cond_broadcast(&settler->idle);
    reap(settler, resolver);
    pthread_mutex_unlock(&settler->lock);
}

int bz_resolver_call(const struct bz_resolver *resolver, const struct bz_conflict *fields,
    uint32_t count, blaze_doc *values)
{
    return resolver->fn(resolver->context, fields, count, values);
}

/* With the lock held: takes the resolver of a collection away, and waits for its calls; and again
 * if another thread has set one meanwhile. */
static void remove_resolver(struct bz_db *db, struct bz_bytes collection)
{
    struct bz_settler *settler = &db->settler;
    struct bz_resolver *r;
    while ((r = find(settler, collection)) != NULL) {
        r->removed = true;
        if (r->running > 0 && db->watch.thread_runs &&
            pthread_equal(pthread_self(), db->watch.thread))
            continue; /* its own call does the rest */
        r->running++;
        while (r->running > 1)
            pthread_cond_wait(&settler->idle, &settler->lock);
        r->running--;
        reap(settler, r);
    }
}

static struct bz_resolver *resolver_new(struct bz_bytes collection)
{
    uint8_t *name = bz_malloc(collection.size);
    struct bz_resolver *resolver = bz_zalloc(sizeof *resolver);
    if (name == NULL || resolver == NULL) {
        bz_free(name);
        bz_free(resolver);
        return NULL;
    }
    memcpy(name, collection.data, collection.size);
    resolver->collection = bz_bytes(name, collection.size);
    return resolver;
}

int bz_db_set_resolver(struct bz_db *db, struct bz_bytes collection, bz_resolve_fn *fn,
    void *context, void (*release)(void *context), blaze_error *error)
{
    struct bz_settler *settler = &db->settler;
    struct bz_resolver *added = NULL;
    int rc = bz_db_may_settle(db, error);
    if (rc == 0 && !bz_catalog_name_valid(collection))
        rc = bz_error_set(error, BLAZE_EINVAL, "not a collection's name");
    if (rc == 0 && fn != NULL && (added = resolver_new(collection)) == NULL)
        rc = bz_error_code(error, BLAZE_ENOMEM);
    if (rc != 0) {
        if (release != NULL)
            release(context);
        return rc;
    }
    if (added != NULL) {
        added->fn = fn;
        added->context = context;
        added->release = release;
    }
    pthread_mutex_lock(&settler->lock);
    remove_resolver(db, collection);
    if (added != NULL) {
        added->next = settler->resolvers;
        settler->resolvers = added;
    }
    pthread_mutex_unlock(&settler->lock);
    rc = added == NULL ? 0 : bz_settler_start(db, error);
    if (rc != 0) {
        pthread_mutex_lock(&settler->lock);
        remove_resolver(db, collection);
        pthread_mutex_unlock(&settler->lock);
    }
    return rc;
}

void bz_resolvers_free(struct bz_settler *settler)
{
    while (settler->resolvers != NULL) {
        struct bz_resolver *next = settler->resolvers->next;
        resolver_free(settler->resolvers);
        settler->resolvers = next;
    }
}
