/*
 * A state machine around one lws connection.
 *
 *   idle -> resolving -> dialing (address 1 of n, 2 of n, …) -> open -> ending -> idle
 *
 * What drives it: lws_client_connect_via_info giving NULL, and LWS_CALLBACK_WSI_DESTROY. All other callbacks
 * of lws may be left out in one case or another (a handshake that times out tells nothing else), so they only
 * take notes of how far the connection came; the verdict is made from the notes when it is gone.
 *
 * `closed` is told from sd-event only (`later`): lws runs its own timers between sd_event_prepare and the
 * poll, where nobody may add timers or read the clock, and callers must not be called back from within their
 * own call.
 *
 * What lws does not tell, the kernel does: TCP_INFO says whether the server refused (a segment came in),
 * whether the peer or we ended the connection, and how many bytes came, be they pings or a part of a large
 * frame.
 */
#include "transport.h"
#include "assembly.h"
#include "log.h"
#include "loop.h"
#include "resolve.h"
#include "send_queue.h"
#include "setup.h"
#include "tls.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <libwebsockets.h>
#include <linux/tcp.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#define BUFFER_SIZE 65536 /* of lws, both ways: what one read brings */
#define FRAGMENT_MAX \
    65536u /* longer messages go out in fragments: masking 60 MiB at once would stop the loop */
#define WRITE_BURST                                                                                          \
    (1u << 20)                  /* bytes written in one turn, so that a fast server does not starve the rest \
                                 */
#define TCP_LOOK_MS 100         /* how often the kernel is asked for bytes that lws does not tell of */
#define CLOSE_TOO_LARGE 1009    /* RFC 6455, 7.4.1 */
#define TCP_STATE_ESTABLISHED 1 /* of tcp_info; <netinet/tcp.h>, which names it, excludes <linux/tcp.h> */
#define HTTP_SWITCHING_PROTOCOLS 101 /* what a websocket upgrade is answered by */

static_assert(SEND_QUEUE_ROOM >= LWS_PRE, "lws writes the frame header before the message");

enum state { IDLE, RESOLVING, DIALING, OPEN, ENDING };

/* How far a dialed connection came. */
enum phase { CONNECTING, CONNECTED, REQUESTED, UPGRADED };

struct transport {
    struct loop *loop;
    struct transport_listener listener;
    struct setup *setup, *next_setup; /* the one in use; the one for the next open */
    enum state state;
    struct transport_end end;
    sd_event_source *later, *deadline;

    struct resolve *resolve;
    struct resolve_result addresses;
    unsigned next_address;

    struct lws *wsi;
    bool in_dial, died_in_dial;
    bool given_up; /* close or abort was asked for before it was open */

    /* Notes about the connection */
    enum phase phase;
    int watched; /* a second descriptor of the socket while it connects: it outlives lws' own; -1: none */
    bool tls_begun, peer_gone, got_bytes;
    unsigned http_status;
    char lws_says[64];
    char tls_says[sizeof((struct transport_end){0}.detail)];

    struct send_queue queue;
    struct assembly assembly;
    const uint8_t *message; /* while it is being told */
    size_t message_len;
    size_t text_len;
    bool congested, writable_wanted, ping_wanted, paused;
    bool close_wanted, close_begun, muted;
    unsigned close_code;
    uint64_t told_alive_turn;
    uint64_t received, heard_ms; /* bytes of this connection, and when the last one came: as last looked */
    struct transport_counters ended; /* of connections that are gone */
};

/* ---- verdicts ---- */

/* Of several addresses' failures the one that says most is told. */
static const unsigned char telling[LINK_REASON_COUNT] = {
    [LINK_REASON_UNREACHABLE] = 1, [LINK_REASON_REFUSED] = 2,      [LINK_REASON_TIMEOUT] = 3,
    [LINK_REASON_CLOSED] = 4,      [LINK_REASON_PROXY] = 5,        [LINK_REASON_PROTOCOL] = 6,
    [LINK_REASON_TLS] = 7,         [LINK_REASON_UPGRADE] = 8,      [LINK_REASON_UNAUTHORIZED] = 9,
    [LINK_REASON_DNS] = 10,        [LINK_REASON_CREDENTIALS] = 11,
};

static void note_end(struct transport *t, enum link_reason reason, const char *detail)
{
    if (t->given_up || telling[reason] <= telling[t->end.reason])
        return;
    t->end.reason = reason;
    t->end.http_status = t->http_status;
    snprintf(t->end.detail, sizeof(t->end.detail), "%s", detail);
}

static bool tcp_look(int fd, struct tcp_info *info)
{
    socklen_t len = sizeof(*info);

    memset(info, 0, sizeof(*info)); /* an older kernel fills less */
    return fd >= 0 && getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, &len) == 0;
}

static void judge_connect(struct transport *t, int error)
{
    struct tcp_info info;
    char detail[160];

    if (error == 0 && tcp_look(t->watched, &info))
        error = info.tcpi_segs_in > 0 ? ECONNREFUSED : EHOSTUNREACH;
    bool refused = error == ECONNREFUSED;
    enum link_reason reason = refused ? LINK_REASON_REFUSED : LINK_REASON_UNREACHABLE;
    snprintf(detail, sizeof(detail), "%s: %s", t->addresses.address[t->next_address - 1],
             refused                 ? strerror(error)
             : error == EHOSTUNREACH ? "no route, or no answer in time"
             : error != 0            ? strerror(error)
                                     : "cannot connect");
    note_end(t, t->setup->options.proxy_host ? LINK_REASON_PROXY : reason, detail);
}

static void judge_upgrade(struct transport *t)
{
    char detail[64];
    bool refused = t->http_status == 401 || t->http_status == 403;

    snprintf(detail, sizeof(detail), "the server answered the upgrade with %u", t->http_status);
    note_end(t, refused ? LINK_REASON_UNAUTHORIZED : LINK_REASON_UPGRADE, detail);
}

static bool lws_says(const struct transport *t, const char *prefix)
{
    return strncmp(t->lws_says, prefix, strlen(prefix)) == 0;
}

/* The connection is gone before it was open: why? */
static void judge(struct transport *t, int error)
{
    bool at_proxy = t->setup->options.proxy_host && t->phase == CONNECTED && !t->tls_begun;

    if (t->phase == CONNECTING)
        judge_connect(t, error);
    else if (t->tls_says[0] != '\0')
        note_end(t, LINK_REASON_TLS, t->tls_says);
    else if (t->http_status != 0 && t->http_status != HTTP_SWITCHING_PROTOCOLS)
        judge_upgrade(t);
    else if (at_proxy)
        note_end(t, LINK_REASON_PROXY, "the proxy refused the connection, or did not answer");
    else if (lws_says(t, "HS: "))
        note_end(t, LINK_REASON_PROTOCOL, t->lws_says + strlen("HS: "));
    else if (lws_says(t, "problems parsing") || (t->peer_gone && t->got_bytes && !t->tls_begun))
        note_end(t, LINK_REASON_PROTOCOL, "the answer to the upgrade is not HTTP");
    else if (t->peer_gone)
        note_end(t, LINK_REASON_CLOSED, "the server ended the connection before it answered the upgrade");
    else
        note_end(t, LINK_REASON_TIMEOUT, "the server took the connection and never answered the upgrade");
}

/* ---- ending ---- */

static void run_later(struct transport *t)
{
    sd_event_source_set_enabled(t->later, SD_EVENT_ONESHOT);
    loop_wake(t->loop);
}

static void reset_connection(struct transport *t)
{
    if (t->watched >= 0)
        close(t->watched);
    t->watched = -1;
    t->phase = CONNECTING;
    t->tls_begun = t->peer_gone = t->got_bytes = false;
    t->http_status = 0;
    t->lws_says[0] = t->tls_says[0] = '\0';
    send_queue_deinit(&t->queue);
    assembly_deinit(&t->assembly);
    t->text_len = 0;
    t->congested = t->writable_wanted = t->ping_wanted = false;
    t->close_wanted = t->close_begun = t->muted = false;
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
    t->given_up = false;
    t->state = IDLE;
    t->listener.closed(t->listener.self, &end);
}

static void kill_connection(struct transport *t)
{
    if (t->wsi)
        lws_set_timeout(t->wsi, PENDING_TIMEOUT_USER_REASON_BASE, LWS_TO_KILL_ASYNC);
}

static int on_deadline(sd_event_source *s, uint64_t usec, void *self)
{
    kill_connection(self);
    return 0;
}

static void arm_deadline(struct transport *t)
{
    sd_event_source_set_time(t->deadline, (loop_now_ms(t->loop) + TRANSPORT_CLOSE_MS) * 1000);
    sd_event_source_set_enabled(t->deadline, SD_EVENT_ONESHOT);
}

/* ---- dialing ---- */

static const lws_retry_bo_t no_keepalive = {0}; /* lws' own pings: the session has its heartbeat */

static struct lws *connect_via_lws(struct transport *t, const char *address)
{
    const struct url *u = &t->setup->options.url;
    char authority[URL_AUTHORITY_MAX], bracketed[URL_HOST_MAX + 3];
    struct lws_client_connect_info info = {
        .context = loop_lws(t->loop),
        .vhost = t->setup->vhost,
        .address = address,
        .port = u->port,
        .path = u->path,
        .host = authority,
        .alpn = "http/1.1",
        .local_protocol_name = "session",
        .userdata = t,
        .retry_and_idle_policy = &no_keepalive,
        .ssl_connection = LCCSCF_HTTP_NO_FOLLOW_REDIRECT,
    };

    url_authority(u, authority);
    if (u->tls) /* the name is checked by the context itself, see tls.h */
        info.ssl_connection |= LCCSCF_USE_SSL | LCCSCF_SKIP_SERVER_CERT_HOSTNAME_CHECK;
    if (t->setup->options.proxy_host) { /* lws dials the proxy; this is what it asks the proxy for */
        snprintf(bracketed, sizeof(bracketed), strchr(u->host, ':') ? "[%s]" : "%s", u->host);
        info.address = bracketed;
    }
    return lws_client_connect_via_info(&info);
}

/* true: it is on its way, and WSI_DESTROY will tell its end. */
static bool dial(struct transport *t, const char *address)
{
    reset_connection(t);
    if (t->setup->options.proxy_host && setup_set_proxy(t->setup, address) < 0) {
        note_end(t, LINK_REASON_PROXY, "not a usable address");
        return false;
    }
    t->in_dial = true;
    t->died_in_dial = false;
    errno = 0;
    struct lws *wsi = connect_via_lws(t, address);
    int error = errno;
    t->in_dial = false;
    if (!wsi || t->died_in_dial) {
        judge(t, error);
        return false;
    }
    t->wsi = wsi;
    if (t->phase == CONNECTING)
        t->watched = fcntl(lws_get_socket_fd(wsi), F_DUPFD_CLOEXEC, 3);
    return true;
}

static bool load_credentials(struct transport *t)
{
    char detail[sizeof(t->end.detail)];

    if (setup_load_credentials(t->setup, detail, sizeof(detail)) == 0)
        return true;
    note_end(t, LINK_REASON_CREDENTIALS, detail);
    return false;
}

static void dial_next(struct transport *t)
{
    t->state = DIALING;
    while (!t->given_up && t->next_address < t->addresses.count && load_credentials(t))
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
        note_end(t, LINK_REASON_DNS, gai_strerror(r->error));
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
        note_end(t, LINK_REASON_DNS, strerror(-r));
        run_later(t);
    }
}

/* The next step, from sd-event: an address after one that failed, or the end. */
static int on_later(sd_event_source *s, void *self)
{
    struct transport *t = self;

    if (t->state == RESOLVING || t->state == DIALING)
        dial_next(t);
    else
        finish(t);
    return 0;
}

/* ---- lws: before it is open ---- */

static void note_socket(struct transport *t, struct lws *wsi)
{
    struct tcp_info info;

    if (tcp_look(lws_get_socket_fd(wsi), &info)) {
        t->peer_gone = info.tcpi_state != TCP_STATE_ESTABLISHED;
        t->got_bytes = info.tcpi_bytes_received > 0;
        t->ended.bytes_in += info.tcpi_bytes_received;
        t->ended.bytes_out += info.tcpi_bytes_sent - info.tcpi_bytes_retrans;
    }
}

static int on_connected(struct transport *t, struct lws *wsi, void *in, size_t len)
{
    t->phase = CONNECTED;
    if (t->watched >= 0)
        close(t->watched);
    t->watched = -1;
    return 0;
}

static int on_append_headers(struct transport *t, struct lws *wsi, void *in, size_t len)
{
    const struct headers *h = &t->setup->headers;
    char **at = in;
    int n = h->has_user_agent ? 0 : snprintf(*at, len, "User-Agent: imd/%s\r\n", IMD_VERSION);

    t->phase = REQUESTED;
    memcpy(*at + n, h->text,
           h->len); /* HEADERS_MAX and the limits of URLs leave three quarters of the buffer */
    *at += (size_t)n + h->len;
    setup_wipe_credentials(t->setup);
    return 0;
}

/* What can be seen of a connection that ends before it is open, while lws still has its socket. */
static void note_attempt(struct transport *t, struct lws *wsi)
{
    SSL *ssl = lws_get_ssl(wsi);

    if (t->phase == CONNECTING)
        return;
    t->http_status = lws_http_client_http_response(wsi);
    t->tls_begun = ssl != NULL;
    if (!ssl || !tls_failure(t->setup->tls, ssl, t->tls_says, sizeof(t->tls_says)))
        t->tls_says[0] = '\0';
    note_socket(t, wsi);
}

static int on_failed(struct transport *t, struct lws *wsi, void *in, size_t len)
{
    snprintf(t->lws_says, sizeof(t->lws_says), "%.*s", in ? (int)len : 0, in ? (const char *)in : "");
    note_attempt(t, wsi);
    return 0;
}

static int on_not_upgraded(struct transport *t, struct lws *wsi, void *in, size_t len)
{
    note_attempt(t, wsi);
    return 0;
}

static int on_established(struct transport *t, struct lws *wsi, void *in, size_t len)
{
    if (t->given_up)
        return -1;
    t->phase = UPGRADED;
    t->state = OPEN;
    t->end = (struct transport_end){.was_open = true};
    if (t->paused)
        lws_rx_flow_control(wsi, 0);
    t->listener.opened(t->listener.self);
    return 0;
}

/* ---- lws: reading ---- */

static void tell_alive(struct transport *t)
{
    uint64_t turn = loop_turns(t->loop) + 1;

    if (t->told_alive_turn == turn)
        return;
    t->told_alive_turn = turn;
    t->listener.alive(t->listener.self);
}

static void refuse_message(struct transport *t, const char *why)
{
    if (t->state == OPEN) {
        transport_close(t, CLOSE_TOO_LARGE, LINK_REASON_TOO_LARGE);
        snprintf(t->end.detail, sizeof(t->end.detail), "%s", why);
    }
    assembly_deinit(&t->assembly);
    t->muted = true;
}

static void read_text(struct transport *t, const struct assembly_piece *p)
{
    if (p->len > t->assembly.max - t->text_len) {
        refuse_message(t, "a message above MaxMessage");
        return;
    }
    t->text_len += p->len;
    if (!p->final)
        return;
    size_t len = t->text_len;
    t->text_len = 0;
    t->listener.text_message(t->listener.self, len);
}

static void tell_message(struct transport *t, const uint8_t *message, size_t len)
{
    t->message = message;
    t->message_len = len;
    t->listener.message(t->listener.self, message, len);
    t->message = NULL;
    assembly_release(&t->assembly);
}

static void read_binary(struct transport *t, const struct assembly_piece *p)
{
    const uint8_t *message;
    size_t len;

    switch (assembly_add(&t->assembly, p, &message, &len)) {
    case ASSEMBLY_MORE:
        break;
    case ASSEMBLY_WHOLE:
        tell_message(t, message, len);
        break;
    case ASSEMBLY_TOO_LARGE:
        refuse_message(t, "a message above MaxMessage");
        break;
    case ASSEMBLY_NO_MEMORY:
        refuse_message(t, "no memory for a message");
        break;
    }
}

static int on_received(struct transport *t, struct lws *wsi, void *in, size_t len)
{
    if (t->muted)
        return 0;
    struct assembly_piece p = {
        .bytes = in,
        .len = len,
        .final = lws_is_final_fragment(wsi),
        .announced = lws_remaining_packet_payload(wsi),
    };
    tell_alive(t);
    if (lws_frame_is_binary(wsi))
        read_binary(t, &p);
    else
        read_text(t, &p);
    return 0;
}

static int on_pong(struct transport *t, struct lws *wsi, void *in, size_t len)
{
    if (t->muted)
        return 0;
    tell_alive(t);
    t->listener.pong(t->listener.self);
    return 0;
}

/* Payload: two bytes of code, then a reason. */
static int on_peer_close(struct transport *t, struct lws *wsi, void *in, size_t len)
{
    const uint8_t *payload = in;

    if (len >= 2)
        t->end.close_code = (unsigned)payload[0] << 8 | payload[1];
    t->peer_gone = true;
    return 0;
}

/* ---- lws: writing ---- */

static void want_writable(struct transport *t)
{
    if (t->writable_wanted || !t->wsi)
        return;
    t->writable_wanted = true;
    lws_callback_on_writable(t->wsi);
}

static int write_ping(struct transport *t, struct lws *wsi)
{
    uint8_t frame[LWS_PRE];

    if (!t->ping_wanted || lws_partial_buffered(wsi))
        return 0;
    t->ping_wanted = false;
    return lws_write(wsi, frame + LWS_PRE, 0, LWS_WRITE_PING);
}

/* A second lws_write after a partial one would corrupt the stream; lws keeps the rest of a partial one
 * itself. */
static int write_queue(struct transport *t, struct lws *wsi)
{
    size_t written = 0;

    while (t->queue.bytes > 0 && written < WRITE_BURST && !lws_partial_buffered(wsi)) {
        struct send_piece p = send_queue_peek(&t->queue, FRAGMENT_MAX);
        int kind = lws_write_ws_flags(LWS_WRITE_BINARY, p.first, p.final);
        if (lws_write(wsi, p.at, p.len, kind) < 0)
            return -1;
        send_queue_advance(&t->queue, p.len);
        written += p.len;
    }
    return 0;
}

static void tell_drained(struct transport *t)
{
    if (!t->congested || t->queue.bytes >= TRANSPORT_QUEUE_LOW)
        return;
    t->congested = false;
    t->listener.drained(t->listener.self);
}

static int on_writable(struct transport *t, struct lws *wsi, void *in, size_t len)
{
    t->writable_wanted = false;
    if (t->close_begun || (t->state != OPEN && t->state != ENDING))
        return 0;
    if (write_ping(t, wsi) < 0 || write_queue(t, wsi) < 0)
        return -1;
    tell_drained(t);
    if (t->queue.bytes > 0 || lws_partial_buffered(wsi)) {
        want_writable(t);
    } else if (t->close_wanted) { /* while something is buffered, lws would drop the close frame */
        t->close_begun = true;
        lws_close_reason(wsi, t->close_code, NULL, 0);
        return -1;
    }
    return 0;
}

/* ---- lws: the end ---- */

static void describe_close(struct transport *t, bool said_close)
{
    if (!said_close)
        snprintf(t->end.detail, sizeof(t->end.detail), "the connection was cut");
    else if (!t->end.close_code)
        snprintf(t->end.detail, sizeof(t->end.detail), "the server closed the connection");
    else
        snprintf(t->end.detail, sizeof(t->end.detail), "the server closed the connection with code %u",
                 t->end.close_code);
}

/* Neither side has said goodbye: the peer's TCP is gone, or else lws has ended it, since the frames made no
 * sense. */
static int on_closed(struct transport *t, struct lws *wsi, void *in, size_t len)
{
    bool said_close = t->peer_gone;
    SSL *ssl = lws_get_ssl(wsi);
    bool tls_closed = ssl && (SSL_get_shutdown(ssl) & SSL_RECEIVED_SHUTDOWN);

    note_socket(t, wsi);
    if (t->end.reason != LINK_REASON_NONE)
        return 0;
    if (said_close || tls_closed || t->peer_gone) {
        t->end.reason = LINK_REASON_CLOSED;
        describe_close(t, said_close);
    } else {
        t->end.reason = LINK_REASON_PROTOCOL;
        snprintf(t->end.detail, sizeof(t->end.detail), "the server broke the websocket protocol");
    }
    return 0;
}

static int on_destroyed(struct transport *t, struct lws *wsi, void *in, size_t len)
{
    t->wsi = NULL;
    if (t->in_dial) {
        t->died_in_dial = true;
        return 0;
    }
    if (t->state == DIALING)
        judge(t, 0);
    else if (t->end.reason == LINK_REASON_NONE)
        t->end.reason = LINK_REASON_CLOSED;
    run_later(t);
    return 0;
}

typedef int handler(struct transport *t, struct lws *wsi, void *in, size_t len);

static handler *handler_of(enum lws_callback_reasons reason)
{
    static const struct {
        enum lws_callback_reasons reason;
        handler *handle;
    } handlers[] = {
        {LWS_CALLBACK_CLIENT_RECEIVE, on_received},
        {LWS_CALLBACK_CLIENT_WRITEABLE, on_writable},
        {LWS_CALLBACK_CLIENT_RECEIVE_PONG, on_pong},
        {LWS_CALLBACK_WSI_CREATE, on_connected},
        {LWS_CALLBACK_CLIENT_APPEND_HANDSHAKE_HEADER, on_append_headers},
        {LWS_CALLBACK_CLIENT_CONNECTION_ERROR, on_failed},
        {LWS_CALLBACK_CLOSED_CLIENT_HTTP, on_not_upgraded},
        {LWS_CALLBACK_CLIENT_ESTABLISHED, on_established},
        {LWS_CALLBACK_WS_PEER_INITIATED_CLOSE, on_peer_close},
        {LWS_CALLBACK_CLIENT_CLOSED, on_closed},
        {LWS_CALLBACK_WSI_DESTROY, on_destroyed},
    };

    for (size_t i = 0; i < sizeof(handlers) / sizeof(handlers[0]); i++)
        if (handlers[i].reason == reason)
            return handlers[i].handle;
    return NULL;
}

/* user is NULL for callbacks about the vhost, and for a connection whose transport is gone. */
static int on_lws(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len)
{
    handler *handle = user ? handler_of(reason) : NULL;

    return handle ? handle(user, wsi, in, len) : 0;
}

static const struct lws_protocols protocols[] = {
    {.name = "session", .callback = on_lws, .rx_buffer_size = BUFFER_SIZE, .tx_packet_size = BUFFER_SIZE},
    {0},
};

/* ---- the interface ---- */

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
    *t = (struct transport){.loop = loop, .listener = *l, .watched = -1};
    int r = add_sources(t);
    if (r < 0) {
        transport_free(t);
        return r;
    }
    *out = t;
    return 0;
}

/* A connection that is still there is orphaned, and ends in the loop's next turn or with its lws context. */
void transport_free(struct transport *t)
{
    if (!t)
        return;
    if (t->wsi) {
        lws_set_wsi_user(t->wsi, NULL);
        kill_connection(t);
    }
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

    if (r == 0)
        r = setup_bind(s, loop_lws(t->loop), protocols);
    if (r < 0) {
        setup_free(s);
        return r;
    }
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
    t->assembly.max = t->setup->options.message_max;
    t->end = (struct transport_end){.reason = LINK_REASON_NONE};
    t->next_address = 0;
    t->state = RESOLVING;
    look_up(t);
}

uint8_t *transport_reserve(struct transport *t, size_t n)
{
    return t->state == OPEN ? send_queue_reserve(&t->queue, n) : NULL;
}

static void message_queued(struct transport *t)
{
    if (t->queue.bytes >= TRANSPORT_QUEUE_HIGH)
        t->congested = true;
    want_writable(t);
}

void transport_commit(struct transport *t, size_t n)
{
    send_queue_commit(&t->queue, n);
    if (n > 0)
        message_queued(t);
}

bool transport_append(struct transport *t, struct send_block *b, size_t len)
{
    if (t->state != OPEN)
        return false;
    send_queue_append(&t->queue, b, len);
    message_queued(t);
    return true;
}

bool transport_congested(const struct transport *t)
{
    return t->congested;
}

void transport_ping(struct transport *t)
{
    if (t->state != OPEN)
        return;
    t->ping_wanted = true;
    want_writable(t);
}

/* The first who ends it says why. */
static void note_request(struct transport *t, enum link_reason reason)
{
    if (t->given_up || t->state == ENDING)
        return;
    t->end = (struct transport_end){
        .reason = reason, .was_open = t->state == OPEN, .close_code = t->end.close_code};
}

static void give_up(struct transport *t, enum link_reason reason)
{
    note_request(t, reason);
    t->given_up = true;
    if (t->resolve) {
        resolve_cancel(t->resolve);
        t->resolve = NULL;
        run_later(t);
    }
    kill_connection(t);
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
    arm_deadline(t);
    want_writable(t);
}

void transport_abort(struct transport *t, enum link_reason reason)
{
    if (t->state == RESOLVING || t->state == DIALING)
        give_up(t, reason);
    if (t->state != OPEN && t->state != ENDING)
        return;
    note_request(t, reason);
    t->state = ENDING;
    t->muted = true;
    kill_connection(t);
}

uint8_t *transport_take(struct transport *t)
{
    assert(t->message);
    return assembly_take(&t->assembly, t->message, t->message_len);
}

void transport_pause(struct transport *t, bool on)
{
    if (t->paused == on)
        return;
    t->paused = on;
    if (t->wsi && (t->state == OPEN || t->state == ENDING))
        lws_rx_flow_control(t->wsi, !on);
}

uint64_t transport_heard_ms(struct transport *t)
{
    struct tcp_info info;

    if (t->state != OPEN || !t->wsi || !tcp_look(lws_get_socket_fd(t->wsi), &info) ||
        info.tcpi_bytes_received == t->received)
        return t->heard_ms;
    t->received = info.tcpi_bytes_received;
    return t->heard_ms = loop_now_ms(t->loop) - info.tcpi_last_data_recv;
}

struct transport_counters transport_counters(const struct transport *t)
{
    struct transport_counters c = t->ended;
    struct tcp_info info;

    if (t->wsi && t->state == OPEN && tcp_look(lws_get_socket_fd(t->wsi), &info)) {
        c.bytes_in += info.tcpi_bytes_received;
        c.bytes_out += info.tcpi_bytes_sent - info.tcpi_bytes_retrans;
    }
    return c;
}
