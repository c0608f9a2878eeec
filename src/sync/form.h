/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_SYNC_FORM_H
#define BZ_SYNC_FORM_H

/*
 * The form in which a body is sealed: it has with it the names that its numbers stand for, for a
 * blind node between sender and receiver does not know them; it is compressed where that makes it
 * smaller; and its size says little, for it is padded (docs/format/sealed.md).
 *
 *   content  nothing (an empty body), or
 *            names: varint count, then for each, numbers ascending: varint distance of the number,
 *            sized name; and the document, whose names are these numbers
 *            compressed: a zstd frame of that, without its magic; the frame tells the size and the
 *            dictionary, if there is one
 *   1        0x80, + 1 if compressed
 *   zeros    up to the PADMÉ size of it all
 *
 * Bodies of one kind have the same names: whoever writes or reads one after the other keeps what
 * the last ones came to.
 *
 * One thread at a time.
 */

#include "base/buf.h"
#include "base/error.h"
#include "sync/dictionary.h"

struct bz_form_names {
    uint32_t *numbers; /* as they were met, again and again; a writer's */
    uint32_t *theirs;  /* ascending; a reader's */
    uint32_t *ours;
    uint32_t count, capacity;
    uint32_t next; /* where the name after the one looked up last is: bodies have them in order */
    bool renamed;  /* some number is another one here */
    bool known;    /* `table` is that of the last body */
    struct bz_buf table;
};

struct bz_form {
    struct ZSTD_CCtx_s *compressor;
    struct ZSTD_DCtx_s *decompressor;
    struct bz_dictionaries *dictionaries; /* borrowed; NULL: none are used */
    struct bz_form_names written;
    struct bz_form_names read;
    struct bz_buf content;
    struct bz_buf packed;
    struct bz_buf renamed;
};

void bz_form_init(struct bz_form *form);
void bz_form_release(struct bz_form *form);

/* PADMÉ (Nikitin and others, 2019): the smallest size not below `size` whose binary digits after
 * the first log2(log2(size)) + 2 are zero; at most 12 % more. */
size_t bz_form_padded(size_t size);

/* Replaces *out by the form of `body`, a checked document or empty. name() gives what a number
 * stands for. What name() fails with, BLAZE_ENOMEM, BLAZE_ELIMIT. */
int bz_form_write(struct bz_form *form, struct bz_bytes body,
    int (*name)(void *context, uint32_t number, struct bz_bytes *out), void *context,
    struct bz_buf *out);

/* The content of the body written last, as it was before it was compressed; empty for an empty
 * body. */
struct bz_bytes bz_form_content(const struct bz_form *form);

/* Reads a form, hostile or not: *body is a checked document in our numbers, or empty, borrowed
 * until the next call. number() gives ours for a name. BLAZE_EPROTO, what number() fails with,
 * BLAZE_ENOMEM. */
int bz_form_read(struct bz_form *form, struct bz_bytes bytes,
    int (*number)(void *context, struct bz_bytes name, uint32_t *out), void *context,
    struct bz_bytes *body);

#endif
