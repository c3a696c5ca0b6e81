#include "control.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "command.h"
#include "memory.h"
#include "server.h"

/* A line this long is a mistake: 128 MiB of payload in hex, and something around it. */
#define MAX_LINE ((size_t)272 << 20)
#define READ_SIZE 65536

/* One control connection. */
struct controller {
    struct controller *prev;
    struct controller *next;
    struct server *server;
    struct lws *wsi;
    struct bytes in;
    size_t searched; /* bytes of in that hold no newline */
    struct bytes out;
    size_t
        out_sent; /* of out; it is emptied as a whole, because moving what is left each time would be slow */
    bool is_at_end; /* the peer will send no more */
    bool is_waiting;
    struct stats_wait wait;
    lws_sorted_usec_list_t timer;
};

size_t control_session_size(void)
{
    return sizeof(struct controller);
}

static int control_listen(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct stat st;
    mode_t old;
    int fd, result;

    if (strlen(path) >= sizeof(address.sun_path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    strcpy(address.sun_path, path);
    if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode))
        unlink(path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    old = umask(0177);
    result = bind(fd, (struct sockaddr *)&address, sizeof(address));
    umask(old);
    if (result == 0 && listen(fd, 64) == 0)
        return fd;
    close(fd);
    return -1;
}

bool control_start(struct server *server, const char *path)
{
    lws_sock_file_fd_type fd = {.filefd = control_listen(path)};

    if (fd.filefd < 0)
        return false;
    server->control.path = strdup(path);
    return lws_adopt_descriptor_vhost(server->vhost, LWS_ADOPT_RAW_FILE_DESC, fd, CONTROL_LISTENER_PROTOCOL,
                                      NULL);
}

void control_deinit(struct control *control)
{
    if (control->path)
        unlink(control->path);
    free(control->path);
    control->path = NULL;
}

static void control_accept(struct server *server, int listen_fd)
{
    lws_sock_file_fd_type fd;

    while ((fd.filefd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
        lws_adopt_descriptor_vhost(server->vhost, LWS_ADOPT_RAW_FILE_DESC, fd, CONTROL_PROTOCOL, NULL);
}

int control_listener_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                              size_t len)
{
    (void)user, (void)in, (void)len;
    if (reason == LWS_CALLBACK_RAW_RX_FILE)
        control_accept(server_of(wsi), lws_get_socket_fd(wsi));
    return 0;
}

static void controller_open(struct controller *controller, struct lws *wsi)
{
    struct server *server = server_of(wsi);

    *controller = (struct controller){.server = server, .wsi = wsi, .next = server->control.first};
    if (controller->next)
        controller->next->prev = controller;
    server->control.first = controller;
}

static void controller_end(struct controller *controller)
{
    if (!controller->server)
        return;
    if (controller->next)
        controller->next->prev = controller->prev;
    if (controller->prev)
        controller->prev->next = controller->next;
    else
        controller->server->control.first = controller->next;
    lws_sul_cancel(&controller->timer);
    bytes_deinit(&controller->in);
    bytes_deinit(&controller->out);
    controller->server = NULL;
}

static void controller_reply(struct controller *controller, json_t *reply)
{
    char *text = json_dumps(reply, JSON_COMPACT);

    bytes_append(&controller->out, text, strlen(text));
    bytes_append(&controller->out, "\n", 1);
    free(text);
    json_decref(reply);
}

/* -1: the connection is over. */
static int controller_flush(struct controller *controller)
{
    struct bytes *out = &controller->out;
    ssize_t n = 0;

    while (controller->out_sent < out->len) {
        n = write(lws_get_socket_fd(controller->wsi), out->data + controller->out_sent,
                  out->len - controller->out_sent);
        if (n < 0)
            break;
        controller->out_sent += (size_t)n;
    }
    if (n < 0 && errno != EAGAIN && errno != EINTR)
        return -1;
    if (controller->out_sent == out->len)
        controller->out_sent = out->len = 0;
    return !out->len && controller->is_at_end && !controller->is_waiting ? -1 : 0;
}

static void controller_time_out(lws_sorted_usec_list_t *timer)
{
    struct controller *controller = lws_container_of(timer, struct controller, timer);

    controller->wait.is_over = true;
    server_stir(controller->server);
}

static void controller_start_wait(struct controller *controller)
{
    controller->is_waiting = true;
    lws_sul_schedule(controller->server->lws, 0, &controller->timer, controller_time_out,
                     (lws_usec_t)controller->wait.timeout_ms * LWS_US_PER_MS);
}

static void controller_line(struct controller *controller, const char *line, size_t len)
{
    json_error_t error;
    json_t *request = json_loadb(line, len, JSON_REJECT_DUPLICATES, &error);
    json_t *reply;

    if (!request) {
        controller_reply(controller, json_pack("{s:b, s:s}", "ok", 0, "error", error.text));
        return;
    }
    reply = command_run(controller->server, request, &controller->wait);
    json_decref(request);
    if (reply)
        controller_reply(controller, reply);
    else
        controller_start_wait(controller);
}

/* All whole lines, unless one of them has to wait. */
static void controller_lines(struct controller *controller)
{
    struct bytes *in = &controller->in;
    size_t at = 0;

    while (!controller->is_waiting && at < in->len) {
        size_t from = at > controller->searched ? at : controller->searched;
        unsigned char *newline = memchr(in->data + from, '\n', in->len - from);

        if (!newline) {
            controller->searched = in->len;
            break;
        }
        controller_line(controller, (char *)in->data + at, (size_t)(newline - in->data) - at);
        at = (size_t)(newline - in->data) + 1;
    }
    bytes_consume(in, at);
    controller->searched = controller->searched > at ? controller->searched - at : 0;
}

static int controller_read(struct controller *controller)
{
    struct bytes *in = &controller->in;
    ssize_t n;

    do {
        n = read(lws_get_socket_fd(controller->wsi), bytes_reserve(in, READ_SIZE), READ_SIZE);
        in->len += n > 0 ? (size_t)n : 0;
    } while (n > 0 && in->len <= MAX_LINE);
    if (n < 0 && errno != EAGAIN && errno != EINTR)
        return -1;
    if (n == 0) {
        /* The peer may still read; without this the end would be reported over and over. */
        controller->is_at_end = true;
        lws_rx_flow_control(controller->wsi, 0);
    }
    controller_lines(controller);
    if (in->len > MAX_LINE)
        return -1;
    return controller_flush(controller);
}

int control_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len)
{
    (void)in, (void)len;
    switch (reason) {
    case LWS_CALLBACK_RAW_ADOPT_FILE:
        controller_open(user, wsi);
        return 0;
    case LWS_CALLBACK_RAW_RX_FILE:
        return controller_read(user);
    case LWS_CALLBACK_RAW_WRITEABLE_FILE:
        return controller_flush(user);
    case LWS_CALLBACK_RAW_CLOSE_FILE:
        controller_end(user);
        return 0;
    default:
        return 0;
    }
}

static void controller_turn(struct controller *controller)
{
    json_t *reply = NULL;

    if (controller->is_waiting)
        reply = stats_wait_reply(controller->server, &controller->wait);
    if (reply) {
        controller->is_waiting = false;
        lws_sul_cancel(&controller->timer);
        controller_reply(controller, reply);
        controller_lines(controller);
    }
    /* Asked for here and nowhere else: after a raw file's own callback lws withdraws what was asked in it. */
    if (controller->out.len)
        lws_callback_on_writable(controller->wsi);
}

void control_turn(struct server *server)
{
    for (struct controller *each = server->control.first; each; each = each->next)
        controller_turn(each);
}
