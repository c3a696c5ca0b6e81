#include "server.h"

#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "tap.h"

#define MAX_FILES 16384 /* lws' tables grow with the limit, which may be a million */
#define BUFFER_SIZE 65536
#define SEND_SIZE (1 << 20)
#define EXIT_USAGE 64
#define SIGNAL_PROTOCOL "signal"

struct arguments {
    const char *listen;
    const char *cert;
    const char *key;
    const char *client_ca;
    const char *control;
    bool is_verbose;
};

struct server *server_of(struct lws *wsi)
{
    return lws_context_user(lws_get_context(wsi));
}

void server_stir(struct server *server)
{
    if (!server->is_quitting)
        lws_cancel_service(server->lws);
}

static int signal_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                           size_t len)
{
    struct signalfd_siginfo info;

    (void)user, (void)in, (void)len;
    if (reason == LWS_CALLBACK_RAW_RX_FILE && read(lws_get_socket_fd(wsi), &info, sizeof(info)) > 0)
        server_of(wsi)->is_quitting = true;
    return 0;
}

static _Noreturn void usage(void)
{
    fprintf(stderr,
            "usage: im-server [--listen ADDR:PORT] [--tls CERT KEY [--client-ca CA]] [--control PATH] "
            "[--verbose]\n"
            "ADDR is 127.0.0.0/8 or [::1]; PORT 0: the kernel chooses\n");
    exit(EXIT_USAGE);
}

/* getopt gives an option one argument; the key is the word behind it. */
static void parse_tls(struct arguments *arguments, int argc, char **argv)
{
    if (optind >= argc || argv[optind][0] == '-')
        usage();
    arguments->cert = optarg;
    arguments->key = argv[optind++];
}

static struct arguments parse_arguments(int argc, char **argv)
{
    static const struct option options[] = {
        {"listen", required_argument, NULL, 'l'},    {"tls", required_argument, NULL, 't'},
        {"client-ca", required_argument, NULL, 'a'}, {"control", required_argument, NULL, 'c'},
        {"verbose", no_argument, NULL, 'v'},         {0},
    };
    struct arguments arguments = {.listen = "127.0.0.1:0"};
    int option;

    /* "+": in order, as parse_tls needs it. */
    while ((option = getopt_long(argc, argv, "+", options, NULL)) != -1) {
        if (option == 'l')
            arguments.listen = optarg;
        else if (option == 't')
            parse_tls(&arguments, argc, argv);
        else if (option == 'a')
            arguments.client_ca = optarg;
        else if (option == 'c')
            arguments.control = optarg;
        else if (option == 'v')
            arguments.is_verbose = true;
        else
            usage();
    }
    if (optind < argc || (arguments.client_ca && !arguments.cert))
        usage();
    return arguments;
}

static bool limit_files(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        return false;
    limit.rlim_cur = limit.rlim_max < MAX_FILES ? limit.rlim_max : MAX_FILES;
    return setrlimit(RLIMIT_NOFILE, &limit) == 0;
}

/* lws names no reason when it cannot read a file. */
static bool is_readable(const char *path)
{
    if (!path || access(path, R_OK) == 0)
        return true;
    fprintf(stderr, "im-server: %s: %s\n", path, strerror(errno));
    return false;
}

static bool context_create(struct server *server, const struct arguments *arguments)
{
    static const lws_retry_bo_t no_pings = {0}; /* lws would ping idle peers after five minutes */
    enum { HELD = 4, CONTROL = 5 };
    static struct lws_protocols protocols[] = {
        {.name = "im",
         .callback = connection_callback,
         .per_session_data_size = sizeof(struct connection),
         .rx_buffer_size = BUFFER_SIZE,
         .tx_packet_size = SEND_SIZE},
        {.name = GATE_LISTENER_PROTOCOL, .callback = gate_listener_callback},
        {.name = CONTROL_LISTENER_PROTOCOL, .callback = control_listener_callback},
        {.name = SIGNAL_PROTOCOL, .callback = signal_callback},
        [HELD] = {.name = GATE_HELD_PROTOCOL, .callback = gate_held_callback},
        [CONTROL] = {.name = CONTROL_PROTOCOL, .callback = control_callback},
        {0},
    };
    struct lws_context_creation_info info = {
        .port = CONTEXT_PORT_NO_LISTEN_SERVER,
        .protocols = protocols,
        .uid = (uid_t)-1,
        .gid = (gid_t)-1,
        .user = server,
        .pt_serv_buf_size = BUFFER_SIZE,
        .max_http_header_data = 16384,
        .timeout_secs = 20,
        .retry_and_idle_policy = &no_pings,
        .alpn = "http/1.1",
        .ssl_cert_filepath = arguments->cert,
        .ssl_private_key_filepath = arguments->key,
        .ssl_ca_filepath = arguments->client_ca,
    };

    protocols[HELD].per_session_data_size = gate_held_size();
    protocols[CONTROL].per_session_data_size = control_session_size();
    if (arguments->cert)
        info.options |= LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT;
    if (arguments->client_ca)
        info.options |= LWS_SERVER_OPTION_REQUIRE_VALID_OPENSSL_CLIENT_CERT;
    server->lws = lws_create_context(&info);
    server->vhost = server->lws ? lws_get_vhost_by_name(server->lws, "default") : NULL;
    return server->vhost;
}

static bool watch_signals(struct server *server)
{
    lws_sock_file_fd_type fd;
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
        return false;
    fd.filefd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
    return fd.filefd >= 0 &&
           lws_adopt_descriptor_vhost(server->vhost, LWS_ADOPT_RAW_FILE_DESC, fd, SIGNAL_PROTOCOL, NULL);
}

static bool fail(const char *what)
{
    fprintf(stderr, "im-server: %s: %s\n", what, strerror(errno));
    return false;
}

static bool server_start(struct server *server, const struct arguments *arguments)
{
    if (!is_readable(arguments->cert) || !is_readable(arguments->key) || !is_readable(arguments->client_ca))
        return false;
    if (!context_create(server, arguments)) {
        fprintf(stderr, "im-server: libwebsockets does not start\n");
        return false;
    }
    if (!watch_signals(server))
        return fail("signals");
    if (!gate_start(server))
        return fail(arguments->listen);
    if (arguments->control && !control_start(server, arguments->control))
        return fail(arguments->control);
    return true;
}

static void server_loop(struct server *server)
{
    printf("{\"port\":%d}\n", gate_port(&server->gate));
    fflush(stdout);
    while (!server->is_quitting && lws_service(server->lws, 0) >= 0)
        control_turn(server);
}

static void server_end(struct server *server)
{
    server->is_quitting = true;
    behaviour_deinit(&server->behaviour);
    if (server->lws)
        lws_context_destroy(server->lws);
    control_deinit(&server->control);
    gate_deinit(&server->gate);
    record_deinit(&server->record);
    msgpack_sbuffer_destroy(&server->scratch);
    tap_deinit();
}

int main(int argc, char **argv)
{
    static struct server server;
    struct arguments arguments = parse_arguments(argc, argv);
    pid_t parent = getppid();
    bool is_started;

    /* A test that dies must not leave a server behind; it may have died before the line above took effect. */
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent)
        return 1;
    if (!gate_parse(&server.gate, arguments.listen))
        usage();
    signal(SIGPIPE, SIG_IGN);
    lws_set_log_level(arguments.is_verbose ? LLL_ERR | LLL_WARN | LLL_NOTICE : LLL_ERR, NULL);
    if (!limit_files())
        return 1;
    server.is_tls = arguments.cert;
    msgpack_sbuffer_init(&server.scratch);
    behaviour_init(&server.behaviour);
    tap_init(&server, MAX_FILES);
    is_started = server_start(&server, &arguments);
    if (is_started)
        server_loop(&server);
    server_end(&server);
    return is_started ? 0 : 1;
}
