/* Requests: one table row a method; see imd-protocol(7). */
#ifndef IMD_REQUEST_H
#define IMD_REQUEST_H

#include <stddef.h>

struct hub;
struct client;
struct passed;

/* One line of a client, without its '\n' (which must be readable behind it), and the descriptors that came
 * with it, which are taken over; NULL: none. */
void request_handle(struct hub *h, struct client *c, const char *line, size_t len, struct passed *passed);
void request_too_long(struct hub *h, struct client *c);

/* A client that is over a limit is told so, before it is closed. */
void request_refuse_client(struct client *c, const char *limit);

#endif
