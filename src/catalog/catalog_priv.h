/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_CATALOG_CATALOG_PRIV_H
#define BZ_CATALOG_CATALOG_PRIV_H

#include "catalog/catalog.h"

#include <pthread.h>
#include <stdatomic.h>

/* The kinds of definitions: the first byte of a key in the catalog map. */
enum {
    BZ_KIND_COLLECTION = 'c',
    BZ_KIND_DICTIONARY = 'd',
    BZ_KIND_FIELD = 'f',
    BZ_KIND_INDEX = 'i',
    BZ_KIND_NODE = 'n',
};

/* An array of nodes never moves; when it is full a larger one takes its place, and it stays for
 * those who still look at it. */
struct bz_node_array {
    struct bz_node_array *older;
    uint32_t capacity;
    blaze_id ids[];
};

/* The index definitions in memory: one counted list for each collection that has any. */
struct bz_index_lists {
    const struct bz_index_list **lists; /* by collection; NULL where there are none */
    uint32_t count;
};

struct bz_catalog {
    bool blind; /* names are any bytes */
    struct blaze_names *fields;
    struct blaze_names *collections;
    struct blaze_names *dictionaries; /* as names, longer ones */
    _Atomic(struct bz_node_array *) nodes;
    atomic_uint node_count;
    _Atomic(uint64_t) generation;

    /* What is stored durably; only whoever changes the catalog looks at these. */
    uint32_t stored_fields;
    uint32_t stored_collections;
    uint32_t stored_dictionaries;
    uint32_t stored_nodes;
    bool flushed; /* what is new was written into the open transaction */

    pthread_mutex_t lock; /* guards what follows, and the search in `nodes` */
    struct bz_index_lists indexes;
    const struct bz_index_list *no_indexes;

    /* The one change of an index that the open transaction makes. */
    enum { BZ_INDEX_KEPT, BZ_INDEX_ADDED, BZ_INDEX_DROPPED } index_change;
    struct bz_index changed;
    const struct bz_index_list *next_list; /* from flush on: what its collection will have */
};

/* Calls each(context, number, definition) for the definitions of a kind, numbers from `from` on. */
int bz_catalog_scan(struct bz_view *view, uint8_t kind, uint32_t from,
    int (*each)(void *context, uint32_t number, struct bz_bytes definition), void *context,
    blaze_error *error);
int bz_catalog_write(struct bz_txn *txn, uint8_t kind, uint32_t number, struct bz_bytes definition,
    blaze_error *error);
int bz_catalog_erase(struct bz_txn *txn, uint8_t kind, uint32_t number, blaze_error *error);
int bz_catalog_corrupt(blaze_error *error, const char *what, uint32_t number);

/* indexes.c: its part of loading, freeing, flushing, and of the end of a transaction. */
int bz_catalog_indexes_init(struct bz_catalog *catalog);
void bz_catalog_indexes_free(struct bz_catalog *catalog);
int bz_catalog_indexes_load(struct bz_catalog *catalog, struct bz_view *view, blaze_error *error);
int bz_catalog_indexes_flush(struct bz_catalog *catalog, struct bz_txn *txn, blaze_error *error);
void bz_catalog_indexes_committed(struct bz_catalog *catalog);
void bz_catalog_indexes_rollback(struct bz_catalog *catalog);

#endif
