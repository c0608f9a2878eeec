/* SPDX-License-Identifier: Apache-2.0 */

/*
 * Join codes, written and read; keys.h describes them. What a code says of the address is only
 * translated here between its two spellings: whether it is a good one is for `net` to say.
 */

#include "base/alloc.h"
#include "base/text.h"
#include "crypto/keys.h"

#include <openssl/evp.h>

enum { CODE_VERSION = 1, CODE_SECRET = 1, CODE_CHECKSUM = 33, CODE_SIZE = 37 };

static const struct scheme {
    const char *code;
    const char *stream;
    bool path; /* percent-encoded in the code */
} schemes[] = {
    {"blaze://", "tcp://", false},
    {"blaze+unix://", "unix:", true},
    {"blaze+mem://", "mem:", true},
};

static const struct scheme *scheme_of(const char *text, size_t offset)
{
    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++) {
        const char *prefix = offset == 0 ? schemes[i].code : schemes[i].stream;
        if (strncmp(text, prefix, strlen(prefix)) == 0)
            return &schemes[i];
    }
    return NULL;
}

static int checksum(uint8_t out[4], const blaze_id *database, const uint8_t *code)
{
    static const char label[] = "blazedb join code";
    uint8_t input[sizeof label - 1 + sizeof database->bytes + CODE_CHECKSUM];
    uint8_t digest[EVP_MAX_MD_SIZE];
    uint8_t *p = input;
    memcpy(p, label, sizeof label - 1);
    p += sizeof label - 1;
    memcpy(p, database->bytes, sizeof database->bytes);
    p += sizeof database->bytes;
    memcpy(p, code, CODE_CHECKSUM);
    int ok = EVP_Q_digest(NULL, "SHA256", NULL, input, sizeof input, digest, NULL);
    memcpy(out, digest, 4);
    bz_wipe(input, sizeof input);
    return ok == 1 ? 0 : BLAZE_ENOMEM;
}

/* ---- Paths in a URL ---- */

static bool plain_in_path(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           strchr("/-._~", c) != NULL;
}

static void append_escaped(struct bz_buf *out, const char *path)
{
    for (; *path != '\0'; path++) {
        if (plain_in_path(*path))
            bz_buf_append8(out, (uint8_t)*path);
        else
            bz_buf_printf(out, "%%%02X", (unsigned)(uint8_t)*path);
    }
}

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Appends `size` characters of `text` to the string in `out`, undoing the escapes of a path. */
static int copy_address(char *out, size_t room, const char *text, size_t size, bool path)
{
    size_t used = 0;
    for (size_t i = 0; i < size; i++) {
        int c = (uint8_t)text[i];
        if (path && c == '%') {
            int high = i + 2 < size ? hex_digit(text[i + 1]) : -1;
            int low = i + 2 < size ? hex_digit(text[i + 2]) : -1;
            if (high < 0 || low < 0)
                return BLAZE_ESYNTAX;
            c = high << 4 | low;
            i += 2;
        }
        if (c == '\0' || used + 1 >= room)
            return BLAZE_ESYNTAX;
        out[used++] = (char)c;
    }
    out[used] = '\0';
    return 0;
}

/* ---- Writing ---- */

int bz_join_format(struct bz_buf *out, const struct bz_join *join, blaze_error *error)
{
    const struct scheme *scheme = scheme_of(join->url, 1);
    if (scheme == NULL)
        return bz_error_set(
            error, BLAZE_EINVAL, "%s: no join code can be made for such a URL", join->url);

    uint8_t code[CODE_SIZE] = {CODE_VERSION};
    memcpy(code + CODE_SECRET, join->secret.bytes, sizeof join->secret.bytes);
    int rc = checksum(code + CODE_CHECKSUM, &join->database, code);
    if (rc != 0) {
        bz_error_code(error, rc);
        goto done;
    }

    const char *address = join->url + strlen(scheme->stream);
    char id[BLAZE_ID_TEXT_SIZE];
    bz_buf_append(out, scheme->code, strlen(scheme->code));
    if (scheme->path)
        append_escaped(out, address);
    else
        bz_buf_append(out, address, strlen(address));
    bz_buf_printf(out, "/%s#", blaze_id_format(&join->database, id));
    bz_base64_append(out, bz_bytes(code, sizeof code), true);
    rc = out->error;
    if (rc != 0)
        bz_error_code(error, rc);

done:
    bz_wipe(code, sizeof code);
    return rc;
}

/* ---- Reading ---- */

static int not_a_code(blaze_error *error, const char *why)
{
    return bz_error_set(error, BLAZE_ESYNTAX,
        "not a join code: %s; expected blaze://HOST:PORT/DATABASE#CODE as `share` printed it", why);
}

static int damaged(blaze_error *error)
{
    return bz_error_set(error, BLAZE_ESYNTAX,
        "the join code is damaged: its checksum does not match; copy it again in full");
}

/* The part after '#'. */
static int read_code(struct bz_join *join, const char *text, blaze_error *error)
{
    uint8_t sum[4];
    struct bz_buf code;
    bz_buf_init(&code, 1024);
    int rc = bz_base64_decode(&code, bz_bytes_text(text), true);
    if (rc == BLAZE_ENOMEM) {
        bz_error_code(error, rc);
        goto done;
    }
    if (rc != 0 || code.size < CODE_SIZE) {
        rc = damaged(error);
        goto done;
    }
    if (code.size == CODE_SIZE) {
        rc = checksum(sum, &join->database, code.data);
        if (rc != 0) {
            bz_error_code(error, rc);
            goto done;
        }
        if (!bz_secret_equal(sum, code.data + CODE_CHECKSUM, sizeof sum)) {
            rc = damaged(error);
            goto done;
        }
    }
    if (code.data[0] != CODE_VERSION) {
        rc = bz_error_set(error, BLAZE_EVERSION,
            "a join code of version %u; this library reads version %d", code.data[0], CODE_VERSION);
        goto done;
    }
    if (code.size != CODE_SIZE) {
        rc = damaged(error);
        goto done;
    }
    memcpy(join->secret.bytes, code.data + CODE_SECRET, sizeof join->secret.bytes);

done:
    if (code.data != NULL)
        bz_wipe(code.data, code.size);
    bz_buf_release(&code);
    return rc;
}

int bz_join_parse(struct bz_join *out, const char *code, blaze_error *error)
{
    const struct scheme *scheme = scheme_of(code, 0);
    if (scheme == NULL)
        return not_a_code(error, "it does not begin with blaze://");
    const char *address = code + strlen(scheme->code);
    const char *hash = strchr(address, '#');
    if (hash == NULL)
        return not_a_code(error, "there is no #CODE at its end");

    /* The database is the last component, whatever slashes a path before it has. */
    const char *slash = hash;
    while (slash > address && *slash != '/')
        slash--;
    if (slash == address)
        return not_a_code(error, "it names no address and database");
    size_t id_size = (size_t)(hash - slash - 1);

    struct bz_join join = {0};
    char id[BLAZE_ID_TEXT_SIZE] = "";
    if (id_size < sizeof id)
        memcpy(id, slash + 1, id_size);
    if (blaze_id_parse(&join.database, id) != 0)
        return not_a_code(error, "what stands before # is no database id");

    size_t prefix = strlen(scheme->stream);
    memcpy(join.url, scheme->stream, prefix);
    if (copy_address(join.url + prefix, sizeof join.url - prefix, address,
            (size_t)(slash - address), scheme->path) != 0)
        return not_a_code(error, "its address is malformed");

    int rc = read_code(&join, hash + 1, error);
    if (rc == 0)
        *out = join;
    bz_wipe(&join, sizeof join);
    return rc;
}
