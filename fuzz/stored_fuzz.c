/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A database whose stored bytes are not what was written. The input is a list of entries that are
 * put over those of a small database, or taken out of it:
 *
 *   0  map, + 128 to delete the key
 *   1  size of the key
 *   2  size of the value
 *   3  key, value
 *
 * Every small decoder sees them: state, counts, version, peers, log entries, identity, settings,
 * the catalog's definitions, and the records themselves.
 */
#include "db/corrupt_test_util.h"
#include "db/db_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ENTRY_HEADER = 3, DELETED = 128 };

/* The size of the entry at `data`. */
static size_t put_entry(struct bz_txn *txn, const uint8_t *data, size_t size)
{
    size_t left = size - ENTRY_HEADER, key_size = data[1], value_size = data[2];
    if (key_size > left)
        key_size = left;
    if (value_size > left - key_size)
        value_size = left - key_size;
    uint32_t map = (data[0] & (DELETED - 1u)) % BZ_MAP_COUNT;
    struct bz_bytes key = bz_bytes(data + ENTRY_HEADER, key_size);
    struct bz_bytes value = bz_bytes(data + ENTRY_HEADER + key_size, value_size);
    if (key_size > 0 && data[0] & DELETED)
        must(bz_txn_delete(txn, map, key, error));
    else if (key_size > 0)
        must(bz_txn_put(txn, map, key, value, error));
    return ENTRY_HEADER + key_size + value_size;
}

static void put_entries(struct bz_db *db, const uint8_t *data, size_t size)
{
    struct bz_txn *txn = NULL;
    must(bz_txn_begin(bz_db_store(db), &txn, error));
    while (size >= ENTRY_HEADER) {
        size_t entry = put_entry(txn, data, size);
        data += entry;
        size -= entry;
    }
    must(bz_txn_commit(txn, BZ_DURABLE_FULL, error));
}

/* What is read when a database is opened: who it is. */
static void read_identity(struct bz_db *db)
{
    struct bz_snapshot *snapshot = NULL;
    struct bz_buf value;
    bool copied;
    bz_buf_init(&value, 1u << 20);
    must(bz_snapshot_open(bz_db_store(db), &snapshot, error));
    bz_identity_load(db, bz_snapshot_view(snapshot), &copied, NULL);
    bz_db_setting_get(db, "hub", &value, NULL);
    bz_snapshot_close(snapshot);
    bz_buf_release(&value);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct world world = {{1}, 1700000000000u};
    struct bz_db *db = make_victim(&world, 1);
    put_entries(db, data, size);
    read_identity(db);
    bz_db_check(db, NULL, NULL, NULL);
    use_everything(db);
    must(bz_db_close(db, error));
    return 0;
}
