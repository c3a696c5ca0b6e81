#include "tap.h"

#include <dlfcn.h>
#include <errno.h>
#include <openssl/ssl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "memory.h"
#include "server.h"

#define TAP_MAX_HEAD 65536
#define ENDS_MAX 8
#define OPCODE_CLOSE 8
#define OPCODE_PING 9
#define OPCODE_PONG 10

struct tap {
    bool in_frames; /* the head of the request is over */
    bool is_tampered;
    enum gate_answer answer;
    struct bytes head;
    unsigned char header[14]; /* of the present frame */
    size_t header_len;
    unsigned char control[125]; /* payload of the present control frame */
    size_t control_len;
    uint64_t left; /* payload that is still to come */
    unsigned ends; /* how often its end was read */
};

static struct {
    struct server *server;
    struct tap **taps; /* by file descriptor */
    int max_fd;
} all;

void tap_init(struct server *server, int max_fd)
{
    all.server = server;
    all.max_fd = max_fd;
    all.taps = memory_get((size_t)max_fd * sizeof(struct tap *));
    memset(all.taps, 0, (size_t)max_fd * sizeof(struct tap *));
}

static struct tap *tap_get(int fd)
{
    return fd >= 0 && fd < all.max_fd ? all.taps[fd] : NULL;
}

void tap_open(int fd)
{
    tap_close(fd);
    if (fd >= all.max_fd)
        return;
    all.taps[fd] = memory_get(sizeof(struct tap));
    *all.taps[fd] = (struct tap){.answer = GATE_OK};
}

void tap_close(int fd)
{
    struct tap *tap = tap_get(fd);

    if (!tap)
        return;
    bytes_deinit(&tap->head);
    free(tap);
    all.taps[fd] = NULL;
}

void tap_deinit(void)
{
    for (int fd = 0; fd < all.max_fd; fd++)
        tap_close(fd);
    free(all.taps);
    all.taps = NULL;
    all.max_fd = 0;
}

enum gate_answer tap_answer(int fd)
{
    struct tap *tap = tap_get(fd);

    return tap ? tap->answer : GATE_OK;
}

bool tap_is_tampered(int fd)
{
    struct tap *tap = tap_get(fd);

    return tap && tap->is_tampered;
}

/* Another key, still 16 bytes of valid base64. A key that came in an earlier read is out of reach: then
 * nothing happens. */
static bool key_tamper(unsigned char *data, size_t len)
{
    static const char name[] = "\r\nsec-websocket-key:";

    for (size_t i = 0; i + sizeof(name) + 4 < len; i++) {
        if (strncasecmp((const char *)data + i, name, sizeof(name) - 1))
            continue;
        i += sizeof(name) - 1;
        while (i + 1 < len && data[i] == ' ')
            i++;
        data[i] = data[i] == 'A' ? 'B' : 'A';
        return true;
    }
    return false;
}

/* Takes the part of data that belongs to the head; returns its length. */
static size_t tap_feed_head(struct tap *tap, unsigned char *data, size_t len)
{
    size_t before = tap->head.len;
    unsigned char *end;
    size_t head_len;

    bytes_append(&tap->head, data, len);
    end = memmem(tap->head.data, tap->head.len, "\r\n\r\n", 4);
    if (!end) {
        if (tap->head.len > TAP_MAX_HEAD)
            tap->in_frames = true; /* lws refuses it anyway */
        return len;
    }
    head_len = (size_t)(end - tap->head.data) + 4;
    tap->in_frames = true;
    tap->answer = gate_request(all.server, (const char *)tap->head.data, head_len);
    if (tap->answer == GATE_BADACCEPT)
        tap->is_tampered = key_tamper(data, head_len - before);
    bytes_deinit(&tap->head);
    return head_len - before;
}

static size_t header_need(const struct tap *tap)
{
    unsigned len7;

    if (tap->header_len < 2)
        return 2;
    len7 = tap->header[1] & 0x7f;
    return 2 + (len7 == 126 ? 2 : len7 == 127 ? 8 : 0) + (tap->header[1] & 0x80 ? 4 : 0);
}

static void tap_start_payload(struct tap *tap)
{
    unsigned len7 = tap->header[1] & 0x7f;
    size_t width = len7 == 126 ? 2 : len7 == 127 ? 8 : 0;

    tap->left = width ? 0 : len7;
    for (size_t i = 0; i < width; i++)
        tap->left = tap->left << 8 | tap->header[2 + i];
    tap->control_len = 0;
}

static void tap_end_control(struct tap *tap)
{
    struct counters *count = &all.server->count;
    const unsigned char *mask = tap->header + tap->header_len - 4;
    size_t reason_len;

    if (tap->header[1] & 0x80)
        for (size_t i = 0; i < tap->control_len; i++)
            tap->control[i] ^= mask[i % 4];
    switch (tap->header[0] & 0x0f) {
    case OPCODE_PING:
        count->ws_pings++;
        break;
    case OPCODE_PONG:
        count->ws_pongs++;
        break;
    case OPCODE_CLOSE:
        reason_len = tap->control_len > 2 ? tap->control_len - 2 : 0;
        count->last_close_code = tap->control_len < 2 ? 1005 : tap->control[0] << 8 | tap->control[1];
        memcpy(count->last_close_reason, tap->control + 2, reason_len);
        count->last_close_reason[reason_len] = '\0';
        break;
    default:
        break;
    }
}

static size_t tap_feed_frame(struct tap *tap, const unsigned char *data, size_t len)
{
    size_t used = 0;
    bool is_control;

    while (tap->header_len < header_need(tap)) {
        if (used == len)
            return used;
        tap->header[tap->header_len++] = data[used++];
        if (tap->header_len == header_need(tap))
            tap_start_payload(tap);
    }
    is_control = tap->header[0] & 0x08;
    if (tap->left && used < len) {
        size_t n = tap->left < len - used ? (size_t)tap->left : len - used;
        size_t room = sizeof(tap->control) - tap->control_len;

        if (is_control) {
            memcpy(tap->control + tap->control_len, data + used, n < room ? n : room);
            tap->control_len += n < room ? n : room;
        }
        tap->left -= n;
        used += n;
    }
    if (!tap->left) {
        if (is_control)
            tap_end_control(tap);
        tap->header_len = 0;
    }
    return used;
}

static void tap_feed(int fd, unsigned char *data, ssize_t result)
{
    struct tap *tap = tap_get(fd);
    size_t len = result > 0 ? (size_t)result : 0;
    size_t at = 0;

    if (!tap)
        return;
    while (at < len) {
        if (!tap->in_frames)
            at += tap_feed_head(tap, data + at, len - at);
        else
            at += tap_feed_frame(tap, data + at, len - at);
    }
}

/* Visible to the shared libraries, however the rest is built. */
#pragma GCC visibility push(default)

/*
 * When a peer half-closes while lws holds a partly written frame for it, lws reads that end again and again
 * and never leaves its service. What is held can go nowhere any more: the connection is cut.
 */
static ssize_t note_end(int fd, ssize_t result)
{
    struct tap *tap = tap_get(fd);

    if (!tap || result != 0 || ++tap->ends < ENDS_MAX)
        return result;
    shutdown(fd, SHUT_RDWR);
    errno = EAGAIN; /* so that lws looks at its other sides, and finds that it cannot write */
    return -1;
}

/* With TLS this one sees ciphertext, if OpenSSL should use it at all. */
ssize_t recv(int fd, void *data, size_t size, int flags)
{
    ssize_t n = recvfrom(fd, data, size, flags, NULL, NULL);

    if (all.server && !all.server->is_tls && !(flags & MSG_PEEK))
        tap_feed(fd, data, n);
    return size && !(flags & MSG_PEEK) ? note_end(fd, n) : n;
}

int SSL_read(SSL *ssl, void *data, int size)
{
    static int (*real_read)(SSL *, void *, int);
    int n;

    if (!real_read) {
        void *symbol = dlsym(RTLD_NEXT, "SSL_read");

        memcpy(&real_read, &symbol, sizeof(real_read)); /* ISO C has no cast between the two */
    }
    n = real_read(ssl, data, size);
    tap_feed(SSL_get_fd(ssl), data, n);
    return n;
}

#pragma GCC visibility pop
