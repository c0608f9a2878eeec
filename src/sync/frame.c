/* SPDX-License-Identifier: Apache-2.0 */
#include "sync/frame.h"

#include "sync/dictionary.h"

#include "base/utf8.h"

#include <blazedb/value.h>

static const uint8_t magic[4] = {'B', 'L', 'Z', 'S'};

enum { HELLO_ENROLS = 1, HELLO_BLIND = 2 };
enum { ENROL_ACCESS = 0, ENROL_SECRET = 1 };
enum { PROOF_MEMBER = 1 };
enum { GOODBYE_FINAL = 1 };
enum { ACK_LACKS = 1 };
enum { PACE_LAZY = 1 };
enum { HEAD_PARTIAL = 1, HEAD_SCOPED = 2, HEAD_CLAIMS = 4 };
enum {
    CHUNK_ZSTD = 1,
    CHUNK_MORE = 2,
    CHUNK_LZ4 = 4,
    CHUNK_ON = 8,
    CHUNK_MARKERS = 16,
    CHUNK_OPENING = 32
};

int bz_frame_peek(struct bz_bytes input, uint8_t *type, struct bz_bytes *payload, size_t *size)
{
    *type = 0;
    *size = 0;
    size_t prefix = 0;
    while (prefix < input.size && input.data[prefix] >= 0x80)
        prefix++;
    if (prefix >= 5)
        return BLAZE_EPROTO; /* far beyond any limit */
    if (prefix == input.size)
        return BLAZE_END;
    struct bz_reader r = bz_reader(input);
    uint64_t length = bz_read_varint(&r);
    if (!r.ok || length == 0)
        return BLAZE_EPROTO;
    *size = prefix + 1 + (size_t)length;
    if (bz_reader_left(&r) > 0)
        *type = *r.p;
    if (bz_reader_left(&r) < length)
        return BLAZE_END;
    *payload = bz_bytes(r.p + 1, (size_t)length - 1);
    return 0;
}

void bz_frame_append(struct bz_buf *out, uint8_t type, struct bz_bytes payload)
{
    bz_frame_append_parts(out, type, payload, bz_bytes(NULL, 0));
}

void bz_frame_append_parts(
    struct bz_buf *out, uint8_t type, struct bz_bytes first, struct bz_bytes second)
{
    bz_buf_append_varint(out, first.size + second.size + 1);
    bz_buf_append8(out, type);
    bz_buf_append(out, first.data, first.size);
    bz_buf_append(out, second.data, second.size);
}

static int verdict(const struct bz_reader *r)
{
    return r->ok ? 0 : BLAZE_EPROTO;
}

void bz_hello_encode(struct bz_buf *out, const struct bz_hello *hello)
{
    bz_buf_append(out, magic, sizeof magic);
    bz_buf_append_varint(out, hello->version_min);
    bz_buf_append_varint(out, hello->version_max);
    bz_buf_append_varint(out, hello->features);
    bz_buf_append_varint(out, hello->challenge);
    bz_buf_append8(
        out, (uint8_t)((hello->enrols ? HELLO_ENROLS : 0) | (hello->blind ? HELLO_BLIND : 0)));
    bz_buf_append8(out, hello->role);
    bz_buf_append(out, &hello->database, sizeof hello->database);
    bz_buf_append(out, &hello->node, sizeof hello->node);
    bz_buf_append(out, &hello->epoch, sizeof hello->epoch);
    bz_buf_append(out, hello->nonce, sizeof hello->nonce);
}

int bz_hello_decode(struct bz_bytes payload, struct bz_hello *out)
{
    struct bz_reader r = bz_reader(payload);
    struct bz_hello hello = {0};
    if (!bz_bytes_equal(bz_read_bytes(&r, sizeof magic), bz_bytes(magic, sizeof magic)))
        return BLAZE_EPROTO;
    hello.version_min = bz_read_varint(&r);
    hello.version_max = bz_read_varint(&r);
    hello.features = bz_read_varint(&r);
    hello.challenge = bz_read_varint(&r);
    uint8_t flags = bz_read8(&r);
    hello.enrols = (flags & HELLO_ENROLS) != 0;
    hello.blind = (flags & HELLO_BLIND) != 0;
    hello.role = bz_read8(&r);
    bz_read_into(&r, &hello.database, sizeof hello.database);
    bz_read_into(&r, &hello.node, sizeof hello.node);
    bz_read_into(&r, &hello.epoch, sizeof hello.epoch);
    bz_read_into(&r, hello.nonce, sizeof hello.nonce);
    if (!r.ok || hello.version_min > hello.version_max)
        return BLAZE_EPROTO;
    *out = hello;
    return 0;
}

void bz_enrol_encode(struct bz_buf *out, const struct bz_enrol *enrol)
{
    bz_buf_append(out, &enrol->database, sizeof enrol->database);
    bz_buf_append8(out, enrol->secret ? ENROL_SECRET : ENROL_ACCESS);
    bz_buf_append(out, enrol->key, sizeof enrol->key);
}

int bz_enrol_decode(struct bz_bytes payload, struct bz_enrol *out)
{
    struct bz_reader r = bz_reader(payload);
    bz_read_into(&r, &out->database, sizeof out->database);
    uint8_t kind = bz_read8(&r);
    out->secret = kind == ENROL_SECRET;
    bz_read_into(&r, out->key, sizeof out->key);
    return kind <= ENROL_SECRET ? verdict(&r) : BLAZE_EPROTO;
}

void bz_proof_encode(struct bz_buf *out, const struct bz_proof *proof)
{
    bz_buf_append8(out, proof->member ? PROOF_MEMBER : 0);
    bz_buf_append(out, proof->access_mac, sizeof proof->access_mac);
    if (proof->member)
        bz_buf_append(out, proof->member_mac, sizeof proof->member_mac);
}

int bz_proof_decode(struct bz_bytes payload, struct bz_proof *out)
{
    struct bz_reader r = bz_reader(payload);
    *out = (struct bz_proof){.member = (bz_read8(&r) & PROOF_MEMBER) != 0};
    bz_read_into(&r, out->access_mac, sizeof out->access_mac);
    if (out->member)
        bz_read_into(&r, out->member_mac, sizeof out->member_mac);
    return verdict(&r);
}

void bz_welcome_encode(struct bz_buf *out, const struct bz_welcome *welcome)
{
    bz_buf_append_varint(out, welcome->position);
    bz_buf_append_varint(out, welcome->chunk);
    bz_buf_append_varint(out, welcome->window);
    bz_buf_append_sized(out, welcome->dictionaries);
}

int bz_welcome_decode(struct bz_bytes payload, struct bz_welcome *out)
{
    struct bz_reader r = bz_reader(payload);
    out->position = bz_read_varint(&r);
    out->chunk = bz_read_varint(&r);
    out->window = bz_read_varint(&r);
    out->dictionaries = bz_reader_left(&r) > 0 ? bz_read_sized(&r) : bz_bytes(NULL, 0);
    if (out->dictionaries.size % BZ_DICTIONARY_NAME != 0)
        return BLAZE_EPROTO;
    return r.ok && out->chunk > 0 && out->window > 0 ? 0 : BLAZE_EPROTO;
}

void bz_goodbye_encode(struct bz_buf *out, const struct bz_goodbye *goodbye)
{
    bz_buf_append_varint(out, (uint64_t) - (int64_t)goodbye->code);
    bz_buf_append8(out, goodbye->final ? GOODBYE_FINAL : 0);
    bz_buf_append_sized(out, bz_bytes_text(goodbye->reason));
}

static bool known_code(uint64_t negated)
{
    switch (-(int64_t)negated) {
    case BLAZE_OK:
#define CASE(name, number, text) case number:
        BLAZE_ERRORS(CASE)
#undef CASE
        return true;
    default:
        return false;
    }
}

int bz_goodbye_decode(struct bz_bytes payload, struct bz_goodbye *out)
{
    struct bz_reader r = bz_reader(payload);
    struct bz_goodbye goodbye = {0};
    uint64_t negated = bz_read_varint(&r);
    goodbye.code = negated < 10000 && known_code(negated) ? -(int)negated : BLAZE_EPROTO;
    goodbye.final = (bz_read8(&r) & GOODBYE_FINAL) != 0;
    struct bz_bytes text = bz_read_sized(&r);
    if (!r.ok)
        return BLAZE_EPROTO;
    if (text.size > BZ_GOODBYE_TEXT_MAX || !bz_utf8_valid(text))
        text.size = 0;
    for (size_t i = 0; i < text.size; i++)
        goodbye.reason[i] = text.data[i] < ' ' || text.data[i] == 0x7f ? ' ' : (char)text.data[i];
    *out = goodbye;
    return 0;
}

static void append_trail(struct bz_buf *out, const struct bz_trail *trail)
{
    bz_buf_append8(out, (uint8_t)trail->count);
    for (uint32_t i = 0; i < trail->count; i++) {
        bz_buf_append_varint(out, trail->marks[i].start);
        bz_buf_append64le(out, trail->marks[i].id);
    }
}

void bz_resume_encode(struct bz_buf *out, const struct bz_resume *resume)
{
    bz_buf_append_varint(out, resume->round);
    bz_buf_append(out, &resume->epoch, sizeof resume->epoch);
    bz_buf_append_varint(out, resume->position);
    bz_buf_append_varint(out, resume->as_of);
    bz_buf_append_varint(out, resume->reached);
    bz_buf_append_sized(out, resume->summary);
    append_trail(out, &resume->trail);
    bz_resume_scope_encode(out, resume);
}

int bz_resume_decode(struct bz_bytes payload, struct bz_resume *out)
{
    struct bz_reader r = bz_reader(payload);
    out->round = bz_read_varint(&r);
    bz_read_into(&r, &out->epoch, sizeof out->epoch);
    out->position = bz_read_varint(&r);
    out->as_of = bz_read_varint(&r);
    out->reached = bz_read_varint(&r);
    out->summary = bz_read_sized(&r);
    if (!bz_trail_read(&r, out->as_of, &out->trail) || out->position > out->as_of ||
        out->reached > out->position || bz_resume_scope_decode(&r, out) != 0)
        return BLAZE_EPROTO;
    /* Read through once, so that a summary is taken whole or not at all. */
    struct bz_bytes rest = out->summary;
    blaze_id node;
    uint64_t seq;
    int rc;
    while ((rc = bz_summary_next(&rest, &node, &seq)) == 0)
        ;
    return rc == BLAZE_END ? 0 : rc;
}

void bz_summary_append(struct bz_buf *out, const blaze_id *node, uint64_t seq)
{
    bz_buf_append(out, node, sizeof *node);
    bz_buf_append_varint(out, seq);
}

int bz_summary_next(struct bz_bytes *summary, blaze_id *node, uint64_t *seq)
{
    if (summary->size == 0)
        return BLAZE_END;
    struct bz_reader r = bz_reader(*summary);
    bz_read_into(&r, node, sizeof *node);
    *seq = bz_read_varint(&r);
    *summary = bz_bytes(r.p, bz_reader_left(&r));
    return verdict(&r);
}

void bz_ack_encode(struct bz_buf *out, const struct bz_ack *ack)
{
    bz_buf_append_varint(out, ack->chunks);
    bz_buf_append_varint(out, ack->position);
    bz_buf_append_varint(out, ack->window);
    bz_buf_append_varint(out, ack->waiting);
    if (ack->lacks)
        bz_buf_append8(out, ACK_LACKS);
}

int bz_ack_decode(struct bz_bytes payload, struct bz_ack *out)
{
    struct bz_reader r = bz_reader(payload);
    out->chunks = bz_read_varint(&r);
    out->position = bz_read_varint(&r);
    out->window = bz_read_varint(&r);
    out->waiting = bz_read_varint(&r);
    uint8_t flags = bz_reader_left(&r) > 0 ? bz_read8(&r) : 0;
    out->lacks = (flags & ACK_LACKS) != 0;
    return r.ok && out->window > 0 ? 0 : BLAZE_EPROTO;
}

void bz_ping_encode(struct bz_buf *out, uint64_t number)
{
    bz_buf_append_varint(out, number);
}

int bz_ping_decode(struct bz_bytes payload, uint64_t *number)
{
    struct bz_reader r = bz_reader(payload);
    *number = bz_read_varint(&r);
    return verdict(&r);
}

void bz_have_append(struct bz_buf *out, const struct bz_have *have)
{
    bz_buf_append_varint(out, have->index);
    if (have->named)
        bz_buf_append(out, &have->node, sizeof have->node);
    bz_buf_append_varint(out, have->advance);
}

int bz_have_next(struct bz_bytes *payload, uint32_t known, struct bz_have *out)
{
    if (payload->size == 0)
        return BLAZE_END;
    struct bz_reader r = bz_reader(*payload);
    struct bz_have have = {0};
    uint64_t index = bz_read_varint(&r);
    if (!r.ok || index > known || index >= BZ_HAVE_MAX)
        return BLAZE_EPROTO;
    have.index = (uint32_t)index;
    have.named = index == known;
    if (have.named)
        bz_read_into(&r, &have.node, sizeof have.node);
    have.advance = bz_read_varint(&r);
    if (!r.ok || have.advance == 0)
        return BLAZE_EPROTO;
    *payload = bz_bytes(r.p, bz_reader_left(&r));
    *out = have;
    return 0;
}

void bz_pace_encode(struct bz_buf *out, bool lazy)
{
    bz_buf_append8(out, lazy ? PACE_LAZY : 0);
}

int bz_pace_decode(struct bz_bytes payload, bool *lazy)
{
    struct bz_reader r = bz_reader(payload);
    *lazy = (bz_read8(&r) & PACE_LAZY) != 0;
    return verdict(&r);
}

static const uint8_t packing_flags[] = {
    [BZ_PACKING_NONE] = 0,
    [BZ_PACKING_LZ4] = CHUNK_LZ4,
    [BZ_PACKING_ZSTD] = CHUNK_ZSTD,
    [BZ_PACKING_ZSTD_ON] = CHUNK_ZSTD | CHUNK_ON,
};

/* False if no packing has these flags. */
static bool packing_of(uint8_t flags, enum bz_packing *out)
{
    for (size_t i = 0; i < sizeof packing_flags; i++) {
        if (packing_flags[i] == flags) {
            *out = (enum bz_packing)i;
            return true;
        }
    }
    return false;
}

void bz_chunk_encode(struct bz_buf *out, const struct bz_chunk *chunk)
{
    bz_buf_append8(out, (uint8_t)(packing_flags[chunk->packing] | (chunk->more ? CHUNK_MORE : 0) |
                                  (chunk->markers ? CHUNK_MARKERS : 0) |
                                  (chunk->openings.count > 0 ? CHUNK_OPENING : 0)));
    bz_buf_append_varint(out, chunk->round);
    bz_buf_append_varint(out, chunk->from);
    bz_buf_append_varint(out, chunk->to);
    if (chunk->more)
        bz_buf_append_varint(out, chunk->as_of);
    if (chunk->packing != BZ_PACKING_NONE)
        bz_buf_append_varint(out, chunk->raw_size);
    if (chunk->openings.count > 0)
        append_trail(out, &chunk->openings);
    bz_buf_append(out, chunk->body.data, chunk->body.size);
}

int bz_chunk_decode(struct bz_bytes payload, struct bz_chunk *out)
{
    struct bz_reader r = bz_reader(payload);
    uint8_t flags = bz_read8(&r);
    *out = (struct bz_chunk){
        .more = (flags & CHUNK_MORE) != 0, .markers = (flags & CHUNK_MARKERS) != 0};
    bool known =
        packing_of((uint8_t)(flags & ~(CHUNK_MORE | CHUNK_MARKERS | CHUNK_OPENING)), &out->packing);
    out->round = bz_read_varint(&r);
    out->from = bz_read_varint(&r);
    out->to = bz_read_varint(&r);
    out->as_of = out->more ? bz_read_varint(&r) : out->to;
    if (out->packing != BZ_PACKING_NONE)
        out->raw_size = bz_read_varint(&r);
    if ((flags & CHUNK_OPENING) != 0)
        known &= bz_trail_read(&r, out->as_of, &out->openings) && out->openings.count > 0;
    out->body = bz_bytes(r.p, bz_reader_left(&r));
    if (out->packing == BZ_PACKING_NONE)
        out->raw_size = out->body.size;
    bool sane =
        known && out->from <= out->to && out->to <= out->as_of && out->raw_size <= BZ_FRAME_MAX;
    return r.ok && sane ? 0 : BLAZE_EPROTO;
}

/* ---- the body of a chunk ---- */

void bz_definition_append(struct bz_buf *out, const struct bz_definition *definition)
{
    bz_buf_append8(out, (uint8_t)definition->term);
    bz_buf_append_varint(out, definition->number);
    bz_buf_append_sized(out, definition->meaning);
}

void bz_record_append(struct bz_buf *out, const struct bz_record *record)
{
    bz_buf_append_varint(out, record->collection + (record->untold ? BZ_TERMS_DEFINED_MAX : 0));
    bz_buf_append(out, &record->id, sizeof record->id);
    bz_buf_append_sized(out, record->rec);
}

void bz_body_encode(struct bz_buf *out, uint64_t definitions, struct bz_bytes defined,
    uint64_t records, struct bz_bytes recorded)
{
    bz_buf_append_varint(out, definitions);
    bz_buf_append(out, defined.data, defined.size);
    bz_buf_append_varint(out, records);
    bz_buf_append(out, recorded.data, recorded.size);
}

static int read_count(struct bz_body_reader *body)
{
    body->left = bz_read_varint(&body->reader);
    return verdict(&body->reader);
}

int bz_body_definitions(struct bz_body_reader *body, struct bz_bytes bytes, bool opaque)
{
    body->opaque = opaque;
    body->reader = bz_reader(bytes);
    return read_count(body);
}

static bool meaning_valid(enum bz_term term, struct bz_bytes meaning, bool opaque)
{
    if (term == BZ_TERM_NODE)
        return meaning.size == sizeof(blaze_id);
    if (term == BZ_TERM_DICTIONARY)
        return opaque && meaning.size >= BZ_DICTIONARY_LEAST &&
               meaning.size <= BZ_DICTIONARY_SEALED;
    if (opaque)
        return meaning.size >= 1 && meaning.size <= BZ_NAME_OPAQUE_MAX;
    return meaning.size >= 1 && meaning.size <= BLAZE_MAX_NAME && bz_utf8_valid(meaning) &&
           memchr(meaning.data, 0, meaning.size) == NULL;
}

int bz_body_next_definition(struct bz_body_reader *body, struct bz_definition *out)
{
    if (body->left == 0)
        return BLAZE_END;
    body->left--;
    uint8_t term = bz_read8(&body->reader);
    uint64_t number = bz_read_varint(&body->reader);
    struct bz_bytes meaning = bz_read_sized(&body->reader);
    if (!body->reader.ok || term > BZ_TERM_DICTIONARY || number >= BZ_TERMS_DEFINED_MAX ||
        !meaning_valid((enum bz_term)term, meaning, body->opaque))
        return BLAZE_EPROTO;
    *out = (struct bz_definition){(enum bz_term)term, (uint32_t)number, meaning};
    return 0;
}

int bz_body_records(struct bz_body_reader *body)
{
    return read_count(body);
}

int bz_body_next_record(struct bz_body_reader *body, struct bz_record *out)
{
    if (body->left == 0)
        return BLAZE_END;
    body->left--;
    uint64_t collection = bz_read_varint(&body->reader);
    bz_read_into(&body->reader, &out->id, sizeof out->id);
    out->rec = bz_read_sized(&body->reader);
    if (!body->reader.ok || collection >= 2 * BZ_TERMS_DEFINED_MAX)
        return BLAZE_EPROTO;
    out->untold = collection >= BZ_TERMS_DEFINED_MAX;
    out->collection = (uint32_t)collection % BZ_TERMS_DEFINED_MAX;
    return 0;
}

void bz_head_append(struct bz_buf *out, const struct bz_body_head *head, uint64_t entries)
{
    bz_buf_append8(
        out, (uint8_t)((head->partial ? HEAD_PARTIAL : 0) | (head->scoped ? HEAD_SCOPED : 0) |
                       (head->claims ? HEAD_CLAIMS : 0)));
    bz_buf_append_varint(out, head->records);
    bz_buf_append64le(out, head->digest.low);
    bz_buf_append64le(out, head->digest.high);
    bz_buf_append_varint(out, entries);
}

void bz_head_append_entry(struct bz_buf *out, struct bz_dot entry)
{
    bz_buf_append_varint(out, entry.node);
    bz_buf_append_varint(out, entry.seq);
}

int bz_body_head(struct bz_body_reader *body, struct bz_body_head *out)
{
    uint8_t flags = bz_read8(&body->reader);
    if ((flags & ~(HEAD_PARTIAL | HEAD_SCOPED | HEAD_CLAIMS)) != 0)
        return BLAZE_EPROTO;
    out->partial = (flags & HEAD_PARTIAL) != 0;
    out->scoped = (flags & HEAD_SCOPED) != 0;
    out->claims = (flags & HEAD_CLAIMS) != 0;
    out->records = bz_read_varint(&body->reader);
    out->digest.low = bz_read64le(&body->reader);
    out->digest.high = bz_read64le(&body->reader);
    return read_count(body);
}

int bz_body_next_entry(struct bz_body_reader *body, struct bz_dot *out)
{
    if (body->left == 0)
        return BLAZE_END;
    body->left--;
    uint64_t node = bz_read_varint(&body->reader);
    uint64_t seq = bz_read_varint(&body->reader);
    if (!body->reader.ok || node >= BZ_TERMS_DEFINED_MAX || seq == 0)
        return BLAZE_EPROTO;
    *out = (struct bz_dot){(uint32_t)node, seq};
    return 0;
}

int bz_body_end(struct bz_body_reader *body)
{
    return body->reader.ok && bz_reader_left(&body->reader) == 0 ? 0 : BLAZE_EPROTO;
}
