/*
 * The setup of a connection: the options with all they point to, and the TLS context. A change of
 * configuration makes a new one; a connection under way keeps the one that it was begun with.
 */
#ifndef IMD_SETUP_H
#define IMD_SETUP_H

#include "headers.h"
#include "transport.h"

struct tls;

struct setup {
    struct transport_options options; /* strings and arrays owned */
    struct tls *tls;                  /* NULL: ws:// */
    struct headers headers;           /* of the attempt under way */
};

/* 0 or a negative errno; see transport_configure. */
int setup_new(struct setup **out, const struct transport_options *o);
void setup_free(struct setup *s); /* NULL is fine */

/* Reads what may have been renewed on disk: certificate, key, header file. 0, or a negative errno with a
 * sentence. */
int setup_load_credentials(struct setup *s, char *detail, size_t size);
void setup_wipe_credentials(struct setup *s);

#endif
