/* SPDX-License-Identifier: Apache-2.0 */
#include "sync/dictionary.h"

#include "base/alloc.h"

#include <zdict.h>
#include <zstd.h>

#define LEVEL          (-1) /* no Huffman codes: half the time, for 4 % more bytes of an order */
#define TRAINED_BYTES  (8u << 10) /* of a dictionary: each copy is told it once */
#define SAMPLES_MAX    1000u
#define SAMPLES_MIN    50u /* fewer teach nothing */
#define SAMPLE_BYTES   (256u << 10)
#define SAMPLE_LONGEST (8u << 10) /* longer bodies compress by themselves */

void bz_dictionaries_init(struct bz_dictionaries *d)
{
    *d = (struct bz_dictionaries){0};
    bz_buf_init(&d->samples, SAMPLE_BYTES + SAMPLE_LONGEST);
}

static void drop_samples(struct bz_dictionaries *d)
{
    bz_buf_release(&d->samples);
    bz_free(d->sizes);
    d->sizes = NULL;
    d->sampled = 0;
}

void bz_dictionaries_rest(struct bz_dictionaries *d)
{
    for (uint32_t i = 0; i < d->count; i++) {
        ZSTD_freeCDict(d->list[i].compress);
        ZSTD_freeDDict(d->list[i].decompress);
        d->list[i].compress = NULL;
        d->list[i].decompress = NULL;
    }
    drop_samples(d);
}

void bz_dictionaries_release(struct bz_dictionaries *d)
{
    bz_dictionaries_rest(d);
    for (uint32_t i = 0; i < d->count; i++)
        bz_free((void *)(uintptr_t)d->list[i].bytes.data);
    d->count = 0;
}

static struct bz_dictionary *find(struct bz_dictionaries *d, uint32_t id)
{
    for (uint32_t i = 0; i < d->count; i++) {
        if (d->list[i].id == id)
            return &d->list[i];
    }
    return NULL;
}

/* 0 if it is no dictionary. Its tables are read here, since later zstd does not tell one that is
 * damaged from want of memory. */
static uint32_t id_of(struct bz_bytes bytes)
{
    uint32_t id = bytes.size > BZ_DICTIONARY_MAX ? 0 : ZDICT_getDictID(bytes.data, bytes.size);
    return id == 0 || ZDICT_isError(ZDICT_getDictHeaderSize(bytes.data, bytes.size)) ? 0 : id;
}

int bz_dictionaries_add(
    struct bz_dictionaries *d, struct bz_bytes bytes, const uint8_t name[BZ_DICTIONARY_NAME])
{
    uint32_t id = id_of(bytes);
    if (id == 0)
        return BLAZE_EPROTO;
    if (find(d, id) != NULL)
        return 0;
    if (d->count == BZ_DICTIONARIES_MAX)
        return BLAZE_ELIMIT;
    uint8_t *copy = bz_malloc(bytes.size);
    if (copy == NULL)
        return BLAZE_ENOMEM;
    memcpy(copy, bytes.data, bytes.size);
    struct bz_dictionary *added = &d->list[d->count++];
    *added = (struct bz_dictionary){.id = id, .bytes = bz_bytes(copy, bytes.size)};
    memcpy(added->name, name, sizeof added->name);
    return 0;
}

/* From the samples that there are; no dictionary is made of such as have nothing in common. */
static int train(struct bz_dictionaries *d)
{
    static const uint8_t none[BZ_DICTIONARY_NAME];
    uint8_t *bytes = bz_malloc(TRAINED_BYTES);
    if (bytes == NULL)
        return BLAZE_ENOMEM;
    int rc = 0;
    size_t size =
        ZDICT_trainFromBuffer(bytes, TRAINED_BYTES, d->samples.data, d->sizes, d->sampled);
    if (!ZDICT_isError(size))
        rc = bz_dictionaries_add(d, bz_bytes(bytes, size), none);
    bz_free(bytes);
    return rc == BLAZE_EPROTO ? 0 : rc;
}

int bz_dictionaries_sample(
    struct bz_dictionaries *d, struct bz_bytes sample, struct bz_dictionary **made)
{
    *made = NULL;
    if (d->tried || d->mute || d->count > 0 || sample.size > SAMPLE_LONGEST)
        return 0;
    if (d->sizes == NULL)
        d->sizes = bz_malloc(SAMPLES_MAX * sizeof *d->sizes);
    bz_buf_append(&d->samples, sample.data, sample.size);
    if (d->sizes == NULL || d->samples.error != 0)
        return BLAZE_ENOMEM;
    d->sizes[d->sampled++] = sample.size;
    if (d->sampled < SAMPLES_MAX && (d->samples.size < SAMPLE_BYTES || d->sampled < SAMPLES_MIN))
        return 0;
    d->tried = true;
    int rc = train(d);
    drop_samples(d);
    if (rc == 0 && d->count > 0)
        *made = &d->list[0];
    return rc;
}

const struct ZSTD_CDict_s *bz_dictionaries_compress(struct bz_dictionaries *d)
{
    if (d->count == 0 || d->mute)
        return NULL;
    struct bz_dictionary *used = &d->list[d->used];
    if (used->compress == NULL)
        used->compress = ZSTD_createCDict(used->bytes.data, used->bytes.size, LEVEL);
    return used->compress;
}

int bz_dictionaries_decompress(
    struct bz_dictionaries *d, uint32_t id, const struct ZSTD_DDict_s **out)
{
    struct bz_dictionary *found = find(d, id);
    if (found == NULL)
        return BLAZE_EPROTO;
    if (found->decompress == NULL)
        found->decompress = ZSTD_createDDict(found->bytes.data, found->bytes.size);
    *out = found->decompress;
    return found->decompress == NULL ? BLAZE_ENOMEM : 0;
}
