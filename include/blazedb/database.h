/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BLAZEDB_DATABASE_H
#define BLAZEDB_DATABASE_H

/*
 * A database is a directory, by habit `name.blz`. Its handle is for any thread. Several processes
 * may open one database; one process opens it once (BLAZE_EBUSY) and shares the handle.
 *
 * Collections are named by 1 to 255 bytes of UTF-8 without control characters and appear with their
 * first record.
 */

#include <blazedb/id.h>
#include <blazedb/value.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct blaze_db blaze_db;

typedef enum blaze_role {
    BLAZE_CLIENT = 0,
    BLAZE_SERVER = 1 /* wins over clients where writes were truly concurrent */
} blaze_role;

typedef enum blaze_durability {
    BLAZE_FULL = 0,   /* on disk when the call returns */
    BLAZE_RELAXED = 1 /* in the log; a power cut loses at most the last 100 ms, never consistency */
} blaze_durability;

/*
 * What a sealed database is opened with: a passphrase, or a key file. In every file of a sealed
 * database all data is encrypted with AES-256-GCM; docs/security.md says what that protects.
 *
 * The library keeps no copy of a passphrase and none of what it reads from a key file (a hub does,
 * as long as it runs); wiping the caller's own is left to the caller. What it derives from them
 * stays in memory while the database is open.
 */
typedef struct blaze_seal {
    size_t size;            /* set by blaze_seal_init() and by the init of what has one in it */
    const char *passphrase; /* 1 to 1024 bytes, NUL-terminated; NULL: none */
    const char *key_file;   /* path of a file of 32 to 65,536 random bytes; NULL: none */
    /* What deriving a key from the passphrase costs (Argon2id), and so what each guess costs.
     * Recorded where a passphrase is set, and of no meaning elsewhere. */
    unsigned kdf_memory_kib; /* 8 to 4,194,304; 0: 65,536 */
    unsigned kdf_passes;     /* 1 to 64; 0: 3 */
} blaze_seal;

BLAZE_API void blaze_seal_init(blaze_seal *seal);

typedef struct blaze_open_options {
    size_t size; /* set by blaze_open_options_init() */
    int create;  /* make the directory: BLAZE_EEXIST if a database is there already */
    int read_only;
    int memory;                  /* nothing on disk; `path` is only a name */
    blaze_role role;             /* with create */
    blaze_durability durability; /* of writes that do not say otherwise */
    blaze_seal seal;             /* with create, the new database is sealed by it; not in memory */
    int allow_network_fs;        /* also where other machines may write to the files: see below */
    /* Sizes in bytes to warn of, see blaze_warning; 0: never. */
    uint64_t warn_database_bytes; /* database and log: more than this */
    uint64_t warn_log_bytes;      /* more than this */
    uint64_t warn_free_bytes;     /* left on the disk: fewer than this */
    unsigned warn_free_percent;   /* the same as part of the disk, in hundredths */
} blaze_open_options;

/* Defaults: open what exists, for reading and writing, as a client, full durability; warn of 40 GiB
 * of database, 512 MiB of log, 256 MiB or 5 % left on the disk. */
BLAZE_API void blaze_open_options_init(blaze_open_options *options);

/* Opens `path`; `options` may be NULL. Read-only, nothing needs to be writable, and a damaged log
 * shows what was before the damage: see blaze_damage(). BLAZE_ENOTFOUND if there is no database,
 * BLAZE_EAUTH if it is sealed and the passphrase or key file is missing or wrong, BLAZE_EINVAL if
 * one is given and it is not, BLAZE_EBUSY, BLAZE_ECORRUPT naming file and offset, BLAZE_EVERSION,
 * BLAZE_EPERM, BLAZE_ENOSPC.
 *
 * On a network file system (NFS, SMB, sshfs, ...) it is refused with BLAZE_EPERM, for reading too:
 * locks and mapped files do not hold between machines, and a database that is written by two at
 * once is lost. With allow_network_fs set it is opened all the same; then it is for you to see to
 * it that one machine at a time has it open. */
BLAZE_API int blaze_open(
    blaze_db **out, const char *path, const blaze_open_options *options, blaze_error *error);

/* Closes the handle whatever is returned: BLAZE_EIO if the last relaxed commits could not be made
 * durable. Cursors, snapshots, transactions and observers must be closed; sync links are stopped.
 * While a host's name is being looked up for one, it waits for the system's resolver, which cannot
 * be interrupted. */
BLAZE_API int blaze_close(blaze_db *db, blaze_error *error);

/*
 * Has the sealed database at `path` open with `to` instead of `from` from now on. The data is not
 * rewritten, so this takes no longer than two openings; who has it open goes on. It does not help
 * against somebody who knows the old passphrase and has a copy of the files as they were: for that
 * there is blaze_rekey(). A crash leaves it open with the one or the other. BLAZE_EAUTH if `from`
 * is wrong, BLAZE_EINVAL if it is not sealed, BLAZE_ENOTFOUND, BLAZE_EBUSY if another changes it,
 * or rewrites the database, at this moment.
 */
BLAZE_API int blaze_change_passphrase(
    const char *path, const blaze_seal *from, const blaze_seal *to, blaze_error *error);

/*
 * Rewrites the database at `path`, which nobody has open, under a new data key and opening with
 * `to`, which may be the same as `from`. Either may be NULL, for a database that is not sealed: so
 * this also seals one, or unseals it. It stays the same copy to its peers. It needs the room of a
 * second copy, beside it as PATH.rekey, which then takes its place at once: a crash leaves the old
 * or the new one at `path`, whole, and perhaps PATH.rekey, which the next rekey takes away. What
 * was deleted may be found on the disk as long as nothing else was written there. BLAZE_EBUSY if
 * anyone has it open, BLAZE_EAUTH, BLAZE_EINVAL, BLAZE_ENOTFOUND, BLAZE_ENOSPC.
 */
BLAZE_API int blaze_rekey(
    const char *path, const blaze_seal *from, const blaze_seal *to, blaze_error *error);

BLAZE_API void blaze_database_id(blaze_db *db, blaze_id *out); /* shared by all copies */
BLAZE_API void blaze_node_id(blaze_db *db, blaze_id *out);     /* of this copy alone */
BLAZE_API blaze_role blaze_database_role(blaze_db *db);

/* Makes all earlier relaxed commits durable. */
BLAZE_API int blaze_flush(blaze_db *db, blaze_error *error);

/*
 * What there is to know, as one JSON object: database, node, role, records, collections {name:
 * records}, vv {node: writes}, blind, partial,
 * scope {collection: filter} of a partial copy, unreadable {count, records [{record, collection,
 * writer, sealed}]} if there are any, digest, conflicts, deleted {waiting, collected,
 * retention_days}, replicas [{node, seen, stale}], peers [...], links [...], storage {...},
 * warnings
 * [...], sealed, and damaged, if blaze_damage() is not NULL. *out is released with blaze_free().
 */
BLAZE_API int blaze_status(blaze_db *db, char **out, blaze_error *error);

/*
 * What remains of a deleted record is removed once all replicas know that it is deleted
 * (docs/replication.md). A database that syncs does so by itself; blaze_collect() does it now, also
 * for one that was never shared. *collected (may be NULL) is how
 * many records went.
 */
BLAZE_API int blaze_collect(blaze_db *db, uint64_t *collected, blaze_error *error);

/* For how long a replica that is not heard of is waited for, in ms; 30 days at first. Of this copy
 * alone. */
BLAZE_API int blaze_retention(blaze_db *db, uint64_t *ms, blaze_error *error);
BLAZE_API int blaze_set_retention(blaze_db *db, uint64_t ms, blaze_error *error);

/* No longer waits for the replica with this node id, here and wherever this is heard of, until it
 * is heard of again. BLAZE_ENOTFOUND if none is known. */
BLAZE_API int blaze_forget(blaze_db *db, const blaze_id *node, blaze_error *error);

/* A threshold of blaze_open_options that is crossed, before a limit is reached (docs/limits.md); or
 * that records were left out which came through a blind hub and that nobody can read as a member
 * has sealed them (docs/replication.md). */
typedef enum blaze_warning_kind {
    BLAZE_WARNING_DATABASE_SIZE = 0, /* in status: "database_size" */
    BLAZE_WARNING_LOG_SIZE = 1,      /* "log_size" */
    BLAZE_WARNING_FREE_DISK = 2,     /* "free_disk" */
    BLAZE_WARNING_UNREADABLE = 3     /* "unreadable" */
} blaze_warning_kind;

typedef struct blaze_warning {
    blaze_warning_kind kind;
    uint64_t value, threshold; /* in bytes; of unreadable records the number of them, and 1 */
    const char *text;          /* what it is and what to do; borrowed during the call */
} blaze_warning;

/*
 * Has `callback` called when a threshold is crossed, soon if one is already; again only after it
 * was well clear of it in between. It is looked at after checkpoints, when the log grows, when a
 * record has been left out, and on blaze_status(), so no write takes longer for it; opened
 * read-only, on blaze_status() alone. The call comes on the thread of the observers, with no lock
 * held: it may read and write, and set or remove the callback, but not close the database. A second
 * callback replaces the first, NULL removes it; then no call is running any more when this returns,
 * unless it is made from within one. A database in memory never warns. BLAZE_ENOMEM.
 */
BLAZE_API int blaze_set_warning_callback(blaze_db *db,
    void (*callback)(void *context, const blaze_warning *warning), void *context,
    blaze_error *error);

/* Calls `each` for every collection that has or had records, until it returns non-zero, which is
 * then returned. */
BLAZE_API int blaze_collections(blaze_db *db,
    int (*each)(void *context, const char *name, uint64_t records), void *context,
    blaze_error *error);

/* What is wrong with the log of a database that was opened read-only, which then shows the state
 * before the damage; NULL if nothing is. Lives as long as the handle. */
BLAZE_API const char *blaze_damage(blaze_db *db);

/* Reads everything and checks that records, indexes, counts, change log and digest agree. Each
 * fault is told to `each` (may be NULL) as a line of text; BLAZE_ECORRUPT if there was one. */
BLAZE_API int blaze_check(blaze_db *db, void (*each)(void *context, const char *problem),
    void *context, blaze_error *error);

/* 32 hexadecimal digits and a NUL: equal on two copies exactly when they show the same state. */
#define BLAZE_DIGEST_TEXT_SIZE 33
BLAZE_API int blaze_digest(blaze_db *db, char out[BLAZE_DIGEST_TEXT_SIZE], blaze_error *error);

#ifdef __cplusplus
}
#endif

#endif
