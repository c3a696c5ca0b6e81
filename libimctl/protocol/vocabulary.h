/*
 * Vocabulary: the words that both ends of the local socket, and the IM server, agree on.
 *
 * Each list exists once, as an X-macro below; enums, parsers, printers, help and completion are made from it.
 * Source: the protocol document imd-protocol(7), which for the IM server's words follows awesome-im 1.0.7.
 */
#ifndef IMD_PROTOCOL_VOCABULARY_H
#define IMD_PROTOCOL_VOCABULARY_H

#include <stdbool.h>
#include <stddef.h>

/* X(enumerator, word on the wire, short word that people and filters use) */
#define MESSAGE_TYPES(X)                     \
    X(MESSAGE_TYPE_TEXT, "TxtMsg", "text")   \
    X(MESSAGE_TYPE_IMAGE, "ImgMsg", "image") \
    X(MESSAGE_TYPE_FILE, "FileMsg", "file")  \
    X(MESSAGE_TYPE_PING, "PingMsg", "ping")  \
    X(MESSAGE_TYPE_SIGNAL, "SignalMsg", "signal")

/* The upstream document writes this where its own table says TxtMsg: both count as text. */
#define MESSAGE_TYPE_TEXT_ALIAS "TextMsg"

/* X(enumerator, number on the wire, word) */
#define CONVERSATION_TYPES(X)                   \
    X(CONVERSATION_SERVER, 0, "server")         \
    X(CONVERSATION_PRIVATE, 1, "private")       \
    X(CONVERSATION_DISCUSSION, 2, "discussion") \
    X(CONVERSATION_GROUP, 3, "group")           \
    X(CONVERSATION_CHATROOM, 4, "chatroom")     \
    X(CONVERSATION_SYSTEM, 5, "system")

/* X(enumerator, word): states of the link to the server */
#define LINK_STATES(X)                                                         \
    X(LINK_DISCONNECTED, "disconnected") /* on purpose; no try is scheduled */ \
    X(LINK_CONNECTING, "connecting")                                           \
    X(LINK_CONNECTED, "connected")                                             \
    X(LINK_WAITING, "waiting") /* lost; the next try is scheduled */

/* X(enumerator, word): why the link is in its state */
#define LINK_REASONS(X)                                                                                \
    X(LINK_REASON_NONE, "")                                                                            \
    X(LINK_REASON_REQUESTED, "requested")         /* a local program asked for it */                   \
    X(LINK_REASON_SERVER_SIGNAL, "server_signal") /* a signal of DisconnectSignals */                  \
    X(LINK_REASON_CLOSED, "closed")               /* the server ended the connection */                \
    X(LINK_REASON_CLOSE_CODE, "close_code")       /* ... with a code of NoReconnectCodes */            \
    X(LINK_REASON_REFUSED, "refused")             /* nobody listens there */                           \
    X(LINK_REASON_UNREACHABLE, "unreachable")     /* no route, or no answer in time */                 \
    X(LINK_REASON_DNS, "dns")                     /* the name could not be resolved */                 \
    X(LINK_REASON_TLS, "tls")                     /* handshake or certificate */                       \
    X(LINK_REASON_UNAUTHORIZED, "unauthorized")   /* HTTP 401 or 403 on the upgrade */                 \
    X(LINK_REASON_UPGRADE, "upgrade")             /* any other answer than 101 to the upgrade */       \
    X(LINK_REASON_TIMEOUT, "timeout")             /* connected, but the upgrade was never answered */  \
    X(LINK_REASON_HEARTBEAT, "heartbeat")         /* nothing came for PingTimeout: a half-open link */ \
    X(LINK_REASON_PROTOCOL, "protocol")           /* the server broke the websocket protocol */        \
    X(LINK_REASON_TOO_LARGE, "too_large")         /* the server sent a message above MaxMessage */     \
    X(LINK_REASON_CREDENTIALS, "credentials")     /* HeaderFile, CertFile or KeyFile cannot be read */ \
    X(LINK_REASON_PROXY, "proxy")                 /* the proxy refused or does not answer */           \
    X(LINK_REASON_SHUTDOWN, "shutdown")           /* the daemon is being stopped */

/* X(enumerator, word): kinds of events; the word is the method of the notification */
#define EVENT_KINDS(X)          \
    X(EVENT_MESSAGE, "MESSAGE") \
    X(EVENT_SENT, "SENT")       \
    X(EVENT_STATUS, "STATUS")   \
    X(EVENT_OUTBOX, "OUTBOX")   \
    X(EVENT_GAP, "GAP")

/* X(enumerator, word): states of a message in the outbox */
#define OUTBOX_STATES(X)                                                        \
    X(OUTBOX_QUEUED, "queued")                                                  \
    X(OUTBOX_SENT, "sent") /* went to the server at least once, not answered */ \
    X(OUTBOX_ACKED, "acked")                                                    \
    X(OUTBOX_REJECTED, "rejected")                                              \
    X(OUTBOX_EXPIRED, "expired")                                                \
    X(OUTBOX_CANCELLED, "cancelled")

/* X(enumerator, word): methods that a client may call */
#define METHODS(X)                       \
    X(METHOD_HELLO, "hello")             \
    X(METHOD_SEND, "send")               \
    X(METHOD_SUBSCRIBE, "subscribe")     \
    X(METHOD_UNSUBSCRIBE, "unsubscribe") \
    X(METHOD_STATUS, "status")           \
    X(METHOD_CONNECT, "connect")         \
    X(METHOD_DISCONNECT, "disconnect")   \
    X(METHOD_RECONNECT, "reconnect")     \
    X(METHOD_STATS, "stats")             \
    X(METHOD_ACK, "ack")                 \
    X(METHOD_HISTORY, "history")         \
    X(METHOD_OUTBOX, "outbox")           \
    X(METHOD_OUTBOX_CANCEL, "outbox.cancel")

#define VOCABULARY_FIRST(id, ...) id,
enum message_type { MESSAGE_TYPES(VOCABULARY_FIRST) MESSAGE_TYPE_COUNT };
enum link_state { LINK_STATES(VOCABULARY_FIRST) LINK_STATE_COUNT };
enum link_reason { LINK_REASONS(VOCABULARY_FIRST) LINK_REASON_COUNT };
enum outbox_state { OUTBOX_STATES(VOCABULARY_FIRST) OUTBOX_STATE_COUNT };
enum event_kind { EVENT_KINDS(VOCABULARY_FIRST) EVENT_KIND_COUNT };
enum method { METHODS(VOCABULARY_FIRST) METHOD_COUNT };
#undef VOCABULARY_FIRST

#define VOCABULARY_NUMBER(id, number, word) id = number,
enum conversation_type { CONVERSATION_TYPES(VOCABULARY_NUMBER) CONVERSATION_TYPE_COUNT };
#undef VOCABULARY_NUMBER

/* Words of the flat message map and of the server's envelope (imd-protocol(7), "The IM server"). */
#define KEY_MESSAGE_TYPE "messageType"
#define KEY_MESSAGE_ID "messageId"
#define KEY_CONVERSATION_TYPE "conversationType"
#define KEY_FROM "from"
#define KEY_TO "to"
#define KEY_SENT_TIME "sentTime"
#define KEY_MESSAGE_DIRECTION "messageDirection"
#define KEY_SIGNAL_NAME "signalName"
#define KEY_CONTENT "content"
#define KEY_MESSAGE "message"
#define KEY_CODE "code"
#define KEY_DATA "data"
#define KEY_ERR_MSG "errMsg"

#define MESSAGE_DIRECTION_SEND 1
#define MESSAGE_DIRECTION_RECEIVE 2
#define SERVER_ADDRESS "server" /* what `to` is for conversation type 0 */
#define PROTOCOL_VERSION 1      /* of the local socket; hello tells it */

/*
 * Limits that both ends rely on. A line is one JSON object; MESSAGE_DEPTH_MAX is how deep a message may nest,
 * the message's own map being level 1.
 */
#define MESSAGE_DEPTH_MAX 64
#define MESSAGE_ID_MAX 128 /* bytes */
#define REQUEST_ID_MAX 256 /* bytes of an id's JSON text */
#define LINE_FDS_MAX 16    /* file descriptors that may come with a line */

/* The word of a value; never NULL for a value of the enum. Thread: any. */
const char *message_type_wire(enum message_type t);
const char *message_type_word(enum message_type t);
const char *conversation_type_word(int number); /* NULL when the number has no word */
const char *link_state_word(enum link_state s);
const char *link_reason_word(enum link_reason r);
const char *outbox_state_word(enum outbox_state s);
const char *event_kind_word(enum event_kind k);
const char *method_word(enum method m);

/* The value of a word, or -1. Words need no terminating NUL and are case-sensitive. */
int conversation_type_parse(const char *word, size_t len);
int link_state_parse(const char *word, size_t len);
int event_kind_parse(const char *word, size_t len);
int method_parse(const char *word, size_t len);

/* The wire name for a short word (`text` -> `TxtMsg`); NULL when it is no short word: then it stands for
 * itself. */
const char *message_type_from_word(const char *word, size_t len);

#endif
