/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_CATALOG_CATALOG_H
#define BZ_CATALOG_CATALOG_H

/*
 * What the numbers in a database stand for. Collections, field names, nodes and indexes each have a
 * small number for life, given out in order under the writer lock and stored in the `catalog` map;
 * all of it is held in memory too.
 *
 * Threads: whoever holds the writer lock changes; any thread looks up meanwhile. New entries are
 * used by the transaction that made them and become durable with its commit; after an abort
 * bz_catalog_rollback() forgets them. bz_catalog_refresh() takes over what other processes added.
 */

#include "codec/names.h"
#include "crdt/rec.h"
#include "store/store.h"

/* The maps of a database: the store's map numbers (docs/format/database.md). */
enum bz_map {
    BZ_MAP_META,      /* what there is once: "database", "state", "setting/NAME" -> see db */
    BZ_MAP_CATALOG,   /* kind byte, number (4) -> definition */
    BZ_MAP_RECORDS,   /* collection (4), id (16) -> log position varint, record */
    BZ_MAP_INDEX,     /* index (4), key, id (16) -> empty, or 1 if the key is cut off */
    BZ_MAP_LOG,       /* position (8) -> collection varint, id (16), origin varint */
    BZ_MAP_COUNTS,    /* collection (4) -> records alive (varint) */
    BZ_MAP_CONFLICTS, /* collection (4), id (16) -> empty: the records with a field in conflict */
    BZ_MAP_VERSION,   /* node (4) -> seq varint: the version vector of other nodes */
    BZ_MAP_PEERS,     /* node id (16) -> bz_peer_state */
    BZ_MAP_COVERAGE,  /* node id (16) -> what a replica is known to have; see db/coverage.c */
    BZ_MAP_DEAD,      /* position (8) -> empty: the log's entries of records that are not visible */
    BZ_MAP_OPENINGS,  /* position (8) -> the writer who begins after it; see db/opening.c */
    BZ_MAP_COUNT
};
extern const char *const bz_map_names[BZ_MAP_COUNT];

#define BZ_CATALOG_COLLECTIONS_MAX      65536u
#define BZ_CATALOG_FIELDS_MAX           (1u << 20)
#define BZ_CATALOG_NODES_MAX            (1u << 20)
#define BZ_CATALOG_INDEXES_MAX          64u /* of one collection */
#define BZ_CATALOG_SEALED_NAME_MAX      320u
#define BZ_CATALOG_DICTIONARIES_MAX     64u
#define BZ_CATALOG_DICTIONARY_BYTES_MIN 32u
#define BZ_CATALOG_DICTIONARY_BYTES_MAX (33u << 10)

struct bz_index {
    uint32_t number;
    uint32_t collection;
    uint32_t field; /* the top-level field where the path begins */
    bool nested;    /* the path leads on from there */
    uint64_t since; /* the generation that made it: a view of an older one has no entries of it */
    char path[BLAZE_MAX_NAME + 1]; /* as written: query/query.h reads it */
    char name[BLAZE_MAX_NAME + 1];
};

struct bz_catalog;

/* Reads the catalog of a view, whose generation is `generation`. In a blind one names are sealed:
 * any 1 to BZ_CATALOG_SEALED_NAME_MAX bytes. BLAZE_ECORRUPT. */
int bz_catalog_load(struct bz_catalog **out, struct bz_view *view, uint64_t generation, bool blind,
    blaze_error *error);
void bz_catalog_free(struct bz_catalog *catalog);

/* Takes over what others changed up to `generation`, that of the view. Under the writer lock, or
 * with the view of a snapshot while no transaction of this process is open; one thread at a time.
 */
int bz_catalog_refresh(
    struct bz_catalog *catalog, struct bz_view *view, uint64_t generation, blaze_error *error);

/* The generation of what is held: counts the commits that changed the catalog. Stored by db, which
 * compares it to see whether a refresh is due. */
uint64_t bz_catalog_generation(const struct bz_catalog *catalog);

struct blaze_names *bz_catalog_names(struct bz_catalog *catalog);

/* BLAZE_ENOTFOUND. Names are borrowed until the catalog goes. */
int bz_catalog_collection(const struct bz_catalog *catalog, struct bz_bytes name, uint32_t *number);
int bz_catalog_collection_name(
    const struct bz_catalog *catalog, uint32_t number, struct bz_bytes *name);
uint32_t bz_catalog_collections(const struct bz_catalog *catalog); /* numbers are below this */

int bz_catalog_node(const struct bz_catalog *catalog, const blaze_id *id, uint32_t *number);
int bz_catalog_node_id(const struct bz_catalog *catalog, uint32_t number, blaze_id *id);

/* All nodes, for the winner rule: valid (though it may lack newer nodes) until the catalog goes. */
struct bz_nodes bz_catalog_nodes(const struct bz_catalog *catalog);

/* The indexes of a collection: an unchanging list, counted; never NULL. */
struct bz_index_list {
    uint32_t references; /* private */
    uint32_t count;
    struct bz_index indexes[];
};
const struct bz_index_list *bz_catalog_indexes(struct bz_catalog *catalog, uint32_t collection);
void bz_catalog_indexes_release(struct bz_catalog *catalog, const struct bz_index_list *list);

/* Whether the bytes may name a collection: UTF-8, 1 to BLAZE_MAX_NAME bytes, no control characters.
 */
bool bz_catalog_name_valid(struct bz_bytes name);

/* Finding or adding, under the writer lock. BLAZE_ELIMIT for too many, BLAZE_EINVAL for a bad name.
 */
int bz_catalog_add_collection(
    struct bz_catalog *catalog, struct bz_bytes name, uint32_t *number, blaze_error *error);
int bz_catalog_add_node(
    struct bz_catalog *catalog, const blaze_id *id, uint32_t *number, blaze_error *error);
/* A field name; documents add theirs through bz_catalog_names(). */
int bz_catalog_add_field(
    struct bz_catalog *catalog, struct bz_bytes name, uint32_t *number, blaze_error *error);

/* Dictionaries that members have sealed; numbers and bytes as those of names.
 * BLAZE_ELIMIT for too many or too large a one. */
int bz_catalog_add_dictionary(
    struct bz_catalog *catalog, struct bz_bytes sealed, uint32_t *number, blaze_error *error);
/* BLAZE_ENOTFOUND past the last. */
int bz_catalog_dictionary(
    const struct bz_catalog *catalog, uint32_t number, struct bz_bytes *sealed);

/* Making and dropping an index, at most one a transaction; lists show it once it is committed.
 * *index comes with collection, field, nested, path and name, and gets its number. BLAZE_EEXIST,
 * BLAZE_ENOTFOUND, BLAZE_ELIMIT, BLAZE_EINVAL for a bad name. */
int bz_catalog_add_index(struct bz_catalog *catalog, struct bz_index *index, blaze_error *error);
int bz_catalog_drop_index(struct bz_catalog *catalog, uint32_t collection, const char *name,
    struct bz_index *dropped, blaze_error *error);

/* Writes what is new into the transaction; call right before its commit, whose outcome is then told
 * by committed or rollback. *generation is the one that the commit makes. */
int bz_catalog_flush(
    struct bz_catalog *catalog, struct bz_txn *txn, uint64_t *generation, blaze_error *error);
void bz_catalog_committed(struct bz_catalog *catalog);
void bz_catalog_rollback(struct bz_catalog *catalog);

#endif
