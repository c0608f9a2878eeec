/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Being told of conflicts: an observer that looks at what it is told of, and remembers which
 * records it has told to be in conflict, so that it can tell when they are not any more.
 *
 * It is woken for a first pass over all that is listed. The same pass is made again where something
 * failed: what the pass does not meet is over.
 */

#include "db/db_priv.h"

#include "base/alloc.h"
#include "base/dict.h"
#include "base/hash.h"

#include <assert.h>

/* A record that was told to be in conflict. */
struct known {
    struct known *next, **at; /* the pointer to it in the list */
    uint8_t key[BZ_RECORD_KEY_SIZE];
    uint64_t state; /* what was in conflict, as a hash */
    uint64_t pass;  /* the last that met it */
};

struct bz_conflict_watch {
    struct bz_db *db;
    struct bz_observer *observer;
    bool all;
    struct bz_bytes collection; /* of the only one that interests; owned */
    void (*on_conflict)(void *context, const struct bz_conflict_event *event);
    void *context;
    pthread_mutex_t start; /* held until `observer` is known */
    /* Only the observers' thread looks at what follows. */
    struct bz_dict index; /* key -> struct known */
    struct known *known;
    uint64_t pass;
    bool behind;
    bool calling;
    bool ended; /* from within a call */
};

static struct known *find(const struct bz_conflict_watch *watch, struct bz_bytes key)
{
    uint64_t at;
    return bz_dict_get(&watch->index, key, &at) ? (struct known *)(uintptr_t)at : NULL;
}

static void drop(struct bz_conflict_watch *watch, struct known *known)
{
    bz_dict_remove(&watch->index, bz_bytes(known->key, sizeof known->key));
    *known->at = known->next;
    if (known->next != NULL)
        known->next->at = known->at;
    bz_free(known);
}

static struct known *add(struct bz_conflict_watch *watch, struct bz_bytes key)
{
    struct known *known = bz_zalloc(sizeof *known);
    if (known == NULL)
        return NULL;
    memcpy(known->key, key.data, sizeof known->key);
    if (bz_dict_put(&watch->index, bz_bytes(known->key, sizeof known->key),
            (uint64_t)(uintptr_t)known) != 0) {
        bz_free(known);
        return NULL;
    }
    known->next = watch->known;
    known->at = &watch->known;
    if (known->next != NULL)
        known->next->at = &known->next;
    watch->known = known;
    return known;
}

static uint64_t add_state(uint64_t state, const struct bz_conflict *c)
{
    struct bz_hash128 dots = {0};
    for (uint32_t i = 0; i < c->count; i++) {
        uint8_t dot[24];
        memcpy(dot, &c->siblings[i].node, 16);
        bz_store64le(dot + 16, c->siblings[i].seq);
        bz_hash128_add(&dots, bz_hash128(dot, sizeof dot, 0));
    }
    return bz_hash128(c->field.data, c->field.size, state ^ dots.low).low;
}

/* What is in conflict, and between whose writes. */
static uint64_t state_of(const struct bz_record_conflicts *found)
{
    uint64_t state = found->count;
    if (found->life != NULL)
        state = add_state(~state, found->life);
    for (uint32_t i = 0; i < found->count; i++)
        state = add_state(state, &found->fields[i]);
    return state;
}

static int tell(struct bz_conflict_watch *watch, struct bz_bytes collection, const blaze_id *id,
    const struct bz_record_conflicts *found, struct bz_arena *arena)
{
    struct bz_conflict_event event = {
        .collection = collection, .id = *id, .life = found != NULL && found->life != NULL};
    if (found != NULL && found->count > 0) {
        struct bz_bytes *fields = bz_arena_alloc(arena, found->count * sizeof *fields);
        if (fields == NULL)
            return BLAZE_ENOMEM;
        for (uint32_t i = 0; i < found->count; i++)
            fields[i] = found->fields[i].field;
        event.fields = fields;
        event.count = found->count;
    }
    watch->on_conflict(watch->context, &event);
    return 0;
}

static int look_at_ended(struct bz_conflict_watch *watch, struct bz_read *read, struct known *known)
{
    struct bz_bytes collection;
    blaze_id id;
    int rc = bz_catalog_collection_name(watch->db->catalog, bz_load32be(known->key), &collection);
    if (rc != 0)
        return rc;
    memcpy(&id, known->key + 4, sizeof id);
    drop(watch, known);
    return tell(watch, collection, &id, NULL, &read->arena);
}

/* Tells of a record, if there is something new about it. */
static int look_at(
    struct bz_conflict_watch *watch, struct bz_read *read, uint32_t collection, const blaze_id *id)
{
    uint8_t bytes[BZ_RECORD_KEY_SIZE];
    struct bz_bytes key = bz_record_key(bytes, collection, id);
    struct bz_record_conflicts found = {0};
    struct known *known = find(watch, key);
    struct bz_bytes name;
    int rc = bz_conflicts_listed(read, collection, id, NULL);
    if (rc == BLAZE_ENOTFOUND)
        return known == NULL ? 0 : look_at_ended(watch, read, known);
    if (rc == 0)
        rc = bz_conflicts_load(read, collection, id, &found, NULL);
    if (bz_is_unreadable(rc)) { /* what was told of it stands, and the others are told */
        if (known != NULL)
            known->pass = watch->pass;
        return 0;
    }
    if (rc == 0)
        rc = bz_catalog_collection_name(watch->db->catalog, collection, &name);
    if (rc != 0)
        return rc;
    uint64_t state = state_of(&found);
    bool news = known == NULL || known->state != state;
    if (known == NULL && (known = add(watch, key)) == NULL)
        return BLAZE_ENOMEM;
    known->pass = watch->pass;
    if (news)
        rc = tell(watch, name, id, &found, &read->arena);
    if (rc == 0)
        known->state = state;
    return rc;
}

static bool wanted(const struct bz_conflict_watch *watch, uint32_t collection)
{
    struct bz_bytes name;
    return watch->all || (bz_catalog_collection_name(watch->db->catalog, collection, &name) == 0 &&
                             bz_bytes_equal(name, watch->collection));
}

/* Looks at everything that is listed, and at what was and is not any more. */
static int look_at_all(struct bz_conflict_watch *watch, struct bz_read *read)
{
    struct bz_cursor *cursor = NULL;
    watch->pass++;
    int rc = bz_cursor_open(read->view, BZ_MAP_CONFLICTS, &cursor, NULL);
    if (rc == 0)
        rc = bz_cursor_seek(cursor, bz_bytes(NULL, 0), NULL);
    while (rc == 0 && !watch->ended) {
        struct bz_bytes key = bz_cursor_key(cursor);
        blaze_id id;
        if (key.size != BZ_RECORD_KEY_SIZE) {
            rc = BLAZE_ECORRUPT;
            break;
        }
        uint32_t collection = bz_load32be(key.data);
        memcpy(&id, key.data + 4, sizeof id);
        if (wanted(watch, collection))
            rc = look_at(watch, read, collection, &id);
        if (rc == 0)
            rc = bz_cursor_next(cursor, NULL);
    }
    bz_cursor_close(cursor);
    if (rc != BLAZE_END)
        return rc;
    rc = 0;
    for (struct known *k = watch->known, *next; k != NULL && rc == 0 && !watch->ended; k = next) {
        next = k->next;
        if (k->pass != watch->pass)
            rc = look_at_ended(watch, read, k);
    }
    return rc;
}

static int look_at_changed(struct bz_conflict_watch *watch, struct bz_read *read,
    const struct bz_event *events, size_t count)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < count && !watch->ended; i++) {
        uint32_t number;
        rc = bz_catalog_collection(watch->db->catalog, events[i].collection, &number);
        if (rc == 0)
            rc = look_at(watch, read, number, &events[i].id);
    }
    return rc;
}

static void watch_free(struct bz_conflict_watch *watch)
{
    while (watch->known != NULL)
        drop(watch, watch->known);
    bz_dict_release(&watch->index);
    pthread_mutex_destroy(&watch->start);
    bz_free((void *)watch->collection.data);
    bz_free(watch);
}

static void on_events(void *context, const struct bz_event *events, size_t count)
{
    struct bz_conflict_watch *watch = context;
    struct bz_read *read = NULL;
    pthread_mutex_lock(&watch->start);
    pthread_mutex_unlock(&watch->start);
    watch->calling = true;
    int rc = bz_read_begin(watch->db, &read, NULL);
    if (rc == 0) {
        rc = count == 0 || watch->behind ? look_at_all(watch, read)
                                         : look_at_changed(watch, read, events, count);
        bz_read_end(read);
    }
    watch->behind = rc != 0; /* the next commit tries it again */
    watch->calling = false;
    if (watch->ended)
        watch_free(watch);
}

int bz_db_watch_conflicts(struct bz_db *db, struct bz_bytes collection,
    void (*on_conflict)(void *context, const struct bz_conflict_event *event), void *context,
    struct bz_conflict_watch **out, blaze_error *error)
{
    struct bz_conflict_watch *watch = bz_zalloc(sizeof *watch);
    uint8_t *name = collection.size == 0 ? NULL : bz_malloc(collection.size);
    if (watch == NULL || (name == NULL && collection.size > 0)) {
        bz_free(watch);
        bz_free(name);
        return bz_error_code(error, BLAZE_ENOMEM);
    }
    if (name != NULL)
        memcpy(name, collection.data, collection.size);
    watch->db = db;
    watch->all = name == NULL;
    watch->collection = bz_bytes(name, collection.size);
    watch->on_conflict = on_conflict;
    watch->context = context;
    bz_dict_init(&watch->index);
    pthread_mutex_init(&watch->start, NULL);
    pthread_mutex_lock(&watch->start);
    int rc = bz_db_readable(db, error);
    if (rc == 0)
        rc = bz_db_observe(db, collection, on_events, watch, &watch->observer, error);
    if (rc == 0) {
        *out = watch;
        bz_watch_wake(watch->observer);
    }
    pthread_mutex_unlock(&watch->start);
    if (rc != 0)
        watch_free(watch);
    return rc;
}

void bz_db_unwatch_conflicts(struct bz_conflict_watch *watch)
{
    if (watch == NULL)
        return;
    bz_db_unobserve(watch->observer);
    if (watch->calling)
        watch->ended = true;
    else
        watch_free(watch);
}
