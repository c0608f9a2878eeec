/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_TESTS_SYNC_WORLD_H
#define BZ_TESTS_SYNC_WORLD_H

/*
 * Some databases on the store in memory and the links between them, in virtual time and from one
 * seed: random edits, links that cut bytes anywhere and break at any moment. Some of them may be
 * blind: they write nothing, and carry what the others seal.
 */

#include "cmocka_all.h"

#include "crdt/scope.h"
#include "db/db.h"
#include "fake_replica.h"
#include "session_pipe.h"
#include "test_seal.h"

#define SITES_MAX 16
#define LINKS_MAX 120
#define STEPS     400000u

struct site {
    struct bz_db *db;
    bool blind;
    struct fake_keys keys;
    uint64_t *wall_ms;
    struct rng *rng;
};

struct link {
    struct site *ends[2];
    struct bz_replica replicas[2];
    struct bz_session_auth auths[2];
    struct bz_session_host host;
    struct session_pipe pipe;
    bool up;
};

struct world {
    struct rng rng;
    uint64_t wall_ms;
    uint32_t sites, links;
    struct site site[SITES_MAX];
    struct link link[LINKS_MAX];
    uint32_t blind; /* a bit for each site */
    uint32_t chunk_bytes;
    uint32_t gossip_ms; /* as in the options of sessions */
    uint64_t sessions;
};

static uint64_t chance(struct world *w, uint64_t below)
{
    return rng_next(&w->rng) % below;
}

static uint64_t site_wall(void *context)
{
    return *((struct site *)context)->wall_ms;
}

static inline int site_entropy(void *context, void *data, size_t size)
{
    rng_fill(((struct site *)context)->rng, data, size);
    return 0;
}

static inline void site_open(struct world *w, uint32_t i)
{
    struct site *s = &w->site[i];
    char name[20];
    snprintf(name, sizeof name, "site %u", i);
    bool blind = (w->blind >> i & 1) != 0;
    *s = (struct site){.keys = {11, blind ? 0 : 22, w->rng.state + i},
        .blind = blind,
        .wall_ms = &w->wall_ms,
        .rng = &w->rng};
    struct bz_db_options options = {.create = true,
        .memory = true,
        .role = i == 1 ? BZ_ROLE_SERVER : BZ_ROLE_CLIENT,
        .blind = blind,
        .database = fake_id(7),
        .apply_durability = BZ_DURABLE_RELAXED,
        .wall_ms = site_wall,
        .entropy = site_entropy,
        .context = s};
    blaze_error error;
    int rc = bz_db_open(&s->db, name, &options, &error);
    if (rc != 0)
        print_message("%s\n", error.text);
    assert_int_equal(rc, 0);
}

static inline int host_open(void *context, const blaze_id *database, struct bz_replica *replica,
    struct bz_session_auth *auth, blaze_error *error)
{
    (void)database;
    (void)error;
    struct link *l = context;
    *replica = l->replicas[1];
    *auth = l->auths[1];
    return 0;
}

static inline void link_up(struct world *w, struct link *l)
{
    for (int i = 0; i < 2; i++)
        l->auths[i] = (struct bz_session_auth){
            fake_mac, fake_random, &l->ends[i]->keys, l->ends[i]->blind ? NULL : &test_seal_ops};
    l->host = (struct bz_session_host){host_open, NULL, l};
    struct bz_session_options connecting = {.connecting = true,
        .replica = &l->replicas[0],
        .auth = &l->auths[0],
        .chunk_bytes = w->chunk_bytes,
        .gossip_ms = w->gossip_ms};
    struct bz_session_options accepting = {
        .host = &l->host, .chunk_bytes = w->chunk_bytes, .gossip_ms = w->gossip_ms};
    l->pipe.rng.state = rng_next(&w->rng);
    l->pipe.now_ms = 1000;
    l->pipe.wall_ms = w->wall_ms;
    assert_int_equal(pipe_open(&l->pipe, &connecting, &accepting), 0);
    pipe_wake(&l->pipe);
    l->up = true;
    w->sessions++;
}

static inline void link_down(struct link *l)
{
    if (!l->up)
        return;
    pipe_cut(&l->pipe);
    pipe_close(&l->pipe);
    l->up = false;
}

enum shape { CHAIN, RING, STAR, MESH };

static inline void add_link(struct world *w, uint32_t a, uint32_t b)
{
    assert_true(w->links < LINKS_MAX);
    struct link *l = &w->link[w->links++];
    l->ends[0] = &w->site[a];
    l->ends[1] = &w->site[b];
    for (int k = 0; k < 2; k++)
        assert_int_equal(bz_db_replica_open(l->ends[k]->db, &l->replicas[k], NULL), 0);
}

static inline void world_open_with(
    struct world *w, uint64_t seed, enum shape shape, uint32_t sites, uint32_t blind)
{
    *w = (struct world){.rng = {seed}, .wall_ms = 1700000000000u, .sites = sites, .blind = blind};
    for (uint32_t i = 0; i < sites; i++)
        site_open(w, i);
    for (uint32_t i = 0; i < sites; i++) {
        for (uint32_t k = i + 1; k < sites; k++) {
            if (shape == MESH || (shape == STAR && i == 0) || (shape != STAR && k == i + 1) ||
                (shape == RING && i == 0 && k + 1 == sites))
                add_link(w, i, k);
        }
    }
}

static inline void world_open(struct world *w, uint64_t seed, enum shape shape, uint32_t sites)
{
    world_open_with(w, seed, shape, sites, 0);
}

static inline void world_close(struct world *w)
{
    for (uint32_t i = 0; i < w->links; i++) {
        link_down(&w->link[i]);
        bz_db_replica_close(&w->link[i].replicas[0]);
        bz_db_replica_close(&w->link[i].replicas[1]);
    }
    for (uint32_t i = 0; i < w->sites; i++)
        assert_int_equal(bz_db_close(w->site[i].db, NULL), 0);
}

/* ---- edits ---- */

/* A scope from pairs of collection and filter. */
static inline void set_scope(struct site *s, const char *const *pairs)
{
    struct bz_buf scope;
    blaze_error error;
    bz_buf_init(&scope, BZ_SCOPE_BYTES_MAX);
    for (; pairs != NULL && pairs[0] != NULL; pairs += 2) {
        struct bz_scope_item item = {bz_bytes_text(pairs[0]), bz_bytes_text(pairs[1])};
        bz_scope_append(&scope, &item);
    }
    int rc = bz_db_scope_set(s->db, bz_buf_bytes(&scope), &error);
    if (rc != 0)
        print_message("%s\n", error.text);
    assert_int_equal(rc, 0);
    bz_buf_release(&scope);
}

static inline void fill(struct world *w, blaze_doc *doc, bool update)
{
    static const char *const names[] = {"title", "text", "count", "tags", "author", "place"};
    blaze_doc_clear(doc);
    uint64_t first = chance(w, 6), count = 1 + chance(w, update ? 2 : 5);
    for (uint64_t i = 0; i < count; i++) {
        const char *name = names[(first + i) % 6];
        switch (chance(w, update ? 5 : 4)) {
        case 0:
            blaze_doc_add_int(doc, name, (int64_t)chance(w, 1000));
            break;
        case 1:
            blaze_doc_begin_map(doc, name);
            blaze_doc_add_string(doc, "nested", "inside");
            blaze_doc_add_int(doc, names[chance(w, 6)], 1);
            blaze_doc_end(doc);
            break;
        case 4:
            blaze_doc_add_unset(doc, name);
            break;
        default:
            blaze_doc_add_string(doc, name, "some text that is a little longer than others");
        }
    }
    assert_int_equal(blaze_doc_check(doc), 0);
}

static inline void edit(struct world *w, struct site *s)
{
    blaze_doc *doc;
    struct bz_db_txn *txn;
    if (s->blind)
        return;
    assert_int_equal(blaze_doc_new(&doc), 0);
    assert_int_equal(bz_db_begin(s->db, &txn, NULL), 0);
    for (uint64_t n = 1 + chance(w, 4); n > 0; n--) {
        struct bz_bytes collection = bz_bytes_text(chance(w, 4) ? "notes" : "people");
        blaze_id id = fake_id(chance(w, 30));
        uint64_t what = chance(w, 10);
        int rc;
        fill(w, doc, what >= 3 && what < 8);
        if (what < 3)
            rc = bz_db_put(txn, collection, &id, doc, NULL);
        else if (what < 8)
            rc = bz_db_upsert(txn, collection, &id, doc, NULL);
        else
            rc = bz_db_delete(txn, collection, &id, NULL);
        assert_true(rc == 0 || rc == BLAZE_ENOTFOUND);
    }
    assert_int_equal(bz_db_commit(txn, BZ_DURABLE_RELAXED, NULL), 0);
    blaze_doc_free(doc);
}

/* Records that hardly compress. */
static inline void insert_many(struct site *s, uint64_t count)
{
    blaze_doc *doc;
    struct bz_db_txn *txn;
    assert_int_equal(blaze_doc_new(&doc), 0);
    assert_int_equal(bz_db_begin(s->db, &txn, NULL), 0);
    for (uint64_t i = 0; i < count; i++) {
        uint8_t noise[60];
        blaze_id id = fake_id(i);
        site_entropy(s, noise, sizeof noise);
        blaze_doc_clear(doc);
        blaze_doc_add_bytes(doc, "noise", noise, sizeof noise);
        blaze_doc_add_int(doc, "count", (int64_t)i);
        assert_int_equal(bz_db_insert(txn, bz_bytes_text("notes"), &id, doc, NULL), 0);
    }
    assert_int_equal(bz_db_commit(txn, BZ_DURABLE_RELAXED, NULL), 0);
    blaze_doc_free(doc);
}

#define NOTES bz_bytes_text("notes")

static inline void write_note(
    struct site *s, uint32_t number, const char *text, enum bz_durability durability)
{
    blaze_doc *doc;
    struct bz_db_txn *txn;
    blaze_id id = fake_id(number);
    assert_int_equal(blaze_doc_new(&doc), 0);
    blaze_doc_add_string(doc, "text", text);
    assert_int_equal(bz_db_begin(s->db, &txn, NULL), 0);
    assert_int_equal(bz_db_upsert(txn, NOTES, &id, doc, NULL), 0);
    assert_int_equal(bz_db_commit(txn, durability, NULL), 0);
    blaze_doc_free(doc);
}

static inline bool has_note(struct site *s, uint32_t number)
{
    struct bz_read *read;
    blaze_id id = fake_id(number);
    assert_int_equal(bz_read_begin(s->db, &read, NULL), 0);
    int rc = bz_read_exists(read, NOTES, &id, NULL);
    bz_read_end(read);
    assert_true(rc == 0 || rc == BLAZE_ENOTFOUND);
    return rc == 0;
}

/* ---- running and comparing ---- */

static inline void wake_all(struct world *w)
{
    for (uint32_t i = 0; i < w->links; i++) {
        if (w->link[i].up)
            pipe_wake(&w->link[i].pipe);
    }
}

static inline bool step(struct world *w)
{
    bool any = false;
    for (uint32_t i = 0; i < w->links; i++) {
        if (w->link[i].up)
            any |= pipe_step(&w->link[i].pipe);
    }
    return any;
}

static inline void assert_no_end(const struct world *w)
{
    for (uint32_t i = 0; i < w->links; i++) {
        if (!w->link[i].up)
            continue;
        for (int k = 0; k < 2; k++) {
            struct bz_session_status status = pipe_status(&w->link[i].pipe, k);
            if (status.phase == BZ_SESSION_CLOSED)
                print_message("link %u, end %d: %s: %s\n", i, k, blaze_error_name(status.code),
                    status.reason);
            assert_int_not_equal(status.phase, BZ_SESSION_CLOSED);
            assert_false(status.diverged);
        }
    }
}

/* Until no link that is up has anything to do, though woken; a commit at one wakes the others. */
static inline void settle_now(struct world *w)
{
    uint64_t n = 0, positions, before = UINT64_MAX;
    for (;;) {
        positions = 0;
        for (uint32_t i = 0; i < w->sites; i++)
            positions += bz_db_position(w->site[i].db);
        if (positions == before)
            break;
        before = positions;
        wake_all(w);
        while (step(w))
            assert_true(++n < STEPS);
    }
    assert_no_end(w);
}

/* And until all is told that waits for its time on lazy links. */
static inline void settle(struct world *w)
{
    bool live = false;
    for (int turn = 0; turn < 100 && !live; turn++) {
        settle_now(w);
        live = true;
        for (uint32_t i = 0; i < w->links; i++) {
            live &= !w->link[i].up || pipe_live(&w->link[i].pipe);
            w->link[i].pipe.now_ms += 50;
        }
    }
    assert_true(live);
}

/* A version vector, by node id. */
struct version {
    struct {
        blaze_id node;
        uint64_t seq;
    } entries[SITES_MAX];
    size_t count;
};

static inline int add_version(void *context, const blaze_id *node, uint64_t seq)
{
    struct version *v = context;
    size_t at = v->count;
    if (seq == 0)
        return 0;
    assert_true(v->count < SITES_MAX);
    while (at > 0 && memcmp(&v->entries[at - 1].node, node, sizeof *node) > 0) {
        v->entries[at] = v->entries[at - 1];
        at--;
    }
    v->entries[at].node = *node;
    v->entries[at].seq = seq;
    v->count++;
    return 0;
}

static inline void load(struct site *s, struct bz_db_state *state, struct version *version)
{
    struct bz_read *read;
    *version = (struct version){0};
    assert_int_equal(bz_read_begin(s->db, &read, NULL), 0);
    assert_int_equal(bz_read_state(read, state, NULL), 0);
    assert_int_equal(bz_read_version(read, add_version, version, NULL), 0);
    bz_read_end(read);
}

static inline struct bz_db_state state_at(struct world *w, uint32_t i)
{
    struct bz_db_state state;
    struct version version;
    load(&w->site[i], &state, &version);
    return state;
}

/* Every document of one is in the other, and equal. */
static inline void assert_same_documents(struct site *a, struct site *b)
{
    static const char *const names[] = {"notes", "people"};
    struct bz_read *reads[2];
    assert_int_equal(bz_read_begin(a->db, &reads[0], NULL), 0);
    assert_int_equal(bz_read_begin(b->db, &reads[1], NULL), 0);
    for (int i = 0; i < 2; i++) {
        struct bz_find find = {.collection = bz_bytes_text(names[i])};
        struct bz_rows *rows;
        blaze_id id;
        blaze_value here, there;
        assert_int_equal(bz_read_find(reads[0], &find, &rows, NULL), 0);
        while (bz_rows_next(rows, &id, &here, NULL) == 0) {
            assert_int_equal(bz_read_get(reads[1], find.collection, &id, &there, NULL), 0);
            assert_int_equal(blaze_value_compare(&here, &there), 0);
        }
        bz_rows_close(rows);
    }
    bz_read_end(reads[0]);
    bz_read_end(reads[1]);
}

static inline void assert_equal(struct world *w)
{
    struct bz_db_state first, other;
    struct version version, other_version;
    uint32_t member = 0;
    while (w->site[member].blind)
        member++;
    load(&w->site[member], &first, &version);
    for (uint32_t i = 0; i < w->sites; i++) {
        load(&w->site[i], &other, &other_version);
        assert_memory_equal(&version, &other_version, sizeof version);
        assert_int_equal(first.records, other.records);
        assert_int_equal(w->site[i].blind ? 0 : first.conflicts, other.conflicts);
        if (i != member && !w->site[i].blind)
            assert_same_documents(&w->site[member], &w->site[i]);
        assert_true(first.digest.low == other.digest.low && first.digest.high == other.digest.high);
    }
    for (uint32_t i = 0; i < w->sites; i++) {
        blaze_error error;
        int rc = bz_db_check(w->site[i].db, NULL, NULL, &error);
        if (rc != 0)
            print_message("site %u: %s\n", i, error.text);
        assert_int_equal(rc, 0);
    }
}

static inline void all_links(struct world *w)
{
    for (uint32_t i = 0; i < w->links; i++) {
        if (!w->link[i].up)
            link_up(w, &w->link[i]);
    }
}

#endif
