/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The map (address space) of the base is far larger than the file, so that it need not be remapped
 * under open snapshots: it costs nothing but addresses. The first stores of a process get the large
 * size, later ones a smaller one, and both fall back by halves where addresses are short.
 *
 * Merging in slices: LMDB copies every page that it changes, and can use the pages that became free
 * only two transactions later. A checkpoint of scattered keys touches nearly all pages of a map; in
 * one transaction it would let the file grow to three times its content. So it goes through the
 * keys in many transactions, each with the word how far ahead of the log's place the base may be.
 */

#include "store/base.h"

#include "base/alloc.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define FORMAT_VERSION 1u
#define READERS_MAX    4096u
#define STATE_SIZE     48u
#define SLICES         32u
#define SLICE_LEAST    (512u << 10)
#define FULL_DISK      (1u << 20)

#if defined(__SANITIZE_THREAD__) || UINTPTR_MAX == UINT32_MAX
#define MAP_LARGE ((size_t)1 << 30)
#define MAP_SMALL ((size_t)1 << 30)
#else
#define MAP_LARGE ((size_t)1 << 40)
#define MAP_SMALL ((size_t)1 << 36)
#endif
#define MAP_LEAST ((size_t)1 << 28)
#define LARGE_MAX 16

static atomic_int large_maps;

static const char meta_name[] = "store";
static const char state_key[] = "state";
static const char maps_key[] = "maps";

/* ---- errors ---- */

int bz_base_error(const struct bz_base *base, int rc, const char *what, blaze_error *error)
{
    switch (rc) {
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
    case MDB_INVALID:
    case MDB_BAD_TXN:
        return bz_error_set(
            error, BLAZE_ECORRUPT, "%s: %s: %s", base->path, what, mdb_strerror(rc));
    case MDB_VERSION_MISMATCH:
        return bz_error_set(error, BLAZE_EVERSION, "%s: %s", base->path, mdb_strerror(rc));
    case MDB_MAP_FULL:
    case MDB_MAP_RESIZED:
        return bz_error_set(error, BLAZE_ELIMIT, "%s: no address space left for it", base->path);
    case MDB_READERS_FULL:
        return bz_error_set(
            error, BLAZE_ELIMIT, "%s: more than %u snapshots", base->path, READERS_MAX);
    case MDB_PANIC:
        return bz_error_set(error, BLAZE_EFAILED, "%s: failed earlier; reopen it", base->path);
    case EINVAL:
        return bz_error_set(error, BLAZE_ECORRUPT, "%s: %s: %s", base->path, what, strerror(rc));
    default:
        if (rc > 0)
            return bz_error_errno(error, rc, "%s %s", what, base->path);
        return bz_error_set(error, BLAZE_EIO, "%s: %s: %s", base->path, what, mdb_strerror(rc));
    }
}

static MDB_val val(struct bz_bytes b)
{
    static const uint8_t none;
    return (MDB_val){b.size, (void *)(uintptr_t)(b.data == NULL ? &none : b.data)};
}

/* ---- what lies beside the maps ---- */

static int put_meta(struct bz_base *base, MDB_txn *txn, const char *key, struct bz_bytes value)
{
    MDB_val k = val(bz_bytes_text(key)), v = val(value);
    return mdb_put(txn, base->meta, &k, &v, 0);
}

static int put_state(
    struct bz_base *base, MDB_txn *txn, const struct bz_log_position *log, uint64_t ahead)
{
    uint8_t bytes[STATE_SIZE] = {0};
    bz_store32le(bytes, FORMAT_VERSION);
    bz_store64le(bytes + 8, log->lsn);
    bz_store64le(bytes + 16, log->segment);
    bz_store64le(bytes + 24, log->offset);
    bz_store64le(bytes + 32, log->chain);
    bz_store64le(bytes + 40, ahead);
    return put_meta(base, txn, state_key, bz_bytes(bytes, sizeof bytes));
}

int bz_base_state(struct bz_base *base, MDB_txn *txn, struct bz_base_state *out, blaze_error *error)
{
    MDB_val k = val(bz_bytes_text(state_key)), v;
    int rc = mdb_get(txn, base->meta, &k, &v);
    if (rc != 0 && rc != MDB_NOTFOUND)
        return bz_base_error(base, rc, "read", error);
    const uint8_t *bytes = v.mv_data;
    if (rc == 0 && v.mv_size >= 4 && bz_load32le(bytes) > FORMAT_VERSION)
        return bz_error_set(error, BLAZE_EVERSION,
            "%s: format version %u, of a newer program; this one knows %u", base->path,
            bz_load32le(bytes), FORMAT_VERSION);
    if (rc != 0 || v.mv_size != STATE_SIZE || bz_load32le(bytes) != FORMAT_VERSION)
        return bz_error_set(error, BLAZE_ECORRUPT, "%s: its state record is damaged", base->path);
    out->log = (struct bz_log_position){
        .lsn = bz_load64le(bytes + 8),
        .segment = bz_load64le(bytes + 16),
        .offset = bz_load64le(bytes + 24),
        .chain = bz_load64le(bytes + 32),
    };
    out->ahead = bz_load64le(bytes + 40);
    return 0;
}

/* The names of the maps, in order, each with its NUL. */
static int map_names(const struct bz_store_options *options, struct bz_buf *out)
{
    bz_buf_init(out, 1u << 16);
    for (uint32_t i = 0; i < options->map_count; i++)
        bz_buf_append(out, options->maps[i], strlen(options->maps[i]) + 1);
    return out->error;
}

/* The file must know the same maps in the same order, or fewer: then the rest is new. */
static int check_map_names(struct bz_base *base, MDB_txn *txn,
    const struct bz_store_options *options, bool *grown, blaze_error *error)
{
    struct bz_buf names;
    MDB_val k = val(bz_bytes_text(maps_key)), v;
    int rc = map_names(options, &names);
    if (rc != 0) {
        bz_error_code(error, rc);
        goto done;
    }
    rc = mdb_get(txn, base->meta, &k, &v);
    if (rc != 0) {
        rc = bz_base_error(base, rc == MDB_NOTFOUND ? MDB_INVALID : rc, "read", error);
        goto done;
    }
    *grown = v.mv_size < names.size;
    if (v.mv_size > names.size || memcmp(v.mv_data, names.data, v.mv_size) != 0)
        rc = bz_error_set(
            error, BLAZE_EVERSION, "%s: has other maps than this program knows", base->path);
done:
    bz_buf_release(&names);
    return rc;
}

static int put_map_names(
    struct bz_base *base, MDB_txn *txn, const struct bz_store_options *options, blaze_error *error)
{
    struct bz_buf names;
    int rc = map_names(options, &names);
    if (rc != 0)
        bz_error_code(error, rc);
    else if ((rc = put_meta(base, txn, maps_key, bz_buf_bytes(&names))) != 0)
        rc = bz_base_error(base, rc, "write", error);
    bz_buf_release(&names);
    return rc;
}

/* ---- opening ---- */

bool bz_base_can_register(const char *path)
{
    struct bz_buf name;
    struct bz_file file;
    bz_buf_init(&name, 1u << 16);
    bz_buf_printf(&name, "%s-lock%c", path, 0);
    bool can = name.error == 0 && bz_file_open(&file, (const char *)name.data,
                                      BZ_OPEN_WRITE | BZ_OPEN_CREATE, NULL) == 0;
    bz_buf_release(&name);
    if (can)
        bz_file_close(&file);
    return can;
}

static int open_env(struct bz_base *base, const char *path, unsigned how, blaze_error *error)
{
    size_t map = atomic_fetch_add(&large_maps, 1) < LARGE_MAX ? MAP_LARGE : MAP_SMALL;
    unsigned flags = MDB_NOSUBDIR | MDB_NOTLS | MDB_NOMEMINIT | how;
    for (;; map /= 2) {
        int rc = mdb_env_create(&base->env);
        if (rc == 0)
            rc = mdb_env_set_maxdbs(base->env, BZ_STORE_MAPS_MAX + 1);
        if (rc == 0)
            rc = mdb_env_set_maxreaders(base->env, READERS_MAX);
        if (rc == 0)
            rc = mdb_env_set_mapsize(base->env, map);
        if (rc == 0)
            rc = mdb_env_open(base->env, path, flags, 0600);
        if (rc == 0)
            return 0;
        mdb_env_close(base->env); /* an open that failed leaves nothing else to do */
        base->env = NULL;
        if (rc != ENOMEM || map <= MAP_LEAST) {
            atomic_fetch_sub(&large_maps, 1);
            return bz_base_error(base, rc, "open", error);
        }
    }
}

static int open_maps(struct bz_base *base, MDB_txn *txn, const struct bz_store_options *options,
    bool create, blaze_error *error)
{
    unsigned flags = create ? MDB_CREATE : 0;
    int rc = mdb_dbi_open(txn, meta_name, flags, &base->meta);
    if (rc != 0)
        return bz_base_error(base, rc == MDB_NOTFOUND ? MDB_INVALID : rc, "open", error);
    base->map_count = options->map_count;
    for (uint32_t i = 0; i < options->map_count; i++) {
        char name[80];
        snprintf(name, sizeof name, "map.%s", options->maps[i]);
        rc = mdb_dbi_open(txn, name, flags, &base->maps[i]);
        base->present[i] = rc == 0;
        if (rc != 0 && rc != MDB_NOTFOUND)
            return bz_base_error(base, rc, "open", error);
    }
    return 0;
}

/* Opens the handles of the maps, and makes the maps that are new. */
static int load(struct bz_base *base, const struct bz_store_options *options, blaze_error *error)
{
    struct bz_base_state state;
    bool grown = false;
    MDB_txn *txn;
    int rc = mdb_txn_begin(base->env, NULL, MDB_RDONLY, &txn);
    if (rc != 0)
        return bz_base_error(base, rc, "open", error);
    rc = open_maps(base, txn, options, false, error);
    if (rc == 0)
        rc = bz_base_state(base, txn, &state, error);
    if (rc == 0)
        rc = check_map_names(base, txn, options, &grown, error);
    if (rc != 0) {
        mdb_txn_abort(txn);
        return rc;
    }
    mdb_txn_commit(txn); /* keeps the handles */
    if (!grown || options->read_only)
        return 0;
    rc = mdb_txn_begin(base->env, NULL, 0, &txn);
    if (rc != 0)
        return bz_base_error(base, rc, "open", error);
    rc = open_maps(base, txn, options, true, error);
    if (rc == 0)
        rc = put_map_names(base, txn, options, error);
    if (rc != 0) {
        mdb_txn_abort(txn);
        return rc;
    }
    rc = mdb_txn_commit(txn);
    return rc == 0 ? 0 : bz_base_error(base, rc, "write", error);
}

static int init(struct bz_base *base, const char *path)
{
    *base = (struct bz_base){0};
    base->path = bz_malloc(strlen(path) + 1);
    if (base->path == NULL)
        return BLAZE_ENOMEM;
    strcpy(base->path, path);
    return 0;
}

int bz_base_open(struct bz_base *base, const char *path, const struct bz_store_options *options,
    bool unregistered, blaze_error *error)
{
    int rc = init(base, path);
    if (rc != 0)
        return bz_error_code(error, rc);
    rc = open_env(
        base, path, (options->read_only ? MDB_RDONLY : 0) | (unregistered ? MDB_NOLOCK : 0), error);
    if (rc == 0)
        rc = load(base, options, error);
    if (rc != 0) {
        bz_base_close(base);
        return rc;
    }
    if (!options->read_only) {
        int dead;
        mdb_reader_check(base->env, &dead); /* snapshots of processes that were killed */
    }
    return 0;
}

void bz_base_close(struct bz_base *base)
{
    if (base->env != NULL) {
        mdb_env_close(base->env);
        atomic_fetch_sub(&large_maps, 1);
    }
    bz_free(base->path);
    *base = (struct bz_base){0};
}

/* Writes an empty base to the file that is open. */
static int fill(struct bz_base *base, const struct bz_store_options *options,
    const struct bz_log_position *start, blaze_error *error)
{
    MDB_txn *txn;
    int rc = mdb_txn_begin(base->env, NULL, 0, &txn);
    if (rc != 0)
        return bz_base_error(base, rc, "create", error);
    rc = open_maps(base, txn, options, true, error);
    if (rc == 0)
        rc = put_map_names(base, txn, options, error);
    if (rc == 0 && (rc = put_state(base, txn, start, start->lsn)) != 0)
        rc = bz_base_error(base, rc, "create", error);
    if (rc != 0) {
        mdb_txn_abort(txn);
        return rc;
    }
    rc = mdb_txn_commit(txn);
    return rc == 0 ? 0 : bz_base_error(base, rc, "create", error);
}

int bz_base_create(const char *path, const struct bz_store_options *options,
    const struct bz_log_position *start, blaze_error *error)
{
    struct bz_base base;
    struct bz_buf names; /* "PATH.new", "PATH.new-lock" */
    bz_buf_init(&names, 1u << 16);
    bz_buf_printf(&names, "%s.new%c%s.new-lock", path, 0, path);
    bz_buf_append8(&names, 0);
    int rc = names.error != 0 ? names.error : init(&base, path);
    if (rc != 0) {
        bz_buf_release(&names);
        return bz_error_code(error, rc);
    }
    const char *made = (const char *)names.data;
    const char *lock = made + strlen(made) + 1;
    bz_path_remove(made, NULL); /* what a crash left */
    bz_path_remove(lock, NULL);
    rc = open_env(&base, made, 0, error);
    if (rc == 0)
        rc = fill(&base, options, start, error);
    bz_base_close(&base);
    bz_path_remove(lock, NULL);
    if (rc == 0)
        rc = bz_path_rename(made, path, error);
    if (rc != 0)
        bz_path_remove(made, NULL);
    bz_buf_release(&names);
    return rc;
}

/* ---- reading ---- */

int bz_base_read(struct bz_base *base, MDB_txn **txn, blaze_error *error)
{
    int rc = *txn == NULL ? mdb_txn_begin(base->env, NULL, MDB_RDONLY, txn) : mdb_txn_renew(*txn);
    return rc == 0 ? 0 : bz_base_error(base, rc, "read", error);
}

uint64_t bz_base_bytes(const struct bz_base *base)
{
    MDB_envinfo info;
    MDB_stat stat;
    if (mdb_env_info(base->env, &info) != 0 || mdb_env_stat(base->env, &stat) != 0)
        return 0;
    return ((uint64_t)info.me_last_pgno + 1) * stat.ms_psize;
}

/* ---- merging ---- */

/* Where a merge is within one map. */
struct merger {
    struct bz_base *base;
    MDB_txn *txn;
    MDB_cursor *cursor;
    uint32_t map;
    struct bz_base_state state;
    uint64_t slice;   /* bytes of a transaction */
    uint64_t bytes;   /* of this one */
    bool appending;   /* what comes now is behind all that was there: pages can be filled up */
    size_t last_size; /* the last key that was there */
    uint8_t last[BZ_STORE_KEY_MAX];
};

static void leave_map(struct merger *m)
{
    if (m->cursor != NULL)
        mdb_cursor_close(m->cursor);
    m->cursor = NULL;
}

static int enter_map(struct merger *m, uint32_t map)
{
    leave_map(m);
    m->map = map;
    int rc = mdb_cursor_open(m->txn, m->base->maps[map], &m->cursor);
    if (rc != 0)
        return rc;
    MDB_val key, value;
    rc = mdb_cursor_get(m->cursor, &key, &value, MDB_LAST);
    m->appending = rc == MDB_NOTFOUND;
    if (rc != 0)
        return rc == MDB_NOTFOUND ? 0 : rc;
    if (key.mv_size > sizeof m->last)
        return MDB_CORRUPTED;
    m->last_size = key.mv_size;
    memcpy(m->last, key.mv_data, key.mv_size);
    return 0;
}

static int merge_delete(struct merger *m, MDB_val key)
{
    MDB_val value;
    int rc = mdb_cursor_get(m->cursor, &key, &value, MDB_SET);
    if (rc == 0)
        rc = mdb_cursor_del(m->cursor, 0);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

static int merge_node(struct merger *m, const struct bz_mem_node *node)
{
    int rc = m->cursor == NULL || m->map != node->map ? enter_map(m, node->map) : 0;
    if (rc != 0)
        return rc;
    MDB_val key = val(bz_mem_key(node)), value = val(bz_mem_value(node));
    if (!m->appending)
        m->appending = bz_bytes_compare(bz_mem_key(node), bz_bytes(m->last, m->last_size)) > 0;
    if (node->deleted)
        return m->appending ? 0 : merge_delete(m, key);
    return mdb_cursor_put(m->cursor, &key, &value, m->appending ? MDB_APPEND : 0);
}

/* Ends the transaction with the base at `log`. */
static int end_slice(struct merger *m, const struct bz_log_position *log, uint64_t ahead)
{
    leave_map(m);
    int rc = put_state(m->base, m->txn, log, ahead);
    if (rc != 0)
        return rc;
    rc = mdb_txn_commit(m->txn);
    m->txn = NULL;
    return rc;
}

static int merge_list(struct merger *m, const struct bz_mem_list *list, uint64_t ahead)
{
    int rc = 0;
    const struct bz_mem_node *node = atomic_load(&list->head[0]);
    while (node != NULL && rc == 0) {
        rc = merge_node(m, node);
        m->bytes += (uint64_t)node->key_size + node->value_size + sizeof *node;
        if (rc == 0 && m->bytes >= m->slice) {
            m->bytes = 0;
            rc = end_slice(m, &m->state.log, ahead);
            if (rc == 0)
                rc = mdb_txn_begin(m->base->env, NULL, 0, &m->txn);
        }
        const struct bz_mem_node *next = bz_mem_next(node);
        while (next != NULL && bz_mem_same_key(next, node))
            next = bz_mem_next(next);
        node = next;
    }
    return rc;
}

/* LMDB says EIO where a write was cut short, which is how a disk fills up. */
static int merge_error(const struct bz_base *base, int rc, blaze_error *error)
{
    uint64_t room;
    if (rc == EIO && bz_path_free_bytes(base->path, &room, NULL) == 0 && room < FULL_DISK)
        rc = ENOSPC;
    return bz_base_error(base, rc, "checkpoint", error);
}

int bz_base_merge(struct bz_base *base, const struct bz_memtable *table,
    const struct bz_log_position *end, struct bz_log_position *reached, size_t *txn_id,
    blaze_error *error)
{
    struct merger m = {.base = base};
    int rc = mdb_txn_begin(base->env, NULL, 0, &m.txn);
    if (rc != 0)
        return bz_base_error(base, rc, "checkpoint", error);
    rc = bz_base_state(base, m.txn, &m.state, error);
    size_t id = mdb_txn_id(m.txn);
    bool there = m.state.log.lsn > end->lsn ||
                 (m.state.log.lsn == end->lsn && m.state.log.segment >= end->segment);
    if (rc == 0 && !there && m.state.ahead > end->lsn)
        rc =
            bz_error_set(error, BLAZE_EBUSY, "%s: another checkpoint has gone further", base->path);
    if (rc != 0 || there) {
        mdb_txn_abort(m.txn);
        if (rc != 0)
            return rc;
        *reached = m.state.log;
        *txn_id = id - 1;
        return 0;
    }
    m.slice = atomic_load(&table->bytes) / SLICES;
    if (m.slice < SLICE_LEAST)
        m.slice = SLICE_LEAST;
    rc = merge_list(&m, &table->list, end->lsn);
    if (rc == 0) {
        id = mdb_txn_id(m.txn);
        rc = end_slice(&m, end, end->lsn);
    }
    leave_map(&m);
    if (m.txn != NULL)
        mdb_txn_abort(m.txn);
    if (rc != 0)
        return merge_error(base, rc, error);
    *reached = *end;
    *txn_id = id;
    return 0;
}
