/* The bytes that a message brought, as imd tells of them: in a file of its own, or in the line. */
#ifndef IMCTL_RECEIVED_H
#define IMCTL_RECEIVED_H

#include <imctl.h>

struct received {
    const char *path;   /* where imd has them; NULL: they are in the line */
    const char *sha256; /* of those in a file */
    const char *base64;
    int64_t size;
    const char *name; /* that the sender gave; NULL: none */
};

/* What is in content.message. false: no such bytes. The strings belong to the event. */
bool received_find(const struct imctl_event *e, struct received *r);

#endif
