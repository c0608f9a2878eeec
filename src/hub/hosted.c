/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The databases of a hub: opened when the first client comes, shared by all, closed when they have
 * been without one for a while.
 *
 * An entry is in the list while its database is being opened or closed too; whoever needs it then
 * waits for what becomes of it. The waiting is done by a thread of the pool, and what it waits for
 * runs on another already.
 */

#include "base/alloc.h"
#include "hub/hub_priv.h"

#include <stdio.h>

static uint64_t now_ms(void)
{
    return bz_os_mono_ns() / 1000000u;
}

/* ---- Opening and closing, outside the lock ---- */

/* Of a database's log: a hub has many databases, most of them small. */
#define SEGMENT_BYTES (4u << 20)

static char *path_of(struct bz_hub *hub, const blaze_id *id)
{
    char text[BLAZE_ID_TEXT_SIZE];
    char name[BLAZE_ID_TEXT_SIZE + 4];
    snprintf(name, sizeof name, "%s.blz", blaze_id_format(id, text));
    return bz_path_join(hub->directory, name);
}

bool bz_hosted_is_name(const char *name, blaze_id *id)
{
    char text[BLAZE_ID_TEXT_SIZE];
    size_t size = sizeof text - 1;
    if (strlen(name) != size + 4 || strcmp(name + size, ".blz") != 0)
        return false;
    memcpy(text, name, size);
    text[size] = '\0';
    return blaze_id_parse(id, text) == 0;
}

static int count_database(void *context, const char *name)
{
    blaze_id id;
    *(uint32_t *)context += bz_hosted_is_name(name, &id);
    return 0;
}

/* Whether there is room for one more. They are counted anew, for some may have been removed. */
static int check_room(struct bz_hub *hub, blaze_error *error)
{
    uint32_t count = 0, max = hub->options.databases_max;
    int rc = max == 0 ? 0 : bz_dir_list(hub->directory, count_database, &count, error);
    if (rc != 0 || max == 0 || count < max)
        return rc;
    return bz_error_set(error, BLAZE_ELIMIT,
        "a client offered a new database: this hub keeps %u already, and takes in no more than %u "
        "(--max-databases)",
        count, max);
}

static int create_db(struct bz_hub *hub, const char *path, const struct bz_db_options *options,
    struct bz_db **out, blaze_error *error)
{
    pthread_mutex_lock(&hub->intake);
    int rc = check_room(hub, error);
    if (rc == 0)
        rc = bz_db_open(out, path, options, error);
    pthread_mutex_unlock(&hub->intake);
    return rc;
}

static int open_db(struct bz_hub *hub, const blaze_id *id, const struct bz_enrolment *enrolment,
    struct bz_db **out, blaze_error *error)
{
    char *path = path_of(hub, id);
    if (path == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    struct bz_db_options options = {.store = {.segment_bytes = SEGMENT_BYTES,
                                        .allow_network = hub->options.allow_network_fs,
                                        .secret = hub->options.secret},
        .apply_durability = hub->options.durability};
    int rc = bz_db_open(out, path, &options, error);
    if (rc == BLAZE_ENOTFOUND && enrolment != NULL) {
        options.create = true;
        options.role = BZ_ROLE_SERVER;
        options.blind = !enrolment->secret;
        options.database = *id;
        rc = create_db(hub, path, &options, out, error);
    }
    bz_free(path);
    return rc;
}

/* Whether the hub is of the kind that may have this database. */
static int check_trust(struct bz_hub *hub, struct bz_db *db, blaze_error *error)
{
    struct bz_identity identity;
    bz_db_identity(db, &identity);
    if (identity.blind || hub->options.trusted)
        return 0;
    return bz_error_set(error, BLAZE_EPERM,
        "it was given to this hub with its secret: start the hub with --trusted, or remove it here "
        "and share it again");
}

/* Takes the key of an enrolment, or compares it with what is there: of either kind, a secret leads
 * to the access key. */
static int adopt(struct bz_db *db, const struct bz_enrolment *enrolment, blaze_error *error)
{
    struct bz_identity identity;
    struct bz_secret secret;
    struct bz_key access;
    struct bz_keys keys;
    bz_db_identity(db, &identity);
    memcpy(secret.bytes, enrolment->key, sizeof secret.bytes);
    memcpy(access.bytes, enrolment->key, sizeof access.bytes);
    int rc = 0;
    if (!identity.blind && enrolment->secret) {
        rc = bz_member_adopt_secret(db, &secret, error);
    } else {
        if (enrolment->secret)
            rc = bz_key_derive(&access, &secret, &identity.database, BZ_KEY_ACCESS);
        if (rc != 0)
            bz_error_code(error, rc);
        else if (identity.blind)
            rc = bz_member_adopt_access(db, &access, error);
        else
            rc = bz_keys_load(db, &keys, error);
        if (rc == 0 && !identity.blind && !bz_secret_equal(&keys.access, &access, sizeof access))
            rc = bz_error_set(error, BLAZE_EAUTH, "the database has another secret");
    }
    bz_wipe(&secret, sizeof secret);
    bz_wipe(&access, sizeof access);
    bz_wipe(&keys, sizeof keys);
    return rc;
}

/* Fills in a new entry. */
static int open_hosted(struct bz_hub *hub, struct hosted *hosted,
    const struct bz_enrolment *enrolment, blaze_error *error)
{
    int rc = open_db(hub, &hosted->id, enrolment, &hosted->db, error);
    if (rc != 0)
        return rc;
    rc = check_trust(hub, hosted->db, error);
    if (rc == 0 && enrolment != NULL)
        rc = adopt(hosted->db, enrolment, error);
    if (rc == 0)
        rc = bz_keys_load(hosted->db, &hosted->keys, error);
    if (rc == 0) {
        rc = bz_poller_open(&hosted->poller, hub->loop, hub->pool, hosted->db);
        if (rc != 0)
            bz_error_code(error, rc);
        else if ((rc = bz_db_keep_policies(hosted->db, error)) != 0)
            bz_poller_close(hosted->poller);
    }
    if (rc != 0)
        bz_db_close(hosted->db, NULL);
    return rc;
}

static int close_hosted(struct hosted *hosted, blaze_error *error)
{
    bz_poller_close(hosted->poller);
    bz_wipe(&hosted->keys, sizeof hosted->keys);
    return bz_db_close(hosted->db, error);
}

/* ---- The list, under the lock ---- */

static struct hosted *find(struct bz_hub *hub, const blaze_id *id)
{
    struct hosted *hosted = hub->hosted;
    while (hosted != NULL && memcmp(&hosted->id, id, sizeof *id) != 0)
        hosted = hosted->next;
    return hosted;
}

static void forget(struct bz_hub *hub, struct hosted *hosted)
{
    struct hosted **at = &hub->hosted;
    while (*at != hosted)
        at = &(*at)->next;
    *at = hosted->next;
    bz_free(hosted);
    pthread_cond_broadcast(&hub->changed);
}

static struct hosted *add(struct bz_hub *hub, const blaze_id *id)
{
    struct hosted *hosted = bz_zalloc(sizeof *hosted);
    if (hosted == NULL)
        return NULL;
    hosted->id = *id;
    hosted->state = HOSTED_OPENING;
    hosted->next = hub->hosted;
    hub->hosted = hosted;
    return hosted;
}

/* Opens a database that is not in the list. */
static int acquire_new(struct bz_hub *hub, const blaze_id *id, const struct bz_enrolment *enrolment,
    struct hosted **out, blaze_error *error)
{
    struct hosted *hosted = add(hub, id);
    if (hosted == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    pthread_mutex_unlock(&hub->lock);
    int rc = open_hosted(hub, hosted, enrolment, error);
    pthread_mutex_lock(&hub->lock);
    if (rc != 0) {
        forget(hub, hosted);
        return rc;
    }
    hosted->state = HOSTED_READY;
    hosted->clients = 1;
    hub->databases++;
    pthread_cond_broadcast(&hub->changed);
    *out = hosted;
    return 0;
}

int bz_hosted_acquire(struct bz_hub *hub, const blaze_id *id, const struct bz_enrolment *enrolment,
    struct hosted **out, blaze_error *error)
{
    pthread_mutex_lock(&hub->lock);
    struct hosted *hosted = find(hub, id);
    while (hosted != NULL && hosted->state != HOSTED_READY) {
        pthread_cond_wait(&hub->changed, &hub->lock);
        hosted = find(hub, id);
    }
    if (hosted == NULL) {
        int rc = acquire_new(hub, id, enrolment, out, error);
        pthread_mutex_unlock(&hub->lock);
        return rc;
    }
    hosted->clients++;
    pthread_mutex_unlock(&hub->lock);
    int rc = enrolment == NULL ? 0 : adopt(hosted->db, enrolment, error);
    if (rc == 0)
        *out = hosted;
    else
        bz_hosted_release(hub, hosted);
    return rc;
}

void bz_hosted_release(struct bz_hub *hub, struct hosted *hosted)
{
    pthread_mutex_lock(&hub->lock);
    if (--hosted->clients == 0)
        hosted->idle_since_ms = now_ms();
    pthread_mutex_unlock(&hub->lock);
}

static struct hosted *find_idle(struct bz_hub *hub, bool all)
{
    uint64_t now = now_ms(); /* under the lock, so that nobody left later */
    struct hosted *hosted = hub->hosted;
    while (hosted != NULL && !(hosted->state == HOSTED_READY && hosted->clients == 0 &&
                                 (all || now - hosted->idle_since_ms >= hub->options.idle_ms)))
        hosted = hosted->next;
    return hosted;
}

int bz_hosted_sweep(struct bz_hub *hub, bool all, blaze_error *error)
{
    int first = 0;
    struct hosted *hosted;
    pthread_mutex_lock(&hub->lock);
    while ((hosted = find_idle(hub, all)) != NULL) {
        blaze_error failure;
        char text[BLAZE_ID_TEXT_SIZE];
        hosted->state = HOSTED_CLOSING;
        pthread_mutex_unlock(&hub->lock);
        int rc = close_hosted(hosted, &failure);
        if (rc != 0)
            bz_hub_log(hub, "database %s: closing failed: %s", blaze_id_format(&hosted->id, text),
                failure.text);
        if (rc != 0 && first == 0)
            first = bz_error_set(error, rc, "%s", failure.text);
        pthread_mutex_lock(&hub->lock);
        hub->databases--;
        forget(hub, hosted);
    }
    pthread_mutex_unlock(&hub->lock);
    return first;
}
