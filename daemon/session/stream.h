/*
 * A byte stream over a connected socket, plain or TLS. Never blocks: -EAGAIN, and stream_events says what to
 * wait for. Who waits for TLS must look at stream_has_more as well: what lies in OpenSSL's buffers does not
 * make the socket readable.
 */
#ifndef IMD_STREAM_H
#define IMD_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct ssl_st;
struct tls;

struct stream {
    int fd;              /* -1: closed */
    struct ssl_st *ssl;  /* NULL: plain */
    bool read_wants_out; /* TLS must write before it can read on */
    bool write_wants_in; /* and the other way round */
    bool read_ends;      /* an end was seen behind bytes: the next read tells it */
    size_t repeat; /* a write of so many bytes was put off: the next one must begin with the same bytes */
};

void stream_init(struct stream *s);
void stream_open(struct stream *s, int fd); /* takes fd over */
void stream_close(struct stream *s);        /* with TLS' goodbye, if that can be said; twice is fine */

/* From here on it is TLS. 0 or -ENOMEM; then stream_handshake until it gives 0. */
int stream_secure(struct stream *s, struct tls *t);
int stream_handshake(struct stream *s); /* 0, -EAGAIN, or -EPROTO: tls_failure knows more */

/*
 * The number of bytes; 0: the peer has ended it; -EAGAIN; -EPROTO: TLS; another negative errno. Who
 * reads less than STREAM_READ_MIN at a time may leave something of a TLS record behind.
 */
#define STREAM_READ_MIN ((size_t)16 << 10)
ssize_t stream_read(struct stream *s, void *at, size_t n);
ssize_t stream_write(struct stream *s, const void *at, size_t n);
bool stream_has_more(const struct stream *s); /* to be read, without the socket */

/* What epoll is to watch for who wants to read, or has something to write that was put off. */
uint32_t stream_events(const struct stream *s, bool reads, bool writes);

#endif
