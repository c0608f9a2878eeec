/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_DB_DB_H
#define BZ_DB_DB_H

/*
 * A database: documents in collections, kept with their causal history, their indexes and a change
 * log, all changed in one commit (docs/format/database.md).
 *
 * Every change of a record, local or merged, takes the next position of the change log; a record
 * has one entry in the log, at its newest position. An index holds the visible documents only. The
 * digest, the counts and the version vector change in the same commit.
 *
 * A *blind* database carries records that it cannot read: its sessions bring names and bodies that
 * members have sealed, and it merges, keeps and hands on what it gets as any other does. It has no
 * indexes, conflicts or documents: what reads or writes those gives BLAZE_EPERM. For tests: create
 * it with {.create = true, .memory = true, .blind = true, .database = ID}, open a replica on it as
 * on any other, and give its sessions an auth without member key and seal; a session of a member
 * with it needs an auth with `seal` (bz_keys_auth() has it; tests/test_seal.h is one without a
 * cipher).
 *
 * Threads: a bz_db is for any thread; a bz_read, bz_db_txn, bz_rows and replica belong to one
 * thread at a time. Collections are named by UTF-8 text of 1 to 255 bytes without control
 * characters.
 */

#include "base/error.h"
#include "codec/doc.h"
#include "crdt/replica.h"
#include "store/store.h"

struct bz_db;
struct bz_read;
struct bz_db_txn;
struct bz_rows;
struct bz_observer;
struct bz_filter; /* query/query.h */

/* Sizes to warn of; 0: never. */
struct bz_thresholds {
    uint64_t database_bytes; /* on the disk, more than this */
    uint64_t log_bytes;      /* more than this */
    uint64_t free_bytes;     /* that the file system has left, fewer than this */
    uint32_t free_percent;   /* the same as part of its size */
};

struct bz_db_options {
    bool create; /* make it; BLAZE_EEXIST if it is there; otherwise BLAZE_ENOTFOUND if not */
    bool read_only;
    bool memory;       /* on the in-memory store; `path` is only a name */
    uint8_t role;      /* with create */
    bool blind;        /* with create: see above */
    blaze_id database; /* with create: its id, or all zero for a new one */
    bool unsynced;     /* with create: durable with the first commit that is, or bz_store_sync() */
    struct bz_store_options store;       /* sizes and times; maps are set here */
    enum bz_durability apply_durability; /* of what peers bring */
    struct bz_thresholds warn;
    /* The outside world, replaced in the simulator; NULL: the system's. */
    uint64_t (*wall_ms)(void *context);
    int (*entropy)(void *context, void *data, size_t size);
    void *context;
    uint64_t boot;        /* of the system, by number; 0: the system's */
    uint64_t mark;        /* in memory: of the identity file; a copy has another */
    bool settles_by_hand; /* no thread settles, but bz_db_settle_pass() when it is called */
};

int bz_db_open(
    struct bz_db **out, const char *path, const struct bz_db_options *options, blaze_error *error);
/* Whether the database at `path` is a blind copy, without opening it. A hint, which is in clear
 * beside the data: BLAZE_ENOTFOUND if it is not there, as in what earlier versions made. */
int bz_db_peek_blind(const char *path, bool *blind, blaze_error *error);
/* Removes the files of a database that nobody has open, and the directory if that is then empty. */
void bz_db_remove(const char *path);

/*
 * Rewrites the database at `path`, which nobody has open, as one that `to` seals, with a new data
 * key; NULL for one that is not sealed, both here and for `from`, what it is sealed by now. It
 * stays the same node. The copy is made beside it, as PATH.rekey, and takes its place in one step:
 * a crash leaves the old or the new one at `path`, whole, and perhaps something at PATH.rekey,
 * which the next rekey takes away. BLAZE_EBUSY if anyone has it open, BLAZE_EAUTH, BLAZE_EINVAL,
 * BLAZE_ENOTFOUND, BLAZE_ENOSPC, and what else opening and writing may fail with.
 */
int bz_db_rekey(const char *path, const struct bz_vault_secret *from,
    const struct bz_vault_secret *to, blaze_error *error);

/* All reads, transactions, rows, observers and replicas must be closed (asserted). */
int bz_db_close(struct bz_db *db, blaze_error *error);

void bz_db_identity(struct bz_db *db, struct bz_identity *out);
struct bz_store *bz_db_store(struct bz_db *db);
enum bz_durability bz_db_apply_durability(const struct bz_db *db); /* that it was opened with */

/* Small durable values beside the data (the secret, the hub's URL), not replicated. `value` empty
 * removes. get appends; BLAZE_ENOTFOUND. */
int bz_db_setting_put(
    struct bz_db *db, const char *name, struct bz_bytes value, blaze_error *error);
struct bz_setting {
    const char *name;
    struct bz_bytes value;
};
/* Several, all or none. */
int bz_db_settings_put(struct bz_db *db, const struct bz_setting *settings, size_t count,
    enum bz_durability durability, blaze_error *error);
int bz_db_setting_get(struct bz_db *db, const char *name, struct bz_buf *out, blaze_error *error);

/* ---- reading: one consistent state ---- */

int bz_read_begin(struct bz_db *db, struct bz_read **out, blaze_error *error);
void bz_read_end(struct bz_read *read);

/* The visible document. *out borrows until the next call with this `read`. BLAZE_ENOTFOUND (also
 * for an unknown collection). */
int bz_read_get(struct bz_read *read, struct bz_bytes collection, const blaze_id *id,
    blaze_value *out, blaze_error *error);
int bz_read_exists(struct bz_read *read, struct bz_bytes collection, const blaze_id *id,
    blaze_error *error); /* 0 or BLAZE_ENOTFOUND */
int bz_read_count(struct bz_read *read, struct bz_bytes collection, uint64_t *out,
    blaze_error *error); /* 0 for an unknown collection */

/* Calls each(context, name, records) for every collection that has or had records. */
int bz_read_collections(struct bz_read *read,
    int (*each)(void *context, struct bz_bytes name, uint64_t records), void *context,
    blaze_error *error);

struct bz_find {
    struct bz_bytes collection;
    const struct bz_filter *filter; /* NULL: all; kept alive by the caller while rows are open */
    const char *sort;               /* a field path, or NULL: by id */
    bool descending;
    uint64_t limit; /* 0: none */
    uint64_t offset;
    bool alone; /* nothing else reads through `read` while the rows are open: spares a copy of each
                 */
};
/* Rows in order. An unknown collection has none. */
int bz_read_find(
    struct bz_read *read, const struct bz_find *find, struct bz_rows **out, blaze_error *error);
/* The document borrows until the next call for these rows, whatever else is read or written in
 * between. BLAZE_END. */
int bz_rows_next(struct bz_rows *rows, blaze_id *id, blaze_value *document, blaze_error *error);
void bz_rows_close(struct bz_rows *rows);
/* The number of rows that bz_read_find() would give. Where an index holds just those that match
 * they are counted without being fetched. */
int bz_read_find_count(
    struct bz_read *read, const struct bz_find *find, uint64_t *out, blaze_error *error);
/* Appends how a find would run, one line. */
int bz_read_explain(
    struct bz_read *read, const struct bz_find *find, struct bz_buf *out, blaze_error *error);

/* One field with several siblings, the winner first; or life: whether the record is there, which
 * one sibling says and one denies. Values borrow during the call. */
struct bz_conflict {
    struct bz_bytes collection;
    blaze_id id;
    bool life;
    struct bz_bytes field; /* empty if it is life */
    uint32_t count;
    const struct bz_conflict_sibling {
        bool present;      /* false: this side has no such field, or has deleted the record */
        blaze_value value; /* of life: the whole document, as it is without the delete */
        blaze_id node;
        uint64_t seq;
        uint64_t stamp;
        uint8_t role;
        bool resolved; /* by a policy or a resolver */
    } * siblings;
};
/* Calls each() for every field in conflict of one record, or (id NULL) of one collection, or
 * (collection empty) of all, until it returns non-zero. Life comes before the fields; of a record
 * that is not visible nothing else does. A record that cannot be read is left out, and then its
 * error returned. Within it `read` must not be used. */
int bz_read_conflicts(struct bz_read *read, struct bz_bytes collection, const blaze_id *id,
    int (*each)(void *context, const struct bz_conflict *conflict), void *context,
    blaze_error *error);

/* The number of records in conflict, of a collection or (empty) of all. */
int bz_read_conflict_count(
    struct bz_read *read, struct bz_bytes collection, uint64_t *out, blaze_error *error);

/* ---- settling conflicts (docs/replication.md) ---- */

enum bz_policy {
    BZ_POLICY_UNSET,  /* a field: as its collection; a collection: none */
    BZ_POLICY_NONE,   /* conflicts stay */
    BZ_POLICY_LAST,   /* the last write, whoever made it */
    BZ_POLICY_SERVER, /* the last write of a server, or if there is none of a client */
    BZ_POLICY_LIST,   /* an array of all that was written, sorted */
    BZ_POLICY_GREATEST,
    BZ_POLICY_LEAST,
};
const char *bz_policy_name(enum bz_policy policy);
bool bz_policy_of_name(struct bz_bytes name, enum bz_policy *out);

/* Sets the policy of a collection, or (field not empty) of a field of it, in this copy. Whoever
 * keeps policies settles by it from now on, also what is in conflict already. BLAZE_EINVAL. */
int bz_db_policy_put(struct bz_db *db, struct bz_bytes collection, struct bz_bytes field,
    enum bz_policy policy, blaze_error *error);
/* The policy of a collection, or (field not empty) that holds for a field of it. */
int bz_read_policy(struct bz_read *read, struct bz_bytes collection, struct bz_bytes field,
    enum bz_policy *out, blaze_error *error);
/* Whether any policy is set. */
bool bz_db_has_policies(struct bz_db *db);
/* Calls each() for every policy that is set; field empty: the collection's. */
int bz_read_policies(struct bz_read *read,
    int (*each)(
        void *context, struct bz_bytes collection, struct bz_bytes field, enum bz_policy policy),
    void *context, blaze_error *error);

/* Is given the fields of a record that are in conflict, and adds to `values` what each is to be;
 * what it does not add (or unset) stays in conflict. Non-zero: all of it stays; BLAZE_ENOMEM: until
 * the next commit, when it is asked again. */
typedef int bz_resolve_fn(
    void *context, const struct bz_conflict *fields, uint32_t count, blaze_doc *values);

struct bz_settle {
    struct bz_bytes collection; /* empty: all */
    const blaze_id *id;         /* NULL: all records; else with a collection */
    struct bz_bytes field;      /* empty: all */
    enum bz_policy policy;      /* UNSET: those that are set */
};
/* Settles conflicts by policies, on this thread, also those among settled values alone. *settled is
 * the number of records that were written to. What changes meanwhile is left for another time, and
 * so are collections that have a resolver here, unless a policy is given, and what cannot be
 * written (BLAZE_ELIMIT). What cannot be read is left too, and then its error returned
 * (BLAZE_ECORRUPT, BLAZE_EVERSION). BLAZE_EREADONLY, BLAZE_EPERM. */
int bz_db_settle(
    struct bz_db *db, const struct bz_settle *what, uint64_t *settled, blaze_error *error);

/* From now on until it is closed, conflicts are settled by what policies there are, or come to be,
 * on the observers' thread, whichever process brings them. No more than a flag as long as there are
 * no policies. Nothing happens to a database that is blind or opened read-only. */
int bz_db_keep_policies(struct bz_db *db, blaze_error *error);

/* One pass of the standing settler over all that is in conflict, by resolvers and policies, on this
 * thread. *settled, unless NULL: the records written to. What cannot be read is left out and
 * counted. For its thread, and for the simulator. */
int bz_db_settle_pass(struct bz_db *db, uint64_t *settled, blaze_error *error);
/* Records in conflict, at least, that the standing settler of this process has met and could not
 * read, when it looked last. */
uint64_t bz_db_unsettled(const struct bz_db *db);

/* The same by `fn` for one collection, in place of its policy: those that there are, and from now
 * on those that come. Another one replaces it, NULL removes it; then no call of the one before is
 * running any more when this returns, unless it is made from within one. After its last call, and
 * also if this fails, release(context) is called, unless NULL. It is called on the observers'
 * thread, with no lock held, and may read and write. BLAZE_EREADONLY, BLAZE_EPERM. */
int bz_db_set_resolver(struct bz_db *db, struct bz_bytes collection, bz_resolve_fn *fn,
    void *context, void (*release)(void *context), blaze_error *error);

/* What is in conflict in a record, or that nothing is any more (not life, and count 0). */
struct bz_conflict_event {
    struct bz_bytes collection;
    blaze_id id;
    bool life;
    const struct bz_bytes *fields;
    uint32_t count;
};
struct bz_conflict_watch;
/* Calls back, as an observer, first for every record in conflict, then after commits for each whose
 * conflicts came, changed or ended. Remembers the ones in conflict: some 150 bytes each. */
int bz_db_watch_conflicts(struct bz_db *db, struct bz_bytes collection,
    void (*on_conflict)(void *context, const struct bz_conflict_event *event), void *context,
    struct bz_conflict_watch **out, blaze_error *error);
/* As bz_db_unobserve(). */
void bz_db_unwatch_conflicts(struct bz_conflict_watch *watch);

struct bz_db_state {
    uint64_t position;  /* of the change log */
    uint64_t seq;       /* writes of this node */
    uint64_t records;   /* alive, all collections */
    uint64_t dead;      /* records that are deleted and not collected */
    uint64_t purged;    /* deleted records that were collected here */
    uint64_t conflicts; /* records with a field in conflict, or life */
    struct bz_hash128 digest;
};
int bz_read_state(struct bz_read *read, struct bz_db_state *out, blaze_error *error);
/* Whether there may be writes here that the version vector does not cover. */
int bz_read_beyond(struct bz_read *read, bool *out, blaze_error *error);
/* The version vector with node ids, own node included: each(context, node, seq). */
int bz_read_version(struct bz_read *read,
    int (*each)(void *context, const blaze_id *node, uint64_t seq), void *context,
    blaze_error *error);
int bz_read_peers(struct bz_read *read,
    int (*each)(void *context, const blaze_id *node, const struct bz_peer_state *state),
    void *context, blaze_error *error);

/* ---- writing ---- */

int bz_db_begin(struct bz_db *db, struct bz_db_txn **out, blaze_error *error);
/* The same, for a small commit of changes from a peer by a thread that must not wait: BLAZE_EBUSY
 * if it would have to, for whoever writes or for the disk. */
int bz_db_begin_now(struct bz_db *db, struct bz_db_txn **out, blaze_error *error);
/* Reads within the transaction, its own writes included; owned by it. */
struct bz_read *bz_db_txn_read(struct bz_db_txn *txn);

/* A failed call changes nothing and the transaction goes
 * on, except where memory, the disk or the database failed (BLAZE_ENOMEM, _EIO, _ENOSPC, _ECORRUPT)
 * or the transaction has grown past what a commit may hold (BLAZE_ELIMIT): then it can only be
 * aborted, and further calls give BLAZE_EFAILED. */
int bz_db_insert(struct bz_db_txn *txn, struct bz_bytes collection, const blaze_id *id,
    blaze_doc *document, blaze_error *error); /* BLAZE_EEXIST */
int bz_db_put(struct bz_db_txn *txn, struct bz_bytes collection, const blaze_id *id,
    blaze_doc *document, blaze_error *error);
int bz_db_update(struct bz_db_txn *txn, struct bz_bytes collection, const blaze_id *id,
    blaze_doc *fields, blaze_error *error); /* BLAZE_ENOTFOUND */
int bz_db_upsert(struct bz_db_txn *txn, struct bz_bytes collection, const blaze_id *id,
    blaze_doc *fields, blaze_error *error); /* update, or insert if there is none */
int bz_db_delete(struct bz_db_txn *txn, struct bz_bytes collection, const blaze_id *id,
    blaze_error *error); /* BLAZE_ENOTFOUND */
/* Ends a conflict of life: the record is there, as it would have been but for the delete, or it is
 * deleted. BLAZE_ENOTFOUND if there is no such conflict in it. */
int bz_db_settle_life(struct bz_db_txn *txn, struct bz_bytes collection, const blaze_id *id,
    bool keep, blaze_error *error);
int bz_db_delete_all(
    struct bz_db_txn *txn, struct bz_bytes collection, uint64_t *deleted, blaze_error *error);

/* A mark to go back to, any number of times; going back drops later ones. Out of memory shows in
 * the calls that follow. */
uint32_t bz_db_savepoint(struct bz_db_txn *txn);
/* BLAZE_EINVAL if there is no such mark any more. */
int bz_db_rollback_to(struct bz_db_txn *txn, uint32_t savepoint, blaze_error *error);
/* Both consume `txn`. Its reads must be over. */
int bz_db_commit(struct bz_db_txn *txn, enum bz_durability durability, blaze_error *error);
void bz_db_abort(struct bz_db_txn *txn);

/* ---- indexes: ordered, one field each ---- */

/* Makes the index on a path (query/query.h) and fills it, in one transaction. BLAZE_EEXIST by name,
 * BLAZE_ESYNTAX, BLAZE_EINVAL, BLAZE_ELIMIT. */
int bz_db_index_create(struct bz_db *db, struct bz_bytes collection, const char *field,
    const char *name, blaze_error *error);
int bz_db_index_drop(
    struct bz_db *db, struct bz_bytes collection, const char *name, blaze_error *error);
int bz_db_index_list(struct bz_db *db, struct bz_bytes collection,
    int (*each)(void *context, const char *name, const char *field), void *context,
    blaze_error *error);

/* ---- observing ---- */

struct bz_event {
    uint64_t position;
    struct bz_bytes collection;
    blaze_id id;
    bool deleted;  /* the record is not visible now */
    bool remote;   /* the newest change came from another node by sync */
    blaze_id node; /* who wrote, or from whom it came */
};
/*
 * Calls back, on the database's observer thread, after each commit with what it changed; several
 * commits may share a call, and a record changed again meanwhile comes once. Commits of other
 * processes are seen too, once bz_db_poll() has been called or this process commits. An observer is
 * a reader of the change log: it misses nothing and never slows a writer. `collection` empty: all.
 */
int bz_db_observe(struct bz_db *db, struct bz_bytes collection,
    void (*on_events)(void *context, const struct bz_event *events, size_t count), void *context,
    struct bz_observer **out, blaze_error *error);
/* No call is running any more when this returns, unless it is made from within one. */
void bz_db_unobserve(struct bz_observer *observer);

/* Calls notify(context), from the committing thread and without locks, when the log has grown. For
 * the sync sessions; any number. Unlisten waits for running calls: not from within one. */
struct bz_listener_handle;
int bz_db_listen(struct bz_db *db, void (*notify)(void *context), void *context,
    struct bz_listener_handle **out);
void bz_db_unlisten(struct bz_listener_handle *handle);

/* Looks for commits of other processes and notifies if there are any. Any thread. */
void bz_db_poll(struct bz_db *db);

/* ---- warnings ---- */

enum bz_warning_kind {
    BZ_WARNING_DATABASE_SIZE,
    BZ_WARNING_LOG_SIZE,
    BZ_WARNING_FREE_DISK,
    BZ_WARNING_ILLEGIBLE,
    BZ_WARNING_KINDS
};

struct bz_warning {
    enum bz_warning_kind kind;
    uint64_t value, threshold; /* in bytes; of illegible records the number of them, and 1 */
    char text[512];            /* what to do */
};

/* Those of which the thresholds are crossed now; their number. None in memory. */
unsigned bz_db_warnings(struct bz_db *db, struct bz_warning out[BZ_WARNING_KINDS]);

/*
 * Calls on_warning(context, warning), on the observers' thread and without locks, when a threshold
 * is found to be crossed, and again only after it was found well clear of it in between: after
 * checkpoints, when the log grows, on bz_db_warnings(), and now. One callback; NULL to remove. No
 * call of the one before is running any more when this returns, unless it is made from within one.
 */
int bz_db_set_warning(struct bz_db *db,
    void (*on_warning)(void *context, const struct bz_warning *warning), void *context,
    blaze_error *error);

/* Reads everything and checks that records, indexes, change log, counts, conflicts and digest
 * agree. Each fault is told to `each` (may be NULL) in a line of text; BLAZE_ECORRUPT, with the
 * first of them in `error`, if there was one. Holds nothing up; takes as long as reading the
 * database. */
int bz_db_check(struct bz_db *db, void (*each)(void *context, const char *problem), void *context,
    blaze_error *error);

/* ---- the life of deleted records; see docs/replication.md ---- */

/* For how long a replica that is not heard of is waited for before deleted records go, in ms; 30
 * days by default. */
int bz_db_retention(struct bz_db *db, uint64_t *ms, blaze_error *error);
int bz_db_set_retention(struct bz_db *db, uint64_t ms, blaze_error *error);

int bz_read_retention(struct bz_read *read, uint64_t *ms, blaze_error *error);

/* A replica that is known of, this one and forgotten ones excepted. */
struct bz_replica_known {
    blaze_id node;
    uint64_t seen_ms; /* wall clock when it was last heard of, by whomever */
    bool stale;       /* for longer ago than the retention */
};
int bz_read_replicas(struct bz_read *read,
    int (*each)(void *context, const struct bz_replica_known *known), void *context,
    blaze_error *error);
/* Deleted records no longer wait for this replica, unless it is heard of again. BLAZE_ENOTFOUND. */
int bz_db_forget(struct bz_db *db, const blaze_id *node, blaze_error *error);

/* A record that was left out, since nobody can read what came of it through a blind peer. */
struct bz_illegible_record {
    blaze_id id;
    struct bz_bytes collection; /* its name, borrowed during the call; none if that is illegible */
    blaze_id writer;            /* of what cannot be read, or of one of several */
    bool forged;                /* no member has sealed it as it came, as far as can be told */
};
int bz_read_illegible(struct bz_read *read,
    int (*each)(void *context, const struct bz_illegible_record *record), void *context,
    blaze_error *error);
int bz_read_illegible_count(struct bz_read *read, uint64_t *out, blaze_error *error);

/* A step of the collection of deleted records that all replicas know to be deleted: removes up to
 * some hundred. Adds to *collected; *more: call again. */
int bz_db_collect(struct bz_db *db, uint64_t *collected, bool *more, blaze_error *error);

/* The position of the newest visible change. */
uint64_t bz_db_position(struct bz_db *db);

/* ---- replication ---- */

/*
 * Partial replicas: a database may hold a part of itself only, which a scope tells (crdt/scope.h:
 * bytes; empty for the whole). The scope is this copy's own and durable. A scope that takes more
 * than before has the next exchange bring what it newly takes; one that takes less has what it no
 * longer takes go, as soon as a full peer is known to have it. Records written here outside of it
 * go likewise. No scope any more: the copy is a full one once an exchange with a full peer has
 * completed it. Sessions end when the scope changes, and go on when they are made anew.
 */
/* BLAZE_EINVAL, BLAZE_ESYNTAX (a filter), BLAZE_EREADONLY. */
int bz_db_scope_set(struct bz_db *db, struct bz_bytes scope, blaze_error *error);
int bz_db_scope(struct bz_db *db, struct bz_buf *out, blaze_error *error); /* appends it */
/* The same within a read, borrowed until the next call with it. */
int bz_read_scope(struct bz_read *read, struct bz_bytes *out, blaze_error *error);
/* In a partial replica *absent* says nothing of the database, whatever the version vector covers.
 */
int bz_db_is_partial(struct bz_db *db, bool *out, blaze_error *error);
/* Lets go of records here, all or none: no write, nobody else learns of it. They come back when
 * others change them, or when the scope is set again. BLAZE_EPERM in a full replica,
 * BLAZE_ENOTFOUND, BLAZE_EBUSY for one that no full peer is known to have. */
int bz_db_evict(struct bz_db *db, struct bz_bytes collection, const blaze_id *ids, size_t count,
    blaze_error *error);
/* The same of all that a filter takes (empty: all), in several commits: *evicted of them went,
 * *kept are not known to be anywhere else. What went before an error has gone, and is counted. */
int bz_db_evict_where(struct bz_db *db, struct bz_bytes collection, struct bz_bytes filter,
    uint64_t *evicted, uint64_t *kept, blaze_error *error);

/* A replica object of this database for one session; see crdt/replica.h. */
int bz_db_replica_open(struct bz_db *db, struct bz_replica *out, blaze_error *error);
void bz_db_replica_close(struct bz_replica *replica);

#endif
