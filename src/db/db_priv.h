/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_DB_DB_PRIV_H
#define BZ_DB_DB_PRIV_H

/*
 * What the files of db share.
 *
 *   db.c        opening and closing, settings
 *   identity.c  who this copy is, and noticing that it is a copy
 *   state.c     the values of the small maps: state, counts, peers, log entries
 *   rekey.c     rewriting a database under another key
 *   loose.c     relaxed commits and power cuts
 *   opening.c   noticing that this copy was put back to an older state
 *   txn.c       transactions and savepoints
 *   write.c     the one write path, and the local verbs on it
 *   index.c     index entries, making and dropping
 *   read.c      reads of single records and of what is kept about them
 *   conflicts.c listing what was written apart
 *   policy.c    rules by which conflicts are settled
 *   settle.c    settling them
 *   settler.c   having that done whenever there are some
 *   resolver.c  functions of the program in place of policies
 *   conflict_watch.c  being told of them
 *   walk.c      walks over the key ranges of a plan
 *   find.c      rows
 *   observe.c   observers, listeners, noticing commits
 *   health.c    warnings of sizes
 *   coverage.c  what every replica is known to have
 *   beyond.c    when equal version vectors do not mean the same
 *   illegible.c records that nobody can read as they came
 *   collect.c   removing deleted records that everybody knows to be deleted
 *   reconcile.c comparing records range by range
 *   replica.c   sending changes
 *   apply.c     taking in changes
 *   check.c     whether everything agrees
 *   selection.c which records a scope takes
 *   scope.c     what a partial replica notes of itself; setting it; letting go
 *   evict.c     letting go by hand
 *   gone.c      what is noted of records that are here no more
 *   scoped.c    taking in changes where not all are wanted
 *
 * Locks, taken in this order, each for a moment only and never while user code runs:
 *   the writer's place (bz_txn_begin), db->lock, db->settler.starting and .lock,
 *   db->watch.lock, the catalog's
 *   own.
 */

#include "base/mutant.h"
#include "catalog/catalog.h"
#include "codec/key.h"
#include "crdt/clock.h"
#include "db/db.h"
#include "os/os.h"
#include "query/query.h"

#include <pthread.h>
#include <stdatomic.h>

#define BZ_RECORD_KEY_SIZE 20u
#define BZ_LOG_KEY_SIZE    8u
#define BZ_DOCUMENT_MAX    BZ_DOC_MERGED_MAX /* of what a stored record can be put together to */

/* ---- state.c ---- */

/* What every commit changes, in one value. */
struct bz_state {
    uint64_t position;   /* of the newest log entry */
    uint64_t seq;        /* writes of this node */
    uint32_t self;       /* the number of this node */
    uint64_t stamp;      /* the hybrid clock */
    uint64_t records;    /* alive */
    uint64_t dead;       /* records that are not visible */
    uint64_t conflicts;  /* records with a field in conflict, or life */
    uint64_t generation; /* of the catalog */
    struct bz_hash128 digest;
    bool loose; /* there may be commits that are seen, and not yet on the disk; see loose.c */
};

int bz_state_load(struct bz_view *view, struct bz_state *out, blaze_error *error);
int bz_state_store(struct bz_txn *txn, const struct bz_state *state, blaze_error *error);

int bz_count_load(struct bz_view *view, uint32_t collection, uint64_t *out, blaze_error *error);
int bz_count_store(struct bz_txn *txn, uint32_t collection, uint64_t count, blaze_error *error);

/* The other nodes' part of the version vector; 0 for one that is not there. */
int bz_version_load(struct bz_view *view, uint32_t node, uint64_t *seq, blaze_error *error);
int bz_version_store(struct bz_txn *txn, uint32_t node, uint64_t seq, blaze_error *error);
int bz_version_erase(struct bz_txn *txn, uint32_t node, blaze_error *error);
/* All of it, with `self` at `seq`, in the arena. */
int bz_version_vector(struct bz_view *view, uint32_t self, uint64_t seq, struct bz_arena *arena,
    struct bz_vv *out, blaze_error *error);

/* A version vector as a value has it: count, then node and seq each, by node ascending; as varints.
 * BLAZE_ECORRUPT, BLAZE_ENOMEM; the buffer keeps its error. */
void bz_vv_append(struct bz_buf *out, const struct bz_vv *vv);
int bz_vv_read(struct bz_reader *r, struct bz_arena *arena, struct bz_vv *out);

/* All zero if there is none. */
int bz_peer_load(
    struct bz_view *view, const blaze_id *node, struct bz_peer_state *out, blaze_error *error);
int bz_peer_store(
    struct bz_txn *txn, const blaze_id *node, const struct bz_peer_state *peer, blaze_error *error);
int bz_peer_each(struct bz_view *view,
    int (*each)(void *context, const blaze_id *node, const struct bz_peer_state *peer),
    void *context, blaze_error *error);
/* An entry of the change log. */
struct bz_log_entry {
    uint64_t position;
    uint32_t collection;
    blaze_id id;
    uint32_t origin; /* the node from which the change came, self for a local one */
    bool subsumed;   /* the origin had already seen all that the record holds */
    bool dead;       /* the record is not visible */
    bool untold;     /* our version vector had all of it before: whoever has as much may not know */
};
int bz_log_store(struct bz_txn *txn, const struct bz_log_entry *entry, blaze_error *error);
int bz_log_erase(struct bz_txn *txn, uint64_t position, blaze_error *error);
/* Lists, or no longer lists, the entry at a position among those of records that are not visible.
 */
int bz_dead_store(struct bz_txn *txn, uint64_t position, bool dead, blaze_error *error);
/* The entry under a cursor. BLAZE_ECORRUPT. */
int bz_log_decode(const struct bz_cursor *cursor, struct bz_log_entry *out, blaze_error *error);
/* Stands on the first entry after `position`; BLAZE_END. */
int bz_log_seek(struct bz_cursor *cursor, uint64_t position, blaze_error *error);

/* Whether `meta` has an entry, whatever it is. */
int bz_meta_is_there(struct bz_view *view, struct bz_bytes key, bool *out, blaze_error *error);
/* Puts the time there, in ms since 1970. */
int bz_meta_note_now(struct bz_db *db, struct bz_txn *txn, struct bz_bytes key, blaze_error *error);
/* Its entries whose keys begin with that and go on, in order of keys. An error of `each` ends the
 * walk, BLAZE_END without one. `each` may write; what it is given borrows until it does. */
int bz_meta_each(struct bz_view *view, struct bz_bytes prefix,
    int (*each)(void *context, struct bz_bytes key, struct bz_bytes value), void *context,
    blaze_error *error);

struct bz_bytes bz_record_key(
    uint8_t out[BZ_RECORD_KEY_SIZE], uint32_t collection, const blaze_id *id);

/* A record as it lies in the store, borrowed until the next one is loaded through the view.
 * BLAZE_ENOTFOUND. */
struct bz_stored {
    uint64_t position; /* of its log entry */
    struct bz_bytes record;
};
int bz_stored_load(struct bz_view *view, uint32_t collection, const blaze_id *id,
    struct bz_stored *out, blaze_error *error);
int bz_stored_split(struct bz_bytes value, struct bz_stored *out, blaze_error *error);
/* Decodes it into the arena; it borrows what the stored record does. */
int bz_stored_decode(struct bz_arena *arena, const struct bz_stored *stored, const blaze_id *id,
    struct bz_rec *out, blaze_error *error);
int bz_record_corrupt(blaze_error *error, const blaze_id *id);
/* For records that can be carried and not read: bz_rec_check_kinds(). */
int bz_kind_unknown(blaze_error *error);

/* Whether a record of one live whole write, whose body is all that there is to see. */
bool bz_rec_is_simple(const struct bz_rec *rec);

/* ---- db.c ---- */

struct bz_listener_handle {
    struct bz_listener_handle *next;
    struct bz_db *db;
    void (*notify)(void *context);
    void *context;
    unsigned running; /* calls of notify at this moment */
    bool removed;
};

/* Who is told of commits; see observe.c. */
struct bz_watch {
    pthread_mutex_t lock;
    pthread_cond_t work;  /* there may be something for the thread */
    pthread_cond_t ended; /* a call has */
    struct bz_observer *observers;
    struct bz_listener_handle *listeners;
    struct bz_event *events; /* the thread's, made with it */
    pthread_t thread;        /* of the observers */
    bool thread_runs;
    bool stop;
    atomic_uint interested; /* observers and listeners: 0 makes a commit cheap */
};

/* Who is told of thresholds that are crossed; see health.c. The watch's lock guards it. */
struct bz_health {
    struct bz_thresholds thresholds; /* never change */
    void (*on_warning)(void *context, const struct bz_warning *warning);
    void *context;
    bool due; /* for the watch's thread to look */
    bool running;
    bool told[BZ_WARNING_KINDS];
};

/* Has the observers' thread settle, if there is anything to settle by; see settler.c. */
struct bz_settler {
    pthread_mutex_t starting;     /* taken before `lock` */
    struct bz_observer *observer; /* NULL: nothing to do yet */
    pthread_mutex_t lock;         /* of what follows */
    pthread_cond_t idle;          /* a resolver is back */
    struct bz_resolver *resolvers;
    bool keeps; /* the policies */
    bool started;
    uint64_t policies; /* as they were when another process had last committed, as a hash */
    bool by_hand;      /* never changes: no thread, bz_db_settle_pass() is called instead */
    _Atomic(uint64_t) unreadable; /* records in conflict that the last pass could not read */
    bool behind; /* only the thread looks: something failed, everything must be looked at */
};

/* A place for one idle read. Each has its own part of the processors' caches, and a thread looks
 * first where it looked last: so threads that read at once do not meet. */
struct bz_idle_read {
    _Atomic(struct bz_read *) read;
    char apart[64 - sizeof(void *)];
};
#define BZ_IDLE_READS 16

/* Where the collection of deleted records stands; see collect.c. */
struct bz_collecting {
    bool begun, whole;        /* a pass has begun, and come to its end */
    uint64_t reached;         /* it has looked up to this position */
    struct bz_hash128 bounds; /* what it looks by */
    uint64_t position;        /* of the change log when it began */
    uint64_t again_ms; /* when the first of those that were kept for a time can go; 0: none was */
};

struct bz_db {
    struct bz_store *store;
    char *path;
    bool read_only;
    struct bz_identity identity; /* node and epoch: the lock guards them */
    enum bz_durability apply_durability;
    uint64_t (*wall_ms)(void *context);
    int (*entropy)(void *context, void *data, size_t size);
    void *context;
    uint64_t boot;             /* this boot of the system */
    atomic_bool opening_noted; /* this opening of the database; see opening.c */
    uint64_t mark;             /* in memory: in place of that of the identity file */

    _Atomic(uint64_t) position;      /* newest visible, as far as noticed */
    _Atomic(uint64_t) polled_lsn;    /* the commit that bz_db_poll() saw last */
    _Atomic(uint64_t) coverage_mark; /* changes of what is known of replicas, by this process */
    _Atomic(uint64_t) fresh_lsn;     /* the catalog holds all that commits up to here need */

    struct bz_idle_read idle_reads[BZ_IDLE_READS];
    atomic_uint reads; /* made: idle and in use */

    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t settled;
    struct bz_catalog *catalog; /* the pointer never changes; refreshing it takes the lock */
    bool writing;               /* a transaction of this process may add to the catalog */
    bool settling;              /* a commit that adds to it is on its way */
    struct bz_db_txn *idle_txns;
    unsigned open; /* transactions and replicas handed out */
    struct bz_collecting collecting;
    struct {
        uint64_t generation; /* of the scope that the rest is of */
        uint64_t swept;      /* as in bz_scope_kept, where that is not yet written */
        struct bz_acknowledged known;
    } scope;

    struct bz_watch watch;
    struct bz_health health;
    struct bz_settler settler;
};

/* 0, or BLAZE_EPERM if the database is blind. */
int bz_db_readable(const struct bz_db *db, blaze_error *error);

/* Bytes for a new id (RFC 9562 version 4). */
int bz_db_random_id(struct bz_db *db, blaze_id *out, blaze_error *error);

/* ---- identity.c ---- */

/* Writes who a new database is; in the transaction that creates it. */
int bz_identity_create(
    struct bz_db *db, struct bz_txn *txn, const struct bz_db_options *options, blaze_error *error);
/* Reads it. BLAZE_ENOTFOUND if this store holds no database, BLAZE_EVERSION, BLAZE_ECORRUPT.
 * *copied: the directory is not where it was written. */
int bz_identity_load(struct bz_db *db, struct bz_view *view, bool *copied, blaze_error *error);
/* Notes that the database now is in `directory`, and still the same node: for who has moved all of
 * it there, and sees to it that nothing stays behind. BLAZE_ENOTFOUND. */
int bz_identity_move(const char *directory, struct bz_txn *txn, blaze_error *error);
/* Becomes a node of its own, with a new node id and a new log epoch, in a transaction that then
 * also stores the catalog and *state. Once it is committed, *renewed is to be adopted. `copied`:
 * the node that this was goes on elsewhere. */
int bz_identity_renew(struct bz_db *db, struct bz_txn *txn, bool copied, struct bz_state *state,
    struct bz_identity *renewed, blaze_error *error);
/* From now on we are this node. */
void bz_identity_adopt(struct bz_db *db, const struct bz_identity *identity);
/* With db->lock held: another process may have renewed it. */
int bz_identity_refresh(struct bz_db *db, struct bz_view *view, blaze_error *error);
/* Someone has seen more of node `former` than we have, and we are it, unless we have been renewed
 * meanwhile: becomes a node of its own. Waits for the writer's place. */
int bz_identity_outlived(
    struct bz_db *db, const blaze_id *former, const struct bz_trail *trail, blaze_error *error);
/* The same of a copy that was one of a part and cannot claim its writes as that node. */
int bz_identity_outgrown(struct bz_db *db, const blaze_id *former, blaze_error *error);
/* What a peer has seen of this node, that it says or shows: BLAZE_ECLOSED if it is more than there
 * is here, for which the transaction is then to end with bz_txn_abort_outlived(). */
int bz_txn_check_seen(struct bz_db_txn *txn, struct bz_dot seen, blaze_error *error);
/* Where that was found, it makes this copy another node: it was put back to an older state. If this
 * fails, the next exchange shows it again. */
void bz_txn_abort_outlived(struct bz_db_txn *txn);

/* ---- opening.c ---- */

#define BZ_OPENINGS_MAX 65536u /* kept */

struct bz_opening {
    struct bz_opening_mark mark;
    uint64_t seq;    /* of this node, at its start */
    uint64_t number; /* counts up */
};
/* That of a position: the last one that starts before it. All zero: none. */
int bz_opening_at(
    struct bz_view *view, uint64_t position, struct bz_opening *out, blaze_error *error);
/* Those after `told`, up to that of a position, newest first; where there are many, the last. */
int bz_openings_since(struct bz_view *view, const struct bz_opening_mark *told, uint64_t position,
    struct bz_trail *out, blaze_error *error);
/* The entry under a cursor. BLAZE_ECORRUPT. */
int bz_opening_decode(const struct bz_cursor *cursor, struct bz_opening *out, blaze_error *error);
/* Before a commit: notes this opening, if it is the first to move the log. */
int bz_opening_note(struct bz_db_txn *txn, blaze_error *error);
/* A new log epoch begins at a position, and its openings. */
int bz_openings_renew(struct bz_db *db, struct bz_txn *txn, uint64_t position, blaze_error *error);
/* Whether a log whose head is `position` had one at `as_of`, in the opening that a trail says. */
int bz_opening_recognize(struct bz_view *view, uint64_t position, uint64_t as_of,
    const struct bz_trail *trail, enum bz_recognition *out, blaze_error *error);

/* Since when this copy goes on apart from what it was before it was put back. */
struct bz_fork {
    uint32_t node; /* who it was */
    uint64_t position, seq;
    uint64_t last_seq;
};
/* Before the identity is renewed. `trail`: of one who knows the other log, or NULL. */
int bz_opening_fork(
    struct bz_db_txn *txn, const struct bz_trail *trail, struct bz_fork *out, blaze_error *error);
/* After that: what was written since becomes the new node's. */
int bz_opening_reissue(struct bz_db_txn *txn, const struct bz_fork *fork, blaze_error *error);

/* ---- loose.c ---- */

/* Before a commit: notes that relaxed ones begin, and then makes this one durable. */
int bz_loose_begin(struct bz_db_txn *txn, enum bz_durability *durability, blaze_error *error);
/* At closing: all is on the disk. */
void bz_loose_end(struct bz_db *db);
/* At opening: whether commits that others may have seen may be lost. */
int bz_loose_lost(const struct bz_db *db, struct bz_view *view, bool *lost, blaze_error *error);

/* ---- read.c ---- */

struct bz_read {
    struct bz_db *db;
    struct bz_snapshot *snapshot; /* NULL within a transaction */
    struct bz_view *view;
    struct bz_db_txn *txn; /* NULL outside of one */
    struct bz_arena arena; /* of the current call */
    struct bz_buf document;
    struct bz_state state; /* of the snapshot, once loaded */
    bool state_loaded;
    struct bz_bytes name; /* of the collection that was asked for last; data NULL: none yet */
    uint32_t collection;
    unsigned rows; /* open on it */
};

void bz_read_init(struct bz_read *read, struct bz_db *db);
void bz_read_release(struct bz_read *read);
void bz_reads_free(struct bz_db *db); /* the idle ones, which are all (asserted) */

/* The state of the view: of the transaction as it stands, or of the snapshot. It lasts as long as
 * the read. */
int bz_read_load_state(struct bz_read *read, const struct bz_state **out, blaze_error *error);
/* Begins a read and loads its state. */
int bz_read_begin_state(
    struct bz_db *db, struct bz_read **out, const struct bz_state **state, blaze_error *error);

/* What is to be seen of a stored record: the document, where it lies, or, if several writes make
 * it, those, from which it can be put together. */
struct bz_visible {
    struct bz_bytes document; /* data NULL: */
    struct bz_rec rec;        /* this; decoded in the arena of the read, for the current call */
};
/* BLAZE_ENOTFOUND for a dead one. */
int bz_read_visible(struct bz_read *read, const struct bz_stored *stored, const blaze_id *id,
    struct bz_visible *out, blaze_error *error);
/* Sees to it that `document` is there, if need be put together in `out`. */
int bz_visible_document(
    const struct bz_read *read, struct bz_visible *visible, struct bz_buf *out, blaze_error *error);

/* ---- txn.c ---- */

/* What a transaction keeps of a collection that it writes to. */
struct bz_txn_collection {
    uint32_t number;
    struct bz_bytes name;
    const struct bz_index_list *indexes;
    uint64_t count;
    bool touched; /* the count is to be written */
};

struct bz_txn_mark {
    uint32_t store_mark;
    struct bz_state state;
    bool changed;
    uint32_t collection_count;
    size_t counts; /* where in mark_counts its counts begin */
};

struct bz_db_txn {
    struct bz_db *db;
    struct bz_txn *txn;
    struct bz_view *view;
    struct bz_state state;
    uint64_t begun; /* position of the log at the start */
    uint64_t begun_seq;
    bool notes_opening;
    bool looked_left, left; /* once it was looked, whether something may have gone (bz_left_load) */
    bool looked_illegible, illegible; /* likewise, whether something may be left out */
    bool changed;
    bool failed;
    bool outlived; /* a peer has seen more of this node than is here */
    struct bz_txn_collection *collections;
    uint32_t collection_count, collection_capacity;
    uint32_t current; /* the collection used last */
    struct bz_txn_mark *marks;
    uint32_t mark_count, mark_capacity;
    uint64_t *mark_counts;
    size_t mark_counts_used, mark_counts_capacity;

    struct bz_arena arena; /* of the current call */
    struct bz_buf body, record;
    struct bz_buf document;
    struct bz_buf key_before, key_after;
    struct bz_read read;
    struct bz_db_txn *next;
};

void bz_txns_free(struct bz_db_txn *txns);
/* Whether the transaction may go on: BLAZE_EFAILED after a failure that it cannot undo. */
int bz_txn_usable(const struct bz_db_txn *txn, blaze_error *error);
/* Marks the transaction as failed where the code says that it is; returns the code. */
int bz_txn_result(struct bz_db_txn *txn, int code);
/* The collection, loaded on first use; borrowed until the next one is. */
int bz_txn_collection_load(
    struct bz_db_txn *txn, uint32_t number, struct bz_txn_collection **out, blaze_error *error);

/* Loads and decodes a record, into the arena of the transaction; *found: there is one. */
int bz_txn_record_load(struct bz_db_txn *txn, uint32_t collection, const blaze_id *id,
    struct bz_stored *stored, struct bz_rec *rec, bool *found, blaze_error *error);
/* The same with its collection, and of the arena it is all that is left. */
int bz_txn_load(struct bz_db_txn *txn, uint32_t collection, const blaze_id *id,
    struct bz_txn_collection **out, struct bz_stored *stored, struct bz_rec *rec, bool *found,
    blaze_error *error);

/* ---- write.c ---- */

/* Where a change comes from. */
struct bz_origin {
    uint32_t node;
    bool subsumed;
    bool untold;
};

/* The one write path: replaces `old` (NULL: none) by `rec` with all that hangs on it. */
int bz_write_record(struct bz_db_txn *txn, struct bz_txn_collection *collection, const blaze_id *id,
    const struct bz_stored *old_stored, const struct bz_rec *old, struct bz_rec *rec,
    struct bz_origin origin, blaze_error *error);

/* Removes all trace of a record here, which is no write: for what others have. */
int bz_drop_record(struct bz_db_txn *txn, struct bz_txn_collection *collection, const blaze_id *id,
    const struct bz_stored *stored, const struct bz_rec *rec, blaze_error *error);
/* The same for one that everybody has deleted: what bz_purged_load() tells is left of it. */
int bz_erase_record(struct bz_db_txn *txn, struct bz_txn_collection *collection, const blaze_id *id,
    const struct bz_stored *stored, const struct bz_rec *rec, blaze_error *error);
/* When an id was made, if it tells (RFC 9562 version 7), as a stamp; else 0. */
uint64_t bz_id_made_at(const blaze_id *id);
/* Leaves of a record that others have deleted and collected what outlives that: see crdt/rec.h. */
int bz_write_outlived(struct bz_db_txn *txn, uint32_t collection, const blaze_id *id,
    enum bz_rec_outliving as, const struct bz_standing *standing, blaze_error *error);

/* Of what stands for others: role and stamp of the sibling, or the greatest of those, it is for. */
struct bz_claim {
    uint64_t stamp;
    uint8_t role;
};
/* Writes the fields of `values`, some of them perhaps unset, as settled (bz_rec_resolve()).
 * BLAZE_ENOTFOUND, without words, if the record is not visible. */
int bz_write_settled(struct bz_db_txn *txn, uint32_t collection, const blaze_id *id,
    blaze_doc *values, struct bz_claim claim, blaze_error *error);

/* ---- conflicts.c ---- */

/* What is in conflict in a record. */
struct bz_record_conflicts {
    uint32_t collection;
    blaze_id id;
    uint64_t position; /* of the record: it has not changed as long as this is the same */
    size_t size;       /* of the record, in bytes */
    const struct bz_conflict *life; /* NULL: it is not */
    const struct bz_conflict *fields;
    uint32_t count;
};
/* Of one record: it is corrupt, or of a version that this one cannot read. */
static inline bool bz_is_unreadable(int rc)
{
    return rc == BLAZE_ECORRUPT || rc == BLAZE_EVERSION;
}
/* Whether a record is in the list of those in conflict: 0 or BLAZE_ENOTFOUND. */
int bz_conflicts_listed(
    struct bz_read *read, uint32_t collection, const blaze_id *id, blaze_error *error);
/* What is listed of it, in the arena of the read. */
int bz_conflicts_load(struct bz_read *read, uint32_t collection, const blaze_id *id,
    struct bz_record_conflicts *out, blaze_error *error);

/* ---- policy.c ---- */

/* The policy of a field, which is that of its collection if it has none. */
int bz_policy_load(struct bz_view *view, struct bz_bytes collection, struct bz_bytes field,
    enum bz_policy *out, blaze_error *error);
/* A hash of all that are set. */
int bz_policy_sum(struct bz_view *view, uint64_t *out, blaze_error *error);
/* Whether any is set. */
int bz_policy_any(struct bz_view *view, bool *out, blaze_error *error);
/* Adds what the policy makes of the siblings to `values`, under the field's name; not for NONE. */
int bz_policy_choose(enum bz_policy policy, const struct bz_conflict *conflict, const char *name,
    blaze_doc *values, struct bz_claim *claim);
/* The greatest of all siblings. */
struct bz_claim bz_claim_of(const struct bz_conflict *conflict);

/* ---- settle.c ---- */

/* 0, BLAZE_EREADONLY, or BLAZE_EPERM if the database is blind. */
int bz_db_may_settle(const struct bz_db *db, blaze_error *error);
/* Settles what is in conflict in records that have changed. */
int bz_settle_changed(struct bz_db *db, const struct bz_event *events, size_t count);

/* ---- resolver.c ---- */

/* That of a collection, kept from being taken away until it is given back; NULL: it has none. */
struct bz_resolver *bz_resolver_take(struct bz_db *db, struct bz_bytes collection);
void bz_resolver_give(struct bz_db *db, struct bz_resolver *resolver);
int bz_resolver_call(const struct bz_resolver *resolver, const struct bz_conflict *fields,
    uint32_t count, blaze_doc *values);
void bz_resolvers_free(struct bz_settler *settler);

/* ---- settler.c ---- */

/* Starts it, unless it runs, and has it look at everything. */
int bz_settler_start(struct bz_db *db, blaze_error *error);
void bz_settler_init(struct bz_settler *settler);
void bz_settler_stop(struct bz_db *db); /* no call is running when this returns */
void bz_settler_release(struct bz_settler *settler);
/* Policies have changed here. */
void bz_settler_look(struct bz_db *db);
/* Another process has committed: perhaps a policy. */
void bz_settler_poll(struct bz_db *db);

/* ---- index.c ---- */

/* Changes the entries of all indexes from those of one visible state of a record to those of
 * another; NULL: not visible. */
int bz_index_update(struct bz_db_txn *txn, const struct bz_txn_collection *collection,
    const blaze_id *id, const struct bz_rec *before, const struct bz_rec *after,
    blaze_error *error);
/* Replaces *key by the key of the entry of a visible record: index, value, id. */
int bz_index_key(struct bz_arena *arena, struct bz_buf *key, const struct bz_index *index,
    const struct bz_rec *rec, struct bz_catalog *catalog, const blaze_id *id, bool *cut);

/* ---- walk.c ---- */

/* A walk over the entries of a plan's ranges, of one collection's records or of one index. */
struct bz_walk {
    struct bz_cursor *cursor;
    uint8_t prefix[4]; /* the collection or the index */
    const struct bz_key_range *ranges;
    uint32_t range_count;
    uint32_t done; /* ranges left behind */
    bool backwards;
    bool inside; /* of a range */
    bool held;   /* the entry under the cursor is to be given again */
    struct bz_buf low, high;
};
/* Walks `map` below a prefix; `plan` stays as it is until release. */
int bz_walk_init(struct bz_walk *walk, struct bz_view *view, enum bz_map map, uint32_t prefix,
    const struct bz_plan *plan, blaze_error *error);
void bz_walk_release(struct bz_walk *walk);
/* To the next entry, which is then under the cursor; BLAZE_END. */
int bz_walk_next(struct bz_walk *walk, blaze_error *error);
/* Makes the next call give the entry under the cursor again. */
void bz_walk_hold(struct bz_walk *walk);
/* The id at the end of the entry's key. BLAZE_ECORRUPT. */
int bz_walk_id(const struct bz_walk *walk, blaze_id *id, blaze_error *error);

/* ---- observe.c ---- */

void bz_watch_init(struct bz_watch *watch);
void bz_watch_release(struct bz_watch *watch); /* ends the thread */
/* With the lock held: starts the thread, unless it runs. */
int bz_watch_start(struct bz_db *db, blaze_error *error);
/* Has the observer called once with no events, soon and before what there is to tell. */
void bz_watch_wake(struct bz_observer *observer);
/* Tells that positions up to this one are visible. */
void bz_db_advance(struct bz_db *db, uint64_t position);

/* ---- health.c ---- */

/* Has the thread look whether a threshold is crossed, if anybody wants to know. `context` is the
 * database. */
void bz_health_ask(void *context);
/* Looks, and tells; on the thread, with the lock held, which is let go of meanwhile. */
void bz_health_tell(struct bz_db *db);

/* ---- coverage.c ---- */

/* What every replica that counts is known to have, this one included; in the arena. */
int bz_coverage_floor(struct bz_db *db, struct bz_view *view, const struct bz_state *state,
    struct bz_arena *arena, struct bz_vv *out, blaze_error *error);
/* The greatest dots, and the greatest stamp, of all records ever collected; and how many were
 * collected here. */
struct bz_purged {
    struct bz_vv vv;
    uint64_t stamp;
    uint64_t count;
    uint64_t mark; /* of all of this: another whenever it changes; 0: nothing was collected */
};
int bz_purged_load(
    struct bz_view *view, struct bz_arena *arena, struct bz_purged *out, blaze_error *error);
int bz_purged_raise(struct bz_db_txn *txn, const struct bz_vv *vv, uint64_t stamp, uint64_t more,
    blaze_error *error);
/* One record is gone that had seen `vv`: of that counts what our version vector has; *all: all. */
int bz_purged_had(struct bz_db_txn *txn, const struct bz_vv *vv, bool *all, blaze_error *error);
/* Of the writes of what was collected, those that have been here, by `own`, our version vector; in
 * the arena. */
int bz_collected_here(struct bz_view *view, struct bz_arena *arena, const struct bz_vv *own,
    struct bz_purged *out, blaze_error *error);
/* Whether what others tell may come from a blind copy, of whatever will: see coverage.c. */
int bz_hearsay_load(struct bz_db *db, struct bz_view *view, bool *out, blaze_error *error);
/* Notes that now something came in again which may have been collected, since peers with the same
 * writes show something else; and whether that was within so long. */
int bz_returned_note(struct bz_db_txn *txn, blaze_error *error);
int bz_returned_is(
    struct bz_db *db, struct bz_view *view, uint64_t within_ms, bool *out, blaze_error *error);
int bz_retention_load(struct bz_view *view, uint64_t *ms, blaze_error *error);
/* Notes a replica of which nothing else is known, or that is no more. */
int bz_coverage_note(
    struct bz_db *db, struct bz_txn *txn, const blaze_id *node, bool forgotten, blaze_error *error);
/* For replicas: see crdt/replica.h. */
int bz_coverage_tell(
    void *context, const blaze_id *receiver, struct bz_arena *arena, struct bz_coverage *out);
int bz_coverage_learn(void *context, const struct bz_coverage *told, struct bz_arena *arena,
    struct bz_standing *out, blaze_error *error);

/* ---- beyond.c: showing something else than others with the same version vector ---- */

/* There are writes up to `vv` here that ours may not cover. */
int bz_beyond_raise(struct bz_db *db, struct bz_txn *txn, struct bz_arena *arena,
    const struct bz_vv *vv, blaze_error *error);
/* A comparison with a peer that had `vv` changes what is here. */
int bz_compared_raise(struct bz_db_txn *txn, const struct bz_vv *vv, blaze_error *error);
int bz_compared_is(struct bz_view *view, bool *out, blaze_error *error);
/* Forgets what `own`, our version vector, includes by now. */
int bz_beyond_covered(
    struct bz_db_txn *txn, const struct bz_vv *own, bool *compared, blaze_error *error);
/* Something is to be told whatever version vectors say (collect.c), or writes of our own may be
 * claimed by nobody (bz_identity_renew). */
int bz_untold_note(struct bz_db *db, struct bz_txn *txn, blaze_error *error);
/* Whether any of that is so; `patient`: also if a peer that could change it has been away for long.
 */
int bz_beyond_is(struct bz_db *db, struct bz_view *view, struct bz_arena *arena, bool patient,
    bool *out, blaze_error *error);

/* ---- illegible.c ---- */

struct bz_illegible {
    uint64_t count;    /* records */
    uint64_t asked_ms; /* when they were last asked for, or the first of them came */
    struct bz_vv seen; /* of what they, and some before them, had seen the greatest dots */
};
int bz_illegible_load(
    struct bz_view *view, struct bz_arena *arena, struct bz_illegible *out, blaze_error *error);
int bz_illegible_any(struct bz_view *view, bool *out, blaze_error *error);
/* A record is left out as it came. *news: it was not known that it holds so much. */
int bz_illegible_note(
    struct bz_db_txn *txn, const struct bz_change *change, bool *news, blaze_error *error);
/* A record is here, having seen this: forgets the note of it, unless that had seen more. */
int bz_illegible_settle(struct bz_db_txn *txn, uint32_t collection, const blaze_id *id,
    const struct bz_vv *rvv, blaze_error *error);
/* All notes go, if `own`, our version vector, includes what they had seen. */
int bz_illegible_covered(struct bz_db_txn *txn, const struct bz_vv *own, blaze_error *error);
/* What a whole write replaces besides what is here; in the arena. */
int bz_illegible_dots(struct bz_db_txn *txn, uint32_t collection, const blaze_id *id,
    struct bz_vv *out, blaze_error *error);

/* For replicas: see crdt/replica.h. */
int bz_illegible_again(void *context, bool *out, blaze_error *error);

/* ---- reconcile.c; for replicas ---- */

int bz_range_list(void *context, const struct bz_range *range, struct bz_range_sum *out);
int bz_range_compare(void *context, const struct bz_range *range, const blaze_id *there,
    uint32_t count, const struct bz_standing *standing, uint64_t *removed, blaze_error *error);
int bz_range_compared(
    void *context, uint64_t began, const struct bz_standing *standing, blaze_error *error);
int bz_only_from(void *context, const blaze_id *peer, bool *out, blaze_error *error);
int bz_came_since(void *context, uint64_t position, const blaze_id *peer,
    const struct bz_vv *collected, bool *out, blaze_error *error);

/* ---- selection.c: a scope (crdt/scope.h) that can be asked ---- */

struct bz_selection;

/* Copies and parses a scope, which has been checked; one thread at a time. Empty bytes take
 * everything. BLAZE_ESYNTAX, BLAZE_ERANGE, BLAZE_ELIMIT, BLAZE_ENOMEM. */
int bz_selection_new(struct bz_selection **out, struct bz_catalog *catalog, struct bz_bytes scope,
    blaze_error *error);
void bz_selection_free(struct bz_selection *selection); /* NULL is allowed */
/* Whether records of a collection are taken at all; *filtered: not all of them. */
bool bz_selection_collection(struct bz_selection *selection, uint32_t collection, bool *filtered);
/* Whether a complete record is taken, by its document; a deleted one by what is hidden. */
bool bz_selection_takes(struct bz_selection *selection, uint32_t collection, const blaze_id *id,
    const struct bz_rec *rec);

/* ---- scope.c ---- */

/* What a partial replica notes of itself, in the setting `filter`; all zero in a full one. */
struct bz_scope_kept {
    uint64_t generation; /* log position at which it was set: another each time */
    struct bz_bytes scope;
    struct bz_bytes before; /* the scope that the peers' `held` are of */
    uint64_t swept;         /* nothing is out of scope up to this position of the log */
    blaze_id keeper;        /* the full peer that the next two are of; see bz_acknowledged */
    uint64_t safe;          /* it has all of our log up to here */
    uint64_t claimed;       /* and claims our writes up to here */
    uint64_t gave;          /* the newest write of this node that was in a record let go of */
    uint64_t gave_at;       /* `safe` as it was then */
    uint64_t unsure;        /* up to here even what holds nothing of this node may be nowhere else:
                               of the node that this was before, say */
    uint64_t doubted;       /* by here something had come, not from the only peer, that may be
                               collected; 0 once it has been compared */
    bool evicted;           /* something was let go of by hand that is in scope */
    bool whole;             /* peers may count as sent what is not here; see widen() */
};
int bz_scope_load(
    struct bz_view *view, struct bz_arena *arena, struct bz_scope_kept *out, blaze_error *error);
/* We are another node from now on. *gave: of the one before something may have been let go of. */
int bz_scope_renew(
    struct bz_db *db, struct bz_txn *txn, uint64_t position, bool *gave, blaze_error *error);
/* The peers' logs are to be read again; `held`: what was read of them counts as it was. */
int bz_peers_void(struct bz_txn *txn, bool held, blaze_error *error);
int bz_scope_is_set(struct bz_view *view, bool *out, blaze_error *error);
int bz_scope_store(struct bz_txn *txn, const struct bz_scope_kept *kept, blaze_error *error);
/* Whether a peer, which has acknowledged our log up to `acked`, has all that we let go of. */
bool bz_scope_keeps(const struct bz_scope_kept *kept, const blaze_id *peer, uint64_t acked);

/* Says that we go on as another node, since what we have let go of may be lost: BLAZE_ECLOSED. */
int bz_scope_outgrown(blaze_error *error);

/* Whether a record can go: a full peer is known to have all that it holds, or it came from others.
 * `self` is our number. */
bool bz_scope_expendable(uint32_t self, const struct bz_scope_kept *kept,
    const struct bz_stored *stored, const struct bz_rec *rec);
/* Records were written anew, as they are or less, that may be nowhere else: nor are they now that
 * they are at the end of the log. */
int bz_scope_moved(struct bz_db_txn *txn, blaze_error *error);
/* Lets go of it, and notes in *kept what that means; the caller stores that. */
int bz_scope_let_go(struct bz_db_txn *txn, struct bz_scope_kept *kept,
    struct bz_txn_collection *collection, const blaze_id *id, const struct bz_stored *stored,
    const struct bz_rec *rec, blaze_error *error);
/* Lets go of what is out of scope and was kept until a full peer was known to have it; some of it
 * at a time. */
int bz_scope_sweep(struct bz_db *db, struct bz_acknowledged known, bool *more, blaze_error *error);
/* What is known of acknowledgements and not yet written down is as good; `self` is our number. */
void bz_scope_add_unwritten(struct bz_db *db, uint32_t self, struct bz_scope_kept *kept);
/* Writes down what was acknowledged, before the database is closed. If that fails, the next
 * exchange finds it out again. */
void bz_scope_close(struct bz_db *db);

/* A keeper that has not been seen for as long may not come back. */
#define BZ_UNSEEN_MS (24ull * 3600000)

/* ---- gone.c ---- */

/* Whether our version vector, without our own writes, covers all of a state (G2, G4 in scoped.c).
 */
int bz_shown_covers(struct bz_db_txn *txn, const struct bz_vv *rvv, bool *out, blaze_error *error);

/* Notes what a record was when it went, unless our version vector covers it. */
int bz_gone_note(struct bz_db_txn *txn, uint32_t collection, const blaze_id *id,
    const struct bz_vv *rvv, blaze_error *error);

/* Whether it was noted in a state that covers this one, and so out of scope; for what is untold,
 * that covers more than this one. */
int bz_gone_since(struct bz_view *view, struct bz_arena *arena, uint32_t collection,
    const blaze_id *id, const struct bz_vv *rvv, bool untold, bool *out, blaze_error *error);

/* Takes away notes that our version vector covers, some in a commit; or all of them. */
int bz_gone_prune(struct bz_db_txn *txn, blaze_error *error);
int bz_gone_clear(struct bz_txn *txn, blaze_error *error);

/* What a record with writes of this node had seen when it went, until it is here again, or one that
 * a comparison took away, until our version vector says so; *out is empty if there was none.
 * Nothing is left of it once we are a full copy, or another node. */
int bz_left_load(struct bz_view *view, struct bz_arena *arena, uint32_t collection,
    const blaze_id *id, struct bz_vv *out, blaze_error *error);
int bz_left_note(struct bz_db_txn *txn, uint32_t collection, const blaze_id *id,
    const struct bz_vv *rvv, blaze_error *error);
int bz_left_erase(
    struct bz_db_txn *txn, uint32_t collection, const blaze_id *id, blaze_error *error);
int bz_left_clear(struct bz_txn *txn, blaze_error *error);
/* A comparison has come to its end: what it took away has been here, and was collected. */
int bz_left_collect(struct bz_db_txn *txn, blaze_error *error);
/* In META; a record's key follows. */
struct bz_bytes bz_left_prefix(void);

/* ---- scoped.c: one commit of changes, of a partial replica or from one ---- */

struct bz_scoped {
    struct bz_arena arena; /* for the life of the commit */
    struct bz_scope_kept kept;
    bool kept_changed;
    struct bz_selection *selection; /* NULL: a full replica */
    const blaze_id *peer_id;        /* stays as long */
    struct bz_peer_state peer;      /* as it was known before */
    bool peer_full;                 /* it said so */
    uint64_t peer_acked;            /* it has acknowledged our log up to here */
    const struct bz_vv *peer_had;   /* it had all of this when it read what it sends */
    struct bz_awaited awaited;      /* for want of this something was not taken in */
    bool peer_alone;                /* no other peer is known */
    struct bz_purged purged;        /* as far as we know, if there are others */
    bool left;                      /* the last change's record is noted as one that has left */
    bool stays;                     /* the last change's record, though out of scope */
    bool outgrown;                  /* a full copy from now on, that cannot claim its writes */
    /* What it has told was collected, as far as it has it; NULL: nothing is known of that. */
    const struct bz_vv *peer_collected;
};
int bz_scoped_begin(
    struct bz_scoped *scoped, struct bz_db_txn *txn, const blaze_id *peer, blaze_error *error);
void bz_scoped_release(struct bz_scoped *scoped);
/* Before merging: *drop if the record is not to be taken in. `local` NULL: not here. */
int bz_scoped_before(struct bz_scoped *scoped, struct bz_db_txn *txn,
    const struct bz_change *change, const struct bz_rec *local, bool *drop, blaze_error *error);
/* After merging: *drop if the result is out of scope; what was here is then gone (*changed).
 * `subsumed`: the sender had all of it. */
int bz_scoped_after(struct bz_scoped *scoped, struct bz_db_txn *txn,
    struct bz_txn_collection *collection, const struct bz_change *change,
    const struct bz_stored *stored, const struct bz_rec *local, const struct bz_rec *merged,
    bool subsumed, bool *drop, bool *changed, blaze_error *error);
int bz_scoped_marker(struct bz_scoped *scoped, struct bz_db_txn *txn,
    const struct bz_change *change, uint32_t peer, bool *changed, blaze_error *error);
/* Whether a head's version vector may be taken over; `peer` as it is to be kept. */
int bz_scoped_takes_version(struct bz_scoped *scoped, struct bz_db_txn *txn,
    const struct bz_peer_state *peer, const struct bz_vv *vv, bool *out, blaze_error *error);
/* Completes what is noted of us. After the head's version vector was taken. */
int bz_scoped_end(struct bz_scoped *scoped, struct bz_db_txn *txn, struct bz_peer_state *peer,
    const struct bz_head *head, blaze_error *error);

/* The replica's operations. */
int bz_scope_doubts(void *context, const struct bz_vv *collected, bool *out, blaze_error *error);
/* What was here when the log stood at `began` has been compared with a peer that tells of so much.
 */
int bz_scope_compared(
    struct bz_db *db, uint64_t began, const struct bz_vv *collected, blaze_error *error);
int bz_replica_scope(void *context, struct bz_arena *arena, struct bz_scope_state *out);
int bz_replica_resumed(void *context, const blaze_id *former, const blaze_id *peer,
    uint64_t position, blaze_error *error);
int bz_replica_acknowledged(
    void *context, struct bz_acknowledged known, bool *more, blaze_error *error);

/* ---- replica.c, apply.c ---- */

int bz_apply_begin(void *context, const blaze_id *peer, struct bz_apply **out, blaze_error *error);
int bz_apply_begin_now(
    void *context, const blaze_id *peer, struct bz_apply **out, blaze_error *error);
int bz_apply_resolve(struct bz_apply *apply, enum bz_term term, struct bz_bytes meaning,
    uint32_t *number, blaze_error *error);
int bz_apply_change(
    struct bz_apply *apply, const struct bz_change *change, bool *changed, blaze_error *error);
int bz_apply_lacks(struct bz_apply *apply, bool *out, blaze_error *error);
void bz_apply_from(struct bz_apply *apply, const struct bz_sender *sender);
struct bz_awaited bz_apply_awaits(const struct bz_apply *apply);
int bz_apply_marker(
    struct bz_apply *apply, const struct bz_change *change, bool *changed, blaze_error *error);
int bz_apply_commit(struct bz_apply *apply, const struct bz_peer_state *peer,
    const struct bz_head *head, bool *diverged, blaze_error *error);
void bz_apply_abort(struct bz_apply *apply);

#endif
