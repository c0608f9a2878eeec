/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Comparing with a peer which records there is any trace of, where the change log cannot tell: a
 * replica that was away for too long holds records that everybody else has deleted and collected.
 *
 *   asking                                   answering
 *   RANGES  one collection, up to 64   ->
 *           ranges: count, digest
 *                                      <-    ITEMS  for each: equal, or the ids that are here
 *   lets go of what it has, and the
 *   other has not, unless there are
 *   writes in it that the other never had
 *   RANGES  the next ones              ->
 *
 * Not with a blind side: it would be believed that a record is gone, which no member has said.
 *
 * Each side asks for itself, when it has heard what the other has and what was collected, before it
 * sends anything, and before it takes over the other's version vector; if more is collected
 * meanwhile, once more. A partial replica also asks, before it takes a head, when something has
 * come to it from others that may have been collected: they cannot compare with it. Nothing is
 * kept: whoever is interrupted begins anew.
 *
 * Bounds: a range has 1,024 records of the asking side; an answer lists 8,192 ids at most, and may
 * stop anywhere in the ranges asked for, to be asked again from there on.
 */
#include "sync/session_priv.h"

#include "base/alloc.h"

#define ANSWER_LOOKS 65536u /* records looked at, in all ranges but the last */

static const blaze_id last_id = {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    0xff, 0xff, 0xff, 0xff, 0xff}};

static int malformed(blaze_error *error)
{
    return bz_error_set(error, BLAZE_EPROTO, "the peer compares records in a malformed way");
}

static bool is_blind(const struct bz_session *s)
{
    return s->opaque.active || s->self.blind;
}

/* ---- when ---- */

void bz_reconcile_release(struct bz_session *s)
{
    bz_vector_release(&s->reconcile.has);
    bz_vector_release(&s->reconcile.collected);
    bz_vector_release(&s->reconcile.purged);
}

bool bz_reconcile_busy(const struct bz_session *s)
{
    return s->reconcile.busy;
}

static void begin(struct bz_session *s)
{
    struct bz_reconcile *c = &s->reconcile;
    c->again = c->busy;
    if (c->busy)
        return;
    c->busy = true;
    c->began = s->replica.ops->position(s->replica.context);
    c->collection = 0;
    c->whole = true;
}

static uint64_t mark_of(const struct bz_vv *vv)
{
    return vv->count == 0 ? 0 : bz_hash128(vv->entries, vv->count * sizeof *vv->entries, 0).low | 1;
}

/* A copy of a part cannot be compared with: what it does not have is not gone. It may ask. */
int bz_reconcile_heard(struct bz_session *s, const struct bz_standing *standing)
{
    struct bz_reconcile *c = &s->reconcile;
    if (is_blind(s) || s->out.scoped)
        return 0;
    int rc = bz_vector_raise_all(&c->has, &standing->has);
    if (rc == 0)
        rc = bz_vector_raise_all(&c->collected, &standing->collected);
    if (rc == 0 && !bz_vv_includes(&c->collected.vv, &standing->purged))
        rc = bz_vector_raise_all(&c->purged, &standing->purged);
    c->collected_stamp = standing->collected_stamp;
    c->mark = mark_of(&c->collected.vv);
    c->fresh |= standing->fresh;
    if (standing->fresh)
        c->fresh_mark = c->mark;
    if (rc == 0 && standing->behind && c->fresh) {
        c->late |= c->mark != c->fresh_mark; /* it may have come before it was collected */
    } else if (rc == 0 && standing->behind && c->mark != c->compared) {
        c->late |= s->covering.heard || c->busy;
        begin(s);
    }
    return rc;
}

/* By its head the peer has perhaps more of what it knows to have been collected than when it told
 * of that: *behind if we have not. */
static int see_more(struct bz_session *s, const struct bz_vv *has, bool *behind)
{
    struct bz_reconcile *c = &s->reconcile;
    struct bz_vv ours, reached;
    if (c->purged.vv.count == 0)
        return 0;
    bz_arena_reset(&s->in.arena);
    if (bz_vv_copy(&s->in.arena, &c->purged.vv, &reached) != 0)
        return BLAZE_ENOMEM;
    bz_vv_lower(&reached, has);
    if (bz_vv_includes(&c->collected.vv, &reached))
        return 0;
    int rc = s->replica.ops->version(s->replica.context, &s->in.arena, &ours);
    if (rc == 0)
        rc = bz_vector_raise_all(&c->collected, &reached);
    *behind = rc == 0 && !bz_vv_includes(&ours, &reached);
    if (*behind)
        rc = bz_vector_raise_all(&c->has, has);
    if (bz_vv_includes(&c->collected.vv, &c->purged.vv))
        bz_vector_release(&c->purged);
    c->mark = mark_of(&c->collected.vv);
    return rc;
}

int bz_reconcile_head(struct bz_session *s, struct bz_head *head, bool *wait, blaze_error *error)
{
    struct bz_reconcile *c = &s->reconcile;
    bool only = true, came = false, behind = false;
    int rc = see_more(s, &head->vv, &behind);
    if (rc != 0)
        return bz_error_code(error, rc);
    /* What was here as it heard of it came from the peer, and from nobody else, or else it may be
     * older than what it has collected. The same for what has come since that was compared. */
    if (c->fresh && c->mark != 0)
        rc = s->replica.ops->only_from(s->replica.context, &s->status.peer, &only, error);
    else if (c->compared != 0 && !c->busy)
        rc = s->replica.ops->came_since(
            s->replica.context, c->began, &s->status.peer, &c->collected.vv, &came, error);
    else if (c->mark != 0 && !c->busy && s->in.scope != 0)
        rc = s->replica.ops->doubts(s->replica.context, &c->collected.vv, &came, error);
    c->fresh = false;
    /* A walk that began before something was collected may have brought it after that was compared.
     */
    if (!only || came || behind || c->late)
        begin(s);
    c->late = false;
    *wait = c->busy;
    head->collected = c->collected.vv;
    head->collected_stamp = c->collected_stamp;
    return rc;
}

static struct bz_standing standing_of(const struct bz_reconcile *c)
{
    return (struct bz_standing){
        .has = c->has.vv, .collected = c->collected.vv, .collected_stamp = c->collected_stamp};
}

static int finish(struct bz_session *s, blaze_error *error)
{
    struct bz_reconcile *c = &s->reconcile;
    struct bz_standing standing = standing_of(c);
    c->busy = false;
    if (c->again) {
        begin(s);
        return 0;
    }
    c->compared = c->mark;
    int rc = s->replica.ops->range_compared(s->replica.context, c->began, &standing, error);
    return rc != 0 ? rc : bz_incoming_release_head(s, error);
}

/* ---- asking ---- */

/* Sums up the next range of the collection; false in *found at its end. */
static int next_range(struct bz_session *s, struct bz_range *range, struct bz_buf *out, bool *found,
    blaze_error *error)
{
    struct bz_reconcile *c = &s->reconcile;
    struct bz_range_sum sum = {.max = BZ_RANGE_RECORDS_MAX};
    range->last = last_id;
    int rc = s->replica.ops->range_list(s->replica.context, range, &sum);
    if (rc != 0)
        return bz_error_code(error, rc);
    *found = !(range->whole && sum.count == 0);
    if (sum.more)
        range->last = sum.last;
    c->asked[c->asked_count++] = range->last;
    bz_range_append(out, &(struct bz_asked_range){range->last, sum.count, sum.digest});
    range->whole = false;
    range->after = range->last;
    return out->error != 0 ? bz_error_code(error, out->error) : 0;
}

static bool is_end(const blaze_id *last)
{
    return memcmp(last, &last_id, sizeof last_id) == 0;
}

/* Gathers the ranges of a collection from where it stands; none if it has no records. */
static int gather(
    struct bz_session *s, struct bz_bytes name, struct bz_buf *out, blaze_error *error)
{
    struct bz_reconcile *c = &s->reconcile;
    struct bz_range range = {.collection = name, .whole = c->whole, .after = c->after};
    c->asked_count = 0;
    bool found = true;
    int rc = 0;
    do {
        rc = next_range(s, &range, out, &found, error);
    } while (rc == 0 && found && c->asked_count < BZ_RANGES_MAX &&
             !is_end(&c->asked[c->asked_count - 1]));
    if (!found)
        c->asked_count = 0;
    return rc;
}

static int next_collection(struct bz_reconcile *c)
{
    c->collection++;
    c->whole = true;
    return 0;
}

static int send_ranges(struct bz_session *s, struct bz_bytes name, struct bz_bytes ranges)
{
    struct bz_reconcile *c = &s->reconcile;
    bz_asked_ranges_encode(
        &s->scratch, &(struct bz_asked_ranges){name, {c->whole, c->after}, c->asked_count, {0}});
    bz_buf_append(&s->scratch, ranges.data, ranges.size);
    int rc = s->scratch.error;
    bz_session_send(s, BZ_FRAME_RANGES);
    c->waiting = true;
    return rc;
}

int bz_reconcile_run(struct bz_session *s, bool *more, blaze_error *error)
{
    struct bz_reconcile *c = &s->reconcile;
    struct bz_buf ranges;
    if (!c->busy || c->waiting)
        return 0;
    bz_buf_init(&ranges, BZ_FRAME_CONTROL_MAX);
    int rc = 0;
    for (c->asked_count = 0; rc == 0 && c->asked_count == 0;) {
        struct bz_bytes name;
        rc = s->replica.ops->meaning(s->replica.context, BZ_TERM_COLLECTION, c->collection, &name);
        if (rc != 0)
            break;
        bz_buf_clear(&ranges);
        rc = gather(s, name, &ranges, error);
        if (rc == 0 && c->asked_count == 0)
            rc = next_collection(c);
        else if (rc == 0 && (rc = send_ranges(s, name, bz_buf_bytes(&ranges))) != 0)
            bz_error_code(error, rc);
    }
    bz_buf_release(&ranges);
    rc = rc == BLAZE_ENOTFOUND ? finish(s, error) : rc;
    *more |= c->busy && !c->waiting; /* it begins once more */
    return rc;
}

/* ---- the answer ---- */

/* One range's answer, in `item`. */
static int take_item(
    struct bz_session *s, struct bz_range *range, const struct bz_item *item, blaze_error *error)
{
    struct bz_reconcile *c = &s->reconcile;
    struct bz_standing standing = standing_of(c);
    range->last = item->last;
    return item->kind == BZ_ITEM_EQUAL ? 0
                                       : s->replica.ops->range_compare(s->replica.context, range,
                                             item->ids, item->count, &standing, &c->removed, error);
}

int bz_reconcile_items(struct bz_session *s, struct bz_bytes payload, blaze_error *error)
{
    struct bz_reconcile *c = &s->reconcile;
    struct bz_items items;
    struct bz_item item = {0};
    struct bz_range range = {0};
    struct bz_span span = {c->whole, c->after};
    if (!c->waiting || bz_items_decode(payload, &items) != 0 || items.count > c->asked_count)
        return malformed(error);
    int rc = s->replica.ops->meaning(
        s->replica.context, BZ_TERM_COLLECTION, c->collection, &range.collection);
    if (rc != 0)
        return bz_error_code(error, rc);
    for (uint32_t i = 0; rc == 0; i++) {
        range.whole = span.whole;
        range.after = span.after;
        rc = bz_items_next(&items, &span, &c->asked[i], &item);
        if (rc == BLAZE_EPROTO)
            return malformed(error);
        if (rc == 0)
            rc = take_item(s, &range, &item, error);
    }
    if (rc != BLAZE_END)
        return rc;
    c->waiting = false;
    c->whole = false;
    c->after = span.after;
    return is_end(&span.after) && item.kind != BZ_ITEM_PART ? next_collection(c) : 0;
}

/* ---- answering ---- */

struct answer {
    struct bz_session *s;
    struct bz_buf items;
    blaze_id *ids;     /* room for BZ_ITEM_IDS_MAX */
    uint64_t answered; /* ranges */
    uint64_t listed, looked;
    bool full;
};

static int list(struct answer *a, const struct bz_range *range)
{
    const struct bz_replica *replica = &a->s->replica;
    struct bz_range_sum sum = {.max = BZ_ITEM_IDS_MAX - a->listed, .ids = a->ids};
    int rc = replica->ops->range_list(replica->context, range, &sum);
    if (rc != 0)
        return rc;
    a->full = sum.more;
    if (sum.more && sum.count == 0)
        return 0; /* no room: to be asked again */
    struct bz_item item = {
        sum.more ? BZ_ITEM_PART : BZ_ITEM_LIST, sum.last, a->ids, (uint32_t)sum.count};
    bz_item_append(&a->items, &item);
    a->listed += sum.count;
    a->answered++;
    return a->items.error;
}

static int answer_range(
    struct answer *a, const struct bz_range *range, const struct bz_asked_range *asked)
{
    const struct bz_replica *replica = &a->s->replica;
    struct bz_range_sum sum = {.max = asked->records};
    int rc = replica->ops->range_list(replica->context, range, &sum);
    if (rc != 0)
        return rc;
    a->looked += sum.count;
    if (sum.more || sum.count != asked->records || sum.digest.low != asked->digest.low ||
        sum.digest.high != asked->digest.high)
        return list(a, range);
    bz_item_append(&a->items, &(struct bz_item){.kind = BZ_ITEM_EQUAL});
    a->answered++;
    return a->items.error;
}

/* Answers the ranges one after the other; all are read, so that the frame is sound as a whole. */
static int answer_ranges(struct answer *a, struct bz_asked_ranges ranges)
{
    struct bz_range range = {.collection = ranges.collection};
    struct bz_asked_range asked = {0};
    bz_buf_clear(&a->items);
    a->answered = a->listed = a->looked = 0;
    a->full = false;
    int rc = 0;
    while (rc == 0) {
        range.whole = ranges.span.whole;
        range.after = ranges.span.after;
        rc = bz_asked_ranges_next(&ranges, &asked);
        range.last = asked.last;
        if (rc == 0 && !a->full) {
            rc = answer_range(a, &range, &asked);
            a->full |= a->looked >= ANSWER_LOOKS;
        }
    }
    return rc == BLAZE_END ? 0 : rc;
}

/* What is not here must have been told to be collected before this is answered. */
static int answer_all(struct answer *a, const struct bz_asked_ranges *ranges, blaze_error *error)
{
    bool told = true;
    int rc = bz_coverage_update(a->s, &told, error);
    for (told = true; rc == 0 && told;) {
        rc = answer_ranges(a, *ranges);
        if (rc == 0)
            rc = bz_coverage_update(a->s, &told, error);
    }
    return rc;
}

static int answer(struct answer *a, struct bz_bytes payload, blaze_error *error)
{
    struct bz_session *s = a->s;
    struct bz_asked_ranges ranges;
    int rc = bz_asked_ranges_decode(payload, &ranges);
    if (rc == 0)
        rc = answer_all(a, &ranges, error);
    if (rc != 0)
        return rc;
    bz_buf_append_varint(&s->scratch, a->answered);
    bz_buf_append(&s->scratch, a->items.data, a->items.size);
    rc = s->scratch.error;
    bz_session_send(s, BZ_FRAME_ITEMS);
    return rc;
}

int bz_reconcile_ranges(struct bz_session *s, struct bz_bytes payload, blaze_error *error)
{
    if (is_blind(s))
        return malformed(error);
    if (s->in.scope != 0)
        return bz_error_set(error, BLAZE_EPROTO,
            "the peer takes this copy of a part for one of the whole database");
    struct answer a = {.s = s, .ids = bz_malloc(BZ_ITEM_IDS_MAX * sizeof *a.ids)};
    bz_buf_init(&a.items, BZ_FRAME_CONTROL_MAX);
    int rc = a.ids == NULL ? BLAZE_ENOMEM : answer(&a, payload, error);
    bz_buf_release(&a.items);
    bz_free(a.ids);
    if (rc == BLAZE_EPROTO)
        return malformed(error);
    return rc != 0 ? bz_error_code(error, rc) : 0;
}
