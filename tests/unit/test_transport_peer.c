/*
 * transport, against a server of a few lines that says exactly which bytes come when, plain or TLS: ends that
 * come together with data, records that come in halves, what wakes the loop and what must not.
 */
#include "certificates.h"
#include "frames.h"
#include "loop.h"
#include "transport.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#define HOUR 3600L
#define PATIENCE_MS 20000
#define QUIET_TURNS 20 /* in a tenth of a second in which nothing happens */

static char folder[64];

static const char *in_folder(const char *name)
{
    static char paths[4][128];
    static unsigned next;
    char *path = paths[next++ % 4];

    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

/* ---- the server: one connection, in the same thread ---- */

struct peer {
    int listener, fd;
    uint16_t port;
    SSL_CTX *context;
    SSL *ssl; /* between two memory BIOs: what it says is sent when, and in pieces as, the test wants */
    uint8_t *got;
    size_t got_len, got_size;
    bool holds_back, ended;
};

static void peer_init(struct peer *p)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;

    *p = (struct peer){.fd = -1};
    p->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(p->listener, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(p->listener, 4), 0);
    assert_int_equal(getsockname(p->listener, (struct sockaddr *)&a, &len), 0);
    p->port = ntohs(a.sin_port);
}

static void peer_hang_up(struct peer *p)
{
    SSL_free(p->ssl);
    p->ssl = NULL;
    if (p->fd >= 0)
        close(p->fd);
    p->fd = -1;
    p->got_len = 0;
    p->ended = false;
}

static void peer_deinit(struct peer *p)
{
    peer_hang_up(p);
    SSL_CTX_free(p->context);
    close(p->listener);
    free(p->got);
}

static void peer_secure(struct peer *p)
{
    p->context = SSL_CTX_new(TLS_server_method());
    assert_int_equal(SSL_CTX_use_certificate_file(p->context, in_folder("localhost.pem"), SSL_FILETYPE_PEM),
                     1);
    assert_int_equal(SSL_CTX_use_PrivateKey_file(p->context, in_folder("localhost.key"), SSL_FILETYPE_PEM),
                     1);
}

static void send_raw(struct peer *p, const void *bytes, size_t n)
{
    assert_int_equal(send(p->fd, bytes, n, MSG_NOSIGNAL), n);
}

/* What TLS has to say, so much of it; SIZE_MAX: all. */
static void send_tls(struct peer *p, size_t most)
{
    char bytes[65536];
    int n;

    while (most && (n = BIO_read(SSL_get_wbio(p->ssl), bytes,
                                 most < sizeof bytes ? (int)most : (int)sizeof bytes)) > 0) {
        send_raw(p, bytes, (size_t)n);
        most -= most == SIZE_MAX ? 0 : (size_t)n;
    }
}

static void say(struct peer *p, const void *bytes, size_t n)
{
    if (!p->ssl) {
        send_raw(p, bytes, n);
        return;
    }
    assert_int_equal(SSL_write(p->ssl, bytes, (int)n), n);
    if (!p->holds_back)
        send_tls(p, SIZE_MAX);
}

static void keep(struct peer *p, const void *bytes, size_t n)
{
    while (p->got_size <= p->got_len + n) {
        p->got_size = p->got_size ? 2 * p->got_size : 65536;
        p->got = realloc(p->got, p->got_size);
        assert_non_null(p->got);
    }
    memcpy(p->got + p->got_len, bytes, n);
    p->got_len += n;
    p->got[p->got_len] = '\0';
}

static void peer_accept(struct peer *p)
{
    p->fd = accept4(p->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (p->fd < 0 || !p->context)
        return;
    p->ssl = SSL_new(p->context);
    SSL_set_bio(p->ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
    SSL_set_accept_state(p->ssl);
}

/* Takes what came. */
static void peer_step(struct peer *p, size_t most)
{
    static char bytes[65536];
    ssize_t n;
    int plain;

    if (p->fd < 0)
        peer_accept(p);
    if (p->fd < 0)
        return;
    n = recv(p->fd, bytes, most < sizeof bytes ? most : sizeof bytes, 0);
    p->ended |= n == 0;
    if (!p->ssl) {
        if (n > 0)
            keep(p, bytes, (size_t)n);
        return;
    }
    if (n > 0)
        BIO_write(SSL_get_rbio(p->ssl), bytes, (int)n);
    while ((plain = SSL_read(p->ssl, bytes, sizeof bytes)) > 0)
        keep(p, bytes, (size_t)plain);
    if (!p->holds_back)
        send_tls(p, SIZE_MAX);
}

static void answer_upgrade(struct peer *p, const char *frames, size_t n)
{
    const char *key = strstr((char *)p->got, "Sec-WebSocket-Key: ");
    char text[100], answer[512];
    unsigned char digest[SHA_DIGEST_LENGTH], accept[32];

    assert_non_null(key);
    snprintf(text, sizeof text, "%.24s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key + 19);
    SHA1((unsigned char *)text, strlen(text), digest);
    EVP_EncodeBlock(accept, digest, sizeof digest);
    int len = snprintf(answer, sizeof answer,
                       "HTTP/1.1 101 x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                       "Sec-WebSocket-Accept: %s\r\n\r\n",
                       (char *)accept);
    memcpy(answer + len, frames, n);
    p->got_len = 0;
    say(p, answer, (size_t)len + n);
}

/* ---- the rig ---- */

struct rig {
    struct loop *loop;
    struct transport *transport;
    struct peer peer;
    bool tls;
    int opened, closed, messages, texts, alive, pongs, drained;
    size_t bytes;
    struct transport_end end;
    void (*in_opened)(struct rig *r);
    void (*in_message)(struct rig *r);
    void (*in_alive)(struct rig *r);
};

static void on_opened(void *self)
{
    struct rig *r = self;

    r->opened++;
    if (r->in_opened)
        r->in_opened(r);
}

static void on_closed(void *self, const struct transport_end *end)
{
    struct rig *r = self;

    r->closed++;
    r->end = *end;
}

static void on_message(void *self, const uint8_t *bytes, size_t len)
{
    struct rig *r = self;

    r->messages++;
    r->bytes += len;
    if (r->in_message)
        r->in_message(r);
}

static void on_text(void *self, size_t len)
{
    ((struct rig *)self)->texts++;
}

static void on_alive(void *self)
{
    struct rig *r = self;

    r->alive++;
    if (r->in_alive)
        r->in_alive(r);
}

static void on_pong(void *self)
{
    ((struct rig *)self)->pongs++;
}

static void on_drained(void *self)
{
    ((struct rig *)self)->drained++;
}

static int set_up(void **state)
{
    struct rig *r = calloc(1, sizeof *r);
    const struct transport_listener l = {r,       on_opened, on_closed, on_message,
                                         on_text, on_alive,  on_pong,   on_drained};

    *state = r;
    peer_init(&r->peer);
    return loop_new(&r->loop) < 0 || transport_new(&r->transport, r->loop, &l) < 0 ? -1 : 0;
}

static int tear_down(void **state)
{
    struct rig *r = *state;

    transport_free(r->transport);
    loop_free(r->loop);
    peer_deinit(&r->peer);
    free(r);
    return 0;
}

static int stop(sd_event_source *s, uint64_t usec, void *self)
{
    loop_stop(((struct rig *)self)->loop);
    return 0;
}

/* The number of turns that it took. */
static uint64_t run_for(struct rig *r, uint64_t ms)
{
    sd_event_source *timer = NULL;
    uint64_t before = loop_turns(r->loop), now;
    struct timespec t;

    clock_gettime(CLOCK_BOOTTIME, &t);
    now = (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
    sd_event_add_time(loop_event(r->loop), &timer, CLOCK_BOOTTIME, now + ms * 1000, 1, stop, r);
    assert_int_equal(loop_run(r->loop), 0);
    sd_event_source_disable_unref(timer);
    return loop_turns(r->loop) - before;
}

static void check_quiet(struct rig *r)
{
    uint64_t turns = run_for(r, 100);

    if (turns > QUIET_TURNS)
        fail_msg("%u turns while nothing happened", (unsigned)turns);
}

#define run_until(r, condition)                                                         \
    do {                                                                                \
        for (int patience_ = 0; !(condition) && patience_ < PATIENCE_MS; patience_++) { \
            peer_step(&(r)->peer, SIZE_MAX);                                            \
            run_for((r), 1);                                                            \
        }                                                                               \
        assert_true(condition);                                                         \
    } while (0)

static void begin(struct rig *r)
{
    struct transport_options o = {.ca_file = in_folder("ca.pem"), .message_max = 8u << 20};
    char text[64];
    const char *why;

    snprintf(text, sizeof text, "%s://127.0.0.1:%u/", r->tls ? "wss" : "ws", r->peer.port);
    assert_int_equal(url_parse(&o.url, text, &why), 0);
    if (r->tls && !r->peer.context)
        peer_secure(&r->peer);
    assert_int_equal(transport_configure(r->transport, &o), 0);
    r->opened = r->closed = r->messages = r->texts = r->alive = r->pongs = r->drained = 0;
    transport_open(r->transport);
    run_until(r, r->peer.got_len && strstr((char *)r->peer.got, "\r\n\r\n"));
}

static void open_rig(struct rig *r, bool tls)
{
    r->tls = tls;
    begin(r);
    answer_upgrade(&r->peer, "", 0);
    run_until(r, r->opened);
    run_for(r, 5);
}

static void send_message(struct rig *r, size_t n)
{
    uint8_t *room = transport_reserve(r->transport, n);

    assert_non_null(room);
    memset(room, 'm', n);
    transport_commit(r->transport, n);
}

static void pause_in_message(struct rig *r)
{
    transport_pause(r->transport, true);
}

/* ---- data and end together ---- */

/* What was read and held back by a pause is told, though the end has come meanwhile. */
static void check_held_back(struct rig *r, bool tls)
{
    open_rig(r, tls);
    r->in_message = pause_in_message;
    say(&r->peer,
        "\x82\x01"
        "1\x82\x01"
        "2\x82\x01"
        "3\x82\x01"
        "4",
        12);
    run_until(r, r->messages == 1);
    peer_hang_up(&r->peer);
    check_quiet(r);
    assert_int_equal(r->messages, 1);
    for (int n = 2; n <= 4; n++) {
        transport_pause(r->transport, false);
        run_until(r, r->messages == n);
        check_quiet(r);
        assert_int_equal(r->messages, n);
        assert_int_equal(r->closed, 0);
    }
    transport_pause(r->transport, false);
    run_until(r, r->closed);
    assert_int_equal(r->end.reason, LINK_REASON_CLOSED);
}

static void test_held_back_and_cut(void **state)
{
    check_held_back(*state, false);
}

static void test_held_back_and_cut_tls(void **state)
{
    check_held_back(*state, true);
}

/* Frames that come in one piece with the answer, and the end with them. */
static void test_frames_with_the_answer(void **state)
{
    struct rig *r = *state;

    begin(r);
    answer_upgrade(&r->peer, "\x82\x01x\x81\x01y\x88\x02\x0f\xa1", 10);
    peer_hang_up(&r->peer);
    run_until(r, r->closed);
    assert_int_equal(r->messages, 1);
    assert_int_equal(r->texts, 1);
    assert_int_equal(r->end.close_code, 4001);
}

static void pause_in_alive(struct rig *r)
{
    transport_pause(r->transport, true);
}

/* A pause that comes before the first frame of a full buffer. */
static void test_pause_with_a_full_buffer(void **state)
{
    static uint8_t bytes[100000];
    struct rig *r = *state;

    for (size_t i = 0; i < sizeof bytes; i += 1000)
        memcpy(bytes + i, "\x82\x7e\x03\xe4", 4);
    open_rig(r, false);
    r->in_alive = pause_in_alive;
    transport_pause(r->transport, true);
    say(&r->peer, bytes, sizeof bytes);
    run_for(r, 20);
    transport_pause(r->transport, false);
    run_until(r, r->alive);
    r->in_alive = NULL;
    transport_pause(r->transport, false);
    run_until(r, r->messages == 100 || r->closed);
    assert_int_equal(r->closed, 0);
}

/* ---- TLS ---- */

/* Half a record is nothing to read, and wakes nobody. */
static void test_half_a_record(void **state)
{
    struct rig *r = *state;

    open_rig(r, true);
    r->peer.holds_back = true;
    say(&r->peer, "\x82\x05hello", 7);
    send_tls(&r->peer, 3); /* of the record's header */
    check_quiet(r);
    send_tls(&r->peer, 10);
    check_quiet(r);
    assert_int_equal(r->messages, 0);
    send_tls(&r->peer, SIZE_MAX);
    run_until(r, r->messages == 1);
}

/* TLS' goodbye behind a message, and the socket stays open. */
static void test_goodbye_behind_a_message(void **state)
{
    struct rig *r = *state;

    open_rig(r, true);
    r->peer.holds_back = true;
    say(&r->peer, "\x82\x05hello", 7);
    SSL_shutdown(r->peer.ssl);
    send_tls(&r->peer, SIZE_MAX);
    run_until(r, r->messages == 1);
    run_until(r, r->closed);
    assert_int_equal(r->end.reason, LINK_REASON_CLOSED);
}

/* A record that was forged, behind a message. */
static void test_bad_record_behind_a_message(void **state)
{
    struct rig *r = *state;

    open_rig(r, true);
    r->peer.holds_back = true;
    say(&r->peer, "\x82\x05hello", 7);
    char record[256];
    int n = BIO_read(SSL_get_wbio(r->peer.ssl), record, sizeof record);
    memcpy(record + n, record, (size_t)n); /* its number is another one now */
    send_raw(&r->peer, record, 2 * (size_t)n);
    run_until(r, r->messages == 1);
    run_until(r, r->closed);
    assert_int_equal(r->end.reason, LINK_REASON_CLOSED);
}

/* The server asks for new keys while nothing of ours goes out. */
static void test_new_keys_while_choked(void **state)
{
    struct rig *r = *state;
    size_t sent = 0;

    open_rig(r, true);
    for (int i = 0; i < 12; i++, sent += 1u << 20)
        send_message(r, 1u << 20);
    run_for(r, 50); /* nobody reads */
    check_quiet(r);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(SSL_key_update(r->peer.ssl, SSL_KEY_UPDATE_REQUESTED), 1);
        say(&r->peer, "\x82\x05hello", 7);
        for (int k = 0; k < 100 && r->messages < i + 1; k++)
            run_for(r, 1);
        assert_int_equal(r->messages, i + 1);
        check_quiet(r);
    }
    run_until(r, r->peer.got_len >= sent + sent / 65536 * 8);
    say(&r->peer, "\x89\x00", 2);
    size_t before = r->peer.got_len;
    run_until(r, r->peer.got_len == before + 6);
}

/* ---- a flood ---- */

static const char *flood_bytes = "\x82\x0a"
                                 "0123456789";

struct flood {
    struct loop_hook hook;
    struct rig *rig;
    uint8_t block[12 * 1024], wire[65536];
    size_t at, len; /* of the wire: sent, filled */
    unsigned turns, most;
};

static void next_record(struct flood *f)
{
    struct peer *p = &f->rig->peer;

    f->at = 0;
    if (p->ssl) {
        assert_int_equal(SSL_write(p->ssl, f->block, sizeof f->block), sizeof f->block);
        f->len = (size_t)BIO_read(SSL_get_wbio(p->ssl), f->wire, sizeof f->wire);
    } else {
        memcpy(f->wire, f->block, f->len = sizeof f->block);
    }
}

/* As much as the socket takes, for so many turns: who starves the timers would never end. */
static void flood_on(struct loop_hook *h)
{
    struct flood *f = (struct flood *)h;
    ssize_t n = 1;

    if (f->turns++ > f->most)
        return;
    while (n > 0) {
        if (f->at == f->len)
            next_record(f);
        n = send(f->rig->peer.fd, f->wire + f->at, f->len - f->at, MSG_NOSIGNAL);
        f->at += n > 0 ? (size_t)n : 0;
    }
}

/* The server sends as fast as we read: timers run all the same. */
static void check_flood(struct rig *r, bool tls)
{
    static struct flood f;

    f = (struct flood){.hook.turn = flood_on, .rig = r, .most = 20000};
    for (size_t i = 0; i < sizeof f.block; i += 12)
        memcpy(f.block + i, flood_bytes, 12);
    open_rig(r, tls);
    loop_hook_add(r->loop, &f.hook);
    flood_on(&f.hook);
    run_for(r, 50);
    loop_hook_remove(r->loop, &f.hook);
    assert_true(r->messages > 1000);
    assert_true(f.turns < f.most);
}

static void test_flood(void **state)
{
    check_flood(*state, false);
}

static void test_flood_tls(void **state)
{
    check_flood(*state, true);
}

/* A server that broke the protocol, answers no close and goes on: it is over after TRANSPORT_CLOSE_MS. */
static void test_flood_that_nobody_hears(void **state)
{
    static struct flood f;
    struct rig *r = *state;

    f = (struct flood){.hook.turn = flood_on, .rig = r, .most = 2000000};
    open_rig(r, true);
    uint64_t before = loop_now_ms(r->loop);
    say(&r->peer, "\x83\x00", 2);
    loop_hook_add(r->loop, &f.hook);
    flood_on(&f.hook);
    for (int i = 0; i < 400 && !r->closed; i++)
        run_for(r, 10);
    loop_hook_remove(r->loop, &f.hook);
    assert_int_equal(r->closed, 1);
    assert_int_equal(r->end.reason, LINK_REASON_PROTOCOL);
    assert_in_range(loop_now_ms(r->loop) - before, TRANSPORT_CLOSE_MS, 3 * TRANSPORT_CLOSE_MS);
    assert_int_equal(r->messages, 0);
}

/* ---- close frames of the server ---- */

/* The code is told as it came, and said back if it may be. */
static void test_close_codes(void **state)
{
    static const unsigned codes[][2] = {
        {1000, 1000}, {1001, 1001}, {1003, 1003},  {1004, 1002}, {1005, 1002}, {1006, 1002},
        {1007, 1007}, {1014, 1014}, {1015, 1002},  {2999, 1002}, {3000, 3000}, {4999, 4999},
        {5000, 1002}, {999, 1002},  {65535, 1002}, {0, 1002},
    };
    struct rig *r = *state;

    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        uint8_t close[] = {0x88, 2, (uint8_t)(codes[i][0] >> 8), (uint8_t)codes[i][0]};

        open_rig(r, false);
        say(&r->peer, close, sizeof close);
        run_until(r, r->closed);
        peer_step(&r->peer, SIZE_MAX);
        assert_int_equal(r->end.reason, LINK_REASON_CLOSED);
        assert_int_equal(r->end.close_code, codes[i][0]);
        assert_int_equal(r->peer.got_len, 8);
        const uint8_t *f = r->peer.got;
        assert_int_equal(f[0], 0x88);
        assert_int_equal(f[1], 0x82);
        assert_int_equal((f[6] ^ f[2]) << 8 | (f[7] ^ f[3]), codes[i][1]);
        peer_hang_up(&r->peer);
    }
    open_rig(r, false);
    say(&r->peer, "\x88\x00", 2);
    run_until(r, r->closed);
    peer_step(&r->peer, SIZE_MAX);
    assert_int_equal(r->end.close_code, 0);
    assert_int_equal(r->peer.got_len, 6);
    assert_memory_equal(r->peer.got, "\x88\x80", 2);
}

/* ---- what goes out ---- */

/* Reads the frames of a client. */
struct parser {
    size_t at, messages, pongs, pings, closes;
    bool in_message;
};

static void parse(struct parser *s, const uint8_t *b, size_t n)
{
    for (;;) {
        size_t left = n - s->at, code, header, len = 0;
        const uint8_t *f = b + s->at;

        if (left < 2)
            return;
        assert_true(f[1] & 0x80);
        code = f[1] & 0x7f;
        header = code == 127 ? 14 : code == 126 ? 8 : 6;
        if (left < header)
            return;
        for (size_t i = 2; i < header - 4; i++)
            len = len << 8 | f[i];
        len = header == 6 ? code : len;
        if (left < header + len)
            return;
        unsigned opcode = f[0] & 0x0f;
        assert_false(f[0] & 0x70);
        if (opcode >= 8) {
            assert_true(f[0] & 0x80);
            s->pongs += opcode == 10;
            s->pings += opcode == 9;
            s->closes += opcode == 8;
        } else {
            assert_int_equal(opcode, s->in_message ? 0 : 2);
            bool right = true;
            for (size_t i = 0; i < len; i++)
                right &= (f[header + i] ^ f[header - 4 + i % 4]) == 'm';
            assert_true(right);
            s->in_message = !(f[0] & 0x80);
            s->messages += !s->in_message;
        }
        s->at += header + len;
    }
}

/* A slow server that pings all the time: frames stay whole, and pongs come early. */
static void check_choked(struct rig *r, bool tls)
{
    struct parser s = {0};
    int small = 4096;
    unsigned random = 1;

    setsockopt(r->peer.listener, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    open_rig(r, tls);
    for (int i = 0; i < 40; i++)
        send_message(r, i % 4 == 0 ? 300000 : (size_t)i * 50 + 1);
    for (int i = 0; i < 400; i++)
        send_message(r, 8192 - 8); /* frames and TLS records end together */
    for (int i = 0; s.messages < 440 || s.in_message; i++) {
        random = random * 1103515245 + 12345;
        if (i % 3 == 0)
            say(&r->peer,
                "\x89\x03"
                "abc",
                5);
        if (i % 50 == 0)
            transport_ping(r->transport);
        peer_step(&r->peer, 1 + (random >> 16) % 16000);
        run_for(r, 1);
        parse(&s, r->peer.got, r->peer.got_len);
        assert_true(i < 20000);
    }
    assert_true(s.pongs >= 3);
    assert_true(s.pings >= 1);
    transport_close(r->transport, 1000, LINK_REASON_REQUESTED);
    for (int i = 0; !s.closes && i < 1000; i++) {
        run_for(r, 1);
        peer_step(&r->peer, SIZE_MAX);
        parse(&s, r->peer.got, r->peer.got_len);
    }
    assert_int_equal(s.closes, 1);
    run_until(r, r->closed);
    parse(&s, r->peer.got, r->peer.got_len);
    assert_int_equal(s.at, r->peer.got_len); /* nothing follows a close frame */
    assert_int_equal(s.closes, 1);
}

static void test_slow_server(void **state)
{
    check_choked(*state, false);
}

static void test_slow_server_tls(void **state)
{
    check_choked(*state, true);
}

/* ---- quiet ---- */

static void test_quiet(void **state)
{
    struct rig *r = *state;

    for (int tls = 0; tls < 2; tls++) {
        open_rig(r, tls);
        check_quiet(r);
        say(&r->peer, "\x82", 1);
        check_quiet(r);
        say(&r->peer, "\x05he", 3);
        check_quiet(r);
        for (int i = 0; i < 20; i++)
            send_message(r, 1u << 20);
        run_for(r, 100);
        check_quiet(r); /* nobody reads */
        say(&r->peer, "llo\x89\x00", 5);
        run_for(r, 20);
        assert_int_equal(r->messages, 1);
        check_quiet(r); /* a pong is owed */
        transport_pause(r->transport, true);
        say(&r->peer, "\x82\x05hello", 7);
        check_quiet(r);
        shutdown(r->peer.fd, SHUT_WR);
        check_quiet(r);
        transport_pause(r->transport, false);
        run_until(r, r->closed);
        assert_int_equal(r->messages, 2);
        peer_hang_up(&r->peer);
        r->peer.context = tls ? r->peer.context : NULL;
    }
}

static void test_quiet_when_reset(void **state)
{
    struct rig *r = *state;
    struct linger at_once = {.l_onoff = 1};

    open_rig(r, false);
    transport_pause(r->transport, true);
    say(&r->peer, "\x82\x05hello", 7);
    check_quiet(r);
    setsockopt(r->peer.fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    peer_hang_up(&r->peer);
    check_quiet(r);
    send_message(r, 10);
    check_quiet(r);
    transport_pause(r->transport, false);
    run_until(r, r->closed);
}

/* ---- floods ---- */

static void test_ping_flood(void **state)
{
    static uint8_t pings[65536];
    struct rig *r = *state;
    struct parser s = {0};

    for (size_t i = 0; i < sizeof pings; i += 2)
        memcpy(pings + i, "\x89\x00", 2);
    open_rig(r, false);
    for (size_t sent = 0, i = 0; sent < 32 * sizeof pings; i++) { /* a million */
        size_t at = sent % sizeof pings;
        ssize_t n = send(r->peer.fd, pings + at, sizeof pings - at, MSG_NOSIGNAL);

        sent += n > 0 ? (size_t)n : 0;
        run_for(r, 1);
        peer_step(&r->peer, SIZE_MAX);
    }
    say(&r->peer, "\x82\x01x", 3);
    run_until(r, r->messages == 1);
    run_for(r, 10);
    peer_step(&r->peer, SIZE_MAX);
    parse(&s, r->peer.got, r->peer.got_len);
    assert_true(s.pongs >= 1 && s.pongs < 100000);
    assert_int_equal(r->closed, 0);
}

/* ---- what a listener may do ---- */

static void abort_it(struct rig *r)
{
    transport_abort(r->transport, LINK_REASON_REQUESTED);
}

static void close_it(struct rig *r)
{
    transport_close(r->transport, 1000, LINK_REASON_REQUESTED);
}

static void pause_twice(struct rig *r)
{
    transport_pause(r->transport, true);
    transport_pause(r->transport, false);
}

static void send_and_close(struct rig *r)
{
    if (r->messages <= 1 && r->opened) {
        uint8_t *room = transport_reserve(r->transport, 10);
        if (room) {
            memset(room, 'm', 10);
            transport_commit(r->transport, 10);
        }
    }
    close_it(r);
}

static void test_calls_from_within(void **state)
{
    static void (*const acts[])(struct rig *) = {abort_it, close_it, pause_twice, send_and_close};
    struct rig *r = *state;

    for (size_t i = 0; i < 4 * 3 * 2; i++) {
        r->tls = i >= 12;
        r->in_opened = i % 3 == 0 ? acts[i / 3 % 4] : NULL;
        r->in_message = i % 3 == 1 ? acts[i / 3 % 4] : NULL;
        r->in_alive = i % 3 == 2 ? acts[i / 3 % 4] : NULL;
        begin(r);
        answer_upgrade(&r->peer, "\x82\x01x\x82\x01y", 6);
        run_until(r, r->opened);
        run_for(r, 5);
        if (r->closed == 0 && !r->tls)
            send(r->peer.fd, "\x82\x01z\x89\x00", 5, MSG_NOSIGNAL);
        else if (r->closed == 0)
            say(&r->peer, "\x82\x01z\x89\x00", 5);
        run_for(r, 10);
        peer_hang_up(&r->peer);
        run_until(r, r->closed);
        assert_int_equal(r->closed, 1);
        transport_pause(r->transport, false);
    }
}

static int set_up_folder(void **state)
{
    static const struct certificate certificates[] = {
        {"ca", NULL, NULL, -HOUR, HOUR},
        {"localhost", "ca", "DNS:localhost,IP:127.0.0.1", -HOUR, HOUR},
    };

    signal(SIGPIPE, SIG_IGN); /* as the daemon does: OpenSSL writes with write(2) */
    snprintf(folder, sizeof folder, "/tmp/test-transport-peer-XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    return certificate_make(folder, &certificates[0]) < 0 || certificate_make(folder, &certificates[1]) < 0
               ? -1
               : 0;
}

static int tear_down_folder(void **state)
{
    static const char *const names[] = {"ca.pem", "ca.key", "localhost.pem", "localhost.key"};

    for (size_t i = 0; i < 4; i++)
        unlink(in_folder(names[i]));
    return rmdir(folder);
}

#define with_rig(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_rig(test_held_back_and_cut),
        with_rig(test_held_back_and_cut_tls),
        with_rig(test_frames_with_the_answer),
        with_rig(test_pause_with_a_full_buffer),
        with_rig(test_half_a_record),
        with_rig(test_goodbye_behind_a_message),
        with_rig(test_bad_record_behind_a_message),
        with_rig(test_new_keys_while_choked),
        with_rig(test_flood),
        with_rig(test_flood_tls),
        with_rig(test_flood_that_nobody_hears),
        with_rig(test_close_codes),
        with_rig(test_slow_server),
        with_rig(test_slow_server_tls),
        with_rig(test_quiet),
        with_rig(test_quiet_when_reset),
        with_rig(test_ping_flood),
        with_rig(test_calls_from_within),
    };

    return cmocka_run_group_tests(tests, set_up_folder, tear_down_folder);
}
