/*
 * What a connection is subscribed to, for subscribing again when it was lost: the params of the request as
 * they were sent, and the number of the last event that came.
 */
#ifndef IMCTL_SUBSCRIPTION_H
#define IMCTL_SUBSCRIPTION_H

#include "imctl.h"
#include "text.h"
#include "view.h"

struct subscription {
    struct text params; /* an object; empty: there are none */
    bool consumer;      /* imd knows from where on */
    bool placed;        /* after is known */
    bool strange;       /* imd has not given that number yet: its history is another one */
    uint64_t after;
};

/* From the line of a request. NULL: no memory. */
struct subscription *subscription_new(struct view line);
void subscription_free(struct subscription *s);

/* imd has told from where on. */
void subscription_begun(struct subscription *s, const struct imctl_reply *reply);

/* imd has refused the number to go on from: all that it has is new. */
void subscription_refused(struct subscription *s);

/* An event of this number came; 0: it has none. */
void subscription_passed(struct subscription *s, uint64_t seq);

/* The params for going on from there. */
void subscription_write_params(const struct subscription *s, struct json_writer *w);

#endif
