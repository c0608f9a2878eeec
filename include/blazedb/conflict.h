/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BLAZEDB_CONFLICT_H
#define BLAZEDB_CONFLICT_H

/*
 * Conflicts: fields to which several copies wrote without knowing of each other. All copies show
 * the same of the values, and keep the others until somebody writes the field having seen them:
 * writing is what ends a conflict (docs/replication.md). Here they are listed and observed, and
 * settled by rule: by a policy, which is kept in the database, or by a function of the program.
 *
 * A record that was deleted in one copy while it was written to in another is in a conflict of
 * life, whether it is now there or not. No rule settles that: a write to it does, or a delete, or
 * blaze_settle_life().
 *
 * As in examples/conflict.c, where print_conflict() prints a field with all its values:
 *
 *     static int take_longest(
 *         void *context, const blaze_conflict *fields, size_t count, blaze_doc *values)
 *     {
 *         (void)context;
 *         for (size_t i = 0; i < count; i++) {
 *             const blaze_value *longest = NULL;
 *             for (size_t k = 0; k < fields[i].count; k++) {
 *                 const blaze_value *value = &fields[i].siblings[k].value;
 *                 if (fields[i].siblings[k].present && value->type == BLAZE_STRING &&
 *                     (longest == NULL || value->as.text.size > longest->as.text.size))
 *                     longest = value;
 *             }
 *             char name[BLAZE_MAX_NAME + 1];
 *             snprintf(name, sizeof name, "%.*s", (int)fields[i].field.size, fields[i].field.data);
 *             if (longest != NULL)
 *                 blaze_doc_add_value(values, name, longest);
 *         }
 *         return 0;
 *     }
 *
 *     static int settle_by_rules(blaze_db *db, blaze_error *error)
 *     {
 *         int rc = blaze_conflicts(db, NULL, NULL, print_conflict, NULL, error);
 *         if (rc == BLAZE_OK)
 *             rc = blaze_set_policy(db, "cities", "people", BLAZE_POLICY_GREATEST, error);
 *         if (rc == BLAZE_OK)
 *             rc = blaze_set_resolver(db, "notes", take_longest, NULL, error);
 *         return rc;
 *     }
 */

#include <blazedb/database.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- listing ---- */

typedef struct blaze_sibling {
    int present;       /* 0: this side removed the field, or never had it; of life: it deleted */
    blaze_value value; /* of life: the document, as it is if the record stays */
    blaze_id node;     /* who wrote it */
    int64_t time_ms;   /* when, by that node's clock */
    blaze_role role;
    int settled; /* it was written by a policy or a resolver, with time and role of what it is for
                  */
} blaze_sibling;

/* One field, or life. The first sibling is the one that readers see. Everything borrows during the
 * call. */
typedef struct blaze_conflict {
    blaze_text collection;
    blaze_id id;
    blaze_text field; /* of life: empty */
    size_t count;
    const blaze_sibling *siblings;
    int life; /* 1: it was deleted here and written to there */
} blaze_conflict;

/* Calls `each` for every field in conflict, of one record, or of a collection (id NULL), or of the
 * database (collection NULL too), until it returns non-zero, which is then returned. Life comes
 * before the fields of a record; of one that is deleted nothing else comes. A record that cannot be
 * read (BLAZE_ECORRUPT, BLAZE_EVERSION) is left out, and after the others its error is returned. */
BLAZE_API int blaze_conflicts(blaze_db *db, const char *collection, const blaze_id *id,
    int (*each)(void *context, const blaze_conflict *conflict), void *context, blaze_error *error);

/* The number of records with a field in conflict, or life, each counted once; of a collection or
 * (NULL) of the database. */
BLAZE_API int blaze_conflict_count(
    blaze_db *db, const char *collection, uint64_t *out, blaze_error *error);

/* Ends a conflict of life by a write: with `keep` the record is there, as the listing has shown it,
 * and otherwise deleted. BLAZE_ENOTFOUND if there is no such conflict in the record, which is then
 * left alone; BLAZE_EREADONLY, BLAZE_EPERM. */
BLAZE_API int blaze_settle_life(
    blaze_db *db, const char *collection, const blaze_id *id, int keep, blaze_error *error);

/* ---- observing ---- */

typedef struct blaze_conflict_event {
    blaze_text collection;
    blaze_id id;
    size_t count; /* of the fields that are in conflict now; 0, and not life: nothing is any more */
    const blaze_text *fields;
    int life;
} blaze_conflict_event;

typedef struct blaze_conflict_observer blaze_conflict_observer;

/*
 * Calls `on_conflict` for every record in conflict that there is, and then after commits, of
 * whichever process, for each whose conflicts came, changed or ended. On the thread of the
 * observers, as blaze_observe(), with no lock held: it may read and write. Nothing is missed; a
 * conflict that comes and ends before the callback returns may not be told at all. `collection`
 * NULL: all. It remembers the records in conflict, at some 150 bytes each.
 */
BLAZE_API int blaze_observe_conflicts(blaze_db *db, const char *collection,
    void (*on_conflict)(void *context, const blaze_conflict_event *event), void *context,
    blaze_conflict_observer **out, blaze_error *error);

/* After this returns no call is running and none will come, unless it is called from within one.
 * Before blaze_close(). NULL is allowed. */
BLAZE_API void blaze_unobserve_conflicts(blaze_conflict_observer *observer);

/* ---- policies ---- */

typedef enum blaze_policy {
    BLAZE_POLICY_UNSET = 0,    /* of a field: as its collection; of a collection: none */
    BLAZE_POLICY_NONE = 1,     /* conflicts stay until somebody writes */
    BLAZE_POLICY_LAST = 2,     /* the last write, whoever made it */
    BLAZE_POLICY_SERVER = 3,   /* the last write of a server, or of a client if there is no other */
    BLAZE_POLICY_LIST = 4,     /* an array of all values, sorted, each once; arrays are joined */
    BLAZE_POLICY_GREATEST = 5, /* in the order of blaze_value_compare(), absent before all */
    BLAZE_POLICY_LEAST = 6
} blaze_policy;

/* "last" and so on; NULL for what is none. */
BLAZE_API const char *blaze_policy_name(blaze_policy policy);
/* BLAZE_EINVAL. */
BLAZE_API int blaze_policy_from_name(const char *name, blaze_policy *out);

/*
 * Sets the policy of a collection, or of one of its fields (`field` not NULL). It is kept in this
 * copy and is not replicated; what it settles is. Every process of this copy that syncs settles by
 * it what comes in; give it to one copy, or the same to several. BLAZE_EINVAL; BLAZE_EREADONLY;
 * BLAZE_EPERM for a copy that cannot read its records.
 */
BLAZE_API int blaze_set_policy(blaze_db *db, const char *collection, const char *field,
    blaze_policy policy, blaze_error *error);

/* The policy that is set of a collection, or (`field` not NULL) that holds for the field. */
BLAZE_API int blaze_get_policy(
    blaze_db *db, const char *collection, const char *field, blaze_policy *out, blaze_error *error);

/* Calls `each` for every policy that is set, `field` being empty for a collection's, until it
 * returns non-zero, which is then returned. */
BLAZE_API int blaze_policies(blaze_db *db,
    int (*each)(void *context, blaze_text collection, blaze_text field, blaze_policy policy),
    void *context, blaze_error *error);

/*
 * Settles once, now and on this thread, what is in conflict: in all, or in a collection, or in one
 * record (`id`), or in one field of that or of all (`field`); by the policies that are set, or by
 * `policy` unless that is BLAZE_POLICY_UNSET. How many records were written to in *settled (may be
 * NULL). What others change meanwhile is left, and so are collections with a resolver in this
 * process, unless a policy is given. Records that cannot be read are left as well, and after the
 * others the error of the first is returned. BLAZE_EREADONLY, BLAZE_EPERM.
 */
BLAZE_API int blaze_settle(blaze_db *db, const char *collection, const blaze_id *id,
    const char *field, blaze_policy policy, uint64_t *settled, blaze_error *error);

/* ---- resolvers ---- */

/* Is given the fields of one record that are in conflict, with all siblings, and adds to `values`,
 * under their names, what they are to be, or that they are to go (blaze_doc_add_unset()). A field
 * that it adds nothing for stays in conflict; if it does not return 0 all do. BLAZE_ENOMEM has it
 * asked again after the next commit. */
typedef int blaze_resolver(
    void *context, const blaze_conflict *fields, size_t count, blaze_doc *values);

/*
 * Has `resolver` settle the conflicts of a collection, in place of its policy, as long as this
 * process has the database open: those that there are, and then each that comes, by whichever
 * process. NULL removes it. One a collection: another replaces it, and then no call of the one
 * before is running any more when this returns, unless this is called from within one.
 *
 * It is called on the thread of the observers, one record at a time, with no lock held and never
 * within a merge; it may read and write. What it gives is then written, if the record has not
 * changed meanwhile; if it has, it is called again. It should be a function of the siblings alone:
 * then several copies may have it, and come to the same value. If it is not, or if copies have
 * different ones, each write that users made is still settled at most once by each copy, and values
 * that were settled differently are settled by one of those copies alone, that with the least node
 * id; so it comes to an end. BLAZE_EREADONLY, BLAZE_EPERM.
 */
BLAZE_API int blaze_set_resolver(blaze_db *db, const char *collection, blaze_resolver *resolver,
    void *context, blaze_error *error);

#ifdef __cplusplus
}
#endif

#endif
