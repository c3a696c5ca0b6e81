/*
 * imd: joins session, hub, store and transport, which do not know each other, on one loop.
 *
 * Order of a turn: what the sockets brought (transport, clients), what the store has done, timers and
 * signals; then the hooks: what is due in session and dispatcher, the hub's writes, and the timer anew.
 */
#include "config.h"
#include "descriptors.h"
#include "dispatcher.h"
#include "fdstore.h"
#include "hub.h"
#include "link.h"
#include "listener.h"
#include "log.h"
#include "loop.h"
#include "netwatch.h"
#include "options.h"
#include "reload.h"
#include "session.h"
#include "store.h"
#include "supervisor.h"
#include "transport.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <systemd/sd-event.h>
#include <time.h>
#include <unistd.h>

#define SHUTDOWN_MS 5000 /* how long SIGTERM waits for the server's answers */
#define KEEPING_MS 1000  /* how long the service manager may take, at the end, to take what it is to keep */
#define RANDOM_WORDS 64  /* drawn from the kernel at a time */

struct daemon {
    struct options options;
    struct config *config;
    char url_shown[URL_PATH_MAX + URL_AUTHORITY_MAX + 8];
    struct loop *loop;
    struct transport *transport;
    struct session *session;
    struct hub *hub;
    struct store *store;
    struct storage storage;
    struct dispatcher *dispatcher;
    struct netwatch *netwatch;
    struct listener listener;
    struct descriptors descriptors;
    struct fdstore *fdstore;
    struct hub_numbers left; /* by the process before */
    struct supervisor *supervisor;
    uint64_t changes_told; /* of the session's state */
    struct reload *reload; /* under way; NULL: none */
    bool reload_again;     /* asked for meanwhile */
    struct loop_hook due, arm;
    struct sd_event_source *timer;
    uint64_t armed_ms; /* what the timer is set to; UINT64_MAX: nothing */
    uint64_t random[RANDOM_WORDS];
    unsigned random_left;
    bool served;
    bool stopping;
    uint64_t stop_ms; /* then at the latest, unless the disk itself holds it up */
};

static struct session_time now_of(struct daemon *d)
{
    return (struct session_time){loop_now_ms(d->loop), loop_wall_ms(d->loop)};
}

/* ---- session -> transport ---- */

static void io_open(void *self)
{
    transport_open(((struct daemon *)self)->transport);
}

static uint8_t *io_reserve(void *self, size_t n)
{
    return transport_reserve(((struct daemon *)self)->transport, n);
}

static void io_commit(void *self, size_t n)
{
    transport_commit(((struct daemon *)self)->transport, n);
}

static bool io_append(void *self, struct send_block *b, size_t len)
{
    return transport_append(((struct daemon *)self)->transport, b, len);
}

static bool io_congested(void *self)
{
    return transport_congested(((struct daemon *)self)->transport);
}

static void io_ping(void *self)
{
    transport_ping(((struct daemon *)self)->transport);
}

static void io_close(void *self, unsigned code, enum link_reason reason)
{
    transport_close(((struct daemon *)self)->transport, code, reason);
}

static void io_abort(void *self, enum link_reason reason)
{
    transport_abort(((struct daemon *)self)->transport, reason);
}

static uint8_t *io_take(void *self)
{
    return transport_take(((struct daemon *)self)->transport);
}

static void io_pause(void *self, bool on)
{
    transport_pause(((struct daemon *)self)->transport, on);
}

static uint64_t io_heard_ms(void *self)
{
    return transport_heard_ms(((struct daemon *)self)->transport);
}

static uint64_t io_clock_us(void *self)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

static uint64_t io_random(void *self)
{
    struct daemon *d = self;

    if (!d->random_left) {
        if (getrandom(d->random, sizeof d->random, 0) != (ssize_t)sizeof d->random)
            abort(); /* cannot happen for so few bytes once the kernel is up */
        d->random_left = RANDOM_WORDS;
    }
    return d->random[--d->random_left];
}

static struct transport_counters io_counters(void *self)
{
    return transport_counters(((struct daemon *)self)->transport);
}

/* ---- transport -> session ---- */

static void on_opened(void *self)
{
    session_opened(((struct daemon *)self)->session, now_of(self));
}

static void on_closed(void *self, const struct transport_end *end)
{
    session_closed(((struct daemon *)self)->session, end, now_of(self));
}

static void on_message(void *self, const uint8_t *bytes, size_t len)
{
    session_message(((struct daemon *)self)->session, bytes, len, now_of(self));
}

static void on_text_message(void *self, size_t len)
{
    session_text_message(((struct daemon *)self)->session, len);
}

static void on_alive(void *self)
{
    session_alive(((struct daemon *)self)->session, now_of(self));
}

static void on_pong(void *self)
{
    session_pong(((struct daemon *)self)->session, now_of(self));
}

static void on_drained(void *self)
{
    session_drained(((struct daemon *)self)->session);
}

/* ---- hub -> session ---- */

static enum error link_send(void *self, struct link_send *s)
{
    return session_send(((struct daemon *)self)->session, s, now_of(self));
}

static enum error link_compose(void *self, struct link_send *s, struct link_frame *out)
{
    return session_compose(((struct daemon *)self)->session, s, out, now_of(self));
}

static enum error link_send_composed(void *self, struct link_send *s, struct link_frame *f)
{
    return session_send_composed(((struct daemon *)self)->session, s, f, now_of(self));
}

static void link_queued(void *self)
{
    dispatcher_queued(((struct daemon *)self)->dispatcher, now_of(self));
}

static void link_connect(void *self)
{
    session_connect(((struct daemon *)self)->session, now_of(self));
}

static void link_disconnect(void *self)
{
    session_disconnect(((struct daemon *)self)->session, LINK_REASON_REQUESTED, now_of(self));
}

static void link_reconnect(void *self)
{
    session_reconnect(((struct daemon *)self)->session, now_of(self));
}

static enum link_state link_state(void *self)
{
    return session_state(((struct daemon *)self)->session);
}

static enum link_reason link_reason(void *self)
{
    return session_reason(((struct daemon *)self)->session);
}

static void link_write_status(void *self, struct json_writer *w, bool whole)
{
    session_write_status(((struct daemon *)self)->session, w, whole, now_of(self));
}

static void link_write_stats(void *self, struct json_writer *w)
{
    session_write_stats(((struct daemon *)self)->session, w);
    dispatcher_write_stats(((struct daemon *)self)->dispatcher, w);
}

static bool link_congested(void *self)
{
    return session_congested(((struct daemon *)self)->session);
}

static void link_pause(void *self, bool on)
{
    session_pause(((struct daemon *)self)->session, on, now_of(self));
}

/* ---- Configuration ---- */

static struct session_options session_options_of(const struct daemon *d)
{
    const struct config *c = d->config;

    return (struct session_options){
        .url = d->url_shown,
        .user_id = c->user_id,
        .ping_gap_ms = c->ping_gap_ms,
        .ping_timeout_ms = c->ping_timeout_ms,
        .reconnect_min_ms = c->reconnect_min_ms,
        .reconnect_max_ms = c->reconnect_max_ms,
        .reconnect_stable_ms = c->reconnect_stable_ms,
        .ack_timeout_ms = c->ack_timeout_ms,
        .disconnect_signals = c->disconnect_signals,
        .no_reconnect_codes = c->no_reconnect_codes,
        .no_reconnect_count = c->no_reconnect_count,
        .pending_max = c->max_pending,
        .queued_max = DISPATCHER_ITEMS,
        .message_max = c->max_message,
        .inline_binary = c->inline_binary,
        .attachments = c->attachments_max > 0,
    };
}

static struct transport_options transport_options_of(const struct config *c)
{
    return (struct transport_options){
        .url = c->url,
        .ca_file = c->ca_file,
        .cert_file = c->cert_file,
        .key_file = c->key_file,
        .headers = c->headers,
        .header_file = c->header_file,
        .proxy_host = c->has_proxy ? c->proxy_host : NULL,
        .proxy_port = c->proxy_port,
        .message_max = c->max_message,
    };
}

static struct access access_of(const struct config *c)
{
    return (struct access){.owner = geteuid(),
                           .receivers = {c->receive.entries, c->receive.count},
                           .senders = {c->send.entries, c->send.count},
                           .controllers = {c->control.entries, c->control.count}};
}

/* As newer versions of systemd say; else the units' is what kept.h assumes. */
static unsigned fdstore_limit(void)
{
    const char *text = getenv("FDSTORE");
    unsigned long n = text ? strtoul(text, NULL, 10) : 0;

    return n < UINT_MAX ? (unsigned)n : 0;
}

static struct hub_options hub_options_of(const struct daemon *d)
{
    const struct config *c = d->config;

    return (struct hub_options){
        .account = d->options.account,
        .ring_size = c->ring_size,
        .max_line = c->max_line,
        .max_message = c->max_message,
        .max_clients = c->max_clients,
        .max_clients_per_user = c->max_clients_per_user,
        .max_pending = c->max_pending,
        .max_pending_per_user = c->max_pending_per_user,
        .send_rate = c->send_rate,
        .stall_timeout_ms = c->stall_timeout_ms,
        .history = c->history,
        .outbox_expires_ms = c->outbox_expires_ms,
        .fdstore = d->fdstore,
        .fdstore_limit = fdstore_limit(),
        .access = access_of(c),
    };
}

static struct store_options store_options_of(const struct daemon *d)
{
    const struct config *c = d->config;

    return (struct store_options){
        .folder = d->options.state,
        .history = c->history,
        .history_max_age_ms = c->history_max_age_ms,
        .history_max_bytes = c->history_max_bytes,
        .outbox_max = c->outbox_max,
        .outbox_keep_ms = c->outbox_keep_ms,
        .attachments_max = c->attachments_max,
        .given = d->left.last,
        .at_hand = d->left.first,
    };
}

static struct dispatcher_options dispatcher_options_of(const struct config *c)
{
    return (struct dispatcher_options){.window = c->outbox_window, .ack_timeout_ms = c->ack_timeout_ms};
}

static void use_config(struct daemon *d, struct config *c)
{
    d->config = c;
    url_blank(c->url_text, d->url_shown, sizeof d->url_shown);
}

/* What the configuration names is only now opened and read: the authorities' certificates. */
static int configure_transport(struct daemon *d, const struct config *c, char *why, size_t n)
{
    struct transport_options o = transport_options_of(c);
    int r = transport_configure(d->transport, &o);

    if (r < 0)
        snprintf(why, n, "%s:%u: CaFile: %s: holds no certificates that can be used (%s)", d->options.config,
                 c->line[CONFIG_CA_FILE], c->ca_file, strerror(-r));
    return r;
}

/* The rooms point into the configuration: the old one goes last. */
static void apply_reload(struct daemon *d, struct config *next)
{
    struct config *old = d->config;
    bool moved = strcmp(old->url_text, next->url_text) != 0;
    struct session_options s;
    struct hub_options h;
    struct store_options store;
    struct dispatcher_options dispatcher;

    use_config(d, next);
    s = session_options_of(d);
    h = hub_options_of(d);
    store = store_options_of(d);
    dispatcher = dispatcher_options_of(next);
    session_configure(d->session, &s, now_of(d));
    hub_configure(d->hub, &h);
    store_configure(d->store, &store);
    dispatcher_configure(d->dispatcher, &dispatcher);
    config_free(old);
    if (moved && session_state(d->session) != LINK_DISCONNECTED)
        session_reconnect(d->session, now_of(d));
}

static void reload_with(struct daemon *d, struct config *next)
{
    char text[512], why[512];

    if (config_changed(d->config, next, CONFIG_START, text, sizeof text))
        log_warning("%s: changed, but only a restart can apply it: %s", d->options.config, text);
    config_keep_start(next, d->config);
    config_changed(d->config, next, CONFIG_RELOAD, text, sizeof text);
    if (configure_transport(d, next, why, sizeof why) < 0) {
        log_error("not reloaded: %s", why);
        config_free(next);
        return;
    }
    apply_reload(d, next);
    log_notice("%s: reloaded; changed: %s", d->options.config, *text ? text : "nothing");
}

static void reload_begin(struct daemon *d);

static void on_reloaded(void *self, struct config *next, const char *error)
{
    struct daemon *d = self;

    d->reload = NULL;
    if (d->stopping) {
        config_free(next);
        return;
    }
    if (next)
        reload_with(d, next);
    else
        log_error("not reloaded: %s", error);
    if (d->reload_again)
        reload_begin(d);
    else
        supervisor_ready(d->supervisor);
}

static void reload_begin(struct daemon *d)
{
    int r = reload_start(&d->reload, loop_event(d->loop), d->options.config, on_reloaded, d);

    d->reload_again = false;
    if (r == 0)
        return;
    log_error("not reloaded: %s", strerror(-r));
    supervisor_ready(d->supervisor);
}

/* ---- Events of the process ---- */

static int on_hangup(sd_event_source *s, const struct signalfd_siginfo *si, void *userdata)
{
    struct daemon *d = userdata;

    if (d->reload) {
        log_warning("still reading the configuration: does a name service not answer?");
        d->reload_again = true; /* what it has read already may be old */
        return 0;
    }
    supervisor_reloading(d->supervisor);
    reload_begin(d);
    return 0;
}

static int on_terminate(sd_event_source *s, const struct signalfd_siginfo *si, void *userdata)
{
    struct daemon *d = userdata;

    if (d->stopping)
        return 0;
    d->stopping = true;
    log_notice("stopping");
    supervisor_stopping(d->supervisor);
    hub_stop_accepting(d->hub);
    hub_leave(d->hub);
    listener_close(&d->listener);
    d->stop_ms = loop_now_ms(d->loop) + SHUTDOWN_MS;
    dispatcher_stop(d->dispatcher);
    session_shutdown(d->session, d->stop_ms, now_of(d));
    return 0;
}

static void on_network_change(void *self, enum netwatch_change what)
{
    session_network_changed(((struct daemon *)self)->session, now_of(self));
}

static int on_timer(sd_event_source *s, uint64_t usec, void *userdata)
{
    ((struct daemon *)userdata)->armed_ms = UINT64_MAX; /* what is due is done by the hook */
    return 0;
}

static void tell_status(struct daemon *d)
{
    char words[256];

    d->changes_told = session_changes(d->session);
    session_describe(d->session, words, sizeof words, now_of(d));
    supervisor_status(d->supervisor, words);
}

static void hook_due(struct loop_hook *hook)
{
    struct daemon *d = (struct daemon *)((char *)hook - offsetof(struct daemon, due));

    if (session_deadline(d->session) <= loop_now_ms(d->loop))
        session_tick(d->session, now_of(d));
    dispatcher_turn(d->dispatcher, now_of(d));
    if (session_changes(d->session) != d->changes_told)
        tell_status(d);
}

static uint64_t deadline(struct daemon *d)
{
    uint64_t session = session_deadline(d->session), dispatcher = dispatcher_deadline(d->dispatcher);
    uint64_t at = session < dispatcher ? session : dispatcher;

    return d->stopping && d->stop_ms < at ? d->stop_ms : at;
}

/* All that was begun has ended, or has had its time. */
static bool is_finished(struct daemon *d)
{
    bool idle = store_idle(d->store) && dispatcher_idle(d->dispatcher);

    return d->stopping && session_finished(d->session) && (idle || loop_now_ms(d->loop) >= d->stop_ms);
}

/*
 * The timer is only ever brought forward: when it fires too early, nothing is due and it is set anew. So a
 * stream of sends and acks, each of which moves the deadline back, costs no system call.
 */
static void hook_arm(struct loop_hook *hook)
{
    struct daemon *d = (struct daemon *)((char *)hook - offsetof(struct daemon, arm));
    uint64_t at = deadline(d);

    if (is_finished(d)) {
        hub_flush(d->hub);
        loop_stop(d->loop);
        return;
    }
    if (at >= d->armed_ms)
        return;
    d->armed_ms = at;
    sd_event_source_set_time(d->timer, at * 1000);
    sd_event_source_set_enabled(d->timer, SD_EVENT_ONESHOT);
}

/* ---- Start and end ---- */

/*
 * Why it does not start: to stderr itself, also where that is the journal. Of an entry of a process that ends
 * at once the journal may not find out any more whose it is; of what comes through stderr it knows.
 */
static void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
static void complain(const char *format, ...)
{
    char text[1024];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    fprintf(stderr, "%s%s\n", isatty(STDERR_FILENO) ? "" : "<3>", text);
}

static int fail(const char *what, int error)
{
    complain("%s: %s", what, strerror(-error));
    return error;
}

static int make_transport(struct daemon *d)
{
    static const struct transport_listener calls = {.opened = on_opened,
                                                    .closed = on_closed,
                                                    .message = on_message,
                                                    .text_message = on_text_message,
                                                    .alive = on_alive,
                                                    .pong = on_pong,
                                                    .drained = on_drained};
    struct transport_listener l = calls;

    l.self = d;
    return transport_new(&d->transport, d->loop, &l);
}

static int make_session(struct daemon *d)
{
    struct session_options o = session_options_of(d);
    struct session_transport t = {.self = d,
                                  .open = io_open,
                                  .reserve = io_reserve,
                                  .commit = io_commit,
                                  .append = io_append,
                                  .congested = io_congested,
                                  .ping = io_ping,
                                  .close = io_close,
                                  .abort = io_abort,
                                  .take = io_take,
                                  .pause = io_pause,
                                  .heard_ms = io_heard_ms,
                                  .clock_us = io_clock_us,
                                  .random = io_random,
                                  .counters = io_counters};

    return session_new(&d->session, &o, &t, hub_listener(d->hub), now_of(d));
}

static int make_hub(struct daemon *d)
{
    struct hub_options o = hub_options_of(d);
    struct link l = {.self = d,
                     .send = link_send,
                     .compose = link_compose,
                     .send_composed = link_send_composed,
                     .queued = link_queued,
                     .connect = link_connect,
                     .disconnect = link_disconnect,
                     .reconnect = link_reconnect,
                     .state = link_state,
                     .reason = link_reason,
                     .write_status = link_write_status,
                     .write_stats = link_write_stats,
                     .congested = link_congested,
                     .pause = link_pause};
    int r = hub_new(&d->hub, d->loop, &o);

    if (r < 0)
        return r;
    hub_set_link(d->hub, &l);
    d->left = hub_inherit(d->hub, d->descriptors.hub, d->descriptors.hub_count);
    return 0;
}

/* What is not for want of disk is a mistake in the way it is run: then it does not start. */
static int open_store(struct daemon *d)
{
    struct store_options o = store_options_of(d);
    struct dispatcher_options dispatcher = dispatcher_options_of(d->config);
    char why[512];
    uint64_t seq, stored;
    int r = store_new(&d->store, d->loop, &o, hub_storage_listener(d->hub), &seq, &stored, why, sizeof why);

    if (r < 0) {
        complain("%s", why);
        return r;
    }
    d->storage = store_storage(d->store);
    hub_set_storage(d->hub, &d->storage, seq, stored);
    session_set_storage(d->session, &d->storage);
    return dispatcher_new(&d->dispatcher, &dispatcher, d->session, &d->storage, hub_listener(d->hub));
}

static int watch_process(struct daemon *d)
{
    struct sd_event *e = loop_event(d->loop);
    int r = sd_event_add_signal(e, NULL, SIGTERM, on_terminate, d);

    if (r >= 0)
        r = sd_event_add_signal(e, NULL, SIGINT, on_terminate, d);
    if (r >= 0)
        r = sd_event_add_signal(e, NULL, SIGHUP, on_hangup, d);
    if (r >= 0)
        r = sd_event_add_time(e, &d->timer, CLOCK_BOOTTIME, 0, 1000, on_timer, d);
    if (r >= 0)
        r = sd_event_source_set_enabled(d->timer, SD_EVENT_OFF);
    if (r >= 0)
        r = netwatch_new(&d->netwatch, e, on_network_change, d);
    return r < 0 ? r : 0;
}

/* Connections can outlive the process where the socket is the manager's. */
static void make_fdstore(struct daemon *d)
{
    const char *socket = getenv("NOTIFY_SOCKET");
    int r = d->descriptors.listening >= 0 && socket ? fdstore_new(&d->fdstore, d->loop, socket) : 0;

    if (r < 0)
        log_warning("connections will not outlive this process: %s: %s", socket, strerror(-r));
}

static int make_rooms(struct daemon *d)
{
    int r = loop_new(&d->loop);

    if (r == 0)
        r = descriptors_take(&d->descriptors);
    if (r < 0)
        return r;
    make_fdstore(d);
    d->due.turn = hook_due;
    d->arm.turn = hook_arm;
    loop_hook_add(d->loop, &d->due);
    r = supervisor_new(&d->supervisor, loop_event(d->loop));
    if (r == 0)
        r = make_hub(d);
    if (r == 0)
        r = make_session(d);
    if (r == 0)
        r = make_transport(d);
    if (r == 0)
        r = watch_process(d);
    loop_hook_add(d->loop, &d->arm);
    return r;
}

static int open_listener(struct daemon *d)
{
    int handed_over = d->descriptors.listening;
    int r = d->options.socket || handed_over >= 0
                ? listener_open(&d->listener, d->options.socket, handed_over)
                : -ENOENT;

    if (r == -EADDRINUSE)
        complain("%s: another imd serves this socket", d->options.socket);
    else if (r == -ENOENT && !d->options.socket)
        complain("no place for the socket: set XDG_RUNTIME_DIR or give --socket");
    else if (r < 0)
        fail(handed_over < 0 ? d->options.socket : "systemd's socket", r);
    return r < 0 ? r : hub_listen(d->hub, d->listener.fd);
}

static int serve(struct daemon *d)
{
    int r = supervisor_watch(d->supervisor, &d->storage);

    if (r < 0)
        return fail("watchdog", r);
    hub_resume(d->hub);
    if (hub_link_off(d->hub))
        session_stay_disconnected(d->session, hub_link_off(d->hub), now_of(d));
    else
        session_connect(d->session, now_of(d));
    supervisor_ready(d->supervisor);
    log_event(&(struct log_event){.level = LOG_NOTICE, .id = LOG_STARTED}, "account %s: serving %s",
              d->options.account, d->listener.path[0] ? d->listener.path : "systemd's socket");
    d->served = true;
    r = loop_run(d->loop);
    if (d->fdstore)
        fdstore_finish(d->fdstore, KEEPING_MS);
    return r < 0 ? fail("loop", r) : 0;
}

static void block_signals(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
}

/* Each client is a descriptor; nothing here uses select(), for which the soft limit is kept low. */
static void raise_descriptor_limit(void)
{
    struct rlimit fds;

    if (getrlimit(RLIMIT_NOFILE, &fds) < 0 || fds.rlim_cur == fds.rlim_max)
        return;
    fds.rlim_cur = fds.rlim_max;
    setrlimit(RLIMIT_NOFILE, &fds);
}

static int run(struct daemon *d)
{
    char why[512];
    int r;

    raise_descriptor_limit();
    block_signals(); /* before any thread is made */
    r = make_rooms(d);
    if (r < 0) {
        fail("cannot start", r);
        return EXIT_FAILURE;
    }
    if (configure_transport(d, d->config, why, sizeof why) < 0) {
        complain("%s", why);
        return OPTIONS_EXIT_CONFIG;
    }
    r = open_listener(d);
    if (r >= 0)
        r = open_store(d);
    if (r >= 0)
        r = serve(d);
    listener_close(&d->listener);
    return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

static void deinit(struct daemon *d)
{
    reload_cancel(d->reload);
    netwatch_free(d->netwatch);
    sd_event_source_unref(d->timer);
    if (d->store)
        store_free(d->store, hub_seq(d->hub));
    transport_free(d->transport);
    dispatcher_free(d->dispatcher);
    session_free(d->session);
    hub_free(d->hub);
    fdstore_free(d->fdstore);
    descriptors_deinit(&d->descriptors);
    supervisor_free(d->supervisor);
    loop_free(d->loop);
    config_free(d->config);
    if (d->served)
        log_event(&(struct log_event){.level = LOG_NOTICE, .id = LOG_STOPPED}, "account %s: stopped",
                  d->options.account);
    options_deinit(&d->options);
}

static int check_config(const struct daemon *d)
{
    printf("# %s: good\n", d->options.config);
    config_print(d->config, stdout);
    return EXIT_SUCCESS;
}

static int with_config(struct daemon *d)
{
    bool check = d->options.action == OPTIONS_CHECK_CONFIG;
    char error[512];
    struct config *c;

    if (!check)
        log_init(d->options.account, NULL);
    if ((check ? config_load_outside : config_load)(&c, d->options.config, error, sizeof error) == 0) {
        use_config(d, c);
        return check ? check_config(d) : run(d);
    }
    if (check)
        fprintf(stderr, "imd: %s\n", error);
    else
        complain("%s", error);
    return OPTIONS_EXIT_CONFIG;
}

int main(int argc, char **argv)
{
    struct daemon d = {.listener.fd = -1, .descriptors.listening = -1, .armed_ms = UINT64_MAX};
    char error[256];
    int status = EXIT_SUCCESS;
    int r = options_parse(&d.options, argc, argv, error, sizeof error);

    if (r != 0) {
        fprintf(stderr, "imd: %s\n", r > 0 ? error : strerror(-r));
        status = r > 0 ? r : EXIT_FAILURE;
    } else if (d.options.action == OPTIONS_VERSION) {
        puts("imd " IMD_VERSION);
    } else if (d.options.action == OPTIONS_HELP) {
        options_help(stdout);
    } else {
        status = with_config(&d);
    }
    deinit(&d);
    return status;
}
