/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a blind node hands out, at the side that opens it (docs/format/sealed.md). The first byte
 * says what the rest is:
 *
 *   0, 1, 2  a body, a name, a dictionary as it came: nobody sealed it
 *   3        the padded body, sealed by a member
 *   4, 5     the content of one, in clear, and in a zstd frame as it is
 *   6        tag and padded name, sealed by a member
 *   7        a dictionary by a member, then padded bodies that may use it
 *   8        a text that was sealed as a body, a name and a dictionary, each changed in one bit
 *
 * What nobody sealed does not open. What a member sealed opens as it was; whatever it is, a
 * document that comes out of it is one, in names of ours.
 */
#include "codec/doc.h"
#include "crypto/aead.h"
#include "crypto/record_seal.h"
#include "peer/member.h"
#include "peer/seal.h"
#include "require.h"
#include "sync/form.h"
#include "sync/frame.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NAMES_OURS 5 /* there already, so that numbers are other ones here */

static const blaze_id writer = {{1, 2, 3}};

/* ---- a member, and its tables ---- */

static struct {
    struct bz_keys keys;
    void *sealer;
    struct bz_aead *names; /* seals what no honest member would */
} member;

static void member_begin(void)
{
    static const blaze_id database = {{7}};
    if (member.sealer != NULL)
        return;
    memset(&member.keys.content, 1, sizeof member.keys.content);
    memset(&member.keys.name, 2, sizeof member.keys.name);
    REQUIRE(bz_seal_ops.begin(&member.keys, &database, &member.sealer) == 0);
    REQUIRE(bz_aead_new_for(&member.names, member.keys.name.bytes,
                bz_bytes(database.bytes, sizeof database.bytes), "blazedb v1 name seal") == 0);
}

struct reader {
    struct blaze_names *names;
    struct bz_dictionaries dictionaries;
    struct bz_form form;
    struct bz_form again;
    struct bz_buf sealed, plain;
};

static void reader_init(struct reader *r)
{
    uint32_t number;
    REQUIRE(bz_names_new(&r->names) == 0);
    for (char name[] = "a"; name[0] < 'a' + NAMES_OURS; name[0]++)
        REQUIRE(bz_names_add(r->names, bz_bytes_text(name), &number) == 0);
    bz_dictionaries_init(&r->dictionaries);
    bz_form_init(&r->form);
    bz_form_init(&r->again);
    r->form.dictionaries = r->again.dictionaries = &r->dictionaries;
    bz_buf_init(&r->sealed, BZ_FRAME_MAX);
    bz_buf_init(&r->plain, BZ_FRAME_MAX);
}

static void reader_release(struct reader *r)
{
    bz_names_unref(r->names);
    bz_dictionaries_release(&r->dictionaries);
    bz_form_release(&r->form);
    bz_form_release(&r->again);
    bz_buf_release(&r->sealed);
    bz_buf_release(&r->plain);
}

static int number_of(void *context, struct bz_bytes name, uint32_t *out)
{
    struct reader *r = context;
    return bz_names_add(r->names, name, out);
}

static int name_of(void *context, uint32_t number, struct bz_bytes *out)
{
    struct reader *r = context;
    *out = bz_names_get(r->names, number);
    return out->data != NULL ? 0 : BLAZE_ENOTFOUND;
}

/* ---- what nobody sealed ---- */

static void refuse_body(struct reader *r, struct bz_bytes more, struct bz_bytes sealed)
{
    bz_buf_clear(&r->plain);
    int rc = bz_seal_ops.open_body(member.sealer, &writer, more, sealed, &r->plain);
    bool known = sealed.size < BZ_BODY_SEAL || sealed.data[0] == 0;
    REQUIRE(rc == (known ? BLAZE_ECORRUPT : BLAZE_EVERSION) && r->plain.size == 0);
}

static void refuse_name(struct reader *r, enum bz_term term, struct bz_bytes sealed)
{
    bz_buf_clear(&r->plain);
    REQUIRE(bz_seal_ops.open_name(member.sealer, term, sealed, &r->plain) == BLAZE_ECORRUPT);
    REQUIRE(r->plain.size == 0);
}

/* ---- bodies ---- */

/* Reads a form that any member may have made. */
static void read_form(struct reader *r, struct bz_bytes form)
{
    struct bz_bytes body, back;
    struct bz_buf written;
    int rc = bz_form_read(&r->form, form, number_of, r, &body);
    REQUIRE(rc == 0 || rc == BLAZE_EPROTO);
    if (rc != 0 || body.size == 0)
        return;
    REQUIRE(bz_doc_check(body, bz_names_count(r->names)) == 0);
    bz_buf_init(&written, BZ_FRAME_MAX);
    REQUIRE(bz_form_write(&r->again, body, name_of, r, &written) == 0);
    REQUIRE(bz_form_padded(written.size) == written.size);
    REQUIRE(bz_form_read(&r->again, bz_buf_bytes(&written), number_of, r, &back) == 0);
    REQUIRE(bz_bytes_equal(body, back));
    bz_buf_release(&written);
}

static void open_body(struct reader *r, struct bz_bytes plain)
{
    struct bz_bytes more = bz_bytes_text("where it stands");
    bz_buf_clear(&r->sealed);
    bz_buf_clear(&r->plain);
    REQUIRE(bz_seal_ops.seal_body(member.sealer, &writer, more, plain, &r->sealed) == 0);
    struct bz_bytes sealed = bz_buf_bytes(&r->sealed);
    REQUIRE(bz_seal_ops.open_body(member.sealer, &writer, more, sealed, &r->plain) == 0);
    REQUIRE(bz_bytes_equal(bz_buf_bytes(&r->plain), plain));
    read_form(r, plain);
}

static void pad(struct bz_buf *form, bool compressed)
{
    bz_buf_append8(form, 0x80 | compressed);
    while (form->size != bz_form_padded(form->size))
        bz_buf_append8(form, 0);
}

/* A zstd frame without its magic: one segment, its size in two bytes, one block as it is. */
static void frame(struct bz_buf *out, struct bz_bytes content)
{
    uint8_t head[6] = {0x60};
    uint32_t block = (uint32_t)content.size << 3 | 1;
    bz_store16le(head + 1, (uint16_t)(content.size - 256));
    for (int i = 0; i < 3; i++)
        head[3 + i] = (uint8_t)(block >> 8 * i);
    bz_buf_append(out, head, sizeof head);
    bz_buf_append(out, content.data, content.size);
}

static void open_content(struct reader *r, struct bz_bytes content, bool compressed)
{
    struct bz_buf form;
    if (compressed && (content.size < 256 || content.size > 60000))
        return;
    bz_buf_init(&form, BZ_FRAME_MAX);
    if (compressed)
        frame(&form, content);
    else
        bz_buf_append(&form, content.data, content.size);
    pad(&form, compressed);
    open_body(r, bz_buf_bytes(&form));
    bz_buf_release(&form);
}

/* ---- names ---- */

/* Tag and padded name as somebody who has the key might make them. */
static void open_name(struct reader *r, struct bz_bytes bytes)
{
    struct bz_buf again;
    if (bytes.size < BZ_NAME_TAG)
        return;
    struct bz_bytes plain = bz_bytes(bytes.data + BZ_NAME_TAG, bytes.size - BZ_NAME_TAG);
    bz_buf_clear(&r->sealed);
    bz_buf_clear(&r->plain);
    bz_buf_append(&r->sealed, bytes.data, BZ_NAME_TAG);
    uint8_t *p = bz_buf_reserve(&r->sealed, plain.size + BZ_AEAD_TAG);
    REQUIRE(p != NULL);
    REQUIRE(bz_aead_seal(member.names, bytes.data, bz_bytes("f", 1), plain, p) == 0);
    bz_buf_advance(&r->sealed, plain.size + BZ_AEAD_TAG);
    struct bz_bytes sealed = bz_buf_bytes(&r->sealed);
    int rc = bz_seal_ops.open_name(member.sealer, BZ_TERM_FIELD, sealed, &r->plain);
    REQUIRE(rc == 0 || rc == BLAZE_ECORRUPT);
    if (rc != 0)
        return;
    bz_buf_init(&again, 1000);
    REQUIRE(
        bz_seal_ops.seal_name(member.sealer, BZ_TERM_FIELD, bz_buf_bytes(&r->plain), &again) == 0);
    REQUIRE(again.size == sealed.size && memcmp(again.data, sealed.data, BZ_NAME_TAG) == 0);
    bz_buf_release(&again);
}

/* ---- dictionaries ---- */

static struct bz_bytes next_part(struct bz_reader *left)
{
    size_t size = bz_read8(left);
    size |= (size_t)bz_read8(left) << 8;
    return bz_read_bytes(left, size < bz_reader_left(left) ? size : bz_reader_left(left));
}

static void open_dictionary(struct reader *r, struct bz_bytes bytes)
{
    struct bz_reader left = bz_reader(bytes);
    struct bz_bytes plain = next_part(&left);
    bz_buf_clear(&r->sealed);
    bz_buf_clear(&r->plain);
    REQUIRE(bz_seal_ops.seal_name(member.sealer, BZ_TERM_DICTIONARY, plain, &r->sealed) == 0);
    struct bz_bytes sealed = bz_buf_bytes(&r->sealed);
    REQUIRE(bz_seal_ops.open_name(member.sealer, BZ_TERM_DICTIONARY, sealed, &r->plain) == 0);
    REQUIRE(bz_bytes_equal(bz_buf_bytes(&r->plain), plain));
    int rc = bz_dictionaries_add(&r->dictionaries, plain, sealed.data);
    REQUIRE(rc == 0 || rc == BLAZE_EPROTO);
    while (bz_reader_left(&left) > 2)
        open_body(r, next_part(&left));
}

/* ---- changes ---- */

static void change_each(struct reader *r, struct bz_bytes bytes)
{
    if (bytes.size < 3 || bytes.size > 200)
        return;
    struct bz_bytes text = bz_bytes(bytes.data + 2, bytes.size - 2);
    static const enum bz_term terms[] = {BZ_TERM_COLLECTION, BZ_TERM_FIELD, BZ_TERM_DICTIONARY};
    size_t at = bz_load16le(bytes.data);
    for (int i = 0; i < 4; i++) {
        bz_buf_clear(&r->sealed);
        int rc = i < 3 ? bz_seal_ops.seal_name(member.sealer, terms[i], text, &r->sealed)
                       : bz_seal_ops.seal_body(member.sealer, &writer, text, text, &r->sealed);
        REQUIRE(rc == 0);
        r->sealed.data[at / 8 % r->sealed.size] ^= (uint8_t)(1u << at % 8);
        if (i < 3)
            refuse_name(r, terms[i], bz_buf_bytes(&r->sealed));
        else
            refuse_body(r, text, bz_buf_bytes(&r->sealed));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct reader r;
    if (size == 0)
        return 0;
    struct bz_bytes bytes = bz_bytes(data + 1, size - 1);
    member_begin();
    reader_init(&r);
    switch (data[0] % 9) {
    case 0:
        refuse_body(&r, bz_bytes_text(""), bytes);
        break;
    case 1:
        refuse_name(&r, size % 2 ? BZ_TERM_COLLECTION : BZ_TERM_FIELD, bytes);
        break;
    case 2:
        refuse_name(&r, BZ_TERM_DICTIONARY, bytes);
        break;
    case 3:
        open_body(&r, bytes);
        break;
    case 4:
    case 5:
        open_content(&r, bytes, data[0] % 9 == 5);
        break;
    case 6:
        open_name(&r, bytes);
        break;
    case 7:
        open_dictionary(&r, bytes);
        break;
    default:
        change_each(&r, bytes);
    }
    reader_release(&r);
    return 0;
}
