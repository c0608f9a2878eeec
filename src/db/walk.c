/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Walking the key ranges of a plan, forwards or backwards, over the records of a collection or the
 * entries of an index: both are the part of a map below a prefix of four bytes.
 */

#include "db/db_priv.h"

int bz_walk_init(struct bz_walk *walk, struct bz_view *view, enum bz_map map, uint32_t prefix,
    const struct bz_plan *plan, blaze_error *error)
{
    *walk = (struct bz_walk){
        .ranges = plan->ranges,
        .range_count = plan->range_count,
        .backwards = plan->ordered && plan->descending,
    };
    bz_store32be(walk->prefix, prefix);
    bz_buf_init(&walk->low, BZ_STORE_KEY_MAX);
    bz_buf_init(&walk->high, BZ_STORE_KEY_MAX);
    return bz_cursor_open(view, map, &walk->cursor, error);
}

void bz_walk_release(struct bz_walk *walk)
{
    bz_cursor_close(walk->cursor);
    bz_buf_release(&walk->low);
    bz_buf_release(&walk->high);
    *walk = (struct bz_walk){0};
}

/* The bounds of a range as keys of the map. */
static int set_bounds(struct bz_walk *walk, const struct bz_key_range *range)
{
    bz_buf_clear(&walk->low);
    bz_buf_clear(&walk->high);
    bz_buf_append(&walk->low, walk->prefix, sizeof walk->prefix);
    bz_buf_append(&walk->low, range->low.data, range->low.size);
    if (range->high.size > 0) {
        bz_buf_append(&walk->high, walk->prefix, sizeof walk->prefix);
        bz_buf_append(&walk->high, range->high.data, range->high.size);
    } else {
        bz_buf_append32be(&walk->high, bz_load32be(walk->prefix) + 1);
    }
    return walk->low.error != 0 ? walk->low.error : walk->high.error;
}

/* To the first entry of the next range that the cursor can reach, in or out of its bounds. */
static int enter(struct bz_walk *walk, blaze_error *error)
{
    uint32_t place = walk->backwards ? walk->range_count - 1 - walk->done : walk->done;
    int rc = set_bounds(walk, &walk->ranges[place]);
    if (rc != 0)
        return bz_error_code(error, rc);
    walk->inside = true;
    if (!walk->backwards)
        return bz_cursor_seek(walk->cursor, bz_buf_bytes(&walk->low), error);
    /* From the first key past the range, or the end of the map, one back. */
    rc = bz_cursor_seek(walk->cursor, bz_buf_bytes(&walk->high), error);
    return rc != 0 && rc != BLAZE_END ? rc : bz_cursor_prev(walk->cursor, error);
}

static bool within(const struct bz_walk *walk)
{
    struct bz_bytes key = bz_cursor_key(walk->cursor);
    return walk->backwards ? bz_bytes_compare(key, bz_buf_bytes(&walk->low)) >= 0
                           : bz_bytes_compare(key, bz_buf_bytes(&walk->high)) < 0;
}

int bz_walk_next(struct bz_walk *walk, blaze_error *error)
{
    if (walk->held) {
        walk->held = false;
        return 0;
    }
    for (;;) {
        int rc;
        if (walk->inside)
            rc = walk->backwards ? bz_cursor_prev(walk->cursor, error)
                                 : bz_cursor_next(walk->cursor, error);
        else if (walk->done == walk->range_count)
            return BLAZE_END;
        else
            rc = enter(walk, error);
        if (rc == 0 && within(walk))
            return 0;
        if (rc != 0 && rc != BLAZE_END)
            return rc;
        walk->inside = false;
        walk->done++;
    }
}

void bz_walk_hold(struct bz_walk *walk)
{
    walk->held = true;
}

int bz_walk_id(const struct bz_walk *walk, blaze_id *id, blaze_error *error)
{
    struct bz_bytes key = bz_cursor_key(walk->cursor);
    if (key.size < sizeof walk->prefix + sizeof *id)
        return bz_error_set(error, BLAZE_ECORRUPT, "a key without an id");
    memcpy(id, key.data + key.size - sizeof *id, sizeof *id);
    return 0;
}
