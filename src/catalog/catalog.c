/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The catalog in memory and in its map. Every kind of name is an append-only table, so whoever
 * looks up needs no lock: a number that was ever read from committed data means the same for life.
 * What an open transaction has added lies past the stored counts, and a rollback cuts it off again.
 *
 * Definitions (docs/format/database.md): kind byte and number (big-endian) -> the name of a
 * collection or a field, the 16 bytes of a node's id, or an index (see indexes.c).
 */

#include "catalog/catalog_priv.h"

#include "base/alloc.h"
#include "base/utf8.h"
#include "codec/doc.h"

const char *const bz_map_names[BZ_MAP_COUNT] = {
    [BZ_MAP_META] = "meta",
    [BZ_MAP_CATALOG] = "catalog",
    [BZ_MAP_RECORDS] = "records",
    [BZ_MAP_INDEX] = "index",
    [BZ_MAP_LOG] = "log",
    [BZ_MAP_COUNTS] = "counts",
    [BZ_MAP_CONFLICTS] = "conflicts",
    [BZ_MAP_VERSION] = "version",
    [BZ_MAP_PEERS] = "peers",
    [BZ_MAP_COVERAGE] = "coverage",
    [BZ_MAP_DEAD] = "dead",
    [BZ_MAP_OPENINGS] = "openings",
};

#define NODES_FIRST 16u
#define KEY_SIZE    5u

int bz_catalog_corrupt(blaze_error *error, const char *what, uint32_t number)
{
    return bz_error_set(
        error, BLAZE_ECORRUPT, "the definition of %s %u is corrupt", what, (unsigned)number);
}

/* ---- definitions in the map ---- */

static struct bz_bytes definition_key(uint8_t out[KEY_SIZE], uint8_t kind, uint32_t number)
{
    out[0] = kind;
    bz_store32be(out + 1, number);
    return bz_bytes(out, KEY_SIZE);
}

int bz_catalog_scan(struct bz_view *view, uint8_t kind, uint32_t from,
    int (*each)(void *context, uint32_t number, struct bz_bytes definition), void *context,
    blaze_error *error)
{
    struct bz_cursor *cursor = NULL;
    int rc = bz_cursor_open(view, BZ_MAP_CATALOG, &cursor, error);
    if (rc != 0)
        return rc;
    uint8_t key[KEY_SIZE];
    rc = bz_cursor_seek(cursor, definition_key(key, kind, from), error);
    while (rc == 0) {
        struct bz_bytes found = bz_cursor_key(cursor);
        if (found.size != KEY_SIZE || found.data[0] != kind)
            break;
        rc = each(context, bz_load32be(found.data + 1), bz_cursor_value(cursor));
        if (rc == 0)
            rc = bz_cursor_next(cursor, error);
    }
    bz_cursor_close(cursor);
    return rc == BLAZE_END ? 0 : rc;
}

int bz_catalog_write(struct bz_txn *txn, uint8_t kind, uint32_t number, struct bz_bytes definition,
    blaze_error *error)
{
    uint8_t key[KEY_SIZE];
    return bz_txn_put(txn, BZ_MAP_CATALOG, definition_key(key, kind, number), definition, error);
}

int bz_catalog_erase(struct bz_txn *txn, uint8_t kind, uint32_t number, blaze_error *error)
{
    uint8_t key[KEY_SIZE];
    return bz_txn_delete(txn, BZ_MAP_CATALOG, definition_key(key, kind, number), error);
}

/* ---- nodes ---- */

/* Finds a node among the first `count`. */
static int find_node(
    const struct bz_node_array *array, uint32_t count, const blaze_id *id, uint32_t *number)
{
    for (uint32_t i = 0; i < count; i++) {
        if (memcmp(&array->ids[i], id, sizeof *id) == 0) {
            *number = i;
            return 0;
        }
    }
    return BLAZE_ENOTFOUND;
}

/* The array with room for one more, or NULL when out of memory. */
static struct bz_node_array *node_room(struct bz_catalog *catalog, uint32_t count)
{
    struct bz_node_array *array = atomic_load(&catalog->nodes);
    if (array != NULL && count < array->capacity)
        return array;
    uint32_t capacity = array == NULL ? NODES_FIRST : array->capacity * 2;
    struct bz_node_array *larger = bz_malloc(sizeof *larger + capacity * sizeof(blaze_id));
    if (larger == NULL)
        return NULL;
    larger->older = array;
    larger->capacity = capacity;
    if (count > 0)
        memcpy(larger->ids, array->ids, count * sizeof(blaze_id));
    atomic_store(&catalog->nodes, larger);
    return larger;
}

static int append_node(struct bz_catalog *catalog, const blaze_id *id)
{
    uint32_t count = atomic_load(&catalog->node_count);
    pthread_mutex_lock(&catalog->lock);
    struct bz_node_array *array = node_room(catalog, count);
    if (array != NULL)
        array->ids[count] = *id;
    pthread_mutex_unlock(&catalog->lock);
    if (array == NULL)
        return BLAZE_ENOMEM;
    atomic_store(&catalog->node_count, count + 1);
    return 0;
}

int bz_catalog_node(const struct bz_catalog *catalog, const blaze_id *id, uint32_t *number)
{
    /* The lock keeps a rolled-back node's place from being written anew under our eyes. */
    pthread_mutex_t *lock = (pthread_mutex_t *)&catalog->lock;
    pthread_mutex_lock(lock);
    uint32_t count = atomic_load(&catalog->node_count);
    int rc = find_node(atomic_load(&catalog->nodes), count, id, number);
    pthread_mutex_unlock(lock);
    return rc;
}

int bz_catalog_node_id(const struct bz_catalog *catalog, uint32_t number, blaze_id *id)
{
    struct bz_nodes nodes = bz_catalog_nodes(catalog);
    if (number >= nodes.count)
        return BLAZE_ENOTFOUND;
    *id = nodes.ids[number];
    return 0;
}

struct bz_nodes bz_catalog_nodes(const struct bz_catalog *catalog)
{
    uint32_t count = atomic_load(&catalog->node_count);
    const struct bz_node_array *array = atomic_load(&catalog->nodes);
    return (struct bz_nodes){.ids = array == NULL ? NULL : array->ids, .count = count};
}

int bz_catalog_add_node(
    struct bz_catalog *catalog, const blaze_id *id, uint32_t *number, blaze_error *error)
{
    if (bz_catalog_node(catalog, id, number) == 0)
        return 0;
    uint32_t count = atomic_load(&catalog->node_count);
    if (count >= BZ_CATALOG_NODES_MAX)
        return bz_error_set(error, BLAZE_ELIMIT, "more than %u nodes", BZ_CATALOG_NODES_MAX);
    if (append_node(catalog, id) != 0)
        return bz_error_code(error, BLAZE_ENOMEM);
    *number = count;
    return 0;
}

/* ---- names ---- */

struct blaze_names *bz_catalog_names(struct bz_catalog *catalog)
{
    return catalog->fields;
}

/* Whether a character is a control character: C0, DEL or C1 (U+0080 to U+009F). */
static bool is_control(const uint8_t *p, size_t left)
{
    return p[0] < 0x20 || p[0] == 0x7f || (p[0] == 0xc2 && left > 1 && p[1] < 0xa0);
}

bool bz_catalog_name_valid(struct bz_bytes name)
{
    if (name.size == 0 || name.size > BLAZE_MAX_NAME || !bz_utf8_valid(name))
        return false;
    for (size_t i = 0; i < name.size; i++) {
        if (is_control(name.data + i, name.size - i))
            return false;
    }
    return true;
}

static bool is_sealed_name(struct bz_bytes name)
{
    return name.size >= 1 && name.size <= BZ_CATALOG_SEALED_NAME_MAX;
}

int bz_catalog_collection(const struct bz_catalog *catalog, struct bz_bytes name, uint32_t *number)
{
    return bz_names_find(catalog->collections, name, number);
}

int bz_catalog_collection_name(
    const struct bz_catalog *catalog, uint32_t number, struct bz_bytes *name)
{
    struct bz_bytes found = bz_names_get(catalog->collections, number);
    if (found.data == NULL)
        return BLAZE_ENOTFOUND;
    *name = found;
    return 0;
}

uint32_t bz_catalog_collections(const struct bz_catalog *catalog)
{
    return bz_names_count(catalog->collections);
}

int bz_catalog_add_collection(
    struct bz_catalog *catalog, struct bz_bytes name, uint32_t *number, blaze_error *error)
{
    if (bz_names_find(catalog->collections, name, number) == 0)
        return 0;
    if (catalog->blind ? !is_sealed_name(name) : !bz_catalog_name_valid(name))
        return bz_error_set(error, BLAZE_EINVAL,
            "a collection's name is 1 to %d bytes of UTF-8 without control characters",
            BLAZE_MAX_NAME);
    if (bz_names_count(catalog->collections) >= BZ_CATALOG_COLLECTIONS_MAX)
        return bz_error_set(
            error, BLAZE_ELIMIT, "more than %u collections", BZ_CATALOG_COLLECTIONS_MAX);
    int rc = bz_names_add(catalog->collections, name, number);
    return rc == 0 ? 0 : bz_error_code(error, rc);
}

int bz_catalog_add_field(
    struct bz_catalog *catalog, struct bz_bytes name, uint32_t *number, blaze_error *error)
{
    if (bz_names_find(catalog->fields, name, number) == 0)
        return 0;
    if (catalog->blind ? !is_sealed_name(name) : !bz_name_valid(name))
        return bz_error_set(error, BLAZE_EINVAL,
            "a field's name is 1 to %d bytes of UTF-8 without NUL", BLAZE_MAX_NAME);
    if (bz_names_count(catalog->fields) >= BZ_CATALOG_FIELDS_MAX)
        return bz_error_set(
            error, BLAZE_ELIMIT, "more than %u different field names", BZ_CATALOG_FIELDS_MAX);
    int rc = bz_names_add(catalog->fields, name, number);
    return rc == 0 ? 0 : bz_error_code(error, rc);
}

/* ---- dictionaries ---- */

static bool is_sealed_dictionary(struct bz_bytes sealed)
{
    return sealed.size >= BZ_CATALOG_DICTIONARY_BYTES_MIN &&
           sealed.size <= BZ_CATALOG_DICTIONARY_BYTES_MAX;
}

int bz_catalog_add_dictionary(
    struct bz_catalog *catalog, struct bz_bytes sealed, uint32_t *number, blaze_error *error)
{
    if (!is_sealed_dictionary(sealed))
        return bz_error_set(error, BLAZE_ELIMIT, "a dictionary of %zu bytes", sealed.size);
    if (bz_names_find(catalog->dictionaries, sealed, number) == 0)
        return 0;
    if (bz_names_count(catalog->dictionaries) >= BZ_CATALOG_DICTIONARIES_MAX)
        return bz_error_set(
            error, BLAZE_ELIMIT, "more than %u dictionaries", BZ_CATALOG_DICTIONARIES_MAX);
    int rc = bz_names_add(catalog->dictionaries, sealed, number);
    return rc == 0 ? 0 : bz_error_code(error, rc);
}

int bz_catalog_dictionary(
    const struct bz_catalog *catalog, uint32_t number, struct bz_bytes *sealed)
{
    struct bz_bytes found = bz_names_get(catalog->dictionaries, number);
    if (found.data == NULL)
        return BLAZE_ENOTFOUND;
    *sealed = found;
    return 0;
}

/* ---- loading ---- */

struct name_load {
    struct blaze_names *names;
    const char *what;
    bool (*valid)(struct bz_bytes name);
    blaze_error *error;
};

static int load_name(void *context, uint32_t number, struct bz_bytes name)
{
    struct name_load *load = context;
    uint32_t given = 0;
    if (number != bz_names_count(load->names) || !load->valid(name))
        return bz_catalog_corrupt(load->error, load->what, number);
    int rc = bz_names_add(load->names, name, &given);
    if (rc != 0)
        return bz_error_code(load->error, rc);
    return given == number ? 0 : bz_catalog_corrupt(load->error, load->what, number);
}

/* Appends the names stored after those that are held. */
static int load_names(struct bz_view *view, uint8_t kind, struct blaze_names *names,
    bool (*valid)(struct bz_bytes name), const char *what, uint32_t *stored, blaze_error *error)
{
    struct name_load load = {names, what, valid, error};
    int rc = bz_catalog_scan(view, kind, bz_names_count(names), load_name, &load, error);
    *stored = bz_names_count(names);
    return rc;
}

struct node_load {
    struct bz_catalog *catalog;
    blaze_error *error;
};

static int load_node(void *context, uint32_t number, struct bz_bytes definition)
{
    struct node_load *load = context;
    blaze_id id;
    if (number != atomic_load(&load->catalog->node_count) || definition.size != sizeof id)
        return bz_catalog_corrupt(load->error, "node", number);
    memcpy(&id, definition.data, sizeof id);
    int rc = append_node(load->catalog, &id);
    return rc == 0 ? 0 : bz_error_code(load->error, rc);
}

int bz_catalog_refresh(
    struct bz_catalog *catalog, struct bz_view *view, uint64_t generation, blaze_error *error)
{
    bool (*valid)(struct bz_bytes name) = catalog->blind ? is_sealed_name : bz_name_valid;
    int rc = load_names(view, BZ_KIND_COLLECTION, catalog->collections, valid, "collection",
        &catalog->stored_collections, error);
    if (rc == 0)
        rc = load_names(
            view, BZ_KIND_FIELD, catalog->fields, valid, "field", &catalog->stored_fields, error);
    if (rc == 0)
        rc = load_names(view, BZ_KIND_DICTIONARY, catalog->dictionaries, is_sealed_dictionary,
            "dictionary", &catalog->stored_dictionaries, error);
    if (rc == 0) {
        struct node_load load = {catalog, error};
        rc = bz_catalog_scan(
            view, BZ_KIND_NODE, atomic_load(&catalog->node_count), load_node, &load, error);
        catalog->stored_nodes = atomic_load(&catalog->node_count);
    }
    if (rc == 0)
        rc = bz_catalog_indexes_load(catalog, view, error);
    if (rc == 0)
        atomic_store(&catalog->generation, generation);
    return rc;
}

static int catalog_new(struct bz_catalog **out)
{
    struct bz_catalog *catalog = bz_zalloc(sizeof *catalog);
    if (catalog == NULL)
        return BLAZE_ENOMEM;
    pthread_mutex_init(&catalog->lock, NULL);
    int rc = bz_names_new(&catalog->fields);
    if (rc == 0)
        rc = bz_names_new(&catalog->collections);
    if (rc == 0)
        rc = bz_names_new(&catalog->dictionaries);
    if (rc == 0)
        rc = bz_catalog_indexes_init(catalog);
    if (rc != 0)
        bz_catalog_free(catalog);
    else
        *out = catalog;
    return rc;
}

int bz_catalog_load(struct bz_catalog **out, struct bz_view *view, uint64_t generation, bool blind,
    blaze_error *error)
{
    struct bz_catalog *catalog = NULL;
    int rc = catalog_new(&catalog);
    if (rc != 0)
        return bz_error_code(error, rc);
    catalog->blind = blind;
    rc = bz_catalog_refresh(catalog, view, generation, error);
    if (rc != 0)
        bz_catalog_free(catalog);
    else
        *out = catalog;
    return rc;
}

void bz_catalog_free(struct bz_catalog *catalog)
{
    if (catalog == NULL)
        return;
    bz_names_unref(catalog->fields);
    bz_names_unref(catalog->collections);
    bz_names_unref(catalog->dictionaries);
    for (struct bz_node_array *array = atomic_load(&catalog->nodes); array != NULL;) {
        struct bz_node_array *older = array->older;
        bz_free(array);
        array = older;
    }
    bz_catalog_indexes_free(catalog);
    pthread_mutex_destroy(&catalog->lock);
    bz_free(catalog);
}

/* ---- the end of a transaction ---- */

uint64_t bz_catalog_generation(const struct bz_catalog *catalog)
{
    return atomic_load(&catalog->generation);
}

static int flush_names(struct bz_txn *txn, uint8_t kind, const struct blaze_names *names,
    uint32_t stored, blaze_error *error)
{
    int rc = 0;
    for (uint32_t i = stored; rc == 0 && i < bz_names_count(names); i++)
        rc = bz_catalog_write(txn, kind, i, bz_names_get(names, i), error);
    return rc;
}

int bz_catalog_flush(
    struct bz_catalog *catalog, struct bz_txn *txn, uint64_t *generation, blaze_error *error)
{
    uint64_t held = atomic_load(&catalog->generation);
    struct bz_nodes nodes = bz_catalog_nodes(catalog);
    if (bz_names_count(catalog->fields) == catalog->stored_fields &&
        bz_names_count(catalog->collections) == catalog->stored_collections &&
        bz_names_count(catalog->dictionaries) == catalog->stored_dictionaries &&
        nodes.count == catalog->stored_nodes && catalog->index_change == BZ_INDEX_KEPT) {
        *generation = held;
        return 0;
    }
    int rc = flush_names(
        txn, BZ_KIND_COLLECTION, catalog->collections, catalog->stored_collections, error);
    if (rc == 0)
        rc = flush_names(txn, BZ_KIND_FIELD, catalog->fields, catalog->stored_fields, error);
    if (rc == 0)
        rc = flush_names(
            txn, BZ_KIND_DICTIONARY, catalog->dictionaries, catalog->stored_dictionaries, error);
    for (uint32_t i = catalog->stored_nodes; rc == 0 && i < nodes.count; i++)
        rc = bz_catalog_write(
            txn, BZ_KIND_NODE, i, bz_bytes(&nodes.ids[i], sizeof(blaze_id)), error);
    if (rc == 0)
        rc = bz_catalog_indexes_flush(catalog, txn, error);
    if (rc == 0) {
        catalog->flushed = true;
        *generation = held + 1;
    }
    return rc;
}

void bz_catalog_committed(struct bz_catalog *catalog)
{
    if (!catalog->flushed)
        return;
    catalog->stored_fields = bz_names_count(catalog->fields);
    catalog->stored_collections = bz_names_count(catalog->collections);
    catalog->stored_dictionaries = bz_names_count(catalog->dictionaries);
    catalog->stored_nodes = atomic_load(&catalog->node_count);
    bz_catalog_indexes_committed(catalog);
    catalog->flushed = false;
    atomic_fetch_add(&catalog->generation, 1);
}

void bz_catalog_rollback(struct bz_catalog *catalog)
{
    bz_names_truncate(catalog->fields, catalog->stored_fields);
    bz_names_truncate(catalog->collections, catalog->stored_collections);
    bz_names_truncate(catalog->dictionaries, catalog->stored_dictionaries);
    atomic_store(&catalog->node_count, catalog->stored_nodes);
    bz_catalog_indexes_rollback(catalog);
    catalog->flushed = false;
}
