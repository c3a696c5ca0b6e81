#include "behaviour.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "envelope.h"
#include "frame.h"
#include "memory.h"
#include "request.h"
#include "server.h"

static const char *const ack_words[] = {
    [ACK_ECHO] = "echo",     [ACK_SELF] = "self",           [ACK_SWALLOW] = "swallow",
    [ACK_REJECT] = "reject", [ACK_DUPLICATE] = "duplicate", [ACK_DELAY] = "delay",
};

#define ACKS_ANY 0x3fu
#define ACKS_PING (1u << ACK_ECHO | 1u << ACK_SELF | 1u << ACK_SWALLOW)
#define ACKS_LEAVE (1u << ACK_ECHO | 1u << ACK_SWALLOW)

/* An answer that waits for its time. */
struct delayed {
    lws_sorted_usec_list_t timer;
    struct delayed *prev;
    struct delayed *next;
    struct server *server;
    struct frame *frame;
    unsigned delay_ms;
};

static void behaviour_reset_ack(struct behaviour *behaviour)
{
    behaviour->ack = ACK_ECHO;
    behaviour->code = 7;
    behaviour->delay_ms = 0;
    behaviour->match[0] = '\0';
    snprintf(behaviour->err_msg, sizeof(behaviour->err_msg), "rejected");
}

void behaviour_init(struct behaviour *behaviour)
{
    *behaviour = (struct behaviour){.ping = ACK_ECHO, .leave = ACK_ECHO};
    behaviour_reset_ack(behaviour);
}

/* False: no such word, or not among those allowed. An absent word changes nothing. */
static bool ack_parse(const char *word, unsigned allowed, enum behaviour_ack *ack)
{
    if (!word)
        return true;
    for (unsigned i = 0; i < sizeof(ack_words) / sizeof(*ack_words); i++) {
        if (!strcmp(ack_words[i], word) && (allowed & 1u << i)) {
            *ack = (enum behaviour_ack)i;
            return true;
        }
    }
    return false;
}

const char *behaviour_set(struct behaviour *behaviour, json_t *request)
{
    struct behaviour next = *behaviour;
    const char *cmd, *ack = NULL, *ping = NULL, *leave = NULL, *err_msg = NULL, *match = NULL;
    const char *wrong;
    json_int_t code, delay_ms;

    if (json_object_get(request, "ack"))
        behaviour_reset_ack(&next);
    code = next.code;
    delay_ms = next.delay_ms;
    wrong = request_unpack(request, "{s:s, s?s, s?s, s?s, s?s, s?s, s?I, s?I !}", "cmd", &cmd, "ack", &ack,
                           "ping", &ping, "leave", &leave, "errMsg", &err_msg, "match", &match, "code", &code,
                           "delayMs", &delay_ms);
    if (wrong)
        return wrong;
    if (!ack_parse(ack, ACKS_ANY, &next.ack) || !ack_parse(ping, ACKS_PING, &next.ping) ||
        !ack_parse(leave, ACKS_LEAVE, &next.leave))
        return "no such mode";
    if (delay_ms < 0 || delay_ms > 3600000)
        return "delayMs: 0 to 3600000";
    next.code = code;
    next.delay_ms = delay_ms;
    if (err_msg)
        snprintf(next.err_msg, sizeof(next.err_msg), "%s", err_msg);
    if (match)
        snprintf(next.match, sizeof(next.match), "%s", match);
    *behaviour = next;
    return NULL;
}

json_t *behaviour_json(const struct behaviour *behaviour)
{
    return json_pack("{s:s, s:s, s:s, s:I, s:s, s:I, s:s}", "ack", ack_words[behaviour->ack], "ping",
                     ack_words[behaviour->ping], "leave", ack_words[behaviour->leave], "code",
                     (json_int_t)behaviour->code, "errMsg", behaviour->err_msg, "delayMs",
                     (json_int_t)behaviour->delay_ms, "match", behaviour->match);
}

static void delayed_free(struct delayed *delayed)
{
    struct behaviour *behaviour = &delayed->server->behaviour;

    if (delayed->next)
        delayed->next->prev = delayed->prev;
    if (delayed->prev)
        delayed->prev->next = delayed->next;
    else
        behaviour->delayed = delayed->next;
    behaviour->n_delayed--;
    lws_sul_cancel(&delayed->timer);
    frame_unref(delayed->frame);
    free(delayed);
}

/*
 * Timers of one microsecond fire newest first in lws, but answers with one delay are to go out in the order
 * they came: the frames of those that are older move up by one, and the oldest is the one that goes.
 */
static void delayed_fire(lws_sorted_usec_list_t *timer)
{
    struct delayed *delayed = lws_container_of(timer, struct delayed, timer);

    for (struct delayed *older = delayed->next; older; older = older->next) {
        struct frame *frame = older->frame;

        if (older->delay_ms != delayed->delay_ms)
            break;
        older->frame = delayed->frame;
        delayed->frame = frame;
    }
    connections_broadcast(delayed->server, delayed->frame);
    server_stir(delayed->server);
    delayed_free(delayed);
}

static void delayed_add(struct server *server, struct frame *frame)
{
    struct behaviour *behaviour = &server->behaviour;
    struct delayed *delayed = memory_get(sizeof(*delayed));

    *delayed = (struct delayed){.server = server,
                                .frame = frame_ref(frame),
                                .next = behaviour->delayed,
                                .delay_ms = (unsigned)behaviour->delay_ms};
    if (delayed->next)
        delayed->next->prev = delayed;
    behaviour->delayed = delayed;
    behaviour->n_delayed++;
    lws_sul_schedule(server->lws, 0, &delayed->timer, delayed_fire,
                     (lws_usec_t)behaviour->delay_ms * LWS_US_PER_MS);
}

void behaviour_deinit(struct behaviour *behaviour)
{
    while (behaviour->delayed)
        delayed_free(behaviour->delayed);
}

static bool behaviour_matches(const struct behaviour *behaviour, const struct message *message)
{
    if (!behaviour->match[0] || message_has_type(message, behaviour->match))
        return true;
    return message->text.at &&
           memmem(message->text.at, message->text.len, behaviour->match, strlen(behaviour->match));
}

static struct frame *scratch_frame(struct server *server)
{
    struct frame *frame = frame_new(FRAME_BINARY, server->scratch.data, server->scratch.size);

    /* One large answer is no reason to keep that much. */
    if (server->scratch.alloc > (1 << 20)) {
        msgpack_sbuffer_destroy(&server->scratch);
        msgpack_sbuffer_init(&server->scratch);
    }
    return frame;
}

static void behaviour_answer(struct connection *sender, const struct message *message, enum behaviour_ack ack)
{
    struct server *server = sender->server;
    const struct behaviour *behaviour = &server->behaviour;
    struct frame *frame;

    if (ack == ACK_SWALLOW)
        return;
    if (ack == ACK_REJECT)
        envelope_reject(&server->scratch, message, behaviour->code, behaviour->err_msg);
    else
        envelope_echo(&server->scratch, message);
    frame = scratch_frame(server);
    if (ack == ACK_REJECT || ack == ACK_SELF)
        connection_send(sender, frame);
    else if (ack == ACK_DELAY)
        delayed_add(server, frame);
    else
        connections_broadcast(server, frame);
    if (ack == ACK_DUPLICATE)
        connections_broadcast(server, frame);
    frame_unref(frame);
}

void behaviour_message(struct connection *sender, const void *bytes, size_t len, bool is_binary)
{
    struct server *server = sender->server;
    const struct behaviour *behaviour = &server->behaviour;
    struct message message;
    bool is_map = is_binary && message_read(&message, bytes, len);
    bool is_ping = is_map && message_has_type(&message, "PingMsg");

    server->count.frames++;
    server->count.bytes += (long long)len;
    server->count.text += !is_binary;
    server->count.invalid += is_binary && !is_map;
    server->count.pings += is_ping;
    record_add(&server->record, bytes, len, is_ping);
    if (!is_map)
        return;
    if (is_ping)
        behaviour_answer(sender, &message, behaviour->ping);
    else
        behaviour_answer(sender, &message,
                         behaviour_matches(behaviour, &message) ? behaviour->ack : ACK_ECHO);
}

void behaviour_leave(struct server *server)
{
    struct frame *frame;

    if (server->behaviour.leave == ACK_SWALLOW || !server->connections.first)
        return;
    envelope_leave(&server->scratch);
    frame = scratch_frame(server);
    connections_broadcast(server, frame);
    frame_unref(frame);
}
