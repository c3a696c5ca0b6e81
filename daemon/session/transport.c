/*
 * A state machine around one connection.
 *
 *   idle -> resolving -> dialing (address 1 of n, 2 of n, …) -> open -> ending -> idle
 *
 * Reading happens when the socket is readable, writing at the end of the turn, when everybody has said what
 * is to be sent: so what one turn brings goes out with one write. Nobody is called back from within their own
 * call: `closed`, `drained`, and the messages that a pause has held back, come from sd-event (`later`).
 *
 * What is read while the connection is being made lies in the frame reader's buffer: what follows the answer
 * to the upgrade are frames.
 */
#include "transport.h"
#include "frame_reader.h"
#include "frames.h"
#include "log.h"
#include "loop.h"
#include "resolve.h"
#include "send_queue.h"
#include "setup.h"
#include "stream.h"
#include "tls.h"
#include "upgrade.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <linux/tcp.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#define DIAL_MS 10000 /* to connect to one address, and again for all that follows until it is open */
#define WRITE_BURST                                                                                       \
    (1u << 20)               /* bytes written in one turn, so that a fast server does not starve the rest \
                              */
#define CLOSE_TOO_LARGE 1009 /* RFC 6455, 7.4.1 */
#define CLOSE_PROTOCOL 1002
#define CLOSE_CODE_SIZE 2

enum state { IDLE, RESOLVING, DIALING, OPEN, ENDING };

/* How far a dialed connection came. */
enum phase { CONNECTING, PROXYING, SECURING, UPGRADING };

/* What is sent between frames, and before those that wait: at most one frame, as it goes over the wire. */
struct urgent {
    uint8_t bytes[FRAME_HEADER_MAX + FRAME_CONTROL_MAX];
    size_t len, sent;
};

/* A ping of the server's, to be answered; only the last one needs to be (RFC 6455, 5.5.3). */
struct owed_pong {
    bool due;
    uint8_t payload[FRAME_CONTROL_MAX];
    size_t len;
};

struct transport {
    struct loop *loop;
    struct transport_listener listener;
    struct setup *setup, *next_setup; /* the one in use; the one for the next open */
    enum state state;
    struct transport_end end;
    sd_event_source *later, *deadline;
    struct loop_hook hook;

    struct resolve *resolve;
    struct resolve_result addresses;
    unsigned next_address;

    struct loop_source source;
    struct stream stream;
    bool over;       /* the connection is gone: to be told */
    bool blocked;    /* the socket takes nothing at the moment */
    bool unwritable; /* and never will again */

    enum phase phase;
    char *request; /* what is being sent before it is open; wiped: it bears tokens */
    size_t request_len, request_sent;
    char key[UPGRADE_KEY_SIZE];
    char tls_says[sizeof((struct transport_end){0}.detail)];

    struct frame_reader reader;
    const struct incoming *message; /* while it is being told */
    struct send_queue queue;
    struct urgent urgent;
    struct owed_pong pong;
    bool congested, tells_drained, ping_wanted, paused;
    bool close_wanted, close_sent, muted;
    unsigned close_code;
    uint64_t received, heard_ms; /* bytes of this connection, and when the last one came: as last looked */
    struct transport_counters ended; /* of connections that are gone */
};

/* ---- Randomness: keys of masks must not be foreseen (RFC 6455, 10.3) ---- */

static void fill_random(void *at, size_t n)
{
    while (getrandom(at, n, 0) != (ssize_t)n) /* up to 256 bytes it fails only before the kernel has any */
        ;
}

static uint32_t mask_key(void)
{
    static uint32_t keys[64];
    static size_t left;

    if (left == 0) {
        fill_random(keys, sizeof keys);
        left = sizeof keys / sizeof keys[0];
    }
    return keys[--left];
}

/* ---- Verdicts ---- */

/* Of several addresses' failures the one that says most is told. */
static const unsigned char telling[LINK_REASON_COUNT] = {
    [LINK_REASON_UNREACHABLE] = 1, [LINK_REASON_REFUSED] = 2,      [LINK_REASON_TIMEOUT] = 3,
    [LINK_REASON_CLOSED] = 4,      [LINK_REASON_PROXY] = 5,        [LINK_REASON_PROTOCOL] = 6,
    [LINK_REASON_TLS] = 7,         [LINK_REASON_UPGRADE] = 8,      [LINK_REASON_UNAUTHORIZED] = 9,
    [LINK_REASON_DNS] = 10,        [LINK_REASON_CREDENTIALS] = 11,
};

static void note_end(struct transport *t, enum link_reason reason, unsigned http_status, const char *detail)
{
    if (t->state == ENDING || telling[reason] <= telling[t->end.reason])
        return;
    t->end.reason = reason;
    t->end.http_status = http_status;
    snprintf(t->end.detail, sizeof(t->end.detail), "%s", detail);
}

static bool tcp_look(int fd, struct tcp_info *info)
{
    socklen_t len = sizeof(*info);

    memset(info, 0, sizeof(*info)); /* an older kernel fills less */
    return fd >= 0 && getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, &len) == 0;
}

/* error: a positive errno; ETIMEDOUT: nobody answered. */
static void judge_connect(struct transport *t, int error)
{
    enum link_reason reason = error == ECONNREFUSED ? LINK_REASON_REFUSED : LINK_REASON_UNREACHABLE;
    char detail[160];

    snprintf(detail, sizeof(detail), "%s: %s", t->addresses.address[t->next_address - 1],
             error == ETIMEDOUT || error == EHOSTUNREACH ? "no route, or no answer in time"
                                                         : strerror(error));
    note_end(t, t->setup->options.proxy_host ? LINK_REASON_PROXY : reason, 0, detail);
}

static void judge_upgrade(struct transport *t, unsigned status)
{
    char detail[64];
    bool refused = status == 401 || status == 403;

    snprintf(detail, sizeof(detail), "the server answered the upgrade with %u", status);
    note_end(t, refused ? LINK_REASON_UNAUTHORIZED : LINK_REASON_UPGRADE, status, detail);
}

static void judge_proxy(struct transport *t, unsigned status)
{
    char detail[64] = "the proxy ended the connection, or did not answer";

    if (status)
        snprintf(detail, sizeof(detail), "the proxy answered with %u", status);
    note_end(t, LINK_REASON_PROXY, 0, detail);
}

/* Before it was open the connection has ended, or (error ETIMEDOUT) its time. */
static void judge(struct transport *t, int error)
{
    size_t begun;

    frame_reader_pending(&t->reader, &begun);
    if (t->phase == CONNECTING)
        judge_connect(t, error);
    else if (t->phase == PROXYING)
        judge_proxy(t, 0);
    else if (t->stream.ssl && tls_failure(t->setup->tls, t->stream.ssl, t->tls_says, sizeof(t->tls_says)))
        note_end(t, LINK_REASON_TLS, 0, t->tls_says);
    else if (error == ETIMEDOUT)
        note_end(t, LINK_REASON_TIMEOUT, 0, "the server took the connection and never answered the upgrade");
    else if (begun)
        note_end(t, LINK_REASON_PROTOCOL, 0, "the connection ended within the answer to the upgrade");
    else
        note_end(t, LINK_REASON_CLOSED, 0, "the server ended the connection before it answered the upgrade");
}

/* ---- The end of a connection ---- */

static void run_later(struct transport *t)
{
    sd_event_source_set_enabled(t->later, SD_EVENT_ONESHOT);
}

static void drop_request(struct transport *t)
{
    if (t->request)
        explicit_bzero(t->request, t->request_len);
    free(t->request);
    t->request = NULL;
    t->request_len = t->request_sent = 0;
}

static struct transport_counters with_connection(const struct transport *t)
{
    struct transport_counters c = t->ended;
    struct tcp_info info;

    if (tcp_look(t->stream.fd, &info)) {
        c.bytes_in += info.tcpi_bytes_received;
        c.bytes_out += info.tcpi_bytes_sent - info.tcpi_bytes_retrans;
    }
    return c;
}

/* The socket goes at once, all else is told later. */
static void drop_connection(struct transport *t)
{
    if (t->stream.fd < 0)
        return;
    loop_source_remove(t->loop, &t->source);
    t->ended = with_connection(t);
    stream_close(&t->stream);
    drop_request(t);
}

static void connection_over(struct transport *t)
{
    drop_connection(t);
    t->over = true;
    run_later(t);
}

static void reset_connection(struct transport *t)
{
    drop_connection(t);
    t->over = t->blocked = t->unwritable = false;
    t->tls_says[0] = '\0';
    frame_reader_deinit(&t->reader);
    send_queue_deinit(&t->queue);
    t->urgent.len = t->urgent.sent = 0;
    t->pong.due = false;
    t->congested = t->tells_drained = t->ping_wanted = false;
    t->close_wanted = t->close_sent = t->muted = false;
    t->received = t->heard_ms = 0;
}

static void finish(struct transport *t)
{
    struct transport_end end = t->end;

    resolve_cancel(t->resolve);
    t->resolve = NULL;
    setup_wipe_credentials(t->setup);
    reset_connection(t);
    sd_event_source_set_enabled(t->later, SD_EVENT_OFF);
    sd_event_source_set_enabled(t->deadline, SD_EVENT_OFF);
    t->state = IDLE;
    t->listener.closed(t->listener.self, &end);
}

static void arm_deadline(struct transport *t, uint64_t ms)
{
    sd_event_source_set_time(t->deadline, (loop_now_ms(t->loop) + ms) * 1000);
    sd_event_source_set_enabled(t->deadline, SD_EVENT_ONESHOT);
}

/* An open connection has ended; the first reason stays. */
static void lose(struct transport *t, enum link_reason reason, const char *detail)
{
    if (t->state == OPEN) {
        t->end.reason = reason;
        snprintf(t->end.detail, sizeof(t->end.detail), "%s", detail);
    }
    t->state = ENDING;
    connection_over(t);
}

static int on_deadline(sd_event_source *s, uint64_t usec, void *self)
{
    struct transport *t = self;

    if (t->state == DIALING)
        judge(t, ETIMEDOUT);
    connection_over(t);
    return 0;
}

/* ---- What is watched ---- */

static bool has_output(const struct transport *t)
{
    bool more = t->pong.due || t->ping_wanted || t->queue.bytes || t->close_wanted;

    return !t->unwritable && (t->urgent.len || (more && !t->close_sent));
}

static void watch(struct transport *t, uint32_t events)
{
    if (t->stream.fd >= 0 && t->source.fd >= 0 && loop_source_arm(t->loop, &t->source, events) < 0)
        connection_over(t);
}

static void watch_open(struct transport *t)
{
    watch(t, stream_events(&t->stream, !t->paused, t->blocked));
}

/* ---- Making a connection ---- */

static void dial_failed(struct transport *t, int error)
{
    judge(t, error);
    connection_over(t);
}

static bool make_request(struct transport *t, bool for_proxy)
{
    const struct url *u = &t->setup->options.url;
    uint8_t nonce[16];

    t->request = malloc(UPGRADE_REQUEST_MAX);
    if (!t->request)
        return false;
    fill_random(nonce, sizeof nonce);
    t->request_len = for_proxy ? upgrade_connect_request(t->request, u)
                               : upgrade_request(t->request, u, &t->setup->headers, nonce, t->key);
    if (!for_proxy)
        setup_wipe_credentials(t->setup);
    return true;
}

static void begin_request(struct transport *t, enum phase phase)
{
    t->phase = phase;
    if (make_request(t, phase == PROXYING))
        watch(t, stream_events(&t->stream, false, true));
    else
        dial_failed(t, ENOMEM);
}

static void begin_tls(struct transport *t)
{
    t->phase = SECURING;
    if (stream_secure(&t->stream, t->setup->tls) < 0)
        dial_failed(t, ENOMEM);
    else
        watch(t, EPOLLOUT);
}

static void begin_websocket(struct transport *t)
{
    if (t->setup->tls)
        begin_tls(t);
    else
        begin_request(t, UPGRADING);
}

static void connected(struct transport *t)
{
    int error = 0;
    socklen_t len = sizeof error;

    if (getsockopt(t->stream.fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
        error = errno;
    if (error) {
        dial_failed(t, error);
        return;
    }
    arm_deadline(t, DIAL_MS);
    if (t->setup->options.proxy_host)
        begin_request(t, PROXYING);
    else
        begin_websocket(t);
}

static void opened(struct transport *t)
{
    sd_event_source_set_enabled(t->deadline, SD_EVENT_OFF);
    t->state = OPEN;
    t->end = (struct transport_end){.was_open = true};
    t->listener.opened(t->listener.self);
    run_later(t); /* frames may have come with the answer */
    watch_open(t);
}

/* Of bytes that belong to nobody yet. Returns false when there is nothing to look at. */
static bool read_answer(struct transport *t)
{
    uint8_t *at;
    size_t n;
    ssize_t got = frame_reader_room(&t->reader, &at, &n);

    if (got == 0)
        got = stream_read(&t->stream, at, n);
    if (got > 0)
        frame_reader_filled(&t->reader, (size_t)got);
    else if (got != -EAGAIN)
        dial_failed(t, got < 0 ? (int)-got : 0);
    return got > 0;
}

static void use_proxy_answer(struct transport *t)
{
    size_t n;
    const char *text = (const char *)frame_reader_pending(&t->reader, &n);
    struct upgrade_answer a;

    switch (upgrade_connect_answer_read(&a, text, n)) {
    case UPGRADE_MORE:
        return;
    case UPGRADE_DONE:
        if (a.size == n) { /* nobody else may speak before we do */
            frame_reader_skip(&t->reader, n);
            begin_websocket(t);
            return;
        }
        break;
    case UPGRADE_STATUS:
    case UPGRADE_BROKEN:
        break;
    }
    judge_proxy(t, a.status);
    connection_over(t);
}

static void use_upgrade_answer(struct transport *t)
{
    size_t n;
    const char *text = (const char *)frame_reader_pending(&t->reader, &n);
    struct upgrade_answer a;

    switch (upgrade_answer_read(&a, text, n, t->key)) {
    case UPGRADE_MORE:
        return;
    case UPGRADE_DONE:
        frame_reader_skip(&t->reader, a.size);
        opened(t);
        return;
    case UPGRADE_STATUS:
        judge_upgrade(t, a.status);
        break;
    case UPGRADE_BROKEN:
        note_end(t, LINK_REASON_PROTOCOL, a.status, a.why);
        break;
    }
    connection_over(t);
}

static void send_request(struct transport *t)
{
    ssize_t n = stream_write(&t->stream, t->request + t->request_sent, t->request_len - t->request_sent);

    if (n < 0 && n != -EAGAIN) {
        dial_failed(t, (int)-n);
        return;
    }
    t->request_sent += n > 0 ? (size_t)n : 0;
    if (t->request_sent == t->request_len)
        drop_request(t);
    watch(t, stream_events(&t->stream, !t->request, t->request));
}

static void shake_hands(struct transport *t)
{
    int r = stream_handshake(&t->stream);

    if (r == 0)
        begin_request(t, UPGRADING);
    else if (r == -EAGAIN)
        watch(t, stream_events(&t->stream, true, false));
    else
        dial_failed(t, -r);
}

static void dialing_ready(struct transport *t, uint32_t events)
{
    if (t->phase == CONNECTING) {
        connected(t);
    } else if (t->phase == SECURING) {
        shake_hands(t);
    } else {
        if (t->request)
            send_request(t);
        else if (read_answer(t))
            (t->phase == PROXYING ? use_proxy_answer : use_upgrade_answer)(t);
    }
}

static void source_ready(struct loop_source *s, uint32_t events);

static int connect_to(struct sockaddr *a, socklen_t len)
{
    int fd = socket(a->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1, error;

    if (fd < 0)
        return -errno;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(fd, a, len) == 0 || errno == EINPROGRESS)
        return fd;
    error = -errno;
    close(fd);
    return error;
}

/* A numeric address, which may bear a %scope. */
static int connect_to_address(const char *address, uint16_t port)
{
    struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM}, *a;
    char service[8];
    int fd;

    snprintf(service, sizeof service, "%u", port);
    if (getaddrinfo(address, service, &hints, &a) != 0)
        return -EINVAL;
    fd = connect_to(a->ai_addr, a->ai_addrlen);
    freeaddrinfo(a);
    return fd;
}

/* true: it is on its way. */
static bool dial(struct transport *t, const char *address)
{
    const struct transport_options *o = &t->setup->options;
    int fd, r;

    reset_connection(t);
    t->phase = CONNECTING;
    fd = connect_to_address(address, o->proxy_host ? o->proxy_port : o->url.port);
    if (fd >= 0) {
        stream_open(&t->stream, fd);
        t->source.ready = source_ready;
        r = loop_source_add(t->loop, &t->source, fd, EPOLLOUT);
        if (r == 0) {
            arm_deadline(t, DIAL_MS);
            return true;
        }
        fd = r;
        drop_connection(t);
    }
    judge(t, -fd);
    return false;
}

static bool load_credentials(struct transport *t)
{
    char detail[sizeof(t->end.detail)];

    if (setup_load_credentials(t->setup, detail, sizeof(detail)) == 0)
        return true;
    note_end(t, LINK_REASON_CREDENTIALS, 0, detail);
    return false;
}

static void dial_next(struct transport *t)
{
    t->state = DIALING;
    while (t->next_address < t->addresses.count && load_credentials(t))
        if (dial(t, t->addresses.address[t->next_address++]))
            return;
    finish(t);
}

static void on_resolved(void *self, const struct resolve_result *r)
{
    struct transport *t = self;

    t->resolve = NULL;
    t->addresses = *r;
    if (r->error != 0)
        note_end(t, LINK_REASON_DNS, 0, gai_strerror(r->error));
    dial_next(t);
}

static void look_up(struct transport *t)
{
    const struct transport_options *o = &t->setup->options;
    const char *host = o->proxy_host ? o->proxy_host : o->url.host;
    struct in6_addr scrap;

    t->addresses = (struct resolve_result){0};
    if (inet_pton(AF_INET, host, &scrap) == 1 || inet_pton(AF_INET6, host, &scrap) == 1) {
        t->addresses.count = 1;
        snprintf(t->addresses.address[0], sizeof(t->addresses.address[0]), "%.*s", INET6_ADDRSTRLEN, host);
        run_later(t);
        return;
    }
    int r = resolve_start(&t->resolve, loop_event(t->loop), host, on_resolved, t);
    if (r < 0) {
        note_end(t, LINK_REASON_DNS, 0, strerror(-r));
        run_later(t);
    }
}

/* ---- Writing ---- */

static void make_urgent(struct urgent *u, enum frame_opcode opcode, const void *payload, size_t len)
{
    uint32_t key = mask_key();
    size_t header = frame_header_size(len);

    frame_write_header(u->bytes, opcode, true, len, key);
    if (len)
        memcpy(u->bytes + header, payload, len);
    frame_mask(u->bytes + header, len, key);
    u->len = header + len;
    u->sent = 0;
}

static void make_close(struct transport *t)
{
    uint8_t code[CLOSE_CODE_SIZE] = {(uint8_t)(t->close_code >> 8), (uint8_t)t->close_code};

    make_urgent(&t->urgent, FRAME_CLOSE, code, t->close_code ? sizeof code : 0);
    t->close_sent = true;
}

/* The next one, if there is any and a frame may begin here. Nothing follows a close frame. */
static bool next_urgent(struct transport *t)
{
    if (t->urgent.len)
        return true;
    if (t->queue.frame_left || t->stream.repeat || t->close_sent)
        return false;
    if (t->pong.due) {
        make_urgent(&t->urgent, FRAME_PONG, t->pong.payload, t->pong.len);
        t->pong.due = false;
    } else if (t->ping_wanted) {
        make_urgent(&t->urgent, FRAME_PING, NULL, 0);
        t->ping_wanted = false;
    } else if (t->close_wanted && !t->queue.bytes) {
        make_close(t);
    }
    return t->urgent.len > 0;
}

/* The number of bytes, or a negative errno. 0: there is nothing to write. */
static ssize_t write_some(struct transport *t)
{
    struct urgent *u = &t->urgent;
    struct send_span span;
    ssize_t n;

    if (next_urgent(t)) {
        n = stream_write(&t->stream, u->bytes + u->sent, u->len - u->sent);
        u->sent += n > 0 ? (size_t)n : 0;
        if (u->sent == u->len)
            u->len = u->sent = 0;
        return n;
    }
    span = t->close_sent ? (struct send_span){0} : send_queue_peek(&t->queue);
    if (span.len && t->queue.frame_left && (t->pong.due || t->ping_wanted) && !t->stream.repeat &&
        span.len > t->queue.frame_left)
        span.len = t->queue.frame_left; /* what is urgent goes as soon as this frame has gone */
    n = span.len ? stream_write(&t->stream, span.at, span.len) : 0;
    if (n > 0)
        send_queue_advance(&t->queue, (size_t)n);
    return n;
}

static void note_drained(struct transport *t)
{
    if (!t->congested || t->queue.bytes >= TRANSPORT_QUEUE_LOW)
        return;
    t->congested = false;
    t->tells_drained = true;
    run_later(t);
}

static void write_out(struct transport *t)
{
    size_t written = 0;
    ssize_t n = 0;

    while (written < WRITE_BURST && (n = write_some(t)) > 0)
        written += (size_t)n;
    t->unwritable =
        n < 0 && n != -EAGAIN; /* what the server has still said is heard: reading finds the end */
    t->blocked = has_output(t);
    note_drained(t);
    watch_open(t);
}

static void flush(struct loop_hook *h)
{
    struct transport *t = (struct transport *)((char *)h - offsetof(struct transport, hook));

    if ((t->state == OPEN || t->state == ENDING) && !t->over && !t->blocked && has_output(t))
        write_out(t);
}

/* ---- Reading ---- */

static void refuse(struct transport *t, unsigned code, enum link_reason reason, const char *why)
{
    if (t->state == OPEN) {
        transport_close(t, code, reason);
        snprintf(t->end.detail, sizeof(t->end.detail), "%s", why);
    }
    t->muted = true;
}

/* RFC 6455, 7.4: no other may stand in a close frame. */
static bool is_close_code(unsigned code)
{
    return (code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006) ||
           (code >= 3000 && code <= 4999);
}

static void on_close_frame(struct transport *t, const struct incoming *in)
{
    unsigned code = in->len ? (unsigned)in->bytes[0] << 8 | in->bytes[1] : 0;

    if (t->state == OPEN) {
        t->end.reason = LINK_REASON_CLOSED;
        t->end.close_code = code;
        if (code)
            snprintf(t->end.detail, sizeof(t->end.detail), "the server closed the connection with code %u",
                     code);
        else
            snprintf(t->end.detail, sizeof(t->end.detail), "the server closed the connection");
    }
    t->state = ENDING;
    t->muted = true;
    if (!t->close_sent && !t->queue.frame_left && !t->stream.repeat && !t->urgent.len) {
        /* said back; what waits is not sent any more */
        t->close_code = !in->len || is_close_code(code) ? code : CLOSE_PROTOCOL;
        make_close(t);
        write_some(t);
    }
    connection_over(t);
}

static void on_ping_frame(struct transport *t, const struct incoming *in)
{
    t->pong.due = true;
    t->pong.len = in->len;
    memcpy(t->pong.payload, in->bytes, in->len);
}

static void tell_message(struct transport *t, const struct incoming *in)
{
    t->message = in;
    t->listener.message(t->listener.self, in->bytes, in->len);
    t->message = NULL;
}

/* false: there is nothing more to be had from these bytes. */
static bool use_next(struct transport *t)
{
    struct incoming in;

    switch (frame_reader_next(&t->reader, &in)) {
    case INCOMING_NONE:
        return false;
    case INCOMING_MESSAGE:
        tell_message(t, &in);
        return true;
    case INCOMING_TEXT:
        t->listener.text_message(t->listener.self, in.len);
        return true;
    case INCOMING_PING:
        on_ping_frame(t, &in);
        return true;
    case INCOMING_PONG:
        t->listener.pong(t->listener.self);
        return true;
    case INCOMING_CLOSE:
        on_close_frame(t, &in);
        return false;
    case INCOMING_BROKEN:
        refuse(t, CLOSE_PROTOCOL, LINK_REASON_PROTOCOL, "the server broke the websocket protocol");
        return false;
    case INCOMING_TOO_LARGE:
        refuse(t, CLOSE_TOO_LARGE, LINK_REASON_TOO_LARGE, "a message above MaxMessage");
        return false;
    case INCOMING_NO_MEMORY:
        refuse(t, CLOSE_TOO_LARGE, LINK_REASON_TOO_LARGE, "no memory for a message");
        return false;
    }
    return false;
}

static bool may_read(const struct transport *t)
{
    return (t->state == OPEN || t->state == ENDING) && !t->over && !t->paused;
}

static void use_frames(struct transport *t)
{
    while (may_read(t) && !t->muted && use_next(t))
        ;
}

/* Who is not listened to any more is read all the same, until the socket's end comes. */
static void read_more(struct transport *t)
{
    uint8_t scrap[STREAM_READ_MIN], *at = scrap;
    size_t n = sizeof scrap;
    ssize_t got = t->muted ? 0 : frame_reader_room(&t->reader, &at, &n);

    if (got < 0) {
        refuse(t, CLOSE_TOO_LARGE, LINK_REASON_TOO_LARGE, "no memory for a message");
        return;
    }
    got = stream_read(&t->stream, at, n);
    if (got > 0) {
        if (t->muted)
            return;
        frame_reader_filled(&t->reader, (size_t)got);
        t->listener.alive(t->listener.self);
        use_frames(t);
    } else if (got == -EPROTO && t->stream.ssl && /* a plain socket may say so too: ICMPv6 */
               tls_failure(t->setup->tls, t->stream.ssl, t->tls_says, sizeof(t->tls_says))) {
        lose(t, LINK_REASON_TLS, t->tls_says);
    } else if (got != -EAGAIN) {
        lose(t, LINK_REASON_CLOSED, "the connection was cut");
    }
}

/* What a pause has held back comes before what is read, which may be the end. What OpenSSL holds does not
 * make the socket readable. */
static void read_and_use(struct transport *t)
{
    use_frames(t);
    if (!may_read(t))
        return;
    read_more(t);
    if (may_read(t) && stream_has_more(&t->stream))
        run_later(t);
}

static void source_ready(struct loop_source *s, uint32_t events)
{
    struct transport *t = (struct transport *)((char *)s - offsetof(struct transport, source));

    if (t->state == DIALING) {
        dialing_ready(t, events);
        return;
    }
    if (events & EPOLLOUT || (t->blocked && t->stream.write_wants_in))
        t->blocked = false; /* the turn's end writes on */
    if (events & (EPOLLHUP | EPOLLERR) && t->paused)
        loop_source_remove(t->loop, s); /* it would wake every turn; seen when reading goes on */
    else
        read_and_use(t);
    if (!t->over && !t->blocked)
        watch_open(t);
}

/* The next step, from sd-event: an address after one that failed, what a pause has held back, or the end. */
static int on_later(sd_event_source *s, void *self)
{
    struct transport *t = self;

    if (t->state == RESOLVING || t->state == DIALING) {
        dial_next(t);
        return 0;
    }
    if (t->tells_drained) {
        t->tells_drained = false;
        t->listener.drained(t->listener.self);
    }
    if (t->over) {
        finish(t);
        return 0;
    }
    use_frames(t);
    if (may_read(t) && stream_has_more(&t->stream))
        read_and_use(t);
    return 0;
}

/* ---- The interface ---- */

static int add_sources(struct transport *t)
{
    struct sd_event *ev = loop_event(t->loop);
    int r = sd_event_add_defer(ev, &t->later, on_later, t);

    if (r < 0)
        return r;
    sd_event_source_set_enabled(t->later, SD_EVENT_OFF);
    r = sd_event_add_time(ev, &t->deadline, CLOCK_BOOTTIME, UINT64_MAX, 1000, on_deadline, t);
    if (r < 0)
        return r;
    return sd_event_source_set_enabled(t->deadline, SD_EVENT_OFF);
}

int transport_new(struct transport **out, struct loop *loop, const struct transport_listener *l)
{
    struct transport *t = calloc(1, sizeof(*t));

    if (!t)
        return -ENOMEM;
    *t = (struct transport){
        .loop = loop, .listener = *l, .source.fd = -1, .hook = {.turn = flush, .last = true}};
    stream_init(&t->stream);
    send_queue_init(&t->queue, mask_key);
    int r = add_sources(t);
    if (r < 0) {
        transport_free(t);
        return r;
    }
    loop_hook_add(loop, &t->hook);
    *out = t;
    return 0;
}

void transport_free(struct transport *t)
{
    if (!t)
        return;
    loop_hook_remove(t->loop, &t->hook);
    resolve_cancel(t->resolve);
    reset_connection(t);
    sd_event_source_disable_unref(t->later);
    sd_event_source_disable_unref(t->deadline);
    setup_free(t->setup);
    setup_free(t->next_setup);
    free(t);
}

int transport_configure(struct transport *t, const struct transport_options *o)
{
    struct setup *s = NULL;
    int r = setup_new(&s, o);

    if (r < 0)
        return r;
    setup_free(t->next_setup);
    t->next_setup = s;
    return 0;
}

void transport_open(struct transport *t)
{
    assert(t->state == IDLE && (t->setup || t->next_setup));
    if (t->next_setup) {
        setup_free(t->setup);
        t->setup = t->next_setup;
        t->next_setup = NULL;
    }
    t->reader.max = t->setup->options.message_max;
    t->end = (struct transport_end){.reason = LINK_REASON_NONE};
    t->next_address = 0;
    t->state = RESOLVING;
    look_up(t);
}

uint8_t *transport_reserve(struct transport *t, size_t n)
{
    return t->state == OPEN ? send_queue_reserve(&t->queue, n) : NULL;
}

void transport_commit(struct transport *t, size_t n)
{
    send_queue_commit(&t->queue, n);
    t->congested |= t->queue.bytes >= TRANSPORT_QUEUE_HIGH;
}

bool transport_append(struct transport *t, struct send_block *b, size_t len)
{
    if (t->state != OPEN)
        return false;
    send_queue_append(&t->queue, b, len);
    t->congested |= t->queue.bytes >= TRANSPORT_QUEUE_HIGH;
    return true;
}

bool transport_congested(const struct transport *t)
{
    return t->congested;
}

void transport_ping(struct transport *t)
{
    t->ping_wanted |= t->state == OPEN;
}

/* The first who ends it says why. */
static void note_request(struct transport *t, enum link_reason reason)
{
    if (t->state == ENDING)
        return;
    t->end = (struct transport_end){
        .reason = reason, .was_open = t->state == OPEN, .close_code = t->end.close_code};
}

static void give_up(struct transport *t, enum link_reason reason)
{
    note_request(t, reason);
    t->state = ENDING;
    resolve_cancel(t->resolve);
    t->resolve = NULL;
    connection_over(t);
}

void transport_close(struct transport *t, unsigned code, enum link_reason reason)
{
    if (t->state == RESOLVING || t->state == DIALING)
        give_up(t, reason);
    if (t->state != OPEN)
        return;
    note_request(t, reason);
    t->state = ENDING;
    t->close_wanted = true;
    t->close_code = code;
    arm_deadline(t, TRANSPORT_CLOSE_MS);
}

void transport_abort(struct transport *t, enum link_reason reason)
{
    if (t->state == IDLE)
        return;
    give_up(t, reason);
}

uint8_t *transport_take(struct transport *t)
{
    assert(t->message);
    return frame_reader_take(&t->reader, t->message);
}

void transport_pause(struct transport *t, bool on)
{
    if (t->paused == on)
        return;
    t->paused = on;
    if ((t->state != OPEN && t->state != ENDING) || t->over)
        return;
    if (!on)
        run_later(t);
    if (!on && t->source.fd < 0 && loop_source_add(t->loop, &t->source, t->stream.fd, EPOLLIN) < 0)
        lose(t, LINK_REASON_CLOSED, "the connection cannot be watched");
    else
        watch_open(t);
}

uint64_t transport_heard_ms(struct transport *t)
{
    struct tcp_info info;

    if (t->state != OPEN || !tcp_look(t->stream.fd, &info) || info.tcpi_bytes_received == t->received)
        return t->heard_ms;
    t->received = info.tcpi_bytes_received;
    return t->heard_ms = loop_now_ms(t->loop) - info.tcpi_last_data_recv;
}

struct transport_counters transport_counters(const struct transport *t)
{
    return with_connection(t);
}
