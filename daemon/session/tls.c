/*
 * OpenSSL tells why a handshake failed in three places: the certificate's verification (the most exact), an
 * alert of the server, and its error queue. The last two are caught by the info callback while they happen.
 */
#include "tls.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct tls {
    SSL_CTX *context;
    char *name;                /* for SNI; NULL: the host is an address (RFC 6066) */
    const char *alert, *error; /* static texts of OpenSSL's, of the present handshake */
};

/* 0 when the file can be opened and is a regular one: a FIFO would block OpenSSL, and us with it. */
static int check_regular(const char *file)
{
    struct stat st;
    int fd = open(file, O_RDONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);

    if (fd < 0)
        return -errno;
    int r = fstat(fd, &st) < 0 ? -errno : S_ISREG(st.st_mode) ? 0 : -EINVAL;
    close(fd);
    return r;
}

static int refuse_passphrase(char *buf, int size, int writing, void *self)
{
    return -1;
}

/* OpenSSL 3.0 has no words for the alerts that TLS 1.3 brought. */
static const char *alert_words(int value)
{
    switch (value & 0xff) {
    case SSL_AD_MISSING_EXTENSION:
        return "missing extension";
    case SSL_AD_CERTIFICATE_REQUIRED:
        return "certificate required";
    case SSL_AD_NO_APPLICATION_PROTOCOL:
        return "no application protocol";
    default:
        return SSL_alert_desc_string_long(value);
    }
}

static void on_info(const SSL *ssl, int where, int value)
{
    struct tls *t = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));

    if (!t)
        return;
    if (where & SSL_CB_HANDSHAKE_START)
        t->alert = t->error = NULL;
    else if ((where & SSL_CB_READ_ALERT) == SSL_CB_READ_ALERT && (value & 0xff) != SSL_AD_CLOSE_NOTIFY)
        t->alert = alert_words(value);
    else if ((where & SSL_CB_CONNECT_EXIT) == SSL_CB_CONNECT_EXIT && value <= 0 && ERR_peek_last_error() != 0)
        t->error = ERR_reason_error_string(ERR_peek_last_error());
}

static bool require_name(SSL_CTX *c, const char *host, bool literal)
{
    X509_VERIFY_PARAM *p = SSL_CTX_get0_param(c);

    X509_VERIFY_PARAM_set_hostflags(p, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return literal ? X509_VERIFY_PARAM_set1_ip_asc(p, host) == 1
                   : X509_VERIFY_PARAM_set1_host(p, host, 0) == 1;
}

static int set_up(struct tls *t, const char *ca_file, const char *host, bool literal)
{
    int r = check_regular(ca_file);

    if (r < 0)
        return r;
    t->context = SSL_CTX_new(TLS_client_method());
    if (!t->context)
        return -ENOMEM;
    SSL_CTX_set_app_data(t->context, t);
    SSL_CTX_set_info_callback(t->context, on_info);
    SSL_CTX_set_min_proto_version(t->context, TLS1_2_VERSION);
    SSL_CTX_set_options(t->context, SSL_OP_NO_RENEGOTIATION | SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_mode(t->context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                     SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_verify(t->context, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_default_passwd_cb(t->context, refuse_passphrase);
    if (SSL_CTX_load_verify_file(t->context, ca_file) != 1 || !require_name(t->context, host, literal))
        return -EINVAL;
    return 0;
}

int tls_new(struct tls **out, const char *ca_file, const char *host, bool literal)
{
    struct tls *t = calloc(1, sizeof(*t));

    if (!t)
        return -ENOMEM;
    t->name = literal ? NULL : strdup(host);
    int r = literal || t->name ? set_up(t, ca_file, host, literal) : -ENOMEM;
    ERR_clear_error();
    if (r < 0) {
        tls_free(t);
        return r;
    }
    *out = t;
    return 0;
}

void tls_free(struct tls *t)
{
    if (!t)
        return;
    if (t->context)
        SSL_CTX_set_app_data(t->context, NULL);
    SSL_CTX_free(t->context);
    free(t->name);
    free(t);
}

static int describe(int r, const char *file, const char *what, char *detail, size_t size)
{
    snprintf(detail, size, "%s: %s", file, what ? what : strerror(-r));
    ERR_clear_error();
    return r;
}

int tls_load_identity(struct tls *t, const char *cert_file, const char *key_file, char *detail, size_t size)
{
    int r = check_regular(cert_file);

    if (r < 0)
        return describe(r, cert_file, NULL, detail, size);
    if (SSL_CTX_use_certificate_chain_file(t->context, cert_file) != 1)
        return describe(-EINVAL, cert_file, "not a PEM certificate", detail, size);
    r = check_regular(key_file);
    if (r < 0)
        return describe(r, key_file, NULL, detail, size);
    if (SSL_CTX_use_PrivateKey_file(t->context, key_file, SSL_FILETYPE_PEM) != 1)
        return describe(-EINVAL, key_file, "not a PEM key without passphrase, or not that of the certificate",
                        detail, size);
    return 0;
}

SSL *tls_begin(struct tls *t, int fd)
{
    static const unsigned char alpn[] = "\x08http/1.1";
    SSL *ssl = SSL_new(t->context);

    if (!ssl)
        return NULL;
    if (SSL_set_fd(ssl, fd) != 1 || SSL_set_alpn_protos(ssl, alpn, sizeof(alpn) - 1) != 0 ||
        (t->name && SSL_set_tlsext_host_name(ssl, t->name) != 1)) {
        SSL_free(ssl);
        return NULL;
    }
    SSL_set_connect_state(ssl);
    return ssl;
}

/*
 * With TLS 1.3 the server may refuse our certificate when for us the handshake is over; its alert may still
 * lie in the socket when our first write has failed.
 */
static void read_late_alert(SSL *ssl)
{
    char scrap;

    SSL_peek(ssl, &scrap, 1);
    ERR_clear_error();
}

bool tls_failure(struct tls *t, SSL *ssl, char *detail, size_t size)
{
    long verified = SSL_get_verify_result(ssl);

    if (verified == X509_V_OK && !t->alert && !t->error && SSL_is_init_finished(ssl))
        read_late_alert(ssl);
    if (verified != X509_V_OK)
        snprintf(detail, size, "%s", X509_verify_cert_error_string(verified));
    else if (t->alert)
        snprintf(detail, size, "the server says: %s", t->alert);
    else if (t->error)
        snprintf(detail, size, "%s", t->error);
    else
        return false;
    return true;
}
