#include "stream.h"
#include "failure.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

void stream_init(struct stream *s, int fd, SSL *ssl, size_t tail_size)
{
    *s = (struct stream){.fd = fd, .ssl = ssl, .tail = malloc(tail_size), .tail_size = tail_size};
    if (!s->tail)
        fail("no memory");
}

void stream_deinit(struct stream *s)
{
    SSL_free(s->ssl);
    free(s->tail);
    if (s->fd >= 0)
        close(s->fd);
    *s = (struct stream){.fd = -1};
}

/* Fails unless it only has to wait. */
static void tls_check(const struct stream *s, int r)
{
    int error = SSL_get_error(s->ssl, r);

    if (r != 1 && error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE)
        fail("TLS: error %d, %s", error, ERR_error_string(ERR_peek_error(), NULL));
}

size_t stream_read(struct stream *s, char *bytes, size_t size)
{
    ssize_t n;

    if (s->ssl) {
        size_t got = 0, more = 1;

        /* One call gives one TLS record at most. */
        while (got < size && more) {
            more = 0;
            tls_check(s, SSL_read_ex(s->ssl, bytes + got, size - got, &more));
            got += more;
        }
        return got;
    }
    n = recv(s->fd, bytes, size, MSG_DONTWAIT);
    if (n > 0)
        return (size_t)n;
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    fail("a connection was closed%s", n == 0 ? " by the peer" : "");
}

void stream_body(struct stream *s, const char *bytes, size_t len)
{
    s->body = bytes;
    s->body_len = len;
}

char *stream_tail(struct stream *s, size_t len)
{
    char *room;

    if (s->tail_at + s->tail_len + len > s->tail_size) {
        memmove(s->tail, s->tail + s->tail_at, s->tail_len);
        s->tail_at = 0;
    }
    if (s->tail_len + len > s->tail_size) {
        s->tail_size = 2 * (s->tail_len + len);
        s->tail = realloc(s->tail, s->tail_size);
        if (!s->tail)
            fail("no memory");
    }
    room = s->tail + s->tail_at + s->tail_len;
    s->tail_len += len;
    return room;
}

static size_t write_some(struct stream *s, const char *bytes, size_t len)
{
    ssize_t n;

    if (s->ssl) {
        size_t sent = 0;

        tls_check(s, SSL_write_ex(s->ssl, bytes, len, &sent));
        return sent;
    }
    n = send(s->fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n >= 0)
        return (size_t)n;
    if (errno == EAGAIN || errno == EINTR)
        return 0;
    fail("a connection cannot be written to");
}

void stream_flush(struct stream *s)
{
    while (s->body_len) {
        size_t n = write_some(s, s->body, s->body_len);

        if (!n)
            return;
        s->body += n;
        s->body_len -= n;
    }
    while (s->tail_len) {
        size_t n = write_some(s, s->tail + s->tail_at, s->tail_len);

        if (!n)
            return;
        s->tail_at += n;
        s->tail_len -= n;
    }
    s->tail_at = 0;
}
