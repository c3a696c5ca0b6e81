#include "websocket.h"
#include "failure.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_MAX (64u << 10)
#define REQUEST_MAX 8192
#define MESSAGE_MAX (4u << 20)

enum opcode { CONTINUATION = 0, TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10 };

/* ---- Upgrade ---- */

/* One byte after the other, so that nothing behind the request is taken. */
static void request_read(struct websocket *w, char *request)
{
    size_t len = 0;

    while (len < REQUEST_MAX - 1) {
        char *at = request + len;
        ssize_t n = w->stream.ssl ? SSL_read(w->stream.ssl, at, 1) : read(w->stream.fd, at, 1);

        if (n != 1) {
            deadline_check("a whole upgrade request");
            fail("the upgrade request is cut short");
        }
        request[++len] = '\0';
        if (len >= 4 && memcmp(request + len - 4, "\r\n\r\n", 4) == 0)
            return;
    }
    fail("the upgrade request is too long");
}

static void accept_value(const char *request, char value[64])
{
    static const char KEY[] = "\nSec-WebSocket-Key:", MAGIC[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    const char *key = strcasestr(request, KEY);
    unsigned char digest[EVP_MAX_MD_SIZE];
    char text[128];
    unsigned len;

    errno = 0;
    if (!key)
        fail("the upgrade request has no key");
    key += sizeof KEY - 1;
    key += strspn(key, " ");
    snprintf(text, sizeof text, "%.*s%s", (int)strcspn(key, " \r"), key, MAGIC);
    if (!EVP_Digest(text, strlen(text), digest, &len, EVP_sha1(), NULL))
        fail("SHA-1");
    EVP_EncodeBlock((unsigned char *)value, digest, (int)len);
}

static SSL *tls_accept(int fd, SSL_CTX *context)
{
    SSL *ssl = SSL_new(context);

    if (!ssl || !SSL_set_fd(ssl, fd) || SSL_accept(ssl) != 1)
        fail("TLS handshake");
    return ssl;
}

void websocket_accept(struct websocket *w, int fd, SSL_CTX *tls)
{
    char request[REQUEST_MAX], value[64], answer[256];
    int one = 1, len;

    *w = (struct websocket){.in_size = READ_MAX};
    stream_init(&w->stream, fd, tls ? tls_accept(fd, tls) : NULL, READ_MAX);
    w->in = malloc(w->in_size);
    if (!w->in)
        fail("no memory");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    request_read(w, request);
    accept_value(request, value);
    len = snprintf(answer, sizeof answer,
                   "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                   "Sec-WebSocket-Accept: %s\r\n\r\n",
                   value);
    if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
        fail("fcntl");
    memcpy(stream_tail(&w->stream, (size_t)len), answer, (size_t)len);
    stream_flush(&w->stream);
}

void websocket_deinit(struct websocket *w)
{
    stream_deinit(&w->stream);
    free(w->in);
    free(w->whole);
    *w = (struct websocket){.stream.fd = -1};
}

/* ---- Frames ---- */

size_t websocket_header(char *to, size_t len)
{
    size_t n = len < 126 ? 0 : len < 65536 ? 2 : 8;

    to[0] = (char)(0x80 | BINARY);
    to[1] = (char)(n == 0 ? len : n == 2 ? 126 : 127);
    for (size_t i = 0; i < n; i++)
        to[2 + i] = (char)(len >> (8 * (n - 1 - i)));
    return 2 + n;
}

static void unmask(char *bytes, size_t len, const char mask[4])
{
    uint64_t wide, word;
    size_t i = 0;

    memcpy(&wide, mask, 4);
    memcpy((char *)&wide + 4, mask, 4);
    for (; i + 8 <= len; i += 8) {
        memcpy(&word, bytes + i, 8);
        word ^= wide;
        memcpy(bytes + i, &word, 8);
    }
    for (; i < len; i++)
        bytes[i] = (char)(bytes[i] ^ mask[i & 3]);
}

static void fragment_keep(struct websocket *w, const char *bytes, size_t len)
{
    errno = 0;
    if (w->whole_len + len > MESSAGE_MAX)
        fail("a message of more than %u bytes", MESSAGE_MAX);
    if (w->whole_len + len > w->whole_size) {
        w->whole_size = 2 * (w->whole_len + len);
        w->whole = realloc(w->whole, w->whole_size);
        if (!w->whole)
            fail("no memory");
    }
    memcpy(w->whole + w->whole_len, bytes, len);
    w->whole_len += len;
}

static void frame_take(struct websocket *w, unsigned first, char *bytes, size_t len, websocket_taker *take)
{
    bool final = first & 0x80;
    unsigned opcode = first & 0x0f;

    if (opcode == PING && len < 126) {
        char *pong = stream_tail(&w->stream, 2 + len);

        pong[0] = (char)(0x80 | PONG);
        pong[1] = (char)len;
        memcpy(pong + 2, bytes, len);
        return;
    }
    if (opcode == PONG)
        return;
    errno = 0;
    if (opcode != CONTINUATION && opcode != BINARY)
        fail("the peer sent a frame of kind %u%s", opcode, opcode == CLOSE ? ", a close" : "");
    if (!final || w->whole_len) {
        fragment_keep(w, bytes, len);
        if (!final)
            return;
        bytes = w->whole;
        len = w->whole_len;
        w->whole_len = 0;
    }
    w->messages++;
    take(w, bytes, len);
}

/* Bytes of the frame that begins here, header and payload; 0: not known yet. */
static size_t frame_size(const unsigned char *at, size_t have, size_t *header)
{
    size_t n = have < 2 ? 0 : at[1] & 0x7f, extra = n == 126 ? 2 : n == 127 ? 8 : 0;

    errno = 0;
    if (have >= 2 && !(at[1] & 0x80))
        fail("the peer sent a frame that is not masked");
    *header = 2 + extra + 4;
    if (have < *header)
        return 0;
    if (extra)
        n = 0;
    for (size_t i = 0; i < extra; i++)
        n = n << 8 | at[2 + i];
    if (n > MESSAGE_MAX)
        fail("a frame of more than %u bytes", MESSAGE_MAX);
    return *header + n;
}

static void bytes_take(struct websocket *w, websocket_taker *take)
{
    size_t at = 0, size, header;

    while ((size = frame_size((unsigned char *)w->in + at, w->in_len - at, &header)) &&
           size <= w->in_len - at) {
        char *frame = w->in + at;

        unmask(frame + header, size - header, frame + header - 4);
        frame_take(w, (unsigned char)*frame, frame + header, size - header, take);
        at += size;
    }
    w->in_len -= at;
    memmove(w->in, w->in + at, w->in_len);
    if (size > w->in_size) {
        w->in_size = size + READ_MAX;
        w->in = realloc(w->in, w->in_size);
        if (!w->in)
            fail("no memory");
    }
}

void websocket_read(struct websocket *w, websocket_taker *take)
{
    do {
        w->in_len += stream_read(&w->stream, w->in + w->in_len, w->in_size - w->in_len);
        bytes_take(w, take);
    } while (w->stream.ssl && SSL_pending(w->stream.ssl)); /* for these there is no event */
}

void websocket_acknowledge(struct websocket *w, char *bytes, size_t len)
{
    static const char BEFORE[] = "\x82\xa4"
                                 "code\x00\xa4"
                                 "data";
    const size_t before = sizeof BEFORE - 1;
    char header[WEBSOCKET_HEADER_MAX];
    size_t n = websocket_header(header, before + len);
    char *to = stream_tail(&w->stream, n + before + len);

    memcpy(to, header, n);
    memcpy(to + n, BEFORE, before);
    memcpy(to + n + before, bytes, len);
}
