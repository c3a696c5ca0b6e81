/*
 * The configuration of an account: NAME.conf. One table, CONFIG_KEYS, holds everything that is to be said
 * about a key; parser, defaults, ranges, --check-config, what SIGHUP may change, and the key sections of
 * imd.conf(5) are made from it.
 */
#ifndef IMD_CONFIG_H
#define IMD_CONFIG_H

#include "access.h"
#include "url.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/*
 * X(enumerator, section, key, kind, field, default, least, most, when, sentence)
 *
 * default, as it would be written in the file; "": none. least and most: milliseconds, bytes or a number, by
 * kind. when: CONFIG_RELOAD: SIGHUP changes it; CONFIG_START: only a restart does, because what is made from
 * it at the start cannot be changed under those who use it. In sentences, *x* and _x_ are as in scdoc.
 *
 * The ranges: PingGap below 100ms would be a load on the server, above 1h it finds nothing; RingSize must
 * hold more than one read of the websocket (64 KiB) and is mapped twice; MaxLine must hold a reply to `hello`
 * and a message of usual size; MaxMessage is what one frame may make us keep in memory.
 */
#define CONFIG_KEYS(X)                                                                                       \
    X(URL, "Session", "Url", URL, url_text, "", 0, 0, RELOAD,                                                \
      "Where the IM server is: *ws://*_HOST_[*:*_PORT_][*/*_PATH_] or *wss://*... The only key that must "   \
      "be given. User names, fragments, spaces and control characters are refused.")                         \
    X(USER_ID, "Session", "UserId", TEXT, user_id, "", 0, 0, RELOAD,                                         \
      "The *from* of messages whose sender gave none. Without it they have none.")                           \
    X(PING_GAP, "Session", "PingGap", SPAN, ping_gap_ms, "6s", 100, 3600000, RELOAD,                         \
      "How often a ping is sent to the server.")                                                             \
    X(PING_TIMEOUT, "Session", "PingTimeout", SPAN, ping_timeout_ms, "2 x PingGap", 100, 86400000, RELOAD,   \
      "The link is dead, and made anew, when nothing at all came for so long although a ping was sent.")     \
    X(RECONNECT_MIN, "Session", "ReconnectMin", SPAN, reconnect_min_ms, "500ms", 10, 3600000, RELOAD,        \
      "The wait before a lost link is made anew is a random time up to this, doubled with each failure.")    \
    X(RECONNECT_MAX, "Session", "ReconnectMax", SPAN, reconnect_max_ms, "30s", 10, 86400000, RELOAD,         \
      "What that wait never exceeds.")                                                                       \
    X(RECONNECT_STABLE, "Session", "ReconnectStable", SPAN, reconnect_stable_ms, "10s", 0, 86400000, RELOAD, \
      "How long a link must have been up before the waits begin at *ReconnectMin* again.")                   \
    X(DISCONNECT_SIGNALS, "Session", "DisconnectSignals", WORDS, disconnect_signals, "", 0, 0, RELOAD,       \
      "Names of signals by which the server asks for an end: the link is closed and not made anew until a "  \
      "local program asks for it.")                                                                          \
    X(NO_RECONNECT_CODES, "Session", "NoReconnectCodes", CODES, no_reconnect_codes, "", 1000, 4999, RELOAD,  \
      "Close codes of the server after which the link is not made anew until a local program asks for it. "  \
      "1012 to 1014 cannot be told apart from 1002.")                                                        \
    X(HEADER, "Session", "Header", HEADERS, headers, "", 0, 0, RELOAD,                                       \
      "A header, _Name_*:* _value_, sent with each attempt to connect. Tokens "                              \
      "are better kept in *HeaderFile*.")                                                                    \
    X(HEADER_FILE, "Session", "HeaderFile", FILE, header_file, "", 0, 0, RELOAD,                             \
      "A file with such headers, one a line, read anew at each attempt; a place for tokens.")                \
    X(CA_FILE, "Session", "CaFile", FILE, ca_file, "/etc/ssl/certs/ca-certificates.crt", 0, 0, RELOAD,       \
      "The certificate authorities (PEM) that the server's certificate is checked against.")                 \
    X(CERT_FILE, "Session", "CertFile", FILE, cert_file, "", 0, 0, RELOAD,                                   \
      "The client certificate (PEM, with its chain), for servers that ask for one. Needs *KeyFile*.")        \
    X(KEY_FILE, "Session", "KeyFile", FILE, key_file, "", 0, 0, RELOAD,                                      \
      "The private key (PEM, without a passphrase) of *CertFile*; may be the same file.")                    \
    X(PROXY, "Session", "Proxy", PROXY, proxy_host, "", 0, 0, RELOAD,                                        \
      "An HTTP proxy, _HOST_*:*_PORT_, that the server is reached through. The environment is not asked.")   \
    X(RING_SIZE, "Local", "RingSize", SIZE, ring_size, "8M", 65536, 1073741824, START,                       \
      "The ring of recent events that all subscribers share. One that falls behind by more than this "       \
      "is given the rest from the history or, without one, told what it misses. Rounded up to a power of "   \
      "two.")                                                                                                \
    X(MAX_LINE, "Local", "MaxLine", SIZE, max_line, "1M", 4096, 67108864, START,                             \
      "The longest request line that a local program may send.")                                             \
    X(MAX_MESSAGE, "Local", "MaxMessage", SIZE, max_message, "64M", 4096, 1073741824, RELOAD,                \
      "The largest message taken from the server; a larger one closes the link with code 1009.")             \
    X(INLINE_BINARY, "Local", "InlineBinary", SIZE, inline_binary, "64K", 0, 67108864, RELOAD,               \
      "Binary values of a message up to this size are given to local programs within the line, as base64. "  \
      "Larger ones are written to files, up to *AttachmentsMaxSize*.")                                       \
    X(MAX_CLIENTS, "Local", "MaxClients", NUMBER, max_clients, "4096", 1, 1000000, RELOAD,                   \
      "How many local connections there may be.")                                                            \
    X(MAX_CLIENTS_PER_USER, "Local", "MaxClientsPerUser", NUMBER, max_clients_per_user, "1024", 1, 1000000,  \
      RELOAD, "How many of them one user may have.")                                                         \
    X(MAX_PENDING, "Local", "MaxPending", NUMBER, max_pending, "4096", 1, 1000000, START,                    \
      "How many messages may wait for the server's answer at a time.")                                       \
    X(MAX_PENDING_PER_USER, "Local", "MaxPendingPerUser", NUMBER, max_pending_per_user, "1024", 1, 1000000,  \
      RELOAD, "How many of them one user may have.")                                                         \
    X(SEND_RATE, "Local", "SendRate", NUMBER, send_rate, "0", 0, 1000000, RELOAD,                            \
      "How many messages one user may send in a second, at once or spread over it. "                         \
      "0: as many as it likes.")                                                                             \
    X(STALL_TIMEOUT, "Local", "StallTimeout", SPAN, stall_timeout_ms, "60s", 100, 86400000, RELOAD,          \
      "A subscriber that has events waiting and reads none of them for so long is disconnected.")            \
    X(ACK_TIMEOUT, "Local", "AckTimeout", SPAN, ack_timeout_ms, "30s", 100, 86400000, RELOAD,                \
      "How long a message waits for the server's answer, unless its sender says otherwise; a queued one "    \
      "is then sent again.")                                                                                 \
    X(RECEIVE, "Access", "Receive", ACCESS, receive, "*", 0, 0, RELOAD,                                      \
      "Who may subscribe, with or without a consumer, and read the history.")                                \
    X(SEND, "Access", "Send", ACCESS, send, "*", 0, 0, RELOAD,                                               \
      "Who may send messages, queued ones too, and list and cancel what is queued.")                         \
    X(CONTROL, "Access", "Control", ACCESS, control, "", 0, 0, RELOAD,                                       \
      "Who may connect, disconnect and reconnect the link.")                                                 \
    X(HISTORY, "Store", "History", SWITCH, history, "yes", 0, 0, START,                                      \
      "Keep what came, so that programs get what came while they were away.")                                \
    X(HISTORY_MAX_AGE, "Store", "HistoryMaxAge", SPAN, history_max_age_ms, "7d", 60000, 315360000000,        \
      RELOAD, "How long.")                                                                                   \
    X(HISTORY_MAX_SIZE, "Store", "HistoryMaxSize", SIZE, history_max_bytes, "256M", 65536, 1099511627776,    \
      RELOAD, "How much: beyond it, the oldest events go.")                                                  \
    X(OUTBOX_MAX, "Store", "OutboxMax", NUMBER, outbox_max, "100000", 1, 10000000, RELOAD,                   \
      "How many queued messages may wait for the server's answer.")                                          \
    X(OUTBOX_WINDOW, "Store", "OutboxWindow", NUMBER, outbox_window, "64", 1, 4096, RELOAD,                  \
      "How many of them may be on their way to the server, unanswered, at a time.")                          \
    X(OUTBOX_EXPIRES, "Store", "OutboxExpires", SPAN, outbox_expires_ms, "24h", 1, 2592000000, RELOAD,       \
      "How long a queued message is sent again and again before it is given up, unless its sender says "     \
      "otherwise.")                                                                                          \
    X(OUTBOX_KEEP, "Store", "OutboxKeep", SPAN, outbox_keep_ms, "7d", 0, 31536000000, RELOAD,                \
      "How long it is remembered how a queued message ended: so long the same *messageId* is not sent "      \
      "again. "                                                                                              \
      "Of more than ten times *OutboxMax* such messages the oldest are forgotten before.")                   \
    X(ATTACHMENTS_MAX_SIZE, "Store", "AttachmentsMaxSize", SIZE, attachments_max, "1G", 0, 1099511627776,    \
      RELOAD,                                                                                                \
      "How much the files may take that are made of binary values above *InlineBinary*: beyond it, the "     \
      "oldest go. 0: there are none, and all binary values are given within the line.")

#define CONFIG_KEY_ID(id, ...) CONFIG_##id,
enum config_key_id { CONFIG_KEYS(CONFIG_KEY_ID) CONFIG_KEY_COUNT };
#undef CONFIG_KEY_ID

enum config_when { CONFIG_RELOAD, CONFIG_START };

struct config_kind; /* config_kind.h */

struct config_key {
    const char *section, *name;
    const struct config_kind *kind;
    size_t at; /* of its field in struct config */
    const char *standard;
    uint64_t least, most;
    enum config_when when;
    const char *sentence;
};

extern const struct config_key config_keys[CONFIG_KEY_COUNT];

/* A list of who has a right: as it was written, and what that means. */
struct config_access {
    const char **words; /* NULL-terminated; NULL: none */
    struct access_entry *entries;
    size_t count;
};

/* Strings and arrays belong to it. What was not given and has no default: NULL, or an empty list. */
struct config {
    char *url_text;
    struct url url;
    char *user_id;
    uint64_t ping_gap_ms, ping_timeout_ms;
    uint64_t reconnect_min_ms, reconnect_max_ms, reconnect_stable_ms;
    const char **disconnect_signals; /* NULL-terminated; NULL: none */
    uint16_t *no_reconnect_codes;
    size_t no_reconnect_count;
    const char **headers; /* "Name: value", NULL-terminated; NULL: none */
    char *header_file, *ca_file, *cert_file, *key_file;
    char proxy_host[URL_HOST_MAX + 1];
    uint16_t proxy_port;
    bool has_proxy;
    size_t ring_size, max_line, max_message, inline_binary;
    unsigned max_clients, max_clients_per_user, max_pending, max_pending_per_user, send_rate;
    uint64_t stall_timeout_ms, ack_timeout_ms;
    struct config_access receive, send, control;
    bool history;
    uint64_t history_max_age_ms;
    size_t history_max_bytes;
    unsigned outbox_max, outbox_window;
    uint64_t outbox_expires_ms, outbox_keep_ms;
    size_t attachments_max;
    unsigned line[CONFIG_KEY_COUNT]; /* where each key was given (last); 0: it has its default */
};

/*
 * Reads and checks a file, and looks up the names of users and groups in it, which may block. 0; or -EINVAL,
 * -ENOMEM … with a sentence in error: `FILE:LINE: what is wrong`, or `FILE: …` where no line is to blame.
 * *out is set on success only.
 */
int config_load(struct config **out, const char *path, char *error, size_t n);
/* The same for who only looks at it, and has no credentials, which systemd gives to the daemon it starts. */
int config_load_outside(struct config **out, const char *path, char *error, size_t n);
void config_free(struct config *c); /* NULL is fine */

/*
 * For a reload: the names, joined by ", ", of the keys of this kind (CONFIG_RELOAD, CONFIG_START) whose
 * values differ; cut where there is no room. Returns how many they are.
 */
size_t config_changed(const struct config *now, const struct config *next, enum config_when when, char *out,
                      size_t n);
/*
 * Gives next the values of now for all keys that only a restart can change, so that it says what is in force.
 */
void config_keep_start(struct config *next, const struct config *now);

/*
 * The values in force, in the form of the file: keys with their default as comments; header values and the
 * values of the URL's query as ***.
 */
void config_print(const struct config *c, FILE *to);

#endif
