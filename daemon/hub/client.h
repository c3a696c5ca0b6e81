/* A client: one local connection, its requests, its replies, and its subscription if it has one. */
#ifndef IMD_CLIENT_H
#define IMD_CLIENT_H

#include "kept.h"
#include "line.h"
#include "link.h"
#include "loop.h"
#include "replay.h"
#include "storage.h"
#include "subscriber.h"
#include "vocabulary.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct hub;
struct client;
struct user;

/* A request that waits for its answer. */
struct call {
    struct link_call link; /* its first member: told the server's answer */
    struct hub *hub;
    struct client *client; /* NULL: it has gone */
    struct user *user;     /* who waits; NULL: nobody */
    struct call *prev, *next;
    bool taken;            /* else free */
    bool stored;           /* waits for the store */
    uint32_t slot;         /* of its client, see kept.h; KEPT_NONE: none, or it has gone */
    uint64_t request;      /* which it was made for, see kept.h */
    uint64_t replied_from; /* 1 + kept_replied before its reply; 0: that is not begun */
    size_t bytes;          /* which it has in memory for that */
    uint16_t id_len;       /* 0: a notification, never answered */
    char id[REQUEST_ID_MAX];
};

/* Buffers for replies that no client needs at the moment. */
struct reply_spares {
    struct replies *first;
    size_t bytes;
};
void reply_spares_free(struct hub *h);

struct client {
    struct loop_source source;
    struct hub *hub;
    struct client *prev, *next;                   /* all clients */
    struct client *dirty_next;                    /* those with replies to write at the end of the turn */
    struct client *grave_next;                    /* those closed in this turn */
    struct client *newcomer_prev, *newcomer_next; /* those that are still to be stored */
    uint64_t since_ms;                            /* when it came */
    bool newcomer;                                /* is one of those */
    bool dirty;
    uid_t uid;
    gid_t gid;
    struct user *user;         /* the same as the hub knows it */
    unsigned rights;           /* a set: enum right */
    struct kept_client *kept;  /* where it stands */
    bool stored;               /* the service manager has its connection too … */
    bool left;                 /* … and this process leaves it to the next one */
    struct json_writer writer; /* the reply being written, into kept->out */
    struct replay replay;
    char *opening; /* the consumer that it will be when the store has found it; NULL: none */
    struct call *calls;
    struct passed *passed; /* descriptors of lines that are not handled yet, lot by lot */
    uint64_t progress_ms;  /* when its socket last took something, or had taken all */
    int fd;
    bool eof;       /* it will send nothing more */
    bool gone;      /* and reads nothing more: no longer watched, only what it asked before is still done */
    bool blocked;   /* its socket is full */
    bool throttled; /* not read: its replies, or the frames to the server, wait */
    bool loading;   /* a message of its waits for its files: likewise */
    bool closed;
};

/* Replies beyond this and the client is not read until they are taken. */
#define CLIENT_REPLIES_HIGH (64u << 10)

/* Takes fd over, also when it fails (NULL); kept is where it stands, NULL: at its beginning. */
struct client *client_new(struct hub *h, int fd, uid_t uid, gid_t gid, struct kept_client *kept);
void client_close(struct client *c,
                  const char *why); /* why: for the log; NULL: nothing worth a line. Twice is fine. */
void client_free(struct client *c); /* by the hub, at the end of the turn */

void client_forget_consumer(struct client *c); /* it is none any more; twice is fine */

/*
 * A reply: `{"jsonrpc":"2.0","id":ID,` is written; the caller writes `"result":…` or `"error":…` and ends it.
 * No id (a null id is the text `null`): NULL. A client that lets its replies pile up is closed.
 */
struct json_writer *client_reply_begin(struct client *c, const char *id, size_t id_len);
void client_reply_end(struct client *c);

/* Writes what waits, in one call to the kernel if it takes it all. */
void client_flush(struct client *c);

/* A client of the process before: what waits for it, and what it asked, is dealt with in the next turn. */
void client_resume_later(struct client *c);
void client_unwatch(struct client *c); /* nothing more is read from it */

/* Goes on with requests that were read but not handled, once nothing throttles it. */
void client_resume(struct client *c);

static inline size_t client_replies(const struct client *c)
{
    const struct replies *out = c->kept->out;

    return out ? out->end - out->start : 0;
}

#endif
