/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Nothing of a sealed database stands in clear in any of its files, whatever has happened to it;
 * and the same search does find it in one that is not sealed.
 */
#include "api/api_test_util.h"
#include "api_priv.h"
#include "codec/key.h"
#include "crypto/keys.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char scratch[64];

/* ---- what is planted ---- */

#define COLLECTION "planted_collection"
#define FIELD      "planted_field"
#define NUMBER     "planted_number"
#define NESTED     "planted_nested"
#define INDEX      "planted_index"
#define URL        "mem:planted-hub"
#define VALUE      "planted value"
#define DEAD       "removed value"
#define BIG        1311768467463790000

static const struct {
    const char *what;
    const char *text;
} texts[] = {
    {"the name of a collection", COLLECTION},
    {"the name of a field", FIELD},
    {"the name of an indexed field", NUMBER},
    {"the name of a nested field", NESTED},
    {"the name of an index", INDEX},
    {"the address of the hub", URL},
    {"a value", VALUE},
    {"a value that was replaced", DEAD},
};

#define NEEDLES_MAX 32

struct needle {
    const char *what;
    uint8_t bytes[64];
    size_t size;
    bool found;
};

static struct needle needles[NEEDLES_MAX];
static size_t needle_count;

static void add_needle(const char *what, const void *bytes, size_t size)
{
    assert_true(needle_count < NEEDLES_MAX && size <= sizeof needles[0].bytes);
    struct needle *needle = &needles[needle_count++];
    *needle = (struct needle){.what = what, .size = size};
    memcpy(needle->bytes, bytes, size);
}

static void add_key(const char *what, const blaze_value *value)
{
    struct bz_buf key;
    bool cut = false;
    bz_buf_init(&key, 256);
    bz_key_append(&key, value, 64, &cut);
    assert_int_equal(key.error, 0);
    add_needle(what, key.data, key.size);
    bz_buf_release(&key);
}

/* All that can be known before the database is looked into; and of that one its ids and secrets. */
static void collect_needles(blaze_db *db, const blaze_id *record, const char *code)
{
    blaze_id id;
    struct bz_join join;
    needle_count = 0;
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        add_needle(texts[i].what, texts[i].text, strlen(texts[i].text));
    add_needle("the id of a record", record, sizeof *record);
    add_key("the index key of a number", &(blaze_value){.type = BLAZE_INT, .as.integer = BIG});
    add_key("the index key of a text",
        &(blaze_value){.type = BLAZE_STRING, .as.text = {VALUE, strlen(VALUE)}});
    blaze_database_id(db, &id);
    add_needle("the id of the database", &id, sizeof id);
    blaze_node_id(db, &id);
    add_needle("the id of the node", &id, sizeof id);
    assert_int_equal(bz_join_parse(&join, code, NULL), 0);
    add_needle("the secret for peers", join.secret.bytes, sizeof join.secret.bytes);
}

static int add_peer(void *context, const blaze_id *node, const struct bz_peer_state *state)
{
    (void)context;
    (void)state;
    add_needle("the id of a peer", node, sizeof *node);
    return 0;
}

static void collect_peers(blaze_db *db)
{
    struct bz_read *read;
    size_t before = needle_count;
    OK(bz_read_begin(db->db, &read, &error));
    OK(bz_read_peers(read, add_peer, NULL, &error));
    bz_read_end(read);
    assert_true(needle_count > before);
}

/* ---- the search ---- */

static struct needle *hit;
static char hit_path[256];

static void search_bytes(const char *path, const void *data, size_t size)
{
    for (size_t i = 0; i < needle_count; i++) {
        struct needle *needle = &needles[i];
        if (memmem(data, size, needle->bytes, needle->size) == NULL)
            continue;
        needle->found = true;
        hit = needle;
        snprintf(hit_path, sizeof hit_path, "%s", path);
    }
}

static int search_file(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    (void)where;
    search_bytes(path, path, strlen(path));
    if (kind != FTW_F || info->st_size == 0)
        return 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    uint8_t *data = malloc((size_t)info->st_size);
    assert_non_null(data);
    ssize_t got = fd < 0 ? -1 : read(fd, data, (size_t)info->st_size);
    assert_true(got >= 0);
    search_bytes(path, data, (size_t)got);
    close(fd);
    free(data);
    return 0;
}

static void search(const char *directory)
{
    hit = NULL;
    for (size_t i = 0; i < needle_count; i++)
        needles[i].found = false;
    assert_int_equal(nftw(directory, search_file, 16, FTW_PHYS), 0);
}

static void assert_nothing(const char *directory, const char *when)
{
    search(directory);
    if (hit != NULL)
        fail_msg("%s, %s stands in clear in %s", when, hit->what, hit_path);
}

static void assert_everything(const char *directory)
{
    search(directory);
    for (size_t i = 0; i < needle_count; i++)
        if (!needles[i].found)
            fail_msg("%s is not found even where nothing is sealed", needles[i].what);
}

/* ---- what happens to the database ---- */

static blaze_seal passphrase(const char *text)
{
    blaze_seal seal;
    blaze_seal_init(&seal);
    seal.passphrase = text;
    seal.kdf_memory_kib = 8;
    seal.kdf_passes = 1;
    return seal;
}

static blaze_db *open_db(const char *path, const blaze_seal *seal, bool create)
{
    blaze_db *db;
    blaze_open_options options;
    blaze_open_options_init(&options);
    options.create = create;
    if (seal != NULL)
        options.seal = *seal;
    OK(blaze_open(&db, path, &options, &error));
    return db;
}

static void put(blaze_db *db, const blaze_id *id, const char *value, size_t repeat)
{
    blaze_doc *doc;
    char *text = malloc(repeat * strlen(value) + 1);
    assert_non_null(text);
    text[0] = '\0';
    for (size_t i = 0; i < repeat; i++)
        memcpy(text + i * strlen(value), value, strlen(value) + 1);
    OK(blaze_doc_new(&doc));
    blaze_doc_add_string(doc, FIELD, text);
    blaze_doc_add_int(doc, NUMBER, BIG);
    blaze_doc_begin_map(doc, "m");
    blaze_doc_add_string(doc, NESTED, value);
    blaze_doc_end(doc);
    OK(blaze_put(db, COLLECTION, id, doc, &error));
    blaze_doc_free(doc);
    free(text);
}

static blaze_hub *open_hub(const blaze_seal *seal)
{
    static const char *const url = URL;
    blaze_hub_options options;
    blaze_hub_options_init(&options);
    options.listen = &url;
    options.listen_count = 1;
    if (seal != NULL)
        options.seal = *seal;
    blaze_hub *hub;
    OK(blaze_hub_open(&hub, "hub", &options, &error));
    return hub;
}

static blaze_db *fill(const char *path, const blaze_seal *seal)
{
    char *code;
    blaze_id record, other;
    blaze_db *db = open_db(path, seal, true);
    blaze_hub *hub = open_hub(seal);
    OK(blaze_id_new(&record));
    OK(blaze_id_new(&other));
    OK(blaze_index_create(db, COLLECTION, FIELD, INDEX, &error));
    OK(blaze_index_create(db, COLLECTION, NUMBER, NULL, &error));
    put(db, &record, DEAD, 1);
    put(db, &record, VALUE, 1);
    put(db, &other, VALUE, 40000); /* larger than any block */
    OK(blaze_share(db, URL, NULL, &code, &error));
    OK(blaze_sync(db, NULL, NULL, &error));
    OK(blaze_hub_close(hub, &error));
    collect_needles(db, &record, code);
    collect_peers(db);
    blaze_free(code);
    return db;
}

static int setup(void **state)
{
    (void)state;
    strcpy(scratch, "/tmp/blazedb-clear-XXXXXX");
    return mkdtemp(scratch) == NULL || chdir(scratch) != 0;
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *where)
{
    (void)info;
    (void)kind;
    (void)where;
    return remove(path);
}

static int teardown(void **state)
{
    (void)state;
    return chdir("/") != 0 || nftw(scratch, remove_one, 16, FTW_DEPTH | FTW_PHYS) != 0;
}

static void the_search_finds_what_is_not_sealed(void **state)
{
    (void)state;
    blaze_db *db = fill("a.blz", NULL);
    assert_everything("a.blz");
    OK(blaze_close(db, &error));
}

static void nothing_of_a_sealed_database_stands_in_clear(void **state)
{
    (void)state;
    blaze_seal seal = passphrase("a passphrase");
    blaze_db *db = fill("a.blz", &seal);
    add_needle("the passphrase", seal.passphrase, strlen(seal.passphrase));
    assert_nothing("a.blz", "in the log");
    OK(bz_store_checkpoint(bz_db_store(db->db), &error));
    assert_nothing("a.blz", "after a checkpoint");
    OK(blaze_close(db, &error));
    assert_nothing("a.blz", "after closing");

    db = open_db("a.blz", &seal, false);
    for (unsigned i = 0; i < 200; i++) {
        blaze_id id;
        OK(blaze_id_new(&id));
        put(db, &id, VALUE, 1 + i);
    }
    OK(bz_store_checkpoint(bz_db_store(db->db), &error));
    assert_nothing("a.blz", "after more writing");
    OK(blaze_close(db, &error));

    blaze_seal next = passphrase("another passphrase");
    OK(blaze_change_passphrase("a.blz", &seal, &next, &error));
    OK(blaze_rekey("a.blz", &next, &seal, &error));
    assert_nothing("a.blz", "after a rekey");
}

static void nothing_of_a_hubs_sealed_database_stands_in_clear(void **state)
{
    (void)state;
    blaze_seal seal = passphrase("a passphrase");
    blaze_db *db = fill("a.blz", &seal);
    OK(blaze_close(db, &error));
    assert_nothing("hub", "at a hub");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_search_finds_what_is_not_sealed),
        TEST(nothing_of_a_sealed_database_stands_in_clear),
        TEST(nothing_of_a_hubs_sealed_database_stands_in_clear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
