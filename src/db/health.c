/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Warnings: thresholds that lie before the limits, and records that had to be left out.
 *
 * What a database takes is looked at when it may have changed much: after a checkpoint, when the
 * log has got another segment (the store tells of both), and when its status is asked for. A commit
 * pays nothing for it. The looking and the telling is done by the observers' thread, so that a slow
 * callback holds up neither syncs nor checkpoints; without a callback nobody looks at all but who
 * asks for the status.
 *
 * A warning is told once when its threshold is crossed. It may be told again after things have
 * become better by a tenth of the threshold: around it they go up and down.
 */

#include "db/db_priv.h"

#include <inttypes.h>
#include <stdio.h>

/* ---- what holds ---- */

struct left_out {
    uint64_t count;
    char first[256]; /* what one of them is */
};

struct sizes {
    struct bz_store_stats store;
    uint64_t database;
    uint64_t disk, room; /* of the file system; 0, UINT64_MAX: not known */
    struct left_out left_out;
};

static int name_first(void *context, const struct bz_illegible_record *record)
{
    struct left_out *out = context;
    char id[BLAZE_ID_TEXT_SIZE], writer[BLAZE_ID_TEXT_SIZE];
    blaze_id_format(&record->id, id);
    blaze_id_format(&record->writer, writer);
    bool named = record->collection.size > 0;
    snprintf(out->first, sizeof out->first, "record %s of %.*s%s %s node %s", id,
        named ? (int)(record->collection.size < 64 ? record->collection.size : 64) : 0,
        named ? (const char *)record->collection.data : "",
        named ? "," : "a collection whose name cannot be read,",
        record->forged ? "as no member has sealed it, said to be of" : "as sealed by", writer);
    return BLAZE_END;
}

/* What cannot be looked up is not told of. */
static void look_left_out(struct bz_db *db, struct left_out *out)
{
    struct bz_read *read = NULL;
    *out = (struct left_out){0};
    if (bz_read_begin(db, &read, NULL) != 0)
        return;
    if (bz_read_illegible_count(read, &out->count, NULL) == 0 && out->count > 0)
        bz_read_illegible(read, name_first, out, NULL);
    bz_read_end(read);
}

static void measure(struct bz_db *db, struct sizes *out)
{
    struct bz_file_system fs;
    *out = (struct sizes){.room = UINT64_MAX};
    bz_store_stats(db->store, &out->store);
    out->database = out->store.base_bytes + out->store.log_bytes;
    if (bz_path_file_system(db->path, &fs, NULL) == 0) {
        out->disk = fs.size_bytes;
        out->room = fs.free_bytes;
    }
    look_left_out(db, &out->left_out);
}

/* "1.5 GiB" */
static const char *amount(uint64_t bytes, char out[24])
{
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    unsigned unit = 0;
    for (; value >= 1024 && unit < 4; unit++)
        value /= 1024;
    snprintf(out, 24, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
    return out;
}

static uint64_t least_room(const struct bz_thresholds *thresholds, uint64_t disk)
{
    uint64_t part = disk / 100 * thresholds->free_percent;
    return part > thresholds->free_bytes ? part : thresholds->free_bytes;
}

static void fill_in(
    struct bz_warning *out, const struct sizes *sizes, const struct bz_thresholds *thresholds)
{
    switch (out->kind) {
    case BZ_WARNING_DATABASE_SIZE:
        out->value = sizes->database;
        out->threshold = thresholds->database_bytes;
        break;
    case BZ_WARNING_LOG_SIZE:
        out->value = sizes->store.log_bytes;
        out->threshold = thresholds->log_bytes;
        break;
    case BZ_WARNING_FREE_DISK:
        out->value = sizes->room;
        out->threshold = least_room(thresholds, sizes->disk);
        break;
    case BZ_WARNING_ILLEGIBLE:
        out->value = sizes->left_out.count;
        out->threshold = 1;
        break;
    case BZ_WARNING_KINDS:
        break;
    }
}

/* Whether the value is on the wrong side of the threshold, moved towards the right side by a part
 * of it. */
static bool crossed(const struct bz_warning *warning, uint64_t part)
{
    if (warning->threshold == 0)
        return false;
    if (warning->kind == BZ_WARNING_FREE_DISK)
        return warning->value < warning->threshold + part;
    if (warning->kind == BZ_WARNING_ILLEGIBLE)
        return warning->value >= warning->threshold;
    return warning->value > warning->threshold - part;
}

static void describe(struct bz_warning *out, const struct sizes *sizes)
{
    char value[24], threshold[24];
    int failure = sizes->store.checkpoint_error;
    amount(out->value, value);
    amount(out->threshold, threshold);
    switch (out->kind) {
    case BZ_WARNING_DATABASE_SIZE:
        snprintf(out->text, sizeof out->text,
            "the database takes %s on the disk, more than %s: delete what is not needed, or split "
            "it into several databases (docs/limits.md)",
            value, threshold);
        break;
    case BZ_WARNING_LOG_SIZE:
        snprintf(out->text, sizeof out->text,
            "the log takes %s, more than %s, because checkpoints %s%s: see that the disk has room "
            "and can be written",
            value, threshold, failure != 0 ? "fail: " : "do not keep up",
            failure != 0 ? blaze_error_string(failure) : "");
        break;
    case BZ_WARNING_FREE_DISK:
        snprintf(out->text, sizeof out->text,
            "the disk has %s left, less than %s: make room before writing fails", value, threshold);
        break;
    case BZ_WARNING_ILLEGIBLE:
        snprintf(out->text, sizeof out->text,
            "%" PRIu64 " that came through a blind hub cannot be read, such as %s: everything else "
            "goes on; write it anew, whole (put), there or here",
            out->value, sizes->left_out.first);
        break;
    case BZ_WARNING_KINDS:
        break;
    }
}

unsigned bz_db_warnings(struct bz_db *db, struct bz_warning out[BZ_WARNING_KINDS])
{
    struct sizes sizes;
    unsigned count = 0;
    if (db->path == NULL)
        return 0;
    measure(db, &sizes);
    for (unsigned kind = 0; kind < BZ_WARNING_KINDS; kind++) {
        struct bz_warning warning = {.kind = (enum bz_warning_kind)kind};
        fill_in(&warning, &sizes, &db->health.thresholds);
        if (!crossed(&warning, 0))
            continue;
        describe(&warning, &sizes);
        out[count++] = warning;
    }
    bz_health_ask(db);
    return count;
}

/* ---- telling ---- */

void bz_health_ask(void *context)
{
    struct bz_db *db = context;
    pthread_mutex_lock(&db->watch.lock);
    if (db->health.on_warning != NULL) {
        db->health.due = true;
        pthread_cond_signal(&db->watch.work);
    }
    pthread_mutex_unlock(&db->watch.lock);
}

/* Tells of one that is crossed, once. With the lock held, which is let go of during the call. */
static void tell(struct bz_db *db, const struct bz_warning *warning)
{
    struct bz_health *health = &db->health;
    bool *told = &health->told[warning->kind];
    if (!crossed(warning, warning->threshold / 10))
        *told = false;
    if (*told || !crossed(warning, 0) || health->on_warning == NULL)
        return;
    void (*on_warning)(void *, const struct bz_warning *) = health->on_warning;
    void *context = health->context;
    *told = health->running = true;
    pthread_mutex_unlock(&db->watch.lock);
    on_warning(context, warning);
    pthread_mutex_lock(&db->watch.lock);
    health->running = false;
    pthread_cond_broadcast(&db->watch.ended);
}

void bz_health_tell(struct bz_db *db)
{
    struct sizes sizes;
    db->health.due = false;
    pthread_mutex_unlock(&db->watch.lock);
    measure(db, &sizes);
    pthread_mutex_lock(&db->watch.lock);
    for (unsigned kind = 0; kind < BZ_WARNING_KINDS; kind++) {
        struct bz_warning warning = {.kind = (enum bz_warning_kind)kind};
        fill_in(&warning, &sizes, &db->health.thresholds);
        describe(&warning, &sizes);
        tell(db, &warning);
    }
}

int bz_db_set_warning(struct bz_db *db,
    void (*on_warning)(void *context, const struct bz_warning *warning), void *context,
    blaze_error *error)
{
    struct bz_watch *watch = &db->watch;
    struct bz_health *health = &db->health;
    if (db->path == NULL)
        return 0;
    pthread_mutex_lock(&watch->lock);
    int rc = on_warning == NULL ? 0 : bz_watch_start(db, error);
    if (rc == 0) {
        health->on_warning = on_warning;
        health->context = context;
        memset(health->told, 0, sizeof health->told);
        health->due = on_warning != NULL;
        pthread_cond_signal(&watch->work);
    }
    while (health->running && !pthread_equal(pthread_self(), watch->thread))
        pthread_cond_wait(&watch->ended, &watch->lock);
    pthread_mutex_unlock(&watch->lock);
    return rc;
}
