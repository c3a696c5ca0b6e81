/* A connection, plain or TLS, and what waits to be written to it. */
#ifndef LOAD_STREAM_H
#define LOAD_STREAM_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>

struct stream {
    int fd;
    SSL *ssl; /* NULL: plain */
    /* Two things wait: a body that stands elsewhere and must stay there, and behind it small bytes of ours.
     */
    const char *body;
    size_t body_len;
    char *tail;
    size_t tail_at, tail_len, tail_size; /* tail_len bytes from tail_at on */
};

void stream_init(struct stream *s, int fd, SSL *ssl, size_t tail_size);
void stream_deinit(struct stream *s);

/* Bytes read; 0: nothing is there now. Fails at the end of the stream. */
size_t stream_read(struct stream *s, char *bytes, size_t size);

static inline bool stream_idle(const struct stream *s)
{
    return !s->body_len && !s->tail_len;
}

/* Only when the stream is idle. */
void stream_body(struct stream *s, const char *bytes, size_t len);
/* Room for len more bytes behind all that waits; the caller fills all of it. */
char *stream_tail(struct stream *s, size_t len);
/* Writes what goes. */
void stream_flush(struct stream *s);

#endif
