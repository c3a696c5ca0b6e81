/*
 * replay: hub, ring, journal and store as they are, with programs on real sockets, against a simple model:
 * the list of all events. Whatever programs and the hub do in whatever order (subscribe from anywhere, as
 * consumers, with filters, read nothing for a while, ack, leave; events of all sizes; pruning; restarts),
 * each program gets each number that it is to get once and in order, with the bytes that everybody got, or is
 * told by GAP.
 */
#include "hub.h"
#include "loop.h"
#include "store.h"

#include "json_writer.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <systemd/sd-event.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define PROGRAMS 12
#define CONSUMERS 3
#define EVENTS_MAX 60000
#define STEPS 12000
#define PATIENCE 2000000 /* turns in which nothing comes: then it never will */

struct event_model {
    uint64_t seq;
    char *line;
    uint32_t len;
    uint8_t sender; /* 'a' + this */
    bool sent;      /* a SENT, else a MESSAGE */
};

struct wish {
    uint8_t filter; /* bit n: sender n; 0: all */
    bool wants_sent;
    bool from_oldest;
};

/* What a program is to get, and what it got. */
struct program {
    int fd;
    bool subscribed; /* the subscribe was answered */
    bool asked;      /* and is still to be */
    struct wish wish;
    bool moving;           /* it has subscribed again, from elsewhere: … */
    struct wish moving_to; /* … what it gets once that is answered … */
    uint64_t moved_to;     /* … and from where; UINT64_MAX: the answer says */
    int consumer;          /* -1: none */
    uint64_t at;           /* all up to this was delivered, or was not for it */
    uint64_t ack_asked;    /* 0: none is under way */
    bool asked_again;      /* the same, from where it is */
    unsigned replies;      /* to what was asked beside, that are still to come */
    char *bytes;           /* read, not yet taken */
    size_t len, size;
};

struct consumer_model {
    uint64_t acked, maybe; /* by an answered ack; by one that may have been done */
    bool exists;
    bool used;
};

struct world {
    char folder[64], path[96];
    struct loop *loop;
    struct hub *hub;
    struct store *store;
    struct storage storage;
    struct loop_hook stop;
    int listener;
    uint64_t random;
    struct event_model *events;
    size_t count;
    struct program programs[PROGRAMS];
    struct consumer_model consumers[CONSUMERS];
    bool history;
    unsigned gaps, replayed, restarts, pruned_gaps;
};

static struct world *the_world;

static uint64_t draw(struct world *w, uint64_t below)
{
    w->random ^= w->random << 13;
    w->random ^= w->random >> 7;
    w->random ^= w->random << 17;
    return w->random % below;
}

/* ---- The link: always connected, and nothing to send ---- */

static enum link_state fake_state(void *self)
{
    return LINK_CONNECTED;
}

static void fake_write_status(void *self, struct json_writer *w, bool whole)
{
    json_literal(w, "\"state\":\"connected\"");
}

static void fake_write_stats(void *self, struct json_writer *w)
{
}

static bool fake_congested(void *self)
{
    return false;
}

static void fake_pause(void *self, bool on)
{
}

static const struct link LINK = {.state = fake_state,
                                 .write_status = fake_write_status,
                                 .write_stats = fake_write_stats,
                                 .congested = fake_congested,
                                 .pause = fake_pause};

/* ---- The daemon ---- */

static void stop_turn(struct loop_hook *h)
{
    loop_stop(the_world->loop);
}

static int nothing(sd_event_source *s, void *self)
{
    return 0;
}

static void turn(struct world *w)
{
    sd_event_add_defer(loop_event(w->loop), NULL, nothing, NULL);
    assert_int_equal(loop_run(w->loop), 0);
}

static void start(struct world *w)
{
    struct hub_options o = {.account = "test",
                            .ring_size = 65536,
                            .max_line = 65536,
                            .max_message = 4 << 20,
                            .max_clients = 64,
                            .max_clients_per_user = 64,
                            .max_pending = 64,
                            .stall_timeout_ms = 600000,
                            .history = w->history,
                            .outbox_expires_ms = 1000};
    struct store_options s = {.folder = w->folder,
                              .history = w->history,
                              .history_max_age_ms = 86400000,
                              .history_max_bytes = 4 << 20,
                              .outbox_max = 100,
                              .outbox_keep_ms = 1000};
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    uint64_t seq = 0, stored;
    char why[256] = "";

    assert_int_equal(loop_new(&w->loop), 0);
    assert_int_equal(hub_new(&w->hub, w->loop, &o), 0);
    hub_set_link(w->hub, &LINK);
    if (store_new(&w->store, w->loop, &s, hub_storage_listener(w->hub), &seq, &stored, why, sizeof why) < 0)
        fail_msg("%s", why);
    w->storage = store_storage(w->store);
    assert_int_equal(seq, w->count ? w->events[w->count - 1].seq : 0);
    hub_set_storage(w->hub, &w->storage, seq, stored);
    w->stop.turn = stop_turn;
    loop_hook_add(w->loop, &w->stop);
    snprintf(address.sun_path, sizeof address.sun_path, "%s/s", w->folder);
    unlink(address.sun_path);
    w->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(w->listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(w->listener, 64), 0);
    assert_true(hub_listen(w->hub, w->listener) >= 0);
}

static void program_leave(struct program *p)
{
    if (p->fd >= 0)
        close(p->fd);
    free(p->bytes);
    *p = (struct program){.fd = -1, .consumer = -1};
}

static void stop(struct world *w)
{
    for (struct program *p = w->programs; p < w->programs + PROGRAMS; p++) {
        if (p->consumer >= 0)
            w->consumers[p->consumer].used = false;
        program_leave(p);
    }
    turn(w);
    hub_stop_accepting(w->hub);
    hub_flush(w->hub);
    store_free(w->store, hub_seq(w->hub));
    hub_free(w->hub);
    loop_free(w->loop);
    close(w->listener);
}

/* ---- Events ---- */

static size_t draw_size(struct world *w)
{
    switch (draw(w, 40)) {
    case 0:
        return 17000 + draw(w, 250000); /* a line in a block of its own */
    case 1:
        return draw(w, 16000);
    default:
        return draw(w, 600);
    }
}

static void publish(struct world *w)
{
    const struct link_listener *l = hub_listener(w->hub);
    struct event_model *e = &w->events[w->count];
    size_t size = draw_size(w);
    struct json_writer *writer = l->begin(l->self, size);
    struct event_fields f = {.conversation = 0};
    char from[2];

    assert_true(w->count < EVENTS_MAX && writer);
    *e = (struct event_model){.seq = hub_seq(w->hub) + 1, .sender = (uint8_t)draw(w, 3), .sent = !draw(w, 5)};
    snprintf(from, sizeof from, "%c", 'a' + e->sender);
    json_literal(writer, "\"code\":0,\"data\":{\"messageType\":\"");
    f.type.at = (uint32_t)json_writer_length(writer);
    f.type.len = 6;
    json_literal(writer, "TxtMsg\",\"from\":\"");
    f.from.at = (uint32_t)json_writer_length(writer);
    f.from.len = 1;
    json_text(writer, from);
    json_literal(writer, "\",\"pad\":\"");
    for (size_t i = 0; i < size; i++)
        json_raw(writer, "x", 1);
    json_literal(writer, "\"}");
    l->publish(l->self, e->sent ? EVENT_SENT : EVENT_MESSAGE, &f);
    assert_int_equal(hub_seq(w->hub), e->seq);
    w->count++;
}

/* ---- Programs ---- */

static void send_line(struct program *p, const char *format, ...)
{
    char line[512];
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    assert_int_equal(send(p->fd, line, (size_t)n, MSG_NOSIGNAL), n);
}

static void program_connect(struct world *w, struct program *p)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int small = 4096;

    snprintf(address.sun_path, sizeof address.sun_path, "%s/s", w->folder);
    p->fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(connect(p->fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(fcntl(p->fd, F_SETFL, O_NONBLOCK), 0);
    if (draw(w, 2))
        setsockopt(p->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
}

static int draw_consumer(struct world *w)
{
    int c = (int)draw(w, CONSUMERS);

    return draw(w, 2) || w->consumers[c].used ? -1 : c;
}

static void draw_wish(struct world *w, struct wish *wish)
{
    wish->filter = draw(w, 2) ? 0 : (uint8_t)(1 + draw(w, 7));
    wish->wants_sent = draw(w, 2);
    wish->from_oldest = false;
}

/* UINT64_MAX: not said. */
static uint64_t draw_since(struct world *w, struct wish *wish, char since[48])
{
    uint64_t from = draw(w, hub_seq(w->hub) + 1);

    since[0] = '\0';
    if (!draw(w, 4)) {
        snprintf(since, 48, ",\"since\":\"earliest\"");
        wish->from_oldest = true;
    } else if (draw(w, 3)) {
        snprintf(since, 48, ",\"since\":%llu", (unsigned long long)from);
        return from;
    }
    return UINT64_MAX;
}

static void write_wish(const struct wish *wish, char out[128])
{
    const char *comma = "";
    char *at = out + sprintf(out, "\"events\":[\"MESSAGE\"%s]", wish->wants_sent ? ",\"SENT\"" : "");

    if (!wish->filter)
        return;
    at += sprintf(at, ",\"filter\":{\"from\":[");
    for (int i = 0; i < 3; i++)
        if (wish->filter >> i & 1) {
            at += sprintf(at, "%s\"%c\"", comma, 'a' + i);
            comma = ",";
        }
    sprintf(at, "]}");
}

static void send_subscribe(struct program *p, int id, const struct wish *wish, const char *more)
{
    char text[128];

    write_wish(wish, text);
    send_line(p, "{\"jsonrpc\":\"2.0\",\"id\":%d,\"method\":\"subscribe\",\"params\":{%s%s}}\n", id, text,
              more);
}

static void program_subscribe(struct world *w, struct program *p)
{
    char since[48], more[96];

    p->asked = true;
    p->consumer = draw_consumer(w);
    p->at = UINT64_MAX; /* the answer says */
    draw_wish(w, &p->wish);
    draw_since(w, &p->wish, since);
    snprintf(more, sizeof more, "%s", since);
    if (p->consumer >= 0) {
        w->consumers[p->consumer].used = true;
        snprintf(more, sizeof more, "%s,\"consumer\":\"c%d\"", since, p->consumer);
    }
    send_subscribe(p, 1, &p->wish, more);
}

/* Somewhere else, and something else. */
static void program_move(struct world *w, struct program *p)
{
    char since[48];

    p->moving = true;
    draw_wish(w, &p->moving_to);
    do
        p->moved_to = draw_since(w, &p->moving_to, since);
    while (!since[0]);
    send_subscribe(p, 5, &p->moving_to, since);
}

static bool is_for(const struct program *p, const struct event_model *e)
{
    return (!e->sent || p->wish.wants_sent) && (!p->wish.filter || p->wish.filter >> e->sender & 1);
}

/* Everything behind p->at and before `seq` was not for it. */
static void assert_nothing_between(struct world *w, const struct program *p, uint64_t seq)
{
    for (uint64_t s = p->at + 1; s < seq; s++)
        if (is_for(p, &w->events[s - 1]))
            fail_msg("event %llu is missing before %llu: at %llu, filter %d, sent %d, consumer %d, count %zu",
                     (unsigned long long)s, (unsigned long long)seq, (unsigned long long)p->at,
                     p->wish.filter, p->wish.wants_sent, p->consumer, w->count);
}

static uint64_t number_behind(const char *line, const char *key)
{
    const char *at = strstr(line, key);

    assert_non_null(at);
    return strtoull(at + strlen(key), NULL, 10);
}

static void take_gap(struct world *w, struct program *p, const char *line)
{
    uint64_t from = number_behind(line, "\"from\":"), to = number_behind(line, "\"to\":");
    struct storage_report report;

    w->storage.report(w->storage.self, &report);
    assert_true(p->at != UINT64_MAX);
    assert_true(from <= to && from > p->at);
    if (!p->wish.from_oldest)
        assert_nothing_between(w, p, from);
    p->wish.from_oldest = false;
    w->gaps++;
    if (strstr(line, "\"pruned\"")) {
        w->pruned_gaps++;
        assert_true(w->history && report.oldest > to);
    } else {
        assert_false(w->history);
        assert_true(strstr(line, "\"no_history\"") || strstr(line, "\"overrun\""));
    }
    p->at = to;
}

static void take_event(struct world *w, struct program *p, const char *line, size_t len)
{
    uint64_t seq = number_behind(line, "\"seq\":");
    const struct event_model *e = &w->events[seq - 1];

    assert_true(seq >= 1 && seq <= w->count && p->at != UINT64_MAX);
    assert_true(seq > p->at);
    assert_true(is_for(p, e));
    if (p->wish.from_oldest) { /* what is older than all there is was not asked for */
        p->wish.from_oldest = false;
    } else {
        assert_nothing_between(w, p, seq);
    }
    if (!e->line) {
        w->events[seq - 1].line = strndup(line, len);
        w->events[seq - 1].len = (uint32_t)len;
    }
    assert_int_equal(len, e->len);
    assert_memory_equal(line, e->line, len);
    p->at = seq;
}

static void take_subscribed(struct world *w, struct program *p, const char *line)
{
    uint64_t seq = number_behind(line, "\"seq\":");

    assert_null(strstr(line, "\"error\""));
    p->asked = false;
    p->subscribed = true;
    p->at = seq;
    if (p->consumer >= 0) {
        struct consumer_model *c = &w->consumers[p->consumer];
        /* Else its number may be 0, and the answer is the oldest that the ring has. */
        bool certain = w->history || !p->wish.from_oldest || c->acked;

        if (c->exists && certain)
            assert_true(seq >= c->acked && seq <= c->maybe);
        c->acked = certain ? seq : 0;
        c->maybe = seq;
        p->wish.from_oldest = p->wish.from_oldest && !c->acked;
        c->exists = true;
    }
}

/* What comes from here on is of the new subscription, and only of that. */
static void take_moved(struct program *p, const char *line)
{
    assert_null(strstr(line, "\"error\""));
    p->at = number_behind(line, "\"seq\":");
    assert_true(p->moved_to == UINT64_MAX || p->at == p->moved_to);
    p->moving = false;
    p->wish = p->moving_to;
}

/* Each line is whole, and nothing is in the middle of it. */
static void assert_whole(const char *line, size_t len)
{
    static const char head[] = "{\"jsonrpc\":\"2.0\",";

    assert_memory_equal(line, head, sizeof head - 1);
    assert_null(strstr(line + 1, head));
    assert_memory_equal(line + len - 2, "}\n", 2);
}

static void take_line(struct world *w, struct program *p, const char *line, size_t len)
{
    assert_whole(line, len);
    if (strstr(line, "\"method\":\"GAP\""))
        take_gap(w, p, line);
    else if (strstr(line, "\"method\""))
        take_event(w, p, line, len);
    else if (strstr(line, "\"id\":1,"))
        take_subscribed(w, p, line);
    else if (strstr(line, "\"id\":2,")) {
        assert_null(strstr(line, "\"error\""));
        w->consumers[p->consumer].acked = p->ack_asked;
        p->ack_asked = 0;
    } else if (strstr(line, "\"id\":4,")) {
        assert_null(strstr(line, "\"error\""));
        p->asked_again = false; /* it goes on from where it was: the numbers tell */
    } else if (strstr(line, "\"id\":5,")) {
        take_moved(p, line);
    } else {
        p->replies--;
    }
}

/* Reads up to `max` bytes. Returns whether anything came. */
static bool program_read(struct world *w, struct program *p, size_t max)
{
    ssize_t n;
    char *end, *line;

    if (p->len + max + 1 > p->size) {
        p->size = p->len + max + 1;
        p->bytes = realloc(p->bytes, p->size);
        assert_non_null(p->bytes);
    }
    n = recv(p->fd, p->bytes + p->len, max, 0);
    if (n <= 0) {
        assert_true(n < 0 && errno == EAGAIN); /* nobody is disconnected here */
        return false;
    }
    p->len += (size_t)n;
    for (line = p->bytes; (end = memchr(line, '\n', p->len - (size_t)(line - p->bytes))); line = end + 1) {
        char next = end[1];

        end[1] = '\0'; /* one byte more than was read is there */
        take_line(w, p, line, (size_t)(end + 1 - line));
        end[1] = next;
    }
    p->len -= (size_t)(line - p->bytes);
    memmove(p->bytes, line, p->len);
    return true;
}

static void program_ack(struct world *w, struct program *p)
{
    if (!p->subscribed || p->consumer < 0 || p->ack_asked || p->at <= w->consumers[p->consumer].maybe)
        return;
    p->ack_asked = w->consumers[p->consumer].maybe = p->at;
    send_line(p, "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"ack\",\"params\":{\"seq\":%llu}}\n",
              (unsigned long long)p->at);
}

static void program_act(struct world *w, struct program *p)
{
    if (p->fd < 0) {
        program_connect(w, p);
        program_subscribe(w, p);
        return;
    }
    switch (draw(w, 30)) {
    case 0:
        if (p->consumer >= 0)
            w->consumers[p->consumer].used = false;
        program_leave(p);
        turn(w); /* so that the name is free */
        break;
    case 1:
    case 2:
    case 3:
        program_ack(w, p);
        break;
    case 5:
    case 6:
        if (!p->subscribed || p->consumer >= 0 || p->asked_again || p->moving)
            break;
        if (draw(w, 2)) {
            program_move(w, p);
        } else {
            p->asked_again = true;
            send_subscribe(p, 4, &p->wish, "");
        }
        break;
    case 4: /* replies between the events */
        for (; !p->replies || p->replies % 100; p->replies++)
            send_line(p, "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"stats\"}\n");
        break;
    default:
        program_read(w, p, 1 + draw(w, 20000));
    }
}

/* Everybody reads on until all are at the last event. */
static bool is_done(struct world *w, const struct program *p)
{
    if (p->fd < 0)
        return true;
    if (p->asked || p->moving || p->ack_asked)
        return false;
    for (uint64_t s = p->at + 1; s <= w->count; s++)
        if (is_for(p, &w->events[s - 1]))
            return p->wish.from_oldest; /* nothing for it may be left at all */
    return true;
}

static void drain(struct world *w)
{
    for (unsigned idle = 0;; idle++) {
        bool done = true;

        for (struct program *p = w->programs; p < w->programs + PROGRAMS; p++) {
            while (p->fd >= 0 && program_read(w, p, 65536))
                idle = 0;
            done &= is_done(w, p);
        }
        if (done)
            return;
        if (idle > PATIENCE)
            fail_msg("a program waits for events that do not come");
        turn(w);
    }
}

static void step(struct world *w)
{
    uint64_t n = draw(w, 12);

    if (n == 0) {
        for (uint64_t i = draw(w, 300); i; i--)
            publish(w);
    } else if (n < 4) {
        publish(w);
    } else if (n == 4) {
        const struct link_listener *l = hub_listener(w->hub);

        l->status_changed(l->self);
    } else {
        program_act(w, &w->programs[draw(w, PROGRAMS)]);
    }
    if (draw(w, 3))
        turn(w);
    if (!draw(w, 4000)) {
        drain(w);
        stop(w);
        start(w);
        w->restarts++;
    }
}

static struct world *world_new(uint64_t seed, bool history)
{
    struct world *w = the_world = calloc(1, sizeof *w);

    w->random = 88172645463325252ull + seed * 7919;
    w->history = history;
    w->events = calloc(EVENTS_MAX, sizeof *w->events);
    for (int i = 0; i < PROGRAMS; i++)
        w->programs[i] = (struct program){.fd = -1, .consumer = -1};
    snprintf(w->folder, sizeof w->folder, "/tmp/imd-replay-XXXXXX");
    assert_non_null(mkdtemp(w->folder));
    start(w);
    return w;
}

static void world_free(struct world *w)
{
    char command[128];

    for (size_t i = 0; i < w->count; i++)
        free(w->events[i].line);
    free(w->events);
    snprintf(command, sizeof command, "rm -rf %s", w->folder);
    assert_int_equal(system(command), 0);
    free(w);
}

static void run(uint64_t seed, bool history, unsigned steps)
{
    struct world *w = world_new(seed, history);

    for (unsigned i = 0; i < steps && w->count + 400 < EVENTS_MAX; i++)
        step(w);
    drain(w);
    print_message("seed %llu: %zu events, %u gaps (%u pruned), %u restarts\n", (unsigned long long)seed,
                  w->count, w->gaps, w->pruned_gaps, w->restarts);
    stop(w);
    world_free(w);
}

/* IMD_PROPERTY_SEED and IMD_PROPERTY_RUNS: other walks, and more of them. */
static uint64_t from_environment(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text ? strtoull(text, NULL, 10) : otherwise;
}

static void run_many(bool history, uint64_t runs)
{
    uint64_t seed = from_environment("IMD_PROPERTY_SEED", 1);

    runs = from_environment("IMD_PROPERTY_RUNS", runs);
    for (uint64_t i = 0; i < runs; i++)
        run(seed + i, history, STEPS);
}

static void test_any_order_with_history(void **state)
{
    run_many(true, 2);
}

static void test_any_order_without_history(void **state)
{
    run_many(false, 1);
}

/* ---- An answer and the page behind it ---- */

static bool store_has_answered;

static void store_answered(struct storage_request *r)
{
    store_has_answered = true;
}

/* All that the store was asked for is answered. */
static void wait_for_store(struct world *w)
{
    struct storage_list l = {.request = {.op = STORAGE_LIST, .done = store_answered}, .limit = 1};

    store_has_answered = false;
    assert_int_equal(w->storage.post(w->storage.self, &l.request), 0);
    while (!store_has_answered)
        turn(w);
    free(l.entries);
}

/* How many bytes lie in the program's socket once the daemon has had its turn. */
static int unread(struct world *w, const struct program *p)
{
    int n;

    for (unsigned i = 0; i < 4; i++)
        turn(w);
    assert_int_equal(ioctl(p->fd, FIONREAD, &n), 0);
    return n;
}

static void ask_beside(struct program *p)
{
    send_line(p, "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"hello\"}\n");
    p->replies++;
}

/* Replies that the socket takes before it is full. */
static unsigned measure_socket(struct world *w, struct program *p)
{
    int before = -1, now = 0;
    unsigned n;

    program_connect(w, p);
    for (n = 0; now != before; n++) {
        before = now;
        ask_beside(p);
        now = unread(w, p);
    }
    program_leave(p);
    return n - 1;
}

/* A program whose socket its last reply has filled: what comes next has to wait. */
static struct program *program_full(struct world *w)
{
    struct program *p = &w->programs[1];
    unsigned room = measure_socket(w, &w->programs[0]);

    program_connect(w, p);
    for (unsigned i = 0; i < room; i++) {
        ask_beside(p);
        unread(w, p);
    }
    p->asked = true;
    p->wish.wants_sent = true;
    p->at = UINT64_MAX;
    return p;
}

static void assert_gets_all(struct world *w, struct program *p)
{
    drain(w);
    assert_int_equal(p->replies, 0);
    assert_int_equal(p->at, w->count);
    stop(w);
    world_free(w);
}

/* The page is there before the answer can be written. */
static void test_answer_goes_before_its_events(void **state)
{
    struct world *w = world_new(1, true);
    struct program *p = program_full(w);

    for (unsigned i = 0; i < 2000; i++)
        publish(w);
    wait_for_store(w);
    send_subscribe(p, 1, &p->wish, ",\"since\":7");
    unread(w, p);
    wait_for_store(w);
    assert_gets_all(w, p);
}

/* A GAP of the first subscription, not told yet, does not stand for what is missed from 8 on. */
static void test_gap_of_an_earlier_subscription(void **state)
{
    struct world *w = world_new(1, false);
    struct program *p = program_full(w);

    for (unsigned i = 0; i < 2000; i++) {
        if (i == 800)
            send_subscribe(p, 1, &p->wish, "");
        publish(w);
        turn(w);
    }
    p->moving = true;
    p->moving_to = p->wish;
    p->moved_to = 7;
    send_subscribe(p, 5, &p->wish, ",\"since\":7");
    unread(w, p);
    assert_gets_all(w, p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answer_goes_before_its_events),
        cmocka_unit_test(test_gap_of_an_earlier_subscription),
        cmocka_unit_test(test_any_order_with_history),
        cmocka_unit_test(test_any_order_without_history),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
