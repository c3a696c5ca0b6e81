#include "gate.h"

#include <arpa/inet.h>
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "server.h"
#include "tap.h"

#define GATE_BACKLOG 4096
#define GARBAGE_LEN 256

struct held {
    struct held *prev;
    struct held *next;
    struct lws *wsi;
};

struct gate_status {
    const char *code;
    const char *phrase;
    const char *header; /* "%s" stands for the location */
};

static const struct gate_status statuses[] = {
    {"200", "OK", ""},
    {"302", "Found", "Location: %s\r\n"},
    {"307", "Temporary Redirect", "Location: %s\r\n"},
    {"400", "Bad Request", ""},
    {"401", "Unauthorized", "WWW-Authenticate: Basic realm=\"im\"\r\n"},
    {"403", "Forbidden", ""},
    {"404", "Not Found", ""},
    {"429", "Too Many Requests", ""},
    {"500", "Internal Server Error", ""},
    {"502", "Bad Gateway", ""},
    {"503", "Service Unavailable", ""},
};

static bool port_parse(const char *text, in_port_t *port)
{
    char *end;
    unsigned long n;

    if (!isdigit((unsigned char)*text))
        return false;
    n = strtoul(text, &end, 10);
    *port = htons((uint16_t)n);
    return !*end && n <= 65535;
}

static bool gate_parse_v6(struct gate *gate, const char *port)
{
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&gate->address;

    v6->sin6_family = AF_INET6;
    v6->sin6_addr = in6addr_loopback;
    gate->address_len = sizeof(*v6);
    return port_parse(port, &v6->sin6_port);
}

bool gate_parse(struct gate *gate, const char *address)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)&gate->address;
    const char *colon = strrchr(address, ':');
    char host[INET_ADDRSTRLEN];

    memset(&gate->address, 0, sizeof(gate->address));
    if (!strncmp(address, "[::1]:", 6))
        return gate_parse_v6(gate, address + 6);
    if (!colon || (size_t)(colon - address) >= sizeof(host))
        return false;
    memcpy(host, address, (size_t)(colon - address));
    host[colon - address] = '\0';
    v4->sin_family = AF_INET;
    gate->address_len = sizeof(*v4);
    return inet_pton(AF_INET, host, &v4->sin_addr) == 1 && ntohl(v4->sin_addr.s_addr) >> 24 == 127 &&
           port_parse(colon + 1, &v4->sin_port);
}

int gate_port(const struct gate *gate)
{
    if (gate->address.ss_family == AF_INET6)
        return ntohs(((const struct sockaddr_in6 *)&gate->address)->sin6_port);
    return ntohs(((const struct sockaddr_in *)&gate->address)->sin_port);
}

static int gate_listen(struct gate *gate)
{
    int fd = socket(gate->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int on = 1;
    int saved;

    if (fd < 0)
        return -1;
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
        bind(fd, (struct sockaddr *)&gate->address, gate->address_len) == 0 &&
        listen(fd, GATE_BACKLOG) == 0 &&
        getsockname(fd, (struct sockaddr *)&gate->address, &gate->address_len) == 0)
        return fd;
    saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

bool gate_start(struct server *server)
{
    struct gate *gate = &server->gate;
    lws_sock_file_fd_type fd;

    if (gate->listener)
        return true;
    gate->listen_fd = gate_listen(gate);
    if (gate->listen_fd < 0)
        return false;
    fd.filefd = gate->listen_fd;
    gate->listener =
        lws_adopt_descriptor_vhost(server->vhost, LWS_ADOPT_RAW_FILE_DESC, fd, GATE_LISTENER_PROTOCOL, NULL);
    return gate->listener;
}

static void gate_hold(struct server *server, int client)
{
    lws_sock_file_fd_type fd = {.filefd = client};

    lws_adopt_descriptor_vhost(server->vhost, LWS_ADOPT_RAW_FILE_DESC, fd, GATE_HELD_PROTOCOL, NULL);
}

/* One request, or one silent connection, takes its turn of a limited answer. */
static void gate_count_down(struct gate *gate)
{
    if (gate->is_limited && --gate->times <= 0) {
        gate->answer = GATE_OK;
        gate->is_limited = false;
    }
}

static void gate_accept(struct server *server)
{
    struct gate *gate = &server->gate;
    int on = 1;
    int fd;

    while ((fd = accept4(gate->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        server->count.tcp++;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        if (gate->answer == GATE_SILENT) {
            gate_count_down(gate);
            gate_hold(server, fd);
        } else {
            tap_open(fd);
            lws_adopt_socket_vhost(server->vhost, fd);
        }
    }
}

void gate_stop(struct server *server)
{
    struct gate *gate = &server->gate;
    struct lws *listener = gate->listener;

    if (!listener)
        return;
    gate_accept(server); /* who has connected already is in: closing the socket would reset them */
    gate->listener = NULL;
    lws_set_timeout(listener, PENDING_TIMEOUT_USER_REASON_BASE, LWS_TO_KILL_SYNC);
}

int gate_listener_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                           size_t len)
{
    (void)user, (void)in, (void)len;
    if (reason == LWS_CALLBACK_RAW_RX_FILE)
        gate_accept(server_of(wsi));
    return 0;
}

size_t gate_held_size(void)
{
    return sizeof(struct held);
}

static void held_add(struct gate *gate, struct held *held, struct lws *wsi)
{
    *held = (struct held){.next = gate->held, .wsi = wsi};
    if (held->next)
        held->next->prev = held;
    gate->held = held;
    gate->n_held++;
}

static void held_remove(struct gate *gate, struct held *held)
{
    if (held->next)
        held->next->prev = held->prev;
    if (held->prev)
        held->prev->next = held->next;
    else
        gate->held = held->next;
    gate->n_held--;
}

/* -1: the peer has gone. */
static int held_discard(struct lws *wsi)
{
    char sink[4096];
    ssize_t n;

    do
        n = read(lws_get_socket_fd(wsi), sink, sizeof(sink));
    while (n > 0);
    return n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
}

int gate_held_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len)
{
    struct gate *gate = &server_of(wsi)->gate;

    (void)in, (void)len;
    switch (reason) {
    case LWS_CALLBACK_RAW_ADOPT_FILE:
        held_add(gate, user, wsi);
        return 0;
    case LWS_CALLBACK_RAW_RX_FILE:
        return held_discard(wsi);
    case LWS_CALLBACK_RAW_CLOSE_FILE:
        held_remove(gate, user);
        server_stir(server_of(wsi));
        return 0;
    default:
        return 0;
    }
}

void gate_cut(int fd, bool with_rst)
{
    struct sockaddr none = {.sa_family = AF_UNSPEC};

    /* Dissolving the association resets an open TCP connection at once, whoever holds the file descriptor. */
    if (!with_rst || connect(fd, &none, sizeof(none)) < 0)
        shutdown(fd, SHUT_RDWR);
}

size_t gate_drop_held(struct gate *gate, bool with_rst)
{
    for (struct held *held = gate->held; held; held = held->next) {
        gate_cut(lws_get_socket_fd(held->wsi), with_rst);
        lws_set_timeout(held->wsi, PENDING_TIMEOUT_USER_REASON_BASE, LWS_TO_KILL_ASYNC);
    }
    return gate->n_held;
}

bool gate_set_answer(struct gate *gate, const char *answer, const char *location, long long times)
{
    static const char *const words[] = {"ok", "silent", "garbage", "badaccept"};
    static_assert(GATE_BADACCEPT == 3, "the words stand in the order of enum gate_answer");
    const struct gate_status *status = NULL;
    size_t word = 0;

    while (word < sizeof(words) / sizeof(*words) && strcmp(words[word], answer))
        word++;
    for (size_t i = 0; word == GATE_STATUS && i < sizeof(statuses) / sizeof(*statuses); i++)
        if (!strcmp(statuses[i].code, answer))
            status = &statuses[i];
    if (word == GATE_STATUS && !status)
        return false;
    gate->answer = times == 0 ? GATE_OK : (enum gate_answer)word;
    gate->status = status;
    gate->is_limited = times > 0;
    gate->times = times;
    snprintf(gate->location, sizeof(gate->location), "%s", location);
    return true;
}

static void headers_add(json_t *headers, const char *line, size_t len)
{
    const char *colon = memchr(line, ':', len);
    char name[256], joined[8192];
    const char *value, *old;
    size_t name_len, value_len;

    if (!colon || (name_len = (size_t)(colon - line)) >= sizeof(name))
        return;
    for (size_t i = 0; i < name_len; i++)
        name[i] = (char)tolower((unsigned char)line[i]);
    name[name_len] = '\0';
    value = colon + 1;
    value_len = len - name_len - 1;
    while (value_len && isblank((unsigned char)*value))
        value++, value_len--;
    old = json_string_value(json_object_get(headers, name));
    snprintf(joined, sizeof(joined), "%s%s%.*s", old ? old : "", old ? ", " : "", (int)value_len, value);
    json_object_set_new(headers, name, json_string(joined));
}

static void gate_note_uri(struct gate *gate, const char *line, size_t len)
{
    const char *from = memchr(line, ' ', len);
    const char *to = memrchr(line, ' ', len);

    json_decref(gate->last_uri);
    gate->last_uri = from && to > from ? json_stringn(from + 1, (size_t)(to - from - 1)) : NULL;
}

static void gate_note(struct gate *gate, const char *head, size_t len)
{
    const char *end = head + len;
    bool is_first = true;

    json_decref(gate->last_headers);
    gate->last_headers = json_object();
    for (const char *line = head, *stop; line < end; line = stop + 2, is_first = false) {
        stop = memmem(line, (size_t)(end - line), "\r\n", 2);
        if (!stop)
            break;
        if (is_first)
            gate_note_uri(gate, line, (size_t)(stop - line));
        else
            headers_add(gate->last_headers, line, (size_t)(stop - line));
    }
}

enum gate_answer gate_request(struct server *server, const char *head, size_t len)
{
    struct gate *gate = &server->gate;
    enum gate_answer answer = gate->answer;

    gate_note(gate, head, len);
    if (!json_object_get(gate->last_headers, "upgrade"))
        return GATE_OK;
    server->count.upgrades++;
    if (answer == GATE_SILENT)
        return GATE_OK; /* it came in before that was asked for */
    gate_count_down(gate);
    return answer;
}

static void send_garbage(struct lws *wsi)
{
    unsigned char buf[LWS_PRE + GARBAGE_LEN];
    uint32_t x = 0x9e3779b9; /* xorshift: the same bytes each time, so that a failure can be repeated */

    for (size_t i = 0; i < GARBAGE_LEN; i++) {
        x ^= x << 13, x ^= x >> 17, x ^= x << 5;
        buf[LWS_PRE + i] = (unsigned char)x;
    }
    lws_write(wsi, buf + LWS_PRE, GARBAGE_LEN, LWS_WRITE_HTTP_HEADERS);
}

static void send_status(const struct gate *gate, struct lws *wsi)
{
    const struct gate_status *status = gate->status;
    char extra[sizeof(gate->location) + 64];
    unsigned char buf[LWS_PRE + sizeof(extra) + 512];
    char *at = (char *)buf + LWS_PRE;
    const char *hole = strstr(status->header, "%s");
    int n;

    if (hole)
        snprintf(extra, sizeof(extra), "%.*s%s%s", (int)(hole - status->header), status->header,
                 gate->location, hole + 2);
    else
        snprintf(extra, sizeof(extra), "%s", status->header);
    n = snprintf(at, sizeof(buf) - LWS_PRE,
                 "HTTP/1.1 %s %s\r\n%sContent-Type: text/plain\r\nContent-Length: %zu\r\n"
                 "Connection: close\r\n\r\n%s\n",
                 status->code, status->phrase, extra, strlen(status->phrase) + 1, status->phrase);
    lws_write(wsi, buf + LWS_PRE, (size_t)n, LWS_WRITE_HTTP_HEADERS);
}

int gate_filter(struct server *server, struct lws *wsi)
{
    int fd = lws_get_socket_fd(wsi);

    switch (tap_answer(fd)) {
    case GATE_GARBAGE:
        send_garbage(wsi);
        return -1;
    case GATE_STATUS:
        send_status(&server->gate, wsi);
        return -1;
    case GATE_BADACCEPT:
        return tap_is_tampered(fd) ? 0 : -1;
    default:
        return 0;
    }
}

void gate_deinit(struct gate *gate)
{
    json_decref(gate->last_headers);
    json_decref(gate->last_uri);
    gate->last_headers = gate->last_uri = NULL;
}
