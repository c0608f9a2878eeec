/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The store in memory: the plain twin of the durable one.
 *
 * A map is a persistent treap: nodes never change once they are shared, a write copies the path
 * from the root to the key, and what it does not touch is shared with the trees before. A version
 * is the roots of all maps at one commit; the store, every snapshot, the transaction and each of
 * its savepoints hold one. So opening a snapshot costs one reference, whatever the size, and a
 * savepoint nothing: the next write leaves the marked version behind and goes on with a copy of the
 * roots. The priority of a node is a hash of its key: the same content gives the same tree.
 *
 * Threads: reference counts are atomic. `writer` is held from begin to commit or abort; `lock`
 * guards the current version.
 */

#include "base/alloc.h"
#include "base/hash.h"
#include "store/listener.h"
#include "store/memory_image.h"
#include "store/store_priv.h"

#include <assert.h>
#include <stdatomic.h>
#include <string.h>

/* A key with its value, shared by the copies of its node. */
struct entry {
    atomic_size_t refs;
    uint32_t priority;
    struct bz_bytes key;
    struct bz_bytes value;
    uint8_t data[];
};

struct node {
    atomic_size_t refs;
    struct entry *entry;
    struct node *left;
    struct node *right;
};

struct version {
    atomic_size_t refs;
    uint64_t lsn;
    uint64_t writes;        /* made by the transaction so far */
    struct version *parent; /* in a transaction: the version of the savepoint before */
    uint32_t depth;         /* in a transaction: of such parents */
    bool marked;            /* in a transaction: a savepoint, no more to be changed */
    uint32_t map_count;
    struct node *roots[];
};

struct memory_store {
    struct bz_store base;
    pthread_mutex_t writer;
    pthread_mutex_t lock;
    struct version *current;
    struct version *durable; /* of the last full commit; NULL: not kept */
    struct bz_listener listener;
    atomic_size_t open_handles;
};

struct memory_view {
    struct bz_view base;
    struct version *version;
};

struct memory_snapshot {
    struct bz_snapshot base;
    struct memory_view view;
};

struct memory_txn {
    struct bz_txn base;
    struct memory_view view;
};

struct memory_cursor {
    struct bz_cursor base;
    struct entry *at; /* keeps key and value while the transaction writes over them */
};

/* ---- entries and nodes ---- */

static struct entry *entry_new(struct bz_bytes key, struct bz_bytes value)
{
    struct entry *entry = bz_malloc(sizeof *entry + key.size + value.size);
    if (entry == NULL)
        return NULL;
    atomic_init(&entry->refs, 1);
    entry->priority = (uint32_t)bz_hash64(key.data, key.size, 0);
    memcpy(entry->data, key.data, key.size);
    if (value.size > 0)
        memcpy(entry->data + key.size, value.data, value.size);
    entry->key = bz_bytes(entry->data, key.size);
    entry->value = bz_bytes(entry->data + key.size, value.size);
    return entry;
}

static struct entry *entry_retain(struct entry *entry)
{
    atomic_fetch_add_explicit(&entry->refs, 1, memory_order_relaxed);
    return entry;
}

static void entry_release(struct entry *entry)
{
    if (entry != NULL && atomic_fetch_sub_explicit(&entry->refs, 1, memory_order_acq_rel) == 1)
        bz_free(entry);
}

static struct node *node_retain(struct node *node)
{
    if (node != NULL)
        atomic_fetch_add_explicit(&node->refs, 1, memory_order_relaxed);
    return node;
}

static void node_release(struct node *node)
{
    while (node != NULL && atomic_fetch_sub_explicit(&node->refs, 1, memory_order_acq_rel) == 1) {
        struct node *right = node->right;
        node_release(node->left);
        entry_release(node->entry);
        bz_free(node);
        node = right;
    }
}

/* A node that takes over the references given to it, also when there is no memory for it (NULL). */
static struct node *node_new(struct entry *entry, struct node *left, struct node *right)
{
    struct node *node = bz_malloc(sizeof *node);
    if (node == NULL) {
        entry_release(entry);
        node_release(left);
        node_release(right);
        return NULL;
    }
    atomic_init(&node->refs, 1);
    node->entry = entry;
    node->left = left;
    node->right = right;
    return node;
}

/* Which of two entries is nearer to the root. */
static bool above(const struct entry *a, const struct entry *b)
{
    if (a->priority != b->priority)
        return a->priority > b->priority;
    return bz_bytes_compare(a->key, b->key) < 0;
}

/* `node`, new and unshared, whose left (right) child is new, rotated if that child belongs above.
 */
static struct node *lift_left(struct node *node)
{
    struct node *child = node->left;
    if (!above(child->entry, node->entry))
        return node;
    node->left = child->right;
    child->right = node;
    return child;
}

static struct node *lift_right(struct node *node)
{
    struct node *child = node->right;
    if (!above(child->entry, node->entry))
        return node;
    node->right = child->left;
    child->left = node;
    return child;
}

/* The tree `root` with `entry` in it, as a new root; NULL when out of memory. Borrows both. */
static struct node *tree_put(struct node *root, struct entry *entry)
{
    if (root == NULL)
        return node_new(entry_retain(entry), NULL, NULL);
    int order = bz_bytes_compare(entry->key, root->entry->key);
    if (order == 0)
        return node_new(entry_retain(entry), node_retain(root->left), node_retain(root->right));
    struct node *child = tree_put(order < 0 ? root->left : root->right, entry);
    if (child == NULL)
        return NULL;
    if (order < 0) {
        root = node_new(entry_retain(root->entry), child, node_retain(root->right));
        return root == NULL ? NULL : lift_left(root);
    }
    root = node_new(entry_retain(root->entry), node_retain(root->left), child);
    return root == NULL ? NULL : lift_right(root);
}

/* One tree of two, all keys of `a` being less than those of `b`. Borrows both. */
static bool tree_join(struct node *a, struct node *b, struct node **out)
{
    if (a == NULL || b == NULL) {
        *out = node_retain(a == NULL ? b : a);
        return true;
    }
    struct node *joined;
    if (above(a->entry, b->entry)) {
        if (!tree_join(a->right, b, &joined))
            return false;
        *out = node_new(entry_retain(a->entry), node_retain(a->left), joined);
    } else {
        if (!tree_join(a, b->left, &joined))
            return false;
        *out = node_new(entry_retain(b->entry), joined, node_retain(b->right));
    }
    return *out != NULL;
}

/* The tree without `key`, which is in it. */
static bool tree_delete(struct node *root, struct bz_bytes key, struct node **out)
{
    int order = bz_bytes_compare(key, root->entry->key);
    if (order == 0)
        return tree_join(root->left, root->right, out);
    struct node *child;
    if (!tree_delete(order < 0 ? root->left : root->right, key, &child))
        return false;
    *out = order < 0 ? node_new(entry_retain(root->entry), child, node_retain(root->right))
                     : node_new(entry_retain(root->entry), node_retain(root->left), child);
    return *out != NULL;
}

/* The entry of the greatest key below `key` (at it too, if `equal`); of the last one without key.
 */
static struct entry *tree_before(const struct node *node, const struct bz_bytes *key, bool equal)
{
    struct entry *found = NULL;
    while (node != NULL) {
        int order = key == NULL ? -1 : bz_bytes_compare(node->entry->key, *key);
        if (order < 0 || (order == 0 && equal)) {
            found = node->entry;
            node = node->right;
        } else {
            node = node->left;
        }
    }
    return found;
}

/* The same in the other direction. */
static struct entry *tree_after(const struct node *node, const struct bz_bytes *key, bool equal)
{
    struct entry *found = NULL;
    while (node != NULL) {
        int order = key == NULL ? 1 : bz_bytes_compare(node->entry->key, *key);
        if (order > 0 || (order == 0 && equal)) {
            found = node->entry;
            node = node->left;
        } else {
            node = node->right;
        }
    }
    return found;
}

static struct entry *tree_get(const struct node *node, struct bz_bytes key)
{
    while (node != NULL) {
        int order = bz_bytes_compare(key, node->entry->key);
        if (order == 0)
            return node->entry;
        node = order < 0 ? node->left : node->right;
    }
    return NULL;
}

/* ---- versions ---- */

static struct version *version_new(uint32_t map_count)
{
    struct version *version = bz_zalloc(sizeof *version + map_count * sizeof version->roots[0]);
    if (version != NULL) {
        atomic_init(&version->refs, 1);
        version->map_count = map_count;
    }
    return version;
}

static struct version *version_copy(const struct version *from)
{
    struct version *version = version_new(from->map_count);
    if (version == NULL)
        return NULL;
    version->lsn = from->lsn;
    version->writes = from->writes;
    for (uint32_t i = 0; i < from->map_count; i++)
        version->roots[i] = node_retain(from->roots[i]);
    return version;
}

static struct version *version_retain(struct version *version)
{
    atomic_fetch_add_explicit(&version->refs, 1, memory_order_relaxed);
    return version;
}

static void version_release(struct version *version)
{
    while (version != NULL &&
           atomic_fetch_sub_explicit(&version->refs, 1, memory_order_acq_rel) == 1) {
        struct version *parent = version->parent;
        for (uint32_t i = 0; i < version->map_count; i++)
            node_release(version->roots[i]);
        bz_free(version);
        version = parent;
    }
}

static struct version *current_version(struct memory_store *store)
{
    pthread_mutex_lock(&store->lock);
    struct version *version = version_retain(store->current);
    pthread_mutex_unlock(&store->lock);
    return version;
}

/* ---- snapshots, reading ---- */

static struct node *root_of(const struct bz_view *view, uint32_t map)
{
    return ((const struct memory_view *)view)->version->roots[map];
}

static int memory_snapshot_open(struct bz_store *base, struct bz_snapshot **out, blaze_error *error)
{
    struct memory_store *store = (struct memory_store *)base;
    struct memory_snapshot *snapshot = bz_zalloc(sizeof *snapshot);
    if (snapshot == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    struct version *version = current_version(store);
    snapshot->view =
        (struct memory_view){{.ops = base->ops, .map_count = base->map_count}, version};
    snapshot->base = (struct bz_snapshot){base, &snapshot->view.base, version->lsn};
    atomic_fetch_add(&store->open_handles, 1);
    *out = &snapshot->base;
    return 0;
}

static void memory_snapshot_close(struct bz_snapshot *base)
{
    struct memory_snapshot *snapshot = (struct memory_snapshot *)base;
    atomic_fetch_sub(&((struct memory_store *)base->store)->open_handles, 1);
    version_release(snapshot->view.version);
    bz_free(snapshot);
}

static int memory_get(struct bz_view *view, uint32_t map, struct bz_bytes key,
    struct bz_bytes *value, blaze_error *error)
{
    struct entry *entry = tree_get(root_of(view, map), key);
    if (entry == NULL)
        return bz_store_not_found(error);
    *value = entry->value;
    return 0;
}

static int memory_cursor_open(
    struct bz_view *view, uint32_t map, struct bz_cursor **out, blaze_error *error)
{
    struct memory_cursor *cursor = bz_zalloc(sizeof *cursor);
    if (cursor == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    cursor->base.view = view;
    cursor->base.map = map;
    *out = &cursor->base;
    return 0;
}

static void memory_cursor_close(struct bz_cursor *base)
{
    struct memory_cursor *cursor = (struct memory_cursor *)base;
    entry_release(cursor->at);
    bz_free(cursor);
}

static int stand_at(struct bz_cursor *base, struct entry *entry)
{
    struct memory_cursor *cursor = (struct memory_cursor *)base;
    struct entry *left = cursor->at;
    cursor->at = entry == NULL ? NULL : entry_retain(entry);
    entry_release(left);
    if (entry == NULL)
        return BLAZE_END;
    base->positioned = true;
    base->key = entry->key;
    base->value = entry->value;
    return 0;
}

static int memory_cursor_seek(struct bz_cursor *cursor, struct bz_bytes key, blaze_error *error)
{
    (void)error;
    return stand_at(cursor, tree_after(root_of(cursor->view, cursor->map), &key, true));
}

static int memory_cursor_next(struct bz_cursor *cursor, blaze_error *error)
{
    (void)error;
    const struct bz_bytes *from = cursor->positioned ? &cursor->key : NULL;
    return stand_at(cursor, tree_after(root_of(cursor->view, cursor->map), from, false));
}

static int memory_cursor_prev(struct bz_cursor *cursor, blaze_error *error)
{
    (void)error;
    const struct bz_bytes *from = cursor->positioned ? &cursor->key : NULL;
    return stand_at(cursor, tree_before(root_of(cursor->view, cursor->map), from, false));
}

/* ---- transactions ---- */

static int memory_txn_begin(
    struct bz_store *base, bool now, struct bz_txn **out, blaze_error *error)
{
    struct memory_store *store = (struct memory_store *)base;
    struct memory_txn *txn = bz_zalloc(sizeof *txn);
    if (txn == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    if (!now) {
        pthread_mutex_lock(&store->writer);
    } else if (pthread_mutex_trylock(&store->writer) != 0) {
        bz_free(txn);
        return bz_error_code(error, BLAZE_EBUSY);
    }
    struct version *version = version_copy(store->current); /* only writers replace it */
    if (version == NULL) {
        pthread_mutex_unlock(&store->writer);
        bz_free(txn);
        return bz_error_code(error, BLAZE_ENOMEM);
    }
    version->writes = 0;
    txn->view = (struct memory_view){{.ops = base->ops, .map_count = base->map_count}, version};
    txn->base.view = &txn->view.base;
    atomic_fetch_add(&store->open_handles, 1);
    *out = &txn->base;
    return 0;
}

/* Frees the transaction and gives up the writer's place. */
static void leave(struct memory_txn *txn)
{
    struct memory_store *store = (struct memory_store *)txn->base.store;
    version_release(txn->view.version);
    bz_free(txn);
    atomic_fetch_sub(&store->open_handles, 1);
    pthread_mutex_unlock(&store->writer);
}

/* The version that the transaction may change: a new one after a savepoint. */
static struct version *writable(struct memory_txn *txn)
{
    struct version *version = txn->view.version;
    if (!version->marked)
        return version;
    struct version *copy = version_copy(version);
    if (copy != NULL) {
        copy->parent = version;
        copy->depth = version->depth + 1;
        txn->view.version = copy;
    }
    return copy;
}

static void set_root(struct version *version, uint32_t map, struct node *root)
{
    node_release(version->roots[map]);
    version->roots[map] = root;
    version->writes++;
}

static int memory_txn_put(struct bz_txn *base, uint32_t map, struct bz_bytes key,
    struct bz_bytes value, blaze_error *error)
{
    struct version *version = writable((struct memory_txn *)base);
    struct entry *entry = version == NULL ? NULL : entry_new(key, value);
    struct node *root = entry == NULL ? NULL : tree_put(version->roots[map], entry);
    entry_release(entry);
    if (root == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    set_root(version, map, root);
    return 0;
}

static int memory_txn_delete(
    struct bz_txn *base, uint32_t map, struct bz_bytes key, blaze_error *error)
{
    struct version *version = writable((struct memory_txn *)base);
    if (version == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    struct node *root = version->roots[map];
    if (tree_get(root, key) == NULL)
        root = node_retain(root);
    else if (!tree_delete(root, key, &root))
        return bz_error_code(error, BLAZE_ENOMEM);
    set_root(version, map, root);
    return 0;
}

static uint32_t memory_txn_savepoint(struct bz_txn *txn)
{
    struct version *version = ((struct memory_txn *)txn)->view.version;
    version->marked = true;
    return version->depth;
}

static int memory_txn_rollback_to(struct bz_txn *base, uint32_t savepoint, blaze_error *error)
{
    struct memory_txn *txn = (struct memory_txn *)base;
    struct version *version = txn->view.version;
    while (version->depth > savepoint)
        version = version->parent;
    if (version->depth < savepoint || !version->marked)
        return bz_error_set(error, BLAZE_EINVAL, "no savepoint %u", savepoint);
    version_retain(version);
    version_release(txn->view.version);
    txn->view.version = version;
    return 0;
}

static int memory_txn_commit(struct bz_txn *base, enum bz_durability durability, blaze_error *error)
{
    (void)error;
    struct memory_txn *txn = (struct memory_txn *)base;
    struct memory_store *store = (struct memory_store *)base->store;
    struct version *version = txn->view.version;
    if (version->writes == 0) {
        leave(txn);
        return 0;
    }
    version->lsn++;
    version_release(version->parent);
    version->parent = NULL;
    pthread_mutex_lock(&store->lock);
    struct version *replaced = store->current, *outlived = NULL;
    store->current = version_retain(version);
    if (store->durable != NULL && durability == BZ_DURABLE_FULL) {
        outlived = store->durable;
        store->durable = version_retain(version);
    }
    pthread_mutex_unlock(&store->lock);
    version_release(replaced);
    version_release(outlived);
    leave(txn);
    bz_listener_call(&store->listener);
    return 0;
}

static void memory_txn_abort(struct bz_txn *txn)
{
    leave((struct memory_txn *)txn);
}

/* ---- the store ---- */

static uint64_t memory_lsn(struct bz_store *base)
{
    struct memory_store *store = (struct memory_store *)base;
    pthread_mutex_lock(&store->lock);
    uint64_t lsn = store->current->lsn;
    pthread_mutex_unlock(&store->lock);
    return lsn;
}

static int memory_nothing(struct bz_store *store, blaze_error *error)
{
    (void)store;
    (void)error;
    return 0; /* there is no disk to write to */
}

static int memory_verify(struct bz_store *store, void (*each)(void *context, const char *problem),
    void *context, blaze_error *error)
{
    (void)store;
    (void)each;
    (void)context;
    (void)error;
    return 0; /* there is no disk to be mistrusted */
}

static void memory_set_listener(
    struct bz_store *store, void (*notify)(void *context), void *context)
{
    bz_listener_set(&((struct memory_store *)store)->listener, notify, context);
}

static void memory_set_size_listener(
    struct bz_store *store, void (*notify)(void *context), void *context)
{
    (void)store; /* nothing on a disk, nothing to tell */
    (void)notify;
    (void)context;
}

static const char *memory_watch_path(struct bz_store *store)
{
    (void)store;
    return NULL;
}

static void memory_stats(struct bz_store *store, struct bz_store_stats *out)
{
    *out = (struct bz_store_stats){.lsn = memory_lsn(store)};
}

static int memory_close(struct bz_store *base, blaze_error *error)
{
    (void)error;
    struct memory_store *store = (struct memory_store *)base;
    assert(atomic_load(&store->open_handles) == 0);
    version_release(store->current);
    version_release(store->durable);
    bz_listener_release(&store->listener);
    pthread_mutex_destroy(&store->lock);
    pthread_mutex_destroy(&store->writer);
    bz_free(store);
    return 0;
}

static const struct bz_store_ops memory_ops = {
    .close = memory_close,
    .snapshot_open = memory_snapshot_open,
    .snapshot_close = memory_snapshot_close,
    .get = memory_get,
    .cursor_open = memory_cursor_open,
    .cursor_close = memory_cursor_close,
    .cursor_seek = memory_cursor_seek,
    .cursor_next = memory_cursor_next,
    .cursor_prev = memory_cursor_prev,
    .txn_begin = memory_txn_begin,
    .txn_put = memory_txn_put,
    .txn_delete = memory_txn_delete,
    .txn_savepoint = memory_txn_savepoint,
    .txn_rollback_to = memory_txn_rollback_to,
    .txn_commit = memory_txn_commit,
    .txn_abort = memory_txn_abort,
    .lsn = memory_lsn,
    .sync = memory_nothing,
    .checkpoint = memory_nothing,
    .verify = memory_verify,
    .set_listener = memory_set_listener,
    .set_size_listener = memory_set_size_listener,
    .watch_path = memory_watch_path,
    .stats = memory_stats,
};

int bz_store_open_memory(
    struct bz_store **out, const struct bz_store_options *options, blaze_error *error)
{
    if (options->map_count == 0 || options->map_count > BZ_STORE_MAPS_MAX)
        return bz_error_set(error, BLAZE_EINVAL, "a store has 1 to %u maps", BZ_STORE_MAPS_MAX);
    struct memory_store *store = bz_zalloc(sizeof *store);
    struct version *image = (struct version *)options->image;
    struct version *version =
        image != NULL ? version_retain(image) : version_new(options->map_count);
    assert(image == NULL || image->map_count == options->map_count);
    if (store == NULL || version == NULL) {
        bz_free(store);
        version_release(version);
        return bz_error_code(error, BLAZE_ENOMEM);
    }
    store->base = (struct bz_store){&memory_ops, options->map_count, options->read_only};
    store->current = version;
    store->durable = options->keeps_durable ? version_retain(version) : NULL;
    pthread_mutex_init(&store->writer, NULL);
    pthread_mutex_init(&store->lock, NULL);
    bz_listener_init(&store->listener);
    *out = &store->base;
    return 0;
}

/* ---- images ---- */

struct bz_memory_image *bz_memory_image_take(struct bz_store *base, bool durable)
{
    struct memory_store *store = (struct memory_store *)base;
    assert(base->ops == &memory_ops && (!durable || store->durable != NULL));
    pthread_mutex_lock(&store->lock);
    struct version *version = version_retain(durable ? store->durable : store->current);
    pthread_mutex_unlock(&store->lock);
    return (struct bz_memory_image *)version;
}

struct bz_memory_image *bz_memory_image_again(struct bz_memory_image *image)
{
    return (struct bz_memory_image *)version_retain((struct version *)image);
}

void bz_memory_image_free(struct bz_memory_image *image)
{
    version_release((struct version *)image);
}
