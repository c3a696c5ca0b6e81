/* How each system under test is spoken to. */
#ifndef LOAD_DIALECT_H
#define LOAD_DIALECT_H

#include "options.h"
#include "publisher.h"
#include "record.h"
#include "subscriber.h"

struct dialect {
    const char *name;
    bool accepts; /* the system under test connects to us; else the publisher connects to it, as a subscriber
                     does */
    struct record (*record)(size_t size);
    struct frame (*frame)(size_t size);
    /* On a blocking connection; afterwards nothing but messages comes, or what `other` knows. */
    void (*subscribe)(int fd, bool filter);
    other_taker *other;
    /* On a blocking connection; makes the publisher's stream. */
    void (*open)(struct publisher *p, int fd, SSL_CTX *tls);
    void (*input)(struct publisher *p); /* something has come for the publisher */
    bool replies;                       /* each message is answered once */
};

const struct dialect *dialect_find(const char *name); /* fails when there is none */

extern const struct dialect dialect_imd, dialect_line, dialect_redis, dialect_mqtt, dialect_nats;

/* Where nothing but messages comes, and where nothing comes for the publisher. */
long other_never(int fd, const char *bytes, size_t len, uint64_t first_seq, uint64_t *lost_to);
void input_never(struct publisher *p);

/* The frame that is the record itself. */
struct frame frame_of_record(const struct record *r);

#endif
