#include "connection.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "server.h"
#include "tap.h"

#define MAX_MESSAGE ((size_t)128 << 20)
/* Frames sent in one turn: enough to fill a socket buffer, and the other connections still get their turn. */
#define FLUSH_BUDGET 512

static struct frame *queue_head(const struct connection *connection)
{
    return connection->queue[connection->first];
}

static void queue_grow(struct connection *connection)
{
    size_t room = connection->room ? connection->room * 2 : 64;
    struct frame **queue = memory_get(room * sizeof(struct frame *));

    for (size_t i = 0; i < connection->count; i++)
        queue[i] = connection->queue[(connection->first + i) % connection->room];
    free(connection->queue);
    connection->queue = queue;
    connection->room = room;
    connection->first = 0;
}

static void queue_push(struct connection *connection, struct frame *frame)
{
    if (connection->count == connection->room)
        queue_grow(connection);
    connection->queue[(connection->first + connection->count++) % connection->room] = frame_ref(frame);
    connection->server->connections.queued++;
}

static void queue_pop(struct connection *connection)
{
    frame_unref(queue_head(connection));
    connection->first = (connection->first + 1) % connection->room;
    connection->count--;
    connection->fragment = 0;
    connection->sent = 0;
    connection->server->connections.queued--;
}

static void queue_clear(struct connection *connection)
{
    while (connection->count)
        queue_pop(connection);
}

void connection_send(struct connection *connection, struct frame *frame)
{
    if (connection->is_cut)
        return;
    queue_push(connection, frame);
    if (connection->count == 1)
        lws_callback_on_writable(connection->wsi);
}

size_t connections_broadcast(struct server *server, struct frame *frame)
{
    size_t n = 0;

    for (struct connection *each = server->connections.first; each; each = each->next) {
        if (each->is_sham || each->is_cut)
            continue;
        connection_send(each, frame);
        n++;
    }
    return n;
}

size_t connections_close(struct server *server, struct frame *close_frame)
{
    size_t n = connections_broadcast(server, close_frame);

    for (struct connection *each = server->connections.first; each; each = each->next)
        if (!each->is_sham)
            each->is_cut = true;
    return n;
}

size_t connections_drop(struct server *server, bool with_rst)
{
    size_t n = 0;

    for (struct connection *each = server->connections.first; each; each = each->next) {
        each->is_cut = true;
        queue_clear(each);
        gate_cut(lws_get_socket_fd(each->wsi), with_rst);
        /* lws sees the end by itself, but not while it is busy with a close or a full buffer. */
        lws_set_timeout(each->wsi, PENDING_TIMEOUT_USER_REASON_BASE, LWS_TO_KILL_ASYNC);
        n += !each->is_sham;
    }
    return n;
}

void connections_set_reading(struct server *server, bool on)
{
    server->connections.is_reading_stopped = !on;
    for (struct connection *each = server->connections.first; each; each = each->next)
        lws_rx_flow_control(each->wsi, on);
}

static void connection_resume(lws_sorted_usec_list_t *sul)
{
    struct connection *connection = lws_container_of(sul, struct connection, pause);

    connection->is_paused = false;
    lws_callback_on_writable(connection->wsi);
}

static void connection_pause(struct connection *connection, unsigned ms)
{
    connection->is_paused = true;
    lws_sul_schedule(connection->server->lws, 0, &connection->pause, connection_resume,
                     (lws_usec_t)ms * LWS_US_PER_MS);
}

static enum lws_write_protocol frame_opcode(const struct frame *frame)
{
    return frame->kind == FRAME_TEXT ? LWS_WRITE_TEXT : LWS_WRITE_BINARY;
}

/* One fragment, from a copy: its header would overwrite the end of the fragment before, which others need. */
static int send_fragment(struct connection *connection, struct frame *frame)
{
    size_t i = connection->fragment++;
    size_t from = i ? frame->ends[i - 1] : 0;
    size_t len = frame->ends[i] - from;
    bool is_last = i + 1 == frame->n_ends;
    struct frame *copy = frame_new(frame->kind, frame_payload(frame) + from, len);
    int flags = lws_write_ws_flags(frame_opcode(frame), i == 0, is_last);
    int n = lws_write(connection->wsi, frame_payload(copy), len, (enum lws_write_protocol)flags);

    frame_unref(copy);
    if (is_last)
        queue_pop(connection);
    else if (frame->pause_ms)
        connection_pause(connection, frame->pause_ms);
    return n < 0 ? -1 : 0;
}

static int send_message(struct connection *connection, struct frame *frame)
{
    int n;

    if (frame->ends)
        return send_fragment(connection, frame);
    n = lws_write(connection->wsi, frame_payload(frame), frame->len, frame_opcode(frame));
    queue_pop(connection);
    return n < 0 ? -1 : 0;
}

/* 1: the socket takes no more now. */
static int send_raw(struct connection *connection, struct frame *frame)
{
    const unsigned char *at = frame_payload(frame) + connection->sent;
    ssize_t n = send(lws_get_socket_fd(connection->wsi), at, frame->len - connection->sent,
                     MSG_NOSIGNAL | MSG_DONTWAIT);

    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 1 : -1;
    connection->sent += (size_t)n;
    if (connection->sent < frame->len)
        return 1;
    queue_pop(connection);
    return 0;
}

static int send_close(struct connection *connection, struct frame *frame)
{
    lws_close_reason(connection->wsi, (enum lws_close_status)frame->close_code, frame_payload(frame),
                     frame->len);
    queue_clear(connection);
    return -1;
}

static int send_next(struct connection *connection)
{
    struct frame *frame = queue_head(connection);

    switch (frame->kind) {
    case FRAME_RAW:
        return send_raw(connection, frame);
    case FRAME_CLOSE:
        return send_close(connection, frame);
    default:
        return send_message(connection, frame);
    }
}

/* Until the queue is empty, the socket is full, or it is time for somebody else. lws keeps what a write left
 * over and sends it first; a second write behind it would corrupt the stream. */
static int connection_flush(struct connection *connection)
{
    int result = 0;

    for (int i = 0; i < FLUSH_BUDGET && result == 0; i++) {
        if (!connection->count || connection->is_paused)
            return 0;
        if (lws_partial_buffered(connection->wsi))
            break;
        result = send_next(connection);
    }
    if (result < 0)
        return -1;
    if (connection->count && !connection->is_paused)
        lws_callback_on_writable(connection->wsi);
    return 0;
}

static void connection_open(struct connection *connection, struct lws *wsi)
{
    struct server *server = server_of(wsi);

    *connection = (struct connection){.server = server, .wsi = wsi, .next = server->connections.first};
    connection->is_sham = tap_is_tampered(lws_get_socket_fd(wsi));
    if (connection->next)
        connection->next->prev = connection;
    server->connections.first = connection;
    if (server->connections.is_reading_stopped)
        lws_rx_flow_control(wsi, 0);
    if (connection->is_sham)
        return;
    server->connections.open++;
    server->count.accepted++;
}

static void connection_unlink(struct connection *connection)
{
    struct connections *list = &connection->server->connections;

    if (connection->next)
        connection->next->prev = connection->prev;
    if (connection->prev)
        connection->prev->next = connection->next;
    else
        list->first = connection->next;
    list->open -= !connection->is_sham;
}

static void connection_end(struct connection *connection)
{
    struct server *server = connection->server;

    if (!server)
        return;
    connection_unlink(connection);
    lws_sul_cancel(&connection->pause);
    queue_clear(connection);
    free(connection->queue);
    bytes_deinit(&connection->incoming);
    tap_close(lws_get_socket_fd(connection->wsi));
    connection->server = NULL;
    server_stir(server);
    if (!connection->is_sham && !server->is_quitting)
        behaviour_leave(server);
}

static int connection_receive(struct connection *connection, const void *data, size_t len)
{
    struct bytes *incoming = &connection->incoming;
    struct lws *wsi = connection->wsi;
    bool is_last = lws_is_final_fragment(wsi) && !lws_remaining_packet_payload(wsi);

    if (connection->is_sham)
        return 0;
    if (is_last && !incoming->len) {
        behaviour_message(connection, data, len, lws_frame_is_binary(wsi));
        return 0;
    }
    if (incoming->len + len > MAX_MESSAGE) {
        connection->is_cut = true;
        queue_clear(connection);
        lws_close_reason(wsi, LWS_CLOSE_STATUS_MESSAGE_TOO_LARGE, NULL, 0);
        return -1;
    }
    bytes_append(incoming, data, len);
    if (is_last) {
        behaviour_message(connection, incoming->data, incoming->len, lws_frame_is_binary(wsi));
        if (incoming->room > (1 << 20)) /* one large message is no reason to keep that much */
            bytes_deinit(incoming);
        incoming->len = 0;
    }
    return 0;
}

int connection_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len)
{
    struct connection *connection = user;

    switch (reason) {
    case LWS_CALLBACK_OPENSSL_PERFORM_CLIENT_CERT_VERIFICATION:
        return len == 0; /* len is OpenSSL's verdict, and lws believes only what comes from here */
    case LWS_CALLBACK_FILTER_PROTOCOL_CONNECTION:
        return gate_filter(server_of(wsi), wsi);
    case LWS_CALLBACK_ESTABLISHED:
        connection_open(connection, wsi);
        return 0;
    case LWS_CALLBACK_RECEIVE:
        return connection_receive(connection, in, len);
    case LWS_CALLBACK_SERVER_WRITEABLE:
        return connection_flush(connection);
    case LWS_CALLBACK_WS_PEER_INITIATED_CLOSE:
        connection->is_cut = true; /* nothing may follow the close frame that lws answers with */
        queue_clear(connection);
        return 0;
    case LWS_CALLBACK_CLOSED:
        connection_end(connection);
        return 0;
    default:
        return lws_callback_http_dummy(wsi, reason, user, in, len);
    }
}
