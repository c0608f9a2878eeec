/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of frames that partial replicas have: the scope in RESUME, markers in CHANGES. */
#include "sync/frame.h"

enum { SCOPE_WHOLE = 1, SCOPE_EMPTY = 2 };

/* ---- RESUME ---- */

void bz_resume_scope_encode(struct bz_buf *out, const struct bz_resume *resume)
{
    bz_buf_append_sized(out, resume->scope);
    if (resume->scope.size == 0)
        return;
    bz_buf_append8(
        out, (uint8_t)((resume->whole ? SCOPE_WHOLE : 0) | (resume->empty ? SCOPE_EMPTY : 0)));
    bz_buf_append_varint(out, resume->held);
    bz_buf_append_sized(out, resume->before);
}

int bz_resume_scope_decode(struct bz_reader *r, struct bz_resume *out)
{
    out->whole = out->empty = false;
    out->held = 0;
    out->before = bz_bytes(NULL, 0);
    out->scope = bz_read_sized(r);
    if (!r->ok || out->scope.size == 0)
        return r->ok ? 0 : BLAZE_EPROTO;
    uint8_t flags = bz_read8(r);
    out->whole = (flags & SCOPE_WHOLE) != 0;
    out->empty = (flags & SCOPE_EMPTY) != 0;
    out->held = bz_read_varint(r);
    out->before = bz_read_sized(r);
    if (!r->ok || bz_scope_check(out->scope) != 0)
        return BLAZE_EPROTO;
    return bz_scope_check(out->before);
}

/* ---- markers ---- */

void bz_marker_append(struct bz_buf *out, const struct bz_marker *marker)
{
    bz_buf_append_varint(out, marker->collection);
    bz_buf_append(out, &marker->id, sizeof marker->id);
    bz_buf_append_varint(out, marker->rvv.count);
    for (uint32_t i = 0; i < marker->rvv.count; i++) {
        bz_buf_append_varint(out, marker->rvv.entries[i].node);
        bz_buf_append_varint(out, marker->rvv.entries[i].seq);
    }
}

int bz_body_markers(struct bz_body_reader *body)
{
    body->left = bz_read_varint(&body->reader);
    return body->reader.ok ? 0 : BLAZE_EPROTO;
}

static int read_rvv(struct bz_reader *r, struct bz_arena *arena, struct bz_vv *out)
{
    uint64_t count = bz_read_varint(r);
    /* An entry has two bytes at least: what is not there is not allocated. */
    if (!r->ok || count == 0 || count > BZ_REC_MAX_NODES || count > bz_reader_left(r) / 2)
        return BLAZE_EPROTO;
    struct bz_dot *entries = bz_arena_alloc(arena, count * sizeof *entries);
    if (entries == NULL)
        return BLAZE_ENOMEM;
    uint64_t last = 0;
    for (uint64_t i = 0; i < count; i++) {
        uint64_t node = bz_read_varint(r);
        uint64_t seq = bz_read_varint(r);
        if (!r->ok || node >= BZ_TERMS_DEFINED_MAX || seq == 0 || (i > 0 && node <= last))
            return BLAZE_EPROTO;
        entries[i] = (struct bz_dot){(uint32_t)node, seq};
        last = node;
    }
    *out = (struct bz_vv){entries, (uint32_t)count};
    return 0;
}

int bz_body_next_marker(struct bz_body_reader *body, struct bz_arena *arena, struct bz_marker *out)
{
    if (body->left == 0)
        return BLAZE_END;
    body->left--;
    struct bz_marker marker;
    uint64_t collection = bz_read_varint(&body->reader);
    struct bz_bytes id = bz_read_bytes(&body->reader, sizeof marker.id);
    if (!body->reader.ok || collection >= BZ_TERMS_DEFINED_MAX)
        return BLAZE_EPROTO;
    marker.collection = (uint32_t)collection;
    memcpy(&marker.id, id.data, sizeof marker.id);
    int rc = read_rvv(&body->reader, arena, &marker.rvv);
    if (rc == 0)
        *out = marker;
    return rc;
}
