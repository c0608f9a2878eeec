/* SPDX-License-Identifier: Apache-2.0 */
/* Join codes and stream URLs: what is read can be written and reads back as the same. */
#include "crypto/keys.h"
#include "net/net.h"

#include <stdlib.h>

static void check(bool holds)
{
    if (!holds)
        abort();
}

static void try_url(const char *text)
{
    struct bz_url url;
    struct bz_url back;
    char written[BZ_URL_SIZE];
    blaze_error error;
    if (bz_url_parse(&url, text, &error) != 0)
        return;
    bz_url_format(&url, written);
    check(bz_url_parse(&back, written, &error) == 0);
    check(back.kind == url.kind && back.port == url.port && strcmp(back.host, url.host) == 0);
}

static void try_join(const char *text)
{
    struct bz_join join;
    struct bz_join back;
    struct bz_buf out;
    blaze_error error;
    if (bz_join_parse(&join, text, &error) != 0)
        return;
    bz_buf_init(&out, 4096);
    check(bz_join_format(&out, &join, &error) == 0);
    bz_buf_append8(&out, 0);
    check(bz_join_parse(&back, (const char *)out.data, &error) == 0);
    check(strcmp(back.url, join.url) == 0);
    check(memcmp(&back.database, &join.database, sizeof back.database) == 0);
    check(memcmp(&back.secret, &join.secret, sizeof back.secret) == 0);
    bz_buf_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    if (text == NULL)
        return 0;
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    try_url(text);
    try_join(text);
    free(text);
    return 0;
}
