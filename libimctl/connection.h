/*
 * The inside of a connection: bytes that wait to be written, the reader of lines, the requests that wait for
 * their answers in the order they were written, and the events that nobody took yet.
 */
#ifndef IMCTL_CONNECTION_H
#define IMCTL_CONNECTION_H

#include "imctl.h"
#include "event.h"
#include "line.h"
#include "writer.h"

/* A request without an answer. */
struct request {
    struct request *next;
    uint64_t id;
    uint64_t end; /* place in the stream of bytes to imd where it ends */
    size_t size;  /* of its line */
    void (*done)(struct imctl *c, const struct imctl_reply *reply, void *userdata);
    void *userdata;
};

struct imctl {
    int fd;
    int error;        /* why the connection is over; 0: it is not */
    bool dispatching; /* callbacks may be running: no second dispatch, and imctl_close waits for the end of
                         this one */
    bool closing;     /* imctl_close was called meanwhile */

    struct writer out;
    struct line_reader reader;
    struct request *first, **end;
    size_t waiting;
    uint64_t last_id;

    void (*handler)(struct imctl *c, const struct imctl_event *e, void *userdata);
    void *handler_userdata;
    struct imctl_event *events, **events_end; /* read while there was no handler */
};

/* Begins a request's line up to its params and tells where it begins; params, if any, are the member that the
 * caller adds to c->out.text. Then request_end, which takes the line back when something failed. */
size_t request_begin(struct imctl *c, const char *method);
int request_end(struct imctl *c, size_t begin, int error,
                void (*done)(struct imctl *c, const struct imctl_reply *reply, void *userdata),
                void *userdata);

#endif
