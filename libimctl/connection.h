/*
 * The inside of a connection: bytes that wait to be written, the reader of lines, the requests that wait for
 * their answers in the order they were written, and the events that nobody took yet.
 */
#ifndef IMCTL_CONNECTION_H
#define IMCTL_CONNECTION_H

#include "imctl.h"
#include "event.h"
#include "line.h"
#include "reconnect.h"
#include "subscription.h"
#include "writer.h"

/* A request without an answer. */
struct request {
    struct request *next;
    uint64_t id;
    uint64_t end; /* place in the stream of bytes to imd where it ends */
    size_t size;  /* of its line */
    void (*done)(struct imctl *c, const struct imctl_reply *reply, void *userdata);
    void *userdata;
    struct subscription *subscription; /* that it asks for; NULL: none */
    bool unsubscribes;
};

struct imctl {
    int fd;           /* -1: away */
    char *path;       /* NULL: not known */
    int error;        /* why the connection is over; 0: it is not */
    bool dispatching; /* callbacks may be running: no second dispatch, and imctl_close waits for the end of
                         this one */
    bool closing;     /* imctl_close was called meanwhile */

    struct writer out;
    struct line_reader reader;
    struct request *first, **end;
    size_t waiting;
    uint64_t last_id;
    struct subscription *subscription; /* what imd has agreed to; NULL: nothing */
    uint64_t subscription_id;          /* of the request that decided that */

    struct reconnect *again; /* NULL: when it breaks it is over */

    void (*handler)(struct imctl *c, const struct imctl_event *e, void *userdata);
    void *handler_userdata;
    struct imctl_event *events, **events_end; /* read while there was no handler */
};

/* A request's line that is being written. */
struct draft {
    size_t begin;      /* of its line in the text */
    bool subscribes;   /* it is answered with events */
    bool unsubscribes; /* they end */
    bool resumes;      /* it may be made while others may not */
};

/* Begins a request's line up to its params; params, if any, are the member that the caller adds to
 * c->out.text. Then request_end, which takes the line back when something failed. */
struct draft request_begin(struct imctl *c, const char *method);
int request_end(struct imctl *c, struct draft d, int error,
                void (*done)(struct imctl *c, const struct imctl_reply *reply, void *userdata),
                void *userdata);

/* Gives every request the answer that none will come. */
void requests_answer_lost(struct imctl *c);

/* Lets go of the socket and of what was to be written to and read from it. */
void connection_unplug(struct imctl *c);

/* What poll(2) on imctl_fd must not wait beyond, for the connection's own sake; -1: no limit. */
int connection_timeout(const struct imctl *c);

#endif
