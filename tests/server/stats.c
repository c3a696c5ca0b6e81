#include "stats.h"

#include <limits.h>
#include <string.h>

#include "request.h"
#include "server.h"

struct stats_row {
    const char *name;
    json_int_t (*get)(const struct server *server);
};

#define STAT(function, expression)                          \
    static json_int_t function(const struct server *server) \
    {                                                       \
        return (json_int_t)(expression);                    \
    }

STAT(stat_connections, server->connections.open)
STAT(stat_accepted, server->count.accepted)
STAT(stat_upgrades, server->count.upgrades)
STAT(stat_tcp, server->count.tcp)
STAT(stat_frames, server->count.frames)
STAT(stat_pings, server->count.pings)
STAT(stat_ws_pings, server->count.ws_pings)
STAT(stat_ws_pongs, server->count.ws_pongs)
STAT(stat_bytes, server->count.bytes)
STAT(stat_text, server->count.text)
STAT(stat_invalid, server->count.invalid)
STAT(stat_recorded, server->record.count)
STAT(stat_lost, server->record.lost)
STAT(stat_queued, server->connections.queued)
STAT(stat_delayed, server->behaviour.n_delayed)
STAT(stat_held, server->gate.n_held)
STAT(stat_close_code, server->count.last_close_code)

static const struct stats_row stats_rows[] = {
    {"connections", stat_connections},
    {"accepted", stat_accepted},
    {"upgrades", stat_upgrades},
    {"tcp", stat_tcp},
    {"frames", stat_frames},
    {"pings", stat_pings},
    {"wsPings", stat_ws_pings},
    {"wsPongs", stat_ws_pongs},
    {"bytes", stat_bytes},
    {"text", stat_text},
    {"invalid", stat_invalid},
    {"recorded", stat_recorded},
    {"lost", stat_lost},
    {"queued", stat_queued},
    {"delayed", stat_delayed},
    {"held", stat_held},
    {"lastCloseCode", stat_close_code},
};

#define N_STATS (sizeof(stats_rows) / sizeof(*stats_rows))

void stats_fill(const struct server *server, json_t *reply)
{
    json_t *reason = json_string(server->count.last_close_reason);

    for (size_t i = 0; i < N_STATS; i++)
        json_object_set_new(reply, stats_rows[i].name, json_integer(stats_rows[i].get(server)));
    json_object_set_new(reply, "lastCloseReason", reason ? reason : json_string("(not UTF-8)"));
}

const char *stats_wait_parse(json_t *request, struct stats_wait *wait)
{
    const char *cmd, *stat, *wrong;

    *wait = (struct stats_wait){.min = LLONG_MIN, .max = LLONG_MAX, .timeout_ms = 5000};
    wrong = request_unpack(request, "{s:s, s:s, s?I, s?I, s?I !}", "cmd", &cmd, "stat", &stat, "min",
                           &wait->min, "max", &wait->max, "timeoutMs", &wait->timeout_ms);
    if (wrong)
        return wrong;
    for (size_t i = 0; i < N_STATS; i++)
        if (!strcmp(stats_rows[i].name, stat))
            wait->row = &stats_rows[i];
    if (!wait->row)
        return "no such stat";
    return wait->timeout_ms < 0 || wait->timeout_ms > 3600000 ? "timeoutMs: 0 to 3600000" : NULL;
}

json_t *stats_wait_reply(const struct server *server, const struct stats_wait *wait)
{
    json_int_t now = wait->row->get(server);
    bool is_true = now >= wait->min && now <= wait->max;
    json_t *reply;

    if (!is_true && !wait->is_over)
        return NULL;
    reply = json_pack("{s:b}", "ok", is_true);
    if (!is_true)
        json_object_set_new(reply, "error", json_string("timeout"));
    stats_fill(server, reply);
    return reply;
}
