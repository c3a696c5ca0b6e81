#include "command.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "envelope.h"
#include "frame.h"
#include "memory.h"
#include "push.h"
#include "request.h"
#include "server.h"

#define MAX_REASON 123 /* what a close frame has room for */

/* --- stats, wait --- */

static const char *command_stats(struct server *server, json_t *request, json_t *reply)
{
    const char *cmd;
    const char *wrong = request_unpack(request, "{s:s !}", "cmd", &cmd);

    if (!wrong)
        stats_fill(server, reply);
    return wrong;
}

/* --- received, record --- */

static json_t *hex_json(const unsigned char *bytes, size_t len)
{
    static const char digits[] = "0123456789abcdef";
    char *hex = memory_get(2 * len + 1);
    json_t *text;

    for (size_t i = 0; i < len; i++) {
        hex[2 * i] = digits[bytes[i] >> 4];
        hex[2 * i + 1] = digits[bytes[i] & 15];
    }
    text = json_stringn_nocheck(hex, 2 * len);
    free(hex);
    return text;
}

static bool entry_is_wanted(const struct record_entry *entry, const char *type, bool with_pings)
{
    struct message message;

    if (type)
        return message_read(&message, entry->bytes, entry->len) && message_has_type(&message, type);
    return with_pings || !entry->is_ping;
}

static const char *command_received(struct server *server, json_t *request, json_t *reply)
{
    struct record *record = &server->record;
    const char *cmd, *type = NULL;
    int clear = 0, pings = 0;
    const char *wrong = request_unpack(request, "{s:s, s?s, s?b, s?b !}", "cmd", &cmd, "type", &type, "clear",
                                       &clear, "pings", &pings);
    json_t *frames;

    if (wrong)
        return wrong;
    frames = json_array();
    for (size_t i = 0; i < record->count; i++) {
        const struct record_entry *entry = record_at(record, i);

        if (entry_is_wanted(entry, type, pings))
            json_array_append_new(frames, hex_json(entry->bytes, entry->len));
    }
    json_object_set_new(reply, "frames", frames);
    json_object_set_new(reply, "lost", json_integer((json_int_t)record->lost));
    if (clear)
        record_clear(record);
    return NULL;
}

static const char *command_record(struct server *server, json_t *request, json_t *reply)
{
    const char *cmd;
    int on;
    const char *wrong = request_unpack(request, "{s:s, s:b !}", "cmd", &cmd, "on", &on);

    (void)reply;
    if (!wrong)
        server->record.is_off = !on;
    return wrong;
}

/* --- headers --- */

static void header_pick(json_t *from, const char *wanted, json_t *to)
{
    char name[256];
    size_t n = 0;

    for (; wanted[n] && n + 1 < sizeof(name); n++)
        name[n] = (char)tolower((unsigned char)wanted[n]);
    if (n && name[n - 1] == ':')
        n--;
    name[n] = '\0';
    if (json_object_get(from, name))
        json_object_set(to, name, json_object_get(from, name));
}

static const char *command_headers(struct server *server, json_t *request, json_t *reply)
{
    const struct gate *gate = &server->gate;
    json_t *names = NULL, *name, *picked;
    const char *cmd;
    size_t i;
    const char *wrong = request_unpack(request, "{s:s, s?o !}", "cmd", &cmd, "names", &names);

    if (wrong)
        return wrong;
    if (names && !json_is_array(names))
        return "names: a list of strings";
    json_array_foreach(names, i, name) if (!json_is_string(name)) return "names: a list of strings";
    picked = names || !gate->last_headers ? json_object() : json_copy(gate->last_headers);
    json_array_foreach(names, i, name) header_pick(gate->last_headers, json_string_value(name), picked);
    if (gate->last_uri)
        json_object_set(reply, "uri", gate->last_uri);
    json_object_set_new(reply, "headers", picked);
    return NULL;
}

/* --- mode, upgrade --- */

static const char *command_mode(struct server *server, json_t *request, json_t *reply)
{
    const char *wrong = behaviour_set(&server->behaviour, request);
    json_t *mode;

    if (wrong)
        return wrong;
    mode = behaviour_json(&server->behaviour);
    json_object_update(reply, mode);
    json_decref(mode);
    return NULL;
}

static const char *command_upgrade(struct server *server, json_t *request, json_t *reply)
{
    const char *cmd, *answer, *location = "ws://127.0.0.1:9/";
    json_int_t times = -1;
    const char *wrong = request_unpack(request, "{s:s, s:s, s?s, s?I !}", "cmd", &cmd, "answer", &answer,
                                       "location", &location, "times", &times);

    (void)reply;
    if (wrong)
        return wrong;
    if (json_object_get(request, "times") && times < 0)
        return "times: 0 or more";
    if (strlen(location) >= sizeof(server->gate.location))
        return "location: too long";
    return gate_set_answer(&server->gate, answer, location, times) ? NULL : "no such answer";
}

/* --- the connections themselves --- */

static void reply_connections(json_t *reply, size_t n)
{
    json_object_set_new(reply, "connections", json_integer((json_int_t)n));
}

static const char *command_raw(struct server *server, json_t *request, json_t *reply)
{
    const char *cmd, *hex;
    size_t len;
    struct frame *frame;
    const char *wrong = request_unpack(request, "{s:s, s:s% !}", "cmd", &cmd, "hex", &hex, &len);

    if (wrong)
        return wrong;
    if (server->is_tls)
        return "not with --tls";
    frame = push_hex(FRAME_RAW, hex, len);
    if (!frame)
        return "hex: two digits a byte";
    reply_connections(reply, connections_broadcast(server, frame));
    frame_unref(frame);
    return NULL;
}

static const char *command_drop(struct server *server, json_t *request, json_t *reply)
{
    const char *cmd;
    int rst = 0;
    const char *wrong = request_unpack(request, "{s:s, s?b !}", "cmd", &cmd, "rst", &rst);

    if (!wrong)
        reply_connections(reply, connections_drop(server, rst) + gate_drop_held(&server->gate, rst));
    return wrong;
}

static const char *command_close(struct server *server, json_t *request, json_t *reply)
{
    const char *cmd, *reason = "";
    size_t len = 0;
    json_int_t code = 1000;
    struct frame *frame;
    const char *wrong =
        request_unpack(request, "{s:s, s?I, s?s% !}", "cmd", &cmd, "code", &code, "reason", &reason, &len);

    if (wrong)
        return wrong;
    if (code < 1000 || code > 4999 || len > MAX_REASON)
        return "code: 1000 to 4999; reason: up to 123 bytes";
    frame = frame_new(FRAME_CLOSE, reason, len);
    frame->close_code = (uint16_t)code;
    reply_connections(reply, connections_close(server, frame));
    frame_unref(frame);
    return NULL;
}

static const char *set_reading(struct server *server, json_t *request, bool on)
{
    const char *cmd;
    const char *wrong = request_unpack(request, "{s:s !}", "cmd", &cmd);

    if (!wrong)
        connections_set_reading(server, on);
    return wrong;
}

static const char *command_stop_reading(struct server *server, json_t *request, json_t *reply)
{
    (void)reply;
    return set_reading(server, request, false);
}

static const char *command_start_reading(struct server *server, json_t *request, json_t *reply)
{
    (void)reply;
    return set_reading(server, request, true);
}

static const char *command_stop_listening(struct server *server, json_t *request, json_t *reply)
{
    const char *cmd;
    const char *wrong = request_unpack(request, "{s:s !}", "cmd", &cmd);

    if (wrong)
        return wrong;
    gate_stop(server);
    json_object_set_new(reply, "port", json_integer(gate_port(&server->gate)));
    return NULL;
}

static const char *command_start_listening(struct server *server, json_t *request, json_t *reply)
{
    const char *cmd;
    const char *wrong = request_unpack(request, "{s:s !}", "cmd", &cmd);

    if (wrong)
        return wrong;
    if (!gate_start(server))
        return strerror(errno);
    json_object_set_new(reply, "port", json_integer(gate_port(&server->gate)));
    return NULL;
}

static const char *command_quit(struct server *server, json_t *request, json_t *reply)
{
    const char *cmd;
    const char *wrong = request_unpack(request, "{s:s !}", "cmd", &cmd);

    (void)reply;
    if (!wrong)
        server->is_quitting = true;
    return wrong;
}

static const struct command_row {
    const char *name;
    command_fn *run;
} commands[] = {
    {"stats", command_stats},
    {"received", command_received},
    {"record", command_record},
    {"headers", command_headers},
    {"mode", command_mode},
    {"push", push_command},
    {"push_json", push_json_command},
    {"push_many", push_many_command},
    {"push_big", push_big_command},
    {"raw", command_raw},
    {"drop", command_drop},
    {"close", command_close},
    {"stop_reading", command_stop_reading},
    {"start_reading", command_start_reading},
    {"stop_listening", command_stop_listening},
    {"start_listening", command_start_listening},
    {"upgrade", command_upgrade},
    {"quit", command_quit},
};

static const char *command_dispatch(struct server *server, const char *name, json_t *request, json_t *reply)
{
    for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++)
        if (!strcmp(commands[i].name, name))
            return commands[i].run(server, request, reply);
    return "no such command";
}

json_t *command_run(struct server *server, json_t *request, struct stats_wait *wait)
{
    const char *name = json_string_value(json_object_get(request, "cmd"));
    json_t *reply = json_pack("{s:b}", "ok", 1);
    const char *wrong;

    if (!name)
        wrong = "a request is an object with \"cmd\"";
    else if (!strcmp(name, "wait"))
        wrong = stats_wait_parse(request, wait);
    else
        wrong = command_dispatch(server, name, request, reply);
    if (wrong) {
        json_decref(reply);
        return json_pack("{s:b, s:s}", "ok", 0, "error", wrong);
    }
    if (strcmp(name, "wait"))
        return reply;
    json_decref(reply);
    return stats_wait_reply(server, wait);
}
