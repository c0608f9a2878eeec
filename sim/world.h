/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_SIM_WORLD_H
#define BZ_SIM_WORLD_H

/* What the files of the simulator share; see sim.h. */

#include "base/alloc.h"
#include "codec/names.h"
#include "db/db.h"
#include "fake_replica.h"
#include "random.h"
#include "sim.h"
#include "store/memory_image.h"
#include "sync/session.h"
#include "test_seal.h"

#define SIM_NODES         10u
#define SIM_LINKS         32u
#define SIM_CONNECTIONS   64u
#define SIM_RECORDS       320u
#define SIM_SMALL         40u /* records that are written at random; the others come in bulk */
#define SIM_RECORD_WRITES 256u
#define SIM_FIELDS        6u
#define SIM_COLLECTIONS   3u
#define SIM_IDENTITIES    128u
#define SIM_TAIL          48u /* events that a failure shows */
#define SIM_NONE          UINT32_MAX

/* ---- the oracle ---- */

/* Cells of a record as bits: its fields, then these. */
enum { SIM_REST = 1 << SIM_FIELDS, SIM_LIFE = 2 << SIM_FIELDS, SIM_WHOLE = (4 << SIM_FIELDS) - 1 };

/* Of the writes of one record, by their number in it. */
struct sim_seen {
    uint64_t bits[SIM_RECORD_WRITES / 64];
};

struct sim_write {
    uint32_t identity;
    uint32_t record;
    uint32_t number; /* in its record */
    uint32_t of;     /* more by one than that which was reissued as this one; 0: none */
    uint32_t before; /* under the same dot, in a history that was put back; SIM_NONE */
    uint64_t seq, position;
    uint64_t stamp; /* as it was first seen; 0: replaced before that */
    uint8_t role;
    uint8_t cells; /* that it wrote */
    uint8_t sets;  /* fields to which it gave a value */
    bool alive;
    bool settles;         /* it was written by a rule */
    bool based;           /* it stands for what was collected, with the time of that */
    bool expressly;       /* since somebody asked for that */
    blaze_doc *values;    /* NULL: made of its number, and not yet asked for */
    bool lost;            /* its node may have lost it */
    bool replaced;        /* nobody has it, and never will: its dot was given anew, or it was
                             reissued */
    bool elsewhere;       /* another node had it, whoever that was */
    bool cut;             /* its node was put back to before it */
    bool apart;           /* under a dot that others may know as another write's */
    bool fragile;         /* some node that had it has lost it */
    struct sim_seen seen; /* what its node had seen of the record, this one excepted */
};

/* A record got a new state at a copy, or was collected there: `seen` is then what it had seen. */
struct sim_moment {
    uint32_t record;
    int32_t previous; /* of the same record */
    bool absent;
    uint64_t position;
    struct sim_seen seen;
};

/* One node id and the change log under it. */
struct sim_identity {
    blaze_id id;
    uint8_t role;
    bool cut;      /* its node was put back to before something */
    uint32_t node; /* that has or had it */
    /* What it became while it was open, 0: nothing. Sessions that are under way go on, from the log
     * as it is then, under the old name. */
    uint32_t renewed;
    uint64_t position, seq;
    uint64_t newest; /* seq ever used; more than seq once it was put back */
    uint64_t made;   /* moments that were not there in another's history */
    struct sim_moment *moments;
    uint32_t moment_count, moment_capacity;
    int32_t last[SIM_RECORDS];
    bool absent[SIM_RECORDS]; /* it is not here any more: let go of by a part */
    uint32_t *writes;         /* by seq, from 1 */
    uint32_t write_capacity;
};

struct sim_record {
    uint32_t writes[SIM_RECORD_WRITES]; /* in sim_world.writes */
    uint32_t count;
    struct sim_seen gone; /* that were in it when it was collected, anywhere */
};

/* ---- nodes and network ---- */

/* By what a node settles conflicts. Policies are kept in the database, resolvers are the
 * program's. */
enum sim_resolver {
    SIM_NO_RESOLVER,
    SIM_CHOOSES, /* one of the values, always the same of the same */
    SIM_JOINS,   /* all of them to a new one; of its own results it makes others */
    SIM_INVENTS, /* something else each time */
    SIM_LEAVES,  /* some of them, unsets some, or gives what is no document */
    SIM_WRITES,  /* to the record, before it answers */
    SIM_RESOLVERS
};
struct sim_rules {
    uint8_t policies[SIM_COLLECTIONS][SIM_FIELDS + 1]; /* enum bz_policy; last: the collection's */
};

/* What a node is to hold; see part.c. */
struct sim_part {
    bool is; /* a part, not all */
    uint8_t takes[SIM_COLLECTIONS];
    bool evicted[SIM_RECORDS];
    struct sim_seen had[SIM_RECORDS]; /* when it was evicted */
    /* Of what the node has let go of, and had written to, the writes that it had seen. */
    struct sim_seen left[SIM_RECORDS];
};

/* What is on a node's disk. */
struct sim_image {
    struct sim_part part;
    struct bz_memory_image *memory;
    char *directory;
    uint32_t identity;
    uint64_t position, seq; /* of that identity, */
    blaze_id epoch;         /* and its log's */
    bool absent[SIM_RECORDS];
    struct sim_rules rules;
};

struct sim_world;

struct sim_node {
    struct sim_world *world;
    bool member;
    struct bz_db *db; /* NULL: down, `disk` is what it comes back with */
    struct bz_listener_handle *listener;
    struct sim_image disk, backup;
    uint32_t identity;
    uint32_t number;
    int64_t skew_ms;
    uint64_t mark, boot, up_ms;
    uint64_t disk_mark; /* the mark that its directory has */
    uint64_t durable;   /* position of the last commit that no power cut may take */
    uint8_t role;
    bool blind;
    bool portable; /* it may hold a part only */
    struct sim_part part;
    /* Its file system was put back, and it has not found out. It writes at once, or it waits until
     * it has met the others. Meanwhile it meets only these nodes, as bits. */
    bool put_back, waits;
    uint32_t meets;
    enum bz_durability durability; /* of what it writes and of what it applies */
    uint32_t chunk_bytes, window_bytes, lazy_ms;
    struct fake_keys keys;
    bool dying; /* the next session that runs here does so in vain: a crash before its commit */
    struct sim_rules rules;
    enum sim_resolver resolvers[SIM_COLLECTIONS];
    bool settle_due; /* something has changed since it settled last */
};

struct sim_end {
    struct bz_session *session; /* NULL: gone */
    struct sim_node *node;
    struct sim_link *link;
    struct bz_replica replica;
    struct bz_session_auth auth;
    struct bz_buf wire; /* sent from here */
    uint64_t next_ms;   /* when the next piece of it arrives */
    bool again;
    uint32_t idle_runs; /* runs that say there is more to do, and do nothing */
};

struct sim_connection {
    bool used;
    bool silent; /* nothing arrives any more, and neither end is told */
    uint32_t link;
    struct sim_end ends[2];
    struct bz_session_host host;
    uint64_t cut_in; /* bytes until it breaks; UINT64_MAX: never */
};

struct sim_link {
    bool used;
    uint32_t nodes[2];
    int connection; /* the newest, -1: none */
    uint64_t retry_ms;
    uint64_t blocked_ms[2]; /* until when nothing passes from nodes[i] */
    uint32_t latency_ms, bytes_per_ms, piece_max;
    uint64_t sessions, sent_records[2]; /* by either node */
};

struct sim_world {
    struct sim_options options;
    struct sim_counts counts;
    struct sim_result result;
    struct rng rng;
    uint64_t now_ms;
    int64_t ahead_ms;    /* the most that a clock has ever been */
    uint32_t node_count; /* ever made */
    uint32_t marks;
    bool muted; /* what is applied now will not have been */
    bool faults;
    bool blind;        /* some nodes are */
    bool collects;     /* deleted records go */
    bool settles;      /* some nodes have rules */
    uint32_t calm;     /* steps between two looks at whether there is something to settle */
    uint32_t settlers; /* nodes that may have rules */
    uint8_t policy;    /* that is set more often than others */
    uint64_t inventions;
    bool parts;  /* some nodes may hold a part */
    bool forgot; /* a node has, of what it had or claimed */
    bool late;   /* a day has passed in which nothing moved: what differs is found now */
    struct sim_node nodes[SIM_NODES];
    struct sim_link links[SIM_LINKS];
    struct sim_connection connections[SIM_CONNECTIONS];
    struct sim_identity identities[SIM_IDENTITIES];
    uint32_t identity_count;
    struct sim_write *writes;
    uint32_t write_count, write_capacity;
    struct sim_record records[SIM_RECORDS];
    uint32_t weights[SIM_ACTIONS_MAX]; /* 0: not in this run */
    uint64_t weight;
    uint32_t small; /* records in play */
    blaze_doc *doc;
    char tail[SIM_TAIL][200];
    uint64_t events;
    char directory[64];
};

/* Notes what happens: for the trace, its hash, and the tail that a failure shows. */
void sim_note(struct sim_world *w, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The first failure is the one that counts. */
void sim_fail(struct sim_world *w, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* It was put back, and writes under dots that others may know as other writes'. */
static inline bool sim_is_apart(const struct sim_node *node)
{
    return node->put_back && node->meets != UINT32_MAX;
}

static inline uint32_t sim_chance(struct sim_world *w, uint32_t below)
{
    return rng_below(&w->rng, below);
}

static inline bool sim_bit(const struct sim_seen *seen, uint32_t number)
{
    return seen->bits[number / 64] >> number % 64 & 1;
}

static inline void sim_bit_set(struct sim_seen *seen, uint32_t number)
{
    seen->bits[number / 64] |= (uint64_t)1 << number % 64;
}

static inline void sim_seen_join(struct sim_seen *to, const struct sim_seen *from)
{
    for (uint32_t i = 0; i < SIM_RECORD_WRITES / 64; i++)
        to->bits[i] |= from->bits[i];
}

static inline bool sim_includes(const struct sim_seen *a, const struct sim_seen *b)
{
    for (uint32_t i = 0; i < SIM_RECORD_WRITES / 64; i++) {
        if ((b->bits[i] & ~a->bits[i]) != 0)
            return false;
    }
    return true;
}

/* ---- oracle.c ---- */

/* The number of a node id, a new one if it was never met. */
uint32_t sim_identity_number(struct sim_world *w, const blaze_id *id);
bool sim_is_present(const struct sim_identity *identity, uint32_t record);
/* Of a record that is there; nothing of one that is not. */
struct sim_seen sim_seen_now(const struct sim_identity *identity, uint32_t record);
/* When it was last there, up to a position; at any time. */
struct sim_seen sim_seen_at(
    const struct sim_identity *identity, uint32_t record, uint64_t position);
struct sim_seen sim_seen_last(const struct sim_identity *identity, uint32_t record);
void sim_moment_add(struct sim_world *w, struct sim_identity *identity, uint32_t record,
    const struct sim_seen *seen);
/* It is not there any more, or again as it was: no change that others are told. */
void sim_moment_erase(struct sim_identity *identity, uint32_t record);
void sim_moment_revive(struct sim_identity *identity, uint32_t record);
/* What came after a position did not happen; nor writes after a seq. */
void sim_identity_cut(struct sim_world *w, uint32_t identity, uint64_t position, uint64_t seq);
/* `to` goes on from what `from` was at a position. */
void sim_identity_copy(struct sim_world *w, struct sim_identity *to,
    const struct sim_identity *from, uint64_t position);
/* What the identity wrote after a position may be missed. */
void sim_forgive(struct sim_world *w, uint32_t identity, uint64_t position);
/* A committed write: it has seen what its copy has. Of `made` what is not found out is given:
 * cells, sets, alive, and of what a rule wrote all from stamp to values, which it takes. */
void sim_write_add(
    struct sim_world *w, uint32_t identity, uint32_t record, const struct sim_write *made);
/* The write of a record under a dot, or NULL; of several, that which was seen. */
const struct sim_write *sim_write_find(struct sim_world *w, uint32_t identity, uint64_t seq,
    uint32_t record, const struct sim_seen *seen);
/* Whether its dot is another's too: of a node that was put back, before those who know of the other
 * have told it, or since they have lost it as well. */
bool sim_is_doubled(const struct sim_world *w, const struct sim_write *write);
/* The writes of a cell that a copy has seen and that no other of them had seen. */
struct sim_seen sim_standing(
    const struct sim_world *w, uint32_t record, const struct sim_seen *seen, uint32_t cell);
/* The same, and what may stand: a part that makes a record anew that it has collected does not know
 * what was replaced by that, so that it may come back. */
struct sim_seen sim_perhaps_standing(
    const struct sim_world *w, uint32_t record, const struct sim_seen *seen, uint32_t cell);
/* Of those, the ones that must stand: what a write replaced that was collected since, and of which
 * a copy that made the record anew knows no more, may be left of it or not; and a copy that has
 * what was taken back drops it when it hears of that. */
struct sim_seen sim_surely_standing(
    const struct sim_world *w, uint32_t record, const struct sim_seen *seen, uint32_t cell);
/* The same as a list. */
struct sim_siblings {
    uint32_t count;
    const struct sim_write *all[SIM_RECORD_WRITES];
};
void sim_siblings(const struct sim_world *w, uint32_t record, const struct sim_seen *seen,
    uint32_t cell, struct sim_siblings *out);
/* By role, then stamp, then node id. NULL: there are none. */
const struct sim_write *sim_winner(const struct sim_world *w, const struct sim_siblings *siblings);
/* Whether a write of the identity after a seq is, or was, at another node. */
bool sim_is_known(const struct sim_world *w, uint32_t identity, uint64_t seq);
/* What `from` wrote after a seq, `to`, which goes on from what `from` was, has now written: of
 * each record of which something still stands, in the order of the log. */
void sim_reissue(struct sim_world *w, uint32_t to, uint32_t from, uint64_t seq);
void sim_oracle_release(struct sim_world *w);

/* ---- values: most tell whose they are, some are equal ---- */

extern const char *const sim_fields[SIM_FIELDS];
uint32_t sim_collection_number(uint32_t record);
extern const char *const sim_collections[SIM_COLLECTIONS];
struct bz_bytes sim_collection(uint32_t record);
void sim_value_add(blaze_doc *doc, uint32_t write, uint32_t field);
/* What a write gave a field, borrowed; false: it has none. */
bool sim_value_get(
    struct sim_world *w, const struct sim_write *write, uint32_t field, blaze_value *out);
/* An order in which only what is the same is equal: that of blaze_value_compare(), then 1 and 1.0
 * by type. */
int sim_value_order(const blaze_value *a, const blaze_value *b);
/* Whether a reader is given what the write gave the field; value NULL: nothing. */
bool sim_value_is(
    struct sim_world *w, const blaze_value *value, const struct sim_write *write, uint32_t field);

/* ---- part.c ---- */

/* Which records are there; those that are not any more are noted, and must not be lost. */
void sim_part_look(struct sim_node *node, bool held[SIM_RECORDS]);
/* The same of a node that was down, which may have let go of them before or after. */
void sim_part_came_back(struct sim_node *node);
/* It is a full one, or another: what it had let go of counts for nothing. */
void sim_part_forget(struct sim_node *node);
/* Which writes a node has, by their numbers; given back to tell what it has lost meanwhile. */
bool *sim_holdings(const struct sim_node *node);
void sim_holdings_lost(struct sim_node *node, bool *before);
/* A scope at random; all; a record is let go of. */
void sim_part_choose(struct sim_node *node);
void sim_part_clear(struct sim_node *node);
void sim_part_evict(struct sim_node *node);
/* Whether a node has a write if its version vector covers it. */
bool sim_part_must_have(struct sim_world *w, const struct sim_node *node, uint32_t write);
/* Whether what a copy has of a record lives by nothing but what has been collected by some, where a
 * part may have been one of these. Who had been away brings it, and finds out by comparing, which a
 * part cannot be asked for, and does not do again. See "What is not promised" in
 * docs/replication.md. */
bool sim_part_is_back(const struct sim_world *w, uint32_t record, const struct sim_seen *seen);
bool sim_is_part(const struct sim_node *node); /* it says so itself */
bool sim_is_full(const struct sim_node *node); /* it surely is, and is to be */
void sim_part_check_scope(struct sim_node *node);
void sim_part_check_healed(struct sim_world *w, const struct sim_node *node);
/* Has one that is in the way of meeting become a full one, if there is one. */
void sim_parts_mend(struct sim_world *w);
/* Whether a node that will always be a full one, and can read, is there without this one. */
bool sim_full_without(const struct sim_world *w, const struct sim_node *node);

/* ---- watch.c ---- */

/* A replica of the node's database that tells the oracle what is applied. */
void sim_replica_open(struct sim_node *node, struct bz_replica *out);

/* ---- world.c ---- */

uint64_t sim_wall_ms(const struct sim_node *node);
/* A new member with an empty database. */
struct sim_node *sim_node_add(struct sim_world *w);
/* It goes down and keeps `disk`; all of its connections end. */
enum sim_crash { SIM_KILL, SIM_POWER_CUT };
void sim_node_crash(struct sim_node *node, enum sim_crash how);
/* It goes down, and is what it was when the image was taken: nobody has seen what came since. */
void sim_node_undo(struct sim_node *node, struct sim_image *image);
void sim_node_up(struct sim_node *node);
void sim_node_remove(struct sim_node *node);
struct sim_image sim_image_take(struct sim_node *node, bool durable);
void sim_image_free(struct sim_image *image);
/* It has met all others, and they each other. Whether that makes a difference. */
bool sim_node_met_all(struct sim_node *node);
/* The identity of an open node may have changed. */
void sim_node_look(struct sim_node *node);
/* A copy of an image, under a mark of its own, in place of the node's disk; it must be down. */
void sim_node_restore(struct sim_node *node, const struct sim_image *image);
/* The same, but nothing tells the node of it; `waits`, `meets`: as in the node. */
void sim_node_put_back(
    struct sim_node *node, const struct sim_image *image, bool waits, uint32_t meets);
/* A new member, down, that starts from a copy of an image. */
struct sim_node *sim_node_copy(struct sim_world *w, const struct sim_image *image);
void sim_world_release(struct sim_world *w);

/* ---- net.c ---- */

struct sim_link *sim_link_add(struct sim_world *w, uint32_t a, uint32_t b);
/* A bit for each end of a link. */
static inline uint32_t sim_link_ends(const struct sim_link *l)
{
    return l->used ? 1u << l->nodes[0] | 1u << l->nodes[1] : 0;
}
/* Of some nodes, by bits, those that are connected with the first of them by links among them. */
uint32_t sim_reached(const struct sim_world *w, uint32_t among);
bool sim_connected(const struct sim_world *w, uint32_t without); /* the members, as a graph */
/* One thing that can happen now. False: nothing can. */
bool sim_net_step(struct sim_world *w);
uint64_t sim_net_next(const struct sim_world *w); /* when something can, UINT64_MAX: never */
/* The sessions of a node look at its database. */
void sim_wake(struct sim_node *node);
/* A connection breaks; half open, one end is not told and what is on its way to it arrives. */
void sim_cut(struct sim_world *w, struct sim_connection *c, bool half_open);
/* All connections of a node end. */
void sim_node_disconnect(struct sim_node *node);
/* Nothing remains of the connections of a node, which is down, not even what is on its way. */
void sim_node_hang_up(struct sim_node *node);
/* Bytes on the way are changed; whoever gets them goes down after it. */
void sim_corrupt(struct sim_world *w, struct sim_connection *c);
bool sim_net_live(const struct sim_world *w);
void sim_net_heal(struct sim_world *w);
void sim_net_release(struct sim_world *w);

/* ---- actions.c ---- */

/* Chooses what may happen in this run, and does one such thing. */
void sim_actions_choose(struct sim_world *w);
void sim_act(struct sim_world *w);
/* Whether a node may become another, or forget what it knows of others, without others missing it.
 */
bool sim_may_change(const struct sim_world *w, const struct sim_node *node);
/* A node writes to a record, or deletes it. */
void sim_meddle(struct sim_node *node, uint32_t record);

/* ---- check.c ---- */

/* A node's numbers, as the oracle knows them. */
struct sim_numbers {
    uint32_t identities[SIM_IDENTITIES]; /* by the node's number */
    blaze_id ids[SIM_IDENTITIES];
    uint32_t count;
    int64_t fields[SIM_FIELDS]; /* -1: never met */
    struct blaze_names *names;
};
struct sim_numbers sim_numbers_of(struct sim_world *w, const struct bz_replica *replica);
void sim_numbers_release(struct sim_numbers *numbers);

/* A node's version vector. */
struct sim_versions {
    struct sim_world *w;
    uint64_t seq[SIM_IDENTITIES];
    bool beyond; /* it holds more than that */
};
void sim_versions_load(struct bz_read *read, struct sim_versions *out);
struct sim_versions sim_versions_of(const struct sim_node *node); /* that is up, now */
/* Whether a body has what a write gave the field. */
bool sim_gives(struct sim_world *w, const struct sim_write *write, struct bz_bytes body,
    const struct sim_numbers *numbers, uint32_t field);
/* That a copy is what the oracle says, at any moment. */
void sim_check_node(struct sim_world *w, struct sim_node *node);
/* That no two copies with the same version vector show something else. */
void sim_check_digests(struct sim_world *w);
/* Whether they may: where a delete that was collected has not got about, or where a day has passed,
 * and they are to find it (docs/replication.md, "What is not promised"). */
bool sim_may_differ(struct sim_world *w, const struct sim_node *a, const struct sim_node *b);
/* That no link has carried records again and again. */
void sim_check_traffic(struct sim_world *w);
/* That all copies are equal, and nothing is lost. */
void sim_check_healed(struct sim_world *w);

/* ---- collect.c: deleted records that go, and what is left of them elsewhere ---- */

/* What a node shows of its own having collected, or compared. */
struct sim_sum {
    uint64_t position, seq, records, dead, purged;
};
struct sim_sum sim_sum_of(const struct sim_node *node);
/* Looks what is not there any more and what was written anew since `before`, and checks that it was
 * right. `covered` NULL: deleted records were collected. Or else the node has compared itself with
 * one that had all up to that. */
void sim_collect_look(
    struct sim_node *node, const struct sim_sum *before, const struct sim_versions *covered);
/* A node has given records a new place in its log, as they are. */
void sim_collect_retold(struct sim_node *node);
/* After a commit, of writes from the first of them on: what they have seen where nothing was. */
void sim_collect_written(struct sim_node *node, uint32_t first);
/* The records whose place in a node's log is after a position. */
void sim_records_after(struct sim_node *node, uint64_t position, bool out[SIM_RECORDS]);
/* After changes from a peer, of which the first has come after a position: what the node knows to
 * be gone although the sender does not. */
void sim_collect_applied(struct sim_node *node, uint64_t position);
/* A node has come up with what its disk had: what was collected in commits that are lost is there
 * again. */
void sim_collect_opened(struct sim_node *node);

#endif
