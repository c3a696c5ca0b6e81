#include "upstream.h"
#include "failure.h"

#include <errno.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <unistd.h>

static SSL_CTX *tls_context(const char *cert, const char *key)
{
    SSL_CTX *c = SSL_CTX_new(TLS_server_method());

    errno = 0;
    if (!c || SSL_CTX_use_certificate_chain_file(c, cert) != 1 ||
        SSL_CTX_use_PrivateKey_file(c, key, SSL_FILETYPE_PEM) != 1)
        fail("the certificate %s with its key %s", cert, key);
    SSL_CTX_set_mode(c, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    return c;
}

static void start_wait(struct publisher *p, const struct dialect *dialect)
{
    struct pollfd fds[] = {{.fd = STDIN_FILENO, .events = POLLIN},
                           {.fd = p->websocket.stream.fd, .events = POLLIN}};

    while (!fds[0].revents) {
        if (poll(fds, 2, -1) < 0) {
            deadline_check("the line `start PID ADDRESS`");
            fds[0].revents = 0;
        } else if (fds[1].revents) {
            dialect->input(p);
            stream_flush(&p->websocket.stream);
        }
    }
}

struct start upstream_open(struct publisher *p, const struct dialect *dialect, const struct options *options)
{
    struct start start;
    SSL_CTX *tls = options->cert ? tls_context(options->cert, options->key) : NULL;

    *p = (struct publisher){.websocket.stream.fd = -1};
    if (dialect->accepts) {
        int listener = link_listen();

        dialect->open(p, link_accept(listener), tls);
        close(listener);
        start_wait(p, dialect);
        start = start_read();
    } else {
        start = start_read();
        dialect->open(p, link_connect(start.address), NULL);
    }
    SSL_CTX_free(tls);
    return start;
}
