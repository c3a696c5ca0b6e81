/* A reply is the result, or the error object, of one request. */
#ifndef IMCTL_REPLY_H
#define IMCTL_REPLY_H

#include "imctl.h"
#include "document.h"

struct imctl_reply {
    enum imctl_error error;
    const char *lost; /* the connection ended first: a sentence; no text of the daemon */
    struct document *body;
    struct document document;
};

/* The value must be NUL-terminated and stay as long as the reply. */
void reply_init_result(struct imctl_reply *r, struct view result);
void reply_init_error(struct imctl_reply *r, struct view error);
void reply_init_lost(struct imctl_reply *r, bool written);
void reply_deinit(struct imctl_reply *r);

#endif
