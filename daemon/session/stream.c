/* See stream.h. */
#include "stream.h"

#include "tls.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

static_assert(STREAM_READ_MIN >= SSL3_RT_MAX_PLAIN_LENGTH, "a whole record");

void stream_init(struct stream *s)
{
    *s = (struct stream){.fd = -1};
}

void stream_open(struct stream *s, int fd)
{
    *s = (struct stream){.fd = fd};
}

void stream_close(struct stream *s)
{
    if (s->ssl && SSL_is_init_finished(s->ssl))
        SSL_shutdown(s->ssl);
    ERR_clear_error();
    SSL_free(s->ssl);
    if (s->fd >= 0)
        close(s->fd);
    stream_init(s);
}

int stream_secure(struct stream *s, struct tls *t)
{
    s->ssl = tls_begin(t, s->fd);
    return s->ssl ? 0 : -ENOMEM;
}

/* What a call on ssl that did not succeed means. */
static ssize_t failure(struct stream *s, int result, bool writing)
{
    int why = SSL_get_error(s->ssl, result), error = errno;

    if (why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE) {
        s->read_wants_out = !writing && why == SSL_ERROR_WANT_WRITE;
        s->write_wants_in = writing && why == SSL_ERROR_WANT_READ;
        return -EAGAIN;
    }
    if (why == SSL_ERROR_ZERO_RETURN)
        return 0;
    if (why == SSL_ERROR_SYSCALL && error && ERR_peek_error() == 0)
        return -error;
    return -EPROTO;
}

int stream_handshake(struct stream *s)
{
    int r;

    ERR_clear_error();
    errno = 0;
    s->read_wants_out = false;
    r = SSL_do_handshake(s->ssl);
    if (r == 1)
        return 0;
    r = (int)failure(s, r, false);
    return r == -EAGAIN ? r : -EPROTO;
}

/* As many records as fit whole: nothing of the last one stays behind that epoll would not tell of. */
static ssize_t read_tls(struct stream *s, uint8_t *at, size_t n)
{
    size_t got = 0, more;
    ssize_t r = -EAGAIN; /* until something else is seen */

    s->read_wants_out = false;
    while (got == 0 || n - got >= STREAM_READ_MIN) {
        int result;

        ERR_clear_error();
        errno = 0;
        result = SSL_read_ex(s->ssl, at + got, n - got, &more);
        if (result != 1) {
            r = failure(s, result, false);
            break;
        }
        got += more;
    }
    s->read_ends = got && r != -EAGAIN;
    return got ? (ssize_t)got : r;
}

ssize_t stream_read(struct stream *s, void *at, size_t n)
{
    ssize_t got;

    if (s->ssl)
        return read_tls(s, at, n);
    do
        got = recv(s->fd, at, n, MSG_DONTWAIT);
    while (got < 0 && errno == EINTR);
    return got < 0 ? -errno : got;
}

static ssize_t write_tls(struct stream *s, const void *at, size_t n)
{
    size_t done;
    int result;

    ERR_clear_error();
    errno = 0;
    s->write_wants_in = false;
    result = SSL_write_ex(s->ssl, at, n, &done);
    s->repeat = result == 1 ? 0 : n;
    if (result == 1)
        return (ssize_t)done;
    ssize_t r = failure(s, result, true);
    return r == 0 ? -EPIPE : r;
}

ssize_t stream_write(struct stream *s, const void *at, size_t n)
{
    ssize_t done;

    if (s->ssl)
        return write_tls(s, at, n);
    do
        done = send(s->fd, at, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (done < 0 && errno == EINTR);
    return done < 0 ? -errno : done;
}

/* Not SSL_has_pending: that counts half a record, of which the rest must come first. */
bool stream_has_more(const struct stream *s)
{
    return s->ssl && (s->read_ends || SSL_pending(s->ssl) > 0);
}

uint32_t stream_events(const struct stream *s, bool reads, bool writes)
{
    return ((reads && !s->read_wants_out) || (writes && s->write_wants_in) ? EPOLLIN : 0) |
           ((writes && !s->write_wants_in) || (reads && s->read_wants_out) ? EPOLLOUT : 0);
}
