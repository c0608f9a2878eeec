/* SPDX-License-Identifier: Apache-2.0 */

/*
 * TLS 1.3 as a filter: ciphertext in by bz_tls_feed(), out to a queue; no sockets. It reads and
 * writes through a BIO of our own rather than OpenSSL's memory BIO, which copies once more and
 * never gives memory back.
 *
 * The certificate proves nothing and is not verified: both ends prove the database's access key
 * over the value of bz_tls_binding(), which only the two ends of this very handshake can know.
 */

#include "base/alloc.h"
#include "net/net_priv.h"

#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>

/* RFC 5705 wants "EXPORTER" in front; RFC 7301 wants lengths. */
#define BINDING_LABEL "EXPORTER-blazedb-session-1"
static const uint8_t alpn[] = "\x07"
                              "blaze/1";
#define ALPN_SIZE (sizeof alpn - 1)

struct bz_tls_context {
    SSL_CTX *ssl;
    bool server;
};

struct bz_tls {
    SSL *ssl;
    struct bz_bytes input;
    struct bz_queue *output;
    bool no_memory;
};

/* ---- The BIO between OpenSSL and us ---- */

static int bio_read(BIO *bio, char *data, size_t size, size_t *got)
{
    struct bz_tls *tls = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (tls->input.size == 0) {
        BIO_set_retry_read(bio);
        return 0;
    }
    *got = size < tls->input.size ? size : tls->input.size;
    memcpy(data, tls->input.data, *got);
    tls->input.data += *got;
    tls->input.size -= *got;
    return 1;
}

static int bio_write(BIO *bio, const char *data, size_t size, size_t *sent)
{
    struct bz_tls *tls = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (bz_queue_append(tls->output, bz_bytes(data, size)) != 0) {
        tls->no_memory = true;
        return 0;
    }
    *sent = size;
    return 1;
}

static long bio_control(BIO *bio, int command, long number, void *pointer)
{
    (void)bio;
    (void)number;
    (void)pointer;
    return command == BIO_CTRL_FLUSH;
}

/* Made once for the process. */
static BIO_METHOD *method;
static pthread_once_t method_once = PTHREAD_ONCE_INIT;

static void make_method(void)
{
    method = BIO_meth_new(BIO_TYPE_SOURCE_SINK, "blazedb queue");
    if (method != NULL) {
        BIO_meth_set_read_ex(method, bio_read);
        BIO_meth_set_write_ex(method, bio_write);
        BIO_meth_set_ctrl(method, bio_control);
    }
}

/* ---- Errors ---- */

/* What OpenSSL says was wrong, and forgets it. */
static int fail(blaze_error *error, int code, const char *what)
{
    unsigned long number = ERR_peek_error();
    const char *reason = number == 0 ? NULL : ERR_reason_error_string(number);
    if (ERR_GET_REASON(number) == ERR_R_MALLOC_FAILURE)
        code = BLAZE_ENOMEM;
    bz_error_set(error, code, "%s: %s", what, reason != NULL ? reason : "unexpected end");
    ERR_clear_error();
    return code;
}

/* ---- Contexts ---- */

static int select_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_size,
    const unsigned char *in, unsigned in_size, void *context)
{
    (void)ssl;
    (void)context;
    unsigned char *chosen;
    if (SSL_select_next_proto(&chosen, out_size, alpn, ALPN_SIZE, in, in_size) !=
        OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

static int new_context(struct bz_tls_context **out, bool server, blaze_error *error)
{
    struct bz_tls_context *context = bz_zalloc(sizeof *context);
    if (context == NULL)
        return bz_error_code(error, BLAZE_ENOMEM);
    context->server = server;
    context->ssl = SSL_CTX_new(server ? TLS_server_method() : TLS_client_method());
    if (context->ssl == NULL || SSL_CTX_set_min_proto_version(context->ssl, TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_alpn_protos(context->ssl, alpn, ALPN_SIZE) != 0) {
        bz_tls_context_free(context);
        return fail(error, BLAZE_ENOMEM, "set up TLS");
    }
    SSL_CTX_set_mode(context->ssl, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                       SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_options(context->ssl, SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_num_tickets(context->ssl, 0);
    SSL_CTX_set_session_cache_mode(context->ssl, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_verify(context->ssl, SSL_VERIFY_NONE, NULL);
    if (server)
        SSL_CTX_set_alpn_select_cb(context->ssl, select_alpn, NULL);
    *out = context;
    return 0;
}

void bz_tls_context_free(struct bz_tls_context *context)
{
    if (context == NULL)
        return;
    SSL_CTX_free(context->ssl);
    bz_free(context);
}

int bz_tls_client(struct bz_tls_context **out, blaze_error *error)
{
    return new_context(out, false, error);
}

/* A self-signed certificate for `key` that says nothing. */
static X509 *new_certificate(EVP_PKEY *key)
{
    X509 *x509 = X509_new();
    uint64_t serial = 0;
    if (x509 == NULL || RAND_bytes((uint8_t *)&serial, sizeof serial) != 1)
        goto failed;
    X509_NAME *name = X509_get_subject_name(x509);
    if (X509_set_version(x509, X509_VERSION_3) != 1 ||
        ASN1_INTEGER_set_uint64(X509_get_serialNumber(x509), serial >> 1 | 1) != 1 ||
        X509_gmtime_adj(X509_getm_notBefore(x509), -24 * 3600) == NULL ||
        X509_time_adj_ex(X509_getm_notAfter(x509), 3650, 0, NULL) == NULL ||
        X509_NAME_add_entry_by_txt(
            name, "CN", MBSTRING_ASC, (const uint8_t *)"blazedb", -1, -1, 0) != 1 ||
        X509_set_issuer_name(x509, name) != 1 || X509_set_pubkey(x509, key) != 1 ||
        X509_sign(x509, key, EVP_sha256()) == 0)
        goto failed;
    return x509;

failed:
    X509_free(x509);
    return NULL;
}

static int use_ephemeral(SSL_CTX *ssl, blaze_error *error)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = key == NULL ? NULL : new_certificate(key);
    int rc = 0;
    if (certificate == NULL || SSL_CTX_use_certificate(ssl, certificate) != 1 ||
        SSL_CTX_use_PrivateKey(ssl, key) != 1)
        rc = fail(error, BLAZE_EIO, "make a TLS certificate");
    X509_free(certificate);
    EVP_PKEY_free(key);
    return rc;
}

static int use_files(SSL_CTX *ssl, const char *certificate, const char *key, blaze_error *error)
{
    if (SSL_CTX_use_certificate_chain_file(ssl, certificate) != 1)
        return fail(error, BLAZE_EINVAL, certificate);
    if (SSL_CTX_use_PrivateKey_file(ssl, key, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_check_private_key(ssl) != 1)
        return fail(error, BLAZE_EINVAL, key);
    return 0;
}

int bz_tls_server(struct bz_tls_context **out, const char *certificate, const char *private_key,
    blaze_error *error)
{
    if ((certificate == NULL) != (private_key == NULL))
        return bz_error_set(
            error, BLAZE_EINVAL, "a TLS certificate and its private key go together");
    struct bz_tls_context *context;
    ERR_clear_error();
    int rc = new_context(&context, true, error);
    if (rc != 0)
        return rc;
    rc = certificate == NULL ? use_ephemeral(context->ssl, error)
                             : use_files(context->ssl, certificate, private_key, error);
    if (rc != 0) {
        bz_tls_context_free(context);
        return rc;
    }
    *out = context;
    return 0;
}

/* ---- A connection ---- */

int bz_tls_new(struct bz_tls **out, struct bz_tls_context *context, struct bz_queue *queue)
{
    struct bz_tls *tls = bz_zalloc(sizeof *tls);
    if (tls == NULL)
        return BLAZE_ENOMEM;
    tls->output = queue;
    pthread_once(&method_once, make_method);
    tls->ssl = SSL_new(context->ssl);
    BIO *bio = method == NULL ? NULL : BIO_new(method);
    if (tls->ssl == NULL || bio == NULL) {
        BIO_free(bio);
        bz_tls_free(tls);
        ERR_clear_error();
        return BLAZE_ENOMEM;
    }
    BIO_set_data(bio, tls);
    BIO_set_init(bio, 1);
    SSL_set_bio(tls->ssl, bio, bio);
    if (context->server)
        SSL_set_accept_state(tls->ssl);
    else
        SSL_set_connect_state(tls->ssl);
    *out = tls;
    return 0;
}

void bz_tls_free(struct bz_tls *tls)
{
    if (tls == NULL)
        return;
    SSL_free(tls->ssl);
    bz_free(tls);
}

void bz_tls_feed(struct bz_tls *tls, struct bz_bytes bytes)
{
    tls->input = bytes;
}

struct bz_bytes bz_tls_left(const struct bz_tls *tls)
{
    return tls->input;
}

/* What a call that gave `rc` means; BLAZE_END: more must come first. */
static int outcome(struct bz_tls *tls, int rc, const char *what, blaze_error *error)
{
    switch (SSL_get_error(tls->ssl, rc)) {
    case SSL_ERROR_NONE:
        return 0;
    case SSL_ERROR_WANT_READ:
        return BLAZE_END;
    case SSL_ERROR_ZERO_RETURN:
        return bz_error_set(error, BLAZE_ECLOSED, "closed by the other end");
    default:
        if (tls->no_memory)
            return bz_error_code(error, BLAZE_ENOMEM);
        return fail(error, BLAZE_EPROTO, what);
    }
}

int bz_tls_handshake(struct bz_tls *tls, blaze_error *error)
{
    ERR_clear_error();
    return outcome(tls, SSL_do_handshake(tls->ssl), "TLS 1.3 handshake", error);
}

int bz_tls_read(struct bz_tls *tls, void *data, size_t size, size_t *got, blaze_error *error)
{
    ERR_clear_error();
    size_t n = 0;
    int rc = outcome(tls, SSL_read_ex(tls->ssl, data, size, &n), "TLS record", error);
    if (rc < 0)
        return rc;
    *got = rc == BLAZE_END ? 0 : n;
    return 0;
}

int bz_tls_write(struct bz_tls *tls, struct bz_bytes data)
{
    ERR_clear_error();
    while (data.size > 0) {
        size_t n = 0;
        int rc = outcome(tls, SSL_write_ex(tls->ssl, data.data, data.size, &n), "TLS write", NULL);
        if (rc != 0)
            return rc < 0 ? rc : BLAZE_EPROTO;
        data.data += n;
        data.size -= n;
    }
    return 0;
}

void bz_tls_shutdown(struct bz_tls *tls)
{
    ERR_clear_error();
    SSL_shutdown(tls->ssl);
    ERR_clear_error();
}

int bz_tls_binding(struct bz_tls *tls, uint8_t out[BZ_STREAM_BINDING_SIZE])
{
    uint8_t value[BZ_STREAM_BINDING_SIZE];
    if (SSL_export_keying_material(tls->ssl, value, sizeof value, BINDING_LABEL,
            sizeof BINDING_LABEL - 1, NULL, 0, 0) != 1) {
        ERR_clear_error();
        return BLAZE_EPROTO;
    }
    memcpy(out, value, sizeof value);
    return 0;
}

size_t bz_tls_overhead(size_t size)
{
    /* A header, a content type and a tag for each record of at most 16 KiB. */
    return (size / 16384 + 1) * 22;
}
