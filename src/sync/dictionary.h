/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BZ_SYNC_DICTIONARY_H
#define BZ_SYNC_DICTIONARY_H

/*
 * Dictionaries of a session with a blind peer: what bodies are compressed with before they are
 * sealed, for a single one has nothing in it that repeats. The peer tells those that it has, sealed
 * by members as bodies are; where there is none, one is trained from the first bodies that are
 * sent, and told. Both sides keep them with the database, in their sealed form, and name them to
 * each other by its first bytes, so that each copy is told once.
 *
 * One thread at a time.
 */

#include "base/buf.h"
#include "base/error.h"

#define BZ_DICTIONARY_MAX    (32u << 10) /* bytes of one */
#define BZ_DICTIONARIES_MAX  64u         /* of a database */
#define BZ_DICTIONARY_SEALED (BZ_DICTIONARY_MAX + 64u)
#define BZ_DICTIONARY_LEAST  32u /* bytes of a sealed one */

#define BZ_DICTIONARY_NAME 4u /* bytes: how its sealed form begins */

struct bz_dictionary {
    uint32_t id;
    uint8_t name[BZ_DICTIONARY_NAME];
    struct bz_bytes bytes;         /* owned */
    struct ZSTD_CDict_s *compress; /* NULL: not needed yet, as the next */
    struct ZSTD_DDict_s *decompress;
};

struct bz_dictionaries {
    struct bz_dictionary list[BZ_DICTIONARIES_MAX];
    uint32_t count;
    uint32_t used; /* to compress with */
    bool mute;     /* with none, since the peer has it not and no room for another */
    bool tried;    /* training; once is enough */
    struct bz_buf samples;
    size_t *sizes; /* of each sample */
    uint32_t sampled;
};

void bz_dictionaries_init(struct bz_dictionaries *dictionaries);
void bz_dictionaries_release(struct bz_dictionaries *dictionaries);
/* Gives back what can be made again. */
void bz_dictionaries_rest(struct bz_dictionaries *dictionaries);

/* Takes a copy of a dictionary, and its name; one that is known is no error. BLAZE_EPROTO if it is
 * none, BLAZE_ELIMIT for too many, BLAZE_ENOMEM. */
int bz_dictionaries_add(struct bz_dictionaries *dictionaries, struct bz_bytes bytes,
    const uint8_t name[BZ_DICTIONARY_NAME]);

/* Takes a sample, and trains a dictionary once there are enough of them: *made is then the new
 * one, whose name is not known yet, else NULL. BLAZE_ENOMEM. */
int bz_dictionaries_sample(
    struct bz_dictionaries *dictionaries, struct bz_bytes sample, struct bz_dictionary **made);

/* What to compress with, the one `used`; NULL if there is none or memory is short. */
const struct ZSTD_CDict_s *bz_dictionaries_compress(struct bz_dictionaries *dictionaries);
/* BLAZE_EPROTO if there is no such dictionary, BLAZE_ENOMEM. */
int bz_dictionaries_decompress(
    struct bz_dictionaries *dictionaries, uint32_t id, const struct ZSTD_DDict_s **out);

#endif
